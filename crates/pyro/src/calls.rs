//! The one seam between front ends and what is behind them.

use std::path::PathBuf;

use pyro_api::{Error, Result};
use pyro_host::{Host, HostOptions, Session};
use serde_json::Value;

/// Something that does ops by name. The host does; tests of front ends script one.
pub(crate) trait Calls: Send + Sync {
    /// Does one op.
    fn call(&self, op: &str, request: Value, session: &mut Session<'_>) -> Result<Value>;
}

impl Calls for Host {
    fn call(&self, op: &str, request: Value, session: &mut Session<'_>) -> Result<Value> {
        Host::call(self, op, request, session)
    }
}

/// Opens the host of `home`, else of the usual directory. `run_here`: this process is there for one call, and may become the supervisor of
/// a one-shot run.
pub(crate) fn open_host(home: Option<PathBuf>, run_here: bool) -> Result<Host> {
    let home = match home {
        Some(home) => std::path::absolute(&home).map_err(|error| Error::invalid("--home is not a path").because(error))?,
        None => HostOptions::default_home()?,
    };
    let binary = std::env::current_exe().map_err(|error| Error::internal("cannot tell where the pyro binary is").because(error))?;
    Host::open(HostOptions { home, binary, run_here })
}
