//! The public surface of pyro, each operation once. No behaviour lives here.
//!
//! An operation ("op") is an empty type that implements [`Op`]: its name, what it does to the world, the smallest tool profile that
//! shows it, a request and a response. From that one definition come the command line (clap), the MCP tool (JSON schema) and
//! the SDK method. Doc comments on requests and their fields are product text: users and models read them.
//!
//! # How to add an op
//!
//! 1. Write its request, response and empty type in `ops/AREA.rs`; implement [`Op`].
//! 2. Add one line to [`for_each_op!`]. From now on `pyro-host` does not compile until it has a handler.
//! 3. Write the handler in `pyro-host/src/ops/AREA.rs`, the text for people in `pyro/src/render`, a case in `pyro/tests/it/AREA.rs`.
//! 4. `UPDATE=1 cargo xtask test` rewrites the generated references.
//!
//! Requests are flat: scalars with the unit in the name, enums, small grammars with a type. Responses may nest.

pub mod envelope;
pub mod error;
pub mod nearest;
pub mod ops;
mod schema;
pub mod table;
pub mod values;

#[cfg(test)]
mod tests;

pub use envelope::{Call, Event, Reply};
pub use error::{Error, ErrorKind, Result};

use schemars::JsonSchema;
use serde::{Serialize, de::DeserializeOwned};

/// Request of an op on a surface with clap: arguments of the command line too.
#[cfg(feature = "clap")]
pub trait Request: clap::Args + Serialize + DeserializeOwned + JsonSchema + Send + 'static {}
#[cfg(feature = "clap")]
impl<T: clap::Args + Serialize + DeserializeOwned + JsonSchema + Send + 'static> Request for T {}
/// Request of an op.
#[cfg(not(feature = "clap"))]
pub trait Request: Serialize + DeserializeOwned + JsonSchema + Send + 'static {}
#[cfg(not(feature = "clap"))]
impl<T: Serialize + DeserializeOwned + JsonSchema + Send + 'static> Request for T {}

/// One operation of the public surface.
pub trait Op {
    /// Name as words, which is also its path on the command line: `workspace exec`.
    const NAME: &'static str;
    /// Name of its MCP tool; `None` when it is a person's act only.
    const TOOL: Option<&'static str>;
    /// What it does to the world.
    const EFFECT: Effect;
    /// The smallest tool profile that shows it.
    const PROFILE: Profile;
    /// Fields that its MCP tool does not show, each for a reason written beside it; a call may give them all the same.
    const TOOL_OMITS: &'static [&'static str] = &[];
    /// It runs a command that its caller may follow: output as events, standard input, signals.
    const LIVE: bool = false;
    /// Its response has the `outcome` of a command, which is the exit status of the command line.
    const COMMAND: bool = false;
    /// It has a command. One that has none is there for models and programs, and does what others do one by one.
    const ON_COMMAND_LINE: bool = true;
    /// Field that the command line fills from standard input when no flag gives it: text as it is. Bytes that are not text go to the field
    /// `base64`.
    const STDIN: Option<&'static str> = None;
    /// Fields that make that unnecessary: when one of them is given, standard input is left alone.
    const STDIN_UNLESS: &'static [&'static str] = &[];
    /// Fields that name something on the host: resolved by the command line, and guarded over MCP.
    const HOST_PATHS: &'static [&'static str] = &[];
    /// Of these, the fields that name something that the op makes: it need not be there.
    const HOST_MADE: &'static [&'static str] = &[];
    /// What it is asked with.
    type Request: Request;
    /// What it answers; always a struct.
    type Response: Serialize + DeserializeOwned + JsonSchema + Send + 'static;

    /// Rules that no field type can express, for every surface alike.
    ///
    /// # Errors
    /// `Invalid`, with the sentence for the user.
    fn check(_request: &Self::Request) -> Result<()> {
        Ok(())
    }
}

/// What an op does to the world: MCP annotations and the event log are derived from it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Effect {
    /// Changes nothing that a user would notice.
    Read,
    /// Changes something inside a workspace or its record; nothing that was there before is lost for good.
    Write,
    /// Removes something for good.
    Destroy,
}

/// The smallest MCP tool profile that shows an op. Each profile holds the smaller ones.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Profile {
    /// One-shot runs only.
    VmRun,
    /// A workspace: look, edit, run, compare.
    WorkspaceCore,
    /// Everything that a model may do.
    WorkspaceFull,
    /// Never over MCP: a person's act.
    Person,
}

/// Calls a macro with the list of all ops, in the order in which help shows them.
///
/// `$with!` receives `OpType, ` repeated; the types are found in [`ops`].
#[macro_export]
macro_rules! for_each_op {
    ($with:ident) => {
        $with! {
            Run,
            WorkspaceCreate,
            WorkspaceList,
            WorkspaceStatus,
            WorkspaceUpdate,
            WorkspaceExec,
            WorkspaceLogs,
            JobList,
            JobWait,
            JobLogs,
            JobStop,
            WorkspaceJob,
            ShellOpen,
            ShellWrite,
            ShellRead,
            ShellSignal,
            ShellResize,
            ShellList,
            ShellClose,
            ShellAttach,
            WorkspaceStart,
            WorkspaceStop,
            WorkspaceDelete,
            WorkspaceDiff,
            SnapshotCreate,
            SnapshotList,
            SnapshotDelete,
            WorkspaceReset,
            WorkspaceUndo,
            WorkspaceRedo,
            WorkspaceFork,
            WorkspaceMerge,
            WorkspaceCompare,
            SyncPush,
            WorkspaceExport,
            FileList,
            FileRead,
            FileWrite,
            FileEdit,
            FileSearch,
            FileDelete,
            FileMove,
            FileMkdir,
            DiskList,
            DiskRead,
            DiskExport,
            EnvList,
            EnvInspect,
            EnvBuild,
            EnvRemove,
            EnvPrune,
            Gc,
            Doctor,
        }
    };
}
