//! What changed in a workspace since it was made, as answers show it. Whoever can read the writable layers finds it out: we do where they
//! lie outside; where they lie inside the agent does, and what it says are claims.

use std::ops::ControlFlow;

use pyro_api::ops::file::{ChangeStatus, DiffRequest, DiffResponse, FileKind};
use pyro_api::{Error, ErrorKind, Result, ops::file};
use pyro_layer::{BinaryFiles, Detail, Kind, MountedStack};
use pyro_wire::path::WORKSPACE_DIRECTORY;
use pyro_wire::{SandboxPath, Untrusted, message};

/// The diff of a workspace between two states of its mounts, read from layers that lie outside.
///
/// # Errors
/// `Limit` when more changed than can be listed; `Unavailable` when a layer cannot be read.
pub fn diff(workspace: &str, mounts: &[MountedStack], path: &SandboxPath, detail: Detail) -> Result<DiffResponse> {
    let changed = pyro_layer::changed(mounts, path, detail, &mut |_| ControlFlow::Continue(())).map_err(refused)?;
    let changes = changed.changes.iter().map(|change| convert(&change.into())).collect();
    Ok(response(workspace, changes, changed.patch.text, changed.patch.omitted))
}

/// How much a request wants to know.
#[must_use]
pub fn detail_of(request: &DiffRequest) -> Detail {
    Detail {
        stat: request.stat || request.name_only,
        names: request.name_only,
        renames: true,
        binary: if request.binary { BinaryFiles::Written } else { BinaryFiles::Named },
        text_bytes_max: None,
    }
}

/// The answer, in the order of paths as they are shown.
pub fn response(workspace: &str, mut changes: Vec<file::Change>, patch: String, omitted: u64) -> DiffResponse {
    changes.sort_by(|left, right| left.path.cmp(&right.path));
    DiffResponse { workspace: workspace.to_owned(), changes, patch, omitted }
}

/// A diff that could not be made; the cause is the caller's to add.
pub fn unreadable(kind: ErrorKind) -> Error {
    Error::new(kind, "the changes cannot be read").hint("look at less at once with path")
}

fn refused(error: pyro_layer::Error) -> Error {
    let kind = match error.kind() {
        pyro_layer::ErrorKind::Limit => ErrorKind::Limit,
        pyro_layer::ErrorKind::Refused
        | pyro_layer::ErrorKind::Damaged
        | pyro_layer::ErrorKind::Full
        | pyro_layer::ErrorKind::Changed
        | pyro_layer::ErrorKind::Cancelled
        | pyro_layer::ErrorKind::System => ErrorKind::Unavailable,
    };
    unreadable(kind).because(error)
}

/// A change as answers show it. Its path becomes text here and is never opened.
pub fn convert(change: &message::Change) -> file::Change {
    // A message that was decoded was checked, and what we made ourselves is right: hexadecimal digits come in pairs.
    let raw = change.path.to_vec().unwrap_or_default();
    let shown = |path: Vec<u8>| {
        let inside = format!("/{}", Untrusted::new(path).lossy());
        match inside.strip_prefix(WORKSPACE_DIRECTORY).and_then(|rest| rest.strip_prefix('/')) {
            Some(rest) => rest.to_owned(),
            None => inside,
        }
    };
    let kind = match change.kind {
        message::EntryKind::File => Kind::File,
        message::EntryKind::Directory => Kind::Directory,
        message::EntryKind::Symlink => Kind::Symlink,
        message::EntryKind::Other => Kind::Other,
    };
    let runs_outside = pyro_layer::runs_outside(&raw, kind).map(str::to_owned);
    file::Change {
        path: shown(raw),
        from: change.from.as_ref().map(|from| shown(from.to_vec().unwrap_or_default())),
        status: match change.status {
            message::ChangeStatus::Added => ChangeStatus::Added,
            message::ChangeStatus::Modified => ChangeStatus::Modified,
            message::ChangeStatus::Deleted => ChangeStatus::Deleted,
            message::ChangeStatus::Renamed => ChangeStatus::Renamed,
            message::ChangeStatus::TypeChanged => ChangeStatus::TypeChanged,
        },
        kind: match change.kind {
            message::EntryKind::File => FileKind::File,
            message::EntryKind::Directory => FileKind::Directory,
            message::EntryKind::Symlink => FileKind::Symlink,
            message::EntryKind::Other => FileKind::Other,
        },
        added_lines: change.added_lines,
        removed_lines: change.removed_lines,
        mode_change: change.mode_change.map(|modes| format!("{:04o} to {:04o}", modes.old, modes.new)),
        binary: change.binary,
        runs_outside,
    }
}
