//! Taking a file, a link or a directory away.

use pyro_layer::ErrorKind;
use pyro_wire::FromAgent;
use pyro_wire::message::{Delete, FileStep};
use rustix::fs::AtFlags;
use rustix::io::Errno;

use super::named::{self, Named};
use super::{Failure, Reply, at};

/// Answers a deletion. What cannot be deleted of a tree is left, and all else of it is gone: there is no way back but the workspace's own.
pub fn delete(_: &Reply, request: &Delete) -> Result<FromAgent, Failure> {
    named::refuse_fixed(&request.path)?;
    let named = named::find(&request.path)?;
    let entries = if !named.is_directory()? {
        rustix::fs::unlinkat(&named.directory, &named.name, AtFlags::empty()).map_err(at(FileStep::Delete))?;
        1
    } else if request.recursive {
        remove_tree(named, FileStep::Delete)?
    } else {
        rustix::fs::unlinkat(&named.directory, &named.name, AtFlags::REMOVEDIR).map_err(|error| match error {
            Errno::NOTEMPTY | Errno::EXIST => at(FileStep::NotEmpty)(Errno::NOTEMPTY),
            error => at(FileStep::Delete)(error),
        })?;
        1
    };
    Ok(FromAgent::Deleted { entries })
}

/// Removes whatever has the name, and tells how many names are gone.
pub fn remove_tree(named: Named, step: FileStep) -> Result<u64, Failure> {
    let removed = pyro_layer::remove_tree_at(named.directory, &named.name).map_err(|error| {
        let errno = match error.kind() {
            ErrorKind::Refused => Errno::BUSY,
            _ => error.raw_os_error().map_or(Errno::IO, Errno::from_raw_os_error),
        };
        at(step)(errno)
    })?;
    // Somebody was quicker.
    if removed.entry_count == 0 { Err(at(step)(Errno::NOENT)) } else { Ok(removed.entry_count) }
}
