//! Carrying a plan out: all of its files get their new content, or none does.
//!
//! First everything is looked at, and contents are written under names of their own, which is what can fail for want of room. What is left are
//! renames: what goes is put aside, what is new changes places with what was there (renameat2(2) with `RENAME_EXCHANGE`), so that it can be put back,
//! and nobody ever sees half a file. The last rename decides: before it everything is taken back, after it everything is done. A journal
//! ([`journal`]) says what was to be done when we are killed in between. A file that is not as it was when it was read is not touched.

pub mod journal;
mod step;

use std::collections::{BTreeMap, BTreeSet};
use std::ffi::OsStr;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use pyro_edit::{Before, Change, File, Mode, Plan, RelPath};
use rustix::fs::{AtFlags, FileType, Gid, Mode as Bits, OFlags, ResolveFlags, Stat, Uid};
use rustix::io::Errno;

use self::journal::Journal;
use self::step::{Kind, Step};
use super::write::{FILE_MODE, temporary_name, write_all};

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
    let mut steps = Vec::new();
    let done = prepare(root, plan, seen, &mut steps).and_then(|()| make(root, &steps));
    done.map_err(|(path, error)| {
        let text = match error {
            Errno::STALE => format!("{path} was changed by somebody else meanwhile: read it again"),
            Errno::LOOP => format!("{path} is reached through a symbolic link, which is not followed"),
            Errno::EXIST if path.as_bytes() == journal::NAME.as_bytes() => {
                format!("{path} is in the way: a change of several files needs that name for as long as it takes; move it, or change one file at a time")
            }
            Errno::NOTEMPTY => format!("{path} is a directory, and something else is in it"),
            error => format!("{path} cannot be changed: {}", std::io::Error::from(error)),
        };
        NotDone { text, is_full: matches!(error, Errno::NOSPC | Errno::DQUOT) }
    })
}

/// A path, and what came of it.
type Failed = (RelPath, Errno);

/// Looks at everything, and writes the new contents aside. Nothing that anybody looks for is different when it fails, and nothing is left.
fn prepare(root: &OwnedFd, plan: &Plan, seen: &BTreeMap<RelPath, Seen>, steps: &mut Vec<Step>) -> Result<(), Failed> {
    let prepared = Preparation { root, plan, seen, steps }.all();
    if prepared.is_err() {
        step::take_back(root, steps);
    }
    prepared
}

/// Does what was prepared, or takes it back.
fn make(root: &OwnedFd, steps: &[Step]) -> Result<(), Failed> {
    // One rename is done or not done by itself.
    let journal = match steps {
        [] | [_] => None,
        several => match Journal::write(root, several) {
            Ok(journal) => Some(journal),
            Err(error) => {
                step::take_back(root, steps);
                let journal = RelPath::new(journal::NAME.as_bytes(), b"").map_err(|_| (several[0].of.clone(), error))?;
                return Err((journal, error));
            }
        },
    };
    let made = steps.iter().enumerate().try_for_each(|(at, step)| {
        let is_last = at + 1 == steps.len();
        step.make(root, is_last).map_err(|error| (step.of.clone(), error))
    });
    match made {
        Ok(()) => step::finish(root, steps),
        Err(_) => step::take_back(root, steps),
    }
    drop(journal);
    made
}

struct Preparation<'a> {
    root: &'a OwnedFd,
    plan: &'a Plan,
    seen: &'a BTreeMap<RelPath, Seen>,
    steps: &'a mut Vec<Step>,
}

impl Preparation<'_> {
    fn all(&mut self) -> Result<(), Failed> {
        let named = |change: &Change| {
            let path = change.path.clone();
            move |error: Errno| (path, error)
        };
        let changes = &self.plan.changes;
        // Where a file was there may be a directory to be, and a file where a directory was.
        for change in changes.iter().filter(|change| change.after.is_none()) {
            self.remove(change).map_err(named(change))?;
        }
        for change in changes.iter().filter(|change| change.before == Before::Directory) {
            self.remove_directories(&change.path).map_err(named(change))?;
        }
        let mut contents = Vec::new();
        let mut missing = BTreeMap::new();
        let kept = changes.iter().filter_map(|change| change.after.as_ref().map(|file| (change, file)));
        let written = kept.into_iter().try_for_each(|(change, file)| {
            contents.push(self.write(change, file, &mut missing).map_err(named(change))?);
            Ok(())
        });
        // By path: what is above comes first.
        self.steps.extend(missing.into_iter().map(|(path, of)| Step {
            of,
            path,
            aside: PathBuf::new(),
            kind: Kind::MakeDirectory,
        }));
        self.steps.append(&mut contents);
        written
    }

    fn remove(&mut self, change: &Change) -> Result<(), Errno> {
        let path = path_of(&change.path);
        let (directory, name) = at(self.root, &path)?;
        let seen = self.seen.get(&change.path);
        check(&directory, name, change.before, seen)?;
        // What goes with its directory is put aside beside that.
        let directories = self.plan.changes.iter().filter(|other| other.before == Before::Directory);
        let beside = directories.map(|other| &other.path).filter(|other| other.is_above(&change.path)).min().map(path_of);
        let aside = beside.as_deref().unwrap_or(&path).with_file_name(temporary_name()?);
        self.steps.push(Step { of: change.path.clone(), path, aside, kind: Kind::Remove });
        Ok(())
    }

    /// The directories that a file takes the place of, from the innermost up.
    fn remove_directories(&mut self, path: &RelPath) -> Result<(), Errno> {
        let top = path_of(path);
        let leaving = self.plan.changes.iter().filter(|change| change.after.is_none() && path.is_above(&change.path));
        let mut directories = BTreeSet::new();
        for change in leaving {
            let below = path_of(&change.path);
            directories.extend(below.ancestors().skip(1).take_while(|above| above.starts_with(&top)).map(Path::to_owned));
        }
        for directory in directories.into_iter().rev() {
            let (above, name) = at(self.root, &directory)?;
            let stat = rustix::fs::statat(&above, name, AtFlags::SYMLINK_NOFOLLOW)?;
            let kind = Kind::RemoveDirectory { mode: stat.st_mode & 0o7777, owner: (stat.st_uid, stat.st_gid) };
            self.steps.push(Step { of: path.clone(), path: directory, aside: PathBuf::new(), kind });
        }
        Ok(())
    }

    /// Writes the new content beside its place, or as near to it as there is a directory; those that are missing are named.
    fn write(&mut self, change: &Change, file: &File, missing: &mut BTreeMap<PathBuf, RelPath>) -> Result<Step, Errno> {
        let path = path_of(&change.path);
        let old = self.seen.get(&change.path).filter(|_| change.before != Before::Absent);
        let mut near = path.as_path();
        let (directory, name) = loop {
            match at(self.root, near) {
                Ok(found) => break found,
                // A file in the way is one that goes, or shows when the directory is made.
                Err(Errno::NOENT | Errno::NOTDIR) => {}
                Err(error) => return Err(error),
            }
            near = near.parent().ok_or(Errno::NOENT)?;
            missing.insert(near.to_owned(), change.path.clone());
        };
        if near == path {
            check(&directory, name, change.before, old)?;
        }
        let aside_name = temporary_name()?;
        let new = aside(&directory, &aside_name, file, old)?;
        let kind = match change.before {
            Before::Present(_) => Kind::Replace { new },
            Before::Absent | Before::Directory => Kind::Create { new },
        };
        let step = Step { of: change.path.clone(), aside: near.with_file_name(aside_name), path, kind };
        Ok(step)
    }
}

/// Writes a file under a name of its own; its inode.
fn aside(directory: &OwnedFd, name: &Path, file: &File, old: Option<&Seen>) -> Result<u64, Errno> {
    let written = if file.mode == Mode::Symlink {
        rustix::fs::symlinkat(OsStr::from_bytes(&file.content), directory, name)
            .and_then(|()| rustix::fs::statat(directory, name, AtFlags::SYMLINK_NOFOLLOW))
    } else {
        let flags = OFlags::CREATE | OFlags::EXCL | OFlags::WRONLY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        rustix::fs::openat(directory, name, flags, Bits::from_raw_mode(0o600)).and_then(|new| {
            write_all(&new, &file.content).and_then(|()| like(&new, old, file.mode)).and_then(|()| rustix::fs::fstat(&new))
        })
    };
    match written {
        Ok(stat) => Ok(stat.st_ino),
        Err(error) => {
            if error != Errno::EXIST {
                let _left = rustix::fs::unlinkat(directory, name, AtFlags::empty());
            }
            Err(error)
        }
    }
}

fn path_of(path: &RelPath) -> PathBuf {
    PathBuf::from(OsStr::from_bytes(path.as_bytes()))
}

/// The directory of a path, opened, and its name there.
fn at<'a>(root: &OwnedFd, path: &'a Path) -> Result<(OwnedFd, &'a OsStr), Errno> {
    let above = path.parent().filter(|above| !above.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let directory = beneath(root, above, OFlags::RDONLY | OFlags::DIRECTORY)?;
    Ok((directory, path.file_name().ok_or(Errno::INVAL)?))
}

/// Whether what is there is still what was read.
fn check(directory: &OwnedFd, name: &OsStr, before: Before, seen: Option<&Seen>) -> Result<(), Errno> {
    match (rustix::fs::statat(directory, name, AtFlags::SYMLINK_NOFOLLOW), before) {
        (Err(Errno::NOENT), Before::Absent) => Ok(()),
        (Ok(stat), Before::Present(_)) if seen == Some(&Seen::of(&stat)) => Ok(()),
        (Ok(stat), Before::Directory) if FileType::from_raw_mode(stat.st_mode) == FileType::Directory => Ok(()),
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
