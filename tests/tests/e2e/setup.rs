//! The active-passive setup through the binary: from one description to two
//! nodes that run.

use std::{
    fs,
    net::TcpListener,
    os::unix::fs::PermissionsExt as _,
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use serde_json::Value;
use sync_tests::{
    Node, Outcome, Role,
    apim_home::{self, Snapshot},
    binary,
    compare::{self, Strictness},
    node::{finish, free_address},
    scratch::Mounted,
    wait,
};
use tempfile::TempDir;

const DATABASE_PASSWORD: &str = "canary-d<a>&\"t'a";
const ADMIN_PASSWORD: &str = "canary-a@d:m/in";

/// A description, the passwords that it names, and a home.
struct Desk {
    directory: TempDir,
}

impl Desk {
    fn new() -> Self {
        let desk = Self {
            directory: tempfile::tempdir().unwrap(),
        };
        let port = |_| {
            let address = free_address();
            address.rsplit_once(':').unwrap().1.to_owned()
        };
        let [first, second] = [0, 1].map(port);
        let path = |name: &str| desk.path(name).display().to_string();
        let text = format!(
            "\
version = \"2.6.0\"
[[node]]
name = \"apim-1\"
host = \"127.0.0.1\"
home = \"{}\"
sync_port = {first}
state_dir = \"{}\"
[[node]]
name = \"apim-2\"
host = \"127.0.0.1\"
home = \"{}\"
sync_port = {second}
state_dir = \"{}\"
[load_balancer]
host = \"api.example.org\"
[database]
host = \"127.0.0.1\"
password_file = \"database-password\"
[admin]
password_env = \"SYNC_TESTS_ADMIN\"
",
            path("home-1"),
            path("state-1"),
            path("home-2"),
            path("state-2"),
        );
        fs::write(desk.path("setup.toml"), text).unwrap();
        let password = desk.path("database-password");
        fs::write(&password, format!("{DATABASE_PASSWORD}\n")).unwrap();
        fs::set_permissions(&password, fs::Permissions::from_mode(0o600)).unwrap();
        apim_home::make(&desk.path("home-1"));
        desk
    }

    fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    /// `apim-sync config WORDS --setup ...`, with words of the form `@name` as
    /// paths of this desk.
    fn run(&self, words: &str) -> Outcome {
        let mut command = Command::new(binary::apim_sync());
        command.arg("config");
        for word in words.split_whitespace() {
            match word.strip_prefix('@') {
                Some(name) => command.arg(self.path(name)),
                None => command.arg(word),
            };
        }
        command.arg("--setup").arg(self.path("setup.toml"));
        command.env("SYNC_TESTS_ADMIN", ADMIN_PASSWORD);
        command.stdin(Stdio::null());
        finish(command)
    }

    fn read(&self, name: &str) -> String {
        fs::read_to_string(self.path(name)).unwrap()
    }

    fn edit(&self, name: &str, old: &str, new: &str) {
        let text = self.read(name);
        assert!(text.contains(old), "{name}: {text}");
        fs::write(self.path(name), text.replacen(old, new, 1)).unwrap();
    }
}

fn mode(path: &Path) -> u32 {
    fs::metadata(path).unwrap().permissions().mode() & 0o777
}

#[test]
fn the_engine_starts_from_what_was_generated_without_another_edit() {
    let desk = Desk::new();
    desk.run("generate --out @out").exits(0);
    fs::create_dir_all(desk.path("home-1/repository/deployment/server/executionplans")).unwrap();
    for tree in ["synapse-configs", "executionplans"] {
        let path = format!("home-2/repository/deployment/server/{tree}");
        fs::create_dir_all(desk.path(&path)).unwrap();
    }
    // Metrics are beside the engine's port; nobody else may have it by chance.
    let node = |name: &str, role| {
        let config = desk.path(&format!("out/{name}/apim-sync.toml"));
        let text = fs::read_to_string(&config).unwrap();
        let table: toml::Table = text.parse().unwrap();
        let metrics = table["metrics"]["listen"].as_str().unwrap();
        drop(TcpListener::bind(metrics).unwrap());
        Node::of_config(&config, role)
    };
    let mut active = node("apim-1", Role::Active);
    let mut passive = node("apim-2", Role::Passive);
    active.start();
    let token = active.run(&["invite"]).exits(0).stdout;
    passive.run(&["join", token.trim()]).exits(0);
    passive.run(&["bootstrap"]).exits(0);
    passive.start();
    let api = active.tree.join("default/api/Pizza.xml");
    fs::write(&api, "<api name=\"Pizza\" context=\"/pizza/2\"/>").unwrap();
    active.run(&["push", "--wait=applied"]).exits(0);
    wait::until("both trees to be equal", wait::DEADLINE, || {
        compare::equal(&active.tree, &passive.tree, Strictness::Identity)
    });
    active.run(&["verify"]).exits(0);
}

#[test]
fn the_gateway_that_is_published_to_follows_a_promotion_by_the_generated_hook() {
    let desk = Desk::new();
    desk.run("apply --node apim-1 --home @home-1").exits(0);
    desk.run("passive --from @home-1 --to @home-2").exits(0);
    desk.run("generate --out @out").exits(0);
    for home in ["home-1", "home-2"] {
        let plans = format!("{home}/repository/deployment/server/executionplans");
        fs::create_dir_all(desk.path(&plans)).unwrap();
    }
    for node in ["apim-1", "apim-2"] {
        let config = format!("out/{node}/apim-sync.toml");
        let binary = binary::apim_sync().display().to_string();
        let text = desk
            .read(&config)
            .replace("/usr/local/bin/apim-sync", &binary);
        let text = text.replace("\n# on_promote", "\non_promote");
        fs::write(
            desk.path(&config),
            text.replace("\n# on_demote", "\non_demote"),
        )
        .unwrap();
    }
    let node =
        |name: &str, role| Node::of_config(&desk.path(&format!("out/{name}/apim-sync.toml")), role);
    let mut active = node("apim-1", Role::Active);
    let mut passive = node("apim-2", Role::Passive);
    for node in [&active, &passive] {
        fs::copy(desk.path("setup.toml"), node.state.join("setup.toml")).unwrap();
    }
    active.trust(&passive);
    passive.trust(&active);
    active.start();
    passive.run(&["bootstrap", "--confirm", "apim-2"]).exits(0);
    passive.start();
    let outcome = passive.run(&["promote", "--json"]).exits(0);
    assert_eq!(outcome.message("hook")["code"], 0, "{}", passive.log());
    wait::until("the demoted node's hook to end", wait::DEADLINE, || {
        let status = active.status();
        wait::ensure(status["hooks"][0]["code"] == 0, status.to_string())
    });
    for home in ["home-1", "home-2"] {
        let text = desk.read(&format!("{home}/repository/conf/api-manager.xml"));
        assert!(
            text.contains("https://127.0.0.1:9444${carbon.context}services/"),
            "{home}: {text}"
        );
    }
    // The trees are as before: what was changed lies outside them.
    passive.run(&["verify"]).exits(0);
}

#[test]
fn generating_twice_changes_nothing_and_never_overwrites_unasked() {
    let desk = Desk::new();
    desk.run("generate --home @home-1 --out @out").exits(0);
    let first = Snapshot::of(&desk.path("out")).unwrap();
    desk.run("generate --home @home-1 --out @out").exits(0);
    let second = Snapshot::of(&desk.path("out")).unwrap();
    assert_eq!(first.changed(&second), Vec::<PathBuf>::new());
    desk.edit("out/hosts", "#", "# mine\n#");
    let refused = desk.run("generate --home @home-1 --out @out").exits(1);
    assert!(
        refused.stderr.contains("differ: hosts"),
        "{}",
        refused.stderr
    );
    assert!(desk.read("out/hosts").contains("# mine"));
    desk.run("generate --home @home-1 --out @out --force")
        .exits(0);
    assert!(!desk.read("out/hosts").contains("# mine"));
    let patched = desk.read("out/apim-2/repository/conf/carbon.xml");
    assert!(patched.contains("<Offset>1</Offset>"), "{patched}");
}

#[test]
fn a_home_is_patched_once_and_kept_aside_and_then_in_order() {
    let desk = Desk::new();
    let apply = "apply --node apim-1 --home @home-1";
    let stock = Snapshot::of(&desk.path("home-1")).unwrap();
    let shown = desk.run(&format!("{apply} -n")).exits(0).stdout;
    assert!(
        shown.contains("+++ b/repository/conf/registry.xml"),
        "{shown}"
    );
    let untouched = Snapshot::of(&desk.path("home-1")).unwrap();
    assert_eq!(stock.changed(&untouched), Vec::<PathBuf>::new());
    let check = desk
        .run("check --node apim-1 --home @home-1 --json")
        .exits(3);
    assert!(check.messages("finding").len() > 20);

    desk.run(apply).exits(0);
    let first = Snapshot::of(&desk.path("home-1")).unwrap();
    desk.run(apply).exits(0);
    let second = Snapshot::of(&desk.path("home-1")).unwrap();
    assert_eq!(first.changed(&second), Vec::<PathBuf>::new());
    let home = desk.path("home-1").canonicalize().unwrap();
    let kept = desk
        .path("state-1/config-backup/2.6.0")
        .join(home.strip_prefix("/").unwrap())
        .join("repository/conf/user-mgt.xml");
    assert!(
        fs::read_to_string(kept)
            .unwrap()
            .contains(">admin</Password>")
    );
    let summary = desk
        .run("check --node apim-1 --home @home-1 --json")
        .exits(0)
        .message("summary");
    assert_eq!(summary["in_order"], Value::Bool(true));
    assert_eq!(summary["rows"]["6"], "done");
}

#[test]
fn a_damaged_file_leaves_the_whole_home_alone() {
    let desk = Desk::new();
    let registry = "home-1/repository/conf/registry.xml";
    let text = desk.read(registry);
    let cut = text.find("</mount").unwrap() + "</moun".len();
    let whole = text
        .replace("<!--mount", "<mount")
        .replace("</mount-->", "</mount>");
    fs::write(
        desk.path(registry),
        &whole[..cut - "<!--mount".len() + "<mount".len()],
    )
    .unwrap();
    let before = Snapshot::of(&desk.path("home-1")).unwrap();
    let refused = desk.run("apply --node apim-1 --home @home-1").exits(1);
    assert!(
        refused.stderr.contains("registry.xml:9:"),
        "{}",
        refused.stderr
    );
    assert!(refused.stderr.contains("cut off"), "{}", refused.stderr);
    let after = Snapshot::of(&desk.path("home-1")).unwrap();
    assert_eq!(before.changed(&after), Vec::<PathBuf>::new());
    let check = desk
        .run("check --node apim-1 --home @home-1 --json")
        .exits(3);
    let damaged = check.messages("finding").into_iter();
    let damaged: Vec<_> = damaged.filter(|it| it["state"] == "damaged").collect();
    assert_eq!(damaged.len(), 1, "{}", check.stdout);
    assert_eq!(damaged[0]["file"], "repository/conf/registry.xml");
    assert_eq!(damaged[0]["line"], 9);
    desk.run("generate --home @home-1 --out @out").exits(1);
    assert!(!desk.path("out").exists());
}

#[test]
fn a_place_that_cannot_be_written_leaves_the_whole_home_alone() {
    let desk = Desk::new();
    let blocked = desk.path("home-1/repository/deployment/server/eventpublishers");
    let freeze = |flag: &str| {
        let run = Command::new("chattr").arg(flag).arg(&blocked).output();
        run.is_ok_and(|run| run.status.success())
    };
    if !freeze("+i") {
        println!("SKIPPED: no file can be made immutable here");
        return;
    }
    let before = Snapshot::of(&desk.path("home-1")).unwrap();
    let failed = desk.run("apply --node apim-1 --home @home-1");
    let after = Snapshot::of(&desk.path("home-1")).unwrap();
    freeze("-i");
    failed.exits(1);
    assert_eq!(before.changed(&after), Vec::<PathBuf>::new());
    desk.run("apply --node apim-1 --home @home-1").exits(0);
}

#[test]
fn a_full_disk_leaves_the_whole_home_alone() {
    let desk = Desk::new();
    let Some(disk) = Mounted::tmpfs(4 << 20) else {
        return;
    };
    let home = disk.path().join("home");
    apim_home::make(&home);
    let before = Snapshot::of(&home).unwrap();
    let ballast = disk.fill_but(8192).unwrap();
    let words = format!("apply --node apim-1 --home {}", home.display());
    let failed = desk.run(&words).exits(1);
    assert!(failed.stderr.contains("No space left"), "{}", failed.stderr);
    let after = Snapshot::of(&home).unwrap();
    assert_eq!(before.changed(&after), Vec::<PathBuf>::new());
    fs::remove_file(ballast).unwrap();
    desk.run(&words).exits(0);
}

#[test]
fn a_run_that_is_killed_between_two_files_is_finished_by_the_next() {
    let desk = Desk::new();
    let calls = "rename,renameat";
    let mut traced = Command::new("strace");
    traced.args(["-f", "-qq", "-e", &format!("trace={calls}"), "-e"]);
    traced.arg(format!("inject={calls}:signal=KILL:when=5"));
    traced.arg(binary::apim_sync());
    traced.args(["config", "apply", "--node", "apim-1", "--home"]);
    traced.arg(desk.path("home-1"));
    traced.arg("--setup").arg(desk.path("setup.toml"));
    traced.env("SYNC_TESTS_ADMIN", ADMIN_PASSWORD);
    traced.stdin(Stdio::null());
    let stock = Snapshot::of(&desk.path("home-1")).unwrap();
    assert_ne!(finish(traced).code, Some(0));
    let half = Snapshot::of(&desk.path("home-1")).unwrap();
    let is_staged = |path: &&PathBuf| path.to_string_lossy().contains("/.apim-sync-");
    let changed = stock.changed(&half);
    assert_eq!(changed.iter().filter(|path| !is_staged(path)).count(), 4);
    assert!(changed.iter().any(|path| is_staged(&path)));
    desk.run("apply --node apim-1 --home @home-1").exits(0);
    desk.run("check --node apim-1 --home @home-1").exits(0);
    let whole = Snapshot::of(&desk.path("home-1")).unwrap();
    let left = stock.changed(&whole);
    assert_eq!(left.iter().filter(is_staged).count(), 0, "{left:?}");
}

#[test]
fn passwords_reach_the_files_that_need_them_and_nothing_else() {
    let desk = Desk::new();
    let mut shown = String::new();
    for words in [
        "apply --node apim-1 --home @home-1 -n",
        "apply --node apim-1 --home @home-1 -n --json",
        "check --node apim-1 --home @home-1",
        "generate --home @home-1 --out @out --json",
        "apply --node apim-1 --home @home-1 -vv",
        "passive --from @home-1 --to @home-2",
        "check --home-a @home-1 --home-p @home-2",
        "promote --node apim-2 --home @home-2",
        "apply --node apim-2 --home @home-2 -n",
    ] {
        let outcome = desk.run(words);
        shown.push_str(&outcome.stdout);
        shown.push_str(&outcome.stderr);
    }
    for secret in ["canary", "old-secret", "amqp://admin:admin"] {
        assert!(!shown.contains(secret), "{secret} in {shown}");
    }
    for path in [
        "home-1/repository/conf/datasources/master-datasources.xml",
        "home-1/repository/conf/user-mgt.xml",
        "home-1/repository/conf/jndi.properties",
        "home-2/repository/conf/jndi2.properties",
        "out/database/01-databases.sql",
        "out/apim-1/repository/conf/user-mgt.xml",
    ] {
        assert!(desk.read(path).contains("canary"), "{path}");
        assert_eq!(mode(&desk.path(path)), 0o600, "{path}");
    }
    assert_eq!(mode(&desk.path("home-1/repository/conf/carbon.xml")), 0o644);
    let setup = desk.read("setup.toml");
    assert!(!setup.contains("canary"));
    fs::remove_file(desk.path("database-password")).unwrap();
    let missing = desk.run("check --node apim-1 --home @home-1").exits(2);
    assert!(
        missing.stderr.contains("database-password"),
        "{}",
        missing.stderr
    );
}

#[test]
fn the_passives_home_is_a_copy_with_its_own_values() {
    let desk = Desk::new();
    desk.run("apply --node apim-1 --home @home-1").exits(0);
    let copied = desk.run("passive --from @home-1 --to @home-2 -P").exits(0);
    assert!(copied.stderr.contains("copying"), "{}", copied.stderr);
    assert!(!desk.path("home-2/repository/database/LOCAL.db").exists());
    assert!(!desk.path("home-2/repository/logs/wso2carbon.log").exists());
    assert!(
        desk.path("home-2/repository/components/lib/mysql-connector-j-8.4.0.jar")
            .exists()
    );
    desk.run("check --home-a @home-1 --home-p @home-2").exits(0);
    let unfit = desk
        .run("check --home-a @home-1 --home-p @home-1 --json")
        .exits(3);
    let places: Vec<_> = unfit.messages("mismatch");
    assert!(
        places.iter().any(|it| it["place"] == "port offset"),
        "{}",
        unfit.stdout
    );
    desk.run("passive --from @home-1 --to @home-2").exits(1);
}

#[test]
fn both_homes_and_the_description_follow_a_promotion() {
    let desk = Desk::new();
    desk.run("apply --node apim-1 --home @home-1").exits(0);
    desk.run("passive --from @home-1 --to @home-2").exits(0);
    let manager = "repository/conf/api-manager.xml";
    let before = desk.read("setup.toml");
    desk.run("promote --node apim-2 --home @home-2 -n").exits(0);
    assert_eq!(desk.read("setup.toml"), before);
    for home in ["home-2", "home-1"] {
        desk.run(&format!("promote --node apim-2 --home @{home}"))
            .exits(0);
        let text = desk.read(&format!("{home}/{manager}"));
        assert!(
            text.contains("https://127.0.0.1:9444${carbon.context}services/"),
            "{text}"
        );
    }
    assert_eq!(
        desk.read("setup.toml"),
        format!("active = \"apim-2\"\n{before}")
    );
    desk.run("check --home-a @home-2 --home-p @home-1").exits(0);
}

#[test]
fn a_promotion_keeps_what_it_changes_but_does_not_wait_for_it() {
    let desk = Desk::new();
    let manager = "repository/conf/api-manager.xml";
    let before = desk.read(&format!("home-1/{manager}"));
    let promote = || {
        let ran = desk.run("promote --node apim-2 --home @home-1");
        assert_ne!(desk.read(&format!("home-1/{manager}")), before);
        ran.exits(0)
    };
    promote();
    let home = desk.path("home-1");
    let below = home.strip_prefix("/").unwrap().join(manager);
    let kept = desk.path("state-1/config-backup/2.6.0").join(below);
    assert_eq!(fs::read_to_string(kept).unwrap(), before);

    fs::write(home.join(manager), &before).unwrap();
    fs::remove_dir_all(desk.path("state-1")).unwrap();
    fs::write(desk.path("state-1"), "in the way").unwrap();
    let said = promote().stderr.clone();
    assert!(said.contains("without the copy"), "{said}");
}

#[test]
fn a_description_that_is_wrong_is_refused_with_its_line() {
    let desk = Desk::new();
    for (old, new, said) in [
        (
            "password_env",
            "pasword_env",
            "did you mean `password_env`?",
        ),
        ("\"2.6.0\"", "\"2.4.0\"", "line 1: version"),
        ("\"2.6.0\"", "\"4.1.0\"", "userstores"),
        ("\"2.6.0\"", "\"2.1.0\"", "the description says 2.1.0"),
    ] {
        let before = desk.read("setup.toml");
        desk.edit("setup.toml", old, new);
        let refused = desk.run("apply --node apim-1 --home @home-1").exits(2);
        assert!(refused.stderr.contains(said), "{}", refused.stderr);
        assert!(refused.stderr.contains("try: "), "{}", refused.stderr);
        fs::write(desk.path("setup.toml"), before).unwrap();
    }
    let unknown = desk.run("apply --node apim-9 --home @home-1").exits(2);
    assert!(unknown.stderr.contains("one of: apim-1, apim-2"));
    let nowhere = desk.run("check --node apim-1 --home @nowhere");
    assert!(
        nowhere.code == Some(1) || nowhere.code == Some(2),
        "{nowhere:?}"
    );
    fs::create_dir(desk.path("empty")).unwrap();
    let empty = desk.run("check --node apim-1 --home @empty").exits(2);
    assert!(empty.stderr.contains("APIM_HOME"), "{}", empty.stderr);
}

#[test]
fn a_new_description_knows_the_home_and_is_never_overwritten() {
    let desk = Desk::new();
    let refused = desk.run("init --home @home-1").exits(1);
    assert!(
        refused.stderr.contains("not overwritten"),
        "{}",
        refused.stderr
    );
    fs::remove_file(desk.path("setup.toml")).unwrap();
    desk.run("init --home @home-1 --database-host 10.0.0.9")
        .exits(0);
    let text = desk.read("setup.toml");
    assert!(text.contains("version = \"2.6.0\""), "{text}");
    assert!(text.contains("host = \"10.0.0.9\""), "{text}");
    assert!(
        text.contains("trees = [\"synapse-configs\", \"executionplans\"]"),
        "{text}"
    );
}

#[test]
fn an_rsync_script_becomes_a_configuration_for_each_node() {
    let desk = Desk::new();
    let server = desk
        .path("home-1/repository/deployment/server")
        .display()
        .to_string();
    fs::write(
        desk.path("workers-list.txt"),
        "am@10.0.0.2:/opt/am/repository/deployment/server\n",
    )
    .unwrap();
    let script = format!(
        "#!/bin/sh\nmanager_server_dir={server}/\npem_file=/root/key.pem\ntrap 'rm -rf /var/lock/x' EXIT\nif mkdir /var/lock/x; then\n echo ok\nelse\n exit 1\nfi\nfor x in `cat workers-list.txt`\ndo\nrsync --delete -arve \"ssh -i $pem_file -o StrictHostKeyChecking=no\" $manager_server_dir $x >> /tmp/logs.txt\ndone\n"
    );
    fs::write(desk.path("sync.sh"), script).unwrap();
    let mut command = Command::new(binary::apim_sync());
    command.args(["config", "import-rsync", "--json", "--workers"]);
    command.arg(desk.path("workers-list.txt"));
    command.arg("--script").arg(desk.path("sync.sh"));
    command.arg("--out").arg(desk.path("nodes"));
    let outcome = finish(command).exits(0);
    let faults = outcome.messages("fault");
    let has = |name: &str| {
        faults.iter().any(|fault| {
            fault["before"]
                .as_str()
                .is_some_and(|text| text.contains(name))
        })
    };
    assert!(has("Host keys are not checked"), "{}", outcome.stdout);
    assert!(has("The trap is set before the lock"), "{}", outcome.stdout);
    let text = desk.read("nodes/apim-1/apim-sync.toml");
    assert!(
        text.contains(&format!("path = \"{server}/synapse-configs\"")),
        "{text}"
    );
    assert!(desk.path("nodes/apim-2/apim-sync.toml").exists());
}
