//! Shells: commands on a terminal that go on between calls. Each is a command like any other, with a number, and what it writes is stored as it comes;
//! beside it a terminal is drawn outside, of which callers are told what is new.
//!
//! What the inside writes here is drawn by `pyro-term`, which is made for bytes of an enemy. Marks of commands are claims: nothing but what callers are shown
//! depends on them.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use pyro_api::envelope::{Event, Input};
use pyro_api::ops::exec::Outcome;
use pyro_api::ops::shell::{
    ShellAttachRequest, ShellCloseRequest, ShellCommand, ShellEntry, ShellListResponse, ShellOpenRequest, ShellReadRequest,
    ShellResizeRequest, ShellSignalRequest, ShellUntil, ShellView, ShellWriteRequest,
};
use pyro_api::values::{CommandLine, ShellName};
use pyro_api::{Error, Result};
use pyro_term::integration::{self, Shell};
use pyro_term::{Digest, Size, Terminal, encode_key, encode_paste};
use pyro_wire::ToAgent;
use pyro_wire::message::TerminalSize;
use regex::Regex;
use rustix::process::Signal;

use super::control::{Connection, OUTPUT_HIGH_WATER_BYTES};
use super::exec::{self, ExecPlan, Record};
use super::{Supervisor, Task};

/// Shells of one workspace at one time; each holds a screen and what nobody has read.
const SHELLS_MAX: usize = 16;
/// A shell may be kept as long as its workspace runs.
const SHELL_TIMEOUT: Duration = Duration::from_secs(604_800);
/// So long without output is quiet: programs that go on writing pause less than that.
const QUIET: Duration = Duration::from_millis(500);
/// At a prompt again without a command having been seen: an empty line, or a shell that has not begun yet.
const PROMPT_QUIET: Duration = Duration::from_millis(300);
/// How long a new shell has for its first prompt.
const OPEN_WAIT: Duration = Duration::from_secs(10);
/// Text of one answer, characters: what fits a result over MCP with room for the rest.
const TEXT_CHARS: usize = 6_000;
/// Output that a pattern is looked for in, bytes: its end.
const PATTERN_BYTES: usize = 256 * 1024;

/// What makes a command a shell.
#[derive(Debug)]
pub struct Session {
    name: ShellName,
    program: String,
    terminal: Terminal,
    size: TerminalSize,
    /// Its marks were seen: the shell says when a command begins and ends.
    is_marked: bool,
    last_output: Instant,
    /// Finished lines that were taken off the terminal to look at, and that nobody has been told yet.
    unread: String,
    /// Of an unread line that has no end.
    unfinished: String,
    lines_dropped: u64,
    waits: Vec<Wait>,
    /// Callers who see it live.
    watchers: Vec<Watcher>,
}

/// A caller who sees a shell live.
#[derive(Debug)]
struct Watcher {
    connection: u32,
    /// It has not read what it was sent: it is sent no more, and the screen when it has.
    lags: bool,
}

#[derive(Debug)]
struct Wait {
    connection: u32,
    until: Until,
    began: Instant,
    deadline: Instant,
    /// Number of the last command that had ended when it began.
    ended_before: u64,
    screen: bool,
}

#[derive(Debug)]
enum Until {
    End,
    Quiet,
    Now,
    Pattern(Regex),
}

impl Session {
    fn new(name: ShellName, program: String, size: TerminalSize) -> Self {
        let terminal = Terminal::new(Size { columns: size.columns, rows: size.rows });
        Self {
            name,
            program,
            terminal,
            size,
            is_marked: false,
            last_output: Instant::now(),
            unread: String::new(),
            unfinished: String::new(),
            lines_dropped: 0,
            waits: Vec::new(),
            watchers: Vec::new(),
        }
    }

    /// Draws what came; gives what the program is owed as an answer.
    pub fn feed(&mut self, bytes: &[u8]) -> Vec<u8> {
        self.terminal.feed(bytes);
        self.last_output = Instant::now();
        self.is_marked |= self.terminal.is_at_prompt();
        self.terminal.take_replies()
    }

    /// Shows what came to whoever sees it live. Nobody who does not read holds the shell up.
    pub fn show(&mut self, bytes: &[u8], connections: &mut BTreeMap<u32, Connection>) {
        for watcher in &mut self.watchers {
            let Some(connection) = connections.get_mut(&watcher.connection) else { continue };
            watcher.lags |= connection.pending_bytes() > OUTPUT_HIGH_WATER_BYTES;
            if !watcher.lags {
                connection.event(Event::Stdout(bytes.to_vec()));
            }
        }
    }

    /// Whoever has caught up sees the screen as it is now.
    fn catch_up(&mut self, connections: &mut BTreeMap<u32, Connection>) {
        if !self.watchers.iter().any(|watcher| watcher.lags) {
            return;
        }
        let drawn = self.redraw();
        for watcher in self.watchers.iter_mut().filter(|watcher| watcher.lags) {
            if let Some(connection) = connections.get_mut(&watcher.connection).filter(|connection| !connection.wants_to_write()) {
                watcher.lags = false;
                connection.event(Event::Stdout(drawn.clone()));
            }
        }
    }

    /// Nobody is at it, and no command runs in it, as far as it says: since when, by what it wrote last.
    pub fn idle_since(&self) -> Option<Instant> {
        let rests = !self.is_marked || self.terminal.is_at_prompt();
        (rests && self.waits.is_empty() && self.watchers.is_empty()).then_some(self.last_output)
    }

    /// A caller is gone.
    pub fn forget(&mut self, connection: u32) {
        self.watchers.retain(|watcher| watcher.connection != connection);
        self.waits.retain(|wait| wait.connection != connection);
    }

    /// Whether a caller types into it.
    pub fn is_watched_by(&self, connection: u32) -> bool {
        self.watchers.iter().any(|watcher| watcher.connection == connection)
    }

    /// When a wait may be over though nothing comes.
    pub fn deadline(&self) -> Option<Instant> {
        self.waits.iter().map(|wait| self.quiet_at(wait).map_or(wait.deadline, |at| at.min(wait.deadline))).min()
    }

    /// When a wait is over because nothing has come for so long, if that ends it.
    fn quiet_at(&self, wait: &Wait) -> Option<Instant> {
        let since = self.last_output.max(wait.began);
        match wait.until {
            Until::Now => Some(wait.began),
            Until::Quiet => Some(since + QUIET),
            Until::End if self.is_marked && self.terminal.is_at_prompt() => Some(since + PROMPT_QUIET),
            Until::End if !self.is_marked => Some(since + QUIET),
            Until::End | Until::Pattern(_) => None,
        }
    }

    fn last_ended(&self) -> u64 {
        self.terminal.commands().iter().filter(|command| command.finished).map(|command| command.number).max().unwrap_or(0)
    }

    /// Takes what is new off the terminal.
    fn collect(&mut self) {
        let fresh = self.terminal.take_text();
        self.unread.push_str(&fresh.text);
        self.lines_dropped += fresh.lines_dropped;
        self.unfinished = fresh.unfinished;
        if self.unread.len() > PATTERN_BYTES {
            let cut = self.unread.len() - PATTERN_BYTES;
            let cut = self.unread[cut..].find('\n').map_or(self.unread.len(), |end| cut + end + 1);
            let dropped: String = self.unread.drain(..cut).collect();
            self.lines_dropped += dropped.lines().count() as u64;
        }
    }

    /// Whether what a wait is for has come.
    fn is_done(&mut self, index: usize, now: Instant) -> bool {
        let wait = &self.waits[index];
        let is_quiet = self.quiet_at(wait).is_some_and(|at| at <= now);
        match &wait.until {
            Until::Now => true,
            Until::Quiet => is_quiet,
            Until::End => is_quiet || (self.terminal.is_at_prompt() && self.last_ended() > wait.ended_before),
            Until::Pattern(_) => {
                self.collect();
                let Until::Pattern(pattern) = &self.waits[index].until else { return false };
                pattern.is_match(&self.unread) || pattern.is_match(&self.unfinished)
            }
        }
    }

    /// Waits that are over, and whether what they were for has come.
    fn take_over(&mut self, now: Instant) -> Vec<(u32, bool, bool)> {
        let mut over = Vec::new();
        let mut index = 0;
        while index < self.waits.len() {
            let done = self.is_done(index, now);
            if done || self.waits[index].deadline <= now {
                let wait = self.waits.remove(index);
                over.push((wait.connection, wait.screen, done));
            } else {
                index += 1;
            }
        }
        over
    }

    /// What a caller is told; what is new is told once.
    fn view(&mut self, workspace: &str, exec: u64, outcome: Outcome, screen: bool, done: bool) -> ShellView {
        self.collect();
        let mut digest = Digest::new();
        digest.push(std::mem::take(&mut self.unread).as_bytes());
        digest.push(self.unfinished.as_bytes());
        let shown = self.terminal.screen();
        let command = self.terminal.commands().into_iter().next_back();
        ShellView {
            workspace: workspace.to_owned(),
            shell: self.name.to_string(),
            exec,
            outcome,
            text: digest.show(TEXT_CHARS).text,
            cursor_row: u16::try_from(shown.cursor_row + 1).unwrap_or(u16::MAX),
            cursor_column: u16::try_from(shown.cursor_column + 1).unwrap_or(u16::MAX),
            screen: (screen || shown.alternate).then_some(shown.lines),
            at_prompt: self.terminal.is_at_prompt(),
            command: command.map(|command| ShellCommand { line: command.line, finished: command.finished, exit: command.exit }),
            lines_dropped: std::mem::take(&mut self.lines_dropped),
            done,
        }
    }

    /// What draws the screen as it is on the terminal of somebody who comes to see it.
    fn redraw(&self) -> Vec<u8> {
        let screen = self.terminal.screen();
        let rows = screen.lines.join("\r\n");
        format!("\u{1b}[H\u{1b}[2J{rows}\u{1b}[{};{}H", screen.cursor_row + 1, screen.cursor_column + 1).into_bytes()
    }
}

impl Supervisor<'_> {
    fn session(&mut self, name: &ShellName) -> Result<(u32, &mut exec::Exec)> {
        let names: Vec<String> = self.sessions().map(|session| session.name.to_string()).collect();
        let found = self.tasks.iter_mut().find_map(|(channel, task)| match task {
            Task::Exec(exec) => {
                exec.session.as_ref().is_some_and(|session| session.name == *name).then_some((*channel, &mut **exec))
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
        let taken = |name: &ShellName| self.sessions().any(|session| session.name == *name);
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
        let (command, more) = start(&program, request.program.is_some());
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
            session.wait(connection, Until::End, OPEN_WAIT, false);
            exec.session = Some(Box::new(session));
        }
        Ok(())
    }

    pub(super) fn write_shell(&mut self, connection: u32, request: &ShellWriteRequest) -> Result<()> {
        let until = until_of(request.until, request.pattern.as_deref())?;
        let (_, exec) = self.session(&request.shell)?;
        let Some(session) = &mut exec.session else { return Err(Error::internal("no shell")) };
        let modes = session.terminal.modes();
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
        session.wait(connection, until, Duration::from_secs(request.wait_seconds.get()), false);
        exec.add_stdin(&typed);
        Ok(())
    }

    pub(super) fn read_shell(&mut self, connection: u32, request: &ShellReadRequest) -> Result<()> {
        let until = until_of(request.until, request.pattern.as_deref())?;
        let (_, exec) = self.session(&request.shell)?;
        if let Some(session) = &mut exec.session {
            session.wait(connection, until, Duration::from_secs(request.wait_seconds.get()), request.screen);
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
            Some(ShellEntry {
                shell: session.name.to_string(),
                exec: number,
                program: session.program.clone(),
                columns: session.size.columns,
                rows: session.size.rows,
                at_prompt: session.terminal.is_at_prompt(),
                duration_ms: u64::try_from(exec.age().as_millis()).unwrap_or(u64::MAX),
                title: session.terminal.screen().title,
            })
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
            session.watchers.push(Watcher { connection, lags: false });
        }
        if exec.stop(Duration::from_secs(2)) {
            self.tell(channel, &ToAgent::Signal { signal: Signal::HUP.as_raw() })?;
        }
        Ok(())
    }

    pub(super) fn attach_shell(&mut self, connection: u32, request: &ShellAttachRequest) -> Result<()> {
        let (_, exec) = self.session(&request.shell)?;
        let Some(session) = &mut exec.session else { return Err(Error::internal("no shell")) };
        session.watchers.push(Watcher { connection, lags: false });
        let drawn = session.redraw();
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
            for (connection, screen, done) in session.take_over(now) {
                let view = session.view(&name, number, Outcome::Running, screen, done);
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
        let view = session.view(&self.subject.name, number, outcome.clone(), false, true);
        let value = crate::ops::to_value(&view)?;
        let waits = session.waits.drain(..).map(|wait| wait.connection);
        for connection in waits.chain(session.watchers.drain(..).map(|watcher| watcher.connection)).collect::<Vec<_>>() {
            self.answer(connection, Ok(value.clone()));
        }
        Ok(())
    }

    fn tell(&mut self, channel: u32, message: &ToAgent) -> Result<()> {
        self.link.send(channel, message).map_err(|violation| Error::internal(violation.0))
    }
}

impl Session {
    fn wait(&mut self, connection: u32, until: Until, at_most: Duration, screen: bool) {
        let began = Instant::now();
        let ended_before = self.last_ended();
        // What a pattern is looked for in begins here.
        if matches!(until, Until::Pattern(_)) {
            self.collect();
        }
        self.waits.push(Wait { connection, until, began, deadline: began + at_most, ended_before, screen });
    }

    fn resize(&mut self, size: TerminalSize) {
        self.size = size;
        self.terminal.resize(Size { columns: size.columns, rows: size.rows });
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

/// Starts a shell with the files that make it mark its commands: their texts come in variables, because the place for them is inside.
const START: &str = r#"program=$1; shift
command -v "$program" >/dev/null 2>&1 || { [ -n "$PYRO_SHELL_ANY" ] && program=sh && set --; }
unset PYRO_SHELL_ANY
if [ -n "$PYRO_SHELL_FILE" ] && [ "$program" != sh ]; then
  directory=$(mktemp -d /run/pyro-shell.XXXXXX 2>/dev/null || mktemp -d /tmp/pyro-shell.XXXXXX) || exit 126
  printf '%s' "$PYRO_SHELL_TEXT" >"$directory/$PYRO_SHELL_FILE"
  [ -n "$PYRO_SHELL_ZDOTDIR" ] && { [ -n "$ZDOTDIR" ] && export PYRO_ZDOTDIR="$ZDOTDIR"; export ZDOTDIR="$directory"; }
  for word; do
    shift
    case $word in @DIRECTORY@/*) word=$directory/${word#@DIRECTORY@/};; esac
    set -- "$@" "$word"
  done
fi
unset PYRO_SHELL_FILE PYRO_SHELL_TEXT PYRO_SHELL_ZDOTDIR
exec "$program" "$@"
"#;

/// The command and the variables of a shell. `named`: the caller wants this program and no other.
fn start(program: &str, named: bool) -> (Vec<String>, Vec<(String, String)>) {
    let integration = integration::rc_for(Shell::of(program), "@DIRECTORY@", None);
    let mut command = ["/bin/sh", "-c", START, "pyro-shell", program].map(str::to_owned).to_vec();
    command.extend(integration.arguments);
    let mut env = Vec::new();
    if !named {
        env.push(("PYRO_SHELL_ANY".to_owned(), "1".to_owned()));
    }
    if let Some((file, text)) = integration.files.into_iter().next() {
        env.push(("PYRO_SHELL_FILE".to_owned(), file.to_owned()));
        env.push(("PYRO_SHELL_TEXT".to_owned(), text.to_owned()));
    }
    if integration.environment.iter().any(|(name, _)| *name == "ZDOTDIR") {
        env.push(("PYRO_SHELL_ZDOTDIR".to_owned(), "1".to_owned()));
    }
    (command, env)
}
