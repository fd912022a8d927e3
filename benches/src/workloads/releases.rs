//! W12: one release after another of real trees.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
    thread,
    time::Duration,
};

use sync_tests::lockstep;

use crate::{
    contestants::rsync::Way,
    meter::{Memory, Meter, Resident, unmeasured},
    options::Options,
    process::Stopped,
    row::{Goal, OURS, Row},
    sample::{Cost, End, Series},
    seclusion::Wire,
    stage::Stage,
};

const COMPRESSED: &str = "rsync daemon, -az";
const ALL: [&str; 3] = ["-a", "-z", "--delete"];
/// More than any release has.
const ROOM: u64 = 256 << 20;
/// Where families of releases lie, from the project's root: `FAMILY/VERSION/...`.
const PLACES: [&str; 2] = ["../shared/wso2/corpus", "target/releases"];

/// Every pair of neighbours in every family.
pub(crate) fn play(options: &Options) -> Result<Vec<Row>, String> {
    let families = families(options)?;
    let mut lanes = [
        Series::new(OURS),
        Series::new(format!("{OURS} push, no daemon")),
        Series::new(COMPRESSED),
    ];
    for family in &families {
        play_family(family, &mut lanes)?;
    }
    let pairs = lanes[0].costs.len();
    if pairs == 0 {
        return Err("no trees were found; give some with --releases".to_owned());
    }
    let work = format!("from one release to the next, {pairs} pairs");
    let bytes = Row::sent("W12", format!("bytes {work}"), lanes.to_vec()).to(COMPRESSED);
    let time = Row::timed("W12", format!("time {work}"), lanes.to_vec()).to(COMPRESSED);
    Ok(vec![
        bytes.goals([Goal::always_against(COMPRESSED, 1.0)]),
        time,
    ])
}

/// The product twice: with its daemon, which sees the release come, and without.
fn play_family(family: &Path, lanes: &mut [Series; 3]) -> Result<(), String> {
    let [live, cold, rsync] = lanes;
    let releases = versions(family)?;
    let Some((first, later)) = releases.split_first() else {
        return Ok(());
    };
    let mut stage = Stage::empty(ROOM)?;
    install(first, stage.source())?;
    stage = stage.in_step()?;
    for release in later {
        eprintln!("  {}", release.display());
        wait_for_another_second();
        let residents = vec![stage.sender(), stage.receiver()];
        let push = stage.active(&["push", "--wait=applied"]);
        live.costs
            .push(cost(residents, push, || install(release, stage.source()))?);
        stage.check_passive_files()?;
        let copy = stage.rsync.whole(Way::Daemon, &ALL, stage.source());
        let residents = vec![stage.rsync.resident(Way::Daemon)];
        // When the deployer has had its interval the passive says so, on the same wire.
        let silent = Stopped::all(stage.daemons())?;
        rsync.costs.push(cost(residents, copy, || Ok(()))?);
        drop(silent);
        lockstep::equal(stage.source(), &stage.rsync.target(Way::Daemon))?;
    }
    install(first, stage.source())?;
    stage.world.push();
    for release in later {
        stage.active_down()?;
        install(release, stage.source())?;
        let push = stage.active(&["push", "--wait=applied"]);
        cold.costs
            .push(cost(vec![stage.receiver()], push, || Ok(()))?);
        stage.check_passive_files()?;
    }
    Ok(())
}

/// What a command costs after something has changed.
fn cost(
    residents: Vec<Resident>,
    command: Command,
    change: impl FnOnce() -> Result<(), String>,
) -> Result<Cost, String> {
    let mut meter = Meter::begin(Wire::Loopback, residents, Memory::Left)?;
    change()?;
    meter.restart_clock();
    meter.run(End::Sender, command)?;
    Ok(meter.end()?.cost)
}

/// rsync takes a file of the same length and second for the one it has.
fn wait_for_another_second() {
    thread::sleep(Duration::from_millis(1_100));
}

/// Puts a release in place of what is there. Files that did not change keep
/// their times, as rsync needs it.
fn install(release: &Path, tree: &Path) -> Result<(), String> {
    let mut command = Command::new("rsync");
    command
        .args(["-rlp", "--checksum", "--delete"])
        .arg(format!("{}/", release.display()))
        .arg(tree);
    unmeasured(command).map(drop)
}

fn families(options: &Options) -> Result<Vec<PathBuf>, String> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    let places = PLACES.iter().map(|place| root.join(place));
    let mut families = Vec::new();
    for place in places.chain(options.releases.clone()) {
        if place.is_dir() {
            families.extend(directories(&place)?);
        } else {
            eprintln!("  SKIPPED: there is no {}", place.display());
        }
    }
    Ok(families)
}

/// The releases of a family, the oldest first.
fn versions(family: &Path) -> Result<Vec<PathBuf>, String> {
    let mut versions = directories(family)?;
    versions.sort_by_key(|version| {
        let name = version.file_name().unwrap_or_default().to_string_lossy();
        numbers(&name)
    });
    Ok(versions)
}

/// `v1.10.0` is after `v1.9.1`.
fn numbers(name: &str) -> Vec<u64> {
    let parts = name.split(|letter: char| !letter.is_ascii_digit());
    parts.filter_map(|part| part.parse().ok()).collect()
}

fn directories(place: &Path) -> Result<Vec<PathBuf>, String> {
    let listing = fs::read_dir(place).and_then(Iterator::collect::<Result<Vec<_>, _>>);
    let listing = listing.map_err(|error| format!("reading {}: {error}", place.display()))?;
    let mut paths: Vec<_> = listing.into_iter().map(|item| item.path()).collect();
    paths.retain(|path| path.is_dir());
    paths.sort();
    Ok(paths)
}

#[cfg(test)]
mod tests {
    use super::numbers;

    #[test]
    fn versions_are_numbers_not_letters() {
        assert!(numbers("v1.9.1") < numbers("v1.10.0"));
        assert!(numbers("5.4.5") < numbers("5.5.2"));
    }
}
