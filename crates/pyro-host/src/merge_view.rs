//! A merge as answers show it. Paths and lines come from inside: they become text here and are never opened.

use pyro_api::ops::past::{ConflictView, HunkView, MergeResponse, VersionView};
use pyro_layer::merge::{Conflict, ConflictKind, Version};
use pyro_layer::{Kind, Merged, Status};
use pyro_wire::Untrusted;
use pyro_wire::path::WORKSPACE_DIRECTORY;

use crate::manifest::Mount;

/// Paths of one kind that an answer lists; the rest is only counted.
const PATHS_MAX: usize = 1000;

/// Conflicts with their lines that an answer holds.
const CONFLICTS_MAX: usize = 100;

/// The answer to a merge: what became of each mount, in the order of mounts.
#[must_use]
pub fn response(workspace: &str, from: &str, mounts: &[Mount], merged: &[Merged], step: Option<u64>) -> MergeResponse {
    let all = || mounts.iter().zip(merged);
    let taken = all().flat_map(|(mount, merged)| {
        merged.taken.iter().map(|taken| format!("{} {}", letter(taken.status), shown(mount, &taken.path)))
    });
    let joined = all().flat_map(|(mount, merged)| merged.merged.iter().map(|path| shown(mount, path)));
    let settled = all().flat_map(|(mount, merged)| merged.settled.iter().map(|settled| shown(mount, &settled.path)));
    let conflicts = all().flat_map(|(mount, merged)| merged.conflicts.iter().map(|conflict| conflict_view(mount, conflict)));
    MergeResponse {
        workspace: workspace.to_owned(),
        from: from.to_owned(),
        merged: step.is_some(),
        step,
        taken: taken.take(PATHS_MAX).collect(),
        joined: joined.take(PATHS_MAX).collect(),
        settled: settled.take(PATHS_MAX).collect(),
        conflicts: conflicts.take(CONFLICTS_MAX).collect(),
        conflict_count: merged.iter().map(|merged| merged.conflict_count).sum(),
    }
}

fn letter(status: Status) -> char {
    match status {
        Status::Added => 'A',
        Status::Modified => 'M',
        Status::Deleted => 'D',
        Status::TypeChanged => 'T',
        Status::Renamed => 'R',
    }
}

fn shown(mount: &Mount, path: &[u8]) -> String {
    let inside = format!("{}/{}", mount.at.trim_end_matches('/'), Untrusted::new(path.to_vec()).lossy());
    match inside.strip_prefix(WORKSPACE_DIRECTORY).and_then(|rest| rest.strip_prefix('/')) {
        Some(rest) => rest.to_owned(),
        None => inside,
    }
}

fn conflict_view(mount: &Mount, conflict: &Conflict) -> ConflictView {
    let kind = match conflict.kind {
        ConflictKind::Lines => "lines",
        ConflictKind::Content => "content",
        ConflictKind::Mode => "mode",
        ConflictKind::ModifiedAndDeleted => "modified_and_deleted",
        ConflictKind::AddedTwice => "added_twice",
        ConflictKind::Type => "type",
        ConflictKind::DirectoryAgainstFile => "directory_against_file",
    };
    let hunk = |hunk: &pyro_layer::merge::ConflictHunk| HunkView {
        line: hunk.ours_line,
        base: hunk.base.clone(),
        ours: hunk.ours.clone(),
        theirs: hunk.theirs.clone(),
    };
    ConflictView {
        path: shown(mount, &conflict.path),
        kind: kind.to_owned(),
        base: conflict.base.as_ref().map(version_view),
        ours: conflict.ours.as_ref().map(version_view),
        theirs: conflict.theirs.as_ref().map(version_view),
        hunks: conflict.hunks.iter().map(hunk).collect(),
    }
}

fn version_view(version: &Version) -> VersionView {
    let kind = match version.kind {
        Kind::File => "file",
        Kind::Directory => "directory",
        Kind::Symlink => "symlink",
        Kind::Other => "other",
    };
    VersionView { kind: kind.to_owned(), mode: format!("{:04o}", version.mode), size_bytes: version.size_bytes }
}
