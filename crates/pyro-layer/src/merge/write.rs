//! Writing the layer that a merge comes to.
//!
//! Steps come in the order of the tree, so the way leads through it once: each directory of the new layer is made when the first thing in it is, and
//! gets its metadata when the last is. How ours looks is read along the way, from its layers: whether a directory is there already, what it is like,
//! and whether there is anything to delete.

use std::ffi::CStr;
use std::os::fd::{AsFd, OwnedFd};

use rustix::fs::{self, FileType, Stat};

use super::sources::{Sources, changed};
use super::{MergeStacks, NewLayer, Origin, Step, What, Written};
use crate::Watch;
use crate::beneath::{self, Descent, Mounts};
use crate::content::stamp;
use crate::diff::{Kind, Side, is_at_or_below};
use crate::entry::{Copier, Found, Purpose};
use crate::error::{Error, Naming, Result};
use crate::import::open_empty;
use crate::layers::Layers;
use crate::marks::Marks;
use crate::stack::open_layers;
use crate::writer;

pub(super) fn write(
    steps: &[Step],
    sources: &Sources,
    stacks: &MergeStacks,
    into: NewLayer<'_>,
    watch: Watch<'_>,
) -> Result<Written> {
    let root = open_empty(into.directory)?;
    let name = into.directory.as_os_str().as_encoded_bytes();
    if sources.has(&fs::fstat(&root).naming(name, "look at it")?)? {
        return Err(Error::refused(name, "is a layer of what is to be merged"));
    }
    let ours = Layers::new(open_layers(stacks.ours.iter())?, stacks.marks)?;
    let mut writing = Writing {
        steps,
        sources,
        copier: Copier::new(root.as_fd(), Purpose::Shown(into.owners, stacks.marks), watch)?,
        to: Descent::new(root).naming(name, "open the directory")?,
        ours,
        frames: Vec::new(),
        marks: stacks.marks,
    };
    writing.run(stacks.ours.len())?;
    Ok(writing.copier.tally.into())
}

struct Writing<'a> {
    steps: &'a [Step],
    sources: &'a Sources,
    /// Writes into the new layer, and knows the other names of what it has written.
    copier: Copier<'a>,
    /// The new layer, where the walk is.
    to: Descent,
    /// Ours, at the same place as far as it has it.
    ours: Layers,
    frames: Vec<Frame>,
    marks: Marks,
}

/// A directory of the new layer that is being filled.
struct Frame {
    /// Layers of ours that make it up there; none when ours has no such directory.
    parts: Vec<usize>,
    /// What it is to be like when everything is in it.
    like: Like,
}

/// Where a directory of the new layer has its metadata from.
#[derive(Clone, Copy)]
enum Like {
    /// The directory of ours at the same place.
    Ours,
    /// What a state has at the same place, with these permission bits.
    Put(Origin, Side, u32),
    /// What theirs has at the same place, where ours has none.
    Theirs,
}

impl Writing<'_> {
    fn run(&mut self, layer_count: usize) -> Result<()> {
        self.frames.push(Frame { parts: (0..layer_count).collect(), like: Like::Ours });
        // What is no directory in the end has nothing below.
        let mut closed: Option<&[u8]> = None;
        for step in self.steps {
            if closed.is_some_and(|closed| is_at_or_below(&step.path, closed)) {
                continue;
            }
            let (above, name) = beneath::split(&step.path);
            self.go_to(above)?;
            let name = beneath::c_name(name).naming(&step.path, "write it")?;
            match &step.what {
                What::Put { from, side, mode, .. } if side.kind == Kind::Directory => {
                    self.enter(&name, Some(Like::Put(*from, *side, *mode)))?;
                }
                What::Delete => self.delete(&name, &step.path)?,
                What::Put { from, side, mode, text } => self.put(&name, &step.path, (*from, *side), *mode, text.as_deref())?,
            }
            if self.ours.path().here() != step.path {
                closed = Some(&step.path);
            }
            self.copier.look_up()?;
        }
        while !self.frames.is_empty() {
            self.leave()?;
        }
        Ok(())
    }

    /// Goes to a directory of the new layer, making those on the way that are not there yet.
    fn go_to(&mut self, directory: &[u8]) -> Result<()> {
        while !is_at_or_below(directory, self.ours.path().here()) {
            self.leave()?;
        }
        let rest = &directory[self.ours.path().here().len()..];
        for name in rest.split(|byte| *byte == b'/').filter(|name| !name.is_empty()) {
            self.enter(&beneath::c_name(name).naming(directory, "make it")?, None)?;
        }
        Ok(())
    }

    /// Makes a directory and goes into it. Without `like` it is as ours has it, or theirs when ours has none.
    fn enter(&mut self, name: &CStr, like: Option<Like>) -> Result<()> {
        let path = self.ours.path().join(name);
        let parts_above = &self.frames.last().expect("the root is left last").parts;
        let met = self.ours.find(parts_above, name)?.filter(|met| !met.parts.is_empty());
        // A new directory must not show what layers further down have under its name. In one that is new itself nothing is below.
        let is_opaque = met.is_none() && !parts_above.is_empty();
        let like = like.unwrap_or(if met.is_some() { Like::Ours } else { Like::Theirs });
        let parts = met.map_or_else(Vec::new, |met| met.parts);
        if !self.ours.enter(name, &parts)? {
            return Err(changed(&path));
        }
        writer::make_directory(self.to.here(), name, &path)?;
        self.to.enter(name, Mounts::Stay).naming(&path, "open what was made of it")?;
        self.copier.links.enter(name);
        if is_opaque {
            self.marks.make_opaque(self.to.here(), &path)?;
        }
        self.frames.push(Frame { parts, like });
        self.copier.tally.entry_count += 1;
        Ok(())
    }

    fn leave(&mut self) -> Result<()> {
        let frame = self.frames.pop().expect("a directory that was entered is left");
        let path = self.ours.path().here();
        let opened = match frame.like {
            Like::Ours => None,
            Like::Put(from, side, _) => Some(self.sources.directory(from, side, path)?),
            Like::Theirs => Some(self.sources.known_directory(Origin::Theirs, path)?),
        };
        let like = opened.as_ref().map_or_else(|| self.ours.here(frame.parts[0]), AsFd::as_fd);
        let mut stat = fs::fstat(like).naming(path, "look at it")?;
        if let Like::Put(_, _, mode) = frame.like {
            set_mode(&mut stat, mode);
        }
        self.copier.finish(like, self.to.here(), &stat, path)?;
        if !self.frames.is_empty() {
            self.to.leave().naming(self.ours.path().here(), "go back up from what was made of it")?;
            self.ours.leave(&frame.parts)?;
            self.copier.links.leave();
        }
        Ok(())
    }

    /// Writes a deletion, where there is something to delete.
    fn delete(&mut self, name: &CStr, path: &[u8]) -> Result<()> {
        let parts = &self.frames.last().expect("a name has a directory").parts;
        if self.ours.find(parts, name)?.is_some() {
            self.copier.whiteouts.make(self.to.here(), name, path)?;
            self.copier.tally.entry_count += 1;
        }
        Ok(())
    }

    /// What is no directory.
    fn put(&mut self, name: &CStr, path: &[u8], (from, side): (Origin, Side), mode: u32, text: Option<&str>) -> Result<()> {
        // Only what is wholly as one state has it can be the same file as another of its names.
        let is_whole = text.is_none() && mode == side.mode;
        let as_put = |mut stat: Stat| {
            if !is_whole {
                stat.st_nlink = 1;
                set_mode(&mut stat, mode);
            }
            stat
        };
        let stat = self.sources.stat(from, side, path)?;
        let found = match (FileType::from_raw_mode(stat.st_mode), side.kind) {
            (FileType::RegularFile, Kind::File) => {
                let (file, stat) = self.sources.file(from, side, path)?;
                match text {
                    Some(text) => self.put_text(name, path, &file, as_put(stat), text)?,
                    None => self.put_file(name, path, &file, &as_put(stat))?,
                }
            }
            (FileType::Symlink, Kind::Symlink) => {
                let target = self.sources.target(from, side, path)?;
                self.copier.copy_symlink(self.to.here(), name, &target, path, &as_put(stat))?
            }
            (FileType::RegularFile | FileType::Symlink | FileType::Directory, _)
            | (_, Kind::File | Kind::Symlink | Kind::Directory) => return Err(changed(path)),
            (kind, Kind::Other) => self.copier.copy_special(self.to.here(), name, path, &as_put(stat), kind)?,
        };
        match found {
            Found::Copied => Ok(()),
            // It took the place of what ours has.
            Found::LeftOut => self.delete(name, path),
            Found::Vanished | Found::Directory => Err(changed(path)),
        }
    }

    fn put_file(&mut self, name: &CStr, path: &[u8], file: &OwnedFd, stat: &Stat) -> Result<Found> {
        let found = self.copier.copy_file(self.to.here(), name, file, stat, path)?;
        if stamp(stat) != stamp(&fs::fstat(file).naming(path, "look at it")?) {
            return Err(changed(path));
        }
        Ok(found)
    }

    /// A text of nobody's, in a file that is otherwise like one of ours and has the time of now.
    fn put_text(&mut self, name: &CStr, path: &[u8], like: &OwnedFd, mut stat: Stat, text: &str) -> Result<Found> {
        let made = writer::make_file(self.to.here(), name, path)?;
        writer::write_at(made.as_fd(), text.as_bytes(), 0, path)?;
        let now = fs::fstat(&made).naming(path, "look at what was made of it")?;
        (stat.st_mtime, stat.st_mtime_nsec) = (now.st_mtime, now.st_mtime_nsec);
        self.copier.finish(like.as_fd(), made.as_fd(), &stat, path)?;
        self.copier.tally.entry_count += 1;
        self.copier.tally.bytes += text.len() as u64;
        Ok(Found::Copied)
    }
}

fn set_mode(stat: &mut Stat, mode: u32) {
    stat.st_mode = stat.st_mode & !0o7777 | mode;
}
