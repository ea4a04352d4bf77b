//! Files between the host and a workspace: pushing in, taking out.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::values::WorkspaceRef;
use crate::{Effect, Error, Op, Profile, Result};

/// Push a host directory into a workspace: what differs is copied
///
/// All of it appears at once. Processes in the background must have ended.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[cfg_attr(feature = "clap", derive(clap::Args))]
#[serde(deny_unknown_fields)]
pub struct SyncPushRequest {
    /// Workspace name or id
    pub workspace: WorkspaceRef,
    /// Host directory
    #[cfg_attr(feature = "clap", arg(value_name = "SOURCE", value_hint = clap::ValueHint::DirPath))]
    pub source: String,
    /// Directory in the workspace
    #[serde(default = "SyncPushRequest::path_default")]
    #[cfg_attr(feature = "clap", arg(value_name = "PATH", default_value_t = SyncPushRequest::path_default()))]
    pub path: String,
    /// Delete what the source does not have
    #[serde(default)]
    #[cfg_attr(feature = "clap", arg(long))]
    pub delete: bool,
    /// Leave out what .gitignore and .ignore name
    #[serde(default)]
    #[cfg_attr(feature = "clap", arg(long))]
    pub ignore: bool,
}

impl SyncPushRequest {
    fn path_default() -> String {
        "/workspace".to_owned()
    }
}

/// What a push answers.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
pub struct SyncPushResponse {
    /// Name of the workspace.
    pub workspace: String,
    /// The directory that was pushed to, relative to /workspace when below it.
    pub path: String,
    /// Files, directories and links that were not there.
    pub added: u64,
    /// Those that were different.
    pub changed: u64,
    /// Those that were deleted.
    pub deleted: u64,
    /// Those that are the same.
    pub unchanged: u64,
    /// Bytes of content that were copied.
    pub bytes: u64,
    /// The step that it is; nothing when all was the same.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub step: Option<u64>,
    /// Things that could not be brought along (sockets, devices), by name.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub skipped: Vec<String>,
}

/// See [`SyncPushRequest`].
pub enum SyncPush {}
impl Op for SyncPush {
    const NAME: &'static str = "workspace sync push";
    const TOOL: Option<&'static str> = Some("workspace_sync_push");
    const EFFECT: Effect = Effect::Write;
    const PROFILE: Profile = Profile::WorkspaceFull;
    const HOST_PATHS: &'static [&'static str] = &["source"];
    type Request = SyncPushRequest;
    type Response = SyncPushResponse;
}

/// How files leave a workspace.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
#[cfg_attr(feature = "clap", derive(clap::ValueEnum))]
#[schemars(inline)]
#[expect(missing_docs, reason = "documented variants become oneOf in the schema, which some MCP hosts refuse")]
pub enum ExportFormat {
    #[default]
    Tree,
    Tar,
    Patch,
}

/// Copy files of a workspace to the host: as they are, as a tar file, or as a patch
///
/// A patch is against what the workspace was seeded with. Nothing that is there is written over.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[cfg_attr(feature = "clap", derive(clap::Args))]
#[serde(deny_unknown_fields)]
pub struct ExportRequest {
    /// Workspace name or id
    pub workspace: WorkspaceRef,
    /// File or directory in the workspace
    #[serde(default = "SyncPushRequest::path_default")]
    #[cfg_attr(feature = "clap", arg(value_name = "PATH", default_value_t = SyncPushRequest::path_default()))]
    pub path: String,
    /// Host path to make
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "clap", arg(long, value_name = "PATH", value_hint = clap::ValueHint::AnyPath))]
    pub output: Option<String>,
    /// What to make
    #[serde(default)]
    #[cfg_attr(feature = "clap", arg(long, value_enum, default_value_t))]
    pub format: ExportFormat,
    /// Instead: git repository on the host to commit the patch to, on a new branch
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "clap", arg(long, value_name = "REPOSITORY", value_hint = clap::ValueHint::DirPath, conflicts_with = "output"))]
    pub to_git: Option<String>,
    /// Name of that branch [default: pyro/WORKSPACE]
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "clap", arg(long, value_name = "NAME", requires = "to_git"))]
    pub branch: Option<String>,
}

/// What an export answers.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
pub struct ExportResponse {
    /// Name of the workspace.
    pub workspace: String,
    /// What was taken out, relative to /workspace when below it.
    pub path: String,
    /// What was made on the host: a path, or the branch of a repository.
    pub output: String,
    /// Files, directories and links; for a patch, what it changes.
    pub entry_count: u64,
    /// Bytes of content.
    pub bytes: u64,
    /// Things that cannot be taken out (sockets, devices), by name.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub skipped: Vec<String>,
    /// Changes that tools on the host would run by themselves, each with the reason.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub runs_outside: Vec<String>,
    /// Why the files had to be copied while everything inside stood still, if they had to be.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub copied: Option<String>,
}

/// See [`ExportRequest`].
pub enum WorkspaceExport {}
impl Op for WorkspaceExport {
    const NAME: &'static str = "workspace export";
    const TOOL: Option<&'static str> = Some("workspace_export");
    const EFFECT: Effect = Effect::Write;
    const PROFILE: Profile = Profile::WorkspaceFull;
    const HOST_PATHS: &'static [&'static str] = &["output", "to_git"];
    const HOST_MADE: &'static [&'static str] = &["output"];
    type Request = ExportRequest;
    type Response = ExportResponse;
    fn check(request: &ExportRequest) -> Result<()> {
        match (&request.output, &request.to_git) {
            (Some(_), None) if request.branch.is_some() => {
                Err(Error::invalid("a branch is given and no repository").hint("add to_git"))
            }
            (Some(_), None) | (None, Some(_)) => Ok(()),
            (Some(_), Some(_)) => Err(Error::invalid("output and to_git are both given").hint("give one of them")),
            (None, None) => Err(Error::invalid("there is no place to export to").hint("give output or to_git")),
        }
    }
}
