//! A network and a mount table of our own, so that the byte counters count us
//! only and that everything mounted goes when this process does.

use std::{
    env, fs,
    os::unix::process::CommandExt,
    process::{Command, Stdio},
};

use crate::meter::unmeasured;

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

/// Has the loopback interface carry packets of the size that networks do: the
/// bytes of headers are then what they are in the field.
pub(crate) fn narrow() -> Result<(), String> {
    let mut command = Command::new("ip");
    command.args(["link", "set", "lo", "mtu", "1500"]);
    unmeasured(command).map(drop)
}

/// Undoes [`narrow`].
pub(crate) fn widen() -> Result<(), String> {
    let mut command = Command::new("ip");
    command.args(["link", "set", "lo", "mtu", "65536"]);
    unmeasured(command).map(drop)
}

/// Where bytes are counted: an interface of the calling thread's namespace.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Wire {
    /// Both ends are here: what one sends is what the other receives.
    Loopback,
    /// One end is here.
    Link(&'static str),
    /// Nothing is counted.
    #[cfg(test)]
    Absent,
}

impl Wire {
    /// Bytes in both directions so far, headers included.
    pub(crate) fn bytes(self) -> Result<u64, String> {
        let (name, received_too) = match self {
            Self::Loopback => ("lo", false),
            Self::Link(name) => (name, true),
            #[cfg(test)]
            Self::Absent => return Ok(0),
        };
        let table = fs::read_to_string("/proc/thread-self/net/dev")
            .map_err(|error| format!("reading /proc/thread-self/net/dev: {error}"))?;
        let (received, sent) = counters(&table, name)
            .ok_or_else(|| format!("/proc/thread-self/net/dev has no interface {name}"))?;
        Ok(if received_too { received + sent } else { sent })
    }
}

/// Bytes received and sent, as the kernel's table has them.
fn counters(table: &str, interface: &str) -> Option<(u64, u64)> {
    let line = table
        .lines()
        .find_map(|line| line.trim().strip_prefix(interface)?.strip_prefix(':'))?;
    let mut fields = line.split_whitespace();
    let received = fields.next()?.parse().ok()?;
    let sent = fields.nth(7)?.parse().ok()?;
    Some((received, sent))
}

#[cfg(test)]
mod tests {
    use super::counters;

    #[test]
    fn counters_are_the_first_and_the_ninth_field() {
        let table = "Inter-| Receive\n face |bytes\n  lo: 10 1 0 0 0 0 0 0 20 2 0 0 0 0 0 0\n";
        assert_eq!(counters(table, "lo"), Some((10, 20)));
        assert_eq!(counters(table, "wan0"), None);
    }
}
