//! How a command ended, in the terms of the surface: from what the agent reports and what was counted outside, never from its output. And what to do
//! next, in words that hold for every surface.

use pyro_api::ops::exec::Outcome;
use pyro_wire::message::{ExitStatus, Missing, NotStarted, SpawnStep, Trouble};
use pyro_wire::{SandboxPath, Untrusted};

use crate::backend::Pressure;

/// What was counted outside while a command ran.
#[derive(Clone, Copy, Debug)]
pub struct Met {
    /// When it began.
    pub before: Pressure,
    /// When it had ended.
    pub after: Pressure,
    /// The memory limit.
    pub mem_mib: u64,
    /// The limit of processes and threads.
    pub processes_max: u64,
    /// No other command ran with it: what was counted is its own.
    pub alone: bool,
}

/// Of a command that ended by itself, with what the agent saw of it.
pub fn of_exit(status: ExitStatus, trouble: &Trouble, met: &Met) -> Outcome {
    let code = match status {
        ExitStatus::Code(code) => code,
        ExitStatus::Signal(signal) => 128_u8.saturating_add(signal),
    };
    // A shell reports a child that was killed as 128 + 9.
    let was_killed = matches!(status, ExitStatus::Signal(9) | ExitStatus::Code(137));
    let memory = trouble.out_of_memory || met.after.memory_kills > met.before.memory_kills;
    if code != 0 && memory && (was_killed || met.alone) {
        return Outcome::OutOfMemory { limit_mib: met.mem_mib, peak_mib: met.after.memory_peak_mib, code };
    }
    if code != 0 && met.after.processes_refused > met.before.processes_refused {
        return Outcome::ProcessLimit { limit: met.processes_max, code };
    }
    if let (true, Some(path)) = (code != 0, &trouble.disk_full) {
        return Outcome::DiskFull { path: shown(path), code };
    }
    match status {
        ExitStatus::Code(code) => Outcome::Exited { code },
        ExitStatus::Signal(signal) => Outcome::Signaled { signal, name: signal_name(signal) },
    }
}

/// `ENOENT`, `EACCES`, `ENOEXEC`, `ENOTDIR`, `EAGAIN`: the numbers are the same on every Linux architecture that we build for.
const ENOENT: i32 = 2;
const EACCES: i32 = 13;
const ENOEXEC: i32 = 8;
const ENOTDIR: i32 = 20;

/// Of a command that never ran.
pub fn of_no_start(report: &NotStarted, program: &str, cwd: &SandboxPath) -> Outcome {
    let reason_of = |errno: i32| std::io::Error::from_raw_os_error(errno).to_string();
    let instead = report.similar.as_ref().map(|path| format!("; there is {}", shown(path))).unwrap_or_default();
    let (reason, code) = match (report.step, report.errno) {
        (SpawnStep::ChangeDirectory, ENOENT | ENOTDIR) => (format!("there is no directory {}", cwd.shown()), 126),
        (SpawnStep::ChangeDirectory, errno) => (format!("directory {} cannot be entered: {}", cwd.shown(), reason_of(errno)), 126),
        (SpawnStep::Find | SpawnStep::Execute, ENOENT) => match &report.interpreter {
            Some(interpreter) => {
                (format!("{program} needs the interpreter {}, which is not there{instead}", shown(interpreter)), 127)
            }
            None => (format!("{program} was not found{instead}"), 127),
        },
        (SpawnStep::Find | SpawnStep::Execute, EACCES) => (format!("{program} is not executable"), 126),
        (SpawnStep::Execute, ENOEXEC) => match report.machine {
            Some(machine) if machine_name(machine) == std::env::consts::ARCH => {
                (format!("{program} is a program that the kernel does not take: it is damaged, or of an older kind"), 126)
            }
            Some(machine) => (
                format!("{program} is a program for {}, and this machine is {}", machine_name(machine), std::env::consts::ARCH),
                126,
            ),
            None => (format!("{program} is neither a program of this machine nor a script with a `#!` line"), 126),
        },
        (SpawnStep::Find | SpawnStep::Execute, errno) => (format!("{program} cannot be executed: {}", reason_of(errno)), 126),
        (SpawnStep::Pipes | SpawnStep::Fork, errno) => {
            (format!("the sandbox has no room for another process: {}", reason_of(errno)), 126)
        }
    };
    Outcome::NotStarted { reason, code }
}

/// Names of elf(5) machines that one meets: `EM_*` of elf.h.
fn machine_name(machine: u16) -> String {
    let name = match machine {
        3 => "i386",
        8 => "mips",
        21 => "powerpc64",
        22 => "s390x",
        40 => "arm",
        62 => "x86_64",
        183 => "aarch64",
        243 => "riscv",
        258 => "loongarch",
        other => return format!("a processor that elf.h calls {other}"),
    };
    name.to_owned()
}

/// What to do about an outcome, when that is not obvious. `shell`: the command was a line for the shell, which reports what became of its own children;
/// `missing`: what such a line names and is not there.
pub fn next(outcome: &Outcome, shell: bool, missing: Option<&Missing>) -> Option<String> {
    if let (Outcome::Exited { code: 127 }, Some(missing)) = (outcome, missing) {
        let name = Untrusted::new(missing.name.clone().into_bytes()).escaped();
        return Some(match &missing.similar {
            Some(similar) => format!("127: {name} was not found; there is {}", shown(similar)),
            None => format!("127: {name} was not found; install it, or name it by its path"),
        });
    }
    let text = match outcome {
        Outcome::TimedOut { .. } => "give it more time with timeout_seconds, or do less at once",
        Outcome::OutOfMemory { .. } => "make a workspace with more mem_mib, or do less at once (fewer parallel jobs)",
        Outcome::DiskFull { .. } => "free room: du -xsh /* shows what takes it, and earlier steps keep what was deleted until gc",
        Outcome::ProcessLimit { .. } => "do less at once (fewer parallel jobs), or end what runs in the background",
        Outcome::NotStarted { code: 126, reason } if reason.ends_with("is not executable") => {
            "chmod +x it, or run it with its interpreter"
        }
        Outcome::NotStarted { code: 127, .. } => "install it, or name it by its path; PATH is what env says",
        Outcome::Exited { code: 127 } if shell => "127: the shell found no such command; install it, or name it by its path",
        Outcome::Exited { code: 126 } if shell => "126: the shell could not execute it; look at its mode and its first line",
        Outcome::Exited { code } if shell && (129..=159).contains(code) => {
            let name = signal_name(code.saturating_sub(128));
            return Some(format!("{code} is how a shell says that a process of the line was killed by {name}"));
        }
        Outcome::Signaled { signal: 31, .. } => "SIGSYS: it made a system call that sandboxes refuse",
        Outcome::SandboxLost { .. } => "run it again: the workspace starts by itself, and its files are as they were",
        Outcome::Running | Outcome::Exited { .. } | Outcome::Signaled { .. } | Outcome::Cancelled | Outcome::NotStarted { .. } => {
            return None;
        }
    };
    Some(text.to_owned())
}

/// Bytes from inside in one of our sentences.
pub fn shown(bytes: &pyro_wire::message::Bytes) -> String {
    // A message that was decoded was checked: hexadecimal digits come in pairs.
    Untrusted::new(bytes.to_vec().unwrap_or_default()).escaped()
}

/// An outcome in words: `exited 0`, `killed by SIGSEGV`, `timed out after 30 s`.
pub fn in_words(outcome: &Outcome) -> String {
    match outcome {
        Outcome::Running => "running".to_owned(),
        Outcome::Exited { code } => format!("exited {code}"),
        Outcome::Signaled { name, .. } => format!("killed by {name}"),
        Outcome::TimedOut { after_seconds } => format!("timed out after {after_seconds} s"),
        Outcome::OutOfMemory { limit_mib, peak_mib: Some(peak), .. } => {
            format!("out of memory (limit {limit_mib} MiB, peak {peak} MiB)")
        }
        Outcome::OutOfMemory { limit_mib, .. } => format!("out of memory (limit {limit_mib} MiB)"),
        Outcome::DiskFull { path, code } => format!("exited {code}, disk full ({path})"),
        Outcome::ProcessLimit { limit, code } => format!("exited {code}, refused a process (limit {limit})"),
        Outcome::Cancelled => "cancelled".to_owned(),
        Outcome::NotStarted { reason, .. } => format!("not started: {reason}"),
        Outcome::SandboxLost { reason } => format!("sandbox lost: {reason}"),
    }
}

/// Name of a signal on Linux.
fn signal_name(signal: u8) -> String {
    const NAMES: [&str; 31] = [
        "SIGHUP",
        "SIGINT",
        "SIGQUIT",
        "SIGILL",
        "SIGTRAP",
        "SIGABRT",
        "SIGBUS",
        "SIGFPE",
        "SIGKILL",
        "SIGUSR1",
        "SIGSEGV",
        "SIGUSR2",
        "SIGPIPE",
        "SIGALRM",
        "SIGTERM",
        "SIGSTKFLT",
        "SIGCHLD",
        "SIGCONT",
        "SIGSTOP",
        "SIGTSTP",
        "SIGTTIN",
        "SIGTTOU",
        "SIGURG",
        "SIGXCPU",
        "SIGXFSZ",
        "SIGVTALRM",
        "SIGPROF",
        "SIGWINCH",
        "SIGIO",
        "SIGPWR",
        "SIGSYS",
    ];
    match usize::from(signal).checked_sub(1).and_then(|index| NAMES.get(index)) {
        Some(name) => (*name).to_owned(),
        None => format!("signal {signal}"),
    }
}

#[cfg(test)]
mod tests;
