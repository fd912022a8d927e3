//! Which faults the script and its list have. Each is looked for by itself and
//! named only where it is; what to say of it stands in [`words`].

use std::fmt;

use super::{
    At, SourceFile,
    copies::{Copies, Copying},
    left_behind::line_of_copy,
    rsync::Options,
    script::Script,
    words,
    workers::Workers,
};

/// Something that the old way does wrong.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Fault {
    /// Which.
    pub kind: FaultKind,
    /// Where it shows, at least one line.
    pub at: Vec<At>,
    /// What the old way does.
    pub before: String,
    /// What `apim-sync` does instead.
    pub now: String,
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(at) = self.at.first() {
            write!(f, "{at}: ")?;
        }
        write!(f, "{} Now: {}", self.before, self.now)
    }
}

/// What can be wrong with a script of this kind; the worst first.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum FaultKind {
    /// `--delete` from an empty source empties the target.
    EmptySourceDeletes,
    /// `--max-delete` deletes so many, and fails then.
    MaxDelete,
    /// `repository/tenants` of the target is made like the source's.
    TenantsWiped,
    /// Files that differ per node are overwritten and deleted.
    NodeFiles,
    /// An open database is copied.
    Database,
    /// The copy lands one level too deep.
    Nested,
    /// Deletions never arrive.
    NeverDeletes,
    /// A failover is done by hand, and nothing stops the old active node.
    NoFencing,
    /// The trap removes a lock that another run holds.
    TrapBeforeLock,
    /// A lock that outlives a killed run.
    StaleLock,
    /// A run that hangs keeps the lock.
    NoTimeout,
    /// `rsync` fails unseen.
    ExitCodeIgnored,
    /// Nobody is told.
    NoAlert,
    /// Whoever answers at the address gets the files.
    HostKeyUnchecked,
    /// A password stands in the script.
    PasswordInScript,
    /// APIs arrive before what they refer to.
    Alphabetical,
    /// A reader sees half a set.
    NotAtomic,
    /// A change of the same size in the same second is missed.
    ChangesMissed,
    /// The next run of `cron` is up to a minute away.
    Late,
    /// A crash can leave empty files.
    NotDurable,
    /// One slow worker makes the others late.
    OneByOne,
    /// `pushd` is unknown to `sh`.
    PushdInSh,
    /// The script has the line ends of Windows.
    ScriptLineEnds,
    /// The list has the line ends of Windows.
    ListLineEnds,
    /// The script takes comments of the list for targets.
    ListComments,
    /// A log in `/tmp` grows for ever.
    LogInTmp,
}

/// What the faults are looked for in.
pub(super) struct Seen<'a> {
    pub(super) script: &'a Script,
    pub(super) copies: &'a Copies,
    pub(super) list: &'a Workers,
    pub(super) has_returns: bool,
}

/// Every fault, the worst first.
pub(super) fn found(seen: &Seen<'_>) -> Vec<Fault> {
    use FaultKind as Kind;
    let all = [
        (Kind::EmptySourceDeletes, seen.options(|it| it.delete)),
        (Kind::MaxDelete, seen.options(|it| it.max_delete.is_some())),
        (
            Kind::TenantsWiped,
            seen.copied_and_deleted("repository/tenants"),
        ),
        (Kind::NodeFiles, seen.node_files()),
        (Kind::Database, seen.covers("repository/database", |_| true)),
        (Kind::Nested, seen.commands(|it| it.is_nested)),
        (Kind::NeverDeletes, seen.options(|it| !it.delete)),
        (Kind::NoFencing, seen.first()),
        (Kind::TrapBeforeLock, seen.trap_before_lock()),
        (
            Kind::StaleLock,
            seen.script.locks.iter().map(|(line, _)| *line).collect(),
        ),
        (Kind::NoTimeout, seen.hanging()),
        (
            Kind::ExitCodeIgnored,
            seen.commands(|it| !it.call.is_checked),
        ),
        (Kind::NoAlert, seen.first_if(!seen.script.alerts)),
        (
            Kind::HostKeyUnchecked,
            seen.options(|it| is_unchecked(&it.shell)),
        ),
        (
            Kind::PasswordInScript,
            seen.commands(|it| it.call.has_password || it.rsync.options.shell.contains("sshpass")),
        ),
        (
            Kind::Alphabetical,
            seen.covers("repository/deployment/server/synapse-configs", |_| true),
        ),
        (Kind::NotAtomic, seen.all()),
        (
            Kind::ChangesMissed,
            seen.options(|it| !it.compares_content || it.size_only),
        ),
        (Kind::Late, seen.first_if(!seen.script.watches)),
        (Kind::NotDurable, seen.options(|it| !it.fsync)),
        (Kind::OneByOne, seen.one_by_one()),
        (Kind::PushdInSh, seen.pushd_in_sh()),
        (
            Kind::ScriptLineEnds,
            seen.has_returns.then_some(1).into_iter().collect(),
        ),
        (Kind::LogInTmp, seen.logs_in_tmp()),
    ];
    let in_script = all.into_iter().map(|(kind, lines)| {
        let at = lines.into_iter().map(At::script).collect();
        (kind, at)
    });
    let in_list = [
        (Kind::ListLineEnds, &seen.list.returns),
        (Kind::ListComments, &seen.list.comments),
    ];
    let in_list = in_list.into_iter().map(|(kind, lines)| {
        let file = SourceFile::Workers;
        let at = |&line: &usize| At { file, line };
        (kind, lines.iter().map(at).collect::<Vec<_>>())
    });
    let mut faults: Vec<Fault> = in_script
        .chain(in_list)
        .filter(|(_, at)| !at.is_empty())
        .map(|(kind, at)| words::fault(kind, at, seen))
        .collect();
    faults.sort_by_key(|fault| fault.kind);
    faults
}

impl Seen<'_> {
    fn commands(&self, is: impl Fn(&Copying) -> bool) -> Vec<usize> {
        let commands = self.copies.copying.iter().filter(|it| is(it));
        commands.map(|it| it.call.line).collect()
    }

    fn options(&self, is: impl Fn(&Options) -> bool) -> Vec<usize> {
        self.commands(|it| is(&it.rsync.options))
    }

    fn all(&self) -> Vec<usize> {
        self.commands(|_| true)
    }

    fn first(&self) -> Vec<usize> {
        self.all().into_iter().take(1).collect()
    }

    fn first_if(&self, is: bool) -> Vec<usize> {
        if is { self.first() } else { Vec::new() }
    }

    fn covers(&self, path: &str, counts: impl Fn(&Options) -> bool) -> Vec<usize> {
        line_of_copy(self.copies, path, counts)
            .into_iter()
            .collect()
    }

    fn copied_and_deleted(&self, path: &str) -> Vec<usize> {
        self.covers(path, |options| options.delete)
    }

    /// Files that lead to the other node, or name this one.
    fn node_files(&self) -> Vec<usize> {
        let server = "repository/deployment/server";
        let files = [
            "eventpublishers/jmsEventPublisher2.xml",
            "jaggeryapps/publisher/site/conf/site.json",
        ];
        let mut lines: Vec<usize> = files
            .iter()
            .flat_map(|file| self.covers(&format!("{server}/{file}"), |_| true))
            .collect();
        lines.dedup();
        lines
    }

    fn hanging(&self) -> Vec<usize> {
        self.commands(|it| !it.rsync.options.timeout && !it.call.has_timeout)
    }

    fn trap_before_lock(&self) -> Vec<usize> {
        let is_early = |(line, action): &&(usize, String)| {
            let removes = action.contains("rm");
            let mut locks = self.script.locks.iter();
            removes
                && locks.any(|(lock, path)| {
                    lock > line && !path.is_empty() && action.contains(path.as_str())
                })
        };
        let early = self.script.traps.iter().filter(is_early);
        early.map(|(line, _)| *line).collect()
    }

    fn one_by_one(&self) -> Vec<usize> {
        if self.copies.targets.len() < 2 {
            return Vec::new();
        }
        self.commands(|it| !it.call.is_background)
    }

    fn pushd_in_sh(&self) -> Vec<usize> {
        let is_posix = self.script.is_posix_shell;
        self.script.pushd.filter(|_| is_posix).into_iter().collect()
    }

    fn logs_in_tmp(&self) -> Vec<usize> {
        let is_in_tmp = |path: &str| path.starts_with("/tmp/") || path.starts_with("/var/tmp/");
        let logs = self.script.logs.iter().filter(|(_, path)| is_in_tmp(path));
        let mut lines: Vec<usize> = logs.map(|(line, _)| *line).collect();
        lines.dedup();
        lines
    }
}

fn is_unchecked(shell: &str) -> bool {
    let shell = shell.to_ascii_lowercase().replace([' ', '\t'], "");
    shell.contains("stricthostkeychecking=no")
        || shell.contains("stricthostkeychecking=off")
        || shell.contains("userknownhostsfile=/dev/null")
}
