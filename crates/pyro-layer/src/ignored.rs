//! Which names of a directory its `.gitignore` and `.ignore` files say are no part of it.
//!
//! The patterns are those of git, read and matched by the crate `ignore`; the files are read here, by descriptor and never through a link, like
//! everything else of a tree. As git has it, the nearest file decides, what is in an ignored directory is ignored with it, and nothing in `.git` ever
//! is. `.ignore` files count for more than `.gitignore` files. Where the directory is a part of a git work tree, the files above it count
//! too, up to its top.
//!
//! A line that is no pattern, or not UTF-8, matches nothing.

use std::ffi::{CStr, OsStr};
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use ignore::gitignore::{Gitignore, GitignoreBuilder};
use rustix::fs::{self, Mode, OFlags};

use crate::content;
use crate::error::{Error, ErrorKind, Naming, Result, shown};
use crate::limits::IGNORE_FILE_BYTES_MAX;

/// The files whose patterns count at one place of a walk.
pub(crate) struct Ignored {
    /// From the top of the work tree down to where the walk is.
    levels: Vec<Level>,
    /// The path of the walk's root below the top of the work tree, with a slash at its end unless it is empty.
    above: Vec<u8>,
}

struct Level {
    /// Where names below this directory begin in a path from the top of the work tree.
    start: usize,
    ignore: Option<Gitignore>,
    gitignore: Option<Gitignore>,
    /// It is `.git` or within.
    is_git: bool,
}

impl Ignored {
    /// For a walk that begins at `source`, which has not been entered yet.
    pub(crate) fn above(source: &Path) -> Result<Self> {
        let shown = source.as_os_str().as_encoded_bytes();
        let source = source.canonicalize().map_err(|error| Error::reading("cannot find out where the directory is", error))?;
        let mut ignored = Self { levels: Vec::new(), above: Vec::new() };
        let Some(top) = source.ancestors().find(|directory| directory.join(".git").symlink_metadata().is_ok()) else {
            return Ok(ignored);
        };
        let names = source.strip_prefix(top).expect("it is above");
        let mut at = top.to_owned();
        for name in names {
            // Somebody else's directory, which may be passed and not listed.
            let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
            let opened = fs::open(&at, flags, Mode::empty()).naming(shown, "open a directory above it")?;
            let level = Level::read(opened.as_fd(), ignored.above.len(), at.as_os_str().as_bytes())?;
            ignored.levels.push(level);
            ignored.above.extend_from_slice(name.as_bytes());
            ignored.above.push(b'/');
            at.push(name);
        }
        Ok(ignored)
    }

    /// The walk goes into a directory, at first into its root. `path` is from there.
    pub(crate) fn enter(&mut self, directory: BorrowedFd<'_>, path: &[u8]) -> Result<()> {
        let mut level = Level::empty(self.start(path));
        level.is_git = self.is_git() || is_git(path);
        if !level.is_git {
            level = Level::read(directory, level.start, path)?;
        }
        self.levels.push(level);
        Ok(())
    }

    /// The walk goes into a directory whose own files do not count.
    pub(crate) fn pass(&mut self, path: &[u8]) {
        let is_git = self.is_git() || is_git(path);
        self.levels.push(Level { is_git, ..Level::empty(self.start(path)) });
    }

    pub(crate) fn leave(&mut self) {
        self.levels.pop();
    }

    /// Whether a name of the directory where the walk is, or of one below that the walk has passed over, is ignored.
    pub(crate) fn is(&self, path: &[u8], is_directory: bool) -> bool {
        if self.is_git() || is_git(path) {
            return false;
        }
        let whole = [&self.above, path].concat();
        let of = |files: fn(&Level) -> Option<&Gitignore>| {
            self.levels.iter().rev().find_map(|level| {
                let path = Path::new(OsStr::from_bytes(whole.get(level.start..)?));
                let found = files(level)?.matched(path, is_directory);
                (!found.is_none()).then(|| found.is_ignore())
            })
        };
        of(|level| level.ignore.as_ref()).or_else(|| of(|level| level.gitignore.as_ref())).unwrap_or(false)
    }

    fn is_git(&self) -> bool {
        self.levels.last().is_some_and(|level| level.is_git)
    }

    fn start(&self, path: &[u8]) -> usize {
        self.above.len() + path.len() + usize::from(!path.is_empty())
    }
}

/// Whether a path ends in git's own directory.
pub(crate) fn is_git(path: &[u8]) -> bool {
    path.rsplit(|byte| *byte == b'/').next() == Some(b".git")
}

impl Level {
    fn empty(start: usize) -> Self {
        Self { start, ignore: None, gitignore: None, is_git: false }
    }

    fn read(directory: BorrowedFd<'_>, start: usize, path: &[u8]) -> Result<Self> {
        Ok(Self {
            ignore: patterns(directory, c".ignore", path)?,
            gitignore: patterns(directory, c".gitignore", path)?,
            ..Self::empty(start)
        })
    }
}

/// The patterns in one file, if there is any.
pub(crate) fn patterns(directory: BorrowedFd<'_>, name: &CStr, path: &[u8]) -> Result<Option<Gitignore>> {
    let path = [path, b"/", name.to_bytes()].concat();
    // git follows no links here either.
    let Some((file, _)) = content::open_regular_at(directory, name, &path)? else { return Ok(None) };
    // One more byte than there may be.
    let text = content::read(&file, IGNORE_FILE_BYTES_MAX as u64 + 1, &path)?;
    if text.len() > IGNORE_FILE_BYTES_MAX {
        return Err(Error::limit(format!("{} is larger than {IGNORE_FILE_BYTES_MAX} bytes", shown(&path))));
    }
    let text = text.strip_prefix(b"\xef\xbb\xbf").unwrap_or(&text);
    let mut builder = GitignoreBuilder::new("");
    for line in text.split(|byte| *byte == b'\n') {
        if let Ok(line) = std::str::from_utf8(line) {
            // What is no pattern matches nothing.
            let _ = builder.add_line(None, line);
        }
    }
    let built = builder.build().map_err(|error| {
        Error::new(ErrorKind::Limit, format!("{} holds patterns that cannot be matched: {error}", shown(&path)))
    })?;
    Ok((!built.is_empty()).then_some(built))
}

#[cfg(test)]
mod tests;
