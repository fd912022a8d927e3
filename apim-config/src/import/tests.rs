use super::*;

mod arbitrary;
mod faults;
mod outcome;

/// A script in the documented shape.
const SCRIPT: &str = r#"#!/bin/sh
am_server_dir=~/am-2.1.0/repository/deployment/server/
key_file=~/.ssh/sync.pem

# release it at the end
trap 'rm -rf /var/lock/am-lock' EXIT

mkdir /tmp/am-rsync-logs/

# one run at a time
if mkdir /var/lock/am-lock; then
  echo "got it" >&2
else
  echo "did not" >&2
  exit 1
fi

pushd `dirname $0` > /dev/null
HERE=`pwd`
popd > /dev/null
echo $HERE

for x in `cat ${HERE}/workers-list.txt`
do
echo ===== >> /tmp/am-rsync-logs/logs.txt;
echo $x;
rsync --delete -arve "ssh -i  $key_file -o StrictHostKeyChecking=no" $am_server_dir $x >> /tmp/am-rsync-logs/logs.txt
done
"#;

const WORKERS: &str = "ubuntu@192.168.1.1:~/setup/as/am-2.1.0/repository/deployment/server\n";

fn import(workers: &str, script: &str) -> Import {
    read(workers, script, None).unwrap()
}

/// A loop around `lines`, after assignments of the usual names.
fn looped(lines: &str) -> Import {
    let script = format!(
        "S=/opt/am/repository/deployment/server/\nT=/opt/am/repository/tenants/\n\
         for x in $(cat nodes-list.txt); do\n{lines}\ndone\n"
    );
    import("h:/srv/am/repository/deployment/server", &script)
}

fn names(import: &Import) -> Vec<&'static str> {
    import.trees.iter().map(|it| it.tree.name()).collect()
}

#[test]
fn the_documented_script_leads_to_both_nodes_and_three_trees() {
    let import = import(WORKERS, SCRIPT);
    assert_eq!(
        names(&import),
        ["synapse-configs", "executionplans", "userstores"]
    );
    let [active, passive] = import.nodes.as_slice() else {
        panic!("{:?}", import.nodes);
    };
    assert_eq!(
        (active.role, active.name.as_str()),
        (Role::Active, "apim-1")
    );
    assert_eq!(
        (active.home.as_str(), &active.place),
        ("~/am-2.1.0", &Place::Unknown)
    );
    assert_eq!(
        (passive.role, passive.name.as_str()),
        (Role::Passive, "apim-2")
    );
    assert_eq!(passive.host.as_deref(), Some("192.168.1.1"));
    assert_eq!(passive.user.as_deref(), Some("ubuntu"));
    assert_eq!(passive.home, "~/setup/as/am-2.1.0");
    assert_eq!(
        passive.place,
        Place::Assumed("/home/ubuntu/setup/as/am-2.1.0".into())
    );
}

#[test]
fn what_the_script_copied_beside_the_trees_is_named() {
    let import = import(WORKERS, SCRIPT);
    let paths: Vec<_> = import.left_behind.iter().map(|it| it.path).collect();
    for name in ["eventpublishers", "jaggeryapps", "webapps", "axis2modules"] {
        let path = format!("repository/deployment/server/{name}");
        assert!(paths.contains(&path.as_str()), "{path}: {paths:?}");
    }
    assert!(!paths.contains(&"repository/conf"));
}

#[test]
fn scripts_from_the_field_are_read() {
    let scripts = [
        "S=\"/opt/am/repository/deployment/server/\"\nfor x in `cat nodes-list.txt`; do rsync -a $S $x; done",
        "export apim_server_dir='/opt/am/repository/deployment/server/'\nfor x in $(< list); do rsync -a \"$apim_server_dir\" \"$x\"; done",
        "H=/opt/am; S=$H/repository/deployment/server/\nL=$(cat list)\nfor x in $L\ndo\n  rsync -a \\\n   --delete \\\n   $S $x\ndone",
        "while read -r x; do rsync -a /opt/am/repository/deployment/server/ $x; done < list.txt",
        "cat list.txt | while IFS= read -r x; do rsync -a /opt/am/repository/deployment/server/ $x; done",
        "O='-a --delete'\nfor x in `cat l`; do /usr/bin/rsync $O /opt/am/repository/deployment/server/ $x; done",
        "f() {\nfor x in `cat l`; do nice -n 19 rsync -a /opt/am/repository/deployment/server/ $x; done\n}\nf",
        "rsync -a /opt/am/repository/deployment/server/ u@h:/srv/am/repository/deployment/server",
        "for h in h; do rsync -a /opt/am/repository/deployment/server/ u@$h:/srv/am/repository/deployment/server; done",
        "for d in synapse-configs executionplans; do for x in `cat l`; do rsync -a /opt/am/repository/deployment/server/$d/ $x/$d; done; done",
        "for x in `cat l`; do rsync -a /opt/am/repository/deployment/server $x/..; done",
    ];
    for script in scripts {
        for script in [script.to_owned(), script.replace('\n', "\r\n")] {
            let import = import("u@h:/srv/am/repository/deployment/server/\r\n", &script);
            let homes: Vec<_> = import.nodes.iter().map(|it| it.home.as_str()).collect();
            assert_eq!(homes, ["/opt/am", "/srv/am"], "{script}");
            assert_eq!(import.nodes[1].host.as_deref(), Some("h"), "{script}");
            assert!(
                names(&import).starts_with(&["synapse-configs", "executionplans"]),
                "{script}"
            );
        }
    }
}

#[test]
fn a_second_line_for_tenants_adds_their_tree() {
    let import = looped("rsync -a $S $x\nrsync -a $T ${x}/../../tenants");
    assert_eq!(names(&import).last(), Some(&"tenants"));
    assert_eq!(import.nodes.len(), 2);
    assert_eq!(
        import.nodes[1].tree_path(Tree::Tenants),
        "/srv/am/repository/tenants"
    );
}

#[test]
fn workers_are_read_with_blanks_comments_and_returns() {
    let list = "\u{feff}# both\r\n\r\n[fe80::1]:/o/repository/deployment/server/\r\nwso2@b:/o/repository/deployment/server # old\n";
    let import = import(list, SCRIPT);
    let hosts: Vec<_> = import.nodes.iter().map(|it| it.host.as_deref()).collect();
    assert_eq!(hosts, [None, Some("fe80::1"), Some("b")]);
    let lines = |kind| {
        let fault = import.faults.iter().find(|it| it.kind == kind).unwrap();
        fault.at.iter().map(|it| it.line).collect::<Vec<_>>()
    };
    assert_eq!(lines(FaultKind::ListComments), [1, 4]);
    assert_eq!(lines(FaultKind::ListLineEnds), [1, 3]);
}

#[test]
fn what_is_not_understood_is_refused_with_its_line() {
    let server = "/o/repository/deployment/server";
    let cases = [
        ("h::mod", "", "workers list line 1: `h::mod` is a module"),
        (
            "rsync://h/m",
            "",
            "workers list line 1: `rsync://h/m` is a module",
        ),
        ("h:/srv/x", "", "leads to no `repository`"),
        (
            "",
            "rsync -a $(find / -name server) $x",
            "script line 1: the source of rsync is not known here: `$(find / -name server)` is the output",
        ),
        (
            "",
            "rsync -a $am_dir h:/o",
            "script line 1: the source of rsync is not known here: the variable `$am_dir` is never set",
        ),
        ("", "rsync -a $1 h:/o", "`$1` is never set"),
        (
            "",
            "\nfor x in $(nodes); do rsync -a /o/repository/deployment/server/ $x; done",
            "script line 2: what the loop goes over is not known here",
        ),
        (
            "",
            "rsync -a h:/o/repository/deployment/server/ /o/repository/deployment/server",
            "the script pulls",
        ),
        (
            "",
            "rsync -aR /o/repository/deployment/server/ h:/o/repository/deployment/server",
            "--relative",
        ),
        ("", "rsync -a --exclude", "--exclude needs a value"),
        (
            "",
            "rsync -a --exclude $x /o/repository/tenants/ h:/o/repository/tenants",
            "the value of --exclude is not known here",
        ),
        ("", "echo 'a", "the quote ' is never closed"),
        (
            "",
            "rsync -a /etc/ h:/etc",
            "no rsync of the script copies a tree",
        ),
        ("", "", "no rsync of the script copies a tree"),
        (
            "",
            "for x in `cat a`; do :; done; for x in `cat b`; do :; done",
            "two lists",
        ),
    ];
    for (workers, script, expected) in cases {
        let script = match script {
            "" if !workers.is_empty() => {
                &format!("for x in `cat l`; do rsync -a {server}/ $x; done")
            }
            script => script,
        };
        let error = read(workers, script, None).unwrap_err().to_string();
        assert!(error.contains(expected), "{script}: {error}");
        assert!(error.contains("by hand"), "{script}: {error}");
    }
}

#[test]
fn input_has_bounds() {
    let large = " ".repeat(FILE_BYTES_MAX + 1);
    assert!(read(&large, "", None).is_err());
    assert!(read("", &large, None).is_err());
    let many = "h:/o/repository/deployment/server\n".repeat(workers::WORKERS_MAX + 1);
    let error = read(&many, SCRIPT, None).unwrap_err().to_string();
    assert!(
        error.contains("line 1001: there are more than 1000"),
        "{error}"
    );
    let doubled: String = (1..100)
        .map(|n| format!("a{n}=$a{0}$a{0}\n", n - 1))
        .collect();
    let script = format!("a0=/o/repository/\n{doubled}rsync -a $a99 h:/o");
    let error = read("", &script, None).unwrap_err().to_string();
    assert!(error.contains("longer than 16384 bytes"), "{error}");
    let calls = "rsync -a /o/repository/tenants/ h:/o/repository/tenants\n".repeat(101);
    assert!(read("", &calls, None).is_err());
}
