//! Jobs: commands by name, `job3` for the third of a workspace, whether they run still or have ended.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::values::{JobName, LineRange, WaitSeconds, WorkspaceRef};
use crate::{Effect, Error, Op, Profile, Result};

use super::exec::ExecResponse;
use super::outcome::Outcome;

/// List the commands of a workspace, those that run first
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[cfg_attr(feature = "clap", derive(clap::Args))]
#[serde(deny_unknown_fields)]
pub struct JobListRequest {
    /// Workspace name or id
    pub workspace: WorkspaceRef,
    /// Only those that run
    #[serde(default)]
    #[cfg_attr(feature = "clap", arg(long))]
    pub running: bool,
    /// Newest to show
    #[serde(default = "JobListRequest::limit_default", deserialize_with = "crate::values::whole_number")]
    #[cfg_attr(feature = "clap", arg(long, default_value_t = JobListRequest::limit_default(), value_name = "N"))]
    pub limit: u32,
}

impl JobListRequest {
    fn limit_default() -> u32 {
        20
    }
}

/// What a list of jobs answers.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
pub struct JobListResponse {
    /// Name of the workspace.
    pub workspace: String,
    /// Commands in all.
    pub count: u64,
    /// Those that run, then those that have ended; the newest first.
    pub jobs: Vec<JobEntry>,
}

/// One command of a workspace.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
pub struct JobEntry {
    /// Its name: `job3`.
    pub job: String,
    /// The command, as a shell line.
    pub command: String,
    /// How it ended, or that it runs.
    pub outcome: Outcome,
    /// When it began, RFC 3339.
    pub at: String,
    /// How long it took, milliseconds; of one that runs, so far.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub duration_ms: Option<u64>,
}

/// See [`JobListRequest`].
pub enum JobList {}
impl Op for JobList {
    const NAME: &'static str = "workspace job list";
    // One tool for all four: each more would be paid for in every turn of a chat.
    const TOOL: Option<&'static str> = None;
    const EFFECT: Effect = Effect::Read;
    const PROFILE: Profile = Profile::Person;
    type Request = JobListRequest;
    type Response = JobListResponse;
}

/// Show a job's output and how it ended, once it has
///
/// Giving up the wait leaves the job alone.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[cfg_attr(feature = "clap", derive(clap::Args))]
#[serde(deny_unknown_fields)]
pub struct JobWaitRequest {
    /// Workspace name or id
    pub workspace: WorkspaceRef,
    /// Job, such as job3
    pub job: JobName,
    /// Answer after this long though it still runs
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "clap", arg(long, value_name = "SECONDS"))]
    pub wait_seconds: Option<WaitSeconds>,
}

/// See [`JobWaitRequest`].
pub enum JobWait {}
impl Op for JobWait {
    const NAME: &'static str = "workspace job wait";
    const TOOL: Option<&'static str> = None;
    const EFFECT: Effect = Effect::Read;
    const PROFILE: Profile = Profile::Person;
    const COMMAND: bool = true;
    type Request = JobWaitRequest;
    type Response = ExecResponse;
}

/// Read the stored output of a job: lines of it, its end, or what matches
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[cfg_attr(feature = "clap", derive(clap::Args))]
#[serde(deny_unknown_fields)]
pub struct JobLogsRequest {
    /// Workspace name or id
    pub workspace: WorkspaceRef,
    /// Job, such as job3
    pub job: JobName,
    /// Which output; both is in the order in which it came
    #[serde(default)]
    #[cfg_attr(feature = "clap", arg(long, value_enum, default_value_t, value_name = "WHICH"))]
    pub stream: LogStream,
    /// Lines 40-80, 40-, or -50 for the last 50
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "clap", arg(long, value_name = "RANGE", allow_hyphen_values = true))]
    pub lines: Option<LineRange>,
    /// Only lines that match this regular expression
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "clap", arg(long, value_name = "REGEX"))]
    pub search: Option<String>,
}

/// Which output of a command.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[cfg_attr(feature = "clap", derive(clap::ValueEnum))]
#[serde(rename_all = "snake_case")]
#[schemars(inline)]
#[expect(missing_docs, reason = "documented variants become oneOf in the schema, which some MCP hosts refuse")]
pub enum LogStream {
    #[default]
    Both,
    Stdout,
    Stderr,
}

/// Part of the stored output of a job.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
pub struct JobLogsResponse {
    /// Name of the workspace.
    pub workspace: String,
    /// Its name: `job3`.
    pub job: String,
    /// The command, as a shell line.
    pub command: String,
    /// How it ended, or that it runs.
    pub outcome: Outcome,
    /// The lines that were asked for, as they would stand on a terminal; of a search, those that match, each with its number. What does not fit is left out at the end
    /// of a range, and in the middle of the whole.
    pub text: String,
    /// Lines in all of the stored output.
    pub lines_total: u64,
    /// The lines that are shown, such as `40-80`, when a range was asked for and is there.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub lines: Option<String>,
    /// The first line of the range that did not fit.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub next_line: Option<u64>,
    /// Lines that match, when a search was asked for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub matches: Option<u64>,
    /// Bytes beyond what is kept: counted, and gone.
    pub bytes_dropped: u64,
    /// The output is not text.
    pub binary: bool,
}

/// See [`JobLogsRequest`].
pub enum JobLogs {}
impl Op for JobLogs {
    const NAME: &'static str = "workspace job logs";
    const TOOL: Option<&'static str> = None;
    const EFFECT: Effect = Effect::Read;
    const PROFILE: Profile = Profile::Person;
    // However much it is, whoever follows gets all of it.
    const LIVE: bool = true;
    type Request = JobLogsRequest;
    type Response = JobLogsResponse;
    fn check(request: &JobLogsRequest) -> Result<()> {
        one_of(request.lines, request.search.as_deref())
    }
}

/// Stop a job: TERM, and KILL two seconds later
///
/// What it has started ends with it.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[cfg_attr(feature = "clap", derive(clap::Args))]
#[serde(deny_unknown_fields)]
pub struct JobStopRequest {
    /// Workspace name or id
    pub workspace: WorkspaceRef,
    /// Job, such as job3
    pub job: JobName,
}

/// See [`JobStopRequest`].
pub enum JobStop {}
impl Op for JobStop {
    const NAME: &'static str = "workspace job stop";
    const TOOL: Option<&'static str> = None;
    const EFFECT: Effect = Effect::Write;
    const PROFILE: Profile = Profile::Person;
    type Request = JobStopRequest;
    type Response = ExecResponse;
}

/// Wait for a command, read its whole output, stop it; job3 is the third one
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[cfg_attr(feature = "clap", derive(clap::Args))]
#[serde(deny_unknown_fields)]
pub struct JobRequest {
    /// Workspace name or id
    pub workspace: WorkspaceRef,
    /// What to do
    #[cfg_attr(feature = "clap", arg(long, value_enum))]
    pub action: JobAction,
    /// Job, such as job3
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "clap", arg(long))]
    pub job: Option<JobName>,
    /// Of wait
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "clap", arg(long))]
    pub wait_seconds: Option<WaitSeconds>,
    /// Of logs
    #[serde(default)]
    #[cfg_attr(feature = "clap", arg(long, value_enum, default_value_t))]
    pub stream: LogStream,
    /// Of logs: 40-80, or -50
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "clap", arg(long))]
    pub lines: Option<LineRange>,
    /// Of logs: a regex
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "clap", arg(long))]
    pub search: Option<String>,
}

/// What to do with a job.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[cfg_attr(feature = "clap", derive(clap::ValueEnum))]
#[serde(rename_all = "snake_case")]
#[schemars(inline)]
#[expect(missing_docs, reason = "documented variants become oneOf in the schema, which some MCP hosts refuse")]
pub enum JobAction {
    Wait,
    Logs,
    Stop,
    List,
}

/// What was asked for; the rest is absent.
#[derive(Clone, Debug, Default, Serialize, Deserialize, JsonSchema)]
pub struct JobResponse {
    /// Of wait and stop.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub command: Option<ExecResponse>,
    /// Of logs.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub logs: Option<JobLogsResponse>,
    /// Of list.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub list: Option<JobListResponse>,
}

/// The four operations above as one tool.
pub enum WorkspaceJob {}
impl Op for WorkspaceJob {
    const NAME: &'static str = "workspace job";
    const TOOL: Option<&'static str> = Some("workspace_job");
    const EFFECT: Effect = Effect::Write;
    const PROFILE: Profile = Profile::WorkspaceCore;
    // There each has a command of its own.
    const ON_COMMAND_LINE: bool = false;
    type Request = JobRequest;
    type Response = JobResponse;
    fn check(request: &JobRequest) -> Result<()> {
        match (&request.job, request.action) {
            (None, JobAction::Wait | JobAction::Logs | JobAction::Stop) => {
                Err(Error::invalid("job is missing").hint("such as job3; action list shows them"))
            }
            _ => one_of(request.lines, request.search.as_deref()),
        }
    }
}

fn one_of(lines: Option<LineRange>, search: Option<&str>) -> Result<()> {
    match (lines, search) {
        (Some(_), Some(_)) => {
            Err(Error::invalid("lines and search are both given").hint("what a search finds has line numbers to read around"))
        }
        _ => Ok(()),
    }
}
