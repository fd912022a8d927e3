//! Every fault, where it is and only there.

use super::*;

fn has(import: &Import, kind: FaultKind) -> bool {
    import.faults.iter().any(|it| it.kind == kind)
}

#[test]
fn each_fault_of_the_documented_script_is_named_with_its_line() {
    use FaultKind as Kind;
    let import = import(WORKERS, SCRIPT);
    let found: Vec<_> = import
        .faults
        .iter()
        .map(|it| (it.kind, it.at[0].line))
        .collect();
    let expected = [
        (Kind::EmptySourceDeletes, 27),
        (Kind::NodeFiles, 27),
        (Kind::NoFencing, 27),
        (Kind::TrapBeforeLock, 6),
        (Kind::StaleLock, 11),
        (Kind::NoTimeout, 27),
        (Kind::ExitCodeIgnored, 27),
        (Kind::NoAlert, 27),
        (Kind::HostKeyUnchecked, 27),
        (Kind::Alphabetical, 27),
        (Kind::NotAtomic, 27),
        (Kind::ChangesMissed, 27),
        (Kind::Late, 27),
        (Kind::NotDurable, 27),
        (Kind::PushdInSh, 18),
        (Kind::LogInTmp, 25),
    ];
    assert_eq!(found, expected);
}

#[test]
fn a_careful_script_has_few_faults() {
    let script = r#"#!/bin/bash
set -euo pipefail
exec 9>/run/sync.lock
flock -n 9 || exit 0
if ! timeout 50 rsync -a --delete --checksum --fsync --timeout=20 --exclude /eventpublishers/ --exclude /jaggeryapps/ -e "ssh -o StrictHostKeyChecking=yes" /opt/am/repository/deployment/server/ wso2@b:/opt/am/repository/deployment/server/; then
  echo "sync failed" | mail -s sync ops@example.org
fi
"#;
    let kinds: Vec<_> = import("", script).faults.iter().map(|it| it.kind).collect();
    assert_eq!(
        kinds,
        [
            FaultKind::EmptySourceDeletes,
            FaultKind::NoFencing,
            FaultKind::Alphabetical,
            FaultKind::NotAtomic,
            FaultKind::Late,
        ]
    );
}

#[test]
fn faults_are_named_only_where_they_are() {
    use FaultKind as Kind;
    let plain = "rsync -a $S $x";
    let cases = [
        (
            Kind::MaxDelete,
            "rsync -a --delete --max-delete=50 $S $x",
            plain,
        ),
        (Kind::MaxDelete, "rsync -a --max-delete 50 $S $x", plain),
        (Kind::NeverDeletes, plain, "rsync -a --del $S $x"),
        (
            Kind::EmptySourceDeletes,
            "rsync -a --delete-after $S $x",
            plain,
        ),
        (
            Kind::ExitCodeIgnored,
            "rsync -a $S $x | tee log",
            "rsync -a $S $x || exit 1",
        ),
        (
            Kind::ExitCodeIgnored,
            plain,
            "rsync -a $S $x\nif [ $? -ne 0 ]; then mail x; fi",
        ),
        (
            Kind::HostKeyUnchecked,
            "rsync -a --rsh='ssh -oStrictHostKeyChecking=no' $S $x",
            plain,
        ),
        (Kind::ChangesMissed, plain, "rsync -ac $S $x"),
        (Kind::NotDurable, plain, "rsync -a --fsync $S $x"),
        (Kind::NoTimeout, plain, "timeout 60 rsync -a $S $x"),
        (Kind::NoTimeout, plain, "rsync -a --timeout 60 $S $x"),
        (Kind::NoAlert, plain, "rsync -a $S $x || curl https://alert"),
        (Kind::PasswordInScript, "sshpass -p x rsync -a $S $x", plain),
        (
            Kind::LogInTmp,
            "rsync -a $S $x > /tmp/log",
            "rsync -a $S $x > /var/log/sync",
        ),
        (
            Kind::Nested,
            "rsync -a ${S}. $x\nrsync -a /opt/am/repository/deployment/server $x",
            plain,
        ),
        (
            Kind::NodeFiles,
            plain,
            "rsync -a --exclude 'eventpublishers' --exclude=site.json $S $x",
        ),
        (
            Kind::TenantsWiped,
            "rsync -a --delete $S $x\nrsync -a --delete $T $x/../../tenants",
            "rsync -a --delete $S $x\nrsync -a $T ${x}/../../tenants",
        ),
        (
            Kind::Database,
            "rsync -a /opt/am/repository/ h:/srv/am/repository",
            plain,
        ),
    ];
    for (kind, with, without) in cases {
        assert!(has(&looped(with), kind), "{kind:?} in {with}");
        assert!(!has(&looped(without), kind), "{kind:?} in {without}");
    }
}

#[test]
fn a_trap_after_the_lock_is_no_fault() {
    let script = SCRIPT.replace("trap 'rm -rf /var/lock/am-lock' EXIT\n", "");
    let script = script.replace(
        "exit 1\nfi\n",
        "exit 1\nfi\ntrap 'rm -rf /var/lock/am-lock' EXIT\n",
    );
    assert!(!has(&import(WORKERS, &script), FaultKind::TrapBeforeLock));
    let in_variable = SCRIPT
        .replace("/var/lock/am-lock", "${LOCK}")
        .replace("#!/bin/sh\n", "#!/bin/sh\nLOCK=/run/l\n")
        .replace("'rm -rf ${LOCK}'", "\"rm -rf ${LOCK}\"");
    assert!(has(
        &import(WORKERS, &in_variable),
        FaultKind::TrapBeforeLock
    ));
}

#[test]
fn workers_are_one_after_another_only_where_there_are_several() {
    let two = "a:/o/repository/deployment/server\nb:/o/repository/deployment/server\n";
    let found = import(two, SCRIPT);
    assert_eq!(found.nodes.len(), 3);
    assert!(has(&found, FaultKind::OneByOne));
    let parallel = SCRIPT.replace("logs.txt\ndone", "logs.txt &\ndone");
    assert!(!has(&import(two, &parallel), FaultKind::OneByOne));
}

#[test]
fn every_word_has_an_end() {
    for fault in import(WORKERS, SCRIPT).faults {
        assert!(
            fault.before.ends_with('.') && fault.now.ends_with('.'),
            "{fault}"
        );
        assert!(fault.to_string().starts_with("script line "), "{fault}");
    }
}
