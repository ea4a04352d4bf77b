//! Copying a user's directory into a layer.
//!
//! The copy is whole or it is an error: the caller gives an empty directory and discards it on failure. The source is never written to, and
//! never followed out of: links are copied as links.
//!
//! # A source that is being written to
//!
//! A file that changes while it is copied is copied again, a few times; after that the import fails and names it, because a
//! torn file is worse than none. A file that vanishes is no failure, since a moment later it would not have been there at all (editors
//! and compilers make and rename temporary files all the time); but what it was renamed to must not be missed, so its directory is
//! listed again.

use std::collections::{HashMap, HashSet};
use std::ffi::{CStr, CString};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::Path;

use rustix::fs::{self, AtFlags, FileType, Mode, OFlags, Stat};
use rustix::io::Errno;

use crate::attributes;
use crate::beneath::{self, Descent, Entry, Mounts, RawKind, WalkPath};
use crate::error::{Error, ErrorKind, Naming, Result, shown};
use crate::limits::{
    CHUNK_BYTES, COPY_ATTEMPTS_MAX, HARD_LINKS_PENDING_MAX, LISTINGS_MAX, SKIPPED_NAME_BYTES_MAX, SKIPPED_NAMES_MAX,
};
use crate::writer::{self, Metadata};
use crate::{Owners, Progress, Watch};

/// Content up to this size goes through our own buffer: two calls, where `copy_file_range` sets up a pipe first.
const BUFFERED_BYTES_MAX: u64 = 128 * 1024;

/// What a seed brought along.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SeedReport {
    /// Files, directories and links, without the root of the tree.
    pub entry_count: u64,
    /// Bytes of file content, holes included.
    pub bytes: u64,
    /// What could not be brought along (sockets), by name; at most [`crate::limits::SKIPPED_NAMES_MAX`] of them.
    pub skipped: Vec<Vec<u8>>,
    /// How many could not be brought along.
    pub skipped_count: u64,
    /// Attributes (`user.*`, capabilities) that could not be brought along.
    pub attributes_left_behind: u64,
    /// Top-level names that tell how to build and test it, sorted.
    pub markers: Vec<String>,
}

impl SeedReport {
    pub(crate) fn skip(&mut self, path: Vec<u8>) {
        self.skipped_count += 1;
        if self.skipped.len() < SKIPPED_NAMES_MAX && path.len() <= SKIPPED_NAME_BYTES_MAX {
            self.skipped.push(path);
        }
    }

    pub(crate) fn progress(&self) -> Progress {
        Progress { entry_count: self.entry_count, bytes: self.bytes }
    }
}

/// Copies everything below `source` into the empty directory `destination`, which gets the source's own mode and time.
/// Everything belongs to the inside root afterwards. Other file systems mounted below the source are copied too.
///
/// # Errors
/// `Refused` for a device or for a source that contains the destination; `Changed`, `Full`, `Cancelled` or `System` as they say. The destination then holds
/// a part, to be discarded.
pub fn import_directory(source: &Path, destination: &Path, owners: Owners, watch: Watch<'_>) -> Result<SeedReport> {
    let from = beneath::open_root(source).naming(source.as_os_str().as_encoded_bytes(), "open the directory")?;
    let to = open_empty(destination)?;
    refuse_containing(&from, &to)?;
    let to_stat = fs::fstat(&to).naming(b"", "look at the destination")?;
    let to_root = to.try_clone().map_err(|error| Error::reading("cannot keep the destination open", error))?;
    let from_stat = fs::fstat(&from).naming(b"", "look at it")?;
    let entries = beneath::list(from.as_fd()).naming(b"", "list it")?;
    let mut copy = Copy {
        to_root,
        to_id: (to_stat.st_dev, to_stat.st_ino),
        from: Descent::new(from).naming(b"", "open it")?,
        to: Descent::new(to).naming(b"", "open the destination")?,
        path: WalkPath::default(),
        frames: vec![Frame { entries, next: 0, listings: 1, stat: from_stat, directory: 0 }],
        directories: vec![(0, CString::default())],
        links: HashMap::new(),
        report: SeedReport::default(),
        buffer: vec![0; usize::try_from(BUFFERED_BYTES_MAX).unwrap_or(CHUNK_BYTES)],
        names: Vec::new(),
        owners,
        watch,
    };
    copy.run()?;
    let mut report = copy.report;
    report.markers = crate::find_markers(destination)?;
    Ok(report)
}

/// Opens a directory that must be empty.
pub(crate) fn open_empty(destination: &Path) -> Result<OwnedFd> {
    let name = destination.as_os_str().as_encoded_bytes();
    let opened = beneath::open_root(destination).naming(name, "open the directory")?;
    if !beneath::list(opened.as_fd()).naming(name, "list it")?.is_empty() {
        return Err(Error::refused(name, "is not empty"));
    }
    Ok(opened)
}

/// Refuses a source that is the destination or has it somewhere below. The walk checks again, for bind mounts.
fn refuse_containing(from: &OwnedFd, to: &OwnedFd) -> Result<()> {
    let source = fs::fstat(from).naming(b"", "look at it")?;
    let mut stat = fs::fstat(to).naming(b"", "look at the destination")?;
    let mut at: Option<OwnedFd> = None;
    loop {
        if (stat.st_dev, stat.st_ino) == (source.st_dev, source.st_ino) {
            return Err(contains_destination());
        }
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let above = fs::openat(at.as_ref().unwrap_or(to), c"..", flags, Mode::empty()).naming(b"", "look above the destination")?;
        let above_stat = fs::fstat(&above).naming(b"", "look above the destination")?;
        if (above_stat.st_dev, above_stat.st_ino) == (stat.st_dev, stat.st_ino) {
            return Ok(());
        }
        stat = above_stat;
        at = Some(above);
    }
}

fn contains_destination() -> Error {
    Error::new(ErrorKind::Refused, "the directory contains the place where it would be copied to")
}

struct Copy<'a> {
    to_root: OwnedFd,
    to_id: (u64, u64),
    from: Descent,
    to: Descent,
    path: WalkPath,
    frames: Vec<Frame>,
    /// Every directory made so far: its parent and its name. Names the first of several hard links without keeping whole paths.
    directories: Vec<(usize, CString)>,
    links: HashMap<(u64, u64), PendingLink>,
    report: SeedReport,
    buffer: Vec<u8>,
    names: Vec<u8>,
    owners: Owners,
    watch: Watch<'a>,
}

/// One directory on the way down.
struct Frame {
    entries: Vec<Entry>,
    next: usize,
    listings: u32,
    stat: Stat,
    directory: usize,
}

/// A file with several names, some of them not met yet.
struct PendingLink {
    directory: usize,
    name: CString,
    left: usize,
}

/// What became of one name.
enum Found {
    Copied,
    Vanished,
}

impl Copy<'_> {
    fn run(&mut self) -> Result<()> {
        while let Some(frame) = self.frames.last_mut() {
            let Some(Entry { name, kind }) = frame.entries.get(frame.next).cloned() else {
                self.finish_directory()?;
                continue;
            };
            frame.next += 1;
            match self.copy_entry(&name, kind)? {
                Found::Copied => self.look_up()?,
                Found::Vanished => self.list_again(&name)?,
            }
        }
        Ok(())
    }

    fn look_up(&mut self) -> Result<()> {
        match (self.watch)(self.report.progress()) {
            std::ops::ControlFlow::Continue(()) => Ok(()),
            std::ops::ControlFlow::Break(()) => Err(Error::cancelled()),
        }
    }

    fn finish_directory(&mut self) -> Result<()> {
        let frame = self.frames.pop().expect("run looks at the last frame");
        self.report.attributes_left_behind +=
            attributes::copy(self.from.here(), self.to.here(), self.path.here(), self.owners, &mut self.names)?;
        Metadata::of(&frame.stat).apply(self.to.here(), self.path.here(), self.owners)?;
        if !self.frames.is_empty() {
            self.from.leave().map_err(|errno| self.moved(errno))?;
            self.to.leave().naming(self.path.here(), "go back up from the copy of it")?;
            self.path.leave();
        }
        Ok(())
    }

    fn moved(&self, errno: Errno) -> Error {
        match errno {
            Errno::STALE => Error::new(ErrorKind::Changed, format!("{} was moved while it was copied", shown(self.path.here()))),
            errno => Error::system(self.path.here(), "go back up from it", errno),
        }
    }

    /// Something vanished: what took its place is copied too.
    fn list_again(&mut self, name: &CStr) -> Result<()> {
        let entries = beneath::list(self.from.here()).naming(self.path.here(), "list it")?;
        let frame = self.frames.last_mut().expect("an entry has a directory");
        frame.listings += 1;
        if frame.listings > LISTINGS_MAX {
            let path = self.path.join(name);
            return Err(Error::new(
                ErrorKind::Changed,
                format!("{}: the directory around it keeps changing while it is copied", shown(&path)),
            ));
        }
        let known: HashSet<&CStr> = frame.entries.iter().map(|entry| entry.name.as_c_str()).collect();
        let new: Vec<Entry> = entries.iter().filter(|entry| !known.contains(entry.name.as_c_str())).cloned().collect();
        frame.entries.extend(new);
        Ok(())
    }

    fn copy_entry(&mut self, name: &CStr, mut kind: RawKind) -> Result<Found> {
        for _ in 0..COPY_ATTEMPTS_MAX {
            if kind == RawKind::Regular {
                match beneath::open_content(self.from.here(), name) {
                    Ok(file) => {
                        let stat = fs::fstat(&file).naming(&self.path.join(name), "look at it")?;
                        if FileType::from_raw_mode(stat.st_mode) == FileType::RegularFile {
                            return self.copy_file(name, &file, &stat);
                        }
                    }
                    Err(Errno::NOENT) => return Ok(Found::Vanished),
                    // It turned into a link or a socket meanwhile.
                    Err(Errno::LOOP | Errno::NXIO) => {}
                    Err(errno) => return Err(errno).naming(&self.path.join(name), "open it"),
                }
            }
            let stat = match beneath::stat(self.from.here(), name) {
                Err(Errno::NOENT) => return Ok(Found::Vanished),
                other => other.naming(&self.path.join(name), "look at it")?,
            };
            let path = self.path.join(name);
            let done = match FileType::from_raw_mode(stat.st_mode) {
                FileType::RegularFile => {
                    kind = RawKind::Regular;
                    continue;
                }
                FileType::Directory => self.enter(name),
                FileType::Symlink => self.copy_symlink(name, &path, &stat),
                FileType::Fifo => self.copy_fifo(name, &path, &stat),
                FileType::Socket => {
                    self.report.skip(path);
                    return Ok(Found::Copied);
                }
                FileType::CharacterDevice | FileType::BlockDevice => return Err(Error::refused(&path, "is a device")),
                FileType::Unknown => return Err(Error::refused(&path, "is of a type that is not known here")),
            };
            match done {
                Err(Attempt::Again) => {}
                Err(Attempt::Failed(error)) => return Err(error),
                Ok(found) => return Ok(found),
            }
        }
        Err(self.keeps_changing(name))
    }

    fn keeps_changing(&self, name: &CStr) -> Error {
        Error::new(ErrorKind::Changed, format!("{} keeps changing while it is copied", shown(&self.path.join(name))))
    }

    fn enter(&mut self, name: &CStr) -> std::result::Result<Found, Attempt> {
        let path = self.path.join(name);
        let stat = match self.from.enter(name, Mounts::Cross) {
            Ok(stat) => stat,
            Err(Errno::NOENT) => return Ok(Found::Vanished),
            Err(Errno::NOTDIR | Errno::LOOP) => return Err(Attempt::Again),
            Err(errno) => return Err(Error::system(&path, "open it", errno).into()),
        };
        if (stat.st_dev, stat.st_ino) == self.to_id {
            return Err(contains_destination().into());
        }
        writer::make_directory(self.to.here(), name, &path)?;
        self.to.enter(name, Mounts::Stay).naming(&path, "open the copy of it")?;
        self.path.enter(name);
        let entries = beneath::list(self.from.here()).naming(&path, "list it")?;
        let parent = self.frames.last().map_or(0, |frame| frame.directory);
        self.directories.push((parent, name.to_owned()));
        self.frames.push(Frame { entries, next: 0, listings: 1, stat, directory: self.directories.len() - 1 });
        self.report.entry_count += 1;
        Ok(Found::Copied)
    }

    fn copy_symlink(&mut self, name: &CStr, path: &[u8], stat: &Stat) -> std::result::Result<Found, Attempt> {
        if self.link_to_copy(name, path, stat)? {
            return Ok(Found::Copied);
        }
        let target = match fs::readlinkat(self.from.here(), name, Vec::new()) {
            Ok(target) => target,
            Err(Errno::NOENT) => return Ok(Found::Vanished),
            Err(Errno::INVAL) => return Err(Attempt::Again),
            Err(errno) => return Err(Error::system(path, "read the link", errno).into()),
        };
        writer::make_symlink(self.to.here(), name, &target, path, &Metadata::of(stat), self.owners)?;
        self.remember_link(name, path, stat)?;
        self.report.entry_count += 1;
        Ok(Found::Copied)
    }

    fn copy_fifo(&mut self, name: &CStr, path: &[u8], stat: &Stat) -> std::result::Result<Found, Attempt> {
        if !self.link_to_copy(name, path, stat)? {
            writer::make_fifo(self.to.here(), name, path, &Metadata::of(stat), self.owners)?;
            self.remember_link(name, path, stat)?;
            self.report.entry_count += 1;
        }
        Ok(Found::Copied)
    }

    fn copy_file(&mut self, name: &CStr, from: &OwnedFd, stat: &Stat) -> Result<Found> {
        let path = self.path.join(name);
        if self.link_to_copy(name, &path, stat)? {
            return Ok(Found::Copied);
        }
        let to = writer::make_file(self.to.here(), name, &path)?;
        let mut before = *stat;
        for attempt in 1.. {
            self.copy_content(from.as_fd(), to.as_fd(), &before, &path)?;
            let after = fs::fstat(from).naming(&path, "look at it")?;
            if stamp(&before) == stamp(&after) {
                break;
            }
            if attempt == COPY_ATTEMPTS_MAX {
                return Err(self.keeps_changing(name));
            }
            fs::ftruncate(&to, 0).naming(&path, "start again with it")?;
            before = after;
        }
        self.report.attributes_left_behind += attributes::copy(from.as_fd(), to.as_fd(), &path, self.owners, &mut self.names)?;
        Metadata::of(&before).apply(to.as_fd(), &path, self.owners)?;
        self.remember_link(name, &path, &before)?;
        self.report.entry_count += 1;
        self.report.bytes += size(&before);
        Ok(Found::Copied)
    }

    /// Another name of a file that has been copied already becomes another name of the copy.
    fn link_to_copy(&mut self, name: &CStr, path: &[u8], stat: &Stat) -> Result<bool> {
        if stat.st_nlink < 2 {
            return Ok(false);
        }
        let id = (stat.st_dev, stat.st_ino);
        let Some(link) = self.links.get_mut(&id) else { return Ok(false) };
        let mut names = Vec::new();
        let mut at = link.directory;
        while at != 0 {
            let (parent, name) = &self.directories[at];
            names.push(name.to_bytes());
            at = *parent;
        }
        names.reverse();
        let directory =
            beneath::open_beneath(&self.to_root, &names.join(&b'/'), OFlags::PATH | OFlags::DIRECTORY).naming(path, "link it")?;
        fs::linkat(&directory, &link.name, self.to.here(), name, AtFlags::empty()).naming(path, "link it")?;
        link.left -= 1;
        if link.left == 0 {
            self.links.remove(&id);
        }
        self.report.entry_count += 1;
        Ok(true)
    }

    fn remember_link(&mut self, name: &CStr, path: &[u8], stat: &Stat) -> Result<()> {
        if stat.st_nlink < 2 {
            return Ok(());
        }
        if self.links.len() >= HARD_LINKS_PENDING_MAX {
            return Err(Error::limit(format!(
                "{}: more than {HARD_LINKS_PENDING_MAX} files have other names outside the directory or not met yet",
                shown(path)
            )));
        }
        let directory = self.frames.last().map_or(0, |frame| frame.directory);
        let left = usize::try_from(stat.st_nlink).unwrap_or(usize::MAX) - 1;
        self.links.insert((stat.st_dev, stat.st_ino), PendingLink { directory, name: name.to_owned(), left });
        Ok(())
    }

    fn copy_content(&mut self, from: BorrowedFd<'_>, to: BorrowedFd<'_>, stat: &Stat, path: &[u8]) -> Result<()> {
        let size = size(stat);
        if crate::measure::blocks(stat) >= size {
            return self.copy_piece(from, to, 0, size, path);
        }
        // Holes. A file system that knows none of this says that all is data.
        let mut at = 0;
        while at < size {
            let data = match fs::seek(from, fs::SeekFrom::Data(at)) {
                Ok(data) => data.min(size),
                Err(Errno::NXIO) => break,
                Err(Errno::INVAL) => at,
                Err(errno) => return Err(errno).naming(path, "find its data"),
            };
            let hole = match fs::seek(from, fs::SeekFrom::Hole(data)) {
                Ok(hole) => hole.min(size),
                Err(Errno::INVAL | Errno::NXIO) => size,
                Err(errno) => return Err(errno).naming(path, "find its holes"),
            };
            if hole > data {
                self.copy_piece(from, to, data, hole - data, path)?;
            }
            at = hole.max(at + 1);
        }
        fs::ftruncate(to, size).naming(path, "set its size")
    }

    fn copy_piece(&mut self, from: BorrowedFd<'_>, to: BorrowedFd<'_>, start: u64, length: u64, path: &[u8]) -> Result<()> {
        let end = start + length;
        let mut at = start;
        let mut by_kernel = length > BUFFERED_BYTES_MAX;
        while at < end {
            let wanted = usize::try_from(end - at).unwrap_or(CHUNK_BYTES).min(CHUNK_BYTES);
            let copied = if by_kernel {
                let (mut from_offset, mut to_offset) = (at, at);
                match fs::copy_file_range(from, Some(&mut from_offset), to, Some(&mut to_offset), wanted) {
                    // The end, or a file system that does not do this and does not say so.
                    Ok(0) => {
                        by_kernel = false;
                        continue;
                    }
                    Ok(copied) => copied,
                    Err(Errno::INTR) => continue,
                    // Across file systems on older kernels, into files of FUSE, of proc: by hand.
                    Err(Errno::XDEV | Errno::NOSYS | Errno::OPNOTSUPP | Errno::INVAL | Errno::PERM) => {
                        by_kernel = false;
                        continue;
                    }
                    Err(errno) => return Err(errno).naming(path, "copy it"),
                }
            } else {
                let wanted = wanted.min(self.buffer.len());
                match rustix::io::pread(from, &mut self.buffer[..wanted], at) {
                    Ok(read) => {
                        writer::write_at(to, &self.buffer[..read], at, path)?;
                        read
                    }
                    Err(Errno::INTR) => continue,
                    Err(errno) => return Err(errno).naming(path, "read it"),
                }
            };
            if copied == 0 {
                // Shorter than it was a moment ago: the caller notices.
                return Ok(());
            }
            at += copied as u64;
            if end - start > CHUNK_BYTES as u64 {
                let so_far = Progress { entry_count: self.report.entry_count, bytes: self.report.bytes + (at - start) };
                if (self.watch)(so_far).is_break() {
                    return Err(Error::cancelled());
                }
            }
        }
        Ok(())
    }
}

/// Why an entry was not copied at this attempt.
enum Attempt {
    Again,
    Failed(Error),
}

impl From<Error> for Attempt {
    fn from(error: Error) -> Self {
        Self::Failed(error)
    }
}

fn size(stat: &Stat) -> u64 {
    u64::try_from(stat.st_size).unwrap_or(0)
}

/// What changes when a file's content does.
fn stamp(stat: &Stat) -> (i64, i64, u64, i64, u64) {
    (stat.st_size, stat.st_mtime, stat.st_mtime_nsec, stat.st_ctime, stat.st_ctime_nsec)
}

#[cfg(test)]
pub(crate) mod tests;
