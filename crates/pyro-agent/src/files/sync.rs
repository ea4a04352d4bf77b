//! Putting on disk what was written, before somebody copies the disk.

use std::fs::{self, File};
use std::path::Path;

use pyro_wire::FromAgent;
use pyro_wire::message::FileStep;
use rustix::io::Errno;

use super::{Failure, at};
use crate::Layers;

/// Answers a request to write everything out.
pub fn sync(layers: Option<&Layers>) -> Result<FromAgent, Failure> {
    let errno = |error: std::io::Error| Errno::from_io_error(&error).unwrap_or(Errno::IO);
    let place = layers.map_or(Path::new("/"), |layers| &layers.upper);
    let disk = File::open(place).map_err(|error| at(FileStep::Open)(errno(error)))?;
    rustix::fs::syncfs(disk).map_err(at(FileStep::Write))?;
    let processes = fs::read_dir("/proc").map_err(|error| at(FileStep::Read)(errno(error)))?;
    let is_process = |name: &std::ffi::OsStr| name.to_str().is_some_and(|name| name.parse::<u32>().is_ok());
    let count = processes.filter_map(Result::ok).filter(|entry| is_process(&entry.file_name())).count() as u64;
    // The agent itself is one.
    Ok(FromAgent::Synced { alive: count.saturating_sub(1) })
}
