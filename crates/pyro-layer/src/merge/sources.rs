//! The layers of three states, each opened once, and what is read from them by paths that a comparison gave.
//!
//! Sealed layers do not change, but that is for others to see to: what is not as it was met ends the merge.

use std::ffi::CString;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::PathBuf;

use rustix::fs::{self, AtFlags, FileType, OFlags, Stat};
use rustix::io::Errno;

use super::{MergeStacks, Origin};
use crate::beneath;
use crate::content::{self, Content};
use crate::diff::{Kind, Side};
use crate::error::{Error, ErrorKind, Naming, Result, shown};
use crate::stack::open_layers;
use crate::{Progress, Watch};

pub(super) struct Sources {
    layers: Vec<OwnedFd>,
    base: Vec<usize>,
    ours: Vec<usize>,
    theirs: Vec<usize>,
}

impl Sources {
    pub(super) fn open(stacks: &MergeStacks) -> Result<Self> {
        let mut paths = Vec::new();
        let [base, ours, theirs] = [&stacks.base, &stacks.ours, &stacks.theirs].map(|stack| places(stack, &mut paths));
        Ok(Self { layers: open_layers(paths.into_iter())?, base, ours, theirs })
    }

    fn stack(&self, origin: Origin) -> &[usize] {
        match origin {
            Origin::Base => &self.base,
            Origin::Ours => &self.ours,
            Origin::Theirs => &self.theirs,
        }
    }

    fn layer(&self, origin: Origin, side: Side) -> BorrowedFd<'_> {
        self.layers[self.stack(origin)[side.layer]].as_fd()
    }

    /// Whether a directory is one of the layers.
    pub(super) fn has(&self, directory: &Stat) -> Result<bool> {
        for layer in &self.layers {
            let stat = fs::fstat(layer).naming(b"", "look at a layer")?;
            if (stat.st_dev, stat.st_ino) == (directory.st_dev, directory.st_ino) {
                return Ok(true);
            }
        }
        Ok(false)
    }

    pub(super) fn stat(&self, origin: Origin, side: Side, path: &[u8]) -> Result<Stat> {
        match beneath::open_beneath(self.layer(origin, side), path, OFlags::PATH) {
            Ok(found) => fs::statat(&found, c"", AtFlags::EMPTY_PATH).naming(path, "look at it"),
            Err(Errno::NOENT | Errno::NOTDIR | Errno::LOOP) => Err(changed(path)),
            Err(errno) => Err(errno).naming(path, "look at it"),
        }
    }

    pub(super) fn file(&self, origin: Origin, side: Side, path: &[u8]) -> Result<(OwnedFd, Stat)> {
        content::open_regular(self.layer(origin, side), path)?.ok_or_else(|| changed(path))
    }

    pub(super) fn target(&self, origin: Origin, side: Side, path: &[u8]) -> Result<CString> {
        content::read_target(self.layer(origin, side), path)?.ok_or_else(|| changed(path))
    }

    pub(super) fn directory(&self, origin: Origin, side: Side, path: &[u8]) -> Result<OwnedFd> {
        open_directory(self.layer(origin, side), path)?.ok_or_else(|| changed(path))
    }

    /// A directory that a state is known to have, in the layer that says what it is like: the uppermost that has it at all, for if something above
    /// hid that, it would hide what is below too.
    pub(super) fn known_directory(&self, origin: Origin, path: &[u8]) -> Result<OwnedFd> {
        for &layer in self.stack(origin) {
            if let Some(found) = open_directory(self.layers[layer].as_fd(), path)? {
                return Ok(found);
            }
        }
        Err(changed(path))
    }

    /// Content as text, a link's target too; `None` for what is larger than `bytes_max` and what is no text.
    pub(super) fn text(&self, origin: Origin, side: Side, path: &[u8], bytes_max: u64) -> Result<Option<String>> {
        if side.size_bytes > bytes_max {
            return Ok(None);
        }
        match side.kind {
            Kind::File => Ok(content::text(content::read(&self.file(origin, side, path)?.0, side.size_bytes, path)?).ok()),
            Kind::Symlink => Ok(content::text(self.target(origin, side, path)?.into_bytes()).ok()),
            Kind::Directory | Kind::Other => Ok(None),
        }
    }

    /// Whether two states have the same at a path, whatever the permission bits.
    pub(super) fn is_same(
        &self,
        path: &[u8],
        (ours, theirs): (Side, Side),
        content: &mut Content,
        progress: &mut Progress,
        watch: Watch<'_>,
    ) -> Result<bool> {
        if ours.kind != theirs.kind || ours.size_bytes != theirs.size_bytes {
            return Ok(false);
        }
        match ours.kind {
            Kind::Directory => Ok(true),
            Kind::Symlink => Ok(self.target(Origin::Ours, ours, path)? == self.target(Origin::Theirs, theirs, path)?),
            Kind::Other => {
                let kind = |origin, side| Ok(FileType::from_raw_mode(self.stat(origin, side, path)?.st_mode));
                Ok(kind(Origin::Ours, ours)? == kind(Origin::Theirs, theirs)?)
            }
            Kind::File => {
                let (our_file, _) = self.file(Origin::Ours, ours, path)?;
                let (their_file, _) = self.file(Origin::Theirs, theirs, path)?;
                content.is_same(our_file.as_fd(), their_file.as_fd(), ours.size_bytes, path, progress, watch)
            }
        }
    }
}

/// Where a stack's layers are among all that are to be opened.
fn places<'a>(stack: &'a [PathBuf], all: &mut Vec<&'a PathBuf>) -> Vec<usize> {
    let mut place = |layer| {
        all.iter().position(|known| *known == layer).unwrap_or_else(|| {
            all.push(layer);
            all.len() - 1
        })
    };
    stack.iter().map(&mut place).collect()
}

fn open_directory(layer: BorrowedFd<'_>, path: &[u8]) -> Result<Option<OwnedFd>> {
    match beneath::open_beneath(layer, path, OFlags::RDONLY | OFlags::DIRECTORY) {
        Ok(found) => Ok(Some(found)),
        Err(Errno::NOENT | Errno::NOTDIR | Errno::LOOP) => Ok(None),
        Err(errno) => Err(errno).naming(path, "open it"),
    }
}

pub(super) fn changed(path: &[u8]) -> Error {
    Error::new(ErrorKind::Changed, format!("{} was changed while it was merged", shown(path)))
}
