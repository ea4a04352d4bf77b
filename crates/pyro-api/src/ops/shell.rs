//! Shells: terminals that are kept, with a program in them that goes on between calls. What is on them is told as a person would see it.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::values::{EnvVar, ShellName, WaitSeconds, WorkspaceRef};
use crate::{Effect, Error, Op, Profile, Result};

use super::outcome::Outcome;

/// Start a shell that is kept: a terminal with bash, or another program, in it
///
/// Directory, variables and running programs stay from call to call. While it is open, commands make no steps.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[cfg_attr(feature = "clap", derive(clap::Args))]
#[serde(deny_unknown_fields)]
pub struct ShellOpenRequest {
    /// Workspace name or id
    pub workspace: WorkspaceRef,
    /// Its name; sh1 and so on when none is given
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "clap", arg(long))]
    pub name: Option<ShellName>,
    /// Program in it, such as zsh or python3 [default: bash, else sh]
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "clap", arg(long, value_name = "PROGRAM"))]
    pub program: Option<String>,
    /// Working directory
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "clap", arg(long, value_name = "DIR"))]
    pub cwd: Option<String>,
    /// Environment variables, NAME=VALUE
    #[serde(default, deserialize_with = "crate::values::list", skip_serializing_if = "Vec::is_empty")]
    #[cfg_attr(feature = "clap", arg(long, value_name = "NAME=VALUE"))]
    pub env: Vec<EnvVar>,
    /// Characters in a row
    #[serde(default = "columns_default", deserialize_with = "crate::values::whole_number")]
    #[cfg_attr(feature = "clap", arg(long, default_value_t = columns_default(), value_name = "N"))]
    pub columns: u16,
    /// Rows
    #[serde(default = "rows_default", deserialize_with = "crate::values::whole_number")]
    #[cfg_attr(feature = "clap", arg(long, default_value_t = rows_default(), value_name = "N"))]
    pub rows: u16,
}

/// What the research on terminals for models settled on: wide enough for tables, high enough for a page.
fn columns_default() -> u16 {
    120
}
fn rows_default() -> u16 {
    40
}

fn check_size(columns: u16, rows: u16) -> Result<()> {
    if !(2..=500).contains(&columns) || !(2..=300).contains(&rows) {
        return Err(Error::invalid(format!("a terminal of {columns} by {rows}")).hint("2 to 500 columns, 2 to 300 rows"));
    }
    Ok(())
}

/// A shell, and what is new on it.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
pub struct ShellView {
    /// Name of the workspace.
    pub workspace: String,
    /// Name of the shell.
    pub shell: String,
    /// Number of its program among the commands of the workspace: `job3` has all that was written to the terminal, as it came.
    pub exec: u64,
    /// That it runs, or how its program ended; then it is no more.
    pub outcome: Outcome,
    /// What is new since it was last read, as a person would have seen it, the unfinished line at its end; or, when that was asked for, as it was written
    /// to the terminal: control characters as `\u{1b}`, and the last of it when it is long.
    pub text: String,
    /// The screen, of a program that draws on all of it, or when it was asked for: its rows without blanks at their ends.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub screen: Option<Vec<String>>,
    /// The row of the cursor on the screen, from 1.
    pub cursor_row: u16,
    /// The column of the cursor, from 1.
    pub cursor_column: u16,
    /// The shell waits for a command. Only shells that mark their prompts say so: bash, zsh and fish do.
    pub at_prompt: bool,
    /// A program waits for somebody to type, as what it is blocked in shows: the line that asks for it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub waits_for_input: Option<String>,
    /// The last command that was typed, where the shell marks them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub command: Option<ShellCommand>,
    /// Finished lines that nobody read and that are not kept: the oldest.
    pub lines_dropped: u64,
    /// What the wait was for has come; false when it ended by time.
    pub done: bool,
}

/// A command that was typed into a shell.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
pub struct ShellCommand {
    /// As it was typed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub line: Option<String>,
    /// It runs no more.
    pub finished: bool,
    /// Its exit status.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub exit: Option<i32>,
    /// Why it ended as it did.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub outcome: Option<Outcome>,
    /// What to do next, when that is not obvious.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub next: Option<String>,
}

/// See [`ShellOpenRequest`].
pub enum ShellOpen {}
impl Op for ShellOpen {
    const NAME: &'static str = "workspace shell open";
    const TOOL: Option<&'static str> = Some("shell_open");
    const EFFECT: Effect = Effect::Write;
    const PROFILE: Profile = Profile::WorkspaceFull;
    type Request = ShellOpenRequest;
    type Response = ShellView;
    fn check(request: &ShellOpenRequest) -> Result<()> {
        check_size(request.columns, request.rows)
    }
}

/// What to wait for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[cfg_attr(feature = "clap", derive(clap::ValueEnum))]
#[serde(rename_all = "snake_case")]
#[schemars(inline)]
#[expect(missing_docs, reason = "documented variants become oneOf in the schema, which some MCP hosts refuse")]
pub enum ShellUntil {
    #[default]
    End,
    Quiet,
    Now,
}

/// Run what is typed into a shell, and show what comes of it
///
/// Text is typed and Enter pressed; keys are pressed after it: enter, tab, esc, up, ctrl-c, f1, alt-x.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[cfg_attr(feature = "clap", derive(clap::Args))]
#[serde(deny_unknown_fields)]
pub struct ShellWriteRequest {
    /// Workspace name or id
    pub workspace: WorkspaceRef,
    /// Shell
    pub shell: ShellName,
    /// Text to type
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "clap", arg(long))]
    pub text: Option<String>,
    /// Keys to press by name
    #[serde(default, deserialize_with = "crate::values::texts", skip_serializing_if = "Vec::is_empty")]
    #[cfg_attr(feature = "clap", arg(long, value_name = "KEY"))]
    pub keys: Vec<String>,
    /// Do not press Enter after the text
    #[serde(default)]
    #[cfg_attr(feature = "clap", arg(long))]
    pub no_enter: bool,
    /// Wait for the command's end or question, for a quiet half second, or not at all
    #[serde(default)]
    #[cfg_attr(feature = "clap", arg(long, value_enum, default_value_t))]
    pub until: ShellUntil,
    /// Wait for output that matches this regular expression instead
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "clap", arg(long, value_name = "REGEX"))]
    pub pattern: Option<String>,
    /// Wait at most this long
    #[serde(default = "wait_default")]
    #[cfg_attr(feature = "clap", arg(long, default_value_t = wait_default(), value_name = "SECONDS"))]
    pub wait_seconds: WaitSeconds,
}

fn wait_default() -> WaitSeconds {
    WaitSeconds::try_from(10).unwrap_or_default()
}

/// See [`ShellWriteRequest`].
pub enum ShellWrite {}
impl Op for ShellWrite {
    const NAME: &'static str = "workspace shell write";
    const TOOL: Option<&'static str> = Some("shell_write");
    const EFFECT: Effect = Effect::Write;
    const PROFILE: Profile = Profile::WorkspaceFull;
    type Request = ShellWriteRequest;
    type Response = ShellView;
    fn check(request: &ShellWriteRequest) -> Result<()> {
        if request.text.is_none() && request.keys.is_empty() {
            return Err(Error::invalid("nothing to type").hint("give text, or keys such as enter or ctrl-c"));
        }
        Ok(())
    }
}

/// Show what is new on a shell since it was last read, or its screen
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[cfg_attr(feature = "clap", derive(clap::Args))]
#[serde(deny_unknown_fields)]
pub struct ShellReadRequest {
    /// Workspace name or id
    pub workspace: WorkspaceRef,
    /// Shell
    pub shell: ShellName,
    /// Show the whole screen
    #[serde(default)]
    #[cfg_attr(feature = "clap", arg(long))]
    pub screen: bool,
    /// Show what was written to the terminal as it came, control characters made visible
    #[serde(default)]
    #[cfg_attr(feature = "clap", arg(long))]
    pub raw: bool,
    /// Wait for this: the command's end or question, a quiet half second, or nothing
    #[serde(default = "ShellReadRequest::until_default")]
    #[cfg_attr(feature = "clap", arg(long, value_enum, default_value = "now"))]
    pub until: ShellUntil,
    /// Wait for output that matches this regular expression
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "clap", arg(long, value_name = "REGEX"))]
    pub pattern: Option<String>,
    /// Wait at most this long
    #[serde(default = "wait_default")]
    #[cfg_attr(feature = "clap", arg(long, default_value_t = wait_default(), value_name = "SECONDS"))]
    pub wait_seconds: WaitSeconds,
}

impl ShellReadRequest {
    fn until_default() -> ShellUntil {
        ShellUntil::Now
    }
}

/// See [`ShellReadRequest`].
pub enum ShellRead {}
impl Op for ShellRead {
    const NAME: &'static str = "workspace shell read";
    const TOOL: Option<&'static str> = Some("shell_read");
    const EFFECT: Effect = Effect::Read;
    const PROFILE: Profile = Profile::WorkspaceFull;
    type Request = ShellReadRequest;
    type Response = ShellView;
}

/// Set off a signal in the program that has the foreground of a shell
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[cfg_attr(feature = "clap", derive(clap::Args))]
#[serde(deny_unknown_fields)]
pub struct ShellSignalRequest {
    /// Workspace name or id
    pub workspace: WorkspaceRef,
    /// Shell
    pub shell: ShellName,
    /// Which one
    #[serde(default)]
    #[cfg_attr(feature = "clap", arg(long, value_enum, default_value_t))]
    pub signal: ShellSignalName,
}

/// Signals that are sent to programs in a terminal.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[cfg_attr(feature = "clap", derive(clap::ValueEnum))]
#[serde(rename_all = "snake_case")]
#[schemars(inline)]
#[expect(missing_docs, reason = "documented variants become oneOf in the schema, which some MCP hosts refuse")]
pub enum ShellSignalName {
    #[default]
    Int,
    Term,
    Kill,
    Hup,
    Quit,
    Tstp,
    Cont,
    Usr1,
    Usr2,
}

impl ShellSignalName {
    /// Its number on Linux (signal(7)).
    #[must_use]
    pub fn number(self) -> i32 {
        match self {
            Self::Hup => 1,
            Self::Int => 2,
            Self::Quit => 3,
            Self::Kill => 9,
            Self::Usr1 => 10,
            Self::Usr2 => 12,
            Self::Term => 15,
            Self::Cont => 18,
            Self::Tstp => 20,
        }
    }
}

/// See [`ShellSignalRequest`].
pub enum ShellSignal {}
impl Op for ShellSignal {
    const NAME: &'static str = "workspace shell signal";
    const TOOL: Option<&'static str> = Some("shell_signal");
    const EFFECT: Effect = Effect::Write;
    const PROFILE: Profile = Profile::WorkspaceFull;
    type Request = ShellSignalRequest;
    type Response = ShellView;
}

/// Change the size of a shell's terminal
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[cfg_attr(feature = "clap", derive(clap::Args))]
#[serde(deny_unknown_fields)]
pub struct ShellResizeRequest {
    /// Workspace name or id
    pub workspace: WorkspaceRef,
    /// Shell
    pub shell: ShellName,
    /// Characters in a row
    #[serde(deserialize_with = "crate::values::whole_number")]
    #[cfg_attr(feature = "clap", arg(long, value_name = "N"))]
    pub columns: u16,
    /// Rows
    #[serde(deserialize_with = "crate::values::whole_number")]
    #[cfg_attr(feature = "clap", arg(long, value_name = "N"))]
    pub rows: u16,
}

/// See [`ShellResizeRequest`].
pub enum ShellResize {}
impl Op for ShellResize {
    const NAME: &'static str = "workspace shell resize";
    const TOOL: Option<&'static str> = Some("shell_resize");
    const EFFECT: Effect = Effect::Write;
    const PROFILE: Profile = Profile::WorkspaceFull;
    type Request = ShellResizeRequest;
    type Response = ShellView;
    fn check(request: &ShellResizeRequest) -> Result<()> {
        check_size(request.columns, request.rows)
    }
}

/// List the shells of a workspace
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[cfg_attr(feature = "clap", derive(clap::Args))]
#[serde(deny_unknown_fields)]
pub struct ShellListRequest {
    /// Workspace name or id
    pub workspace: WorkspaceRef,
}

/// What a list of shells answers.
#[derive(Clone, Debug, Default, Serialize, Deserialize, JsonSchema)]
pub struct ShellListResponse {
    /// Name of the workspace.
    pub workspace: String,
    /// Its shells, by name.
    pub shells: Vec<ShellEntry>,
}

/// One shell of a workspace.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
pub struct ShellEntry {
    /// Its name.
    pub shell: String,
    /// Number of its program among the commands of the workspace.
    pub exec: u64,
    /// The program in it.
    pub program: String,
    /// Characters in a row.
    pub columns: u16,
    /// Rows.
    pub rows: u16,
    /// The shell waits for a command.
    pub at_prompt: bool,
    /// How long it has run, milliseconds.
    pub duration_ms: u64,
    /// Title that a program gave the terminal.
    pub title: String,
}

/// See [`ShellListRequest`].
pub enum ShellList {}
impl Op for ShellList {
    const NAME: &'static str = "workspace shell list";
    const TOOL: Option<&'static str> = Some("shell_list");
    const EFFECT: Effect = Effect::Read;
    const PROFILE: Profile = Profile::WorkspaceFull;
    type Request = ShellListRequest;
    type Response = ShellListResponse;
}

/// Stop a shell and what runs in it
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[cfg_attr(feature = "clap", derive(clap::Args))]
#[serde(deny_unknown_fields)]
pub struct ShellCloseRequest {
    /// Workspace name or id
    pub workspace: WorkspaceRef,
    /// Shell
    pub shell: ShellName,
}

/// See [`ShellCloseRequest`].
pub enum ShellClose {}
impl Op for ShellClose {
    const NAME: &'static str = "workspace shell close";
    const TOOL: Option<&'static str> = Some("shell_close");
    const EFFECT: Effect = Effect::Write;
    const PROFILE: Profile = Profile::WorkspaceFull;
    type Request = ShellCloseRequest;
    type Response = ShellView;
}

/// Show a shell live, and type into it: Ctrl-] leaves it as it is
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[cfg_attr(feature = "clap", derive(clap::Args))]
#[serde(deny_unknown_fields)]
pub struct ShellAttachRequest {
    /// Workspace name or id
    pub workspace: WorkspaceRef,
    /// Shell
    pub shell: ShellName,
}

/// See [`ShellAttachRequest`].
pub enum ShellAttach {}
impl Op for ShellAttach {
    const NAME: &'static str = "workspace shell attach";
    // A person's: it needs a terminal.
    const TOOL: Option<&'static str> = None;
    const EFFECT: Effect = Effect::Write;
    const PROFILE: Profile = Profile::Person;
    const LIVE: bool = true;
    const COMMAND: bool = true;
    type Request = ShellAttachRequest;
    type Response = ShellView;
}
