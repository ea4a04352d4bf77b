//! Making a directory, with those above it.

use std::path::Path;

use pyro_wire::FromAgent;
use pyro_wire::message::{FileStep, MakeDirectory};
use rustix::io::Errno;

use super::named::Made;
use super::{Failure, Reply, at};

/// Answers a request for a directory. One that is there is what was asked for.
pub fn make_directory(_: &Reply, request: &MakeDirectory) -> Result<FromAgent, Failure> {
    let mut made = Made::default();
    made.directory(Path::new(request.path.as_str())).map_err(|error| match error {
        Errno::NOTDIR => at(FileStep::NotADirectory)(error),
        error => at(FileStep::MakeParents)(error),
    })?;
    Ok(FromAgent::DirectoryMade { created: made.keep() > 0 })
}
