//! The table, and what must hold for every pair that can ever meet.

use proptest::prelude::*;

use super::*;

const A: [u8; 32] = [0xa; 32];
const B: [u8; 32] = [0xb; 32];
const C: [u8; 32] = [0xc; 32];

fn first() -> Lineage {
    Lineage::first(Epoch(1))
}

fn stance(node: [u8; 32], active: bool, lineage: &Lineage) -> Stance<'_> {
    Stance {
        node,
        active,
        halted: false,
        lineage,
    }
}

fn active(node: [u8; 32], lineage: &Lineage) -> Stance<'_> {
    stance(node, true, lineage)
}

fn passive(node: [u8; 32], lineage: &Lineage) -> Stance<'_> {
    stance(node, false, lineage)
}

fn halted(node: [u8; 32], lineage: &Lineage) -> Stance<'_> {
    Stance {
        halted: true,
        ..active(node, lineage)
    }
}

/// What both do about each other.
fn meet(ours: &Stance<'_>, theirs: &Stance<'_>) -> (Verdict, Verdict) {
    (judge(ours, theirs), judge(theirs, ours))
}

#[test]
fn the_whole_table() {
    use Verdict::{Follow, Halt, Lead, Look, Refuse, StepDown};
    let one = first();
    let by_a = one.promote([], A, 7);
    let by_b = one.promote([], B, 8);
    let later = by_b.promote([], B, 9);
    let table = [
        // The same promotion.
        (active(A, &one), passive(B, &one), (Lead, Follow)),
        (passive(A, &one), passive(B, &one), (Look, Look)),
        (active(A, &one), active(B, &one), (Halt, Halt)),
        (halted(A, &one), passive(B, &one), (Look, Look)),
        (halted(A, &one), active(B, &one), (Look, Halt)),
        (halted(A, &one), halted(B, &one), (Look, Look)),
        // B was promoted and knew of A's epoch: the ordinary return of A.
        (active(A, &one), active(B, &by_b), (StepDown, Look)),
        (active(A, &one), passive(B, &by_b), (StepDown, Refuse)),
        (passive(A, &one), active(B, &by_b), (Follow, Lead)),
        (passive(A, &one), passive(B, &by_b), (Look, Look)),
        (halted(A, &one), active(B, &by_b), (StepDown, Look)),
        (halted(A, &one), passive(B, &by_b), (StepDown, Look)),
        (active(A, &one), halted(B, &by_b), (StepDown, Look)),
        (passive(A, &one), halted(B, &by_b), (Look, Look)),
        (halted(A, &one), halted(B, &by_b), (StepDown, Look)),
        // Both were promoted from the same epoch, out of each other's sight.
        (active(A, &by_a), active(B, &by_b), (Halt, Halt)),
        (active(A, &by_a), passive(B, &by_b), (Halt, Refuse)),
        (passive(A, &by_a), passive(B, &by_b), (Look, Look)),
        (halted(A, &by_a), active(B, &by_b), (Look, Halt)),
        (halted(A, &by_a), passive(B, &by_b), (Look, Look)),
        (halted(A, &by_a), halted(B, &by_b), (Look, Look)),
        // A higher number alone continues nothing.
        (active(A, &by_a), active(B, &later), (Halt, Halt)),
        (passive(A, &by_a), active(B, &later), (Refuse, Halt)),
        (active(A, &by_a), passive(B, &later), (Halt, Refuse)),
    ];
    for (ours, theirs, expected) in table {
        assert_eq!(meet(&ours, &theirs), expected, "{ours:?} meets {theirs:?}");
        let (mine, other) = expected;
        assert_eq!(meet(&theirs, &ours), (other, mine));
    }
}

#[test]
fn nobody_is_active_under_a_promotion_of_another() {
    let by_b = first().promote([], B, 1);
    assert_eq!(
        judge(&passive(A, &by_b), &active(C, &by_b)),
        Verdict::Refuse
    );
    assert_eq!(judge(&active(B, &by_b), &active(C, &by_b)), Verdict::Halt);
}

#[test]
fn a_second_promotion_to_the_same_epoch_by_the_same_node_is_another_one() {
    let (lost, again) = (first().promote([], A, 1), first().promote([], A, 2));
    assert_eq!(Kinship::of(&lost, &again), Kinship::Diverged);
    assert_eq!(judge(&active(A, &again), &passive(B, &lost)), Verdict::Halt);
}

#[test]
fn a_decision_continues_both_sides_of_a_conflict() {
    let (by_a, by_b) = (first().promote([], A, 1), first().promote([], B, 2));
    let decided = by_a.promote([&by_b], A, 3);
    assert_eq!(decided.epoch(), Epoch(3));
    assert_eq!(
        meet(&active(A, &decided), &halted(B, &by_b)),
        (Verdict::Look, Verdict::StepDown)
    );
    assert_eq!(
        meet(&active(A, &decided), &passive(C, &by_b)),
        (Verdict::Lead, Verdict::Follow)
    );
}

#[test]
fn a_lineage_is_checked_and_forgets_the_oldest() {
    let at = |epoch, node| Promotion {
        epoch: Epoch(epoch),
        node,
        nonce: 0,
    };
    assert_eq!(Lineage::new(Vec::new()), Err(LineageError::Count(0)));
    let reversed = vec![at(2, A), at(1, A)];
    assert_eq!(Lineage::new(reversed), Err(LineageError::Order));
    let tied = vec![at(2, A), at(2, B)];
    assert_eq!(Lineage::new(tied), Err(LineageError::Order));
    assert!(Lineage::new(vec![at(2, A), at(2, B), at(3, A)]).is_ok());

    let mut lineage = first();
    for nonce in 0..100 {
        lineage = lineage.promote([], A, nonce);
        assert_eq!(
            Lineage::new(lineage.promotions().to_vec()).as_ref(),
            Ok(&lineage)
        );
    }
    assert_eq!(lineage.promotions().len(), LINEAGE_MAX);
    assert_eq!(lineage.epoch(), Epoch(101));
    assert_eq!(Kinship::of(&first(), &lineage), Kinship::Diverged);
}

#[test]
fn a_node_that_only_says_its_epoch_stands_where_its_epoch_was() {
    let by_b = first().promote([], B, 1);
    let told = |epoch| by_b.of_epoch(Epoch(epoch));
    assert_eq!(told(1), first());
    assert_eq!(told(2), by_b);
    assert_eq!(Kinship::of(&by_b, &told(5)), Kinship::TheirsContinues);
    assert_eq!(told(0), Lineage::first(Epoch(0)));
    let other = Lineage::first(Epoch(7)).of_epoch(Epoch(6));
    assert_eq!(other, Lineage::first(Epoch(6)));
}

/// A node of the model that the properties are about.
#[derive(Clone, Debug)]
struct Model {
    key: [u8; 32],
    active: bool,
    halted: Option<Lineage>,
    lineage: Lineage,
}

impl Model {
    fn stance(&self) -> Stance<'_> {
        Stance {
            node: self.key,
            active: self.active,
            halted: self.halted.is_some(),
            lineage: &self.lineage,
        }
    }

    fn carry_out(&mut self, verdict: Verdict, theirs: &Lineage) {
        match verdict {
            Verdict::Follow | Verdict::StepDown => {
                self.active = false;
                self.halted = None;
                self.lineage = theirs.clone();
            }
            Verdict::Halt => self.halted = Some(theirs.clone()),
            Verdict::Lead | Verdict::Look | Verdict::Refuse => {}
        }
    }
}

/// What happens to the nodes.
#[derive(Clone, Copy, Debug)]
enum Step {
    Meet(usize, usize),
    /// Promoted, knowing of another node too, or of none.
    Promote(usize, Option<usize>),
    Demote(usize),
    /// Its state directory is restored as it was so many steps ago.
    Restore(usize, usize),
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let node = || 0_usize..3;
    let step = prop_oneof![
        4 => (node(), node()).prop_map(|(one, other)| Step::Meet(one, other)),
        2 => (node(), proptest::option::of(node())).prop_map(|(one, other)| Step::Promote(one, other)),
        1 => node().prop_map(Step::Demote),
        1 => (node(), 1_usize..8).prop_map(|(one, ago)| Step::Restore(one, ago)),
    ];
    proptest::collection::vec(step, 0..60)
}

/// What must hold whenever two nodes have met.
fn check_meeting(ours: &Model, theirs: &Model) {
    let (verdict, other) = meet(&ours.stance(), &theirs.stance());
    assert_eq!(
        verdict == Verdict::Lead,
        other == Verdict::Follow,
        "one leads if and only if the other follows"
    );
    if verdict == Verdict::Lead {
        assert!(ours.active && !theirs.active, "one active in a pair");
        assert!(ours.halted.is_none(), "a halted node leads nobody");
        let over = theirs.lineage.current();
        assert!(ours.lineage.contains(&over), "nobody unknown is overruled");
        assert!(ours.lineage.epoch() >= theirs.lineage.epoch());
    }
    if verdict == Verdict::StepDown {
        assert!(theirs.lineage.contains(&ours.lineage.current()));
        assert!(theirs.lineage.epoch() > ours.lineage.epoch());
    }
    if ours.active && theirs.active {
        let settles = |verdict| matches!(verdict, Verdict::StepDown | Verdict::Halt);
        let waiting = ours.halted.is_some() && theirs.halted.is_some();
        assert!(settles(verdict) || settles(other) || waiting);
    }
}

proptest! {
    #[test]
    fn two_actives_are_never_both_accepted(steps in steps()) {
        let node = |key, active| Model { key, active, halted: None, lineage: first() };
        let mut nodes = vec![node(A, true), node(B, false), node(C, false)];
        let mut past = vec![nodes.clone()];
        for (nonce, step) in (1..).zip(steps) {
            match step {
                Step::Meet(one, other) if one != other => {
                    check_meeting(&nodes[one], &nodes[other]);
                    let (verdict, answer) = meet(&nodes[one].stance(), &nodes[other].stance());
                    let (ours, theirs) = (nodes[one].lineage.clone(), nodes[other].lineage.clone());
                    nodes[one].carry_out(verdict, &theirs);
                    nodes[other].carry_out(answer, &ours);
                    let both = [&nodes[one], &nodes[other]];
                    let at_work = |node: &&Model| node.active && node.halted.is_none();
                    prop_assert!(both.into_iter().filter(at_work).count() < 2);
                }
                Step::Promote(one, other) => {
                    let known = other.map(|other| nodes[other].lineage.clone());
                    let rival = nodes[one].halted.take();
                    let others = known.iter().chain(&rival);
                    let (key, before) = (nodes[one].key, nodes[one].lineage.epoch());
                    nodes[one].lineage = nodes[one].lineage.promote(others, key, nonce);
                    nodes[one].active = true;
                    prop_assert!(nodes[one].lineage.epoch() > before);
                }
                Step::Demote(one) if nodes[one].halted.is_none() => nodes[one].active = false,
                Step::Restore(one, ago) => {
                    let then = past.len().saturating_sub(ago);
                    nodes[one] = past[then][one].clone();
                }
                Step::Meet(..) | Step::Demote(_) => {}
            }
            past.push(nodes.clone());
        }
    }
}
