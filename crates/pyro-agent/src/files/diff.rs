//! Telling what changed, from layers that only the inside may read.

use std::ops::ControlFlow;

use pyro_layer::{BinaryFiles, Changed, Detail, ErrorKind, MountedStack, changed};
use pyro_wire::FromAgent;
use pyro_wire::limits::{CHANGE_BYTES, CHANGES_BYTES_MAX, PATH_BYTES_MAX};
use pyro_wire::message::{self, Diff, Diffed, FileStep};
use rustix::io::Errno;

use super::batch::{Batch, json_bytes};
use super::{Failure, Reply, at};
use crate::Layers;

/// Answers a diff. Nothing is sent before all of it is known: lines are counted while the patch is written.
pub fn diff(reply: &Reply, request: &Diff, layers: Option<&Layers>) -> Result<FromAgent, Failure> {
    let layers = layers.ok_or_else(|| at(FileStep::Open)(Errno::NOSYS))?;
    let root = [MountedStack { at: "/".to_owned(), stacks: layers.changes_of_upper() }];
    let mut watch = |_| if reply.is_cancelled() { ControlFlow::Break(()) } else { ControlFlow::Continue(()) };
    let binary = if request.binary { BinaryFiles::Written } else { BinaryFiles::Named };
    let detail = Detail { stat: request.stat, renames: true, binary, ..Detail::default() };
    let Changed { changes, patch } = changed(&root, &request.path, detail, &mut watch).map_err(|error| failure(&error))?;
    check(&changes)?;
    let mut batch = Batch::new(reply, FromAgent::Changes);
    for change in &changes {
        let message = message::Change::from(change);
        let json_bytes = json_bytes(std::iter::once(&message.path).chain(&message.from));
        batch.push(message, json_bytes)?;
    }
    batch.flush()?;
    reply.send_content(patch.text.as_bytes())?;
    Ok(FromAgent::Diffed(Diffed { omitted: patch.omitted }))
}

/// What is within the limits of layers may be more than the link carries.
fn check(changes: &[pyro_layer::Change]) -> Result<(), Failure> {
    if changes.iter().any(|change| change.path.len() > PATH_BYTES_MAX) {
        return Err(at(FileStep::Read)(Errno::NAMETOOLONG));
    }
    let names = |change: &pyro_layer::Change| change.path.len() + change.from.as_ref().map_or(0, Vec::len);
    let bytes: usize = changes.iter().map(|change| names(change) + CHANGE_BYTES).sum();
    if bytes > CHANGES_BYTES_MAX { Err(at(FileStep::Read)(Errno::FBIG)) } else { Ok(()) }
}

fn failure(error: &pyro_layer::Error) -> Failure {
    let otherwise = |errno: Errno| error.raw_os_error().map_or(errno, Errno::from_raw_os_error);
    match error.kind() {
        ErrorKind::Cancelled => Failure::Cancelled,
        ErrorKind::Limit => at(FileStep::Read)(Errno::FBIG),
        ErrorKind::Changed => at(FileStep::Read)(Errno::STALE),
        ErrorKind::Refused | ErrorKind::Damaged | ErrorKind::Full | ErrorKind::System => at(FileStep::Read)(otherwise(Errno::IO)),
    }
}
