//! The real agent on a thread of the test, over a socket pair: what a supervisor does with commands and files can be tried
//! without privileges. It isolates nothing and its probes say so, so no caller can mistake it for a sandbox.

use std::os::unix::net::UnixStream;

use pyro_agent::Layers;

/// An agent that runs.
pub struct Loopback {
    /// The outside end of its link.
    pub link: UnixStream,
    /// Ends (end of file) when the agent has, and all commands with it.
    pub gone: UnixStream,
}

/// Starts an agent of this build. It ends with its link. With `layers` it is one whose layers lie inside.
#[must_use]
pub fn start(build: &'static str, layers: Option<Layers>) -> Loopback {
    let (link, inside) = UnixStream::pair().expect("a socket pair");
    let (gone, alive) = UnixStream::pair().expect("a socket pair");
    std::thread::spawn(move || {
        pyro_agent::serve(inside, pyro_agent::Place::Nowhere, build, layers);
        drop(alive);
    });
    Loopback { link, gone }
}
