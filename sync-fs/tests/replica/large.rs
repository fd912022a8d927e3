//! Large contents: staged as files, built from what is here.

use std::fs;

use sync_core::{
    limits::SMALL_CONTENT_BYTES_MAX,
    recipe::{Missing, Recipe, Run},
    wire::Refusal,
};
use sync_fs::replica::{IntakeError, LargeIntake};

use crate::{
    model::{SECONDS, path},
    world::World,
};

/// Bytes that no chunker finds repetitions in.
fn noise(length: usize, seed: u64) -> Vec<u8> {
    let mut state = seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1;
    let mut next = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state.to_le_bytes()[0]
    };
    (0..length).map(|_| next()).collect()
}

fn first_over_small() -> usize {
    usize::try_from(SMALL_CONTENT_BYTES_MAX).unwrap() + 1
}

#[test]
fn large_files_come_change_move_and_go() {
    let mut world = World::new();
    let content = noise(300_000, 1);
    world
        .active
        .file("lib/a.jar", &content)
        .file("lib/limit", noise(first_over_small() - 1, 2));
    assert_eq!(world.push().sent.len(), 2);
    world.assert_in_sync();
    assert_eq!(fs::read_dir(world.work("staging")).unwrap().count(), 0);

    world
        .active
        .rename("lib/a.jar", "lib/b.jar")
        .file("lib/c.jar", &content);
    assert!(world.push().sent.is_empty());
    world.assert_in_sync();

    world
        .active
        .file_at("lib/b.jar", noise(first_over_small(), 3), SECONDS + 1);
    assert_eq!(world.push().sent, [path("lib/b.jar")]);
    world.assert_in_sync();

    world.active.remove("lib");
    world.push();
    world.assert_in_sync();
    world.replica.checkpoint().unwrap();
    assert_eq!(fs::read_dir(world.work("staging")).unwrap().count(), 0);
}

#[test]
fn an_edited_large_file_is_kept_aside_when_it_is_replaced() {
    let mut world = World::new();
    world.active.file("a.jar", noise(200_000, 1));
    world.push();
    let edited = noise(200_001, 9);
    fs::write(world.tree("a.jar"), &edited).unwrap();
    world
        .active
        .file_at("a.jar", noise(200_000, 2), SECONDS + 1);
    assert_eq!(world.push().applied.kept_aside.len(), 1);
    assert_eq!(world.aside(), [edited]);
    world.assert_in_sync();
}

#[test]
fn a_small_edit_fetches_little_and_copies_the_rest() {
    let mut world = World::new();
    let old = noise(4 << 20, 1);
    let mut new = old.clone();
    new.splice(2_000_000..2_000_000, *b"twenty more bytes!!!");
    world.active.file("a.war", &old);
    world.push();
    world.active.file_at("a.war", &new, SECONDS + 1);
    let mut intake = world.begin().unwrap();
    let wanted = world.replica.wanted_large(&mut intake).unwrap();
    let mut large = world.replica.large(&intake, wanted[0].0).unwrap();

    let peer = Recipe::of(&new);
    let local: Vec<_> = large
        .local_sources()
        .unwrap()
        .iter()
        .map(|source| source.recipe().clone())
        .collect();
    let groups: Vec<_> = peer.group_list().collect();
    let mut missing = Missing::new(peer.length, groups, &local).unwrap();
    let unknown: Vec<u32> = missing.unknown_groups().collect();
    for group in unknown {
        let chunks = peer.groups[group as usize].chunk_list();
        missing.chunks(group, chunks).unwrap();
    }
    let fetched = build(&mut large, &missing.runs(), &new);
    assert!(fetched < 600_000, "{fetched} bytes for an edit of 20");
    world.replica.finish(large, None).unwrap();
    let committed = world.replica.commit(intake).unwrap();
    world.replica.apply(committed).unwrap();
    world.assert_in_sync();
}

/// Carries out a fetch as the daemon does; gives the bytes fetched.
fn build(large: &mut LargeIntake, runs: &[Run], new: &[u8]) -> u64 {
    let mut fetched = 0;
    for run in runs {
        match *run {
            Run::Copy {
                source,
                local_offset,
                offset,
                length,
            } => large
                .copy_local(source, local_offset, offset, length)
                .unwrap(),
            Run::Fetch { offset, length } => {
                let start = usize::try_from(offset).unwrap();
                let end = start + usize::try_from(length).unwrap();
                large.write_at(offset, &new[start..end]).unwrap();
                fetched += length;
            }
        }
    }
    fetched
}

#[test]
fn a_remembered_recipe_is_used_and_one_that_is_wrong_is_found_out() {
    let mut world = World::new();
    let old = noise(9 << 20, 31);
    let mut new = old.clone();
    new.splice(2_000_000..2_000_000, *b"twenty more bytes!!!");
    world.active.file("a.war", &old);
    world.push();
    let (at, honest) = world.replica.next_recipe().unwrap().run().unwrap();
    assert!(honest == Recipe::of(&old));
    // Chunks in another order: what is copied by it is not what it says.
    let mut wrong = honest.clone();
    let first = wrong.groups[0].chunks.clone();
    wrong.groups[0].chunks[0].id = first[1].id;
    world.replica.note_recipe(&at, wrong);

    world.active.file_at("a.war", &new, SECONDS + 1);
    for is_right in [false, true] {
        let mut intake = world.begin().unwrap();
        let (index, _) = world.replica.wanted_large(&mut intake).unwrap()[0];
        let mut large = world.replica.large(&intake, index).unwrap();
        // The last one: what the failed attempt left comes before it.
        let source = large.local_sources().unwrap().last().unwrap();
        assert_eq!(**source.recipe() == honest, is_right);
        let mut runs = vec![Run::Copy {
            source: 0,
            local_offset: 0,
            offset: 0,
            length: 1_000_000,
        }];
        if is_right {
            runs.push(Run::Fetch {
                offset: 1_000_000,
                length: new.len() as u64 - 1_000_000,
            });
        } else {
            runs.push(Run::Copy {
                source: 0,
                local_offset: 1_000_000,
                offset: 1_000_000,
                length: new.len() as u64 - 1_000_020,
            });
            runs.push(Run::Fetch {
                offset: new.len() as u64 - 20,
                length: 20,
            });
        }
        build(&mut large, &runs, &new);
        let finished = world.replica.finish(large, Some(Recipe::of(&new)));
        if is_right {
            finished.unwrap();
            let committed = world.replica.commit(intake).unwrap();
            world.replica.apply(committed).unwrap();
        } else {
            assert!(matches!(finished, Err(IntakeError::WrongContent { .. })));
        }
    }
    world.assert_in_sync();
    assert!(
        world.replica.next_recipe().is_none(),
        "it came with the content"
    );
}

#[test]
fn bytes_out_of_order_are_read_again() {
    let mut world = World::new();
    let content = noise(9 << 20, 33);
    world.active.file("a.war", &content);
    let mut intake = world.begin().unwrap();
    let (index, _) = world.replica.wanted_large(&mut intake).unwrap()[0];
    let mut large = world.replica.large(&intake, index).unwrap();
    large.write_at(1 << 20, &content[1 << 20..]).unwrap();
    large.write_at(0, &content[..1 << 20]).unwrap();
    world.replica.finish(large, None).unwrap();
    let committed = world.replica.commit(intake).unwrap();
    world.replica.apply(committed).unwrap();
    world.assert_in_sync();
}

#[test]
fn what_an_interrupted_fetch_left_is_a_source_for_the_next() {
    let mut world = World::new();
    let content = noise(1 << 20, 5);
    world.active.file("a.war", &content);
    let mut intake = world.begin().unwrap();
    let (index, _) = world.replica.wanted_large(&mut intake).unwrap()[0];
    let mut large = world.replica.large(&intake, index).unwrap();
    assert!(large.local_sources().unwrap().is_empty());
    large.write_at(0, &content[..700_000]).unwrap();
    drop((large, intake));
    world.reopen();

    let mut intake = world.begin().unwrap();
    world.replica.wanted_large(&mut intake).unwrap();
    let mut large = world.replica.large(&intake, index).unwrap();
    let whole = Recipe::of(&content);
    let left = large.local_sources().unwrap()[0].recipe();
    let shared = left
        .chunks()
        .zip(whole.chunks())
        .take_while(|(a, b)| a.id == b.id)
        .count();
    assert!(shared > 2, "{shared} chunks need not be sent again");
    large.write_at(0, &content).unwrap();
    world.replica.finish(large, None).unwrap();
    let committed = world.replica.commit(intake).unwrap();
    world.replica.apply(committed).unwrap();
    world.assert_in_sync();
}

#[test]
fn a_finished_fetch_survives_a_restart() {
    let mut world = World::new();
    world
        .active
        .file("a.war", noise(100_000, 1))
        .file("b.war", noise(100_000, 2));
    let mut intake = world.begin().unwrap();
    world.feed(&mut intake);
    world.replica.give_up(intake).unwrap();
    world.reopen();
    assert_eq!(world.replica.staged_contents(), 2);
    assert!(world.push().sent.is_empty());
    world.assert_in_sync();
}

#[test]
fn wrong_bytes_and_bytes_beyond_the_end_are_refused() {
    let mut world = World::new();
    let content = noise(100_000, 1);
    world.active.file("a.war", &content).file("small", "x");
    let mut intake = world.begin().unwrap();
    let (index, _) = world.replica.wanted_large(&mut intake).unwrap()[0];
    let small = 1 - index;
    assert!(matches!(
        world.replica.large(&intake, small),
        Err(IntakeError::WrongSize { .. })
    ));
    assert!(matches!(
        world.replica.put_small(&mut intake, index, content.clone()),
        Err(IntakeError::WrongSize { .. })
    ));
    let mut large = world.replica.large(&intake, index).unwrap();
    for (offset, length) in [(99_999, 2), (u64::MAX, 1), (100_001, 0)] {
        assert!(
            large.write_at(offset, &content[..length]).is_err(),
            "{offset}"
        );
    }
    assert!(large.copy_local(0, 0, 0, 1).is_err());
    let mut wrong = content;
    wrong[50_000] ^= 1;
    large.write_at(0, &wrong).unwrap();
    assert!(matches!(
        world.replica.finish(large, None),
        Err(IntakeError::WrongContent { .. })
    ));
    assert!(world.replica.commit(intake).is_err());
}

/// It is made durable beside the work that goes on; the commit waits for that.
#[test]
fn a_content_that_could_not_be_made_durable_is_not_committed_and_comes_again() {
    let mut world = World::new();
    world.active.file("large", vec![b'x'; 100_000]);
    world.active.file("other", vec![b'y'; 100_000]);
    let mut intake = world.begin().unwrap();
    for (index, file) in world.replica.wanted_large(&mut intake).unwrap() {
        let mut large = world.replica.large(&intake, index).unwrap();
        let at = intake.changes()[index as usize].path.clone();
        large.write_at(0, world.active.content(&at)).unwrap();
        if at == path("large") {
            let partial = format!("staging/p-{}", file.content);
            fs::remove_file(world.work(&partial)).unwrap();
        }
        world.replica.finish(large, None).unwrap();
    }
    let error = world.replica.commit(intake).unwrap_err();
    assert!(matches!(error.refusal(), Refusal::Unable(_)), "{error}");
    assert_eq!(world.push().sent, [path("large")]);
    world.assert_in_sync();
}
