//! Finding lines in files of a workspace.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use pyro_wire::limits::{CONTEXT_LINES_MAX, FOUND_MAX, GLOB_BYTES_MAX, GLOBS_MAX, PATTERN_BYTES_MAX};

use super::file::FileListRequest;
use crate::values::WorkspaceRef;
use crate::{Effect, Error, Op, Profile, Result};

/// Search files of a workspace, as ripgrep does
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[cfg_attr(feature = "clap", derive(clap::Args))]
#[serde(deny_unknown_fields)]
pub struct FileSearchRequest {
    /// Workspace name or id
    pub workspace: WorkspaceRef,
    /// Regex
    #[serde(alias = "regex", alias = "query")]
    #[cfg_attr(feature = "clap", arg(allow_hyphen_values = true, help = "Regular expression, as ripgrep understands it"))]
    pub pattern: String,
    /// Directory or file
    #[serde(default = "FileListRequest::path_default", alias = "directory", alias = "file_path")]
    #[cfg_attr(feature = "clap", arg(default_value_t = FileListRequest::path_default()))]
    pub path: String,
    /// Such as **/*.rs
    #[serde(
        default,
        alias = "globs",
        alias = "include",
        deserialize_with = "crate::values::texts",
        skip_serializing_if = "Vec::is_empty"
    )]
    #[cfg_attr(
        feature = "clap",
        arg(
            long,
            value_name = "GLOB",
            help = "Only files that match, as in .gitignore; with ! before it, only others; may be repeated"
        )
    )]
    pub glob: Vec<String>,
    /// The pattern is no expression but the text itself
    #[serde(default, alias = "literal", alias = "fixed_strings")]
    #[cfg_attr(feature = "clap", arg(long))]
    pub fixed: bool,
    /// Upper and lower case are the same
    #[serde(default, alias = "-i", alias = "case_insensitive")]
    #[cfg_attr(feature = "clap", arg(long))]
    pub ignore_case: bool,
    /// A match may go over several lines
    #[serde(default)]
    #[cfg_attr(feature = "clap", arg(long))]
    pub multiline: bool,
    /// Lines around each
    #[serde(
        default,
        alias = "-A",
        alias = "-B",
        alias = "-C",
        alias = "context_lines",
        deserialize_with = "crate::values::whole_number"
    )]
    #[cfg_attr(feature = "clap", arg(long, default_value_t, value_name = "N", help = "Lines to show before and after each"))]
    pub context: u32,
    /// What to tell
    #[serde(default, alias = "output_mode")]
    #[cfg_attr(
        feature = "clap",
        arg(long, value_enum, default_value_t, help = "What to tell of a file in which something is found")
    )]
    pub tell: SearchTell,
    /// Files that begin with a dot too
    #[serde(default)]
    #[cfg_attr(feature = "clap", arg(long, help = "Files that begin with a dot too, which are left out otherwise"))]
    pub hidden: bool,
    /// Files that .gitignore and .ignore files name too
    #[serde(default)]
    #[cfg_attr(
        feature = "clap",
        arg(long, help = "Files that .gitignore and .ignore files name too, which are left out otherwise")
    )]
    pub no_ignore: bool,
    /// Lines to tell at most, or files if not lines are told
    #[serde(
        default = "FileSearchRequest::limit_default",
        alias = "head_limit",
        alias = "max_results",
        deserialize_with = "crate::values::whole_number"
    )]
    #[cfg_attr(feature = "clap", arg(long, default_value_t = FileSearchRequest::limit_default(), value_name = "N"))]
    pub limit: u32,
}

impl FileSearchRequest {
    /// More than a model is shown at a time, and soon read by a person.
    fn limit_default() -> u32 {
        200
    }
}

/// What is told of a file in which something was found.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[cfg_attr(feature = "clap", derive(clap::ValueEnum))]
#[serde(rename_all = "snake_case")]
#[schemars(inline)]
#[expect(missing_docs, reason = "documented variants become oneOf in the schema, which some MCP hosts refuse")]
pub enum SearchTell {
    #[default]
    #[serde(alias = "content")]
    Lines,
    #[serde(alias = "files_with_matches")]
    Files,
    #[serde(alias = "count")]
    Counts,
}

/// What a search answers.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
pub struct FileSearchResponse {
    /// Name of the workspace.
    pub workspace: String,
    /// What was searched, relative to /workspace when below it.
    pub path: String,
    /// What is told of a file.
    pub tell: SearchTell,
    /// Files in which something was found, by path: the first of them, up to the limit.
    pub files: Vec<FoundFile>,
    /// There is more than is told.
    pub truncated: bool,
    /// All files in which something was found.
    pub files_total: u64,
    /// All lines that match; when only files are told, as many as files.
    pub lines_total: u64,
    /// Files that were looked through.
    pub searched: u64,
    /// Files that are not text, and so were not.
    pub binary: u64,
    /// Files and directories that could not be read, or have a line too long to be searched (32 MiB).
    pub unread: u64,
}

/// A file in which something was found.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct FoundFile {
    /// Relative to /workspace when below it.
    pub path: String,
    /// Lines of it that match, also those that are not told.
    pub matching: u64,
    /// Lines that match, with their neighbours if asked for.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub lines: Vec<FoundLine>,
}

/// A line of a file.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct FoundLine {
    /// From 1.
    pub number: u64,
    /// Where a match begins in it, in bytes from 1; absent from a line that is only there for its neighbours.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub column: Option<u64>,
    /// The line; what is not UTF-8 in it is replaced.
    pub text: String,
    /// The line is longer: this is what is around the match.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub cut: bool,
}

/// See [`FileSearchRequest`].
pub enum FileSearch {}
impl Op for FileSearch {
    const NAME: &'static str = "workspace file search";
    const TOOL: Option<&'static str> = Some("workspace_file_search");
    // What a model needs of them once in a while it knows by their names in other tools, and they are understood.
    const TOOL_OMITS: &'static [&'static str] =
        &["fixed", "ignore_case", "multiline", "context", "tell", "hidden", "no_ignore", "limit"];
    const EFFECT: Effect = Effect::Read;
    const PROFILE: Profile = Profile::WorkspaceCore;
    type Request = FileSearchRequest;
    type Response = FileSearchResponse;
    fn check(request: &FileSearchRequest) -> Result<()> {
        if request.pattern.is_empty() {
            return Err(Error::invalid("the pattern is empty").hint("file read shows all lines of a file"));
        }
        if request.pattern.len() > PATTERN_BYTES_MAX {
            return Err(Error::invalid(format!("the pattern is longer than {PATTERN_BYTES_MAX} bytes")));
        }
        if request.context > CONTEXT_LINES_MAX {
            let error = Error::invalid(format!("context {} is not between 0 and {CONTEXT_LINES_MAX}", request.context));
            return Err(error.hint("file read shows more of a file"));
        }
        if request.limit == 0 || request.limit > FOUND_MAX {
            return Err(Error::invalid(format!("limit {} is not between 1 and {FOUND_MAX}", request.limit)));
        }
        check_globs(&request.glob)
    }
}

/// What a request may have of globs.
pub(super) fn check_globs(globs: &[String]) -> Result<()> {
    if globs.len() > GLOBS_MAX {
        return Err(Error::invalid(format!("{} globs are more than {GLOBS_MAX}", globs.len())).hint("{a,b} is both in one"));
    }
    match globs.iter().find(|glob| glob.is_empty() || glob.len() > GLOB_BYTES_MAX) {
        Some(_) => Err(Error::invalid(format!("a glob has between 1 and {GLOB_BYTES_MAX} bytes"))),
        None => Ok(()),
    }
}
