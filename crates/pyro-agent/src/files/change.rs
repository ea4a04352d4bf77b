//! Carrying a plan out: all of its files get their new content, or none does.
//!
//! Everything that can fail for want of room or of a right comes first: directories are made, contents written under names of their own. Then each
//! file changes places with its new content (renameat2(2) with `RENAME_EXCHANGE`), so that the old one is there to be put back, and nobody ever sees
//! half a file. A file that is not as it was when it was read is not touched. Only a kill in the middle of the renames leaves a part of it done.

use std::collections::BTreeMap;
use std::ffi::{OsStr, OsString};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use pyro_edit::{Before, Change, File, Mode, Plan, RelPath};
use rustix::fs::{AtFlags, Gid, Mode as Bits, OFlags, RenameFlags, ResolveFlags, Stat, Uid};
use rustix::io::Errno;

use super::write::{DIRECTORY_MODE, FILE_MODE, with_temporary_name, write_all};

/// What tells a file from what it may become behind our back.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Seen {
    /// Device and inode.
    pub file: (u64, u64),
    /// Bytes.
    pub size: i64,
    /// Last change of anything about it, seconds and nanoseconds.
    pub changed_at: (i64, u64),
    /// Kind and permission bits.
    pub mode: u32,
    /// User and group.
    pub owner: (u32, u32),
}

impl Seen {
    /// As it is now.
    pub fn of(stat: &Stat) -> Self {
        Self {
            file: (stat.st_dev, stat.st_ino),
            size: stat.st_size,
            changed_at: (stat.st_ctime, stat.st_ctime_nsec),
            mode: stat.st_mode,
            owner: (stat.st_uid, stat.st_gid),
        }
    }
}

/// Why it was not done.
#[derive(Debug)]
pub struct NotDone {
    /// A sentence without an end.
    pub text: String,
    /// There was no room.
    pub is_full: bool,
}

/// Opens something below a directory, through no symbolic link and into no other file system.
pub fn beneath(root: impl AsFd, path: impl AsRef<OsStr>, flags: OFlags) -> Result<OwnedFd, Errno> {
    let resolve = ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS | ResolveFlags::NO_XDEV;
    rustix::fs::openat2(root, path.as_ref(), flags | OFlags::CLOEXEC, Bits::empty(), resolve)
}

/// Does all of a plan, or nothing.
pub fn carry_out(root: &OwnedFd, plan: &Plan, seen: &BTreeMap<RelPath, Seen>) -> Result<(), NotDone> {
    let mut work = Work { root, done: Vec::new(), directories: Vec::new() };
    let done = work.all(plan, seen);
    match done {
        Ok(()) => {
            work.clear_up(plan);
            Ok(())
        }
        Err((path, error)) => {
            work.take_back();
            let text = match error {
                Errno::STALE => format!("{path} was changed by somebody else meanwhile: read it again"),
                Errno::LOOP => format!("{path} is reached through a symbolic link, which is not followed"),
                error => format!("{path} cannot be changed: {}", std::io::Error::from(error)),
            };
            Err(NotDone { text, is_full: matches!(error, Errno::NOSPC | Errno::DQUOT) })
        }
    }
}

struct Work<'a> {
    root: &'a OwnedFd,
    /// What has happened so far.
    done: Vec<Step>,
    /// Directories that were made, from the root down.
    directories: Vec<PathBuf>,
}

/// Something in a directory that has to be taken back when the rest fails.
struct Step {
    directory: OwnedFd,
    name: OsString,
    /// The other name that it has, or that what was there has.
    aside: PathBuf,
    state: State,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum State {
    /// The new content is aside.
    Written,
    /// It has changed places: what was there is aside.
    Exchanged,
    /// It is in place, and nothing was there.
    Placed,
    /// What was there is aside, and nothing took its place.
    Removed,
}

impl Work<'_> {
    fn all(&mut self, plan: &Plan, seen: &BTreeMap<RelPath, Seen>) -> Result<(), (RelPath, Errno)> {
        let named = |change: &Change| {
            let path = change.path.clone();
            move |error: Errno| (path, error)
        };
        // Where a file was there may be a directory to be.
        for change in plan.changes.iter().filter(|change| change.after.is_none()) {
            self.remove(change, seen).map_err(named(change))?;
        }
        let first = self.done.len();
        for change in &plan.changes {
            if let Some(file) = &change.after {
                self.write(change, file, seen).map_err(named(change))?;
            }
        }
        let kept = plan.changes.iter().filter(|change| change.after.is_some());
        for (step, change) in self.done[first..].iter_mut().zip(kept) {
            step.place(change.before).map_err(named(change))?;
        }
        Ok(())
    }

    fn remove(&mut self, change: &Change, seen: &BTreeMap<RelPath, Seen>) -> Result<(), Errno> {
        let (above, name) = split(&change.path);
        let directory = beneath(self.root, above, OFlags::RDONLY | OFlags::DIRECTORY)?;
        check(&directory, &name, change.before, seen.get(&change.path))?;
        let (aside, ()) = with_temporary_name(|aside| {
            rustix::fs::renameat_with(&directory, name.as_os_str(), &directory, aside, RenameFlags::NOREPLACE)
        })?;
        self.done.push(Step { directory, name, aside, state: State::Removed });
        Ok(())
    }

    /// Writes the new content beside its place.
    fn write(&mut self, change: &Change, file: &File, seen: &BTreeMap<RelPath, Seen>) -> Result<(), Errno> {
        let (above, name) = split(&change.path);
        let directory = self.directory(&above)?;
        let old = seen.get(&change.path).filter(|_| change.before != Before::Absent);
        check(&directory, &name, change.before, old)?;
        let aside = if file.mode == Mode::Symlink {
            let target = OsStr::from_bytes(&file.content);
            with_temporary_name(|aside| rustix::fs::symlinkat(target, &directory, aside))?.0
        } else {
            let flags = OFlags::CREATE | OFlags::EXCL | OFlags::WRONLY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
            let (aside, new) =
                with_temporary_name(|aside| rustix::fs::openat(&directory, aside, flags, Bits::from_raw_mode(0o600)))?;
            let filled = write_all(&new, &file.content).and_then(|()| like(&new, old, file.mode));
            if let Err(error) = filled {
                let _left = rustix::fs::unlinkat(&directory, &aside, AtFlags::empty());
                return Err(error);
            }
            aside
        };
        self.done.push(Step { directory, name, aside, state: State::Written });
        Ok(())
    }

    /// A directory that may have to be made.
    fn directory(&mut self, path: &Path) -> Result<OwnedFd, Errno> {
        let open = |path: &Path| beneath(self.root, path, OFlags::RDONLY | OFlags::DIRECTORY);
        match open(path) {
            Err(Errno::NOENT) => {}
            opened => return opened,
        }
        let above = self.directory(path.parent().filter(|above| !above.as_os_str().is_empty()).unwrap_or(Path::new(".")))?;
        let name = path.file_name().ok_or(Errno::NOENT)?;
        match rustix::fs::mkdirat(&above, name, Bits::from_raw_mode(DIRECTORY_MODE)) {
            Ok(()) => self.directories.push(path.to_owned()),
            Err(Errno::EXIST) => {}
            Err(error) => return Err(error),
        }
        beneath(self.root, path, OFlags::RDONLY | OFlags::DIRECTORY)
    }

    /// Takes away what was there before, and directories that nothing is left in: as git does.
    fn clear_up(self, plan: &Plan) {
        for step in &self.done {
            if matches!(step.state, State::Exchanged | State::Removed) {
                let _left = rustix::fs::unlinkat(&step.directory, &step.aside, AtFlags::empty());
            }
        }
        for change in plan.changes.iter().filter(|change| change.after.is_none()) {
            let path = PathBuf::from(OsStr::from_bytes(change.path.as_bytes()));
            for above in path.ancestors().skip(1).filter(|above| !above.as_os_str().is_empty()) {
                if !self.remove_directory(above) {
                    break;
                }
            }
        }
    }

    fn remove_directory(&self, path: &Path) -> bool {
        let (Some(above), Some(name)) = (path.parent(), path.file_name()) else { return false };
        let above = if above.as_os_str().is_empty() { Path::new(".") } else { above };
        beneath(self.root, above, OFlags::RDONLY | OFlags::DIRECTORY)
            .and_then(|directory| rustix::fs::unlinkat(&directory, name, AtFlags::REMOVEDIR))
            .is_ok()
    }

    fn take_back(mut self) {
        while let Some(Step { directory, name, aside, state }) = self.done.pop() {
            // There is nobody to tell when even this does not work.
            let _left = match state {
                State::Written => rustix::fs::unlinkat(&directory, &aside, AtFlags::empty()),
                State::Exchanged => rustix::fs::renameat(&directory, &aside, &directory, &name),
                State::Placed => rustix::fs::unlinkat(&directory, &name, AtFlags::empty()),
                State::Removed => {
                    rustix::fs::renameat_with(&directory, &aside, &directory, name.as_os_str(), RenameFlags::NOREPLACE)
                }
            };
        }
        while let Some(path) = self.directories.pop() {
            self.remove_directory(&path);
        }
    }
}

impl Step {
    fn place(&mut self, before: Before) -> Result<(), Errno> {
        let (flags, state) = match before {
            Before::Absent => (RenameFlags::NOREPLACE, State::Placed),
            Before::Present(_) => (RenameFlags::EXCHANGE, State::Exchanged),
        };
        rustix::fs::renameat_with(&self.directory, &self.aside, &self.directory, self.name.as_os_str(), flags)?;
        self.state = state;
        Ok(())
    }
}

/// The directory of a path, and its name there.
fn split(path: &RelPath) -> (PathBuf, OsString) {
    let path = Path::new(OsStr::from_bytes(path.as_bytes()));
    let above = path.parent().filter(|above| !above.as_os_str().is_empty()).unwrap_or(Path::new("."));
    (above.to_owned(), path.file_name().unwrap_or_default().to_owned())
}

/// Whether what is there is still what was read.
fn check(directory: &OwnedFd, name: &OsStr, before: Before, seen: Option<&Seen>) -> Result<(), Errno> {
    match (rustix::fs::statat(directory, name, AtFlags::SYMLINK_NOFOLLOW), before) {
        (Err(Errno::NOENT), Before::Absent) => Ok(()),
        (Ok(stat), Before::Present(_)) if seen == Some(&Seen::of(&stat)) => Ok(()),
        (Ok(_) | Err(Errno::NOENT), _) => Err(Errno::STALE),
        (Err(error), _) => Err(error),
    }
}

/// Gives a new file the owner and bits of the old one, but for what the plan says of its executable bits.
fn like(new: &OwnedFd, old: Option<&Seen>, mode: Mode) -> Result<(), Errno> {
    let bits = match old.filter(|old| old.mode & 0o170_000 == 0o100_000) {
        None if mode == Mode::Executable => FILE_MODE | 0o111,
        None => FILE_MODE,
        Some(old) => {
            let made = rustix::fs::fstat(new)?;
            if (made.st_uid, made.st_gid) != old.owner {
                rustix::fs::fchown(new, Some(Uid::from_raw(old.owner.0)), Some(Gid::from_raw(old.owner.1)))?;
            }
            let bits = old.mode & 0o7777;
            match mode {
                // Whoever may read it may run it.
                Mode::Executable if bits & 0o111 == 0 => bits | (bits & 0o444) >> 2,
                Mode::Regular => bits & !0o111,
                Mode::Executable | Mode::Symlink => bits,
            }
        }
    };
    rustix::fs::fchmod(new, Bits::from_raw_mode(bits))
}

#[cfg(test)]
mod tests;
