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

/// The program that is running now.
pub(crate) fn binary() -> Result<PathBuf> {
    std::env::current_exe().map_err(|error| Error::internal("cannot tell where the pyro binary is").because(error))
}

/// Opens the host of `home`, else of the usual directory.
pub(crate) fn open_host(home: Option<PathBuf>) -> Result<Host> {
    let home = match home {
        Some(home) => std::path::absolute(&home).map_err(|error| Error::invalid("--home is not a path").because(error))?,
        None => HostOptions::default_home()?,
    };
    Host::open(HostOptions { home, binary: binary()?, isolation: HostOptions::default_isolation()? })
}
