//! Points at which a test stops an operation, to kill somebody there or to have the disk be full. Only builds with debug assertions have them.
//!
//! A test asks for one by two pipes in the home, `faults/NAME` and `faults/NAME.go`. Whoever comes to the point writes its process id into the first
//! and does what it reads from the second: `full` fails there as a full disk would, anything else goes on, as does a test that is gone.

use std::io;

use pyro_api::Result;

use crate::home::Home;

/// A point where the disk may refuse.
///
/// # Errors
/// `Unavailable` when a test says so.
pub fn point(home: &Home, name: &str) -> Result<()> {
    on_disk(home, name).map_err(|error| crate::begin::no_room(home.root(), error))
}

/// As [`point`], for those who see the disk's own errors.
///
/// # Errors
/// `ENOSPC` when a test says so.
#[cfg(debug_assertions)]
pub fn on_disk(home: &Home, name: &str) -> io::Result<()> {
    if told(home, name) == b"full" { Err(rustix::io::Errno::NOSPC.into()) } else { Ok(()) }
}

#[cfg(not(debug_assertions))]
#[expect(clippy::unnecessary_wraps, reason = "where there are points they fail")]
pub fn on_disk(_home: &Home, _name: &str) -> io::Result<()> {
    Ok(())
}

/// A point where there is nothing left to refuse.
pub fn pass(home: &Home, name: &str) {
    // That the disk is full does not matter any more.
    let _ = point(home, name);
}

/// What a test wants to happen; nothing when there is none.
#[cfg(debug_assertions)]
fn told(home: &Home, name: &str) -> Vec<u8> {
    use std::fs::{File, OpenOptions};
    use std::io::{Read as _, Write as _};

    let pipes = home.root().join("faults");
    let open = || -> io::Result<(File, File)> {
        Ok((OpenOptions::new().write(true).open(pipes.join(name))?, File::open(pipes.join(format!("{name}.go")))?))
    };
    let Ok((mut says, mut hears)) = open() else { return Vec::new() };
    let mut words = [0; 16];
    let heard = says.write_all(std::process::id().to_string().as_bytes()).and_then(|()| hears.read(&mut words));
    words[..heard.unwrap_or(0)].to_vec()
}
