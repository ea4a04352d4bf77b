//! Copying a file with its holes: a blank disk of many GiB is a few MiB of data.

use std::fs::{self, File};
use std::io;
use std::os::unix::fs::{FileExt as _, OpenOptionsExt as _};
use std::path::Path;

use rustix::fs::SeekFrom;
use rustix::io::Errno;

/// How much is copied at a time where the kernel cannot copy between the two files itself.
const CHUNK_BYTES: usize = 128 * 1024;

/// Copies a file to a new one that only its owner can read and write (0600). Only data is copied; holes stay holes, and the length stays.
///
/// # Errors
/// `AlreadyExists` when `to` is there; those of the disk. Whatever the error, nothing new is left.
pub fn copy_sparse(from: &Path, to: &Path) -> io::Result<()> {
    let from = File::open(from)?;
    let copy = File::options().write(true).create_new(true).mode(0o600).open(to)?;
    let copied = copy_data(&from, &copy);
    if copied.is_err() {
        let _ = fs::remove_file(to);
    }
    copied
}

fn copy_data(from: &File, to: &File) -> io::Result<()> {
    let length = from.metadata()?.len();
    to.set_len(length)?;
    let mut at = 0;
    while at < length {
        // lseek(2), SEEK_DATA: a file system that knows no holes says that all is data; ENXIO: only a hole is left.
        let start = match rustix::fs::seek(from, SeekFrom::Data(at)) {
            Ok(start) => start,
            Err(Errno::NXIO) => return Ok(()),
            Err(error) => return Err(error.into()),
        };
        let end = rustix::fs::seek(from, SeekFrom::Hole(start))?.min(length);
        copy_range(from, to, start, end)?;
        at = end;
    }
    Ok(())
}

fn copy_range(from: &File, to: &File, start: u64, end: u64) -> io::Result<()> {
    let (mut source, mut target) = (start, start);
    while source < end {
        let wanted = usize::try_from(end - source).unwrap_or(usize::MAX);
        match rustix::fs::copy_file_range(from, Some(&mut source), to, Some(&mut target), wanted) {
            // It has become shorter, which whoever gave it to us promised not to do.
            Ok(0) => return Err(io::ErrorKind::UnexpectedEof.into()),
            Ok(_) | Err(Errno::INTR) => {}
            // Two file systems, or one that cannot: copy_file_range(2).
            Err(Errno::XDEV | Errno::INVAL | Errno::NOSYS | Errno::OPNOTSUPP) => return copy_through_memory(from, to, source, end),
            Err(error) => return Err(error.into()),
        }
    }
    Ok(())
}

fn copy_through_memory(from: &File, to: &File, mut at: u64, end: u64) -> io::Result<()> {
    let mut buffer = vec![0; CHUNK_BYTES];
    while at < end {
        let wanted = usize::try_from(end - at).unwrap_or(usize::MAX).min(CHUNK_BYTES);
        let chunk = &mut buffer[..wanted];
        from.read_exact_at(chunk, at)?;
        to.write_all_at(chunk, at)?;
        at += wanted as u64;
    }
    Ok(())
}
