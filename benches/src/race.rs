//! Contestants take turns: one unmeasured round each, then measured rounds in
//! alternating order.

use crate::{
    meter::{Memory, Meter, Reading, Resident},
    process::Stopped,
    sample::{Ends, Series},
    seclusion::Wire,
};

type Step<'a, C> = Box<dyn FnMut(&mut C) -> Result<(), String> + 'a>;
type Residents<'a, C> = Box<dyn Fn(&C) -> Vec<Resident> + 'a>;
type Idle<'a, C> = Box<dyn Fn(&C) -> Vec<u32> + 'a>;
type Run<'a, C> = Box<dyn FnMut(&mut C, &mut Meter) -> Result<(), String> + 'a>;

/// One contestant on a course `C` that all share.
pub(crate) struct Racer<'a, C> {
    name: String,
    residents: Residents<'a, C>,
    prepare: Step<'a, C>,
    idle: Idle<'a, C>,
    run: Run<'a, C>,
    check: Step<'a, C>,
    rounds_at_most: usize,
}

impl<'a, C> Racer<'a, C> {
    /// A contestant and its measured work.
    pub(crate) fn new(
        name: impl Into<String>,
        run: impl FnMut(&mut C, &mut Meter) -> Result<(), String> + 'a,
    ) -> Self {
        Self {
            name: name.into(),
            residents: Box::new(|_| Vec::new()),
            prepare: Box::new(|_| Ok(())),
            idle: Box::new(|_| Vec::new()),
            run: Box::new(run),
            check: Box::new(|_| Ok(())),
            rounds_at_most: usize::MAX,
        }
    }

    /// Daemons that take part.
    pub(crate) fn with(mut self, residents: impl Fn(&C) -> Vec<Resident> + 'a) -> Self {
        self.residents = Box::new(residents);
        self
    }

    /// What is done before each round, unmeasured.
    pub(crate) fn after(mut self, prepare: impl FnMut(&mut C) -> Result<(), String> + 'a) -> Self {
        self.prepare = Box::new(prepare);
        self
    }

    /// Processes that stand still in its rounds: daemons that would carry the same
    /// edit, on the same wire and the same processors.
    pub(crate) fn apart_from(mut self, idle: impl Fn(&C) -> Vec<u32> + 'a) -> Self {
        self.idle = Box::new(idle);
        self
    }

    /// What must hold after each round, or it is none.
    pub(crate) fn checked(mut self, check: impl FnMut(&mut C) -> Result<(), String> + 'a) -> Self {
        self.check = Box::new(check);
        self
    }

    /// Not measured more often than that: it takes too long.
    pub(crate) fn at_most(mut self, rounds: usize) -> Self {
        self.rounds_at_most = rounds;
        self
    }

    fn round(&mut self, course: &mut C, wire: Wire, memory: Memory) -> Result<Reading, String> {
        (self.prepare)(course)?;
        let idle = Stopped::all((self.idle)(course))?;
        let mut meter = Meter::begin(wire, (self.residents)(course), memory)?;
        (self.run)(course, &mut meter)?;
        let reading = meter.end()?;
        drop(idle);
        (self.check)(course)?;
        Ok(reading)
    }
}

/// Runs them all. A contestant that fails drops out; the others go on.
pub(crate) fn race<C>(
    wire: Wire,
    rounds: usize,
    course: &mut C,
    mut racers: Vec<Racer<'_, C>>,
) -> Vec<Series> {
    let mut lanes: Vec<Series> = racers
        .iter()
        .map(|racer| Series::new(racer.name.as_str()))
        .collect();
    for round in 0..=rounds {
        let memory = if round == 0 {
            Memory::Looked
        } else {
            Memory::Left
        };
        for lane in order(round, racers.len()) {
            let tired = round > racers[lane].rounds_at_most;
            if lanes[lane].failure.is_none() && !tired {
                let result = racers[lane].round(course, wire, memory);
                note(&mut lanes[lane], result, memory);
            }
        }
    }
    lanes
}

/// Forwards and backwards in turns: nobody always runs after the same one.
fn order(round: usize, racers: usize) -> Vec<usize> {
    if round.is_multiple_of(2) {
        (0..racers).collect()
    } else {
        (0..racers).rev().collect()
    }
}

fn note(lane: &mut Series, result: Result<Reading, String>, memory: Memory) {
    match result {
        Ok(reading) => {
            lane.peak_bytes = greater(lane.peak_bytes, reading.peak_bytes);
            if memory == Memory::Left {
                lane.costs.push(reading.cost);
            }
        }
        Err(why) => lane.failure = Some(why),
    }
}

fn greater(left: Ends<u64>, right: Ends<u64>) -> Ends<u64> {
    Ends {
        sender: left.sender.max(right.sender),
        receiver: left.receiver.max(right.receiver),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_order_alternates() {
        assert_eq!(order(0, 3), [0, 1, 2]);
        assert_eq!(order(1, 3), [2, 1, 0]);
    }

    #[test]
    fn who_fails_drops_out_and_the_others_go_on() {
        let mut looks = 0;
        let racers = vec![
            Racer::new("good", |looks: &mut i32, _: &mut Meter| {
                *looks += 1;
                Ok(())
            }),
            Racer::new("bad", |_: &mut i32, _: &mut Meter| Err("no".to_owned())),
        ];
        let lanes = race(Wire::Absent, 2, &mut looks, racers);
        assert_eq!(looks, 3);
        assert_eq!(lanes[0].costs.len(), 2);
        assert_eq!(lanes[1].failure.as_deref(), Some("no"));
    }
}
