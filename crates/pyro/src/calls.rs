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

/// Opens the host of `home`, else of `$PYRO_HOME`, else of the default directory.
pub(crate) fn open_host(home: Option<PathBuf>) -> Result<Host> {
    let given = home.or_else(|| std::env::var_os("PYRO_HOME").filter(|home| !home.is_empty()).map(PathBuf::from));
    let home = match given {
        Some(home) => std::path::absolute(&home).map_err(|error| Error::invalid("PYRO_HOME is not a path").because(error))?,
        None => default_home()?,
    };
    let binary = std::env::current_exe().map_err(|error| Error::internal("cannot tell where the pyro binary is").because(error))?;
    Host::open(HostOptions { home, binary })
}

/// `/var/lib/pyro` for root, else `$XDG_DATA_HOME/pyro` or `~/.local/share/pyro`.
fn default_home() -> Result<PathBuf> {
    if rustix::process::geteuid().is_root() {
        return Ok(PathBuf::from("/var/lib/pyro"));
    }
    // The base directory specification: a relative XDG_DATA_HOME is to be ignored.
    let absolute = |name| std::env::var_os(name).map(PathBuf::from).filter(|path| path.is_absolute());
    absolute("XDG_DATA_HOME")
        .or_else(|| absolute("HOME").map(|home| home.join(".local/share")))
        .map(|data| data.join("pyro"))
        .ok_or_else(|| {
            Error::invalid("HOME is not set, so there is no place for workspaces").hint("set PYRO_HOME or give --home DIR")
        })
}
