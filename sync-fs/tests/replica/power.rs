//! What a power cut may leave of a tree between two checkpoints: of every path
//! any state since the last one, or a name without its bytes. The journal up to
//! the last commit is what the disk has promised.

use std::fs;

use sync_core::{Generation, limits::SMALL_CONTENT_BYTES_MAX};

use crate::{
    model::{Item, Model, SECONDS},
    world::{World, scale, touch},
};

/// A small generator: the same seed, the same disk.
struct Dice(u64);

impl Dice {
    fn roll(&mut self, sides: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 % sides
    }
}

fn generations() -> [Model; 3] {
    let mut first = Model::default();
    for n in 0..12 {
        first.file(&format!("default/api/{n}.xml"), format!("{n} of the first"));
    }
    first.file("default/dir/x", "x").file("was-file", "file");
    let mut second = first.clone();
    for n in 3..9 {
        second.file(
            &format!("default/api/{n}.xml"),
            format!("{n} of the second, longer"),
        );
    }
    second
        .remove("default/api/0.xml")
        .file("default/api/passing.xml", "passing");
    second
        .remove("was-file")
        .file("was-file/inside", "now a directory");
    let mut third = second.clone();
    for n in 6..12 {
        third.file_at(
            &format!("default/api/{n}.xml"),
            format!("{n} 3rd"),
            SECONDS + 3,
        );
    }
    third
        .remove("default/api/passing.xml")
        .remove("default/dir");
    third.file("default/sequences/new.xml", "new");
    [first, second, third]
}

/// Puts each path into a state it had in one of the models, or spoils it.
fn cut_power(world: &World, models: &[Model], dice: &mut Dice) {
    let tree = world.tree("");
    fs::remove_dir_all(&tree).unwrap();
    fs::create_dir(&tree).unwrap();
    let mut paths: Vec<_> = models.iter().flat_map(|model| model.0.keys()).collect();
    paths.sort();
    paths.dedup();
    for path in paths {
        let states: Vec<&Item> = models
            .iter()
            .filter_map(|model| model.0.get(path))
            .collect();
        let pick = usize::try_from(dice.roll(states.len() as u64)).unwrap();
        let at = tree.join(std::str::from_utf8(path.as_bytes()).unwrap());
        if at.parent().is_some_and(|parent| !parent.is_dir()) {
            continue; // its directory is not there, or still a file
        }
        let Item::File { content, .. } = states[pick] else {
            fs::create_dir(&at).unwrap();
            continue;
        };
        match dice.roll(6) {
            0 => continue,
            1 => fs::write(&at, "").unwrap(),
            2 => fs::write(&at, vec![0; content.len()]).unwrap(),
            _ => fs::write(&at, content).unwrap(),
        }
        touch(&at, SECONDS + i64::try_from(dice.roll(5)).unwrap());
    }
}

#[test]
fn a_power_cut_leaves_the_last_acknowledged_generation() {
    assert!(
        generations()
            .iter()
            .all(|model| { model.manifest().totals().bytes < SMALL_CONTENT_BYTES_MAX })
    );
    for seed in 1..=u64::from(100 * scale()) {
        let mut dice = Dice(seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1);
        let models = generations();
        let mut world = World::new();
        world.active = models[0].clone();
        world.push();
        world.replica.checkpoint().unwrap();
        world.active = models[1].clone();
        world.push();
        world.active = models[2].clone();
        world.commit_only();
        cut_power(&world, &models, &mut dice);
        world.reopen();
        eprintln!("seed {seed}");
        assert_eq!(
            world.recovery.kept_aside,
            [],
            "nothing here is anybody else's"
        );
        assert_eq!(world.replica.position().generation, Generation(3));
        // What the checkpoint had synced was never in danger; what the model of
        // the cut did to it all the same is drift.
        let heal: Vec<String> = world
            .drift()
            .paths
            .iter()
            .map(|at| at.path.escaped())
            .collect();
        let changed = |at: &String| {
            models[0].0.get(&crate::model::path(at)) != models[2].0.get(&crate::model::path(at))
        };
        assert_eq!(heal.iter().find(|at| changed(at)), None);
        world.push_healing(&heal.iter().map(String::as_str).collect::<Vec<_>>());
        world.assert_in_sync();
    }
}
