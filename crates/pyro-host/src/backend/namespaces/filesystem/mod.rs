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
use rustix::fs::{AtFlags, StatxAttributes, StatxFlags};

use super::Layers;
use super::plan::Plan;
use crate::backend::{Launch, StackMount};

mod memory;
mod overlay;

pub use overlay::Kept;
use overlay::Stack;

/// World-readable files of `/proc` that say something about the host or its users. All others of that kind belong to the host's root,
/// whose id does not exist inside.
const MASKED_PROC_FILES: [&str; 6] = ["keys", "key-users", "interrupts", "timer_list", "sched_debug", "latency_stats"];
/// As above, directories of `/proc`.
const MASKED_PROC_DIRECTORIES: [&str; 3] = ["acpi", "scsi", "asound"];
/// As above, directories of `/sys`.
const MASKED_SYS_DIRECTORIES: [&str; 1] = ["firmware"];

/// What the supervisor makes, attached nowhere: what needs ids of the sandbox's user namespace, or the disk, or is only memory.
pub struct Parts {
    stacks: Vec<Stack>,
    dev: OwnedFd,
    /// Copies of the host's nodes, when none could be made.
    nodes: Vec<OwnedFd>,
    terminals: OwnedFd,
    run: OwnedFd,
    nothing: OwnedFd,
}

impl Parts {
    /// Makes them. Nothing of it can be seen outside this process.
    ///
    /// # Errors
    /// The path or thing at fault, and what the kernel said.
    pub fn make(plan: &Plan, launch: &Launch, how: Layers, user_namespace: &UserNamespace) -> Result<Self, (String, io::Error)> {
        let of = |what: &'static str| move |error| (what.to_owned(), error);
        // Their modes are as they are written.
        let mask = files::set_mask(0);
        let (dev, run) = (memory::make_dev(plan), memory::make_run(plan));
        files::set_mask(mask);
        let (dev, nodes) = dev.map_err(of("/dev"))?;
        let run = run.map_err(of("/run"))?;
        let terminals = memory::make_terminals(plan).map_err(of("/dev/pts"))?;
        let nothing = memory::make_nothing().map_err(of("an empty directory"))?;
        let stacks = make_stacks(plan, &launch.mounts, how, user_namespace, &mut Kept::default())?;
        Ok(Self { stacks, dev, nodes, terminals, run, nothing })
    }

    /// How many nodes there are, and how many descriptors each stack takes: what [`Parts::from_descriptors`] needs to sort them.
    pub fn shape(&self) -> Vec<u8> {
        let nodes = u8::try_from(self.nodes.len()).unwrap_or(u8::MAX);
        std::iter::once(nodes).chain(self.stacks.iter().map(Stack::shape)).collect()
    }

    /// All descriptors, to be sent.
    pub fn descriptors(&self) -> Vec<BorrowedFd<'_>> {
        let mut all = vec![self.dev.as_fd(), self.terminals.as_fd(), self.run.as_fd(), self.nothing.as_fd()];
        all.extend(self.nodes.iter().map(AsFd::as_fd));
        all.extend(self.stacks.iter().flat_map(Stack::descriptors));
        all
    }

    /// The overlays, once all has been sent, and the layers that they stand on. `None` when they are to be made by name.
    pub fn into_overlays(self, mounts: &[StackMount]) -> Option<Made> {
        into_overlays(self.stacks, mounts)
    }

    /// Back from what was sent. `None` when something is missing.
    pub fn from_descriptors(shape: &[u8], mut descriptors: impl Iterator<Item = OwnedFd>) -> Option<Self> {
        let (node_count, stacks) = shape.split_first()?;
        let (dev, terminals, run, nothing) = (descriptors.next()?, descriptors.next()?, descriptors.next()?, descriptors.next()?);
        let nodes: Vec<OwnedFd> = descriptors.by_ref().take(usize::from(*node_count)).collect();
        let stacks = stacks.iter().map(|shape| Stack::from_descriptors(*shape, &mut descriptors)).collect::<Option<_>>()?;
        (nodes.len() == usize::from(*node_count)).then_some(Self { stacks, dev, nodes, terminals, run, nothing })
    }
}

fn make_stacks(
    plan: &Plan,
    mounts: &[StackMount],
    how: Layers,
    user_namespace: &UserNamespace,
    kept: &mut Kept,
) -> Result<Vec<Stack>, (String, io::Error)> {
    let made = mounts.iter().zip(&plan.overlays).map(|(stack, overlay)| {
        let made = overlay::make(plan, stack, overlay, how, user_namespace, kept);
        made.map_err(|(what, error)| (format!("overlay of {}: {what}", stack.at), error))
    });
    made.collect()
}

/// Overlays in the order of the plan, and the layers that they stand on.
pub type Made = (Vec<OwnedFd>, Kept);

/// Overlays attached nowhere, as [`Parts`] has them, and the layers that they stand on, taken from `kept` as far as they are there. `None` where this kernel can
/// make them only by name.
///
/// # Errors
/// The path or thing at fault, and what the kernel said.
pub fn overlays(
    plan: &Plan,
    mounts: &[StackMount],
    how: Layers,
    user_namespace: &UserNamespace,
    kept: &mut Kept,
) -> Result<Option<Made>, (String, io::Error)> {
    Ok(into_overlays(make_stacks(plan, mounts, how, user_namespace, kept)?, mounts))
}

fn into_overlays(stacks: Vec<Stack>, mounts: &[StackMount]) -> Option<Made> {
    let mut all = (Vec::new(), Kept::default());
    for (stack, mount) in stacks.into_iter().zip(mounts) {
        let (overlay, layers) = stack.into_overlay(mount)?;
        all.0.push(overlay);
        all.1.extend(layers);
    }
    Some(all)
}

/// What every root has mounted in it besides overlays; one of them may be missing.
const VIEWS: [&str; 4] = ["dev", "proc", "sys", "run"];

/// Copies of the views of the current root, with everything in them, attached nowhere.
///
/// # Errors
/// As open_tree(2).
pub fn copy_views() -> io::Result<Vec<(&'static str, OwnedFd)>> {
    let mut copies = Vec::with_capacity(VIEWS.len());
    for view in VIEWS {
        let path = Path::new("/").join(view);
        // What is no mount is a directory of the overlay, and is there without us.
        let found = rustix::fs::statx(rustix::fs::CWD, &path, AtFlags::SYMLINK_NOFOLLOW, StatxFlags::TYPE)?;
        if found.stx_attributes.contains(StatxAttributes::MOUNT_ROOT) {
            copies.push((view, mount::copy_all_at(&path)?));
        }
    }
    Ok(copies)
}

/// Runs `action` so that what it makes belongs to the sandbox's root. An overlay over translated layers remembers who mounted it, and
/// someone whose id does not exist in them could not write there.
fn as_inside_root<T>(plan: &Plan, action: impl FnOnce() -> io::Result<T>) -> io::Result<T> {
    if plan.translates_ids { pyro_sys::confine::with_file_ids(plan.first_id, plan.first_id, action) } else { action() }
}

/// What the first process makes itself, attached nowhere: it shows the namespaces of whoever mounts it.
pub struct Own {
    proc: OwnedFd,
    sys: Option<OwnedFd>,
}

impl Own {
    /// Makes them.
    ///
    /// # Errors
    /// When the kernel refuses one. Only without `sysfs` a sandbox works: an outer container may forbid it.
    pub fn make() -> io::Result<Self> {
        let proc = mount::new_filesystem("proc", &[Setting::Text("source", "proc")], Refuses::ALL_BUT_WRITES)?;
        let sys = mount::new_filesystem("sysfs", &[Setting::Text("source", "sysfs")], Refuses::ALL).ok();
        Ok(Self { proc, sys })
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
        overlays.push(stack.mounted(plan, of).map_err(|error| ("an overlay by name", error))?);
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
    put(&parts.dev, "dev").map_err(|error| ("/dev", error))?;
    for (node, (name, _, _)) in parts.nodes.iter().zip(memory::devices(plan)) {
        let place = beneath::entry(&parts.dev, Path::new(name), Mounts::Stay);
        place.and_then(|place| mount::attach(node, place)).map_err(|error| ("/dev", error))?;
    }
    let pts = beneath::directory(&parts.dev, Path::new("pts"), Mounts::Stay);
    pts.and_then(|place| mount::attach(&parts.terminals, place)).map_err(|error| ("/dev/pts", error))?;
    put(&parts.run, "run").map_err(|error| ("/run", error))?;
    let mut cover = Cover { nothing: &parts.nothing, is_attached: false };
    put(&own.proc, "proc").map_err(|error| ("/proc", error))?;
    protect_proc(&own.proc, &parts.dev, &mut cover).map_err(|error| ("/proc", error))?;
    if let Some(sys) = &own.sys {
        put(sys, "sys").map_err(|error| ("/sys", error))?;
        cover.hide(sys, &MASKED_SYS_DIRECTORIES).map_err(|error| ("/sys", error))?;
    }
    mount::pivot_into(root).map_err(|error| ("the new root", error))
}

/// Settings of the kernel are for reading only, and what says too much about the host is covered by `/dev/null` or nothing.
fn protect_proc(proc: &OwnedFd, dev: &OwnedFd, cover: &mut Cover<'_>) -> io::Result<()> {
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
    cover.hide(proc, &MASKED_PROC_DIRECTORIES)
}

/// An empty directory to put over others. Only what is attached somewhere can be copied (on Linux before 6.15), so it is the first cover itself.
struct Cover<'a> {
    nothing: &'a OwnedFd,
    is_attached: bool,
}

impl Cover<'_> {
    fn hide(&mut self, root: &OwnedFd, names: &[&str]) -> io::Result<()> {
        for name in names {
            match beneath::directory(root, Path::new(name), Mounts::Stay) {
                Ok(place) if self.is_attached => mount::attach(mount::copy(self.nothing, Path::new(""))?, place)?,
                Ok(place) => {
                    mount::attach(self.nothing, place)?;
                    self.is_attached = true;
                }
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }
}

/// A directory of the new root to mount on. Made when it is not there; anything but a directory is refused.
pub fn mount_point(plan: &Plan, root: &OwnedFd, path: &Path, mounts: Mounts) -> io::Result<OwnedFd> {
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
