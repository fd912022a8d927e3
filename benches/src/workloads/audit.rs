//! W4: every byte of both sides is read and compared.

use crate::{
    contestants::{
        apim_sync,
        rsync::{self, Way},
    },
    options::Options,
    race::race,
    row::{Goal, Row},
    seclusion::Wire,
    stage::Stage,
};

const CONTENTS: &str = "rsync daemon, -n -c";
const TIMES: &str = "rsync daemon, -n (times only)";

/// Beside rsync's look at contents, and its look at times.
pub(crate) fn play(options: &Options) -> Result<Vec<Row>, String> {
    let mut stage = Stage::of_many(options)?.in_step()?;
    let racers = vec![
        apim_sync::asked("verify", &["verify"]),
        rsync::whole(CONTENTS, Way::Daemon, &["-a", "-n", "-c"]),
        rsync::whole(TIMES, Way::Daemon, &["-a", "-n"]),
    ];
    let series = race(Wire::Loopback, options.rounds(5), &mut stage, racers);
    let files = options.many();
    let work = format!("every byte of {files} files compared on both sides");
    let row = Row::timed("W4", work, series).to(CONTENTS);
    Ok(vec![row.goals([
        Goal::against(CONTENTS, 0.6),
        Goal::against(TIMES, 1.0),
    ])])
}
