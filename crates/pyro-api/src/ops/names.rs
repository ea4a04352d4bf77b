//! Names of files in a workspace: deleting, moving, making directories. None of them follows a symbolic link on its way.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::values::WorkspaceRef;
use crate::{Effect, Op, Profile};

/// Delete a file, a link or a directory of a workspace
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[cfg_attr(feature = "clap", derive(clap::Args))]
#[serde(deny_unknown_fields)]
pub struct FileDeleteRequest {
    /// Workspace name or id
    pub workspace: WorkspaceRef,
    /// File, link or empty directory
    #[serde(alias = "file_path", alias = "filePath", alias = "file", alias = "directory")]
    pub path: String,
    /// A directory with all that is in it
    #[serde(default)]
    #[cfg_attr(feature = "clap", arg(long))]
    pub recursive: bool,
}

/// What a deletion answers.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
pub struct FileDeleteResponse {
    /// Name of the workspace.
    pub workspace: String,
    /// What is gone, relative to /workspace when below it.
    pub path: String,
    /// Names that are gone: itself, and what was in it.
    pub entries: u64,
}

/// See [`FileDeleteRequest`].
pub enum FileDelete {}
impl Op for FileDelete {
    const NAME: &'static str = "workspace file delete";
    const TOOL: Option<&'static str> = Some("workspace_file_delete");
    // `workspace undo` brings it back.
    const EFFECT: Effect = Effect::Write;
    const PROFILE: Profile = Profile::WorkspaceFull;
    type Request = FileDeleteRequest;
    type Response = FileDeleteResponse;
}

/// Move a file, a link or a directory of a workspace to another name
///
/// Directories above are made. Owner, mode and times stay.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[cfg_attr(feature = "clap", derive(clap::Args))]
#[serde(deny_unknown_fields)]
pub struct FileMoveRequest {
    /// Workspace name or id
    pub workspace: WorkspaceRef,
    /// What to move
    #[serde(alias = "source", alias = "old_path", alias = "path")]
    pub from: String,
    /// Its whole new name
    #[serde(alias = "destination", alias = "new_path")]
    pub to: String,
    /// Take the place of a file or a link
    #[serde(default)]
    #[cfg_attr(feature = "clap", arg(long))]
    pub overwrite: bool,
}

/// What a move answers.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
pub struct FileMoveResponse {
    /// Name of the workspace.
    pub workspace: String,
    /// Where it was, relative to /workspace when below it.
    pub from: String,
    /// Where it is, the same.
    pub to: String,
    /// Something was there, and is gone.
    pub replaced: bool,
}

/// See [`FileMoveRequest`].
pub enum FileMove {}
impl Op for FileMove {
    const NAME: &'static str = "workspace file move";
    const TOOL: Option<&'static str> = Some("workspace_file_move");
    const EFFECT: Effect = Effect::Write;
    const PROFILE: Profile = Profile::WorkspaceFull;
    type Request = FileMoveRequest;
    type Response = FileMoveResponse;
}

/// Create a directory of a workspace, with those above it
///
/// One that is there already is a success.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[cfg_attr(feature = "clap", derive(clap::Args))]
#[serde(deny_unknown_fields)]
pub struct FileMkdirRequest {
    /// Workspace name or id
    pub workspace: WorkspaceRef,
    /// Directory
    #[serde(alias = "directory", alias = "dir")]
    pub path: String,
}

/// What making a directory answers.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
pub struct FileMkdirResponse {
    /// Name of the workspace.
    pub workspace: String,
    /// The directory, relative to /workspace when below it.
    pub path: String,
    /// It was not there before.
    pub created: bool,
}

/// See [`FileMkdirRequest`].
pub enum FileMkdir {}
impl Op for FileMkdir {
    const NAME: &'static str = "workspace file mkdir";
    const TOOL: Option<&'static str> = Some("workspace_file_mkdir");
    const EFFECT: Effect = Effect::Write;
    const PROFILE: Profile = Profile::WorkspaceFull;
    type Request = FileMkdirRequest;
    type Response = FileMkdirResponse;
}
