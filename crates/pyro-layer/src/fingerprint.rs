//! Whether a directory outside is still what it was: a digest of everything that can be seen of its tree without reading a file.
//!
//! It trusts times as git's index does. Any change of a file's content, name, mode, owner or attributes gives it a new time of change (`ctime`),
//! which nobody can set. The clock of these times is coarse, though: when a file was changed a moment before it was looked at, it may be
//! changed again within the same tick. Then there is no fingerprint. What it cannot see is a program that goes on writing to memory that it
//! had mapped from a file, and written to, before.
//!
//! It must be fast, or it would be no use: one call per file, two or more threads, nothing allocated per file. What it must never do is to
//! call a tree unchanged that has changed; the other way round costs a copy.

use std::ffi::{CStr, CString};
use std::fmt;
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use rustix::fs::{self, AtFlags, FileType, Mode, OFlags, RawDir, Statx, StatxFlags};
use rustix::io::Errno;

use crate::beneath::{self, Descent, Mounts};
use crate::error::{Error, Naming, Result};
use crate::limits::{FINGERPRINT_SHARED_DEPTH_MAX, FINGERPRINT_THREADS_MAX};
use crate::{Progress, Watch};

/// How long before the beginning of the walk a change must have been. The clock of file times goes in steps of up to 10 milliseconds
/// (kernels that are built with `HZ=100`); this is two of them.
const SETTLED: Duration = Duration::from_millis(20);

/// Space for the names that one call lists: a directory of a thousand names is listed by one.
const LISTING_BYTES: usize = 64 * 1024;

/// What is asked for: all that a change can touch.
const ASKED: StatxFlags = StatxFlags::TYPE
    .union(StatxFlags::MODE)
    .union(StatxFlags::NLINK)
    .union(StatxFlags::UID)
    .union(StatxFlags::GID)
    .union(StatxFlags::MTIME)
    .union(StatxFlags::CTIME)
    .union(StatxFlags::INO)
    .union(StatxFlags::SIZE);

/// A digest of a tree as `stat` sees it. Its text is 64 hexadecimal digits.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Fingerprint([u8; 32]);

impl fmt::Display for Fingerprint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(blake3::Hash::from_bytes(self.0).to_hex().as_str())
    }
}

/// Takes the fingerprint of the directory `source`, of all file systems that are mounted in it too. `None` when it could not be relied on: something
/// was changed just now, or vanished while it was looked at.
///
/// Two that are equal, one taken before an import and one after it, say that nothing was changed in between.
///
/// # Errors
/// When a directory cannot be read, or `watch` broke it off.
pub fn fingerprint(source: &Path, watch: Watch<'_>) -> Result<Option<Fingerprint>> {
    take(source, SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().saturating_sub(SETTLED), watch)
}

/// The same, when what was changed before `settled`, counted from 1970, will not be changed again within the same tick.
fn take(source: &Path, settled: Duration, watch: Watch<'_>) -> Result<Option<Fingerprint>> {
    let root = beneath::open_root(source).naming(source.as_os_str().as_encoded_bytes(), "open the directory")?;
    let stat = fs::statx(&root, c"", AtFlags::EMPTY_PATH, ASKED).naming(b"", "look at it")?;
    let shared = Shared {
        queue: Mutex::new(Queue { items: vec![Item { above: None, name: c".".to_owned(), id: [0; 32], depth: 0 }], busy: 0 }),
        changed: Condvar::new(),
        is_over: AtomicBool::new(false),
        entry_count: AtomicU64::new(0),
        settled: (i64::try_from(settled.as_secs()).unwrap_or(i64::MAX), settled.subsec_nanos()),
        root,
    };
    if !shared.is_settled(&stat) {
        return Ok(None);
    }
    let helpers = std::thread::available_parallelism().map_or(1, usize::from).min(FINGERPRINT_THREADS_MAX) - 1;
    let outcomes: Vec<std::result::Result<Vec<[u8; 32]>, Stop>> = std::thread::scope(|scope| {
        let helpers: Vec<_> = (0..helpers)
            // A thread that cannot be had is one helper less.
            .filter_map(|_| std::thread::Builder::new().spawn_scoped(scope, || Worker::new(&shared).run(&mut || Ok(()))).ok())
            .collect();
        let mut look_up = || {
            let so_far = Progress { entry_count: shared.entry_count.load(Ordering::Relaxed), bytes: 0 };
            if watch(so_far).is_break() { Err(Stop::Failed(Error::cancelled())) } else { Ok(()) }
        };
        let own = Worker::new(&shared).run(&mut look_up);
        let theirs = helpers.into_iter().map(|helper| helper.join().expect("nothing in a tree makes a helper panic"));
        std::iter::once(own).chain(theirs).collect()
    });
    let mut digests = Vec::new();
    let mut is_reliable = true;
    for outcome in outcomes {
        match outcome {
            Ok(some) => digests.extend(some),
            Err(Stop::Failed(error)) => return Err(error),
            Err(Stop::Unreliable) => is_reliable = false,
        }
    }
    if !is_reliable {
        return Ok(None);
    }
    // Each names its directory, so their order, which depends on the threads, says nothing.
    digests.sort_unstable();
    let mut whole = Vec::with_capacity(128);
    // What the digest is of: a change of the form must not meet an old one.
    whole.extend_from_slice(b"pyro fingerprint 1\n");
    record(&mut whole, c"", &stat);
    let mut hasher = blake3::Hasher::new();
    hasher.update(&whole);
    hasher.update(digests.as_flattened());
    Ok(Some(Fingerprint(*hasher.finalize().as_bytes())))
}

/// Why a walk ends early.
enum Stop {
    /// Something happens in the tree right now.
    Unreliable,
    Failed(Error),
}

impl From<Error> for Stop {
    fn from(error: Error) -> Self {
        Self::Failed(error)
    }
}

/// What the threads share.
struct Shared {
    queue: Mutex<Queue>,
    changed: Condvar,
    /// One of them has stopped early.
    is_over: AtomicBool,
    entry_count: AtomicU64,
    /// What changed later than this may change again without a sign.
    settled: (i64, u32),
    root: OwnedFd,
}

/// Directories that nobody has looked at yet. The last is taken first: so few directories are held open.
struct Queue {
    items: Vec<Item>,
    /// Threads that may find more.
    busy: usize,
}

/// One directory to look at.
struct Item {
    /// Where its name is; the root of the tree when there is none.
    above: Option<Arc<OwnedFd>>,
    name: CString,
    /// Says which directory the one above it is.
    id: [u8; 32],
    depth: usize,
}

impl Shared {
    fn is_settled(&self, stat: &Statx) -> bool {
        (stat.stx_ctime.tv_sec, stat.stx_ctime.tv_nsec) < self.settled
    }

    /// The next directory; `None` when there is none and nobody is left who could find one.
    fn next(&self, was_busy: bool) -> Option<Item> {
        let mut queue = self.queue.lock().unwrap_or_else(PoisonError::into_inner);
        if was_busy {
            queue.busy -= 1;
        }
        loop {
            if self.is_over.load(Ordering::Relaxed) {
                return None;
            }
            if let Some(item) = queue.items.pop() {
                queue.busy += 1;
                return Some(item);
            }
            if queue.busy == 0 {
                self.changed.notify_all();
                return None;
            }
            queue = self.changed.wait(queue).unwrap_or_else(PoisonError::into_inner);
        }
    }

    fn add(&self, items: impl Iterator<Item = Item>) {
        let mut queue = self.queue.lock().unwrap_or_else(PoisonError::into_inner);
        queue.items.extend(items);
        self.changed.notify_all();
    }

    fn end(&self) {
        let _queue = self.queue.lock().unwrap_or_else(PoisonError::into_inner);
        self.is_over.store(true, Ordering::Relaxed);
        self.changed.notify_all();
    }
}

/// One thread, with what it uses again for each directory.
struct Worker<'a> {
    shared: &'a Shared,
    listing: Vec<MaybeUninit<u8>>,
    /// Names of the directory at hand, each with its NUL, and where each begins and ends.
    names: Vec<u8>,
    places: Vec<(u32, u32)>,
    records: Vec<u8>,
    /// Digests of the directories that this thread has looked at.
    digests: Vec<[u8; 32]>,
}

impl<'a> Worker<'a> {
    fn new(shared: &'a Shared) -> Self {
        Self {
            shared,
            listing: vec![MaybeUninit::uninit(); LISTING_BYTES],
            names: Vec::new(),
            places: Vec::new(),
            records: Vec::new(),
            digests: Vec::new(),
        }
    }

    fn run(mut self, look_up: &mut dyn FnMut() -> std::result::Result<(), Stop>) -> std::result::Result<Vec<[u8; 32]>, Stop> {
        let mut was_busy = false;
        while let Some(item) = self.shared.next(was_busy) {
            was_busy = true;
            if let Err(stop) = look_up().and_then(|()| self.item(item, look_up)) {
                self.shared.end();
                return Err(stop);
            }
        }
        Ok(self.digests)
    }

    fn item(&mut self, item: Item, look_up: &mut dyn FnMut() -> std::result::Result<(), Stop>) -> std::result::Result<(), Stop> {
        let above = item.above.as_ref().map_or(self.shared.root.as_fd(), |above| above.as_fd());
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let directory = fs::openat(above, &item.name, flags, Mode::empty()).map_err(|errno| vanished(&item.name, errno))?;
        let id = id_of(&item.id, &item.name);
        let below = self.directory(directory.as_fd(), &id)?;
        if below.is_empty() {
            return Ok(());
        }
        if item.depth < FINGERPRINT_SHARED_DEPTH_MAX {
            let above = Arc::new(directory);
            let depth = item.depth + 1;
            self.shared.add(below.into_iter().map(|name| Item { above: Some(Arc::clone(&above)), name, id, depth }));
            return Ok(());
        }
        self.deep(directory, id, below, look_up)
    }

    /// What is further down is this thread's own: so the number of open directories is limited however deep it is.
    fn deep(
        &mut self,
        directory: OwnedFd,
        id: [u8; 32],
        below: Vec<CString>,
        look_up: &mut dyn FnMut() -> std::result::Result<(), Stop>,
    ) -> std::result::Result<(), Stop> {
        let mut walk = Descent::new(directory).naming(b"", "open a directory again")?;
        let mut left = vec![(id, below)];
        while let Some((id, names)) = left.last_mut() {
            let Some(name) = names.pop() else {
                left.pop();
                if !left.is_empty() {
                    walk.leave().map_err(|errno| vanished(c"..", errno))?;
                }
                continue;
            };
            let id = id_of(id, &name);
            walk.enter(&name, Mounts::Cross).map_err(|errno| vanished(&name, errno))?;
            let below = self.directory(walk.here(), &id)?;
            left.push((id, below));
            look_up()?;
        }
        Ok(())
    }

    /// Looks at everything in one directory; the answer is which names are directories.
    fn directory(&mut self, directory: BorrowedFd<'_>, id: &[u8; 32]) -> std::result::Result<Vec<CString>, Stop> {
        self.names.clear();
        self.places.clear();
        let mut listing = RawDir::new(directory, &mut self.listing);
        while let Some(entry) = listing.next() {
            let entry = entry.naming(b"", "list a directory")?;
            let name = entry.file_name().to_bytes_with_nul();
            if name == b".\0" || name == b"..\0" {
                continue;
            }
            let place = |at: usize| u32::try_from(at).map_err(|_| Error::limit("the names in one directory come to 4 GiB"));
            let start = place(self.names.len())?;
            self.names.extend_from_slice(name);
            self.places.push((start, place(self.names.len())?));
        }
        let names = &self.names;
        let name_at = |(start, end): (u32, u32)| &names[start as usize..end as usize];
        self.places.sort_unstable_by(|one, other| name_at(*one).cmp(name_at(*other)));
        self.records.clear();
        self.records.extend_from_slice(id);
        let mut directories = Vec::new();
        for place in &self.places {
            let name = CStr::from_bytes_with_nul(name_at(*place)).expect("it was a name, with its NUL");
            // Not with AT_STATX_DONT_SYNC: it saves nothing where files are local, and elsewhere tells what was true some time ago.
            let flags = AtFlags::SYMLINK_NOFOLLOW | AtFlags::NO_AUTOMOUNT;
            let stat = fs::statx(directory, name, flags, ASKED).map_err(|errno| vanished(name, errno))?;
            if !self.shared.is_settled(&stat) {
                return Err(Stop::Unreliable);
            }
            record(&mut self.records, name, &stat);
            if FileType::from_raw_mode(stat.stx_mode.into()) == FileType::Directory {
                directories.push(name.to_owned());
            }
        }
        self.digests.push(*blake3::hash(&self.records).as_bytes());
        self.shared.entry_count.fetch_add(self.places.len() as u64, Ordering::Relaxed);
        Ok(directories)
    }
}

/// Which directory it is, in as many bytes however deep it is.
fn id_of(above: &[u8; 32], name: &CStr) -> [u8; 32] {
    let mut hasher = blake3::Hasher::new();
    hasher.update(above);
    hasher.update(name.to_bytes());
    *hasher.finalize().as_bytes()
}

/// Everything about one name, in a form that cannot be mistaken for another.
fn record(records: &mut Vec<u8>, name: &CStr, stat: &Statx) {
    records.extend_from_slice(name.to_bytes_with_nul());
    // Put together first: it is done for every file.
    let mut numbers = [0; 9 * 8];
    let pair = |high: u32, low: u32| u64::from(high) << 32 | u64::from(low);
    let values = [
        stat.stx_ino,
        stat.stx_size,
        stat.stx_mtime.tv_sec.cast_unsigned(),
        stat.stx_ctime.tv_sec.cast_unsigned(),
        pair(stat.stx_mtime.tv_nsec, stat.stx_ctime.tv_nsec),
        pair(stat.stx_mode.into(), stat.stx_nlink),
        pair(stat.stx_uid, stat.stx_gid),
        pair(stat.stx_dev_major, stat.stx_dev_minor),
        pair(stat.stx_rdev_major, stat.stx_rdev_minor),
    ];
    for (place, value) in numbers.chunks_exact_mut(8).zip(values) {
        place.copy_from_slice(&value.to_le_bytes());
    }
    records.extend_from_slice(&numbers);
}

/// What was listed a moment ago is not there, or is something else.
fn vanished(name: &CStr, errno: Errno) -> Stop {
    match errno {
        Errno::NOENT | Errno::NOTDIR | Errno::LOOP | Errno::STALE => Stop::Unreliable,
        errno => Stop::Failed(Error::system(name.to_bytes(), "look at it", errno)),
    }
}

#[cfg(test)]
mod tests;
