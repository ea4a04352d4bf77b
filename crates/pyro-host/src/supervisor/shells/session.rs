//! One shell: the terminal that is drawn of what it writes, who waits for something on it, and who sees it live.

use std::collections::{BTreeMap, VecDeque};
use std::time::{Duration, Instant};

use pyro_api::envelope::Event;
use pyro_api::ops::exec::Outcome;
use pyro_api::ops::shell::{ShellCommand, ShellEntry, ShellView};
use pyro_api::values::ShellName;
use pyro_term::{Digest, Modes, Size, Terminal};
use pyro_wire::Untrusted;
use pyro_wire::message::TerminalSize;
use regex::Regex;

use crate::backend::Pressure;
use crate::supervisor::control::{Connection, OUTPUT_HIGH_WATER_BYTES};
use crate::supervisor::look::Look;
use crate::supervisor::outcome::Met;

use super::typed::{Typed, Why};

/// So long without output is quiet: programs that go on writing pause less than that.
const QUIET: Duration = Duration::from_millis(500);
/// So long without output is the end of what was typed, where it is not known what the program does: it marks no commands, or what was typed was
/// none, and it is not seen to wait for more.
const UNTOLD_QUIET: Duration = Duration::from_secs(2);
/// Text of one answer, characters: what fits a result over MCP with room for the rest.
const TEXT_CHARS: usize = 6_000;
/// What was written and is kept as it came until somebody reads, bytes: its end.
const RAW_BYTES: usize = 8 * 1024;
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
    /// What was written since it was read, as it came: its end, and how many bytes it was.
    raw: VecDeque<u8>,
    raw_bytes: u64,
    waits: Vec<Wait>,
    /// Callers who see it live.
    watchers: Vec<Watcher>,
    /// Who opened it, until that one is answered.
    opener: Option<u32>,
    /// Lines that were entered at a prompt, by its number, and of which it is not seen yet that the shell has taken one.
    entered: (u64, u64),
    /// The command that was typed last.
    pub typed: Typed,
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
    /// Number of the last command that is not the one it is for.
    before_it: u64,
    show: Show,
    /// Where a pattern is not looked for: what was unread when something was typed, and the line that had no end.
    before: Option<(usize, String)>,
}

impl Wait {
    /// Whether it is over when a program wants to be typed to: what it is for cannot come then.
    fn ends_with_a_question(&self) -> bool {
        matches!(self.until, Until::End)
    }
}

/// How a caller wants to see it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Show {
    /// The screen too.
    pub screen: bool,
    /// What is new as it came.
    pub raw: bool,
}

/// What a caller waits for.
#[derive(Debug)]
pub enum Until {
    /// The end of the command that was typed.
    End,
    /// Some time without output.
    Quiet,
    /// Nothing.
    Now,
    /// Output that matches.
    Pattern(Regex),
}

impl Session {
    /// With a blank screen.
    pub fn new(name: ShellName, program: String, size: TerminalSize) -> Self {
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
            raw: VecDeque::new(),
            raw_bytes: 0,
            waits: Vec::new(),
            watchers: Vec::new(),
            opener: None,
            entered: (0, 0),
            typed: Typed::default(),
        }
    }

    /// Draws what came; gives what the program is owed as an answer.
    pub fn feed(&mut self, bytes: &[u8]) -> Vec<u8> {
        self.terminal.feed(bytes);
        self.raw_bytes += bytes.len() as u64;
        self.raw.extend(&bytes[bytes.len().saturating_sub(RAW_BYTES)..]);
        self.raw.drain(..self.raw.len().saturating_sub(RAW_BYTES));
        self.last_output = Instant::now();
        self.is_marked |= self.terminal.is_at_prompt();
        self.terminal.take_replies()
    }

    /// Takes what its marks say of the command that was typed last; gives why it ended, when that is known at once.
    pub fn note_typed(&mut self, count: impl FnOnce(Pressure) -> Met) -> Option<Why<'_>> {
        self.typed.note(self.terminal.last_command()?, count)
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
    pub fn catch_up(&mut self, connections: &mut BTreeMap<u32, Connection>) {
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
    pub fn deadline(&self, look: &Look) -> Option<Instant> {
        let over = |wait: &Wait| look.hold(self.quiet_at(wait).map_or(wait.deadline, |at| at.min(wait.deadline)));
        let stuck = self.waits.iter().any(Wait::ends_with_a_question).then(|| look.next()).flatten();
        self.waits.iter().map(over).chain(stuck).min()
    }

    /// It says that it waits for a command.
    pub fn is_at_prompt(&self) -> bool {
        self.terminal.is_at_prompt()
    }

    /// The line that the cursor is in.
    pub fn prompt(&self) -> String {
        let screen = self.terminal.screen();
        screen.lines.get(screen.cursor_row).map(|line| line.trim_end().to_owned()).unwrap_or_default()
    }

    /// When a wait is over because nothing has come for so long, if that ends it.
    fn quiet_at(&self, wait: &Wait) -> Option<Instant> {
        let since = self.last_output.max(wait.began);
        match wait.until {
            Until::Now => Some(wait.began),
            Until::Quiet => Some(since + QUIET),
            Until::End if !self.is_marked || self.is_at_prompt() => Some(since + UNTOLD_QUIET),
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
            self.pass_over(cut);
        }
    }

    /// So many bytes of what was unread are gone.
    fn pass_over(&mut self, bytes: usize) {
        for (skip, _) in self.waits.iter_mut().filter_map(|wait| wait.before.as_mut()) {
            *skip = skip.saturating_sub(bytes);
        }
    }

    /// Whether what a wait is for has come.
    fn is_done(&mut self, index: usize, now: Instant) -> bool {
        let wait = &self.waits[index];
        let is_quiet = self.quiet_at(wait).is_some_and(|at| at <= now);
        match &wait.until {
            Until::Now => true,
            Until::Quiet => is_quiet,
            Until::End => is_quiet || (self.terminal.is_at_prompt() && self.last_ended() > wait.before_it),
            Until::Pattern(_) => {
                self.collect();
                let wait = &self.waits[index];
                let Until::Pattern(pattern) = &wait.until else { return false };
                let (skip, unfinished) = wait.before.as_ref().map_or((0, None), |(skip, line)| (*skip, Some(line)));
                let is_new = unfinished.is_none_or(|before| *before != self.unfinished);
                pattern.is_match(self.unread.get(skip..).unwrap_or_default()) || (is_new && pattern.is_match(&self.unfinished))
            }
        }
    }

    /// Waits that are over, and whether what they were for has come. Nobody is told before it is known what the program does.
    pub fn take_over(&mut self, now: Instant, look: &mut Look) -> Vec<(u32, Show, bool)> {
        let mut over = Vec::new();
        let mut index = 0;
        while index < self.waits.len() {
            let done = self.is_done(index, now);
            let is_over = done || self.waits[index].deadline <= now;
            let is_known = |look: &mut Look| !self.typed.is_unexplained(now) && (self.is_at_prompt() || look.waits(now).is_some());
            let is_stuck = !is_over && self.waits[index].ends_with_a_question() && look.is_stuck(now);
            // Who reads what is typed and has nothing to do is at the end of it, if it does not say that it is not.
            let done = done || (is_stuck && (self.is_at_prompt() || !self.is_marked));
            if is_stuck || (is_over && is_known(look)) {
                let wait = self.waits.remove(index);
                self.opener.take_if(|opener| *opener == wait.connection);
                over.push((wait.connection, wait.show, done));
            } else {
                index += 1;
            }
        }
        over
    }

    /// What a caller is told; what is new is told once.
    pub fn view(&mut self, workspace: &str, exec: u64, outcome: Outcome, show: Show, done: bool) -> ShellView {
        self.collect();
        let mut digest = Digest::new();
        let unread = std::mem::take(&mut self.unread);
        self.pass_over(unread.len());
        digest.push(unread.as_bytes());
        digest.push(self.unfinished.as_bytes());
        let raw = self.take_raw();
        let shown = self.terminal.screen();
        let command = self.terminal.commands().into_iter().next_back();
        let why = self.typed.told();
        ShellView {
            workspace: workspace.to_owned(),
            shell: self.name.to_string(),
            exec,
            outcome,
            text: if show.raw { raw } else { digest.show(TEXT_CHARS).text },
            cursor_row: u16::try_from(shown.cursor_row + 1).unwrap_or(u16::MAX),
            cursor_column: u16::try_from(shown.cursor_column + 1).unwrap_or(u16::MAX),
            screen: (show.screen || shown.alternate).then_some(shown.lines),
            at_prompt: self.terminal.is_at_prompt(),
            waits_for_input: None,
            command: command.map(|command| ShellCommand {
                line: command.line,
                finished: command.finished,
                exit: command.exit,
                outcome: why.0,
                next: why.1,
            }),
            lines_dropped: std::mem::take(&mut self.lines_dropped),
            done,
        }
    }

    /// What was written since it was read, made visible: the end of it, with a line that says what is missing.
    fn take_raw(&mut self) -> String {
        let kept: Vec<u8> = std::mem::take(&mut self.raw).into();
        let mut missing = std::mem::take(&mut self.raw_bytes) - kept.len() as u64;
        let mut shown = Untrusted::new(&kept).escaped();
        let mut rest = kept.as_slice();
        while shown.len() > TEXT_CHARS {
            let cut = rest.len().min(rest.len() / 4 + 1);
            rest = &rest[cut..];
            missing += cut as u64;
            shown = Untrusted::new(rest).escaped();
        }
        if missing > 0 { format!("[{missing} bytes before these are left out]\n{shown}") } else { shown }
    }

    /// What draws the screen as it is on the terminal of somebody who comes to see it.
    fn redraw(&self) -> Vec<u8> {
        let screen = self.terminal.screen();
        let rows = screen.lines.join("\r\n");
        format!("\u{1b}[H\u{1b}[2J{rows}\u{1b}[{};{}H", screen.cursor_row + 1, screen.cursor_column + 1).into_bytes()
    }

    /// A caller waits. `typed`: for what comes of what is typed now.
    pub fn wait(&mut self, connection: u32, until: Until, at_most: Duration, typed: bool) {
        let began = Instant::now();
        let before_it = self.last_ended();
        let before = (typed && matches!(until, Until::Pattern(_))).then(|| {
            self.collect();
            (self.unread.len(), self.unfinished.clone())
        });
        self.waits.push(Wait { connection, until, began, deadline: began + at_most, before_it, show: Show::default(), before });
    }

    /// What the caller who waits since last has typed is a command for the shell, and no answer to the one that runs: the end of that is not what it waits for.
    pub fn for_the_next(&mut self) {
        let begun = self.terminal.last_command().map_or(0, |command| command.number);
        let ahead = self.entered();
        if let Some(wait) = self.waits.last_mut() {
            wait.before_it = begun + ahead;
        }
    }

    /// A line is entered.
    pub fn enter(&mut self) {
        if self.is_at_prompt() {
            self.entered = (self.terminal.prompts(), self.entered() + 1);
        }
    }

    /// Lines that were entered at the prompt that is shown, and that the shell has not taken yet.
    fn entered(&self) -> u64 {
        let (prompt, lines) = self.entered;
        if self.is_at_prompt() && prompt == self.terminal.prompts() { lines } else { 0 }
    }

    /// How the caller who waits since last wants to see it.
    pub fn show_as(&mut self, show: Show) {
        if let Some(wait) = self.waits.last_mut() {
            wait.show = show;
        }
    }

    /// Gives the terminal another size.
    pub fn resize(&mut self, size: TerminalSize) {
        self.size = size;
        self.terminal.resize(Size { columns: size.columns, rows: size.rows });
    }

    /// A caller sees it live from now on; gives what draws the screen as it is.
    pub fn watch(&mut self, connection: u32) -> Vec<u8> {
        self.watchers.push(Watcher { connection, lags: false });
        self.redraw()
    }

    /// It was begun for this caller, who waits for its first prompt.
    pub fn open_for(&mut self, connection: u32, at_most: Duration) {
        self.opener = Some(connection);
        self.wait(connection, Until::End, at_most, true);
    }

    /// Who opened it and has had no answer yet: that one is no more among those who wait.
    pub fn take_opener(&mut self) -> Option<u32> {
        let opener = self.opener.take()?;
        self.forget(opener);
        Some(opener)
    }

    /// The program in it.
    pub fn program(&self) -> &str {
        &self.program
    }

    /// Everybody who waits for it or sees it; they do no more.
    pub fn take_callers(&mut self) -> Vec<u32> {
        let waits = self.waits.drain(..).map(|wait| wait.connection);
        waits.chain(self.watchers.drain(..).map(|watcher| watcher.connection)).collect()
    }

    /// What it is called.
    pub fn name(&self) -> &ShellName {
        &self.name
    }

    /// How keys and pastes are to be sent to it.
    pub fn modes(&self) -> Modes {
        self.terminal.modes()
    }

    /// As it is listed.
    pub fn entry(&self, exec: u64, age: Duration) -> ShellEntry {
        ShellEntry {
            shell: self.name.to_string(),
            exec,
            program: self.program.clone(),
            columns: self.size.columns,
            rows: self.size.rows,
            at_prompt: self.terminal.is_at_prompt(),
            duration_ms: u64::try_from(age.as_millis()).unwrap_or(u64::MAX),
            title: self.terminal.screen().title,
        }
    }
}

#[cfg(test)]
mod tests;
