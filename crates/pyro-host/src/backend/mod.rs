//! Bringing up an isolated place. A backend never knows an op, and no op knows a backend: everything a sandbox is used for
//! goes through the one socket that [`Sandbox::link`] gives.

use std::os::fd::BorrowedFd;
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::time::Duration;

use pyro_api::ops::workspace::Guarantee;
use pyro_api::{Error, Result};

pub mod firecracker;
pub mod machine;
pub mod namespaces;
pub mod qemu;

/// A way to make sandboxes.
pub trait Backend: Send + Sync {
    /// Word for reports: `namespaces`.
    fn name(&self) -> &'static str;

    /// Starts a sandbox whose first process is our agent. When it returns, the agent end of the link has been handed
    /// over, and nothing but the agent runs inside. `make_layers` is called once, when the writable layers of `launch` are needed: while the
    /// kernel is busy with the sandbox's first process, there is time to make them.
    ///
    /// # Errors
    /// `Unavailable` with the setting at fault as the hint when this host cannot do it; those of `make_layers`. Whatever the backend had made
    /// is gone again.
    fn launch(&self, launch: &Launch, make_layers: &mut MakeLayers<'_>) -> Result<Box<dyn Sandbox>>;
}

/// Makes the directories that a launch names as upper and work, when they are not there.
pub type MakeLayers<'a> = dyn FnMut() -> Result<()> + 'a;

/// A running sandbox, owned by its supervisor. Dropping it kills it.
pub trait Sandbox: Send {
    /// Our end of the link; taken once.
    fn link(&mut self) -> UnixStream;

    /// Readable when the sandbox is gone.
    fn watch(&self) -> BorrowedFd<'_>;

    /// What is seen to hold from outside, before any workload.
    fn probe(&self) -> Vec<Guarantee>;

    /// What the kernel has counted of its limits so far; nothing where that cannot be told.
    fn pressure(&self) -> Pressure;

    /// Who can read its layers while it runs.
    fn layers(&self) -> LayersAt;

    /// Goes on over other layers: from then on what is written goes to the uppers of `mounts`, and the layers that were written to before never
    /// change again. Nothing inside notices. `commit` is called once this is certain to be possible; when it fails, all stays as it was.
    ///
    /// # Errors
    /// Those of `commit`; `Sandbox` when it is not fit for use any more and has to be ended.
    fn switch(&mut self, mounts: &[StackMount], commit: &mut dyn FnMut() -> Result<()>) -> Result<Switched> {
        let _ = (mounts, commit);
        Ok(Switched::Not("the layers of this kind of sandbox cannot be changed while it runs".to_owned()))
    }

    /// Makes ready what the next switch to `mounts` needs, while nothing is asked. A switch to others is as if it had not been called.
    ///
    /// # Errors
    /// When the layers cannot be put together; a switch would say the same.
    fn prepare(&mut self, mounts: &[StackMount]) -> Result<()> {
        let _ = mounts;
        Ok(())
    }

    /// Nothing has been asked of it for a while: what it has put off is done now.
    fn rest(&mut self) {}

    /// Why something inside may be writing to its files without having been asked; `None` when nothing can.
    ///
    /// # Errors
    /// When nobody can tell.
    fn who_may_write(&self) -> Result<Option<String>> {
        Err(Error::unavailable("what this kind of sandbox runs is only seen inside"))
    }

    /// Lets nothing inside write for as long as what it gives is held, so that what was written can be copied.
    ///
    /// # Errors
    /// `Conflict` when something could not be stopped; `Unavailable` when nobody can tell.
    fn freeze(&self) -> Result<Box<dyn Send>> {
        Err(Error::unavailable("what this kind of sandbox runs is only seen inside"))
    }

    /// Stops its first process, with all its threads, for as long as what it gives is held.
    ///
    /// # Errors
    /// `Conflict` when it could not be stopped; `Unavailable` when nobody can tell.
    fn pause(&self) -> Result<Box<dyn Send>> {
        Err(Error::unavailable("this kind of sandbox has no first process that can be stopped"))
    }

    /// How many processes are inside besides the agent; `None` where nobody outside can tell.
    fn alive(&self) -> Option<u64> {
        None
    }

    /// How many times longer than a sandbox of the host's own kernel its inside may take to answer: deadlines are multiplied by it.
    fn slowness(&self) -> u32;

    /// How long it may take to end in order when nothing runs in it any more: what it holds is written to disk then.
    fn settles_within(&self) -> Duration;

    /// What the program that makes it has said about its end, in a line; for errors.
    fn last_words(&self) -> Option<String> {
        None
    }

    /// Ends every process of it, without waiting until they are gone: none of them does anything more. [`Sandbox::kill`] must follow.
    fn condemn(&self);

    /// Ends every process of it at once, waits until they are gone, and takes away mounts and cgroups.
    ///
    /// # Errors
    /// When something could not be taken away; it says what.
    fn kill(self: Box<Self>) -> Result<()>;
}

/// What the kernel has counted of a sandbox that met its limits.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Pressure {
    /// Processes that it killed because of the memory limit.
    pub memory_kills: u64,
    /// Processes that it refused to make because of their limit.
    pub processes_refused: u64,
    /// The most memory that was ever used at one time, MiB.
    pub memory_peak_mib: Option<u64>,
}

/// Where the writable layers of a running sandbox are, and so who says what changed in them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LayersAt {
    /// In directories of this host: we read them.
    Outside,
    /// In a file system that the inside writes and that nobody outside may parse: the agent is asked.
    Inside,
}

/// How [`Sandbox::switch`] went.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Switched {
    /// The old layers are sealed.
    Done,
    /// Nothing has changed, and why it could not.
    Not(String),
}

/// What to start. Plain data: all of it is known before anything is made.
#[derive(Clone, Debug)]
pub struct Launch {
    /// Names the home and the workspace or run: marks cgroups, so that leftovers have an owner.
    pub id: String,
    /// Host name inside.
    pub hostname: String,
    /// The file system, from `/` down; the first is `/` itself.
    pub mounts: Vec<StackMount>,
    /// An empty private directory on the host for mounting over; it is left empty.
    pub staging: PathBuf,
    /// Give up crash safety of the writable layers for speed: for one-shot runs.
    pub volatile: bool,
    /// Limits to set where the host can.
    pub limits: Limits,
}

/// One overlay of a sandbox's file system.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StackMount {
    /// Where it is mounted inside: `/`, `/usr`.
    pub at: String,
    /// Read-only layers, uppermost first: what the workspace has sealed, the seed, the environment.
    pub lowers: Vec<PathBuf>,
    /// How many of them the workspace has sealed.
    pub sealed: usize,
    /// The writable layer.
    pub upper: PathBuf,
    /// Work directory of the overlay, on the file system of `upper`.
    pub work: PathBuf,
}

/// Limits of a sandbox.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Memory, MiB.
    pub mem_mib: u64,
    /// Size of its own disk, MiB, where it has one.
    pub disk_mib: u64,
    /// Processors.
    pub vcpu_count: u32,
    /// Processes and threads.
    pub pids_max: u64,
}
