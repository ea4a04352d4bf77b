//! Every op, by area. The file names are those of the handlers in `pyro-host/src/ops`.

pub mod disk;
pub mod edit;
pub mod environment;
pub mod exec;
pub mod file;
pub mod host;
pub mod job;
pub mod names;
pub mod outcome;
pub mod past;
pub mod search;
pub mod shell;
pub mod transfer;
pub mod workspace;

pub use disk::{DiskExport, DiskList, DiskRead};
pub use edit::FileEdit;
pub use environment::{EnvBuild, EnvInspect, EnvList, EnvPrune, EnvRemove};
pub use exec::{Run, WorkspaceExec, WorkspaceLogs};
pub use file::{FileList, FileRead, FileWrite, WorkspaceDiff};
pub use host::{Doctor, Gc};
pub use job::{JobList, JobLogs, JobStop, JobWait, WorkspaceJob};
pub use names::{FileDelete, FileMkdir, FileMove};
pub use past::{
    SnapshotCreate, SnapshotDelete, SnapshotList, WorkspaceCompare, WorkspaceFork, WorkspaceMerge, WorkspaceRedo, WorkspaceReset,
    WorkspaceUndo,
};
pub use search::FileSearch;
pub use shell::{ShellAttach, ShellClose, ShellList, ShellOpen, ShellRead, ShellResize, ShellSignal, ShellWrite};
pub use transfer::{SyncPush, WorkspaceExport};
pub use workspace::{
    WorkspaceCreate, WorkspaceDelete, WorkspaceList, WorkspaceStart, WorkspaceStatus, WorkspaceStop, WorkspaceUpdate,
};
