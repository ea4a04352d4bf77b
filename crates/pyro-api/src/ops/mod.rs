//! Every op, by area. The file names are those of the handlers in `pyro-host/src/ops`.

pub mod environment;
pub mod exec;
pub mod file;
pub mod host;
pub mod workspace;

pub use environment::{EnvBuild, EnvInspect, EnvList, EnvPrune, EnvRemove};
pub use exec::{Run, WorkspaceExec, WorkspaceLogs};
pub use file::{FileList, FileRead, FileWrite, WorkspaceDiff};
pub use host::Doctor;
pub use workspace::{
    WorkspaceCreate, WorkspaceDelete, WorkspaceList, WorkspaceStart, WorkspaceStatus, WorkspaceStop, WorkspaceUpdate,
};
