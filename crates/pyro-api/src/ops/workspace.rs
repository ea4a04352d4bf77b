//! A workspace's life: create, find, look at, rename, start, stop, delete.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::values::{DiskMib, EnvironmentName, IsolationMinimum, Label, LabelKey, MemMib, VcpuCount, WorkspaceName, WorkspaceRef};
use crate::{Effect, Error, Op, Profile, Result};

/// Create a workspace: a computer with files, kept until it is deleted
///
/// Files live in /workspace. No network.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[cfg_attr(feature = "clap", derive(clap::Args))]
#[serde(deny_unknown_fields)]
pub struct CreateRequest {
    /// Environment
    #[serde(default)]
    #[cfg_attr(feature = "clap", arg(value_name = "ENV", default_value_t))]
    pub environment: EnvironmentName,
    /// Short unique name; made up when absent
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "clap", arg(long))]
    pub name: Option<WorkspaceName>,
    /// Labels, KEY=VALUE
    #[serde(default, deserialize_with = "crate::values::list", skip_serializing_if = "Vec::is_empty")]
    #[cfg_attr(feature = "clap", arg(long = "label", value_name = "KEY=VALUE"))]
    pub labels: Vec<Label>,
    /// Host directory or tar file to copy to /workspace
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "clap", arg(long, value_name = "PATH", value_hint = clap::ValueHint::AnyPath))]
    pub seed_path: Option<String>,
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
    /// Delete it after so many seconds
    #[serde(default, deserialize_with = "crate::values::whole_number_or_none", skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "clap", arg(long, value_name = "SECONDS"))]
    pub ttl_seconds: Option<u64>,
    /// Isolation that must hold, else nothing is created: namespaces or microvm, and guarantees such as memory_limit after a comma
    #[serde(default)]
    #[cfg_attr(feature = "clap", arg(long, default_value_t, value_name = "MINIMUM"))]
    pub isolation: IsolationMinimum,
    /// Take the one of that name if there is one
    #[serde(default)]
    #[cfg_attr(feature = "clap", arg(long))]
    pub reuse: bool,
}

/// One workspace in full.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
pub struct WorkspaceView {
    /// Name: enough to refer to it anywhere.
    pub workspace: String,
    /// Id: never changes.
    pub id: String,
    /// Labels.
    pub labels: BTreeMap<String, String>,
    /// Environment it was made from.
    pub environment: String,
    /// What it is doing.
    pub state: StateView,
    /// Why it failed, when it did.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub failure: Option<String>,
    /// When it was made, RFC 3339.
    pub created_at: String,
    /// When it was last used, RFC 3339.
    pub used_at: String,
    /// Processors.
    pub vcpu_count: u32,
    /// Memory limit, MiB.
    pub mem_mib: u64,
    /// Size of its own disk, MiB, if its isolation gives it one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub disk_mib: Option<u64>,
    /// Commands run so far.
    pub exec_count: u64,
    /// What it was seeded with.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub seed: Option<SeedView>,
    /// What it is a fork of.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub fork_of: Option<OriginView>,
    /// When it is deleted by itself, RFC 3339; nothing: never.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expires_at: Option<String>,
    /// How strongly it is isolated, as measured at its last start.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub isolation: Option<IsolationReport>,
}

/// What a workspace is a fork of.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct OriginView {
    /// Name of the other workspace when it was forked.
    pub workspace: String,
    /// Its id.
    pub id: String,
    /// At which of its steps.
    pub step: u64,
}

/// What a workspace is doing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
#[cfg_attr(feature = "clap", derive(clap::ValueEnum))]
#[expect(missing_docs, reason = "documented variants become oneOf in the schema, which some MCP hosts refuse")]
pub enum StateView {
    Starting,
    Running,
    Stopping,
    Stopped,
    Failed,
}

/// What was copied into a workspace when it was made.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct SeedView {
    /// Where it came from, on the host.
    pub path: String,
    /// Files, directories and links.
    pub entry_count: u64,
    /// Bytes of file content.
    pub bytes: u64,
    /// Things that could not be brought along (sockets), by name; at most 20.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub skipped: Vec<String>,
    /// What was found in it that tells how to build and test it: file names such as Cargo.toml, package-lock.json.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub markers: Vec<String>,
}

/// How strongly a sandbox is isolated: measured at its start, from inside and outside, never derived from configuration.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct IsolationReport {
    /// How the sandbox was made: `namespaces`.
    pub backend: String,
    /// One line for people.
    pub summary: String,
    /// Each guarantee.
    pub guarantees: Vec<Guarantee>,
}

/// One guarantee, and whether it holds.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Guarantee {
    /// Which.
    pub name: GuaranteeName,
    /// It was seen to hold.
    pub held: bool,
    /// What was seen.
    pub detail: String,
}

/// The guarantees.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
#[expect(missing_docs, reason = "documented variants become oneOf in the schema, which some MCP hosts refuse")]
pub enum GuaranteeName {
    OwnUserIds,
    OwnFileSystem,
    OwnProcesses,
    NoNetwork,
    NoNewPrivileges,
    FewCapabilities,
    SyscallFilter,
    Landlock,
    MemoryLimit,
    PidsLimit,
    CpuLimit,
    DiskLimit,
    OwnKernel,
}

/// What create answers.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
pub struct CreateResponse {
    /// The workspace.
    #[serde(flatten)]
    pub workspace: WorkspaceView,
    /// It was there already (`reuse`).
    pub reused: bool,
}

/// See [`CreateRequest`].
pub enum WorkspaceCreate {}
impl Op for WorkspaceCreate {
    const NAME: &'static str = "workspace create";
    const TOOL: Option<&'static str> = Some("workspace_create");
    const EFFECT: Effect = Effect::Write;
    const PROFILE: Profile = Profile::WorkspaceCore;
    // As for `vm_run`: a person decides how strong and how large.
    const TOOL_OMITS: &'static [&'static str] = &["disk_mib", "isolation", "vcpu_count"];
    const HOST_PATHS: &'static [&'static str] = &["seed_path"];
    type Request = CreateRequest;
    type Response = CreateResponse;
    fn check(request: &CreateRequest) -> Result<()> {
        if request.reuse && request.name.is_none() {
            return Err(Error::invalid("reuse needs a name to look for").hint("add name"));
        }
        if request.ttl_seconds == Some(0) {
            return Err(Error::invalid("ttl_seconds 0 would delete it at once").hint("leave it out to keep it"));
        }
        check_ttl(request.ttl_seconds)
    }
}

/// List workspaces, most recently used first
#[derive(Clone, Debug, Default, Serialize, Deserialize, JsonSchema)]
#[cfg_attr(feature = "clap", derive(clap::Args))]
#[serde(deny_unknown_fields)]
pub struct ListRequest {
    /// Its labels, KEY=VALUE
    #[serde(default, deserialize_with = "crate::values::list", skip_serializing_if = "Vec::is_empty")]
    #[cfg_attr(feature = "clap", arg(long = "label", value_name = "KEY=VALUE"))]
    pub labels: Vec<Label>,
    /// Part of the name
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "clap", arg(long, value_name = "TEXT"))]
    pub name: Option<String>,
    /// Only those in this state
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "clap", arg(long))]
    pub state: Option<StateView>,
}

/// What list answers.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
pub struct ListResponse {
    /// Workspaces, most recently used first. Without their isolation report: `status` has it.
    pub workspaces: Vec<WorkspaceView>,
}

/// See [`ListRequest`].
pub enum WorkspaceList {}
impl Op for WorkspaceList {
    const NAME: &'static str = "workspace list";
    const TOOL: Option<&'static str> = Some("workspace_list");
    // The list says in which state each is.
    const TOOL_OMITS: &'static [&'static str] = &["state"];
    const EFFECT: Effect = Effect::Read;
    const PROFILE: Profile = Profile::WorkspaceCore;
    type Request = ListRequest;
    type Response = ListResponse;
}

/// Show a workspace and how strongly it is isolated, as measured
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[cfg_attr(feature = "clap", derive(clap::Args))]
#[serde(deny_unknown_fields)]
pub struct StatusRequest {
    /// Workspace name or id
    pub workspace: WorkspaceRef,
}

/// See [`StatusRequest`].
pub enum WorkspaceStatus {}
impl Op for WorkspaceStatus {
    const NAME: &'static str = "workspace status";
    const TOOL: Option<&'static str> = Some("workspace_status");
    const EFFECT: Effect = Effect::Read;
    const PROFILE: Profile = Profile::WorkspaceCore;
    type Request = StatusRequest;
    type Response = WorkspaceView;
}

/// Change a workspace's name or labels
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[cfg_attr(feature = "clap", derive(clap::Args))]
#[serde(deny_unknown_fields)]
pub struct UpdateRequest {
    /// Workspace name or id
    pub workspace: WorkspaceRef,
    /// New name
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "clap", arg(long))]
    pub name: Option<WorkspaceName>,
    /// Labels to set, KEY=VALUE
    #[serde(default, deserialize_with = "crate::values::list", skip_serializing_if = "Vec::is_empty")]
    #[cfg_attr(feature = "clap", arg(long = "label", value_name = "KEY=VALUE"))]
    pub labels: Vec<Label>,
    /// Delete it after this many seconds from now; 0: never
    #[serde(default, deserialize_with = "crate::values::whole_number_or_none", skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "clap", arg(long, value_name = "SECONDS"))]
    pub ttl_seconds: Option<u64>,
    /// Label keys to remove
    #[serde(default, deserialize_with = "crate::values::list", skip_serializing_if = "Vec::is_empty")]
    #[cfg_attr(feature = "clap", arg(long = "clear-label", value_name = "KEY"))]
    pub clear_labels: Vec<LabelKey>,
}

/// Longest time to deletion: a hundred years, which is still a date.
const TTL_SECONDS_MAX: u64 = 100 * 366 * 24 * 3600;

fn check_ttl(ttl: Option<u64>) -> Result<()> {
    match ttl {
        Some(seconds) if seconds > TTL_SECONDS_MAX => {
            Err(Error::invalid(format!("ttl_seconds {seconds} is more than {TTL_SECONDS_MAX}")))
        }
        Some(_) | None => Ok(()),
    }
}

/// See [`UpdateRequest`].
pub enum WorkspaceUpdate {}
impl Op for WorkspaceUpdate {
    const NAME: &'static str = "workspace update";
    const TOOL: Option<&'static str> = Some("workspace_update");
    const EFFECT: Effect = Effect::Write;
    const PROFILE: Profile = Profile::WorkspaceFull;
    type Request = UpdateRequest;
    type Response = WorkspaceView;
    fn check(request: &UpdateRequest) -> Result<()> {
        let ttl = request.ttl_seconds;
        if request.name.is_none() && request.labels.is_empty() && request.clear_labels.is_empty() && ttl.is_none() {
            return Err(Error::invalid("nothing to change").hint("give a name, labels, labels to clear or ttl_seconds"));
        }
        check_ttl(ttl)
    }
}

/// Start a stopped workspace; its files are as they were
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[cfg_attr(feature = "clap", derive(clap::Args))]
#[serde(deny_unknown_fields)]
pub struct StartRequest {
    /// Workspace name or id
    pub workspace: WorkspaceRef,
}

/// See [`StartRequest`].
pub enum WorkspaceStart {}
impl Op for WorkspaceStart {
    const NAME: &'static str = "workspace start";
    const TOOL: Option<&'static str> = Some("workspace_start");
    const EFFECT: Effect = Effect::Write;
    const PROFILE: Profile = Profile::WorkspaceFull;
    type Request = StartRequest;
    type Response = WorkspaceView;
}

/// Stop a workspace: processes end, files stay
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[cfg_attr(feature = "clap", derive(clap::Args))]
#[serde(deny_unknown_fields)]
pub struct StopRequest {
    /// Workspace name or id
    pub workspace: WorkspaceRef,
}

/// See [`StopRequest`].
pub enum WorkspaceStop {}
impl Op for WorkspaceStop {
    const NAME: &'static str = "workspace stop";
    const TOOL: Option<&'static str> = Some("workspace_stop");
    const EFFECT: Effect = Effect::Write;
    const PROFILE: Profile = Profile::WorkspaceFull;
    type Request = StopRequest;
    type Response = WorkspaceView;
}

/// Delete a workspace with everything in it, for good
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[cfg_attr(feature = "clap", derive(clap::Args))]
#[serde(deny_unknown_fields)]
pub struct DeleteRequest {
    /// Workspace name or id
    pub workspace: WorkspaceRef,
}

/// What delete answers.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
pub struct DeleteResponse {
    /// Name of what was deleted.
    pub workspace: String,
    /// Its id.
    pub id: String,
}

/// See [`DeleteRequest`].
pub enum WorkspaceDelete {}
impl Op for WorkspaceDelete {
    const NAME: &'static str = "workspace delete";
    const TOOL: Option<&'static str> = Some("workspace_delete");
    const EFFECT: Effect = Effect::Destroy;
    const PROFILE: Profile = Profile::WorkspaceCore;
    type Request = DeleteRequest;
    type Response = DeleteResponse;
}
