//! Two manifests beside each other.

use std::sync::Arc;

use super::{
    Difference,
    node::{Items, Kind, Node},
    record::Record,
};

/// One path of either manifest: what the first and the second have there.
type Pair<'a> = (Option<Record<'a>>, Option<Record<'a>>);

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
pub(super) fn differ(
    ours: Option<&Arc<Node>>,
    theirs: Option<&Arc<Node>>,
    depth: usize,
    out: &mut Vec<Difference>,
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
    out.extend(pairs.filter_map(difference));
}

fn difference((ours, theirs): Pair<'_>) -> Option<Difference> {
    if let (Some(ours), Some(theirs)) = (ours, theirs)
        && ours.same_identity(theirs)
    {
        return None;
    }
    Some(Difference {
        path: ours.or(theirs)?.path(),
        ours: ours.map(Record::entry),
        theirs: theirs.map(Record::entry),
    })
}
