//! What the checks need on the machine, put in place only where missing.
//!
//! Debian packages need root and apt; elsewhere a message says what to install.
//! Cargo's own tools are built without optimisation: it halves the time on a
//! fresh machine, and none of them is ever what one waits for.

use std::{
    env, fs,
    os::unix::fs::MetadataExt,
    path::{Path, PathBuf},
    process::Command,
};

use crate::steps::{cargo_command, finish};

/// A program of the operating system: (program, Debian package, who wants it).
const PROGRAMS: [(&str, &str, &str); 17] = [
    ("cc", "build-essential", "the build of aws-lc and zstd"),
    (
        "rsync",
        "rsync",
        "the rivals benchmark and the tests against it",
    ),
    ("strace", "strace", "the fault tests"),
    ("b3sum", "b3sum", "the tests of content ids"),
    ("mkfs.ext4", "e2fsprogs", "the tests of a full disk"),
    ("losetup", "mount", "the tests of a full disk"),
    ("ip", "iproute2", "the byte counts of the benchmark"),
    ("nginx", "nginx", "the tests of the generated nginx.conf"),
    ("openssl", "openssl", "the certificates of those tests"),
    ("curl", "curl", "the clients of those tests"),
    // Programs only: the packages without `-core` start a server.
    (
        "mariadbd",
        "mariadb-server-core",
        "the tests of the generated SQL",
    ),
    (
        "mariadb",
        "mariadb-client-core",
        "the tests of the generated SQL",
    ),
    ("keepalived", "keepalived", "the tests of failover by it"),
    (
        "ocf-tester",
        "resource-agents",
        "the tests of the agent for Pacemaker",
    ),
    ("faketime", "faketime", "those with a clock that jumps"),
    ("etcd", "etcd-server", "the tests of a lease in etcd"),
    ("xmllint", "libxml2-utils", "that tester"),
];

/// One of cargo's subcommands.
struct Subcommand {
    /// The program, and the crate it comes from.
    name: &'static str,
    version: &'static str,
    /// What is left out costs minutes and is not used here: updating itself,
    /// looking into binaries.
    features: &'static [&'static str],
    /// What is not needed has a fallback.
    needed: bool,
}

#[rustfmt::skip]
const SUBCOMMANDS: [Subcommand; 3] = [
    Subcommand { name: "cargo-nextest", version: "0.9.151", features: &["--no-default-features", "--features=default-no-update"], needed: false },
    Subcommand { name: "cargo-deny", version: "0.20.2", features: &[], needed: true },
    Subcommand { name: "cargo-audit", version: "0.22.2", features: &["--no-default-features"], needed: true },
];

/// Installs whatever is missing.
pub(crate) fn install(root: &Path) -> Result<(), String> {
    programs()?;
    for subcommand in SUBCOMMANDS {
        if on_path(subcommand.name) {
            continue;
        }
        match build(root, &subcommand) {
            Err(error) if subcommand.needed => return Err(error),
            Err(error) => eprintln!("{error}: going on without it"),
            Ok(()) => {}
        }
    }
    Ok(())
}

/// Whether a program of that name is in `PATH` or where administrators' programs
/// are.
pub(crate) fn on_path(program: &str) -> bool {
    let path = env::var_os("PATH").unwrap_or_default();
    let system = ["/usr/sbin", "/sbin"].map(PathBuf::from);
    env::split_paths(&path)
        .chain(system)
        .any(|directory| directory.join(program).is_file())
}

fn programs() -> Result<(), String> {
    for (program, package, user) in PROGRAMS {
        if !on_path(program) {
            eprintln!("missing: {program} (Debian package {package}), for {user}");
        }
    }
    packages(&PROGRAMS.map(|(program, package, _)| (program, package)))
}

/// Installs the Debian packages of those programs, (program, package), that are
/// not there.
pub(crate) fn packages(programs: &[(&str, &str)]) -> Result<(), String> {
    let missing: Vec<_> = programs
        .iter()
        .filter(|(program, _)| !on_path(program))
        .map(|(_, package)| *package)
        .collect();
    if missing.is_empty() {
        return Ok(());
    }
    if !(is_root() && on_path("apt-get")) {
        return Err(format!(
            "install these packages first, as root: apt-get install {}",
            missing.join(" ")
        ));
    }
    let mut update = Command::new("apt-get");
    update.args(["update", "-q"]);
    finish(update)?;
    let mut install = Command::new("apt-get");
    install
        .args(["install", "-q", "-y", "--no-install-recommends"])
        .args(missing)
        .env("DEBIAN_FRONTEND", "noninteractive");
    finish(install)
}

/// Whether this process runs as root: the owner of its own /proc entry says so.
pub(crate) fn is_root() -> bool {
    fs::metadata("/proc/self").is_ok_and(|metadata| metadata.uid() == 0)
}

fn build(root: &Path, subcommand: &Subcommand) -> Result<(), String> {
    let mut command = cargo_command(root);
    command
        .args(["install", "--locked", "--debug", subcommand.name])
        .args(["--version", subcommand.version])
        .args(subcommand.features)
        // One directory for all: they share half of their dependencies.
        .env("CARGO_TARGET_DIR", root.join("target/tools"))
        .env("CARGO_PROFILE_DEV_DEBUG", "0");
    finish(command)
}
