//! A generation carried out on the tree of an active: `rollback`.
//!
//! The same steps as on a passive, with the accepted state in the place of the
//! agreed one: what stands at a path and was not accepted is kept aside, and what
//! was is kept in the archive. There is no journal. What an interruption leaves is
//! an edit like any other, and going back again finishes it.

use std::collections::BTreeSet;

use sync_core::{ContentId, Position, Preset, RelPath, exclude::Rules, journal::Placed};

use super::{
    apply::Pending,
    aside::{ASIDE, Aside, AsideRun},
    contents::{Contents, STAGING, Staged, finished_name, hash, make_directory, staging},
    judge::History,
    prepared::Prepared,
    run::{Around, Effect, Run},
};
use crate::{
    archive::Archive,
    observed::{Observed, Sighting},
    root::{DiskError, Kind, Root, Target},
};

/// What going back works on.
pub(crate) struct GoingBack<'a> {
    pub(crate) root: &'a Root,
    pub(crate) work: &'a Root,
    pub(crate) accepted: &'a Observed,
    pub(crate) preset: Preset,
    pub(crate) exclude: &'a Rules,
    pub(crate) archive: &'a mut Archive,
}

/// How far it came.
pub(crate) struct WentBack {
    /// How the paths stand now.
    pub(crate) effects: Vec<(RelPath, Option<Sighting>)>,
    /// What was not as accepted.
    pub(crate) kept_aside: Vec<Aside>,
    /// Where and why it stopped, if it did.
    pub(crate) stopped: Option<(RelPath, DiskError)>,
}

impl GoingBack<'_> {
    /// Carries `changes` out; their contents are staged.
    pub(crate) fn carry_out(
        self,
        position: Position,
        changes: Vec<Placed>,
        staged: BTreeSet<ContentId>,
    ) -> WentBack {
        let pending = Pending {
            position,
            changes,
            prepared: Prepared::default(),
            history: History::new(),
            draft: None,
            bumped: 0,
        };
        let mut contents = Contents::staged_only(staged);
        let mut prepared = Prepared::default();
        let mut run = Run::new(
            Around {
                root: self.root,
                work: self.work,
                agreed: self.accepted,
                owned: None,
                preset: self.preset,
                exclude: self.exclude,
                contents: &mut contents,
                archive: self.archive,
                prepared: &mut prepared,
            },
            &pending,
        );
        let plan = run.plan();
        let mut stopped = None;
        for step in plan.steps() {
            if let Err(error) = run.step(step) {
                stopped = Some((step.path.clone(), error));
                break;
            }
        }
        let (effects, kept_aside) = run.finish();
        let effects = effects.into_iter().map(|effect| match effect {
            Effect::Put(sighting) => (sighting.path.clone(), Some(sighting)),
            Effect::Gone(path) => (path, None),
        });
        WentBack {
            effects: effects.collect(),
            kept_aside,
            stopped,
        }
    }
}

/// Makes the directories that going back needs, and sorts out what an interrupted
/// one left: a content that stood in the tree goes into the archive, or aside
/// where that has no room. Gives the contents that are staged and whole.
pub(crate) fn sort_out_staging(
    work: &Root,
    archive: &mut Archive,
    position: Position,
) -> Result<BTreeSet<ContentId>, DiskError> {
    make_directory(work, STAGING)?;
    make_directory(work, ASIDE)?;
    let mut staged = BTreeSet::new();
    let mut aside = AsideRun::new(position.generation);
    for listed in work.list(Some(&RelPath::new(STAGING).expect("a legal name")))? {
        let name = staging(&listed.name);
        match (Staged::of(&listed.name), listed.stat.kind) {
            (Staged::Partial(_), Kind::File) => work.remove_file(&name)?,
            (of, Kind::File) => {
                let hashed = hash(&work.open_file(&name)?)?;
                let content = hashed.map(|hashed| hashed.content);
                match (of, content) {
                    (Staged::Finished(id), Some(content)) if id == content => {
                        staged.insert(id);
                    }
                    (_, Some(content)) if archive.wants(listed.stat.length) => {
                        archive.keep(&name, content, listed.stat.length)?;
                    }
                    _ => keep_aside(work, &mut aside, &name)?,
                }
            }
            _ => keep_aside(work, &mut aside, &name)?,
        }
    }
    Ok(staged)
}

fn keep_aside(work: &Root, aside: &mut AsideRun, name: &RelPath) -> Result<(), DiskError> {
    let kept_at = aside.name_for(work, name)?;
    work.rename(name, work, &kept_at, Target::Free)
}

/// Removes staged contents that were not needed after all.
pub(crate) fn clear_staging(work: &Root, staged: &BTreeSet<ContentId>) -> Result<(), DiskError> {
    use crate::root::AbsentIsNone as _;
    for id in staged {
        let name = finished_name(id);
        // A name that an exchange used holds what stood in the tree.
        let Some(file) = work.open_file(&name).absent_is_none()? else {
            continue;
        };
        if super::contents::has_content(&file, *id)? {
            work.remove_file(&name)?;
        }
    }
    Ok(())
}
