//! Two hosts with a network of their own between them, where this machine lets
//! us make some.

use std::{
    io,
    process::{self, Command},
    sync::atomic::{AtomicU16, Ordering},
};

/// Two network namespaces joined by a cable; they go when it is dropped.
#[derive(Debug)]
pub struct Network {
    hosts: [String; 2],
}

impl Network {
    /// The addresses of the two hosts.
    pub const ADDRESSES: [&'static str; 2] = ["10.74.0.1", "10.74.0.2"];
    /// The name of the interface in both.
    pub const INTERFACE: &'static str = "eth0";

    /// `None`, said on the terminal, where namespaces may not be made.
    #[expect(clippy::print_stdout, reason = "a skipped test says so")]
    #[must_use]
    pub fn new() -> Option<Self> {
        static COUNT: AtomicU16 = AtomicU16::new(0);
        let number = COUNT.fetch_add(1, Ordering::Relaxed);
        let name = |side| format!("sync-{}-{number}-{side}", process::id());
        let network = Self {
            hosts: [name('a'), name('b')],
        };
        match network.make() {
            Ok(()) => Some(network),
            Err(error) => {
                println!("SKIPPED: no network namespaces can be made here: {error}");
                None
            }
        }
    }

    fn make(&self) -> io::Result<()> {
        let [one, other] = &self.hosts;
        for host in &self.hosts {
            ip(&["netns", "add", host])?;
        }
        let cable = ["link", "add", Self::INTERFACE, "type", "veth", "peer"];
        let ends = ["name", Self::INTERFACE, "netns", other];
        ip(&[&["-n", one], &cable[..], &ends[..]].concat())?;
        for (host, address) in self.hosts.iter().zip(Self::ADDRESSES) {
            let address = format!("{address}/24");
            let add = ["-n", host, "addr", "add", &address, "dev", Self::INTERFACE];
            ip(&add)?;
            ip(&["-n", host, "link", "set", "lo", "up"])?;
            ip(&["-n", host, "link", "set", Self::INTERFACE, "up"])?;
        }
        Ok(())
    }

    /// The name of a host: its namespace.
    #[must_use]
    pub fn host(&self, host: usize) -> &str {
        &self.hosts[host]
    }

    /// A program to be run on a host.
    #[must_use]
    pub fn command(&self, host: usize, program: &str) -> Command {
        inside(&self.hosts[host], program)
    }

    /// Has every packet lost between the hosts, or none. Both interfaces stay up.
    ///
    /// # Panics
    /// When the kernel does not know how.
    pub fn lose_everything(&self, lose: bool) {
        for host in &self.hosts {
            let change = if lose { "add" } else { "del" };
            let change = ["-n", host, "qdisc", change, "dev", Self::INTERFACE, "root"];
            // No packet fits into a bucket of one byte.
            let bucket = ["tbf", "rate", "8bit", "burst", "1", "limit", "1"];
            let arguments = if lose {
                [&change[..], &bucket].concat()
            } else {
                change.to_vec()
            };
            run("tc", &arguments).expect("our own interface obeys");
        }
    }

    /// Whether a host has an address.
    #[must_use]
    pub fn has(&self, host: usize, address: &str) -> bool {
        let show = ["-n", &self.hosts[host], "-o", "addr", "show"];
        let output = Command::new("ip").args(show).output();
        let shown = output.map(|it| String::from_utf8_lossy(&it.stdout).into_owned());
        shown.is_ok_and(|shown| shown.contains(&format!(" {address}/")))
    }
}

impl Drop for Network {
    fn drop(&mut self) {
        for host in &self.hosts {
            // Best effort: the test is over.
            let _ = ip(&["netns", "del", host]);
        }
    }
}

/// A program to be run in a namespace.
#[must_use]
pub fn inside(namespace: &str, program: &str) -> Command {
    let mut command = Command::new("ip");
    command.args(["netns", "exec", namespace, program]);
    command
}

fn ip(arguments: &[&str]) -> io::Result<()> {
    run("ip", arguments)
}

fn run(program: &str, arguments: &[&str]) -> io::Result<()> {
    let output = Command::new(program).args(arguments).output()?;
    if output.status.success() {
        return Ok(());
    }
    let said = String::from_utf8_lossy(&output.stderr).trim().to_owned();
    Err(io::Error::other(format!(
        "{program} {}: {said}",
        arguments.join(" ")
    )))
}
