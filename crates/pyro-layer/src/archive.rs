//! Unpacking a tar archive (plain, gzip, zstd) that may have been made by an enemy into an empty directory.
//!
//! Everything is made beneath one directory descriptor and no link is ever followed, so the worst that an archive can reach is its own
//! tree. What cannot be taken over as it is meant is refused by name, never repaired:
//!
//! | in the archive | what happens |
//! |---|---|
//! | absolute name, a `..` in a name or in a hard link's target | refused |
//! | a name that leads through a link or a file of the archive | refused |
//! | a hard link to something that the archive has not brought yet, or to a directory | refused |
//! | the same name twice, as the same type | the later one counts, as with `tar -r`; directories are merged |
//! | the same name twice, as different types | refused |
//! | a device | refused; an environment leaves it out |
//! | setuid, setgid, sticky | kept: they only mean something inside |
//! | owners | the inside root's, but for an environment |
//! | symbolic links, also absolute or escaping ones | kept as they are |
//! | attributes | those of [`crate::attributes`]'s list; others dropped |
//! | parts of other archives (multi-volume, incremental), unknown types | refused |
//! | data after the end mark, no end mark, a wrong checksum | refused: an archive is whole or it is an error |

use std::collections::BTreeMap;
use std::ffi::{CStr, CString};
use std::io::Read;
use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;

use rustix::fs::{self, AtFlags, FileType, Mode, OFlags};
use rustix::io::Errno;

use crate::attributes;
use crate::beneath;
use crate::decompress;
use crate::environment::Manifest;
use crate::error::{Error, ErrorKind, Naming, Result, shown};
use crate::import::{SeedReport, open_empty};
use crate::limits::{
    ARCHIVE_DEPTH_MAX, ARCHIVE_NAME_BYTES_MAX, CHUNK_BYTES, DIRECTORY_NAMES_BYTES_MAX, NAME_BYTES_MAX, PATH_BYTES_MAX,
};
use crate::tar_reader::{TarEntry, TarKind, TarReader};
use crate::writer::{self, Metadata};
use crate::{Owners, Watch};

/// What an archive may hold at most. There is no limit on the ratio of compression: a log of a gigabyte honestly shrinks a
/// thousandfold, and the limit on bytes ends a bomb as well.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ArchiveLimits {
    /// Entries.
    pub entries_max: u64,
    /// Bytes of the archive without compression, and of any one file with its holes.
    pub bytes_max: u64,
}

impl Default for ArchiveLimits {
    /// Larger than any source tree that was looked at, smaller than what fills a common disk.
    fn default() -> Self {
        Self { entries_max: 4_000_000, bytes_max: 64 << 30 }
    }
}

/// Unpacks an archive into the empty directory `destination`. Everything belongs to the inside root afterwards.
///
/// # Errors
/// `Refused`, `Damaged` or `Limit` name the entry at fault. The destination then holds a part, to be discarded.
pub fn import_archive(
    archive: impl Read,
    destination: &Path,
    owners: Owners,
    limits: ArchiveLimits,
    watch: Watch<'_>,
) -> Result<SeedReport> {
    let mut report = unpack(archive, destination, Policy { owners, source: Source::User }, limits, watch)?.0;
    report.markers = crate::find_markers(destination)?;
    Ok(report)
}

/// How an archive is treated.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Policy {
    pub(crate) owners: Owners,
    pub(crate) source: Source,
}

/// Whose archive it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Source {
    /// A user's: everything becomes the inside root's, devices are refused.
    User,
    /// An environment's: ids are kept, devices left out, and a manifest is drawn up.
    Environment,
}

pub(crate) fn unpack(
    archive: impl Read,
    destination: &Path,
    policy: Policy,
    limits: ArchiveLimits,
    watch: Watch<'_>,
) -> Result<(SeedReport, Option<Manifest>)> {
    let root = open_empty(destination)?;
    let mut reader = TarReader::new(decompress::open(archive)?, limits.bytes_max);
    let mut unpacking = Unpacking {
        root,
        policy,
        limits,
        parent: None,
        directories: BTreeMap::new(),
        report: SeedReport::default(),
        names_bytes: 0,
        manifest: (policy.source == Source::Environment).then(Manifest::default),
        watch,
    };
    let mut entries = 0;
    while let Some(entry) = reader.next_entry()? {
        entries += 1;
        if entries > limits.entries_max {
            return Err(Error::limit(format!("the archive holds more than {} entries", limits.entries_max)));
        }
        unpacking.take(&entry, &mut reader)?;
        if (unpacking.watch)(unpacking.report.progress()).is_break() {
            return Err(Error::cancelled());
        }
    }
    unpacking.finish_directories()?;
    Ok((unpacking.report, unpacking.manifest))
}

struct Unpacking<'a> {
    root: OwnedFd,
    policy: Policy,
    limits: ArchiveLimits,
    /// The directory of the entry before: most entries share it with their neighbours.
    parent: Option<(Vec<u8>, OwnedFd)>,
    /// Directories get their modes and times last, deepest first: until then we must be able to write into them.
    directories: BTreeMap<Vec<u8>, Metadata>,
    report: SeedReport,
    /// Bytes of names kept in `directories` and `manifest`.
    names_bytes: usize,
    /// Drawn up for environments only.
    manifest: Option<Manifest>,
    watch: Watch<'a>,
}

impl Unpacking<'_> {
    fn take<R: Read>(&mut self, entry: &TarEntry, reader: &mut TarReader<R>) -> Result<()> {
        let path = clean(&entry.name)?;
        let metadata = self.metadata(entry, &path)?;
        if path.is_empty() {
            // `./` is the tree itself.
            if entry.kind != TarKind::Directory {
                return Err(Error::refused(&entry.name, "names the tree itself but is no directory"));
            }
            let root = self.root.try_clone().map_err(|error| Error::reading("cannot keep the destination open", error))?;
            return self.keep_directory(path, metadata, &root);
        }
        if entry.kind == TarKind::Device && self.policy.source == Source::User {
            return Err(Error::refused(&path, "is a device"));
        }
        let (above, name) = match path.iter().rposition(|byte| *byte == b'/') {
            Some(slash) => (&path[..slash], &path[slash + 1..]),
            None => (&path[..0], &path[..]),
        };
        let name = beneath::c_name(name).naming(&path, "make it")?;
        self.go_to(above, &path)?;
        match entry.kind {
            TarKind::Directory => self.make_directory(path, &name, metadata),
            TarKind::File => self.make_file(&path, &name, entry, &metadata, reader),
            TarKind::Symlink => self.make_symlink(&path, &name, entry, &metadata),
            TarKind::Fifo => {
                self.make_room(&path, &name, FileType::Fifo)?;
                writer::make_fifo(self.here(), &name, &path, &metadata, self.policy.owners)?;
                self.note(&path, |manifest| manifest.fifo(&path, &metadata))
            }
            TarKind::HardLink => self.make_hard_link(&path, &name, entry),
            TarKind::Device => {
                self.report.skip(path);
                Ok(())
            }
        }
    }

    fn here(&self) -> std::os::fd::BorrowedFd<'_> {
        self.parent.as_ref().map_or(self.root.as_fd(), |(_, directory)| directory.as_fd())
    }

    fn metadata(&self, entry: &TarEntry, path: &[u8]) -> Result<Metadata> {
        let owner = match self.policy.source {
            Source::User => None,
            Source::Environment => match (u16::try_from(entry.user), u16::try_from(entry.group)) {
                (Ok(user), Ok(group)) => Some((user.into(), group.into())),
                _ => return Err(Error::refused(path, "belongs to an id above 65535, which no sandbox has")),
            },
        };
        Ok(Metadata { mode: entry.mode, modified_at: entry.modified_at, owner, attributes: entry.attributes.clone() })
    }

    /// Makes `above` the current directory; what is missing of it is made, as GNU tar does.
    fn go_to(&mut self, above: &[u8], path: &[u8]) -> Result<()> {
        if self.parent.as_ref().is_some_and(|(held, _)| held == above) {
            return Ok(());
        }
        let flags = OFlags::PATH | OFlags::DIRECTORY;
        let directory = match beneath::open_beneath(&self.root, above, flags) {
            Err(Errno::NOENT) => self.make_missing(above, path)?,
            Err(Errno::LOOP | Errno::NOTDIR | Errno::XDEV) => return Err(leads_through(path)),
            other => other.naming(path, "open the directory above it")?,
        };
        self.parent = Some((above.to_vec(), directory));
        Ok(())
    }

    fn make_missing(&mut self, above: &[u8], path: &[u8]) -> Result<OwnedFd> {
        let flags = OFlags::PATH | OFlags::DIRECTORY;
        let mut at = beneath::open_beneath(&self.root, b"", flags).naming(path, "open the destination")?;
        let mut end = 0;
        for name in above.split(|byte| *byte == b'/') {
            end += name.len() + usize::from(end > 0);
            at = match beneath::open_beneath(&at, name, flags) {
                Err(Errno::NOENT) => {
                    let implied = &above[..end];
                    let name = beneath::c_name(name).naming(path, "make the directory above it")?;
                    writer::make_directory(at.as_fd(), &name, implied)?;
                    let metadata = Metadata { mode: 0o755, ..Metadata::default() };
                    self.report.entry_count += 1;
                    let made = beneath::open_beneath(&at, name.to_bytes(), flags).naming(path, "open the directory above it")?;
                    self.keep_directory(implied.to_vec(), metadata, &made)?;
                    made
                }
                Err(Errno::LOOP | Errno::NOTDIR) => return Err(leads_through(path)),
                other => other.naming(path, "open the directory above it")?,
            };
        }
        Ok(at)
    }

    /// Takes away what an earlier entry of the same type and name has made.
    fn make_room(&mut self, path: &[u8], name: &CStr, kind: FileType) -> Result<()> {
        match beneath::stat(self.here(), name) {
            Err(Errno::NOENT) => self.report.entry_count += 1,
            Ok(stat) if FileType::from_raw_mode(stat.st_mode) == kind => {
                fs::unlinkat(self.here(), name, AtFlags::empty()).naming(path, "replace it")?;
            }
            Ok(_) => return Err(Error::refused(path, "comes twice in the archive, as different things")),
            Err(errno) => return Err(errno).naming(path, "look at it"),
        }
        Ok(())
    }

    fn make_directory(&mut self, path: Vec<u8>, name: &CStr, metadata: Metadata) -> Result<()> {
        match fs::mkdirat(self.here(), name, Mode::RWXU) {
            Ok(()) => self.report.entry_count += 1,
            Err(Errno::EXIST) => {
                let stat = beneath::stat(self.here(), name).naming(&path, "look at it")?;
                if FileType::from_raw_mode(stat.st_mode) != FileType::Directory {
                    return Err(Error::refused(&path, "comes twice in the archive, as different things"));
                }
            }
            Err(errno) => return Err(errno).naming(&path, "make the directory"),
        }
        let made =
            beneath::open_beneath(self.here(), name.to_bytes(), OFlags::RDONLY | OFlags::DIRECTORY).naming(&path, "open it")?;
        self.keep_directory(path, metadata, &made)
    }

    /// Remembers what a directory is to become. Its attributes are set at once: they may be large, and keep nobody out.
    fn keep_directory(&mut self, path: Vec<u8>, mut metadata: Metadata, directory: &OwnedFd) -> Result<()> {
        for (name, value) in std::mem::take(&mut metadata.attributes) {
            if attributes::is_taken_over(&name, self.policy.owners) {
                self.report.attributes_left_behind += u64::from(!attributes::set(directory.as_fd(), &path, &name, &value)?);
            }
        }
        self.count_name(&path)?;
        self.note(&path, |manifest| manifest.directory(&path, &metadata))?;
        self.directories.insert(path, metadata);
        Ok(())
    }

    fn note(&mut self, path: &[u8], write: impl FnOnce(&mut Manifest)) -> Result<()> {
        if let Some(manifest) = &mut self.manifest {
            write(manifest);
            self.count_name(path)?;
        }
        Ok(())
    }

    fn count_name(&mut self, path: &[u8]) -> Result<()> {
        self.names_bytes += path.len();
        if self.names_bytes > DIRECTORY_NAMES_BYTES_MAX {
            return Err(Error::limit(format!("the names in the archive come to more than {DIRECTORY_NAMES_BYTES_MAX} bytes")));
        }
        Ok(())
    }

    fn make_file<R: Read>(
        &mut self,
        path: &[u8],
        name: &CStr,
        entry: &TarEntry,
        metadata: &Metadata,
        reader: &mut TarReader<R>,
    ) -> Result<()> {
        if entry.size > self.limits.bytes_max {
            return Err(Error::limit(format!(
                "{} is {} bytes large; the limit is {}",
                shown(path),
                entry.size,
                self.limits.bytes_max
            )));
        }
        self.make_room(path, name, FileType::RegularFile)?;
        let file = writer::make_file(self.here(), name, path)?;
        let stored: u64 = entry.pieces.iter().map(|piece| piece.length).sum();
        self.check_space(stored, &file, path)?;
        let mut hasher = (self.policy.source == Source::Environment).then(blake3::Hasher::new);
        let whole = stored == entry.size;
        let mut since_look = 0;
        let mut written = 0;
        let report = &self.report;
        let watch = &mut self.watch;
        reader.content(entry, &mut |offset, bytes| {
            writer::write_at(file.as_fd(), bytes, offset, path)?;
            if let Some(hasher) = &mut hasher {
                if !whole {
                    hasher.update(&offset.to_le_bytes());
                }
                hasher.update(bytes);
            }
            written += bytes.len() as u64;
            since_look += bytes.len();
            if since_look >= CHUNK_BYTES {
                since_look = 0;
                let mut so_far = report.progress();
                so_far.bytes += written;
                if watch(so_far).is_break() {
                    return Err(Error::cancelled());
                }
            }
            Ok(())
        })?;
        if !whole {
            fs::ftruncate(&file, entry.size).naming(path, "set its size")?;
        }
        self.report.attributes_left_behind += metadata.apply(file.as_fd(), path, self.policy.owners)?;
        self.report.bytes += entry.size;
        if let Some(hasher) = hasher {
            self.note(path, |manifest| manifest.file(path, metadata, entry.size, hasher.finalize()))?;
        }
        Ok(())
    }

    /// A file that does not fit is not begun.
    fn check_space(&self, wanted: u64, file: &OwnedFd, path: &[u8]) -> Result<()> {
        /// Small files find out by writing.
        const CHECKED_BYTES_MIN: u64 = 16 << 20;
        if wanted < CHECKED_BYTES_MIN {
            return Ok(());
        }
        let space = fs::fstatvfs(file).naming(path, "ask for free space")?;
        let free = space.f_bavail.saturating_mul(space.f_frsize);
        if wanted > free {
            return Err(Error::new(ErrorKind::Full, format!("{} needs {wanted} bytes and {free} are free", shown(path))));
        }
        Ok(())
    }

    fn make_symlink(&mut self, path: &[u8], name: &CStr, entry: &TarEntry, metadata: &Metadata) -> Result<()> {
        if entry.link.is_empty() || entry.link.contains(&0) || entry.link.len() >= PATH_BYTES_MAX {
            return Err(Error::refused(path, "is a link whose target is empty, too long or holds a NUL byte"));
        }
        self.make_room(path, name, FileType::Symlink)?;
        let target =
            CString::new(entry.link.clone()).map_err(|_| Error::refused(path, "is a link whose target holds a NUL byte"))?;
        writer::make_symlink(self.here(), name, &target, path, metadata, self.policy.owners)?;
        self.note(path, |manifest| manifest.symlink(path, metadata, &entry.link))
    }

    fn make_hard_link(&mut self, path: &[u8], name: &CStr, entry: &TarEntry) -> Result<()> {
        let target = clean(&entry.link)?;
        let missing =
            || Error::refused(path, &format!("is a hard link to {}, which the archive has not brought before it", shown(&target)));
        let (above, target_name) = match target.iter().rposition(|byte| *byte == b'/') {
            Some(slash) => (&target[..slash], &target[slash + 1..]),
            None => (&target[..0], &target[..]),
        };
        let directory = match beneath::open_beneath(&self.root, above, OFlags::PATH | OFlags::DIRECTORY) {
            Err(Errno::NOENT) => return Err(missing()),
            Err(Errno::LOOP | Errno::NOTDIR | Errno::XDEV) => return Err(leads_through(&target)),
            other => other.naming(path, "find its target")?,
        };
        let target_name = beneath::c_name(target_name).naming(path, "find its target")?;
        let stat = match beneath::stat(&directory, &target_name) {
            Err(Errno::NOENT) => return Err(missing()),
            other => other.naming(path, "look at its target")?,
        };
        let kind = FileType::from_raw_mode(stat.st_mode);
        if kind == FileType::Directory || target.is_empty() {
            return Err(Error::refused(path, "is a hard link to a directory"));
        }
        match beneath::stat(self.here(), name) {
            // Two names of one file already.
            Ok(there) if (there.st_dev, there.st_ino) == (stat.st_dev, stat.st_ino) => return Ok(()),
            _ => self.make_room(path, name, kind)?,
        }
        fs::linkat(&directory, &target_name, self.here(), name, AtFlags::empty()).naming(path, "link it")?;
        self.note(path, |manifest| manifest.hard_link(path, &target))
    }

    fn finish_directories(&mut self) -> Result<()> {
        // In reverse order of names every directory comes after what is below it.
        for (path, metadata) in std::mem::take(&mut self.directories).into_iter().rev() {
            let directory =
                beneath::open_beneath(&self.root, &path, OFlags::RDONLY | OFlags::DIRECTORY).naming(&path, "finish it")?;
            self.report.attributes_left_behind += metadata.apply(directory.as_fd(), &path, self.policy.owners)?;
        }
        Ok(())
    }
}

fn leads_through(path: &[u8]) -> Error {
    Error::refused(path, "leads through a name of the archive that is no directory")
}

/// A name of an archive as a path below the destination, without `.` and empty names; the tree itself is the empty path.
fn clean(name: &[u8]) -> Result<Vec<u8>> {
    if name.is_empty() {
        return Err(Error::damaged("an entry has an empty name"));
    }
    if name.starts_with(b"/") {
        return Err(Error::refused(name, "is an absolute name"));
    }
    if name.len() > ARCHIVE_NAME_BYTES_MAX {
        return Err(Error::limit(format!("{} is longer than {ARCHIVE_NAME_BYTES_MAX} bytes", shown(name))));
    }
    if name.contains(&0) {
        return Err(Error::refused(name, "holds a NUL byte"));
    }
    let mut path = Vec::with_capacity(name.len());
    let mut depth = 0;
    for part in name.split(|byte| *byte == b'/') {
        match part {
            b"" | b"." => continue,
            b".." => return Err(Error::refused(name, "holds `..`")),
            part if part.len() > NAME_BYTES_MAX => {
                return Err(Error::limit(format!("{} holds a name longer than {NAME_BYTES_MAX} bytes", shown(name))));
            }
            part => {
                if !path.is_empty() {
                    path.push(b'/');
                }
                path.extend_from_slice(part);
                depth += 1;
            }
        }
    }
    if depth > ARCHIVE_DEPTH_MAX {
        return Err(Error::limit(format!("{} is more than {ARCHIVE_DEPTH_MAX} directories deep", shown(name))));
    }
    Ok(path)
}

#[cfg(test)]
mod tests;
