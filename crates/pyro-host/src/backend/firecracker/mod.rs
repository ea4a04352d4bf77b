//! Sandboxes with a kernel of their own: Firecracker, where the processor runs guests' code. What they have in common with other such is in
//! [`super::machine`].
//!
//! Firecracker opens what it works with by name. The names are those of descriptors that it has from us, `/proc/self/fd/N` ([`settings`]), so nothing
//! of the host is in its file system, which holds one file, itself. The numbers are the same at every start: a kept machine remembers them.
//! Its two sockets are in a directory that is a file system of its own and is attached nowhere ([`sockets`]).
//! What it is told, it is told over one of them ([`api`]); the other leads to the guest's vsock ports.
//!
//! Its jailer is not used. What that does before it becomes Firecracker (an id of its own, a root directory with nothing in it, namespaces, control
//! groups, limits, few descriptors), the sandbox of namespaces around it does too, and takes capabilities and system calls away besides.
//!
//! Must never: give Firecracker a path of the host, a directory that has a parent, or a descriptor that it could change something shared by.

use std::fs::File;
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::net::UnixStream;
use std::time::{Duration, Instant};

use pyro_api::{Error, ErrorKind, Result};

use super::machine::{
    self, BOOT_WITHIN, Disks, Files, Machine, Monitor, Overhead, Places, Running, Template, Words, await_waiting, pipe_of_words,
    wall,
};
use super::namespaces::{Devices, Namespaces, Program};
use super::{Backend, Launch, MakeLayers, Sandbox};
use crate::environment::Kit;

mod api;
mod holes;
mod program;
mod rehearsal;
mod settings;
mod sockets;

pub use program::{Choice, Found, Installed, choose, find};
pub use rehearsal::{Props, Then, rehearsal};

use api::{Api, Call};
use settings::{Settings, Start};
use sockets::Sockets;

/// What Firecracker itself needs: its own heap and stacks, a page for every two MiB of the guest's memory, and its sockets' directory. It has three
/// threads besides those of the guest's processors.
const OVERHEAD: Overhead = Overhead { mem_mib: 64, threads: 16 };

/// How long it may take until its sockets are there: milliseconds, on a host that is not busy.
const SOCKETS_WITHIN: Duration = Duration::from_secs(20);

/// How long one attempt to reach a guest's agent may take before another is made. Firecracker gives one up after as long by itself
/// (`CONN_REQUEST_TIMEOUT_MS`), once the guest has a driver; one that is lost between model and copy nobody else gives up.
const ATTEMPT_WITHIN: Duration = Duration::from_secs(2);

/// The backend.
#[derive(Debug)]
pub struct Firecracker<'a> {
    /// What it works with.
    pub places: Places<'a>,
    /// The program.
    pub program: &'a Installed,
}

impl Backend for Firecracker<'_> {
    fn name(&self) -> &'static str {
        "firecracker"
    }

    fn launch(&self, launch: &Launch, make_layers: &mut MakeLayers<'_>) -> Result<Box<dyn Sandbox>> {
        machine::launch(self, self.places, launch, make_layers)
    }
}

impl Monitor for Firecracker<'_> {
    const NAME: &'static str = "Firecracker";

    fn with_version(&self, _kit: &Kit) -> String {
        format!("Firecracker {}", self.program.version)
    }

    fn recipe(&self, machine: &Machine) -> Vec<String> {
        let mut recipe = vec![self.program.digest.clone()];
        for start in [Start::Boot, Start::Copy] {
            // How the disk is cached is part of what is kept.
            recipe.extend(Settings::new(machine, start).calls().iter().map(Call::to_string));
        }
        recipe.push(settings::COMMAND.join(" "));
        recipe
    }

    fn make_template(&self, machine: &Machine, launch: &Launch, disks: &Disks, files: &Files<'_>) -> Result<()> {
        let mut started = self.start(launch, disks, files, Start::Boot)?;
        let kept = started.boot(&Settings::new(machine, Start::Boot)).and_then(|()| started.keep());
        started.end_with(kept)?;
        // It has written all of the memory, and most of that is nothing.
        holes::dig(files.memory).map_err(|error| Error::unavailable("the memory of a machine cannot be kept").because(error))
    }

    fn start_copy(&self, machine: &Machine, launch: &Launch, disks: &Disks, template: &Template) -> Result<Running> {
        let files = Files { memory: &template.memory, state: &template.state, boot: None };
        let mut started = self.start(launch, disks, &files, Start::Copy)?;
        match started.tell(&Settings::new(machine, Start::Copy)).and_then(|()| started.link()) {
            Ok(link) => Ok(Running { vmm: started.vmm, link: Some(link), words: started.words, control: None }),
            Err(error) => started.end_with(Err(error)),
        }
    }
}

impl Firecracker<'_> {
    fn start(&self, launch: &Launch, disks: &Disks, files: &Files<'_>, start: Start) -> Result<Started> {
        let wall = wall(launch, "firecracker", &self.program.root, OVERHEAD)?;
        Started::new(self.places.namespaces, &wall, disks, files, start)
    }
}

/// Firecracker in its sandbox, and ready to be told something.
struct Started {
    vmm: Box<dyn Sandbox>,
    api: Api,
    sockets: Sockets,
    words: Words,
}

impl Started {
    fn new(namespaces: &Namespaces, wall: &Launch, disks: &Disks, files: &Files<'_>, start: Start) -> Result<Self> {
        let unable = |error: std::io::Error| Error::unavailable("Firecracker cannot be given its descriptors").because(error);
        let null = File::options().read(true).write(true).open("/dev/null").map_err(unable)?;
        let (errors, its_errors) = pipe_of_words().map_err(unable)?;
        let sockets = Sockets::make().map_err(unable)?;
        let (kernel, archive) = files.boot.unwrap_or((&null, &null));
        let program = Program {
            arguments: settings::COMMAND.map(str::to_owned).to_vec(),
            // What a guest says goes where it says itself what went wrong. What a copy says is nobody's.
            output: match start {
                Start::Boot => its_errors.as_fd(),
                Start::Copy => null.as_fd(),
            },
            errors: its_errors.as_fd(),
            // In the order of their numbers.
            descriptors: vec![
                sockets.as_fd(),
                files.memory.as_fd(),
                files.state.as_fd(),
                disks.environment.as_fd(),
                disks.writable.as_fd(),
                disks.seed.as_fd(),
                kernel.as_fd(),
                archive.as_fd(),
            ],
            devices: Devices::FewAndKvm,
        };
        let mut vmm = namespaces.launch_program(wall, &program)?;
        // Nothing in there would speak on it.
        drop(vmm.link());
        let words = Words { errors, console: None };
        match connect(&sockets, sockets::API, vmm.watch(), Instant::now() + SOCKETS_WITHIN) {
            Ok(stream) => Ok(Self { vmm, api: Api::new(stream), sockets, words }),
            Err(error) => {
                let error = words.explain(error);
                let _ = vmm.kill();
                Err(error)
            }
        }
    }

    /// Tells it everything, and that it is to begin.
    fn tell(&mut self, settings: &Settings) -> Result<()> {
        settings.calls().iter().try_for_each(|call| self.api.ask(call))
    }

    /// Boots until the agent waits. The link is given up again: a machine is kept without any.
    fn boot(&mut self, settings: &Settings) -> Result<()> {
        self.tell(settings)?;
        self.link().map(drop)
    }

    /// Stops it, and writes memory and devices' state to their files.
    fn keep(&mut self) -> Result<()> {
        settings::keep().iter().try_for_each(|call| self.api.ask(call))
    }

    /// A connection to the guest's agent, which waits.
    ///
    /// Until it listens, who comes is turned away. A copy finds out that the connections of its model are gone while it runs already, and may then take
    /// a new one for one of them: so what counts is that the agent has said something.
    fn link(&self) -> Result<UnixStream> {
        let deadline = Instant::now() + BOOT_WITHIN;
        loop {
            let attempt = connect(&self.sockets, sockets::VSOCK, self.vmm.watch(), deadline)
                .and_then(|stream| sockets::connect_guest(stream, Instant::now() + ATTEMPT_WITHIN))
                .and_then(|link| match link {
                    Some(link) => await_waiting(&link, self.vmm.watch(), ATTEMPT_WITHIN).map(|()| Some(link)),
                    None => Ok(None),
                });
            match attempt {
                Ok(Some(link)) => {
                    link.set_nonblocking(false).map_err(|error| Error::internal("the link cannot be used").because(error))?;
                    return Ok(link);
                }
                Ok(None) => {}
                Err(Error { kind: ErrorKind::Sandbox | ErrorKind::Timeout, .. }) if !is_gone(self.vmm.watch()) => {}
                Err(error) => return Err(error),
            }
            if Instant::now() > deadline {
                return Err(Error::timeout(format!("the machine was not up within {} s", BOOT_WITHIN.as_secs())));
            }
            pause(self.vmm.watch());
        }
    }

    /// Ends it. What has gone wrong before comes first, with the last words as the hint.
    fn end_with<T>(self, outcome: Result<T>) -> Result<T> {
        Running { vmm: self.vmm, link: None, words: self.words, control: None }.end_with(outcome)
    }
}

/// How long to wait before something is tried again that nothing announces.
const TRY_EVERY: Duration = Duration::from_millis(2);

/// Waits a moment, or until the sandbox is gone.
fn pause(watch: BorrowedFd<'_>) {
    // What cannot be waited for is seen at the next try.
    let _ = pyro_sys::spawn::wait_readable(watch, TRY_EVERY);
}

fn is_gone(watch: BorrowedFd<'_>) -> bool {
    pyro_sys::spawn::wait_readable(watch, Duration::ZERO).unwrap_or(true)
}

/// Connects to one of its sockets as soon as it is there.
fn connect(sockets: &Sockets, name: &str, watch: BorrowedFd<'_>, deadline: Instant) -> Result<UnixStream> {
    loop {
        match sockets.connect(name) {
            Ok(stream) => return Ok(stream),
            Err(_) if is_gone(watch) => return Err(Error::sandbox("Firecracker has ended")),
            // It is not there yet, nobody listens on it yet, or others wait.
            Err(error) if Instant::now() > deadline => {
                return Err(Error::timeout("Firecracker does not listen on its socket").because(error));
            }
            Err(_) => pause(watch),
        }
    }
}
