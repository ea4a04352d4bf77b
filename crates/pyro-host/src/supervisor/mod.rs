//! The process outside that owns one running sandbox: one thread, one event loop, all state.
//!
//! Everything that can happen is a readable descriptor or a deadline: the link to the agent, the sandbox's end, callers on the control
//! socket, a signal, a finished piece of work. Each is turned into one call of a method here; nothing else touches the state, so
//! there is nothing to lock. No call blocks, save for writes to our own disk.
//!
//! A caller that goes away takes its call with it: its command is killed. What was started in the background inside lives on
//! until the workspace is stopped.

use std::collections::BTreeMap;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::net::{UnixListener, UnixStream};
use std::sync::mpsc;
use std::time::{Duration, Instant};

use pyro_api::ops::workspace::IsolationReport;
use pyro_api::{Call, Error, Result};
use pyro_sys::memory::Rest;
use pyro_wire::limits::KILL_CONFIRM_MS;
use pyro_wire::{Stream, ToAgent};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use serde_json::Value;

use crate::backend::{Sandbox, StackMount};
use crate::home::Place;
use crate::state::WorkspaceState;
use crate::store::Store;

mod callers;
pub mod change;
pub mod control;
mod end;
pub mod exec;
pub mod files;
mod inside;
pub mod jobs;
pub mod launch;
pub mod link;
mod look;
pub mod outcome;
pub mod output;
pub mod past;
mod shells;
mod tasks;
mod transfer;

use control::{Connection, OUTPUT_HIGH_WATER_BYTES};
use exec::{Due, Exec};
use files::FileTask;
use launch::Live;
use link::{Broken, Link};

/// How long processes inside have between TERM and KILL when a workspace is stopped.
const STOP_GRACE: Duration = Duration::from_secs(2);

/// How long the outside waits for the inside, and for callers, before it goes on without them.
#[derive(Clone, Copy, Debug)]
struct Patience {
    /// For the agent to confirm that something was killed.
    kill_confirm: Duration,
    /// For processes inside to end when a stop was asked for.
    grace: Duration,
    /// For the sandbox to end after that; `None`: what it needs.
    settle: Option<Duration>,
    /// For callers to read what there is to say to them.
    last_words: Duration,
    /// For anybody to want something, before the workspace is stopped: processes in the background are not waited for.
    idle: Duration,
}

impl Patience {
    /// What holds outside tests.
    const USUAL: Self = Self {
        kill_confirm: Duration::from_millis(KILL_CONFIRM_MS),
        grace: STOP_GRACE,
        settle: None,
        last_words: Duration::from_secs(2),
        // The contract's.
        idle: Duration::from_secs(30 * 60),
    };
}

/// Callers at one time. Each may hold a request of [`control::LINE_BYTES_MAX`]; an honest user has a handful.
const CONNECTIONS_MAX: usize = 128;

/// Everything about the workspace that does not change while it runs.
pub struct Subject {
    /// Its id.
    pub id: String,
    /// Its name; for answers.
    pub name: String,
    /// Its environment; for answers of one-shot runs.
    pub environment: String,
    /// Where it is on disk.
    pub place: Place,
    /// Variables that its environment gives to every command.
    pub environment_vars: Vec<(String, String)>,
    /// Its file system: for diff.
    pub mounts: Vec<StackMount>,
    /// Its memory limit.
    pub mem_mib: u64,
}

/// What is different between a workspace and a one-shot run.
pub enum Life<'a> {
    /// It is recorded, listens for callers, and goes on until it is stopped.
    Workspace {
        /// The record.
        store: Store,
        /// Where callers come in, until the end begins.
        listener: Option<UnixListener>,
        /// Number of the last exec.
        last_exec: u64,
        /// What its files were.
        past: Box<past::Past<'a>>,
    },
    /// It ends with its one command.
    Run,
}

/// The state of one supervisor.
pub struct Supervisor<'a> {
    subject: Subject,
    life: Life<'a>,
    state: WorkspaceState,
    sandbox: Option<Box<dyn Sandbox>>,
    link: Link,
    isolation: IsolationReport,
    connections: BTreeMap<u32, Connection>,
    connection_last: u32,
    tasks: BTreeMap<u32, Task>,
    channel_last: u32,
    failures: jobs::Failures,
    /// Callers that wait for the sandbox to be gone.
    stop_waiters: Vec<u32>,
    stop_deadline: Option<Instant>,
    /// Callers that wait for a diff, those that are gone too: their thread runs on. Never more than [`tasks::DIFFS_MAX`].
    diff_waiters: Vec<u32>,
    /// Calls whose machine has put everything on disk, and who waits for them.
    synced: Vec<(u32, Call)>,
    /// No caller is taken before.
    accept_after: Option<Instant>,
    rest: Rest,
    /// Since when nobody wants anything.
    idle_since: Instant,
    /// When it is to end whatever it does, if ever.
    expires_at: Option<Instant>,
    patience: Patience,
    work_done: mpsc::Receiver<Work>,
    work_sender: mpsc::Sender<Work>,
    /// A byte arrives on it when work is done.
    work_bell: UnixStream,
    work_ringer: UnixStream,
    /// A byte arrives on it when we are asked to end.
    signals: OwnedFd,
}

enum Task {
    Exec(Box<Exec>),
    File(Box<FileTask>),
}

impl Task {
    /// Since when nothing of it happens and nobody waits for it, if so: only a shell can be left like that.
    fn idle_since(&self) -> Option<Instant> {
        match self {
            Self::Exec(exec) => exec.session.as_ref()?.idle_since(),
            Self::File(_) => None,
        }
    }
}

/// Something that a thread of its own worked out.
enum Work {
    /// For a caller.
    Answer { connection: u32, answer: Result<Value> },
    /// For us: fewer layers that show the same.
    Squashed(Result<past::Squashed>),
}

/// Why the loop ended.
enum End {
    /// The sandbox ended because it was asked to.
    Stopped,
    /// It was lost.
    Lost(String),
}

/// What became ready in one turn of the loop.
struct Ready {
    link: bool,
    gone: bool,
    caller: bool,
    work: bool,
    signal: bool,
    connections: Vec<u32>,
}

impl<'a> Supervisor<'a> {
    /// Takes over a sandbox that is up. `signals` becomes readable when this process is asked to end.
    ///
    /// # Errors
    /// When a socket pair cannot be made.
    pub fn new(subject: Subject, life: Life<'a>, live: Live, signals: OwnedFd) -> Result<Self> {
        let (work_bell, work_ringer) = UnixStream::pair()
            .and_then(|(bell, ringer)| bell.set_nonblocking(true).map(|()| (bell, ringer)))
            .map_err(|error| Error::internal("a socket pair cannot be made").because(error))?;
        let (work_sender, work_done) = mpsc::channel();
        let slowness = live.sandbox.slowness();
        Ok(Self {
            subject,
            life,
            state: WorkspaceState::Running,
            sandbox: Some(live.sandbox),
            link: live.link,
            isolation: live.isolation,
            connections: BTreeMap::new(),
            connection_last: 0,
            tasks: BTreeMap::new(),
            channel_last: 0,
            failures: jobs::Failures::default(),
            stop_waiters: Vec::new(),
            stop_deadline: None,
            diff_waiters: Vec::new(),
            synced: Vec::new(),
            accept_after: None,
            rest: Rest::default(),
            idle_since: Instant::now(),
            expires_at: None,
            patience: Patience { kill_confirm: Patience::USUAL.kill_confirm * slowness, ..Patience::USUAL },
            work_done,
            work_sender,
            work_bell,
            work_ringer,
            signals,
        })
    }

    /// That its workspace is to be deleted then: it stops, and whoever looks next deletes it.
    #[must_use]
    pub fn until(self, expires_at: Option<crate::clock::Instant>) -> Self {
        Self { expires_at: expires_at.map(|at| Instant::now() + at.left()), ..self }
    }

    /// Adds a caller.
    pub fn add_connection(&mut self, connection: Connection) -> u32 {
        self.connection_last += 1;
        self.connections.insert(self.connection_last, connection);
        self.connection_last
    }

    /// Gives a caller its answer. One that is gone gets none.
    pub fn answer(&mut self, connection: u32, answer: Result<Value>) {
        if let Some(connection) = self.connections.get_mut(&connection) {
            connection.answer(answer);
        }
    }

    /// Runs until the sandbox is gone, and takes everything of it away.
    ///
    /// # Errors
    /// When something could not be taken away or recorded.
    pub fn serve(mut self) -> Result<()> {
        let end = self.turn_until_end();
        let cleared = self.clear(end);
        self.flush_callers();
        cleared
    }

    fn turn_until_end(&mut self) -> End {
        loop {
            let is_over = matches!(self.life, Life::Run) && self.tasks.is_empty();
            if let Some(sandbox) = self.sandbox.as_ref().filter(|_| is_over) {
                // Nothing of it runs on when its caller has the answer; clearing up is done after that.
                sandbox.condemn();
            }
            if let Some(end) = self.send_what_waits() {
                return end;
            }
            if is_over {
                return End::Stopped;
            }
            if let Some(end) = self.settle(false) {
                return end;
            }
            self.prepare();
            let ready = match self.wait() {
                Ok(ready) => ready,
                Err(error) => return End::Lost(format!("poll: {error}")),
            };
            if ready.link
                && let Some(end) = self.read_link()
            {
                return end;
            }
            for (connection, call) in std::mem::take(&mut self.synced) {
                if let Some(end) = self.do_call(connection, call) {
                    return end;
                }
            }
            if ready.gone && !ready.link {
                return self.gone("the sandbox ended by itself");
            }
            if ready.signal {
                self.begin_stop();
            }
            // What was done is a step of its own before anything else is begun.
            if (ready.caller || !ready.connections.is_empty())
                && let Some(end) = self.settle(true)
            {
                return end;
            }
            if ready.caller {
                self.accept();
            }
            if ready.work {
                self.take_work();
            }
            for id in ready.connections {
                if let Some(end) = self.read_connection(id) {
                    return end;
                }
            }
            if let Some(end) = self.meet_deadlines() {
                return end;
            }
        }
    }

    /// Writes what can be written, gives back credit, passes on input, and drops callers that are done.
    fn send_what_waits(&mut self) -> Option<End> {
        let mut lost = Vec::new();
        for (id, connection) in &mut self.connections {
            if connection.flush().is_err() || connection.is_finished() {
                lost.push(*id);
            }
        }
        for id in lost {
            self.drop_connection(id);
        }
        // After the callers were written to: what they took is what makes room.
        for (channel, task) in &mut self.tasks {
            let Task::Exec(exec) = task else { continue };
            let connection = exec.connection.and_then(|id| self.connections.get(&id));
            let room = connection.is_none_or(|connection| connection.pending_bytes() < OUTPUT_HIGH_WATER_BYTES);
            let credit = exec.take_credit(room).map(|bytes| self.link.send(*channel, &ToAgent::Credit { bytes }));
            let (input, input_end) = exec.take_stdin();
            let sent = self.link.send_data(*channel, Stream::Stdin, &input);
            let ended = if input_end { self.link.send(*channel, &ToAgent::StdinEnd) } else { Ok(()) };
            let asked = exec.take_inspect().map_or(Ok(()), |inspect| self.link.send(*channel, &ToAgent::Inspect(inspect)));
            if let Some(Err(violation)) = [credit.unwrap_or(Ok(())), sent, ended, asked].into_iter().find(Result::is_err) {
                return Some(End::Lost(format!("our own message breaks the protocol: {violation}")));
            }
        }
        self.link.flush().err().map(|broken| self.broken(broken))
    }

    fn wait(&mut self) -> Result<Ready, rustix::io::Errno> {
        let in_and = |wants_out: bool| {
            let mut flags = PollFlags::IN;
            flags.set(PollFlags::OUT, wants_out);
            flags
        };
        let sandbox = self.sandbox.as_ref().expect("it is taken only after the loop");
        let (link, watch, signals) = (self.link.fd(), sandbox.watch(), self.signals.as_fd());
        let mut fds = vec![
            PollFd::from_borrowed_fd(link, in_and(self.link.wants_to_write())),
            PollFd::from_borrowed_fd(watch, PollFlags::IN),
            PollFd::from_borrowed_fd(self.work_bell.as_fd(), PollFlags::IN),
            // Once it was heard it would be heard at every turn.
            PollFd::from_borrowed_fd(signals, if self.stop_deadline.is_none() { PollFlags::IN } else { PollFlags::empty() }),
        ];
        let fixed = fds.len();
        let listens = match &self.life {
            Life::Workspace { listener: Some(listener), .. }
                if self.connections.len() < CONNECTIONS_MAX && self.accept_after.is_none() =>
            {
                fds.push(PollFd::from_borrowed_fd(listener.as_fd(), PollFlags::IN));
                1
            }
            Life::Workspace { .. } | Life::Run => 0,
        };
        for (id, connection) in &self.connections {
            let mut flags = in_and(connection.wants_to_write());
            // A caller whose command takes no more input now is not read; that it hangs up is noticed all the same.
            if !connection.wants_to_read()
                || self
                    .tasks
                    .values()
                    .any(|task| matches!(task, Task::Exec(exec) if exec.connection == Some(*id) && exec.stdin_is_full()))
            {
                flags.remove(PollFlags::IN);
            }
            fds.push(PollFd::from_borrowed_fd(connection.fd(), flags));
        }
        let deadline = self.next_deadline();
        let past = self.past_deadline();
        let is_idle = deadline.is_none() && past.is_none() && self.nobody_waits();
        // Rounded up: waking a little early would only mean another turn.
        let until = |deadline: Instant| deadline.saturating_duration_since(Instant::now()) + Duration::from_millis(1);
        let rest = if is_idle { self.rest.patience() } else { None };
        let soon = past.map(|past| past.saturating_duration_since(Instant::now()));
        let timeout = deadline.map(until).into_iter().chain(soon).chain(rest).chain(self.end_by_itself().map(until)).min();
        let timeout = timeout.map(|timeout| Timespec::try_from(timeout).expect("deadlines are within a century"));
        let mut rests = false;
        match poll(&mut fds, timeout.as_ref()) {
            Ok(0) if is_idle => {
                self.rest.begin();
                rests = true;
            }
            Ok(0) | Err(rustix::io::Errno::INTR) => {}
            Ok(_) => self.rest.wake(),
            Err(error) => return Err(error),
        }
        let ready: Vec<bool> = fds.iter().map(|fd| !fd.revents().is_empty()).collect();
        // That a caller can be written to is no reason to read from it.
        let readable = |fd: &PollFd<'_>| !fd.revents().difference(PollFlags::OUT).is_empty();
        let connections =
            self.connections.keys().zip(&fds[fixed + listens..]).filter(|(_, fd)| readable(fd)).map(|(id, _)| *id).collect();
        let ready = Ready {
            link: ready[0],
            gone: ready[1],
            work: ready[2],
            signal: ready[3],
            caller: listens == 1 && ready[fixed],
            connections,
        };
        if let Some(sandbox) = self.sandbox.as_mut().filter(|_| rests) {
            sandbox.rest();
        }
        Ok(ready)
    }

    fn next_deadline(&self) -> Option<Instant> {
        let tasks = self.tasks.values().map(|task| match task {
            Task::Exec(exec) => exec.deadline(),
            Task::File(file) => file.deadline(),
        });
        tasks.chain(self.stop_deadline).chain(self.accept_after).min()
    }

    /// Nothing runs for anybody, and nobody is there. A shell that somebody has left at its prompt is nothing that runs.
    fn nobody_waits(&self) -> bool {
        self.connections.is_empty() && self.tasks.values().all(|task| task.idle_since().is_some())
    }

    /// When a workspace stops though nobody asks for it.
    fn end_by_itself(&self) -> Option<Instant> {
        if self.stop_deadline.is_some() || matches!(self.life, Life::Run) {
            return None;
        }
        let since = self.tasks.values().filter_map(Task::idle_since).fold(self.idle_since, Instant::max);
        let idle = self.nobody_waits().then(|| since + self.patience.idle);
        idle.into_iter().chain(self.expires_at).min()
    }

    fn meet_deadlines(&mut self) -> Option<End> {
        let now = Instant::now();
        if !self.nobody_waits() {
            self.idle_since = now;
        }
        if self.end_by_itself().is_some_and(|end| end <= now) {
            self.begin_stop();
        }
        if self.stop_deadline.is_some_and(|deadline| deadline <= now) {
            // It had its time; what is left is killed with the sandbox.
            return Some(End::Stopped);
        }
        if self.accept_after.is_some_and(|after| after <= now) {
            self.accept_after = None;
        }
        self.answer_lapsed(now);
        self.answer_shells(now);
        let mut kill = Vec::new();
        for (channel, task) in &mut self.tasks {
            let (due, what) = match task {
                Task::Exec(exec) => (exec.due(now), "a killed command is gone"),
                Task::File(file) => (file.due(now, self.patience.kill_confirm), "a file request was given up"),
            };
            match due {
                Due::Nothing => {}
                Due::Kill => kill.push(*channel),
                Due::Distrust => return Some(End::Lost(format!("the agent did not confirm that {what}"))),
            }
        }
        kill.into_iter().find_map(|channel| self.send(channel, &ToAgent::Kill))
    }

    /// Queues a message that we made ourselves. That it breaks the protocol would be our own fault: then nothing is believed any more.
    fn send(&mut self, channel: u32, message: &ToAgent) -> Option<End> {
        self.link
            .send(channel, message)
            .err()
            .map(|violation| End::Lost(format!("our own message breaks the protocol: {violation}")))
    }

    fn broken(&mut self, broken: Broken) -> End {
        match broken {
            Broken::Closed => self.gone("the agent closed the link"),
            Broken::Violation(violation) => End::Lost(format!("the agent broke the protocol: {violation}")),
        }
    }

    fn gone(&self, why: &str) -> End {
        if self.stop_deadline.is_some() { End::Stopped } else { End::Lost(why.to_owned()) }
    }
}

/// Says something to the supervisor's log: there is nobody else to tell.
pub fn complain(error: &Error) {
    eprintln!("{} {error}", crate::clock::Instant::now().rfc3339());
}

#[cfg(test)]
mod tests;
