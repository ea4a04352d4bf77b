//! Listing a directory. Output begins before the whole tree was read, unless only some names of it count.

use std::collections::BTreeSet;
use std::ffi::{CString, OsStr};
use std::ops::ControlFlow;
use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use pyro_layer::{ErrorKind, Kind};
use pyro_sys::beneath::Mounts;
use pyro_wire::limits::{ENTRIES_COUNTED_MAX, MODE_MAX, PATH_BYTES_MAX};
use pyro_wire::message::{Entry, EntryKind, FileStep, List, Listed};
use pyro_wire::search::path_order;
use pyro_wire::{Bytes, FromAgent};
use rustix::fs::{FileType, Mode, OFlags};
use rustix::io::Errno;

use super::batch::{Batch, json_bytes};
use super::walk::{Met, Rules, Visit, walk};
use super::{Failure, Reply, at};

/// Answers a listing. A directory that cannot be opened (it is gone, or not ours to read) is listed and has nothing below it.
pub fn list(reply: &Reply, request: &List) -> Result<FromAgent, Failure> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NONBLOCK | OFlags::CLOEXEC;
    let top = rustix::fs::open(request.path.as_str(), flags, Mode::empty()).map_err(|error| match error {
        Errno::NOTDIR if rustix::fs::stat(request.path.as_str()).is_ok() => at(FileStep::NotADirectory)(error),
        error => at(FileStep::Open)(error),
    })?;
    let rules = Rules::of(&request.selection, request.path.as_str()).map_err(|_| at(FileStep::BadGlob)(Errno::INVAL))?;
    let mut batch = Batch::new(reply, FromAgent::Entries);
    let selection = &request.selection;
    let listed = if selection.globs.is_empty() && selection.hidden && selection.ignored {
        all(reply, top, request, rules, &mut batch)?
    } else {
        some(reply, top, request, rules, &mut batch)?
    };
    batch.flush()?;
    Ok(FromAgent::Listed(listed))
}

/// Tells entries as they are found, and counts when there are more than are told.
fn all(reply: &Reply, top: OwnedFd, request: &List, rules: Rules, batch: &mut Batch<'_, Entry>) -> Result<Listed, Failure> {
    let again = top.try_clone().map_err(|error| at(FileStep::Open)(Errno::from_io_error(&error).unwrap_or(Errno::MFILE)))?;
    let mut failed = None;
    let mut told = 0;
    let mut tell = |found| match push(batch, found) {
        Ok(()) => {
            told += 1;
            ControlFlow::Continue(())
        }
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
    if told < u64::from(request.entries_max) {
        return Ok(Listed { total: told, more: false });
    }
    let over = Arc::new(AtomicBool::new(false));
    let total = Arc::new(AtomicU64::new(0));
    let new = || Counting { total: Arc::clone(&total), over: Arc::clone(&over) };
    walk(reply, again, rules, request.depth, Mounts::Enter, &over, new)?;
    Ok(counted(total.load(Ordering::Relaxed).max(told)))
}

/// Finds all that count and tells the first of them.
fn some(reply: &Reply, top: OwnedFd, request: &List, rules: Rules, batch: &mut Batch<'_, Entry>) -> Result<Listed, Failure> {
    let again = top.try_clone().map_err(|error| at(FileStep::Open)(Errno::from_io_error(&error).unwrap_or(Errno::MFILE)))?;
    let limit = request.entries_max as usize;
    let over = Arc::new(AtomicBool::new(false));
    let found = Arc::new(Mutex::new(First { paths: BTreeSet::new(), total: 0 }));
    let new = || Finding { mine: First { paths: BTreeSet::new(), total: 0 }, limit, all: Arc::clone(&found) };
    walk(reply, again, rules, request.depth, Mounts::Enter, &over, new)?;
    let First { paths, total } = std::mem::take(&mut *found.lock().unwrap_or_else(PoisonError::into_inner));
    for path in paths {
        // The order's bytes are the path's, but for its slashes.
        let path: Vec<u8> = path.into_iter().map(|byte| if byte == 0 { b'/' } else { byte }).collect();
        if reply.is_cancelled() {
            return Err(Failure::Cancelled);
        }
        if let Some(listed) = look_at(&top, path) {
            push(batch, listed)?;
        }
    }
    Ok(counted(total))
}

fn counted(total: u64) -> Listed {
    Listed { total: total.min(ENTRIES_COUNTED_MAX), more: total > ENTRIES_COUNTED_MAX }
}

/// What has a path now; `None` when it is gone.
fn look_at(top: &OwnedFd, path: Vec<u8>) -> Option<pyro_layer::Listed> {
    let place = pyro_sys::beneath::entry(top, Path::new(OsStr::from_bytes(&path)), Mounts::Enter).ok()?;
    let stat = rustix::fs::fstat(&place).ok()?;
    let kind = match FileType::from_raw_mode(stat.st_mode) {
        FileType::RegularFile => Kind::File,
        FileType::Directory => Kind::Directory,
        FileType::Symlink => Kind::Symlink,
        _ => Kind::Other,
    };
    let target = (kind == Kind::Symlink).then(|| rustix::fs::readlinkat(&place, "", Vec::new()).ok()).flatten();
    Some(pyro_layer::Listed {
        path,
        kind,
        size_bytes: if kind == Kind::File { u64::try_from(stat.st_size).unwrap_or(0) } else { 0 },
        mode: stat.st_mode & MODE_MAX,
        modified_s: stat.st_mtime,
        target: target.map(CString::into_bytes),
    })
}

/// Counts entries, as far as they are counted.
struct Counting {
    total: Arc<AtomicU64>,
    over: Arc<AtomicBool>,
}

impl Visit for Counting {
    fn meet(&mut self, _: &Met<'_>) {
        if self.total.fetch_add(1, Ordering::Relaxed) >= ENTRIES_COUNTED_MAX {
            self.over.store(true, Ordering::Relaxed);
        }
    }
    fn miss(&mut self) {}
    fn finish(self) {}
}

/// The first paths in their order, and how many there are.
#[derive(Default)]
struct First {
    paths: BTreeSet<Vec<u8>>,
    total: u64,
}

impl First {
    fn add(&mut self, path: Vec<u8>, limit: usize) {
        self.paths.insert(path);
        if self.paths.len() > limit {
            self.paths.pop_last();
        }
    }
}

/// What one thread finds.
struct Finding {
    mine: First,
    limit: usize,
    all: Arc<Mutex<First>>,
}

impl Visit for Finding {
    fn meet(&mut self, met: &Met<'_>) {
        self.mine.total += 1;
        self.mine.add(path_order(met.path).collect(), self.limit);
    }
    fn miss(&mut self) {}
    fn finish(self) {
        let mut all = self.all.lock().unwrap_or_else(PoisonError::into_inner);
        all.total += self.mine.total;
        for path in self.mine.paths {
            all.add(path, self.limit);
        }
    }
}

fn push(batch: &mut Batch<'_, Entry>, listed: pyro_layer::Listed) -> Result<(), Failure> {
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
