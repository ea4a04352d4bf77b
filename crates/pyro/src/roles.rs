//! Roles that pyro starts itself in, never typed by a person: the process beside each running workspace, the one inside each sandbox, and
//! the one that empties the trash. This file holds only the names and where each begins.

use std::ffi::OsString;
use std::process::ExitCode;

/// Plays a role. Does not return before the role has ended.
pub(crate) fn play(role: &str, _arguments: &[OsString]) -> ExitCode {
    // A role's function comes from the crate that owns it: `@agent` from pyro-agent; `@supervisor` and `@janitor` from pyro-host. A
    // name that is not listed must not fall through to the command line.
    eprintln!("pyro: {role} is not a role of this build");
    ExitCode::from(125)
}
