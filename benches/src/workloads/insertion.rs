//! W11: a few bytes are inserted in a large file.

use std::{thread, time::Duration};

use crate::{
    contestants::rsync::{self, Way},
    large,
    meter::Meter,
    options::Options,
    race::{Racer, race},
    row::{Goal, OURS, Row},
    sample::End,
    seclusion::Wire,
    stage::Stage,
};

/// Long enough for both nodes to cut the file into chunks, as they do in the
/// field when nothing else is to do.
const IDLE: Duration = Duration::from_secs(6);

/// Inserts 20 bytes in the middle by a copy and a rename.
pub(crate) fn play(options: &Options) -> Result<Vec<Row>, String> {
    let bytes = options.scaled(1 << 30, 1 << 20);
    let mut stage = Stage::with_large(bytes as u64)?.in_step()?;
    thread::sleep(IDLE);
    let racers = vec![
        inserted(format!("{OURS} push --wait=applied"), |stage, meter| {
            let command = stage.active(&["push", "--wait=applied"]);
            meter.run(End::Sender, command).map(drop)
        })
        .with(|stage| vec![stage.sender(), stage.receiver()])
        .checked(|stage| stage.check_passive()),
        by_rsync(Way::Daemon),
        by_rsync(Way::Ssh),
    ];
    let series = race(Wire::Loopback, options.rounds(5), &mut stage, racers);
    let work = format!("20 bytes inserted in {} MiB", bytes >> 20);
    let time = Row::timed("W11", work.as_str(), series.clone()).to(rsync::DAEMON);
    let wire = Row::sent("W11", format!("bytes: {work}"), series).to(rsync::DAEMON);
    Ok(vec![
        time.goals([Goal::against(rsync::DAEMON, 0.3)]),
        wire.goals([Goal::median(200_000.0)]),
    ])
}

fn by_rsync<'a>(way: Way) -> Racer<'a, Stage> {
    inserted(way.name(), move |stage, meter| {
        let command = stage.rsync.whole(way, &["-a"], stage.source());
        meter.run(End::Sender, command).map(drop)
    })
    .apart_from(Stage::daemons)
    .with(move |stage| vec![stage.rsync.resident(way)])
    .checked(move |stage| stage.check_target(way))
}

/// Everybody is in step; then the file changes, and the clock starts.
fn inserted<'a>(
    name: impl Into<String>,
    copy: impl Fn(&mut Stage, &mut Meter) -> Result<(), String> + 'a,
) -> Racer<'a, Stage> {
    let mut number = 0;
    Racer::new(name, move |stage: &mut Stage, meter: &mut Meter| {
        number += 1;
        let file = stage.source().join(large::NAME);
        let aside = stage.source().with_extension("aside");
        large::insert(&file, number, &aside)?;
        meter.restart_clock();
        copy(stage, meter)
    })
    .after(|stage| {
        stage.world.push();
        stage.rsync.copy(Way::Daemon, stage.source())?;
        stage.rsync.copy(Way::Ssh, stage.source())
    })
}
