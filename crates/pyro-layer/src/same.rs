//! Whether a layer still is what a copy of it says, in all that a copy keeps: content, owners, modes, times, attributes, hard links, whiteouts. The time
//! of a layer's own root is left out, as something that comes and goes there changes it.
//!
//! It is for small layers, and reads both. Nobody may be writing to either; somebody who does is told a difference, or none that he has just made.

use std::collections::HashMap;
use std::ffi::CStr;
use std::ops::ControlFlow;
use std::os::fd::AsFd;
use std::path::Path;

use rustix::fs::{self, FileType, Stat};

use crate::Progress;
use crate::attributes;
use crate::beneath::{self, Descent, Entry, Mounts, WalkPath};
use crate::content::{self, Content};
use crate::entry::Purpose;
use crate::error::{Naming, Result};

/// Whether two layers say the same.
///
/// # Errors
/// When one cannot be read.
pub fn is_same_layer(one: &Path, other: &Path) -> Result<bool> {
    let open = |layer: &Path| {
        let root = beneath::open_root(layer).and_then(Descent::new);
        root.naming(layer.as_os_str().as_encoded_bytes(), "open the layer")
    };
    let mut comparison = Comparison {
        one: open(one)?,
        other: open(other)?,
        path: WalkPath::default(),
        twins: HashMap::new(),
        content: Content::new(),
        buffer: Vec::new(),
    };
    comparison.run()
}

struct Comparison {
    one: Descent,
    other: Descent,
    path: WalkPath,
    /// Of each file with more names than one: which it is in the other layer.
    twins: HashMap<u64, u64>,
    content: Content,
    buffer: Vec<u8>,
}

impl Comparison {
    fn run(&mut self) -> Result<bool> {
        let Some(entries) = self.entries()? else { return Ok(false) };
        let mut left = vec![entries];
        while let Some(entries) = left.last_mut() {
            let Some(Entry { name, .. }) = entries.pop() else {
                left.pop();
                if self.one.depth() > 0 {
                    self.one.leave().and_then(|()| self.other.leave()).naming(self.path.here(), "go back up from it")?;
                    self.path.leave();
                }
                continue;
            };
            let path = self.path.join(&name);
            let stat = |descent: &Descent| beneath::stat(descent.here(), &name).naming(&path, "look at it");
            let stats = (stat(&self.one)?, stat(&self.other)?);
            if !self.is_same_entry(&name, &path, &stats)? {
                return Ok(false);
            }
            if FileType::from_raw_mode(stats.0.st_mode) == FileType::Directory {
                let enter = |descent: &mut Descent| descent.enter(&name, Mounts::Stay).naming(&path, "open it");
                enter(&mut self.one)?;
                enter(&mut self.other)?;
                self.path.enter(&name);
                match self.entries()? {
                    Some(entries) => left.push(entries),
                    None => return Ok(false),
                }
            }
        }
        Ok(true)
    }

    /// The names in both directories; `None` when these are not the same, or the directories are not.
    fn entries(&mut self) -> Result<Option<Vec<Entry>>> {
        let here = self.path.here();
        let look = |descent: &Descent| fs::fstat(descent.here()).naming(here, "look at it");
        let mut stats = (look(&self.one)?, look(&self.other)?);
        if self.one.depth() == 0 {
            (stats.1.st_mtime, stats.1.st_mtime_nsec) = (stats.0.st_mtime, stats.0.st_mtime_nsec);
        }
        // Most often this tells them apart.
        if !is_same_metadata(&stats) {
            return Ok(None);
        }
        let list = |descent: &Descent| {
            let mut entries = beneath::list(descent.here()).naming(here, "list it")?;
            entries.sort_unstable();
            Ok(entries)
        };
        let entries = list(&self.one)?;
        if entries != list(&self.other)? {
            return Ok(None);
        }
        let mut kept = |descent: &Descent| attributes::of_layer(descent.here(), here, true, &mut self.buffer);
        Ok((kept(&self.one)? == kept(&self.other)?).then_some(entries))
    }

    /// Whether what has one name is the same; directories are looked at when they are entered.
    fn is_same_entry(&mut self, name: &CStr, path: &[u8], stats: &(Stat, Stat)) -> Result<bool> {
        let kind = FileType::from_raw_mode(stats.0.st_mode);
        if kind != FileType::from_raw_mode(stats.1.st_mode) {
            return Ok(false);
        }
        match kind {
            FileType::Directory => return Ok(true),
            // A whiteout: it has nothing else to it, and shares its inode with others as it comes.
            FileType::CharacterDevice => return Ok(stats.0.st_rdev == stats.1.st_rdev),
            _ => {}
        }
        if !is_same_metadata(stats) || stats.0.st_size != stats.1.st_size || !self.are_twins(stats) {
            return Ok(false);
        }
        match kind {
            FileType::RegularFile => self.is_same_file(name, path, content::size(&stats.0)),
            FileType::Symlink => {
                let target = |descent: &Descent| fs::readlinkat(descent.here(), name, Vec::new()).naming(path, "read the link");
                Ok(target(&self.one)? == target(&self.other)?)
            }
            _ => Ok(true),
        }
    }

    /// Whether two names are of the same file in both, as far as files have several.
    fn are_twins(&mut self, (one, other): &(Stat, Stat)) -> bool {
        if one.st_nlink == 1 && other.st_nlink == 1 {
            return true;
        }
        one.st_nlink == other.st_nlink && *self.twins.entry(one.st_ino).or_insert(other.st_ino) == other.st_ino
    }

    fn is_same_file(&mut self, name: &CStr, path: &[u8], size: u64) -> Result<bool> {
        let open = |descent: &Descent| content::open_regular_at(descent.here(), name, path);
        let (Some((one, _)), Some((other, _))) = (open(&self.one)?, open(&self.other)?) else { return Ok(false) };
        let (one, other) = (one.as_fd(), other.as_fd());
        let mut kept = |file| attributes::of_layer(file, path, false, &mut self.buffer);
        if kept(one)? != kept(other)? {
            return Ok(false);
        }
        self.content.is_same(one, other, size, path, &mut Progress::default(), &mut |_| ControlFlow::Continue(()))
    }
}

/// Owner, mode and time, as a copy of a layer gets them.
fn is_same_metadata((one, other): &(Stat, Stat)) -> bool {
    Purpose::Layer.metadata(one) == Purpose::Layer.metadata(other)
}

#[cfg(test)]
mod tests;
