//! W15: one active and eight passives.

use std::process::Command;

use sync_tests::{artifacts::Api, lockstep, node::Node, world};

use crate::{
    contestants::rsync::Way,
    meter::{Meter, Resident, unmeasured},
    options::Options,
    race::{Racer, race},
    row::{Goal, OURS, Row},
    sample::{End, Series, Unit},
    seclusion::Wire,
    stage::{Stage, edit, pid},
};

/// Passives beside the first.
const OTHERS: usize = 7;

/// A stage with more passives, if they are up.
struct Course {
    stage: Stage,
    apis: Vec<Api>,
    others: Vec<Node>,
    round: usize,
}

/// Changes that go to one passive, and to eight.
pub(crate) fn play(options: &Options) -> Result<Vec<Row>, String> {
    let files = options.scaled(10_000, 100);
    let stage = Stage::with_room(files, files * (OTHERS + 8))?.in_step()?;
    let mut course = Course {
        apis: stage.apis().to_vec(),
        stage,
        others: Vec::new(),
        round: 0,
    };
    let rounds = options.rounds(5);
    let alone = format!("{OURS}, one passive");
    let all = format!("{OURS}, eight passives");
    let one = race(
        Wire::Loopback,
        rounds,
        &mut course,
        vec![pushed(&alone), copied("rsync daemon, once", 1)],
    );
    course.join_others()?;
    let eight = race(
        Wire::Loopback,
        rounds,
        &mut course,
        vec![
            pushed(&all),
            copied("rsync daemon, eight times", OTHERS + 1),
        ],
    );
    let series: Vec<Series> = eight.into_iter().chain(one).collect();
    let changed = course.apis.len();
    let work = format!("{changed} changed files to eight passives, all on this machine");
    let time = Row::timed("W15", work.as_str(), series.clone()).to(&alone);
    let sender = series.into_iter().map(Series::in_sender_seconds).collect();
    let work = format!("processor time of the sending side, {work}");
    let processor = Row::new("W15", work, Unit::Seconds, sender).to(&alone);
    Ok(vec![
        time.goals([Goal::against(&alone, 3.0)]),
        processor.goals([Goal::against(&alone, 3.0)]),
    ])
}

impl Course {
    fn join_others(&mut self) -> Result<(), String> {
        for number in 0..OTHERS {
            let name = format!("apim-{}", number + 3);
            let mut node = self.stage.world.another_passive(&name);
            node.start();
            let active = &self.stage.world.active;
            active.until_status("another passive to have everything", |status| {
                world::in_step(status, &name).then_some(())
            });
            self.others.push(node);
        }
        Ok(())
    }

    fn passives(&self) -> impl Iterator<Item = &Node> {
        [&self.stage.world.passive].into_iter().chain(&self.others)
    }

    fn residents(&self) -> Vec<Resident> {
        let receivers = self.passives().map(|node| Resident::receiver(pid(node)));
        [self.stage.sender()].into_iter().chain(receivers).collect()
    }

    /// Changes every API's own file.
    fn change(&mut self) -> Result<(), String> {
        self.round += 1;
        for api in &self.apis {
            edit(self.stage.source(), api, self.round)?;
        }
        Ok(())
    }

    fn copy_to(&self, target: usize) -> Command {
        let rsync = &self.stage.rsync;
        let below = format!("{target}/");
        rsync.below(Way::Daemon, &["-a"], self.stage.source(), &below)
    }
}

fn pushed<'a>(name: &str) -> Racer<'a, Course> {
    Racer::new(name, |course: &mut Course, meter: &mut Meter| {
        course.change()?;
        let push = course.stage.active(&["push", "--wait=applied"]);
        meter.restart_clock();
        meter.run(End::Sender, push).map(drop)
    })
    .with(Course::residents)
    .after(|course| {
        // What the other contestant changed is not part of this round.
        course.stage.world.push();
        Ok(())
    })
    .checked(|course| {
        let source = course.stage.source();
        course
            .passives()
            .try_for_each(|node| lockstep::equal(source, &node.tree))
    })
}

/// rsync to several targets, one after the other: it knows no other way.
fn copied<'a>(name: &str, targets: usize) -> Racer<'a, Course> {
    Racer::new(name, move |course: &mut Course, meter: &mut Meter| {
        course.change()?;
        meter.restart_clock();
        for target in 0..targets {
            meter.run(End::Sender, course.copy_to(target))?;
        }
        Ok(())
    })
    .apart_from(|course: &Course| {
        let others = course.others.iter().map(pid);
        others.chain(course.stage.daemons()).collect()
    })
    .after(move |course| {
        // What the other contestant changed; then only this round's is left.
        course.stage.world.push();
        (0..targets).try_for_each(|target| unmeasured(course.copy_to(target)).map(drop))
    })
    .with(|course| vec![course.stage.rsync.resident(Way::Daemon)])
    .checked(move |course| {
        let base = course.stage.rsync.target(Way::Daemon);
        let copies = (0..targets).map(|target| base.join(target.to_string()));
        let source = course.stage.source();
        copies
            .into_iter()
            .try_for_each(|copy| lockstep::equal(source, &copy))
    })
}
