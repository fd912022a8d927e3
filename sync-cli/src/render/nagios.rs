//! One line and an exit code for Nagios.

use sync_daemon::events::{
    DriftCause, HookStatus, LeaseStatus, PeerState, PeerStatus, Role, Status, TreeState, TreeStatus,
};

/// Lag above which a warning is given: far above any settle time.
const LAG_WARN_S: f64 = 60.0;
/// Lag that is critical: longer than the default rescan interval.
const LAG_CRITICAL_S: f64 = 600.0;

/// Nagios's four states, in order of their exit codes.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(crate) enum Level {
    Ok,
    Warning,
    Critical,
    Unknown,
}

impl Level {
    pub(crate) fn exit_code(self) -> u8 {
        self as u8
    }

    fn word(self) -> &'static str {
        match self {
            Self::Ok => "OK",
            Self::Warning => "WARNING",
            Self::Critical => "CRITICAL",
            Self::Unknown => "UNKNOWN",
        }
    }
}

/// The plugin's line for a level and what is to be said.
pub(crate) fn line(level: Level, text: &str) -> String {
    // A bar begins the performance data.
    let text = text.replace('|', "/");
    format!("APIM-SYNC {} - {text}", level.word())
}

/// The level of `status` and the plugin's line.
pub(crate) fn judge(status: &Status) -> (Level, String) {
    let findings = findings(status);
    let level = findings.iter().map(|(level, _)| *level).max();
    let level = level.unwrap_or(Level::Ok);
    let text = if findings.is_empty() {
        format!(
            "{} is {}, {} in sync",
            status.node,
            status.role.name(),
            peers(status)
        )
    } else {
        let texts: Vec<_> = findings.into_iter().map(|(_, text)| text).collect();
        texts.join("; ")
    };
    let line = format!("{} | {}", line(level, &text), performance(status));
    (level, line)
}

fn peers(status: &Status) -> String {
    super::quantity::counted(status.peers.len() as u64, "peer", "peers")
}

/// Something that is not as it should be, and how bad it is.
type Finding = (Level, String);

fn findings(status: &Status) -> Vec<Finding> {
    let down = (Level::Critical, "the daemon does not run".to_owned());
    let mut found: Vec<Finding> = (!status.running).then_some(down).into_iter().collect();
    found.extend(status.conflict.as_ref().map(|conflict| {
        let text = format!("conflict of roles with {}", conflict.peer);
        (Level::Critical, text)
    }));
    let unled = status.no_active.as_ref();
    found.extend(unled.map(|_| (Level::Critical, "no node is active".to_owned())));
    found.extend(status.lease.as_ref().and_then(|it| lease(it, status.role)));
    found.extend(status.trees.iter().filter_map(tree));
    for peer in &status.peers {
        found.extend(
            [link(peer), lag(peer), verified(peer)]
                .into_iter()
                .flatten(),
        );
    }
    let plans = status.guard.plans.iter();
    found.extend(plans.map(|plan| (Level::Critical, format!("plan {} is halted", plan.plan))));
    found.extend(
        DriftCause::ALL
            .into_iter()
            .filter_map(|cause| drifted(status, cause)),
    );
    let held = status.held.len();
    found.extend((held > 0).then(|| (Level::Warning, format!("{held} held"))));
    found.extend(status.hooks.iter().filter_map(hook));
    let paused = (Level::Warning, "sending is paused".to_owned());
    found.extend(status.paused.then_some(paused));
    let parts = status.pauses.len();
    let paused_in_part = (
        Level::Warning,
        format!("{parts} trees or tenants are paused"),
    );
    found.extend((parts > 0).then_some(paused_in_part));
    found
}

fn drifted(status: &Status, cause: DriftCause) -> Option<Finding> {
    let count = status.drift.iter().filter(|it| it.cause == cause).count();
    let text = match cause {
        DriftCause::Edited => format!("{count} drifted"),
        DriftCause::Rejected => format!("{count} rejected by the deployer"),
        DriftCause::Restored => format!("{count} restored by the deployer"),
    };
    (count > 0).then_some((Level::Warning, text))
}

fn lease(lease: &LeaseStatus, role: Role) -> Option<Finding> {
    let detail = lease.detail.as_deref().unwrap_or("another node has it");
    match (role, lease.held, &lease.detail) {
        (Role::Active, false, _) => Some((Level::Critical, format!("no lease: {detail}"))),
        (_, _, Some(detail)) => Some((Level::Warning, format!("lease: {detail}"))),
        (_, _, None) => None,
    }
}

fn hook(hook: &HookStatus) -> Option<Finding> {
    let outcome = &hook.last.outcome;
    let text = format!("{}: {outcome}", hook.last.hook.name());
    (!outcome.succeeded()).then_some((Level::Warning, text))
}

fn tree(tree: &TreeStatus) -> Option<Finding> {
    let word = match tree.state {
        TreeState::Halted => "halted",
        TreeState::Unavailable => "unavailable",
        TreeState::Ready | TreeState::Scanning | TreeState::Empty | TreeState::Unwatched => {
            return None;
        }
    };
    Some((Level::Critical, format!("tree {} is {word}", tree.name)))
}

fn link(peer: &PeerStatus) -> Option<Finding> {
    let (level, word) = match peer.state {
        PeerState::Connected => return None,
        PeerState::Connecting => (Level::Warning, "connecting"),
        PeerState::Unreachable => (Level::Critical, "unreachable"),
        PeerState::Refused => (Level::Critical, "refused"),
    };
    Some((level, format!("{} is {word}", peer.name)))
}

fn lag(peer: &PeerStatus) -> Option<Finding> {
    let level = match peer.lag_seconds {
        lag if lag >= LAG_CRITICAL_S => Level::Critical,
        lag if lag >= LAG_WARN_S => Level::Warning,
        _ => return None,
    };
    Some((
        level,
        format!("{} lags {:.0} s", peer.name, peer.lag_seconds),
    ))
}

fn verified(peer: &PeerStatus) -> Option<Finding> {
    let differences = peer.last_verify.as_ref()?.differences;
    let text = || format!("{} had {differences} differences when verified", peer.name);
    (differences > 0).then(|| (Level::Warning, text()))
}

fn performance(status: &Status) -> String {
    let lag = status
        .peers
        .iter()
        .map(|it| it.lag_seconds)
        .fold(0.0, f64::max);
    let pending: u64 = status.peers.iter().map(|it| it.pending_files).sum();
    format!(
        "lag={lag:.3}s;{LAG_WARN_S:.0};{LAG_CRITICAL_S:.0};0 pending={pending};;;0 drift={};;;0 held={};;;0",
        status.drifted,
        status.held.len()
    )
}

#[cfg(test)]
mod tests {
    use sync_daemon::events::DriftKind;

    use super::*;
    use crate::render::{drift::tests::drifted, status::tests::healthy};

    #[test]
    fn a_healthy_pair_is_ok() {
        let (level, line) = judge(&healthy());
        assert_eq!(level.exit_code(), 0);
        assert_eq!(
            line,
            "APIM-SYNC OK - apim-1 is active, 1 peer in sync | \
             lag=0.000s;60;600;0 pending=0;;;0 drift=0;;;0 held=0;;;0"
        );
    }

    #[test]
    fn the_worst_finding_decides() {
        let mut status = healthy();
        status.paused = true;
        assert_eq!(judge(&status).0, Level::Warning);
        status.peers[0].lag_seconds = 700.0;
        let (level, line) = judge(&status);
        assert_eq!(level.exit_code(), 2);
        assert!(
            line.starts_with("APIM-SYNC CRITICAL - apim-2 lags 700 s; sending is paused | lag=700"),
            "{line}"
        );
    }

    #[test]
    fn drift_warns_by_cause() {
        let mut status = healthy();
        let path = |cause| drifted("a.xml", cause, DriftKind::Edited);
        let causes = [
            DriftCause::Edited,
            DriftCause::Rejected,
            DriftCause::Rejected,
        ];
        status.drift = causes.map(path).into();
        status.drifted = 3;
        let (level, line) = judge(&status);
        assert_eq!(level, Level::Warning);
        assert!(
            line.starts_with("APIM-SYNC WARNING - 1 drifted; 2 rejected by the deployer | "),
            "{line}"
        );
        assert!(line.contains(" drift=3;"), "{line}");
    }

    #[test]
    fn text_cannot_forge_performance_data() {
        assert_eq!(
            line(Level::Unknown, "a | b=1"),
            "APIM-SYNC UNKNOWN - a / b=1"
        );
    }
}
