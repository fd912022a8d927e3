//! The bytes of every message, pinned: two nodes of different releases must
//! understand each other, and a compatible codec must take bincode's place
//! without a change. What differs from `wire_golden.txt` is another protocol
//! version.

#![expect(
    clippy::unwrap_used,
    reason = "the helpers of a test may fail it like the test itself"
)]

use std::fmt::{Debug, Write as _};

use sync_core::{
    Action, Change, ContentId, Entry, Epoch, FileEntry, Generation, GenerationHeader, Mode, Mtime,
    Position, RelPath, Root, TreeName,
    blocks::{Decompressor, VOCABULARY},
    codec::{self, Decode, Encode},
    drift::{Cause, Kind},
    fence::{Lineage, Promotion},
    history::{self, Time},
    journal::Lead,
    manifest::NodeView,
    patch::{PieceId, Step},
    wire::{
        AuditAnswer, AuditRequest, AuditTip, Block, Claim, DeployedAnswer, DeployedReport,
        DriftedPath, Fence, FetchAnswer, FetchRequest, HandoverAnswer, HashStart, Hello, Join,
        JoinAnswer, Offer, Opening, PatchRequest, Piece, PlanId, Probe, Range, RecallAnswer,
        Refusal, Reply, Span, TraceAnswer, Traced, TreeReport, TreeStatus, View, WitnessAnswer,
    },
};

/// Every variant of one message enum, in the order of their numbers.
struct Messages<'a, T> {
    name: &'a str,
    values: &'a [T],
}

impl<T: Encode + Decode<()> + PartialEq + Debug> Messages<'_, T> {
    /// Appends a line for each value and checks what holds for all.
    fn pin(&self, lines: &mut String) {
        for (number, value) in (0..).zip(self.values) {
            let bytes = codec::encode(value);
            assert_eq!(bytes[0], number, "{} has its variants in order", self.name);
            assert_eq!(&codec::decode::<T>(&bytes).unwrap(), value);
            assert_every_cut_is_refused::<T>(&bytes);
            writeln!(lines, "{} {number} {}", self.name, hex(&bytes)).unwrap();
        }
        let beyond = u8::try_from(self.values.len()).unwrap();
        let error = codec::decode::<T>(&[&[beyond][..], &[0; 500]].concat()).unwrap_err();
        assert!(
            error.reason.contains("UnexpectedVariant"),
            "{} has a variant {beyond} that no golden vector shows: {error}",
            self.name
        );
    }
}

fn assert_every_cut_is_refused<T: Decode<()> + Debug>(bytes: &[u8]) {
    for end in 0..bytes.len() {
        assert!(codec::decode::<T>(&bytes[..end]).is_err(), "cut at {end}");
    }
    let longer = [bytes, &[0]].concat();
    assert!(codec::decode::<T>(&longer).is_err(), "one byte too many");
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::new(), |mut text, byte| {
        write!(text, "{byte:02x}").unwrap();
        text
    })
}

fn tree() -> TreeName {
    TreeName::new("synapse-configs").unwrap()
}

fn path(text: &str) -> RelPath {
    RelPath::new(text.as_bytes()).unwrap()
}

fn position() -> Position {
    Position {
        epoch: Epoch(3),
        generation: Generation(70_000),
        root: Root([0xaa; 32]),
    }
}

fn file() -> Entry {
    Entry::File(FileEntry {
        mode: Mode::new(0o644),
        mtime: Mtime {
            seconds: -1,
            nanoseconds: 999_999_999,
        },
        length: 65_536,
        content: ContentId([0xcc; 32]),
    })
}

fn symlink() -> Entry {
    Entry::Symlink {
        target: (*b"../a").into(),
    }
}

fn block() -> Block {
    Block {
        plain_length: 300,
        compressed: vec![1, 2, 3],
        last: true,
    }
}

fn openings() -> Vec<Opening> {
    vec![
        Opening::Hello(Hello {
            version_oldest: 1,
            version: 1,
            node: "apim-1".into(),
            active: true,
            epoch: Epoch(3),
            trees: vec![TreeStatus {
                name: tree(),
                position: position(),
                entries: 250,
                staged: 251,
            }],
            refused: Some(Refusal::Superseded),
        }),
        Opening::Join(Join {
            secret: [0x5e; 32],
            node: "apim-2".into(),
            port: 7_420,
        }),
        Opening::Generation(Offer {
            header: GenerationHeader {
                tree: tree(),
                epoch: Epoch(3),
                generation: Generation(u64::MAX),
                base: Root([0xaa; 32]),
                root: Root([0xbb; 32]),
            },
            changes: 2,
            contents_following: 1,
            released: Some(PlanId([8; 8])),
        }),
        Opening::Fetch {
            tree: tree(),
            content: ContentId([0xcc; 32]),
        },
        Opening::Audit {
            tree: tree(),
            view: View::Agreed,
        },
        Opening::Catchup { tree: tree() },
        Opening::Handover,
        Opening::Report(TreeReport {
            tree: tree(),
            drift: vec![DriftedPath {
                path: path("b/a.xml"),
                kind: Kind::Deleted,
                cause: Cause::Rejected,
            }],
            drifted: 300,
            deployed: vec![DeployedReport {
                generation: Generation(70_000),
                seconds_ago: 2,
                rejected: vec![path("b/a.xml")],
            }],
        }),
        Opening::Deployed { tree: tree() },
        Opening::Patch { tree: tree() },
        Opening::Recall {
            tree: tree(),
            contents: vec![ContentId([0xcc; 32])],
            only_ask: true,
        },
        Opening::Mend {
            tree: tree(),
            paths: vec![path("b/a.xml"), path("c")],
        },
        Opening::Spanned {
            offer: Offer {
                header: GenerationHeader {
                    tree: tree(),
                    epoch: Epoch(3),
                    generation: Generation(7),
                    base: Root([0xaa; 32]),
                    root: Root([0xbb; 32]),
                },
                changes: 2,
                contents_following: 1,
                released: None,
            },
            span: Span {
                id: 1 << 20,
                lead: Lead {
                    tree: TreeName::new("executionplans").unwrap(),
                    epoch: Epoch(3),
                    generation: Generation(300),
                },
                others: vec![tree()],
            },
        },
        Opening::Witness { tip: Some(tip()) },
        Opening::Trace {
            tree: tree(),
            path: path("b/a.xml"),
        },
    ]
}

fn replies() -> Vec<Reply> {
    vec![
        Reply::Need(vec![Range {
            start: 5,
            count: 300,
        }]),
        Reply::Durable(position()),
        Reply::Applied {
            position: position(),
            kept_aside: 1,
        },
        Reply::Refused(Refusal::Superseded),
        Reply::Working,
    ]
}

fn refusals() -> Vec<Refusal> {
    vec![
        Refusal::Base(position()),
        Refusal::Epoch(Epoch(4)),
        Refusal::Role { active: true },
        Refusal::Version {
            oldest: 1,
            newest: 2,
        },
        Refusal::UnknownTree(tree()),
        Refusal::Guard {
            plan: PlanId([8; 8]),
            deletions: 900,
            files: 1_000,
        },
        Refusal::NotEmpty { differences: 3 },
        Refusal::Unable("disk full".into()),
        Refusal::Superseded,
        Refusal::Protocol("bytes left over".into()),
        Refusal::Held {
            plan: PlanId([8; 8]),
            paths: 300,
        },
        Refusal::Span(tree()),
    ]
}

fn claim() -> Claim {
    let promotion = |epoch, node, nonce| Promotion {
        epoch: Epoch(epoch),
        node: [node; 32],
        nonce,
    };
    let promotions = vec![
        Promotion::without_node(Epoch(1)),
        promotion(2, 0xa1, 7),
        promotion(2, 0xa2, u64::MAX),
        promotion(300, 0xa1, 1 << 20),
    ];
    Claim {
        lineage: Lineage::new(promotions).unwrap(),
        halted: true,
    }
}

fn handover_answers() -> Vec<HandoverAnswer> {
    vec![
        HandoverAnswer::Working,
        HandoverAnswer::Flushed,
        HandoverAnswer::Fenced,
        HandoverAnswer::Refused(Refusal::Role { active: false }),
    ]
}

fn deployed_answers() -> Vec<DeployedAnswer> {
    vec![
        DeployedAnswer::Working,
        DeployedAnswer::Deployed {
            generation: Generation(70_000),
            rejected: vec![path("b/a.xml")],
            rejected_in_all: 1,
        },
        DeployedAnswer::Refused(Refusal::UnknownTree(tree())),
    ]
}

fn audit_requests() -> Vec<AuditRequest> {
    let children = Box::new([HashStart::of(Some(Root([0xaa; 32]))); 16]);
    vec![
        AuditRequest::Nodes(vec![
            Probe {
                prefix: vec![1, 15],
                children: Some(children),
            },
            Probe {
                prefix: Vec::new(),
                children: None,
            },
        ]),
        AuditRequest::List,
    ]
}

fn audit_answers() -> Vec<AuditAnswer> {
    let mut children = Box::new([None; 16]);
    children[15] = Some(Root([0xbb; 32]));
    let directory = Entry::Directory {
        mode: Mode::new(0o755),
    };
    let leaf = vec![
        (path("d"), directory),
        (path("d/f"), file()),
        (path("l"), symlink()),
    ];
    vec![
        AuditAnswer::Progress {
            files: 1,
            bytes: 1 << 40,
        },
        AuditAnswer::Ready {
            root: Root([0xaa; 32]),
            entries: 3,
            files: 2,
            bytes: 1,
            unreadable: vec![(path("d/u"), "permission denied".into())],
            touched: vec![path("d/t")],
        },
        AuditAnswer::Nodes {
            nodes: vec![
                (vec![1, 15], NodeView::Leaf(leaf)),
                (vec![2], NodeView::Inner(children)),
            ],
            last: true,
        },
        AuditAnswer::List(block()),
        AuditAnswer::Refused(Refusal::Superseded),
    ]
}

fn fetch_requests() -> Vec<FetchRequest> {
    vec![
        FetchRequest::Groups,
        FetchRequest::Chunks(vec![0, 255]),
        FetchRequest::Bytes {
            offset: 1 << 30,
            length: 4_096,
        },
    ]
}

fn patch_request() -> PatchRequest {
    PatchRequest {
        content: ContentId([0xcc; 32]),
        pieces: vec![PieceId([1, 2, 3, 4, 5]), PieceId([6; 5])],
    }
}

fn steps() -> [Step; 2] {
    [
        Step::Gone,
        Step::Go {
            literal: b"bytes".to_vec(),
            first: 300,
            count: 2,
        },
    ]
}

fn fetch_answers() -> Vec<FetchAnswer> {
    vec![
        FetchAnswer::Groups {
            groups: vec![(ContentId([0xcc; 32]), 4 << 20)],
            last: true,
        },
        FetchAnswer::Chunks(vec![(ContentId([0xcd; 32]), 65_536)]),
        FetchAnswer::Data(Piece {
            plain_length: 4,
            compressed: false,
            length: 4,
        }),
        FetchAnswer::Superseded,
    ]
}

fn tip() -> AuditTip {
    AuditTip {
        record: 300,
        hash: [0xdd; 32],
    }
}

fn trace_answer() -> TraceAnswer {
    TraceAnswer {
        traced: vec![Traced {
            position: position(),
            sends: true,
            times: vec![Time {
                step: history::Step::Sent,
                at_ms: 300,
            }],
        }],
    }
}

fn recall_answers() -> [RecallAnswer; 3] {
    [
        RecallAnswer::Absent,
        RecallAnswer::Content { length: 70_000 },
        RecallAnswer::Data(Piece {
            plain_length: 3,
            compressed: true,
            length: 300,
        }),
    ]
}

macro_rules! pin {
    ($lines:expr, $($name:literal: $values:expr),+ $(,)?) => {
        $(Messages { name: $name, values: &$values }.pin($lines);)+
    };
}

fn lines() -> String {
    let mut lines = String::new();
    pin!(
        &mut lines,
        "opening": openings(),
        "join-answer": [JoinAnswer::Welcome { node: "apim-1".into() }, JoinAnswer::Refused],
        "reply": replies(),
        "refusal": refusals(),
        "view": [View::Agreed, View::Disk, View::Deep, View::LastAgreed],
        "handover-answer": handover_answers(),
        "deployed-answer": deployed_answers(),
        "audit-request": audit_requests(),
        "audit-answer": audit_answers(),
        "fetch-request": fetch_requests(),
        "fetch-answer": fetch_answers(),
        "step": steps(),
        "recall-answer": recall_answers(),
        "entry": [Entry::Directory { mode: Mode::new(0o755) }, file(), symlink()],
    );
    let put = Change {
        path: path("d/f"),
        action: Action::Put(file()),
    };
    let delete = Change {
        path: path("d/g"),
        action: Action::Delete,
    };
    for (name, bytes) in [
        ("block", codec::encode(&block())),
        ("claim", codec::encode(&claim())),
        (
            "fence",
            codec::encode(&Fence {
                lineage: claim().lineage,
            }),
        ),
        ("patch-request", codec::encode(&patch_request())),
        ("put", codec::encode(&put)),
        ("delete", codec::encode(&delete)),
        ("trace-answer", codec::encode(&trace_answer())),
        (
            "witness-answer",
            codec::encode(&WitnessAnswer { seen: vec![tip()] }),
        ),
        ("vocabulary", blake3::hash(VOCABULARY).as_bytes().to_vec()),
    ] {
        writeln!(lines, "{name} - {}", hex(&bytes)).unwrap();
    }
    lines
}

#[test]
fn every_message_keeps_its_bytes() {
    let pinned = include_str!("wire_golden.txt");
    for (now, pinned) in lines().lines().zip(pinned.lines()) {
        assert_eq!(now, pinned);
    }
    assert_eq!(
        lines().lines().count(),
        pinned.lines().count(),
        "{}",
        lines()
    );
}

/// Other zstd releases may compress differently, but they must read this.
#[test]
fn a_section_of_an_old_release_stays_readable() {
    let plain = br#"<api xmlns="http://ws.apache.org/ns/synapse" name="admin--Pizza""#;
    let pinned = "28b52ffd20406d00003050697a7a61220100d7e6cc40";
    let block = Block {
        plain_length: u32::try_from(plain.len()).unwrap(),
        compressed: from_hex(pinned),
        last: true,
    };
    assert_eq!(Decompressor::new().push(&block).unwrap(), plain);
}

fn from_hex(text: &str) -> Vec<u8> {
    let digits = text.as_bytes().chunks(2);
    digits
        .map(|pair| u8::from_str_radix(std::str::from_utf8(pair).unwrap(), 16).unwrap())
        .collect()
}
