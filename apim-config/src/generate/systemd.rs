//! The systemd unit that keeps `apim-sync` running on one node.

use std::path::{Path, PathBuf};

use crate::setup::View;

/// Where a package or an administrator puts the binary.
pub(super) const BINARY: &str = "/usr/local/bin/apim-sync";

/// The unit's file name. Two nodes on one machine have one each.
#[must_use]
pub fn unit_name(view: View<'_>) -> String {
    if !view.setup.is_one_machine() {
        return "apim-sync.service".to_owned();
    }
    // `@` would make it the instance of a template; no name has a `:`.
    format!("apim-sync-{}.service", view.node.name.replace('@', ":"))
}

/// `<node>/systemd/apim-sync.service`: the unit that runs the engine with the
/// configuration at `config`, an absolute path on the node.
///
/// The engine may write its state and the home, and nothing else on the
/// machine. The home is ONE writable path: each such path becomes a mount of
/// its own, and files go from a work directory to a tree by rename, which no
/// kernel does across mounts.
#[must_use]
pub fn unit(view: View<'_>, config: &Path) -> String {
    let mut text = head(view);
    text.push_str(&service(view, config));
    text.push_str(&sandbox(view, config));
    text.push_str("\n[Install]\nWantedBy=multi-user.target\n");
    text
}

fn head(view: View<'_>) -> String {
    let trees = view.setup.sync.trees.iter();
    let mut mounts: Vec<PathBuf> = trees.map(|tree| view.node.home.join(tree.path())).collect();
    mounts.push(view.node.state_dir.clone());
    format!(
        "\
# Runs apim-sync on {name}. Put it at /etc/systemd/system/{unit}, then:
#   systemctl daemon-reload && systemctl enable --now {unit}

[Unit]
Description=apim-sync on {name}: keeps the artifacts of both API Managers the same
Wants=network-online.target
After=network-online.target
# A tree that is not mounted is not an empty tree.
RequiresMountsFor={}
",
        words(&mounts),
        name = view.node.name,
        unit = unit_name(view),
    )
}

fn service(view: View<'_>, config: &Path) -> String {
    let user = &view.setup.sync.user;
    format!(
        "
[Service]
Type=notify
# The user of the API Manager: files keep the owner that its server expects.
User={user}
Group={user}
ExecStart={BINARY} -C {} daemon
ExecReload=/bin/kill -HUP $MAINPID
# Every file of the trees is read before the node is ready.
TimeoutStartSec=15min
WatchdogSec=30s
Restart=on-failure
RestartSec=5s
# A mistake in the configuration does not go away by itself.
RestartPreventExitStatus=2
LimitNOFILE=65536
",
        command_word(config)
    )
}

/// What the engine needs, and no more. `UMask=` and `RestrictSUIDSGID=` are safe:
/// whatever goes into a tree gets its nine permission bits explicitly, and no
/// other bit travels.
fn sandbox(view: View<'_>, config: &Path) -> String {
    let node = view.node;
    let paths = [node.home.as_path(), node.state_dir.as_path(), config];
    let protect_home = if any_below(&paths, &["/home", "/root", "/run/user"]) {
        "read-only"
    } else {
        "yes"
    };
    let private_tmp = if any_below(&paths, &["/tmp", "/var/tmp"]) {
        "no"
    } else {
        "yes"
    };
    format!(
        "
ProtectSystem=strict
# The home is one path, with the trees and the work directories in it: each path
# here becomes a mount of its own, and nothing can be renamed from one to another.
ReadWritePaths={}
# The engine never writes what the server runs.
ReadOnlyPaths={}
ProtectHome={protect_home}
PrivateTmp={private_tmp}
UMask=0077
NoNewPrivileges=yes
CapabilityBoundingSet=
PrivateDevices=yes
ProtectClock=yes
ProtectHostname=yes
ProtectKernelTunables=yes
ProtectKernelModules=yes
ProtectKernelLogs=yes
ProtectControlGroups=yes
RestrictAddressFamilies=AF_UNIX AF_INET AF_INET6
RestrictNamespaces=yes
RestrictRealtime=yes
RestrictSUIDSGID=yes
LockPersonality=yes
MemoryDenyWriteExecute=yes
SystemCallArchitectures=native
SystemCallFilter=@system-service
SystemCallErrorNumber=EPERM
",
        words(&writable(&node.home, &node.state_dir)),
        read_only(&node.home),
    )
}

/// The home and the state directory, without one that lies in the other.
fn writable(home: &Path, state_dir: &Path) -> Vec<PathBuf> {
    if state_dir.starts_with(home) {
        return vec![home.to_owned()];
    }
    if home.starts_with(state_dir) {
        return vec![state_dir.to_owned()];
    }
    vec![home.to_owned(), state_dir.to_owned()]
}

/// The server's programs; a home without one of them is fine.
fn read_only(home: &Path) -> String {
    let programs = ["bin", "lib", "repository/components"];
    let words = programs.map(|path| word(&format!("-{}", home.join(path).display())));
    words.join(" ")
}

fn any_below(paths: &[&Path], directories: &[&str]) -> bool {
    let below = |path: &Path| directories.iter().any(|above| path.starts_with(above));
    paths.iter().any(|path| below(path))
}

/// Paths as a setting takes several.
fn words(paths: &[PathBuf]) -> String {
    let words: Vec<String> = paths
        .iter()
        .map(|path| word(&path.to_string_lossy()))
        .collect();
    words.join(" ")
}

/// One word of a setting: `%` starts a specifier; blanks, quotes and backslashes
/// need quotes around them.
fn word(text: &str) -> String {
    let text = text.replace('%', "%%");
    let plain = |it: char| it.is_alphanumeric() || "/._-+,:=@%$~".contains(it);
    if !text.is_empty() && text.chars().all(plain) {
        return text;
    }
    let text = text.replace('\\', "\\\\").replace('"', "\\\"");
    format!("\"{text}\"")
}

/// One word of a command line, where `$` starts a variable too.
fn command_word(path: &Path) -> String {
    word(&path.to_string_lossy().replace('$', "$$"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::setup::Setup;

    fn setup(host: &str, more: &str) -> Setup {
        let text = format!(
            "[[node]]\nname = \"apim-1\"\nhost = \"10.0.0.1\"\n{more}\n\
             [[node]]\nname = \"apim-2\"\nhost = \"{host}\"\n\
             [load_balancer]\nhost = \"lb\"\n[admin]\npassword_env = \"A\"\n\
             [database]\nhost = \"10.0.0.5\"\npassword_env = \"D\"\n"
        );
        Setup::parse(&text).unwrap()
    }

    fn unit_of(setup: &Setup, config: &str) -> String {
        unit(setup.view("apim-1").unwrap(), Path::new(config))
    }

    /// The values of a setting.
    fn values<'t>(unit: &'t str, key: &str) -> Vec<&'t str> {
        let lines = unit.lines().filter_map(|line| line.split_once('='));
        lines.filter(|it| it.0 == key).map(|it| it.1).collect()
    }

    #[test]
    fn a_unit_has_its_sections_and_what_the_daemon_counts_on() {
        let setup = setup("10.0.0.2", "home = '/opt/wso2am'");
        let unit = unit_of(&setup, "/etc/apim-sync/config.toml");
        let sections: Vec<&str> = unit.lines().filter(|it| it.starts_with('[')).collect();
        assert_eq!(sections, ["[Unit]", "[Service]", "[Install]"]);
        assert_eq!(values(&unit, "Type"), ["notify"]);
        assert_eq!(values(&unit, "User"), ["wso2"]);
        assert_eq!(
            values(&unit, "ExecStart"),
            ["/usr/local/bin/apim-sync -C /etc/apim-sync/config.toml daemon"]
        );
        assert_eq!(values(&unit, "WatchdogSec").len(), 1);
        assert!(values(&unit, "RequiresMountsFor")[0].contains("/synapse-configs "));
        let settings = unit.lines().filter(|it| !it.starts_with(['#', '[']));
        assert!(
            settings
                .filter(|it| !it.is_empty())
                .all(|it| it.contains('='))
        );
    }

    #[test]
    fn trees_and_work_directories_are_below_one_writable_path() {
        let of = |more: &str| {
            let unit = unit_of(&setup("10.0.0.2", more), "/etc/c.toml");
            values(&unit, "ReadWritePaths")[0].to_owned()
        };
        assert_eq!(of("home = '/opt/w'"), "/opt/w /var/lib/apim-sync");
        let inside = "home = '/opt/w'\nstate_dir = '/opt/w/.apim-sync/state'";
        assert_eq!(of(inside), "/opt/w");
    }

    #[test]
    fn a_home_below_home_or_tmp_is_not_hidden() {
        let of = |home: &str| {
            let unit = unit_of(&setup("10.0.0.2", &format!("home = '{home}'")), "/etc/c");
            let value = |key| values(&unit, key)[0].to_owned();
            (value("ProtectHome"), value("PrivateTmp"))
        };
        assert_eq!(of("/opt/wso2am"), ("yes".into(), "yes".into()));
        assert_eq!(of("/home/wso2/am"), ("read-only".into(), "yes".into()));
        assert_eq!(of("/tmp/am"), ("yes".into(), "no".into()));
    }

    #[test]
    fn paths_are_written_as_systemd_reads_them() {
        let setup = setup("10.0.0.2", r"home = '/opt/a b%c\d'");
        let unit = unit_of(&setup, "/etc/$x/50% sure.toml");
        let home = r#""/opt/a b%%c\\d""#;
        assert!(
            values(&unit, "ReadWritePaths")[0].starts_with(home),
            "{unit}"
        );
        assert!(values(&unit, "ReadOnlyPaths")[0].starts_with(r#""-/opt/a b%%c\\d/bin" "#));
        assert!(values(&unit, "ExecStart")[0].contains(r#" "/etc/$$x/50%% sure.toml" "#));
    }

    #[test]
    fn two_nodes_on_one_machine_have_a_unit_each() {
        let names = |host| setup(host, "").views().map(unit_name);
        let two = ["apim-sync-apim-1.service", "apim-sync-apim-2.service"];
        assert_eq!(names("10.0.0.1"), two);
        assert_eq!(names("10.0.0.2"), ["apim-sync.service"; 2]);
    }
}
