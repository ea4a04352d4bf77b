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

use pyro_api::envelope::Input;
use pyro_api::ops::exec::{ExecRequest, ExecResponse, Outcome, RunResponse};
use pyro_api::ops::file::DiffRequest;
use pyro_api::ops::workspace::IsolationReport;
use pyro_api::{Call, Error, Event, Op, Result, ops};
use pyro_sys::memory::Rest;
use pyro_wire::frame::Frame;
use pyro_wire::limits::{CHANNELS_MAX, KILL_CONFIRM_MS};
use pyro_wire::{FromAgent, Stream, ToAgent, Violation};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use serde_json::Value;

use crate::backend::{LayersAt, Sandbox, StackMount};
use crate::home::Place;
use crate::state::{StateEvent, WorkspaceState};
use crate::store::{ExecEnd, Store};

pub mod control;
pub mod exec;
mod files;
pub mod launch;
pub mod link;
pub mod output;

use control::{Connection, OUTPUT_HIGH_WATER_BYTES, Said};
use exec::{Due, Ended, Exec, ExecPlan, Record};
use files::{FileTask, Step};
use launch::Live;
use link::{Broken, Link};

/// How long processes inside have between TERM and KILL when a workspace is stopped.
const STOP_GRACE: Duration = Duration::from_secs(2);

/// Frames of the agent are taken from at most so many reads before all others have their turn: one that never stops sending must not
/// keep callers, deadlines and the order to stop waiting. Each read is at most one frame of the largest size.
const LINK_READS_PER_TURN: usize = 8;

/// Diffs at one time. Each is a thread, here or inside, that reads layers; more of them would only wait for the same disk.
const DIFFS_MAX: usize = 8;

/// After the system could not give us a caller (no descriptor is free, say), how long we leave the queue alone.
const ACCEPT_REST: Duration = Duration::from_millis(100);

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
}

impl Patience {
    /// What holds outside tests.
    const USUAL: Self = Self {
        kill_confirm: Duration::from_millis(KILL_CONFIRM_MS),
        grace: STOP_GRACE,
        settle: None,
        last_words: Duration::from_secs(2),
    };
}
/// Why a command ended whose workspace was stopped.
const STOPPED: &str = "the workspace was stopped";

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
pub enum Life {
    /// It is recorded, listens for callers, and goes on until it is stopped.
    Workspace {
        /// The record.
        store: Store,
        /// Where callers come in, until the end begins.
        listener: Option<UnixListener>,
        /// Number of the last exec.
        last_exec: u64,
    },
    /// It ends with its one command.
    Run,
}

/// The state of one supervisor.
pub struct Supervisor {
    subject: Subject,
    life: Life,
    state: WorkspaceState,
    sandbox: Option<Box<dyn Sandbox>>,
    link: Link,
    isolation: IsolationReport,
    connections: BTreeMap<u32, Connection>,
    connection_last: u32,
    tasks: BTreeMap<u32, Task>,
    channel_last: u32,
    /// Callers that wait for the sandbox to be gone.
    stop_waiters: Vec<u32>,
    stop_deadline: Option<Instant>,
    /// Callers that wait for a diff, those that are gone too: their thread runs on. Never more than [`DIFFS_MAX`].
    diff_waiters: Vec<u32>,
    /// No caller is taken before.
    accept_after: Option<Instant>,
    rest: Rest,
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

/// Something that a thread of its own worked out.
struct Work {
    connection: u32,
    answer: Result<Value>,
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

impl Supervisor {
    /// Takes over a sandbox that is up. `signals` becomes readable when this process is asked to end.
    ///
    /// # Errors
    /// When a socket pair cannot be made.
    pub fn new(subject: Subject, life: Life, live: Live, signals: OwnedFd) -> Result<Self> {
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
            stop_waiters: Vec::new(),
            stop_deadline: None,
            diff_waiters: Vec::new(),
            accept_after: None,
            rest: Rest::default(),
            patience: Patience { kill_confirm: Patience::USUAL.kill_confirm * slowness, ..Patience::USUAL },
            work_done,
            work_sender,
            work_bell,
            work_ringer,
            signals,
        })
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
            let ready = match self.wait() {
                Ok(ready) => ready,
                Err(error) => return End::Lost(format!("poll: {error}")),
            };
            if ready.link
                && let Some(end) = self.read_link()
            {
                return end;
            }
            if ready.gone && !ready.link {
                return self.gone("the sandbox ended by itself");
            }
            if ready.signal {
                self.begin_stop();
            }
            if ready.caller {
                self.accept();
            }
            if ready.work {
                self.take_work();
            }
            for id in ready.connections {
                self.read_connection(id);
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
            if let Some(Err(violation)) = [credit.unwrap_or(Ok(())), sent, ended].into_iter().find(Result::is_err) {
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
        let is_idle = deadline.is_none() && self.tasks.is_empty() && self.connections.is_empty();
        // Rounded up: waking a little early would only mean another turn.
        let left = deadline.map(|deadline| deadline.saturating_duration_since(Instant::now()) + Duration::from_millis(1));
        let timeout = left.or(if is_idle { self.rest.patience() } else { None });
        let timeout = timeout.map(|timeout| Timespec::try_from(timeout).expect("deadlines are within a century"));
        match poll(&mut fds, timeout.as_ref()) {
            Ok(0) if is_idle => self.rest.begin(),
            Ok(0) | Err(rustix::io::Errno::INTR) => {}
            Ok(_) => self.rest.wake(),
            Err(error) => return Err(error),
        }
        let ready: Vec<bool> = fds.iter().map(|fd| !fd.revents().is_empty()).collect();
        // That a caller can be written to is no reason to read from it.
        let readable = |fd: &PollFd<'_>| !fd.revents().difference(PollFlags::OUT).is_empty();
        let connections =
            self.connections.keys().zip(&fds[fixed + listens..]).filter(|(_, fd)| readable(fd)).map(|(id, _)| *id).collect();
        Ok(Ready {
            link: ready[0],
            gone: ready[1],
            work: ready[2],
            signal: ready[3],
            caller: listens == 1 && ready[fixed],
            connections,
        })
    }

    fn next_deadline(&self) -> Option<Instant> {
        let tasks = self.tasks.values().map(|task| match task {
            Task::Exec(exec) => exec.deadline(),
            Task::File(file) => file.deadline(),
        });
        tasks.chain(self.stop_deadline).chain(self.accept_after).min()
    }

    fn meet_deadlines(&mut self) -> Option<End> {
        let now = Instant::now();
        if self.stop_deadline.is_some_and(|deadline| deadline <= now) {
            // It had its time; what is left is killed with the sandbox.
            return Some(End::Stopped);
        }
        if self.accept_after.is_some_and(|after| after <= now) {
            self.accept_after = None;
        }
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

    // --- the inside -------------------------------------------------------------------------------------------------

    fn read_link(&mut self) -> Option<End> {
        for _ in 0..LINK_READS_PER_TURN {
            let mut frames = Vec::new();
            let read = self.link.read(|frame| frames.push(frame));
            for frame in frames {
                if let Err(violation) = self.take_frame(frame) {
                    return Some(self.broken(Broken::Violation(violation)));
                }
            }
            match read {
                Ok(true) => {}
                Ok(false) => return None,
                Err(broken) => return Some(self.broken(broken)),
            }
        }
        None
    }

    fn take_frame(&mut self, frame: Frame<FromAgent>) -> Result<(), Violation> {
        let channel = match &frame {
            Frame::Control { channel, .. } | Frame::Data { channel, .. } => *channel,
        };
        let Some(task) = self.tasks.get_mut(&channel) else {
            return Err(Violation(format!("a message came on channel {channel}, which is not open")));
        };
        match (task, frame) {
            (Task::Exec(exec), Frame::Data { stream, bytes, .. }) => {
                exec.output(stream, &bytes)?;
                if let Some(connection) = exec.connection.and_then(|id| self.connections.get_mut(&id))
                    && connection.wants_events()
                {
                    connection.event(if stream == Stream::Stdout { Event::Stdout(bytes) } else { Event::Stderr(bytes) });
                }
                Ok(())
            }
            (Task::Exec(exec), Frame::Control { message, .. }) => {
                let kills = || self.sandbox.as_ref().map_or(0, |sandbox| sandbox.out_of_memory_kills());
                let ended = match message {
                    FromAgent::Started { .. } => return exec.started(),
                    FromAgent::Credit { bytes } => return exec.add_stdin_credit(bytes),
                    FromAgent::Exited(report) => {
                        let ended = exec.exited(&report, kills(), self.subject.mem_mib)?;
                        match &ended.outcome {
                            // Everything inside is being told to end, and then killed: that it was is no news, but why.
                            Outcome::Signaled { .. } if self.stop_deadline.is_some() => {
                                exec.ended(Outcome::SandboxLost { reason: STOPPED.to_owned() })
                            }
                            _ => ended,
                        }
                    }
                    FromAgent::NotStarted(report) => exec.not_started(&report)?,
                    FromAgent::Waiting
                    | FromAgent::Hello(_)
                    | FromAgent::Entries(_)
                    | FromAgent::Changes(_)
                    | FromAgent::Diffed(_)
                    | FromAgent::FileInfo(_)
                    | FromAgent::Written(_)
                    | FromAgent::Done
                    | FromAgent::Failed(_) => {
                        return Err(Violation("a command was answered with a message that is not an answer to it".to_owned()));
                    }
                };
                if let Some(Task::Exec(exec)) = self.tasks.remove(&channel) {
                    self.end_exec(*exec, ended);
                }
                Ok(())
            }
            (Task::File(file), frame) => {
                let step = match frame {
                    Frame::Data { stream, bytes, .. } => file.data(stream, &bytes)?,
                    Frame::Control { message, .. } => file.message(message)?,
                };
                match step {
                    Step::More => {}
                    Step::Credit(bytes) => self.link.send(channel, &ToAgent::Credit { bytes })?,
                    Step::Content(bytes) => self.link.send_data(channel, Stream::Content, &bytes)?,
                    Step::Done(answer) => {
                        if let Some(Task::File(file)) = self.tasks.remove(&channel) {
                            self.end_file(*file, answer);
                        }
                    }
                }
                Ok(())
            }
        }
    }

    fn end_exec(&mut self, exec: Exec, ended: Ended) {
        let duration_ms = u64::try_from(ended.duration.as_millis()).unwrap_or(u64::MAX);
        let answer = match exec.record {
            Record::Workspace { exec: number, event } => {
                let end = ExecEnd {
                    outcome: &ended.outcome,
                    words: exec::in_words(&ended.outcome),
                    stdout: (exec.stdout.bytes_total(), exec.stdout.bytes_dropped()),
                    stderr: (exec.stderr.bytes_total(), exec.stderr.bytes_dropped()),
                    duration_ms,
                };
                let recorded = match &mut self.life {
                    Life::Workspace { store, .. } => store.end_exec(&self.subject.id, number, event, &end),
                    Life::Run => Ok(()),
                };
                recorded.and_then(|()| {
                    crate::ops::to_value(&ExecResponse {
                        workspace: self.subject.name.clone(),
                        exec: number,
                        outcome: ended.outcome,
                        stdout: exec.stdout.clip(),
                        stderr: exec.stderr.clip(),
                        duration_ms,
                        next: ended.next,
                    })
                })
            }
            Record::Run => crate::ops::to_value(&RunResponse {
                environment: self.subject.environment.clone(),
                outcome: ended.outcome,
                stdout: exec.stdout.clip(),
                stderr: exec.stderr.clip(),
                duration_ms,
                isolation: self.isolation.clone(),
            }),
        };
        if let Some(connection) = exec.connection {
            self.answer(connection, answer);
        }
    }

    fn end_file(&mut self, file: FileTask, answer: Result<Value>) {
        if file.is_recorded() {
            self.log("workspace file write", &file.subject, &answer);
        }
        if let Some(connection) = file.connection {
            self.answer(connection, answer);
        }
    }

    fn log(&mut self, op: &str, subject: &str, answer: &Result<Value>) {
        let Life::Workspace { store, .. } = &mut self.life else { return };
        let outcome = match answer {
            Ok(_) => "ok",
            Err(error) => error.message.as_str(),
        };
        if let Err(error) = store.add_event(&self.subject.id, op, subject, outcome) {
            complain(&error);
        }
    }

    // --- our own user -----------------------------------------------------------------------------------------------

    fn accept(&mut self) {
        let Life::Workspace { listener: Some(listener), .. } = &self.life else { return };
        let stream = match listener.accept() {
            Ok((stream, _)) => stream,
            Err(error) if matches!(error.kind(), std::io::ErrorKind::WouldBlock | std::io::ErrorKind::Interrupted) => return,
            Err(error) => {
                // It waits in the queue and is seen at every turn until we have room for it.
                self.accept_after = Some(Instant::now() + ACCEPT_REST);
                return complain(&Error::unavailable("a caller has to wait").because(error));
            }
        };
        match Connection::new(stream) {
            Ok(connection) => drop(self.add_connection(connection)),
            Err(error) => complain(&Error::internal("a caller was turned away").because(error)),
        }
    }

    fn read_connection(&mut self, id: u32) {
        let Some(connection) = self.connections.get_mut(&id) else { return };
        match connection.read() {
            Ok(said) => {
                for said in said {
                    match said {
                        Said::Call(call) => self.begin_call(id, call),
                        Said::Input(input) => self.take_input(id, input),
                    }
                }
            }
            Err(_) => self.drop_connection(id),
        }
    }

    /// A caller is gone: what it waited for is taken back.
    fn drop_connection(&mut self, id: u32) {
        self.connections.remove(&id);
        self.stop_waiters.retain(|waiter| *waiter != id);
        self.take_back(id);
        for task in self.tasks.values_mut() {
            let connection = match task {
                Task::Exec(exec) => &mut exec.connection,
                Task::File(file) => &mut file.connection,
            };
            if *connection == Some(id) {
                *connection = None;
            }
        }
    }

    /// Ends what a caller waits for.
    fn take_back(&mut self, id: u32) {
        let mut kill = Vec::new();
        for (channel, task) in &mut self.tasks {
            let cancelled = match task {
                Task::Exec(exec) => exec.connection == Some(id) && exec.cancel(),
                Task::File(file) => file.connection == Some(id) && file.cancel(self.patience.kill_confirm),
            };
            if cancelled {
                kill.push(*channel);
            }
        }
        for channel in kill {
            if let Err(violation) = self.link.send(channel, &ToAgent::Kill) {
                complain(&Error::internal(violation.0));
            }
        }
    }

    /// Input or a signal for the command of a caller.
    pub fn take_input(&mut self, id: u32, input: Input) {
        if input == Input::Signal(0) {
            return self.take_back(id);
        }
        let found = self.tasks.iter_mut().find_map(|(channel, task)| match task {
            Task::Exec(exec) if exec.connection == Some(id) => Some((*channel, exec)),
            Task::Exec(_) | Task::File(_) => None,
        });
        // Input for a command that has just ended is nobody's.
        let Some((channel, exec)) = found else { return };
        let message = match input {
            Input::Stdin(bytes) => return exec.add_stdin(&bytes),
            Input::StdinEnd => return exec.end_stdin(),
            Input::Signal(signal) => ToAgent::Signal { signal },
        };
        if let Err(violation) = self.link.send(channel, &message) {
            complain(&Error::invalid(violation.0));
        }
    }

    fn begin_call(&mut self, id: u32, call: Call) {
        if self.stop_deadline.is_some() && call.op != ops::WorkspaceStop::NAME {
            // It can be done by the next supervisor, which its caller starts.
            return self.connections.get_mut(&id).map_or((), Connection::put_off);
        }
        let begun = match call.op.as_str() {
            ops::WorkspaceExec::NAME => {
                crate::ops::parse(call.request).and_then(|request| self.begin_workspace_exec(id, &request, call.stream))
            }
            ops::FileList::NAME => crate::ops::parse(call.request)
                .and_then(|request| FileTask::list(&self.subject.name, id, &request))
                .and_then(|task| self.begin_file(task)),
            ops::FileRead::NAME => crate::ops::parse(call.request)
                .and_then(|request| FileTask::read(&self.subject.name, id, &request))
                .and_then(|task| self.begin_file(task)),
            ops::FileWrite::NAME => crate::ops::parse(call.request)
                .and_then(|request| FileTask::write(&self.subject.name, id, &request))
                .and_then(|task| self.begin_file(task)),
            ops::WorkspaceDiff::NAME => crate::ops::parse(call.request).and_then(|request| self.begin_diff(id, &request)),
            ops::WorkspaceStop::NAME => {
                self.stop_waiters.push(id);
                self.begin_stop();
                Ok(())
            }
            ops::WorkspaceStart::NAME => {
                self.answer(id, Ok(Value::Null));
                Ok(())
            }
            other => Err(Error::unavailable(format!("the workspace's supervisor does not know the operation {other}"))
                .hint("it runs under another version of pyro: stop the workspace and start it again")),
        };
        if let Err(error) = begun {
            self.answer(id, Err(error));
        }
    }

    fn admit(&mut self) -> Result<u32> {
        if self.tasks.len() >= CHANNELS_MAX {
            return Err(Error::limit(format!("{CHANNELS_MAX} commands and file requests run in {} already", self.subject.name))
                .hint("wait for some to end"));
        }
        self.channel_last = self.channel_last.checked_add(1).ok_or_else(|| {
            Error::limit(format!("workspace {} has served four thousand million requests", self.subject.name))
                .hint("stop it and start it again")
        })?;
        Ok(self.channel_last)
    }

    fn begin_workspace_exec(&mut self, id: u32, request: &ExecRequest, streams: bool) -> Result<()> {
        ops::WorkspaceExec::check(request)?;
        let env = exec::compose_env(
            self.subject.environment_vars.iter().map(|(name, value)| (name.as_str(), value.as_str())),
            request.env.iter().map(|var| (var.name.as_str(), var.value.as_str())),
        );
        let plan = ExecPlan {
            command: request.command.clone(),
            cwd: exec::working_directory(request.cwd.as_deref())?,
            env,
            stdin: request.stdin.clone(),
            stdin_streams: streams && request.stdin.is_none(),
            timeout: Duration::from_secs(request.timeout_seconds.get()),
        };
        self.begin_exec(id, &plan)
    }

    /// Sends a command to the agent; its caller gets the answer when it has ended.
    ///
    /// # Errors
    /// `Limit` or `Conflict` when it is not admitted; `Invalid` when it fits no frame.
    pub fn begin_exec(&mut self, connection: u32, plan: &ExecPlan) -> Result<()> {
        let channel = self.admit()?;
        self.link
            .send(channel, &ToAgent::Spawn(Exec::spawn(plan)))
            .map_err(|violation| Error::invalid(format!("the command cannot be sent: {violation}")))?;
        // On its way before it is recorded: the agent starts it while we write.
        let flushed = self.link.flush();
        let (record, outputs) = match &mut self.life {
            Life::Run => (Record::Run, None),
            Life::Workspace { store, last_exec, .. } => {
                let number = *last_exec + 1;
                let event = match store.begin_exec(&self.subject.id, number, &plan.command.to_string()) {
                    Ok(event) => event,
                    Err(error) => {
                        // It is not acknowledged, so it must not run on: the loop finds the channel unknown no more.
                        self.tasks.insert(
                            channel,
                            Task::Exec(Box::new(Exec::new(plan, connection, Record::Run, None, 0, self.patience.kill_confirm))),
                        );
                        self.forget_exec(channel);
                        return Err(error);
                    }
                };
                *last_exec = number;
                let execs = self.subject.place.execs();
                (
                    Record::Workspace { exec: number, event },
                    Some((execs.join(format!("{number}.out")), execs.join(format!("{number}.err")))),
                )
            }
        };
        let kills = self.sandbox.as_ref().map_or(0, |sandbox| sandbox.out_of_memory_kills());
        self.tasks
            .insert(channel, Task::Exec(Box::new(Exec::new(plan, connection, record, outputs, kills, self.patience.kill_confirm))));
        match flushed {
            Ok(()) => Ok(()),
            // The loop meets the same end at its next turn and answers for every task.
            Err(Broken::Closed | Broken::Violation(_)) => Ok(()),
        }
    }

    /// Kills a command that nobody will be told of.
    fn forget_exec(&mut self, channel: u32) {
        if let Some(Task::Exec(exec)) = self.tasks.get_mut(&channel) {
            exec.connection = None;
            exec.cancel();
        }
        if let Err(violation) = self.link.send(channel, &ToAgent::Kill) {
            complain(&Error::internal(violation.0));
        }
    }

    fn begin_file(&mut self, (task, message): (FileTask, ToAgent)) -> Result<()> {
        let channel = self.admit()?;
        self.link
            .send(channel, &message)
            .map_err(|violation| Error::invalid(format!("the request cannot be sent: {violation}")))?;
        self.tasks.insert(channel, Task::File(Box::new(task)));
        Ok(())
    }

    /// A diff reads layers, which may take long: a thread of its own does it, or the agent where only the inside may read them.
    fn begin_diff(&mut self, connection: u32, request: &DiffRequest) -> Result<()> {
        let inside = self.tasks.values().filter(|task| matches!(task, Task::File(file) if file.is_diff())).count();
        if self.diff_waiters.len() + inside >= DIFFS_MAX {
            return Err(Error::limit(format!("{DIFFS_MAX} diffs of {} are being made already", self.subject.name))
                .hint("wait for one to end"));
        }
        let path = files::path_of(&request.path)?;
        let stat = request.stat;
        match self.sandbox.as_ref().expect("it is taken only after the loop").layers() {
            LayersAt::Outside => {}
            LayersAt::Inside => return self.begin_file(FileTask::diff(&self.subject.name, connection, path, stat)),
        }
        let mounts = self.subject.mounts.clone();
        let name = self.subject.name.clone();
        let sender = self.work_sender.clone();
        let no_room = |error: std::io::Error| Error::unavailable("a diff cannot be begun").because(error);
        let mut ringer = self.work_ringer.try_clone().map_err(no_room)?;
        let work = move || {
            let answer = crate::diff::diff(&name, &mounts, &path, stat).and_then(|response| crate::ops::to_value(&response));
            // When the loop has ended nobody waits for either.
            let _ = sender.send(Work { connection, answer });
            let _ = std::io::Write::write_all(&mut ringer, &[1]);
        };
        std::thread::Builder::new().name("diff".into()).spawn(work).map_err(no_room)?;
        self.diff_waiters.push(connection);
        Ok(())
    }

    fn take_work(&mut self) {
        let mut bell = [0_u8; 64];
        // Only its ring matters; what it holds beyond is heard in the next turn.
        let _ = std::io::Read::read(&mut self.work_bell, &mut bell);
        while let Ok(Work { connection, answer }) = self.work_done.try_recv() {
            if let Some(place) = self.diff_waiters.iter().position(|waiter| *waiter == connection) {
                self.diff_waiters.swap_remove(place);
            }
            self.answer(connection, answer);
        }
    }

    // --- the end ----------------------------------------------------------------------------------------------------

    fn begin_stop(&mut self) {
        if self.stop_deadline.is_some() {
            return;
        }
        if let Ok(next) = self.state.clone().apply(StateEvent::Stop) {
            self.state = next;
        }
        let needs = self.sandbox.as_ref().map_or(Duration::ZERO, |sandbox| sandbox.settles_within());
        self.stop_deadline = Some(Instant::now() + self.patience.grace + self.patience.settle.unwrap_or(needs));
        let grace_ms = u32::try_from(self.patience.grace.as_millis()).unwrap_or(u32::MAX);
        if let Err(violation) = self.link.send(0, &ToAgent::Shutdown { grace_ms }) {
            complain(&Error::internal(violation.0));
        }
    }

    /// Ends what is left, answers everybody, and records how it ended.
    fn clear(&mut self, end: End) -> Result<()> {
        let killed = match self.sandbox.take() {
            Some(sandbox) => sandbox.kill(),
            None => Ok(()),
        };
        let reason = match &end {
            End::Stopped => STOPPED.to_owned(),
            End::Lost(why) => why.clone(),
        };
        let lost = || Error::sandbox(reason.clone()).hint("using the workspace starts it again");
        for (_, task) in std::mem::take(&mut self.tasks) {
            match task {
                Task::Exec(exec) => {
                    let ended = exec.ended(Outcome::SandboxLost { reason: reason.clone() });
                    self.end_exec(*exec, ended);
                }
                Task::File(file) => self.end_file(*file, Err(lost())),
            }
        }
        for waiter in std::mem::take(&mut self.diff_waiters) {
            self.answer(waiter, Err(lost()));
        }
        let event = match end {
            End::Stopped => StateEvent::Gone,
            End::Lost(why) => StateEvent::Lost(why),
        };
        let recorded = match &mut self.life {
            Life::Run => Ok(()),
            Life::Workspace { store, .. } => match self.state.clone().apply(event) {
                Ok(state) => {
                    let log = if state == WorkspaceState::Stopped { "workspace stop" } else { "workspace lost" };
                    let recorded = store.set_state(&self.subject.id, &state, None, Some(log));
                    self.state = state;
                    recorded
                }
                Err(denied) => Err(Error::internal(denied.0)),
            },
        };
        let cleared = killed.and(recorded);
        // Whoever comes from now on finds that nobody is here, waits for the lease and does what it came for.
        if let Life::Workspace { listener, .. } = &mut self.life
            && let Some(listener) = listener.take()
        {
            self.decline_all(&listener);
        }
        for waiter in std::mem::take(&mut self.stop_waiters) {
            let answer = match &cleared {
                Ok(()) => Ok(Value::Null),
                Err(error) => Err(Error::new(error.kind, error.message.clone())),
            };
            self.answer(waiter, answer);
        }
        cleared
    }

    /// Nothing more is begun: tells those who have not been heard yet.
    fn decline_all(&mut self, listener: &UnixListener) {
        // From here on connecting is refused, so that nobody can get in between the last look and the end (net/unix/af_unix.c).
        let _ = rustix::net::shutdown(listener, rustix::net::Shutdown::Read);
        while let Ok((stream, _)) = listener.accept() {
            if let Ok(connection) = Connection::new(stream) {
                self.add_connection(connection);
            }
        }
        self.connections.values_mut().for_each(Connection::decline);
    }

    /// Writes the last answers. Whoever waits for a workspace to be stopped need not wait for a caller that does not read: it loses
    /// its answer after some time. A run has only the one caller that it is for, who may be a slow reader of a long output.
    fn flush_callers(&mut self) {
        let asked_to_end = self.stop_deadline.is_some();
        let deadline = match &self.life {
            Life::Run if !asked_to_end => None,
            Life::Run | Life::Workspace { .. } => Some(Instant::now() + self.patience.last_words),
        };
        loop {
            self.connections.retain(|_, connection| {
                connection.close();
                connection.flush().is_ok() && connection.wants_to_write()
            });
            let left = deadline.map(|deadline| deadline.saturating_duration_since(Instant::now()));
            if self.connections.is_empty() || left.is_some_and(|left| left.is_zero()) {
                return;
            }
            let signals = if asked_to_end { PollFlags::empty() } else { PollFlags::IN };
            let mut fds = vec![PollFd::from_borrowed_fd(self.signals.as_fd(), signals)];
            fds.extend(self.connections.values().map(|connection| PollFd::from_borrowed_fd(connection.fd(), PollFlags::OUT)));
            let timeout = left.map(|left| Timespec::try_from(left).expect("some seconds are a time"));
            match poll(&mut fds, timeout.as_ref()) {
                Ok(_) | Err(rustix::io::Errno::INTR) => {}
                Err(_) => return,
            }
            if fds[0].revents().contains(PollFlags::IN) {
                return;
            }
        }
    }
}

/// Says something to the supervisor's log: there is nobody else to tell.
pub fn complain(error: &Error) {
    eprintln!("{} {error}", crate::clock::Instant::now().rfc3339());
}

#[cfg(test)]
mod tests;
