//! Files of a workspace: list, read, write, and what changed. Names of files are in `names`, texts in `edit` and `search`.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::search::check_globs;
use crate::values::{Against, LineRange, WorkspaceRef};
use crate::{Effect, Error, Op, Profile, Result};

/// List a directory of a workspace
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[cfg_attr(feature = "clap", derive(clap::Args))]
#[serde(deny_unknown_fields)]
pub struct FileListRequest {
    /// Workspace name or id
    pub workspace: WorkspaceRef,
    /// Directory
    #[serde(default = "FileListRequest::path_default", alias = "directory", alias = "dir")]
    #[cfg_attr(feature = "clap", arg(default_value_t = FileListRequest::path_default()))]
    pub path: String,
    /// Levels (1; all with glob)
    #[serde(default, deserialize_with = "crate::values::whole_number_or_none", skip_serializing_if = "Option::is_none")]
    #[cfg_attr(
        feature = "clap",
        arg(long, value_name = "N", help = "Levels of subdirectories to go into [default: 1; with --glob: all]")
    )]
    pub depth: Option<u32>,
    /// Such as **/*.rs
    #[serde(
        default,
        alias = "globs",
        alias = "pattern",
        deserialize_with = "crate::values::texts",
        skip_serializing_if = "Vec::is_empty"
    )]
    #[cfg_attr(
        feature = "clap",
        arg(
            long,
            value_name = "GLOB",
            help = "Only what matches, as in .gitignore; with ! before it, only what does not; may be repeated"
        )
    )]
    pub glob: Vec<String>,
    /// Leave out what .gitignore and .ignore files name
    #[serde(default)]
    #[cfg_attr(feature = "clap", arg(long))]
    pub respect_ignore: bool,
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
    /// Levels to go into: of what matches a glob, all.
    #[must_use]
    pub fn levels(&self) -> u32 {
        self.depth.unwrap_or(if self.glob.is_empty() { Self::depth_default() } else { u32::MAX })
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
    /// Entries that there are, when more than are told; it is counted up to 200,000.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub entries_total: Option<u64>,
    /// There are more than were counted.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub uncounted: bool,
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
    // What is shown is cut to what a host takes anyway; what is ignored, a model has search for.
    const TOOL_OMITS: &'static [&'static str] = &["limit", "respect_ignore"];
    const EFFECT: Effect = Effect::Read;
    const PROFILE: Profile = Profile::WorkspaceCore;
    type Request = FileListRequest;
    type Response = FileListResponse;
    fn check(request: &FileListRequest) -> Result<()> {
        FileListRequest::check_bounds(request.levels(), request.limit)?;
        check_globs(&request.glob)
    }
}

/// Read a file of a workspace, or list a directory
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[cfg_attr(feature = "clap", derive(clap::Args))]
#[serde(deny_unknown_fields)]
pub struct FileReadRequest {
    /// Workspace name or id
    pub workspace: WorkspaceRef,
    /// File
    #[serde(alias = "file_path", alias = "filePath", alias = "file", alias = "filename")]
    pub path: String,
    /// 40-80, 40- or -50
    #[serde(default, alias = "view_range", alias = "line_range", skip_serializing_if = "Option::is_none")]
    #[cfg_attr(
        feature = "clap",
        arg(
            long,
            allow_hyphen_values = true,
            help = "Only these lines: 40-80, 40- (to the end), -50 (the last 50), 40 [default: all]"
        )
    )]
    pub lines: Option<LineRange>,
    /// With numbers
    #[serde(default, alias = "line_numbers")]
    #[cfg_attr(feature = "clap", arg(long, help = "Number the lines, as file edit shows and takes them"))]
    pub numbered: bool,
    /// First byte
    #[serde(default, deserialize_with = "crate::values::whole_number")]
    #[cfg_attr(feature = "clap", arg(long, default_value_t, value_name = "BYTE"))]
    pub offset: u64,
    /// Bytes at most
    #[serde(default = "FileReadRequest::bytes_default", deserialize_with = "crate::values::whole_number")]
    #[cfg_attr(feature = "clap", arg(long, default_value_t = FileReadRequest::bytes_default(), value_name = "BYTES"))]
    pub max_bytes: u64,
    /// Content in base64, text too
    #[serde(default)]
    #[cfg_attr(feature = "clap", arg(skip))]
    pub base64: bool,
    /// What other tools call the first of `lines`; not shown
    #[schemars(skip)]
    #[cfg_attr(feature = "clap", arg(skip))]
    #[serde(default, alias = "startLine", alias = "line_start", skip_serializing_if = "Option::is_none")]
    pub start_line: Option<i64>,
    /// What other tools call the last of `lines`; not shown
    #[schemars(skip)]
    #[cfg_attr(feature = "clap", arg(skip))]
    #[serde(default, alias = "endLine", alias = "line_end", skip_serializing_if = "Option::is_none")]
    pub end_line: Option<i64>,
    /// Lines at most, as another tool has it; with it, `offset` is the first line; not shown
    #[schemars(skip)]
    #[cfg_attr(feature = "clap", arg(skip))]
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub limit: Option<u32>,
}

/// What of a file a request is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ReadPart {
    /// From this byte on.
    From(u64),
    /// These lines.
    Lines(LineRange),
}

impl FileReadRequest {
    /// What is to be read. Lines have several names in other tools, of which one may be given; `limit` alone says lines, so that `offset` means one too.
    ///
    /// # Errors
    /// `Invalid` when several parts are named.
    pub fn part(&self) -> Result<ReadPart> {
        let by_ends = self.start_line.is_some() || self.end_line.is_some();
        let names = [self.lines.is_some(), by_ends, self.limit.is_some()].into_iter().filter(|given| *given).count();
        if names > 1 {
            return Err(Error::invalid("lines are given in several ways").hint("give lines alone, such as 40-80"));
        }
        if let Some(limit) = self.limit {
            let first = i64::try_from(self.offset).unwrap_or(i64::MAX).max(1);
            let last = first.saturating_add(i64::from(limit.max(1)) - 1);
            return LineRange::between(first, Some(last)).map(ReadPart::Lines);
        }
        let lines = if by_ends { Some(LineRange::between(self.start_line.unwrap_or(1), self.end_line)?) } else { self.lines };
        match lines {
            Some(_) if self.offset > 0 => {
                Err(Error::invalid("lines and offset are both given").hint("offset counts bytes: give one of them"))
            }
            Some(lines) => Ok(ReadPart::Lines(lines)),
            None if self.numbered && self.offset > 0 => {
                Err(Error::invalid("lines from a byte on have no numbers").hint("give lines instead of offset"))
            }
            None if self.numbered => Ok(ReadPart::Lines(LineRange::Between(1, None))),
            None => Ok(ReadPart::From(self.offset)),
        }
    }
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
    /// Number of the first line of `content`, when lines were asked for and the file is not too large to be counted up to there (256 MiB).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub first_line: Option<u64>,
    /// Lines of the whole file, when lines were asked for and it is not larger than that.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub lines_total: Option<u64>,
    /// Each line of `content` has its number and a bar before it: `40|text`.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub numbered: bool,
    /// What it seems to be when it is not UTF-8: `utf-16le` and `utf-16be` by the mark it begins with, `latin-1` when no byte speaks against it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub charset: Option<String>,
    /// It is a directory, and this is what is in it; `content` is empty then.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub entries: Option<Vec<FileEntry>>,
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
    // Models think in lines: what goes on is told by its lines, and what they are called in other tools is understood.
    const TOOL_OMITS: &'static [&'static str] = &["numbered", "offset", "max_bytes", "base64"];
    const EFFECT: Effect = Effect::Read;
    const PROFILE: Profile = Profile::WorkspaceCore;
    type Request = FileReadRequest;
    type Response = FileReadResponse;
    fn check(request: &FileReadRequest) -> Result<()> {
        FileReadRequest::check_bounds(request.max_bytes)?;
        if request.numbered && request.base64 {
            return Err(Error::invalid("numbered and base64 are both given").hint("give one of them"));
        }
        request.part().map(drop)
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
    /// Octal, such as 755
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
