//! Paths of a passive that are not as agreed, and what to do about them.

use std::collections::BTreeSet;

use sync_daemon::events::{Drift, DriftCause, DriftKind};

use super::quantity;
use crate::terminal::{Line, Paint};

/// Drifted and held paths shown; `--json` has them all.
const PATHS_SHOWN_MAX: usize = 20;

/// The section of a status about `in_all` paths, of which `drift` are the first;
/// `now_s` is the time in seconds since 1970.
pub(super) fn lines(drift: &[Drift], in_all: u64, now_s: u64) -> Vec<Line> {
    let in_all = usize::try_from(in_all).unwrap_or(usize::MAX);
    let mut lines: Vec<Line> = first_of(drift, in_all.max(drift.len()), path).collect();
    lines.extend(away(drift, now_s));
    let causes: BTreeSet<DriftCause> = drift.iter().map(|it| it.cause).collect();
    lines.extend(causes.into_iter().map(|cause| Line::new(advice(cause))));
    lines
}

/// The first few, and how many more there are.
pub(super) fn listed<T>(
    items: &[T],
    line: fn(&T) -> Line,
) -> impl Iterator<Item = Line> + use<'_, T> {
    first_of(items, items.len(), line)
}

/// The first few, and how many more there are of `in_all`.
fn first_of<T>(
    items: &[T],
    in_all: usize,
    line: fn(&T) -> Line,
) -> impl Iterator<Item = Line> + use<'_, T> {
    let more = in_all - items.len().min(PATHS_SHOWN_MAX);
    let rest = (more > 0).then(|| Line::painted(Paint::Dim, format!("and {more} more: --json")));
    items.iter().take(PATHS_SHOWN_MAX).map(line).chain(rest)
}

fn path(drift: &Drift) -> Line {
    let where_ = match &drift.peer {
        Some(peer) => format!("on {peer}"),
        None => "here".to_owned(),
    };
    let words = match (drift.cause, drift.kind) {
        (DriftCause::Rejected, _) => in_deployers_words("rejected", drift),
        (DriftCause::Restored, _) => in_deployers_words("restored", drift),
        (DriftCause::Edited, DriftKind::Edited) => format!("edited {where_}"),
        (DriftCause::Edited, DriftKind::Deleted) => format!("deleted {where_}"),
        (DriftCause::Edited, DriftKind::Created) => format!("created {where_}"),
    };
    Line::new(format!("{}:{}  ", drift.tree, drift.path.path)).paint(Paint::Yellow, words)
}

fn in_deployers_words(what: &str, drift: &Drift) -> String {
    let peer = drift.peer.as_ref();
    let of = peer.map_or_else(String::new, |peer| format!(" of {peer}"));
    format!("{what} by the deployer{of}")
}

/// Peers that are away: what was said of them may have changed since.
fn away(drift: &[Drift], now_s: u64) -> Vec<Line> {
    let of_peer = |it: &Drift| Some((it.peer.clone()?, it.as_of_unix_seconds?));
    let peers: BTreeSet<(String, u64)> = drift.iter().filter_map(of_peer).collect();
    let line = |(peer, as_of): (String, u64)| {
        let ago = quantity::seconds(now_s.saturating_sub(as_of).max(1) as f64);
        Line::painted(Paint::Dim, format!("{peer} is away: as of {ago} ago"))
    };
    peers.into_iter().map(line).collect()
}

fn advice(cause: DriftCause) -> &'static str {
    match cause {
        DriftCause::Edited => {
            "edited, deleted, created: `apim-sync push` on the active replaces it and keeps it aside; by the policy `hold` after `apim-sync release`"
        }
        DriftCause::Rejected => {
            "rejected: the passive server's log says why; correct it on the active, the next save goes out by itself"
        }
        DriftCause::Restored => {
            "restored: the server always writes this one again; bring it back on the active, or exclude it on both nodes"
        }
    }
}

#[cfg(test)]
pub(super) mod tests {
    use sync_daemon::events::PathText;

    use super::*;

    pub(crate) fn drifted(path: &str, cause: DriftCause, kind: DriftKind) -> Drift {
        Drift {
            tree: "t".into(),
            path: PathText {
                path: path.into(),
                escaped: false,
            },
            kind,
            cause,
            peer: None,
            as_of_unix_seconds: None,
        }
    }

    fn shown(drift: &[Drift]) -> String {
        let lines: Vec<_> = lines(drift, 0, 1_090).iter().map(Line::plain).collect();
        lines.join("\n")
    }

    #[test]
    fn each_path_says_who_did_what_and_each_cause_what_to_do() {
        let text = shown(&[
            drifted("a.xml", DriftCause::Rejected, DriftKind::Deleted),
            drifted("b.xml", DriftCause::Edited, DriftKind::Created),
            drifted("main.xml", DriftCause::Restored, DriftKind::Created),
        ]);
        assert_eq!(
            text,
            "\
t:a.xml  rejected by the deployer
t:b.xml  created here
t:main.xml  restored by the deployer
edited, deleted, created: `apim-sync push` on the active replaces it and keeps it aside; by the policy `hold` after `apim-sync release`
rejected: the passive server's log says why; correct it on the active, the next save goes out by itself
restored: the server always writes this one again; bring it back on the active, or exclude it on both nodes"
        );
    }

    #[test]
    fn paths_that_are_not_named_are_counted() {
        let path = drifted("a.xml", DriftCause::Edited, DriftKind::Edited);
        let lines = lines(&vec![path; 30], 1_500, 0);
        assert_eq!(lines[20].plain(), "and 1480 more: --json");
    }

    #[test]
    fn what_a_peer_said_names_the_peer_and_its_age() {
        let of_peer = |drift: Drift, as_of_unix_seconds| Drift {
            peer: Some("apim-2".into()),
            as_of_unix_seconds,
            ..drift
        };
        let edited = drifted("b.xml", DriftCause::Edited, DriftKind::Edited);
        let rejected = drifted("a.xml", DriftCause::Rejected, DriftKind::Edited);
        let text = shown(&[of_peer(edited.clone(), None), of_peer(rejected, None)]);
        assert!(text.starts_with(
            "t:b.xml  edited on apim-2\nt:a.xml  rejected by the deployer of apim-2\nedited"
        ));
        let text = shown(&[of_peer(edited, Some(1_000))]);
        assert!(
            text.contains("\napim-2 is away: as of 1 min 30 s ago\n"),
            "{text}"
        );
    }
}
