//! Everything that happens outside: workspaces, their supervisors, backends, environments, the store. It is also the Rust
//! SDK: [`Host::open`], then one method for each operation through [`Host::request`].
//!
//! Front ends know nothing of state or disk; they build a request, give a [`Session`] and get a response.

use std::os::fd::BorrowedFd;
use std::path::PathBuf;

use pyro_api::{Error, Event, Op, Result};
use serde_json::Value;

pub mod backend;
pub mod doctor;
pub mod environment;
pub mod privilege;

/// Where a host keeps everything, and how it starts its role processes.
#[derive(Clone, Debug)]
pub struct HostOptions {
    /// `$PYRO_HOME`: the only directory that is written to.
    pub home: PathBuf,
    /// The `pyro` binary that supervisors, agents and janitors are started from.
    pub binary: PathBuf,
}

/// What a caller gives to a call besides the request: where events go, and what can reach a running command.
pub struct Session<'a> {
    /// Is called with each event as it comes: output of a command, progress of long work.
    pub on_event: &'a mut dyn FnMut(Event),
    /// Read as standard input of the command while it runs. `None`: the request's `stdin`, or nothing.
    pub stdin: Option<BorrowedFd<'a>>,
    /// Each byte read from it is a signal number to pass to the command; 0 takes the call back: the command is killed.
    pub signals: Option<BorrowedFd<'a>>,
}

/// A host: one directory of workspaces and environments.
pub struct Host {
    options: HostOptions,
}

impl Host {
    /// Opens a host. Makes its directory when it is not there.
    ///
    /// # Errors
    /// When the directory cannot be made or is not ours.
    pub fn open(options: HostOptions) -> Result<Self> {
        Ok(Self { options })
    }

    /// Does one operation.
    ///
    /// # Errors
    /// See [`pyro_api::ErrorKind`].
    pub fn request<O: Op>(&self, _request: O::Request, _session: &mut Session<'_>) -> Result<O::Response> {
        Err(Error::internal(format!("{} is not here yet at {}", O::NAME, self.options.home.display())))
    }

    /// Does one operation by name, with its request as JSON.
    ///
    /// # Errors
    /// As [`Host::request`]; `Invalid` when there is no such operation or the request does not fit it.
    pub fn call(&self, op: &str, _request: Value, _session: &mut Session<'_>) -> Result<Value> {
        Err(Error::internal(format!("{op} is not here yet")))
    }
}
