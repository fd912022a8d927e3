//! What happens on the stage, and how it is told.

use std::{
    fs, io,
    path::{Path, PathBuf},
    time::Duration,
};

use serde::Serialize;
use sync_daemon::{
    control::{self, Request},
    events::{Event, JsonLine, Role, SCHEMA, Summary},
    failure::{Failure, FailureKind},
};
use tokio::time::{Instant, sleep};

use super::{
    artifacts::{self, Api},
    stage::{DELETE_HOLD, Side, Stage},
    until,
};
use crate::{
    commands::Context,
    error::Outcome,
    render::{changes, changes::Direction, differences, quantity},
    terminal::{Line, Paint},
};

/// How long the publisher of API Manager may take between delete and save.
const SAVE_AFTER: Duration = Duration::from_secs(2);
/// Far more than any scene takes on a loaded machine.
const SCENE_WITHIN: Duration = Duration::from_secs(30);

/// One scene, as a line.
#[derive(Serialize)]
struct Told<'a> {
    message_type: &'static str,
    schema: u32,
    scene: &'static str,
    text: &'a str,
    seconds: f64,
    /// Bytes on the wire, both ways, everything included.
    bytes: Option<u64>,
}

/// The nodes' files and what shows them.
struct Play<'a> {
    context: &'a Context,
    active: Side,
    passive: Side,
}

/// The whole play.
pub(super) async fn play(context: &Context, stage: &mut Stage, directory: &Path) -> Outcome {
    let play = Play {
        context,
        active: Side::make(directory, "apim-1", Role::Active)?,
        passive: Side::make(directory, "apim-2", Role::Passive)?,
    };
    play.fill()?;
    stage.start_active(&play.active, &play.passive).await?;
    play.bootstrap(stage).await?;
    stage.start_passive(&play.active, &play.passive).await?;
    play.edit(stage).await?;
    play.update(stage).await?;
    play.rename(stage).await?;
    play.delete(stage).await?;
    play.verify(stage).await?;
    Ok(())
}

impl Play<'_> {
    fn tell(&self, scene: &'static str, text: &str, seconds: f64, bytes: Option<u64>) {
        let terminal = &self.context.terminal;
        if terminal.json() {
            terminal.answer_json(&Told {
                message_type: "scene",
                schema: SCHEMA,
                scene,
                text,
                seconds,
                bytes,
            });
            return;
        }
        let mut numbers = quantity::seconds(seconds);
        if let Some(bytes) = bytes {
            numbers.push_str(&format!(", {} on the wire", quantity::bytes(bytes)));
        }
        let line = Line::painted(Paint::Green, format!("{scene:<10}"))
            .text(format!("{text}: "))
            .paint(Paint::Bold, numbers);
        terminal.answer(&line);
    }

    fn fill(&self) -> Result<(), Failure> {
        let begun = Instant::now();
        let (files, bytes) = artifacts::fill(&self.active.tree)
            .map_err(|error| failed("writing artifacts", &self.active.tree, &error))?;
        let text = format!(
            "{} of synapse artifacts, {}, on the active",
            quantity::files(files),
            quantity::bytes(bytes)
        );
        self.tell("made", &text, begun.elapsed().as_secs_f64(), None);
        Ok(())
    }

    async fn bootstrap(&self, stage: &Stage) -> Result<(), Failure> {
        let terminal = &self.context.terminal;
        let begun = Instant::now();
        let mut received_bytes = 0;
        let filled = stage.bootstrap(&self.passive, |event| match event {
            Event::Progress(progress) => terminal.progress(&progress),
            Event::Notice(notice) => terminal.note(&Line::new(notice.text)),
            Event::Summary(Summary::Transfer(summary)) => {
                received_bytes = summary.received_bytes + summary.sent_bytes;
                if self.context.global.verbose > 0 {
                    terminal.note(&changes::summary(&summary, Direction::FromPeer));
                }
            }
            _ => {}
        });
        filled.await?;
        terminal.clear_progress();
        let seconds = begun.elapsed().as_secs_f64();
        let text = "the empty passive has everything, safe on its disk";
        self.tell("bootstrap", text, seconds, Some(received_bytes));
        Ok(())
    }

    async fn edit(&self, stage: &Stage) -> Result<(), Failure> {
        let api = Api::at(0);
        let before = stage.traffic_bytes().await?;
        let begun = Instant::now();
        self.save(&api.path(), &api.text(2))?;
        self.until_shown(&api.path(), &api.text(2)).await?;
        let seconds = begun.elapsed().as_secs_f64();
        let bytes = stage.traffic_bytes().await? - before;
        let text = format!("{} saved; the passive shows it after", api.path());
        self.tell("edit", &text, seconds, Some(bytes));
        Ok(())
    }

    /// As the publisher updates an API: delete, and save seconds later.
    async fn update(&self, stage: &Stage) -> Result<(), Failure> {
        let api = Api::at(1);
        let before = stage.traffic_bytes().await?;
        self.remove(&api.path())?;
        let looks = self.never_gone(&api.path(), SAVE_AFTER).await?;
        let begun = Instant::now();
        self.save(&api.path(), &api.text(2))?;
        self.until_shown(&api.path(), &api.text(2)).await?;
        let seconds = begun.elapsed().as_secs_f64();
        let bytes = stage.traffic_bytes().await? - before;
        let text = format!(
            "{} deleted, saved again {} s later; the passive never lost it ({} looks) and shows \
             the new one after",
            api.path(),
            SAVE_AFTER.as_secs(),
            quantity::count(looks)
        );
        self.tell("update", &text, seconds, Some(bytes));
        Ok(())
    }

    async fn rename(&self, stage: &Stage) -> Result<(), Failure> {
        let api = Api::at(2);
        let new = api.path().replace(".xml", "-renamed.xml");
        let before = stage.traffic_bytes().await?;
        let begun = Instant::now();
        let (old_path, new_path) = (
            self.active.tree.join(api.path()),
            self.active.tree.join(&new),
        );
        fs::rename(&old_path, new_path).map_err(|error| failed("renaming", &old_path, &error))?;
        self.until_shown(&new, &api.text(1)).await?;
        self.until_gone(&api.path()).await?;
        let seconds = begun.elapsed().as_secs_f64();
        let bytes = stage.traffic_bytes().await? - before;
        let text = format!("{new} has its new name on the passive too after");
        self.tell("rename", &text, seconds, Some(bytes));
        Ok(())
    }

    async fn delete(&self, stage: &Stage) -> Result<(), Failure> {
        let api = Api::at(3);
        let before = stage.traffic_bytes().await?;
        let begun = Instant::now();
        self.remove(&api.path())?;
        self.until_gone(&api.path()).await?;
        let seconds = begun.elapsed().as_secs_f64();
        let bytes = stage.traffic_bytes().await? - before;
        let text = format!(
            "{} deleted (here deletions are held for {} s, usually 10); gone on the passive after",
            api.path(),
            DELETE_HOLD.as_secs()
        );
        self.tell("delete", &text, seconds, Some(bytes));
        Ok(())
    }

    async fn verify(&self, stage: &Stage) -> Result<(), Failure> {
        let terminal = &self.context.terminal;
        let request = Request::Verify(control::Verify::default());
        let asked = stage.ask(request, |event| match event {
            Event::Progress(progress) => terminal.progress(&progress),
            event if terminal.json() => terminal.answer_json(&JsonLine::new(&event)),
            Event::Difference(it) => terminal.answer(&differences::in_words(&it, false)),
            Event::Summary(Summary::Verify(summary)) => {
                let line = Line::painted(Paint::Green, format!("{:<10}", "verify"));
                terminal.answer(&line.then(differences::summary(&summary)));
            }
            _ => {}
        });
        asked.await
    }

    /// Truncates and fills in place, as the publisher saves.
    fn save(&self, path: &str, text: &str) -> Result<(), Failure> {
        let path = self.active.tree.join(path);
        fs::write(&path, text).map_err(|error| failed("saving", &path, &error))
    }

    fn remove(&self, path: &str) -> Result<(), Failure> {
        let path = self.active.tree.join(path);
        fs::remove_file(&path).map_err(|error| failed("deleting", &path, &error))
    }

    fn on_passive(&self, path: &str) -> PathBuf {
        self.passive.tree.join(path)
    }

    async fn until_shown(&self, path: &str, text: &str) -> Result<(), Failure> {
        let path = self.on_passive(path);
        let what = format!("`{}` to show the new content", path.display());
        until(&what, SCENE_WITHIN, async || {
            let there = fs::read(&path).is_ok_and(|bytes| bytes == text.as_bytes());
            Ok(there.then_some(()))
        })
        .await
    }

    async fn until_gone(&self, path: &str) -> Result<(), Failure> {
        let path = self.on_passive(path);
        let what = format!("`{}` to go", path.display());
        until(&what, SCENE_WITHIN, async || {
            Ok((!path.exists()).then_some(()))
        })
        .await
    }

    /// Looks at the passive's file again and again for `period`.
    async fn never_gone(&self, path: &str, period: Duration) -> Result<u64, Failure> {
        let path = self.on_passive(path);
        let end = Instant::now() + period;
        let mut looks = 0;
        while Instant::now() < end {
            fs::metadata(&path).map_err(|error| failed("looking for", &path, &error))?;
            looks += 1;
            sleep(Duration::from_millis(1)).await;
        }
        Ok(looks)
    }
}

fn failed(doing: &str, path: &Path, error: &io::Error) -> Failure {
    let doing = format!("{doing} `{}`", path.display());
    Failure::caused_by(FailureKind::Failed, doing, error)
}
