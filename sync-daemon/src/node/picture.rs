//! Pictures of this node's trees, for an audit of either side.

use std::ops::ControlFlow;

use sync_core::{
    TreeName,
    wire::{Refusal, View},
};
use sync_fs::{replica::DriftKind, scan::Progress};
use tokio::sync::watch;

use super::{
    Shared,
    active::ActiveTree,
    audit::Shown,
    drift,
    error::SessionError,
    passive::{PassiveState, PassiveTree},
    publisher::Command,
};

/// (files, bytes) read so far.
pub(super) type Read = (u64, u64);

/// Makes the picture of one tree; `progress` hears how far reading has come.
pub(super) async fn of(
    shared: &Shared,
    tree: &TreeName,
    view: View,
    progress: watch::Sender<Read>,
) -> Result<Result<Shown, Refusal>, SessionError> {
    if let (View::LastAgreed, true) = (view, shared.active.contains_key(tree)) {
        return last_agreed(shared, tree).await;
    }
    if let Some(tree) = shared.active.get(tree) {
        return of_active(tree, view, progress).await;
    }
    match shared.passive.get(tree) {
        Some(tree) => of_passive(tree, view, progress).await,
        None => Ok(Err(Refusal::UnknownTree(tree.clone()))),
    }
}

/// Waits until it is worth telling how far reading has come.
pub(super) async fn tick(seen: &mut watch::Receiver<Read>) {
    const TELL_EVERY: std::time::Duration = std::time::Duration::from_millis(500);
    tokio::time::sleep(TELL_EVERY).await;
    // Told even when nothing moved: the asker's patience is for silence.
    let _ = seen.has_changed();
}

async fn of_active(
    tree: &ActiveTree,
    view: View,
    progress: watch::Sender<Read>,
) -> Result<Result<Shown, Refusal>, SessionError> {
    if view == View::Agreed {
        let manifest = tree.published.borrow().manifest.clone();
        return Ok(Ok(Shown {
            manifest,
            unreadable: Vec::new(),
            touched: Vec::new(),
        }));
    }
    tree.barrier(Command::Settle).await?;
    let deep = view == View::Deep;
    let looked = tree
        .thread
        .run(move |tree| tree.look(deep, &mut |read| tell(&progress, read)))
        .await?;
    Ok(match looked {
        Ok(disk) => Ok(Shown {
            manifest: disk.manifest,
            unreadable: disk.unreadable,
            touched: Vec::new(),
        }),
        Err(error) => Err(Refusal::Unable(error.to_string())),
    })
}

/// What this active had applied when it was promoted.
pub(super) async fn last_agreed(
    shared: &Shared,
    name: &TreeName,
) -> Result<Result<Shown, Refusal>, SessionError> {
    let config = shared.config.trees.iter().find(|tree| tree.name == *name);
    let (Some(config), Some(tree)) = (config, shared.active.get(name)) else {
        return Ok(Err(Refusal::UnknownTree(name.clone())));
    };
    let work_dir = shared.config.work_dir(config);
    let known = tree
        .thread
        .run(move |_| sync_fs::stint::last_agreed(&work_dir))
        .await?;
    Ok(known.map_or_else(
        || Err(not_known()),
        |(_, manifest)| {
            Ok(Shown {
                manifest,
                unreadable: Vec::new(),
                touched: Vec::new(),
            })
        },
    ))
}

fn not_known() -> Refusal {
    Refusal::Unable("what was agreed is not on record".to_owned())
}

fn tell(progress: &watch::Sender<Read>, read: Progress) -> ControlFlow<()> {
    progress.send_replace((read.hashed, read.hashed_bytes));
    ControlFlow::Continue(())
}

async fn of_passive(
    tree: &PassiveTree,
    view: View,
    progress: watch::Sender<Read>,
) -> Result<Result<Shown, Refusal>, SessionError> {
    if view == View::LastAgreed && tree.is_returning() {
        return Ok(Err(not_known()));
    }
    if matches!(view, View::Agreed | View::LastAgreed) {
        let manifest = tree.state.borrow().agreed.clone();
        return Ok(Ok(Shown {
            manifest,
            unreadable: Vec::new(),
            touched: Vec::new(),
        }));
    }
    if view == View::Disk && tree.look().await? {
        return Ok(Ok(shown(&tree.state.borrow())));
    }
    let deep = view == View::Deep;
    let _turn = tree.turn.lock().await;
    let drift = tree
        .thread
        .run(move |tree| tree.replica.drift(deep, &mut |read| tell(&progress, read)))
        .await?;
    Ok(match drift {
        Ok(drift) => {
            let paths = drift
                .paths
                .into_iter()
                .map(|drift| (drift.path.clone(), drift));
            let drift = paths.collect();
            tree.state.send_modify(|state| state.drift = drift);
            Ok(shown(&tree.state.borrow()))
        }
        Err(error) => Err(Refusal::Unable(error.to_string())),
    })
}

/// The disk of a passive as it is known.
fn shown(state: &PassiveState) -> Shown {
    let (mut unreadable, mut touched) = (Vec::new(), Vec::new());
    for (path, drifted) in &state.drift {
        match &drifted.kind {
            DriftKind::Touched => touched.push(path.clone()),
            DriftKind::Unreadable(reason) => unreadable.push((path.clone(), reason.clone())),
            _ => {}
        }
    }
    Shown {
        manifest: drift::disk(state),
        unreadable,
        touched,
    }
}
