//! A wide-area link between here and another network namespace: packets are
//! carried in this program, with a delay, a rate and a loss. TCP and UDP cross it
//! alike. The kernel's own emulator is missing on many machines.

use std::{
    fs::File,
    os::fd::AsFd,
    process::Command,
    sync::{
        Arc,
        mpsc::{self, Receiver, SyncSender},
    },
    thread,
    time::{Duration, Instant},
};

use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};
use sync_tests::rng::Rng;
use tun_rs::{DeviceBuilder, SyncDevice};

use crate::{meter::unmeasured, seclusion::Wire};

/// This end's interface and address.
const HERE: (&str, &str) = ("wide0", "10.77.0.1");
/// The far end's.
const THERE: (&str, &str) = ("wide1", "10.77.0.2");
/// The far end's namespace; it goes with this program's mounts.
const NAMESPACE: &str = "apim-sync-far";
const MTU: u16 = 1500;
/// A router's buffer holds one product of rate and delay, and never less.
const BUFFER_BYTES_MIN: f64 = 262_144.0;
/// Packets that an interface holds for this program: what is too much for the
/// road is dropped there, not here.
const QUEUE_PACKETS: &str = "10000";
/// Packets under way in one direction: more than any buffer above holds.
const PACKETS_MAX: usize = 65_536;

/// What the link is like.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Quality {
    /// There and back.
    pub(crate) round_trip: Duration,
    pub(crate) bits_per_second: f64,
    /// Of packets, each way.
    pub(crate) loss: f64,
}

/// A link that stands. There is one at a time.
pub(crate) struct Link {
    namespace: File,
}

impl Link {
    pub(crate) const HERE: &'static str = HERE.1;
    pub(crate) const THERE: &'static str = THERE.1;
    /// Where its bytes are counted.
    pub(crate) const WIRE: Wire = Wire::Link(HERE.0);

    /// Makes both ends and begins to carry.
    pub(crate) fn new(quality: Quality) -> Result<Self, String> {
        let (here, there) = (device(HERE.0)?, device(THERE.0)?);
        // What a killed run left; mostly there is nothing.
        let _ = ip(&["netns", "del", NAMESPACE]);
        ip(&["netns", "add", NAMESPACE])?;
        ip(&["link", "set", THERE.0, "netns", NAMESPACE])?;
        let near: &[&str] = &[];
        let far = &["-n", NAMESPACE][..];
        for (prefix, (name, address)) in [(near, HERE), (far, THERE)] {
            let address = format!("{address}/24");
            ip(&[prefix, &["addr", "add", &address, "dev", name]].concat())?;
            let up = ["link", "set", name, "txqueuelen", QUEUE_PACKETS, "up"];
            ip(&[prefix, &up[..]].concat())?;
        }
        ip(&["-n", NAMESPACE, "link", "set", "lo", "up"])?;
        carry(&here, &there, quality, 1);
        carry(&there, &here, quality, 2);
        let path = format!("/run/netns/{NAMESPACE}");
        let namespace = File::open(&path).map_err(|error| format!("opening {path}: {error}"))?;
        Ok(Self { namespace })
    }

    /// Does something at the far end: what it starts stays there.
    pub(crate) fn far<T: Send>(
        &self,
        work: impl FnOnce() -> Result<T, String> + Send,
    ) -> Result<T, String> {
        thread::scope(|scope| {
            let inside = scope.spawn(|| {
                let kind = Some(LinkNameSpaceType::Network);
                move_into_link_name_space(self.namespace.as_fd(), kind)
                    .map_err(|error| format!("entering the far end's namespace: {error}"))?;
                work()
            });
            inside.join().expect("work at the far end does not panic")
        })
    }
}

impl Drop for Link {
    fn drop(&mut self) {
        // Best effort: both go with this program's namespaces anyway. The
        // threads that carry end when their interface does.
        for words in [
            &["link", "del", HERE.0][..],
            &["-n", NAMESPACE, "link", "del", THERE.0],
            &["netns", "del", NAMESPACE],
        ] {
            let _ = ip(words);
        }
    }
}

fn device(name: &str) -> Result<Arc<SyncDevice>, String> {
    let built = DeviceBuilder::new().name(name).mtu(MTU).build_sync();
    built
        .map(Arc::new)
        .map_err(|error| format!("making the interface {name}: {error}"))
}

fn ip(words: &[&str]) -> Result<(), String> {
    let mut command = Command::new("ip");
    command.args(words);
    unmeasured(command).map(drop)
}

/// A packet, and when it arrives.
type Due = (Instant, Vec<u8>);

/// Carries one direction until an interface is gone.
fn carry(from: &Arc<SyncDevice>, to: &Arc<SyncDevice>, quality: Quality, seed: u64) {
    let (sender, receiver) = mpsc::sync_channel(PACKETS_MAX);
    let (from, to) = (Arc::clone(from), Arc::clone(to));
    thread::spawn(move || take_in(&from, quality, &mut Rng::new(seed), &sender));
    thread::spawn(move || give_out(&to, &receiver));
}

fn take_in(from: &SyncDevice, quality: Quality, rng: &mut Rng, sender: &SyncSender<Due>) {
    let mut packet = vec![0; usize::from(MTU)];
    let mut road = Road::new(quality, Instant::now());
    while let Ok(length) = from.recv(&mut packet) {
        #[expect(clippy::cast_precision_loss, reason = "a share of 2^32")]
        let lost = (rng.below(1 << 32) as f64) < quality.loss * (1_u64 << 32) as f64;
        if lost {
            continue;
        }
        let Some(due) = road.admit(length, Instant::now()) else {
            continue;
        };
        if sender.send((due, packet[..length].to_vec())).is_err() {
            return;
        }
    }
}

fn give_out(to: &SyncDevice, receiver: &Receiver<Due>) {
    while let Ok((due, packet)) = receiver.recv() {
        thread::sleep(due.saturating_duration_since(Instant::now()));
        if to.send(&packet).is_err() {
            return;
        }
    }
}

/// One direction's rate, buffer and delay.
struct Road {
    delay: Duration,
    bytes_per_second: f64,
    buffer_bytes: f64,
    /// When everything that was admitted has left.
    free: Instant,
}

impl Road {
    fn new(quality: Quality, now: Instant) -> Self {
        let bytes_per_second = quality.bits_per_second / 8.0;
        let product = bytes_per_second * quality.round_trip.as_secs_f64();
        Self {
            delay: quality.round_trip / 2,
            bytes_per_second,
            buffer_bytes: product.max(BUFFER_BYTES_MIN),
            free: now,
        }
    }

    /// When a packet arrives; `None` when the buffer is full.
    fn admit(&mut self, length: usize, now: Instant) -> Option<Instant> {
        let waiting = self.free.saturating_duration_since(now).as_secs_f64();
        #[expect(clippy::cast_precision_loss, reason = "at most an MTU")]
        let length = length as f64;
        if waiting * self.bytes_per_second + length > self.buffer_bytes {
            return None;
        }
        let start = self.free.max(now);
        self.free = start + Duration::from_secs_f64(length / self.bytes_per_second);
        Some(self.free + self.delay)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn road(now: Instant) -> Road {
        let quality = Quality {
            round_trip: Duration::from_millis(40),
            bits_per_second: 8e6,
            loss: 0.0,
        };
        Road::new(quality, now)
    }

    #[test]
    fn packets_queue_behind_each_other() {
        let now = Instant::now();
        let mut road = road(now);
        let first = road.admit(1000, now).unwrap();
        let second = road.admit(1000, now).unwrap();
        assert_eq!(first - now, Duration::from_millis(21));
        assert_eq!(second - now, Duration::from_millis(22));
    }

    #[test]
    fn a_full_buffer_drops() {
        let now = Instant::now();
        let mut road = road(now);
        let admitted = (0..1000)
            .filter(|_| road.admit(1000, now).is_some())
            .count();
        assert_eq!(admitted, 262);
        assert!(road.admit(1000, now + Duration::from_millis(2)).is_some());
    }
}
