//! Getting rid of things: out of the way at once, off the disk later, by a process of its own.

use std::io::Read;
use std::path::Path;

use pyro_api::{Error, Result};

use crate::Host;
use crate::home::Home;
use crate::lease::Lease;
use crate::name::new_id;
use crate::role::{self, Role};

/// Held by the janitor at work.
const LEASE: &str = "janitor.lease";

/// Moves something of a home into its trash. A thing that is not there is no error.
///
/// # Errors
/// Those of the file system.
pub fn discard(home: &Home, path: &Path) -> Result<()> {
    match std::fs::rename(path, home.trash().join(new_id())) {
        Ok(()) => Ok(()),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(()),
        Err(error) => Err(Error::unavailable(format!("{} cannot be moved to the trash", path.display())).because(error)),
    }
}

/// Deletes what is in the trash, until nothing is. One janitor at a time: a second one finds the lease taken and leaves. So the first looks once more
/// when it has given the lease back: what the second came for may have been thrown away after its last look.
///
/// # Errors
/// When the trash cannot be read, or something in it cannot be deleted; the rest is deleted all the same.
pub fn empty_trash(home: &Home) -> Result<()> {
    loop {
        let Some(lease) = Lease::take(&home.root().join(LEASE)).map_err(unreadable)? else { return Ok(()) };
        // What cannot be deleted does not keep us here.
        empty_alone(home)?;
        drop(lease);
        if is_empty(home)? {
            return Ok(());
        }
    }
}

/// As [`empty_trash`], by whoever has the lease.
fn empty_alone(home: &Home) -> Result<()> {
    let mut failed = None;
    loop {
        let mut found = false;
        for entry in std::fs::read_dir(home.trash()).map_err(unreadable)? {
            let path = entry.map_err(unreadable)?.path();
            match pyro_layer::remove_tree(&path) {
                Ok(_) => found = true,
                Err(error) => failed = Some(Error::unavailable(format!("{} cannot be deleted", path.display())).because(error)),
            }
        }
        if !found {
            return failed.map_or(Ok(()), Err);
        }
    }
}

fn is_empty(home: &Home) -> Result<bool> {
    Ok(std::fs::read_dir(home.trash()).map_err(unreadable)?.next().is_none())
}

fn unreadable(error: std::io::Error) -> Error {
    Error::unavailable("the trash cannot be emptied").because(error)
}

/// How often the trash is emptied for who waits: what is still there then cannot be deleted, or others go on throwing away.
const ROUNDS_MAX: u32 = 3;

/// Has the trash emptied and waits until it is.
///
/// # Errors
/// When the janitor cannot be started or waited for.
pub fn run(host: &Host) -> Result<()> {
    let cannot = |error: std::io::Error| Error::unavailable("the janitor cannot be waited for").because(error);
    for _ in 0..ROUNDS_MAX {
        let mut stream = role::start(&host.options.binary, host.home(), Role::Janitor)?;
        // It says nothing: its end of the socket closes when it ends.
        stream.read_to_end(&mut Vec::new()).map_err(cannot)?;
        // Ours left at once if another was at work.
        Lease::wait_until_free(&host.home().root().join(LEASE)).map_err(cannot)?;
        if is_empty(host.home())? {
            break;
        }
    }
    Ok(())
}

/// As [`run`], and has the file system give back the room of what was deleted: ext4 does when its journal is written (fs/ext4/mballoc.c,
/// `ext4_process_freed_data`).
///
/// # Errors
/// As [`run`].
pub fn make_room(host: &Host) -> Result<()> {
    run(host)?;
    // Where that cannot be, the room comes later.
    let _synced = std::fs::File::open(host.home().root()).map(|home| rustix::fs::syncfs(&home));
    Ok(())
}
