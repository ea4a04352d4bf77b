//! Front ends of pyro: the command line, the MCP server, JSON lines for SDKs, and the choice of role. Parsing and rendering only:
//! what an op does is in `pyro-host`, what it is called and takes is in `pyro-api`.

use std::ffi::OsString;
use std::process::ExitCode;

mod calls;
mod cli;
mod mcp;
mod reference;
mod render;
mod roles;
mod rpc;

/// Version as `--version` prints it and MCP hosts are told.
const VERSION: &str = env!("CARGO_PKG_VERSION");

/// Chooses the role by the first argument and plays it.
#[must_use]
pub fn main() -> ExitCode {
    let arguments: Vec<OsString> = std::env::args_os().collect();
    match arguments.get(1).and_then(|first| first.to_str()) {
        Some(role) if role.starts_with('@') => roles::play(role, &arguments[2..]),
        // Before anything is built: this is what scripts call to see whether pyro is there.
        Some("--version" | "-V") if arguments.len() == 2 => cli::print_version(),
        _ => cli::main(arguments),
    }
}
