//! Copying the content of one file into another: by sharing blocks, by the kernel, or by hand; holes stay holes.
//!
//! It may not assume that the file holds still: whoever calls it compares [`stamp`]s before and after.

use std::os::fd::BorrowedFd;

use rustix::fs::{self, Stat};
use rustix::io::Errno;

use crate::error::{Error, Naming, Result};
use crate::limits::CHUNK_BYTES;
use crate::writer;
use crate::{Progress, Watch};

/// Content up to this size goes through our own buffer: two calls, where `copy_file_range` sets up a pipe first.
const BUFFERED_BYTES_MAX: u64 = 128 * 1024;

/// Files from this size on share their blocks with their copies where the file system can do that. For one or a few blocks the
/// bookkeeping takes as much as it saves.
const CLONED_BYTES_MIN: u64 = 16 * 1024;

/// Copies contents, and remembers what did not work.
pub(crate) struct Content {
    buffer: Vec<u8>,
    /// The file system whose files could not share their blocks with the copies.
    not_cloned_from: Option<u64>,
}

impl Content {
    pub(crate) fn new() -> Self {
        Self { buffer: vec![0; usize::try_from(BUFFERED_BYTES_MAX).unwrap_or(CHUNK_BYTES)], not_cloned_from: None }
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
        let mut by_kernel = end - start > BUFFERED_BYTES_MAX;
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
                let now = Progress { entry_count: so_far.entry_count, bytes: so_far.bytes + (at - start) };
                if watch(now).is_break() {
                    return Err(Error::cancelled());
                }
            }
        }
        Ok(())
    }

    /// Whether two files have the same content, as far as `size` says. The view may be read by others meanwhile, and is.
    pub(crate) fn is_same(
        &mut self,
        left: BorrowedFd<'_>,
        right: BorrowedFd<'_>,
        size: u64,
        path: &[u8],
        so_far: Progress,
        watch: Watch<'_>,
    ) -> Result<bool> {
        let half = self.buffer.len() / 2;
        let mut at = 0;
        while at < size {
            let (one, other) = self.buffer.split_at_mut(half);
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
            if size > CHUNK_BYTES as u64 && watch(Progress { bytes: so_far.bytes + at, ..so_far }).is_break() {
                return Err(Error::cancelled());
            }
        }
        Ok(true)
    }
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

/// Fills a buffer from a place of a file, less only at its end.
fn read_full(file: BorrowedFd<'_>, buffer: &mut [u8], offset: u64) -> rustix::io::Result<usize> {
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

pub(crate) fn size(stat: &Stat) -> u64 {
    u64::try_from(stat.st_size).unwrap_or(0)
}

/// What changes when a file's content does.
pub(crate) fn stamp(stat: &Stat) -> (i64, i64, u64, i64, u64) {
    (stat.st_size, stat.st_mtime, stat.st_mtime_nsec, stat.st_ctime, stat.st_ctime_nsec)
}
