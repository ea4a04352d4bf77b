//! The agent: the first process inside a sandbox. It starts commands and handles files for the supervisor, over one link.
//!
//! It holds no secret and no rights that a command inside could not have, so taking it over gains nothing. It believes the supervisor, but
//! checks the protocol: after a frame that breaks it, it ends, and everything inside ends with it.
//!
//! One thread, one epoll loop, owns everything: the link, the pipes of commands, their ends. It never waits for anything else. File
//! requests can take long, so each runs on a short-lived thread (`files`). Buffers exist only while they hold something: an idle agent
//! is a few hundred KiB.
//!
//! Back-pressure goes all the way: the supervisor gives credit, without credit a command's pipe is not read, and the command waits.

#![forbid(unsafe_code)]

use std::collections::BTreeMap;
use std::fs::File;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::time::Instant;

/// Where the layers of the sandbox's file system are, as paths that the agent's process can open.
pub use pyro_layer::Stack as Layers;
use pyro_sys::command::Spawner;
use pyro_sys::inside;
use pyro_sys::memory::{self, Rest};
use pyro_wire::frame::{LinkError, read_frame};
use pyro_wire::limits::{CHANNELS_MAX, FRAME_PAYLOAD_BYTES_MAX};
use pyro_wire::message::{AgentHello, ExitStatus, ToAgent};
use pyro_wire::{Frame, FromAgent, Stream, Violation};
use rustix::event::{Timespec, epoll};

use crate::files::{FileRequest, Outbox};
use crate::init::Stopping;
use crate::link::Link;
use crate::machine::Settling;
use crate::process::Exec;

mod files;
mod find;
mod init;
mod link;
pub mod machine;
mod probes;
mod process;
mod prompt;
mod terminal;
mod tree;
mod trouble;

/// Why [`serve`] returned.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum End {
    /// The supervisor closed the link.
    LinkClosed,
    /// The supervisor asked for a shutdown and nothing runs any more.
    Shutdown,
    /// The other side is not our supervisor, or this side could not work. Says why.
    Refused(String),
}

impl End {
    /// Exit code for the process: 0 for an ordinary end, 70 (`EX_SOFTWARE` of sysexits.h) otherwise.
    #[must_use]
    pub fn exit_code(&self) -> u8 {
        match self {
            Self::LinkClosed | Self::Shutdown => 0,
            Self::Refused(_) => 70,
        }
    }
}

impl From<Violation> for End {
    fn from(violation: Violation) -> Self {
        Self::Refused(format!("protocol violation: {violation}"))
    }
}

impl From<io::Error> for End {
    fn from(error: io::Error) -> Self {
        Self::Refused(error.to_string())
    }
}

impl From<rustix::io::Errno> for End {
    fn from(error: rustix::io::Errno) -> Self {
        Self::from(io::Error::from(error))
    }
}

/// What the agent is the first process of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Place {
    /// Of a sandbox of the host's kernel: it reaps what others leave, and when [`serve`] returns it must exit, which ends everything inside.
    Sandbox,
    /// Of a machine with a kernel of its own: as above.
    Machine,
    /// Of nothing (tests): only its own commands are ended.
    Nowhere,
}

/// Serves one link until it ends: a stream socket, or the port of a machine. `build` is the build id of this binary.
/// `layers` are those that only the inside may read: with them it says what changed, without them it is not asked.
///
/// Whether a directory of the upper layer hides what is below it is an attribute, of the kind that the layers say. Where that is
/// [`pyro_layer::Marks::Trusted`] the process holds `CAP_SYS_ADMIN` (xattr(7): `trusted.*` is invisible to others).
pub fn serve(link: impl Into<OwnedFd>, place: Place, build: &str, layers: Option<Layers>) -> End {
    let end = match Agent::start(link.into(), place, build, layers) {
        Ok(mut agent) => {
            let end = agent.run();
            agent.finish();
            end
        }
        Err(end) => end,
    };
    if let End::Refused(why) = &end {
        eprintln!("agent: {why}");
    }
    end
}

/// One open channel.
#[derive(Debug)]
enum Channel {
    Exec(Box<Exec>),
    File(FileRequest),
}

/// Everything that the loop owns.
struct Agent {
    place: Place,
    /// Of the machine, if it is one.
    memory_kills: machine::MemoryKills,
    /// As above.
    settling: Option<Settling>,
    layers: Option<Layers>,
    link: Link,
    epoll: OwnedFd,
    /// At most `CHANNELS_MAX`.
    channels: BTreeMap<u32, Channel>,
    /// Highest channel number seen: what is not above it and not open has ended.
    highest: u32,
    outbox: Outbox,
    spawner: Spawner,
    null: File,
    /// SIGCHLD, when we are init.
    signals: Option<OwnedFd>,
    /// A shutdown was asked for.
    stopping: Option<Stopping>,
    /// One frame's payload on its way from a pipe to the link; empty while nothing flows.
    scratch: Vec<u8>,
    /// A file request moved bulk data since memory was last given back.
    heap_used: bool,
    rest: Rest,
}

/// What a descriptor in the epoll set is; the channel number is in the upper half of the event's data.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Source {
    Link,
    Outbox,
    Signals,
    Stdin,
    Stdout,
    Stderr,
    Ended,
}

impl Source {
    fn token(self, channel: u32) -> epoll::EventData {
        epoll::EventData::new_u64(u64::from(channel) << 8 | self as u64)
    }

    fn of_token(data: epoll::EventData) -> Option<(Self, u32)> {
        let all = [Self::Link, Self::Outbox, Self::Signals, Self::Stdin, Self::Stdout, Self::Stderr, Self::Ended];
        let source = all.into_iter().find(|source| *source as u64 == data.u64() & 0xff)?;
        Some((source, u32::try_from(data.u64() >> 8).ok()?))
    }
}

/// Adds a descriptor to the set. Edge-triggered: the loop remembers what is ready, so that waiting for credit needs no system call.
fn watch(epoll: BorrowedFd<'_>, descriptor: impl AsFd, source: Source, channel: u32, flags: epoll::EventFlags) -> io::Result<()> {
    Ok(epoll::add(epoll, descriptor, source.token(channel), flags | epoll::EventFlags::ET)?)
}

/// What a shell reports of a child that was killed: 128 and SIGKILL.
const KILLED: u8 = 137;

/// Events taken at once: a quick command causes three.
const EVENTS_PER_WAIT: usize = 32;

impl Agent {
    /// Says hello and sets everything up. Nothing else inside runs before this has returned.
    fn start(link: OwnedFd, place: Place, build: &str, layers: Option<Layers>) -> Result<Self, End> {
        let is_first = place != Place::Nowhere;
        let link = File::from(link);
        if is_first {
            init::prepare()?;
        }
        let hello = match read_frame(&mut &link) {
            Ok(Some(Frame::Control { channel: 0, message: ToAgent::Hello(hello) })) => hello,
            Ok(Some(_)) => return Err(End::Refused("the first frame is not a hello".to_owned())),
            Ok(None) | Err(LinkError::Link(_)) => return Err(End::LinkClosed),
            Err(LinkError::Violation(violation)) => return Err(violation.into()),
        };
        if hello.build != build {
            return Err(End::Refused("the supervisor is another build".to_owned()));
        }
        if place == Place::Machine {
            pyro_sys::confine::set_host_name(&hello.hostname)?;
        }
        let settling = match &layers {
            Some(layers) if place == Place::Machine => Some(Settling::of(&layers.upper)?),
            Some(_) | None => None,
        };
        let signals = if is_first { Some(inside::child_signals()?) } else { None };
        let epoll = epoll::create(epoll::CreateFlags::CLOEXEC)?;
        let outbox = Outbox::new()?;
        let flags = epoll::EventFlags::IN | epoll::EventFlags::OUT | epoll::EventFlags::RDHUP;
        watch(epoll.as_fd(), &link, Source::Link, 0, flags)?;
        watch(epoll.as_fd(), outbox.wake(), Source::Outbox, 0, epoll::EventFlags::IN)?;
        if let Some(signals) = &signals {
            watch(epoll.as_fd(), signals, Source::Signals, 0, epoll::EventFlags::IN)?;
        }
        let mut agent = Self {
            place,
            memory_kills: machine::MemoryKills::default(),
            settling,
            layers,
            link: Link::new(link)?,
            epoll,
            channels: BTreeMap::new(),
            highest: 0,
            outbox,
            spawner: Spawner::new()?,
            null: File::options().read(true).write(true).open("/dev/null")?,
            signals,
            stopping: None,
            scratch: Vec::new(),
            heap_used: false,
            rest: Rest::default(),
        };
        if is_first {
            files::recover();
        }
        let answer = AgentHello { nonce: hello.nonce, build: build.to_owned(), probes: probes::probe(place) };
        agent.link.control(0, &FromAgent::Hello(answer))?;
        Ok(agent)
    }

    fn run(&mut self) -> End {
        loop {
            match self.turn() {
                Ok(None) => {}
                Ok(Some(end)) | Err(end) => return end,
            }
        }
    }

    /// Waits for something, does what can be done without waiting, and says whether that was the end.
    fn turn(&mut self) -> Result<Option<End>, End> {
        let ready = self.link.may_read() || self.output_waits();
        self.wait(ready)?;
        if self.link.may_read() {
            self.receive()?;
        }
        if !self.link.is_blocked() {
            self.forward_outbox()?;
        }
        let mut ended = Vec::new();
        for (channel, request) in &mut self.channels {
            if let Channel::Exec(exec) = request {
                exec.pump(&mut self.link, &mut self.scratch)?;
                exec.check_kill();
                if let Some(mut exited) = exec.finished(Instant::now()) {
                    if self.place == Place::Machine && matches!(exited.status, ExitStatus::Signal(9) | ExitStatus::Code(KILLED)) {
                        exited.trouble.out_of_memory = self.memory_kills.have_risen();
                    }
                    self.link.control(*channel, &FromAgent::Exited(exited))?;
                    ended.push(*channel);
                }
            }
        }
        for channel in ended {
            self.close(channel);
        }
        if self.channels.is_empty() {
            self.rest();
        }
        if self.link.is_closed() {
            return Ok(Some(End::LinkClosed));
        }
        Ok(self.check_stopping().then_some(End::Shutdown))
    }

    fn close(&mut self, channel: u32) {
        self.channels.remove(&channel);
        if let Some(settling) = &mut self.settling {
            settling.note();
        }
    }

    /// Gives memory back when nothing is open, and puts on disk what is not there.
    fn rest(&mut self) {
        if let Some(settling) = &mut self.settling {
            settling.begin();
        }
        self.scratch = Vec::new();
        if std::mem::take(&mut self.heap_used) {
            memory::trim_heap();
        }
    }

    fn wait(&mut self, ready: bool) -> Result<(), End> {
        let now = Instant::now();
        let deadlines = self.channels.values().filter_map(|request| match request {
            Channel::Exec(exec) => exec.deadline(now),
            Channel::File(_) => None,
        });
        let deadline = deadlines.chain(self.stopping.as_ref().map(Stopping::deadline)).min();
        let timeout = match (ready, deadline) {
            (true, _) => Some(Timespec { tv_sec: 0, tv_nsec: 0 }),
            (false, Some(at)) => Timespec::try_from(at.saturating_duration_since(now)).ok(),
            (false, None) if self.channels.is_empty() => {
                self.rest.patience().and_then(|patience| Timespec::try_from(patience).ok())
            }
            (false, None) => None,
        };
        let mut room = [const { std::mem::MaybeUninit::uninit() }; EVENTS_PER_WAIT];
        let events = match epoll::wait(&self.epoll, &mut room, timeout.as_ref()) {
            Ok((events, _)) => &*events,
            Err(rustix::io::Errno::INTR) => &[],
            Err(error) => return Err(error.into()),
        };
        if !events.is_empty() {
            self.rest.wake();
        } else if !ready && deadline.is_none() && self.channels.is_empty() {
            self.rest.begin();
        }
        for event in events {
            let (flags, data) = (event.flags, event.data);
            let Some((source, channel)) = Source::of_token(data) else { continue };
            match source {
                Source::Link => self.link.note(flags)?,
                Source::Outbox => {}
                Source::Signals => self.reap(),
                Source::Stdin | Source::Stdout | Source::Stderr | Source::Ended => {
                    // A channel that has just ended may still have an event on its way.
                    if let Some(Channel::Exec(exec)) = self.channels.get_mut(&channel) {
                        match source {
                            Source::Stdin => exec.note_stdin(),
                            Source::Stdout => exec.note_output(Stream::Stdout, flags),
                            Source::Stderr => exec.note_output(Stream::Stderr, flags),
                            Source::Link | Source::Outbox | Source::Signals | Source::Ended => exec.note_end(),
                        }
                    }
                }
            }
        }
        Ok(())
    }

    fn output_waits(&self) -> bool {
        !self.link.is_blocked()
            && self.channels.values().any(|request| match request {
                Channel::Exec(exec) => exec.can_pump(),
                Channel::File(_) => false,
            })
    }

    /// Reads the link once and acts on every whole frame.
    fn receive(&mut self) -> Result<(), End> {
        self.link.fill()?;
        while let Some(frame) = self.link.next_frame()? {
            match frame {
                Frame::Control { channel, message } => self.act(channel, message)?,
                Frame::Data { channel, stream, bytes } => self.accept(channel, stream, &bytes)?,
            }
        }
        Ok(())
    }

    fn act(&mut self, channel: u32, message: ToAgent) -> Result<(), End> {
        match message {
            ToAgent::Hello(_) => Err(refuse("a second hello")),
            ToAgent::Wake(_) => Err(refuse("a wake-up of a machine that is awake")),
            ToAgent::Shutdown { grace_ms } => {
                if channel != 0 {
                    return Err(refuse("a shutdown on a request's channel"));
                }
                self.begin_shutdown(grace_ms);
                Ok(())
            }
            ToAgent::Spawn(request) => {
                self.open(channel)?;
                let others = Exec::start(channel, &request, &mut self.spawner, &self.null, self.epoll.as_fd());
                match others {
                    Ok(exec) => {
                        exec.announce(&mut self.link)?;
                        self.channels.insert(channel, Channel::Exec(Box::new(exec)));
                    }
                    Err(not_started) => self.link.control(channel, &FromAgent::NotStarted(not_started))?,
                }
                Ok(())
            }
            ToAgent::List(request) => self.open_file(channel, files::Request::List(request)),
            ToAgent::Search(request) => {
                // What its threads have found, and what they remember of the pattern.
                self.heap_used = true;
                self.open_file(channel, files::Request::Search(request))
            }
            ToAgent::Read(request) => self.open_file(channel, files::Request::Read(request)),
            ToAgent::Write(request) => self.open_file(channel, files::Request::Write(request)),
            ToAgent::Edit(request) => {
                // The files and what they become.
                self.heap_used = true;
                self.open_file(channel, files::Request::Edit(request))
            }
            ToAgent::Delete(request) => self.open_file(channel, files::Request::Delete(request)),
            ToAgent::Move(request) => self.open_file(channel, files::Request::Move(request)),
            ToAgent::MakeDirectory(request) => self.open_file(channel, files::Request::MakeDirectory(request)),
            ToAgent::Diff(request) => {
                // Its frames may be small, and what it holds while it compares is not.
                self.heap_used = true;
                self.open_file(channel, files::Request::Diff(request, self.layers.clone()))
            }
            ToAgent::Sync => self.open_file(channel, files::Request::Sync(self.layers.clone())),
            ToAgent::StdinEnd => self.with_exec(channel, |exec, _| {
                exec.end_stdin();
                Ok(())
            }),
            ToAgent::Resize(size) => self.with_exec(channel, |exec, _| {
                exec.resize(size);
                Ok(())
            }),
            ToAgent::Inspect(request) => {
                let roots = self.roots();
                let Some(Channel::Exec(exec)) = self.find(channel)? else { return Ok(()) };
                let waits_for_input = exec.waits_for_input(&roots);
                let mut trouble: Box<_> = request.failed.as_ref().map(|failed| exec.trouble_of(failed)).unwrap_or_default().into();
                if self.place == Place::Machine && request.failed.is_some_and(|failed| failed.code == KILLED) {
                    trouble.out_of_memory = self.memory_kills.have_risen();
                }
                self.link.control(channel, &FromAgent::Inspected { waits_for_input, trouble })
            }
            ToAgent::Signal { signal } => self.with_exec(channel, |exec, _| {
                exec.signal(signal);
                Ok(())
            }),
            ToAgent::Credit { bytes } => match self.find(channel)? {
                Some(Channel::Exec(exec)) => {
                    exec.credit(bytes);
                    Ok(())
                }
                Some(Channel::File(request)) => {
                    request.credit(bytes);
                    Ok(())
                }
                None => Ok(()),
            },
            ToAgent::Kill => {
                let roots = self.roots();
                match self.find(channel)? {
                    Some(Channel::Exec(exec)) => exec.kill(&roots),
                    Some(Channel::File(request)) => request.cancel(),
                    None => {}
                }
                Ok(())
            }
        }
    }

    fn accept(&mut self, channel: u32, stream: Stream, bytes: &[u8]) -> Result<(), End> {
        let link = &mut self.link;
        let highest = self.highest;
        match (self.channels.get_mut(&channel), stream) {
            (Some(Channel::Exec(exec)), Stream::Stdin) => Ok(exec.stdin(bytes, link)?),
            (Some(Channel::File(request)), Stream::Content) => Ok(request.content(bytes)?),
            (Some(Channel::Exec(_)), Stream::Content | Stream::Stdout | Stream::Stderr)
            | (Some(Channel::File(_)), Stream::Stdin | Stream::Stdout | Stream::Stderr) => {
                Err(refuse("data of a stream that the channel does not take"))
            }
            (None, _) if channel == 0 || channel > highest => Err(refuse("data for a channel that was never open")),
            (None, _) => Ok(()),
        }
    }

    /// Admits a new channel.
    fn open(&mut self, channel: u32) -> Result<(), End> {
        if channel <= self.highest {
            return Err(refuse("a request on a channel that is not new"));
        }
        if self.channels.len() >= CHANNELS_MAX {
            return Err(refuse("more requests than there may be at one time"));
        }
        self.highest = channel;
        Ok(())
    }

    fn open_file(&mut self, channel: u32, request: files::Request) -> Result<(), End> {
        self.open(channel)?;
        match FileRequest::start(channel, request, &self.outbox) {
            Ok(request) => {
                self.channels.insert(channel, Channel::File(request));
            }
            Err(failed) => self.link.control(channel, &FromAgent::Failed(failed))?,
        }
        Ok(())
    }

    /// The channel, `None` when it has ended; a channel that never was is a violation.
    fn find(&mut self, channel: u32) -> Result<Option<&mut Channel>, End> {
        if channel == 0 || channel > self.highest {
            return Err(refuse("a message for a channel that was never open"));
        }
        Ok(self.channels.get_mut(&channel))
    }

    fn with_exec(&mut self, channel: u32, act: impl FnOnce(&mut Exec, u32) -> Result<(), End>) -> Result<(), End> {
        match self.find(channel)? {
            Some(Channel::Exec(exec)) => act(exec, channel),
            Some(Channel::File(_)) => Err(refuse("a message for a command on a file's channel")),
            None => Ok(()),
        }
    }

    /// Moves what file threads have ready to the link, as far as it takes it.
    fn forward_outbox(&mut self) -> Result<(), End> {
        while !self.link.is_blocked() {
            let Some(item) = self.outbox.take() else { break };
            self.link.frames(&item.frames)?;
            self.heap_used |= item.frames.len() >= FRAME_PAYLOAD_BYTES_MAX / 4;
            if item.last {
                self.close(item.channel);
            }
        }
        Ok(())
    }

    /// Process ids of the commands that run.
    fn roots(&self) -> Vec<i32> {
        let pid = |request: &Channel| match request {
            Channel::Exec(exec) => exec.running_pid(),
            Channel::File(_) => None,
        };
        self.channels.values().filter_map(pid).collect()
    }

    /// After the end: file threads stop and leave nothing half-made; without being init, commands are killed here.
    fn finish(&mut self) {
        self.outbox.close();
        let roots = self.roots();
        for request in std::mem::take(&mut self.channels).into_values() {
            match request {
                Channel::File(request) => request.join(),
                Channel::Exec(mut exec) if self.place == Place::Nowhere => {
                    exec.kill(&roots);
                    exec.join();
                }
                // The kernel kills everything in the PID namespace when its init exits.
                Channel::Exec(_) => {}
            }
        }
    }
}

fn refuse(what: &str) -> End {
    Violation(what.to_owned()).into()
}
