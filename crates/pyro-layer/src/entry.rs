//! Copying single entries of a tree: whatever is no directory, and a directory's own metadata. What is taken over, and as what, follows
//! from what the copy is for ([`Purpose`]).
//!
//! It may assume that nobody else writes where the copy is made. Where the original is, anybody may: a file that changes while it is copied is
//! copied again, and what it gives is never half of one and half of the other.

use std::ffi::CStr;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::fs::{self, FileType, Stat};
use rustix::io::Errno;

use crate::attributes::{self, Fate};
use crate::beneath::{self, RawKind, WalkPath};
use crate::content::{Content, size, stamp};
use crate::error::{Error, ErrorKind, Naming, Result, shown};
use crate::limits::{COPY_ATTEMPTS_MAX, SKIPPED_NAME_BYTES_MAX, SKIPPED_NAMES_MAX};
use crate::links::Links;
use crate::marks::{Marks, Whiteouts};
use crate::writer::{self, Metadata};
use crate::{Owners, Progress, Watch};

/// What a copy is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Purpose {
    /// What a user has becomes a part of a layer, and belongs to the inside root.
    Seed(Owners),
    /// A layer becomes another that says the same.
    Layer,
    /// Several layers become one that says the same. Whoever makes it marks its directories anew.
    Squash(Marks),
    /// Some of what a stack of layers shows becomes a part of another layer. It keeps its owners, and what it says about layers below is not
    /// taken over.
    Shown(Owners, Marks),
    /// What an enemy may have written becomes the caller's own, outside.
    Export(ExportedLinks),
}

impl Purpose {
    /// What an entry is given besides content and attributes.
    pub(crate) fn metadata(self, stat: &Stat) -> Metadata {
        let mut metadata = Metadata::of(stat);
        match self {
            Self::Seed(_) => {}
            Self::Layer | Self::Squash(_) | Self::Shown(..) => metadata.owner = Some((stat.st_uid, stat.st_gid)),
            // Set-id bits give away the rights of whoever owns the copy, and that is the caller. Sticky means something on directories only.
            Self::Export(_) => metadata.mode &= if is_directory(stat) { 0o1777 } else { 0o777 },
        }
        metadata
    }

    fn owners(self) -> Owners {
        match self {
            Self::Seed(owners) | Self::Shown(owners, _) => owners,
            Self::Layer | Self::Squash(_) => Owners::Canonical,
            Self::Export(_) => Owners::CallerOnly,
        }
    }

    fn fate(self, attribute: &[u8], is_directory: bool) -> Fate {
        match self {
            Self::Shown(_, marks) if marks.is_mark(attribute) => Fate::Dropped,
            Self::Shown(owners, _) => attributes::in_shown(attribute, owners),
            Self::Seed(owners) => attributes::in_seed(attribute, owners),
            Self::Squash(marks) if is_directory && marks.is_directory_mark(attribute) => Fate::Dropped,
            Self::Layer | Self::Squash(_) => attributes::in_layer(attribute, is_directory),
            Self::Export(_) => attributes::in_seed(attribute, Owners::CallerOnly),
        }
    }
}

/// Which symbolic links leave.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum ExportedLinks {
    /// All, as they are.
    #[default]
    AsTheyAre,
    /// Only those that cannot lead out of what is exported: not absolute, `..` only at the start of their target and no more of
    /// them than there are directories above. A `..` after a name is refused too, because that name may be a link itself.
    InsideOnly,
}

/// Names for a report: a limited number of them, and how many there were.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Names {
    pub(crate) kept: Vec<Vec<u8>>,
    pub(crate) count: u64,
}

impl Names {
    pub(crate) fn add(&mut self, path: Vec<u8>) {
        self.count += 1;
        if self.kept.len() < SKIPPED_NAMES_MAX && path.len() <= SKIPPED_NAME_BYTES_MAX {
            self.kept.push(path);
        }
    }
}

/// What has been copied.
#[derive(Clone, Debug, Default)]
pub(crate) struct Tally {
    pub(crate) entry_count: u64,
    pub(crate) bytes: u64,
    /// What cannot be in such a copy.
    pub(crate) skipped: Names,
    /// Links that [`ExportedLinks::InsideOnly`] keeps back.
    pub(crate) links_left_out: Names,
    pub(crate) attributes_left_behind: u64,
}

impl Tally {
    pub(crate) fn progress(&self) -> Progress {
        Progress { entry_count: self.entry_count, bytes: self.bytes }
    }
}

/// What became of one name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Found {
    /// It has been copied.
    Copied,
    /// It cannot be in such a copy; the tally names it.
    LeftOut,
    /// It is not there any more.
    Vanished,
    /// It is a directory, for the walk to enter.
    Directory,
}

/// Copies entries into one tree.
pub(crate) struct Copier<'a> {
    pub(crate) purpose: Purpose,
    pub(crate) links: Links,
    pub(crate) tally: Tally,
    pub(crate) content: Content,
    pub(crate) whiteouts: Whiteouts,
    /// The root of the copy.
    root: OwnedFd,
    names: Vec<u8>,
    pub(crate) watch: Watch<'a>,
}

impl<'a> Copier<'a> {
    /// `root` is that of the tree that the copies are made in.
    pub(crate) fn new(root: BorrowedFd<'_>, purpose: Purpose, watch: Watch<'a>) -> Result<Self> {
        Ok(Self {
            purpose,
            links: Links::new(),
            tally: Tally::default(),
            content: Content::new(),
            whiteouts: Whiteouts::default(),
            root: root.try_clone_to_owned().map_err(|error| Error::reading("cannot keep the destination open", error))?,
            names: Vec::new(),
            watch,
        })
    }

    pub(crate) fn look_up(&mut self) -> Result<()> {
        match (self.watch)(self.tally.progress()) {
            std::ops::ControlFlow::Continue(()) => Ok(()),
            std::ops::ControlFlow::Break(()) => Err(Error::cancelled()),
        }
    }

    /// Copies what is at `name` of one directory to the same name of another, which has nothing there. `at` is where the directories are in
    /// the tree.
    pub(crate) fn copy(
        &mut self,
        from: BorrowedFd<'_>,
        to: BorrowedFd<'_>,
        name: &CStr,
        mut kind: RawKind,
        at: &WalkPath,
    ) -> Result<Found> {
        for _ in 0..COPY_ATTEMPTS_MAX {
            if kind == RawKind::Regular {
                match beneath::open_content(from, name) {
                    Ok(file) => {
                        let stat = fs::fstat(&file).naming(&at.join(name), "look at it")?;
                        if FileType::from_raw_mode(stat.st_mode) == FileType::RegularFile {
                            return self.copy_file(to, name, &file, &stat, &at.join(name));
                        }
                    }
                    Err(Errno::NOENT) => return Ok(Found::Vanished),
                    // It turned into a link or a socket meanwhile.
                    Err(Errno::LOOP | Errno::NXIO) => {}
                    Err(errno) => return Err(errno).naming(&at.join(name), "open it"),
                }
            }
            let stat = match beneath::stat(from, name) {
                Err(Errno::NOENT) => return Ok(Found::Vanished),
                other => other.naming(&at.join(name), "look at it")?,
            };
            let path = at.join(name);
            match FileType::from_raw_mode(stat.st_mode) {
                FileType::RegularFile => kind = RawKind::Regular,
                FileType::Directory => return Ok(Found::Directory),
                FileType::Symlink => match fs::readlinkat(from, name, Vec::new()) {
                    Ok(target) => return self.copy_symlink(to, name, &target, &path, &stat),
                    Err(Errno::NOENT) => return Ok(Found::Vanished),
                    // It turned into something else meanwhile.
                    Err(Errno::INVAL) => {}
                    Err(errno) => return Err(errno).naming(&path, "read the link"),
                },
                kind => return self.copy_special(to, name, &path, &stat, kind),
            }
        }
        Err(keeps_changing(&at.join(name)))
    }

    /// Gives the copy of a file or directory everything but its content. What is made in a directory afterwards inherits its default access list.
    pub(crate) fn finish(&mut self, from: BorrowedFd<'_>, to: BorrowedFd<'_>, stat: &Stat, path: &[u8]) -> Result<()> {
        self.finish_as(self.purpose, from, to, stat, path)
    }

    /// The same for what is copied for another purpose than the rest.
    pub(crate) fn finish_as(
        &mut self,
        purpose: Purpose,
        from: BorrowedFd<'_>,
        to: BorrowedFd<'_>,
        stat: &Stat,
        path: &[u8],
    ) -> Result<()> {
        let metadata = purpose.metadata(stat);
        // Before the attributes: a change of owner takes capabilities away.
        metadata.give_owner(to, path, purpose.owners())?;
        let is_directory = is_directory(stat);
        let fate = |name: &[u8]| purpose.fate(name, is_directory);
        self.tally.attributes_left_behind += attributes::copy(from, to, path, fate, &mut self.names)?;
        metadata.give_mode_and_time(to, path)
    }

    /// A link whose target has been read.
    pub(crate) fn copy_symlink(
        &mut self,
        to: BorrowedFd<'_>,
        name: &CStr,
        target: &CStr,
        path: &[u8],
        stat: &Stat,
    ) -> Result<Found> {
        if self.purpose == Purpose::Export(ExportedLinks::InsideOnly) && !stays_inside(path, target.to_bytes()) {
            self.tally.links_left_out.add(path.to_owned());
            return Ok(Found::LeftOut);
        }
        if !self.link_to_copy(to, name, path, stat)? {
            writer::make_symlink(to, name, target, path, &self.purpose.metadata(stat), self.purpose.owners())?;
            self.made(name, path, stat)?;
        }
        Ok(Found::Copied)
    }

    /// FIFOs, sockets and devices.
    pub(crate) fn copy_special(
        &mut self,
        to: BorrowedFd<'_>,
        name: &CStr,
        path: &[u8],
        stat: &Stat,
        kind: FileType,
    ) -> Result<Found> {
        match (kind, self.purpose) {
            (FileType::CharacterDevice, Purpose::Layer | Purpose::Squash(_)) if stat.st_rdev == 0 => {
                self.whiteouts.make(to, name, path)?;
                self.tally.entry_count += 1;
                return Ok(Found::Copied);
            }
            (FileType::Fifo, Purpose::Seed(_) | Purpose::Layer | Purpose::Squash(_) | Purpose::Shown(..))
            | (FileType::Socket, Purpose::Layer | Purpose::Squash(_)) => {}
            (FileType::Socket, Purpose::Seed(_))
            | (FileType::Socket | FileType::CharacterDevice | FileType::BlockDevice, Purpose::Shown(..) | Purpose::Export(_))
            | (FileType::Fifo, Purpose::Export(_)) => {
                self.tally.skipped.add(path.to_owned());
                return Ok(Found::LeftOut);
            }
            (FileType::CharacterDevice | FileType::BlockDevice, Purpose::Seed(_) | Purpose::Layer | Purpose::Squash(_)) => {
                return Err(Error::refused(path, "is a device"));
            }
            _ => return Err(Error::refused(path, "is of a type that is not known here")),
        }
        if !self.link_to_copy(to, name, path, stat)? {
            writer::make_special(to, name, kind, path, &self.purpose.metadata(stat), self.purpose.owners())?;
            self.made(name, path, stat)?;
        }
        Ok(Found::Copied)
    }

    /// A regular file that has been opened.
    pub(crate) fn copy_file(&mut self, to: BorrowedFd<'_>, name: &CStr, from: &OwnedFd, stat: &Stat, path: &[u8]) -> Result<Found> {
        if self.link_to_copy(to, name, path, stat)? {
            return Ok(Found::Copied);
        }
        let to = writer::make_file(to, name, path)?;
        let mut before = *stat;
        for attempt in 1.. {
            self.content.copy(from.as_fd(), to.as_fd(), &before, path, self.tally.progress(), &mut *self.watch)?;
            let after = fs::fstat(from).naming(path, "look at it")?;
            if stamp(&before) == stamp(&after) {
                break;
            }
            if attempt == COPY_ATTEMPTS_MAX {
                return Err(keeps_changing(path));
            }
            fs::ftruncate(&to, 0).naming(path, "start again with it")?;
            before = after;
        }
        self.finish(from.as_fd(), to.as_fd(), &before, path)?;
        self.made(name, path, &before)?;
        self.tally.bytes += size(&before);
        Ok(Found::Copied)
    }

    /// Another name of a file that has been copied already becomes another name of the copy.
    fn link_to_copy(&mut self, to: BorrowedFd<'_>, name: &CStr, path: &[u8], stat: &Stat) -> Result<bool> {
        let linked = self.links.link(self.root.as_fd(), to, name, path, stat)?;
        self.tally.entry_count += u64::from(linked);
        Ok(linked)
    }

    fn made(&mut self, name: &CStr, path: &[u8], stat: &Stat) -> Result<()> {
        self.links.remember(name, path, stat)?;
        self.tally.entry_count += 1;
        Ok(())
    }
}

pub(crate) fn is_directory(stat: &Stat) -> bool {
    FileType::from_raw_mode(stat.st_mode) == FileType::Directory
}

pub(crate) fn keeps_changing(path: &[u8]) -> Error {
    Error::new(ErrorKind::Changed, format!("{} keeps changing while it is copied", shown(path)))
}

/// Whether a link cannot lead out of the tree that it is in, where every other link of it cannot either: see [`ExportedLinks::InsideOnly`].
pub(crate) fn stays_inside(path: &[u8], target: &[u8]) -> bool {
    if target.starts_with(b"/") {
        return false;
    }
    let mut above = path.iter().filter(|byte| **byte == b'/').count();
    let mut named = false;
    for part in target.split(|byte| *byte == b'/') {
        match part {
            b"" | b"." => {}
            b".." if named || above == 0 => return false,
            b".." => above -= 1,
            _ => named = true,
        }
    }
    true
}
