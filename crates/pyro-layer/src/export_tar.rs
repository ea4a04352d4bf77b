//! Writing a tree of a workspace as a tar archive: names, modes, owners, times, links, holes and attributes as they are inside.
//!
//! Everything in the view was written by an enemy, and nothing is followed or run; whoever unpacks the archive decides what it gives rights to.
//! An archive is written once from its beginning to its end, so a file cannot be read again: one that changes while it is read is
//! an error, and what has been written until then is to be thrown away. The end mark is missing from it.

use std::ffi::{CStr, CString};
use std::io::Write;
use std::os::fd::{AsFd, BorrowedFd};

use rustix::fs::{self, FileType, Stat};
use rustix::io::Errno;

use crate::attributes;
use crate::beneath::{self, Descent, Mounts, WalkPath};
use crate::content::{next_data, open_regular_at, size, stamp};
use crate::entry::{ExportedLinks, Tally, stays_inside};
use crate::error::{Error, Naming, Result, shown};
use crate::export::{Exported, Source, changed};
use crate::limits::{ARCHIVE_NAME_BYTES_MAX, ARCHIVED_ATTRIBUTES_BYTES_MAX, CHUNK_BYTES, SPARSE_PIECES_MAX};
use crate::links::Links;
use crate::measure::blocks;
use crate::tar_reader::{Piece, TarEntry, TarKind};
use crate::tar_writer::TarWriter;
use crate::{Owners, Progress, Watch};

/// How an archive is written.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TarOptions {
    /// The name that the exported directory gets in the archive; when it is empty, names begin below it.
    pub top: Vec<u8>,
    /// Which symbolic links come along.
    pub links: ExportedLinks,
    /// What becomes of a directory that is a mount of its own: it is in the archive, or the export is refused.
    pub mounts: Mounts,
}

/// Writes what is at `path` below `root` (the root itself when it is empty) as a PAX archive, in the order of names.
///
/// # Errors
/// `Refused` when the path leads through a link; `Changed` when something is changed meanwhile; the others as they say.
pub fn export_tar(
    root: BorrowedFd<'_>,
    path: &[u8],
    writer: &mut dyn Write,
    options: &TarOptions,
    watch: Watch<'_>,
) -> Result<Exported> {
    let source = Source::open(root, path)?;
    let mut archiving = Archiving {
        writer: TarWriter::new(writer),
        options,
        path: WalkPath::default(),
        links: Links::new(),
        tally: Tally::default(),
        buffer: vec![0; 128 * 1024],
        attribute_names: Vec::new(),
        watch,
    };
    match source {
        Source::Directory(from) => archiving.directory(Descent::new(from).naming(path, "open it")?)?,
        Source::Entry { above, name } => {
            let stat = beneath::stat(&above, &name).map_err(|errno| gone(path, errno))?;
            archiving.entry(above.as_fd(), &name, &stat)?;
            if archiving.tally.entry_count == 0 {
                return Err(Error::refused(path, "cannot leave: it is no file, directory or allowed link"));
            }
            archiving.look_up()?;
        }
    }
    archiving.writer.finish()?;
    Ok(archiving.tally.into())
}

struct Archiving<'a> {
    writer: TarWriter<'a>,
    options: &'a TarOptions,
    path: WalkPath,
    links: Links,
    tally: Tally,
    buffer: Vec<u8>,
    attribute_names: Vec<u8>,
    watch: Watch<'a>,
}

impl Archiving<'_> {
    fn directory(&mut self, mut walk: Descent) -> Result<()> {
        let stat = fs::fstat(walk.here()).naming(b"", "look at it")?;
        self.write_directory(walk.here(), &stat)?;
        let mut left = vec![self.names(walk.here())?];
        while let Some(names) = left.last_mut() {
            let Some(name) = names.pop() else {
                left.pop();
                if walk.depth() > 0 {
                    walk.leave().map_err(|errno| gone(self.path.here(), errno))?;
                    self.path.leave();
                    self.links.leave();
                }
                continue;
            };
            let stat = beneath::stat(walk.here(), &name).map_err(|errno| gone(&self.path.join(&name), errno))?;
            if FileType::from_raw_mode(stat.st_mode) == FileType::Directory {
                let stat = walk.enter(&name, self.options.mounts).map_err(|errno| match errno {
                    Errno::XDEV => Error::refused(&self.path.join(&name), "is another mount"),
                    errno => gone(&self.path.join(&name), errno),
                })?;
                self.path.enter(&name);
                self.links.enter(&name);
                self.write_directory(walk.here(), &stat)?;
                self.tally.entry_count += 1;
                left.push(self.names(walk.here())?);
            } else {
                self.entry(walk.here(), &name, &stat)?;
            }
            self.look_up()?;
        }
        Ok(())
    }

    /// In reverse, because they are taken from the end.
    fn names(&self, directory: BorrowedFd<'_>) -> Result<Vec<CString>> {
        let entries = beneath::list(directory).naming(self.path.here(), "list it")?;
        let mut names: Vec<CString> = entries.into_iter().map(|entry| entry.name).collect();
        names.sort_unstable_by(|one, other| other.cmp(one));
        Ok(names)
    }

    fn look_up(&mut self) -> Result<()> {
        if (self.watch)(self.tally.progress()).is_break() { Err(Error::cancelled()) } else { Ok(()) }
    }

    fn write_directory(&mut self, directory: BorrowedFd<'_>, stat: &Stat) -> Result<()> {
        let mut name = self.name(self.path.here());
        if name.is_empty() {
            name.push(b'.');
        }
        name.push(b'/');
        let attributes = self.attributes(directory, self.path.here().to_vec())?;
        let entry = TarEntry { attributes, ..about(TarKind::Directory, name, stat) };
        self.write(&entry)
    }

    /// What is no directory.
    fn entry(&mut self, directory: BorrowedFd<'_>, name: &CStr, stat: &Stat) -> Result<()> {
        let path = self.path.join(name);
        let archived = self.name(&path);
        let kind = match FileType::from_raw_mode(stat.st_mode) {
            FileType::RegularFile => TarKind::File,
            FileType::Symlink => TarKind::Symlink,
            FileType::Fifo => TarKind::Fifo,
            FileType::Socket | FileType::CharacterDevice | FileType::BlockDevice => {
                self.tally.skipped.add(path);
                return Ok(());
            }
            FileType::Directory | FileType::Unknown => return Err(changed(&path)),
        };
        let mut link = Vec::new();
        if kind == TarKind::Symlink {
            link = fs::readlinkat(directory, name, Vec::new()).map_err(|errno| gone(&path, errno))?.into_bytes();
            if self.options.links == ExportedLinks::InsideOnly && !stays_inside(&path, &link) {
                self.tally.links_left_out.add(path);
                return Ok(());
            }
        }
        self.tally.entry_count += 1;
        if let Some(first) = self.links.first(stat) {
            let link = self.name(&first);
            return self.write(&TarEntry { link, ..about(TarKind::HardLink, archived, stat) });
        }
        self.links.remember(name, &path, stat)?;
        match kind {
            TarKind::File => self.file(directory, name, archived, (&path, stat)),
            _ => self.write(&TarEntry { link, ..about(kind, archived, stat) }),
        }
    }

    /// A file that was just looked at.
    fn file(&mut self, directory: BorrowedFd<'_>, name: &CStr, archived: Vec<u8>, (path, seen): (&[u8], &Stat)) -> Result<()> {
        let Some((file, stat)) = open_regular_at(directory, name, path)? else { return Err(changed(path)) };
        if (stat.st_dev, stat.st_ino, stat.st_mode) != (seen.st_dev, seen.st_ino, seen.st_mode) {
            return Err(changed(path));
        }
        let size = size(&stat);
        let pieces =
            if blocks(&stat) >= size { vec![Piece { offset: 0, length: size }] } else { pieces(file.as_fd(), size, path)? };
        let attributes = self.attributes(file.as_fd(), path.to_vec())?;
        let entry = TarEntry { size, pieces, attributes, ..about(TarKind::File, archived, &stat) };
        self.check_name(&entry)?;
        self.writer.begin(&entry)?;
        let mut since_look = 0;
        let mut written = 0;
        for piece in &entry.pieces {
            let mut at = piece.offset;
            let end = piece.offset + piece.length;
            while at < end {
                let wanted = usize::try_from(end - at).unwrap_or(usize::MAX).min(self.buffer.len());
                let count = match rustix::io::pread(&file, &mut self.buffer[..wanted], at) {
                    Ok(0) => return Err(changed(path)),
                    Ok(count) => count,
                    Err(Errno::INTR) => continue,
                    Err(errno) => return Err(errno).naming(path, "read it"),
                };
                self.writer.data(&self.buffer[..count])?;
                at += count as u64;
                written += count as u64;
                since_look += count;
                if since_look >= CHUNK_BYTES {
                    since_look = 0;
                    let so_far = self.tally.progress();
                    if (self.watch)(Progress { bytes: so_far.bytes + written, ..so_far }).is_break() {
                        return Err(Error::cancelled());
                    }
                }
            }
        }
        if stamp(&stat) != stamp(&fs::fstat(&file).naming(path, "look at it")?) {
            return Err(changed(path));
        }
        self.tally.bytes += size;
        self.writer.end()
    }

    /// An entry without data.
    fn write(&mut self, entry: &TarEntry) -> Result<()> {
        self.check_name(entry)?;
        self.writer.begin(entry)?;
        self.writer.end()
    }

    /// What our own reader would not take is not written.
    fn check_name(&self, entry: &TarEntry) -> Result<()> {
        if entry.name.len() > ARCHIVE_NAME_BYTES_MAX || entry.link.len() > ARCHIVE_NAME_BYTES_MAX {
            return Err(Error::limit(format!(
                "{} is longer than the {ARCHIVE_NAME_BYTES_MAX} bytes that a name in an archive may have",
                shown(&entry.name)
            )));
        }
        Ok(())
    }

    fn name(&self, path: &[u8]) -> Vec<u8> {
        let top = self.options.top.strip_suffix(b"/").unwrap_or(&self.options.top);
        match (top.is_empty(), path.is_empty()) {
            (true, _) => path.to_vec(),
            (false, true) => top.to_vec(),
            (false, false) => [top, b"/", path].concat(),
        }
    }

    fn attributes(&mut self, file: BorrowedFd<'_>, path: Vec<u8>) -> Result<Vec<(Vec<u8>, Vec<u8>)>> {
        let mut kept = Vec::new();
        let mut bytes = 0;
        for name in attributes::names(file, &mut self.attribute_names).naming(&path, "list its attributes")? {
            if !attributes::is_taken_over(name.to_bytes(), Owners::Canonical) {
                self.tally.attributes_left_behind += u64::from(name.to_bytes().starts_with(b"user."));
                continue;
            }
            // A key ends at the first `=`; GNU tar spells it `%3D` and others do not know that.
            let is_sayable = !name.to_bytes().iter().any(|byte| matches!(byte, b'=' | b'%'));
            match attributes::value(file, &name).naming(&path, "read an attribute")? {
                Some(value) if is_sayable && bytes + name.count_bytes() + value.len() <= ARCHIVED_ATTRIBUTES_BYTES_MAX => {
                    bytes += name.count_bytes() + value.len();
                    kept.push((name.into_bytes(), value));
                }
                _ => self.tally.attributes_left_behind += 1,
            }
        }
        kept.sort_unstable();
        Ok(kept)
    }
}

/// What every entry has.
fn about(kind: TarKind, name: Vec<u8>, stat: &Stat) -> TarEntry {
    TarEntry {
        name,
        kind,
        mode: stat.st_mode & 0o7777,
        user: stat.st_uid.into(),
        group: stat.st_gid.into(),
        modified_at: (stat.st_mtime, u32::try_from(stat.st_mtime_nsec).unwrap_or(0)),
        ..TarEntry::default()
    }
}

/// Where a file has data.
fn pieces(file: BorrowedFd<'_>, size: u64, path: &[u8]) -> Result<Vec<Piece>> {
    let mut pieces = Vec::new();
    let mut at = 0;
    while let Some((data, hole)) = next_data(file, at, size).naming(path, "find its data")? {
        // One more is said when the file ends in a hole.
        if pieces.len() + 1 >= SPARSE_PIECES_MAX {
            return Err(Error::limit(format!("{} has more than {SPARSE_PIECES_MAX} pieces", shown(path))));
        }
        pieces.push(Piece { offset: data, length: hole - data });
        at = hole;
    }
    Ok(pieces)
}

/// What was there a moment ago is not, or is something else.
fn gone(path: &[u8], errno: Errno) -> Error {
    match errno {
        Errno::NOENT | Errno::NOTDIR | Errno::LOOP | Errno::NXIO | Errno::INVAL | Errno::STALE => changed(path),
        errno => Error::system(path, "look at it", errno),
    }
}

#[cfg(test)]
mod tests;
