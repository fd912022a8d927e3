//! W3: nothing has changed, and somebody asks.

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

const QUICK: &str = "apim-sync verify --quick, daemons up";
const ALL: [&str; 2] = ["-a", "--delete"];

/// One-shot commands of cold processes.
pub(crate) fn play(options: &Options) -> Result<Vec<Row>, String> {
    let mut stage = Stage::of_many(options)?.in_step()?;
    let racers = vec![
        apim_sync::cold_push(),
        rsync::whole(rsync::DAEMON, Way::Daemon, &ALL),
        rsync::whole(rsync::SSH, Way::Ssh, &ALL),
    ];
    let rounds = options.rounds(5);
    let mut series = race(Wire::Loopback, rounds, &mut stage, racers);
    let quick = vec![apim_sync::asked(
        "verify --quick, daemons up",
        &["verify", "--quick"],
    )];
    series.extend(race(Wire::Loopback, rounds, &mut stage, quick));
    series.extend(copier::looking(options, rounds, &mut stage));
    let files = options.many();
    let work = format!("nothing changed in {files} files, cold command");
    let row = Row::timed("W3", work, series).to(rsync::DAEMON);
    Ok(vec![row.goals([
        Goal::against(rsync::DAEMON, 0.3),
        Goal::median_of(QUICK, 0.02),
    ])])
}
