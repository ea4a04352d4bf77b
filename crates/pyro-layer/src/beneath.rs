//! Walking and opening beneath a directory: only by descriptors, never through a symbolic link, never by recursion, with a fixed number of
//! descriptors however deep the tree is.
//!
//! It may not assume that the tree holds still: a workload may be moving it while we walk.

use std::ffi::{CStr, CString};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::Path;

use rustix::fs::{self, AtFlags, FileType, Mode, OFlags, RawDir, ResolveFlags, Stat};
use rustix::io::{Errno, Result};

use crate::limits::{DEPTH_MAX, OPEN_DIRECTORIES_MAX, PATH_BYTES_MAX};

/// How directories are opened for walking.
const DIRECTORY: OFlags = OFlags::RDONLY.union(OFlags::DIRECTORY).union(OFlags::NOFOLLOW).union(OFlags::CLOEXEC);

/// Space for the names that one call lists: some two hundred of usual length.
const LISTING_BYTES: usize = 8 * 1024;

/// One name of a directory.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Entry {
    pub(crate) name: CString,
    /// `Unknown` on file systems that do not say.
    pub(crate) kind: RawKind,
}

/// A directory entry's type as the file system gives it, in an order that does not matter.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum RawKind {
    Directory,
    Regular,
    Other,
    Unknown,
}

/// Opens the root of a tree that the caller names. The last component may be a link: the caller chose it.
pub(crate) fn open_root(path: &Path) -> Result<OwnedFd> {
    fs::open(path, OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty())
}

/// All names of a directory but `.` and `..`, in no particular order.
pub(crate) fn list(directory: BorrowedFd<'_>) -> Result<Vec<Entry>> {
    let mut entries = Vec::new();
    let mut buffer = [MaybeUninit::uninit(); LISTING_BYTES];
    // Whoever has listed it before us has left it at its end.
    fs::seek(directory, fs::SeekFrom::Start(0))?;
    let mut stream = RawDir::new(directory, &mut buffer);
    while let Some(entry) = stream.next() {
        let entry = entry?;
        let name = entry.file_name();
        if name.to_bytes() == b"." || name.to_bytes() == b".." {
            continue;
        }
        let kind = match entry.file_type() {
            FileType::Directory => RawKind::Directory,
            FileType::RegularFile => RawKind::Regular,
            FileType::Unknown => RawKind::Unknown,
            _ => RawKind::Other,
        };
        entries.push(Entry { name: name.to_owned(), kind });
    }
    Ok(entries)
}

/// What a name is, without following it.
pub(crate) fn stat(directory: impl AsFd, name: &CStr) -> Result<Stat> {
    fs::statat(directory, name, AtFlags::SYMLINK_NOFOLLOW)
}

/// Opens something for reading its content. A name that turned into a FIFO or a device meanwhile does not block us; the caller looks at
/// what it got with `fstat` before reading.
pub(crate) fn open_content(directory: impl AsFd, name: &CStr) -> Result<OwnedFd> {
    fs::openat(
        directory,
        name,
        OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::NOCTTY | OFlags::CLOEXEC,
        Mode::empty(),
    )
}

/// Opens a path beneath a directory, through real directories only. Paths longer than the kernel takes are opened in pieces.
pub(crate) fn open_beneath(root: impl AsFd, path: &[u8], flags: OFlags) -> Result<OwnedFd> {
    let mut rest = path;
    let mut held: Option<OwnedFd> = None;
    while rest.len() >= PATH_BYTES_MAX {
        let cut = rest[..PATH_BYTES_MAX - 1].iter().rposition(|byte| *byte == b'/').ok_or(Errno::NAMETOOLONG)?;
        let piece = &rest[..cut];
        let next = open_piece(held.as_ref().map_or(root.as_fd(), |fd| fd.as_fd()), piece, OFlags::PATH | OFlags::DIRECTORY)?;
        held = Some(next);
        rest = &rest[cut + 1..];
    }
    let from = held.as_ref().map_or(root.as_fd(), |fd| fd.as_fd());
    open_piece(from, if rest.is_empty() { b"." } else { rest }, flags)
}

fn open_piece(from: BorrowedFd<'_>, piece: &[u8], flags: OFlags) -> Result<OwnedFd> {
    loop {
        // openat2 is in Linux 5.6 and later, older than everything else that a sandbox needs.
        let opened = fs::openat2(
            from,
            piece,
            flags | OFlags::CLOEXEC | OFlags::NOFOLLOW,
            Mode::empty(),
            ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS | ResolveFlags::NO_MAGICLINKS,
        );
        // EAGAIN: something was renamed meanwhile and the kernel cannot tell that we stayed beneath; EINTR as ever.
        match opened {
            Err(Errno::AGAIN | Errno::INTR) => {}
            other => return other,
        }
    }
}

/// A path as what is above it, empty for the root, and its last name.
pub(crate) fn split(path: &[u8]) -> (&[u8], &[u8]) {
    match path.iter().rposition(|byte| *byte == b'/') {
        Some(slash) => (&path[..slash], &path[slash + 1..]),
        None => (&path[..0], path),
    }
}

/// A name as the kernel takes it.
pub(crate) fn c_name(name: &[u8]) -> Result<CString> {
    CString::new(name).map_err(|_| Errno::INVAL)
}

/// Where a walk is: the chain of directories from the root of a tree down to one directory.
///
/// Only the deepest few are open. Going back up to one that was closed reopens it by `..` and checks that it is the same directory:
/// when the tree was moved meanwhile that is an error (`ESTALE`), never another directory.
#[derive(Debug)]
pub(crate) struct Descent {
    levels: Vec<Level>,
    /// How many of the deepest levels are open, one at least; the root is besides.
    open_max: usize,
}

#[derive(Debug)]
struct Level {
    open: Option<OwnedFd>,
    device: u64,
    inode: u64,
}

/// Whether a walk may go into a directory that is the root of another mount.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Mounts {
    /// It may: whoever made the mounts wants them to be one tree.
    Cross,
    /// It may not.
    #[default]
    Stay,
}

impl Descent {
    pub(crate) fn new(root: OwnedFd) -> Result<Self> {
        Self::holding(root, OPEN_DIRECTORIES_MAX)
    }

    /// A walk that holds fewer directories open, one at least besides the root.
    pub(crate) fn holding(root: OwnedFd, open_max: usize) -> Result<Self> {
        let stat = fs::fstat(&root)?;
        let levels = vec![Level { open: Some(root), device: stat.st_dev, inode: stat.st_ino }];
        Ok(Self { levels, open_max: open_max.max(1) })
    }

    /// Directories below the root.
    pub(crate) fn depth(&self) -> usize {
        self.levels.len() - 1
    }

    /// The directory where the walk is.
    pub(crate) fn here(&self) -> BorrowedFd<'_> {
        self.levels.last().and_then(|level| level.open.as_ref()).expect("enter and leave keep the deepest level open").as_fd()
    }

    /// Goes into a directory and tells what it is.
    pub(crate) fn enter(&mut self, name: &CStr, mounts: Mounts) -> Result<Stat> {
        if self.levels.len() > DEPTH_MAX {
            return Err(Errno::NAMETOOLONG);
        }
        let opened = match mounts {
            Mounts::Cross => fs::openat(self.here(), name, DIRECTORY, Mode::empty())?,
            Mounts::Stay => fs::openat2(
                self.here(),
                name,
                DIRECTORY,
                Mode::empty(),
                ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS | ResolveFlags::NO_MAGICLINKS | ResolveFlags::NO_XDEV,
            )?,
        };
        let stat = fs::fstat(&opened)?;
        self.levels.push(Level { open: Some(opened), device: stat.st_dev, inode: stat.st_ino });
        if let Some(far) = self.levels.len().checked_sub(self.open_max + 1)
            && far > 0
        {
            // The root stays open: it is where a walk can always be named from.
            self.levels[far].open = None;
        }
        Ok(stat)
    }

    /// Goes back up.
    pub(crate) fn leave(&mut self) -> Result<()> {
        assert!(self.levels.len() > 1, "a walk does not leave its root");
        let parent = &self.levels[self.levels.len() - 2];
        if parent.open.is_none() {
            let reopened = fs::openat(self.here(), c"..", DIRECTORY, Mode::empty())?;
            let stat = fs::fstat(&reopened)?;
            if (stat.st_dev, stat.st_ino) != (parent.device, parent.inode) {
                return Err(Errno::STALE);
            }
            let at = self.levels.len() - 2;
            self.levels[at].open = Some(reopened);
        }
        self.levels.pop();
        Ok(())
    }
}

/// A path below the root of a tree, grown and shrunk with a walk. The root is the empty path.
#[derive(Clone, Debug, Default)]
pub(crate) struct WalkPath {
    bytes: Vec<u8>,
    ends: Vec<usize>,
}

impl WalkPath {
    pub(crate) fn enter(&mut self, name: &CStr) {
        self.ends.push(self.bytes.len());
        if !self.bytes.is_empty() {
            self.bytes.push(b'/');
        }
        self.bytes.extend_from_slice(name.to_bytes());
    }

    pub(crate) fn leave(&mut self) {
        let end = self.ends.pop().expect("a walk leaves what it entered");
        self.bytes.truncate(end);
    }

    pub(crate) fn here(&self) -> &[u8] {
        &self.bytes
    }

    pub(crate) fn join(&self, name: &CStr) -> Vec<u8> {
        let mut joined = Vec::with_capacity(self.bytes.len() + 1 + name.to_bytes().len());
        joined.extend_from_slice(&self.bytes);
        if !joined.is_empty() {
            joined.push(b'/');
        }
        joined.extend_from_slice(name.to_bytes());
        joined
    }
}
