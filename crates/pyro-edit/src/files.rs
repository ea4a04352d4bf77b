//! What this crate asks of whoever has the files, and a tree in memory that answers.
//!
//! Everything that a reader gives back is hostile: any bytes, any size, different at each call. It is asked once for each path and request.

use std::collections::BTreeMap;

use crate::path::RelPath;
use crate::plan::{Before, Change, Plan};

/// What a file is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    /// An ordinary file.
    Regular,
    /// An ordinary file with the executable bit.
    Executable,
    /// A symbolic link; its content is its target.
    Symlink,
}

/// A file as it is now.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct File {
    /// Its bytes, or the target of a link.
    pub content: Vec<u8>,
    /// What it is.
    pub mode: Mode,
}

/// Why a path cannot be read, though something is there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Unreadable {
    /// It has this many bytes, more than [`crate::limits::FILE_BYTES_MAX`].
    TooLarge(u64),
    /// It is a directory. A file can take its place when the same request takes away what is in it.
    Directory,
    /// Half a sentence to be put behind the path, such as "is a socket".
    Refused(String),
}

/// Reads files. A symbolic link is given as such and never followed.
pub trait Files {
    /// The file at a path; `None` when nothing is there, nor can be because it would be below a file.
    ///
    /// # Errors
    /// When something is there that cannot be changed as a file, such as a directory.
    fn read(&mut self, path: &RelPath) -> Result<Option<File>, Unreadable>;

    /// Something below a directory that stays there, when all files of which `goes` is true are taken away; `None` when nothing does.
    fn staying(&mut self, directory: &RelPath, goes: &dyn Fn(&RelPath) -> bool) -> Option<RelPath>;

    /// Paths of existing files that someone who wrote `path` may have meant, best first: the same name elsewhere, similar names beside it.
    fn near(&mut self, path: &RelPath) -> Vec<RelPath> {
        let _ = path;
        Vec::new()
    }
}

/// Files in memory: for tests, fuzzing and callers that have them. Carrying out a plan is strict, so that a wrong plan is noticed.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Memory {
    /// Every file by its path.
    pub files: BTreeMap<RelPath, File>,
}

impl Memory {
    /// Carries a plan out, all of it or nothing.
    ///
    /// # Errors
    /// When the files are not as the plan says they were, or a file would be a directory as well.
    pub fn apply(&mut self, plan: &Plan) -> Result<(), String> {
        let mut files = self.files.clone();
        for Change { path, before, after } in &plan.changes {
            let is_as_said = match before {
                Before::Absent => !self.files.contains_key(path),
                Before::Present(mode) => self.files.get(path).is_some_and(|file| file.mode == *mode),
                Before::Directory => self.is_directory(path),
            };
            if !is_as_said {
                return Err(format!("{path} is not {before:?}"));
            }
            match after {
                Some(file) => files.insert(path.clone(), file.clone()),
                None => files.remove(path),
            };
        }
        if let Some(path) = files.keys().find(|path| path.above().any(|above| files.contains_key(&above))) {
            return Err(format!("{path} is below a file"));
        }
        self.files = files;
        Ok(())
    }

    fn is_directory(&self, path: &RelPath) -> bool {
        self.files.keys().any(|known| path.is_above(known))
    }
}

impl Files for Memory {
    fn read(&mut self, path: &RelPath) -> Result<Option<File>, Unreadable> {
        if self.is_directory(path) {
            return Err(Unreadable::Directory);
        }
        Ok(self.files.get(path).cloned())
    }

    fn staying(&mut self, directory: &RelPath, goes: &dyn Fn(&RelPath) -> bool) -> Option<RelPath> {
        self.files.keys().find(|known| directory.is_above(known) && !goes(known)).cloned()
    }

    fn near(&mut self, path: &RelPath) -> Vec<RelPath> {
        let name = path.names().last().unwrap_or_default();
        self.files.keys().filter(|known| known.names().last() == Some(name)).take(5).cloned().collect()
    }
}
