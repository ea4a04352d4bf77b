//! What changed in a workspace since it was made, read from its writable layers.

use pyro_api::ops::file::{ChangeStatus, DiffRequest, DiffResponse, FileKind};
use pyro_api::{Error, ErrorKind, Result, ops::file};
use pyro_layer::{Change, Kind, PatchLimits, Stack, Status};
use pyro_wire::path::WORKSPACE_DIRECTORY;
use pyro_wire::{SandboxPath, Untrusted};

use crate::backend::StackMount;

/// The diff of a workspace whose file system is `mounts`.
///
/// # Errors
/// `Invalid` when the path is none; `Limit` when more changed than can be listed; `Unavailable` when a layer cannot be read.
pub fn diff(workspace: &str, mounts: &[StackMount], request: &DiffRequest) -> Result<DiffResponse> {
    let path = SandboxPath::parse(&request.path).map_err(|error| Error::invalid(format!("path {:?}: {error}", request.path)))?;
    let mut response = DiffResponse { workspace: workspace.to_owned(), changes: Vec::new(), patch: String::new(), omitted: 0 };
    for mount in mounts {
        let Some(below) = below_in_mount(&path, mount, mounts) else { continue };
        let stack = Stack { upper: mount.upper.clone(), lowers: mount.lowers.clone() };
        let mut changes = pyro_layer::diff(&stack, below.as_bytes()).map_err(refused)?;
        // Paths in a patch are those that results show: relative to /workspace when below it.
        let relative_to = if path.as_str().starts_with(WORKSPACE_DIRECTORY) { &WORKSPACE_DIRECTORY[1..] } else { "" };
        let limits =
            if request.stat { PatchLimits { text_bytes_max: 0, ..PatchLimits::default() } } else { PatchLimits::default() };
        let patch = pyro_layer::unified_patch(&stack, &mut changes, relative_to.as_bytes(), limits).map_err(refused)?;
        response.changes.extend(changes.iter().map(|change| convert(&mount.at, change)));
        if !request.stat {
            response.patch.push_str(&patch.text);
            response.omitted += patch.omitted;
        }
    }
    response.changes.sort_by(|left, right| left.path.cmp(&right.path));
    Ok(response)
}

/// Where to look in a mount for what is at or below `path`; `None` when nothing of it is there.
fn below_in_mount(path: &SandboxPath, mount: &StackMount, all: &[StackMount]) -> Option<String> {
    let at = mount.at.trim_end_matches('/');
    match path.as_str().trim_end_matches('/').strip_prefix(at) {
        Some("") => Some(String::new()),
        Some(rest) if rest.starts_with('/') => {
            // A mount further down covers it.
            let covered = all.iter().any(|other| {
                other.at.len() > mount.at.len()
                    && path.as_str().strip_prefix(other.at.as_str()).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
            });
            (!covered).then(|| rest.trim_start_matches('/').to_owned())
        }
        Some(_) | None => {
            // The whole mount is below the path.
            let root = path.as_str().trim_end_matches('/');
            at.strip_prefix(root).is_some_and(|rest| rest.starts_with('/')).then(String::new)
        }
    }
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
    Error::new(kind, "the changes cannot be read").because(error).hint("look at less at once with path")
}

fn convert(at: &str, change: &Change) -> file::Change {
    let inside = format!("{}/{}", at.trim_end_matches('/'), Untrusted::new(&change.path).lossy());
    let path = match inside.strip_prefix(WORKSPACE_DIRECTORY).and_then(|rest| rest.strip_prefix('/')) {
        Some(rest) => rest.to_owned(),
        None => inside,
    };
    file::Change {
        path,
        status: match change.status {
            Status::Added => ChangeStatus::Added,
            Status::Modified => ChangeStatus::Modified,
            Status::Deleted => ChangeStatus::Deleted,
            Status::TypeChanged => ChangeStatus::TypeChanged,
        },
        kind: match change.kind() {
            Kind::File => FileKind::File,
            Kind::Directory => FileKind::Directory,
            Kind::Symlink => FileKind::Symlink,
            Kind::Other => FileKind::Other,
        },
        added_lines: change.added_lines,
        removed_lines: change.removed_lines,
        mode_change: change.mode_change().map(|(old, new)| format!("{old:04o} to {new:04o}")),
        binary: change.binary,
    }
}

#[cfg(test)]
mod tests {
    use super::{StackMount, below_in_mount};

    #[test]
    fn a_path_is_looked_for_in_the_mount_that_shows_it() {
        let mount = |at: &str| StackMount { at: at.into(), lowers: Vec::new(), upper: "u".into(), work: "w".into() };
        let all = [mount("/"), mount("/usr")];
        let table = [
            ("/workspace", Some("workspace"), None),
            ("/workspace/a/b", Some("workspace/a/b"), None),
            ("/", Some(""), Some("")),
            ("/usr", None, Some("")),
            ("/usr/lib", None, Some("lib")),
            ("/usrx", Some("usrx"), None),
        ];
        for (path, root, usr) in table {
            let path = path.parse().unwrap();
            assert_eq!(below_in_mount(&path, &all[0], &all).as_deref(), root, "{path} in /");
            assert_eq!(below_in_mount(&path, &all[1], &all).as_deref(), usr, "{path} in /usr");
        }
    }
}
