//! W13: a link of 40 ms and 100 Mbit/s, without and with loss.

use std::time::Duration;

use sync_tests::{Settings, World, artifacts::Api, lockstep, scratch::Mounted};

use super::until_visible;
use crate::{
    contestants::rsync::{Rsync, Way},
    link::{Link, Quality},
    meter::{Meter, Resident},
    options::Options,
    race::{Racer, race},
    row::{Goal, OURS, Row},
    sample::End,
    stage::{disk, edit, empty_node, pid, remake, same},
};

const DISK_BYTES: u64 = 1 << 30;
const ROUND_TRIP: Duration = Duration::from_millis(40);
const BITS_PER_SECOND: f64 = 100e6;
const LOSSES: [f64; 2] = [0.0, 0.005];
const COMPRESSED: &str = "rsync daemon, -az";
const COMPRESSED_SSH: &str = "rsync ssh, -az";
const ALL: [&str; 3] = ["-a", "-z", "--delete"];

/// Two nodes with the link between them. Fields are dropped in order.
struct Course {
    rsync: Rsync,
    world: World,
    link: Link,
    apis: Vec<Api>,
    edits: usize,
    _disk: Mounted,
}

/// Four kinds of work over each link.
pub(crate) fn play(options: &Options) -> Result<Vec<Row>, String> {
    let mut rows = Vec::new();
    for loss in LOSSES {
        let mut course = Course::new(options, loss)?;
        let how = format!("40 ms, 100 Mbit/s, {} % lost", loss * 100.0);
        let rounds = options.rounds(5);
        let mut play = |work: String, goal: Option<Goal>, racers: Vec<Racer<'_, Course>>| {
            let series = race(Link::WIRE, rounds, &mut course, racers);
            let row = Row::timed("W13", format!("{work}; {how}"), series);
            rows.push(row.to(COMPRESSED).goals(goal));
        };
        let against = |at_most| Some(Goal::against(COMPRESSED, at_most));
        let files = options.scaled(10_000, 100);
        play(
            format!("bootstrap {files} files"),
            against(0.6),
            vec![
                bootstrapped(),
                filled(COMPRESSED, Way::Daemon),
                filled(COMPRESSED_SSH, Way::Ssh),
            ],
        );
        play(
            "nothing changed, cold command".into(),
            against(0.2),
            vec![
                pushed(Edits::None),
                copied(COMPRESSED, Way::Daemon, Edits::None),
                copied(COMPRESSED_SSH, Way::Ssh, Edits::None),
            ],
        );
        play(
            "one edit, cold command".into(),
            against(0.2),
            vec![
                pushed(Edits::One),
                copied(COMPRESSED, Way::Daemon, Edits::One),
                copied(COMPRESSED_SSH, Way::Ssh, Edits::One),
            ],
        );
        let visible = (ROUND_TRIP + Duration::from_millis(50)).as_secs_f64();
        play(
            "one edit, daemons up, until it is visible".into(),
            Some(Goal::median(visible)),
            vec![seen()],
        );
    }
    Ok(rows)
}

impl Course {
    fn new(options: &Options, loss: f64) -> Result<Self, String> {
        let disk = disk(DISK_BYTES)?;
        let link = Link::new(Quality {
            round_trip: ROUND_TRIP,
            bits_per_second: BITS_PER_SECOND,
            loss,
        })?;
        let hosts = [Link::HERE, Link::THERE];
        let mut world = World::across(disk.path(), &Settings::default(), hosts);
        let apis = world.fill(options.scaled(10_000, 100));
        world.active.start();
        let home = disk.path().join("rsync");
        let rsync = link.far(|| Rsync::start_at(&home, Link::THERE))?;
        rsync.wait();
        Ok(Self {
            rsync,
            world,
            link,
            apis,
            edits: 0,
            _disk: disk,
        })
    }

    fn edit(&mut self) -> Result<std::path::PathBuf, String> {
        self.edits += 1;
        let api = &self.apis[self.edits * 7 % self.apis.len()];
        edit(&self.world.active.tree, api, self.edits)
    }

    /// The passive's daemon runs; the active's as asked. Both are in step.
    fn ready(&mut self, active: bool) -> Result<(), String> {
        let passive = &mut self.world.passive;
        if !passive.is_running() {
            self.link.far(|| {
                passive.start();
                Ok(())
            })?;
        }
        if !self.world.active.is_running() {
            self.world.active.start();
        }
        self.world.push();
        if !active {
            self.world.active.stop();
        }
        Ok(())
    }

    fn check_passive(&self) -> Result<(), String> {
        lockstep::equal(&self.world.active.tree, &self.world.passive.tree)
    }
}

fn bootstrapped<'a>() -> Racer<'a, Course> {
    let name = format!("{OURS} bootstrap");
    Racer::new(name, |course: &mut Course, meter: &mut Meter| {
        let command = course.world.passive.command(&["bootstrap"]);
        let run = || meter.run(End::Receiver, command).map(drop);
        course.link.far(run)
    })
    .with(|course| vec![Resident::sender(pid(&course.world.active))])
    .after(|course| empty_node(&course.world.passive))
    .checked(|course| course.check_passive())
}

fn filled<'a>(name: &str, way: Way) -> Racer<'a, Course> {
    Racer::new(name, move |course: &mut Course, meter: &mut Meter| {
        let source = &course.world.active.tree;
        let command = course.rsync.whole(way, &["-a", "-z"], source);
        meter.run(End::Sender, command).map(drop)
    })
    .with(move |course| vec![course.rsync.resident(way)])
    .after(move |course| remake(&course.rsync.target(way)))
    .checked(move |course| lockstep::equal(&course.world.active.tree, &course.rsync.target(way)))
}

/// What changes before the clock starts.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Edits {
    None,
    One,
}

fn pushed<'a>(edits: Edits) -> Racer<'a, Course> {
    let name = format!("{OURS} push, no daemon");
    Racer::new(name, move |course: &mut Course, meter: &mut Meter| {
        if edits == Edits::One {
            course.edit()?;
            meter.restart_clock();
        }
        let command = course.world.active.command(&["push", "--wait=applied"]);
        meter.run(End::Sender, command).map(drop)
    })
    .after(|course| course.ready(false))
    .with(|course| vec![Resident::receiver(pid(&course.world.passive))])
    .checked(|course| course.check_passive())
}

fn copied<'a>(name: &str, way: Way, edits: Edits) -> Racer<'a, Course> {
    Racer::new(name, move |course: &mut Course, meter: &mut Meter| {
        if edits == Edits::One {
            course.edit()?;
            meter.restart_clock();
        }
        let command = course.rsync.whole(way, &ALL, &course.world.active.tree);
        meter.run(End::Sender, command).map(drop)
    })
    .after(move |course| course.rsync.copy(way, &course.world.active.tree))
    .with(move |course| vec![course.rsync.resident(way)])
    .checked(move |course| lockstep::equal(&course.world.active.tree, &course.rsync.target(way)))
}

fn seen<'a>() -> Racer<'a, Course> {
    Racer::new(OURS, |course: &mut Course, meter: &mut Meter| {
        let path = course.edit()?;
        meter.restart_clock();
        let (active, passive) = (&course.world.active.tree, &course.world.passive.tree);
        until_visible(&path, active, passive)?;
        meter.stop_clock();
        same(&path, active, passive)
    })
    .after(|course| course.ready(true))
    .with(|course| {
        vec![
            Resident::sender(pid(&course.world.active)),
            Resident::receiver(pid(&course.world.passive)),
        ]
    })
}
