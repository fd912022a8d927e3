//! W5, W6, W7: one file is saved.

use std::{
    path::Path,
    thread,
    time::{Duration, Instant},
};

use crate::{
    contestants::{
        live,
        rsync::{self, Way},
    },
    meter::Meter,
    options::Options,
    race::{Racer, race},
    row::{Goal, OURS, Row},
    sample::End,
    seclusion::Wire,
    stage::{Stage, same},
};

const NAMED: &str = "rsync daemon, path named";
const NAMED_SSH: &str = "rsync ssh, path named";
/// Longer than anybody waits before it copies, and copies.
const DEADLINE: Duration = Duration::from_secs(120);
/// Between two looks at the copy: they leave the processors to the contestants.
const LOOK: Duration = Duration::from_micros(100);

/// A command that returns when the copy has the edit.
pub(crate) fn commanded(options: &Options) -> Result<Vec<Row>, String> {
    let mut stage = Stage::of_many(options)?.in_step()?;
    let racers = vec![
        pushed(),
        named(NAMED, Way::Daemon),
        named(NAMED_SSH, Way::Ssh),
        looked(),
    ];
    let series = race(Wire::Loopback, options.rounds(21), &mut stage, racers);
    let files = options.many();
    let work = format!("one edit in {files} files, a command to its end");
    let row = Row::timed("W5", work, series).to(NAMED);
    Ok(vec![row.goals([Goal::against(NAMED, 0.1)])])
}

fn pushed<'a>() -> Racer<'a, Stage> {
    let name = format!("{OURS} push --wait=applied");
    Racer::new(name, |stage: &mut Stage, meter: &mut Meter| {
        let path = stage.edit()?;
        let command = stage.active(&["push", "--wait=applied"]);
        meter.restart_clock();
        meter.run(End::Sender, command)?;
        meter.stop_clock();
        same(&path, stage.source(), &stage.world.passive.tree)
    })
    .with(|stage| vec![stage.sender(), stage.receiver()])
    .after(in_step)
}

/// What another contestant's round left to us is not part of ours.
fn in_step(stage: &mut Stage) -> Result<(), String> {
    stage.world.push();
    Ok(())
}

/// rsync told which file it is.
fn named<'a>(name: &str, way: Way) -> Racer<'a, Stage> {
    Racer::new(name, move |stage: &mut Stage, meter: &mut Meter| {
        let path = stage.edit()?;
        let command = stage.rsync.named(way, stage.source(), &path);
        meter.restart_clock();
        meter.run(End::Sender, command)?;
        meter.stop_clock();
        same(&path, stage.source(), &stage.rsync.target(way))
    })
    .apart_from(Stage::daemons)
    .with(move |stage| vec![stage.rsync.resident(way)])
}

/// rsync that has to find it.
fn looked<'a>() -> Racer<'a, Stage> {
    let way = Way::Daemon;
    Racer::new(
        rsync::DAEMON,
        move |stage: &mut Stage, meter: &mut Meter| {
            stage.edit()?;
            let command = stage.rsync.whole(way, &["-a", "--delete"], stage.source());
            meter.restart_clock();
            meter.run(End::Sender, command).map(drop)
        },
    )
    .apart_from(Stage::daemons)
    .with(move |stage| vec![stage.rsync.resident(way)])
    .checked(move |stage| stage.check_target(way))
}

/// No command: from the end of the save until the copy has it.
pub(crate) fn visible(options: &Options) -> Result<Vec<Row>, String> {
    let mut stage = Stage::of_many(options)?.in_step()?;
    let racers = vec![seen()];
    let mut series = race(Wire::Loopback, options.rounds(200), &mut stage, racers);
    stage.check_passive()?;
    if options.full {
        stage.world.active.stop();
        stage.world.passive.stop();
        series.extend(live::all(options, &mut stage));
    }
    let files = options.many();
    let work = format!(
        "edit to visible on the passive, {files} files; apim-sync: 50 ms of settling included"
    );
    let row = Row::timed("W6", work, series);
    Ok(vec![
        row.goals([Goal::median(0.052), Goal::quantile(0.99, 0.065)]),
    ])
}

fn seen<'a>() -> Racer<'a, Stage> {
    Racer::new(OURS, |stage: &mut Stage, meter: &mut Meter| {
        let path = stage.edit()?;
        meter.restart_clock();
        until_visible(&path, stage.source(), &stage.world.passive.tree)?;
        meter.stop_clock();
        Ok(())
    })
    .with(|stage| vec![stage.sender(), stage.receiver()])
}

/// Waits until a copy has what the source has.
pub(crate) fn until_visible(path: &Path, source: &Path, copy: &Path) -> Result<(), String> {
    let start = Instant::now();
    while same(path, source, copy).is_err() {
        if start.elapsed() > DEADLINE {
            return Err(format!("{} never arrived", path.display()));
        }
        thread::sleep(LOOK);
    }
    Ok(())
}

/// What crosses the wire, headers and acknowledgements included.
pub(crate) fn bytes(options: &Options) -> Result<Vec<Row>, String> {
    let mut stage = Stage::of_many(options)?.in_step()?;
    let racers = vec![seen().after(in_step), looked(), named(NAMED, Way::Daemon)];
    let series = race(Wire::Loopback, options.rounds(7), &mut stage, racers);
    let files = options.many();
    let work = format!("bytes of one edit in {files} files, headers included");
    let row = Row::sent("W7", work, series).to(rsync::DAEMON);
    Ok(vec![row.goals([Goal::median(1024.0)])])
}
