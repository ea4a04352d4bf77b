//! Shells: commands on a terminal that go on between calls. Each is a command like any other, with a number, and what it writes is stored as it comes;
//! beside it a terminal is drawn outside, of which callers are told what is new.
//!
//! What the inside writes here is drawn by `pyro-term`, which is made for bytes of an enemy. Marks of commands are claims: nothing but what callers are shown
//! depends on them.

use std::time::{Duration, Instant};

use pyro_api::envelope::{Event, Input};
use pyro_api::ops::exec::Outcome;
use pyro_api::ops::shell::{
    ShellAttachRequest, ShellCloseRequest, ShellEntry, ShellListResponse, ShellOpenRequest, ShellReadRequest, ShellResizeRequest,
    ShellSignalRequest, ShellUntil, ShellView, ShellWriteRequest,
};
use pyro_api::values::{CommandLine, ShellName};
use pyro_api::{Error, Result};
use pyro_term::{encode_key, encode_paste};
use pyro_wire::ToAgent;
use pyro_wire::message::TerminalSize;
use rustix::process::Signal;

use super::exec::{self, ExecPlan, Record};
use super::{Supervisor, Task, outcome};

mod session;
mod start;
mod typed;

pub use session::{Session, Show, Until};
pub use typed::Why;

/// Shells of one workspace at one time; each holds a screen and what nobody has read.
const SHELLS_MAX: usize = 16;
/// A shell may be kept as long as its workspace runs.
const SHELL_TIMEOUT: Duration = Duration::from_secs(604_800);
/// How long a new shell has for its first prompt.
const OPEN_WAIT: Duration = Duration::from_secs(10);

impl Supervisor<'_> {
    fn session(&mut self, name: &ShellName) -> Result<(u32, &mut exec::Exec)> {
        let names: Vec<String> = self.sessions().map(|session| session.name().to_string()).collect();
        let found = self.tasks.iter_mut().find_map(|(channel, task)| match task {
            Task::Exec(exec) => {
                exec.session.as_ref().is_some_and(|session| *session.name() == *name).then_some((*channel, &mut **exec))
            }
            Task::File(_) => None,
        });
        found.ok_or_else(|| {
            let error = Error::not_found(format!("{} has no shell {name}", self.subject.name));
            match names.is_empty() {
                true => error.hint("workspace shell open makes one"),
                false => error.hint(format!("it has {}", names.join(", "))),
            }
        })
    }

    fn sessions(&self) -> impl Iterator<Item = &Session> {
        self.tasks.values().filter_map(|task| match task {
            Task::Exec(exec) => exec.session.as_deref(),
            Task::File(_) => None,
        })
    }

    pub(super) fn open_shell(&mut self, connection: u32, request: &ShellOpenRequest) -> Result<()> {
        if self.sessions().count() >= SHELLS_MAX {
            return Err(Error::limit(format!("{} has {SHELLS_MAX} shells already", self.subject.name)).hint("close one"));
        }
        let taken = |name: &ShellName| self.sessions().any(|session| *session.name() == *name);
        let name = match &request.name {
            Some(name) if taken(name) => return Err(Error::conflict(format!("{} has a shell {name} already", self.subject.name))),
            Some(name) => name.clone(),
            None => {
                let free = (1..).find_map(|number| format!("sh{number}").parse().ok().filter(|name| !taken(name)));
                free.ok_or_else(|| Error::limit("there is no name left"))?
            }
        };
        let size = TerminalSize { columns: request.columns, rows: request.rows };
        let program = request.program.clone().unwrap_or_else(|| "bash".to_owned());
        let (command, more) = start::command(&program, request.program.is_some());
        let user = request.env.iter().map(|var| (var.name.as_str(), var.value.as_str()));
        let environment = self.subject.environment_vars.iter().map(|(name, value)| (name.as_str(), value.as_str()));
        let own = more.iter().map(|(name, value)| (name.as_str(), value.as_str()));
        let plan = ExecPlan {
            command: CommandLine::Argv(command),
            shown: Some(format!("{program} (shell {name})")),
            cwd: exec::working_directory(request.cwd.as_deref())?,
            env: exec::compose_env(environment, user.chain(own), true),
            stdin: None,
            stdin_streams: true,
            terminal: Some(size),
            timeout: SHELL_TIMEOUT,
            wait: None,
        };
        self.begin_exec(connection, &plan)?;
        if let Some(Task::Exec(exec)) = self.tasks.get_mut(&self.channel_last) {
            exec.leave_open();
            let mut session = Session::new(name, program, size);
            session.open_for(connection, OPEN_WAIT);
            exec.session = Some(Box::new(session));
        }
        Ok(())
    }

    pub(super) fn write_shell(&mut self, connection: u32, request: &ShellWriteRequest) -> Result<()> {
        let until = until_of(request.until, request.pattern.as_deref())?;
        let (_, exec) = self.session(&request.shell)?;
        let Some(session) = &mut exec.session else { return Err(Error::internal("no shell")) };
        let modes = session.modes();
        let mut typed = Vec::new();
        if let Some(text) = &request.text {
            // Several lines are pasted, where the program knows what that is: none of them is acted on before the last.
            typed.extend(if text.contains('\n') { encode_paste(text, modes) } else { text.clone().into_bytes() });
            if !request.no_enter {
                typed.push(b'\r');
            }
        }
        for key in &request.keys {
            typed.extend(encode_key(key, modes).map_err(|unknown| {
                let error = Error::invalid(format!("there is no key {:?}", unknown.name));
                match unknown.nearest.is_empty() {
                    true => error.hint("keys are enter, tab, esc, up, ctrl-c, alt-x, f1 and the like"),
                    false => error.hint(format!("did you mean {}?", unknown.nearest.join(" or "))),
                }
            })?);
        }
        session.wait(connection, until, Duration::from_secs(request.wait_seconds.get()), true);
        // Keys are for what runs (ctrl-c), and so is a text that was asked for.
        if request.text.is_some() && !exec.look.has_found_waiting() {
            session.for_the_next();
        }
        if typed.ends_with(b"\r") {
            session.enter();
        }
        exec.add_stdin(&typed);
        Ok(())
    }

    pub(super) fn read_shell(&mut self, connection: u32, request: &ShellReadRequest) -> Result<()> {
        let until = until_of(request.until, request.pattern.as_deref())?;
        let (_, exec) = self.session(&request.shell)?;
        if let Some(session) = &mut exec.session {
            session.wait(connection, until, Duration::from_secs(request.wait_seconds.get()), false);
            session.show_as(Show { screen: request.screen, raw: request.raw });
        }
        Ok(())
    }

    pub(super) fn signal_shell(&mut self, connection: u32, request: &ShellSignalRequest) -> Result<()> {
        let (channel, exec) = self.session(&request.shell)?;
        if let Some(session) = &mut exec.session {
            session.wait(connection, Until::Quiet, Duration::from_secs(2), false);
        }
        self.tell(channel, &ToAgent::Signal { signal: request.signal.number() })
    }

    pub(super) fn resize_shell(&mut self, connection: u32, request: &ShellResizeRequest) -> Result<()> {
        let size = TerminalSize { columns: request.columns, rows: request.rows };
        let (channel, exec) = self.session(&request.shell)?;
        if let Some(session) = &mut exec.session {
            session.resize(size);
            session.wait(connection, Until::Quiet, Duration::from_secs(2), false);
        }
        self.tell(channel, &ToAgent::Resize(size))
    }

    pub(super) fn list_shells(&mut self, connection: u32) -> Result<()> {
        let entries = self.tasks.values().filter_map(|task| {
            let Task::Exec(exec) = task else { return None };
            let (session, Record::Workspace { exec: number, .. }) = (exec.session.as_ref()?, exec.record) else { return None };
            Some(session.entry(number, exec.age()))
        });
        let mut shells: Vec<ShellEntry> = entries.collect();
        shells.sort_by(|one, other| one.shell.cmp(&other.shell));
        let answer = ShellListResponse { workspace: self.subject.name.clone(), shells };
        self.answer(connection, crate::ops::to_value(&answer));
        Ok(())
    }

    /// A person hangs up: the shell is told so, and then ended with what runs in it.
    pub(super) fn close_shell(&mut self, connection: u32, request: &ShellCloseRequest) -> Result<()> {
        let (channel, exec) = self.session(&request.shell)?;
        if let Some(session) = &mut exec.session {
            // Told of the end like one who sees it.
            session.watch(connection);
        }
        if exec.stop(Duration::from_secs(2)) {
            self.tell(channel, &ToAgent::Signal { signal: Signal::HUP.as_raw() })?;
        }
        Ok(())
    }

    pub(super) fn attach_shell(&mut self, connection: u32, request: &ShellAttachRequest) -> Result<()> {
        let (_, exec) = self.session(&request.shell)?;
        let Some(session) = &mut exec.session else { return Err(Error::internal("no shell")) };
        let drawn = session.watch(connection);
        if let Some(caller) = self.connections.get_mut(&connection) {
            caller.event(Event::Stdout(drawn));
        }
        Ok(())
    }

    /// Input of somebody who sees a shell live. False when the caller does not.
    pub(super) fn type_into_shell(&mut self, connection: u32, input: &Input) -> bool {
        let found = self.tasks.iter_mut().find_map(|(channel, task)| match task {
            Task::Exec(exec) if exec.session.as_ref().is_some_and(|session| session.is_watched_by(connection)) => {
                Some((*channel, exec))
            }
            Task::Exec(_) | Task::File(_) => None,
        });
        let Some((channel, exec)) = found else { return false };
        match input {
            Input::Stdin(bytes) => exec.add_stdin(bytes),
            Input::Resize { columns, rows } => {
                let size = TerminalSize { columns: (*columns).max(1), rows: (*rows).max(1) };
                if let Some(session) = &mut exec.session {
                    session.resize(size);
                }
                if let Err(error) = self.tell(channel, &ToAgent::Resize(size)) {
                    super::complain(&error);
                }
            }
            // Who leaves says nothing more; the shell stays.
            Input::StdinEnd | Input::Signal(_) => {}
        }
        true
    }

    /// Callers whose wait is over are told what is new.
    pub(super) fn answer_shells(&mut self, now: Instant) {
        let name = self.subject.name.clone();
        let mut answers = Vec::new();
        for task in self.tasks.values_mut() {
            let Task::Exec(exec) = task else { continue };
            let (Some(session), Record::Workspace { exec: number, .. }) = (&mut exec.session, exec.record) else { continue };
            session.catch_up(&mut self.connections);
            let over = session.take_over(now, &mut exec.look);
            // All see the same terminal.
            let waits_for_input = if over.is_empty() { None } else { exec.prompt(now) };
            let Some(session) = &mut exec.session else { continue };
            for (connection, show, done) in over {
                let view = session.view(&name, number, Outcome::Running, show, done);
                let view = ShellView { waits_for_input: waits_for_input.clone(), ..view };
                answers.push((connection, crate::ops::to_value(&view)));
            }
        }
        for (connection, answer) in answers {
            self.answer(connection, answer);
        }
    }

    /// The workspace is being stopped: shells are hung up, as interactive ones do not hear TERM.
    pub(super) fn hang_up_shells(&mut self) {
        let shells = self.tasks.iter().filter_map(|(channel, task)| match task {
            Task::Exec(exec) => exec.session.is_some().then_some(*channel),
            Task::File(_) => None,
        });
        for channel in shells.collect::<Vec<_>>() {
            if let Err(error) = self.tell(channel, &ToAgent::Signal { signal: Signal::HUP.as_raw() }) {
                super::complain(&error);
            }
        }
    }

    /// Everybody at a shell that has ended is told how.
    pub(super) fn end_shell(&mut self, session: &mut Session, number: u64, outcome: &Outcome) -> Result<()> {
        let opener = session.take_opener();
        let view = session.view(&self.subject.name, number, outcome.clone(), Show::default(), true);
        if let Some(opener) = opener {
            let words = format!("{} was no shell: {} before it had a prompt", session.program(), outcome::in_words(outcome));
            let error = match view.text.trim() {
                "" => Error::invalid(words),
                said => Error::invalid(words).hint(said),
            };
            self.answer(opener, Err(error));
        }
        let value = crate::ops::to_value(&view)?;
        for connection in session.take_callers() {
            self.answer(connection, Ok(value.clone()));
        }
        Ok(())
    }

    fn tell(&mut self, channel: u32, message: &ToAgent) -> Result<()> {
        self.link.send(channel, message).map_err(|violation| Error::internal(violation.0))
    }
}

fn until_of(until: ShellUntil, pattern: Option<&str>) -> Result<Until> {
    Ok(match (pattern, until) {
        (Some(pattern), _) => Until::Pattern(crate::ops::pattern(pattern, "pattern")?),
        (None, ShellUntil::End) => Until::End,
        (None, ShellUntil::Quiet) => Until::Quiet,
        (None, ShellUntil::Now) => Until::Now,
    })
}
