//! Where the changes of workspaces are: layers, each a directory `changes/ID/` that holds, for each overlay of a file system, what was written
//! to it. Of a workspace's layers the uppermost is *live*: its sandbox writes there. All below are *sealed*: they never change again, and
//! several workspaces may stand on them.
//!
//! Which layers make up which state is the database's to say ([`crate::store`]); a layer by itself knows only what it was made for, so that a database that
//! is lost can be made again. A layer that nothing names is garbage ([`crate::garbage`]).
//!
//! A layer of a machine of its own holds a disk instead, a file that nobody outside reads, with all that was ever written: it needs no other below it.
//!
//! Must never: write into a sealed layer.

pub mod fewer;
mod spare;

pub use self::spare::{Spare, is_kept};

use std::fs::{self, DirBuilder, File};
use std::io;
use std::ops::ControlFlow;
use std::os::fd::AsFd;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};
use std::time::{SystemTime, UNIX_EPOCH};

use pyro_api::{Error, Result};
use pyro_layer::{Likeness, Marks};
use rustix::fs::FlockOperation;
use serde::{Deserialize, Serialize};

use crate::backend::StackMount;
use crate::environment::image::copy_sparse;
use crate::fault;
use crate::home::Home;
use crate::manifest::Mount;
use crate::name::new_id;

/// Most sealed layers of one state: there are no more steps when making them fewer does not keep up. Overlay takes 500 lower layers; what a look-up
/// costs that finds nothing in memory grows with those that have the directory (10 µs with one or two, 43 with 20, 174 with 100).
pub const DEPTH_MAX: usize = 96;

/// From so many steps on the oldest are forgotten, but for those with a name: a workspace that writes the same large files again and again would keep
/// each of them.
pub const STEPS_MAX: usize = 48;

/// So many are kept then: so many can be undone one by one at least.
pub const STEPS_KEPT: usize = 16;

/// So often a live layer is copied for a step before it is sealed: each copy has all of it. Fewer than [`STEPS_KEPT`], for what it lies over is named by
/// the step before the first of them.
pub const COPIES_MAX: usize = 8;
const _: () = assert!(COPIES_MAX + 2 < STEPS_KEPT);

/// What is in a live layer that is copied, in names and in bytes of content for each overlay: a few files that were edited, for which a copy takes
/// 0.3 to 1 ms; another layer with its overlay takes 2 to 3.
const LITTLE_NAMES_MAX: u64 = 16;
const LITTLE_BYTES_MAX: u64 = 64 * 1024;

/// Names one layer: 12 hexadecimal digits.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct LayerId(String);

impl LayerId {
    /// Back from the database.
    #[must_use]
    pub fn from_record(text: String) -> Self {
        Self(text)
    }

    /// As it is recorded, and named on disk.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// What a layer says of itself.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct MadeFor {
    /// Id of the workspace that wrote it.
    pub workspace: String,
    /// When that was, nanoseconds since 1970: the newest is the live one.
    pub at_ns: u64,
    /// What it lay over, uppermost first.
    pub below: Vec<LayerId>,
    /// How often layers were made one to make it: 0 for what was written.
    #[serde(default)]
    pub level: u32,
}

impl MadeFor {
    fn now(workspace: &str, below: &[LayerId]) -> Self {
        let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        let at_ns = u64::try_from(since.as_nanos()).unwrap_or(u64::MAX);
        Self { workspace: workspace.to_owned(), at_ns, below: below.to_vec(), level: 0 }
    }
}

/// Held while layers are made that nothing names yet, so that nobody takes them for garbage.
#[derive(Debug)]
pub struct Naming {
    // Held for its lock.
    _file: File,
}

impl Naming {
    /// As one of many who make layers.
    ///
    /// # Errors
    /// When the home cannot be opened.
    pub fn shared(home: &Home) -> Result<Self> {
        Self::lock(home, FlockOperation::LockShared)
    }

    /// As the one who clears away: waits until nobody makes layers.
    ///
    /// # Errors
    /// As [`Naming::shared`].
    pub fn alone(home: &Home) -> Result<Self> {
        Self::lock(home, FlockOperation::LockExclusive)
    }

    fn lock(home: &Home, operation: FlockOperation) -> Result<Self> {
        let changes = home.changes();
        let open = || -> io::Result<File> {
            let file = File::open(&changes)?;
            rustix::io::retry_on_intr(|| rustix::fs::flock(&file, operation))?;
            Ok(file)
        };
        open().map(|file| Self { _file: file }).map_err(|error| crate::begin::no_room(&changes, error))
    }
}

/// Name of a mount point as a directory of a layer: `/` is `root`, `/usr` is `at-usr`, `/opt/x` is `at-opt%2fx`.
#[must_use]
pub fn overlay_name(at: &str) -> String {
    match at.trim_matches('/') {
        "" => "root".to_owned(),
        path => format!("at-{}", path.replace('%', "%25").replace('/', "%2f")),
    }
}

/// Makes a layer over others that somebody can write to at once.
///
/// # Errors
/// When the disk refuses; nothing is left then.
pub fn make(home: &Home, naming: &Naming, mounts: &[Mount], workspace: &str, below: &[LayerId]) -> Result<LayerId> {
    let id = reserve(home, naming, workspace, below)?;
    furnish(home, mounts, &id, below).inspect_err(|_| discard(home, &id))?;
    Ok(id)
}

/// Makes a layer over others that has no directories yet: whoever starts the workspace [furnishes](furnish) it. To make those takes who is root of
/// the namespace that layers belong to, as they are like what is below them, and most are never needed.
///
/// # Errors
/// As [`make`].
pub fn reserve(home: &Home, _naming: &Naming, workspace: &str, below: &[LayerId]) -> Result<LayerId> {
    let id = LayerId(new_id());
    let root = home.layer(&id);
    let made = DirBuilder::new().mode(0o700).create(&root).and_then(|()| say(&root, &MadeFor::now(workspace, below)));
    made.map_err(|error| {
        discard(home, &id);
        crate::begin::no_room(&root, error)
    })?;
    Ok(id)
}

/// Makes the directories of a layer that are not there yet. One that is there is as it should be, whatever happened meanwhile.
///
/// # Errors
/// When the disk refuses.
pub fn furnish(home: &Home, mounts: &[Mount], id: &LayerId, below: &[LayerId]) -> Result<()> {
    let root = home.layer(id);
    let directory = |path: &Path| match DirBuilder::new().mode(FIRST_MODE).create(path) {
        Err(error) if error.kind() != io::ErrorKind::AlreadyExists => Err(error),
        Ok(()) | Err(_) => Ok(()),
    };
    let make = |name: &str| -> io::Result<()> {
        // It is taken from one that is sealed; a database that was lost may name that as the live one.
        directory(&work(&root, name))?;
        if upper(&root, name).exists() {
            return Ok(());
        }
        let unfinished = root.join(format!("new-{name}"));
        directory(&unfinished)?;
        // What an overlay shows of its own root is that of the uppermost layer.
        if let Some(top) = below.first() {
            like(&unfinished, &upper(&home.layer(top), name))?;
        }
        fault::on_disk(home, "furnish.half")?;
        fs::rename(unfinished, upper(&root, name))
    };
    mounts.iter().try_for_each(|mount| make(&overlay_name(&mount.at))).map_err(|error| crate::begin::no_room(&root, error))
}

/// Whether a layer has its directories.
#[must_use]
pub fn is_furnished(home: &Home, mounts: &[Mount], id: &LayerId) -> bool {
    mounts.iter().all(|mount| overlay(home, id, mount).exists())
}

/// Mode of the root of an overlay that nothing was done to.
const FIRST_MODE: u32 = 0o755;

/// Gives a directory the owner, mode, time and attributes of another.
fn like(new: &Path, old: &Path) -> io::Result<()> {
    likeness(old)?.give(File::open(new)?.as_fd()).map_err(io::Error::other)
}

fn likeness(of: &Path) -> io::Result<Likeness> {
    Likeness::of(File::open(of)?.as_fd()).map_err(io::Error::other)
}

/// What the root of an overlay is like that nothing was done to.
fn first_likeness() -> Likeness {
    let owner = (rustix::process::geteuid().as_raw(), rustix::process::getegid().as_raw());
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    Likeness::plain(FIRST_MODE, owner, (i64::try_from(now.as_secs()).unwrap_or(i64::MAX), now.subsec_nanos()))
}

/// Puts a live layer that nothing was written to yet over others.
///
/// # Errors
/// When the disk refuses.
pub fn put_over(home: &Home, mounts: &[Mount], live: &LayerId, workspace: &str, below: &[LayerId]) -> Result<()> {
    let root = home.layer(live);
    let put = || -> io::Result<()> {
        for mount in mounts {
            let upper = overlay(home, live, mount);
            if !upper.exists() {
                // Nobody has started it yet: it will be furnished over these.
                continue;
            }
            match below.first() {
                Some(top) => like(&upper, &overlay(home, top, mount))?,
                None => first_likeness().give(File::open(&upper)?.as_fd()).map_err(io::Error::other)?,
            }
        }
        say(&root, &MadeFor::now(workspace, below))
    };
    put().map_err(|error| crate::begin::no_room(&root, error))
}

/// File in a layer with its [`MadeFor`].
const MADE_FOR: &str = "layer.json";

fn say(layer: &Path, made_for: &MadeFor) -> io::Result<()> {
    fs::write(layer.join(MADE_FOR), serde_json::to_vec(made_for).expect("our own types have only text keys"))
}

fn upper(layer: &Path, overlay: &str) -> PathBuf {
    layer.join(overlay)
}

fn work(layer: &Path, overlay: &str) -> PathBuf {
    layer.join(format!("work-{overlay}"))
}

/// The directory of a layer for one overlay.
#[must_use]
pub fn overlay(home: &Home, id: &LayerId, mount: &Mount) -> PathBuf {
    upper(&home.layer(id), &overlay_name(&mount.at))
}

/// The disk of a machine whose layer is in this directory, beside it.
#[must_use]
pub fn disk(upper: &Path) -> PathBuf {
    upper.with_extension("ext4")
}

/// Whether a layer holds the disk of a machine: then it has all that was ever written, and whether that is in a step is not told by looking at it.
#[must_use]
pub fn has_disk(home: &Home, mounts: &[Mount], id: &LayerId) -> bool {
    mounts.iter().any(|mount| disk(&overlay(home, id, mount)).exists())
}

/// Copies a disk, with its holes. It has its name when it is whole.
///
/// # Errors
/// When it cannot be read, or the disk refuses; nothing is left then.
pub fn copy_disk(from: &Path, to: &Path) -> Result<()> {
    let unfinished = to.with_extension("new");
    let copy = || {
        // Of who died in doing this.
        match fs::remove_file(&unfinished) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            Ok(()) | Err(_) => {}
        }
        copy_sparse(from, &unfinished)?;
        fs::rename(&unfinished, to)
    };
    copy().map_err(|error| {
        let _ = fs::remove_file(&unfinished);
        crate::begin::no_room(to, error)
    })
}

/// Takes away a layer that nothing names and nobody has mounted. What cannot be taken away is garbage.
pub fn discard(home: &Home, id: &LayerId) {
    if let Err(error) = crate::janitor::discard(home, &home.layer(id)) {
        crate::supervisor::complain(&error);
    }
}

/// The overlays of a file system: a live layer over sealed ones (uppermost first) over read-only trees.
#[must_use]
pub fn stack(home: &Home, mounts: &[Mount], sealed: &[LayerId], live: &LayerId) -> Vec<StackMount> {
    let live = home.layer(live);
    let stacked = |mount: &Mount| {
        let name = overlay_name(&mount.at);
        let lowers = lowers(home, mount, sealed);
        StackMount { at: mount.at.clone(), lowers, sealed: sealed.len(), upper: upper(&live, &name), work: work(&live, &name) }
    };
    mounts.iter().map(stacked).collect()
}

/// What is below the live layer in one overlay, uppermost first.
#[must_use]
pub fn lowers(home: &Home, mount: &Mount, sealed: &[LayerId]) -> Vec<PathBuf> {
    let name = overlay_name(&mount.at);
    sealed.iter().map(|id| upper(&home.layer(id), &name)).chain(mount.lowers.iter().cloned()).collect()
}

/// Whether nothing was ever written to a layer that lies over others. What an overlay's own root is like counts, its time does not.
///
/// # Errors
/// When it cannot be looked at.
pub fn is_blank(home: &Home, mounts: &[Mount], live: &LayerId, below: &[LayerId]) -> Result<bool> {
    let layer = home.layer(live);
    for mount in mounts {
        let name = overlay_name(&mount.at);
        let upper_directory = upper(&layer, &name);
        let upper = &upper_directory;
        if !upper.exists() {
            // Nobody has started the workspace yet.
            continue;
        }
        let look = || -> io::Result<bool> {
            let first = match below.first() {
                Some(top) => likeness(&self::upper(&home.layer(top), &name))?,
                None => first_likeness(),
            };
            // As it was made. A directory that cannot be read was made so, which is a change.
            let untouched = likeness(upper).is_ok_and(|found| found.is_same_but_for_time(&first));
            Ok(untouched && fs::read_dir(upper).is_ok_and(|mut entries| entries.next().is_none()))
        };
        match look() {
            Ok(true) => {}
            Ok(false) => return Ok(false),
            Err(error) => return Err(Error::unavailable(format!("{} cannot be read", upper.display())).because(error)),
        }
    }
    Ok(true)
}

/// Takes away the room that overlays worked in, once nobody writes to the layer any more. It is of no use then, and what cannot be taken away
/// goes with the layer.
pub fn tidy(home: &Home, mounts: &[Mount], sealed: &LayerId) {
    for mount in mounts {
        let work = work(&home.layer(sealed), &overlay_name(&mount.at));
        // Overlay leaves an empty directory there.
        let _ = fs::remove_dir(work.join("work"));
        let _ = fs::remove_dir(work);
    }
}

/// Makes a sealed layer of what is in one that goes on being written to. Whoever could write to it must stand still.
///
/// # Errors
/// When it cannot be read, or the disk refuses; nothing is left then.
pub fn make_copy(home: &Home, _naming: &Naming, mounts: &[Mount], of: &LayerId) -> Result<LayerId> {
    // It says nothing of itself: a database that is made again must not take it for the live one.
    let id = LayerId(new_id());
    let root = home.layer(&id);
    let copy = || -> Result<()> {
        let directory =
            |path: &Path| DirBuilder::new().mode(0o700).create(path).map_err(|error| crate::begin::no_room(path, error));
        directory(&root)?;
        fault::point(home, "copy.made")?;
        for mount in mounts {
            let to = overlay(home, &id, mount);
            directory(&to)?;
            let disk_of = disk(&overlay(home, of, mount));
            if disk_of.exists() {
                copy_disk(&disk_of, &disk(&to))?;
                continue;
            }
            let copied = pyro_layer::copy_layer(&overlay(home, of, mount), &to, &mut |_| ControlFlow::Continue(()));
            copied.map_err(|error| match error.kind() {
                pyro_layer::ErrorKind::Full => {
                    Error::unavailable("the changes cannot be copied").because(error).hint(crate::begin::DISK_FULL)
                }
                _ => Error::unavailable("the changes cannot be copied").because(error),
            })?;
        }
        fault::point(home, "copy.copied")
    };
    match copy() {
        Ok(()) => Ok(id),
        Err(error) => {
            discard(home, &id);
            Err(error)
        }
    }
}

/// Whether a layer is still what a copy of it says. What cannot be compared, as somebody is writing to it, is not called the same.
#[must_use]
pub fn is_same(home: &Home, mounts: &[Mount], live: &LayerId, copy: &LayerId) -> bool {
    mounts.iter().all(|mount| {
        let (live, copy) = (overlay(home, live, mount), overlay(home, copy, mount));
        pyro_layer::is_same_layer(&live, &copy).unwrap_or(false)
    })
}

/// Whether so little is in a layer that a copy of it costs less than another layer. What cannot be measured is not called little.
#[must_use]
pub fn is_little(home: &Home, mounts: &[Mount], live: &LayerId) -> bool {
    mounts
        .iter()
        .all(|mount| pyro_layer::is_within(&overlay(home, live, mount), LITTLE_NAMES_MAX, LITTLE_BYTES_MAX).unwrap_or(false))
}

/// Makes one layer that shows the same as several that lie upon each other, uppermost first. They stay.
///
/// # Errors
/// When they cannot be read, or the disk refuses.
pub fn squash(
    home: &Home,
    naming: &Naming,
    mounts: &[Mount],
    workspace: &str,
    replaced: &[LayerId],
    choice: &fewer::Choice,
    marks: Marks,
) -> Result<LayerId> {
    let by = make(home, naming, mounts, workspace, &[])?;
    for mount in mounts {
        let layers: Vec<PathBuf> = replaced.iter().map(|layer| overlay(home, layer, mount)).collect();
        let squashed =
            pyro_layer::squash(&layers, &overlay(home, &by, mount), false, choice.files, marks, &mut |_| ControlFlow::Continue(()));
        if let Err(error) = squashed {
            discard(home, &by);
            return Err(Error::unavailable("layers cannot be made one").because(error));
        }
    }
    tidy(home, mounts, &by);
    // It was never written to by anybody: a database that is made again must not take it for the live one.
    let said = MadeFor { level: choice.level, ..MadeFor::now("", &[]) };
    say(&home.layer(&by), &said).map_err(|error| crate::begin::no_room(&home.layer(&by), error))?;
    Ok(by)
}

/// What a layer holds: names in it, and the room it takes on disk in bytes.
///
/// # Errors
/// When it cannot be read.
pub fn size(home: &Home, id: &LayerId) -> Result<(u64, u64)> {
    let root = home.layer(id);
    let usage = pyro_layer::measure(&root)
        .map_err(|error| Error::unavailable(format!("{} cannot be measured", root.display())).because(error))?;
    // Without what we keep there ourselves: one directory for each overlay, and the file that says what it is.
    let own = std::fs::read_dir(&root).map_or(0, |entries| entries.count() as u64);
    Ok((usage.entry_count.saturating_sub(own), usage.disk_bytes))
}

/// What a layer says of itself; `None` when that cannot be read.
fn made_for(home: &Home, id: &LayerId) -> Option<MadeFor> {
    fs::read(home.layer(id).join(MADE_FOR)).ok().and_then(|text| serde_json::from_slice(&text).ok())
}

/// Every layer that there is on disk, with what it says of itself; `None` when that cannot be read.
///
/// # Errors
/// When the directory of layers cannot be read.
pub fn on_disk(home: &Home) -> Result<Vec<(LayerId, Option<MadeFor>)>> {
    let changes = home.changes();
    let unreadable = |error: io::Error| Error::unavailable(format!("{} cannot be read", changes.display())).because(error);
    let entries = match fs::read_dir(&changes) {
        Ok(entries) => entries,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(unreadable(error)),
    };
    let mut layers = Vec::new();
    for entry in entries {
        let name = entry.map_err(unreadable)?.file_name();
        let Some(name) = name.to_str() else { continue };
        let id = LayerId(name.to_owned());
        let made_for = made_for(home, &id);
        layers.push((id, made_for));
    }
    Ok(layers)
}

#[cfg(test)]
mod tests;
