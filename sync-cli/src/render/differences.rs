//! What a verify found.

use sync_daemon::audit_log::Evidence;
use sync_daemon::events::{DifferenceKind, DifferenceReport, SameReport, VerifySummary};

use super::{changes::place, quantity};
use crate::terminal::{Line, Paint};

fn paint(kind: DifferenceKind) -> Paint {
    match kind {
        DifferenceKind::Missing | DifferenceKind::Unreadable => Paint::Red,
        DifferenceKind::Extra | DifferenceKind::Content => Paint::Yellow,
        DifferenceKind::Metadata => Paint::Dim,
    }
}

fn word(kind: DifferenceKind) -> &'static str {
    match kind {
        DifferenceKind::Missing => "missing   ",
        DifferenceKind::Extra => "extra     ",
        DifferenceKind::Content => "content   ",
        DifferenceKind::Metadata => "metadata  ",
        DifferenceKind::Unreadable => "unreadable",
    }
}

fn symbol(kind: DifferenceKind) -> &'static str {
    match kind {
        DifferenceKind::Missing => "+",
        DifferenceKind::Extra => "-",
        DifferenceKind::Content | DifferenceKind::Metadata => "*",
        DifferenceKind::Unreadable => "!",
    }
}

/// A difference in words.
pub(crate) fn in_words(difference: &DifferenceReport, several_trees: bool) -> Line {
    let place = place(&difference.tree, &difference.path.path, several_trees);
    let line = Line::painted(paint(difference.kind), word(difference.kind));
    let line = line.text(format!("  {place}"));
    if difference.detail.is_empty() {
        line
    } else {
        line.paint(Paint::Dim, format!("  ({})", difference.detail))
    }
}

/// A difference as one of rclone's symbols.
pub(crate) fn combined(difference: &DifferenceReport, several_trees: bool) -> Line {
    let place = place(&difference.tree, &difference.path.path, several_trees);
    Line::painted(paint(difference.kind), symbol(difference.kind)).text(format!(" {place}"))
}

/// An equal path as rclone's symbol.
pub(crate) fn same(same: &SameReport, several_trees: bool) -> Line {
    let place = place(&same.tree, &same.path.path, several_trees);
    Line::new(format!("= {place}"))
}

/// The end of one tree with one peer.
pub(crate) fn summary(summary: &VerifySummary) -> Line {
    let pair = match &summary.tenant {
        Some(tenant) => format!("tenant {tenant} of {} and {}", summary.tree, summary.peer),
        None => format!("{} and {}", summary.tree, summary.peer),
    };
    let line = Line::painted(Paint::Bold, pair).text(": ");
    let compared = format!(
        "{}, {}, {}",
        quantity::files(summary.files),
        quantity::bytes(summary.bytes),
        quantity::seconds(summary.seconds)
    );
    let here = quantity::short(&summary.root_local);
    if summary.in_sync {
        return line
            .paint(Paint::Green, "in sync")
            .text(format!(", root {here} ({compared})"));
    }
    let there = quantity::short(&summary.root_peer);
    let differences = quantity::counted(summary.differences, "difference", "differences");
    line.paint(Paint::Red, differences).text(format!(
        ", roots {here} here and {there} there ({compared})"
    ))
}

/// Where a signed result is.
pub(crate) fn evidence(evidence: &Evidence) -> Line {
    let (record, file) = (evidence.record, &evidence.file);
    let hash = quantity::short(&evidence.hash);
    Line::new(format!(
        "signed as record {record} ({hash}) of {file} in the state directory"
    ))
}

#[cfg(test)]
mod tests {
    use sync_daemon::events::PathText;

    use super::*;

    fn difference(kind: DifferenceKind, detail: &str) -> DifferenceReport {
        DifferenceReport {
            tree: "t".into(),
            tenant: None,
            peer: "p".into(),
            path: PathText {
                path: "a%0A.xml".into(),
                escaped: true,
            },
            kind,
            detail: detail.into(),
        }
    }

    #[test]
    fn every_kind_has_a_word_and_a_symbol() {
        use DifferenceKind::{Content, Extra, Metadata, Missing, Unreadable};
        let cases = [
            (Missing, "missing     a%0A.xml", "+ a%0A.xml"),
            (Extra, "extra       a%0A.xml", "- a%0A.xml"),
            (Content, "content     a%0A.xml", "* a%0A.xml"),
            (Metadata, "metadata    a%0A.xml", "* a%0A.xml"),
            (Unreadable, "unreadable  a%0A.xml", "! a%0A.xml"),
        ];
        for (kind, words, symbol) in cases {
            assert_eq!(in_words(&difference(kind, ""), false).plain(), words);
            assert_eq!(combined(&difference(kind, ""), false).plain(), symbol);
        }
        assert_eq!(
            in_words(&difference(Metadata, "mode 644 here, 600 there"), true).plain(),
            "metadata    t:a%0A.xml  (mode 644 here, 600 there)"
        );
    }

    #[test]
    fn the_summary_says_in_sync_or_how_far_apart() {
        let equal = VerifySummary {
            tree: "t".into(),
            tenant: None,
            peer: "p".into(),
            files: 10_000,
            bytes: 18_500_000,
            differences: 0,
            root_local: "0123456789".into(),
            root_peer: "0123456789".into(),
            seconds: 0.2,
            in_sync: true,
            evidence: None,
        };
        assert_eq!(
            summary(&equal).plain(),
            "t and p: in sync, root 01234567 (10,000 files, 18.5 MB, 200 ms)"
        );
        let of_one = VerifySummary {
            tenant: Some("7".into()),
            ..equal.clone()
        };
        let text = summary(&of_one).plain();
        assert!(text.starts_with("tenant 7 of t and p: in sync"), "{text}");
        let apart = VerifySummary {
            differences: 1,
            root_peer: "9876543210".into(),
            in_sync: false,
            evidence: None,
            ..equal
        };
        assert_eq!(
            summary(&apart).plain(),
            "t and p: 1 difference, roots 01234567 here and 98765432 there \
             (10,000 files, 18.5 MB, 200 ms)"
        );
    }
}
