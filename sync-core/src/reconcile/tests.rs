//! Whole reconciliations, honest and not.

use std::collections::BTreeMap;

use proptest::prelude::*;

use super::*;
use crate::manifest::Record;
use crate::{ContentId, FileEntry, Mode, Mtime, codec, limits::FRAME_BYTES_MAX};

/// What a walk took.
#[derive(Default, Debug)]
struct Cost {
    requests: usize,
    bytes: usize,
    lists: usize,
}

fn path(number: u32) -> RelPath {
    RelPath::new(format!("default/api/admin--Api{number}_v1.0.0.xml").as_bytes()).unwrap()
}

fn file(version: u32) -> Entry {
    Entry::File(FileEntry {
        mode: Mode::new(0o644),
        mtime: Mtime::default(),
        length: 2_000,
        content: ContentId::of(&version.to_le_bytes()),
    })
}

fn manifest(entries: impl IntoIterator<Item = (u32, u32)>) -> Manifest {
    let entry = |(number, version)| (path(number), file(version));
    Manifest::from_entries(entries.into_iter().map(entry))
}

fn begin(local: &Manifest, peer: &Manifest) -> Walk {
    Walk::new(local, peer.root(), peer.totals().entries).unwrap()
}

/// Both sides honest, every frame through the codec.
fn reconcile(local: &Manifest, peer: &Manifest) -> (Manifest, Cost) {
    let mut walk = begin(local, peer);
    let mut cost = Cost::default();
    while !walk.is_complete() {
        let requests: Vec<AuditRequest> = std::iter::from_fn(|| walk.next_request()).collect();
        assert!(!requests.is_empty(), "neither complete nor asking");
        for request in requests {
            cost.requests += 1;
            cost.lists += usize::from(request == AuditRequest::List);
            let request = codec::encode(&request);
            cost.bytes += request.len();
            for frame in answer(peer, codec::decode(&request).unwrap()).unwrap() {
                let frame = codec::encode(&frame);
                assert!(frame.len() < FRAME_BYTES_MAX);
                cost.bytes += frame.len();
                walk.answer(codec::decode(&frame).unwrap()).unwrap();
            }
        }
    }
    (walk.finish().unwrap(), cost)
}

fn sorted(manifest: &Manifest) -> BTreeMap<RelPath, Entry> {
    manifest.iter().map(Record::pair).collect()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    #[test]
    fn a_walk_ends_with_exactly_the_peers_entries(
        common in 0..6_000_u32,
        ours in prop::collection::btree_map(0..9_000_u32, any::<u32>(), 0..40),
        theirs in prop::collection::btree_map(0..9_000_u32, any::<u32>(), 0..40),
    ) {
        let base = || (0..common).map(|number| (number, 0));
        let local = manifest(base().chain(ours));
        let peer = manifest(base().chain(theirs));
        let (found, _) = reconcile(&local, &peer);
        prop_assert_eq!(sorted(&found), sorted(&peer));
    }

    #[test]
    fn whatever_differs_is_found(
        common in 2_500..5_000_u32,
        missing_here in prop::collection::btree_set(0..5_000_u32, 0..200),
        missing_there in prop::collection::btree_set(0..5_000_u32, 0..200),
    ) {
        let without = |missing: &std::collections::BTreeSet<u32>| {
            manifest((0..common).filter(|one| !missing.contains(one)).map(|one| (one, 1)))
        };
        let (local, peer) = (without(&missing_here), without(&missing_there));
        let (found, _) = reconcile(&local, &peer);
        prop_assert_eq!(sorted(&found), sorted(&peer));
    }
}

#[test]
fn one_change_in_twenty_thousand_costs_two_messages_and_little() {
    let local = manifest((0..20_000).map(|number| (number, 0)));
    for number in [0, 7_777, 19_999] {
        let mut peer = local.clone();
        peer.insert(path(number), file(1));
        let (found, cost) = reconcile(&local, &peer);
        assert_eq!(found, peer);
        assert!(cost.requests <= 2 && cost.bytes < 3_000, "{cost:?}");
    }
}

#[test]
fn a_hundred_changes_in_a_hundred_thousand_stay_a_walk() {
    let local = manifest((0..100_000).map(|number| (number, 0)));
    let mut peer = local.clone();
    for number in (0..100_000).step_by(1_000) {
        peer.insert(path(number), file(1));
    }
    let (found, cost) = reconcile(&local, &peer);
    assert_eq!(found, peer);
    assert!(
        cost.lists == 0 && cost.requests <= 3 && cost.bytes < 200_000,
        "{cost:?}"
    );
}

#[test]
fn trees_of_equal_roots_need_no_message() {
    let local = manifest((0..3_000).map(|number| (number, 0)));
    let (found, cost) = reconcile(&local, &local.clone());
    assert_eq!((found, cost.requests), (local, 0));
}

#[test]
fn disjoint_empty_and_very_different_trees_take_one_list_or_nothing() {
    let large = manifest((0..5_000).map(|number| (number, 0)));
    let other = manifest((5_000..10_000).map(|number| (number, 0)));
    let small = manifest((0..100).map(|number| (number, 0)));
    let none = Manifest::new();
    let cases = [
        (&large, &other, 1),
        (&none, &large, 1),
        (&small, &large, 1),
        (&large, &small, 1),
        (&large, &none, 0),
    ];
    for (local, peer, lists) in cases {
        let (found, cost) = reconcile(local, peer);
        assert_eq!(sorted(&found), sorted(peer));
        assert_eq!(cost.lists, lists, "{local:?} to {peer:?}: {cost:?}");
    }
}

#[test]
fn the_longest_entries_still_fit_their_frames() {
    let long = |number: usize| {
        let name = vec![b'n'; 250];
        let mut bytes = [&name[..]; 15].join(&b'/');
        bytes.extend(format!("/{number:0245}").bytes());
        let target = vec![b't'; 4_095].into();
        (RelPath::new(&bytes).unwrap(), Entry::Symlink { target })
    };
    let local = Manifest::from_entries((0..2_500).map(long));
    let mut peer = local.clone();
    for number in 0..120 {
        peer.insert(long(number).0, file(1));
    }
    let (found, cost) = reconcile(&local, &peer);
    assert_eq!(found, peer);
    assert_eq!(cost.lists, 0);
    assert_eq!(sorted(&reconcile(&Manifest::new(), &peer).0), sorted(&peer));
}

#[test]
fn a_peer_that_lies_is_found_out() {
    let local = manifest((0..3_000).map(|number| (number, 0)));
    let mut peer = local.clone();
    peer.insert(path(1), file(1));
    let mut other = local.clone();
    other.insert(path(1), file(2));

    let mut walk = begin(&local, &peer);
    while let Some(request) = walk.next_request() {
        for frame in answer(&other, request).unwrap() {
            walk.answer(frame).unwrap();
        }
    }
    assert!(walk.finish().is_err());

    let nodes = |prefix: &[u8], node| AuditAnswer::Nodes {
        nodes: vec![(prefix.to_vec(), node)],
        last: false,
    };
    let leaf = || NodeView::Leaf(Vec::new());
    let refused = [
        ("a node below those asked for", nodes(&[1, 2], leaf())),
        ("a list", AuditAnswer::List(list(&peer).next().unwrap())),
        (
            "no node",
            AuditAnswer::Nodes {
                nodes: Vec::new(),
                last: false,
            },
        ),
        ("progress", AuditAnswer::Progress { files: 0, bytes: 0 }),
    ];
    for (what, frame) in refused {
        let mut walk = begin(&local, &peer);
        walk.next_request().unwrap();
        assert!(walk.answer(frame).is_err(), "{what}");
        assert!(walk.finish().is_err(), "unfinished");
    }
    let mut unasked = begin(&local, &peer);
    assert!(unasked.answer(nodes(&[], leaf())).is_err());
    assert!(Walk::new(&local, peer.root(), u64::MAX).is_err());
}

#[test]
fn a_peer_that_never_ends_is_stopped() {
    let local = manifest((0..3_000).map(|number| (number, 0)));
    let mut walk = Walk::new(&local, Root([1; 32]), 3_000).unwrap();
    let mut frames = 0_u64;
    let inner = || NodeView::Inner(Box::new([Some(Root([9; 32])); TRIE_FANOUT]));
    while let Some(AuditRequest::Nodes(probes)) = walk.next_request() {
        let last = probes.len() - 1;
        for (index, probe) in probes.into_iter().enumerate() {
            frames += 1;
            let nodes = (0..TRIE_FANOUT)
                .map(|slot| (child_of(&probe.prefix, slot), inner()))
                .collect();
            walk.answer(AuditAnswer::Nodes {
                nodes,
                last: index == last,
            })
            .unwrap();
        }
    }
    assert!(
        frames < 100,
        "{frames} frames before the list was preferred"
    );
    let too_many = AuditRequest::Nodes(vec![
        Probe {
            prefix: Vec::new(),
            children: None
        };
        AUDIT_PREFIXES_MAX + 1
    ]);
    assert!(answer(&local, too_many).is_err());
}
