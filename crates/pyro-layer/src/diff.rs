//! What the writable layer changed against the layers below it, read from the layers and not from two whole trees: the cost
//! follows what was changed.
//!
//! # What counts as a change
//!
//! A file that overlayfs copied up without its content, type or permission bits being different is no change, and neither is another time,
//! owner or attribute: they have no place in a patch, and tools touch files all the time. A rename is a deletion and an addition. A deleted
//! directory is named with everything that was in it.
//!
//! # What a layer looks like
//!
//! A deletion is a character device 0:0, or an empty file with an `overlay.whiteout` attribute (written by tools). A directory whose
//! `overlay.opaque` is `y` hides what is below it. Both spellings of attributes are read, `trusted.` (root) and `user.` (others). Layers are assumed to
//! be written with `redirect_dir`, `metacopy` and `index` off, as everything of ours is mounted.

use std::collections::BTreeMap;
use std::ffi::{CStr, CString};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::PathBuf;

use rustix::fs::{self, FileType, OFlags, Stat};
use rustix::io::Errno;

use crate::attributes;
use crate::beneath::{self, Descent, Mounts, WalkPath};
use crate::error::{Error, ErrorKind, Naming, Result, shown};
use crate::limits::{CHANGED_PATHS_BYTES_MAX, CHANGES_MAX};
use crate::{Progress, Watch};

/// The layers of one mount.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Stack {
    /// The writable layer.
    pub upper: PathBuf,
    /// What is below it, uppermost first.
    pub lowers: Vec<PathBuf>,
}

/// One path that changed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Change {
    /// Path below the root of the stack, without a slash at its start.
    pub path: Vec<u8>,
    /// What happened to it.
    pub status: Status,
    /// What was there.
    pub old: Option<Side>,
    /// What is there.
    pub new: Option<Side>,
    /// The content is different, and not just the mode.
    pub content_changed: bool,
    /// Lines added and removed; 0 until [`crate::unified_patch`] has looked at the content, and for what is not text.
    pub added_lines: u64,
    /// See `added_lines`.
    pub removed_lines: u64,
    /// The content is not text; known once [`crate::unified_patch`] has looked at it.
    pub binary: bool,
}

/// What is or was at a path.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Side {
    /// What it is.
    pub kind: Kind,
    /// Permission bits with setuid, setgid and sticky.
    pub mode: u32,
    /// Size of a file in bytes, or of a link's target.
    pub size_bytes: u64,
    /// Which layer it is in: 0 is the upper, then the lowers in order.
    pub(crate) layer: usize,
}

/// What a path names.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// A regular file.
    File,
    /// A directory.
    Directory,
    /// A symbolic link.
    Symlink,
    /// A FIFO or a socket.
    Other,
}

/// What happened to a path.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Status {
    /// It was not there.
    Added,
    /// Content or mode are different.
    Modified,
    /// It is not there any more.
    Deleted,
    /// It is something else now: a link instead of a file.
    TypeChanged,
}

impl Change {
    /// What it is now, or was when it is gone.
    #[must_use]
    pub fn kind(&self) -> Kind {
        self.new.or(self.old).map_or(Kind::Other, |side| side.kind)
    }

    /// Mode before and after, where both are known and different.
    #[must_use]
    pub fn mode_change(&self) -> Option<(u32, u32)> {
        match (self.old, self.new) {
            (Some(old), Some(new)) if old.mode != new.mode && old.kind == new.kind && old.kind != Kind::Symlink => {
                Some((old.mode, new.mode))
            }
            _ => None,
        }
    }
}

/// Lists what changed at and below `below` (a path below the root of the stack, empty for all of it), in the order of path names, a
/// directory before what is in it.
///
/// It may be called while the workspace runs; what changes meanwhile is reported as it was met.
///
/// # Errors
/// When a layer cannot be read, or holds more than [`CHANGES_MAX`] changes; or `watch` broke it off.
pub fn diff(stack: &Stack, below: &[u8], watch: Watch<'_>) -> Result<Vec<Change>> {
    let below: Vec<&[u8]> = below.split(|byte| *byte == b'/').filter(|name| !name.is_empty() && *name != b".").collect();
    let layers = open_layers(stack)?;
    let lowers = (1..layers.len()).collect();
    let descents = layers.into_iter().map(Descent::new).collect::<rustix::io::Result<_>>().naming(b"", "open a layer")?;
    let mut comparison = Comparison {
        layers: descents,
        path: WalkPath::default(),
        frames: Vec::new(),
        changes: Vec::new(),
        paths_bytes: 0,
        buffer: Vec::new(),
        progress: Progress::default(),
        watch,
    };
    comparison.frames.push(Frame { upper: true, lowers, opaque: false, left: Vec::new() });
    comparison.list(below.first().copied())?;
    // The names on the way to `below` are compared too, one at each level, and dropped: `below` may have vanished with its parent.
    comparison.run(&below)?;
    let prefix = below.join(&b'/');
    let mut changes = comparison.changes;
    changes.retain(|change| is_at_or_below(&change.path, &prefix));
    changes.sort_by(|left, right| left.path.cmp(&right.path));
    Ok(changes)
}

/// Whether a path is `prefix` or below it. Both are without a slash at their ends; the empty prefix is the root.
#[must_use]
pub fn is_at_or_below(path: &[u8], prefix: &[u8]) -> bool {
    prefix.is_empty() || path.strip_prefix(prefix).is_some_and(|rest| rest.is_empty() || rest.starts_with(b"/"))
}

pub(crate) fn open_layers(stack: &Stack) -> Result<Vec<OwnedFd>> {
    std::iter::once(&stack.upper)
        .chain(&stack.lowers)
        .map(|layer| beneath::open_root(layer).naming(layer.as_os_str().as_encoded_bytes(), "open the layer"))
        .collect()
}

struct Comparison<'a> {
    layers: Vec<Descent>,
    path: WalkPath,
    frames: Vec<Frame>,
    changes: Vec<Change>,
    paths_bytes: usize,
    /// For comparing content.
    buffer: Vec<u8>,
    progress: Progress,
    watch: Watch<'a>,
}

/// One directory, as far as it is in the layers.
struct Frame {
    /// It is a directory in the upper layer.
    upper: bool,
    /// Lower layers that show through here, uppermost first.
    lowers: Vec<usize>,
    /// Nothing of the lower layers shows through: what the upper layer does not have is gone.
    opaque: bool,
    /// Names to look at, last first.
    left: Vec<CString>,
}

/// Something found in a layer.
#[derive(Clone)]
struct Met {
    side: Side,
    stat: Stat,
    /// Lower layers that make up a directory.
    parts: Vec<usize>,
}

/// What one layer says about a name.
enum InLayer {
    Absent,
    Whiteout,
    Present(Stat),
}

impl Comparison<'_> {
    fn run(&mut self, below: &[&[u8]]) -> Result<()> {
        while let Some(frame) = self.frames.last_mut() {
            let Some(name) = frame.left.pop() else {
                let frame = self.frames.pop().expect("just looked at");
                if !self.frames.is_empty() {
                    for layer in frame.upper.then_some(0).into_iter().chain(frame.lowers) {
                        self.layers[layer].leave().map_err(|errno| self.moved(errno))?;
                    }
                    self.path.leave();
                }
                continue;
            };
            self.progress.entry_count += 1;
            self.report_progress()?;
            self.compare(&name, below)?;
        }
        Ok(())
    }

    fn report_progress(&mut self) -> Result<()> {
        if (self.watch)(self.progress).is_break() { Err(Error::cancelled()) } else { Ok(()) }
    }

    fn moved(&self, errno: Errno) -> Error {
        match errno {
            Errno::STALE => Error::new(ErrorKind::Changed, format!("{} was moved while it was compared", shown(self.path.here()))),
            errno => Error::system(self.path.here(), "go back up from it", errno),
        }
    }

    /// Fills in the names of the last frame: those of the upper layer, and where nothing shows through, those below it. With `only`, just that name.
    fn list(&mut self, only: Option<&[u8]>) -> Result<()> {
        let frame = self.frames.last().expect("a frame was pushed");
        let mut names = BTreeMap::new();
        if let Some(only) = only {
            names.insert(beneath::c_name(only).naming(only, "look at it")?, ());
        } else {
            if frame.upper {
                for entry in self.entries(0)? {
                    names.insert(entry.name, ());
                }
            }
            if frame.opaque || !frame.upper {
                for layer in &frame.lowers {
                    for entry in self.entries(*layer)? {
                        names.insert(entry.name, ());
                    }
                }
            }
        }
        self.frames.last_mut().expect("a frame was pushed").left = names.into_keys().rev().collect();
        Ok(())
    }

    fn entries(&self, layer: usize) -> Result<Vec<beneath::Entry>> {
        beneath::list(self.layers[layer].here()).naming(self.path.here(), "list it")
    }

    fn compare(&mut self, name: &CStr, below: &[&[u8]]) -> Result<()> {
        let frame = self.frames.last().expect("a name has a directory");
        let in_upper = if frame.upper { self.look(0, name)? } else { InLayer::Whiteout };
        let hidden = frame.opaque || !frame.upper;
        let old = self.find_below(name)?;
        let new = match in_upper {
            InLayer::Present(stat) => Some(Met { side: side(&stat, 0), stat, parts: Vec::new() }),
            InLayer::Whiteout => None,
            InLayer::Absent if hidden => None,
            // Only on the way to `below`: the upper layer has nothing to say here.
            InLayer::Absent => return Ok(()),
        };
        self.report(name, old.as_ref(), new.as_ref())?;
        let new_is_directory = new.as_ref().is_some_and(|met| met.side.kind == Kind::Directory);
        let old_parts = old.filter(|met| met.side.kind == Kind::Directory).map(|met| met.parts);
        if new_is_directory || old_parts.is_some() {
            self.enter(name, new_is_directory, old_parts.unwrap_or_default(), below)?;
        }
        Ok(())
    }

    fn enter(&mut self, name: &CStr, upper: bool, lowers: Vec<usize>, below: &[&[u8]]) -> Result<()> {
        let path = self.path.join(name);
        let mut entered: Vec<usize> = Vec::new();
        for layer in upper.then_some(0).into_iter().chain(lowers.iter().copied()) {
            match self.layers[layer].enter(name, Mounts::Cross) {
                Ok(_) => entered.push(layer),
                Err(errno) => {
                    for layer in entered {
                        self.layers[layer].leave().map_err(|errno| self.moved(errno))?;
                    }
                    // It vanished or turned into something else meanwhile: the change of it itself has been reported.
                    return match errno {
                        Errno::NOENT | Errno::NOTDIR | Errno::LOOP => Ok(()),
                        errno => Err(errno).naming(&path, "open it"),
                    };
                }
            }
        }
        let parent_opaque = self.frames.last().is_some_and(|frame| frame.opaque);
        let opaque = upper && (parent_opaque || is_opaque(self.layers[0].here()).naming(&path, "read an attribute")?);
        self.path.enter(name);
        self.frames.push(Frame { upper, lowers, opaque, left: Vec::new() });
        // On the way to `below` one name of each directory matters.
        let depth = self.frames.len() - 1;
        self.list(below.get(depth).copied())
    }

    /// What one layer has at a name of the current directory.
    fn look(&self, layer: usize, name: &CStr) -> Result<InLayer> {
        let directory = self.layers[layer].here();
        match beneath::stat(directory, name) {
            Err(Errno::NOENT) => Ok(InLayer::Absent),
            Err(errno) => Err(errno).naming(&self.path.join(name), "look at it"),
            Ok(stat) if is_whiteout(directory, name, &stat) => Ok(InLayer::Whiteout),
            Ok(stat) => Ok(InLayer::Present(stat)),
        }
    }

    /// What the lower layers together show at a name of the current directory.
    fn find_below(&self, name: &CStr) -> Result<Option<Met>> {
        let mut found: Option<Met> = None;
        for &layer in &self.frames.last().expect("a name has a directory").lowers {
            let stat = match self.look(layer, name)? {
                InLayer::Absent => continue,
                InLayer::Whiteout => break,
                InLayer::Present(stat) => stat,
            };
            let is_directory = FileType::from_raw_mode(stat.st_mode) == FileType::Directory;
            match &mut found {
                None => {
                    found =
                        Some(Met { side: side(&stat, layer), stat, parts: if is_directory { vec![layer] } else { Vec::new() } });
                    if !is_directory {
                        break;
                    }
                }
                Some(met) if is_directory => met.parts.push(layer),
                Some(_) => break,
            }
            let opened = beneath::open_beneath(self.layers[layer].here(), name.to_bytes(), OFlags::RDONLY | OFlags::DIRECTORY);
            if is_opaque(opened.naming(&self.path.join(name), "open it")?.as_fd())
                .naming(&self.path.join(name), "read an attribute")?
            {
                break;
            }
        }
        Ok(found)
    }

    fn report(&mut self, name: &CStr, old: Option<&Met>, new: Option<&Met>) -> Result<()> {
        let (status, content_changed) = match (old, new) {
            (None, None) => return Ok(()),
            (None, Some(_)) => (Status::Added, true),
            (Some(_), None) => (Status::Deleted, true),
            (Some(old), Some(new)) if old.side.kind != new.side.kind => (Status::TypeChanged, true),
            (Some(old), Some(new)) => {
                let content_changed = match new.side.kind {
                    Kind::File => !self.same_content(name, old, new)?,
                    Kind::Symlink => !self.same_target(name, old, new)?,
                    Kind::Directory => false,
                    Kind::Other => old.stat.st_mode & 0o170_000 != new.stat.st_mode & 0o170_000,
                };
                // A link's mode means nothing.
                let mode_changed = new.side.kind != Kind::Symlink && old.side.mode != new.side.mode;
                if !content_changed && !mode_changed {
                    return Ok(());
                }
                (Status::Modified, content_changed)
            }
        };
        if self.changes.len() >= CHANGES_MAX {
            return Err(Error::limit(format!("more than {CHANGES_MAX} paths have changed; look at a part of them")));
        }
        let path = self.path.join(name);
        self.paths_bytes += path.len();
        if self.paths_bytes > CHANGED_PATHS_BYTES_MAX {
            return Err(Error::limit(format!(
                "the names of what has changed come to more than {CHANGED_PATHS_BYTES_MAX} bytes; look at a part"
            )));
        }
        self.changes.push(Change {
            path,
            status,
            old: old.map(|met| met.side),
            new: new.map(|met| met.side),
            content_changed,
            added_lines: 0,
            removed_lines: 0,
            binary: false,
        });
        Ok(())
    }

    fn same_content(&mut self, name: &CStr, old: &Met, new: &Met) -> Result<bool> {
        if old.side.size_bytes != new.side.size_bytes {
            return Ok(false);
        }
        if old.side.size_bytes == 0 {
            return Ok(true);
        }
        let path = self.path.join(name);
        let old_file = beneath::open_content(self.layers[old.side.layer].here(), name).naming(&path, "open it in a lower layer")?;
        let new_file = match beneath::open_content(self.layers[0].here(), name) {
            Ok(file) => file,
            // It went meanwhile: what was met was different from what is.
            Err(Errno::NOENT | Errno::LOOP | Errno::NXIO) => return Ok(false),
            Err(errno) => return Err(errno).naming(&path, "open it"),
        };
        for file in [&old_file, &new_file] {
            let stat = fs::fstat(file).naming(&path, "look at it")?;
            if FileType::from_raw_mode(stat.st_mode) != FileType::RegularFile {
                return Ok(false);
            }
        }
        self.buffer.resize(256 * 1024, 0);
        let mut at = 0;
        // Bounded by the size that was met, however the file grows.
        while at < old.side.size_bytes {
            let (left, right) = self.buffer.split_at_mut(128 * 1024);
            let left_count = read_full(&old_file, left, at).naming(&path, "read it in a lower layer")?;
            let right_count = read_full(&new_file, right, at).naming(&path, "read it")?;
            if left[..left_count] != right[..right_count] {
                return Ok(false);
            }
            if left_count == 0 {
                break;
            }
            at += left_count as u64;
            self.progress.bytes += left_count as u64;
            self.report_progress()?;
        }
        Ok(true)
    }

    fn same_target(&self, name: &CStr, old: &Met, new: &Met) -> Result<bool> {
        if old.side.size_bytes != new.side.size_bytes {
            return Ok(false);
        }
        let target = |layer: usize| fs::readlinkat(self.layers[layer].here(), name, Vec::new());
        match (target(old.side.layer), target(0)) {
            (Ok(old), Ok(new)) => Ok(old == new),
            (_, Err(Errno::NOENT | Errno::INVAL)) => Ok(false),
            (Err(errno), _) | (_, Err(errno)) => Err(errno).naming(&self.path.join(name), "read the link"),
        }
    }
}

/// Fills a buffer from a place of a file, less only at its end.
pub(crate) fn read_full(file: &OwnedFd, buffer: &mut [u8], offset: u64) -> rustix::io::Result<usize> {
    let mut filled = 0;
    while filled < buffer.len() {
        match rustix::io::pread(file, &mut buffer[filled..], offset + filled as u64) {
            Ok(0) => break,
            Ok(count) => filled += count,
            Err(Errno::INTR) => {}
            Err(errno) => return Err(errno),
        }
    }
    Ok(filled)
}

fn side(stat: &Stat, layer: usize) -> Side {
    let kind = match FileType::from_raw_mode(stat.st_mode) {
        FileType::RegularFile => Kind::File,
        FileType::Directory => Kind::Directory,
        FileType::Symlink => Kind::Symlink,
        _ => Kind::Other,
    };
    let size_bytes = match kind {
        Kind::File | Kind::Symlink => u64::try_from(stat.st_size).unwrap_or(0),
        // The size of a directory is a detail of its file system.
        Kind::Directory | Kind::Other => 0,
    };
    Side { kind, mode: stat.st_mode & 0o7777, size_bytes, layer }
}

fn is_whiteout(directory: BorrowedFd<'_>, name: &CStr, stat: &Stat) -> bool {
    match FileType::from_raw_mode(stat.st_mode) {
        FileType::CharacterDevice => stat.st_rdev == 0,
        FileType::RegularFile if stat.st_size == 0 => {
            let Ok(file) = beneath::open_content(directory, name) else { return false };
            [c"trusted.overlay.whiteout", c"user.overlay.whiteout"]
                .iter()
                .any(|attribute| attributes::value(file.as_fd(), attribute).is_ok_and(|value| value.is_some()))
        }
        _ => false,
    }
}

/// Whether a directory hides what is below it. `x` only says that whiteouts in it may be attributes.
fn is_opaque(directory: BorrowedFd<'_>) -> rustix::io::Result<bool> {
    for attribute in [c"trusted.overlay.opaque", c"user.overlay.opaque"] {
        if attributes::value(directory, attribute)?.as_deref() == Some(b"y") {
            return Ok(true);
        }
    }
    Ok(false)
}

#[cfg(test)]
pub(crate) mod tests;
