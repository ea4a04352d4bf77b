//! A file of the user's that is made outside of the home: it is there whole or not at all, and never in the place of another. Until it is
//! whole it has a name of its own beside its place.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use pyro_api::{Error, Result};
use rustix::fs::{CWD, RenameFlags, renameat_with};
use rustix::io::Errno;

use crate::begin::no_room;
use crate::supervisor::complain;

/// Makes the file `output`. `write` is given a path at which nothing is yet.
///
/// # Errors
/// `Conflict` when something is there; those of `write`, and of the disk. Nothing is left then.
pub fn make<T>(output: &Path, write: impl FnOnce(&Path) -> Result<T>) -> Result<T> {
    if fs::symlink_metadata(output).is_ok() {
        return Err(taken(output));
    }
    let unfinished = Unfinished(output.with_file_name(format!(".pyro-{}", crate::name::new_id())));
    let written = write(&unfinished.0)?;
    renameat_with(CWD, &unfinished.0, CWD, output, RenameFlags::NOREPLACE).map_err(|errno| match errno {
        Errno::EXIST => taken(output),
        errno => no_room(output, errno.into()),
    })?;
    Ok(written)
}

/// Refuses to make what is there.
#[must_use]
pub fn taken(output: &Path) -> Error {
    Error::conflict(format!("{} is there already", output.display())).hint("give another output")
}

/// Removed when it is dropped, unless it has got its place.
struct Unfinished(PathBuf);

impl Drop for Unfinished {
    fn drop(&mut self) {
        match fs::remove_file(&self.0) {
            Ok(()) => {}
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => complain(&Error::unavailable(format!("{} was left over", self.0.display())).because(error)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_is_there_whole_or_not_at_all_and_never_in_the_place_of_another() {
        let directory = tempfile::tempdir().unwrap();
        let output = directory.path().join("out");
        let names = || fs::read_dir(directory.path()).unwrap().count();
        let write = |text: &'static str| move |path: &Path| fs::write(path, text).map_err(|error| no_room(path, error));
        let failed = make::<()>(&output, |path| {
            write("half")(path)?;
            Err(Error::limit("full"))
        });
        assert_eq!((failed.unwrap_err().kind, names()), (pyro_api::ErrorKind::Limit, 0));
        make(&output, write("whole")).unwrap();
        assert_eq!((fs::read_to_string(&output).unwrap().as_str(), names()), ("whole", 1));
        assert_eq!(make(&output, write("other")).unwrap_err().kind, pyro_api::ErrorKind::Conflict);
        // Somebody else was quicker.
        let late = directory.path().join("late");
        let raced = make(&late, |path| write("ours")(path).and_then(|()| write("theirs")(&late)));
        assert_eq!(raced.unwrap_err().kind, pyro_api::ErrorKind::Conflict);
        assert_eq!((fs::read_to_string(&late).unwrap().as_str(), names()), ("theirs", 2));
        // A link that leads nowhere is something too.
        let link = directory.path().join("link");
        std::os::unix::fs::symlink("nowhere", &link).unwrap();
        assert_eq!(make(&link, write("through")).unwrap_err().kind, pyro_api::ErrorKind::Conflict);
    }
}
