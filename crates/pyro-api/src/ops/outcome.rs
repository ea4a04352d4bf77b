//! Why a command ended: facts from wait statuses, control groups and the kernel's error numbers, never from what a command printed.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Why a command ended.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum Outcome {
    /// It has not ended: it goes on as a job.
    Running,
    /// It returned this code.
    Exited {
        /// Exit code.
        code: u8,
    },
    /// This signal ended it.
    Signaled {
        /// Linux signal number.
        signal: u8,
        /// Its name, such as SIGKILL.
        name: String,
    },
    /// It ran out of time and was killed with everything it had started.
    TimedOut {
        /// The limit.
        after_seconds: u64,
    },
    /// The memory limit of the sandbox was reached, and the kernel killed it or something that it had started.
    OutOfMemory {
        /// The limit.
        limit_mib: u64,
        /// The most that the sandbox ever used at one time, where that is known.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        peak_mib: Option<u64>,
        /// Exit code, or 128 and the signal: that of the command itself.
        #[serde(default = "Outcome::killed")]
        code: u8,
    },
    /// It failed, and a file system that it writes to had no room left.
    DiskFull {
        /// A directory of that file system.
        path: String,
        /// Exit code, or 128 and the signal.
        code: u8,
    },
    /// It failed, and the kernel had refused it another process because of the limit.
    ProcessLimit {
        /// The limit of processes and threads.
        limit: u64,
        /// Exit code, or 128 and the signal.
        code: u8,
    },
    /// The caller took it back (Ctrl-C, disconnect), or stopped the job, and it was killed.
    Cancelled,
    /// It never ran.
    NotStarted {
        /// Why: not found, not executable, no such directory.
        reason: String,
        /// 127 not found, 126 found but not executable: as shells report it.
        code: u8,
    },
    /// The sandbox went away under it.
    SandboxLost {
        /// What is known of why.
        reason: String,
    },
}

impl Outcome {
    /// 128 and SIGKILL.
    fn killed() -> u8 {
        137
    }

    /// Exit status of the command line for this outcome.
    #[must_use]
    pub fn exit_code(&self) -> u8 {
        match self {
            Self::Running => 0,
            Self::Exited { code }
            | Self::NotStarted { code, .. }
            | Self::OutOfMemory { code, .. }
            | Self::DiskFull { code, .. }
            | Self::ProcessLimit { code, .. } => *code,
            Self::Signaled { signal, .. } => 128_u8.saturating_add(*signal),
            Self::TimedOut { .. } => 124,
            Self::Cancelled => 130,
            Self::SandboxLost { .. } => 125,
        }
    }

    /// Whether it did what it was to do, or still does.
    #[must_use]
    pub fn is_well(&self) -> bool {
        matches!(self, Self::Running | Self::Exited { code: 0 })
    }
}
