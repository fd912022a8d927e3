//! `demo`: the main job on this machine, with two real nodes.
//!
//! Both nodes run in this process and talk QUIC over loopback, exactly as two
//! daemons on two machines do.

use std::{
    fs, io,
    path::{Path, PathBuf},
    time::Duration,
};

use sync_daemon::failure::{Failure, FailureKind};
use tempfile::TempDir;
use tokio::time::{Instant, sleep};

use self::stage::Stage;
use super::Context;
use crate::{
    args::Demo,
    error::{Outcome, Stop},
    signals,
    terminal::{Line, Paint},
};

mod artifacts;
mod scenes;
mod stage;

/// How long a node that is being stopped may still write into its directory.
const REMOVE_WITHIN: Duration = Duration::from_secs(5);

pub(crate) async fn run(context: &Context, args: Demo) -> Outcome {
    // Before there is anything to clean up.
    let caught = signals::caught()?;
    let place = Place::new(args.dir)?;
    let title = Line::painted(Paint::Bold, "apim-1 (active) and apim-2 (passive)").text(format!(
        " in {}, over QUIC on loopback",
        place.path().display()
    ));
    context.terminal.note(&title);
    let mut stage = Stage::default();
    let play = scenes::play(context, &mut stage, place.path());
    let played = signals::unless(caught, play).await;
    let stopped = stage.stop().await;
    context.terminal.clear_progress();
    let removed = place.clear(context).await;
    played?;
    stopped?;
    Ok(removed?)
}

/// Where the demo's files are.
enum Place {
    Temporary(TempDir),
    /// Named by the user, and kept.
    Named(PathBuf),
}

impl Place {
    fn new(named: Option<PathBuf>) -> Result<Self, Stop> {
        match named {
            None => {
                let made = tempfile::Builder::new().prefix("apim-sync-demo-").tempdir();
                Ok(Self::Temporary(made.map_err(|error| {
                    let doing = "making a temporary directory for the demo";
                    Failure::caused_by(FailureKind::Failed, doing, &error)
                        .hint("`apim-sync demo --dir DIR`")
                })?))
            }
            Some(path) => Ok(Self::Named(empty(&path)?)),
        }
    }

    fn path(&self) -> &Path {
        match self {
            Self::Temporary(directory) => directory.path(),
            Self::Named(path) => path,
        }
    }

    /// Removes what is temporary. A file that a stopping node makes at the same
    /// moment is met by another attempt.
    async fn clear(self, context: &Context) -> Result<(), Failure> {
        let directory = match self {
            Self::Temporary(directory) => directory,
            Self::Named(path) => {
                let line = format!("the demo's files are in {}", path.display());
                context.terminal.note(&Line::new(line));
                return Ok(());
            }
        };
        let path = directory.keep();
        let deadline = Instant::now() + REMOVE_WITHIN;
        loop {
            match fs::remove_dir_all(&path) {
                Ok(()) => return Ok(()),
                Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
                Err(error) if Instant::now() >= deadline => {
                    let doing = format!("removing the demo's files in `{}`", path.display());
                    return Err(Failure::caused_by(FailureKind::Failed, doing, &error)
                        .hint(format!("rm -r {}", path.display())));
                }
                Err(_) => sleep(Duration::from_millis(20)).await,
            }
        }
    }
}

/// Makes the directory, or takes one that is empty.
fn empty(path: &Path) -> Result<PathBuf, Failure> {
    let doing = || format!("using `{}` for the demo", path.display());
    let failed = |error: io::Error| {
        Failure::caused_by(FailureKind::Usage, doing(), &error)
            .hint("name a directory that is empty or does not exist")
    };
    fs::create_dir_all(path).map_err(failed)?;
    let path = fs::canonicalize(path).map_err(failed)?;
    let mut entries = fs::read_dir(&path).map_err(failed)?;
    if entries.next().is_some() {
        let message = format!("{}: it is not empty", doing());
        return Err(Failure::new(FailureKind::Usage, message)
            .hint("name a directory that is empty or does not exist"));
    }
    Ok(path)
}

/// Looks every millisecond until `look` finds something.
async fn until<T>(
    what: &str,
    within: Duration,
    mut look: impl AsyncFnMut() -> Result<Option<T>, Failure>,
) -> Result<T, Failure> {
    let deadline = Instant::now() + within;
    loop {
        if let Some(found) = look().await? {
            return Ok(found);
        }
        if Instant::now() >= deadline {
            let message = format!("waiting for {what}: not within {} s", within.as_secs());
            return Err(Failure::new(FailureKind::Unreachable, message)
                .hint("run it again with `-vv` to see what the nodes do"));
        }
        sleep(Duration::from_millis(1)).await;
    }
}
