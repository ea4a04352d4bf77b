//! Layers walked together: what a name means in a stack of them, and the way down and back up in all at once.
//!
//! # What a layer looks like
//!
//! A deletion is a character device 0:0, or an empty file with an `overlay.whiteout` attribute (written by tools). A directory whose
//! `overlay.opaque` is `y` hides what is below it. Attributes are read in the one spelling that the mount of the stack obeys ([`Marks`]): of the other
//! they are data, which anybody inside may have set to have more deleted in a comparison than is. Layers are assumed to be written with
//! `redirect_dir`, `metacopy` and `index` off, as everything of ours is mounted.
//!
//! The uppermost layer that has a name says what it is. A deletion ends the search; directories are put together downwards, up to one that is
//! opaque, a deletion, or something that is no directory. The root of a layer is never opaque: what is mounted is all of the layers.
//!
//! Any of the layers may be one that is written to at this moment. What vanishes between two looks counts as deleted.

use std::ffi::CStr;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::fs::{FileType, OFlags, Stat};
use rustix::io::Errno;

use crate::beneath::{self, Descent, Entry, Mounts, WalkPath};
use crate::error::{Error, ErrorKind, Naming, Result, shown};
use crate::limits::{OPEN_DIRECTORIES_IN_ALL_MAX, OPEN_DIRECTORIES_MAX};
use crate::marks::Marks;

/// Opened layers and one directory, which the walk is in as far as they have it.
pub(crate) struct Layers {
    descents: Vec<Descent>,
    marks: Marks,
    path: WalkPath,
}

/// What a stack has at a name.
#[derive(Clone)]
pub(crate) struct Met {
    /// The layer that says so.
    pub(crate) layer: usize,
    pub(crate) stat: Stat,
    /// Layers that make up a directory, uppermost first; none where it is something else.
    pub(crate) parts: Vec<usize>,
}

/// What one layer says about a name.
enum InLayer {
    Absent,
    Deleted,
    Present(Stat),
}

impl Layers {
    pub(crate) fn new(opened: Vec<OwnedFd>, marks: Marks) -> Result<Self> {
        let open_max = (OPEN_DIRECTORIES_IN_ALL_MAX / opened.len().max(1)).clamp(1, OPEN_DIRECTORIES_MAX);
        let descents = opened
            .into_iter()
            .map(|layer| Descent::holding(layer, open_max))
            .collect::<rustix::io::Result<_>>()
            .naming(b"", "open a layer")?;
        Ok(Self { descents, marks, path: WalkPath::default() })
    }

    /// Where the walk is.
    pub(crate) fn path(&self) -> &WalkPath {
        &self.path
    }

    /// The directory where the walk is, in a layer that has it.
    pub(crate) fn here(&self, layer: usize) -> BorrowedFd<'_> {
        self.descents[layer].here()
    }

    /// What one layer has in this directory, its deletions too.
    pub(crate) fn list(&self, layer: usize) -> Result<Vec<Entry>> {
        beneath::list(self.here(layer)).naming(self.path.here(), "list it")
    }

    /// What the layers of a stack that make up this directory together have at a name.
    pub(crate) fn find(&self, parts: &[usize], name: &CStr) -> Result<Option<Met>> {
        let mut found: Option<Met> = None;
        for (index, &layer) in parts.iter().enumerate() {
            let stat = match self.look(layer, name)? {
                InLayer::Absent => continue,
                InLayer::Deleted => break,
                InLayer::Present(stat) => stat,
            };
            let is_directory = FileType::from_raw_mode(stat.st_mode) == FileType::Directory;
            match &mut found {
                None if is_directory => found = Some(Met { layer, stat, parts: vec![layer] }),
                None => return Ok(Some(Met { layer, stat, parts: Vec::new() })),
                Some(met) if is_directory => met.parts.push(layer),
                Some(_) => break,
            }
            // Nothing is below the last.
            if index + 1 < parts.len() && self.hides(layer, name)? {
                break;
            }
        }
        Ok(found)
    }

    /// What one layer has at a name.
    fn look(&self, layer: usize, name: &CStr) -> Result<InLayer> {
        let directory = self.here(layer);
        let stat = match beneath::stat(directory, name) {
            Ok(stat) => stat,
            Err(Errno::NOENT) => return Ok(InLayer::Absent),
            Err(errno) => return Err(errno).naming(&self.path.join(name), "look at it"),
        };
        match self.marks.is_whiteout(directory, name, &stat) {
            Ok(true) | Err(Errno::NOENT) => Ok(InLayer::Deleted),
            // It turned into a link or a socket meanwhile, and was met as a file.
            Ok(false) | Err(Errno::LOOP | Errno::NXIO) => Ok(InLayer::Present(stat)),
            Err(errno) => Err(errno).naming(&self.path.join(name), "read an attribute"),
        }
    }

    /// Whether a directory of one layer hides what is below it. One that vanished left a deletion behind, which does too.
    fn hides(&self, layer: usize, name: &CStr) -> Result<bool> {
        match beneath::open_beneath(self.here(layer), name.to_bytes(), OFlags::RDONLY | OFlags::DIRECTORY) {
            Ok(opened) => self.marks.is_opaque(opened.as_fd()).naming(&self.path.join(name), "read an attribute"),
            Err(Errno::NOENT | Errno::NOTDIR | Errno::LOOP) => Ok(true),
            Err(errno) => Err(errno).naming(&self.path.join(name), "open it"),
        }
    }

    /// Goes into a directory in the layers that have it; `false`, and nothing done, when one of them has it no more.
    pub(crate) fn enter(&mut self, name: &CStr, layers: &[usize]) -> Result<bool> {
        for (count, &layer) in layers.iter().enumerate() {
            if let Err(errno) = self.descents[layer].enter(name, Mounts::Cross) {
                for &layer in &layers[..count] {
                    self.descents[layer].leave().map_err(|errno| self.moved(errno))?;
                }
                return match errno {
                    Errno::NOENT | Errno::NOTDIR | Errno::LOOP => Ok(false),
                    errno => Err(errno).naming(&self.path.join(name), "open it"),
                };
            }
        }
        self.path.enter(name);
        Ok(true)
    }

    /// Goes back up in the layers that were entered.
    pub(crate) fn leave(&mut self, layers: &[usize]) -> Result<()> {
        for &layer in layers {
            self.descents[layer].leave().map_err(|errno| self.moved(errno))?;
        }
        self.path.leave();
        Ok(())
    }

    fn moved(&self, errno: Errno) -> Error {
        match errno {
            Errno::STALE => Error::new(ErrorKind::Changed, format!("{} was moved while it was compared", shown(self.path.here()))),
            errno => Error::system(self.path.here(), "go back up from it", errno),
        }
    }
}
