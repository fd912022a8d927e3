//! What a push or a bootstrap changed.

use sync_daemon::events::{ChangeAction, ChangeReport, RejectedReport, TransferSummary};

use super::quantity;
use crate::terminal::{Line, Paint};

/// Which way contents went.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Direction {
    ToPeer,
    FromPeer,
}

/// `path`, with the tree before it where there are several.
pub(crate) fn place(tree: &str, path: &str, several_trees: bool) -> String {
    if several_trees {
        format!("{tree}:{path}")
    } else {
        path.to_owned()
    }
}

/// rsync's eleven columns and the path.
pub(crate) fn itemized(change: &ChangeReport, several_trees: bool) -> Line {
    let place = place(&change.tree, &change.path.path, several_trees);
    Line::new(format!("{} {place}{}", change.itemized, from(change)))
}

/// The change in words.
pub(crate) fn in_words(change: &ChangeReport, several_trees: bool) -> Line {
    let (paint, word) = match change.action {
        ChangeAction::Create => (Paint::Green, "create  "),
        ChangeAction::Update => (Paint::Yellow, "update  "),
        ChangeAction::Delete => (Paint::Red, "delete  "),
        ChangeAction::Metadata => (Paint::Dim, "metadata"),
        ChangeAction::Rename => (Paint::Yellow, "rename  "),
    };
    let place = place(&change.tree, &change.path.path, several_trees);
    Line::painted(paint, word).text(format!("  {place}{}", from(change)))
}

fn from(change: &ChangeReport) -> String {
    let from = change.from.as_ref();
    from.map_or_else(String::new, |old| format!(" (from {old})"))
}

/// A path that the deployer did not take.
pub(crate) fn rejected(rejected: &RejectedReport, several_trees: bool) -> Line {
    let place = place(&rejected.tree, &rejected.path.path, several_trees);
    Line::painted(Paint::Red, "rejected")
        .text(format!("  {place} by the deployer of {}", rejected.peer))
}

/// The end of one tree with one peer.
pub(crate) fn summary(summary: &TransferSummary, direction: Direction) -> Line {
    let (arrow, verb, moved) = match direction {
        Direction::ToPeer => ("->", "sent", summary.sent_bytes),
        Direction::FromPeer => ("<-", "received", summary.received_bytes),
    };
    let pair = format!("{} {arrow} {}", summary.tree, summary.peer);
    let line = Line::painted(Paint::Bold, pair);
    let took = quantity::seconds(summary.seconds);
    let generation = summary.generation;
    let deployed = match summary.deployed {
        Some(true) => ", deployed",
        Some(false) => ", not wholly deployed",
        None => "",
    };
    if summary.files == 0 {
        let root = quantity::short(&summary.root);
        return line.text(format!(
            ": nothing differs (generation {generation}, root {root}){deployed}, {took}"
        ));
    }
    let changes = quantity::counted(summary.files, "change", "changes");
    let bytes = quantity::bytes(summary.bytes);
    if summary.dry_run {
        return line.text(format!(": would make {changes}, {bytes} of content"));
    }
    let moved = quantity::bytes(moved);
    line.text(format!(
        ": {changes}, {bytes} of content, {verb} {moved}, generation {generation}{deployed}, {took}"
    ))
}

/// The totals that `--stats` adds.
pub(crate) fn stats(summary: &TransferSummary) -> Vec<Line> {
    let moved = summary.sent_bytes + summary.received_bytes;
    let mut rows = vec![
        ("changes", quantity::count(summary.files)),
        ("content", exact(summary.bytes)),
        ("sent", exact(summary.sent_bytes)),
        ("received", exact(summary.received_bytes)),
        ("generation", summary.generation.to_string()),
        ("root", summary.root.clone()),
        ("time", quantity::seconds(summary.seconds)),
    ];
    rows.extend(quantity::rate(moved, summary.seconds).map(|rate| ("rate", rate)));
    rows.into_iter()
        .map(|(name, value)| Line::new(format!("  {name:<11}{value}")))
        .collect()
}

fn exact(bytes: u64) -> String {
    quantity::counted(bytes, "byte", "bytes")
}

#[cfg(test)]
mod tests {
    use sync_daemon::events::PathText;

    use super::*;

    fn change() -> ChangeReport {
        ChangeReport {
            tree: "t".into(),
            peer: "p".into(),
            path: PathText {
                path: "default/api/a.xml".into(),
                escaped: false,
            },
            action: ChangeAction::Rename,
            from: Some("default/api/b.xml".into()),
            itemized: "<f+++++++++".into(),
            bytes: 10,
            sent_bytes: 0,
        }
    }

    fn transfer() -> TransferSummary {
        TransferSummary {
            tree: "t".into(),
            peer: "p".into(),
            files: 3,
            bytes: 4_100,
            sent_bytes: 812,
            received_bytes: 90,
            generation: 42,
            root: "0123456789abcdef".into(),
            seconds: 0.012,
            dry_run: false,
            deployed: None,
        }
    }

    #[test]
    fn an_itemized_line_is_eleven_columns_and_the_path() {
        assert_eq!(
            itemized(&change(), false).plain(),
            "<f+++++++++ default/api/a.xml (from default/api/b.xml)"
        );
        let deleted = ChangeReport {
            action: ChangeAction::Delete,
            from: None,
            itemized: "*deleting  ".into(),
            ..change()
        };
        assert_eq!(
            itemized(&deleted, true).plain(),
            "*deleting   t:default/api/a.xml"
        );
    }

    #[test]
    fn changes_in_words_line_up() {
        assert_eq!(
            in_words(&change(), false).plain(),
            "rename    default/api/a.xml (from default/api/b.xml)"
        );
    }

    #[test]
    fn summaries_read_as_sentences() {
        let shown = |it: &TransferSummary, way| summary(it, way).plain();
        assert_eq!(
            shown(&transfer(), Direction::ToPeer),
            "t -> p: 3 changes, 4.10 kB of content, sent 812 B, generation 42, 12 ms"
        );
        assert_eq!(
            shown(&transfer(), Direction::FromPeer),
            "t <- p: 3 changes, 4.10 kB of content, received 90 B, generation 42, 12 ms"
        );
        let dry = TransferSummary {
            dry_run: true,
            ..transfer()
        };
        assert_eq!(
            shown(&dry, Direction::ToPeer),
            "t -> p: would make 3 changes, 4.10 kB of content"
        );
        let none = TransferSummary {
            files: 0,
            ..transfer()
        };
        assert_eq!(
            shown(&none, Direction::ToPeer),
            "t -> p: nothing differs (generation 42, root 01234567), 12 ms"
        );
    }

    #[test]
    fn what_the_deployer_made_of_it_is_said() {
        let took_it = TransferSummary {
            deployed: Some(true),
            ..transfer()
        };
        assert!(
            summary(&took_it, Direction::ToPeer)
                .plain()
                .ends_with("generation 42, deployed, 12 ms")
        );
        let refused = TransferSummary {
            deployed: Some(false),
            files: 0,
            ..transfer()
        };
        assert!(
            summary(&refused, Direction::ToPeer)
                .plain()
                .ends_with(", not wholly deployed, 12 ms")
        );
        let path = RejectedReport {
            tree: "t".into(),
            peer: "apim-2".into(),
            path: change().path,
        };
        assert_eq!(
            rejected(&path, false).plain(),
            "rejected  default/api/a.xml by the deployer of apim-2"
        );
    }

    #[test]
    fn stats_give_exact_numbers() {
        let shown: Vec<_> = stats(&transfer()).iter().map(Line::plain).collect();
        assert_eq!(
            shown,
            [
                "  changes    3",
                "  content    4,100 bytes",
                "  sent       812 bytes",
                "  received   90 bytes",
                "  generation 42",
                "  root       0123456789abcdef",
                "  time       12 ms",
                "  rate       75.2 kB/s",
            ]
        );
    }
}
