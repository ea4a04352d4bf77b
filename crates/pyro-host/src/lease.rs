//! Who owns something that runs. A lease is a file that its owner keeps locked for as long as it lives: the kernel gives the
//! lock back when the owner dies, whatever killed it, so a lease can be neither stale nor stolen. What is written in the file is for people.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::time::Duration;

use rustix::fs::FlockOperation;

/// How long a lease is tried for that only somebody can hold who will give it back at once.
pub const TRY_FOR: Duration = Duration::from_secs(2);
/// Between two tries.
pub const TRY_EVERY: Duration = Duration::from_millis(5);

/// A lease that we hold. Dropping it gives it back; the file stays.
#[derive(Debug)]
pub struct Lease {
    // Held for its lock.
    _file: File,
    path: PathBuf,
}

impl Lease {
    /// Takes a lease, or says that somebody has it (`None`).
    ///
    /// # Errors
    /// Those of the file system.
    pub fn take(path: &Path) -> io::Result<Option<Self>> {
        let mut file = OpenOptions::new().create(true).truncate(false).read(true).write(true).mode(0o600).open(path)?;
        match rustix::fs::flock(&file, FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => {}
            Err(rustix::io::Errno::WOULDBLOCK) => return Ok(None),
            Err(error) => return Err(error.into()),
        }
        // Whoever clears up after the dead removes the file while it holds the lock: what we have locked may have no name any more.
        let named = fs::metadata(path).is_ok_and(|named| file.metadata().is_ok_and(|ours| ours.ino() == named.ino()));
        if !named {
            return Ok(None);
        }
        // For people only, so a disk that is full is no reason to fail. As wide as the largest number: nothing has to be cut off.
        let _ = file.write_all(format!("{:<10}\n", std::process::id()).as_bytes());
        Ok(Some(Self { _file: file, path: path.to_owned() }))
    }

    /// Whether somebody holds the lease at `path`. Makes no file; one that is not there is held by nobody.
    ///
    /// # Errors
    /// Those of the file system.
    pub fn is_held(path: &Path) -> io::Result<bool> {
        match File::open(path) {
            Ok(file) => match rustix::fs::flock(&file, FlockOperation::NonBlockingLockShared) {
                Ok(()) => Ok(false),
                Err(rustix::io::Errno::WOULDBLOCK) => Ok(true),
                Err(error) => Err(error.into()),
            },
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
            Err(error) => Err(error),
        }
    }

    /// Waits until nobody holds the lease at `path`; at once when it is not there. The holder is ending, so this is short.
    ///
    /// # Errors
    /// Those of the file system.
    pub fn wait_until_free(path: &Path) -> io::Result<()> {
        match File::open(path) {
            Ok(file) => Ok(rustix::io::retry_on_intr(|| rustix::fs::flock(&file, FlockOperation::LockShared))?),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
            Err(error) => Err(error),
        }
    }

    /// Removes the file too: for leases of things that end with their owner.
    pub fn remove(self) {
        // When it cannot be removed it is unlocked all the same, and the next to clear up removes it.
        let _ = fs::remove_file(&self.path);
    }
}

#[cfg(test)]
mod tests;
