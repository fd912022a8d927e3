//! W9: a directory moves, and all contents are on the other side already.

use std::fs;

use crate::{
    contestants::rsync::{self, Way},
    meter::Meter,
    options::Options,
    race::{Racer, race},
    row::{Goal, OURS, Row},
    sample::End,
    seclusion::Wire,
    stage::Stage,
};

const COMPRESSED: &str = "rsync daemon, -z";
/// Names, ids and headers of a file: more would be its content.
const BYTES_PER_FILE: usize = 64;

/// Moves the endpoints away, and back.
pub(crate) fn play(options: &Options) -> Result<Vec<Row>, String> {
    let files = options.scaled(10_000, 100);
    let mut stage = Stage::new(files)?.in_step()?;
    let racers = vec![
        after_a_move(Racer::new(
            format!("{OURS} push"),
            |stage: &mut Stage, meter: &mut Meter| {
                let command = stage.active(&["push", "--wait=applied"]);
                meter.run(End::Sender, command).map(drop)
            },
        ))
        .with(|stage| vec![stage.sender(), stage.receiver()])
        .checked(|stage| stage.check_passive_files()),
        after_a_move(rsync::whole(
            COMPRESSED,
            Way::Daemon,
            &["-a", "-z", "--delete"],
        ))
        .apart_from(Stage::daemons)
        .checked(|stage| stage.check_target(Way::Daemon)),
    ];
    let series = race(Wire::Loopback, options.rounds(3), &mut stage, racers);
    let moved = files / 4;
    let work = format!("bytes for a directory of {moved} files that moved");
    #[expect(clippy::cast_precision_loss, reason = "a few thousand files")]
    let at_most = (moved * BYTES_PER_FILE) as f64;
    let row = Row::sent("W9", work, series).to(COMPRESSED);
    Ok(vec![row.goals([Goal::median(at_most)])])
}

fn after_a_move(racer: Racer<'_, Stage>) -> Racer<'_, Stage> {
    racer.after(|stage| {
        // Sent while nobody counts, should another contestant have moved it.
        stage.world.push();
        let tree = stage.source();
        let (from, to) = (tree.join("default/endpoints"), tree.join("default/moved"));
        let (from, to) = if from.exists() {
            (from, to)
        } else {
            (to, from)
        };
        stage.rsync.copy(Way::Daemon, tree)?;
        fs::rename(&from, &to).map_err(|error| format!("moving a directory: {error}"))
    })
}
