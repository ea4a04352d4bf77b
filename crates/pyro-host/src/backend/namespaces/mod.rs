//! Sandboxes made of Linux namespaces on the host's own kernel.
//!
//! The order of a launch is what makes it strong, not the number of its steps: all mounts are made while the process still belongs to
//! the outer user namespace, and the sandbox's user namespace is entered last. From then on no mount call can work inside, whatever
//! capabilities and system calls were to be had. What is decided beforehand is in [`plan`], the steps are in [`launch`] and [`first`], what is
//! mounted in [`filesystem`], limits in [`cgroup`], and what can be seen of all this from outside in [`probe`].
//!
//! Must never: run anything when a step failed; take something for held that was only asked for.

use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use pyro_api::ops::workspace::Guarantee;
use pyro_api::{Error, Result};
use pyro_sys::spawn::Child;
use serde::{Deserialize, Serialize};

use super::{Backend, Launch, LayersAt, MakeLayers, Pressure, Sandbox, StackMount, Switched};
use crate::privilege::Privilege;

pub mod cgroup;
mod filesystem;
mod first;
mod launch;
mod plan;
mod probe;
mod quiet;
mod switch;
mod timing;

/// Limits on what a launch may ask for: there is no use for more, and each mount costs every later one.
const MOUNTS_MAX: usize = 32;

/// A program that is run in a sandbox instead of our agent: it speaks the agent's protocol on descriptor [`LINK`], or hands it on.
#[derive(Clone, Debug)]
pub struct Program<'a> {
    /// Its path inside, and its arguments; its own name first. Its environment is empty.
    pub arguments: Vec<String>,
    /// Becomes its standard output. Its input is nothing.
    pub output: BorrowedFd<'a>,
    /// Becomes its standard error.
    pub errors: BorrowedFd<'a>,
    /// Its further descriptors, from [`LINK`] + 1 on.
    pub descriptors: Vec<BorrowedFd<'a>>,
    /// Which devices there are for it.
    pub devices: Devices,
}

/// Which device nodes a sandbox has.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Devices {
    /// The few that cannot hurt.
    Few,
    /// Those, and `/dev/kvm`: for a program of ours that makes machines and takes no descriptor of it. It reaches code of the host's kernel that
    /// nothing else in a sandbox does.
    FewAndKvm,
}

/// The descriptor on which a [`Program`] finds the link.
pub const LINK: i32 = 10;

/// Steps of a launch by name, and when each was done.
pub type StepTimes = Vec<(&'static str, Duration)>;

/// The backend.
#[derive(Debug)]
pub struct Namespaces {
    binary: PathBuf,
    privilege: Privilege,
    layers: Layers,
    /// For the next launch.
    begun: Mutex<Option<launch::Begun>>,
}

/// How layers reach the overlay.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Layers {
    /// As descriptors of detached mounts, which Linux takes from 6.15 on; where it does not, by name.
    BestOfKernel,
    /// By name, from mounts on a staging directory: any kernel.
    ByName,
}

impl Namespaces {
    /// A backend that starts `binary` as the agent. This process must have entered the place that `privilege` speaks of
    /// ([`crate::privilege::enter_self`]).
    ///
    /// The thread that calls [`Backend::launch`] must live as long as the sandbox: the sandbox dies with the *thread* that launched it
    /// (prctl(2), `PR_SET_PDEATHSIG`). In a supervisor that is the main thread.
    #[must_use]
    pub fn new(binary: PathBuf, privilege: Privilege) -> Self {
        Self { binary, privilege, layers: Layers::BestOfKernel, begun: Mutex::new(None) }
    }

    /// As [`Namespaces::new`], with the way of layers given: for tests of the way that this kernel would not take.
    #[must_use]
    pub fn with_layers(mut self, layers: Layers) -> Self {
        self.layers = layers;
        self
    }

    /// Begins the next launch before it is known what is wanted, where this host can. It goes on by itself meanwhile.
    ///
    /// # Errors
    /// As [`Backend::launch`].
    pub fn begin(&self) -> Result<()> {
        let begun = launch::begin_ahead(self)?;
        *self.begun.lock().unwrap_or_else(PoisonError::into_inner) = begun;
        Ok(())
    }

    /// As [`Backend::launch`], of a program instead of our agent.
    ///
    /// # Errors
    /// As [`Backend::launch`].
    pub fn launch_program(&self, launch: &Launch, program: &Program<'_>) -> Result<Box<dyn Sandbox>> {
        Ok(Box::new(launch::run(self, launch, Some(program), &mut || Ok(()), &mut timing::Marks::off())?))
    }

    fn take_begun(&self) -> Option<launch::Begun> {
        self.begun.lock().unwrap_or_else(PoisonError::into_inner).take()
    }

    /// As [`Backend::launch`], and when each step was done, since the beginning.
    ///
    /// # Errors
    /// As [`Backend::launch`].
    pub fn launch_timed(&self, launch: &Launch) -> Result<(Box<dyn Sandbox>, StepTimes)> {
        let mut marks = timing::Marks::on();
        let sandbox = launch::run(self, launch, None, &mut || Ok(()), &mut marks)?;
        Ok((Box::new(sandbox), marks.named()))
    }
}

impl Drop for Namespaces {
    fn drop(&mut self) {
        if let Some(begun) = self.take_begun() {
            begun.end();
        }
    }
}

impl Backend for Namespaces {
    fn name(&self) -> &'static str {
        "namespaces"
    }

    fn launch(&self, launch: &Launch, make_layers: &mut MakeLayers<'_>) -> Result<Box<dyn Sandbox>> {
        Ok(Box::new(launch::run(self, launch, None, make_layers, &mut timing::Marks::off())?))
    }
}

pub use first::become_inside;
pub use plan::in_first_user_namespace;

/// A running sandbox.
struct NamespaceSandbox {
    child: Child,
    link: Option<UnixStream>,
    groups: cgroup::Groups,
    landlock: u32,
    privilege: Privilege,
    /// What it needs to go on over other layers; once all of it has been given.
    ground: Option<switch::Ground>,
    ended: bool,
}

impl NamespaceSandbox {
    fn end(&mut self) -> Result<()> {
        self.ended = true;
        self.link = None;
        let describe = |error| Error::internal("end the sandbox").because(error);
        self.child.kill().map_err(describe)?;
        // The first process ends after every other of its process namespace has been collected (pid_namespaces(7)). It would wait for the disk, were
        // it the last to hold the overlays: we are.
        self.child.wait().map_err(describe)?;
        if let Some(ground) = self.ground.take() {
            ground.release();
        }
        self.groups.remove()
    }
}

impl Sandbox for NamespaceSandbox {
    fn link(&mut self) -> UnixStream {
        self.link.take().expect("the link is taken once")
    }

    fn watch(&self) -> BorrowedFd<'_> {
        self.child.as_fd()
    }

    fn probe(&self) -> Vec<Guarantee> {
        probe::all(self)
    }

    fn pressure(&self) -> Pressure {
        self.groups.pressure()
    }

    fn layers(&self) -> LayersAt {
        LayersAt::Outside
    }

    fn rest(&mut self) {
        if let Some(ground) = &mut self.ground {
            ground.let_go();
        }
    }

    fn prepare(&mut self, mounts: &[StackMount]) -> Result<()> {
        self.ground.as_mut().map_or(Ok(()), |ground| ground.prepare(mounts))
    }

    fn switch(&mut self, mounts: &[StackMount], commit: &mut dyn FnMut() -> Result<()>) -> Result<Switched> {
        switch::switch(self, mounts, commit)
    }

    fn who_may_write(&self) -> Result<Option<String>> {
        let watched = quiet::Watched::open(&self.child);
        let why = watched.and_then(|watched| watched.who_may_write());
        why.map(|why| why.map(str::to_owned))
            .map_err(|error| Error::unavailable("look at the processes of a sandbox").because(error))
    }

    fn freeze(&self) -> Result<Box<dyn Send>> {
        let cannot = |error| Error::unavailable("stop the processes of a sandbox").because(error);
        let watched = quiet::Watched::open(&self.child).map_err(cannot)?;
        match quiet::Frozen::new(&watched).map_err(cannot)? {
            Some(frozen) => Ok(Box::new(frozen)),
            None => Err(Error::conflict("a process in the background waits for the disk and cannot be stopped").hint("try again")),
        }
    }

    fn pause(&self) -> Result<Box<dyn Send>> {
        let cannot = |error| Error::unavailable("stop the first process of a sandbox").because(error);
        let watched = quiet::Watched::open(&self.child).map_err(cannot)?;
        match quiet::Frozen::first(&watched).map_err(cannot)? {
            Some(frozen) => Ok(Box::new(frozen)),
            None => Err(Error::conflict("it waits for the disk and cannot be stopped").hint("try again")),
        }
    }

    fn alive(&self) -> Option<u64> {
        quiet::Watched::open(&self.child).and_then(|watched| watched.count()).ok()
    }

    fn slowness(&self) -> u32 {
        1
    }

    fn settles_within(&self) -> Duration {
        // What it has written is the host's already; its agent only has to see the last process go.
        Duration::from_secs(2)
    }

    fn condemn(&self) {
        // When it cannot be signalled, kill() says so.
        let _ = self.child.kill();
    }

    fn kill(mut self: Box<Self>) -> Result<()> {
        self.end()
    }
}

impl Drop for NamespaceSandbox {
    fn drop(&mut self) {
        if !self.ended {
            // Whoever wants to hear of errors calls kill().
            let _ = self.end();
        }
    }
}
