//! The README's quick start works when pasted.

use std::{
    env, fs,
    os::unix::process::CommandExt,
    path::Path,
    process::{Command, Stdio},
};

use sync_tests::{
    binary,
    compare::{self, Strictness},
    node::{finish, free_address},
};

/// Marks the block in the README.
const HEADING: &str = "## Quick start";

#[test]
fn the_quick_start_of_the_readme_works_when_pasted() {
    let readme = fs::read_to_string(binary::workspace().join("README.md")).unwrap();
    let script = with_free_addresses(&block_after(&readme, HEADING));
    let home = tempfile::tempdir().unwrap();
    let mut shell = Command::new("sh");
    shell
        .args(["-eu", "-c", &ended_by_a_trap(&script)])
        .current_dir(home.path())
        .env("PATH", path_with(binary::apim_sync().parent().unwrap()))
        .process_group(0)
        .stdin(Stdio::null());
    let outcome = finish(shell).exits(0);
    assert!(outcome.stdout.contains("id: "), "{}", outcome.stdout);
    compare::equal(
        &home.path().join("apim-1/synapse-configs"),
        &home.path().join("apim-2/synapse-configs"),
        Strictness::Identity,
    )
    .unwrap();
}

#[test]
fn the_setup_of_the_readme_works_when_pasted() {
    let readme = fs::read_to_string(binary::workspace().join("README.md")).unwrap();
    let script = block_after(&readme, "## The rest of the pair");
    let place = tempfile::tempdir().unwrap();
    let mut shell = Command::new("sh");
    shell
        .args(["-eu", "-c", &script])
        .current_dir(place.path())
        .env("PATH", path_with(binary::apim_sync().parent().unwrap()))
        .stdin(Stdio::null());
    let outcome = finish(shell).exits(0);
    assert!(
        !outcome.stderr.contains("can be read by others"),
        "{}",
        outcome.stderr
    );
    for file in ["CHECKLIST.md", "nginx/nginx.conf", "apim-2/apim-sync.toml"] {
        assert!(place.path().join("setup").join(file).exists(), "{file}");
    }
}

/// The last fenced block of the section: the ones before it build the binary.
fn block_after(readme: &str, heading: &str) -> String {
    let section = readme
        .split(heading)
        .nth(1)
        .expect("the README has the section");
    let section = section.split("\n## ").next().unwrap_or(section);
    let blocks: Vec<&str> = section.split("```sh\n").skip(1).collect();
    let last = blocks.last().expect("the section has a block");
    last.split("```").next().unwrap_or(last).to_owned()
}

/// The addresses of the README may be taken on this machine.
fn with_free_addresses(script: &str) -> String {
    script
        .replace("127.0.0.1:7420", &free_address())
        .replace("127.0.0.1:7430", &free_address())
}

/// What is started in the background ends with the shell, also when a line
/// fails: all are in one process group.
fn ended_by_a_trap(script: &str) -> String {
    format!("trap 'trap \"\" TERM; kill 0; wait' EXIT\n{script}")
}

fn path_with(directory: &Path) -> std::ffi::OsString {
    let old = env::var_os("PATH").unwrap_or_default();
    let all = std::iter::once(directory.to_path_buf()).chain(env::split_paths(&old));
    env::join_paths(all).unwrap()
}
