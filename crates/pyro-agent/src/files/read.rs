//! Reading part of a regular file.

use std::os::fd::OwnedFd;

use pyro_wire::FromAgent;
use pyro_wire::limits::{FRAME_PAYLOAD_BYTES_MAX, READ_ENTRIES_MAX};
use pyro_wire::message::{FileInfo, FileStep, List, Part, Read, Selection};
use rustix::fs::{FileType, Mode, OFlags, Stat};
use rustix::io::Errno;

use super::list::list;
use super::{Failure, Reply, at, lines};

/// Opens a regular file for reading, following links. Anything else is refused before it is opened: opening alone can wait (a FIFO) or do
/// something (a device). Should it be exchanged in between, `O_NONBLOCK` keeps us from waiting and it is refused after all.
pub fn open_regular(path: &str) -> Result<(OwnedFd, Stat), Failure> {
    refuse_irregular(&rustix::fs::stat(path).map_err(at(FileStep::Open))?)?;
    let flags = OFlags::RDONLY | OFlags::NONBLOCK | OFlags::NOCTTY | OFlags::CLOEXEC;
    let file = rustix::fs::open(path, flags, Mode::empty()).map_err(at(FileStep::Open))?;
    let stat = rustix::fs::fstat(&file).map_err(at(FileStep::Open))?;
    refuse_irregular(&stat)?;
    Ok((file, stat))
}

/// Only regular files have content that ends.
pub fn refuse_irregular(stat: &Stat) -> Result<(), Failure> {
    match FileType::from_raw_mode(stat.st_mode) {
        FileType::RegularFile => Ok(()),
        FileType::Directory => Err(at(FileStep::NotAFile)(Errno::ISDIR)),
        _ => Err(at(FileStep::NotAFile)(Errno::INVAL)),
    }
}

/// Answers a read; of a directory, what is in it. The size is told first; the content may be shorter (it shrank) and, in /proc, longer.
pub fn read(reply: &Reply, request: &Read) -> Result<FromAgent, Failure> {
    let (file, stat) = match open_regular(request.path.as_str()) {
        Err(failure) if failure == at(FileStep::NotAFile)(Errno::ISDIR) => {
            let selection = Selection { hidden: true, ignored: true, ..Selection::default() };
            return list(reply, &List { path: request.path.clone(), depth: 1, entries_max: READ_ENTRIES_MAX, selection });
        }
        opened => opened?,
    };
    reply.send(&FromAgent::FileInfo(FileInfo {
        size_bytes: u64::try_from(stat.st_size).unwrap_or(0),
        mode: stat.st_mode & pyro_wire::limits::MODE_MAX,
    }))?;
    let mut offset = match request.part {
        Part::From(offset) => offset,
        Part::Lines { .. } | Part::LastLines(_) => return lines::read(reply, &file, request),
    };
    let mut left = request.bytes_max;
    let mut buffer = Vec::new();
    while left > 0 && !reply.is_cancelled() {
        let want = usize::try_from(left).unwrap_or(usize::MAX).min(FRAME_PAYLOAD_BYTES_MAX);
        buffer.resize(want, 0);
        // Linux refuses offsets above i64::MAX; such a file cannot exist, so there is nothing at that offset.
        let bytes = match rustix::io::pread(&file, &mut buffer, offset) {
            Ok(bytes) => bytes,
            Err(Errno::INTR) => continue,
            Err(Errno::INVAL | Errno::OVERFLOW) if i64::try_from(offset).is_err() => 0,
            Err(error) => return Err(at(FileStep::Read)(error)),
        };
        if bytes == 0 {
            break;
        }
        reply.send_content(&buffer[..bytes])?;
        offset = offset.saturating_add(bytes as u64);
        left -= bytes as u64;
    }
    if left > 0 && reply.is_cancelled() { Err(Failure::Cancelled) } else { Ok(FromAgent::Done) }
}
