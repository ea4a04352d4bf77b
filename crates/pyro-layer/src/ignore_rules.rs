//! What [`crate::ignored`] knows, for walks that many threads do together: the rules of a directory are a value of its own, and what is below has those above in it.
//!
//! The files mean the same here. One that cannot be read counts for nothing: who only looks for something shall not be stopped by it.

use std::ffi::OsStr;
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::sync::Arc;

use ignore::gitignore::Gitignore;
use rustix::fs::{self, Mode, OFlags};

use crate::ignored::{is_git, patterns};

/// The `.gitignore` and `.ignore` files that count in one directory. A copy costs next to nothing.
#[derive(Clone, Debug, Default)]
pub struct IgnoreRules {
    nearest: Option<Arc<Level>>,
    /// The path of the walk's root below the top of the work tree, with a slash at its end unless it is empty.
    above: Arc<[u8]>,
    /// It is `.git` or within, where nothing is ignored.
    is_git: bool,
}

#[derive(Debug)]
struct Level {
    /// Where names below this directory begin in a path from the top of the work tree.
    start: usize,
    ignore: Option<Gitignore>,
    gitignore: Option<Gitignore>,
    above: Option<Arc<Level>>,
}

impl IgnoreRules {
    /// For a walk that begins at `source`, which has not been entered yet: those of the directories above it, up to the top of its git work tree.
    #[must_use]
    pub fn above(source: &Path) -> Self {
        let mut rules = Self::default();
        let Ok(source) = source.canonicalize() else { return rules };
        let top = source.ancestors().find(|directory| directory.join(".git").symlink_metadata().is_ok());
        let Some((top, names)) = top.and_then(|top| Some((top, source.strip_prefix(top).ok()?))) else { return rules };
        let mut at = top.to_owned();
        let mut above = Vec::new();
        for name in names {
            if let Ok(opened) = fs::open(&at, OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty()) {
                rules = rules.with(opened.as_fd(), above.len(), at.as_os_str().as_bytes());
            }
            above.extend_from_slice(name.as_bytes());
            above.push(b'/');
            at.push(name);
        }
        rules.above = above.into();
        rules
    }

    /// Those of a directory that the walk enters: of its root, or of one that these are the rules around. `path` is from the root, empty for itself.
    #[must_use]
    pub fn within(&self, directory: BorrowedFd<'_>, path: &[u8]) -> Self {
        if self.is_git || is_git(path) {
            return Self { is_git: true, ..self.clone() };
        }
        self.with(directory, self.above.len() + path.len() + usize::from(!path.is_empty()), path)
    }

    /// Whether something in the directory is ignored. `path` is from the walk's root.
    #[must_use]
    pub fn is_ignored(&self, path: &[u8], is_directory: bool) -> bool {
        if self.nearest.is_none() || self.is_git || is_git(path) {
            return false;
        }
        let whole = [&self.above, path].concat();
        let of = |files: fn(&Level) -> Option<&Gitignore>| {
            std::iter::successors(self.nearest.as_deref(), |level| level.above.as_deref()).find_map(|level| {
                let path = Path::new(OsStr::from_bytes(whole.get(level.start..)?));
                let found = files(level)?.matched(path, is_directory);
                (!found.is_none()).then(|| found.is_ignore())
            })
        };
        of(|level| level.ignore.as_ref()).or_else(|| of(|level| level.gitignore.as_ref())).unwrap_or(false)
    }

    fn with(&self, directory: BorrowedFd<'_>, start: usize, path: &[u8]) -> Self {
        let read = |name| patterns(directory, name, path).ok().flatten();
        let (ignore, gitignore) = (read(c".ignore"), read(c".gitignore"));
        if ignore.is_none() && gitignore.is_none() {
            return self.clone();
        }
        let level = Level { start, ignore, gitignore, above: self.nearest.clone() };
        Self { nearest: Some(Arc::new(level)), ..self.clone() }
    }
}
