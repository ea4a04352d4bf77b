//! Files of a workspace: list, read, write, and what changed.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::values::{Against, WorkspaceRef};
use crate::{Effect, Error, Op, Profile, Result};

/// List a directory of a workspace
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[cfg_attr(feature = "clap", derive(clap::Args))]
#[serde(deny_unknown_fields)]
pub struct FileListRequest {
    /// Workspace name or id
    pub workspace: WorkspaceRef,
    /// Directory
    #[serde(default = "FileListRequest::path_default")]
    #[cfg_attr(feature = "clap", arg(default_value_t = FileListRequest::path_default()))]
    pub path: String,
    /// Levels of subdirectories to go into
    #[serde(default = "FileListRequest::depth_default", deserialize_with = "crate::values::whole_number")]
    #[cfg_attr(feature = "clap", arg(long, default_value_t = FileListRequest::depth_default(), value_name = "N"))]
    pub depth: u32,
    /// Entries to show at most
    #[serde(default = "FileListRequest::limit_default", deserialize_with = "crate::values::whole_number")]
    #[cfg_attr(feature = "clap", arg(long, default_value_t = FileListRequest::limit_default(), value_name = "N"))]
    pub limit: u32,
}

impl FileListRequest {
    /// Most entries of one listing: what the agent's listing is limited to as well.
    pub const LIMIT_MAX: u32 = pyro_wire::limits::ENTRIES_MAX;
    pub(super) fn path_default() -> String {
        "/workspace".to_owned()
    }
    pub(super) fn depth_default() -> u32 {
        1
    }
    pub(super) fn limit_default() -> u32 {
        1000
    }
    pub(super) fn check_bounds(depth: u32, limit: u32) -> Result<()> {
        if limit == 0 || limit > Self::LIMIT_MAX {
            return Err(Error::invalid(format!("limit {limit} is not between 1 and {}", Self::LIMIT_MAX)));
        }
        if depth == 0 {
            return Err(Error::invalid("depth 0 is not 1 or more").hint("1 lists the directory itself"));
        }
        Ok(())
    }
}

/// What a listing answers.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
pub struct FileListResponse {
    /// Name of the workspace.
    pub workspace: String,
    /// The directory, relative to /workspace when below it.
    pub path: String,
    /// In path order.
    pub entries: Vec<FileEntry>,
    /// There is more than was asked for.
    pub truncated: bool,
}

/// One file, directory or link.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct FileEntry {
    /// Path relative to the directory that was listed.
    pub path: String,
    /// What it is.
    pub kind: FileKind,
    /// Size of a file.
    pub size_bytes: u64,
    /// Permission bits, octal: `0644`.
    pub mode: String,
    /// Where a link points.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub target: Option<String>,
}

/// What a path names.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
#[expect(missing_docs, reason = "documented variants become oneOf in the schema, which some MCP hosts refuse")]
pub enum FileKind {
    File,
    Directory,
    Symlink,
    Other,
}

/// See [`FileListRequest`].
pub enum FileList {}
impl Op for FileList {
    const NAME: &'static str = "workspace file list";
    const TOOL: Option<&'static str> = Some("workspace_file_list");
    // What is shown is cut to what a host takes anyway.
    const TOOL_OMITS: &'static [&'static str] = &["limit"];
    const EFFECT: Effect = Effect::Read;
    const PROFILE: Profile = Profile::WorkspaceCore;
    type Request = FileListRequest;
    type Response = FileListResponse;
    fn check(request: &FileListRequest) -> Result<()> {
        FileListRequest::check_bounds(request.depth, request.limit)
    }
}

/// Read a file of a workspace
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[cfg_attr(feature = "clap", derive(clap::Args))]
#[serde(deny_unknown_fields)]
pub struct FileReadRequest {
    /// Workspace name or id
    pub workspace: WorkspaceRef,
    /// File
    pub path: String,
    /// First byte
    #[serde(default, deserialize_with = "crate::values::whole_number")]
    #[cfg_attr(feature = "clap", arg(long, default_value_t, value_name = "BYTE"))]
    pub offset: u64,
    /// Bytes at most
    #[serde(default = "FileReadRequest::bytes_default", deserialize_with = "crate::values::whole_number")]
    #[cfg_attr(feature = "clap", arg(long, default_value_t = FileReadRequest::bytes_default(), value_name = "BYTES"))]
    pub max_bytes: u64,
}

impl FileReadRequest {
    /// The baseline's default.
    pub(super) fn bytes_default() -> u64 {
        65_536
    }
    pub(super) fn check_bounds(max_bytes: u64) -> Result<()> {
        if max_bytes == 0 || max_bytes > Self::BYTES_MAX {
            return Err(Error::invalid(format!("max_bytes {max_bytes} is not between 1 and {}", Self::BYTES_MAX)));
        }
        Ok(())
    }
    /// Largest part of a file that one call reads.
    pub const BYTES_MAX: u64 = 16 * 1024 * 1024;
}

/// What a read answers.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
pub struct FileReadResponse {
    /// Name of the workspace.
    pub workspace: String,
    /// The file, relative to /workspace when below it.
    pub path: String,
    /// Size of the whole file.
    pub size_bytes: u64,
    /// First byte of `content` in the file.
    pub offset: u64,
    /// Content as text, or in base64: `encoding` says which.
    pub content: String,
    /// How `content` is written.
    pub encoding: Encoding,
    /// The file goes on after this part.
    pub truncated: bool,
}

/// How content is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
#[expect(missing_docs, reason = "documented variants become oneOf in the schema, which some MCP hosts refuse")]
pub enum Encoding {
    Utf8,
    Base64,
}

/// See [`FileReadRequest`].
pub enum FileRead {}
impl Op for FileRead {
    const NAME: &'static str = "workspace file read";
    const TOOL: Option<&'static str> = Some("workspace_file_read");
    const EFFECT: Effect = Effect::Read;
    const PROFILE: Profile = Profile::WorkspaceCore;
    type Request = FileReadRequest;
    type Response = FileReadResponse;
    fn check(request: &FileReadRequest) -> Result<()> {
        FileReadRequest::check_bounds(request.max_bytes)
    }
}

/// Create or replace a file of a workspace
///
/// Directories are made. A file that exists keeps its mode.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[cfg_attr(feature = "clap", derive(clap::Args))]
#[serde(deny_unknown_fields)]
pub struct FileWriteRequest {
    /// Workspace name or id
    pub workspace: WorkspaceRef,
    /// File
    pub path: String,
    /// Whole new content
    #[cfg_attr(feature = "clap", arg(long, value_name = "TEXT", help = "Whole new content [default: standard input]"))]
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub text: Option<String>,
    /// Whole new content in base64, instead of text
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "clap", arg(skip))]
    pub base64: Option<String>,
    /// Octal permission bits, such as 755
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "clap", arg(long))]
    pub mode: Option<String>,
}

/// What a write answers.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
pub struct FileWriteResponse {
    /// Name of the workspace.
    pub workspace: String,
    /// The file, relative to /workspace when below it.
    pub path: String,
    /// Bytes written.
    pub size_bytes: u64,
    /// It was not there before.
    pub created: bool,
    /// Permission bits now, octal.
    pub mode: String,
}

/// See [`FileWriteRequest`].
pub enum FileWrite {}
impl Op for FileWrite {
    const NAME: &'static str = "workspace file write";
    const TOOL: Option<&'static str> = Some("workspace_file_write");
    // Models write text.
    const TOOL_OMITS: &'static [&'static str] = &["base64"];
    const EFFECT: Effect = Effect::Write;
    const PROFILE: Profile = Profile::WorkspaceCore;
    const STDIN: Option<&'static str> = Some("text");
    type Request = FileWriteRequest;
    type Response = FileWriteResponse;
    fn check(request: &FileWriteRequest) -> Result<()> {
        match (&request.text, &request.base64) {
            (Some(_), None) | (None, Some(_)) => Ok(()),
            (Some(_), Some(_)) => Err(Error::invalid("text and base64 are both given").hint("give one of them")),
            (None, None) => Err(Error::invalid("no content is given").hint("give text, or base64 for binary content")),
        }
    }
}

/// Show what changed in a workspace since it was created, or since another state
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[cfg_attr(feature = "clap", derive(clap::Args))]
#[serde(deny_unknown_fields)]
pub struct DiffRequest {
    /// Workspace name or id
    pub workspace: WorkspaceRef,
    /// baseline (as created), seed, step:N, snapshot:NAME or workspace:NAME
    #[serde(default)]
    #[cfg_attr(feature = "clap", arg(long, default_value_t, value_name = "STATE"))]
    pub against: Against,
    /// Only below this path
    #[serde(default = "DiffRequest::path_default")]
    #[cfg_attr(feature = "clap", arg(long, default_value_t = DiffRequest::path_default()))]
    pub path: String,
    /// Counts a file, no text
    #[serde(default)]
    #[cfg_attr(feature = "clap", arg(long))]
    pub stat: bool,
    /// Names, no counts
    #[serde(default)]
    #[cfg_attr(feature = "clap", arg(long, conflicts_with = "stat"))]
    pub name_only: bool,
    /// Binary files whole in the patch, so that it can be applied
    #[serde(default)]
    #[cfg_attr(feature = "clap", arg(long))]
    pub binary: bool,
}

impl DiffRequest {
    fn path_default() -> String {
        "/workspace".to_owned()
    }
}

/// What a diff answers.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
pub struct DiffResponse {
    /// Name of the workspace.
    pub workspace: String,
    /// What changed, in path order.
    pub changes: Vec<Change>,
    /// Unified text that `git apply` accepts; empty with `stat`. Binary files are named in it, not shown.
    pub patch: String,
    /// Changes whose text was left out because the patch was full.
    pub omitted: u64,
}

/// One path that changed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Change {
    /// Path relative to /workspace when below it, else absolute.
    pub path: String,
    /// What happened to it.
    pub status: ChangeStatus,
    /// Where it was before, when it was moved.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub from: Option<String>,
    /// What it is now, or was when it is gone.
    pub kind: FileKind,
    /// Lines added, for text.
    pub added_lines: u64,
    /// Lines removed, for text.
    pub removed_lines: u64,
    /// Mode before and after, octal, when it changed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mode_change: Option<String>,
    /// The content is not text.
    pub binary: bool,
    /// Why a tool outside may run something of it by itself, when one may: a hook, an editor's task.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub runs_outside: Option<String>,
}

/// What happened to a path.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
#[expect(missing_docs, reason = "documented variants become oneOf in the schema, which some MCP hosts refuse")]
pub enum ChangeStatus {
    Added,
    Modified,
    Deleted,
    Renamed,
    TypeChanged,
}

/// See [`DiffRequest`].
pub enum WorkspaceDiff {}
impl Op for WorkspaceDiff {
    const NAME: &'static str = "workspace diff";
    const TOOL: Option<&'static str> = Some("workspace_diff");
    // Binary text is for programs, and of names a model wants the counts too.
    const TOOL_OMITS: &'static [&'static str] = &["binary", "name_only"];
    const EFFECT: Effect = Effect::Read;
    const PROFILE: Profile = Profile::WorkspaceCore;
    type Request = DiffRequest;
    type Response = DiffResponse;
}
