//! What is measured.

use std::{
    fs,
    path::Path,
    thread,
    time::{Duration, Instant},
};

use sync_tests::wait::DEADLINE;

use crate::{
    large,
    report::{Series, Unit},
    seclusion::bytes_sent,
    stage::Stage,
};

/// One workload: the same work for every contestant.
pub(crate) struct Workload {
    pub(crate) id: &'static str,
    pub(crate) work: &'static str,
    /// The contestant that ratios refer to.
    pub(crate) rival: Option<&'static str>,
    /// What apim-sync should reach.
    pub(crate) goal: &'static str,
    pub(crate) measure: fn() -> Result<Vec<Series>, String>,
}

const RSYNC: &str = "rsync daemon";
const RSYNC_NAMED: &str = "rsync daemon, path named";
const RSYNC_CHECKSUM: &str = "rsync daemon, -c";
const RSYNC_COMPRESSED: &str = "rsync daemon, -z";

/// Samples of what takes long.
const ROUNDS: usize = 7;
/// Samples of what hardly varies, or takes very long.
const FEW: usize = 3;
/// Samples of what takes milliseconds.
const EDITS: usize = 200;

/// All workloads.
pub(crate) static WORKLOADS: [Workload; 11] = [
    Workload {
        id: "W1",
        work: "bootstrap 10,000 files (apim-sync: durable)",
        rival: Some(RSYNC),
        goal: "<= 0.6",
        measure: || bootstrap(10_000),
    },
    Workload {
        id: "W2",
        work: "bootstrap 100,000 files (apim-sync: durable)",
        rival: Some(RSYNC),
        goal: "<= 0.7",
        measure: || bootstrap(100_000),
    },
    Workload {
        id: "W3",
        work: "nothing changed in 100,000 files, one-shot command",
        rival: Some(RSYNC),
        goal: "<= 0.3",
        measure: nothing_changed,
    },
    Workload {
        id: "W4",
        work: "every byte of 100,000 files compared on both sides",
        rival: Some(RSYNC_CHECKSUM),
        goal: "<= 0.6",
        measure: audit,
    },
    Workload {
        id: "W5",
        work: "one edit in 100,000 files, command to its end",
        rival: Some(RSYNC_NAMED),
        goal: "<= 0.1",
        measure: one_edit,
    },
    Workload {
        id: "W6",
        work: "edit to visible on the passive, 100,000 files, no command (cron: up to 60 s)",
        rival: None,
        goal: "settle (50 ms) + 2 ms, p99 + 15 ms",
        measure: edit_to_visible,
    },
    Workload {
        id: "W7",
        work: "bytes on the wire for one edit in 100,000 files, headers included",
        rival: Some(RSYNC),
        goal: "<= 1024 B",
        measure: bytes_of_one_edit,
    },
    Workload {
        id: "W8",
        work: "bytes on the wire to bootstrap 10,000 files",
        rival: Some(RSYNC_COMPRESSED),
        goal: "<= 0.7",
        measure: bytes_of_bootstrap,
    },
    Workload {
        id: "W9",
        work: "bytes on the wire for a directory of 2,500 files that moved",
        rival: Some(RSYNC_COMPRESSED),
        goal: "no content bytes",
        measure: bytes_of_a_move,
    },
    Workload {
        id: "W10",
        work: "bootstrap one incompressible file of 1 GiB",
        rival: Some(RSYNC),
        goal: "<= 1.2",
        measure: large_file,
    },
    Workload {
        id: "W11",
        work: "20 bytes inserted in the middle of 1 GiB",
        rival: Some(RSYNC),
        goal: "<= 0.3",
        measure: insertion,
    },
];

const GIB: u64 = 1 << 30;
/// Long enough for both nodes to cut a file of a GiB into chunks.
const IDLE: Duration = Duration::from_secs(6);

/// Large enough that scans cost what they cost in the field.
const MANY: usize = 100_000;

fn timed(work: impl FnOnce() -> Result<(), String>) -> Result<f64, String> {
    let start = Instant::now();
    work()?;
    Ok(start.elapsed().as_secs_f64())
}

fn bootstrap(files: usize) -> Result<Vec<Series>, String> {
    let mut stage = Stage::new(files)?;
    stage.world.active.start();
    let mut ours = Series::new("apim-sync bootstrap", Unit::Seconds);
    let mut rsync = Series::new(RSYNC, Unit::Seconds);
    for _ in 0..ROUNDS {
        stage.empty_targets()?;
        ours.add(timed(|| succeed(&stage, Side::Passive, &["bootstrap"]))?);
        stage.check_passive()?;
        rsync.add(timed(|| stage.rsync.copy(&stage.world.active.tree))?);
        stage.check_rsync()?;
    }
    Ok(vec![ours, rsync])
}

fn nothing_changed() -> Result<Vec<Series>, String> {
    let mut stage = Stage::new(MANY)?.in_step()?;
    let mut quick = Series::new("apim-sync verify --quick, daemons up", Unit::Seconds);
    for _ in 0..ROUNDS {
        quick.add(timed(|| {
            succeed(&stage, Side::Active, &["verify", "--quick"])
        })?);
    }
    stage.world.active.stop();
    let mut ours = Series::new("apim-sync push, no daemon", Unit::Seconds);
    let mut rsync = Series::new(RSYNC, Unit::Seconds);
    for _ in 0..ROUNDS {
        ours.add(timed(|| succeed(&stage, Side::Active, &["push"]))?);
        rsync.add(timed(|| stage.rsync.copy(&stage.world.active.tree))?);
    }
    Ok(vec![ours, quick, rsync])
}

fn audit() -> Result<Vec<Series>, String> {
    let stage = Stage::new(MANY)?.in_step()?;
    let mut ours = Series::new("apim-sync verify", Unit::Seconds);
    let mut contents = Series::new(RSYNC_CHECKSUM, Unit::Seconds);
    let mut times = Series::new(RSYNC, Unit::Seconds);
    let tree = &stage.world.active.tree;
    for _ in 0..ROUNDS {
        ours.add(timed(|| succeed(&stage, Side::Active, &["verify"]))?);
        contents.add(timed(|| stage.rsync.copy_with(tree, &["-a", "-n", "-c"]))?);
        times.add(timed(|| stage.rsync.copy_with(tree, &["-a", "-n"]))?);
    }
    Ok(vec![ours, contents, times])
}

fn one_edit() -> Result<Vec<Series>, String> {
    let mut stage = Stage::new(MANY)?.in_step()?;
    let mut ours = Series::new("apim-sync push --wait=applied", Unit::Seconds);
    let mut named = Series::new(RSYNC_NAMED, Unit::Seconds);
    let mut whole = Series::new(RSYNC, Unit::Seconds);
    for _ in 0..ROUNDS * 3 {
        let path = stage.edit()?;
        ours.add(timed(|| {
            succeed(&stage, Side::Active, &["push", "--wait=applied"])
        })?);
        same(&stage, &path, &stage.world.passive.tree)?;
        let tree = &stage.world.active.tree;
        named.add(timed(|| stage.rsync.copy_file(tree, &path))?);
        same(&stage, &path, stage.rsync.target())?;

        stage.edit()?;
        stage.world.push();
        let tree = &stage.world.active.tree;
        whole.add(timed(|| stage.rsync.copy(tree))?);
    }
    stage.check_passive()?;
    stage.check_rsync()?;
    Ok(vec![ours, named, whole])
}

fn edit_to_visible() -> Result<Vec<Series>, String> {
    let mut stage = Stage::new(MANY)?.in_step()?;
    let mut ours = Series::new("apim-sync", Unit::Seconds);
    for _ in 0..EDITS {
        let path = stage.edit()?;
        let start = Instant::now();
        until_visible(&stage, &path)?;
        ours.add(start.elapsed().as_secs_f64());
    }
    stage.check_passive()?;
    Ok(vec![ours])
}

/// Looks at the passive's file often, but leaves the processors to the nodes.
fn until_visible(stage: &Stage, path: &Path) -> Result<(), String> {
    let start = Instant::now();
    while same(stage, path, &stage.world.passive.tree).is_err() {
        if start.elapsed() > DEADLINE {
            return Err(format!("{} never arrived", path.display()));
        }
        thread::sleep(Duration::from_micros(100));
    }
    Ok(())
}

fn bytes_of_one_edit() -> Result<Vec<Series>, String> {
    let mut stage = Stage::new(MANY)?.in_step()?;
    let mut ours = Series::new("apim-sync", Unit::Bytes);
    let mut rsync = Series::new(RSYNC, Unit::Bytes);
    for _ in 0..ROUNDS {
        ours.add(bytes(|| {
            let path = stage.edit()?;
            until_visible(&stage, &path)?;
            stage.world.until_in_step();
            Ok(())
        })?);
        rsync.add(bytes(|| stage.rsync.copy(&stage.world.active.tree))?);
    }
    Ok(vec![ours, rsync])
}

fn bytes_of_bootstrap() -> Result<Vec<Series>, String> {
    let mut stage = Stage::new(10_000)?;
    stage.world.active.start();
    let mut ours = Series::new("apim-sync bootstrap", Unit::Bytes);
    let mut rsync = Series::new(RSYNC_COMPRESSED, Unit::Bytes);
    for _ in 0..FEW {
        stage.empty_targets()?;
        ours.add(bytes(|| succeed(&stage, Side::Passive, &["bootstrap"]))?);
        stage.check_passive()?;
        let tree = &stage.world.active.tree;
        rsync.add(bytes(|| stage.rsync.copy_with(tree, &["-a", "-z"]))?);
        stage.check_rsync()?;
    }
    Ok(vec![ours, rsync])
}

fn bytes_of_a_move() -> Result<Vec<Series>, String> {
    let stage = Stage::new(10_000)?.in_step()?;
    let mut ours = Series::new("apim-sync", Unit::Bytes);
    let mut rsync = Series::new(RSYNC_COMPRESSED, Unit::Bytes);
    let tree = &stage.world.active.tree;
    let (mut from, mut to) = (tree.join("default/endpoints"), tree.join("default/moved"));
    for _ in 0..FEW {
        fs::rename(&from, &to).map_err(|error| format!("moving a directory: {error}"))?;
        std::mem::swap(&mut from, &mut to);
        ours.add(bytes(|| {
            succeed(&stage, Side::Active, &["push", "--wait=applied"])
        })?);
        let options = ["-a", "-z", "--delete"];
        rsync.add(bytes(|| stage.rsync.copy_with(tree, &options))?);
    }
    stage.check_rsync()?;
    Ok(vec![ours, rsync])
}

fn large_file() -> Result<Vec<Series>, String> {
    let mut stage = Stage::with_large(GIB)?;
    stage.world.active.start();
    let mut ours = Series::new("apim-sync bootstrap", Unit::Seconds);
    let mut rsync = Series::new(RSYNC, Unit::Seconds);
    for _ in 0..FEW {
        stage.empty_targets()?;
        ours.add(timed(|| succeed(&stage, Side::Passive, &["bootstrap"]))?);
        stage.check_passive()?;
        rsync.add(timed(|| stage.rsync.copy(&stage.world.active.tree))?);
        stage.check_rsync()?;
    }
    Ok(vec![ours, rsync])
}

fn insertion() -> Result<Vec<Series>, String> {
    let stage = Stage::with_large(GIB)?.in_step()?;
    // Both nodes have read the file in an idle second, as in the field.
    thread::sleep(IDLE);
    let mut ours = Series::new("apim-sync push --wait=applied", Unit::Seconds);
    let mut rsync = Series::new(RSYNC, Unit::Seconds);
    let tree = &stage.world.active.tree;
    let aside = tree.with_extension("aside");
    for round in 1..=FEW {
        large::insert(&tree.join(large::NAME), round, &aside)?;
        ours.add(timed(|| {
            succeed(&stage, Side::Active, &["push", "--wait=applied"])
        })?);
        rsync.add(timed(|| stage.rsync.copy(tree))?);
    }
    stage.check_passive()?;
    stage.check_rsync()?;
    Ok(vec![ours, rsync])
}

#[expect(clippy::cast_precision_loss, reason = "far below 2^52 bytes")]
fn bytes(work: impl FnOnce() -> Result<(), String>) -> Result<f64, String> {
    let before = bytes_sent()?;
    work()?;
    Ok((bytes_sent()? - before) as f64)
}

/// Whose command it is.
#[derive(Clone, Copy)]
enum Side {
    Active,
    Passive,
}

fn succeed(stage: &Stage, side: Side, arguments: &[&str]) -> Result<(), String> {
    let node = match side {
        Side::Active => &stage.world.active,
        Side::Passive => &stage.world.passive,
    };
    let outcome = node.run(arguments);
    if outcome.code == Some(0) {
        Ok(())
    } else {
        Err(format!("{outcome:?}"))
    }
}

fn same(stage: &Stage, path: &Path, copy: &Path) -> Result<(), String> {
    let read = |root: &Path| fs::read(root.join(path)).map_err(|error| error.to_string());
    if read(&stage.world.active.tree)? == read(copy)? {
        Ok(())
    } else {
        Err(format!("{} differs", path.display()))
    }
}
