//! What sandboxes with a kernel of their own have in common, whichever program runs their machines.
//!
//! ```text
//!  supervisor ── link ──> a monitor (QEMU or Firecracker), in a sandbox of namespaces ── its devices ──> the agent, first process of a guest
//! ```
//!
//! The monitor is a program like any other that is not trusted: it runs in a sandbox that [`super::namespaces`] makes, with a file system that
//! holds nothing but itself, no network, no capability and a system call filter of ours besides its own. All files that it works with it gets as
//! open descriptors. A guest that breaks out of its machine is where code in a workspace of namespaces is, with less around it.
//!
//! A machine is not booted each time. For each environment and size one is booted once, as far as it is the same for all ([`template`]), and
//! kept: its memory as a file, its devices' state as another. Every sandbox is a copy of it, which maps that memory privately and wakes
//! with randomness, time, name and disks of its own.
//!
//! Disks are files: the environment and the seed as images that are only read, one sparse file that is written. Nothing outside ever looks into
//! the file system that a guest has written.
//!
//! Must never: give a monitor a path of the host, or a descriptor that it could change something shared by.

use std::fs::{self, File};
use std::os::fd::{AsRawFd, BorrowedFd, OwnedFd};
use std::os::unix::fs::{DirBuilderExt, PermissionsExt};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use pyro_api::ops::workspace::{Guarantee, GuaranteeName};
use pyro_api::{Error, Result};
use pyro_sys::mount::{self, Refuses};
use pyro_wire::ToAgent;
use pyro_wire::frame::encode_control;
use pyro_wire::limits::{PIDS_MAX_MIN, WAKE_ENTROPY_BYTES};
use pyro_wire::message::{Bytes, Wake};

use super::namespaces::Namespaces;
use super::{Launch, LayersAt, Limits, MakeLayers, Pressure, Sandbox, StackMount};
use crate::environment::{self, Kit, image};
use crate::home::Home;
use crate::layers;

mod accelerator;
mod archive;
mod template;

pub use accelerator::Accelerator;
pub use template::{BOOT_WITHIN, Files, Template, await_waiting, make_once};

/// Least memory of a machine: a stock kernel with our agent needs half of it, and the rest is little enough.
const MEM_MIB_MIN: u64 = 192;

/// How long a guest may take to write out what it holds: all its memory, to a slow disk. A guest that does not come to an end by then is ended.
const SYNC_WITHIN: Duration = Duration::from_secs(60);

/// Size of the disk that a seed is on, bytes. The same for all, because a machine is copied with the sizes of its disks.
const SEED_DISK_BYTES: u64 = 64 << 30;

/// What a backend works with.
#[derive(Clone, Copy, Debug)]
pub struct Places<'a> {
    /// Whose templates and disks it uses.
    pub home: &'a Home,
    /// Our own program, which is a guest's first process.
    pub binary: &'a Path,
    /// What monitors are confined by.
    pub namespaces: &'a Namespaces,
    /// Hears what takes a while.
    pub tell: Tell<'a>,
}

/// Hears in words what is begun that takes a while: the first of everything is made, which others are copied from.
#[derive(Clone, Copy)]
pub struct Tell<'a>(pub &'a (dyn Fn(&str) + Sync));

impl std::fmt::Debug for Tell<'_> {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str("Tell")
    }
}

/// A program that runs machines, and how it is talked to.
pub trait Monitor {
    /// Its name, for people.
    const NAME: &'static str;

    /// Its name and version, for people.
    fn with_version(&self, kit: &Kit) -> String;

    /// Everything that a kept machine depends on besides kernel, environment, our program and processor: version, devices, sizes.
    fn recipe(&self, machine: &Machine) -> Vec<String>;

    /// Boots a machine until its agent waits, and keeps it in the files. It is ended then.
    ///
    /// # Errors
    /// When it does not boot or cannot be kept, with what was said last as the hint.
    fn make_template(&self, machine: &Machine, launch: &Launch, disks: &Disks, files: &Files<'_>) -> Result<()>;

    /// Starts a copy of a kept machine: it goes on, and its agent waits on the link.
    ///
    /// # Errors
    /// When it does not.
    fn start_copy(&self, machine: &Machine, launch: &Launch, disks: &Disks, template: &Template) -> Result<Running>;
}

/// As [`super::Backend::launch`], by a monitor.
pub fn launch<M: Monitor>(
    monitor: &M,
    places: Places<'_>,
    launch: &Launch,
    make_layers: &mut MakeLayers<'_>,
) -> Result<Box<dyn Sandbox>> {
    // First: what is found out about the processor is kept there.
    let machines = machines(places.home)?;
    let machine = Machine::plan(places, launch)?;
    make_layers()?;
    if let Some((tree, image)) = machine.seed.as_ref().filter(|(_, image)| !image.exists()) {
        places.tell.0("copying the seed to a disk of its own");
        image::make_seed_image(tree, image, SEED_DISK_BYTES)?;
    }
    if !machine.disk.exists() {
        let of = match &machine.disk_before {
            Some(before) => before.clone(),
            None => image::make_blank(&machines, machine.limits.disk_mib, !machine.volatile)?,
        };
        layers::copy_disk(&of, &machine.disk)?;
    }
    let template = Template::ensure(monitor, places, &machine, launch, &machines)?;
    let disks = Disks::open(&machine, &machines)?;
    let running = monitor.start_copy(&machine, launch, &disks, &template)?;
    let mut sandbox = MachineSandbox::new(running, monitor, &machine, launch.limits.pids_max);
    sandbox.wake(&machine)?;
    Ok(Box::new(sandbox))
}

/// Everything about a machine that is decided before it is made.
pub struct Machine {
    /// What it is made of.
    pub kit: Kit,
    /// What runs its code.
    pub accelerator: Accelerator,
    /// Its size.
    pub limits: Limits,
    environment: PathBuf,
    /// The tree that it is made of, and its disk.
    seed: Option<(PathBuf, PathBuf)>,
    /// The file behind the writable disk.
    disk: PathBuf,
    /// The one that it is a copy of, when there was one before it.
    disk_before: Option<PathBuf>,
    /// Its machine id.
    id: String,
    /// What is on the writable disk need not survive a crash of the host.
    pub volatile: bool,
}

impl Machine {
    fn plan(places: Places<'_>, launch: &Launch) -> Result<Self> {
        let kit = environment::kit(places.home.root())?.ok_or_else(|| {
            Error::unavailable("there is no QEMU and no kernel for workspaces with a kernel of their own")
                .hint("pyro env build microvm")
        })?;
        check_size(launch.limits.mem_mib)?;
        let [root] = launch.mounts.as_slice() else { return Err(sees_only_disks()) };
        // Each holds all of what was written, so only the uppermost counts.
        let (sealed, trees) = root.lowers.split_at(root.sealed.min(root.lowers.len()));
        let (seed, environment) = match trees {
            [environment] => (None, environment),
            [seed, environment] => (Some(seed), environment),
            _ => return Err(Error::internal("a machine has one environment and at most one seed")),
        };
        if !image::image_of(environment).exists() {
            places.tell.0("making the disk of the environment");
        }
        Ok(Self {
            environment: image::make_image(environment, &|| false)?,
            seed: seed.map(|seed| (seed.clone(), image::image_of(seed))),
            kit,
            accelerator: Accelerator::find(places.home, places.binary),
            limits: launch.limits,
            disk: layers::disk(&root.upper),
            disk_before: sealed.first().map(|layer| layers::disk(layer)).filter(|disk| disk.exists()),
            // The same at each start, and nobody else's: homes have marks of their own.
            id: blake3::hash(launch.id.as_bytes()).to_hex()[..32].to_owned(),
            volatile: launch.volatile,
        })
    }
}

/// Whether there could be such a machine at all: asked before anything is built for it.
///
/// # Errors
/// `Invalid` when it is too small, `Unavailable` when its environment has no disk.
pub fn check(environment: &str, mem_mib: u64) -> Result<()> {
    check_size(mem_mib)?;
    if environment == environment::HOST { Err(sees_only_disks()) } else { Ok(()) }
}

fn check_size(mem_mib: u64) -> Result<()> {
    if mem_mib >= MEM_MIB_MIN {
        return Ok(());
    }
    Err(Error::invalid(format!("a machine of its own needs {MEM_MIB_MIN} MiB of memory, not {mem_mib}"))
        .hint(format!("mem_mib {MEM_MIB_MIN} or more, or isolation namespaces")))
}

fn sees_only_disks() -> Error {
    Error::unavailable("the environment host shows directories of this machine, and a machine of its own sees only disks")
        .hint("take another environment, or isolation namespaces")
}

/// Where templates, blank disks and programs for machines are.
///
/// # Errors
/// When it cannot be made.
pub fn machines(home: &Home) -> Result<PathBuf> {
    let path = home.root().join("machines");
    match fs::DirBuilder::new().mode(0o700).create(&path) {
        Err(error) if error.kind() != std::io::ErrorKind::AlreadyExists => Err(no_room(&path, error)),
        Ok(()) | Err(_) => Ok(path),
    }
}

/// Deletes machines that nothing can be copied from any more, and says how much room that made.
///
/// # Errors
/// When one cannot be deleted.
pub fn sweep(home: &Home) -> Result<u64> {
    let machines = home.root().join("machines");
    template::sweep(&machines)
        .map_err(|error| Error::unavailable(format!("{} cannot be cleared", machines.display())).because(error))
}

/// Says that something cannot be made, and whether that is for lack of room.
pub fn no_room(path: &Path, error: std::io::Error) -> Error {
    let full = error.kind() == std::io::ErrorKind::StorageFull;
    let error = Error::unavailable(format!("{} cannot be made", path.display())).because(error);
    if full { error.hint("the disk is full: free some space, or delete workspaces") } else { error }
}

/// Opens a file that is shared, for a monitor that may do nothing but read it.
///
/// A descriptor says how it was opened, and by its name below `/proc/self/fd` whoever owns the file opens it again as he likes: where a sandbox
/// has the user's own id, that would be the monitor. So it is opened by a mount of its own that refuses writes, which holds for that too.
/// A monitor may have another id, and then needs to be among those who may read.
///
/// # Errors
/// When it is not there or cannot be opened.
pub fn open_to_read(path: &Path) -> Result<File> {
    let open = || {
        let permissions = fs::metadata(path)?.permissions();
        if permissions.mode() & READABLE != READABLE {
            fs::set_permissions(path, fs::Permissions::from_mode(permissions.mode() | READABLE))?;
        }
        let copy = mount::copy_of_host_path(path)?;
        mount::restrict(&copy, Refuses::ALL)?;
        File::open(format!("/proc/self/fd/{}", copy.as_raw_fd()))
    };
    open().map_err(|error| Error::unavailable(format!("open {}", path.display())).because(error))
}

/// By everybody. The directories above are private to the home's owner.
const READABLE: u32 = 0o444;

/// As [`READABLE`], and to be written.
const WRITABLE: u32 = 0o666;

/// Opens the file behind a machine's own disk.
fn open_to_write(path: &Path) -> Result<File> {
    let open = || {
        let file = File::options().read(true).write(true).open(path)?;
        // A monitor that opens it by name does so as the id that it has in its sandbox.
        file.set_permissions(fs::Permissions::from_mode(WRITABLE)).map(|()| file)
    };
    open().map_err(|error| Error::unavailable(format!("open {}", path.display())).because(error))
}

/// The files behind a machine's disks.
pub struct Disks {
    /// Shared, only read.
    pub environment: File,
    /// Its own.
    pub writable: File,
    /// Its own, only read.
    pub seed: File,
}

impl Disks {
    fn open(machine: &Machine, machines: &Path) -> Result<Self> {
        let seed = match &machine.seed {
            Some((_, image)) => open_to_read(image)?,
            None => open_to_read(&nothing(machines.join("no-seed"), SEED_DISK_BYTES)?)?,
        };
        Ok(Self { environment: open_to_read(&machine.environment)?, writable: open_to_write(&machine.disk)?, seed })
    }

    /// Of a machine that is nobody's yet: what will be its own is blank. A template does not mount it, and so never writes to it.
    fn placeholders(machine: &Machine, machines: &Path) -> Result<Self> {
        let disk_mib = machine.limits.disk_mib;
        Ok(Self {
            environment: open_to_read(&machine.environment)?,
            writable: open_to_write(&nothing(machines.join(format!("no-disk-{disk_mib}")), disk_mib << 20)?)?,
            seed: open_to_read(&nothing(machines.join("no-seed"), SEED_DISK_BYTES)?)?,
        })
    }
}

/// A file of that size with nothing in it.
fn nothing(path: PathBuf, bytes: u64) -> Result<PathBuf> {
    let made = File::options().create(true).append(true).open(&path).and_then(|file| file.set_len(bytes));
    made.map_err(|error| no_room(&path, error))?;
    Ok(path)
}

/// A monitor that runs, with a guest in it.
pub struct Running {
    /// The sandbox that the monitor is in.
    pub vmm: Box<dyn Sandbox>,
    /// To the guest's agent, until it is taken.
    pub link: Option<UnixStream>,
    /// What it says.
    pub words: Words,
    /// Held, so that the monitor is not told that its controller is gone.
    pub control: Option<Box<dyn Send>>,
}

impl Running {
    /// Waits until the agent of a machine that boots waits.
    ///
    /// # Errors
    /// When it ends before, or takes too long.
    pub fn wait(&self) -> Result<()> {
        let link = self.link.as_ref().ok_or_else(|| Error::internal("the link is taken"))?;
        await_waiting(link, self.vmm.watch(), BOOT_WITHIN)
    }

    /// Ends it. What has gone wrong before comes first, with the last words as the hint.
    ///
    /// # Errors
    /// What went wrong.
    pub fn end_with<T>(self, outcome: Result<T>) -> Result<T> {
        let ended = self.vmm.kill();
        let outcome = outcome.map_err(|error| self.words.explain(error));
        outcome.and_then(|value| ended.map(|()| value))
    }
}

/// Where a monitor and a guest that boots say things: pipes or sockets that are read without waiting.
pub struct Words {
    /// Of the monitor.
    pub errors: OwnedFd,
    /// Of a guest that boots.
    pub console: Option<OwnedFd>,
}

/// Most bytes of either that are looked at: what a pipe holds.
const WORDS_BYTES_MAX: usize = 64 * 1024;

impl Words {
    /// An error, with the last of them as its hint.
    pub fn explain(&self, error: Error) -> Error {
        match self.last() {
            Some(words) => error.hint(words),
            None => error,
        }
    }

    /// The last line: the monitor's, or else the guest's.
    pub fn last(&self) -> Option<String> {
        last_line(&self.errors).or_else(|| self.console.as_ref().and_then(last_line))
    }
}

fn last_line(said: &OwnedFd) -> Option<String> {
    let mut bytes = vec![0; WORDS_BYTES_MAX];
    let length = rustix::io::read(said, bytes.as_mut_slice()).unwrap_or(0);
    let line = bytes[..length].rsplit(|byte| *byte == b'\n').find(|line| !line.trim_ascii().is_empty())?;
    Some(pyro_wire::Untrusted::new(line.trim_ascii()).escaped())
}

/// A pipe for a monitor to say things: our end and its end. What nobody reads does not hold it up: what does not fit is lost.
///
/// # Errors
/// When there are no descriptors left.
pub fn pipe_of_words() -> std::io::Result<(OwnedFd, OwnedFd)> {
    let (ours, theirs) = std::io::pipe()?;
    rustix::io::ioctl_fionbio(&ours, true)?;
    rustix::io::ioctl_fionbio(&theirs, true)?;
    Ok((ours.into(), theirs.into()))
}

/// What a monitor itself takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Overhead {
    /// Besides the guest's memory.
    pub mem_mib: u64,
    /// Threads, besides one for each of the guest's processors.
    pub threads: u64,
}

/// The sandbox around a monitor: its own files, in `root`, and nothing else. `name` keeps what one monitor has left from another.
///
/// # Errors
/// When its directories cannot be made.
pub fn wall(launch: &Launch, name: &str, root: &Path, overhead: Overhead) -> Result<Launch> {
    let directory = launch.mounts[0].upper.parent().ok_or_else(|| Error::internal("a layer is in no directory"))?;
    let mount = StackMount {
        at: "/".to_owned(),
        lowers: vec![root.to_owned()],
        sealed: 0,
        upper: directory.join(format!("upper-{name}")),
        work: directory.join(format!("work-{name}")),
    };
    for layer in [&mount.upper, &mount.work] {
        match fs::DirBuilder::new().mode(0o755).create(layer) {
            Err(error) if error.kind() != std::io::ErrorKind::AlreadyExists => return Err(no_room(layer, error)),
            Ok(()) | Err(_) => {}
        }
    }
    Ok(Launch {
        id: launch.id.clone(),
        hostname: launch.hostname.clone(),
        mounts: vec![mount],
        staging: launch.staging.clone(),
        volatile: false,
        limits: Limits {
            mem_mib: launch.limits.mem_mib + overhead.mem_mib,
            disk_mib: launch.limits.disk_mib,
            vcpu_count: launch.limits.vcpu_count,
            pids_max: overhead.threads + u64::from(launch.limits.vcpu_count),
        },
    })
}

/// A running machine.
struct MachineSandbox {
    running: Running,
    link: Option<UnixStream>,
    /// What the monitor is called, and with its version.
    monitor: (&'static str, String),
    kernel: String,
    accelerator: Accelerator,
    mem_mib: u64,
    disk_mib: u64,
    pids_max: u64,
}

impl MachineSandbox {
    fn new<M: Monitor>(mut running: Running, monitor: &M, machine: &Machine, pids_max: u64) -> Self {
        Self {
            link: running.link.take(),
            running,
            monitor: (M::NAME, monitor.with_version(&machine.kit)),
            kernel: machine.kit.kernel_release.clone(),
            accelerator: machine.accelerator,
            mem_mib: machine.limits.mem_mib,
            disk_mib: machine.limits.disk_mib,
            pids_max: pids_max.max(PIDS_MAX_MIN),
        }
    }

    /// Tells the copy who it is. It hears it as soon as it runs.
    fn wake(&mut self, machine: &Machine) -> Result<()> {
        let mut entropy = [0_u8; WAKE_ENTROPY_BYTES];
        rustix::rand::getrandom(&mut entropy, rustix::rand::GetRandomFlags::empty())
            .map_err(|error| Error::internal("there is no randomness").because(error))?;
        let unix_time_ns = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_nanos());
        let wake = ToAgent::Wake(Wake {
            unix_time_ns: u64::try_from(unix_time_ns).unwrap_or(u64::MAX),
            entropy: Bytes::from(entropy.to_vec()),
            machine_id: machine.id.clone(),
            seeded: machine.seed.is_some(),
            pids_max: self.pids_max,
        });
        let mut frame = Vec::new();
        encode_control(0, &wake, &mut frame).map_err(|violation| Error::internal(violation.0))?;
        let link = self.link.as_mut().ok_or_else(|| Error::internal("the link is taken"))?;
        std::io::Write::write_all(link, &frame).map_err(|error| Error::sandbox("the machine is gone").because(error))
    }
}

impl Sandbox for MachineSandbox {
    fn link(&mut self) -> UnixStream {
        self.link.take().expect("the link is taken once")
    }

    fn watch(&self) -> BorrowedFd<'_> {
        self.running.vmm.watch()
    }

    fn probe(&self) -> Vec<Guarantee> {
        let (name, version) = &self.monitor;
        let mut seen = self.running.vmm.probe();
        for guarantee in &mut seen {
            match guarantee.name {
                GuaranteeName::OwnKernel => {
                    guarantee.held = true;
                    guarantee.detail = format!("Linux {}, in {version} {}", self.kernel, self.accelerator.in_words());
                }
                GuaranteeName::OwnFileSystem if guarantee.held => {
                    guarantee.detail = format!("disks of its own; {name} sees nothing of the host but itself");
                }
                GuaranteeName::MemoryLimit => {
                    guarantee.held = true;
                    guarantee.detail = format!("the machine has {} MiB", self.mem_mib);
                }
                GuaranteeName::PidsLimit => {
                    guarantee.held = true;
                    guarantee.detail =
                        format!("none of its processes is the host's; {} inside, until its root raises that", self.pids_max);
                }
                GuaranteeName::DiskLimit => {
                    guarantee.held = true;
                    guarantee.detail = format!("the machine's disk has {} MiB", self.disk_mib);
                }
                _ => guarantee.detail = format!("of {name}: {}", guarantee.detail),
            }
        }
        seen
    }

    fn pressure(&self) -> Pressure {
        // Its own kernel counts, and says so through the agent.
        Pressure::default()
    }

    fn layers(&self) -> LayersAt {
        LayersAt::Inside
    }

    fn freeze(&self) -> Result<Box<dyn Send>> {
        // What its kernel has given to the disk is in the file then, and its journal makes something whole of that.
        self.running.vmm.pause()
    }

    fn slowness(&self) -> u32 {
        self.accelerator.slowness()
    }

    fn settles_within(&self) -> Duration {
        SYNC_WITHIN
    }

    fn last_words(&self) -> Option<String> {
        self.running.words.last()
    }

    fn condemn(&self) {
        self.running.vmm.condemn();
    }

    fn kill(self: Box<Self>) -> Result<()> {
        self.running.vmm.kill()
    }
}
