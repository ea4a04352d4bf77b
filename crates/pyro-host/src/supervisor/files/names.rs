//! Deletions, moves and new directories: what is asked, what comes of it, and why it does not.

use pyro_api::ops::names::{FileDeleteResponse, FileMkdirResponse, FileMoveResponse};
use pyro_api::{Error, Result};
use pyro_wire::message::{Failed, FileStep};
use pyro_wire::{FromAgent, SandboxPath, Violation};
use rustix::io::Errno;
use serde_json::Value;

/// What is done to a name.
#[derive(Debug)]
pub enum Naming {
    Delete,
    Move { to: SandboxPath },
    MakeDirectory,
}

impl Naming {
    /// What came of it.
    pub fn response(&self, workspace: &str, path: &SandboxPath, message: &FromAgent) -> Result<Result<Value>, Violation> {
        let workspace = workspace.to_owned();
        let path = path.shown().to_owned();
        match (self, message) {
            (Self::Delete, FromAgent::Deleted { entries }) => {
                Ok(crate::ops::to_value(&FileDeleteResponse { workspace, path, entries: *entries }))
            }
            (Self::Move { to }, FromAgent::Moved { replaced }) => {
                let to = to.shown().to_owned();
                Ok(crate::ops::to_value(&FileMoveResponse { workspace, from: path, to, replaced: *replaced }))
            }
            (Self::MakeDirectory, FromAgent::DirectoryMade { created }) => {
                Ok(crate::ops::to_value(&FileMkdirResponse { workspace, path, created: *created }))
            }
            (Self::Delete | Self::Move { .. } | Self::MakeDirectory, _) => {
                Err(Violation("a file request was answered with a message that is not an answer to it".to_owned()))
            }
        }
    }

    /// Why it was not done, where the words of a read or a write would not do.
    pub fn explain(&self, failed: &Failed, path: &SandboxPath) -> Option<Error> {
        let path = path.shown();
        let to = match self {
            Self::Move { to } => to.shown(),
            Self::Delete | Self::MakeDirectory => path,
        };
        let reason = std::io::Error::from_raw_os_error(failed.errno);
        let error = match (failed.step, Errno::from_raw_os_error(failed.errno)) {
            (FileStep::Open | FileStep::MakeParents, Errno::LOOP) => {
                let path = if failed.step == FileStep::Open { path } else { to };
                Error::conflict(format!("{path} is reached through a symbolic link, which is not followed"))
                    .hint("name the directory itself")
            }
            (FileStep::Fixed, _) => {
                Error::conflict(format!("{path} has to stay: it is the root, /workspace or a mount, or one is in it"))
            }
            (FileStep::NotEmpty, _) => Error::conflict(format!("{path} is a directory that is not empty"))
                .hint("recursive deletes it with all that is in it"),
            (FileStep::Exists, _) => Error::conflict(format!("{to} is there already"))
                .hint("to is the whole new name; overwrite takes the place of a file or a link, never of a directory"),
            (FileStep::IntoItself, _) => Error::conflict(format!("{path} cannot be moved into itself")),
            (FileStep::Delete, _) => Error::conflict(format!("{path} cannot be deleted, or not all of it")).because(reason),
            (FileStep::Move, Errno::OPNOTSUPP) => {
                Error::conflict(format!("{path} holds a socket, a device or a mount, which cannot be moved"))
            }
            (FileStep::Move, Errno::NOSPC | Errno::DQUOT) => {
                Error::limit(format!("{path} cannot be moved to {to}")).because(reason)
            }
            (FileStep::Move, _) => Error::conflict(format!("{path} cannot be moved to {to}")).because(reason),
            (FileStep::MoveAway, _) => {
                Error::conflict(format!("{path} was copied to {to} and is still there, or a part of it")).because(reason)
            }
            (FileStep::MakeParents, _) if matches!(self, Self::MakeDirectory) => {
                Error::conflict(format!("{path} cannot be made")).because(reason)
            }
            (FileStep::MakeParents, _) => Error::conflict(format!("the directories above {to} cannot be made")).because(reason),
            (
                FileStep::Open
                | FileStep::NotAFile
                | FileStep::NotADirectory
                | FileStep::Read
                | FileStep::Write
                | FileStep::Replace
                | FileStep::BadGlob,
                _,
            ) => return None,
        };
        Some(error)
    }
}
