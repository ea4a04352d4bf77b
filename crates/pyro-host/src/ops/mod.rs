//! One handler for each op, in files named as those of `pyro-api`. That an op has none is a compile error naming it.

use pyro_api::ops::{
    DiskExport, DiskList, DiskRead, Doctor, EnvBuild, EnvInspect, EnvList, EnvPrune, EnvRemove, FileDelete, FileEdit, FileList,
    FileMkdir, FileMove, FileRead, FileSearch, FileWrite, Gc, JobList, JobLogs, JobStop, JobWait, Run, ShellAttach, ShellClose,
    ShellList, ShellOpen, ShellRead, ShellResize, ShellSignal, ShellWrite, SnapshotCreate, SnapshotDelete, SnapshotList, SyncPush,
    WorkspaceCompare, WorkspaceCreate, WorkspaceDelete, WorkspaceDiff, WorkspaceExec, WorkspaceExport, WorkspaceFork, WorkspaceJob,
    WorkspaceList, WorkspaceLogs, WorkspaceMerge, WorkspaceRedo, WorkspaceReset, WorkspaceStart, WorkspaceStatus, WorkspaceStop,
    WorkspaceUndo, WorkspaceUpdate,
};
use pyro_api::table::{self, request_from_json};
use pyro_api::{Error, Op, Result, for_each_op};
use serde::{Serialize, de::DeserializeOwned};
use serde_json::Value;

use crate::{Host, Session};

mod disk;
mod environment;
mod exec;
mod file;
mod host;
mod job;
mod past;
mod shell;
mod transfer;
mod workspace;

pub(crate) use environment::build_here;
pub(crate) use job::pattern;
pub(crate) use past::{POINT, find_snapshot, target_of};
pub(crate) use workspace::{delete as delete_workspace, view as workspace_view};

/// What an op does.
pub trait Handle: Op {
    /// Does it. The request was checked.
    ///
    /// # Errors
    /// See [`pyro_api::ErrorKind`].
    fn handle(host: &Host, request: Self::Request, session: &mut Session<'_>) -> Result<Self::Response>;
}

macro_rules! call_by_name {
    ($($op:ident,)*) => {
        /// Does the op of that name with its request as JSON.
        pub(crate) fn call(host: &Host, name: &str, request: Value, session: &mut Session<'_>) -> Result<Value> {
            $(if name == <$op as Op>::NAME {
                return host.request::<$op>(request_from_json::<$op>(request)?, session).and_then(|response| to_value(&response));
            })*
            // Not one of them: the table says so, with the nearest name.
            table::find(name).and_then(|op| Err(Error::internal(format!("{} has no handler", op.name))))
        }
    };
}
for_each_op!(call_by_name);

/// A response as JSON.
pub(crate) fn to_value<T: Serialize>(response: &T) -> Result<Value> {
    serde_json::to_value(response).map_err(|error| Error::internal("a response cannot be written as JSON").because(error))
}

/// A request or a response that one of our own processes wrote.
pub(crate) fn parse<T: DeserializeOwned>(request: Value) -> Result<T> {
    serde_json::from_value(request).map_err(|error| Error::invalid(error.to_string()))
}
