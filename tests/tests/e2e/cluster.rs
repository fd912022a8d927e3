//! The examples for cluster managers, as these managers run them.

use std::{
    fs,
    os::unix::{fs::PermissionsExt as _, process::CommandExt as _},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

use rustix::process::{Pid, Signal, kill_process, kill_process_group};
use sync_tests::{
    Settings, World, artifacts, binary,
    compare::{self, Strictness},
    network::Network,
    node::Node,
    wait::{self, DEADLINE},
};

/// The address that the master has.
const SHARED: &str = "10.74.0.100";
/// What docs/cluster.md promises: three advertisements and the skew of the lower
/// priority, then a promotion that waits for a dead active.
const VRRP: Duration = Duration::from_millis(3_610);
const PROMOTION: Duration = Duration::from_secs(8);
/// What a loaded machine may add.
const SLACK: Duration = Duration::from_secs(4);

fn example(path: &str) -> String {
    fs::read_to_string(binary::workspace().join("examples").join(path)).unwrap()
}

/// An example with some of its values replaced; each must be there.
fn adapted(path: &str, replaced: &[(&str, &str)]) -> String {
    replaced.iter().fold(example(path), |text, (old, new)| {
        assert!(text.contains(old), "{path} does not say {old}");
        text.replace(old, new)
    })
}

fn program(path: &Path, text: &str) {
    fs::write(path, text).unwrap();
    fs::set_permissions(path, fs::Permissions::from_mode(0o755)).unwrap();
}

/// keepalived on one host, with the example's configuration.
struct Keepalived {
    directory: PathBuf,
    priority: u8,
    running: Option<Child>,
}

impl Keepalived {
    fn new(directory: &Path, node: &Node, priority: u8) -> Self {
        let directory = directory.join(format!("keepalived-{priority}"));
        fs::create_dir(&directory).unwrap();
        let script = directory.join("script");
        let show = |path: PathBuf| path.display().to_string();
        let (binary, config) = (show(binary::apim_sync().into()), show(node.config.clone()));
        let (last, said) = (show(directory.join("state")), show(directory.join("said")));
        let said = format!("echo \"$1 $2\" >> '{said}' # ");
        let replaced = [
            ("/usr/local/bin/apim-sync", binary.as_str()),
            ("/etc/apim-sync/config.toml", &config),
            ("/var/lib/apim-sync/keepalived-state", &last),
            ("logger ", &said),
        ];
        program(
            &script,
            &adapted("keepalived/apim-sync-keepalived", &replaced),
        );
        let script = show(script);
        let priority_line = format!("priority {priority}\n");
        let text = adapted(
            "keepalived/keepalived.conf",
            &[
                ("/etc/keepalived/apim-sync-keepalived", &script),
                ("priority 150\n", &priority_line),
                (
                    "interface eth0",
                    &format!("interface {}", Network::INTERFACE),
                ),
                ("192.168.10.100/24", &format!("{SHARED}/24")),
                ("script_user wso2", "script_user root"),
                // The test's files lie below a directory that all may write.
                ("    enable_script_security\n", ""),
            ],
        );
        fs::write(directory.join("keepalived.conf"), text).unwrap();
        Self {
            directory,
            priority,
            running: None,
        }
    }

    fn start(&mut self, network: &Network, host: usize) {
        let log = fs::File::options()
            .append(true)
            .create(true)
            .open(self.directory.join("log"));
        let log = log.unwrap();
        let mut command = network.command(host, "keepalived");
        command.args([
            "--dont-fork",
            "--log-console",
            "--log-detail",
            "--vrrp",
            "--use-file",
        ]);
        command.arg(self.directory.join("keepalived.conf"));
        for (option, file) in [("--pid", "pid"), ("--vrrp_pid", "vrrp-pid")] {
            command.arg(option).arg(self.directory.join(file));
        }
        command
            .stdin(Stdio::null())
            .stdout(log.try_clone().unwrap())
            .stderr(log);
        self.running = Some(command.process_group(0).spawn().unwrap());
    }

    fn log(&self) -> String {
        fs::read_to_string(self.directory.join("log")).unwrap_or_default()
    }

    fn until_says(&self, what: &str, times: usize) {
        wait::until(
            &format!("keepalived {} to say {what}", self.priority),
            DEADLINE,
            || {
                let log = self.log();
                wait::ensure(log.matches(what).count() >= times, log)
            },
        );
    }

    /// As when the machine dies: nothing is said to anybody.
    fn kill(&mut self) {
        let mut child = self.running.take().unwrap();
        kill_process_group(Pid::from_child(&child), Signal::KILL).unwrap();
        child.wait().unwrap();
    }

    fn stop(&mut self) {
        let mut child = self.running.take().unwrap();
        kill_process(Pid::from_child(&child), Signal::TERM).unwrap();
        child.wait().unwrap();
    }
}

impl Drop for Keepalived {
    #[expect(clippy::print_stdout, reason = "a failed test shows what was said")]
    fn drop(&mut self) {
        if std::thread::panicking() {
            let said = fs::read_to_string(self.directory.join("said")).unwrap_or_default();
            println!(
                "--- log of keepalived {}\n{}\n{said}",
                self.priority,
                self.log()
            );
        }
        if let Some(mut child) = self.running.take() {
            // Best effort: the test is over.
            let _ = kill_process_group(Pid::from_child(&child), Signal::KILL);
            let _ = child.wait();
        }
    }
}

#[expect(clippy::print_stdout, reason = "a skipped test says so")]
fn is_there(program: &str) -> bool {
    let found = Command::new("sh")
        .args([
            "-c",
            &format!("command -v {program} || test -x /usr/sbin/{program}"),
        ])
        .output();
    let found = found.is_ok_and(|output| output.status.success());
    if !found {
        println!("SKIPPED: {program} is not installed here");
    }
    found
}

/// A pair on two hosts, in step.
fn pair(network: &Network) -> World {
    let mut world = World::across(
        &std::env::temp_dir(),
        &Settings::default(),
        Network::ADDRESSES,
    );
    world.active.move_to(network.host(0));
    world.passive.move_to(network.host(1));
    world.fill(40);
    world.active.start();
    world.passive.start();
    world.until_in_step();
    world
}

fn until_is(node: &Node, role: &str, epoch: u64) {
    node.until_status(&format!("{role} in epoch {epoch}"), |status| {
        (status["role"] == role && status["epoch"] == epoch).then_some(())
    });
}

fn until_has(network: &Network, host: usize) {
    wait::until("the address to be there", DEADLINE, || {
        wait::ensure(
            network.has(host, SHARED),
            format!("host {host} does not have it"),
        )
    });
}

fn save(node: &Node, name: &str) {
    let text =
        format!("<api xmlns=\"http://ws.apache.org/ns/synapse\" name=\"{name}\" context=\"/1\"/>");
    artifacts::save(
        &node.tree.join(format!("default/api/{name}.xml")),
        text.as_bytes(),
    )
    .unwrap();
}

#[test]
fn keepalived_promotes_in_its_advertised_time_and_the_returning_node_stays_passive() {
    if !is_there("keepalived") {
        return;
    }
    let Some(network) = Network::new() else {
        return;
    };
    let mut world = pair(&network);
    let mut first = Keepalived::new(world.path(), &world.active, 150);
    let mut second = Keepalived::new(world.path(), &world.passive, 100);
    first.start(&network, 0);
    until_has(&network, 0);
    second.start(&network, 1);
    second.until_says("Entering BACKUP STATE", 1);
    save(&world.active, "before");
    world.push();

    first.kill();
    world.active.kill();
    let died = Instant::now();
    until_is(&world.passive, "active", 2);
    let took = died.elapsed();
    assert!(
        took < VRRP + PROMOTION + SLACK,
        "{took:?}\n{}",
        second.log()
    );
    assert!(network.has(1, SHARED));
    save(&world.passive, "while-away");
    // What the dead host has: the kernel went with it.
    let gone = format!("{SHARED}/24");
    let delete = [
        "-n",
        network.host(0),
        "addr",
        "del",
        &gone,
        "dev",
        Network::INTERFACE,
    ];
    assert!(Command::new("ip").args(delete).status().unwrap().success());

    world.active.start();
    first.start(&network, 0);
    first.until_says("Entering BACKUP STATE", 2);
    until_is(&world.active, "passive", 2);
    wait::until("the returned node to follow", DEADLINE, || {
        compare::equal(
            &world.passive.tree,
            &world.active.tree,
            Strictness::Identity,
        )
    });
    assert!(
        network.has(1, SHARED) && !network.has(0, SHARED),
        "it took nothing back"
    );
    until_is(&world.passive, "active", 2);

    // A planned change: the master is stopped, everything is handed over.
    save(&world.passive, "last");
    second.stop();
    until_is(&world.active, "active", 3);
    until_is(&world.passive, "passive", 3);
    assert!(world.active.tree.join("default/api/last.xml").exists());
    until_has(&network, 0);
}

#[test]
fn after_two_masters_the_one_that_keeps_the_address_is_active() {
    if !is_there("keepalived") {
        return;
    }
    let Some(network) = Network::new() else {
        return;
    };
    let world = pair(&network);
    let mut first = Keepalived::new(world.path(), &world.active, 150);
    let mut second = Keepalived::new(world.path(), &world.passive, 100);
    first.start(&network, 0);
    until_has(&network, 0);
    second.start(&network, 1);
    second.until_says("Entering BACKUP STATE", 1);
    // Neither sees its cable go, as when a switch between them dies.
    network.lose_everything(true);
    until_is(&world.passive, "active", 2);
    until_is(&world.active, "active", 1);
    assert!(network.has(0, SHARED) && network.has(1, SHARED));
    save(&world.passive, "apart");
    network.lose_everything(false);
    wait::until("one to give the address up", DEADLINE, || {
        wait::ensure(!network.has(1, SHARED), second.log())
    });
    wait::until("the master to be active", DEADLINE, || {
        let [one, other] = [&world.active, &world.passive].map(Node::status);
        let settled =
            one["role"] == "active" && other["role"] == "passive" && one["epoch"] == other["epoch"];
        wait::ensure(
            settled && one["epoch"].as_u64() >= Some(3),
            format!("{one} {other}\n{}", first.log()),
        )
    });
    assert!(network.has(0, SHARED));
    assert!(world.active.tree.join("default/api/apart.xml").exists());
}

const NOT_RUNNING: i32 = 7;
const RUNNING_PROMOTED: i32 = 8;

/// The agent for Pacemaker, called as Pacemaker calls it.
struct Agent<'a> {
    node: &'a Node,
    directory: PathBuf,
}

impl<'a> Agent<'a> {
    fn new(world: &World, node: &'a Node) -> Self {
        let directory = world.path().join(format!("agent-{}", node.name));
        fs::create_dir(&directory).unwrap();
        Self { node, directory }
    }

    fn parameters(&self) -> [(&'static str, String); 4] {
        [
            ("binary", binary::apim_sync().display().to_string()),
            ("config", self.node.config.display().to_string()),
            ("user", user()),
            ("log", self.directory.join("log").display().to_string()),
        ]
    }

    fn call(&self, action: &str) -> sync_tests::Outcome {
        let mut command = Command::new(binary::workspace().join("examples/pacemaker/apim-sync"));
        command.arg(action).env("HA_RSCTMP", &self.directory);
        for (name, value) in self.parameters() {
            command.env(format!("OCF_RESKEY_{name}"), value);
        }
        sync_tests::node::finish(command)
    }
}

impl Drop for Agent<'_> {
    fn drop(&mut self) {
        // Best effort: what a failed test left.
        let _ = self.call("stop");
    }
}

fn user() -> String {
    let output = Command::new("id").arg("-un").output().unwrap();
    String::from_utf8(output.stdout).unwrap().trim().to_owned()
}

#[test]
fn pacemakers_agent_starts_nodes_unpromoted_and_moves_the_role() {
    let world = World::new();
    world.fill(40);
    let first = Agent::new(&world, &world.active);
    let second = Agent::new(&world, &world.passive);
    first.call("monitor").exits(NOT_RUNNING);
    for agent in [&first, &second] {
        agent.call("validate-all").exits(0);
        agent.call("start").exits(0);
        agent.call("monitor").exits(0);
        agent.call("start").exits(0);
    }
    first.call("promote").exits(0);
    first.call("promote").exits(0);
    first.call("monitor").exits(RUNNING_PROMOTED);
    world.until_in_step();
    second.call("monitor").exits(0);

    // As Pacemaker moves it: first one is demoted, then another is promoted.
    save(&world.active, "moved");
    first.call("demote").exits(0);
    first.call("demote").exits(0);
    second.call("promote").exits(0);
    second.call("monitor").exits(RUNNING_PROMOTED);
    assert!(world.passive.tree.join("default/api/moved.xml").exists());

    // The active is killed, and started again as a passive.
    let pid = fs::read_dir(&second.directory)
        .unwrap()
        .flatten()
        .find(|it| it.path().extension().is_some_and(|it| it == "pid"));
    let pid = fs::read_to_string(pid.unwrap().path()).unwrap();
    let pid = Pid::from_raw(pid.trim().parse().unwrap()).unwrap();
    kill_process(pid, Signal::KILL).unwrap();
    wait::until("the daemon to be gone", DEADLINE, || {
        wait::ensure(
            second.call("monitor").code == Some(NOT_RUNNING),
            "it is there",
        )
    });
    first.call("promote").exits(0);
    second.call("start").exits(0);
    second.call("monitor").exits(0);
    save(&world.active, "later");
    wait::until("the restarted node to follow", DEADLINE, || {
        compare::equal(
            &world.active.tree,
            &world.passive.tree,
            Strictness::Identity,
        )
    });
    for agent in [&first, &second] {
        agent.call("stop").exits(0);
        agent.call("stop").exits(0);
        agent.call("monitor").exits(NOT_RUNNING);
    }
    fs::write(&world.active.config, "[node]\n").unwrap();
    let wrong = first.call("start").exits(2);
    assert!(
        wrong.stderr.contains("ocf-exit-reason:"),
        "{}",
        wrong.stderr
    );
    first.call("no-such-action").exits(3);
}

#[test]
fn pacemakers_agent_passes_the_tester_of_its_kind() {
    if !is_there("ocf-tester") || !is_there("xmllint") {
        return;
    }
    let world = World::new();
    world.fill(10);
    let agent = Agent::new(&world, &world.active);
    let mut tester = Command::new("/usr/sbin/ocf-tester");
    tester
        .args(["-n", "apim-sync"])
        .env("HA_RSCTMP", &agent.directory);
    for (name, value) in agent.parameters() {
        tester.arg("-o").arg(format!("{name}={value}"));
    }
    tester.arg(binary::workspace().join("examples/pacemaker/apim-sync"));
    let outcome = sync_tests::node::finish(tester).exits(0);
    assert!(
        outcome.stdout.contains("passed all tests"),
        "{}",
        outcome.stdout
    );
}
