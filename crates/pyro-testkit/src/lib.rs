//! For tests only, and only ever a dev-dependency: nothing here can be reached from a release build.
//!
//! - [`TestEnv`]: a home and the real `pyro` program, for conformance cases that read as stories. See [`case`].
//! - [`Rpc`]: one `pyro rpc` for thousands of calls.
//! - [`hostile`]: peers that speak the protocol wrongly, for whoever holds the outside end of a link.
//! - [`loopback`]: the real agent on a thread, which isolates nothing.
//! - `tests/tidy.rs`: the rules that the repository checks itself against.

mod case;
mod env;
pub mod hostile;
pub mod loopback;
mod rpc;

pub use case::{Mode, case, in_machines, namespaces_case, skip, surface_case};
pub use env::{DEADLINE, Ran, TestEnv, processes_with};
pub use rpc::{Answer, Rpc};
