//! What is said of each fault: short, for somebody who was woken up.

use super::{
    At, Note,
    copies::Copying,
    faults::{Fault, FaultKind, Seen},
};

/// The fault with its words.
pub(super) fn fault(kind: FaultKind, at: Vec<At>, seen: &Seen<'_>) -> Fault {
    let (before, now) = said(kind);
    Fault {
        kind,
        at,
        before: match more(kind, seen) {
            Some(more) => format!("{before} {more}"),
            None => before.into(),
        },
        now: now.into(),
    }
}

impl FaultKind {
    /// Its name, for machines.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::EmptySourceDeletes => "empty-source-deletes",
            Self::MaxDelete => "max-delete",
            Self::TenantsWiped => "tenants-wiped",
            Self::NodeFiles => "node-files",
            Self::Database => "database",
            Self::Nested => "nested",
            Self::NeverDeletes => "never-deletes",
            Self::NoFencing => "no-fencing",
            Self::TrapBeforeLock => "trap-before-lock",
            Self::StaleLock => "stale-lock",
            Self::NoTimeout => "no-timeout",
            Self::ExitCodeIgnored => "exit-code-ignored",
            Self::NoAlert => "no-alert",
            Self::HostKeyUnchecked => "host-key-unchecked",
            Self::PasswordInScript => "password-in-script",
            Self::Alphabetical => "alphabetical",
            Self::NotAtomic => "not-atomic",
            Self::ChangesMissed => "changes-missed",
            Self::Late => "late",
            Self::NotDurable => "not-durable",
            Self::OneByOne => "one-by-one",
            Self::PushdInSh => "pushd-in-sh",
            Self::ScriptLineEnds => "script-line-ends",
            Self::ListLineEnds => "list-line-ends",
            Self::ListComments => "list-comments",
            Self::LogInTmp => "log-in-tmp",
        }
    }
}

/// What depends on the script beside the fault.
fn more(kind: FaultKind, seen: &Seen<'_>) -> Option<&'static str> {
    let any = |is: fn(&Copying) -> bool| seen.copies.copying.iter().any(is);
    match kind {
        FaultKind::NodeFiles if any(|it| it.rsync.options.delete) => {
            Some("With --delete, those that only the passive has are removed.")
        }
        FaultKind::NotAtomic if any(|it| it.rsync.options.delay_updates) => {
            Some("--delay-updates makes that shorter, not impossible.")
        }
        FaultKind::ChangesMissed if any(|it| it.rsync.options.size_only) => {
            Some("With --size-only, in any second.")
        }
        _ => None,
    }
}

/// What the old way does, and what the new one does instead.
fn said(kind: FaultKind) -> (&'static str, &'static str) {
    match kind {
        FaultKind::EmptySourceDeletes => (
            "If the source is empty or not mounted, --delete empties the passive and exits 0: every API is gone.",
            "an empty, vanished or unmounted source halts before the first deletion, exit code 5.",
        ),
        FaultKind::MaxDelete => (
            "--max-delete deletes up to its limit, each run again, and only then fails: nobody reads that exit code.",
            "too many deletions are counted first; none is made until `apim-sync release PLAN`.",
        ),
        FaultKind::TenantsWiped => (
            "repository/tenants of the passive is made like the active's: if it is empty there, every tenant's artifacts are deleted.",
            "tenants is a tree of its own, with the guard of every tree; what is replaced is kept aside.",
        ),
        FaultKind::NodeFiles => (
            "Files that differ per node are overwritten by the active's: jmsEventPublisher2.xml, site.json.",
            "only the trees that must be the same are synchronised; `apim-sync config check` watches the rest.",
        ),
        FaultKind::Database => (
            "repository/database is copied while the server writes it: the copy is broken, and the passive's own is gone.",
            "never synchronised.",
        ),
        FaultKind::Nested => (
            "The source has no slash at its end, so the copy lands one level too deep (server/server): the passive never reads it.",
            "both ends are named by path; a slash at the end means nothing.",
        ),
        FaultKind::NeverDeletes => (
            "Without --delete, an API deleted on the active is served by the passive for ever.",
            "deletions travel, held for 10 s and bounded by the guard.",
        ),
        FaultKind::NoFencing => (
            "After a failover the cron job must be moved by hand. If the old active node comes back first, it overwrites and deletes newer work.",
            "a node's role is part of its state: a passive pushes nothing, exit code 6, and no job is moved by hand.",
        ),
        FaultKind::TrapBeforeLock => (
            "The trap is set before the lock is taken: a run that does not get the lock removes the other run's, and the next ones run at the same time.",
            "one daemon, and a lock that the kernel releases when it ends.",
        ),
        FaultKind::StaleLock => (
            "A run ended by kill -9 leaves the lock directory: every later run exits at once, until somebody removes it.",
            "a lock that the kernel releases when the daemon ends, however it ends.",
        ),
        FaultKind::NoTimeout => (
            "rsync has no --timeout: one hanging connection hangs the run, and whatever lock it holds.",
            "every wait has a bound; a peer that does not answer is shown as unreachable.",
        ),
        FaultKind::ExitCodeIgnored => (
            "The exit code of rsync is not looked at: a copy that failed looks like one that worked.",
            "a set is applied as a whole or not at all; distinct exit codes; `apim-sync status` shows the lag.",
        ),
        FaultKind::NoAlert => (
            "Nobody is told when it fails; only cron's mail would, if anybody reads it.",
            "`apim-sync status --nagios`, /healthz and Prometheus metrics.",
        ),
        FaultKind::HostKeyUnchecked => (
            "Host keys are not checked: whoever answers at the address gets every artifact, with its passwords.",
            "each node has pinned the other's key; another key is refused, exit code 8.",
        ),
        FaultKind::PasswordInScript => (
            "A password stands in the script or on its command line, where `ps` shows it.",
            "no passwords: keys that never leave their node. Change that password.",
        ),
        FaultKind::Alphabetical => (
            "rsync goes by the alphabet: api/ arrives before endpoints/ and sequences/, and the hot deployer fails on it.",
            "a set is applied in the deployer's order, in one burst.",
        ),
        FaultKind::NotAtomic => (
            "Files arrive one by one: the hot deployer, and a run that is killed, see half a set.",
            "a generation is there completely or not at all, after kill -9 too.",
        ),
        FaultKind::ChangesMissed => (
            "A change that keeps the size within the same second is never copied.",
            "equality is content, by hash.",
        ),
        FaultKind::Late => (
            "Changes wait for the next run of cron, up to 60 s; a failover in between loses them.",
            "an edit travels when the file has been quiet for 50 ms.",
        ),
        FaultKind::NotDurable => (
            "Nothing is flushed to the disk (no --fsync): after a power cut the passive can have empty files.",
            "content and journal are on the disk before a set counts as applied.",
        ),
        FaultKind::OneByOne => (
            "Workers are treated one after another: one that is slow or down makes the others late.",
            "every peer has its own connection and its own lag.",
        ),
        FaultKind::PushdInSh => (
            "pushd is unknown to sh (dash on Debian and Ubuntu): the list is looked for where cron started the script, and nothing is copied.",
            "one configuration file, absolute paths.",
        ),
        FaultKind::ScriptLineEnds => (
            "The script has the line ends of Windows: the kernel looks for an interpreter `sh\\r` and does not start it.",
            "no script.",
        ),
        FaultKind::ListLineEnds => (
            "The list has the line ends of Windows: files went into a directory `server\\r` beside the right one. Look for it, and remove it.",
            "a configuration file, checked when it is read.",
        ),
        FaultKind::ListComments => (
            "The list holds a comment, and the script takes each of its words for a target: a directory on this machine. Look for it, and remove it.",
            "a configuration file, where comments are comments.",
        ),
        FaultKind::LogInTmp => (
            "The log in /tmp grows for ever, and everybody on the machine can read it, or put a link there first.",
            "the daemon logs to stderr: under systemd that is the journal, with its bounds and its rights.",
        ),
    }
}

/// What is to be looked at in one command.
pub(super) fn notes_of_command(copying: &Copying) -> Vec<Note> {
    let options = &copying.rsync.options;
    let line = copying.call.line;
    let files = options.pattern_files.iter().map(|file| {
        format!("the patterns in `{file}` are not read: add its lines to `exclude` by hand before the first start")
    });
    let unread = options.unread.iter().map(|option| {
        format!("`{option}` chose files in a way that is not taken over: add what it meant to `exclude` by hand")
    });
    let password = options
        .password_file
        .then(|| "--password-file is no longer needed: delete the file, nodes know each other by their keys".to_owned());
    let deletes = (!options.delete)
        .then(|| "without --delete the passive has kept what was deleted on the active; `apim-sync verify` names it, `bootstrap` keeps it aside".to_owned());
    let texts = files.chain(unread).chain(password).chain(deletes);
    texts.map(|text| Note::script(line, text)).collect()
}
