//! Listing a directory. Output begins before the whole tree was read.

use std::ops::ControlFlow;

use pyro_layer::{ErrorKind, Kind, Listed};
use pyro_wire::limits::PATH_BYTES_MAX;
use pyro_wire::message::{Entry, EntryKind, FileStep, List};
use pyro_wire::{Bytes, FromAgent};
use rustix::fs::{Mode, OFlags};
use rustix::io::Errno;

use super::batch::{Batch, json_bytes};
use super::{Failure, Reply, at};

/// Answers a listing. A directory that cannot be opened (it is gone, or not ours to read) is listed and has nothing below it.
pub fn list(reply: &Reply, request: &List) -> Result<FromAgent, Failure> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NONBLOCK | OFlags::CLOEXEC;
    let top = rustix::fs::open(request.path.as_str(), flags, Mode::empty()).map_err(|error| match error {
        Errno::NOTDIR if rustix::fs::stat(request.path.as_str()).is_ok() => at(FileStep::NotADirectory)(error),
        error => at(FileStep::Open)(error),
    })?;
    let mut batch = Batch::new(reply, FromAgent::Entries);
    let mut failed = None;
    let mut tell = |listed| match push(&mut batch, listed) {
        Ok(()) => ControlFlow::Continue(()),
        Err(failure) => {
            failed = Some(failure);
            ControlFlow::Break(())
        }
    };
    let mut watch = |_| if reply.is_cancelled() { ControlFlow::Break(()) } else { ControlFlow::Continue(()) };
    let listed = pyro_layer::list(top, request.depth, request.entries_max as usize, &mut tell, &mut watch);
    if let Some(failure) = failed {
        return Err(failure);
    }
    listed.map_err(|error| match error.kind() {
        ErrorKind::Cancelled => Failure::Cancelled,
        _ => at(FileStep::Read)(error.raw_os_error().map_or(Errno::IO, Errno::from_raw_os_error)),
    })?;
    batch.flush()?;
    Ok(FromAgent::Done)
}

fn push(batch: &mut Batch<'_, Entry>, listed: Listed) -> Result<(), Failure> {
    if listed.path.len() > PATH_BYTES_MAX {
        return Err(at(FileStep::Read)(Errno::NAMETOOLONG));
    }
    let entry = Entry {
        path: Bytes::from(listed.path),
        kind: match listed.kind {
            Kind::File => EntryKind::File,
            Kind::Directory => EntryKind::Directory,
            Kind::Symlink => EntryKind::Symlink,
            Kind::Other => EntryKind::Other,
        },
        size_bytes: listed.size_bytes,
        mode: listed.mode,
        modified_s: listed.modified_s,
        target: listed.target.map(Bytes::from),
    };
    let json_bytes = json_bytes(std::iter::once(&entry.path).chain(&entry.target));
    batch.push(entry, json_bytes)
}
