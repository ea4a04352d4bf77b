//! Directories of unfinished work, beneath `tmp/`, and the lock that makes one builder of an environment wait for another.
//!
//! Who works in a directory holds a lock on it. A directory that nobody holds belongs to somebody who died, whatever is
//! in it, and may be thrown away. Locks are the kernel's (flock): they end with their process.

use std::fs::{self, File, TryLockError};
use std::io;
use std::os::unix::fs::{DirBuilderExt as _, MetadataExt as _};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{SystemTime, UNIX_EPOCH};

use pyro_api::Result;

use super::manifest::failed;

const TMP: &str = "tmp";
const TRASH: &str = "trash";

/// A directory of unfinished work that is ours. Dropped, it is thrown away.
pub(super) struct WorkDirectory {
    home: PathBuf,
    path: PathBuf,
    _lock: File,
}

impl WorkDirectory {
    /// Makes one.
    pub fn new(home: &Path, what: &str) -> Result<Self> {
        Self::make(home, what).map_err(|error| failed("cannot make a directory to work in", error))
    }

    fn make(home: &Path, what: &str) -> io::Result<Self> {
        let tmp = home.join(TMP);
        private_directory(&tmp)?;
        let (path, lock) = make_locked(&tmp, what)?;
        Ok(Self { home: home.to_owned(), path, _lock: lock })
    }

    pub fn path(&self) -> &Path {
        &self.path
    }
}

impl Drop for WorkDirectory {
    fn drop(&mut self) {
        // When even a rename fails there is nobody to tell; the next sweep finds it without an owner.
        let _ = throw_away(&self.home, &self.path);
    }
}

/// Makes a directory with a new name that begins with `what`, and locks it.
pub(super) fn make_locked(beneath: &Path, what: &str) -> io::Result<(PathBuf, File)> {
    loop {
        let path = beneath.join(unique(what));
        match fs::DirBuilder::new().mode(0o700).create(&path) {
            Ok(()) => {}
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => continue,
            Err(error) => return Err(error),
        }
        // Between making and locking, a sweeper may have taken it for a dead one's: then it is no longer here, or it is locked.
        let Ok(lock) = File::open(&path) else { continue };
        match lock.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => continue,
            Err(TryLockError::Error(error)) => return Err(error),
        }
        match fs::metadata(&path) {
            Ok(now) if now.ino() == lock.metadata()?.ino() => return Ok((path, lock)),
            Ok(_) | Err(_) => {}
        }
    }
}

/// Moves something beneath the home directory to the trash, which is emptied later by another process.
pub(super) fn throw_away(home: &Path, path: &Path) -> io::Result<()> {
    let trash = home.join(TRASH);
    private_directory(&trash)?;
    fs::rename(path, trash.join(unique("thrown")))
}

/// Throws away every directory of unfinished work whose owner died. Says how many.
pub(super) fn sweep_abandoned(home: &Path) -> io::Result<usize> {
    let entries = match fs::read_dir(home.join(TMP)) {
        Ok(entries) => entries,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(0),
        Err(error) => return Err(error),
    };
    let mut swept = 0;
    for entry in entries.flatten() {
        let path = entry.path();
        let Ok(file) = File::open(&path) else { continue };
        if file.try_lock().is_ok() && throw_away(home, &path).is_ok() {
            swept += 1;
        }
    }
    Ok(swept)
}

/// The right to change one environment.
pub(super) struct EnvironmentLock {
    _file: File,
}

/// Takes the lock of an environment; `None` when somebody else holds it.
pub(super) fn try_lock(directory: &Path) -> Result<Option<EnvironmentLock>> {
    let attempt = || -> io::Result<Option<EnvironmentLock>> {
        fs::create_dir_all(directory)?;
        let file = File::options().create(true).append(true).open(directory.join("lock"))?;
        match file.try_lock() {
            Ok(()) => Ok(Some(EnvironmentLock { _file: file })),
            Err(TryLockError::WouldBlock) => Ok(None),
            Err(TryLockError::Error(error)) => Err(error),
        }
    };
    attempt().map_err(|error| failed("cannot lock the environment", error))
}

/// Makes a directory that only its owner can look into, when it is not there.
pub(super) fn private_directory(path: &Path) -> io::Result<()> {
    match fs::DirBuilder::new().recursive(true).mode(0o700).create(path) {
        Err(error) if error.kind() != io::ErrorKind::AlreadyExists => Err(error),
        Ok(()) | Err(_) => Ok(()),
    }
}

/// A name that nobody else uses now: process, time and count. Not secret: the directory is private.
fn unique(what: &str) -> String {
    static COUNT: AtomicU64 = AtomicU64::new(0);
    let now = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_nanos());
    format!("{what}-{:x}-{now:x}-{:x}", std::process::id(), COUNT.fetch_add(1, Ordering::Relaxed))
}
