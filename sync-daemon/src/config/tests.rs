//! Configurations that are taken and refused, and what is said about them.

use std::{ffi::OsString, path::Path};

use sync_core::{RelPath, guard::MaxDelete};

use super::{check, source::Source, *};

const GOOD: &str = r#"[node]
name = "apim-1"
listen = "0.0.0.0:7420"
state_dir = "/var/lib/apim-sync"

[[tree]]
name = "synapse-configs"
path = "/opt/wso2/synapse-configs/"
exclude = ["*.back"]

[[peer]]
name = "apim-2"
address = "192.168.10.2:7420"
id = "abababababababababababababababababababababababababababababababab"

[watch]
settle_ms = 40

[guard]
max_delete = "50"
"#;

fn refusal(text: &str) -> String {
    let error = Config::from_text(text, Path::new("c.toml")).unwrap_err();
    error.to_string()
}

#[test]
fn a_full_file_is_taken_with_defaults_for_the_rest() {
    let config = Config::from_text(GOOD, Path::new("c.toml")).unwrap();
    assert_eq!(config.node.listen.unwrap().port(), 7420);
    assert_eq!(config.trees[0].path, Path::new("/opt/wso2/synapse-configs"));
    assert_eq!(config.trees[0].preset, Preset::Synapse);
    assert_eq!(config.peers[0].id.short(), "abababab");
    let backup = RelPath::new(b"default/api/a.xml.back").unwrap();
    assert!(config.trees[0].rules.matches(&backup, false));
    assert_eq!(config.watch.settle_ms, 40);
    assert_eq!(config.watch.delete_hold_ms, 10_000);
    assert_eq!(config.guard.max_delete, MaxDelete::Files(50));
    assert_eq!(config.guard.min_files, 5);
    assert_eq!(
        config.trees[0].deploy_interval,
        Some(Duration::from_secs(15))
    );
}

#[test]
fn the_policy_for_drift_is_the_trees_own_or_that_for_all() {
    let policy = |text: &str| {
        let config = Config::from_text(text, Path::new("c.toml")).unwrap();
        config.trees[0].drift
    };
    assert_eq!(policy(GOOD), Policy::Alert);
    let for_all = format!("{GOOD}[drift]\npolicy = \"hold\"\n");
    assert_eq!(policy(&for_all), Policy::Hold);
    let own = for_all.replace("exclude = ", "drift = \"heal\"\nexclude = ");
    assert_eq!(policy(&own), Policy::Heal);
    assert_eq!(
        refusal(&for_all.replace("hold", "ignore")),
        "c.toml:22: drift.policy: `ignore` is none of `alert`, `heal` and `hold`"
    );
}

#[test]
fn only_a_tree_that_a_deployer_reads_has_its_interval() {
    let with = |line: &str| GOOD.replace("exclude = ", &format!("{line}\nexclude = "));
    let interval = |text: &str| {
        let config = Config::from_text(text, Path::new("c.toml")).unwrap();
        config.trees[0].deploy_interval
    };
    assert_eq!(
        interval(&with("deploy_interval_s = 60")),
        Some(Duration::from_secs(60))
    );
    assert_eq!(interval(&with("preset = \"plain\"")), None);
    assert_eq!(
        refusal(&with("deploy_interval_s = 0")),
        "c.toml:9: tree.deploy_interval_s: 0 is not within 1 to 3600"
    );
    assert_eq!(
        refusal(&with("deploy_interval_s = 5\npreset = \"plain\"")),
        "c.toml:9: tree.deploy_interval_s: no deployer reads a tree of the preset `plain`"
    );
}

#[test]
fn refusals_name_line_key_and_reason() {
    let cases = [
        (
            "settle_ms = 40",
            "setle_ms = 40",
            "c.toml:17: unknown key `setle_ms` in [watch]; did you mean `settle_ms`?",
        ),
        (
            "[watch]",
            "[wacth]",
            "c.toml:16: unknown key `wacth` at the top level; did you mean `watch`?",
        ),
        (
            "exclude",
            "colour",
            "c.toml:9: unknown key `colour` in [[tree]]",
        ),
        (
            "0.0.0.0:7420",
            "0.0.0.0",
            "c.toml:3: node.listen: `0.0.0.0` is no address: the port is missing; \
             write host:port, such as 192.168.10.2:7420, apim-2.example.com:7420 \
             or [2001:db8::2]:7420",
        ),
        (
            "192.168.10.2:7420",
            "192.168.10.2:0",
            "c.toml:13: peer.address: `192.168.10.2:0` is no address: port 0 cannot be \
             reached; write host:port, such as 192.168.10.2:7420, apim-2.example.com:7420 \
             or [2001:db8::2]:7420",
        ),
        (
            "name = \"apim-2\"",
            "name = \"apim-1\"",
            "c.toml:12: peer.name: `apim-1` is this node itself",
        ),
        (
            "\"/opt/wso2/synapse-configs/\"",
            "\"synapse-configs\"",
            "c.toml:8: tree.path: `synapse-configs` is not an absolute path",
        ),
        (
            "\"/opt/wso2/synapse-configs/\"",
            "\"/opt/../etc\"",
            "c.toml:8: tree.path: `/opt/../etc` holds `..`",
        ),
        (
            "\"/opt/wso2/synapse-configs/\"",
            "\"/var/lib\"",
            "c.toml:8: tree.path: one of this and the state directory \
             (/var/lib/apim-sync) lies inside the other",
        ),
        (
            "id = \"abab",
            "id = \"xxab",
            "c.toml:14: peer.id: `xxababababababababababababababababababababababababababababababab` \
             is no node id: an id is 64 hexadecimal digits, as `init` prints them",
        ),
        (
            "\"*.back\"",
            "\"*.back\", \"\"",
            "c.toml:9: tree.exclude: the pattern is empty",
        ),
        (
            "settle_ms = 40",
            "settle_ms = 99999999",
            "c.toml:17: watch.settle_ms: 99999999 is not within 0 to 60000",
        ),
        (
            "\"50\"",
            "\"half\"",
            "c.toml:20: guard.max_delete: `half` is not a limit for deletions: \
             write a number of files (`50`) or a share of all files (`20%`)",
        ),
        (
            "name = \"synapse-configs\"",
            "name = \"a/b\"",
            "c.toml:7: tree.name: `a/b` is not a tree name: 1 to 64 letters, \
             digits, `.`, `_` or `-`, not starting with `.` or `-`",
        ),
    ];
    for (good, bad, message) in cases {
        assert!(GOOD.contains(good), "{good}");
        assert_eq!(refusal(&GOOD.replacen(good, bad, 1)), message);
    }
}

#[test]
fn trees_may_not_share_a_name_or_a_directory() {
    let with = |name: &str, path: &str| {
        refusal(&format!(
            "{GOOD}\n[[tree]]\nname = \"{name}\"\npath = \"{path}\"\n"
        ))
    };
    assert_eq!(
        with("synapse-configs", "/elsewhere"),
        "c.toml:23: tree.name: another tree is named `synapse-configs` already"
    );
    assert_eq!(
        with("two", "/opt/wso2/synapse-configs"),
        "c.toml:24: tree.path: tree `synapse-configs` has the same path"
    );
    assert_eq!(
        with("two", "/opt/wso2/synapse-configs/default"),
        "c.toml:24: tree.path: one of this and tree `synapse-configs` \
         (/opt/wso2/synapse-configs) lies inside the other"
    );
}

#[test]
fn a_work_directory_lies_outside_every_tree() {
    let text = GOOD.replacen(
        "exclude",
        "work_dir = \"/opt/wso2/synapse-configs/.work\"\nexclude",
        1,
    );
    assert_eq!(
        refusal(&text),
        "c.toml: tree.work_dir: `/opt/wso2/synapse-configs/.work` overlaps tree `synapse-configs`"
    );
}

#[test]
fn a_file_without_trees_is_refused() {
    assert_eq!(
        refusal("[node]\nname = \"a\"\n"),
        "c.toml: tree: there is no [[tree]]: nothing to synchronise"
    );
}

#[test]
fn variables_override_the_file_and_are_checked_the_same() {
    let environment = |name: &str| match name {
        "APIM_SYNC_LISTEN" => Some(OsString::from("127.0.0.1:0")),
        "APIM_SYNC_SETTLE_MS" => Some("7".into()),
        _ => None,
    };
    let source = Source::new(GOOD, Path::new("c.toml"), environment);
    let config = check::config(&source).unwrap();
    assert_eq!(config.node.listen.unwrap().to_string(), "127.0.0.1:0");
    assert_eq!(config.watch.settle_ms, 7);

    let wrong = |name: &str| (name == "APIM_SYNC_RESCAN_S").then(|| "soon".into());
    let source = Source::new(GOOD, Path::new("c.toml"), wrong);
    assert_eq!(
        check::config(&source).unwrap_err().to_string(),
        "$APIM_SYNC_RESCAN_S: watch.rescan_s: `soon` is not a whole number"
    );
}

#[test]
fn hooks_are_programs_with_an_absolute_path() {
    let with = |hooks: &str| format!("{GOOD}\n[hooks]\n{hooks}\n");
    let text = with("on_promote = [\"/usr/bin/logger\", \"-t\", \"a b; $c\"]\ndeadline_s = 5");
    let hooks = Config::from_text(&text, Path::new("c.toml")).unwrap().hooks;
    let command = &hooks.commands[&crate::events::Hook::OnPromote];
    assert_eq!(command.program, Path::new("/usr/bin/logger"));
    assert_eq!(command.arguments, ["-t", "a b; $c"]);
    assert_eq!((hooks.commands.len(), hooks.deadline.as_secs()), (1, 5));
    for (wrong, said) in [
        ("on_halt = []", "hooks.on_halt: it is empty"),
        (
            "on_halt = [\"\"]",
            "hooks.on_halt: `` is not an absolute path",
        ),
        (
            "on_halt = [\"notify\"]",
            "hooks.on_halt: `notify` is not an absolute path",
        ),
        (
            "on_drift = [\"/bin/a\\u0000\"]",
            "hooks.on_drift: it holds a NUL",
        ),
        ("on_demote = \"/bin/sh -c x\"", "expected a sequence"),
        (
            "deadline_s = 0",
            "hooks.deadline_s: 0 is not within 1 to 3600",
        ),
        ("on_boot = [\"/bin/a\"]", "unknown key `on_boot` in [hooks]"),
    ] {
        let refusal = refusal(&with(wrong));
        assert!(refusal.contains(said), "{wrong}: {refusal}");
    }
}

#[test]
fn a_lease_says_where_etcd_is_and_by_which_files() {
    let with = |lease: &str| format!("{GOOD}\n[lease]\nkey = \"/pair\"\n{lease}\n");
    let tls = "endpoints = [\"https://e1:2379/\", \"http://[::1]:2379\"]\nca_file = \"/ca.pem\"\nttl_s = 5";
    let config = Config::from_text(&with(tls), Path::new("c.toml")).unwrap();
    let lease = config.lease.unwrap();
    let ends: Vec<_> = lease
        .endpoints
        .iter()
        .map(|it| (it.address.to_string(), it.tls))
        .collect();
    assert_eq!(
        ends,
        [("e1:2379".into(), true), ("[::1]:2379".into(), false)]
    );
    assert_eq!((lease.key.as_str(), lease.ttl.as_secs()), ("/pair", 5));
    assert_eq!(lease.tls.unwrap().ca_file, Path::new("/ca.pem"));
    for (wrong, said) in [
        ("endpoints = []", "lease.endpoints: give 1 to 16 members"),
        (
            "endpoints = [\"e1:2379\"]",
            "begins with neither http:// nor https://",
        ),
        ("endpoints = [\"http://e1\"]", "the port is missing"),
        (
            "endpoints = [\"https://e1:1\"]",
            "an https member needs `ca_file`",
        ),
        (
            "endpoints = [\"http://e1:1\"]\nca_file = \"/ca.pem\"",
            "no https member",
        ),
        (
            "endpoints = [\"https://e1:1\"]\nca_file = \"/a\"\nkey_file = \"/k\"",
            "belong together",
        ),
        (
            "endpoints = [\"http://e1:1\"]\nttl_s = 4",
            "lease.ttl_s: 4 is not within 5 to 300",
        ),
        (
            "endpoints = [\"http://e1:1\"]\npassword = \"x\"",
            "unknown key `password` in [lease]",
        ),
    ] {
        let refusal = refusal(&with(wrong));
        assert!(refusal.contains(said), "{wrong}: {refusal}");
    }
}
