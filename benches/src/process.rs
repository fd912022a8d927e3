//! What the kernel says about a process: its processor time, its memory, what it
//! has read, its children.

use std::{fs, io};

use rustix::process::{Pid, Signal, kill_process};

/// Ticks a second in `/proc/PID/stat`; fixed for user space on Linux.
const TICKS: f64 = 100.0;

/// Processor seconds of a process and of its children that have ended, in steps
/// of ten milliseconds. A process that has ended still answers until it is reaped.
pub(crate) fn cpu_seconds(pid: u32) -> Result<f64, String> {
    let text = read(pid, "stat")?;
    // The name, in parentheses, may hold anything.
    let after = text.rsplit_once(')').map_or("", |(_, rest)| rest);
    let ticks = after.split_whitespace().skip(11).take(4);
    let ticks: f64 = ticks.filter_map(|field| field.parse::<f64>().ok()).sum();
    Ok(ticks / TICKS)
}

/// Processor seconds of a process's living threads, to the nanosecond.
pub(crate) fn cpu_seconds_exactly(pid: u32) -> Result<f64, String> {
    let mut nanoseconds = 0.0;
    for thread in threads(pid)? {
        let text = read(pid, &format!("task/{thread}/schedstat"))?;
        let first = text.split_whitespace().next();
        nanoseconds += first
            .and_then(|field| field.parse::<f64>().ok())
            .unwrap_or(0.0);
    }
    Ok(nanoseconds / 1e9)
}

/// The most resident memory since the start or the last [`forget_peak`].
pub(crate) fn peak_bytes(pid: u32) -> Result<u64, String> {
    status_bytes(pid, "VmHWM:")
}

/// The resident memory now.
pub(crate) fn resident_bytes(pid: u32) -> Result<u64, String> {
    status_bytes(pid, "VmRSS:")
}

/// Has the kernel begin anew with the peak.
pub(crate) fn forget_peak(pid: u32) -> Result<(), String> {
    let path = format!("/proc/{pid}/clear_refs");
    fs::write(&path, "5").map_err(|error| format!("writing {path}: {error}"))
}

/// Bytes that a process has read with system calls, from caches too.
pub(crate) fn read_bytes(pid: u32) -> Result<u64, String> {
    let text = read(pid, "io")?;
    number_after(&text, "rchar:").ok_or_else(|| format!("/proc/{pid}/io has no rchar"))
}

/// The process and everything below it that is alive.
pub(crate) fn family(pid: u32) -> Vec<u32> {
    let mut family = vec![pid];
    let mut next = 0;
    while let Some(&member) = family.get(next) {
        family.extend(children(member));
        next += 1;
    }
    family
}

/// Processes that stand still until this is dropped.
pub(crate) struct Stopped(Vec<Pid>);

impl Stopped {
    pub(crate) fn all(pids: Vec<u32>) -> Result<Self, String> {
        let mut stopped = Self(Vec::new());
        for pid in pids {
            let known = i32::try_from(pid).ok().and_then(Pid::from_raw);
            let known = known.ok_or_else(|| format!("{pid} is no process"))?;
            kill_process(known, Signal::STOP)
                .map_err(|error| format!("stopping process {pid}: {error}"))?;
            stopped.0.push(known);
        }
        Ok(stopped)
    }
}

impl Drop for Stopped {
    fn drop(&mut self) {
        for pid in &self.0 {
            // One that ended meanwhile shows in the next round.
            let _ = kill_process(*pid, Signal::CONT);
        }
    }
}

/// Living children; none of a process that has gone.
pub(crate) fn children(pid: u32) -> Vec<u32> {
    let of_thread = |thread: u32| read(pid, &format!("task/{thread}/children")).ok();
    let texts = threads(pid).unwrap_or_default();
    let texts = texts.into_iter().filter_map(of_thread);
    texts.flat_map(|text| numbers(&text)).collect()
}

fn numbers(text: &str) -> Vec<u32> {
    let words = text.split_whitespace();
    words.filter_map(|word| word.parse().ok()).collect()
}

fn threads(pid: u32) -> Result<Vec<u32>, String> {
    let path = format!("/proc/{pid}/task");
    let listing = fs::read_dir(&path).map_err(|error| format!("reading {path}: {error}"))?;
    let names = listing.flatten().map(|entry| entry.file_name());
    Ok(names
        .filter_map(|name| name.to_str()?.parse().ok())
        .collect())
}

fn status_bytes(pid: u32, field: &str) -> Result<u64, String> {
    let kib = number_after(&read(pid, "status")?, field);
    kib.map(|kib| kib * 1024)
        .ok_or_else(|| format!("/proc/{pid}/status has no {field}"))
}

fn number_after(text: &str, field: &str) -> Option<u64> {
    let rest = text.lines().find_map(|line| line.strip_prefix(field))?;
    rest.split_whitespace().next()?.parse().ok()
}

fn read(pid: u32, file: &str) -> Result<String, String> {
    let path = format!("/proc/{pid}/{file}");
    fs::read_to_string(&path).map_err(|error: io::Error| format!("reading {path}: {error}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn this_process_has_memory_time_and_no_grandparents_below_it() {
        let own = std::process::id();
        assert!(peak_bytes(own).unwrap() >= resident_bytes(own).unwrap() / 2);
        assert!(cpu_seconds_exactly(own).unwrap() > 0.0);
        assert!(cpu_seconds(own).unwrap() >= 0.0);
        assert_eq!(family(own).first(), Some(&own));
    }

    #[test]
    fn a_stopped_process_stands_still_and_goes_on() {
        let mut child = std::process::Command::new("sleep")
            .arg("60")
            .spawn()
            .unwrap();
        let state = |pid: u32| {
            let stat = read(pid, "stat").unwrap();
            stat.rsplit_once(") ").unwrap().1.chars().next()
        };
        let until = |wanted: bool| {
            while (state(child.id()) == Some('T')) != wanted {
                std::thread::yield_now();
            }
        };
        let stopped = Stopped::all(vec![child.id()]).unwrap();
        until(true);
        drop(stopped);
        until(false);
        child.kill().unwrap();
        child.wait().unwrap();
    }

    #[test]
    fn fields_are_found_by_name() {
        assert_eq!(number_after("a: 1\nVmHWM:\t  12 kB\n", "VmHWM:"), Some(12));
        assert_eq!(number_after("a: 1\n", "VmHWM:"), None);
    }
}
