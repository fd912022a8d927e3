//! `cargo xtask bench`: the benchmark beside the rivals, with all it needs.

use std::{env, ffi::OsString, fs, path::Path, process::Command};

use crate::{
    steps::{cargo_command, finish},
    tools,
};

/// Asks for every workload, and for all rivals.
const FULL: &str = "--full";

/// Rivals from Debian: (program, package).
const PROGRAMS: [(&str, &str); 5] = [
    ("sshd", "openssh-server"),
    ("unison", "unison"),
    ("casync", "casync"),
    ("lsyncd", "lsyncd"),
    ("syncthing", "syncthing"),
];
/// Rivals from crates.io: (program, version).
const CRATES: [(&str, &str); 2] = [("ffsync", "1.2.0"), ("sparsync", "0.1.12")];
/// Where the latter are built, from the project's root.
const RIVALS: &str = "target/rivals";

/// Packages of which neighbouring releases are compared, the oldest first.
const RELEASES: [(&str, &[&str]); 4] = [
    ("lodash", &["4.17.19", "4.17.20", "4.17.21"]),
    ("date-fns", &["2.29.3", "2.30.0"]),
    ("react-dom", &["18.2.0", "18.3.0", "18.3.1"]),
    ("typescript", &["5.4.4", "5.4.5", "5.5.2"]),
];
/// Where they lie, from the project's root.
const RELEASES_AT: &str = "target/releases";

/// Installs what is missing, builds both sides as they are shipped, measures.
pub(crate) fn run(root: &Path, arguments: &[String]) -> Result<(), String> {
    tools::install(root)?;
    // Without it nothing can be set beside ssh, which every run does.
    tools::packages(&PROGRAMS[..1])?;
    if arguments.iter().any(|argument| argument == FULL) {
        rivals(root);
        releases(root);
    }
    // The measuring program starts the product's binary from beside itself.
    let mut build = cargo_command(root);
    build.args(["build", "--release", "-p", "sync-cli", "-p", "sync-benches"]);
    finish(build)?;
    let mut measure = Command::new(root.join("target/release/rivals"));
    measure.args(arguments).env("PATH", path(root)?);
    finish(measure)
}

/// Puts the rivals in place. One that cannot be had stays an empty cell.
fn rivals(root: &Path) {
    for program in &PROGRAMS[1..] {
        go_on_without(tools::packages(&[*program]));
    }
    for (name, version) in CRATES {
        let at = root.join(RIVALS);
        if at.join("bin").join(name).is_file() {
            continue;
        }
        let mut command = cargo_command(root);
        command
            .args(["install", "--locked", name, "--version", version, "--root"])
            .arg(&at)
            .env("CARGO_TARGET_DIR", at.join("target"));
        go_on_without(finish(command));
    }
}

/// Fetches the releases that are not there yet.
fn releases(root: &Path) {
    for (package, versions) in RELEASES {
        for version in versions {
            let at = root.join(RELEASES_AT).join(package).join(version);
            if !at.is_dir() {
                go_on_without(fetch(package, version, &at));
            }
        }
    }
}

fn go_on_without(result: Result<(), String>) {
    if let Err(error) = result {
        eprintln!("{error}: going on without it");
    }
}

/// Unpacks one release into `at`, whole or not at all.
fn fetch(package: &str, version: &str, at: &Path) -> Result<(), String> {
    let partial = at.with_extension("partial");
    fs::create_dir_all(&partial)
        .map_err(|error| format!("making {}: {error}", partial.display()))?;
    let mut pack = Command::new("npm");
    pack.args(["pack", "--silent", &format!("{package}@{version}")])
        .current_dir(&partial);
    finish(pack)?;
    let archive = partial.join(format!("{package}-{version}.tgz"));
    let mut unpack = Command::new("tar");
    unpack
        .args(["--no-same-owner", "--strip-components=1", "-xzf"])
        .arg(&archive)
        .arg("-C")
        .arg(&partial);
    finish(unpack)?;
    fs::remove_file(&archive)
        .and_then(|()| fs::rename(&partial, at))
        .map_err(|error| format!("putting {package} {version} in place: {error}"))
}

/// With the rivals' programs, and with administrators'.
fn path(root: &Path) -> Result<OsString, String> {
    let ours = [root.join(RIVALS).join("bin")];
    let system = ["/usr/sbin", "/sbin"].map(Into::into);
    let path = env::var_os("PATH").unwrap_or_default();
    let places = ours
        .into_iter()
        .chain(env::split_paths(&path))
        .chain(system);
    env::join_paths(places).map_err(|error| format!("adding to PATH: {error}"))
}
