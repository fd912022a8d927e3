//! A rival that copies a whole tree by a command or two.

use std::{cell::RefCell, path::Path, process::Command, rc::Rc};

use sync_tests::lockstep;

use crate::{
    contestants::{casync::Casync, ffsync::Ffsync, sparsync::Sparsync, unison::Unison},
    meter::{Meter, Resident, unmeasured},
    options::Options,
    race::{Racer, race},
    sample::{End, Series},
    seclusion::Wire,
    stage::Stage,
};

/// Runs one command of one end, measured or not.
pub(crate) type Run<'a> = &'a mut dyn FnMut(End, Command) -> Result<(), String>;

/// Where its files lie on the stage, and how it copies.
pub(crate) trait Copier {
    /// What it writes into.
    fn target(&self) -> &Path;
    /// What it reads: the stage's source, unless it writes into what it reads.
    fn source<'a>(&'a self, stage: &'a Stage) -> &'a Path {
        stage.source()
    }
    /// Begins anew: an empty target, and nothing remembered of it.
    fn forget(&mut self) -> Result<(), String>;
    /// What must be up before the clock starts; called before each copy.
    fn ready(&mut self) -> Result<(), String> {
        Ok(())
    }
    /// Daemons that take part.
    fn residents(&self) -> Vec<Resident> {
        Vec::new()
    }
    /// Copies everything.
    fn copy(&mut self, source: &Path, run: Run<'_>) -> Result<(), String>;
    /// Rounds beyond which it is not measured, because each takes minutes.
    fn rounds_at_most(&self) -> usize {
        usize::MAX
    }
}

type Shared = Rc<RefCell<Box<dyn Copier>>>;
type Make = fn(&Stage) -> Result<Box<dyn Copier>, String>;

/// The slowest last.
const ALL: [(&str, Make); 4] = [
    ("Unison", |stage| Ok(Box::new(Unison::start(stage)?))),
    ("casync, no network", |stage| {
        Ok(Box::new(Casync::new(stage)?))
    }),
    ("sparsync", |stage| Ok(Box::new(Sparsync::start(stage)?))),
    ("ffsync", |stage| Ok(Box::new(Ffsync::new(stage)?))),
];

/// Those that a full run sets beside the product, each filling an empty target
/// of that many files.
pub(crate) fn filling(
    options: &Options,
    rounds: usize,
    stage: &mut Stage,
    files: usize,
) -> Vec<Series> {
    // Minutes a round with the largest.
    let entrants = if files > 10_000 { &ALL[..3] } else { &ALL[..] };
    one_by_one(options, rounds, stage, entrants, Before::Forget)
}

/// Those that a full run sets beside the product, each finding nothing to do.
pub(crate) fn looking(options: &Options, rounds: usize, stage: &mut Stage) -> Vec<Series> {
    one_by_one(options, rounds, stage, &ALL[..3], Before::FillOnce)
}

/// What is done before a round.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Before {
    Forget,
    FillOnce,
}

/// Not in turns with the others: a server among them takes a processor while
/// nobody asks it.
fn one_by_one(
    options: &Options,
    rounds: usize,
    stage: &mut Stage,
    entrants: &[(&'static str, Make)],
    before: Before,
) -> Vec<Series> {
    let entrants = if options.full { entrants } else { &[] };
    let mut series = Vec::new();
    for &(name, make) in entrants {
        match make(stage) {
            Ok(copier) => {
                let racer = racer(name, Rc::new(RefCell::new(copier)), before);
                series.extend(race(Wire::Loopback, rounds, stage, vec![racer]));
            }
            Err(why) => series.push(Series::failed(name, why)),
        }
    }
    series
}

fn racer(name: &str, copier: Shared, before: Before) -> Racer<'static, Stage> {
    let (first, second, third) = (Rc::clone(&copier), Rc::clone(&copier), Rc::clone(&copier));
    let rounds = copier.borrow().rounds_at_most();
    let mut to_fill = before == Before::FillOnce;
    Racer::new(name, move |stage: &mut Stage, meter: &mut Meter| {
        copy(&first, stage, &mut |end, command| {
            meter.run(end, command).map(drop)
        })
    })
    .after(move |stage| {
        if std::mem::take(&mut to_fill) {
            second.borrow_mut().ready()?;
            copy(&second, stage, &mut |_, command| {
                unmeasured(command).map(drop)
            })?;
        }
        if before == Before::Forget {
            second.borrow_mut().forget()?;
        }
        second.borrow_mut().ready()
    })
    .with(move |_| third.borrow().residents())
    .checked(move |stage| {
        let copier = copier.borrow();
        lockstep::contains(copier.target(), stage.source())
    })
    .at_most(rounds)
}

fn copy(copier: &Shared, stage: &Stage, run: Run<'_>) -> Result<(), String> {
    let mut copier = copier.borrow_mut();
    let source = copier.source(stage).to_owned();
    copier.copy(&source, run)
}
