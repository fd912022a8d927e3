//! The instrument of one round: clock, wire, processors and memory of both ends.

use std::{
    fs::File,
    io::{Read, Seek},
    path::Path,
    process::{Child, Command, Stdio},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
        mpsc::{self, RecvTimeoutError},
    },
    thread::{self, JoinHandle},
    time::{Duration, Instant},
};

use rustix::process::{Pid, Signal, WaitId, WaitIdOptions, kill_process, waitid};

use crate::{
    process,
    sample::{Cost, End, Ends},
    seclusion::Wire,
};

/// More than any measured command takes; reached only by a fault.
const COMMAND_DEADLINE: Duration = Duration::from_secs(600);
/// The wire is quiet when nothing was counted for this long.
const QUIET: Duration = Duration::from_millis(40);
/// Waiting for a quiet wire and for a daemon's children ends here.
const QUIET_DEADLINE: Duration = Duration::from_secs(5);
/// Between two looks at the memory of processes that come and go.
const LOOK: Duration = Duration::from_millis(2);

/// A process that lives longer than a round.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Resident {
    pub(crate) end: End,
    pub(crate) pid: u32,
}

impl Resident {
    pub(crate) fn sender(pid: u32) -> Self {
        let end = End::Sender;
        Self { end, pid }
    }

    pub(crate) fn receiver(pid: u32) -> Self {
        let end = End::Receiver;
        Self { end, pid }
    }
}

/// Whether memory of commands and of daemons' children is looked at: it takes
/// processor time from what is measured, so it has a round of its own.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Memory {
    Looked,
    Left,
}

/// A round under way.
pub(crate) struct Meter {
    wire: Wire,
    residents: Vec<Resident>,
    cpu_before: Vec<f64>,
    bytes_before: u64,
    cpu_of_commands: Ends<f64>,
    looker: Option<Looker>,
    start: Instant,
    stopped: Option<Duration>,
}

/// What a round found.
pub(crate) struct Reading {
    pub(crate) cost: Cost,
    pub(crate) peak_bytes: Ends<u64>,
}

impl Meter {
    /// Begins a round in which these daemons take part.
    pub(crate) fn begin(
        wire: Wire,
        residents: Vec<Resident>,
        memory: Memory,
    ) -> Result<Self, String> {
        wait_quiet(wire)?;
        let mut cpu_before = Vec::new();
        for resident in &residents {
            process::forget_peak(resident.pid)?;
            cpu_before.push(process::cpu_seconds(resident.pid)?);
        }
        let looker = (memory == Memory::Looked).then(|| Looker::start(residents.clone()));
        Ok(Self {
            wire,
            residents,
            cpu_before,
            bytes_before: wire.bytes()?,
            cpu_of_commands: Ends::default(),
            looker,
            start: Instant::now(),
            stopped: None,
        })
    }

    /// Sets the clock to nil: what was done so far was preparation.
    pub(crate) fn restart_clock(&mut self) {
        self.start = Instant::now();
    }

    /// Stops the clock before the round ends; what follows is not timed.
    pub(crate) fn stop_clock(&mut self) {
        self.stopped = Some(self.start.elapsed());
    }

    /// Runs a command of one end; answers what it printed.
    pub(crate) fn run(&mut self, end: End, command: Command) -> Result<String, String> {
        let running = Running::start(command)?;
        if let Some(looker) = &self.looker {
            looker.also(Resident {
                end,
                pid: running.child.id(),
            });
        }
        let (cpu_seconds, output) = running.finish()?;
        *self.cpu_of_commands.of(end) += cpu_seconds;
        Ok(output)
    }

    /// Ends the round.
    pub(crate) fn end(self) -> Result<Reading, String> {
        let elapsed = self.stopped.unwrap_or_else(|| self.start.elapsed());
        let mut peak_bytes = self.looker.map_or_else(Ends::default, Looker::finish);
        wait_quiet(self.wire)?;
        let wire_bytes = self.wire.bytes()? - self.bytes_before;
        let mut cpu_seconds = self.cpu_of_commands;
        for (resident, before) in self.residents.iter().zip(self.cpu_before) {
            wait_alone(resident.pid);
            *cpu_seconds.of(resident.end) += process::cpu_seconds(resident.pid)? - before;
            let peak = peak_bytes.of(resident.end);
            // One that served a single client may have ended with it.
            *peak = (*peak).max(process::peak_bytes(resident.pid).unwrap_or(0));
        }
        let seconds = elapsed.as_secs_f64();
        let cost = Cost {
            seconds,
            wire_bytes,
            cpu_seconds,
        };
        Ok(Reading { cost, peak_bytes })
    }
}

/// Runs a command outside any measurement.
pub(crate) fn unmeasured(command: Command) -> Result<String, String> {
    Ok(Running::start(command)?.finish()?.1)
}

/// A command in a few words. What failed is published with the figures: no path of
/// this machine belongs there.
fn shown(command: &Command) -> String {
    let words = std::iter::once(command.get_program()).chain(command.get_args());
    let text: Vec<_> = words.map(|word| word.to_string_lossy()).collect();
    let names = text.iter().flat_map(|text| text.split(' ')).map(|word| {
        let path = Path::new(word);
        let name = path.file_name().filter(|_| path.is_absolute());
        name.map_or(word.into(), |name| name.to_string_lossy())
    });
    names.collect::<Vec<_>>().join(" ")
}

/// A command that runs, its output going to files so that nothing blocks it.
struct Running {
    shown: String,
    child: Child,
    output: File,
    errors: File,
}

impl Running {
    fn start(mut command: Command) -> Result<Self, String> {
        let shown = shown(&command);
        let fail = |error| format!("starting {shown}: {error}");
        let (output, errors) = (
            tempfile::tempfile().map_err(fail)?,
            tempfile::tempfile().map_err(fail)?,
        );
        command
            .stdin(Stdio::null())
            .stdout(output.try_clone().map_err(fail)?)
            .stderr(errors.try_clone().map_err(fail)?);
        let child = command.spawn().map_err(fail)?;
        Ok(Self {
            shown,
            child,
            output,
            errors,
        })
    }

    /// Waits for the end; answers processor seconds and output.
    fn finish(mut self) -> Result<(f64, String), String> {
        let pid = Pid::from_child(&self.child);
        let (ended, end) = mpsc::channel::<()>();
        let watchdog = thread::spawn(move || {
            if end.recv_timeout(COMMAND_DEADLINE) == Err(RecvTimeoutError::Timeout) {
                // Fails if it has just ended by itself.
                let _ = kill_process(pid, Signal::KILL);
            }
        });
        // Without reaping: the dead process still knows its processor time.
        let options = WaitIdOptions::EXITED | WaitIdOptions::NOWAIT;
        let waited = waitid(WaitId::Pid(pid), options);
        waited.map_err(|error| format!("waiting for {}: {error}", self.shown))?;
        let cpu_seconds = process::cpu_seconds(self.child.id())?;
        let status = self.child.wait();
        drop(ended);
        watchdog.join().expect("waiting does not panic");
        match status {
            Ok(status) if status.success() => Ok((cpu_seconds, text(&mut self.output))),
            Ok(status) => Err(format!(
                "{}: {status}\n{}{}",
                self.shown,
                text(&mut self.output),
                text(&mut self.errors)
            )),
            Err(error) => Err(format!("waiting for {}: {error}", self.shown)),
        }
    }
}

fn text(file: &mut File) -> String {
    let mut bytes = Vec::new();
    // A message without its quotation is better than none.
    let _ = file.rewind().and_then(|()| file.read_to_end(&mut bytes));
    String::from_utf8_lossy(&bytes).into_owned()
}

/// Waits until the wire carries nothing, so that late acknowledgements belong to
/// the round that caused them. A wire that never rests is taken as it is.
fn wait_quiet(wire: Wire) -> Result<(), String> {
    let start = Instant::now();
    let mut last = wire.bytes()?;
    while start.elapsed() < QUIET_DEADLINE {
        thread::sleep(QUIET);
        let now = wire.bytes()?;
        if now == last {
            break;
        }
        last = now;
    }
    Ok(())
}

/// Waits until a daemon has reaped the children it had for a client.
fn wait_alone(pid: u32) {
    let start = Instant::now();
    while !process::children(pid).is_empty() && start.elapsed() < QUIET_DEADLINE {
        thread::sleep(LOOK);
    }
}

/// A thread that looks at the memory of processes too short-lived to ask later.
struct Looker {
    stop: Arc<AtomicBool>,
    newcomers: mpsc::Sender<Resident>,
    thread: JoinHandle<Ends<u64>>,
}

impl Looker {
    fn start(mut watched: Vec<Resident>) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let stopped = Arc::clone(&stop);
        let (newcomers, arrivals) = mpsc::channel();
        let thread = thread::spawn(move || {
            let mut peaks = Ends::default();
            while !stopped.load(Ordering::Relaxed) {
                watched.extend(arrivals.try_iter());
                look(&watched, &mut peaks);
                thread::sleep(LOOK);
            }
            peaks
        });
        Self {
            stop,
            newcomers,
            thread,
        }
    }

    fn also(&self, newcomer: Resident) {
        self.newcomers
            .send(newcomer)
            .expect("the looking thread lives as long as this");
    }

    fn finish(self) -> Ends<u64> {
        self.stop.store(true, Ordering::Relaxed);
        self.thread.join().expect("looking does not panic")
    }
}

fn look(watched: &[Resident], peaks: &mut Ends<u64>) {
    for resident in watched {
        for pid in process::family(resident.pid) {
            // It may have ended since it was listed.
            let peak = process::peak_bytes(pid).unwrap_or(0);
            let most = peaks.of(resident.end);
            *most = (*most).max(peak);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_command_is_shown_without_the_paths_of_this_machine() {
        let mut command = Command::new("/home/me/target/release/apim-sync");
        command.args([
            "-C",
            "/tmp/x/config.toml",
            "-e",
            "ssh -i /tmp/x/key",
            "rsync://host/target/",
        ]);
        assert_eq!(
            shown(&command),
            "apim-sync -C config.toml -e ssh -i key rsync://host/target/"
        );
    }
}
