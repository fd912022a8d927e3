//! Messages on streams: limits, deadlines, and what is left after a cut.

use std::time::Duration;

use bytes::Bytes;
use sync_core::limits::FRAME_BYTES_MAX;

use crate::transport::{
    Connection, Ending, Loss, Stream, StreamError,
    testing::{DEADLINE, Pair},
};

/// Longer than a busy loopback takes for a packet, short enough to wait for.
const SHORT: Duration = Duration::from_millis(300);

struct Talk {
    _pair: Pair,
    one: Connection,
    other: Connection,
}

impl Talk {
    async fn new() -> Self {
        Self::of(Pair::new()).await
    }

    /// Both ends lose their patience soon.
    async fn impatient() -> Self {
        Self::of(Pair::with(|setup| setup.deadlines.patience = SHORT)).await
    }

    async fn of(pair: Pair) -> Self {
        let (one, other) = pair.connected().await;
        Self {
            _pair: pair,
            one,
            other,
        }
    }

    /// A stream with raw bytes going in at one end.
    async fn raw(&self, first: &[u8]) -> (quinn::SendStream, Stream) {
        let (mut send, receive) = self.one.quinn().open_bi().await.unwrap();
        drop(receive);
        send.write_all(first).await.unwrap();
        (send, self.other.accept_stream().await.unwrap())
    }
}

fn framed(bytes: &[u8]) -> Vec<u8> {
    let length = u32::try_from(bytes.len()).unwrap();
    [&length.to_le_bytes(), bytes].concat()
}

#[tokio::test]
async fn messages_arrive_whole_in_order_and_then_end() {
    let talk = Talk::new().await;
    let mut stream = talk.one.open().await.unwrap();
    let count = 20_000_u32;
    let send = async {
        for number in 0..count {
            stream
                .feed(&(number, "x".repeat(number as usize % 50)))
                .await?;
        }
        stream.finish().await?;
        stream.delivered().await
    };
    let receive = async {
        let mut stream = talk.other.accept_stream().await.unwrap();
        for number in 0..count {
            let expected = (number, "x".repeat(number as usize % 50));
            assert_eq!(stream.receive().await, Ok(expected));
        }
        stream.next::<u8>().await
    };
    let (sent, end) = tokio::join!(send, receive);
    assert_eq!(sent, Ok(()));
    assert_eq!(end, Ok(None));
}

#[tokio::test]
async fn small_messages_share_packets() {
    let talk = Talk::new().await;
    let mut stream = talk.one.open().await.unwrap();
    for number in 0..1_000_u32 {
        stream.feed(&number).await.unwrap();
    }
    stream.finish().await.unwrap();
    let mut answering = talk.other.accept_stream().await.unwrap();
    while answering.next::<u32>().await.unwrap().is_some() {}
    let datagrams = talk.one.quinn().stats().udp_tx.datagrams;
    assert!(datagrams < 100, "{datagrams} datagrams");
}

#[tokio::test]
async fn sixty_four_mebibytes_over_one_stream_arrive_intact() {
    const PIECE: usize = 256 << 10;
    const PIECES: usize = 256;
    let talk = Talk::new().await;
    let piece = |number: usize| -> Vec<u8> {
        let mut bytes = vec![0; PIECE];
        let seed = blake3::hash(&number.to_le_bytes());
        blake3::Hasher::new_keyed(seed.as_bytes())
            .finalize_xof()
            .fill(&mut bytes);
        bytes
    };
    let send = async {
        let mut stream = talk.one.open().await.unwrap();
        for number in 0..PIECES {
            stream.send(&piece(number)).await.unwrap();
        }
        stream.finish().await.unwrap();
        stream.delivered().await.unwrap();
    };
    let receive = async {
        let mut stream = talk.other.accept_stream().await.unwrap();
        for number in 0..PIECES {
            let got: Vec<u8> = stream.receive().await.unwrap();
            assert!(got == piece(number), "piece {number} differs");
        }
        assert_eq!(stream.next::<u8>().await, Ok(None));
    };
    tokio::join!(send, receive);
    assert!(talk.other.traffic().received_bytes > 64 << 20);
}

#[tokio::test]
async fn a_frame_may_hold_its_limit_and_not_a_byte_more() {
    let talk = Talk::new().await;
    // Five bytes go to the length inside the frame.
    let largest = vec![7_u8; FRAME_BYTES_MAX - 5];
    let send = async {
        let mut stream = talk.one.open().await.unwrap();
        stream.send(&largest).await.unwrap();
        let error = stream.send(&vec![7_u8; FRAME_BYTES_MAX - 4]).await;
        assert!(matches!(error, Err(StreamError::TooLarge { .. })));
        stream.finish().await.unwrap();
        stream.delivered().await.unwrap();
    };
    let receive = async {
        let mut stream = talk.other.accept_stream().await.unwrap();
        assert_eq!(stream.receive::<Vec<u8>>().await.unwrap(), largest);
        assert_eq!(stream.next::<u8>().await, Ok(None));
    };
    tokio::join!(send, receive);
}

#[tokio::test]
async fn a_payload_ends_the_frame_of_its_message() {
    let talk = Talk::new().await;
    let payload = Bytes::from(vec![7_u8; 300_000]);
    let send = async {
        let mut stream = talk.one.open().await.unwrap();
        stream.feed(&1_u8).await.unwrap();
        let sent = stream.send_with_payload(&2_u8, payload.clone()).await;
        sent.unwrap();
        stream.send(&3_u8).await.unwrap();
        stream
            .send_with_payload(&4_u8, payload.clone())
            .await
            .unwrap();
        let too_large = Bytes::from(vec![7_u8; FRAME_BYTES_MAX]);
        let error = stream.send_with_payload(&5_u8, too_large).await;
        assert!(matches!(error, Err(StreamError::TooLarge { .. })));
        stream.finish().await.unwrap();
    };
    let receive = async {
        let mut stream = talk.other.accept_stream().await.unwrap();
        assert_eq!(stream.receive::<u8>().await, Ok(1));
        let came = stream.receive_with_payload::<u8>().await;
        assert_eq!(came, Ok((2, payload.clone())));
        let came = stream.receive_with_payload::<u8>().await;
        assert_eq!(came, Ok((3, Bytes::new())));
        // Whoever expects none is not given a message with one.
        let error = stream.receive::<u8>().await.unwrap_err();
        assert!(error.is_breach(), "{error}");
    };
    tokio::join!(send, receive);
}

#[tokio::test]
async fn a_claim_beyond_the_limit_is_refused_from_its_four_bytes() {
    let talk = Talk::new().await;
    let over = u32::try_from(FRAME_BYTES_MAX + 1).unwrap();
    for claim in [over, 1 << 31, u32::MAX] {
        let (_send, mut stream) = talk.raw(&claim.to_le_bytes()).await;
        let error = stream.receive::<Vec<u8>>().await.unwrap_err();
        let expected = StreamError::TooLarge {
            bytes: claim as usize,
            bytes_max: FRAME_BYTES_MAX,
        };
        assert_eq!(error, expected);
        assert!(error.is_breach());
    }
}

#[tokio::test]
async fn a_stream_takes_no_frame_above_its_own_limit() {
    let talk = Talk::new().await;
    for (length, fits) in [(4096, true), (4097, false)] {
        // Three bytes go to the length inside the frame.
        let mut bytes = vec![0; length];
        bytes[0] = 251;
        bytes[1..3].copy_from_slice(&u16::try_from(length - 3).unwrap().to_le_bytes());
        let (_send, mut stream) = talk.raw(&framed(&bytes)).await;
        stream.set_frame_bytes_max(4096);
        assert_eq!(stream.receive::<Vec<u8>>().await.is_ok(), fits, "{length}");
    }
}

#[tokio::test]
async fn bytes_that_are_no_message_are_malformed() {
    let talk = Talk::new().await;
    for bytes in [&b""[..], b"\xff", b"\x02\x00", b"\x01\x00"] {
        let (_send, mut stream) = talk.raw(&framed(bytes)).await;
        let outcome = stream.receive::<bool>().await;
        assert!(
            matches!(outcome, Err(StreamError::Malformed(_))),
            "{bytes:?} {outcome:?}"
        );
    }
}

#[tokio::test]
async fn a_stream_that_ends_inside_a_message_is_cut() {
    let talk = Talk::new().await;
    let whole = framed(&[1]);
    for length in 1..whole.len() {
        let (mut send, mut stream) = talk.raw(&whole[..length]).await;
        send.finish().unwrap();
        assert_eq!(stream.next::<bool>().await, Err(StreamError::Cut));
    }
    let (mut send, mut stream) = talk.raw(&whole).await;
    send.finish().unwrap();
    assert_eq!(stream.receive::<bool>().await, Ok(true));
    assert_eq!(stream.receive::<bool>().await, Err(StreamError::Ended));
}

#[tokio::test]
async fn a_connection_lost_inside_a_message_says_why() {
    let talk = Talk::new().await;
    let (_send, mut stream) = talk.raw(&[9, 0, 0, 0, 1]).await;
    let receive = stream.receive::<Vec<u8>>();
    let close = async { talk.one.close(Ending::Stopping) };
    let (outcome, ()) = tokio::join!(receive, close);
    assert_eq!(outcome, Err(StreamError::Lost(Loss::Stopped)));
}

#[tokio::test]
async fn a_peer_that_says_nothing_is_cut() {
    let talk = Talk::impatient().await;
    let (_send, mut stream) = talk.raw(&framed(&[1])).await;
    assert_eq!(stream.receive::<bool>().await, Ok(true));
    let patience = SHORT;
    let outcome = stream.receive::<bool>().await;
    assert_eq!(outcome, Err(StreamError::TimedOut { patience }));
}

#[tokio::test]
async fn a_peer_that_dribbles_is_cut() {
    let talk = Talk::impatient().await;
    let (mut send, mut stream) = talk.raw(&framed(&[0; 1000])[..4]).await;
    let dribble = async {
        let mut ticks = tokio::time::interval(SHORT / 20);
        loop {
            ticks.tick().await;
            if send.write_all(&[0]).await.is_err() {
                return;
            }
        }
    };
    let patience = SHORT;
    tokio::select! {
        () = dribble => panic!("cut by something else"),
        outcome = stream.receive::<Vec<u8>>() => {
            assert_eq!(outcome, Err(StreamError::TimedOut { patience }));
        }
    }
}

#[tokio::test]
async fn a_slow_but_steady_peer_is_heard_out() {
    let talk = Talk::impatient().await;
    let message = vec![3_u8; 60 << 10];
    let mut whole = vec![251];
    whole.extend_from_slice(&u16::try_from(message.len()).unwrap().to_le_bytes());
    whole.extend_from_slice(&message);
    let whole = framed(&whole);
    let (mut send, mut stream) = talk.raw(&whole[..1]).await;
    let steady = async {
        let mut ticks = tokio::time::interval(SHORT / 6);
        for piece in whole[1..].chunks(4 << 10) {
            ticks.tick().await;
            send.write_all(piece).await.unwrap();
        }
    };
    let (got, ()) = tokio::join!(stream.receive::<Vec<u8>>(), steady);
    assert_eq!(got.unwrap(), message);
}

#[tokio::test]
async fn a_peer_that_takes_nothing_is_cut() {
    let talk = Talk::impatient().await;
    let mut stream = talk.one.open().await.unwrap();
    stream.send(&0_u8).await.unwrap();
    let _never_read = talk.other.accept_stream().await.unwrap();
    let piece = vec![0_u8; 256 << 10];
    let fill = async {
        loop {
            if let Err(error) = stream.send(&piece).await {
                return error;
            }
        }
    };
    let patience = SHORT;
    assert_eq!(fill.await, StreamError::TimedOut { patience });
}

#[tokio::test]
async fn a_peer_that_takes_nothing_but_says_that_it_works_is_waited_for() {
    let talk = Talk::impatient().await;
    let (mut sender, mut replies) = talk.one.open().await.unwrap().split();
    sender.send(&0_u8).await.unwrap();
    let (mut telling, mut taking) = talk.other.accept_stream().await.unwrap().split();
    let piece = vec![0_u8; 256 << 10];
    let send = async {
        for _ in 0..16 {
            sender.send(&piece).await.unwrap(); // twice what is taken unread
        }
    };
    let hear = async { while replies.next::<u8>().await.unwrap().is_some() {} };
    let work = async {
        // In all four times what a silent peer is given.
        for _ in 0..12 {
            tokio::time::sleep(SHORT / 3).await;
            telling.send(&1_u8).await.unwrap();
        }
        assert_eq!(taking.receive::<u8>().await, Ok(0));
        for _ in 0..16 {
            assert!(taking.receive::<Vec<u8>>().await.is_ok());
        }
        telling.finish().await.unwrap();
    };
    tokio::time::timeout(DEADLINE, async { tokio::join!(send, hear, work) })
        .await
        .unwrap();
}

#[tokio::test]
async fn a_call_given_up_halfway_loses_nothing() {
    let talk = Talk::new().await;
    let whole = framed(&[1]);
    let (mut send, mut stream) = talk.raw(&whole[..3]).await;
    for _ in 0..3 {
        let given_up = tokio::time::timeout(Duration::from_millis(5), stream.receive::<bool>());
        assert!(given_up.await.is_err());
    }
    send.write_all(&whole[3..]).await.unwrap();
    assert_eq!(stream.receive::<bool>().await, Ok(true));
}

#[tokio::test]
async fn both_halves_work_at_the_same_time() {
    let talk = Talk::new().await;
    let echo = async {
        let (mut sender, mut receiver) = talk.other.accept_stream().await.unwrap().split();
        while let Some(number) = receiver.next::<u32>().await.unwrap() {
            sender.send(&number).await.unwrap();
        }
        sender.finish().await.unwrap();
        sender.delivered().await.unwrap();
    };
    let ask = async {
        let (mut sender, mut receiver) = talk.one.open().await.unwrap().split();
        let send = async {
            for number in 0..1_000_u32 {
                sender.send(&number).await.unwrap();
            }
            sender.finish().await.unwrap();
        };
        let receive = async {
            for number in 0..1_000_u32 {
                assert_eq!(receiver.receive().await, Ok(number));
            }
            assert_eq!(receiver.next::<u32>().await, Ok(None));
        };
        tokio::join!(send, receive);
    };
    tokio::time::timeout(DEADLINE, async { tokio::join!(echo, ask) })
        .await
        .unwrap();
}

#[tokio::test]
async fn thirty_two_conversations_and_then_patience() {
    let talk = Talk::impatient().await;
    let mut held = Vec::new();
    for _ in 0..32 {
        held.push(talk.one.open().await.unwrap());
    }
    let patience = SHORT;
    let error = talk.one.open().await.unwrap_err();
    assert_eq!(error, StreamError::TimedOut { patience });
}
