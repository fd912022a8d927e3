//! Two manifests beside each other.

use std::sync::Arc;

use super::{
    Difference,
    node::{Items, Kind, Node},
    record::Record,
};

/// One path of either manifest: what the first and the second have there.
type Pair<'a> = (Option<Record<'a>>, Option<Record<'a>>);

/// Every path on which two tries differ, by path.
pub(super) fn differences(ours: &Arc<Node>, theirs: &Arc<Node>) -> Vec<Difference> {
    let mut pairs = Vec::new();
    differ(Some(ours), Some(theirs), 0, &mut pairs);
    // Sorted while they are small: what a difference holds is four times as large.
    pairs.sort_unstable_by(|one, other| path_of(one).cmp(&path_of(other)));
    pairs.into_iter().filter_map(difference).collect()
}

fn path_of<'a>((ours, theirs): &Pair<'a>) -> Option<&'a [u8]> {
    Some(ours.or(*theirs)?.path_bytes())
}

/// Every path of either, once, in the order of the keys.
struct Pairs<'a> {
    ours: std::iter::Peekable<Items<'a>>,
    theirs: std::iter::Peekable<Items<'a>>,
}

impl<'a> Pairs<'a> {
    fn of(ours: Option<&'a Node>, theirs: Option<&'a Node>) -> Self {
        Self {
            ours: Items::of_any(ours).peekable(),
            theirs: Items::of_any(theirs).peekable(),
        }
    }
}

impl<'a> Iterator for Pairs<'a> {
    type Item = Pair<'a>;

    fn next(&mut self) -> Option<Pair<'a>> {
        let order = match (self.ours.peek(), self.theirs.peek()) {
            (Some(a), Some(b)) => a.order(b),
            (Some(_), None) => std::cmp::Ordering::Less,
            (None, Some(_)) => std::cmp::Ordering::Greater,
            (None, None) => return None,
        };
        let ours = if order.is_le() {
            self.ours.next()
        } else {
            None
        };
        let theirs = if order.is_ge() {
            self.theirs.next()
        } else {
            None
        };
        Some((ours.map(|it| it.record), theirs.map(|it| it.record)))
    }
}

/// Appends what differs between two nodes `depth` nibbles below the top, in no
/// order. Equal nodes are not entered.
fn differ<'a>(
    ours: Option<&'a Arc<Node>>,
    theirs: Option<&'a Arc<Node>>,
    depth: usize,
    out: &mut Vec<Pair<'a>>,
) {
    if let (Some(a), Some(b)) = (ours, theirs) {
        if Arc::ptr_eq(a, b) || a.hash(depth) == b.hash(depth) {
            return;
        }
        if let (Kind::Inner(a), Kind::Inner(b)) = (&a.kind, &b.kind) {
            for (a, b) in a.children.iter().zip(&b.children) {
                differ(a.as_ref(), b.as_ref(), depth + 1, out);
            }
            return;
        }
    }
    let pairs = Pairs::of(ours.map(|node| &**node), theirs.map(|node| &**node));
    out.extend(pairs.filter(|pair| !is_same(pair)));
}

fn is_same(pair: &Pair<'_>) -> bool {
    matches!(pair, (Some(ours), Some(theirs)) if ours.same_identity(*theirs))
}

fn difference((ours, theirs): Pair<'_>) -> Option<Difference> {
    Some(Difference {
        path: ours.or(theirs)?.path(),
        ours: ours.map(Record::entry),
        theirs: theirs.map(Record::entry),
    })
}
