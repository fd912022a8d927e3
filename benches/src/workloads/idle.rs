//! W16: nothing happens, and the daemons run.

use std::{
    thread,
    time::{Duration, Instant},
};

use crate::{
    options::Options,
    process,
    row::{Goal, OURS, Row},
    sample::{Series, Unit},
    stage::{Stage, pid},
};

/// After the last change; then everything that waits for quiet has been done.
const SETTLED: Duration = Duration::from_secs(30);
/// One look at the processor time.
const WINDOW: Duration = Duration::from_secs(20);

/// The share of a processor that each daemon takes.
pub(crate) fn play(options: &Options) -> Result<Vec<Row>, String> {
    let stage = Stage::of_many(options)?.in_step()?;
    thread::sleep(SETTLED);
    let nodes = [
        ("active", pid(&stage.world.active)),
        ("passive", pid(&stage.world.passive)),
    ];
    let mut series = nodes.map(|(role, _)| Series::new(format!("{OURS} {role}")));
    for _ in 0..options.rounds(3) {
        let before = nodes.map(|(_, pid)| process::cpu_seconds_exactly(pid));
        let start = Instant::now();
        thread::sleep(WINDOW);
        let elapsed = start.elapsed().as_secs_f64();
        for ((lane, (_, pid)), before) in series.iter_mut().zip(nodes).zip(before) {
            let used = process::cpu_seconds_exactly(pid)? - before?;
            lane.values.push(used / elapsed);
        }
    }
    stage.check_passive()?;
    let files = options.many();
    let work = format!("idle, {files} files watched: share of one processor");
    let row = Row::new("W16", work, Unit::Share, series.into());
    Ok(vec![row.goals([Goal::median(0.001)])])
}
