//! Running commands: once in a sandbox of their own, or in a workspace; and what was run.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::values::{
    CommandLine, DiskMib, EnvVar, EnvironmentName, ExecSeconds, IsolationMinimum, MemMib, TimeoutSeconds, VcpuCount, WaitSeconds,
    WorkspaceRef,
};
use crate::{Effect, Op, Profile, Result};

pub use super::outcome::Outcome;
use super::workspace::IsolationReport;

/// Run one command in a fresh sandbox and delete it
///
/// No network. Nothing is left behind.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[cfg_attr(feature = "clap", derive(clap::Args))]
#[serde(deny_unknown_fields)]
pub struct RunRequest {
    /// Environment
    #[serde(default)]
    #[cfg_attr(feature = "clap", arg(value_name = "ENV", default_value_t))]
    pub environment: EnvironmentName,
    /// Host directory or tar file to copy to /workspace first
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "clap", arg(long, value_name = "PATH", value_hint = clap::ValueHint::AnyPath))]
    pub seed_path: Option<String>,
    /// Working directory
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "clap", arg(long, value_name = "DIR"))]
    pub cwd: Option<String>,
    /// Variables, NAME=VALUE
    #[serde(default, deserialize_with = "crate::values::list", skip_serializing_if = "Vec::is_empty")]
    #[cfg_attr(feature = "clap", arg(long, value_name = "NAME=VALUE"))]
    pub env: Vec<EnvVar>,
    /// Text for standard input
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "clap", arg(skip))]
    pub stdin: Option<String>,
    /// Kill it after this long
    #[serde(default)]
    #[cfg_attr(feature = "clap", arg(long, default_value_t, value_name = "SECONDS"))]
    pub timeout_seconds: TimeoutSeconds,
    /// Processors
    #[serde(default)]
    #[cfg_attr(feature = "clap", arg(long, default_value_t, value_name = "N"))]
    pub vcpu_count: VcpuCount,
    /// Memory in MiB
    #[serde(default)]
    #[cfg_attr(feature = "clap", arg(long, default_value_t, value_name = "MIB"))]
    pub mem_mib: MemMib,
    /// Disk in MiB, where the isolation gives one of its own (microvm)
    #[serde(default)]
    #[cfg_attr(feature = "clap", arg(long, default_value_t, value_name = "MIB"))]
    pub disk_mib: DiskMib,
    /// Isolation that must hold, else nothing runs: namespaces or microvm, and guarantees such as memory_limit after a comma
    #[serde(default)]
    #[cfg_attr(feature = "clap", arg(long, default_value_t, value_name = "MINIMUM"))]
    pub isolation: IsolationMinimum,
    /// Shell line to run
    #[cfg_attr(feature = "clap", command(flatten))]
    pub command: CommandLine,
}

/// What a one-shot run answers.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
pub struct RunResponse {
    /// The environment it ran in.
    pub environment: String,
    /// How it ended.
    pub outcome: Outcome,
    /// What it wrote.
    pub stdout: Clip,
    /// What it wrote as errors.
    pub stderr: Clip,
    /// From the start of the command to its end, milliseconds.
    pub duration_ms: u64,
    /// What to do next, when that is not obvious.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub next: Option<String>,
    /// How strongly it was isolated, as measured.
    pub isolation: IsolationReport,
}

/// See [`RunRequest`].
pub enum Run {}
impl Op for Run {
    const NAME: &'static str = "run";
    const TOOL: Option<&'static str> = Some("vm_run");
    const EFFECT: Effect = Effect::Write;
    const PROFILE: Profile = Profile::VmRun;
    // The least isolation and the size of the machine are for the person who starts the server to decide; a tool list is paid for
    // in every turn.
    const TOOL_OMITS: &'static [&'static str] = &["disk_mib", "isolation", "mem_mib", "vcpu_count"];
    const LIVE: bool = true;
    const COMMAND: bool = true;
    const HOST_PATHS: &'static [&'static str] = &["seed_path"];
    type Request = RunRequest;
    type Response = RunResponse;
    fn check(request: &RunRequest) -> Result<()> {
        request.command.check()
    }
}

/// Run a command in a workspace and wait for it
///
/// Each command is a process of its own: cd and variables do not last. One that outlasts wait_seconds goes on as a job.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[cfg_attr(feature = "clap", derive(clap::Args))]
#[serde(deny_unknown_fields)]
pub struct ExecRequest {
    /// Workspace name or id
    pub workspace: WorkspaceRef,
    /// Working directory
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "clap", arg(long, value_name = "DIR"))]
    pub cwd: Option<String>,
    /// Variables, NAME=VALUE
    #[serde(default, deserialize_with = "crate::values::list", skip_serializing_if = "Vec::is_empty")]
    #[cfg_attr(feature = "clap", arg(long, value_name = "NAME=VALUE"))]
    pub env: Vec<EnvVar>,
    /// Text for standard input
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "clap", arg(skip))]
    pub stdin: Option<String>,
    /// Kill it after this long
    #[serde(default)]
    #[cfg_attr(feature = "clap", arg(long, default_value_t, value_name = "SECONDS"))]
    pub timeout_seconds: ExecSeconds,
    /// Answer after this long though it runs
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "clap", arg(long, value_name = "SECONDS"))]
    pub wait_seconds: Option<WaitSeconds>,
    /// Give it a terminal: ours, for a person to use
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    #[cfg_attr(feature = "clap", arg(long, short = 't', conflicts_with = "wait_seconds"))]
    pub tty: bool,
    /// Characters in a row of that terminal, 80 when absent
    #[serde(default, deserialize_with = "crate::values::whole_number_or_none", skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "clap", arg(skip))]
    pub columns: Option<u16>,
    /// Its rows, 24 when absent
    #[serde(default, deserialize_with = "crate::values::whole_number_or_none", skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "clap", arg(skip))]
    pub rows: Option<u16>,
    /// Shell line to run
    #[cfg_attr(feature = "clap", command(flatten))]
    pub command: CommandLine,
}

/// What an exec answers.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
pub struct ExecResponse {
    /// Name of the workspace.
    pub workspace: String,
    /// Number of this command in its workspace, from 1. Its name as a job is `job` and the number: `workspace job logs WS job3`.
    pub exec: u64,
    /// How it ended.
    pub outcome: Outcome,
    /// What it wrote.
    pub stdout: Clip,
    /// What it wrote as errors.
    pub stderr: Clip,
    /// From the start of the command to its end, or till now, milliseconds.
    pub duration_ms: u64,
    /// It runs and waits for somebody to type, as what it is blocked in shows: the line that asks for it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub waits_for_input: Option<String>,
    /// What to do next, when that is not obvious.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub next: Option<String>,
}

/// See [`ExecRequest`].
pub enum WorkspaceExec {}
impl Op for WorkspaceExec {
    const NAME: &'static str = "workspace exec";
    const TOOL: Option<&'static str> = Some("workspace_exec");
    const EFFECT: Effect = Effect::Write;
    const PROFILE: Profile = Profile::WorkspaceCore;
    // For a person who sits at one; a model has shells.
    const TOOL_OMITS: &'static [&'static str] = &["columns", "rows", "tty"];
    const LIVE: bool = true;
    const COMMAND: bool = true;
    type Request = ExecRequest;
    type Response = ExecResponse;
    fn check(request: &ExecRequest) -> Result<()> {
        request.command.check()
    }
}

/// Output as it is shown: whole when it is short, else head and tail in whole lines. The rest is kept.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Clip {
    /// The text shown. When something was left out, a line of its own says so where it was.
    pub text: String,
    /// All bytes that the command wrote.
    pub bytes_total: u64,
    /// Bytes that are not shown.
    pub bytes_omitted: u64,
    /// Lines that are not shown.
    pub lines_omitted: u64,
    /// Bytes beyond what is kept: counted, and gone.
    pub bytes_dropped: u64,
    /// The output is not text: invalid UTF-8 was replaced or NUL was found.
    pub binary: bool,
}

/// Show what was done in a workspace
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[cfg_attr(feature = "clap", derive(clap::Args))]
#[serde(deny_unknown_fields)]
pub struct LogsRequest {
    /// Workspace name or id
    pub workspace: WorkspaceRef,
    /// Newest entries to show
    #[serde(default = "LogsRequest::limit_default", deserialize_with = "crate::values::whole_number")]
    #[cfg_attr(feature = "clap", arg(long, default_value_t = LogsRequest::limit_default(), value_name = "N"))]
    pub limit: u32,
}

impl LogsRequest {
    fn limit_default() -> u32 {
        50
    }
}

/// What logs answers.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
pub struct LogsResponse {
    /// Name of the workspace.
    pub workspace: String,
    /// Entries in all.
    pub count: u64,
    /// Oldest first; the newest `limit` of them.
    pub entries: Vec<LogEntry>,
}

/// One thing that was done in or to a workspace.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
pub struct LogEntry {
    /// When it began, RFC 3339.
    pub at: String,
    /// Name of the op: `workspace exec`.
    pub op: String,
    /// What it was about: the command, the path.
    pub subject: String,
    /// How it ended, in words; `running` when it has not.
    pub outcome: String,
    /// Number of the exec, when it is one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub exec: Option<u64>,
    /// The step that has what it changed: reset can go back to it. Several operations have the same one when they could not be told apart.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub step: Option<u64>,
    /// How long it took, milliseconds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub duration_ms: Option<u64>,
}

/// See [`LogsRequest`].
pub enum WorkspaceLogs {}
impl Op for WorkspaceLogs {
    const NAME: &'static str = "workspace logs";
    const TOOL: Option<&'static str> = Some("workspace_logs");
    const EFFECT: Effect = Effect::Read;
    const PROFILE: Profile = Profile::WorkspaceFull;
    type Request = LogsRequest;
    type Response = LogsResponse;
}
