//! The machine itself: what it can isolate, what stands in the way, what was left over.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::{Effect, Op, Profile};

/// Check what this machine can isolate, and what stands in the way
#[derive(Clone, Debug, Default, Serialize, Deserialize, JsonSchema)]
#[cfg_attr(feature = "clap", derive(clap::Args))]
#[serde(deny_unknown_fields)]
pub struct DoctorRequest {
    /// Check that nothing was left over by anything that ended
    #[serde(default)]
    #[cfg_attr(feature = "clap", arg(long))]
    pub leaks: bool,
}

/// What doctor answers.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
pub struct DoctorResponse {
    /// Sandboxes can be made on this machine, and (with `leaks`) nothing was left over.
    pub ok: bool,
    /// The strongest isolation that this machine gives, in a line.
    pub best: String,
    /// Each check.
    pub checks: Vec<Check>,
    /// What was left over: processes, mounts, cgroups, files without an owner. Only with `leaks`, and then also when there is nothing.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub leaks: Option<Vec<String>>,
    /// What an interrupted command had left and was cleared now. Only with `leaks`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub recovered: Vec<String>,
}

/// One thing that was checked by trying it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Check {
    /// What: `user namespaces`.
    pub name: String,
    /// How it stands.
    pub status: CheckStatus,
    /// What was found.
    pub detail: String,
    /// The setting at fault and how to change it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub fix: Option<String>,
}

/// How a check ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
#[expect(missing_docs, reason = "documented variants become oneOf in the schema, which some MCP hosts refuse")]
pub enum CheckStatus {
    Ok,
    Limited,
    Missing,
}

/// Free the room of what nothing needs any more
///
/// States of workspaces that were gone back from, and layers and seeds that no workspace stands on.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[cfg_attr(feature = "clap", derive(clap::Args))]
#[serde(deny_unknown_fields)]
pub struct GcRequest {}

/// What the collection of garbage answers.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
pub struct GcResponse {
    /// States of workspaces that no way led back to.
    pub steps: u64,
    /// Layers of changes that nothing named.
    pub layers: u64,
    /// Seeds that no workspace stood on.
    pub seeds: u64,
    /// The room that was freed, bytes.
    pub freed_bytes: u64,
}

/// See [`GcRequest`].
pub enum Gc {}
impl Op for Gc {
    const NAME: &'static str = "gc";
    const TOOL: Option<&'static str> = None;
    const EFFECT: Effect = Effect::Destroy;
    const PROFILE: Profile = Profile::Person;
    type Request = GcRequest;
    type Response = GcResponse;
}

/// See [`DoctorRequest`].
pub enum Doctor {}
impl Op for Doctor {
    const NAME: &'static str = "doctor";
    const TOOL: Option<&'static str> = None;
    const EFFECT: Effect = Effect::Read;
    const PROFILE: Profile = Profile::Person;
    type Request = DoctorRequest;
    type Response = DoctorResponse;
}
