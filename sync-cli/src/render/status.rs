//! The state of a node on one screen.

use std::time::{SystemTime, UNIX_EPOCH};

use sync_daemon::events::{
    HaltedPlan, HeldPath, HookStatus, LastVerify, LeaseStatus, PauseStatus, PeerState, PeerStatus,
    Status, TenantState, TenantStatus, TreeState, TreeStatus,
};

use super::{
    drift::{self, listed},
    quantity,
};
use crate::terminal::{Line, Paint, or_dash};

/// The whole screen; `now_s` is the time in seconds since 1970.
pub(crate) fn screen(status: &Status, now_s: u64) -> Vec<Line> {
    let mut lines = vec![head(status)];
    lines.extend(conflict(status));
    lines.extend(status.lease.as_ref().map(lease));
    lines.extend(
        status
            .no_active
            .as_ref()
            .map(|why| Line::painted(Paint::Red, why)),
    );
    lines.extend(paused(status));
    lines.extend(status.pauses.iter().map(paused_part));
    let trees = status.trees.iter().flat_map(tree_and_tenants);
    section(&mut lines, "trees", trees);
    let peers = status.peers.iter().flat_map(|it| peer(it, now_s));
    section(&mut lines, "peers", peers);
    section(
        &mut lines,
        "guard",
        status.guard.plans.iter().flat_map(halted),
    );
    let drift = drift::lines(&status.drift, status.drifted, now_s);
    section(&mut lines, "drift", drift.into_iter());
    section(&mut lines, "held", listed(&status.held, held));
    let hooks = status.hooks.iter().map(|it| hook(it, now_s));
    section(&mut lines, "hooks", hooks);
    lines
}

/// Seconds since 1970; 0 with a clock before that.
pub(crate) fn now_s() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH);
    since.map_or(0, |since| since.as_secs())
}

fn head(status: &Status) -> Line {
    let line = Line::painted(Paint::Bold, &status.node).text(format!(
        "  {}  epoch {}  id {}",
        status.role.name(),
        status.epoch,
        status.id
    ));
    if status.running {
        line.paint(Paint::Green, "  daemon running")
    } else {
        line.paint(Paint::Red, "  daemon not running")
    }
}

fn conflict(status: &Status) -> Option<Line> {
    let conflict = status.conflict.as_ref()?;
    Some(Line::painted(Paint::Red, "conflict ").text(format!(
        "with {} (epoch {}): {}",
        conflict.peer, conflict.peer_epoch, conflict.detail
    )))
}

fn paused(status: &Status) -> Option<Line> {
    status.paused.then(|| {
        let until = match status.paused_seconds {
            Some(left) => format!("for another {}", quantity::seconds(left as f64)),
            None => "until `apim-sync resume`".into(),
        };
        Line::painted(Paint::Yellow, "sending is paused ").text(until)
    })
}

fn paused_part(pause: &PauseStatus) -> Line {
    let what = match (&pause.tree, &pause.tenant) {
        (Some(tree), Some(tenant)) => format!("sending of tenant {tenant} of {tree} is paused "),
        (tree, _) => format!("sending of {} is paused ", or_dash(tree.as_deref())),
    };
    let flag = match &pause.tenant {
        Some(tenant) => format!("--tenant {tenant}"),
        None => format!("--tree {}", or_dash(pause.tree.as_deref())),
    };
    let until = match pause.seconds {
        Some(left) => format!("for another {}", quantity::seconds(left as f64)),
        None => format!("until `apim-sync resume {flag}`"),
    };
    Line::painted(Paint::Yellow, what).text(until)
}

fn lease(lease: &LeaseStatus) -> Line {
    let line = Line::new(format!("lease {}  ", lease.key));
    let line = match (lease.held, &lease.holder) {
        (true, _) => {
            let left = quantity::seconds(lease.seconds_left);
            line.paint(Paint::Green, "held")
                .text(format!(", for {left}"))
        }
        (false, Some(holder)) => line.text(format!("held by {holder}")),
        (false, None) => line.paint(Paint::Red, "holder not known"),
    };
    with_detail(line, lease.detail.as_deref())
}

/// A heading and its lines, indented; nothing where there are none.
fn section(out: &mut Vec<Line>, heading: &str, lines: impl Iterator<Item = Line>) {
    let mut lines = lines.peekable();
    if lines.peek().is_some() {
        out.push(Line::painted(Paint::Bold, heading));
        out.extend(lines.map(|line| Line::new("  ").then(line)));
    }
}

fn tree(tree: &TreeStatus) -> Line {
    let (paint, word) = match tree.state {
        TreeState::Ready => (Paint::Green, "ready"),
        TreeState::Scanning => (Paint::Yellow, "scanning"),
        TreeState::Halted => (Paint::Red, "halted"),
        TreeState::Unavailable => (Paint::Red, "unavailable"),
        TreeState::Empty => (Paint::Yellow, "never synchronised"),
        TreeState::Unwatched => (Paint::Dim, "not watched"),
    };
    let line = Line::new(format!("{}  ", tree.name))
        .paint(paint, word)
        .text(format!(
            "  {}  {}  generation {}  root {}  ",
            quantity::files(tree.files),
            quantity::bytes(tree.bytes),
            tree.generation,
            quantity::short(&tree.root)
        ))
        .paint(Paint::Dim, &tree.path);
    with_detail(line, tree.detail.as_deref())
}

/// The tree, and of its tenants those that are not in order.
fn tree_and_tenants(of: &TreeStatus) -> impl Iterator<Item = Line> {
    let fine = |state| matches!(state, TenantState::Ready | TenantState::Unwatched);
    let tenants: Vec<_> = of.tenants.iter().filter(|it| !fine(it.state)).collect();
    let lines: Vec<_> = listed(&tenants, |it| tenant(it)).collect();
    let indented = lines.into_iter().map(|line| Line::new("  ").then(line));
    std::iter::once(tree(of)).chain(indented)
}

fn tenant(tenant: &TenantStatus) -> Line {
    let (paint, word) = match tenant.state {
        TenantState::Ready => (Paint::Green, "ready"),
        TenantState::Pending => (Paint::Yellow, "pending"),
        TenantState::Paused => (Paint::Yellow, "paused"),
        TenantState::Halted => (Paint::Red, "halted"),
        TenantState::Drifted => (Paint::Yellow, "drifted"),
        TenantState::Unwatched => (Paint::Dim, "not watched"),
    };
    let line = Line::new(format!("tenant {}  ", tenant.tenant)).paint(paint, word);
    match tenant.pending_files {
        0 => line,
        pending => line.text(format!(
            "  lag {}  pending {}",
            lag(tenant.lag_seconds),
            quantity::count(pending)
        )),
    }
}

fn peer(peer: &PeerStatus, now_s: u64) -> Vec<Line> {
    let (paint, word) = match peer.state {
        PeerState::Connected => (Paint::Green, "connected"),
        PeerState::Connecting => (Paint::Yellow, "connecting"),
        PeerState::Unreachable => (Paint::Red, "unreachable"),
        PeerState::Refused => (Paint::Red, "refused"),
    };
    let role = peer.role.map(|role| role.name());
    let first = Line::new(format!("{}  {}  ", peer.name, or_dash(role)))
        .paint(paint, word)
        .text(format!(
            "  {}  lag {}  pending {}  {}",
            or_dash(peer.address.as_deref()),
            lag(peer.lag_seconds),
            quantity::count(peer.pending_files),
            verified(peer.last_verify.as_ref(), now_s)
        ));
    let applied = peer.applied.iter().map(|applied| {
        let root = quantity::short(&applied.root);
        let generation = applied.generation;
        Line::new(format!(
            "  {}  generation {generation}  root {root}",
            applied.tree
        ))
    });
    std::iter::once(with_detail(first, peer.detail.as_deref()))
        .chain(applied)
        .collect()
}

fn lag(seconds: f64) -> String {
    if seconds > 0.0 {
        quantity::seconds(seconds)
    } else {
        "0 s".into()
    }
}

fn verified(last: Option<&LastVerify>, now_s: u64) -> String {
    let Some(last) = last else {
        return "never verified".into();
    };
    let ago = quantity::seconds(now_s.saturating_sub(last.unix_seconds).max(1) as f64);
    match last.differences {
        0 => format!("verified {ago} ago: in sync"),
        n => format!(
            "verified {ago} ago: {}",
            quantity::counted(n, "difference", "differences")
        ),
    }
}

fn halted(plan: &HaltedPlan) -> [Line; 2] {
    let whose = match &plan.tenant {
        Some(tenant) => format!("tenant {tenant} of {}", plan.tree),
        None => plan.tree.clone(),
    };
    let what = match plan.drifted {
        0 => format!(
            " plan {}: would delete {} of {} of {whose} on {}",
            plan.plan,
            quantity::count(plan.deletions),
            quantity::files(plan.files),
            plan.peer
        ),
        paths => {
            let place = match plan.peer.as_str() {
                "*" => "here".to_owned(),
                peer => format!("on {peer}"),
            };
            let paths = quantity::counted(paths, "path", "paths");
            format!(
                " plan {}: would replace {paths} of {whose} changed {place}",
                plan.plan
            )
        }
    };
    let release = format!("  approve it with: apim-sync release {}", plan.plan);
    [
        Line::painted(Paint::Red, "halted").text(what),
        Line::new(release),
    ]
}

fn held(held: &HeldPath) -> Line {
    Line::new(format!("{}:{}  ", held.tree, held.path.path)).paint(Paint::Yellow, &held.reason)
}

fn hook(hook: &HookStatus, now_s: u64) -> Line {
    let run = &hook.last;
    let paint = match run.outcome.succeeded() {
        true => Paint::Green,
        false => Paint::Red,
    };
    let ago = quantity::seconds(now_s.saturating_sub(run.unix_seconds).max(1) as f64);
    let took = quantity::seconds(run.seconds);
    Line::new(format!("{}  ", run.hook.name()))
        .paint(paint, run.outcome.to_string())
        .text(format!("  {ago} ago, took {took}"))
}

fn with_detail(line: Line, detail: Option<&str>) -> Line {
    match detail {
        Some(detail) => line.text(format!("  ({detail})")),
        None => line,
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use sync_daemon::events::{
        AppliedState, DriftCause, DriftKind, GuardStatus, Hook, HookOutcome, HookRun, PathText,
        Role,
    };

    use super::{super::drift::tests::drifted, *};

    /// An active node with one passive peer, all well.
    pub(crate) fn healthy() -> Status {
        Status {
            node: "apim-1".into(),
            id: "aa11".into(),
            role: Role::Active,
            conflict: None,
            epoch: 3,
            no_active: None,
            running: true,
            paused: false,
            paused_seconds: None,
            pauses: vec![],
            trees: vec![TreeStatus {
                name: "t".into(),
                path: "/opt/t".into(),
                files: 10_000,
                bytes: 18_500_000,
                root: "0123456789".into(),
                generation: 42,
                state: TreeState::Ready,
                detail: None,
                tenants: vec![],
            }],
            peers: vec![PeerStatus {
                name: "apim-2".into(),
                id: "bb22".into(),
                address: Some("10.0.0.2:7420".into()),
                role: Some(Role::Passive),
                state: PeerState::Connected,
                detail: None,
                applied: vec![AppliedState {
                    tree: "t".into(),
                    generation: 42,
                    root: "0123456789".into(),
                }],
                lag_seconds: 0.0,
                pending_files: 0,
                sent_bytes: 0,
                received_bytes: 0,
                last_verify: Some(LastVerify {
                    unix_seconds: 1_000,
                    differences: 0,
                }),
            }],
            guard: GuardStatus::default(),
            drift: vec![],
            drifted: 0,
            held: vec![],
            lease: None,
            hooks: vec![],
        }
    }

    fn shown(status: &Status) -> String {
        let lines: Vec<_> = screen(status, 1_200).iter().map(Line::plain).collect();
        lines.join("\n")
    }

    #[test]
    fn a_healthy_node_is_a_few_lines() {
        assert_eq!(
            shown(&healthy()),
            "\
apim-1  active  epoch 3  id aa11  daemon running
trees
  t  ready  10,000 files  18.5 MB  generation 42  root 01234567  /opt/t
peers
  apim-2  passive  connected  10.0.0.2:7420  lag 0 s  pending 0  verified 3 min 20 s ago: in sync
    t  generation 42  root 01234567"
        );
    }

    #[test]
    fn of_the_tenants_only_those_are_shown_that_are_not_in_order() {
        let mut status = healthy();
        let tenant = |tenant: &str, state, pending_files| TenantStatus {
            tenant: tenant.into(),
            root: "0123456789".into(),
            files: 4,
            bytes: 400,
            pending_files,
            lag_seconds: 3.0 * pending_files as f64,
            state,
            last_verify: None,
        };
        status.trees[0].tenants = vec![
            tenant("1", TenantState::Ready, 0),
            tenant("7", TenantState::Halted, 4),
            tenant("8", TenantState::Drifted, 0),
        ];
        status.pauses.push(PauseStatus {
            tree: Some("t".into()),
            tenant: Some("9".into()),
            seconds: None,
        });
        status.guard.plans.push(HaltedPlan {
            plan: "0123456789abcdef".into(),
            tree: "t".into(),
            peer: "apim-2".into(),
            tenant: Some("7".into()),
            deletions: 4,
            files: 4,
            drifted: 0,
        });
        let text = shown(&status);
        for expected in [
            "/opt/t\n    tenant 7  halted  lag 12.00 s  pending 4\n    tenant 8  drifted\npeers\n",
            "would delete 4 of 4 files of tenant 7 of t on apim-2\n",
            "\nsending of tenant 9 of t is paused until `apim-sync resume --tenant 9`\ntrees\n",
        ] {
            assert!(text.contains(expected), "{expected:?} in\n{text}");
        }
    }

    #[test]
    fn trouble_is_said_with_what_to_do() {
        let mut status = healthy();
        status.running = false;
        status.paused = true;
        status.peers.clear();
        status.trees.clear();
        status.guard.plans.push(HaltedPlan {
            plan: "0123456789abcdef".into(),
            tree: "t".into(),
            peer: "apim-2".into(),
            tenant: None,
            deletions: 120,
            files: 400,
            drifted: 0,
        });
        status.drift.extend(
            (0..22).map(|n| drifted(&format!("{n}.xml"), DriftCause::Rejected, DriftKind::Edited)),
        );
        status.held.push(HeldPath {
            tree: "t".into(),
            path: PathText {
                path: "b.xml".into(),
                escaped: false,
            },
            reason: "not well-formed at line 3".into(),
        });
        status.hooks.push(HookStatus {
            last: HookRun {
                hook: Hook::OnPromote,
                unix_seconds: 1_190,
                outcome: HookOutcome::Exited { code: 3 },
                seconds: 2.0,
            },
            runs: 1,
            failures: 1,
        });
        let text = shown(&status);
        for expected in [
            "daemon not running\nsending is paused until `apim-sync resume`\nguard\n",
            "  halted plan 0123456789abcdef: would delete 120 of 400 files of t on apim-2\n",
            "    approve it with: apim-sync release 0123456789abcdef\n",
            "drift\n  t:0.xml  rejected by the deployer\n",
            "  t:19.xml  rejected by the deployer\n  and 2 more: --json\n  rejected: the passive",
            "held\n  t:b.xml  not well-formed at line 3",
            "hooks\n  on_promote  exit code 3  10.00 s ago, took 2.00 s",
        ] {
            assert!(text.contains(expected), "{expected:?} in\n{text}");
        }
    }
}
