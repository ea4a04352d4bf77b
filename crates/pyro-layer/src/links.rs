//! Files with several names: finds the first name again when another one is met.
//!
//! It keeps no whole paths: a tree may be 20,000 directories deep, and every file in it may have two names.

use std::collections::HashMap;
use std::ffi::{CStr, CString};
use std::os::fd::BorrowedFd;

use rustix::fs::{self, AtFlags, OFlags, Stat};
use rustix::io::Errno;

use crate::beneath;
use crate::error::{Error, Naming, Result, shown};
use crate::limits::HARD_LINKS_PENDING_MAX;

/// The first names of files whose other names have not all been met. It has to be told where the walk goes.
pub(crate) struct Links {
    /// Every directory entered so far: the one above it and its name. The first is the root.
    directories: Vec<(usize, CString)>,
    here: usize,
    pending: HashMap<(u64, u64), Pending>,
}

struct Pending {
    directory: usize,
    name: CString,
    left: u64,
}

impl Links {
    pub(crate) fn new() -> Self {
        Self { directories: vec![(0, CString::default())], here: 0, pending: HashMap::new() }
    }

    pub(crate) fn enter(&mut self, name: &CStr) {
        self.directories.push((self.here, name.to_owned()));
        self.here = self.directories.len() - 1;
    }

    pub(crate) fn leave(&mut self) {
        self.here = self.directories[self.here].0;
    }

    /// Makes another name of a copy, where `stat` is of a file that has been copied by its first name. `false` when it has not.
    pub(crate) fn link(
        &mut self,
        copies: BorrowedFd<'_>,
        to: BorrowedFd<'_>,
        name: &CStr,
        path: &[u8],
        stat: &Stat,
    ) -> Result<bool> {
        if stat.st_nlink < 2 {
            return Ok(false);
        }
        let id = (stat.st_dev, stat.st_ino);
        let Some(link) = self.pending.get(&id) else { return Ok(false) };
        let above = self.path(link.directory);
        let directory = beneath::open_beneath(copies, &above, OFlags::PATH | OFlags::DIRECTORY).naming(path, "link it")?;
        match fs::linkat(&directory, &link.name, to, name, AtFlags::empty()) {
            Ok(()) => {}
            // The file system of the copy gives a file fewer names than the other one: a second copy begins here.
            Err(Errno::MLINK) => {
                self.pending.remove(&id);
                return Ok(false);
            }
            Err(errno) => return Err(errno).naming(path, "link it"),
        }
        self.met(id);
        Ok(true)
    }

    /// The path of the first name of a file, when it has been met before.
    pub(crate) fn first(&mut self, stat: &Stat) -> Option<Vec<u8>> {
        let id = (stat.st_dev, stat.st_ino);
        let link = (stat.st_nlink > 1).then(|| self.pending.get(&id))??;
        let mut path = self.path(link.directory);
        if !path.is_empty() {
            path.push(b'/');
        }
        path.extend_from_slice(link.name.to_bytes());
        self.met(id);
        Some(path)
    }

    /// Remembers the first name of a file with several.
    pub(crate) fn remember(&mut self, name: &CStr, path: &[u8], stat: &Stat) -> Result<()> {
        if stat.st_nlink < 2 {
            return Ok(());
        }
        if self.pending.len() >= HARD_LINKS_PENDING_MAX {
            return Err(Error::limit(format!(
                "{}: more than {HARD_LINKS_PENDING_MAX} files have other names outside the directory or not met yet",
                shown(path)
            )));
        }
        let pending = Pending { directory: self.here, name: name.to_owned(), left: stat.st_nlink - 1 };
        self.pending.insert((stat.st_dev, stat.st_ino), pending);
        Ok(())
    }

    fn met(&mut self, id: (u64, u64)) {
        if let Some(link) = self.pending.get_mut(&id) {
            link.left -= 1;
            if link.left == 0 {
                self.pending.remove(&id);
            }
        }
    }

    fn path(&self, directory: usize) -> Vec<u8> {
        let mut names = Vec::new();
        let mut at = directory;
        while at != 0 {
            let (above, name) = &self.directories[at];
            names.push(name.to_bytes());
            at = *above;
        }
        names.reverse();
        names.join(&b'/')
    }
}
