//! Environments: the read-only root file systems that workspaces start from.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::values::EnvironmentName;
use crate::{Effect, Op, Profile};

/// List environments
#[derive(Clone, Debug, Default, Serialize, Deserialize, JsonSchema)]
#[cfg_attr(feature = "clap", derive(clap::Args))]
#[serde(deny_unknown_fields)]
pub struct EnvListRequest {}

/// What env list answers.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
pub struct EnvListResponse {
    /// Built and buildable environments, in name order.
    pub environments: Vec<EnvironmentView>,
}

/// One environment.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct EnvironmentView {
    /// Name: `debian:12`.
    pub environment: String,
    /// What it is, in a line.
    pub description: String,
    /// It is built; otherwise `run` and `create` build it when they need it.
    pub built: bool,
    /// Digest of its content.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub digest: Option<String>,
    /// Size on disk.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub size_bytes: Option<u64>,
    /// When it was built, RFC 3339.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub built_at: Option<String>,
    /// Packages asked for, or host directories shown.
    pub contents: Vec<String>,
    /// Workspaces made from it.
    pub workspace_count: u64,
    /// What a user must know before trusting it.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub notes: Vec<String>,
}

/// See [`EnvListRequest`].
pub enum EnvList {}
impl Op for EnvList {
    const NAME: &'static str = "env list";
    const TOOL: Option<&'static str> = Some("env_list");
    const EFFECT: Effect = Effect::Read;
    const PROFILE: Profile = Profile::WorkspaceFull;
    type Request = EnvListRequest;
    type Response = EnvListResponse;
}

/// Show one environment
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[cfg_attr(feature = "clap", derive(clap::Args))]
#[serde(deny_unknown_fields)]
pub struct EnvInspectRequest {
    /// Environment, such as debian:12
    pub environment: EnvironmentName,
}

/// See [`EnvInspectRequest`].
pub enum EnvInspect {}
impl Op for EnvInspect {
    const NAME: &'static str = "env inspect";
    const TOOL: Option<&'static str> = None;
    const EFFECT: Effect = Effect::Read;
    const PROFILE: Profile = Profile::Person;
    type Request = EnvInspectRequest;
    type Response = EnvironmentView;
}

/// Build an environment from the distribution's packages
///
/// Uses the mirror that apt is configured with. Interrupted, it leaves nothing behind.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[cfg_attr(feature = "clap", derive(clap::Args))]
#[serde(deny_unknown_fields)]
pub struct EnvBuildRequest {
    /// Environment, such as debian:12
    pub environment: EnvironmentName,
    /// Build again though it is built; workspaces keep what they were made from
    #[serde(default)]
    #[cfg_attr(feature = "clap", arg(long))]
    pub rebuild: bool,
    /// For `host`: show this directory of the host too, such as a toolchain
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[cfg_attr(feature = "clap", arg(long = "include", value_name = "DIR", value_hint = clap::ValueHint::DirPath))]
    pub includes: Vec<String>,
}

/// See [`EnvBuildRequest`].
pub enum EnvBuild {}
impl Op for EnvBuild {
    const NAME: &'static str = "env build";
    const TOOL: Option<&'static str> = None;
    const EFFECT: Effect = Effect::Write;
    const PROFILE: Profile = Profile::Person;
    const HOST_PATHS: &'static [&'static str] = &["includes"];
    type Request = EnvBuildRequest;
    type Response = EnvironmentView;
}

/// Remove a built environment that no workspace uses
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[cfg_attr(feature = "clap", derive(clap::Args))]
#[serde(deny_unknown_fields)]
pub struct EnvRemoveRequest {
    /// Environment, such as debian:12
    pub environment: EnvironmentName,
}

/// What removing answers.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
pub struct EnvRemoveResponse {
    /// What was removed.
    pub removed: Vec<String>,
    /// Space freed.
    pub freed_bytes: u64,
}

/// See [`EnvRemoveRequest`].
pub enum EnvRemove {}
impl Op for EnvRemove {
    const NAME: &'static str = "env remove";
    const TOOL: Option<&'static str> = None;
    const EFFECT: Effect = Effect::Destroy;
    const PROFILE: Profile = Profile::Person;
    type Request = EnvRemoveRequest;
    type Response = EnvRemoveResponse;
}

/// Remove every built environment that no workspace uses
#[derive(Clone, Debug, Default, Serialize, Deserialize, JsonSchema)]
#[cfg_attr(feature = "clap", derive(clap::Args))]
#[serde(deny_unknown_fields)]
pub struct EnvPruneRequest {}

/// See [`EnvPruneRequest`].
pub enum EnvPrune {}
impl Op for EnvPrune {
    const NAME: &'static str = "env prune";
    const TOOL: Option<&'static str> = None;
    const EFFECT: Effect = Effect::Destroy;
    const PROFILE: Profile = Profile::Person;
    type Request = EnvPruneRequest;
    type Response = EnvRemoveResponse;
}
