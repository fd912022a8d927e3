//! The exclude rules against the real rsync, where it is installed.

#![expect(
    clippy::unwrap_used,
    reason = "the helpers of a test may fail it like the test itself"
)]

use std::{
    collections::BTreeSet,
    fs,
    path::Path,
    process::{Command, Stdio},
};

use proptest::{
    prelude::*,
    test_runner::{Config, TestRunner},
};
use sync_core::{RelPath, exclude::Rules};

const FILES: &[&str] = &[
    "a",
    "b",
    "ab",
    "a.b",
    "[",
    "a*",
    "d/a",
    "d/b",
    "d/ab",
    "d/d/a",
    "d/d/b.a",
    "d/e/a",
    "d/e/ab",
    "e/a",
    "e/d/a",
    "e/d/e/b",
    "e/d/e/a b",
    "e/[ab]",
];
const DIRECTORIES: &[&str] = &["d", "d/d", "d/e", "e", "e/d", "e/d/e", "e/empty"];

fn make_tree(root: &Path) {
    for directory in DIRECTORIES {
        fs::create_dir_all(root.join(directory)).unwrap();
    }
    for file in FILES {
        fs::write(root.join(file), b"").unwrap();
    }
}

/// What rsync would send.
fn sent_by_rsync(tree: &Path, empty: &Path, rules: &[String]) -> BTreeSet<String> {
    let output = Command::new("rsync")
        .args([
            "--dry-run",
            "--recursive",
            "--8-bit-output",
            "--out-format=%n",
        ])
        .args(rules.iter().map(|rule| format!("--exclude={rule}")))
        .arg(format!("{}/", tree.display()))
        .arg(format!("{}/", empty.display()))
        .output()
        .unwrap();
    assert!(output.status.success(), "{output:?} with {rules:?}");
    let text = String::from_utf8(output.stdout).unwrap();
    text.lines()
        .filter(|line| *line != "./")
        .map(str::to_owned)
        .collect()
}

fn sent_by_us(rules: &Rules) -> BTreeSet<String> {
    let included = |path: &str, is_directory| {
        !rules.matches(&RelPath::new(path.as_bytes()).unwrap(), is_directory)
    };
    let files = FILES.iter().filter(|path| included(path, false));
    let directories = DIRECTORIES.iter().filter(|path| included(path, true));
    files
        .map(|path| (*path).to_owned())
        .chain(directories.map(|path| format!("{path}/")))
        .collect()
}

fn pattern() -> impl Strategy<Value = String> {
    let piece = prop_oneof![
        4 => prop::sample::select(vec!["a", "b", "d", "e", ".", "ab"]),
        4 => Just("/"),
        4 => prop::sample::select(vec!["*", "**", "***", "?"]),
        2 => prop::sample::select(vec!["[ab]", "[!a]", "[^d]", "[[:alpha:]]", "[[]", "\\*", "\\a"]),
    ];
    let sign = prop::sample::select(vec!["", "", "- ", "+ "]);
    (sign, prop::collection::vec(piece, 1..6))
        .prop_map(|(sign, pieces)| sign.to_owned() + &pieces.concat())
}

#[test]
fn rules_leave_out_what_rsync_leaves_out() {
    let present = Command::new("rsync")
        .arg("--version")
        .stdout(Stdio::null())
        .status();
    if !present.is_ok_and(|status| status.success()) {
        eprintln!("SKIPPED: rsync is not installed");
        return;
    }
    let tree = tempfile::tempdir().unwrap();
    let empty = tempfile::tempdir().unwrap();
    make_tree(tree.path());
    let mut runner = TestRunner::new(Config {
        cases: 60,
        failure_persistence: None,
        ..Config::default()
    });
    runner
        .run(&prop::collection::vec(pattern(), 1..5), |patterns| {
            let mut rules = Rules::new();
            let legal: Vec<String> = patterns
                .into_iter()
                .filter(|pattern| rules.exclude(pattern.as_bytes()).is_ok())
                .collect();
            prop_assert_eq!(
                sent_by_us(&rules),
                sent_by_rsync(tree.path(), empty.path(), &legal)
            );
            Ok(())
        })
        .unwrap();
}
