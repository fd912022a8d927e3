//! Facts about this machine, without which a figure says nothing.

use std::{fs, process::Command};

use serde_json::{Value, json};

/// Processor, memory, kernel, and versions of the contestants.
pub(crate) fn facts() -> Value {
    json!({
        "processor": field("/proc/cpuinfo", "model name"),
        "processors": std::thread::available_parallelism().map_or(0, usize::from),
        "memory": field("/proc/meminfo", "MemTotal"),
        "kernel": first_line(Command::new("uname").arg("-r")),
        "rsync": first_line(Command::new("rsync").arg("--version")),
        "apim_sync": first_line(Command::new(sync_tests::binary::apim_sync()).arg("--version")),
        "disk": "ext4 with a journal on a loop device over /dev/shm",
        "network": "loopback in a namespace of its own",
    })
}

fn field(file: &str, name: &str) -> String {
    let text = fs::read_to_string(file).unwrap_or_default();
    let line = text.lines().find(|line| line.starts_with(name));
    let value = line.and_then(|line| line.split_once(':'));
    value.map_or_else(|| "unknown".into(), |(_, value)| value.trim().into())
}

fn first_line(command: &mut Command) -> String {
    let output = command
        .output()
        .map(|output| output.stdout)
        .unwrap_or_default();
    let text = String::from_utf8_lossy(&output);
    text.lines().next().unwrap_or("unknown").to_owned()
}
