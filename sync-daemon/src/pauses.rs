//! What an active does not send for now: everything, a tree, or one tenant.
//!
//! Kept in the state directory, so that a restart forgets no pause; over when the
//! node stops being active. What is held is never stored: it is the difference that
//! the pushers leave out.

use std::{
    collections::BTreeSet,
    path::{Path, PathBuf},
    time::{Duration, SystemTime},
};

use serde::{Deserialize, Serialize};
use sync_core::{RelPath, Tenant, TreeName};
use tokio::sync::watch;

use crate::{
    events::PauseStatus,
    failure::{Failure, FailureKind},
    private_file::{self, Kept},
};

/// The file's name in the state directory.
const FILE_NAME: &str = "pauses.toml";
/// What people who open the file read first.
const FILE_HEADER: &str = "# What is not sent. Written by apim-sync; `apim-sync resume` ends it.\n";
/// Pauses at one time: a person made each.
const PAUSES_MAX: usize = 256;

/// One pause.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Pause {
    /// The tree; everything without one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    tree: Option<String>,
    /// The tenant of it; all of it without one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    tenant: Option<String>,
    /// When it ends by itself, in milliseconds since 1970.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    until_ms: Option<u64>,
}

#[derive(Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct PausesFile {
    #[serde(default)]
    pause: Vec<Pause>,
}

/// What of one tree is held.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub(crate) struct Held {
    /// All of it.
    pub(crate) all: bool,
    /// These tenants.
    pub(crate) tenants: BTreeSet<Tenant>,
}

/// The pauses of a node.
pub(crate) struct Pauses {
    path: PathBuf,
    list: watch::Sender<Vec<Pause>>,
}

impl Held {
    /// Whether a change at `path` is held.
    pub(crate) fn owns(&self, path: &RelPath) -> bool {
        self.all || (!self.tenants.is_empty() && self.tenants.contains(&Tenant::of(path)))
    }
}

impl Pause {
    pub(crate) fn new(
        tree: Option<&TreeName>,
        tenant: Option<&Tenant>,
        period: Option<Duration>,
    ) -> Self {
        let name = |tenant: &Tenant| String::from_utf8_lossy(tenant.directory().as_bytes()).into();
        Self {
            tree: tree.map(ToString::to_string),
            tenant: tenant.map(name),
            until_ms: period.map(|period| now_ms().saturating_add(millis(period))),
        }
    }

    /// What is paused, for people: `tenant 7 of tenants`.
    pub(crate) fn what(&self) -> String {
        let escape = |text: &String| sync_core::path::escape(text.as_bytes());
        match (&self.tree, &self.tenant) {
            (None, _) => "everything".to_owned(),
            (Some(tree), None) => escape(tree),
            (Some(tree), Some(tenant)) => format!("tenant {} of {}", escape(tenant), escape(tree)),
        }
    }

    fn is_whole(&self) -> bool {
        self.tree.is_none()
    }

    fn is_of(&self, tree: &TreeName) -> bool {
        self.tree
            .as_deref()
            .is_none_or(|name| name == tree.as_str())
    }

    fn covers_same(&self, other: &Self) -> bool {
        self.tree == other.tree && self.tenant == other.tenant
    }

    fn in_force(&self, now_ms: u64) -> bool {
        self.until_ms.is_none_or(|until| now_ms < until)
    }

    fn left(&self) -> Option<Duration> {
        let until = self.until_ms?;
        Some(Duration::from_millis(until.saturating_sub(now_ms())))
    }
}

impl From<&Pause> for PauseStatus {
    fn from(pause: &Pause) -> Self {
        let escape = |text: &String| sync_core::path::escape(text.as_bytes());
        Self {
            tree: pause.tree.as_ref().map(escape),
            tenant: pause.tenant.as_ref().map(escape),
            seconds: pause.left().map(|left| left.as_secs()),
        }
    }
}

impl Pauses {
    /// Those that the state directory holds.
    pub(crate) fn load(state_dir: &Path) -> Result<Self, Failure> {
        let path = state_dir.join(FILE_NAME);
        let doing = "reading what is paused";
        let bytes = private_file::read(&path, Kept::Unchanged)
            .map_err(|error| {
                Failure::caused_by(FailureKind::Failed, doing, &error).hint(error.hint())
            })?
            .unwrap_or_default();
        let text = String::from_utf8_lossy(&bytes);
        let file: PausesFile = toml::from_str(&text).map_err(|error| {
            let why = format!("{doing}: {} is damaged", path.display());
            Failure::caused_by(FailureKind::Failed, why, &error)
                .hint(format!("remove {}: then nothing is paused", path.display()))
        })?;
        Ok(Self {
            path,
            list: watch::Sender::new(file.pause),
        })
    }

    /// Forgets all of them: what a node held as an active is no concern of it later.
    pub(crate) fn clear(&self) -> Result<(), Failure> {
        let is_empty = self.list.borrow().is_empty();
        if is_empty {
            return Ok(());
        }
        self.keep(Vec::new())
    }

    /// Adds one, in place of one of the same, on the disk first.
    pub(crate) fn add(&self, pause: Pause) -> Result<(), Failure> {
        let mut list = self.in_force();
        list.retain(|other| !other.covers_same(&pause));
        if list.len() >= PAUSES_MAX {
            let message = format!("pausing {}: {PAUSES_MAX} pauses are in force", pause.what());
            return Err(Failure::new(FailureKind::Failed, message)
                .hint("`apim-sync pause` without --tenant pauses all at once"));
        }
        list.push(pause);
        self.keep(list)
    }

    /// Ends the one that covers the same as `pause`; whether there was one.
    pub(crate) fn remove(&self, pause: &Pause) -> Result<bool, Failure> {
        let mut list = self.in_force();
        let before = list.len();
        list.retain(|other| !other.covers_same(pause));
        let found = list.len() < before;
        self.keep(list)?;
        Ok(found)
    }

    fn keep(&self, list: Vec<Pause>) -> Result<(), Failure> {
        let doing = "recording what is paused";
        let failed = |error: &dyn std::error::Error| {
            Failure::caused_by(FailureKind::Failed, doing, error)
                .hint("check the free space and the owner of the state directory")
        };
        let file = PausesFile { pause: list };
        let text = toml::to_string(&file).map_err(|error| failed(&error))?;
        private_file::replace(&self.path, format!("{FILE_HEADER}{text}").as_bytes())
            .map_err(|error| failed(&error))?;
        self.list.send_replace(file.pause);
        Ok(())
    }

    /// Those that are in force now.
    pub(crate) fn in_force(&self) -> Vec<Pause> {
        let now_ms = now_ms();
        let list = self.list.borrow();
        let in_force = list.iter().filter(|pause| pause.in_force(now_ms));
        in_force.cloned().collect()
    }

    /// The pause of everything, if there is one.
    pub(crate) fn whole(&self) -> Option<Pause> {
        self.in_force().into_iter().find(Pause::is_whole)
    }

    /// What is held of a tree.
    pub(crate) fn of(&self, tree: &TreeName) -> Held {
        let mut held = Held::default();
        for pause in self.in_force().iter().filter(|pause| pause.is_of(tree)) {
            match &pause.tenant {
                None => held.all = true,
                Some(name) => held.tenants.extend(Tenant::new(name.as_bytes())),
            }
        }
        held
    }

    /// The first pause that holds a part of a tree.
    pub(crate) fn within(&self, tree: &TreeName) -> Option<Pause> {
        let mut pauses = self.in_force().into_iter();
        pauses.find(|pause| pause.is_of(tree))
    }

    /// Tells when one is added, removed, or runs out.
    pub(crate) async fn changed(&self) {
        let mut changes = self.list.subscribe();
        let next_end = self.in_force().iter().filter_map(Pause::left).min();
        let ran_out = async {
            match next_end {
                Some(left) => tokio::time::sleep(left).await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            // The sender lives as long as this call borrows it.
            _ = changes.changed() => {}
            () = ran_out => {}
        }
    }
}

fn now_ms() -> u64 {
    let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
    since.map_or(0, millis)
}

fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn name(text: &str) -> TreeName {
        TreeName::new(text).unwrap()
    }

    fn tenant(text: &str) -> Tenant {
        Tenant::new(text.as_bytes()).unwrap()
    }

    #[test]
    fn pauses_survive_and_end_each_by_itself() {
        let directory = tempfile::tempdir().unwrap();
        let (tenants, other) = (name("tenants"), name("other"));
        let of_seven = || Pause::new(Some(&tenants), Some(&tenant("7")), None);
        let pauses = Pauses::load(directory.path()).unwrap();
        pauses.add(of_seven()).unwrap();
        pauses.add(of_seven()).unwrap();
        pauses.add(Pause::new(Some(&other), None, None)).unwrap();

        let again = Pauses::load(directory.path()).unwrap();
        assert_eq!(again.in_force().len(), 2);
        assert!(again.whole().is_none());
        let held = again.of(&tenants);
        let owns = |text: &str| held.owns(&RelPath::new(text.as_bytes()).unwrap());
        assert_eq!([owns("7"), owns("7/a"), owns("8/a")], [true, true, false]);
        assert!(again.of(&other).all && again.of(&name("third")) == Held::default());
        assert_eq!(
            again.within(&tenants).unwrap().what(),
            "tenant 7 of tenants"
        );
        assert!(again.remove(&of_seven()).unwrap());
        assert!(!again.remove(&of_seven()).unwrap());
        assert_eq!(again.of(&tenants), Held::default());
        again.clear().unwrap();
        assert_eq!(Pauses::load(directory.path()).unwrap().in_force(), []);
    }

    #[test]
    fn a_pause_of_everything_holds_every_tree_and_runs_out() {
        let directory = tempfile::tempdir().unwrap();
        let pauses = Pauses::load(directory.path()).unwrap();
        let hour = Some(Duration::from_secs(3600));
        pauses.add(Pause::new(None, None, hour)).unwrap();
        assert!(pauses.of(&name("any")).all && pauses.whole().is_some());
        pauses
            .add(Pause::new(None, None, Some(Duration::ZERO)))
            .unwrap();
        assert_eq!(pauses.of(&name("any")), Held::default());
        assert!(pauses.whole().is_none());
    }

    #[test]
    fn a_damaged_file_is_refused_with_what_to_do() {
        let directory = tempfile::tempdir().unwrap();
        private_file::replace(&directory.path().join(FILE_NAME), b"[[pause]]\nwhat = 1").unwrap();
        let Err(failure) = Pauses::load(directory.path()) else {
            panic!("a damaged file was taken for none");
        };
        assert!(failure.hint.unwrap().contains("remove "));
    }
}
