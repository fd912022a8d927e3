//! W12: one release after another of real trees.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use sync_tests::lockstep;

use crate::{
    contestants::rsync::Way,
    meter::{Memory, Meter, unmeasured},
    options::Options,
    row::{Goal, OURS, Row},
    sample::{End, Series, Unit},
    seclusion::Wire,
    stage::Stage,
};

const COMPRESSED: &str = "rsync daemon, -az";
/// More than any release has.
const ROOM: u64 = 256 << 20;
/// Where families of releases lie, from the project's root: `FAMILY/VERSION/...`.
const PLACES: [&str; 2] = ["../shared/wso2/corpus", "target/releases"];

/// Every pair of neighbours in every family.
pub(crate) fn play(options: &Options) -> Result<Vec<Row>, String> {
    let mut ours = Series::new(format!("{OURS} push"));
    let mut rsync = Series::new(COMPRESSED);
    for family in families(options)? {
        let mut stage = Stage::empty(ROOM)?;
        let releases = versions(&family)?;
        let Some((first, later)) = releases.split_first() else {
            continue;
        };
        install(first, stage.source())?;
        stage = stage.in_step()?;
        for release in later {
            eprintln!("  {}", release.display());
            stage.active_down()?;
            install(release, stage.source())?;
            play_one(&mut stage, &mut ours, &mut rsync)?;
        }
    }
    let pairs = ours.costs.len();
    if pairs == 0 {
        return Err("no trees were found; give some with --releases".to_owned());
    }
    let rows = [
        (
            "bytes",
            Unit::Bytes,
            Series::in_bytes as fn(Series) -> Series,
        ),
        ("time", Unit::Seconds, Series::in_seconds),
    ];
    let row = |(figure, unit, look): (&str, Unit, fn(Series) -> Series)| {
        let work = format!("{figure} from one release to the next, {pairs} pairs");
        let series = vec![look(ours.clone()), look(rsync.clone())];
        let row = Row::new("W12", work, unit, series).to(COMPRESSED);
        if unit == Unit::Bytes {
            row.goals([Goal::always_against(COMPRESSED, 1.0)])
        } else {
            row
        }
    };
    Ok(rows.map(row).into())
}

/// The source is one release ahead of everybody.
fn play_one(stage: &mut Stage, ours: &mut Series, rsync: &mut Series) -> Result<(), String> {
    let mut meter = Meter::begin(Wire::Loopback, vec![stage.receiver()], Memory::Left)?;
    let push = stage.active(&["push", "--wait=applied", "--max-delete", "100%"]);
    meter.run(End::Sender, push)?;
    ours.costs.push(meter.end()?.cost);
    stage.check_passive_files()?;

    let resident = stage.rsync.resident(Way::Daemon);
    let mut meter = Meter::begin(Wire::Loopback, vec![resident], Memory::Left)?;
    let options = ["-a", "-z", "--delete"];
    let copy = stage.rsync.whole(Way::Daemon, &options, stage.source());
    meter.run(End::Sender, copy)?;
    rsync.costs.push(meter.end()?.cost);
    lockstep::equal(stage.source(), &stage.rsync.target(Way::Daemon))
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
