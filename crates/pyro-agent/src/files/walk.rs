//! Walking a tree with several threads, for whoever looks at every file of it.
//!
//! The tree is the inside's, and may be changed while we walk: every directory is opened by its path beneath the first one, through no symbolic link,
//! and files are for the visitor to open by descriptor and name. What waits to be walked is bounded. Threads are not waited for once
//! the request was taken back: they see it at their next look and end by themselves.

use std::ffi::{CStr, OsStr};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};

use ignore::overrides::{Override, OverrideBuilder};
use pyro_layer::IgnoreRules;
use pyro_sys::beneath::Mounts;
use pyro_wire::limits::PATH_BYTES_MAX;
use pyro_wire::message::{FileStep, Selection};
use rustix::fs::{AtFlags, FileType, Mode, OFlags, RawDir, ResolveFlags};
use rustix::io::Errno;

use super::{Failure, Reply, Task, at};

/// Threads of one walk. What they wait for is mostly the kernel; more of them gain nothing that could be measured.
const THREADS_MAX: usize = 8;

/// Stack of each. An engine for regular expressions keeps its memory elsewhere, but calls deep while it compiles. What is not used costs nothing.
const STACK_BYTES: usize = 2 * 1024 * 1024;

/// Directories that wait to be walked. A hundred bytes each; real trees walked depth first have hundreds.
const DIRECTORIES_WAITING_MAX: usize = 200_000;

/// Names that are handed to another thread together.
const CHUNK_NAMES: usize = 64;

/// What one call of getdents64(2) fills.
const NAMES_BYTES: usize = 32 * 1024;

/// Which names of a tree count.
pub struct Rules {
    globs: Override,
    hidden: bool,
    /// Of the directories above the tree; `None` when ignore files do not count.
    above: Option<IgnoreRules>,
}

impl Rules {
    /// Those of a tree that begins at `top`; or why a glob is none, in one line.
    pub fn of(selection: &Selection, top: &str) -> Result<Self, String> {
        let mut globs = OverrideBuilder::new("");
        for glob in &selection.globs {
            globs.add(glob).map_err(|error| error.to_string())?;
        }
        Ok(Self {
            globs: globs.build().map_err(|error| error.to_string())?,
            hidden: selection.hidden,
            above: (!selection.ignored).then(|| IgnoreRules::above(Path::new(top))),
        })
    }

    /// Whether a name counts, and for a directory whether what is in it may.
    fn say(&self, path: &[u8], name: &[u8], is_directory: bool, ignore: &IgnoreRules) -> Said {
        let found = self.globs.matched(Path::new(OsStr::from_bytes(path)), is_directory);
        // A glob that names something counts for more than what is left out by habit: as ripgrep has it.
        if found.is_whitelist() {
            return Said::Counts;
        }
        if found.is_ignore() || (!self.hidden && name.starts_with(b".")) || ignore.is_ignored(path, is_directory) {
            return Said::LeftOut;
        }
        if is_directory && self.globs.num_whitelists() > 0 { Said::OnlyBelow } else { Said::Counts }
    }
}

/// What the rules say of a name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Said {
    Counts,
    /// It is a directory that does not count itself.
    OnlyBelow,
    LeftOut,
}

/// Something that counts.
pub struct Met<'a> {
    /// The directory that it is in.
    pub directory: BorrowedFd<'a>,
    /// Its name there.
    pub name: &'a CStr,
    /// Its path from the top of the walk.
    pub path: &'a [u8],
    /// What it was when its directory was read.
    pub kind: FileType,
}

/// What one thread of a walk does with what it meets.
pub trait Visit: Send + 'static {
    /// Something that counts. Directories come before what is in them, and otherwise there is no order.
    fn meet(&mut self, met: &Met<'_>);
    /// Something could not be looked at.
    fn miss(&mut self);
    /// The walk is over.
    fn finish(self);
}

/// A walk as its threads share it.
struct Walk {
    top: OwnedFd,
    rules: Rules,
    depth_max: u32,
    mounts: Mounts,
    waiting: Mutex<Waiting>,
    changed: Condvar,
    over: Arc<AtomicBool>,
}

#[derive(Default)]
struct Waiting {
    /// Before any directory: then no more directories are open than there are threads.
    chunks: Vec<Chunk>,
    /// The deepest last.
    directories: Vec<Directory>,
    /// Threads that have something to do.
    busy: usize,
    threads: usize,
}

/// A directory that is still to be read.
struct Directory {
    path: Vec<u8>,
    /// 1 for what is in the top.
    depth: u32,
    around: IgnoreRules,
}

/// Some names of a directory.
struct Chunk {
    directory: Arc<OwnedFd>,
    path: Arc<[u8]>,
    /// Each with its NUL.
    names: Vec<u8>,
    kinds: Vec<FileType>,
}

enum Job {
    Chunk(Chunk),
    Directory(Directory),
}

/// Walks `depth_max` levels below `top`, into other mounts or not, and lets visitors made by `make` see what counts there, each on a thread of its own. `over` becomes true when the request
/// is taken back: a visitor that works for long looks at it.
pub fn walk<V: Visit>(
    reply: &Reply,
    top: OwnedFd,
    rules: Rules,
    depth_max: u32,
    mounts: Mounts,
    over: &Arc<AtomicBool>,
    mut make: impl FnMut() -> V,
) -> Result<(), Failure> {
    let around = rules.above.clone().unwrap_or_default();
    let first = Directory { path: Vec::new(), depth: 1, around };
    let waiting = Mutex::new(Waiting { directories: vec![first], ..Waiting::default() });
    let walk = Arc::new(Walk { top, rules, depth_max, mounts, waiting, changed: Condvar::new(), over: Arc::clone(over) });
    let wanted = std::thread::available_parallelism().map_or(1, usize::from).min(THREADS_MAX);
    // Before any begins: the first could be through when the next is started.
    walk.waiting().threads = wanted;
    let shared = Arc::clone(&walk);
    let waited = apart(reply, over, wanted, || {
        let (walk, visitor) = (Arc::clone(&shared), make());
        move || walk.work(visitor)
    });
    // Under the lock, or one of them could go to sleep just after.
    drop(walk.waiting());
    walk.changed.notify_all();
    waited
}

/// Does work on threads of its own and waits until all have ended, or the request is taken back: then `over` is true, and they end when they see it.
pub fn apart<W: FnOnce() + Send + 'static>(
    reply: &Reply,
    over: &AtomicBool,
    threads: usize,
    mut work: impl FnMut() -> W,
) -> Result<(), Failure> {
    let alive = Arc::new(());
    for index in 0..threads {
        let working = Working { alive: Some(Arc::clone(&alive)), task: Arc::clone(&reply.task) };
        let work = work();
        let started = std::thread::Builder::new().stack_size(STACK_BYTES).spawn(move || {
            let _working = working;
            work();
        });
        match started {
            Ok(_detached) => {}
            // Some do the work of more.
            Err(_) if index > 0 => break,
            Err(error) => return Err(at(FileStep::Open)(Errno::from_io_error(&error).unwrap_or(Errno::AGAIN))),
        }
    }
    let waited = reply.task.wait_for(|_| (Arc::strong_count(&alive) == 1).then_some(()));
    over.store(true, Ordering::Relaxed);
    waited
}

/// While it is there, a thread works for a request.
struct Working {
    alive: Option<Arc<()>>,
    task: Arc<Task>,
}

impl Drop for Working {
    fn drop(&mut self) {
        self.alive = None;
        // The request's own thread waits there.
        self.task.change(|_| ());
    }
}

impl Walk {
    fn waiting(&self) -> MutexGuard<'_, Waiting> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn is_over(&self) -> bool {
        self.over.load(Ordering::Relaxed)
    }

    fn work(&self, mut visitor: impl Visit) {
        let mut path = Vec::new();
        let mut names = vec![MaybeUninit::uninit(); NAMES_BYTES];
        while let Some(job) = self.next() {
            // Also when a visitor panics, which is our mistake: the others must not wait for this one.
            let _busy = Busy(self);
            match job {
                Job::Chunk(chunk) => self.meet_all(&chunk, &mut path, &mut visitor),
                Job::Directory(directory) => {
                    if self.read(&directory, &mut names, &mut path, &mut visitor).is_err() {
                        visitor.miss();
                    }
                }
            }
        }
        if !self.is_over() {
            visitor.finish();
        }
    }

    fn next(&self) -> Option<Job> {
        let mut waiting = self.waiting();
        loop {
            if self.is_over() {
                return None;
            }
            let job = waiting.chunks.pop().map(Job::Chunk).or_else(|| waiting.directories.pop().map(Job::Directory));
            if let Some(job) = job {
                waiting.busy += 1;
                return Some(job);
            }
            if waiting.busy == 0 {
                return None;
            }
            waiting = self.changed.wait(waiting).unwrap_or_else(PoisonError::into_inner);
        }
    }

    /// Reads a directory: what is below it waits, and its files are met here or by threads that have nothing to do.
    fn read(
        &self,
        directory: &Directory,
        buffer: &mut [MaybeUninit<u8>],
        path: &mut Vec<u8>,
        visitor: &mut impl Visit,
    ) -> Result<(), Errno> {
        let opened = match self.open(&directory.path) {
            Ok(opened) => Arc::new(opened),
            // Another mount; or it is gone, or something else now.
            Err(Errno::XDEV | Errno::NOENT | Errno::NOTDIR | Errno::LOOP) => return Ok(()),
            Err(error) => return Err(error),
        };
        let around = match &self.rules.above {
            Some(_) => directory.around.within(opened.as_fd(), &directory.path),
            None => IgnoreRules::default(),
        };
        let base: Arc<[u8]> = Arc::from(directory.path.as_slice());
        let chunk = || Chunk { directory: Arc::clone(&opened), path: Arc::clone(&base), names: Vec::new(), kinds: Vec::new() };
        let mut files = chunk();
        let mut below = Vec::new();
        let mut entries = RawDir::new(&opened, buffer);
        while let Some(entry) = entries.next() {
            let entry = entry?;
            let name = entry.file_name();
            if matches!(name.to_bytes(), b"." | b"..") {
                continue;
            }
            let kind = match entry.file_type() {
                FileType::Unknown => match rustix::fs::statat(&opened, name, AtFlags::SYMLINK_NOFOLLOW) {
                    Ok(stat) => FileType::from_raw_mode(stat.st_mode),
                    Err(_) => continue,
                },
                kind => kind,
            };
            join(path, &directory.path, name.to_bytes());
            let said = self.rules.say(path, name.to_bytes(), kind == FileType::Directory, &around);
            if said == Said::LeftOut {
                continue;
            }
            if path.len() > PATH_BYTES_MAX {
                visitor.miss();
                continue;
            }
            if kind == FileType::Directory {
                if said == Said::Counts {
                    visitor.meet(&Met { directory: opened.as_fd(), name, path, kind });
                }
                if directory.depth < self.depth_max {
                    below.push(Directory { path: path.clone(), depth: directory.depth + 1, around: around.clone() });
                }
                continue;
            }
            files.names.extend_from_slice(name.to_bytes_with_nul());
            files.kinds.push(kind);
            if files.kinds.len() == CHUNK_NAMES {
                let full = std::mem::replace(&mut files, chunk());
                if let Some(kept) = self.hand_over(full) {
                    self.meet_all(&kept, path, visitor);
                }
            }
            if self.is_over() {
                return Ok(());
            }
        }
        self.add(below, visitor);
        self.meet_all(&files, path, visitor);
        Ok(())
    }

    fn open(&self, path: &[u8]) -> Result<OwnedFd, Errno> {
        let mut resolve = ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS | ResolveFlags::NO_MAGICLINKS;
        if self.mounts == Mounts::Stay {
            resolve |= ResolveFlags::NO_XDEV;
        }
        let path: &[u8] = if path.is_empty() { b"." } else { path };
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NONBLOCK | OFlags::CLOEXEC;
        loop {
            match rustix::fs::openat2(&self.top, path, flags, Mode::empty(), resolve) {
                // Something was renamed at that moment.
                Err(Errno::AGAIN | Errno::INTR) if !self.is_over() => {}
                opened => return opened,
            }
        }
    }

    /// Gives names to a thread that has nothing to do; gives them back when there is none.
    fn hand_over(&self, chunk: Chunk) -> Option<Chunk> {
        let mut waiting = self.waiting();
        if waiting.chunks.len() >= 2 * (waiting.threads - waiting.busy.min(waiting.threads)) {
            return Some(chunk);
        }
        waiting.chunks.push(chunk);
        drop(waiting);
        self.changed.notify_one();
        None
    }

    fn add(&self, below: Vec<Directory>, visitor: &mut impl Visit) {
        if below.is_empty() {
            return;
        }
        let mut waiting = self.waiting();
        for directory in below {
            if waiting.directories.len() < DIRECTORIES_WAITING_MAX {
                waiting.directories.push(directory);
            } else {
                visitor.miss();
            }
        }
        drop(waiting);
        self.changed.notify_all();
    }

    fn meet_all(&self, chunk: &Chunk, path: &mut Vec<u8>, visitor: &mut impl Visit) {
        let mut rest = chunk.names.as_slice();
        for kind in &chunk.kinds {
            if self.is_over() {
                return;
            }
            let Ok(name) = CStr::from_bytes_until_nul(rest) else { return };
            rest = &rest[name.to_bytes_with_nul().len()..];
            join(path, &chunk.path, name.to_bytes());
            visitor.meet(&Met { directory: chunk.directory.as_fd(), name, path, kind: *kind });
        }
    }
}

/// While it is there, its thread has something to do.
struct Busy<'a>(&'a Walk);

impl Drop for Busy<'_> {
    fn drop(&mut self) {
        let mut waiting = self.0.waiting();
        waiting.busy -= 1;
        if waiting.busy == 0 {
            drop(waiting);
            self.0.changed.notify_all();
        }
    }
}

fn join(path: &mut Vec<u8>, directory: &[u8], name: &[u8]) {
    path.clear();
    path.extend_from_slice(directory);
    if !directory.is_empty() {
        path.push(b'/');
    }
    path.extend_from_slice(name);
}
