//! Creating or replacing a regular file, whole or not at all.
//!
//! The content goes into a file without a name (`O_TMPFILE`), which vanishes by itself whatever happens to us. When all of it is there it
//! gets the name: at once if the name is free, else under a temporary name that is then renamed over the old file. Where the file
//! system has no nameless files, the temporary name exists from the start and is removed on failure.
//! Not kept of a replaced file: its other hard links, extended attributes. Nothing is synced: the sandbox's layer has its own rules for that.

use std::ffi::OsString;
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::ffi::OsStringExt;
use std::path::{Path, PathBuf};

use pyro_wire::FromAgent;
use pyro_wire::limits::MODE_MAX;
use pyro_wire::message::{FileStep, Write, Written};
use rustix::fs::{AtFlags, CWD, FileType, Gid, Mode, OFlags, Stat, Uid};
use rustix::io::Errno;

use super::read::refuse_irregular;
use super::{Failure, Reply, at};

/// Links followed to the end of a path: Linux `MAXSYMLINKS`.
const LINKS_MAX: usize = 40;

/// Permission bits of a new file when none are asked for, and of new directories.
pub const FILE_MODE: u32 = 0o644;
pub const DIRECTORY_MODE: u32 = 0o755;

/// Answers a write.
pub fn write(reply: &Reply, request: &Write) -> Result<FromAgent, Failure> {
    let (path, old) = follow(Path::new(request.path.as_str()))?;
    let (Some(directory), Some(name)) = (path.parent(), path.file_name()) else {
        return Err(at(FileStep::NotAFile)(Errno::ISDIR));
    };
    make_directories(directory)?;
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let directory = rustix::fs::open(directory, flags, Mode::empty()).map_err(at(FileStep::Open))?;
    let file = NewFile::create(&directory)?;
    reply.receive(request.size_bytes, |content| write_all(&file.descriptor, content).map_err(at(FileStep::Write)))?;

    let mode = request.mode.or(old.map(|stat| stat.st_mode & MODE_MAX)).unwrap_or(FILE_MODE);
    let replace = at(FileStep::Replace);
    if let Some(old) = old {
        let new = rustix::fs::fstat(&file.descriptor).map_err(&replace)?;
        if (new.st_uid, new.st_gid) != (old.st_uid, old.st_gid) {
            let owner = (Some(Uid::from_raw(old.st_uid)), Some(Gid::from_raw(old.st_gid)));
            rustix::fs::fchown(&file.descriptor, owner.0, owner.1).map_err(&replace)?;
        }
    }
    // After the owner: changing that takes setuid and setgid away.
    rustix::fs::fchmod(&file.descriptor, Mode::from_raw_mode(mode)).map_err(&replace)?;
    if reply.is_cancelled() {
        return Err(Failure::Cancelled);
    }
    file.put(Path::new(name), old.is_some()).map_err(&replace)?;
    Ok(FromAgent::Written(Written { created: old.is_none(), mode }))
}

/// Follows links at the end of a path, to the file that is to be replaced or to the name that is free. Links before the end are the
/// kernel's business.
fn follow(path: &Path) -> Result<(PathBuf, Option<Stat>), Failure> {
    let mut path = path.to_owned();
    for _ in 0..LINKS_MAX {
        let stat = match rustix::fs::lstat(&path) {
            Ok(stat) => stat,
            Err(Errno::NOENT) => return Ok((path, None)),
            Err(error) => return Err(at(FileStep::Open)(error)),
        };
        if FileType::from_raw_mode(stat.st_mode) != FileType::Symlink {
            refuse_irregular(&stat)?;
            return Ok((path, Some(stat)));
        }
        let target = rustix::fs::readlink(&path, Vec::new()).map_err(at(FileStep::Open))?;
        let target = PathBuf::from(OsString::from_vec(target.into_bytes()));
        path = path.parent().unwrap_or(Path::new("/")).join(target);
    }
    Err(at(FileStep::Open)(Errno::LOOP))
}

fn make_directories(path: &Path) -> Result<(), Failure> {
    let mut missing = Vec::new();
    for directory in path.ancestors() {
        match rustix::fs::mkdir(directory, Mode::from_raw_mode(DIRECTORY_MODE)) {
            Ok(()) | Err(Errno::EXIST) => break,
            Err(Errno::NOENT) => missing.push(directory),
            // The root and read-only or foreign places: whether it is there shows when it is opened.
            Err(_) if rustix::fs::stat(directory).is_ok() => break,
            Err(error) => return Err(at(FileStep::MakeParents)(error)),
        }
    }
    for directory in missing.into_iter().rev() {
        match rustix::fs::mkdir(directory, Mode::from_raw_mode(DIRECTORY_MODE)) {
            Ok(()) | Err(Errno::EXIST) => {}
            Err(error) => return Err(at(FileStep::MakeParents)(error)),
        }
    }
    Ok(())
}

/// Writes all of it.
pub fn write_all(file: &OwnedFd, mut rest: &[u8]) -> Result<(), Errno> {
    while !rest.is_empty() {
        match rustix::io::write(file, rest) {
            Ok(0) => return Err(Errno::IO),
            Ok(written) => rest = &rest[written..],
            Err(Errno::INTR) => {}
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

/// A file that is not in place yet. Dropping it leaves nothing.
struct NewFile<'a> {
    directory: &'a OwnedFd,
    descriptor: OwnedFd,
    /// Its temporary name, where it has one.
    name: Option<PathBuf>,
}

impl<'a> NewFile<'a> {
    fn create(directory: &'a OwnedFd) -> Result<Self, Failure> {
        let mode = Mode::from_raw_mode(0o600);
        match rustix::fs::openat(directory, ".", OFlags::TMPFILE | OFlags::WRONLY | OFlags::CLOEXEC, mode) {
            Ok(descriptor) => Ok(Self { directory, descriptor, name: None }),
            // What file systems and old kernels without nameless files answer (open(2)).
            Err(Errno::OPNOTSUPP | Errno::ISDIR | Errno::INVAL | Errno::NOENT) => {
                let flags = OFlags::CREATE | OFlags::EXCL | OFlags::WRONLY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
                let (name, descriptor) =
                    with_temporary_name(|name| rustix::fs::openat(directory, name, flags, mode)).map_err(at(FileStep::Open))?;
                Ok(Self { directory, descriptor, name: Some(name) })
            }
            Err(error) => Err(at(FileStep::Open)(error)),
        }
    }

    /// Gives it its name.
    fn put(mut self, name: &Path, replaces: bool) -> Result<(), Errno> {
        if self.name.is_none() {
            // linkat(2): the documented way to name such a file without CAP_DAC_READ_SEARCH.
            let nameless = format!("/proc/self/fd/{}", self.descriptor.as_raw_fd());
            let link = |name: &Path| rustix::fs::linkat(CWD, &nameless, self.directory, name, AtFlags::SYMLINK_FOLLOW);
            if !replaces {
                match link(name) {
                    // Somebody was faster: replace that.
                    Err(Errno::EXIST) => {}
                    result => return result,
                }
            }
            self.name = Some(with_temporary_name(link)?.0);
        }
        if let Some(temporary) = &self.name {
            rustix::fs::renameat(self.directory, temporary, self.directory, name)?;
        }
        self.name = None;
        Ok(())
    }
}

impl Drop for NewFile<'_> {
    fn drop(&mut self) {
        if let Some(name) = &self.name {
            // Nothing more can be done than to try.
            let _left = rustix::fs::unlinkat(self.directory, name, AtFlags::empty());
        }
    }
}

/// Tries names until one is free. Two requests for one directory at one time are told apart by the random part.
pub fn with_temporary_name<T>(mut make: impl FnMut(&Path) -> Result<T, Errno>) -> Result<(PathBuf, T), Errno> {
    for _ in 0..16 {
        let name = temporary_name()?;
        match make(&name) {
            Err(Errno::EXIST) => {}
            result => return result.map(|made| (name, made)),
        }
    }
    Err(Errno::EXIST)
}

/// A name that nothing else has, but for chance.
pub fn temporary_name() -> Result<PathBuf, Errno> {
    let mut random = [0; 8];
    rustix::rand::getrandom(&mut random, rustix::rand::GetRandomFlags::empty())?;
    Ok(PathBuf::from(format!(".pyro-{:016x}", u64::from_ne_bytes(random))))
}
