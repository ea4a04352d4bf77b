//! From a tar stream to the tree of a layer: what [`pyro_layer`] does, in the words of this crate.

use std::io::Read;
use std::ops::ControlFlow;
use std::path::Path;

use pyro_api::{Error, ErrorKind, Result};
use pyro_layer::{ArchiveLimits, Owners};

use super::IdMode;
use super::manifest::failed;

/// What was unpacked.
pub(super) struct Unpacked {
    /// Digest of the tree: the same packages give the same.
    pub digest: String,
    pub size_bytes: u64,
}

/// Unpacks a stream into a directory that it makes.
pub(super) fn unpack(stream: impl Read, root: &Path, id_mode: IdMode, progress: &mut dyn FnMut(u64)) -> Result<Unpacked> {
    let doing = "cannot unpack the environment";
    std::fs::create_dir(root).map_err(|error| failed(doing, error))?;
    let owners = match id_mode {
        IdMode::Root | IdMode::Range => Owners::Canonical,
        IdMode::Single => Owners::CallerOnly,
    };
    let mut watch = |now: pyro_layer::Progress| {
        progress(now.bytes);
        ControlFlow::Continue(())
    };
    let report = pyro_layer::unpack_environment(stream, root, owners, ArchiveLimits::default(), &mut watch).map_err(|error| {
        let kind = match error.kind() {
            pyro_layer::ErrorKind::Full | pyro_layer::ErrorKind::Limit => ErrorKind::Limit,
            pyro_layer::ErrorKind::Cancelled => ErrorKind::Cancelled,
            pyro_layer::ErrorKind::Refused
            | pyro_layer::ErrorKind::Damaged
            | pyro_layer::ErrorKind::Changed
            | pyro_layer::ErrorKind::System => ErrorKind::Internal,
        };
        let is_full = error.kind() == pyro_layer::ErrorKind::Full;
        let error = Error::new(kind, doing).because(error);
        if is_full { error.hint("free some space, or set PYRO_HOME to a directory on a larger disk") } else { error }
    })?;
    Ok(Unpacked { digest: report.digest, size_bytes: report.size_bytes })
}
