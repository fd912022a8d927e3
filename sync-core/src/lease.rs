//! When a node may send under a lease that another system keeps, and what it does
//! about the lease.
//!
//! Times are since some moment on a clock that never jumps and counts suspension.
//! The other system counts from when it hears of a renewal, this node from before
//! it asked: so a node's term is over before anybody else's can begin, whatever
//! is lost on the way. No clock is compared with another.

use std::time::Duration;

/// Share of the lease's life that a node stops before its end, for clocks that do
/// not run equally fast.
const MARGIN_DIVISOR: u32 = 10;
/// And so much more, to have stopped by then.
const STOPPING: Duration = Duration::from_millis(500);
/// A lease is renewed so many times in its life.
const RENEWALS: u32 = 3;
/// How often a lease that is not held is asked for: what a failover takes longer
/// than the lease's life.
pub const RETRY: Duration = Duration::from_secs(1);

/// Until when a node may send that asked for the lease, or its renewal, at `asked`
/// and got it for `ttl`.
#[must_use]
pub fn term_ends(asked: Duration, ttl: Duration) -> Duration {
    asked + ttl.saturating_sub(ttl / MARGIN_DIVISOR + STOPPING)
}

/// What a node knows when it decides about the lease.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Situation {
    /// Whether it is active.
    pub active: bool,
    /// Whether it could be: it was synchronised, and nothing keeps it from applying.
    pub fit: bool,
    /// How long it has had its role.
    pub in_role_for: Duration,
    /// Whether the lease is its own, as far as it knows.
    pub holds: bool,
    /// Whether it took the lease as a passive and is being promoted.
    pub promoting: bool,
    /// The lease's life.
    pub ttl: Duration,
}

/// What it does next.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Move {
    /// Ask for the lease.
    Take,
    /// Ask for more time.
    Renew,
    /// Let somebody else have it.
    Release,
    /// Nothing.
    Wait,
}

impl Situation {
    /// What the node does now. An active always wants the lease. A passive wants
    /// it too, but leaves it to others for as long as a lease lives after it has
    /// come or has become passive: so an active that starts together with it, or
    /// the peer of one that was demoted, is first.
    #[must_use]
    pub fn next(&self) -> Move {
        match (self.holds, self.active) {
            (true, true) => Move::Renew,
            (true, false) if self.promoting => Move::Renew,
            (true, false) => Move::Release,
            (false, true) => Move::Take,
            (false, false) if self.fit && self.in_role_for >= self.ttl => Move::Take,
            (false, false) => Move::Wait,
        }
    }

    /// How long to wait after a move.
    #[must_use]
    pub fn pause(&self, done: Move, succeeded: bool) -> Duration {
        match (done, succeeded) {
            (Move::Take | Move::Renew, true) => self.ttl / RENEWALS,
            _ => RETRY.min(self.ttl / RENEWALS),
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const TTL: Duration = Duration::from_secs(10);

    fn situation(active: bool, holds: bool) -> Situation {
        Situation {
            active,
            fit: true,
            in_role_for: TTL,
            holds,
            promoting: false,
            ttl: TTL,
        }
    }

    #[test]
    fn what_a_node_does_about_the_lease() {
        assert_eq!(situation(true, true).next(), Move::Renew);
        assert_eq!(situation(true, false).next(), Move::Take);
        assert_eq!(situation(false, true).next(), Move::Release);
        assert_eq!(situation(false, false).next(), Move::Take);
        let promoting = Situation {
            promoting: true,
            ..situation(false, true)
        };
        assert_eq!(promoting.next(), Move::Renew);
        for waiting in [
            Situation {
                in_role_for: TTL / 2,
                ..situation(false, false)
            },
            Situation {
                fit: false,
                ..situation(false, false)
            },
        ] {
            assert_eq!(waiting.next(), Move::Wait);
        }
    }

    #[test]
    fn a_term_ends_before_the_lease() {
        let asked = Duration::from_secs(100);
        assert_eq!(term_ends(asked, TTL), Duration::from_millis(108_500));
        assert_eq!(term_ends(asked, Duration::from_millis(300)), asked);
    }

    /// The system that keeps the lease: milliseconds on its own clock.
    #[derive(Default)]
    struct Keeper {
        holder: Option<(usize, u64)>,
    }

    impl Keeper {
        /// Takes or renews for `node`; whether it holds now.
        fn ask(&mut self, node: usize, now: u64) -> bool {
            let free = self
                .holder
                .is_none_or(|(holder, until)| holder == node || until <= now);
            if free {
                self.holder = Some((node, now + TTL.as_millis() as u64));
            }
            free
        }
    }

    /// A request on its way: when it was sent on the node's clock, when it arrives
    /// and when its answer does, if ever.
    struct Request {
        node: usize,
        asked: Duration,
        arrives: u64,
        answers: Option<u64>,
        got: bool,
    }

    proptest! {
        /// Requests and answers are delayed and lost, and the nodes' clocks run
        /// apart by up to 5 %: no two nodes ever may send.
        #[test]
        fn two_nodes_never_send_at_once(
            steps in prop::collection::vec((0..2_usize, 0..4_000_u64, 0..4_000_u64, any::<bool>(), 0..1_500_u64), 1..60),
            rates in [95..=105_u64, 95..=105_u64],
        ) {
            let mut keeper = Keeper::default();
            let mut terms = [Duration::ZERO; 2];
            let mut under_way: Vec<Request> = Vec::new();
            let clock = |node: usize, now: u64| Duration::from_millis(now * rates[node] / 100);
            let mut now = 0;
            for (node, there, back, lost, wait) in steps {
                let arrives = now + there;
                under_way.push(Request {
                    node,
                    asked: clock(node, now),
                    arrives,
                    answers: (!lost).then_some(arrives + back),
                    got: false,
                });
                for _ in 0..wait {
                    now += 1;
                    for request in &mut under_way {
                        if request.arrives == now {
                            request.got = keeper.ask(request.node, now);
                        }
                        if request.answers == Some(now) && request.got {
                            let term = &mut terms[request.node];
                            *term = (*term).max(term_ends(request.asked, TTL));
                        }
                    }
                    let sends = |node: usize| clock(node, now) < terms[node];
                    prop_assert!(!(sends(0) && sends(1)), "at {now} ms");
                }
            }
        }
    }
}
