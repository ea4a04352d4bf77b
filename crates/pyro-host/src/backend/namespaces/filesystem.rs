//! The file system of a sandbox: overlays, `/dev`, `/proc`, `/sys`, `/run`.
//!
//! In two halves of mounts that are in no namespace yet: the supervisor makes [`Parts`] while the sandbox's first process is busy with its
//! network namespace and with [`Own`]. [`assemble`] puts them together inside that process, before it gives up its privileges.
//!
//! The layers are hostile: they may hold symbolic links, files or nothing where `/dev` or `/proc` belong. So every mount point is
//! looked up beneath the new root without following links; what is not a directory is refused.

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::{Component, Path};

use pyro_sys::beneath::{self, Mounts};
use pyro_sys::files;
use pyro_sys::mount::{self, Refuses, Setting};
use pyro_sys::userns::UserNamespace;

use super::Layers;
use super::plan::{Overlay, Plan};
use crate::backend::{Launch, StackMount};

/// Device nodes of every sandbox: name, major and minor number. Only what cannot hurt: no disks, no consoles.
const DEVICES: [(&str, u32, u32); 6] =
    [("null", 1, 3), ("zero", 1, 5), ("full", 1, 7), ("random", 1, 8), ("urandom", 1, 9), ("tty", 5, 0)];

/// Links of `/dev`, as every Linux has them.
const DEVICE_LINKS: [(&str, &str); 5] = [
    ("fd", "/proc/self/fd"),
    ("stdin", "/proc/self/fd/0"),
    ("stdout", "/proc/self/fd/1"),
    ("stderr", "/proc/self/fd/2"),
    ("ptmx", "pts/ptmx"),
];

/// Group that owns terminals (`tty` of Debian; devpts(5)).
const TTY_GROUP: u32 = 5;

/// Size of `/dev` with `/dev/shm`, as a part of the memory limit: the default of tmpfs, applied to the sandbox's memory.
const DEV_PART_OF_MEMORY: u64 = 2;
/// Size of `/run`: as systemd has it.
const RUN_PART_OF_MEMORY: u64 = 5;
/// Files in each of them: kernel memory that only a control group would count.
const TMPFS_FILES_MAX: u64 = 65_536;

/// World-readable files of `/proc` that say something about the host or its users. All others of that kind belong to the host's root,
/// whose id does not exist inside.
const MASKED_PROC_FILES: [&str; 6] = ["keys", "key-users", "interrupts", "timer_list", "sched_debug", "latency_stats"];
/// As above, directories of `/proc`.
const MASKED_PROC_DIRECTORIES: [&str; 3] = ["acpi", "scsi", "asound"];
/// As above, directories of `/sys`.
const MASKED_SYS_DIRECTORIES: [&str; 1] = ["firmware"];

/// One overlay.
enum Stack {
    /// Made.
    Mounted(OwnedFd),
    /// To be made by name: the layers, uppermost first, then the mount that holds upper and work.
    Layers(Vec<OwnedFd>),
}

/// The overlays, attached nowhere. They need ids of the sandbox's user namespace, and the disk.
pub struct Parts {
    stacks: Vec<Stack>,
}

impl Parts {
    /// Makes them. Nothing of it can be seen outside this process.
    ///
    /// # Errors
    /// The path or thing at fault, and what the kernel said.
    pub fn make(plan: &Plan, launch: &Launch, how: Layers, user_namespace: &UserNamespace) -> Result<Self, (String, io::Error)> {
        let mut stacks = Vec::with_capacity(launch.mounts.len());
        for (stack, overlay) in launch.mounts.iter().zip(&plan.overlays) {
            let made = make_stack(plan, stack, overlay, how, user_namespace);
            stacks.push(made.map_err(|(what, error)| (format!("overlay of {}: {what}", stack.at), error))?);
        }
        Ok(Self { stacks })
    }

    /// How many descriptors each stack takes, 0 for one that is made: what [`Parts::from_descriptors`] needs to sort them.
    pub fn shape(&self) -> Vec<u8> {
        self.stacks
            .iter()
            .map(|stack| match stack {
                Stack::Mounted(_) => 0,
                Stack::Layers(layers) => u8::try_from(layers.len()).unwrap_or(u8::MAX),
            })
            .collect()
    }

    /// All descriptors, to be sent.
    pub fn descriptors(&self) -> Vec<BorrowedFd<'_>> {
        let mut all = Vec::new();
        for stack in &self.stacks {
            match stack {
                Stack::Mounted(mount) => all.push(mount.as_fd()),
                Stack::Layers(layers) => all.extend(layers.iter().map(AsFd::as_fd)),
            }
        }
        all
    }

    /// Back from what was sent. `None` when something is missing.
    pub fn from_descriptors(shape: &[u8], descriptors: impl IntoIterator<Item = OwnedFd>) -> Option<Self> {
        let mut descriptors = descriptors.into_iter();
        let mut stacks = Vec::with_capacity(shape.len());
        for layers in shape {
            stacks.push(match layers {
                0 => Stack::Mounted(descriptors.next()?),
                count => {
                    let layers: Vec<OwnedFd> = descriptors.by_ref().take(usize::from(*count)).collect();
                    if layers.len() != usize::from(*count) {
                        return None;
                    }
                    Stack::Layers(layers)
                }
            });
        }
        Some(Self { stacks })
    }
}

/// Options of every overlay. No redirects and no metadata-only copies: an ordinary user cannot have them, and one semantics is
/// worth more; and a hostile layer could hold redirects.
const OVERLAY_OPTIONS: [(&str, &str); 3] = [("redirect_dir", "nofollow"), ("metacopy", "off"), ("index", "off")];

fn make_stack(
    plan: &Plan,
    stack: &StackMount,
    overlay: &Overlay,
    how: Layers,
    user_namespace: &UserNamespace,
) -> Result<Stack, (String, io::Error)> {
    let copy = |path: &Path| {
        let named = |error| (path.display().to_string(), error);
        let mount = mount::copy_of_host_path(path).map_err(named)?;
        if plan.translates_ids {
            mount::translate_ids(&mount, user_namespace).map_err(named)?;
        }
        Ok(mount)
    };
    let mut layers = Vec::with_capacity(stack.lowers.len() + 1);
    for lower in &stack.lowers {
        layers.push(copy(lower)?);
    }
    layers.push(copy(&overlay.writable)?);
    if how == Layers::ByName {
        return Ok(Stack::Layers(layers));
    }
    match overlay_of(plan, &layers, overlay) {
        Ok(mount) => Ok(Stack::Mounted(mount)),
        // Linux before 6.15 takes no detached mounts as layers (and before 6.13 no descriptors at all). Any other reason for this
        // error shows when the overlay is made the other way.
        Err((_, error)) if error.raw_os_error() == Some(22) => Ok(Stack::Layers(layers)),
        Err(other) => Err(other),
    }
}

fn overlay_of(plan: &Plan, layers: &[OwnedFd], overlay: &Overlay) -> Result<OwnedFd, (String, io::Error)> {
    let Some((writable, lowers)) = layers.split_last() else {
        return Err(("no layers".to_owned(), io::ErrorKind::InvalidInput.into()));
    };
    // One mount for both: overlay demands it.
    let place = |path: &Path| beneath::directory(writable, path, Mounts::Stay).map_err(|error| (path.display().to_string(), error));
    let (upper, work) = (place(&overlay.upper)?, place(&overlay.work)?);
    let mut settings: Vec<Setting<'_>> = Vec::with_capacity(lowers.len() + 8);
    settings.push(Setting::Text("source", "pyro"));
    settings.extend(lowers.iter().map(|lower| Setting::Descriptor("lowerdir+", lower.as_fd())));
    settings.push(Setting::Descriptor("upperdir", upper.as_fd()));
    settings.push(Setting::Descriptor("workdir", work.as_fd()));
    settings.extend(OVERLAY_OPTIONS.iter().map(|(name, value)| Setting::Text(name, value)));
    if plan.nested {
        settings.push(Setting::Flag("userxattr"));
    }
    if plan.volatile {
        settings.push(Setting::Flag("volatile"));
    }
    let failed = |error| ("mount".to_owned(), error);
    let context = mount::configure("overlay", &settings).map_err(failed)?;
    as_inside_root(plan, || mount::create(&context, ROOT_REFUSES)).map_err(failed)
}

/// No device nodes but those of `/dev`. Set-user-id means nothing inside anyway, as there are no new privileges.
const ROOT_REFUSES: Refuses = Refuses { writes: false, set_ids: true, devices: true, programs: false };

/// Runs `action` so that what it makes belongs to the sandbox's root. An overlay over translated layers remembers who mounted it, and
/// someone whose id does not exist in them could not write there.
fn as_inside_root<T>(plan: &Plan, action: impl FnOnce() -> io::Result<T>) -> io::Result<T> {
    if plan.translates_ids { pyro_sys::confine::with_file_ids(plan.first_id, plan.first_id, action) } else { action() }
}

fn tmpfs(plan: &Plan, part_of_memory: u64, refuses: Refuses) -> io::Result<OwnedFd> {
    let size = format!("{}m", (plan.mem_mib / part_of_memory).max(1));
    let (files, owner) = (TMPFS_FILES_MAX.to_string(), plan.first_id.to_string());
    let settings = [
        Setting::Text("source", "pyro"),
        Setting::Text("mode", "0755"),
        Setting::Text("size", &size),
        Setting::Text("nr_inodes", &files),
        Setting::Text("uid", &owner),
        Setting::Text("gid", &owner),
    ];
    mount::new_filesystem("tmpfs", &settings, refuses)
}

fn make_dev(plan: &Plan) -> io::Result<(OwnedFd, Vec<OwnedFd>)> {
    let dev = tmpfs(plan, DEV_PART_OF_MEMORY, Refuses { writes: false, set_ids: true, devices: false, programs: true })?;
    let nodes = as_inside_root(plan, || fill_dev(plan, &dev))?;
    Ok((dev, nodes))
}

fn fill_dev(plan: &Plan, dev: &OwnedFd) -> io::Result<Vec<OwnedFd>> {
    let mut nodes = Vec::new();
    for (name, major, minor) in DEVICES {
        let made =
            if plan.nested { Err(io::ErrorKind::PermissionDenied.into()) } else { files::make_device(dev, name, major, minor) };
        match made {
            Ok(()) => {}
            // Root of a container that may make none, or no root: the host's own node is attached over a file.
            Err(error) if error.kind() == io::ErrorKind::PermissionDenied => {
                files::make_empty_file(dev, name, 0o666)?;
                let host = Path::new("/dev").join(name);
                files::check_device(&host, major, minor)?;
                nodes.push(mount::copy_of_host_path(&host)?);
            }
            Err(error) => return Err(error),
        }
    }
    for (name, target) in DEVICE_LINKS {
        files::make_link(dev, name, target)?;
    }
    files::make_directory(dev, "pts", 0o755)?;
    files::make_directory(dev, "shm", 0o1777)?;
    Ok(nodes)
}

fn make_run(plan: &Plan) -> io::Result<OwnedFd> {
    let run = tmpfs(plan, RUN_PART_OF_MEMORY, Refuses { writes: false, set_ids: true, devices: true, programs: false })?;
    as_inside_root(plan, || files::make_directory(&run, "lock", 0o1777))?;
    Ok(run)
}

/// The rest, attached nowhere: what shows the namespaces of whoever mounts it, and what is only memory.
pub struct Own {
    proc: OwnedFd,
    sys: Option<OwnedFd>,
    pts: OwnedFd,
    dev: OwnedFd,
    /// Copies of the host's nodes, when none could be made: in the order of [`DEVICES`].
    nodes: Vec<OwnedFd>,
    run: OwnedFd,
}

impl Own {
    /// Makes them.
    ///
    /// # Errors
    /// When the kernel refuses one. Only without `sysfs` a sandbox works: an outer container may forbid it.
    pub fn make(plan: &Plan) -> io::Result<Self> {
        let proc = mount::new_filesystem("proc", &[Setting::Text("source", "proc")], Refuses::ALL_BUT_WRITES)?;
        let sys = mount::new_filesystem("sysfs", &[Setting::Text("source", "sysfs")], Refuses::ALL).ok();
        let group = (plan.first_id + TTY_GROUP).to_string();
        let mut settings =
            vec![Setting::Text("source", "devpts"), Setting::Text("ptmxmode", "0666"), Setting::Text("mode", "0620")];
        if plan.id_count > TTY_GROUP {
            settings.push(Setting::Text("gid", &group));
        }
        let pts_refuses = Refuses { writes: false, set_ids: true, devices: false, programs: true };
        let pts = mount::new_filesystem("devpts", &settings, pts_refuses)?;
        let (dev, nodes) = make_dev(plan)?;
        Ok(Self { proc, sys, pts, dev, nodes, run: make_run(plan)? })
    }
}

/// What could not be mounted, and why.
pub type Trouble = (&'static str, io::Error);

/// Puts everything together at the staging directory and makes it the root. Runs in the first process of the sandbox, which has a mount
/// namespace of its own that nothing is shared with.
///
/// # Errors
/// The mount at fault; the process must end then.
pub fn assemble(plan: &Plan, parts: Parts, own: &Own) -> Result<(), Trouble> {
    let mut overlays = Vec::with_capacity(parts.stacks.len());
    for (stack, of) in parts.stacks.into_iter().zip(&plan.overlays) {
        overlays.push(match stack {
            Stack::Mounted(mount) => mount,
            Stack::Layers(layers) => overlay_by_name(plan, &layers, of).map_err(|error| ("an overlay by name", error))?,
        });
    }
    let (root, further) = overlays.split_first().ok_or(("/", io::Error::from(io::ErrorKind::InvalidInput)))?;
    mount::attach_at_host_path(root, Path::new(&plan.staging)).map_err(|error| ("/", error))?;
    for (overlay, of) in further.iter().zip(&plan.overlays[1..]) {
        let place = mount_point(plan, root, Path::new(of.at.trim_start_matches('/')), Mounts::Enter);
        place.and_then(|place| mount::attach(overlay, place)).map_err(|error| ("an overlay below /", error))?;
    }
    let put = |mount: &OwnedFd, name: &str| {
        let place = mount_point(plan, root, Path::new(name), Mounts::Stay)?;
        mount::attach(mount, place)
    };
    put(&own.dev, "dev").map_err(|error| ("/dev", error))?;
    for (node, (name, _, _)) in own.nodes.iter().zip(DEVICES) {
        let place = beneath::entry(&own.dev, Path::new(name), Mounts::Stay);
        place.and_then(|place| mount::attach(node, place)).map_err(|error| ("/dev", error))?;
    }
    let pts = beneath::directory(&own.dev, Path::new("pts"), Mounts::Stay);
    pts.and_then(|place| mount::attach(&own.pts, place)).map_err(|error| ("/dev/pts", error))?;
    put(&own.run, "run").map_err(|error| ("/run", error))?;
    put(&own.proc, "proc").map_err(|error| ("/proc", error))?;
    protect_proc(&own.proc, &own.dev).map_err(|error| ("/proc", error))?;
    if let Some(sys) = &own.sys {
        put(sys, "sys").map_err(|error| ("/sys", error))?;
        hide_directories(sys, &MASKED_SYS_DIRECTORIES).map_err(|error| ("/sys", error))?;
    }
    mount::pivot_into(root).map_err(|error| ("the new root", error))
}

/// Settings of the kernel are for reading only, and what says too much about the host is covered by `/dev/null` or nothing.
fn protect_proc(proc: &OwnedFd, dev: &OwnedFd) -> io::Result<()> {
    let settings = mount::copy(proc, Path::new("sys"))?;
    mount::restrict(&settings, Refuses::ALL)?;
    mount::attach(&settings, beneath::directory(proc, Path::new("sys"), Mounts::Stay)?)?;
    for name in MASKED_PROC_FILES {
        match beneath::entry(proc, Path::new(name), Mounts::Stay) {
            Ok(place) => mount::attach(mount::copy(dev, Path::new("null"))?, place)?,
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => return Err(error),
        }
    }
    hide_directories(proc, &MASKED_PROC_DIRECTORIES)
}

fn hide_directories(root: &OwnedFd, names: &[&str]) -> io::Result<()> {
    for name in names {
        match beneath::directory(root, Path::new(name), Mounts::Stay) {
            Ok(place) => {
                let nothing = [Setting::Text("source", "pyro"), Setting::Text("mode", "0555"), Setting::Text("size", "4k")];
                mount::attach(mount::new_filesystem("tmpfs", &nothing, Refuses::ALL)?, place)?;
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

/// A directory of the new root to mount on. Made when it is not there; anything but a directory is refused.
fn mount_point(plan: &Plan, root: &OwnedFd, path: &Path, mounts: Mounts) -> io::Result<OwnedFd> {
    match beneath::directory(root, path, mounts) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => {}
        result => return result,
    }
    let mut place = beneath::directory(root, Path::new("."), mounts)?;
    for part in path.components() {
        let Component::Normal(name) = part else {
            return Err(io::ErrorKind::InvalidInput.into());
        };
        let name = Path::new(name);
        place = match beneath::directory(&place, name, mounts) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                let text = name.to_str().ok_or(io::ErrorKind::InvalidInput)?;
                as_inside_root(plan, || files::make_directory(&place, text, 0o755))?;
                beneath::directory(&place, name, mounts)?
            }
            result => result?,
        };
    }
    Ok(place)
}

/// An overlay as kernels before 6.15 can have it: the layers are attached below the staging directory under short names.
/// The result is detached again; the staging mounts are taken away, as the overlay holds its layers itself.
fn overlay_by_name(plan: &Plan, layers: &[OwnedFd], overlay: &Overlay) -> io::Result<OwnedFd> {
    let staging = mount::new_filesystem("tmpfs", &[Setting::Text("source", "pyro")], Refuses::NOTHING)?;
    mount::attach_at_host_path(&staging, Path::new(&plan.staging))?;
    for (index, layer) in layers.iter().enumerate() {
        let name = index.to_string();
        files::make_directory(&staging, &name, 0o700)?;
        mount::attach(layer, beneath::directory(&staging, Path::new(&name), Mounts::Stay)?)?;
    }
    files::make_directory(&staging, "root", 0o700)?;
    // The names are looked up by the kernel from the working directory, which is ours alone: no link of a layer is on the way.
    files::enter(&staging)?;
    let writable = layers.len().saturating_sub(1);
    let lowers: Vec<String> = (0..writable).map(|index| index.to_string()).collect();
    let mut options = format!("lowerdir={}", lowers.join(":"));
    for (name, path) in [("upperdir", &overlay.upper), ("workdir", &overlay.work)] {
        let path = path.to_str().filter(|path| !path.contains([',', ':', '\\'])).ok_or(io::ErrorKind::InvalidInput)?;
        options.push_str(&format!(",{name}={writable}/{path}"));
    }
    for (name, value) in OVERLAY_OPTIONS {
        options.push_str(&format!(",{name}={value}"));
    }
    options.push_str(if plan.nested { ",userxattr" } else { "" });
    options.push_str(if plan.volatile { ",volatile" } else { "" });
    as_inside_root(plan, || mount::overlay_by_name(Path::new("root"), &options))?;
    let made = mount::copy(&staging, Path::new("root"))?;
    mount::detach_host_path(Path::new(&plan.staging))?;
    Ok(made)
}
