//! How much a tree takes on the disk.

use std::collections::HashSet;
use std::path::Path;

use rustix::fs::FileType;
use rustix::io::Errno;

use crate::beneath::{self, Descent, Entry, Mounts, WalkPath};
use crate::error::{Naming, Result};

/// What a tree takes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Usage {
    /// Blocks on the disk, in bytes; a file with several names counts once.
    pub disk_bytes: u64,
    /// Sizes of regular files, once each, holes included.
    pub size_bytes: u64,
    /// Names below the root of the tree.
    pub entry_count: u64,
}

/// Measures a tree without crossing into other mounts. What vanishes meanwhile is not counted.
///
/// # Errors
/// When a directory cannot be read.
pub fn measure(tree: &Path) -> Result<Usage> {
    measure_while(tree, |_| true)
}

/// Whether a tree has at most so many names, with at most so many bytes in them. It is looked at no further than that.
///
/// # Errors
/// As [`measure`].
pub fn is_within(tree: &Path, entries_max: u64, bytes_max: u64) -> Result<bool> {
    let is_within = |usage: &Usage| usage.entry_count <= entries_max && usage.size_bytes <= bytes_max;
    measure_while(tree, is_within).map(|usage| is_within(&usage))
}

/// Measures for as long as it is small enough.
fn measure_while(tree: &Path, goes_on: impl Fn(&Usage) -> bool) -> Result<Usage> {
    let root = beneath::open_root(tree).naming(b"", "open the tree")?;
    let mut usage = Usage { disk_bytes: blocks(&rustix::fs::fstat(&root).naming(b"", "look at it")?), ..Usage::default() };
    let mut seen = HashSet::new();
    let mut path = WalkPath::default();
    let mut left = vec![beneath::list(std::os::fd::AsFd::as_fd(&root)).naming(b"", "list it")?];
    let mut descent = Descent::new(root).naming(b"", "open the tree")?;
    while goes_on(&usage)
        && let Some(entries) = left.last_mut()
    {
        let Some(Entry { name, .. }) = entries.pop() else {
            left.pop();
            if descent.depth() > 0 {
                descent.leave().naming(path.here(), "go back up from it")?;
                path.leave();
            }
            continue;
        };
        let stat = match beneath::stat(descent.here(), &name) {
            Err(Errno::NOENT) => continue,
            other => other.naming(&path.join(&name), "look at it")?,
        };
        usage.entry_count += 1;
        let kind = FileType::from_raw_mode(stat.st_mode);
        if kind == FileType::Directory {
            match descent.enter(&name, Mounts::Stay) {
                Err(Errno::XDEV | Errno::NOENT) => continue,
                other => other.naming(&path.join(&name), "open it")?,
            };
            path.enter(&name);
            left.push(beneath::list(descent.here()).naming(path.here(), "list it")?);
        } else if stat.st_nlink > 1 && !seen.insert((stat.st_dev, stat.st_ino)) {
            continue;
        }
        usage.disk_bytes += blocks(&stat);
        if kind == FileType::RegularFile {
            // A few files that are all hole come to more than there are numbers.
            usage.size_bytes = usage.size_bytes.saturating_add(u64::try_from(stat.st_size).unwrap_or(0));
        }
    }
    Ok(usage)
}

/// Bytes on the disk: `st_blocks` counts 512 bytes on every file system.
pub(crate) fn blocks(stat: &rustix::fs::Stat) -> u64 {
    u64::try_from(stat.st_blocks).unwrap_or(0) * 512
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::is_within;
    use crate::testing::Scratch;

    #[test]
    fn a_tree_is_within_what_it_has_and_not_within_less() {
        let scratch = Scratch::new();
        let tree = scratch.directory("tree");
        fs::create_dir(tree.join("below")).expect("mkdir");
        fs::write(tree.join("below/file"), [0; 10]).expect("write");
        fs::write(tree.join("hole"), []).expect("write");
        let is_within = |entries, bytes| is_within(&tree, entries, bytes).expect("measure");
        assert!(is_within(3, 10) && !is_within(2, 10) && !is_within(3, 9));
        // What is only said to be there counts too: a copy might have to write it.
        fs::File::create(tree.join("hole")).and_then(|hole| hole.set_len(1 << 40)).expect("a hole");
        assert!(!is_within(3, 1 << 20));
    }
}
