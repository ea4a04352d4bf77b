//! The agent in a machine of its own: first it is the first process that the guest's kernel starts, and everything a boot needs.
//!
//! ```text
//!  boot        devices, modules, the way to the outside; the environment's disk, read-only; a rehearsal, so that what every command needs is in
//!              memory
//!  waiting     says so on the link. What the machine is until now belongs to nobody: it may be copied here, and every copy goes on
//!  woken       fresh randomness, the time of day, a name; its own disk and its seed; the root file system
//!  serving     as in any sandbox
//!  end         everything is on disk, the machine stops
//! ```
//!
//! Two processes: the kernel's first, which only waits, and the agent, first of a process namespace. So the agent sees the workload's processes and
//! not the kernel's, and what ends with it ends with it.
//!
//! The way to the outside is a virtio port, whose other end a copy finds again, or a vsock port, where a copy finds nobody any more: connections
//! do not survive being copied. There it listens on, and says to each who comes that it waits, until one wakes it.
//!
//! The workload is root of the whole machine. Nothing here protects the machine from it: what it can reach is the emulated devices, and the
//! process outside that emulates them is confined like any other sandbox.

use std::ffi::OsString;
use std::fs::{self, DirBuilder, File};
use std::io::{self, Read, Write};
use std::os::fd::{AsRawFd, IntoRawFd, OwnedFd};
use std::os::unix::fs::{DirBuilderExt, symlink};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use pyro_layer::Marks;
use pyro_sys::mount::{self, Refuses, Setting};
use pyro_sys::spawn::{Namespaces, fork_into};
use pyro_sys::{machine, network, socket};
use pyro_wire::frame::{LinkError, encode_control, read_frame};
use pyro_wire::machine::{DISKS, ENVIRONMENT_DISK, MODULES, PORT, SEED_DISK, VSOCK_PORT, WRITABLE_DISK};
use pyro_wire::message::Wake;
use pyro_wire::{Frame, FromAgent, ToAgent};

use crate::{Layers, Place};

/// How long devices may take to appear. They are there within milliseconds of their module.
const DEVICES_WITHIN: Duration = Duration::from_secs(5);

/// What went wrong, and in doing what.
type Trouble = (&'static str, io::Error);

trait While<T> {
    fn during(self, what: &'static str) -> Result<T, Trouble>;
}
impl<T, E: Into<io::Error>> While<T> for Result<T, E> {
    fn during(self, what: &'static str) -> Result<T, Trouble> {
        self.map_err(|error| (what, error.into()))
    }
}

/// The whole life of a machine. Returns only when the machine cannot end.
pub fn boot(build: &str) -> u8 {
    let lived = prepare().and_then(|way| {
        let agent = fork_into(Namespaces::PID, None, || match wake_up(&way) {
            Ok((link, layers)) => crate::serve(link, Place::Machine, build, Some(layers)).exit_code(),
            Err(trouble) => told(&trouble),
        });
        // From here on only the agent has it: when it ends, the outside sees so.
        drop(way);
        let agent = agent.during("start the agent")?;
        agent.wait().map(drop).during("wait for the agent")
    });
    if let Err(trouble) = lived {
        told(&trouble);
    }
    match machine::end() {
        Ok(()) => 0,
        Err(error) => told(&("end", error)),
    }
}

/// Says it on the console, which the outside keeps a little of.
fn told((what, error): &Trouble) -> u8 {
    eprintln!("machine: could not {what}: {error}");
    crate::End::Refused(String::new()).exit_code()
}

/// From the kernel's hand-over to a machine that could be anybody's.
fn prepare() -> Result<Way, Trouble> {
    put("devtmpfs", &[], "/dev", Refuses::NOTHING).during("mount its devices")?;
    put("proc", &[], "/proc", Refuses::ALL_BUT_WRITES).during("mount its proc")?;
    put("sysfs", &[], "/sys", Refuses::ALL_BUT_WRITES).during("mount its sys")?;
    load_modules().during("load its modules")?;
    let way = until_there(Way::find).during("find a way to the outside")?;
    let disk = wait_for_disk(ENVIRONMENT_DISK).during("find the disk of its environment")?;
    let source = disk.to_string_lossy();
    // It has no journal; and were there one, it would not be played into a disk that others read.
    let settings = [Setting::Text("source", &source), Setting::Flag("ro"), Setting::Flag("noload")];
    put("ext4", &settings, "/environment", Refuses::ALL_BUT_PROGRAMS).during("mount its environment")?;
    rehearse().during("rehearse its commands")?;
    Ok(way)
}

fn put(kind: &str, settings: &[Setting<'_>], at: &str, refuses: Refuses) -> io::Result<()> {
    mount::attach_at_host_path(mount::new_filesystem(kind, settings, refuses)?, Path::new(at))
}

fn load_modules() -> io::Result<()> {
    let mut files: Vec<PathBuf> =
        fs::read_dir(Path::new("/").join(MODULES))?.map(|entry| entry.map(|entry| entry.path())).collect::<io::Result<_>>()?;
    files.sort_unstable();
    for file in files {
        machine::load_module(File::open(&file)?)?;
        // It is in the kernel now, and the file only takes room.
        fs::remove_file(&file)?;
    }
    Ok(())
}

/// Tries until it succeeds, for as long as devices may take.
fn until_there<T>(mut look: impl FnMut() -> io::Result<Option<T>>) -> io::Result<T> {
    let begun = Instant::now();
    loop {
        if let Some(found) = look()? {
            return Ok(found);
        }
        if begun.elapsed() > DEVICES_WITHIN {
            return Err(io::ErrorKind::NotFound.into());
        }
        // Nothing that could be waited for says "all devices are there".
        std::thread::sleep(Duration::from_millis(1));
    }
}

/// Where the link comes from.
enum Way {
    /// A virtio port: one link, and that for ever.
    Port(File),
    /// A vsock port that is listened on: as many links as somebody makes.
    Vsock(OwnedFd),
}

impl Way {
    fn find() -> io::Result<Option<Self>> {
        if let Some(port) = find_port(Path::new("/sys/class/virtio-ports"))? {
            let device = Path::new("/dev").join(port);
            return Ok(Some(Self::Port(File::options().read(true).write(true).open(device)?)));
        }
        if has_vsock(Path::new("/sys/bus/virtio/devices"))? {
            return socket::listen_vsock(VSOCK_PORT).map(Self::Vsock).map(Some);
        }
        Ok(None)
    }

    /// The next link.
    fn link(&self) -> io::Result<File> {
        match self {
            Self::Port(port) => port.try_clone(),
            Self::Vsock(listener) => socket::accept(listener).map(File::from),
        }
    }
}

/// Entries of a directory that may not be there yet.
fn entries(directory: &Path) -> io::Result<Vec<fs::DirEntry>> {
    match fs::read_dir(directory) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Vec::new()),
        entries => entries?.collect(),
    }
}

fn says(file: &Path, what: &str) -> bool {
    fs::read_to_string(file).is_ok_and(|found| found.trim_end() == what)
}

fn find_port(ports: &Path) -> io::Result<Option<OsString>> {
    Ok(entries(ports)?.into_iter().find(|port| says(&port.path().join("name"), PORT)).map(|port| port.file_name()))
}

/// The number of the vsock device (virtio 1.2, 5.10.1), as the kernel writes it.
const VSOCK_DEVICE: &str = "0x0013";

/// Whether there is a vsock device with its driver: before, nobody could come.
fn has_vsock(devices: &Path) -> io::Result<bool> {
    let is_one = |device: &fs::DirEntry| says(&device.path().join("device"), VSOCK_DEVICE) && device.path().join("driver").exists();
    Ok(entries(devices)?.iter().any(is_one))
}

fn wait_for_disk(name: &str) -> io::Result<PathBuf> {
    until_there(|| Ok(find_disk(Path::new("/sys/block"), name)?.map(|disk| Path::new("/dev").join(disk))))
}

/// A disk by its serial number, or, where no disk has one of those that we know, by its position.
fn find_disk(disks: &Path, name: &str) -> io::Result<Option<OsString>> {
    let mut found = Vec::new();
    for disk in entries(disks)? {
        let serial = fs::read_to_string(disk.path().join("serial")).unwrap_or_default();
        if serial.trim_end() == name {
            return Ok(Some(disk.file_name()));
        }
        found.push((disk.file_name(), DISKS.contains(&serial.trim_end())));
    }
    if found.iter().any(|(_, is_known)| *is_known) {
        // They have serial numbers here, and this one's disk is not there yet.
        return Ok(None);
    }
    let position = DISKS.iter().zip(b'a'..).find(|(disk, _)| **disk == name).map(|(_, letter)| format!("vd{}", char::from(letter)));
    Ok(found.into_iter().map(|(disk, _)| disk).find(|disk| disk.to_str() == position.as_deref()))
}

/// Commands whose files are then in memory. One that the environment does not have is no loss.
const REHEARSED: [&[&str]; 3] = [&["/bin/true"], &["/bin/sh", "-c", ":"], &["/bin/bash", "-c", ":"]];

fn rehearse() -> io::Result<()> {
    // Opened here: the environment has no devices.
    let null = File::options().read(true).write(true).open("/dev/null")?;
    for command in REHEARSED {
        let rehearsal = fork_into(Namespaces::MOUNT, None, || {
            let quiet = || null.try_clone().map(Stdio::from);
            let Some((program, arguments)) = command.split_first() else { return 1 };
            let (Ok(()), Ok(input), Ok(output), Ok(errors)) =
                (machine::enter_root(Path::new("/environment")), quiet(), quiet(), quiet())
            else {
                return 1;
            };
            let _not_executed = Command::new(program).args(arguments).stdin(input).stdout(output).stderr(errors).exec();
            1
        });
        let _only_a_rehearsal = rehearsal?.wait()?;
    }
    Ok(())
}

/// Says that it waits, and becomes who it is told to be.
fn wake_up(way: &Way) -> Result<(OwnedFd, Layers), Trouble> {
    // Its own view of processes, for everything that looks into it.
    put("proc", &[], "/proc", Refuses::ALL_BUT_WRITES).during("mount its proc")?;
    network::loopback_up().during("bring its loopback device up")?;
    let mut ready = Ready::make().during("prepare what it can")?;
    let refused = |why: String| ("wake up", io::Error::other(why));
    let (link, wake) = loop {
        let mut link = way.link().during("take the link")?;
        // Here the machine may be copied.
        match (hear_wake(&mut link)?, way) {
            (Some(wake), _) => break (link, wake),
            (None, Way::Port(_)) => return Err(refused("nobody is there".to_owned())),
            // Whoever it was is gone; in a copy that is how it begins.
            (None, Way::Vsock(_)) => {}
        }
    };
    let entropy = wake.entropy.to_vec().map_err(|violation| refused(violation.0))?;
    machine::reseed_randomness(&entropy).during("take fresh randomness")?;
    machine::set_clock(wake.unix_time_ns).during("set its clock")?;
    ready.pids_max.write_all(wake.pids_max.to_string().as_bytes()).during("limit its processes")?;
    let layers = assemble(&wake, ready).during("make its file system")?;
    Ok((OwnedFd::from(link), layers))
}

/// What every root file system has mounted in it: made while the machine still waits, attached nowhere.
struct Views(Vec<(&'static str, OwnedFd)>);

impl Views {
    fn make() -> io::Result<Self> {
        let no_programs = Refuses { programs: true, set_ids: true, ..Refuses::NOTHING };
        let data = Refuses { devices: false, ..Refuses::ALL_BUT_WRITES };
        let terminals = [Setting::Text("ptmxmode", "0666"), Setting::Text("mode", "0620"), Setting::Text("gid", "5")];
        let run = Refuses { devices: true, set_ids: true, ..Refuses::NOTHING };
        // In the order in which they are attached: some are places for others.
        let mounts: [(&str, &str, &[Setting<'_>], Refuses); 6] = [
            ("/root/dev", "devtmpfs", &[], no_programs),
            ("/root/dev/pts", "devpts", &terminals, data),
            ("/root/dev/shm", "tmpfs", &[Setting::Text("mode", "1777")], Refuses::ALL_BUT_WRITES),
            ("/root/proc", "proc", &[], Refuses::ALL_BUT_WRITES),
            ("/root/sys", "sysfs", &[], Refuses::ALL_BUT_WRITES),
            ("/root/run", "tmpfs", &[Setting::Text("mode", "0755")], run),
        ];
        let made =
            mounts.into_iter().map(|(at, kind, settings, refuses)| Ok((at, mount::new_filesystem(kind, settings, refuses)?)));
        // All instances of devtmpfs are one.
        let is_there = |made: io::Result<()>| match made {
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(()),
            made => made,
        };
        for (directory, mode) in [("/dev/pts", 0o755), ("/dev/shm", 0o1777)] {
            is_there(DirBuilder::new().mode(mode).create(directory))?;
        }
        for (name, target) in [("fd", "/proc/self/fd"), ("stdin", "fd/0"), ("stdout", "fd/1"), ("stderr", "fd/2")] {
            is_there(symlink(target, Path::new("/dev").join(name)))?;
        }
        made.collect::<io::Result<_>>().map(Self)
    }

    fn attach(self) -> io::Result<()> {
        self.0.into_iter().try_for_each(|(at, view)| mount::attach_at_host_path(view, Path::new(at)))
    }
}

/// Says on a link that it waits, and what it is told then. `None` when the link ended before.
fn hear_wake(link: &mut (impl Read + Write)) -> Result<Option<Wake>, Trouble> {
    let mut hello = Vec::new();
    let refused = |why: String| ("wake up", io::Error::other(why));
    encode_control(0, &FromAgent::Waiting, &mut hello).map_err(|violation| refused(violation.0))?;
    if link.write_all(&hello).is_err() {
        return Ok(None);
    }
    match read_frame(link) {
        Ok(Some(Frame::Control { channel: 0, message: ToAgent::Wake(wake) })) => Ok(Some(wake)),
        Ok(Some(_)) => Err(refused("it was told something else".to_owned())),
        Ok(None) | Err(LinkError::Link(_)) => Ok(None),
        Err(LinkError::Violation(violation)) => Err(refused(violation.0)),
    }
}

/// What a machine that waits has at hand, so that it has less to do when it is woken.
struct Ready {
    views: Views,
    writable: PathBuf,
    seed: PathBuf,
    /// Of the kernel: how many processes there may be.
    pids_max: File,
}

impl Ready {
    fn make() -> io::Result<Self> {
        put("tmpfs", &[Setting::Text("mode", "0755")], IDENTITY, Refuses::ALL_BUT_WRITES)?;
        fs::create_dir(Path::new(IDENTITY).join("etc"))?;
        // Memory is promised freely, as in a sandbox on a large host, and whoever uses too much of it is ended: a result that says why.
        fs::write("/proc/sys/vm/overcommit_memory", "1")?;
        Ok(Self {
            views: Views::make()?,
            writable: wait_for_disk(WRITABLE_DISK)?,
            seed: wait_for_disk(SEED_DISK)?,
            pids_max: File::options().write(true).open("/proc/sys/kernel/pid_max")?,
        })
    }
}

/// Mounts what is its own, and makes it the root. Gives the layers, which are below the root and have no name any more.
fn assemble(wake: &Wake, ready: Ready) -> io::Result<Layers> {
    let disk = ready.writable.to_string_lossy();
    put("ext4", &[Setting::Text("source", &disk)], "/writable", Refuses::NOTHING)?;
    // machine-id(5)
    fs::write(Path::new(IDENTITY).join("etc/machine-id"), format!("{}\n", wake.machine_id))?;
    let mut lowers = vec![IDENTITY, "/environment"];
    if wake.seeded {
        let disk = ready.seed.to_string_lossy();
        let settings = [Setting::Text("source", &disk), Setting::Flag("ro"), Setting::Flag("noload")];
        put("ext4", &settings, "/seed", Refuses::NOTHING)?;
        lowers.insert(0, "/seed");
    }
    let mut settings = vec![Setting::Text("source", "overlay")];
    settings.extend(lowers.iter().map(|lower| Setting::Text("lowerdir+", lower)));
    settings.extend([Setting::Text("upperdir", "/writable/upper"), Setting::Text("workdir", "/writable/work")]);
    // One semantics of layers everywhere: no renamed directories and no copies without content in them.
    settings.extend([Setting::Text("redirect_dir", "nofollow"), Setting::Text("metacopy", "off"), Setting::Text("index", "off")]);
    put("overlay", &settings, "/root", Refuses::NOTHING)?;
    ready.views.attach()?;
    let upper = held("/writable/upper")?;
    let lowers = lowers.iter().map(|lower| held(lower)).collect::<io::Result<_>>()?;
    machine::switch_root(Path::new("/root"))?;
    // Mounted above without `userxattr`.
    Ok(Layers { upper, lowers, marks: Marks::Trusted })
}

/// A directory by a name that it keeps for as long as this process lives: that of a descriptor.
fn held(path: &str) -> io::Result<PathBuf> {
    let descriptor = OwnedFd::from(File::open(path)?);
    let name = format!("/proc/self/fd/{}", descriptor.as_raw_fd());
    // Kept: the process ends with the machine.
    let _kept = descriptor.into_raw_fd();
    Ok(name.into())
}

/// A layer of the machine's own, in memory: what it is, which is no change that anybody made.
const IDENTITY: &str = "/identity";

/// Writes to disk what commands have written, as soon as nothing runs: what was answered for is then lost by nothing that happens to the
/// machine. Nobody waits for it; a stop does the same and is waited for.
#[derive(Debug)]
pub(crate) struct Settling {
    disk: File,
    is_due: bool,
    thread: Option<JoinHandle<()>>,
}

impl Settling {
    /// For the disk that this directory is on.
    pub(crate) fn of(directory: &Path) -> io::Result<Self> {
        Ok(Self { disk: File::open(directory)?, is_due: false, thread: None })
    }

    /// Something may have been written.
    pub(crate) fn note(&mut self) {
        self.is_due = true;
    }

    /// Begins, if there is something to do and nobody is at it.
    pub(crate) fn begin(&mut self) {
        if !self.is_due || self.thread.as_ref().is_some_and(|thread| !thread.is_finished()) {
            return;
        }
        let Ok(disk) = self.disk.try_clone() else { return };
        // What a disk refuses here it refuses whoever writes next, who is told.
        let sync = move || {
            let _ = rustix::fs::syncfs(disk);
        };
        self.thread = std::thread::Builder::new().name("sync".into()).stack_size(32 * 1024).spawn(sync).ok();
        self.is_due = self.thread.is_none();
    }
}

/// How many processes the machine's kernel has killed for lack of memory.
#[derive(Debug, Default)]
pub(crate) struct MemoryKills {
    seen: u64,
}

impl MemoryKills {
    /// Whether there are more than when it was asked last. None were killed before the machine woke.
    pub(crate) fn have_risen(&mut self) -> bool {
        let counters = fs::read_to_string("/proc/vmstat").unwrap_or_default();
        let now =
            counters.lines().find_map(|line| line.strip_prefix("oom_kill ")).and_then(|count| count.parse().ok()).unwrap_or(0);
        now > std::mem::replace(&mut self.seen, now)
    }
}

#[cfg(test)]
mod tests;
