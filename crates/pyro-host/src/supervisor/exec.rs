//! One command, from the request to its outcome. The agent's reports are claims: what is decided here (time, credit, memory) is
//! decided by the outside clock and outside counters.

use std::path::PathBuf;
use std::time::{Duration, Instant};

use pyro_api::Error;
use pyro_api::ops::exec::Outcome;
use pyro_api::values::CommandLine;
use pyro_wire::limits::OUTPUT_CREDIT_BYTES;
use pyro_wire::message::{ExitStatus, Exited, NotStarted, Program, SpawnStep};
use pyro_wire::{SandboxPath, Stream, Untrusted, Violation};

use super::output::Kept;
use crate::buffer::Unsent;
use crate::store::OpenEvent;

/// Standard input that waits for the agent, bytes; above it the caller is not read any more.
pub const STDIN_HIGH_WATER_BYTES: usize = 256 * 1024;

/// Credit is given back in pieces of at least this many bytes, so that a chatty command does not cost a message a line.
const CREDIT_PIECE_BYTES: u32 = OUTPUT_CREDIT_BYTES / 4;

/// What to run.
#[derive(Clone, Debug)]
pub struct ExecPlan {
    /// The command.
    pub command: CommandLine,
    /// Where.
    pub cwd: SandboxPath,
    /// Its whole environment.
    pub env: Vec<String>,
    /// Text for standard input; then nothing else is taken.
    pub stdin: Option<String>,
    /// The caller may send standard input while it runs.
    pub stdin_streams: bool,
    /// How long it may take.
    pub timeout: Duration,
}

/// Who is told of the end, and how.
#[derive(Clone, Copy, Debug)]
pub enum Record {
    /// A command of a workspace: it has a number and an open event.
    Workspace {
        /// Its number.
        exec: u64,
        /// Its line in the log.
        event: OpenEvent,
    },
    /// A one-shot run: nothing is recorded.
    Run,
}

/// A command that was sent to the agent.
#[derive(Debug)]
pub struct Exec {
    /// Which caller waits for it; `None` when it is gone.
    pub connection: Option<u32>,
    /// How it is recorded.
    pub record: Record,
    /// First word of it: for "not found".
    program: String,
    cwd: SandboxPath,
    timeout: Duration,
    /// Its outputs.
    pub stdout: Kept,
    /// Its error outputs.
    pub stderr: Kept,
    begun: Instant,
    started: bool,
    deadline: Instant,
    killed: Option<KillReason>,
    /// How long the agent may take to confirm a kill.
    kill_confirm: Duration,
    credit_left: u32,
    credit_due: u32,
    out_of_memory_kills_before: u64,
    stdin: Stdin,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum KillReason {
    TimedOut,
    Cancelled,
}

#[derive(Debug, Default)]
struct Stdin {
    waiting: Unsent,
    credit: u64,
    ended: bool,
    end_sent: bool,
}

/// What a deadline asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Due {
    /// Nothing yet.
    Nothing,
    /// Its time is up: kill it.
    Kill,
    /// It was killed and the agent does not confirm it: the sandbox is not believed any more.
    Distrust,
}

/// How a command ended.
#[derive(Debug)]
pub struct Ended {
    /// Why.
    pub outcome: Outcome,
    /// How long it took.
    pub duration: Duration,
    /// What to do next, when that is not obvious.
    pub next: Option<String>,
}

impl Exec {
    /// A command that is about to be sent to the agent.
    pub fn new(
        plan: &ExecPlan,
        connection: u32,
        record: Record,
        outputs: Option<(PathBuf, PathBuf)>,
        out_of_memory_kills: u64,
        kill_confirm: Duration,
    ) -> Self {
        let (stdout, stderr) = match outputs {
            Some((stdout, stderr)) => (Some(stdout), Some(stderr)),
            None => (None, None),
        };
        let now = Instant::now();
        let program = match &plan.command {
            CommandLine::Argv(argv) => argv.first().cloned().unwrap_or_default(),
            CommandLine::Shell(_) => "the shell".to_owned(),
        };
        let mut stdin = Stdin { ended: !plan.stdin_streams, ..Stdin::default() };
        if let Some(text) = &plan.stdin {
            stdin.waiting = Unsent::new(text.clone().into_bytes());
            stdin.ended = true;
        }
        Self {
            connection: Some(connection),
            record,
            program,
            cwd: plan.cwd.clone(),
            timeout: plan.timeout,
            stdout: Kept::new(stdout),
            stderr: Kept::new(stderr),
            begun: now,
            started: false,
            deadline: now + plan.timeout,
            killed: None,
            kill_confirm,
            credit_left: OUTPUT_CREDIT_BYTES,
            credit_due: 0,
            out_of_memory_kills_before: out_of_memory_kills,
            stdin,
        }
    }

    /// The message that starts it.
    pub fn spawn(plan: &ExecPlan) -> pyro_wire::message::Spawn {
        pyro_wire::message::Spawn {
            program: match &plan.command {
                CommandLine::Shell(line) => Program::Shell(line.clone()),
                CommandLine::Argv(argv) => Program::Argv(argv.clone()),
            },
            env: plan.env.clone(),
            cwd: plan.cwd.clone(),
            stdin: plan.stdin_streams || plan.stdin.is_some(),
            credit_bytes: OUTPUT_CREDIT_BYTES,
        }
    }

    /// The agent says that it runs.
    ///
    /// # Errors
    /// When it said so before.
    pub fn started(&mut self) -> Result<(), Violation> {
        if self.started {
            return Err(Violation("a command was started twice".to_owned()));
        }
        self.started = true;
        Ok(())
    }

    /// Bytes of output.
    ///
    /// # Errors
    /// When they may not come now.
    pub fn output(&mut self, stream: Stream, bytes: &[u8]) -> Result<(), Violation> {
        let kept = match stream {
            Stream::Stdout => &mut self.stdout,
            Stream::Stderr => &mut self.stderr,
            Stream::Stdin | Stream::Content => {
                return Err(Violation("a command sent data of a stream that it does not have".to_owned()));
            }
        };
        if !self.started {
            return Err(Violation("a command that was not started sent output".to_owned()));
        }
        let length = u32::try_from(bytes.len()).unwrap_or(u32::MAX);
        self.credit_left = self
            .credit_left
            .checked_sub(length)
            .ok_or_else(|| Violation("a command sent more output than its credit".to_owned()))?;
        self.credit_due += length;
        kept.push(bytes);
        Ok(())
    }

    /// Credit to give back now, if it is worth a message. `room`: the caller keeps up.
    pub fn take_credit(&mut self, room: bool) -> Option<u32> {
        if !room || self.credit_due < CREDIT_PIECE_BYTES {
            return None;
        }
        let bytes = std::mem::take(&mut self.credit_due);
        self.credit_left += bytes;
        Some(bytes)
    }

    /// Standard input from the caller.
    pub fn add_stdin(&mut self, bytes: &[u8]) {
        if !self.stdin.ended {
            self.stdin.waiting.end().extend_from_slice(bytes);
        }
    }

    /// No more standard input from the caller.
    pub fn end_stdin(&mut self) {
        self.stdin.ended = true;
    }

    /// The agent has room for more input.
    ///
    /// # Errors
    /// When it claims an impossible amount.
    pub fn add_stdin_credit(&mut self, bytes: u32) -> Result<(), Violation> {
        self.stdin.credit += u64::from(bytes);
        // It can have room for no more than one window.
        if self.stdin.credit > u64::from(pyro_wire::limits::INPUT_CREDIT_BYTES) {
            return Err(Violation("the agent claims more room for input than it has".to_owned()));
        }
        Ok(())
    }

    /// Input that can be sent now, and whether it is the end.
    pub fn take_stdin(&mut self) -> (Vec<u8>, bool) {
        if !self.started || self.stdin.end_sent {
            return (Vec::new(), false);
        }
        let fits = usize::try_from(self.stdin.credit).unwrap_or(usize::MAX).min(self.stdin.waiting.len());
        let now = self.stdin.waiting.take(fits);
        self.stdin.credit -= now.len() as u64;
        let end = self.stdin.ended && self.stdin.waiting.is_empty();
        self.stdin.end_sent = end;
        (now, end)
    }

    /// The caller should wait before it sends more input.
    pub fn stdin_is_full(&self) -> bool {
        self.stdin.waiting.len() >= STDIN_HIGH_WATER_BYTES
    }

    /// The caller takes it back. True when it must be killed now.
    pub fn cancel(&mut self) -> bool {
        if self.killed.is_some() {
            return false;
        }
        self.kill(KillReason::Cancelled);
        true
    }

    fn kill(&mut self, reason: KillReason) {
        self.killed = Some(reason);
        self.deadline = Instant::now() + self.kill_confirm;
    }

    /// When something is due next.
    pub fn deadline(&self) -> Instant {
        self.deadline
    }

    /// What is due at `now`.
    pub fn due(&mut self, now: Instant) -> Due {
        if now < self.deadline {
            return Due::Nothing;
        }
        if self.killed.is_some() {
            return Due::Distrust;
        }
        self.kill(KillReason::TimedOut);
        Due::Kill
    }

    /// It ended as the agent reports; `out_of_memory_kills` is counted outside.
    ///
    /// # Errors
    /// When it cannot have ended.
    pub fn exited(&self, report: &Exited, out_of_memory_kills: u64, limit_mib: u64) -> Result<Ended, Violation> {
        if !self.started {
            return Err(Violation("a command that was not started has ended".to_owned()));
        }
        let sent = (self.stdout.bytes_total(), self.stderr.bytes_total());
        if sent != (report.stdout_bytes, report.stderr_bytes) {
            let (said, came) = (report.stdout_bytes.saturating_add(report.stderr_bytes), sent.0.saturating_add(sent.1));
            return Err(Violation(format!("a command is said to have sent {said} bytes of output, and {came} came")));
        }
        let memory = report.out_of_memory || out_of_memory_kills > self.out_of_memory_kills_before;
        let outcome = match (self.killed, report.status) {
            (Some(KillReason::TimedOut), _) => Outcome::TimedOut { after_seconds: self.timeout.as_secs() },
            (Some(KillReason::Cancelled), _) => Outcome::Cancelled,
            // The shell reports a killed child as 128 + 9.
            (None, ExitStatus::Signal(9) | ExitStatus::Code(137)) if memory => Outcome::OutOfMemory { limit_mib },
            (None, ExitStatus::Code(code)) => Outcome::Exited { code },
            (None, ExitStatus::Signal(signal)) => Outcome::Signaled { signal, name: signal_name(signal) },
        };
        Ok(self.ended(outcome))
    }

    /// It never ran.
    ///
    /// # Errors
    /// When it did.
    pub fn not_started(&self, report: &NotStarted) -> Result<Ended, Violation> {
        if self.started {
            return Err(Violation("a command that was started was reported as not started".to_owned()));
        }
        Ok(self.ended(explain_not_started(report, &self.program, &self.cwd)))
    }

    /// It ended for a reason that is known outside.
    pub fn ended(&self, outcome: Outcome) -> Ended {
        let next = match &outcome {
            Outcome::TimedOut { .. } => Some("give it more time with timeout_seconds, or run less at once".to_owned()),
            Outcome::OutOfMemory { .. } => Some("make a workspace with more mem_mib, or run fewer jobs at once".to_owned()),
            Outcome::Exited { .. }
            | Outcome::Signaled { .. }
            | Outcome::Cancelled
            | Outcome::NotStarted { .. }
            | Outcome::SandboxLost { .. } => None,
        };
        Ended { outcome, duration: self.begun.elapsed(), next }
    }
}

/// `ENOENT`, `EACCES`, `ENOEXEC`, `ENOTDIR`: the numbers are the same on every Linux architecture that we build for.
const ENOENT: i32 = 2;
const EACCES: i32 = 13;
const ENOEXEC: i32 = 8;
const ENOTDIR: i32 = 20;

fn explain_not_started(report: &NotStarted, program: &str, cwd: &SandboxPath) -> Outcome {
    let reason_of = |errno: i32| std::io::Error::from_raw_os_error(errno).to_string();
    let (reason, code) = match (report.step, report.errno) {
        (SpawnStep::ChangeDirectory, ENOENT | ENOTDIR) => (format!("there is no directory {}", cwd.shown()), 126),
        (SpawnStep::ChangeDirectory, errno) => (format!("directory {} cannot be entered: {}", cwd.shown(), reason_of(errno)), 126),
        (SpawnStep::Find | SpawnStep::Execute, ENOENT) => match &report.interpreter {
            Some(interpreter) => (format!("{program} needs the interpreter {}, which is not there", shown(interpreter)), 127),
            None => (format!("{program} was not found"), 127),
        },
        (SpawnStep::Find | SpawnStep::Execute, EACCES) => (format!("{program} is not executable"), 126),
        (SpawnStep::Execute, ENOEXEC) => {
            (format!("{program} is neither a program of this machine nor a script with a `#!` line"), 126)
        }
        (SpawnStep::Find | SpawnStep::Execute, errno) => (format!("{program} cannot be executed: {}", reason_of(errno)), 126),
        (SpawnStep::Pipes | SpawnStep::Fork, errno) => {
            (format!("the sandbox has no room for another process: {}", reason_of(errno)), 126)
        }
    };
    Outcome::NotStarted { reason, code }
}

/// Bytes from inside in one of our sentences.
pub fn shown(bytes: &pyro_wire::message::Bytes) -> String {
    // A message that was decoded was checked: hexadecimal digits come in pairs.
    Untrusted::new(bytes.to_vec().unwrap_or_default()).escaped()
}

/// An outcome in words: `exited 0`, `killed by SIGSEGV`, `timed out after 30 s`.
pub fn in_words(outcome: &Outcome) -> String {
    match outcome {
        Outcome::Exited { code } => format!("exited {code}"),
        Outcome::Signaled { name, .. } => format!("killed by {name}"),
        Outcome::TimedOut { after_seconds } => format!("timed out after {after_seconds} s"),
        Outcome::OutOfMemory { limit_mib } => format!("out of memory (limit {limit_mib} MiB)"),
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

/// The environment of a command when the user adds nothing: quiet, without colours, pagers and prompts, so that output is text and
/// nothing waits for a person.
const DEFAULT_ENV: [(&str, &str); 15] = [
    ("PATH", "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"),
    ("HOME", "/root"),
    ("USER", "root"),
    ("LOGNAME", "root"),
    ("SHELL", "/bin/sh"),
    ("LANG", "C.UTF-8"),
    ("TERM", "dumb"),
    ("NO_COLOR", "1"),
    ("PAGER", "cat"),
    ("GIT_PAGER", "cat"),
    ("MANPAGER", "cat"),
    ("GIT_TERMINAL_PROMPT", "0"),
    ("GIT_EDITOR", "true"),
    ("DEBIAN_FRONTEND", "noninteractive"),
    ("PYTHONUNBUFFERED", "1"),
];

/// Default environment, then that of the environment, then the user's: later ones win.
pub fn compose_env<'a>(
    environment: impl IntoIterator<Item = (&'a str, &'a str)>,
    user: impl IntoIterator<Item = (&'a str, &'a str)>,
) -> Vec<String> {
    let mut all: std::collections::BTreeMap<&str, &str> = DEFAULT_ENV.into_iter().collect();
    all.extend(environment);
    all.extend(user);
    all.into_iter().map(|(name, value)| format!("{name}={value}")).collect()
}

/// A working directory as the user wrote it.
///
/// # Errors
/// `Invalid` when it is no path.
pub fn working_directory(cwd: Option<&str>) -> pyro_api::Result<SandboxPath> {
    match cwd {
        None => Ok(SandboxPath::workspace()),
        Some(text) => SandboxPath::parse(text).map_err(|error| Error::invalid(format!("cwd {text:?}: {error}"))),
    }
}
