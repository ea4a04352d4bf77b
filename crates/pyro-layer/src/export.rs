//! Taking a tree out of a workspace: copying a directory or a file of a merged view to a place outside.
//!
//! Everything in the view was written by an enemy. What leaves belongs to the caller, gives nobody any rights (no set-id bits, no devices), and
//! lies in its own tree: nothing is written through a link on either side. At the destination the result is there whole or not at all;
//! until then it is under a name of its own beside it.

use std::ffi::{CStr, CString};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};

use rustix::fs::{self, AtFlags, FileType, Mode, OFlags, RenameFlags, Stat};
use rustix::io::Errno;

use crate::beneath::{self, RawKind, WalkPath};
use crate::entry::{Copier, ExportedLinks, Found, Purpose, Tally};
use crate::error::{Error, ErrorKind, Naming, Result, shown};
use crate::tree::copy_tree;
use crate::{Watch, remove_tree};

/// How something is exported.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ExportOptions {
    /// Which symbolic links come along.
    pub links: ExportedLinks,
    /// What becomes of what is at the destination.
    pub existing: Existing,
}

/// What becomes of what is at the destination of an export.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Existing {
    /// It stays, and the export fails; an empty directory makes room for a directory.
    #[default]
    Keep,
    /// It goes, with everything in it, when the export has succeeded.
    Replace,
}

/// What was exported.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Exported {
    /// Files, directories and links, without the directory itself that was asked for.
    pub entry_count: u64,
    /// Bytes of file content, holes included.
    pub bytes: u64,
    /// What cannot leave (devices, sockets; FIFOs but in an archive), by name; at most [`crate::limits::SKIPPED_NAMES_MAX`] of them.
    pub skipped: Vec<Vec<u8>>,
    /// How many could not leave.
    pub skipped_count: u64,
    /// Links that [`ExportedLinks::InsideOnly`] kept back, by name; as many.
    pub links_left_out: Vec<Vec<u8>>,
    /// How many links were kept back.
    pub links_left_out_count: u64,
    /// Attributes that the destination does not take.
    pub attributes_left_behind: u64,
}

impl From<Tally> for Exported {
    fn from(tally: Tally) -> Self {
        Self {
            entry_count: tally.entry_count,
            bytes: tally.bytes,
            skipped: tally.skipped.kept,
            skipped_count: tally.skipped.count,
            links_left_out: tally.links_left_out.kept,
            links_left_out_count: tally.links_left_out.count,
            attributes_left_behind: tally.attributes_left_behind,
        }
    }
}

/// Copies what is at `path` below `root` (the root itself when it is empty) to `destination` outside, as the caller's own.
///
/// # Errors
/// `Refused` when the path leads through a link or names what cannot leave, or when something is at the destination; the others as they say.
/// The destination is then as it was; unless it has been replaced and the error names what of the old tree could not be removed.
pub fn export_directory(
    root: BorrowedFd<'_>,
    path: &[u8],
    destination: &Path,
    options: ExportOptions,
    watch: Watch<'_>,
) -> Result<Exported> {
    let place = Place::find(destination)?;
    match Source::open(root, path)? {
        Source::Directory(from) => {
            place.check(FileType::Directory, options.existing)?;
            let unfinished = Unfinished::make(&place.above)?;
            let tally = copy_tree(from, unfinished.open()?, Purpose::Export(options.links), watch)?;
            place.take(place.above.as_fd(), &unfinished.name, FileType::Directory, options.existing)?;
            unfinished.clear()?;
            Ok(tally.into())
        }
        Source::Entry { above, name } => {
            place.check(FileType::RegularFile, options.existing)?;
            let unfinished = Unfinished::make(&place.above)?;
            let held = unfinished.open()?;
            let mut copier = Copier::new(held.as_fd(), Purpose::Export(options.links), watch)?;
            let found = copier.copy(above.as_fd(), held.as_fd(), &name, RawKind::Unknown, &WalkPath::default())?;
            copier.look_up()?;
            match found {
                Found::Copied => {}
                Found::LeftOut => return Err(Error::refused(path, "cannot leave: it is no file, directory or allowed link")),
                Found::Vanished | Found::Directory => return Err(changed(path)),
            }
            place.take(held.as_fd(), &name, FileType::RegularFile, options.existing)?;
            unfinished.clear()?;
            Ok(copier.tally.into())
        }
    }
}

/// What is to be exported.
pub(crate) enum Source {
    Directory(OwnedFd),
    Entry { above: OwnedFd, name: CString },
}

impl Source {
    /// Finds a path below a root through real directories only.
    pub(crate) fn open(root: BorrowedFd<'_>, path: &[u8]) -> Result<Self> {
        let names: Vec<&[u8]> = path.split(|byte| *byte == b'/').filter(|name| !name.is_empty() && *name != b".").collect();
        if names.contains(&b"..".as_slice()) {
            return Err(Error::refused(path, "holds `..`"));
        }
        let open = |names: &[&[u8]]| match beneath::open_beneath(root, &names.join(&b'/'), OFlags::RDONLY | OFlags::DIRECTORY) {
            Err(Errno::LOOP | Errno::NOTDIR | Errno::XDEV) => {
                Err(Error::refused(path, "leads through something that is no directory of the workspace"))
            }
            other => other.naming(path, "open it"),
        };
        let Some((last, above)) = names.split_last() else { return open(&names).map(Self::Directory) };
        let above = open(above)?;
        let name = beneath::c_name(last).naming(path, "open it")?;
        let stat = beneath::stat(&above, &name).naming(path, "look at it")?;
        if FileType::from_raw_mode(stat.st_mode) == FileType::Directory {
            return open(&names).map(Self::Directory);
        }
        Ok(Self::Entry { above, name })
    }
}

pub(crate) fn changed(path: &[u8]) -> Error {
    Error::new(ErrorKind::Changed, format!("{} changed while it was exported", shown(path)))
}

/// Where an export goes: a name in a directory that was opened once.
struct Place {
    above: OwnedFd,
    name: CString,
    /// For sentences.
    destination: Vec<u8>,
    there: Option<Stat>,
}

impl Place {
    fn find(destination: &Path) -> Result<Self> {
        let shown = destination.as_os_str().as_encoded_bytes();
        let Some(name) = destination.file_name() else {
            return Err(Error::refused(shown, "names no place where something could be made"));
        };
        let above = destination.parent().filter(|above| !above.as_os_str().is_empty()).unwrap_or(Path::new("."));
        let above = beneath::open_root(above).naming(shown, "open the directory above it")?;
        let name = beneath::c_name(name.as_encoded_bytes()).naming(shown, "make it")?;
        let there = match beneath::stat(&above, &name) {
            Ok(stat) => Some(stat),
            Err(Errno::NOENT) => None,
            Err(errno) => return Err(errno).naming(shown, "look at it"),
        };
        Ok(Self { above, name, destination: shown.to_owned(), there })
    }

    /// Finds out early what the kernel would refuse at the end.
    fn check(&self, kind: FileType, existing: Existing) -> Result<()> {
        match (&self.there, existing) {
            (None, _) | (Some(_), Existing::Replace) => Ok(()),
            (Some(stat), Existing::Keep) => {
                let is_directory = FileType::from_raw_mode(stat.st_mode) == FileType::Directory;
                if is_directory && kind == FileType::Directory && self.is_empty()? {
                    return Ok(());
                }
                Err(self.occupied())
            }
        }
    }

    fn is_empty(&self) -> Result<bool> {
        let flags = OFlags::RDONLY | OFlags::DIRECTORY;
        let there = beneath::open_beneath(&self.above, self.name.to_bytes(), flags).naming(&self.destination, "open it")?;
        Ok(beneath::list(there.as_fd()).naming(&self.destination, "list it")?.is_empty())
    }

    fn occupied(&self) -> Error {
        Error::refused(&self.destination, "is there already")
    }

    /// Gives what was made its name.
    fn take(&self, made_in: BorrowedFd<'_>, made: &CStr, kind: FileType, existing: Existing) -> Result<()> {
        let above = self.above.as_fd();
        let renamed = match (existing, kind) {
            // A directory never takes the place of anything but an empty directory: that is the kernel's rule.
            (Existing::Keep, FileType::Directory) => fs::renameat(made_in, made, above, &self.name),
            (Existing::Keep, _) => match fs::renameat_with(made_in, made, above, &self.name, RenameFlags::NOREPLACE) {
                // Not every file system knows how. A further name never takes anything's place; the first one is cleared away.
                Err(Errno::INVAL | Errno::NOSYS) => fs::linkat(made_in, made, above, &self.name, AtFlags::empty()),
                other => other,
            },
            (Existing::Replace, _) => match fs::renameat_with(made_in, made, above, &self.name, RenameFlags::EXCHANGE) {
                // Nothing was there.
                Err(Errno::NOENT) => return self.take(made_in, made, kind, Existing::Keep),
                other => other,
            },
        };
        match renamed {
            Err(Errno::EXIST | Errno::NOTEMPTY | Errno::NOTDIR) => Err(self.occupied()),
            other => other.naming(&self.destination, "put it in its place"),
        }
    }
}

/// A directory beside the destination that only the caller enters; it goes away when it is dropped.
struct Unfinished {
    above: OwnedFd,
    name: CString,
}

impl Unfinished {
    fn make(above: &OwnedFd) -> Result<Self> {
        let mut random = [0; 8];
        rustix::rand::getrandom(&mut random, rustix::rand::GetRandomFlags::empty()).naming(b"", "make a name for it")?;
        let name = format!(".pyro-export-{:016x}", u64::from_le_bytes(random));
        let name = CString::new(name).expect("digits hold no NUL");
        let above = above.try_clone().map_err(|error| Error::reading("cannot keep the destination open", error))?;
        fs::mkdirat(&above, &name, Mode::RWXU).naming(b"", "make a directory beside the destination")?;
        Ok(Self { above, name })
    }

    fn open(&self) -> Result<OwnedFd> {
        beneath::open_beneath(&self.above, self.name.to_bytes(), OFlags::RDONLY | OFlags::DIRECTORY)
            .naming(b"", "open a directory beside the destination")
    }

    /// What was at the destination before, when it was replaced, is there now.
    fn clear(self) -> Result<()> {
        remove_tree(&self.path())?;
        Ok(())
    }

    /// The directory that was opened, whatever has become of its name.
    fn path(&self) -> PathBuf {
        PathBuf::from(format!("/proc/self/fd/{}", self.above.as_raw_fd())).join(self.name.to_str().expect("digits"))
    }
}

impl Drop for Unfinished {
    fn drop(&mut self) {
        // What cannot be removed has been told by the failure that brought us here, or by `clear`.
        let _ = remove_tree(&self.path());
    }
}

#[cfg(test)]
mod tests;
