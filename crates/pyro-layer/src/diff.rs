//! What is different between two states of a tree, read from the layers in which they differ and not from two whole trees: the cost
//! follows what was changed.
//!
//! # What counts as a change
//!
//! A file that overlayfs copied up without its content, type or permission bits being different is no change, and neither is another time,
//! owner or attribute: they have no place in a patch, and tools touch files all the time. A rename is a deletion and an addition, which
//! [`crate::find_renames`] can put together. A deleted directory is named with everything that was in it. It makes no difference by which
//! layers a state came to be: two stacks that show the same are the same.

use std::collections::BTreeSet;
use std::ffi::{CStr, CString};
use std::os::fd::AsFd;

use rustix::fs::{self, FileType, Stat};
use rustix::io::Errno;

use crate::beneath;
use crate::content::{self, Content};
use crate::error::{Error, Naming, Result};
use crate::layers::{Layers, Met};
use crate::limits::{CHANGED_PATHS_BYTES_MAX, CHANGES_MAX};
use crate::stack::{Arrangement, OpenStacks, Stacks, State};
use crate::{Progress, Watch};

/// One path that changed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Change {
    /// Path below the root of the stack, without a slash at its start.
    pub path: Vec<u8>,
    /// What happened to it.
    pub status: Status,
    /// Where it was, when it was moved.
    pub from: Option<Vec<u8>>,
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
    /// Which layer of its own state it is in: 0 is the uppermost.
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
    /// It was elsewhere, with the same content; told by [`crate::find_renames`] only.
    Renamed,
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

impl Side {
    fn of(stat: &Stat, layer: usize) -> Self {
        let kind = match FileType::from_raw_mode(stat.st_mode) {
            FileType::RegularFile => Kind::File,
            FileType::Directory => Kind::Directory,
            FileType::Symlink => Kind::Symlink,
            _ => Kind::Other,
        };
        let size_bytes = match kind {
            Kind::File | Kind::Symlink => content::size(stat),
            // The size of a directory is a detail of its file system.
            Kind::Directory | Kind::Other => 0,
        };
        Self { kind, mode: stat.st_mode & 0o7777, size_bytes, layer }
    }
}

/// Lists what is different at and below `below` (a path below the root of the tree, empty for all of it), in the order of path names, a
/// directory before what is in it.
///
/// It may be called while a workspace writes to one of the layers; what changes meanwhile is reported as it was met.
///
/// # Errors
/// When a layer cannot be read, or the states differ in more than [`CHANGES_MAX`] paths; or `watch` broke it off.
pub fn diff(stacks: &Stacks, below: &[u8], watch: Watch<'_>) -> Result<Vec<Change>> {
    let below: Vec<&[u8]> = below.split(|byte| *byte == b'/').filter(|name| !name.is_empty() && *name != b".").collect();
    let (layers, arrangement) = OpenStacks::open(stacks)?.into_parts();
    let mut comparison = Comparison {
        layers: Layers::new(layers, stacks.marks)?,
        arrangement,
        frames: Vec::new(),
        changes: Vec::new(),
        paths_bytes: 0,
        content: Content::new(),
        progress: Progress::default(),
        watch,
    };
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

struct Comparison<'a> {
    layers: Layers,
    arrangement: Arrangement,
    frames: Vec<Frame>,
    changes: Vec<Change>,
    paths_bytes: usize,
    content: Content,
    progress: Progress,
    watch: Watch<'a>,
}

/// One directory that is not the same in both states.
struct Frame {
    /// Layers that make it up in the old state, uppermost first; none when it is no directory there.
    old: Vec<usize>,
    /// The same in the new state.
    new: Vec<usize>,
    /// Names to look at, last first.
    left: Vec<CString>,
}

impl Frame {
    /// The layers of both, each once.
    fn layers(&self) -> Vec<usize> {
        self.old.iter().chain(self.new.iter().filter(|layer| !self.old.contains(layer))).copied().collect()
    }
}

impl Comparison<'_> {
    fn run(&mut self, below: &[&[u8]]) -> Result<()> {
        let (old, new) = (self.arrangement.of(State::Old), self.arrangement.of(State::New));
        if old != new {
            self.open_frame(old, new, below)?;
        }
        while let Some(frame) = self.frames.last_mut() {
            let Some(name) = frame.left.pop() else {
                let frame = self.frames.pop().expect("just looked at");
                if !self.frames.is_empty() {
                    self.layers.leave(&frame.layers())?;
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

    /// Starts with the directory that was just entered. On the way to `below` one name of it matters.
    fn open_frame(&mut self, old: Vec<usize>, new: Vec<usize>, below: &[&[u8]]) -> Result<()> {
        let mut frame = Frame { old, new, left: Vec::new() };
        let names = match below.get(self.frames.len()) {
            Some(only) => BTreeSet::from([beneath::c_name(only).naming(only, "look at it")?]),
            None => self.names(&frame)?,
        };
        frame.left = names.into_iter().rev().collect();
        self.frames.push(frame);
        Ok(())
    }

    /// The names of a directory that may be different: those in layers that only one state has. Where one state hides shared layers that the
    /// other shows, those in them too.
    fn names(&self, frame: &Frame) -> Result<BTreeSet<CString>> {
        let shared = |parts: &[usize]| parts.iter().copied().filter(|layer| self.arrangement.is_shared(*layer)).collect::<Vec<_>>();
        let is_same_below = shared(&frame.old) == shared(&frame.new);
        let mut names = BTreeSet::new();
        for layer in frame.layers() {
            if !(is_same_below && self.arrangement.is_shared(layer)) {
                names.extend(self.layers.list(layer)?.into_iter().map(|entry| entry.name));
            }
        }
        Ok(names)
    }

    fn compare(&mut self, name: &CStr, below: &[&[u8]]) -> Result<()> {
        let frame = self.frames.last().expect("a name has a directory");
        let old = self.layers.find(&frame.old, name)?;
        let new = self.layers.find(&frame.new, name)?;
        self.report(name, old.as_ref(), new.as_ref())?;
        let parts = |met: Option<Met>| met.map_or_else(Vec::new, |met| met.parts);
        let (old, new) = (parts(old), parts(new));
        // A directory made up of the same layers is the same, and so is what is no directory in either.
        if old != new {
            self.enter(name, old, new, below)?;
        }
        Ok(())
    }

    fn enter(&mut self, name: &CStr, old: Vec<usize>, new: Vec<usize>, below: &[&[u8]]) -> Result<()> {
        let layers = Frame { old: old.clone(), new: new.clone(), left: Vec::new() }.layers();
        // When it vanished or turned into something else meanwhile, the change of it itself has been reported.
        if self.layers.enter(name, &layers)? { self.open_frame(old, new, below) } else { Ok(()) }
    }

    fn report(&mut self, name: &CStr, old: Option<&Met>, new: Option<&Met>) -> Result<()> {
        let side = |state, met: &Met| Side::of(&met.stat, self.arrangement.place_in(state, met.layer));
        let sides = (old.map(|met| side(State::Old, met)), new.map(|met| side(State::New, met)));
        let (status, content_changed) = match (old.zip(sides.0), new.zip(sides.1)) {
            (None, None) => return Ok(()),
            (None, Some(_)) => (Status::Added, true),
            (Some(_), None) => (Status::Deleted, true),
            (Some((_, old)), Some((_, new))) if old.kind != new.kind => (Status::TypeChanged, true),
            (Some((old_met, old)), Some((new_met, new))) => {
                let content_changed = match new.kind {
                    // The same file, in a layer that both have.
                    Kind::File | Kind::Symlink if old_met.layer == new_met.layer => false,
                    Kind::File | Kind::Symlink if old.size_bytes != new.size_bytes => true,
                    Kind::File => !self.is_same_content(name, old_met, new_met)?,
                    Kind::Symlink => !self.is_same_target(name, old_met, new_met)?,
                    Kind::Directory => false,
                    Kind::Other => old_met.stat.st_mode & 0o170_000 != new_met.stat.st_mode & 0o170_000,
                };
                // A link's mode means nothing.
                let mode_changed = new.kind != Kind::Symlink && old.mode != new.mode;
                if !content_changed && !mode_changed {
                    return Ok(());
                }
                (Status::Modified, content_changed)
            }
        };
        if self.changes.len() >= CHANGES_MAX {
            return Err(Error::limit(format!("more than {CHANGES_MAX} paths have changed; look at a part of them")));
        }
        let path = self.layers.path().join(name);
        self.paths_bytes += path.len();
        if self.paths_bytes > CHANGED_PATHS_BYTES_MAX {
            return Err(Error::limit(format!(
                "the names of what has changed come to more than {CHANGED_PATHS_BYTES_MAX} bytes; look at a part"
            )));
        }
        self.changes.push(Change {
            path,
            status,
            from: None,
            old: sides.0,
            new: sides.1,
            content_changed,
            added_lines: 0,
            removed_lines: 0,
            binary: false,
        });
        Ok(())
    }

    /// Whether two files of one size have the same content.
    fn is_same_content(&mut self, name: &CStr, old: &Met, new: &Met) -> Result<bool> {
        if (old.stat.st_dev, old.stat.st_ino) == (new.stat.st_dev, new.stat.st_ino) {
            return Ok(true);
        }
        let path = self.layers.path().join(name);
        let open = |met: &Met| content::open_regular_at(self.layers.here(met.layer), name, &path);
        // When one of them went meanwhile, what was met was different from what is.
        let (Some((old_file, _)), Some((new_file, _))) = (open(old)?, open(new)?) else { return Ok(false) };
        // Bounded by the size that was met, however the files grow.
        let size = content::size(&old.stat);
        self.content.is_same(old_file.as_fd(), new_file.as_fd(), size, &path, &mut self.progress, &mut *self.watch)
    }

    fn is_same_target(&self, name: &CStr, old: &Met, new: &Met) -> Result<bool> {
        let target = |met: &Met| fs::readlinkat(self.layers.here(met.layer), name, Vec::new());
        match (target(old), target(new)) {
            (Ok(old), Ok(new)) => Ok(old == new),
            (Err(Errno::NOENT | Errno::INVAL), _) | (_, Err(Errno::NOENT | Errno::INVAL)) => Ok(false),
            (Err(errno), _) | (_, Err(errno)) => Err(errno).naming(&self.layers.path().join(name), "read the link"),
        }
    }
}

#[cfg(test)]
pub(crate) mod tests;
