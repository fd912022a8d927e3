//! `rollback`: the content of an earlier generation becomes a new one.
//!
//! Everything is found out before anything changes: the way back, the guard's
//! verdict, where each content is. Then the publisher's tree goes back in one
//! piece, and what it publishes goes out as every generation does.

mod contents;

use std::{
    sync::Arc,
    time::{SystemTime, UNIX_EPOCH},
};

use sync_core::{
    Change, FileEntry, Generation, Manifest, Mtime, RelPath,
    guard::Verdict,
    history::manifest_at,
    plan::{self, changes_between},
    wire::PlanId,
};
use sync_fs::source::{effective_changes, needed_contents};
use tokio::{
    sync::{mpsc::Sender, oneshot},
    time::Instant,
};
use tracing::info;

use super::{
    Shared,
    active::ActiveTree,
    publisher::{Command, GoBack, Published, WentBack},
    push_request::{self, select_trees, tell},
    scope::Scope,
};
use crate::{
    audit_log::Said,
    control::{Push, Rollback, Wait},
    events::Event,
    failure::{Failure, FailureKind},
    history,
};

/// How often a tree that changes meanwhile is planned anew.
const TRIES: usize = 3;

/// Runs one request.
pub(super) async fn run(
    shared: &Arc<Shared>,
    asked: Rollback,
    events: &Sender<Event>,
) -> Result<(), Failure> {
    let begun = Instant::now();
    let doing = format!("rolling back to generation {}", asked.generation);
    refuse_passive(shared, &doing)?;
    shared.refuse_conflict(&doing)?;
    let scope = Scope::of(shared, asked.tree.as_deref(), asked.tenant.as_deref())?;
    if !asked.dry_run {
        push_request::refuse_paused(shared, &scope)?;
    }
    let tree = one_tree(shared, &scope, &doing)?;
    let _alone = shared.rolling_back.try_lock().map_err(|_| {
        Failure::new(
            FailureKind::Failed,
            format!("{doing}: another rollback is at work"),
        )
        .hint("wait until it has ended, then look at `apim-sync history`")
    })?;
    let request = Request {
        shared,
        tree: &tree,
        doing,
        generation: Generation(asked.generation),
        only: match scope.tenant() {
            Some(tenant) => Some(tenant.directory().clone()),
            None => asked.only.as_deref().map(history::parse).transpose()?,
        },
        events,
    };
    for _ in 0..TRIES {
        let plan = request.plan().await?;
        if plan.changes.is_empty() {
            let text = format!("{} stands there already", request.named());
            tell(events, Event::notice(text)).await;
            // One that was cut off may have come so far here, and no further.
            return match asked.dry_run {
                true => Ok(()),
                false => request.push().await,
            };
        }
        if asked.dry_run {
            contents::find(&request, &plan.needed).await?;
            request.show(&plan, begun).await;
            return request.judge(&plan).map(drop);
        }
        request.judge(&plan)?;
        contents::gather(&request, &plan.needed).await?;
        if let Some(went) = request.go_back(plan).await? {
            return request.finish(went).await;
        }
        // Somebody changed the tree meanwhile: what is lost by going back is
        // another thing now.
    }
    let why = "the tree changes all the time";
    Err(
        Failure::new(FailureKind::Failed, format!("{}: {why}", request.doing))
            .hint("stop what writes into it, or narrow it down with --only PREFIX"),
    )
}

fn refuse_passive(shared: &Shared, doing: &str) -> Result<(), Failure> {
    if shared.is_active() {
        return Ok(());
    }
    let active = shared.peers.snapshot().into_values().find(|peer| {
        let greeting = peer.greeting.as_ref();
        greeting.is_some_and(|greeting| greeting.hello.active)
    });
    let place = active.map_or_else(
        || "on the active node".to_owned(),
        |peer| format!("on `{}`, the active node", peer.name),
    );
    let failure = shared.needs_active(doing);
    Err(failure.hint(format!("run the command {place}; this node follows")))
}

fn one_tree(shared: &Shared, scope: &Scope, doing: &str) -> Result<ActiveTree, Failure> {
    let mut trees = select_trees(shared, scope);
    if trees.len() == 1
        && let Some(tree) = trees.pop()
    {
        return Ok(tree);
    }
    let names: Vec<_> = trees.iter().map(|tree| tree.name.as_str()).collect();
    Err(
        Failure::new(FailureKind::Usage, format!("{doing}: of which tree?")).hint(format!(
            "generations are numbered for each tree: --tree with one of {}",
            names.join(", ")
        )),
    )
}

/// What is asked, of which tree.
struct Request<'a> {
    shared: &'a Arc<Shared>,
    tree: &'a ActiveTree,
    doing: String,
    generation: Generation,
    only: Option<RelPath>,
    events: &'a Sender<Event>,
}

/// The way back from where the tree stands.
struct Plan {
    current: Published,
    changes: Vec<Change>,
    /// Files whose contents are not in place.
    needed: Vec<FileEntry>,
}

impl Request<'_> {
    fn named(&self) -> String {
        format!("generation {} of {}", self.generation, self.tree.name)
    }

    /// Plans from the newest state, everything written before included.
    async fn plan(&self) -> Result<Plan, Failure> {
        let trees = [self.tree.clone()];
        let settled = push_request::settle(&trees, self.events).await?;
        let (_, current) = settled
            .into_iter()
            .next()
            .ok_or_else(|| self.failed("no tree"))?;
        let generations = self
            .tree
            .thread
            .run(|tree| tree.source.archive().generations());
        let generations = generations.await.map_err(|error| self.caused_by(&error))?;
        let generations = generations.map_err(|error| self.caused_by(&error))?;
        let (target, _) =
            manifest_at(&current.manifest, &generations, self.generation).map_err(|error| {
                Failure::caused_by(FailureKind::Usage, &*self.doing, &error)
                    .hint("`apim-sync history` lists the generations that are kept")
            })?;
        let changes = self.changes(&current.manifest, &target)?;
        let preset = self.tree.preset;
        Ok(Plan {
            needed: needed_contents(&current.manifest, &changes, preset),
            current,
            changes,
        })
    }

    fn changes(&self, current: &Manifest, target: &Manifest) -> Result<Vec<Change>, Failure> {
        let mut changes = changes_between(target, current);
        if let Some(only) = &self.only {
            changes.retain(|change| change.path.starts_with(only));
        }
        plan::check(current, &changes, self.tree.preset).map_err(|error| {
            Failure::caused_by(FailureKind::Usage, &*self.doing, &error)
                .hint("name a directory further up with --only, or leave it out")
        })?;
        Ok(effective_changes(current, changes, self.tree.preset))
    }

    /// Asks the guard, as a push of these changes will.
    fn judge(&self, plan: &Plan) -> Result<Option<PlanId>, Failure> {
        let (name, preset) = (&self.tree.name, self.tree.preset);
        let guard = self.shared.guard();
        match guard.judge(&plan.current.manifest, &plan.changes, name, preset) {
            Verdict::Pass => Ok(None),
            Verdict::Halt { plan, .. } if self.shared.releases.contains(plan) => Ok(Some(plan)),
            Verdict::Halt {
                plan,
                deletions,
                files,
                reason,
                ..
            } => {
                self.shared.offer_release(plan);
                let doing = &self.doing;
                Err(Failure::new(
                    FailureKind::Halted,
                    format!("{doing}: halted plan {plan} before the first delete: it would delete {deletions} of {files} files ({reason})"),
                )
                .hint(format!("if the deletions are meant: `apim-sync release {plan}`, then the same command again")))
            }
        }
    }

    /// Tells what would change.
    async fn show(&self, plan: &Plan, begun: Instant) {
        let (current, changes) = (&plan.current, &plan.changes);
        push_request::tell_plan(self.shared, current, changes, begun, self.events).await;
    }

    /// Has the publisher go back; `None` where the tree is not what the plan was
    /// made for.
    async fn go_back(&self, plan: Plan) -> Result<Option<WentBack>, Failure> {
        let now = SystemTime::now().duration_since(UNIX_EPOCH);
        let seconds = now.map_or(0, |now| i64::try_from(now.as_secs()).unwrap_or(i64::MAX));
        let back = GoBack {
            to: self.generation,
            base: plan.current.position.root,
            changes: plan.changes,
            needed: plan.needed.iter().map(|file| file.content).collect(),
            now: Mtime {
                seconds,
                nanoseconds: 0,
            },
        };
        let (answer, answered) = oneshot::channel();
        let sent = self.tree.commands.send(Command::GoBack(back, answer)).await;
        sent.map_err(|_| self.failed("the tree has stopped"))?;
        let went = answered
            .await
            .map_err(|_| self.failed("the tree has stopped"))?;
        went.map_err(|error| self.caused_by(&error))
    }

    /// Tells what was kept, and sends what was published.
    async fn finish(&self, went: WentBack) -> Result<(), Failure> {
        info!(tree = %self.tree.name, generation = %went.position.generation, "rolled back to {}", self.generation);
        self.shared.audit.say_and_sync(Said::RolledBack {
            tree: self.tree.name.to_string(),
            generation: went.position.generation.0,
            to: self.generation.0,
        });
        for aside in &went.kept_aside {
            let text = format!("changed at the same time: {aside} in the tree's work directory");
            tell(self.events, Event::notice(text)).await;
        }
        let (number, tree) = (went.position.generation, &self.tree.name);
        let text = format!(
            "generation {number} of {tree} has the content of generation {}",
            self.generation
        );
        tell(self.events, Event::notice(text)).await;
        let pushed = self.push().await;
        if let Some((path, error)) = &went.stopped {
            let doing = format!("{}: stopped at `{path}`", self.doing);
            return Err(Failure::caused_by(FailureKind::Partial, doing, error)
                .hint("mend the cause, then run the same command again: it goes on from here"));
        }
        pushed
    }

    /// Sends what is published, and waits until the passives show it.
    async fn push(&self) -> Result<(), Failure> {
        let push = Push {
            tree: Some(self.tree.name.to_string()),
            wait: Wait::Applied,
            ..Push::default()
        };
        push_request::run(self.shared, push, self.events).await
    }

    fn failed(&self, why: &str) -> Failure {
        Failure::new(FailureKind::Failed, format!("{}: {why}", self.doing))
            .hint("the daemon's log says more; nothing was changed")
    }

    fn caused_by(&self, error: &dyn std::error::Error) -> Failure {
        Failure::caused_by(FailureKind::Failed, &*self.doing, error)
            .hint("the daemon's log says more; the same command can be run again")
    }
}
