//! One command, from the request to its outcome. The agent's reports are claims: what is decided here (time, credit, memory) is
//! decided by the outside clock and outside counters.

use std::path::PathBuf;
use std::time::{Duration, Instant};

use pyro_api::Error;
use pyro_api::ops::exec::Outcome;
use pyro_api::values::CommandLine;
use pyro_wire::limits::OUTPUT_CREDIT_BYTES;
use pyro_wire::message::{Exited, Inspect, Missing, NotStarted, Program, TerminalSize, Trouble};
use pyro_wire::{SandboxPath, Stream, Violation};

use super::look::Look;
use super::outcome::{self, Met};
use super::output::Outputs;
use super::shells::{Session, Why};
use crate::backend::Pressure;
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
    /// On a terminal of this size.
    pub terminal: Option<TerminalSize>,
    /// What the record says that it is, if not the command.
    pub shown: Option<String>,
    /// How long it may take.
    pub timeout: Duration,
    /// How long its caller waits for it, if not until it has ended.
    pub wait: Option<Duration>,
}

impl ExecPlan {
    /// What it is called in the record.
    pub fn subject(&self) -> String {
        self.shown.clone().unwrap_or_else(|| self.command.to_string())
    }
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
    /// The caller that began it and is told everything: when it goes away, the command goes too. `None` when that one waits no more.
    pub connection: Option<u32>,
    /// Until when that one waits, if not until the end.
    wait_until: Option<Instant>,
    /// Callers that wait for it as a job, and until when: when they go away, it stays.
    waiters: Vec<(u32, Option<Instant>)>,
    /// How it is recorded.
    pub record: Record,
    /// The whole of it, as a shell line.
    pub command: String,
    /// First word of it: for "not found".
    program: String,
    is_shell: bool,
    cwd: SandboxPath,
    timeout: Duration,
    /// What it writes.
    pub outputs: Outputs,
    /// What makes it a shell.
    pub session: Option<Box<Session>>,
    /// Whether it waits for somebody to type.
    pub look: Look,
    begun: Instant,
    started: bool,
    deadline: Instant,
    killed: Option<KillReason>,
    /// How long the agent may take to confirm a kill.
    kill_confirm: Duration,
    credit_left: u32,
    credit_due: u32,
    pressure: Pressure,
    stdin: Stdin,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum KillReason {
    TimedOut,
    Cancelled,
    /// It was asked to end as a job, and has some time for it before it is killed.
    Stopping,
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
        outputs: Option<PathBuf>,
        pressure: Pressure,
        kill_confirm: Duration,
    ) -> Self {
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
            wait_until: plan.wait.map(|wait| now + wait),
            waiters: Vec::new(),
            record,
            command: plan.subject(),
            program,
            is_shell: matches!(plan.command, CommandLine::Shell(_)),
            cwd: plan.cwd.clone(),
            timeout: plan.timeout,
            outputs: Outputs::new(outputs),
            session: None,
            look: Look::new(),
            begun: now,
            started: false,
            deadline: now + plan.timeout,
            killed: None,
            kill_confirm,
            credit_left: OUTPUT_CREDIT_BYTES,
            credit_due: 0,
            pressure,
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
            terminal: plan.terminal,
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
        if !matches!(stream, Stream::Stdout | Stream::Stderr) {
            return Err(Violation("a command sent data of a stream that it does not have".to_owned()));
        }
        if !self.started {
            return Err(Violation("a command that was not started sent output".to_owned()));
        }
        let length = u32::try_from(bytes.len()).unwrap_or(u32::MAX);
        self.credit_left = self
            .credit_left
            .checked_sub(length)
            .ok_or_else(|| Violation("a command sent more output than its credit".to_owned()))?;
        self.credit_due += length;
        self.outputs.push(stream, bytes);
        self.look.note_activity();
        if let Some(session) = &mut self.session {
            let owed = session.feed(bytes);
            self.add_stdin(&owed);
        }
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
            self.look.note_activity();
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
        if !now.is_empty() {
            self.look.note_activity();
        }
        let end = self.stdin.ended && self.stdin.waiting.is_empty();
        self.stdin.end_sent = end;
        (now, end)
    }

    /// The caller should wait before it sends more input.
    pub fn stdin_is_full(&self) -> bool {
        self.stdin.waiting.len() >= STDIN_HIGH_WATER_BYTES
    }

    /// From now on it is nobody's and goes on, with its input open.
    pub fn leave_open(&mut self) {
        self.connection = None;
    }

    /// The caller takes it back. True when it must be killed now.
    pub fn cancel(&mut self) -> bool {
        if !matches!(self.killed, None | Some(KillReason::Stopping)) {
            return false;
        }
        self.kill(KillReason::Cancelled);
        true
    }

    /// It is to end, and has `grace` for it before it is killed. True when it must be told so now.
    pub fn stop(&mut self, grace: Duration) -> bool {
        if self.killed.is_some() {
            return false;
        }
        self.killed = Some(KillReason::Stopping);
        self.deadline = Instant::now() + grace;
        true
    }

    /// Somebody waits for it as a job.
    pub fn add_waiter(&mut self, connection: u32, wait: Option<Duration>) {
        self.waiters.push((connection, wait.map(|wait| Instant::now() + wait)));
    }

    /// A caller waits for it as a job no more. True when it did.
    pub fn drop_waiter(&mut self, connection: u32) -> bool {
        let before = self.waiters.len();
        self.waiters.retain(|(waiter, _)| *waiter != connection);
        self.waiters.len() < before
    }

    /// Everybody who is to hear how it ended.
    pub fn listeners(&self) -> Vec<u32> {
        self.connection.into_iter().chain(self.waiters.iter().map(|(waiter, _)| *waiter)).collect()
    }

    /// Callers whose wait is over at `now`: they are told that it runs on, and whether it waits for input. From then on it is nobody's, and ends when it ends.
    pub fn take_lapsed(&mut self, now: Instant) -> Vec<u32> {
        let mut lapsed = Vec::new();
        if self.lapses().is_none_or(|until| until > now) || self.look.waits(now).is_none() {
            return lapsed;
        }
        if self.wait_until.is_some_and(|until| until <= now) {
            self.wait_until = None;
            // Nobody is left who could send any.
            self.stdin.ended = true;
            lapsed.extend(self.connection.take());
        }
        self.waiters.retain(|(waiter, until)| {
            let is_over = until.is_some_and(|until| until <= now);
            if is_over {
                lapsed.push(*waiter);
            }
            !is_over
        });
        lapsed
    }

    /// How long it has run.
    pub fn age(&self) -> Duration {
        self.begun.elapsed()
    }

    fn kill(&mut self, reason: KillReason) {
        self.killed = Some(reason);
        self.deadline = Instant::now() + self.kill_confirm;
    }

    /// When something is due next.
    pub fn deadline(&self) -> Instant {
        let lapses = self.lapses().map(|until| self.look.hold(until));
        let waits = lapses.into_iter().chain(self.session.as_ref().and_then(|session| session.deadline(&self.look)));
        waits.fold(self.deadline, Instant::min)
    }

    /// When the first caller does not wait any longer.
    fn lapses(&self) -> Option<Instant> {
        self.wait_until.into_iter().chain(self.waiters.iter().filter_map(|(_, until)| *until)).min()
    }

    /// What the agent is to be asked now about what it does.
    pub fn take_inspect(&mut self) -> Option<Inspect> {
        if self.session.as_ref().is_some_and(|session| session.typed.wants_explanation()) {
            self.look.want();
        }
        let ask = self.look.take_wanted();
        ask.then(|| Inspect { failed: self.session.as_mut().and_then(|session| session.typed.take_failed()) })
    }

    /// What the agent says to that; gives why the line ended that was typed last, if that is known by it.
    ///
    /// # Errors
    /// When it was not asked.
    pub fn inspected(&mut self, waits_for_input: bool, trouble: &Trouble) -> Result<Option<Why<'_>>, Violation> {
        self.look.answered(waits_for_input)?;
        Ok(self.session.as_mut().and_then(|session| session.typed.explain(trouble)))
    }

    /// What it asks, if it is known to wait for input.
    pub fn prompt(&mut self, now: Instant) -> Option<String> {
        let is_idle = self.session.as_ref().is_some_and(|session| session.is_at_prompt());
        let asks = !is_idle && self.look.waits(now) == Some(true);
        asks.then(|| self.session.as_ref().map_or_else(|| self.outputs.last_line(), |session| session.prompt()))
    }

    /// What is due at `now`.
    pub fn due(&mut self, now: Instant) -> Due {
        if now < self.deadline {
            return Due::Nothing;
        }
        match self.killed {
            None => self.kill(KillReason::TimedOut),
            Some(KillReason::Stopping) => self.kill(KillReason::Cancelled),
            Some(KillReason::TimedOut | KillReason::Cancelled) => return Due::Distrust,
        }
        Due::Kill
    }

    /// It ended as the agent reports. `met` is what was counted outside since then.
    ///
    /// # Errors
    /// When it cannot have ended.
    pub fn exited(&self, report: &Exited, met: impl FnOnce(Pressure) -> Met) -> Result<Ended, Violation> {
        if !self.started {
            return Err(Violation("a command that was not started has ended".to_owned()));
        }
        let sent = self.outputs.bytes_total();
        if sent != (report.stdout_bytes, report.stderr_bytes) {
            let (said, came) = (report.stdout_bytes.saturating_add(report.stderr_bytes), sent.0.saturating_add(sent.1));
            return Err(Violation(format!("a command is said to have sent {said} bytes of output, and {came} came")));
        }
        let outcome = match self.killed {
            Some(KillReason::TimedOut) => Outcome::TimedOut { after_seconds: self.timeout.as_secs() },
            Some(KillReason::Cancelled | KillReason::Stopping) => Outcome::Cancelled,
            None => outcome::of_exit(report.status, &report.trouble, &met(self.pressure)),
        };
        Ok(self.ended_with(outcome, report.trouble.missing.as_ref()))
    }

    /// It never ran.
    ///
    /// # Errors
    /// When it did.
    pub fn not_started(&self, report: &NotStarted) -> Result<Ended, Violation> {
        if self.started {
            return Err(Violation("a command that was started was reported as not started".to_owned()));
        }
        Ok(self.ended(outcome::of_no_start(report, &self.program, &self.cwd)))
    }

    /// It ended for a reason that is known outside.
    pub fn ended(&self, outcome: Outcome) -> Ended {
        self.ended_with(outcome, None)
    }

    fn ended_with(&self, outcome: Outcome, missing: Option<&Missing>) -> Ended {
        let next = outcome::next(&outcome, self.is_shell, missing);
        Ended { outcome, duration: self.begun.elapsed(), next }
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

/// Of these, what holds on a terminal too: a person, or who acts like one, has pagers, colours and prompts there.
const ALWAYS: [&str; 6] = ["PATH", "HOME", "USER", "LOGNAME", "SHELL", "LANG"];

/// Default environment, then that of the environment, then the user's: later ones win.
pub fn compose_env<'a>(
    environment: impl IntoIterator<Item = (&'a str, &'a str)>,
    user: impl IntoIterator<Item = (&'a str, &'a str)>,
    on_terminal: bool,
) -> Vec<String> {
    let quiet = DEFAULT_ENV.into_iter().filter(|(name, _)| !on_terminal || ALWAYS.contains(name));
    let mut all: std::collections::BTreeMap<&str, &str> = quiet.collect();
    if on_terminal {
        all.insert("TERM", "xterm-256color");
    }
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
