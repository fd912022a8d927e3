//! One run of one program: no shell, no environment but `PATH` and `LANG`, its
//! own process group, JSON on standard input, killed with all it started at the
//! deadline.

use std::{
    env,
    io::ErrorKind,
    os::unix::process::ExitStatusExt as _,
    process::{ExitStatus, Stdio},
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use rustix::process::{Pid, Signal, kill_process_group};
use tokio::{
    io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _},
    process::{Child, Command},
    time::{sleep, timeout},
};

use crate::{config::HookCommand, events::HookOutcome};

/// Bytes of output that are logged; what is more is read and dropped.
const OUTPUT_BYTES_MAX: usize = 8 << 10;
/// How long after the program's end its output is still read: what it left
/// running may hold the pipe open for ever.
const OUTPUT_GRACE: Duration = Duration::from_millis(500);
/// Where a node without `PATH` looks.
const PATH_DEFAULT: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// How a program ended, and the beginning of what it said.
pub(super) struct Ended {
    pub(super) outcome: HookOutcome,
    pub(super) output: String,
}

/// Runs a program to its end or to its deadline. Dropping the future kills it.
pub(super) async fn run(command: &HookCommand, input: Vec<u8>, deadline: Duration) -> Ended {
    let output = Output::default();
    let outcome = match spawn(command) {
        Ok(child) => to_its_end(child, &input, &output, deadline).await,
        Err(error) => HookOutcome::NotStarted {
            reason: format!("{}: {error}", command.program.display()),
        },
    };
    Ended {
        outcome,
        output: output.text(),
    }
}

fn spawn(command: &HookCommand) -> std::io::Result<Child> {
    let inherited = |name, default: &str| env::var_os(name).unwrap_or_else(|| default.into());
    Command::new(&command.program)
        .args(&command.arguments)
        .env_clear()
        .env("PATH", inherited("PATH", PATH_DEFAULT))
        .env("LANG", inherited("LANG", "C.UTF-8"))
        .current_dir("/")
        .process_group(0)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
}

async fn to_its_end(
    mut child: Child,
    input: &[u8],
    output: &Output,
    deadline: Duration,
) -> HookOutcome {
    let group = Group(child.id().and_then(|id| Pid::from_raw(id.cast_signed())));
    let (stdin, stdout, stderr) = (child.stdin.take(), child.stdout.take(), child.stderr.take());
    let pipes = async {
        tokio::join!(feed(stdin, input), output.take(stdout), output.take(stderr));
    };
    tokio::pin!(pipes);
    let ended = {
        let waiting = async {
            let mut open = true;
            loop {
                tokio::select! {
                    status = child.wait() => break (status, open),
                    () = &mut pipes, if open => open = false,
                }
            }
        };
        timeout(deadline, waiting).await
    };
    match ended {
        Ok((status, open)) => {
            group.leave();
            if open {
                tokio::select! { () = &mut pipes => {} () = sleep(OUTPUT_GRACE) => {} }
            }
            outcome(status)
        }
        Err(_) => {
            drop(group);
            // Killed: it only has to be reaped.
            let _ = child.wait().await;
            HookOutcome::Deadline
        }
    }
}

fn outcome(status: std::io::Result<ExitStatus>) -> HookOutcome {
    match status {
        Ok(status) => match (status.code(), status.signal()) {
            (Some(code), _) => HookOutcome::Exited { code },
            (None, signal) => HookOutcome::Killed {
                signal: signal.unwrap_or_default(),
            },
        },
        Err(error) => HookOutcome::NotStarted {
            reason: format!("it cannot be waited for: {error}"),
        },
    }
}

/// A program that does not read is no error.
async fn feed(stdin: Option<impl AsyncWrite + Unpin>, input: &[u8]) {
    if let Some(mut stdin) = stdin {
        let _ = stdin.write_all(input).await;
    }
}

/// The process group of a program that has not ended. Dropped, it is killed.
struct Group(Option<Pid>);

impl Group {
    /// The program has ended and was reaped; what it left running is left alone.
    fn leave(mut self) {
        self.0 = None;
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        if let Some(leader) = self.0 {
            // Fails where all of it has just ended.
            let _ = kill_process_group(leader, Signal::KILL);
        }
    }
}

/// The beginning of what a program says.
#[derive(Clone, Default)]
struct Output(Arc<Mutex<Vec<u8>>>);

impl Output {
    async fn take(&self, pipe: Option<impl AsyncRead + Unpin>) {
        let Some(mut pipe) = pipe else { return };
        let mut piece = [0; 4096];
        loop {
            match pipe.read(&mut piece).await {
                Ok(0) => return,
                Ok(count) => self.keep(&piece[..count]),
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(_) => return,
            }
        }
    }

    fn keep(&self, bytes: &[u8]) {
        let mut kept = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let room = OUTPUT_BYTES_MAX - kept.len();
        kept.extend_from_slice(&bytes[..bytes.len().min(room)]);
    }

    fn text(&self) -> String {
        let kept = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        String::from_utf8_lossy(&kept).trim_end().to_owned()
    }
}

#[cfg(test)]
mod tests {
    use std::time::Instant;

    use super::*;

    async fn shell(script: &str, input: &str, deadline_ms: u64) -> Ended {
        let command = HookCommand {
            program: "/bin/sh".into(),
            arguments: vec!["-c".into(), script.into()],
        };
        let deadline = Duration::from_millis(deadline_ms);
        run(&command, input.into(), deadline).await
    }

    #[tokio::test]
    async fn a_program_reads_its_input_and_is_heard() {
        let ended = shell("cat; echo trouble >&2; exit 3", "told\n", 10_000).await;
        assert_eq!(ended.outcome, HookOutcome::Exited { code: 3 });
        assert!(ended.output.contains("told") && ended.output.contains("trouble"));
    }

    #[tokio::test]
    async fn a_program_that_reads_nothing_and_says_too_much_is_no_trouble() {
        let input = "x".repeat(1 << 20);
        let ended = shell("head -c 1000000 /dev/zero", &input, 10_000).await;
        assert!(ended.outcome.succeeded());
        assert_eq!(ended.output.len(), OUTPUT_BYTES_MAX);
    }

    #[tokio::test]
    async fn the_environment_is_not_the_nodes() {
        let command = HookCommand {
            program: "/usr/bin/env".into(),
            arguments: Vec::new(),
        };
        let ended = run(&command, Vec::new(), Duration::from_secs(10)).await;
        let mut names: Vec<_> = ended
            .output
            .lines()
            .filter_map(|it| it.split_once('='))
            .map(|it| it.0)
            .collect();
        names.sort_unstable();
        assert_eq!(names, ["LANG", "PATH"]);
    }

    #[tokio::test]
    async fn at_the_deadline_all_that_was_started_is_killed() {
        let directory = tempfile::tempdir().unwrap();
        let pid = directory.path().join("pid");
        let script = format!("sleep 600 & echo $! > {}; wait", pid.display());
        let begun = Instant::now();
        let ended = shell(&script, "", 1_000).await;
        assert_eq!(ended.outcome, HookOutcome::Deadline);
        assert!(begun.elapsed() < Duration::from_secs(60));
        let started = std::fs::read_to_string(pid).unwrap();
        let status = format!("/proc/{}/stat", started.trim());
        let gone = async {
            // Orphans become zombies of whoever adopts them before they go.
            while std::fs::read_to_string(&status).is_ok_and(|stat| !stat.contains(") Z ")) {
                sleep(Duration::from_millis(5)).await;
            }
        };
        timeout(Duration::from_secs(10), gone).await.unwrap();
    }

    #[tokio::test]
    async fn what_a_program_leaves_running_does_not_hold_it() {
        let begun = Instant::now();
        let ended = shell("sleep 20 & exit 0", "", 15_000).await;
        assert!(ended.outcome.succeeded());
        assert!(begun.elapsed() < Duration::from_secs(10));
    }

    #[tokio::test]
    async fn a_program_that_is_not_there_is_named() {
        let command = HookCommand {
            program: "/no/such/program".into(),
            arguments: Vec::new(),
        };
        let ended = run(&command, Vec::new(), Duration::from_secs(10)).await;
        let said = ended.outcome.to_string();
        assert!(said.contains("/no/such/program"), "{said}");
    }
}
