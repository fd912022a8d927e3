//! Changes of role as hooks are told of them: each of them, in order, once the
//! node is open in the new role, and again after a restart that came before the
//! hook's end.

use std::{collections::VecDeque, sync::Arc};

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};
use sync_core::Epoch;
use tokio::time::{Duration, timeout};
use tracing::warn;

use super::{Hooks, Now};
use crate::{
    events::{Hook, HookRun, Role},
    standing::Standing,
};

/// Changes that wait for their hook: more come about only where roles flap and
/// hooks hang.
const WAITING_MAX: usize = 16;
/// How much longer than a hook's deadline a command waits for it: an earlier one
/// may still run.
const PATIENCE: Duration = Duration::from_secs(1);

/// A change of role that a hook is told of.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub(super) struct RoleChange {
    hook: Hook,
    epoch: u64,
    /// The node that was promoted, as this one calls it, where it is another.
    active: Option<String>,
}

impl RoleChange {
    fn is_of(&self, standing: &Standing) -> bool {
        hook_of(standing.role) == self.hook && standing.epoch().0 == self.epoch
    }

    fn now(&self) -> Now {
        Now {
            role: role_of(self.hook),
            epoch: Epoch(self.epoch),
        }
    }

    fn facts(&self) -> Map<String, Value> {
        let mut facts = Map::new();
        facts.insert("active".into(), json!(self.active));
        facts
    }
}

fn hook_of(role: Role) -> Hook {
    match role {
        Role::Active => Hook::OnPromote,
        Role::Passive => Hook::OnDemote,
    }
}

fn role_of(hook: Hook) -> Role {
    match hook {
        Hook::OnPromote => Role::Active,
        _ => Role::Passive,
    }
}

/// Which hook a changed standing calls for.
fn called_for(before: &Standing, after: &Standing) -> Option<Hook> {
    let changed = before.role != after.role;
    // Whoever decides a conflict for an active promotes it once more.
    let again = after.role == Role::Active && before.epoch() != after.epoch();
    (changed || again).then(|| hook_of(after.role))
}

/// The changes that are on their way to their hook.
#[derive(Default)]
pub(super) struct Changes {
    /// The newest, from before it is recorded until its hook has ended.
    pending: Option<(u64, RoleChange)>,
    /// Those whose hooks may run.
    waiting: VecDeque<(u64, RoleChange)>,
    /// How many there were.
    count: u64,
    /// The number of the newest, if it has a hook.
    newest: Option<u64>,
    /// The number of the newest whose hook may run.
    opened: u64,
    is_running: bool,
}

/// A change whose hook has ended.
#[derive(Clone)]
pub(super) struct Done {
    number: u64,
    run: HookRun,
}

impl Changes {
    pub(super) fn resuming(pending: Option<RoleChange>) -> Self {
        Self {
            count: u64::from(pending.is_some()),
            newest: pending.as_ref().map(|_| 1),
            pending: pending.map(|change| (1, change)),
            ..Self::default()
        }
    }

    pub(super) fn pending(&self) -> Option<&RoleChange> {
        self.pending.as_ref().map(|(_, change)| change)
    }

    fn announce(&mut self, change: RoleChange) {
        self.count += 1;
        self.newest = Some(self.count);
        self.pending = Some((self.count, change));
    }

    /// The newest change may be told, if it is still what the node is.
    fn open(&mut self, standing: &Standing) {
        let Some((number, change)) = &self.pending else {
            return;
        };
        if !change.is_of(standing) {
            self.pending = None;
            return;
        }
        if *number <= self.opened {
            return;
        }
        self.opened = *number;
        self.waiting.push_back((*number, change.clone()));
        if self.waiting.len() > WAITING_MAX {
            self.waiting.pop_front();
            warn!("too many changes of role wait for their hook; the oldest is not told");
        }
    }

    fn ended(&mut self, number: u64) {
        self.pending.take_if(|(pending, _)| *pending == number);
    }
}

impl Hooks {
    /// Before a changed standing is recorded: its hook will run, whatever comes
    /// between. `active` names who was promoted.
    pub(in crate::node) fn announce(
        &self,
        before: &Standing,
        after: &Standing,
        active: Option<String>,
    ) {
        let Some(hook) = called_for(before, after) else {
            return;
        };
        if !self.is_configured(hook) {
            let roles = &mut self.known().roles;
            (roles.pending, roles.newest) = (None, None);
            return;
        }
        self.known().roles.announce(RoleChange {
            hook,
            epoch: after.epoch().0,
            active,
        });
        self.save();
    }

    /// The node is open in its role: runs what was announced for it.
    pub(in crate::node) fn opened(self: &Arc<Self>, standing: &Standing) {
        let begins = {
            let mut known = self.known();
            known.roles.open(standing);
            let begins = !known.roles.waiting.is_empty() && !known.roles.is_running;
            known.roles.is_running |= begins;
            begins
        };
        if begins {
            let hooks = Arc::clone(self);
            self.spawn(async move { hooks.tell_roles().await });
        }
    }

    async fn tell_roles(self: Arc<Self>) {
        while let Some((number, change)) = self.next_role() {
            let over = self.run(change.hook, change.now(), change.facts());
            let run = over.await;
            self.known().roles.ended(number);
            self.save();
            if let Ok(run) = run {
                self.done.send_replace(Some(Done { number, run }));
            }
        }
    }

    fn next_role(&self) -> Option<(u64, RoleChange)> {
        let mut known = self.known();
        let next = known.roles.waiting.pop_front();
        known.roles.is_running = next.is_some();
        next
    }

    /// Waits for the hook of the newest change, if it has one: how it did, or
    /// nothing where it takes too long.
    pub(in crate::node) async fn role_told(&self) -> Option<Option<HookRun>> {
        let number = self.known().roles.newest?;
        let mut done = self.done.subscribe();
        let told = done.wait_for(|done| done.as_ref().is_some_and(|it| it.number >= number));
        let told = timeout(self.config.deadline + PATIENCE, told).await;
        let run = told.ok().and_then(Result::ok);
        Some(run.and_then(|done| done.as_ref().map(|it| it.run.clone())))
    }
}

#[cfg(test)]
mod tests {
    use sync_core::fence::Lineage;

    use super::*;

    fn standing(role: Role, epoch: u64) -> Standing {
        Standing {
            role,
            lineage: Lineage::first(Epoch(epoch)),
            rival: None,
        }
    }

    fn change(after: &Standing) -> RoleChange {
        RoleChange {
            hook: hook_of(after.role),
            epoch: after.epoch().0,
            active: None,
        }
    }

    #[test]
    fn what_calls_for_a_hook() {
        use Role::{Active, Passive};
        for (before, after, hook) in [
            ((Passive, 1), (Active, 2), Some(Hook::OnPromote)),
            ((Active, 1), (Passive, 1), Some(Hook::OnDemote)),
            ((Active, 1), (Passive, 2), Some(Hook::OnDemote)),
            ((Active, 2), (Active, 3), Some(Hook::OnPromote)),
            ((Active, 2), (Active, 2), None),
            ((Passive, 1), (Passive, 2), None),
        ] {
            let called = called_for(&standing(before.0, before.1), &standing(after.0, after.1));
            assert_eq!(called, hook, "{before:?} {after:?}");
        }
    }

    #[test]
    fn a_change_is_told_once_and_only_while_it_is_true() {
        let active = standing(Role::Active, 2);
        let mut changes = Changes::resuming(Some(change(&active)));
        changes.open(&active);
        changes.open(&active);
        assert_eq!(changes.waiting.len(), 1);
        assert!(changes.pending().is_some(), "kept until its hook has ended");
        let (number, _) = changes.waiting.pop_front().unwrap();
        changes.ended(number);
        assert!(changes.pending().is_none());

        let mut overtaken = Changes::resuming(Some(change(&active)));
        overtaken.open(&standing(Role::Passive, 3));
        assert!(overtaken.waiting.is_empty() && overtaken.pending().is_none());
    }

    #[test]
    fn a_hook_that_ends_does_not_forget_the_next_change() {
        let mut changes = Changes::default();
        let (active, passive) = (standing(Role::Active, 2), standing(Role::Passive, 2));
        changes.announce(change(&active));
        changes.open(&active);
        let (first, _) = changes.waiting.pop_front().unwrap();
        changes.announce(change(&passive));
        changes.ended(first);
        assert_eq!(changes.pending(), Some(&change(&passive)));
    }

    #[test]
    fn the_newest_changes_are_told_however_many_wait() {
        let mut changes = Changes::default();
        for epoch in 2..40 {
            let active = standing(Role::Active, epoch);
            changes.announce(change(&active));
            changes.open(&active);
        }
        assert_eq!(changes.waiting.len(), WAITING_MAX);
        assert_eq!(changes.waiting.back().unwrap().1.epoch, 39);
    }
}
