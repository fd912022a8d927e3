//! `config import-rsync`: from the old script to what replaces it.

use std::path::Path;

use apim_config::{
    bundle::Output,
    import::{self, Import, ImportError},
};
use serde::Serialize;
use sync_daemon::{
    events::SCHEMA,
    failure::{Failure, FailureKind},
};

use super::{Context, description, generate};
use crate::{
    args::config::ImportRsync,
    error::Outcome,
    terminal::{Line, Paint},
};

/// A fault that is left behind as a line of JSON.
#[derive(Serialize)]
struct FaultLine {
    message_type: &'static str,
    schema: u32,
    fault: &'static str,
    at: Vec<String>,
    before: String,
    now: String,
}

/// A node as a line of JSON.
#[derive(Serialize)]
struct NodeLine<'a> {
    message_type: &'static str,
    schema: u32,
    node: &'a str,
    role: &'static str,
    host: Option<&'a str>,
    config: String,
}

pub(super) fn run(context: &Context, args: &ImportRsync) -> Outcome {
    let workers = read(&args.workers)?;
    let script = read(&args.script)?;
    let home = args.home_directory.as_deref();
    let import = import::read(&workers, &script, home).map_err(|error| refused(&error))?;
    let outputs: Vec<_> = (0..import.nodes.len())
        .map(|index| Output {
            path: config(&import, index),
            content: import.engine_config(index).into_bytes(),
            secret: false,
        })
        .collect();
    generate::write(&args.out, &outputs, args.force)?;
    if context.terminal.json() {
        tell_json(context, &import);
    } else {
        tell(context, &args.out, &import);
    }
    Ok(())
}

fn read(file: &Path) -> Result<String, Failure> {
    description::read(file).map_err(|error| {
        let doing = format!("reading `{}`", file.display());
        Failure::caused_by(FailureKind::Usage, doing, &error)
    })
}

fn refused(error: &ImportError) -> Failure {
    Failure::caused_by(FailureKind::Usage, "reading the old set-up", error)
        .hint("do that part by hand with `apim-sync init`; nothing was written")
}

/// Where a node's configuration is written.
fn config(import: &Import, index: usize) -> String {
    format!("{}/apim-sync.toml", import.nodes[index].name)
}

fn tell_json(context: &Context, import: &Import) {
    let terminal = &context.terminal;
    for (index, node) in import.nodes.iter().enumerate() {
        terminal.answer_json(&NodeLine {
            message_type: "node",
            schema: SCHEMA,
            node: &node.name,
            role: node.role.name(),
            host: node.host.as_deref(),
            config: config(import, index),
        });
    }
    for fault in &import.faults {
        terminal.answer_json(&FaultLine {
            message_type: "fault",
            schema: SCHEMA,
            fault: fault.kind.name(),
            at: fault.at.iter().map(ToString::to_string).collect(),
            before: fault.before.clone(),
            now: fault.now.clone(),
        });
    }
}

fn tell(context: &Context, out: &Path, import: &Import) {
    let terminal = &context.terminal;
    let head = |text: &str| terminal.answer(&Line::painted(Paint::Bold, text));
    head("Written");
    for (index, node) in import.nodes.iter().enumerate() {
        let path = out.join(config(import, index));
        let line = format!("  {} ({}): {}", node.name, node.role.name(), path.display());
        terminal.answer(&Line::new(line));
    }
    head("Faults that are left behind");
    for fault in &import.faults {
        let at: Vec<_> = fault.at.iter().map(ToString::to_string).collect();
        let line = Line::painted(Paint::Dim, format!("  {}: ", at.join(", ")));
        terminal.answer(&line.text(fault.before.as_str()));
        terminal.answer(&Line::painted(Paint::Green, "    now: ").text(fault.now.as_str()));
    }
    head("No longer copied");
    for left in &import.left_behind {
        terminal.answer(&Line::new(format!("  {}: {}", left.path, left.instead)));
    }
    if !import.notes.is_empty() {
        head("Look at");
        for note in &import.notes {
            terminal.answer(&Line::new(format!("  {note}")));
        }
    }
    head("Next");
    for (index, step) in import.steps().iter().enumerate() {
        terminal.answer(&Line::new(format!("  {}. {step}", index + 1)));
    }
}
