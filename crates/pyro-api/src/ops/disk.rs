//! The disk of a stopped workspace, looked at and taken out without starting anything.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::file::{FileListRequest, FileListResponse, FileReadRequest, FileReadResponse};
use crate::values::WorkspaceRef;
use crate::{Effect, Op, Profile, Result};

/// List a directory of a stopped workspace; nothing is started
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[cfg_attr(feature = "clap", derive(clap::Args))]
#[serde(deny_unknown_fields)]
pub struct DiskListRequest {
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

/// See [`DiskListRequest`].
pub enum DiskList {}
impl Op for DiskList {
    const NAME: &'static str = "workspace disk list";
    const TOOL: Option<&'static str> = Some("workspace_disk_list");
    const EFFECT: Effect = Effect::Read;
    const PROFILE: Profile = Profile::WorkspaceFull;
    type Request = DiskListRequest;
    type Response = FileListResponse;
    fn check(request: &DiskListRequest) -> Result<()> {
        FileListRequest::check_bounds(request.depth, request.limit)
    }
}

/// Read a file of a stopped workspace; nothing is started
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[cfg_attr(feature = "clap", derive(clap::Args))]
#[serde(deny_unknown_fields)]
pub struct DiskReadRequest {
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

/// See [`DiskReadRequest`].
pub enum DiskRead {}
impl Op for DiskRead {
    const NAME: &'static str = "workspace disk read";
    const TOOL: Option<&'static str> = Some("workspace_disk_read");
    const EFFECT: Effect = Effect::Read;
    const PROFILE: Profile = Profile::WorkspaceFull;
    type Request = DiskReadRequest;
    type Response = FileReadResponse;
    fn check(request: &DiskReadRequest) -> Result<()> {
        FileReadRequest::check_bounds(request.max_bytes)
    }
}

/// How a disk leaves.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
#[cfg_attr(feature = "clap", derive(clap::ValueEnum))]
#[schemars(inline)]
#[expect(missing_docs, reason = "documented variants become oneOf in the schema, which some MCP hosts refuse")]
pub enum DiskFormat {
    #[default]
    Ext4,
    Tar,
}

/// Copy a stopped workspace's whole file system to a disk image or a tar file
///
/// Nothing is started, and nothing that is there is written over.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[cfg_attr(feature = "clap", derive(clap::Args))]
#[serde(deny_unknown_fields)]
pub struct DiskExportRequest {
    /// Workspace name or id
    pub workspace: WorkspaceRef,
    /// Host file to make
    #[cfg_attr(feature = "clap", arg(long, value_name = "FILE", value_hint = clap::ValueHint::FilePath))]
    pub output: String,
    /// What to make
    #[serde(default)]
    #[cfg_attr(feature = "clap", arg(long, value_enum, default_value_t))]
    pub format: DiskFormat,
}

/// What an export of a disk answers.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
pub struct DiskExportResponse {
    /// Name of the workspace.
    pub workspace: String,
    /// The file that was made.
    pub output: String,
    /// What it is.
    pub format: DiskFormat,
    /// Files, directories and links in it.
    pub entry_count: u64,
    /// Bytes of content in it, holes included.
    pub bytes: u64,
    /// Room that it takes on the disk, in bytes. An image is mostly holes.
    pub disk_bytes: u64,
    /// Things that cannot be in it (in a tar file sockets and devices), by name.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub skipped: Vec<String>,
}

/// See [`DiskExportRequest`].
pub enum DiskExport {}
impl Op for DiskExport {
    const NAME: &'static str = "workspace disk export";
    const TOOL: Option<&'static str> = Some("workspace_disk_export");
    const EFFECT: Effect = Effect::Write;
    const PROFILE: Profile = Profile::WorkspaceFull;
    const HOST_PATHS: &'static [&'static str] = &["output"];
    const HOST_MADE: &'static [&'static str] = &["output"];
    type Request = DiskExportRequest;
    type Response = DiskExportResponse;
}
