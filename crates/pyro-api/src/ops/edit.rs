//! Changing texts of files without sending them whole.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::values::WorkspaceRef;
use crate::{Effect, Error, Op, Profile, Result};

/// Replace exact texts in files of a workspace, or apply a patch
///
/// All or nothing. A refusal shows what is there.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[cfg_attr(feature = "clap", derive(clap::Args))]
#[serde(deny_unknown_fields)]
pub struct FileEditRequest {
    /// Workspace name or id
    pub workspace: WorkspaceRef,
    /// File
    #[serde(default, alias = "file_path", alias = "filePath", alias = "file", skip_serializing_if = "Option::is_none")]
    pub path: Option<String>,
    /// Text to replace, as it is in the file; empty for a new file
    #[serde(
        default,
        alias = "old_string",
        alias = "old_str",
        alias = "oldString",
        alias = "old_text",
        alias = "search",
        skip_serializing_if = "Option::is_none"
    )]
    #[cfg_attr(feature = "clap", arg(long, value_name = "TEXT", allow_hyphen_values = true))]
    pub old: Option<String>,
    /// Text instead
    #[serde(
        default,
        alias = "new_string",
        alias = "new_str",
        alias = "newString",
        alias = "new_text",
        alias = "replace",
        skip_serializing_if = "Option::is_none"
    )]
    #[cfg_attr(feature = "clap", arg(long, value_name = "TEXT", allow_hyphen_values = true))]
    pub new: Option<String>,
    /// Replace it everywhere
    #[serde(default, alias = "replace_all", alias = "replaceAll")]
    #[cfg_attr(feature = "clap", arg(long))]
    pub all: bool,
    /// In order
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[cfg_attr(feature = "clap", arg(skip))]
    pub edits: Vec<TextEdit>,
    /// Instead: a diff, *** Begin Patch, or SEARCH/REPLACE blocks
    #[serde(default, alias = "diff", alias = "input", skip_serializing_if = "Option::is_none")]
    #[cfg_attr(
        feature = "clap",
        arg(
            long,
            value_name = "TEXT",
            allow_hyphen_values = true,
            help = "Patch instead of texts: a unified or git diff, *** Begin Patch, or SEARCH/REPLACE blocks [default: standard input]"
        )
    )]
    pub patch: Option<String>,
    /// Patch in base64, when it is not UTF-8
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "clap", arg(skip))]
    pub base64: Option<String>,
    /// Only tell what would change
    #[serde(default)]
    #[cfg_attr(feature = "clap", arg(long))]
    pub dry_run: bool,
    /// Files in .git may be changed too
    #[serde(default)]
    #[cfg_attr(feature = "clap", arg(long))]
    pub allow_git: bool,
}

/// One replacement of several.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(inline)]
pub struct TextEdit {
    /// If another file; not in the schema: a patch is the usual way to several files
    #[schemars(skip)]
    #[serde(default, alias = "file_path", alias = "filePath", alias = "file", skip_serializing_if = "Option::is_none")]
    pub path: Option<String>,
    /// As it is in the file; empty for a new file
    #[serde(alias = "old_string", alias = "old_str", alias = "oldString", alias = "old_text", alias = "search")]
    pub old: String,
    #[serde(alias = "new_string", alias = "new_str", alias = "newString", alias = "new_text", alias = "replace")]
    #[expect(missing_docs, reason = "its name says it, and each description costs a model tokens")]
    pub new: String,
    #[serde(default, alias = "replace_all", alias = "replaceAll")]
    /// Everywhere
    pub all: bool,
}

/// What an edit answers.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
pub struct FileEditResponse {
    /// Name of the workspace.
    pub workspace: String,
    /// It was only told what would be done.
    pub dry_run: bool,
    /// Every file that the request was about, by path.
    pub files: Vec<EditedFile>,
    /// Changed lines with their new numbers and some around them; the first of them when there are many.
    pub text: String,
}

/// One file of an edit.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct EditedFile {
    /// Relative to /workspace.
    pub path: String,
    /// What became of it.
    pub status: EditStatus,
    /// Where it was before, when it was moved.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub from: Option<String>,
    /// Lines that it has and had not.
    pub added_lines: u64,
    /// Lines that it had and has not.
    pub removed_lines: u64,
    /// How texts were found where they were not there exactly, and what else is to be known.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub notes: Vec<String>,
}

/// What became of a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
#[expect(missing_docs, reason = "documented variants become oneOf in the schema, which some MCP hosts refuse")]
pub enum EditStatus {
    Unchanged,
    Created,
    Changed,
    Moved,
    Deleted,
}

/// See [`FileEditRequest`].
pub enum FileEdit {}
impl Op for FileEdit {
    const NAME: &'static str = "workspace file edit";
    const TOOL: Option<&'static str> = Some("workspace_file_edit");
    // One form for texts is enough to be shown; models that bring the other from tools of their own are understood. The rest is for people.
    const TOOL_OMITS: &'static [&'static str] = &["old", "new", "all", "base64", "allow_git", "dry_run"];
    const EFFECT: Effect = Effect::Write;
    const PROFILE: Profile = Profile::WorkspaceCore;
    const STDIN: Option<&'static str> = Some("patch");
    const STDIN_UNLESS: &'static [&'static str] = &["old", "new"];
    type Request = FileEditRequest;
    type Response = FileEditResponse;
    fn check(request: &FileEditRequest) -> Result<()> {
        let texts = request.old.is_some() || request.new.is_some();
        if request.patch.is_some() && request.base64.is_some() {
            return Err(Error::invalid("patch and base64 are both given").hint("give one of them"));
        }
        match (texts, request.edits.is_empty(), request.patch.as_ref().or(request.base64.as_ref())) {
            (false, true, Some(_)) => Ok(()),
            (true, true, None) if request.path.is_none() => {
                Err(Error::invalid("path is missing").hint("old and new are texts of one file: give its path"))
            }
            (true, true, None) if request.old.is_none() => {
                Err(Error::invalid("old is missing").hint("give the text that new takes the place of; empty makes a new file"))
            }
            (true, true, None) if request.new.is_none() => {
                Err(Error::invalid("new is missing").hint("give the text that takes the place of old; empty deletes it"))
            }
            (true, true, None) => Ok(()),
            (false, false, None) => match request.edits.iter().position(|edit| edit.path.is_none() && request.path.is_none()) {
                None => Ok(()),
                Some(at) => Err(Error::invalid(format!("edit {} has no path", at + 1)).hint("give it there, or path for all")),
            },
            (false, true, None) => {
                Err(Error::invalid("there is nothing to do").hint("give path, old and new; or edits; or a patch"))
            }
            (_, _, _) => {
                Err(Error::invalid("texts and a patch are given together").hint("give path, old and new; or edits; or a patch"))
            }
        }
    }
}
