//! The product's own ways.

use crate::{meter::Meter, race::Racer, row::OURS, sample::End, stage::Stage};

/// `bootstrap` of an empty passive; the active's daemon runs.
pub(crate) fn bootstrap<'a>() -> Racer<'a, Stage> {
    let name = format!("{OURS} bootstrap");
    Racer::new(name, |stage: &mut Stage, meter: &mut Meter| {
        let command = stage.passive(&["bootstrap"]);
        meter.run(End::Receiver, command).map(drop)
    })
    .with(|stage| vec![stage.sender()])
    .after(|stage| stage.empty_passive())
    .checked(|stage| stage.check_passive())
}

/// A command of the active, both daemons running.
pub(crate) fn asked<'a>(name: &str, arguments: &'a [&'a str]) -> Racer<'a, Stage> {
    let name = format!("{OURS} {name}");
    Racer::new(name, |stage: &mut Stage, meter: &mut Meter| {
        meter.run(End::Sender, stage.active(arguments)).map(drop)
    })
    .with(|stage| vec![stage.sender(), stage.receiver()])
    .after(|stage| stage.active_up())
}

/// `push` of the active without its daemon; the passive's runs.
pub(crate) fn cold_push<'a>() -> Racer<'a, Stage> {
    let name = format!("{OURS} push, no daemon");
    Racer::new(name, |stage: &mut Stage, meter: &mut Meter| {
        meter.run(End::Sender, stage.active(&["push"])).map(drop)
    })
    .with(|stage| vec![stage.receiver()])
    .after(|stage| stage.active_down())
    .checked(|stage| stage.check_passive())
}
