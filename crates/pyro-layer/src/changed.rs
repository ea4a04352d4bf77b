//! What changed in a whole file system that is put together from mounts, told by the paths that people see inside.
//!
//! Whoever can read the layers calls it: the host where they lie outside, the agent where they lie on a disk inside. Both so give the same
//! answer to the same question.

use pyro_wire::SandboxPath;
use pyro_wire::message;
use pyro_wire::path::WORKSPACE_DIRECTORY;

use crate::Watch;
use crate::diff::{Change, Kind, Status, diff};
use crate::error::Result;
use crate::patch::{BinaryFiles, Patch, PatchLimits, unified_patch};
use crate::renames::find_renames;
use crate::stack::Stacks;

/// Two states of one mount, and where it is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MountedStack {
    /// Where it is mounted inside: `/`, `/usr`.
    pub at: String,
    /// Its layers, before and after.
    pub stacks: Stacks,
}

/// What changed.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Changed {
    /// In byte order of paths, which are relative to the root of all mounts.
    pub changes: Vec<Change>,
    /// As text; empty when only lines were to be counted.
    pub patch: Patch,
}

/// How changes are told.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Detail {
    /// Lines are counted and no text is written.
    pub stat: bool,
    /// Not even lines are counted.
    pub names: bool,
    /// Files that were moved are told as one change, within one mount.
    pub renames: bool,
    /// What is written of content that is no text.
    pub binary: BinaryFiles,
    /// Most bytes of text; as much as answers show when absent.
    pub text_bytes_max: Option<usize>,
}

/// What changed at and below `path` in all of `mounts`.
///
/// # Errors
/// Those of [`diff`], [`find_renames`] and [`unified_patch`].
pub fn changed(mounts: &[MountedStack], path: &SandboxPath, detail: Detail, watch: Watch<'_>) -> Result<Changed> {
    let mut changed = Changed::default();
    // Paths in a patch are those that results show: relative to /workspace when below it.
    let relative_to = if path.as_str().starts_with(WORKSPACE_DIRECTORY) { WORKSPACE_DIRECTORY.trim_start_matches('/') } else { "" };
    let text_bytes_max = if detail.stat { 0 } else { detail.text_bytes_max.unwrap_or(PatchLimits::default().text_bytes_max) };
    let limits = PatchLimits { binary: detail.binary, text_bytes_max, ..PatchLimits::default() };
    for mount in mounts {
        let Some(below) = below_in_mount(path, mount, mounts) else { continue };
        let mut changes = diff(&mount.stacks, below.as_bytes(), &mut *watch)?;
        if detail.renames {
            changes = find_renames(&mount.stacks, changes, &mut *watch)?;
        }
        let patch = match detail.names {
            true => Patch::default(),
            false => unified_patch(&mount.stacks, &mut changes, relative_to.as_bytes(), limits, &mut *watch)?,
        };
        let at = mount.at.trim_matches('/');
        if !at.is_empty() {
            let whole = |path: &[u8]| [at.as_bytes(), b"/", path].concat();
            for change in &mut changes {
                change.path = whole(&change.path);
                change.from = change.from.as_deref().map(whole);
            }
        }
        changed.changes.extend(changes);
        if !detail.stat {
            changed.patch.text.push_str(&patch.text);
            changed.patch.omitted += patch.omitted;
        }
    }
    changed.changes.sort_by(|left, right| left.path.cmp(&right.path));
    Ok(changed)
}

/// Where to look in a mount for what is at or below `path`; `None` when nothing of it is there.
fn below_in_mount(path: &SandboxPath, mount: &MountedStack, all: &[MountedStack]) -> Option<String> {
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

/// As the link carries it, and as answers are made from it.
impl From<&Change> for message::Change {
    fn from(change: &Change) -> Self {
        Self {
            path: change.path.as_slice().into(),
            status: match change.status {
                Status::Added => message::ChangeStatus::Added,
                Status::Modified => message::ChangeStatus::Modified,
                Status::Deleted => message::ChangeStatus::Deleted,
                Status::Renamed => message::ChangeStatus::Renamed,
                Status::TypeChanged => message::ChangeStatus::TypeChanged,
            },
            from: change.from.as_deref().map(Into::into),
            kind: match change.kind() {
                Kind::File => message::EntryKind::File,
                Kind::Directory => message::EntryKind::Directory,
                Kind::Symlink => message::EntryKind::Symlink,
                Kind::Other => message::EntryKind::Other,
            },
            mode_change: change.mode_change().map(|(old, new)| message::ModeChange { old, new }),
            added_lines: change.added_lines,
            removed_lines: change.removed_lines,
            binary: change.binary,
        }
    }
}

#[cfg(test)]
mod tests;
