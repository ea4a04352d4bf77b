//! The content of files that belong to somebody else, who may be writing to them: opened so that nothing blocks and no link is followed, then read,
//! compared, and copied within the size that was met: by sharing blocks, by the kernel, or by hand; holes stay holes.
//!
//! It may not assume that a file holds still: whoever copies one compares [`stamp`]s before and after.

use std::ffi::{CStr, CString};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::fs::{self, FileType, OFlags, Stat};
use rustix::io::Errno;

use crate::beneath;
use crate::error::{Error, Naming, Result};
use crate::limits::CHUNK_BYTES;
use crate::writer;
use crate::{Progress, Watch};

/// Content up to this size goes through our own buffer: two calls, where `copy_file_range` sets up a pipe first. Of two files that are compared as
/// much of each is read at once: few calls, and both pieces stay in a processor's cache.
const BUFFERED_BYTES_MAX: usize = 128 * 1024;

/// Files from this size on share their blocks with their copies where the file system can do that. For one or a few blocks the
/// bookkeeping takes as much as it saves.
const CLONED_BYTES_MIN: u64 = 16 * 1024;

pub(crate) fn size(stat: &Stat) -> u64 {
    u64::try_from(stat.st_size).unwrap_or(0)
}

/// What changes when a file's content does.
pub(crate) fn stamp(stat: &Stat) -> (i64, i64, u64, i64, u64) {
    (stat.st_size, stat.st_mtime, stat.st_mtime_nsec, stat.st_ctime, stat.st_ctime_nsec)
}

/// Opens a regular file beneath a directory; `None` when there is none.
pub(crate) fn open_regular(root: BorrowedFd<'_>, path: &[u8]) -> Result<Option<(OwnedFd, Stat)>> {
    only_regular(beneath::open_beneath(root, path, OFlags::RDONLY | OFlags::NONBLOCK | OFlags::NOCTTY), path)
}

/// The same for one name of a directory; `path` is where that is in its tree.
pub(crate) fn open_regular_at(directory: BorrowedFd<'_>, name: &CStr, path: &[u8]) -> Result<Option<(OwnedFd, Stat)>> {
    only_regular(beneath::open_content(directory, name), path)
}

fn only_regular(opened: rustix::io::Result<OwnedFd>, path: &[u8]) -> Result<Option<(OwnedFd, Stat)>> {
    let file = match opened {
        Ok(file) => file,
        Err(Errno::NOENT | Errno::NOTDIR | Errno::LOOP | Errno::NXIO) => return Ok(None),
        Err(errno) => return Err(errno).naming(path, "open it"),
    };
    let stat = fs::fstat(&file).naming(path, "look at it")?;
    Ok((FileType::from_raw_mode(stat.st_mode) == FileType::RegularFile).then_some((file, stat)))
}

/// Where a link beneath a directory leads; `None` when there is no link.
pub(crate) fn read_target(root: BorrowedFd<'_>, path: &[u8]) -> Result<Option<CString>> {
    let (above, name) = beneath::split(path);
    let target = beneath::open_beneath(root, above, OFlags::PATH | OFlags::DIRECTORY)
        .and_then(|directory| fs::readlinkat(&directory, name, Vec::new()));
    match target {
        Ok(target) => Ok(Some(target)),
        Err(Errno::NOENT | Errno::INVAL | Errno::NOTDIR | Errno::LOOP) => Ok(None),
        Err(errno) => Err(errno).naming(path, "read the link"),
    }
}

/// Content as text: what has no NUL byte and is valid UTF-8. Anything else comes back as it was.
pub(crate) fn text(bytes: Vec<u8>) -> std::result::Result<String, Vec<u8>> {
    if bytes.contains(&0) { Err(bytes) } else { String::from_utf8(bytes).map_err(std::string::FromUtf8Error::into_bytes) }
}

/// The first bytes of a file, fewer where it is shorter.
pub(crate) fn read(file: &OwnedFd, bytes: u64, path: &[u8]) -> Result<Vec<u8>> {
    let mut content = vec![0; usize::try_from(bytes).unwrap_or(usize::MAX)];
    let count = read_full(file, &mut content, 0).naming(path, "read it")?;
    content.truncate(count);
    Ok(content)
}

/// Fills a buffer from a place of a file, less only at its end.
pub(crate) fn read_full(file: impl AsFd, buffer: &mut [u8], offset: u64) -> rustix::io::Result<usize> {
    let mut filled = 0;
    while filled < buffer.len() {
        match rustix::io::pread(&file, &mut buffer[filled..], offset + filled as u64) {
            Ok(0) => break,
            Ok(count) => filled += count,
            Err(Errno::INTR) => {}
            Err(errno) => return Err(errno),
        }
    }
    Ok(filled)
}

/// Where a file has data from `at` on: its start and its end, both at most `size`. A file system that knows no holes says that all is data.
pub(crate) fn next_data(file: BorrowedFd<'_>, at: u64, size: u64) -> rustix::io::Result<Option<(u64, u64)>> {
    if at >= size {
        return Ok(None);
    }
    let data = match fs::seek(file, fs::SeekFrom::Data(at)) {
        Ok(data) => data,
        Err(Errno::NXIO) => return Ok(None),
        Err(Errno::INVAL) => at,
        Err(errno) => return Err(errno),
    };
    if data >= size {
        return Ok(None);
    }
    match fs::seek(file, fs::SeekFrom::Hole(data)) {
        // A hole where data was a moment ago must not keep us here.
        Ok(hole) => Ok(Some((data, hole.clamp(data + 1, size)))),
        Err(Errno::INVAL | Errno::NXIO) => Ok(Some((data, size))),
        Err(errno) => Err(errno),
    }
}

/// Copies and compares contents, and remembers what did not work.
pub(crate) struct Content {
    buffer: Vec<u8>,
    /// The file system whose files could not share their blocks with the copies.
    not_cloned_from: Option<u64>,
}

impl Content {
    pub(crate) fn new() -> Self {
        Self { buffer: vec![0; 2 * BUFFERED_BYTES_MAX], not_cloned_from: None }
    }

    /// Copies the content of a file as long as `stat` says into an empty one. `so_far` is what had been done before.
    pub(crate) fn copy(
        &mut self,
        from: BorrowedFd<'_>,
        to: BorrowedFd<'_>,
        stat: &Stat,
        path: &[u8],
        so_far: Progress,
        watch: Watch<'_>,
    ) -> Result<()> {
        let size = size(stat);
        if size >= CLONED_BYTES_MIN && self.clones(from, to, stat, path)? {
            return Ok(());
        }
        if crate::measure::blocks(stat) >= size {
            return self.piece(from, to, (0, size), path, so_far, watch);
        }
        let mut at = 0;
        while let Some((data, hole)) = next_data(from, at, size).naming(path, "find its data")? {
            self.piece(from, to, (data, hole), path, so_far, &mut *watch)?;
            at = hole;
        }
        fs::ftruncate(to, size).naming(path, "set its size")
    }

    fn clones(&mut self, from: BorrowedFd<'_>, to: BorrowedFd<'_>, stat: &Stat, path: &[u8]) -> Result<bool> {
        if self.not_cloned_from == Some(stat.st_dev) {
            return Ok(false);
        }
        match fs::ioctl_ficlone(to, from) {
            Ok(()) => Ok(true),
            Err(errno @ (Errno::NOSPC | Errno::DQUOT)) => Err(errno).naming(path, "copy it"),
            // Another file system, or one that cannot do it.
            Err(Errno::XDEV | Errno::OPNOTSUPP | Errno::NOTTY | Errno::NOSYS) => {
                self.not_cloned_from = Some(stat.st_dev);
                Ok(false)
            }
            // This file cannot: it is encrypted, in use as swap, and the like.
            Err(_) => Ok(false),
        }
    }

    fn piece(
        &mut self,
        from: BorrowedFd<'_>,
        to: BorrowedFd<'_>,
        (start, end): (u64, u64),
        path: &[u8],
        so_far: Progress,
        watch: Watch<'_>,
    ) -> Result<()> {
        let mut at = start;
        let mut by_kernel = end - start > BUFFERED_BYTES_MAX as u64;
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
                let wanted = wanted.min(BUFFERED_BYTES_MAX);
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
            // Pieces count from the start of the file, whose holes are done too.
            if end > CHUNK_BYTES as u64 && watch(Progress { bytes: so_far.bytes + at, ..so_far }).is_break() {
                return Err(Error::cancelled());
            }
        }
        Ok(())
    }

    /// Whether two files have the same content, as far as `size`. What has been compared is added to `progress`.
    pub(crate) fn is_same(
        &mut self,
        left: BorrowedFd<'_>,
        right: BorrowedFd<'_>,
        size: u64,
        path: &[u8],
        progress: &mut Progress,
        watch: Watch<'_>,
    ) -> Result<bool> {
        let mut at = 0;
        while at < size {
            let (one, other) = self.buffer.split_at_mut(BUFFERED_BYTES_MAX);
            let one_count = read_full(left, one, at).naming(path, "read it")?;
            let other_count = read_full(right, other, at).naming(path, "read it")?;
            if one[..one_count] != other[..other_count] {
                return Ok(false);
            }
            if one_count == 0 {
                // Both are shorter than they were.
                break;
            }
            at += one_count as u64;
            progress.bytes += one_count as u64;
            if size > CHUNK_BYTES as u64 && watch(*progress).is_break() {
                return Err(Error::cancelled());
            }
        }
        Ok(true)
    }
}
