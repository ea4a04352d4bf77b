//! Opening things in a tree as they would be opened if its top were `/`: symbolic links are followed, those that are absolute or lead upwards too, and
//! nothing outside the tree can be reached (openat2(2), `RESOLVE_IN_ROOT`, 5.6). For a tree that somebody inside could have written and nobody can change
//! any more: between two lookups it would be another.

use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;

use rustix::fs::{FileType, Mode, OFlags, ResolveFlags, fstat, openat2};
use rustix::io::Errno;

/// Tries of one lookup: `EAGAIN` only means that something was renamed on the machine at that moment.
const TRIES_MAX: u32 = 64;

fn open(root: impl AsFd, path: &Path, flags: OFlags) -> io::Result<OwnedFd> {
    let resolve = ResolveFlags::IN_ROOT | ResolveFlags::NO_MAGICLINKS;
    for _ in 0..TRIES_MAX {
        match openat2(&root, path, flags | OFlags::CLOEXEC, Mode::empty(), resolve) {
            Err(Errno::AGAIN | Errno::INTR) => {}
            result => return Ok(result?),
        }
    }
    Err(Errno::AGAIN.into())
}

/// A directory, to be listed.
///
/// # Errors
/// `ENOTDIR` when it is something else; `ELOOP` for links that lead to each other.
pub fn directory(root: impl AsFd, path: &Path) -> io::Result<OwnedFd> {
    open(root, path, OFlags::RDONLY | OFlags::DIRECTORY)
}

/// A regular file, to be read. Anything else is refused before it is opened: to open it alone could wait (a FIFO) or do something (a device).
///
/// # Errors
/// `EISDIR` for a directory, `EINVAL` when it is not a regular file either; `ELOOP` as for a directory.
pub fn file(root: impl AsFd, path: &Path) -> io::Result<OwnedFd> {
    refuse_irregular(&open(&root, path, OFlags::PATH)?)?;
    let file = open(root, path, OFlags::RDONLY | OFlags::NONBLOCK | OFlags::NOCTTY)?;
    refuse_irregular(&file)?;
    Ok(file)
}

fn refuse_irregular(found: &OwnedFd) -> io::Result<()> {
    match FileType::from_raw_mode(fstat(found)?.st_mode) {
        FileType::RegularFile => Ok(()),
        FileType::Directory => Err(Errno::ISDIR.into()),
        _ => Err(Errno::INVAL.into()),
    }
}

#[cfg(test)]
mod tests {
    use std::fs::{self, File};
    use std::io::Read;
    use std::os::unix::fs::symlink;

    use super::*;

    fn read(root: &Path, path: &str) -> Result<String, Option<i32>> {
        let top = File::open(root).expect("open");
        let mut text = String::new();
        let file = file(&top, Path::new(path)).map_err(|error| error.raw_os_error())?;
        File::from(file).read_to_string(&mut text).expect("read");
        Ok(text)
    }

    #[test]
    fn links_lead_where_they_lead_inside_and_never_out() {
        let outer = tempfile::tempdir().expect("a directory");
        let root = outer.path().join("root");
        fs::create_dir_all(root.join("etc")).expect("mkdir");
        fs::write(outer.path().join("secret"), "outside").expect("write");
        fs::write(root.join("etc/f"), "inside").expect("write");
        fs::write(root.join("secret"), "the tree's own").expect("write");
        symlink("/etc/f", root.join("absolute")).expect("symlink");
        symlink("../../../secret", root.join("etc/up")).expect("symlink");
        symlink(outer.path().join("secret"), root.join("out")).expect("symlink");
        symlink("loop", root.join("loop")).expect("symlink");
        symlink("/proc/self/root", root.join("magic")).expect("symlink");
        assert_eq!(read(&root, "absolute").as_deref(), Ok("inside"));
        assert_eq!(read(&root, "/etc/../etc/f").as_deref(), Ok("inside"));
        assert_eq!(read(&root, "etc/up").as_deref(), Ok("the tree's own"));
        assert_eq!(read(&root, "out"), Err(Some(libc::ENOENT)));
        assert_eq!(read(&root, "magic/etc/f"), Err(Some(libc::ENOENT)));
        assert_eq!(read(&root, "loop"), Err(Some(libc::ELOOP)));
        let top = File::open(&root).expect("open");
        assert!(directory(&top, Path::new("/etc/..")).is_ok());
        assert_eq!(directory(&top, Path::new("absolute")).map_err(|error| error.raw_os_error()).err(), Some(Some(libc::ENOTDIR)));
    }

    #[test]
    fn only_regular_files_are_opened_and_nothing_is_waited_for() {
        let directory = tempfile::tempdir().expect("a directory");
        rustix::fs::mkfifoat(rustix::fs::CWD, directory.path().join("pipe"), Mode::RUSR).expect("mkfifo");
        assert_eq!(read(directory.path(), "pipe"), Err(Some(libc::EINVAL)));
        assert_eq!(read(directory.path(), "/"), Err(Some(libc::EISDIR)));
    }
}
