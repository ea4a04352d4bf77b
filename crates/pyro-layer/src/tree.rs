//! Copying a whole tree into an empty directory, for one of the purposes of [`crate::entry`].
//!
//! The original may be written to meanwhile. A file that vanishes is no failure, since a moment later it would not have been there at all
//! (editors and compilers make and rename temporary files all the time); but what it was renamed to must not be missed, so its directory
//! is listed again.

use std::collections::HashSet;
use std::ffi::CStr;
use std::os::fd::{AsFd, OwnedFd};

use rustix::fs::{self, Stat};
use rustix::io::Errno;

use crate::Watch;
use crate::beneath::{self, Descent, Entry, Mounts, RawKind, WalkPath};
use crate::entry::{Copier, Found, Purpose, Tally, keeps_changing};
use crate::error::{Error, ErrorKind, Naming, Result, shown};
use crate::limits::{COPY_ATTEMPTS_MAX, LISTINGS_MAX};
use crate::writer;

/// Copies everything below `from` into `to`, which is empty and gets the metadata of `from`.
pub(crate) fn copy_tree(from: OwnedFd, to: OwnedFd, purpose: Purpose, watch: Watch<'_>) -> Result<Tally> {
    let to_stat = fs::fstat(&to).naming(b"", "look at the destination")?;
    let from_stat = fs::fstat(&from).naming(b"", "look at it")?;
    let entries = beneath::list(from.as_fd()).naming(b"", "list it")?;
    let mut tree = Tree {
        copier: Copier::new(to.as_fd(), purpose, watch)?,
        to_id: (to_stat.st_dev, to_stat.st_ino),
        from: Descent::new(from).naming(b"", "open it")?,
        to: Descent::new(to).naming(b"", "open the destination")?,
        path: WalkPath::default(),
        frames: vec![Frame { entries, next: 0, listings: 1, stat: from_stat }],
    };
    tree.run()?;
    Ok(tree.copier.tally)
}

struct Tree<'a> {
    copier: Copier<'a>,
    to_id: (u64, u64),
    from: Descent,
    to: Descent,
    path: WalkPath,
    frames: Vec<Frame>,
}

/// One directory on the way down.
struct Frame {
    entries: Vec<Entry>,
    next: usize,
    listings: u32,
    stat: Stat,
}

impl Tree<'_> {
    fn run(&mut self) -> Result<()> {
        while let Some(frame) = self.frames.last_mut() {
            let Some(Entry { name, kind }) = frame.entries.get(frame.next).cloned() else {
                self.finish_directory()?;
                continue;
            };
            frame.next += 1;
            match self.copy_entry(&name, kind)? {
                Found::Copied | Found::LeftOut | Found::Directory => self.copier.look_up()?,
                Found::Vanished => self.list_again(&name)?,
            }
        }
        Ok(())
    }

    fn finish_directory(&mut self) -> Result<()> {
        let frame = self.frames.pop().expect("run looks at the last frame");
        self.copier.finish(self.from.here(), self.to.here(), &frame.stat, self.path.here())?;
        if !self.frames.is_empty() {
            self.from.leave().map_err(|errno| moved(self.path.here(), errno))?;
            self.to.leave().naming(self.path.here(), "go back up from the copy of it")?;
            self.path.leave();
            self.copier.links.leave();
        }
        Ok(())
    }

    /// Something vanished: what took its place is copied too.
    fn list_again(&mut self, name: &CStr) -> Result<()> {
        let entries = beneath::list(self.from.here()).naming(self.path.here(), "list it")?;
        let frame = self.frames.last_mut().expect("an entry has a directory");
        frame.listings += 1;
        if frame.listings > LISTINGS_MAX {
            return Err(directory_keeps_changing(&self.path.join(name)));
        }
        // It may be there again.
        frame.next -= 1;
        frame.entries.remove(frame.next);
        let known: HashSet<&CStr> = frame.entries.iter().map(|entry| entry.name.as_c_str()).collect();
        let new: Vec<Entry> = entries.iter().filter(|entry| !known.contains(entry.name.as_c_str())).cloned().collect();
        frame.entries.extend(new);
        Ok(())
    }

    fn copy_entry(&mut self, name: &CStr, mut kind: RawKind) -> Result<Found> {
        for _ in 0..COPY_ATTEMPTS_MAX {
            if kind != RawKind::Directory {
                let found = self.copier.copy(self.from.here(), self.to.here(), name, kind, &self.path)?;
                if found != Found::Directory {
                    return Ok(found);
                }
            }
            if let Some(found) = self.enter(name)? {
                return Ok(found);
            }
            kind = RawKind::Unknown;
        }
        Err(keeps_changing(&self.path.join(name)))
    }

    /// Goes into a directory and makes the copy of it; `None` when it has turned into something else.
    fn enter(&mut self, name: &CStr) -> Result<Option<Found>> {
        let path = self.path.join(name);
        let mounts = match self.copier.purpose {
            Purpose::Seed(_) => Mounts::Cross,
            Purpose::Layer | Purpose::Squash(_) | Purpose::Shown(..) | Purpose::Export(_) => Mounts::Stay,
        };
        let stat = match self.from.enter(name, mounts) {
            Ok(stat) => stat,
            Err(Errno::NOENT) => return Ok(Some(Found::Vanished)),
            Err(Errno::NOTDIR | Errno::LOOP) => return Ok(None),
            Err(Errno::XDEV) => return Err(Error::refused(&path, "is another mount")),
            Err(errno) => return Err(errno).naming(&path, "open it"),
        };
        if (stat.st_dev, stat.st_ino) == self.to_id {
            return Err(contains_destination());
        }
        writer::make_directory(self.to.here(), name, &path)?;
        self.to.enter(name, Mounts::Stay).naming(&path, "open the copy of it")?;
        self.path.enter(name);
        self.copier.links.enter(name);
        let entries = beneath::list(self.from.here()).naming(&path, "list it")?;
        self.frames.push(Frame { entries, next: 0, listings: 1, stat });
        self.copier.tally.entry_count += 1;
        Ok(Some(Found::Directory))
    }
}

pub(crate) fn contains_destination() -> Error {
    Error::new(ErrorKind::Refused, "the directory contains the place where it would be copied to")
}

pub(crate) fn directory_keeps_changing(path: &[u8]) -> Error {
    Error::new(ErrorKind::Changed, format!("{}: the directory around it keeps changing while it is copied", shown(path)))
}

/// Going back up failed.
pub(crate) fn moved(path: &[u8], errno: Errno) -> Error {
    match errno {
        Errno::STALE => Error::new(ErrorKind::Changed, format!("{} was moved while it was copied", shown(path))),
        errno => Error::system(path, "go back up from it", errno),
    }
}
