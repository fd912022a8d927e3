//! The manifest against a plain map, and its roots pinned.

use std::collections::{BTreeMap, BTreeSet};

use proptest::prelude::*;

use super::*;
use crate::sample::{directory, file, path, tree};

/// The root is what two nodes of different releases compare: it must never
/// change within a version of the protocol.
#[test]
fn roots_are_pinned() {
    let small = "default/ 755
        default/api/ 750
        default/api/a.xml v1
        default/api/b.xml v2 600
        current -> default";
    let cases = [
        (
            String::new(),
            "1f78d404d1c5f8f8267acfa55aebf35468cda733ba47289d79129896fa1635d7",
        ),
        (
            small.to_owned(),
            "3f07819815f545782db9c886635f99417fa84565c361f2b2f0afa9d373a4f5d3",
        ),
        (
            (0..40).map(|n| format!("{n} v{n}\n")).collect(),
            "314aa57884e78afa20f5b7ae944057f59d90f8350d0f61d5283ee7dbc3e32897",
        ),
    ];
    for (text, root) in cases {
        assert_eq!(tree(&text).root().to_string(), root, "{text}");
    }
}

#[test]
fn the_last_of_entries_with_one_path_counts() {
    let twice = [
        (path("a"), file("old")),
        (path("b"), directory()),
        (path("a"), file("newer")),
    ];
    let manifest = Manifest::from_entries(twice);
    assert_eq!(manifest, tree("a newer\nb/"));
    let totals = Totals {
        entries: 2,
        files: 1,
        bytes: 5,
    };
    assert_eq!(manifest.totals(), totals);
}

#[test]
fn the_root_covers_everything_but_modification_times() {
    let base = tree("a x\nd/\nl -> a");
    for other in [
        "a y\nd/\nl -> a",
        "a x 600\nd/\nl -> a",
        "a x\nd/ 700\nl -> a",
        "a x\nd/\nl -> d",
        "a x\nd/\nl a",
        "a x\nd/",
        "b x\nd/\nl -> a",
    ] {
        assert_ne!(tree(other), base, "{other}");
    }
    let mut touched = base.clone();
    let Some(Entry::File(mut file)) = touched.remove(&path("a")) else {
        panic!("a file")
    };
    file.mtime.seconds += 1;
    touched.insert(path("a"), Entry::File(file));
    assert_eq!(touched, base);
    assert_eq!(touched.diff(&base), []);
}

#[test]
fn a_clone_does_not_see_later_changes() {
    let text: String = (0..100).map(|n| format!("{n} v\n")).collect();
    let original = tree(&text);
    let root = original.root();
    let mut copy = original.clone();
    copy.insert(path("new"), file("x"));
    copy.remove(&path("50"));
    assert_eq!(original.root(), root);
    assert!(original.get(&path("50")).is_some() && original.get(&path("new")).is_none());
}

type Model = BTreeMap<RelPath, Entry>;

fn name(number: u16) -> RelPath {
    path(&format!("dir/{number}"))
}

/// Inserts and removes over few names, so that both meet often.
fn any_edits() -> impl Strategy<Value = Vec<(u16, Option<u8>)>> {
    prop::collection::vec((0..120u16, prop::option::weighted(0.6, 0..3u8)), 0..300)
}

/// Carries out edits on a manifest and on a map side by side.
fn edited(edits: &[(u16, Option<u8>)]) -> (Manifest, Model) {
    let (mut manifest, mut model) = (Manifest::new(), Model::new());
    for (number, edit) in edits {
        let path = name(*number);
        let (old, expected) = match edit {
            Some(0) => (
                manifest.insert(path.clone(), directory()),
                model.insert(path, directory()),
            ),
            Some(content) => {
                let entry = file(&"x".repeat(usize::from(*content)));
                (
                    manifest.insert(path.clone(), entry.clone()),
                    model.insert(path, entry),
                )
            }
            None => (manifest.remove(&path), model.remove(&path)),
        };
        assert_eq!(old, expected);
    }
    (manifest, model)
}

fn entries_of(manifest: &Manifest) -> Model {
    manifest
        .iter()
        .map(|(path, entry)| (path.clone(), entry.clone()))
        .collect()
}

fn totals_of(model: &Model) -> Totals {
    let mut totals = Totals::default();
    for entry in model.values() {
        totals.add(entry);
    }
    totals
}

fn model_diff(ours: &Model, theirs: &Model) -> Vec<Difference> {
    let paths: BTreeSet<&RelPath> = ours.keys().chain(theirs.keys()).collect();
    paths
        .into_iter()
        .filter(|path| ours.get(*path) != theirs.get(*path))
        .map(|path| Difference {
            path: path.clone(),
            ours: ours.get(path).cloned(),
            theirs: theirs.get(path).cloned(),
        })
        .collect()
}

/// Collects the entries below a prefix the way a peer does, node by node.
fn walk(manifest: &Manifest, prefix: &mut Vec<u8>, out: &mut Model) {
    match manifest.node(prefix) {
        NodeView::Leaf(entries) => out.extend(entries),
        NodeView::Inner(children) => {
            for (step, child) in (0..).zip(children.iter()) {
                if child.is_some() {
                    prefix.push(step);
                    walk(manifest, prefix, out);
                    prefix.pop();
                }
            }
        }
    }
}

/// Inner nodes hold more than a leaf could and know how many; leaves are sorted.
fn assert_canonical(node: &Node) {
    match &node.kind {
        Kind::Leaf(items) => {
            assert!(items.len() <= TRIE_LEAF_ENTRIES_MAX);
            assert!(items.is_sorted_by(|a, b| a.key < b.key));
        }
        Kind::Inner { children, count } => {
            assert!(*count > TRIE_LEAF_ENTRIES_MAX);
            assert_eq!(
                children
                    .iter()
                    .flatten()
                    .map(|child| child.count())
                    .sum::<usize>(),
                *count
            );
            for child in children.iter().flatten() {
                assert!(child.count() > 0);
                assert_canonical(child);
            }
        }
    }
}

proptest! {
    #[test]
    fn a_manifest_is_a_map_with_a_root(edits in any_edits()) {
        let (manifest, model) = edited(&edits);
        prop_assert_eq!(entries_of(&manifest), model.clone());
        prop_assert_eq!(manifest.totals(), totals_of(&model));
        prop_assert_eq!(manifest.is_empty(), model.is_empty());
        for number in 0..120 {
            prop_assert_eq!(manifest.get(&name(number)), model.get(&name(number)));
        }
        let at_once = Manifest::from_entries(model);
        prop_assert_eq!(manifest.root(), at_once.root());
        assert_canonical(&manifest.top);
        assert_canonical(&at_once.top);
    }

    #[test]
    fn a_difference_lists_every_path_that_differs_once(ours in any_edits(), theirs in any_edits()) {
        let (ours, our_model) = edited(&ours);
        let (theirs, their_model) = edited(&theirs);
        prop_assert_eq!(ours.diff(&theirs), model_diff(&our_model, &their_model));
        prop_assert_eq!(ours == theirs, our_model == their_model);
    }

    #[test]
    fn a_walk_over_nodes_meets_every_entry_once(edits in any_edits(), first in 0..17u8, second in 0..16u8) {
        let (manifest, model) = edited(&edits);
        let mut walked = Model::new();
        walk(&manifest, &mut Vec::new(), &mut walked);
        prop_assert_eq!(walked, model.clone());
        let below = |path: &RelPath| {
            let key = key_of(path);
            [nibble(&key, 0), nibble(&key, 1)] == [first.into(), second.into()]
        };
        let expected: Model = model.into_iter().filter(|(path, _)| below(path)).collect();
        let prefix = [first, second];
        prop_assert_eq!(manifest.entries_under(&prefix).into_iter().collect::<Model>(), expected.clone());
        let mut walked = Model::new();
        walk(&manifest, &mut prefix.to_vec(), &mut walked);
        prop_assert_eq!(walked, expected);
    }
}
