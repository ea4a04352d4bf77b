//! Giving something another name, in the same directory or another.
//!
//! Where the kernel can rename it, that is all. An overlay cannot rename a directory of the layers below it, nor can anything leave its mount: then it is copied
//! with owners, modes, times, attributes and hard links to a place beside its new name, gets that name when it is whole, and goes where it was. Should it not go
//! there, both are left, and that is said.

use std::ffi::CString;
use std::ops::ControlFlow;
use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use pyro_layer::ErrorKind;
use pyro_wire::FromAgent;
use pyro_wire::message::{FileStep, Move};
use rustix::fs::{AtFlags, FileType, Mode, OFlags, RenameFlags};
use rustix::io::Errno;

use super::delete::remove_tree;
use super::named::{self, Made, Named};
use super::write::with_temporary_name;
use super::{Failure, Reply, at};

/// Answers a move.
pub fn rename(reply: &Reply, request: &Move) -> Result<FromAgent, Failure> {
    named::refuse_fixed(&request.from)?;
    let from = named::find(&request.from)?;
    from.is_directory()?;
    let (path, to) = (Path::new(request.from.as_str()), Path::new(request.to.as_str()));
    if to.starts_with(path) {
        return Err(at(if to == path { FileStep::Exists } else { FileStep::IntoItself })(Errno::INVAL));
    }
    let (Some(above), Some(name)) = (to.parent(), to.file_name()) else {
        return Err(at(FileStep::Exists)(Errno::EXIST));
    };
    let mut made = Made::default();
    let directory = made.directory(above).map_err(at(FileStep::MakeParents))?;
    let to = Named { directory, name: name.to_owned() };
    let replaced = replaces(&from, &to, request.overwrite)?;
    let flags = if request.overwrite { RenameFlags::empty() } else { RenameFlags::NOREPLACE };
    let put =
        |directory: &OwnedFd, name: &Path| rustix::fs::renameat_with(directory, name, &to.directory, to.name.as_os_str(), flags);
    match put(&from.directory, Path::new(&from.name)) {
        Ok(()) => {}
        Err(Errno::XDEV) => copy(reply, from, &to.directory, put)?,
        Err(error) => return Err(refused(error)),
    }
    made.keep();
    Ok(FromAgent::Moved { replaced })
}

/// Whether something has the new name that is to go; refuses when it is not to.
fn replaces(from: &Named, to: &Named, overwrite: bool) -> Result<bool, Failure> {
    let there = match to.stat() {
        Err(Errno::NOENT) => return Ok(false),
        Err(error) => return Err(at(FileStep::Move)(error)),
        Ok(there) => there,
    };
    // rename(2) takes a file's place only with a file. Two names of one file it leaves as they are.
    let is_directory = FileType::from_raw_mode(there.st_mode) == FileType::Directory || from.is_directory()?;
    let is_same = from.stat().is_ok_and(|from| (from.st_dev, from.st_ino) == (there.st_dev, there.st_ino));
    if !overwrite || is_directory || is_same { Err(at(FileStep::Exists)(Errno::EXIST)) } else { Ok(true) }
}

fn refused(error: Errno) -> Failure {
    match error {
        Errno::EXIST | Errno::NOTEMPTY | Errno::ISDIR | Errno::NOTDIR => at(FileStep::Exists)(Errno::EXIST),
        error => at(FileStep::Move)(error),
    }
}

/// Moves what cannot be renamed. The copy is made in a directory of its own, where nobody looks for anything.
fn copy(reply: &Reply, from: Named, to: &OwnedFd, put: impl Fn(&OwnedFd, &Path) -> Result<(), Errno>) -> Result<(), Failure> {
    let step = at(FileStep::Move);
    let private = Mode::from_raw_mode(0o700);
    let (aside, ()) = with_temporary_name(|aside| rustix::fs::mkdirat(to, aside, private)).map_err(&step)?;
    let aside = Aside { directory: to, name: aside };
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let place = rustix::fs::openat(to, &aside.name, flags, Mode::empty()).map_err(&step)?;
    let name = CString::new(from.name.as_bytes()).map_err(|_| step(Errno::INVAL))?;
    let mut watch = |_| if reply.is_cancelled() { ControlFlow::Break(()) } else { ControlFlow::Continue(()) };
    pyro_layer::copy_shown(&from.directory, &place, &name, &mut watch).map_err(|error| match error.kind() {
        ErrorKind::Cancelled => Failure::Cancelled,
        ErrorKind::Refused => step(Errno::OPNOTSUPP),
        _ => step(error.raw_os_error().map_or(Errno::IO, Errno::from_raw_os_error)),
    })?;
    put(&place, Path::new(&from.name)).map_err(refused)?;
    remove_tree(from, FileStep::MoveAway).map(drop)
}

/// Where a copy is made. It goes with whatever is in it.
struct Aside<'a> {
    directory: &'a OwnedFd,
    name: PathBuf,
}

impl Drop for Aside<'_> {
    fn drop(&mut self) {
        let empty = rustix::fs::unlinkat(self.directory, &self.name, AtFlags::REMOVEDIR);
        if empty.is_err()
            && let Ok(directory) = self.directory.try_clone()
        {
            // There is nobody to tell when even this does not work.
            let _left = pyro_layer::remove_tree_at(directory, self.name.as_os_str());
        }
    }
}
