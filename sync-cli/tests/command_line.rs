//! The built binary, as scripts and people meet it: exit codes, messages, help.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on fails")]

use std::{
    fs,
    io::{BufRead as _, BufReader},
    os::unix::fs::PermissionsExt as _,
    path::{Path, PathBuf},
    process::{Command, Output, Stdio},
};

use tempfile::TempDir;

/// A place for one node's files.
struct Place {
    directory: TempDir,
}

/// What one run did.
struct Ran {
    code: i32,
    stdout: String,
    stderr: String,
}

impl Place {
    fn new() -> Self {
        let directory = TempDir::new().unwrap();
        fs::create_dir(directory.path().join("tree")).unwrap();
        Self { directory }
    }

    /// A place with an initialised node.
    fn initialised() -> Self {
        let place = Self::new();
        place.init(&[]).exits(0);
        place
    }

    fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    fn config(&self) -> PathBuf {
        self.path("etc/config.toml")
    }

    fn run(&self, arguments: &[&str]) -> Ran {
        let mut command = command();
        command.arg("-C").arg(self.config()).args(arguments);
        ran(&mut command)
    }

    fn init(&self, more: &[&str]) -> Ran {
        let tree = format!("t={}", self.path("tree").display());
        let state = self.path("state").display().to_string();
        let usual = [
            "init",
            "--name",
            "apim-1",
            "--role",
            "active",
            "--state-dir",
            &state,
        ];
        self.run(&[&usual[..], &["--tree", &tree], more].concat())
    }

    fn edit_config(&self, old: &str, new: &str) {
        let text = fs::read_to_string(self.config()).unwrap();
        assert!(text.contains(old), "{text}");
        fs::write(self.config(), text.replacen(old, new, 1)).unwrap();
    }
}

impl Ran {
    #[track_caller]
    fn exits(self, code: i32) -> Self {
        let Self { stdout, stderr, .. } = &self;
        assert_eq!(self.code, code, "stdout: {stdout}\nstderr: {stderr}");
        self
    }

    #[track_caller]
    fn says(self, expected: &str) -> Self {
        assert!(
            self.stderr.contains(expected),
            "{expected:?} in: {}",
            self.stderr
        );
        self
    }

    #[track_caller]
    fn prints(self, expected: &str) -> Self {
        assert!(
            self.stdout.contains(expected),
            "{expected:?} in: {}",
            self.stdout
        );
        self
    }
}

fn command() -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_apim-sync"));
    let ours = std::env::vars_os().filter(|(name, _)| {
        let name = name.to_string_lossy();
        name.starts_with("APIM_SYNC_") || name == "CARBON_HOME"
    });
    for (name, _) in ours {
        command.env_remove(name);
    }
    command
}

fn ran(command: &mut Command) -> Ran {
    let Output {
        status,
        stdout,
        stderr,
    } = command.output().unwrap();
    Ran {
        code: status.code().expect("no signal ended it"),
        stdout: String::from_utf8(stdout).unwrap(),
        stderr: String::from_utf8(stderr).unwrap(),
    }
}

fn mode(path: &Path) -> u32 {
    fs::metadata(path).unwrap().permissions().mode() & 0o777
}

const ID: &str = "abababababababababababababababababababababababababababababababab";

#[test]
fn init_prints_the_id_and_keeps_the_key_private() {
    let place = Place::new();
    let ran = place.init(&[]).exits(0).says("next: ");
    let id = ran.stdout.strip_prefix("id: ").unwrap().trim_end();
    assert_eq!((id.len(), ran.stdout.lines().count()), (64, 1));
    assert_eq!(mode(&place.path("state")), 0o700);
    assert_eq!(mode(&place.path("state/node.key")), 0o600);
    let text = fs::read_to_string(place.config()).unwrap();
    assert!(text.contains("# delete_hold_ms = 10000"), "{text}");
}

#[test]
fn init_as_json_is_one_object() {
    let place = Place::new();
    let ran = place.init(&["--json"]).exits(0);
    let node: serde_json::Value = serde_json::from_str(&ran.stdout).unwrap();
    assert_eq!(node["message_type"], "node");
    assert_eq!(node["role"], "active");
    assert_eq!(node["id"].as_str().unwrap().len(), 64);
}

#[test]
fn init_overwrites_neither_a_configuration_nor_a_key() {
    let place = Place::initialised();
    let before = fs::read(place.config()).unwrap();
    place.init(&[]).exits(1).says("exists already");
    assert_eq!(fs::read(place.config()).unwrap(), before);

    let key = fs::read(place.path("state/node.key")).unwrap();
    fs::remove_file(place.config()).unwrap();
    place.init(&[]).exits(1).says("node.key");
    assert_eq!(fs::read(place.path("state/node.key")).unwrap(), key);
    assert!(!place.config().exists(), "nothing is left of the attempt");
}

#[test]
fn init_with_a_bad_flag_leaves_nothing() {
    let place = Place::new();
    place
        .init(&["--listen", "0.0.0.0"])
        .exits(2)
        .says("the port is missing");
    place.init(&["--tree", "t2"]).exits(2).says("NAME=PATH");
    let inside = format!("u={}", place.path("tree/inner").display());
    place
        .init(&["--tree", &inside])
        .exits(2)
        .says("lies inside the other");
    assert!(!place.config().exists() && !place.path("state").exists());
}

#[test]
fn init_takes_the_filled_trees_of_an_api_manager() {
    let place = Place::new();
    let home = place.path("wso2am");
    for path in [
        "deployment/server/synapse-configs/default",
        "deployment/server/userstores",
    ] {
        fs::create_dir_all(home.join("repository").join(path)).unwrap();
    }
    fs::create_dir(home.join("bin")).unwrap();
    fs::write(
        home.join("bin/wso2carbon-version.txt"),
        "WSO2 API Manager v2.6.0\n",
    )
    .unwrap();
    let state = place.path("state").display().to_string();
    let home = home.display().to_string();
    place
        .run(&[
            "init",
            "--name",
            "a",
            "--role",
            "passive",
            "--state-dir",
            &state,
            "--apim-home",
            &home,
        ])
        .exits(0)
        .says("found WSO2 API Manager v2.6.0 at ")
        .says("- userstores");
    let text = fs::read_to_string(place.config()).unwrap();
    let trees: Vec<_> = text
        .lines()
        .filter(|line| line.starts_with("path = "))
        .collect();
    assert_eq!(trees.len(), 2, "{trees:?}");
    let empty = place.path("tree").display().to_string();
    let other = place.path("other.toml").display().to_string();
    place
        .run(&[
            "-C",
            &other,
            "init",
            "--name",
            "a",
            "--role",
            "active",
            "--apim-home",
            &empty,
        ])
        .exits(2)
        .says("is no API Manager");
}

#[test]
fn a_misspelt_key_is_named_with_its_line_and_the_right_one() {
    let place = Place::initialised();
    place.edit_config("# settle_ms", "setle_ms");
    place
        .run(&["status"])
        .exits(2)
        .says("unknown key `setle_ms` in [watch]; did you mean `settle_ms`?")
        .says("config.toml:");
}

#[test]
fn a_bad_address_is_named_with_its_line() {
    let place = Place::initialised();
    place.edit_config("0.0.0.0:7420", "0.0.0.0:high");
    place
        .run(&["push"])
        .exits(2)
        .says("node.listen: `0.0.0.0:high` is no address");
}

#[test]
fn a_missing_configuration_names_the_file_and_what_makes_one() {
    Place::new()
        .run(&["status"])
        .exits(2)
        .says("etc/config.toml")
        .says("apim-sync init");
}

#[test]
fn variables_override_the_file_and_flags_override_variables() {
    let place = Place::initialised();
    let mut bad = command();
    bad.env("APIM_SYNC_LISTEN", "nowhere")
        .arg("-C")
        .arg(place.config())
        .arg("status");
    ran(&mut bad)
        .exits(2)
        .says("$APIM_SYNC_LISTEN: node.listen");

    let mut by_variable = command();
    by_variable
        .env("APIM_SYNC_CONFIG", place.config())
        .args(["trust", "list"]);
    ran(&mut by_variable).exits(0);
    by_variable.arg("-C").arg(place.path("absent.toml"));
    ran(&mut by_variable).exits(2).says("absent.toml");
}

#[test]
fn global_flags_stand_before_and_after_the_command() {
    let place = Place::initialised();
    place.run(&["--json", "trust", "list"]).exits(0);
    place.run(&["trust", "list", "--json", "-q"]).exits(0);
    place.run(&["trust", "list", "-q", "-v"]).exits(2);
}

#[test]
fn an_unknown_tree_is_refused_with_the_known_ones() {
    let place = Place::initialised();
    for command in ["push", "verify", "bootstrap"] {
        place
            .run(&[command, "--tree", "x\u{1b}"])
            .exits(2)
            .says("no tree `x%1B`")
            .says("one of: t");
    }
}

#[test]
fn trusted_peers_are_added_listed_and_removed() {
    let place = Place::initialised();
    let add = [
        "trust",
        "add",
        "apim-2",
        "--id",
        ID,
        "--address",
        "10.0.0.2:7420",
    ];
    place.run(&add).exits(0).says("apim-2 is trusted");
    place
        .run(&["trust", "list"])
        .exits(0)
        .prints(&format!("apim-2  {ID}  10.0.0.2:7420"));
    let listed = place.run(&["trust", "list", "--json"]).exits(0).stdout;
    let peer: serde_json::Value = serde_json::from_str(&listed).unwrap();
    assert_eq!(
        (&peer["name"], &peer["schema"]),
        (&"apim-2".into(), &1.into())
    );
    place.run(&["trust", "remove", "apim-2"]).exits(0);
    place
        .run(&["trust", "remove", "apim-2"])
        .exits(2)
        .says("no trusted peer is called `apim-2`");
}

#[test]
fn a_bad_id_or_address_is_not_trusted() {
    let place = Place::initialised();
    place
        .run(&["trust", "add", "b", "--id", "abc"])
        .exits(2)
        .says("`abc` is no node id");
    place
        .run(&["trust", "add", "b", "--id", ID, "--address", "b:0"])
        .exits(2)
        .says("port 0");
    place
        .run(&["trust", "add", "b/c", "--id", ID])
        .exits(2)
        .says("node name");
    place
        .run(&["trust", "add", "apim-1", "--id", ID])
        .exits(2)
        .says("this node itself");
    let status = place.run(&["status", "--json"]).exits(7).stdout;
    let status: serde_json::Value = serde_json::from_str(&status).unwrap();
    let own = status["id"].as_str().unwrap();
    place
        .run(&["trust", "add", "b", "--id", own])
        .exits(2)
        .says("this node itself");
    assert_eq!(place.run(&["trust", "list"]).exits(0).stdout, "");
}

#[test]
fn an_invitation_is_one_line_and_a_bad_one_is_refused() {
    let place = Place::initialised();
    let ran = place
        .run(&["invite", "--address", "10.0.0.1:7420"])
        .exits(0);
    assert_eq!(ran.stdout.lines().count(), 1);
    assert!(ran.stdout.starts_with("apim1-"), "{}", ran.stdout);
    place
        .run(&["join", "apim1-nonsense"])
        .exits(2)
        .says("copy the whole line");
    place
        .run(&["join", ran.stdout.trim()])
        .exits(2)
        .says("this node made the invitation itself");
    place
        .run(&["invite", "--ttl", "soon"])
        .exits(2)
        .says("for example `30m`");
}

#[test]
fn pausing_without_a_daemon_says_what_to_start() {
    let place = Place::initialised();
    place
        .run(&["pause", "--for", "30m"])
        .exits(7)
        .says("apim-sync daemon");
    place.run(&["resume"]).exits(7).says("does not run");
}

#[test]
fn bad_values_are_usage_errors() {
    let place = Place::initialised();
    let cases: &[(&[&str], &str)] = &[
        (&["push", "--max-delete", "half"], "`half` is not a limit"),
        (&["push", "--wait=later"], "possible values"),
        (&["release", "12"], "sixteen hexadecimal digits"),
        (&["verify", "--exclude", "a["], "`a[`"),
        (&["verify", "--exclude-from", "/nowhere"], "/nowhere"),
        (&["pus"], "similar subcommand"),
        (&[], "Usage:"),
    ];
    for (arguments, message) in cases {
        place.run(arguments).exits(2).says(message);
    }
}

#[test]
fn a_confirmation_of_another_node_is_a_safety_halt() {
    let place = Place::initialised();
    let ran = place.run(&["bootstrap", "--confirm", "other"]);
    ran.exits(5).says("this node is called apim-1");
}

#[test]
fn the_demo_shows_every_scene_and_leaves_nothing() {
    let place = Place::new();
    let mut command = command();
    command
        .env("TMPDIR", place.path("tree"))
        .args(["demo", "--json"]);
    let ran = ran(&mut command).exits(0);
    for scene in ["made", "bootstrap", "edit", "update", "rename", "delete"] {
        assert!(
            ran.stdout.contains(&format!("\"scene\":\"{scene}\"")),
            "{}",
            ran.stdout
        );
    }
    ran.prints("\"in_sync\":true");
    assert_eq!(fs::read_dir(place.path("tree")).unwrap().count(), 0);
}

#[test]
fn an_interrupted_demo_leaves_nothing() {
    let place = Place::new();
    let mut command = command();
    command
        .env("TMPDIR", place.path("tree"))
        .args(["demo", "-v"]);
    command.stderr(Stdio::piped()).stdout(Stdio::null());
    let mut demo = command.spawn().unwrap();
    // The first line comes when there is something to clean up.
    let mut lines = BufReader::new(demo.stderr.take().unwrap()).lines();
    assert!(lines.next().unwrap().unwrap().contains("apim-1 (active)"));
    let interrupt = Command::new("kill")
        .args(["-INT", &demo.id().to_string()])
        .status();
    assert!(interrupt.unwrap().success());
    lines.for_each(drop);
    assert_eq!(demo.wait().unwrap().code(), Some(130));
    assert_eq!(fs::read_dir(place.path("tree")).unwrap().count(), 0);
}

#[test]
fn the_demo_takes_only_an_empty_directory() {
    let place = Place::initialised();
    let filled = place.path("state").display().to_string();
    place
        .run(&["demo", "--dir", &filled])
        .exits(2)
        .says("it is not empty");
}

#[test]
fn nagios_gets_a_line_and_unknown_where_nothing_can_be_known() {
    let place = Place::new();
    place
        .run(&["status", "--nagios"])
        .exits(3)
        .prints("APIM-SYNC UNKNOWN - ");
}

/// Every command with its subcommands, found through the help itself.
fn commands(place: &Place) -> Vec<Vec<String>> {
    let below = |words: &[&str]| -> Vec<String> {
        let help = place.run(&[words, &["--help"]].concat()).exits(0).stdout;
        let list = help.split("Commands:\n").nth(1).unwrap_or_default();
        let list = list.split("\n\n").next().unwrap_or_default();
        let names = list
            .lines()
            .filter_map(|line| line.split_whitespace().next());
        names
            .filter(|name| *name != "help")
            .map(Into::into)
            .collect()
    };
    let mut found = vec![vec![]];
    for name in below(&[]) {
        found.extend(
            below(&[&name])
                .into_iter()
                .map(|sub| vec![name.clone(), sub]),
        );
        found.push(vec![name]);
    }
    found
}

#[test]
fn the_help_of_every_command_ends_with_two_examples() {
    let place = Place::new();
    let commands = commands(&place);
    assert!(commands.len() > 14, "{commands:?}");
    for words in commands {
        let mut arguments: Vec<&str> = words.iter().map(String::as_str).collect();
        arguments.push("--help");
        let help = place.run(&arguments).exits(0).stdout;
        let examples = help.split("Examples:\n").nth(1).unwrap_or_default();
        let lines = examples
            .lines()
            .filter(|line| line.starts_with("  apim-sync "));
        assert_eq!(lines.count(), 2, "{words:?}: {help}");
    }
}

#[test]
fn completions_and_manual_pages_are_there() {
    let place = Place::new();
    for shell in ["bash", "zsh", "fish"] {
        place
            .run(&["completions", shell])
            .exits(0)
            .prints("apim-sync");
    }
    place.run(&["man"]).exits(0).prints(".TH apim-sync 1");
    let pages = place.path("man");
    place
        .run(&["man", "--dir", pages.to_str().unwrap()])
        .exits(0);
    let push = fs::read_to_string(pages.join("apim-sync-push.1")).unwrap();
    assert!(push.contains("itemize"), "{push}");
}

#[test]
fn a_reader_that_goes_away_is_no_error() {
    let shell = format!("{} man | head -n 1", env!("CARGO_BIN_EXE_apim-sync"));
    let script = format!("set -o pipefail; {shell}");
    let ran = ran(Command::new("bash").args(["-c", &script])).exits(0);
    assert_eq!(ran.stderr, "");
}

#[test]
fn a_full_disk_behind_standard_output_is_an_error() {
    let Ok(full) = fs::OpenOptions::new().write(true).open("/dev/full") else {
        return;
    };
    let mut command = command();
    command.arg("man").stdout(full).stderr(Stdio::piped());
    let output = command.spawn().unwrap().wait_with_output().unwrap();
    assert_eq!(output.status.code(), Some(1));
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert!(stderr.contains("writing to standard output"), "{stderr}");
}
