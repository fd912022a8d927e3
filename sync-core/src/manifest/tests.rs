//! The manifest against a plain map, and its roots pinned.

use std::collections::{BTreeMap, BTreeSet};

use proptest::prelude::*;

use super::{
    pack::{PACK_ENTRIES_MAX, nibble_of},
    *,
};
use crate::{
    codec,
    content::ContentId,
    entry::{Mode, Mtime},
    limits::FILE_BYTES_MAX,
    sample::{directory, file, path, tree},
    seen::StatKey,
};

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
    prop::collection::vec((0..250u16, prop::option::weighted(0.7, 0..3u8)), 0..700)
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
    manifest.iter().map(Record::pair).collect()
}

fn totals_of(model: &Model) -> Totals {
    let mut totals = Totals::default();
    for entry in model.values() {
        totals.entries += 1;
        totals.files += u64::from(!entry.is_directory());
        totals.bytes += entry.as_file().map_or(0, |file| file.length);
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

/// Inner nodes hold more than a pack could and know how many; packs are sorted.
fn assert_canonical(node: &Node) {
    match &node.kind {
        Kind::Pack(pack) => {
            assert!(pack.len() <= PACK_ENTRIES_MAX);
            assert!(pack.items().is_sorted_by(|a, b| a.order(b).is_lt()));
        }
        Kind::Inner(inner) => {
            assert!(inner.count > PACK_ENTRIES_MAX);
            let counts = inner.children.iter().flatten().map(|child| child.count());
            assert_eq!(counts.sum::<usize>(), inner.count);
            for child in inner.children.iter().flatten() {
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
        let names: Vec<RelPath> = (0..250).map(name).collect();
        let bytes: Vec<&[u8]> = names.iter().map(RelPath::as_bytes).collect();
        for (name, found) in names.iter().zip(manifest.find_all(&bytes)) {
            prop_assert_eq!(found.map(Record::entry), manifest.get(name));
        }
        for number in 0..250 {
            prop_assert_eq!(manifest.get(&name(number)), model.get(&name(number)).cloned());
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
            let key = key_of(path.as_bytes());
            [nibble_of(&key, 0), nibble_of(&key, 1)] == [first.into(), second.into()]
        };
        let expected: Model = model.into_iter().filter(|(path, _)| below(path)).collect();
        let prefix = [first, second];
        prop_assert_eq!(manifest.entries_under(&prefix).into_iter().collect::<Model>(), expected.clone());
        let mut walked = Model::new();
        walk(&manifest, &mut prefix.to_vec(), &mut walked);
        prop_assert_eq!(walked, expected);
    }
}

/// A stat that is the file's own, one that is not, or none.
fn any_seen(entry: &Entry, number: u8) -> Option<Seen> {
    let own = entry
        .as_file()
        .map_or((0, 0), |file| (file.length, file.mtime.as_nanoseconds()));
    let (length, mtime_ns) = match number % 4 {
        0 => return None,
        1 => own,
        2 => (own.0 + 1, own.1),
        _ => return Some(Seen::NEVER),
    };
    let key = StatKey {
        length,
        mtime_ns,
        ctime_ns: -i64::from(number),
        inode: number.into(),
    };
    let racy = number.is_multiple_of(3);
    Some(Seen { key, racy })
}

fn any_entry() -> impl Strategy<Value = Entry> {
    let link = prop::collection::vec(1..=u8::MAX, 1..300);
    prop_oneof![
        (0..=0o777u32).prop_map(|bits| Entry::Directory {
            mode: Mode::new(bits)
        }),
        link.prop_map(|target| Entry::Symlink {
            target: target.into()
        }),
        (
            0..=0o777u32,
            any::<i64>(),
            0..1_000_000_000u32,
            0..=FILE_BYTES_MAX
        )
            .prop_map(|(bits, seconds, nanoseconds, length)| {
                Entry::File(FileEntry {
                    mode: Mode::new(bits),
                    mtime: Mtime {
                        seconds,
                        nanoseconds,
                    },
                    length,
                    content: ContentId::of(&seconds.to_le_bytes()),
                })
            }),
    ]
}

fn record_of(path: &RelPath, entry: &Entry, seen: Option<Seen>) -> Vec<u8> {
    let mut bytes = Vec::new();
    record::append(&mut bytes, path, entry, seen.as_ref());
    bytes
}

proptest! {
    #[test]
    fn a_record_says_what_was_written(name in "[a-z]{1,200}", entry in any_entry(), seen in any::<u8>()) {
        let (path, seen) = (path(&name), any_seen(&entry, seen));
        let mut bytes = record_of(&path, &entry, seen);
        let length = bytes.len();
        bytes.extend_from_slice(b"more");
        let (record, rest) = Record::first(&bytes).unwrap();
        prop_assert_eq!(rest, b"more");
        prop_assert_eq!(record.pair(), (path, entry.clone()));
        prop_assert_eq!(record.seen(), seen);
        prop_assert_eq!(record.file(), entry.as_file().copied());
        prop_assert_eq!(record.is_directory(), entry.is_directory());
        for cut in 0..length {
            prop_assert!(Record::first(&bytes[..cut]).is_err(), "cut after {} of {}", cut, length);
        }
    }

    #[test]
    fn any_bytes_are_a_sound_record_or_none(bytes in prop::collection::vec(any::<u8>(), 0..200), start in any_entry(), at in 0..90usize, value in any::<u8>()) {
        let mut changed = record_of(&path("some/path"), &start, any_seen(&start, value));
        if let Some(byte) = changed.get_mut(at) {
            *byte = value;
        }
        for bytes in [bytes, changed] {
            if let Ok((record, _)) = Record::first(&bytes) {
                let (path, entry) = record.pair();
                prop_assert_eq!(RelPath::new(path.as_bytes()), Ok(path.clone()));
                let again: (RelPath, Entry) = codec::decode(&codec::encode(&(path, entry))).unwrap();
                prop_assert_eq!(again, record.pair());
                let _ = record.seen();
            }
        }
    }

    #[test]
    fn a_manifest_put_together_of_branches_is_the_same(edits in any_edits()) {
        let (manifest, model) = edited(&edits);
        let branches = (0..TRIE_FANOUT).map(|slot| Branch::new(slot, manifest.branch(slot)).unwrap());
        let again = Manifest::from_branches(branches);
        prop_assert_eq!(again.root(), manifest.root());
        prop_assert_eq!(again.totals(), manifest.totals());
        prop_assert_eq!(entries_of(&again), model);
        assert_canonical(&again.top);
    }

    #[test]
    fn stats_are_kept_and_change_no_root(edits in any_edits(), number in any::<u8>()) {
        let (plain, model) = edited(&edits);
        let mut seen = plain.clone();
        for (path, entry) in &model {
            seen.insert_seen(path, entry, any_seen(entry, number).as_ref());
        }
        prop_assert_eq!(seen.root(), plain.root());
        prop_assert_eq!(seen.totals(), plain.totals());
        for (path, entry) in &model {
            let record = seen.find(path.as_bytes()).unwrap();
            prop_assert_eq!(record.seen(), any_seen(entry, number));
            prop_assert_eq!(record.entry(), entry.clone());
        }
    }
}

#[test]
fn a_branch_takes_no_records_out_of_place() {
    let manifest = tree(&(0..40).map(|n| format!("{n} v\n")).collect::<String>());
    let slot = (0..TRIE_FANOUT)
        .find(|slot| manifest.branch(*slot).count() > 1)
        .unwrap();
    let records: Vec<_> = manifest.branch(slot).collect();
    let refused = |slot, records: Vec<Record<'_>>| Branch::new(slot, records).is_err();
    assert!(!refused(slot, records.clone()));
    assert!(refused((slot + 1) % TRIE_FANOUT, records.clone()));
    assert!(refused(slot, records.iter().rev().copied().collect()));
    assert!(refused(slot, vec![records[0], records[0]]));
}

/// A million entries are held in memory: what one costs is kept in sight.
#[test]
fn an_entry_costs_its_bytes_and_little_more() {
    let path = path("tenant-012/synapse-configs/api/admin--Api0000123.xml");
    let entry = file("x");
    let seen = any_seen(&entry, 1);
    let bytes = record_of(&path, &entry, seen).len();
    assert_eq!(bytes - path.as_bytes().len(), 73);
    assert!(size_of::<Node>() <= 56, "{}", size_of::<Node>());
}
