//! A network and a mount table of our own, so that the byte counters count us
//! only and that everything mounted goes when this process does.

use std::{
    env, fs,
    os::unix::process::CommandExt,
    process::{Command, Stdio},
};

/// Set in the program that runs inside.
const INSIDE: &str = "RIVALS_SECLUDED";

/// Starts this program again inside; returns only there.
pub(crate) fn enter() -> Result<(), String> {
    if env::var_os(INSIDE).is_some() {
        return loopback_up();
    }
    let own = env::current_exe().map_err(|error| format!("finding this program: {error}"))?;
    let error = Command::new("unshare")
        .args(["--net", "--mount", "--"])
        .arg(own)
        .args(env::args_os().skip(1))
        .env(INSIDE, "1")
        .exec();
    Err(format!(
        "starting again in a network namespace of its own: {error}; run it as root on a machine \
         with util-linux"
    ))
}

fn loopback_up() -> Result<(), String> {
    let status = Command::new("ip")
        .args(["link", "set", "lo", "up"])
        .stdin(Stdio::null())
        .status();
    match status {
        Ok(status) if status.success() => Ok(()),
        other => Err(format!(
            "setting the loopback interface up: {other:?}; is this root?"
        )),
    }
}

/// Bytes sent over the loopback interface so far, headers included.
pub(crate) fn bytes_sent() -> Result<u64, String> {
    let table = fs::read_to_string("/proc/net/dev")
        .map_err(|error| format!("reading /proc/net/dev: {error}"))?;
    let line = table
        .lines()
        .find_map(|line| line.trim().strip_prefix("lo:"));
    line.and_then(|line| line.split_whitespace().nth(8)?.parse().ok())
        .ok_or_else(|| "/proc/net/dev says nothing of the loopback interface".to_owned())
}
