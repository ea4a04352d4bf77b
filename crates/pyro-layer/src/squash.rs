//! Making one layer of several that lie upon each other, so that it says the same as they do together.
//!
//! The layers are sealed: nothing writes to them now or later. So their files need not be copied but can get another name in the result, where that is
//! on the same file system, and nobody may ever write to a file of the result either. Overlayfs shows how many names a file has, so that is seen
//! inside ([`SharedFiles`]). Their directories are merged, and what they say about layers below all of them is said by the result.
//!
//! Only the marks that the mounts obey are obeyed ([`Marks`]): anybody inside may have set the others.

use std::ffi::{CStr, CString};
use std::os::fd::AsFd;
use std::path::PathBuf;

use rustix::fs::{self, AtFlags, FileType, Stat};
use rustix::io::Errno;

use crate::Watch;
use crate::beneath::{self, Descent, Mounts, RawKind, WalkPath};
use crate::copy::Copied;
use crate::entry::{Copier, Found, Purpose};
use crate::error::{Error, ErrorKind, Naming, Result, shown};
use crate::import::{open_empty, refuse_containing};
use crate::limits::SQUASHED_LAYERS_MAX;
use crate::marks::Marks;
use crate::tree::moved;
use crate::writer;

/// How the result gets the files of the layers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SharedFiles {
    /// As further names of theirs: at once, and without room. Programs that look at the number of names see it; gzip refuses a file with two.
    Links,
    /// As copies, which share their blocks where the file system can do that.
    Copies,
}

/// Makes one layer of `layers`, uppermost first, which lie directly upon each other in a stack. With `is_bottom`, nothing lies below them, and
/// the result says nothing about what is gone.
///
/// # Errors
/// `Refused` for what [`crate::copy_layer`] refuses; `Limit` for more than [`SQUASHED_LAYERS_MAX`] layers; `Changed` when a layer is not sealed after
/// all. `to` then holds a part, to be discarded.
pub fn squash(
    layers: &[PathBuf],
    to: &std::path::Path,
    is_bottom: bool,
    files: SharedFiles,
    marks: Marks,
    watch: Watch<'_>,
) -> Result<Copied> {
    if layers.is_empty() || layers.len() > SQUASHED_LAYERS_MAX {
        return Err(Error::limit(format!(
            "{} layers were to be made one, and it is 1 to {SQUASHED_LAYERS_MAX} at a time",
            layers.len()
        )));
    }
    let to = open_empty(to)?;
    let mut sources = Vec::with_capacity(layers.len());
    for layer in layers {
        let root = beneath::open_root(layer).naming(layer.as_os_str().as_encoded_bytes(), "open the layer")?;
        refuse_containing(&root, &to)?;
        sources.push(Source { walk: Descent::new(root).naming(b"", "open the layer")?, gives_links: files == SharedFiles::Links });
    }
    let mut squash = Squash {
        copier: Copier::new(to.as_fd(), Purpose::Squash(marks), watch)?,
        to: Descent::new(to).naming(b"", "open the destination")?,
        sources,
        marks,
        path: WalkPath::default(),
        frames: Vec::new(),
        linked_count: 0,
    };
    squash.run(is_bottom)?;
    Ok(Copied { linked_count: squash.linked_count, ..Copied::from(&squash.copier.tally) })
}

struct Squash<'a> {
    copier: Copier<'a>,
    to: Descent,
    sources: Vec<Source>,
    marks: Marks,
    path: WalkPath,
    frames: Vec<Frame>,
    linked_count: u64,
}

/// One of the layers.
struct Source {
    walk: Descent,
    /// Its files can get further names where the result is.
    gives_links: bool,
}

/// One directory of the result.
struct Frame {
    /// Names in the layers that it is merged of, in reverse order, each with its layer: the uppermost of a name comes last.
    left: Vec<(CString, usize)>,
    /// The layers that it is merged of, uppermost first.
    parts: Vec<usize>,
    /// As the uppermost of them has it.
    stat: Stat,
    /// It hides a directory of layers below the result.
    is_opaque: bool,
    /// Nothing of layers below the result shows through here, so nothing has to be hidden.
    is_bottom: bool,
    /// It has a whiteout.
    hides_names: bool,
}

impl Squash<'_> {
    fn run(&mut self, is_bottom: bool) -> Result<()> {
        let stat = fs::fstat(self.sources[0].walk.here()).naming(b"", "look at it")?;
        // Overlayfs merges the roots of all layers, whatever they say.
        self.push((0..self.sources.len()).collect(), stat, Opacity { is_opaque: false, is_bottom })?;
        while let Some(frame) = self.frames.last_mut() {
            let Some((name, layer)) = frame.left.pop() else {
                self.finish_directory()?;
                continue;
            };
            let mut holders = vec![layer];
            while let Some((_, layer)) = frame.left.pop_if(|(other, _)| *other == name) {
                holders.push(layer);
            }
            self.merge(&name, &holders)?;
            self.copier.look_up()?;
        }
        Ok(())
    }

    /// Puts into the result what the layers together have at a name. `holders` have something there, uppermost first.
    fn merge(&mut self, name: &CStr, holders: &[usize]) -> Result<()> {
        let path = self.path.join(name);
        let frame = self.frames.last_mut().expect("a name has a directory");
        let mut merged: Option<Stat> = None;
        let mut parts = Vec::new();
        let mut is_opaque = false;
        for &layer in holders {
            let walk = &mut self.sources[layer].walk;
            let stat = beneath::stat(walk.here(), name).map_err(|errno| unsealed(&path, errno))?;
            let is_whiteout = self.marks.is_whiteout(walk.here(), name, &stat).map_err(|errno| unsealed(&path, errno))?;
            if is_whiteout || FileType::from_raw_mode(stat.st_mode) != FileType::Directory {
                if merged.is_some() {
                    // Directories of lower layers do not show through it.
                    is_opaque = true;
                } else if !is_whiteout {
                    return self.take(layer, name, &path, &stat);
                } else if !frame.is_bottom {
                    self.copier.whiteouts.make(self.to.here(), name, &path)?;
                    self.copier.tally.entry_count += 1;
                    frame.hides_names = true;
                }
                break;
            }
            let stat = walk.enter(name, Mounts::Stay).map_err(|errno| match errno {
                Errno::XDEV => Error::refused(&path, "is another mount"),
                errno => unsealed(&path, errno),
            })?;
            merged.get_or_insert(stat);
            parts.push(layer);
            if self.marks.is_opaque(walk.here()).naming(&path, "read an attribute")? {
                is_opaque = true;
                break;
            }
        }
        let Some(stat) = merged else { return Ok(()) };
        let opacity = Opacity { is_opaque: is_opaque && !frame.is_bottom, is_bottom: is_opaque || frame.is_bottom };
        writer::make_directory(self.to.here(), name, &path)?;
        self.to.enter(name, Mounts::Stay).naming(&path, "open the copy of it")?;
        self.path.enter(name);
        self.copier.links.enter(name);
        self.copier.tally.entry_count += 1;
        self.push(parts, stat, opacity)
    }

    /// Begins with a directory that has been entered in `parts`.
    fn push(&mut self, parts: Vec<usize>, stat: Stat, opacity: Opacity) -> Result<()> {
        let mut left = Vec::new();
        for &layer in &parts {
            let entries = beneath::list(self.sources[layer].walk.here()).naming(self.path.here(), "list it")?;
            left.extend(entries.into_iter().map(|entry| (entry.name, layer)));
        }
        left.sort_unstable_by(|one, other| other.cmp(one));
        let Opacity { is_opaque, is_bottom } = opacity;
        self.frames.push(Frame { left, parts, stat, is_opaque, is_bottom, hides_names: false });
        Ok(())
    }

    fn finish_directory(&mut self) -> Result<()> {
        let frame = self.frames.pop().expect("run looks at the last frame");
        let (to, path) = (self.to.here(), self.path.here());
        if frame.is_opaque {
            self.marks.make_opaque(to, path)?;
        }
        if frame.hides_names {
            self.marks.make_merged(to, path)?;
        }
        self.copier.finish(self.sources[frame.parts[0]].walk.here(), to, &frame.stat, path)?;
        if !self.frames.is_empty() {
            for layer in frame.parts {
                self.sources[layer].walk.leave().map_err(|errno| moved(self.path.here(), errno))?;
            }
            self.to.leave().naming(self.path.here(), "go back up from the copy of it")?;
            self.path.leave();
            self.copier.links.leave();
        }
        Ok(())
    }

    /// What is no directory, from the layer that decides.
    fn take(&mut self, layer: usize, name: &CStr, path: &[u8], stat: &Stat) -> Result<()> {
        match FileType::from_raw_mode(stat.st_mode) {
            FileType::CharacterDevice | FileType::BlockDevice => return Err(Error::refused(path, "is a device")),
            _ if self.sources[layer].gives_links => match self.link(layer, name) {
                Ok(()) => {
                    self.copier.tally.entry_count += 1;
                    self.linked_count += 1;
                    return Ok(());
                }
                Err(Errno::XDEV) => self.sources[layer].gives_links = false,
                // This one has all the names that it can have, or is protected from getting more.
                Err(Errno::MLINK | Errno::PERM) => {}
                Err(errno) => return Err(unsealed(path, errno)),
            },
            _ => {}
        }
        let from = self.sources[layer].walk.here();
        match self.copier.copy(from, self.to.here(), name, RawKind::Unknown, &self.path)? {
            Found::Copied => Ok(()),
            Found::LeftOut | Found::Vanished | Found::Directory => Err(unsealed(path, Errno::NOENT)),
        }
    }

    fn link(&self, layer: usize, name: &CStr) -> rustix::io::Result<()> {
        fs::linkat(self.sources[layer].walk.here(), name, self.to.here(), name, AtFlags::empty())
    }
}

/// What a directory of the result has to do with the layers below the result.
struct Opacity {
    is_opaque: bool,
    is_bottom: bool,
}

/// A name that was listed a moment ago cannot be looked at.
fn unsealed(path: &[u8], errno: Errno) -> Error {
    match errno {
        Errno::NOENT | Errno::NOTDIR | Errno::LOOP => {
            Error::new(ErrorKind::Changed, format!("{} changed, and a sealed layer never does", shown(path)))
        }
        errno => Error::system(path, "look at it", errno),
    }
}

#[cfg(test)]
mod tests;
