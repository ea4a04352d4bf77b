//! The past of a workspace: snapshots, going back and forth, forks.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::ops::workspace::WorkspaceView;
use crate::values::{ForkCount, SnapshotName, TimeoutSeconds, WorkspaceName, WorkspaceRef};
use crate::{Effect, Error, Op, Profile, Result};

/// Create a snapshot: a name for a workspace's files as they are, to reset to
///
/// All of its file system, installed packages too. Running commands go on.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[cfg_attr(feature = "clap", derive(clap::Args))]
#[serde(deny_unknown_fields)]
pub struct SnapshotCreateRequest {
    /// Workspace name or id
    pub workspace: WorkspaceRef,
    /// Snapshot name
    pub name: SnapshotName,
}

/// One snapshot.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct SnapshotView {
    /// Its name.
    pub name: String,
    /// When it was made, RFC 3339.
    pub at: String,
    /// The state that it names, and what led to it.
    pub made_by: StepView,
    /// What is in it that its baseline has not: files, directories, links and deletions.
    pub entry_count: u64,
    /// The room that takes on disk, in bytes.
    pub bytes: u64,
}

/// What a snapshot answers.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
pub struct SnapshotCreateResponse {
    /// Name of the workspace.
    pub workspace: String,
    /// Its name.
    pub name: String,
    /// The step that it names.
    pub step: u64,
    /// Why the changes had to be copied while everything inside stood still, if they had to be.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub copied: Option<String>,
}

/// One step in the past of a workspace.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct StepView {
    /// Its number; 0 is how the workspace was created.
    pub step: u64,
    /// When it was recorded, RFC 3339.
    pub at: String,
    /// What made it: `workspace exec`; `background` when only processes in the background had written.
    pub op: String,
    /// What that was about: the command, the path.
    pub subject: String,
    /// How many operations are in it that could not be told apart.
    pub op_count: u64,
}

/// See [`SnapshotCreateRequest`].
pub enum SnapshotCreate {}
impl Op for SnapshotCreate {
    const NAME: &'static str = "workspace snapshot create";
    const TOOL: Option<&'static str> = Some("snapshot_create");
    const EFFECT: Effect = Effect::Write;
    const PROFILE: Profile = Profile::WorkspaceCore;
    type Request = SnapshotCreateRequest;
    type Response = SnapshotCreateResponse;
}

/// List a workspace's snapshots
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[cfg_attr(feature = "clap", derive(clap::Args))]
#[serde(deny_unknown_fields)]
pub struct SnapshotListRequest {
    /// Workspace name or id
    pub workspace: WorkspaceRef,
}

/// What the list answers.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
pub struct SnapshotListResponse {
    /// Name of the workspace.
    pub workspace: String,
    /// Oldest first.
    pub snapshots: Vec<SnapshotView>,
}

/// See [`SnapshotListRequest`].
pub enum SnapshotList {}
impl Op for SnapshotList {
    const NAME: &'static str = "workspace snapshot list";
    const TOOL: Option<&'static str> = Some("snapshot_list");
    const EFFECT: Effect = Effect::Read;
    const PROFILE: Profile = Profile::WorkspaceFull;
    type Request = SnapshotListRequest;
    type Response = SnapshotListResponse;
}

/// Delete a snapshot; the files of the workspace stay as they are
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[cfg_attr(feature = "clap", derive(clap::Args))]
#[serde(deny_unknown_fields)]
pub struct SnapshotDeleteRequest {
    /// Workspace name or id
    pub workspace: WorkspaceRef,
    /// Snapshot name
    pub name: SnapshotName,
}

/// What the deletion answers.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
pub struct SnapshotDeleteResponse {
    /// Name of the workspace.
    pub workspace: String,
    /// Name of what was deleted.
    pub name: String,
}

/// See [`SnapshotDeleteRequest`].
pub enum SnapshotDelete {}
impl Op for SnapshotDelete {
    const NAME: &'static str = "workspace snapshot delete";
    const TOOL: Option<&'static str> = Some("snapshot_delete");
    const EFFECT: Effect = Effect::Destroy;
    const PROFILE: Profile = Profile::WorkspaceFull;
    type Request = SnapshotDeleteRequest;
    type Response = SnapshotDeleteResponse;
}

/// Set a workspace's files back: to a snapshot, a step, or how it was created
///
/// Running commands are ended. undo takes it back.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[cfg_attr(feature = "clap", derive(clap::Args))]
#[serde(deny_unknown_fields)]
pub struct ResetRequest {
    /// Workspace name or id
    pub workspace: WorkspaceRef,
    /// Snapshot name
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "clap", arg(long, value_name = "NAME", conflicts_with = "step"))]
    pub snapshot: Option<SnapshotName>,
    /// Step, as logs shows them
    #[serde(default, deserialize_with = "crate::values::whole_number_or_none", skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "clap", arg(long, value_name = "N"))]
    pub step: Option<u64>,
}

/// What reset, undo and redo answer.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
pub struct RewindResponse {
    /// Name of the workspace.
    pub workspace: String,
    /// The state that its files are in now.
    pub at: StepView,
    /// The state that they were in, which is kept until garbage is collected.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub left: Option<StepView>,
    /// Processes inside that were ended for it; nothing when it did not run.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub stopped: Option<u64>,
}

/// See [`ResetRequest`].
pub enum WorkspaceReset {}
impl Op for WorkspaceReset {
    const NAME: &'static str = "workspace reset";
    const TOOL: Option<&'static str> = Some("workspace_reset");
    const EFFECT: Effect = Effect::Write;
    const PROFILE: Profile = Profile::WorkspaceCore;
    type Request = ResetRequest;
    type Response = RewindResponse;
    fn check(request: &ResetRequest) -> Result<()> {
        if request.snapshot.is_some() && request.step.is_some() {
            return Err(Error::invalid("a snapshot and a step are both given").hint("give one of them"));
        }
        Ok(())
    }
}

/// Undo what was done last to a workspace's files: a command, a write, a reset
///
/// Running commands are ended.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[cfg_attr(feature = "clap", derive(clap::Args))]
#[serde(deny_unknown_fields)]
pub struct UndoRequest {
    /// Workspace name or id
    pub workspace: WorkspaceRef,
}

/// See [`UndoRequest`].
pub enum WorkspaceUndo {}
impl Op for WorkspaceUndo {
    const NAME: &'static str = "workspace undo";
    const TOOL: Option<&'static str> = Some("workspace_undo");
    const EFFECT: Effect = Effect::Write;
    const PROFILE: Profile = Profile::WorkspaceCore;
    type Request = UndoRequest;
    type Response = RewindResponse;
}

/// Redo what was undone last, if nothing else was done since
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[cfg_attr(feature = "clap", derive(clap::Args))]
#[serde(deny_unknown_fields)]
pub struct RedoRequest {
    /// Workspace name or id
    pub workspace: WorkspaceRef,
}

/// See [`RedoRequest`].
pub enum WorkspaceRedo {}
impl Op for WorkspaceRedo {
    const NAME: &'static str = "workspace redo";
    const TOOL: Option<&'static str> = Some("workspace_redo");
    const EFFECT: Effect = Effect::Write;
    const PROFILE: Profile = Profile::WorkspaceFull;
    type Request = RedoRequest;
    type Response = RewindResponse;
}

/// Fork a workspace: new ones with the same files, at once
///
/// Sizes, labels and isolation are the same; processes are not taken along. Neither affects the other.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[cfg_attr(feature = "clap", derive(clap::Args))]
#[serde(deny_unknown_fields)]
pub struct ForkRequest {
    /// Workspace name or id
    pub workspace: WorkspaceRef,
    /// How many
    #[serde(default)]
    #[cfg_attr(feature = "clap", arg(long, default_value_t, value_name = "N"))]
    pub count: ForkCount,
    /// Name of the fork; with a number after it when there are several
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "clap", arg(long))]
    pub name: Option<WorkspaceName>,
}

/// What a fork answers.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
pub struct ForkResponse {
    /// Name of the workspace that was forked.
    pub workspace: String,
    /// At which of its steps.
    pub step: u64,
    /// The forks. They start when they are used.
    pub forks: Vec<WorkspaceView>,
    /// Why the changes had to be copied while everything inside stood still, if they had to be.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub copied: Option<String>,
}

/// See [`ForkRequest`].
pub enum WorkspaceFork {}
impl Op for WorkspaceFork {
    const NAME: &'static str = "workspace fork";
    const TOOL: Option<&'static str> = Some("workspace_fork");
    const EFFECT: Effect = Effect::Write;
    const PROFILE: Profile = Profile::WorkspaceFull;
    type Request = ForkRequest;
    type Response = ForkResponse;
}

/// What happens to a change that both sides made differently.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
#[cfg_attr(feature = "clap", derive(clap::ValueEnum))]
#[schemars(inline)]
#[expect(missing_docs, reason = "documented variants become oneOf in the schema, which some MCP hosts refuse")]
pub enum Favour {
    #[default]
    Neither,
    Ours,
    Theirs,
}

/// Change a workspace by merging in what another has changed since they were one
///
/// Three-way, over all files. With conflicts nothing is changed and they are listed: settle them in either workspace, or favour a side.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[cfg_attr(feature = "clap", derive(clap::Args))]
#[serde(deny_unknown_fields)]
pub struct MergeRequest {
    /// Workspace to change
    pub workspace: WorkspaceRef,
    /// Workspace whose changes are taken
    pub from: WorkspaceRef,
    /// Side that wins where both changed the same: neither, ours or theirs
    #[serde(default)]
    #[cfg_attr(feature = "clap", arg(long, value_enum, default_value_t))]
    pub favour: Favour,
    /// Only say what would happen
    #[serde(default)]
    #[cfg_attr(feature = "clap", arg(long))]
    pub dry_run: bool,
}

/// What a merge answers.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
pub struct MergeResponse {
    /// Name of the workspace that was to be changed.
    pub workspace: String,
    /// Name of the other.
    pub from: String,
    /// It was changed; not with a dry run, with conflicts, or when there was nothing to take.
    pub merged: bool,
    /// The step that the merge is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub step: Option<u64>,
    /// What was taken as the other has it: `A path`, `M path`, `D path`.
    pub taken: Vec<String>,
    /// Files of which both had changed different lines.
    pub joined: Vec<String>,
    /// What both had changed, and the favoured side won.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub settled: Vec<String>,
    /// What both have changed differently.
    pub conflicts: Vec<ConflictView>,
    /// How many conflicts there are.
    pub conflict_count: u64,
}

/// One path that both sides changed differently.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct ConflictView {
    /// Path relative to /workspace when below it.
    pub path: String,
    /// How they differ: `lines`, `content`, `mode`, `modified_and_deleted`, `added_twice`, `type`, `directory_against_file`.
    pub kind: String,
    /// What was there when they were one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub base: Option<VersionView>,
    /// What the workspace has.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ours: Option<VersionView>,
    /// What the other has.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub theirs: Option<VersionView>,
    /// The lines that differ, if it is text.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub hunks: Vec<HunkView>,
}

/// One side of a conflict.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct VersionView {
    /// `file`, `directory`, `symlink` or `other`.
    pub kind: String,
    /// Permission bits, octal.
    pub mode: String,
    /// Size of a file.
    pub size_bytes: u64,
}

/// Lines that both sides changed differently.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct HunkView {
    /// First line in the workspace's version, from 1.
    pub line: u64,
    /// As it was.
    pub base: String,
    /// As the workspace has it.
    pub ours: String,
    /// As the other has it.
    pub theirs: String,
}

/// See [`MergeRequest`].
pub enum WorkspaceMerge {}
impl Op for WorkspaceMerge {
    const NAME: &'static str = "workspace merge";
    const TOOL: Option<&'static str> = Some("workspace_merge");
    const EFFECT: Effect = Effect::Write;
    const PROFILE: Profile = Profile::WorkspaceFull;
    type Request = MergeRequest;
    type Response = MergeResponse;
    fn check(request: &MergeRequest) -> Result<()> {
        if request.workspace == request.from {
            return Err(Error::invalid(format!("{} cannot be merged into itself", request.from)));
        }
        Ok(())
    }
}

/// Compare workspaces: what each has changed, and how a check ends in each
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[cfg_attr(feature = "clap", derive(clap::Args))]
#[serde(deny_unknown_fields)]
pub struct CompareRequest {
    /// Workspaces, by name or id
    #[serde(deserialize_with = "crate::values::list")]
    #[cfg_attr(feature = "clap", arg(required = true, value_name = "WORKSPACE"))]
    pub workspaces: Vec<WorkspaceRef>,
    /// Shell line to run in each
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "clap", arg(long, value_name = "LINE"))]
    pub check: Option<String>,
    /// Seconds that the check may take in each
    #[serde(default)]
    #[cfg_attr(feature = "clap", arg(long, default_value_t, value_name = "SECONDS"))]
    pub timeout_seconds: TimeoutSeconds,
}

impl CompareRequest {
    /// Workspaces of one comparison: a table that can still be read.
    pub const WORKSPACES_MAX: usize = 100;
}

/// What a comparison answers.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
pub struct CompareResponse {
    /// In the order in which they were named.
    pub workspaces: Vec<Compared>,
}

/// One workspace of a comparison.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
pub struct Compared {
    /// Its name.
    pub workspace: String,
    /// How the check ended, in words; nothing when none was asked for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub outcome: Option<String>,
    /// The check returned 0.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub passed: Option<bool>,
    /// How long it took.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub duration_ms: Option<u64>,
    /// Number of the command: logs shows its output.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub exec: Option<u64>,
    /// Paths below /workspace that it had changed since it was created, before the check.
    pub changed: u64,
    /// Lines that it had added.
    pub added_lines: u64,
    /// Lines that it had removed.
    pub removed_lines: u64,
}

/// See [`CompareRequest`].
pub enum WorkspaceCompare {}
impl Op for WorkspaceCompare {
    const NAME: &'static str = "workspace compare";
    const TOOL: Option<&'static str> = Some("workspace_compare");
    const EFFECT: Effect = Effect::Write;
    const PROFILE: Profile = Profile::WorkspaceFull;
    type Request = CompareRequest;
    type Response = CompareResponse;
    fn check(request: &CompareRequest) -> Result<()> {
        let count = request.workspaces.len();
        if count == 0 || count > CompareRequest::WORKSPACES_MAX {
            return Err(Error::invalid(format!("{count} workspaces cannot be compared"))
                .hint(format!("name 1 to {} of them", CompareRequest::WORKSPACES_MAX)));
        }
        Ok(())
    }
}
