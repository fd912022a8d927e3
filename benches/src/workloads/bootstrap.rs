//! W1, W2, W8, W10: an empty passive is filled.

use crate::{
    contestants::{
        apim_sync, copier,
        rsync::{self, Way},
    },
    options::Options,
    race::race,
    row::{Goal, Row},
    seclusion::Wire,
    stage::Stage,
};

/// `-z`, the only way that compresses by itself.
const COMPRESSED: &str = "rsync daemon, -z";

/// Many small artifacts.
pub(crate) fn small(options: &Options, id: &str, files: usize) -> Result<Vec<Row>, String> {
    let files = options.scaled(files, 100);
    let mut stage = Stage::new(files)?.serving();
    let racers = vec![
        apim_sync::bootstrap(),
        rsync::filling(rsync::DAEMON, Way::Daemon, &["-a"]),
        rsync::filling(rsync::SSH, Way::Ssh, &["-a"]),
    ];
    let rounds = options.rounds(5);
    let mut series = race(Wire::Loopback, rounds, &mut stage, racers);
    series.extend(copier::filling(options, rounds, &mut stage, files));
    let work = format!("bootstrap {files} files; apim-sync: durable");
    let (daemon, ssh) = if id == "W1" { (0.6, 0.3) } else { (0.7, 0.4) };
    let row = Row::timed(id, work, series).to(rsync::DAEMON);
    Ok(vec![row.goals([
        Goal::against(rsync::DAEMON, daemon),
        Goal::against(rsync::SSH, ssh),
    ])])
}

/// What crosses the wire.
pub(crate) fn bytes(options: &Options) -> Result<Vec<Row>, String> {
    let files = options.scaled(10_000, 100);
    let mut stage = Stage::new(files)?.serving();
    let racers = vec![
        apim_sync::bootstrap(),
        rsync::filling(COMPRESSED, Way::Daemon, &["-a", "-z"]),
        rsync::filling(rsync::DAEMON, Way::Daemon, &["-a"]),
    ];
    let series = race(Wire::Loopback, options.rounds(3), &mut stage, racers);
    let work = format!("bytes to bootstrap {files} files");
    let row = Row::sent("W8", work, series).to(COMPRESSED);
    Ok(vec![row.goals([Goal::against(COMPRESSED, 0.7)])])
}

/// One file that nothing compresses.
pub(crate) fn large(options: &Options) -> Result<Vec<Row>, String> {
    let bytes = options.scaled(1 << 30, 1 << 20);
    let mut stage = Stage::with_large(bytes as u64)?.serving();
    let racers = vec![
        apim_sync::bootstrap(),
        rsync::filling(rsync::DAEMON, Way::Daemon, &["-a"]),
        rsync::filling(rsync::SSH, Way::Ssh, &["-a"]),
    ];
    let series = race(Wire::Loopback, options.rounds(3), &mut stage, racers);
    let work = format!("bootstrap one incompressible file of {} MiB", bytes >> 20);
    let row = Row::timed("W10", work, series).to(rsync::DAEMON);
    Ok(vec![row.goals([
        Goal::against(rsync::DAEMON, 1.2),
        Goal::against(rsync::SSH, 0.3),
    ])])
}
