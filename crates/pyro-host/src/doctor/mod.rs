//! What this machine can isolate, and what stands in the way: `pyro doctor`, without its search for leftovers.
//!
//! Each check *tries* the thing, in a child process that is ended after a while, and reads settings only to name the one at fault. It may assume
//! nothing: no /proc, no /sys, an empty PATH and hung devices are findings, never failures. [`judge`] is pure: what was
//! read ([`HostFacts`]) and what was tried ([`Trials`]) go in, findings come out, so broken machines can be tested on any.

use std::path::Path;

use pyro_api::ops::host::{Check, CheckStatus};

mod facts;
mod judge;
mod trials;

pub use facts::HostFacts;
pub use judge::judge;
pub(crate) use trials::attempt;
pub use trials::{Attempt, PROBES, Trials, kvm_runs_at_full_speed, probe};

#[cfg(test)]
mod tests;

/// What was found about a machine.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Findings {
    /// Sandboxes can be made.
    pub ok: bool,
    /// The strongest isolation, in a line.
    pub best: String,
    /// Each check.
    pub checks: Vec<Check>,
}

/// Checks this machine. `binary`: our own program, which is started in the role `@probe` for what only it can try.
#[must_use]
pub fn examine(home: &Path, binary: &Path) -> Findings {
    let facts = HostFacts::of_this_machine();
    let trials = Trials::run(&facts, home, binary);
    judge(&facts, &trials)
}

/// A check that ended well.
fn good(name: &str, detail: impl Into<String>) -> Check {
    Check { name: name.to_owned(), status: CheckStatus::Ok, detail: detail.into(), fix: None }
}

/// A check that found less than there could be, or nothing.
fn poor(name: &str, status: CheckStatus, detail: impl Into<String>, fix: Option<String>) -> Check {
    Check { name: name.to_owned(), status, detail: detail.into(), fix }
}
