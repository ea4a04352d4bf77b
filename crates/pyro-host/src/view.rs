//! What a stack of layers shows, to be read outside: an overlay that nobody can write to, attached nowhere.
//!
//! Must be called as root of the user namespace that layers belong to. The layers must be sealed; everything in them was written by an enemy, so whoever
//! reads uses descriptors and follows no links.

use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::path::PathBuf;

use pyro_api::{Error, Result};
use pyro_layer::Marks;
use pyro_sys::mount::{self, Refuses, Setting};

/// A directory that shows what `layers` (uppermost first) show together.
///
/// # Errors
/// `Unavailable` when a layer is not there or this kernel cannot put them together.
pub fn view(layers: &[PathBuf], marks: Marks) -> Result<OwnedFd> {
    let cannot = |error: io::Error| Error::unavailable("the files cannot be looked at from outside").because(error);
    if let [only] = layers {
        return mount::copy_of_host_path(only).and_then(|copy| mount::restrict(&copy, Refuses::ALL).map(|()| copy)).map_err(cannot);
    }
    let copies = layers.iter().map(|layer| mount::copy_of_host_path(layer)).collect::<io::Result<Vec<_>>>().map_err(cannot)?;
    let mut settings: Vec<Setting<'_>> = vec![Setting::Text("source", "pyro")];
    settings.extend(copies.iter().map(|copy| Setting::Descriptor("lowerdir+", copy.as_fd())));
    settings.extend(
        [("redirect_dir", "nofollow"), ("metacopy", "off"), ("index", "off")].map(|(name, value)| Setting::Text(name, value)),
    );
    if marks == Marks::User {
        settings.push(Setting::Flag("userxattr"));
    }
    mount::new_filesystem("overlay", &settings, Refuses::ALL).map_err(|error| match error.raw_os_error() {
        // EINVAL
        Some(22) => cannot(error).hint("this needs Linux 6.15, which takes layers by descriptor"),
        _ => cannot(error),
    })
}
