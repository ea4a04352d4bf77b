//! One command: its pipes, its credit, its end.
//!
//! Bytes move only when three things agree: the pipe has some, the supervisor has given credit, and the link takes them. Whatever is missing,
//! nothing is buffered here; the pipe fills and the command waits.
//!
//! The channel ends when the process has ended *and* its output is complete: both pipes closed, or `OUTPUT_DRAIN_MS` after the end and
//! everything that was in the pipes at the end has been sent. A process left behind that keeps the pipe cannot hold the call open, and a slow
//! supervisor loses nothing.

use std::collections::VecDeque;
use std::ffi::CString;
use std::fs::File;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use pyro_sys::command::{Command, Ended, Spawner, Status, Step, Wait, wait};
use pyro_wire::limits::{FRAME_PAYLOAD_BYTES_MAX, INPUT_CREDIT_BYTES, OUTPUT_DRAIN_MS};
use pyro_wire::message::{ExitStatus, Exited, FailedLine, NotStarted, Program, Spawn, SpawnStep, TerminalSize, Trouble};
use pyro_wire::{FromAgent, Stream, Violation};
use rustix::event::epoll::EventFlags;
use rustix::io::Errno;
use rustix::pipe::{PipeFlags, pipe_with};
use rustix::process::{Pid, Signal, kill_process_group};

use crate::link::Link;
use crate::terminal::Terminal;
use crate::tree::Tree;
use crate::{End, Source, find, prompt, trouble, watch};

/// A command that was started.
#[derive(Debug)]
pub struct Exec {
    channel: u32,
    pid: i32,
    pidfd: OwnedFd,
    stdin: Option<Input>,
    terminal: Option<Terminal>,
    /// Bytes of standard input that the supervisor may still send.
    stdin_credit: u32,
    outputs: [Output; 2],
    /// Bytes of output that may still be sent.
    credit: u64,
    phase: Phase,
    /// Where it began.
    cwd: PathBuf,
    /// Of its environment what says where programs are.
    env: Vec<String>,
    /// What it is, when it is a line for the shell.
    line: Option<String>,
    /// A kill is under way.
    killing: Option<Killing>,
}

#[derive(Debug)]
enum Phase {
    Running,
    /// Waited for; the process id may belong to another process by now.
    Ended {
        ended: Ended,
        drain_until: Instant,
    },
}

/// The write end of standard input. Dropping it is the end of input for the command.
#[derive(Debug)]
struct Input {
    pipe: OwnedFd,
    /// At most `INPUT_CREDIT_BYTES`.
    queue: VecDeque<u8>,
    writable: bool,
    /// Close when the queue is empty.
    ends: bool,
    /// Written and not yet given back as credit.
    written: u32,
}

/// The read end of one output.
#[derive(Debug)]
struct Output {
    stream: Stream,
    pipe: Option<OwnedFd>,
    /// Of a terminal: its end is `EIO`, and is there when its last user is gone.
    is_terminal: bool,
    readable: bool,
    /// No writer is left: what is in the pipe is the rest.
    hung_up: bool,
    /// Sent so far.
    sent_bytes: u64,
    /// Was in the pipe when the command ended, and is still to be sent.
    owed_bytes: u64,
}

#[derive(Debug)]
struct Killing {
    tree: Tree,
    look_at: Instant,
    gone: bool,
}

/// How often killed processes are looked for until none is left. They disappear within microseconds unless the kernel holds them.
const KILL_LOOK: Duration = Duration::from_millis(2);

/// Credit for input is given back in steps of this size, or when everything was written.
const CREDIT_STEP_BYTES: u32 = INPUT_CREDIT_BYTES / 4;

impl Exec {
    /// Starts a command.
    pub fn start(
        channel: u32,
        request: &Spawn,
        spawner: &mut Spawner,
        null: &File,
        epoll: BorrowedFd<'_>,
    ) -> Result<Self, NotStarted> {
        let pipes = |error: Errno| NotStarted::at(SpawnStep::Pipes, error.raw_os_error());
        let ends = Ends::open(request).map_err(pipes)?;
        // Non-blocking is a property of the open end, and only ours are: commands do not expect it of theirs.
        let set_up = |end: &OwnedFd, source, flags| -> Result<(), Errno> {
            rustix::io::ioctl_fionbio(end, true)?;
            watch(epoll, end, source, channel, flags).map_err(|error| Errno::from_io_error(&error).unwrap_or(Errno::IO))
        };
        set_up(&ends.stdout, Source::Stdout, EventFlags::IN).map_err(pipes)?;
        if let Some(stderr) = &ends.stderr {
            set_up(stderr, Source::Stderr, EventFlags::IN).map_err(pipes)?;
        }
        if let Some(stdin) = &ends.stdin {
            set_up(stdin, Source::Stdin, EventFlags::OUT).map_err(pipes)?;
        }

        let text = |text: &str| CString::new(text).expect("the codec refuses NUL in arguments, environment and paths");
        let (programs, argv) = match &request.program {
            Program::Argv(argv) => {
                let program = argv.first().expect("the codec refuses a command without a program");
                (find::candidates(program, &request.env), argv.iter().map(|argument| text(argument)).collect::<Vec<_>>())
            }
            Program::Shell(line) => {
                let shell = if Path::new("/bin/bash").exists() { "/bin/bash" } else { "/bin/sh" };
                (vec![text(shell)], vec![text(shell), text("-c"), text(line)])
            }
        };
        let env: Vec<CString> = request.env.iter().map(|variable| text(variable)).collect();
        let [stdin, stdout, stderr] = ends.theirs(null);
        let spawned = spawner
            .spawn(&Command {
                programs: &programs,
                argv: &argv,
                env: &env,
                cwd: &text(request.cwd.as_str()),
                stdin,
                stdout,
                stderr,
                is_terminal: ends.terminal.is_some(),
            })
            .map_err(|error| {
                let failed = |step| NotStarted::at(step, error.errno);
                match error.step {
                    Step::Clone | Step::Session | Step::Descriptors => failed(SpawnStep::Fork),
                    Step::ChangeDirectory => failed(SpawnStep::ChangeDirectory),
                    Step::Execute => {
                        let name = argv.first().map(|name| name.to_string_lossy()).unwrap_or_default();
                        find::explain(&name, &programs, &request.env, Path::new(request.cwd.as_str()), error.errno)
                    }
                }
            })?;
        let is_terminal = ends.terminal.is_some();
        let output =
            |stream, pipe| Output { stream, pipe, is_terminal, readable: false, hung_up: false, sent_bytes: 0, owed_bytes: 0 };
        let has_stdin = ends.stdin.is_some();
        let mut exec = Self {
            channel,
            pid: spawned.pid,
            pidfd: spawned.pidfd,
            stdin: ends.stdin.map(|pipe| Input { pipe, queue: VecDeque::new(), writable: true, ends: false, written: 0 }),
            terminal: ends.terminal,
            stdin_credit: if has_stdin { INPUT_CREDIT_BYTES } else { 0 },
            outputs: [output(Stream::Stdout, Some(ends.stdout)), output(Stream::Stderr, ends.stderr)],
            credit: u64::from(request.credit_bytes),
            phase: Phase::Running,
            cwd: PathBuf::from(request.cwd.as_str()),
            env: request
                .env
                .iter()
                .filter(|variable| trouble::VARIABLES.iter().any(|name| variable.starts_with(name)))
                .cloned()
                .collect(),
            line: match &request.program {
                Program::Shell(line) => Some(line.clone()),
                Program::Argv(argv) => trouble::shell_line(argv).map(str::to_owned),
            },
            killing: None,
        };
        if let Err(error) = watch(epoll, &exec.pidfd, Source::Ended, channel, EventFlags::IN) {
            // Without the event its end would not be noticed.
            exec.kill(&[]);
            exec.join();
            return Err(NotStarted::at(SpawnStep::Pipes, error.raw_os_error().unwrap_or(Errno::IO.raw_os_error())));
        }
        Ok(exec)
    }

    /// Says that it runs.
    pub fn announce(&self, link: &mut Link) -> Result<(), End> {
        let pid = u32::try_from(self.pid).expect("a process id is positive");
        link.control(self.channel, &FromAgent::Started { pid })?;
        if self.stdin.is_some() {
            link.control(self.channel, &FromAgent::Credit { bytes: INPUT_CREDIT_BYTES })?;
        }
        Ok(())
    }

    /// Its process id while that is surely its own.
    pub fn running_pid(&self) -> Option<i32> {
        match self.phase {
            Phase::Running => Some(self.pid),
            Phase::Ended { .. } => None,
        }
    }

    /// Takes more output credit.
    pub fn credit(&mut self, bytes: u32) {
        self.credit = self.credit.saturating_add(u64::from(bytes));
    }

    /// Takes standard input.
    pub fn stdin(&mut self, bytes: &[u8], link: &mut Link) -> Result<(), End> {
        let length = u32::try_from(bytes.len()).unwrap_or(u32::MAX);
        self.stdin_credit =
            self.stdin_credit.checked_sub(length).ok_or_else(|| Violation("standard input beyond its credit".to_owned()))?;
        match &mut self.stdin {
            Some(input) if input.ends => return Err(Violation("standard input after its end".to_owned()).into()),
            Some(input) => input.queue.extend(bytes),
            // The command has closed its input. What comes is dropped, and the supervisor can go on sending.
            None => self.give_stdin_credit(length, link)?,
        }
        Ok(())
    }

    /// No more standard input comes.
    pub fn end_stdin(&mut self) {
        if let Some(input) = &mut self.stdin {
            input.ends = true;
        }
    }

    /// Standard input may be writable again, or closed by the command.
    pub fn note_stdin(&mut self) {
        if let Some(input) = &mut self.stdin {
            input.writable = true;
        }
    }

    /// An output has something, or was closed.
    pub fn note_output(&mut self, stream: Stream, flags: EventFlags) {
        for output in self.outputs.iter_mut().filter(|output| output.stream == stream) {
            output.readable = true;
            output.hung_up |= flags.contains(EventFlags::HUP);
        }
    }

    /// The process has ended: takes it out of the process table. Being stopped is no end and causes no event.
    pub fn note_end(&mut self) {
        let Phase::Running = self.phase else { return };
        if let Ok(Some(ended)) = wait(self.pid, Wait::Look) {
            for output in &mut self.outputs {
                output.owed_bytes = output.pipe.as_ref().map_or(0, |pipe| rustix::io::ioctl_fionread(pipe).unwrap_or(0));
            }
            let drain_until = Instant::now() + Duration::from_millis(u64::from(OUTPUT_DRAIN_MS));
            self.phase = Phase::Ended { ended, drain_until };
        }
    }

    /// Whether it waits for somebody to type. `roots` are the commands that run: they are never part of another.
    pub fn waits_for_input(&self, roots: &[i32]) -> bool {
        let (Some(pid), true) = (self.running_pid(), self.stdin.as_ref().is_none_or(|input| input.queue.is_empty())) else {
            return false;
        };
        let others = roots.iter().copied().filter(|root| *root != pid).collect();
        let pipe = self.stdin.as_ref().filter(|_| self.terminal.is_none()).map(|input| input.pipe.as_fd());
        prompt::is_waiting(&Tree::new(pid, others), pipe)
    }

    /// What may be why a line failed that was typed into it: it was run where the command is now.
    pub fn trouble_of(&self, failed: &FailedLine) -> Trouble {
        let now = self.running_pid().and_then(|pid| std::fs::read_link(format!("/proc/{pid}/cwd")).ok());
        trouble::of(now.as_deref().unwrap_or(&self.cwd), &self.env, Some(&failed.line), failed.code)
    }

    /// Gives its terminal another size.
    pub fn resize(&self, size: TerminalSize) {
        // One that has just ended has nobody to tell.
        let _gone = self.terminal.as_ref().map(|terminal| terminal.resize(size));
    }

    /// Signals the command's process group; on a terminal, the one in the foreground.
    pub fn signal(&mut self, signal: i32) {
        // Once it was waited for, its id may name another group.
        let (Some(pid), Some(signal)) = (self.running_pid().and_then(Pid::from_raw), signal_of(signal)) else { return };
        if self.terminal.as_ref().is_some_and(|terminal| terminal.signal(signal)) {
            return;
        }
        // The group may be empty by now.
        let _gone = kill_process_group(pid, signal);
    }

    /// Kills the command and everything that descends from it. `roots` are the commands that run: they are never part of another.
    pub fn kill(&mut self, roots: &[i32]) {
        if self.killing.is_none() {
            let others = roots.iter().copied().filter(|root| *root != self.pid).collect();
            let mut tree = Tree::new(self.pid, others);
            let gone = tree.kill();
            self.killing = Some(Killing { tree, look_at: Instant::now() + KILL_LOOK, gone });
            // Nothing is left that would read.
            self.stdin = None;
        }
    }

    /// Looks whether what was killed is gone.
    pub fn check_kill(&mut self) {
        if let Some(killing) = &mut self.killing
            && !killing.gone
            && Instant::now() >= killing.look_at
        {
            killing.gone = killing.tree.kill();
            killing.look_at = Instant::now() + KILL_LOOK;
        }
    }

    /// There is output that could be sent now, if the link takes it; or input.
    pub fn can_pump(&self) -> bool {
        self.credit > 0 && self.outputs.iter().any(|output| output.readable && output.pipe.is_some())
    }

    /// Moves at most one frame of each output, and as much input as the pipe takes.
    pub fn pump(&mut self, link: &mut Link, scratch: &mut Vec<u8>) -> Result<(), End> {
        for output in &mut self.outputs {
            let allowed = usize::try_from(self.credit).unwrap_or(usize::MAX).min(FRAME_PAYLOAD_BYTES_MAX);
            if output.readable && !link.is_blocked() && allowed > 0 {
                scratch.resize(FRAME_PAYLOAD_BYTES_MAX, 0);
                if let Some(bytes) = output.read(&mut scratch[..allowed])? {
                    link.data(self.channel, output.stream, bytes)?;
                    self.credit -= bytes.len() as u64;
                }
            }
            output.close_if_over();
        }
        self.pump_stdin(link)
    }

    fn pump_stdin(&mut self, link: &mut Link) -> Result<(), End> {
        let Some(input) = &mut self.stdin else { return Ok(()) };
        let open = input.write();
        let (owed, done) = (input.written, input.queue.is_empty());
        let give = match open {
            // What was queued will not be written: the supervisor gets its credit back and may send it into the void.
            false => owed.saturating_add(u32::try_from(input.queue.len()).unwrap_or(0)),
            true if owed >= CREDIT_STEP_BYTES || done => std::mem::take(&mut input.written),
            true => 0,
        };
        if !open || (done && input.ends) {
            self.stdin = None;
        } else if done {
            input.queue = VecDeque::new();
        }
        self.give_stdin_credit(give, link)
    }

    fn give_stdin_credit(&mut self, bytes: u32, link: &mut Link) -> Result<(), End> {
        if bytes > 0 {
            self.stdin_credit += bytes;
            link.control(self.channel, &FromAgent::Credit { bytes })?;
        }
        Ok(())
    }

    /// When something has to be looked at without an event.
    pub fn deadline(&self, now: Instant) -> Option<Instant> {
        let look = self.killing.as_ref().filter(|killing| !killing.gone).map(|killing| killing.look_at);
        let drain = match self.phase {
            // Past it, what is owed waits for credit or for the link.
            Phase::Ended { drain_until, .. } => Some(drain_until).filter(|at| *at > now),
            Phase::Running => None,
        };
        [look, drain].into_iter().flatten().min()
    }

    /// How it ended, when everything is over.
    pub fn finished(&mut self, now: Instant) -> Option<Exited> {
        let Phase::Ended { ended, drain_until } = self.phase else { return None };
        let closed = self.outputs.iter().all(|output| output.pipe.is_none());
        let waits = |output: &Output| output.pipe.is_some() && (output.owed_bytes > 0 || output.hung_up);
        // After a kill nobody waits for credit: the supervisor wants to know that it is over.
        let drained = now >= drain_until && (self.killing.is_some() || !self.outputs.iter().any(waits));
        let killed = self.killing.as_ref().is_none_or(|killing| killing.gone);
        if !killed || !(closed || drained) {
            return None;
        }
        let [stdout, stderr] = &self.outputs;
        let status = match ended.status {
            Status::Code(code) => ExitStatus::Code(code),
            Status::Signal(signal) => ExitStatus::Signal(signal),
        };
        Some(Exited {
            status,
            stdout_bytes: stdout.sent_bytes,
            stderr_bytes: stderr.sent_bytes,
            output_held_open: !closed,
            cpu_ms: ended.cpu_us / 1000,
            rss_max_kib: ended.rss_max_kib,
            trouble: match status {
                ExitStatus::Code(0) => Box::default(),
                ExitStatus::Code(code) => Box::new(trouble::of(&self.cwd, &self.env, self.line.as_deref(), code)),
                ExitStatus::Signal(_) => Box::new(trouble::of(&self.cwd, &self.env, None, 0)),
            },
        })
    }

    /// Waits for a killed command, at the end of the agent.
    pub fn join(mut self) {
        if self.running_pid().is_some() {
            // It was sent SIGKILL; an error means that it is gone.
            let _ended = wait(self.pid, Wait::UntilEnded);
        }
        while let Some(killing) = self.killing.as_mut().filter(|killing| !killing.gone) {
            killing.gone = killing.tree.kill();
        }
    }
}

/// What a command reads and writes, until it has been started.
struct Ends {
    stdin: Option<OwnedFd>,
    stdout: OwnedFd,
    stderr: Option<OwnedFd>,
    terminal: Option<Terminal>,
    /// The command's own: standard input, output and error, or one terminal for all.
    inside: Vec<OwnedFd>,
}

impl Ends {
    fn open(request: &Spawn) -> Result<Self, Errno> {
        if let Some(size) = request.terminal {
            let (terminal, theirs) = Terminal::open(size)?;
            let (stdin, stdout) = (Some(terminal.descriptor()?), terminal.descriptor()?);
            return Ok(Self { stdin, stdout, stderr: None, terminal: Some(terminal), inside: vec![theirs] });
        }
        let (stdout, stdout_inside) = pipe_with(PipeFlags::CLOEXEC)?;
        let (stderr, stderr_inside) = pipe_with(PipeFlags::CLOEXEC)?;
        let mut ends =
            Self { stdin: None, stdout, stderr: Some(stderr), terminal: None, inside: vec![stdout_inside, stderr_inside] };
        if request.stdin {
            let (stdin_inside, stdin) = pipe_with(PipeFlags::CLOEXEC)?;
            ends.stdin = Some(stdin);
            ends.inside.push(stdin_inside);
        }
        Ok(ends)
    }

    /// Standard input, output and error of the command.
    fn theirs<'a>(&'a self, null: &'a File) -> [BorrowedFd<'a>; 3] {
        match &*self.inside {
            [terminal] => [terminal.as_fd(); 3],
            [stdout, stderr, stdin] => [stdin.as_fd(), stdout.as_fd(), stderr.as_fd()],
            [stdout, stderr] => [null.as_fd(), stdout.as_fd(), stderr.as_fd()],
            _ => [null.as_fd(); 3],
        }
    }
}

impl Input {
    /// Writes what the pipe takes. False when the command has closed its end.
    fn write(&mut self) -> bool {
        while self.writable && !self.queue.is_empty() {
            let (front, _) = self.queue.as_slices();
            match rustix::io::write(&self.pipe, front) {
                Ok(bytes) => {
                    self.queue.drain(..bytes);
                    self.written += u32::try_from(bytes).expect("the queue is shorter than its credit");
                }
                Err(Errno::AGAIN) => self.writable = false,
                Err(Errno::INTR) => {}
                // EPIPE. A command need not read its input.
                Err(_) => return false,
            }
        }
        true
    }
}

impl Output {
    /// Closes a pipe that has no writer and no bytes left, for which no credit is needed.
    fn close_if_over(&mut self) {
        if !self.is_terminal && self.hung_up && self.pipe.as_ref().is_some_and(|pipe| rustix::io::ioctl_fionread(pipe) == Ok(0)) {
            self.pipe = None;
            self.readable = false;
        }
    }

    fn close<'a>(&mut self) -> Option<&'a [u8]> {
        self.pipe = None;
        self.readable = false;
        None
    }

    /// Reads once. `None` when there is nothing now or never again.
    fn read<'a>(&mut self, room: &'a mut [u8]) -> io::Result<Option<&'a [u8]>> {
        let Some(pipe) = &self.pipe else { return Ok(None) };
        match rustix::io::read(pipe, &mut *room) {
            Ok(0) => Ok(self.close()),
            Err(Errno::IO) if self.is_terminal => Ok(self.close()),
            Ok(bytes) => {
                // Less than asked for: empty, and the next byte is a new event. With no writer left there will be none, so read on to the end. A
                // terminal gives a few kilobytes at a time, however much there is.
                self.readable = bytes == room.len() || self.hung_up || self.is_terminal;
                self.sent_bytes += bytes as u64;
                self.owed_bytes = self.owed_bytes.saturating_sub(bytes as u64);
                Ok(Some(&room[..bytes]))
            }
            Err(Errno::AGAIN) => {
                self.readable = false;
                Ok(None)
            }
            Err(Errno::INTR) => Ok(None),
            Err(error) => Err(error.into()),
        }
    }
}

fn signal_of(number: i32) -> Option<Signal> {
    Signal::from_named_raw(number)
}
