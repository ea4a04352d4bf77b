//! Sandboxes with a kernel of their own: QEMU's `microvm` machine.
//!
//! ```text
//!  supervisor ── link ──> QEMU, in a sandbox of namespaces ── virtio-serial ──> the agent, first process of a guest
//! ```
//!
//! QEMU is a program like any other that is not trusted: it runs in a sandbox that [`super::namespaces`] makes, with a file system that holds
//! nothing but itself and its libraries, no network, no capability, a system call filter of ours and one of its own. All files that it
//! works with it gets as open descriptors. A guest that breaks out of its machine is where code in a workspace of namespaces is, with less around it.
//!
//! A machine is not booted each time. For each environment and size one is booted once, as far as it is the same for all ([`template`]), and
//! kept: its memory as a file, its devices' state as another. Every sandbox is a copy of it, which maps that memory privately and wakes
//! with randomness, time, name and disks of its own.
//!
//! Disks are files: the environment and the seed as images that are only read, one sparse file that is written. Nothing outside ever looks into
//! the file system that a guest has written.
//!
//! Must never: give QEMU a path of the host, or a descriptor that it could change something shared by.

use std::fs::{self, File};
use std::io::Read;
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::fs::DirBuilderExt;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use pyro_api::ops::workspace::{Guarantee, GuaranteeName};
use pyro_api::{Error, Result};
use pyro_wire::ToAgent;
use pyro_wire::frame::encode_control;
use pyro_wire::limits::{PIDS_MAX_MIN, WAKE_ENTROPY_BYTES};
use pyro_wire::message::{Bytes, Wake};

use super::namespaces::{Namespaces, Program};
use super::{Backend, Launch, LayersAt, Limits, MakeLayers, Sandbox, StackMount};
use crate::environment::{self, Kit, image};
use crate::home::Home;

mod accelerator;
mod archive;
mod arguments;
mod control;
mod template;

pub use accelerator::Accelerator;

use arguments::{Arguments, Start};
use control::Control;
use template::Template;

/// Least memory of a machine: a stock kernel with our agent needs half of it, and the rest is little enough.
const MEM_MIB_MIN: u64 = 192;

/// What QEMU itself may need besides the guest's memory: 128 MiB of translated code, its own heap, and the pages of its program.
const OVERHEAD_MIB: u64 = 320;

/// Threads of QEMU: one for each processor of the guest, and those that read and write disks (64 at most, util/thread-pool.c).
const THREADS: u64 = 128;

/// How long a guest may take to write out what it holds: all its memory, to a slow disk. A guest that does not come to an end by then is ended.
const SYNC_WITHIN: Duration = Duration::from_secs(60);

/// Size of the disk that a workspace writes to, MiB. The file is sparse: it takes what is written.
const DISK_MIB: u64 = 16 * 1024;

/// Size of the disk that a seed is on, bytes. The same for all, because a machine is copied with the sizes of its disks.
const SEED_DISK_BYTES: u64 = 64 << 30;

/// The backend.
#[derive(Debug)]
pub struct Qemu<'a> {
    /// Whose templates and disks it uses.
    pub home: &'a Home,
    /// Our own program, which is a guest's first process.
    pub binary: &'a Path,
    /// What QEMU is confined by.
    pub namespaces: &'a Namespaces,
}

/// Everything about a machine that is decided before it is made.
struct Machine {
    kit: Kit,
    accelerator: Accelerator,
    limits: Limits,
    environment: PathBuf,
    seed: Option<PathBuf>,
    /// The file behind the writable disk.
    disk: PathBuf,
    volatile: bool,
}

impl Machine {
    fn plan(backend: &Qemu<'_>, launch: &Launch) -> Result<Self> {
        let kit = environment::kit(backend.home.root())?.ok_or_else(|| {
            Error::unavailable("there is no QEMU and no kernel for workspaces with a kernel of their own")
                .hint("pyro env build microvm")
        })?;
        if launch.limits.mem_mib < MEM_MIB_MIN {
            return Err(Error::invalid(format!(
                "a machine of its own needs {MEM_MIB_MIN} MiB of memory, not {}",
                launch.limits.mem_mib
            ))
            .hint(format!("mem_mib {MEM_MIB_MIN} or more, or isolation namespaces")));
        }
        let [root] = launch.mounts.as_slice() else {
            return Err(Error::unavailable(
                "the environment host shows directories of this machine, and a machine of its own sees only disks",
            )
            .hint("take another environment, or isolation namespaces"));
        };
        let (seed, environment) = match root.lowers.as_slice() {
            [environment] => (None, environment),
            [seed, environment] => (Some(seed), environment),
            _ => return Err(Error::internal("a machine has one environment and at most one seed")),
        };
        Ok(Self {
            environment: image::make_image(environment, &|| false)?,
            seed: seed.map(|seed| image::image_of(seed)),
            kit,
            accelerator: Accelerator::find(backend.home, backend.binary),
            limits: launch.limits,
            disk: root.upper.with_extension("ext4"),
            volatile: launch.volatile,
        })
    }
}

/// Where templates and blank disks are.
fn machines(home: &Home) -> Result<PathBuf> {
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

fn no_room(path: &Path, error: std::io::Error) -> Error {
    let full = error.kind() == std::io::ErrorKind::StorageFull;
    let error = Error::unavailable(format!("{} cannot be made", path.display())).because(error);
    if full { error.hint("the disk is full: free some space, or delete workspaces") } else { error }
}

fn open(path: &Path, write: bool) -> Result<File> {
    File::options()
        .read(true)
        .write(write)
        .open(path)
        .map_err(|error| Error::unavailable(format!("open {}", path.display())).because(error))
}

impl Backend for Qemu<'_> {
    fn name(&self) -> &'static str {
        "qemu"
    }

    fn launch(&self, launch: &Launch, make_layers: &mut MakeLayers<'_>) -> Result<Box<dyn Sandbox>> {
        let machine = Machine::plan(self, launch)?;
        make_layers()?;
        let machines = machines(self.home)?;
        if let (Some(image), Some(seed)) = (&machine.seed, launch.mounts[0].lowers.first())
            && !image.exists()
        {
            image::make_seed_image(seed, image, SEED_DISK_BYTES)?;
        }
        if !machine.disk.exists() {
            let blank = image::make_blank(&machines, DISK_MIB)?;
            image::copy_sparse(&blank, &machine.disk).map_err(|error| no_room(&machine.disk, error))?;
        }
        let template = Template::ensure(self, &machine, launch, &machines)?;
        let disks = Disks::open(&machine, &machines)?;
        let arguments = Arguments::new(&machine, Start::Copy);
        let running = Running::start(
            self,
            launch,
            &machine,
            &disks,
            &arguments,
            &Files { memory: &template.memory, state: &template.state, boot: None },
        )?;
        running.control.resume()?;
        let mut sandbox = QemuSandbox::new(running, &machine, launch.limits.pids_max)?;
        sandbox.wake(&machine)?;
        Ok(Box::new(sandbox))
    }
}

/// The files behind a machine's disks.
struct Disks {
    environment: File,
    writable: File,
    seed: File,
}

impl Disks {
    fn open(machine: &Machine, machines: &Path) -> Result<Self> {
        let seed = match &machine.seed {
            Some(seed) => open(seed, false)?,
            None => nothing(&machines.join("no-seed"), SEED_DISK_BYTES)?,
        };
        Ok(Self { environment: open(&machine.environment, false)?, writable: open(&machine.disk, true)?, seed })
    }

    /// Of a machine that is nobody's yet: what will be its own is blank.
    fn placeholders(machine: &Machine, machines: &Path) -> Result<Self> {
        let blank = |name: &str, bytes| nothing(&machines.join(name), bytes);
        // Never written: the template does not mount it. It is opened as it will be.
        let writable = blank("no-disk", DISK_MIB << 20)?;
        drop(writable);
        Ok(Self {
            environment: open(&machine.environment, false)?,
            writable: open(&machines.join("no-disk"), true)?,
            seed: blank("no-seed", SEED_DISK_BYTES)?,
        })
    }
}

/// A file of that size with nothing in it.
fn nothing(path: &Path, bytes: u64) -> Result<File> {
    let made = File::options().create(true).append(true).open(path).and_then(|file| file.set_len(bytes));
    made.map_err(|error| no_room(path, error))?;
    open(path, false)
}

/// What a machine is started from.
struct Files<'a> {
    memory: &'a File,
    /// The state of a copy's devices; where it is kept, when a template is made.
    state: &'a File,
    /// Kernel and first files, for a machine that boots.
    boot: Option<(&'a File, &'a File)>,
}

/// QEMU, started.
struct Running {
    vmm: Box<dyn Sandbox>,
    link: UnixStream,
    control: Control,
    words: Words,
}

impl Running {
    fn start(
        backend: &Qemu<'_>,
        launch: &Launch,
        machine: &Machine,
        disks: &Disks,
        arguments: &Arguments,
        files: &Files<'_>,
    ) -> Result<Self> {
        let unable = |error: std::io::Error| Error::unavailable("QEMU cannot be given its descriptors").because(error);
        let null = File::options().read(true).write(true).open("/dev/null").map_err(unable)?;
        let (control, qemu_control) = UnixStream::pair().map_err(unable)?;
        let (errors, qemu_errors) = std::io::pipe().map_err(unable)?;
        let (console, qemu_console) = UnixStream::pair().map_err(unable)?;
        console.set_nonblocking(true).map_err(unable)?;
        // What nobody reads must not hold QEMU up: what does not fit is lost.
        rustix::io::ioctl_fionbio(&qemu_errors, true).map_err(|error| unable(error.into()))?;
        rustix::io::ioctl_fionbio(&errors, true).map_err(|error| unable(error.into()))?;
        let kvm = machine.accelerator.device().map_err(unable)?;
        let (kernel, archive) = files.boot.unwrap_or((&null, &null));
        let program = Program {
            arguments: arguments.list(),
            errors: qemu_errors.as_fd(),
            // In the order of their numbers.
            descriptors: vec![
                qemu_control.as_fd(),
                files.memory.as_fd(),
                disks.environment.as_fd(),
                disks.writable.as_fd(),
                disks.seed.as_fd(),
                files.state.as_fd(),
                kernel.as_fd(),
                archive.as_fd(),
                kvm.as_ref().unwrap_or(&null).as_fd(),
                qemu_console.as_fd(),
            ],
        };
        let mut vmm = backend.namespaces.launch_program(&wall(launch, machine)?, &program)?;
        let link = vmm.link();
        Ok(Self { vmm, link, control: Control::new(control), words: Words { errors, console } })
    }
}

/// What QEMU has said, and a guest that boots.
struct Words {
    errors: std::io::PipeReader,
    console: UnixStream,
}

/// Most bytes of either that are looked at: what a pipe holds.
const WORDS_BYTES_MAX: usize = 64 * 1024;

impl Words {
    /// The last line: QEMU's, or else the guest's.
    fn last(&self) -> Option<String> {
        last_line(&self.errors).or_else(|| last_line(&self.console))
    }
}

fn last_line(mut said: impl Read) -> Option<String> {
    let mut bytes = vec![0; WORDS_BYTES_MAX];
    let length = said.read(&mut bytes).unwrap_or(0);
    let line = bytes[..length].rsplit(|byte| *byte == b'\n').find(|line| !line.trim_ascii().is_empty())?;
    Some(pyro_wire::Untrusted::new(line.trim_ascii()).escaped())
}

/// The sandbox around QEMU: its own files and nothing else.
fn wall(launch: &Launch, machine: &Machine) -> Result<Launch> {
    let directory = launch.mounts[0].upper.parent().ok_or_else(|| Error::internal("a layer is in no directory"))?;
    let mount = StackMount {
        at: "/".to_owned(),
        lowers: vec![machine.kit.root.clone()],
        upper: directory.join("upper-qemu"),
        work: directory.join("work-qemu"),
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
            mem_mib: machine.limits.mem_mib + OVERHEAD_MIB,
            vcpu_count: machine.limits.vcpu_count,
            pids_max: THREADS + u64::from(machine.limits.vcpu_count),
        },
    })
}

/// A running machine.
struct QemuSandbox {
    vmm: Box<dyn Sandbox>,
    link: Option<UnixStream>,
    words: Words,
    /// Held, so that QEMU is not told that its controller is gone.
    _control: Control,
    version: String,
    kernel: String,
    accelerator: Accelerator,
    mem_mib: u64,
    pids_max: u64,
}

impl QemuSandbox {
    fn new(running: Running, machine: &Machine, pids_max: u64) -> Result<Self> {
        Ok(Self {
            vmm: running.vmm,
            link: Some(running.link),
            words: running.words,
            _control: running.control,
            version: machine.kit.qemu_version.clone(),
            kernel: machine.kit.kernel_release.clone(),
            accelerator: machine.accelerator,
            mem_mib: machine.limits.mem_mib,
            pids_max: pids_max.max(PIDS_MAX_MIN),
        })
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
            seeded: machine.seed.is_some(),
            pids_max: self.pids_max,
        });
        let mut frame = Vec::new();
        encode_control(0, &wake, &mut frame).map_err(|violation| Error::internal(violation.0))?;
        let link = self.link.as_mut().ok_or_else(|| Error::internal("the link is taken"))?;
        std::io::Write::write_all(link, &frame).map_err(|error| Error::sandbox("the machine is gone").because(error))
    }
}

impl Sandbox for QemuSandbox {
    fn link(&mut self) -> UnixStream {
        self.link.take().expect("the link is taken once")
    }

    fn watch(&self) -> BorrowedFd<'_> {
        self.vmm.watch()
    }

    fn probe(&self) -> Vec<Guarantee> {
        let mut seen = self.vmm.probe();
        for guarantee in &mut seen {
            let of_qemu = |detail: &str| format!("of QEMU: {detail}");
            match guarantee.name {
                GuaranteeName::OwnKernel => {
                    guarantee.held = true;
                    guarantee.detail = format!("Linux {}, in QEMU {} {}", self.kernel, self.version, self.accelerator.in_words());
                }
                GuaranteeName::OwnFileSystem if guarantee.held => {
                    guarantee.detail = "disks of its own; QEMU sees nothing of the host but itself".to_owned();
                }
                GuaranteeName::MemoryLimit => {
                    guarantee.held = true;
                    guarantee.detail = format!("the machine has {} MiB", self.mem_mib);
                }
                GuaranteeName::PidsLimit => {
                    guarantee.held = true;
                    guarantee.detail = format!("{} processes, in the machine's own kernel", self.pids_max);
                }
                GuaranteeName::DiskLimit => {
                    guarantee.held = true;
                    guarantee.detail = format!("the machine's disk has {DISK_MIB} MiB");
                }
                _ => guarantee.detail = of_qemu(&guarantee.detail),
            }
        }
        seen
    }

    fn out_of_memory_kills(&self) -> u64 {
        0
    }

    fn layers(&self) -> LayersAt {
        LayersAt::Inside
    }

    fn slowness(&self) -> u32 {
        self.accelerator.slowness()
    }

    fn settles_within(&self) -> Duration {
        SYNC_WITHIN
    }

    fn last_words(&self) -> Option<String> {
        self.words.last()
    }

    fn condemn(&self) {
        self.vmm.condemn();
    }

    fn kill(self: Box<Self>) -> Result<()> {
        self.vmm.kill()
    }
}
