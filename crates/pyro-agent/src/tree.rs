//! Finding everything that descends from a command, and killing it.
//!
//! A process belongs to a command when it is in the command's session or process group, or when its parent belongs to it. First all
//! are stopped, round after round until no new one appears, so that none can have a child or lose its parent unseen; then all are killed.
//!
//! What can escape: a process that left the session (setsid) *and* whose parent had ended before the kill, as a daemon does: it is a child of
//! PID 1 by then, like daemons of other commands that were meant to stay. It stays in the sandbox's cgroup and PID namespace, within its
//! limits, and ends with the sandbox: when PID 1 exits the kernel kills the whole namespace.

use std::collections::BTreeMap;

use rustix::process::{Pid, Signal, kill_process};

#[cfg(test)]
mod tests;

/// The processes of one command that were found so far.
#[derive(Debug)]
pub struct Tree {
    root: i32,
    /// Other commands' first processes: never part of this tree, should the kernel have given our root's number away.
    others: Vec<i32>,
    /// Process id and start time: together they name a process for good.
    known: BTreeMap<i32, u64>,
}

/// One line of the process table.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Process {
    pid: i32,
    parent: i32,
    group: i32,
    session: i32,
    state: u8,
    started_at: u64,
}

/// Rounds of stopping. Each takes as long as reading the process table; a stop takes effect within microseconds.
const STOP_ROUNDS_MAX: usize = 64;

impl Tree {
    /// The tree of a command.
    pub fn new(root: i32, others: Vec<i32>) -> Self {
        Self { root, others, known: BTreeMap::new() }
    }

    /// What there is of it now: process ids, each with that of its parent.
    pub fn members(&self) -> Vec<(i32, i32)> {
        self.find(&processes()).into_iter().filter(|member| !member.is_dead()).map(|member| (member.pid, member.parent)).collect()
    }

    /// Stops and kills what there is of it. True when nothing was left to kill.
    pub fn kill(&mut self) -> bool {
        let mut members = Vec::new();
        for _ in 0..STOP_ROUNDS_MAX {
            members = self.find(&processes());
            let mut settled = true;
            for member in members.iter().filter(|member| !member.is_dead()) {
                let new = self.known.insert(member.pid, member.started_at) != Some(member.started_at);
                if new {
                    signal(member.pid, Signal::STOP);
                }
                // Running or about to: it could be in the middle of a fork.
                settled &= !new && !matches!(member.state, b'R' | b'S');
            }
            if settled {
                break;
            }
        }
        let alive: Vec<i32> = members.iter().filter(|member| !member.is_dead()).map(|member| member.pid).collect();
        for pid in &alive {
            signal(*pid, Signal::KILL);
        }
        alive.is_empty()
    }

    fn find(&self, table: &[Process]) -> Vec<Process> {
        let ours = i32::try_from(std::process::id()).unwrap_or(1);
        let own = |process: &Process| {
            process.pid == self.root
                || process.session == self.root
                || process.group == self.root
                || self.known.get(&process.pid) == Some(&process.started_at)
        };
        let mut inside: BTreeMap<i32, Process> = BTreeMap::new();
        let mut rest: Vec<Process> = table
            .iter()
            .copied()
            .filter(|process| process.pid != ours && process.pid != 1 && !self.others.contains(&process.pid))
            .collect();
        loop {
            let (found, left): (Vec<_>, Vec<_>) =
                rest.into_iter().partition(|process| own(process) || inside.contains_key(&process.parent));
            if found.is_empty() {
                return inside.into_values().collect();
            }
            inside.extend(found.into_iter().map(|process| (process.pid, process)));
            rest = left;
        }
    }
}

impl Process {
    /// Reads `/proc/PID/stat` (proc(5)). The name in parentheses may hold anything, so fields are counted from the last one.
    fn parse(stat: &str) -> Option<Self> {
        let (pid, rest) = stat.split_once(' ')?;
        let (_, rest) = rest.rsplit_once(") ")?;
        let mut fields = rest.split(' ');
        let state = *fields.next()?.as_bytes().first()?;
        let mut number = || fields.next()?.parse().ok();
        let (parent, group, session) = (number()?, number()?, number()?);
        // Field 22 of the file; the last one taken was field 6.
        let started_at = fields.nth(15)?.parse().ok()?;
        Some(Self { pid: pid.parse().ok()?, parent, group, session, state, started_at })
    }

    /// A zombie, or on its way out of the table.
    fn is_dead(&self) -> bool {
        matches!(self.state, b'Z' | b'X')
    }
}

fn processes() -> Vec<Process> {
    let Ok(entries) = std::fs::read_dir("/proc") else { return Vec::new() };
    let numbers = entries.filter_map(|entry| entry.ok()?.file_name().to_str()?.parse::<i32>().ok());
    // One that ended meanwhile cannot be read. Names need not be UTF-8.
    numbers.filter_map(|pid| Process::parse(&String::from_utf8_lossy(&std::fs::read(format!("/proc/{pid}/stat")).ok()?))).collect()
}

fn signal(pid: i32, signal: Signal) {
    if let Some(pid) = Pid::from_raw(pid) {
        // Gone already is what we want.
        let _gone = kill_process(pid, signal);
    }
}
