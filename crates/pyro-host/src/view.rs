//! What a stack of layers shows, to be read outside: an overlay that nobody can write to, attached nowhere, or a whole file system of them.
//!
//! Must be called as root of the user namespace that layers belong to. Nobody may write to the layers meanwhile; everything in them was written by an
//! enemy, so whoever reads uses descriptors, and follows links nowhere or only within.

use std::io;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::path::{Path, PathBuf};

use pyro_api::{Error, Result};
use pyro_layer::{Marks, Usage};
use pyro_sys::beneath::{self, Mounts};
use pyro_sys::mount::{self, Refuses, Setting};
use pyro_sys::spawn::{Namespaces, unshare};

use crate::home::Home;
use crate::layers::{self, LayerId};
use crate::manifest::Mount;

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

/// A file system put together as the inside sees it, but for `/dev`, `/proc`, `/sys` and `/run`, which are made when a sandbox is. A link that leads from one
/// of its overlays into another leads there.
pub struct Assembled {
    /// Its root.
    pub root: OwnedFd,
    /// Where it is mounted, in this process's own mount namespace.
    pub at: PathBuf,
    /// The overlays, the root first.
    overlays: Vec<OwnedFd>,
}

/// Puts the overlays of a file system together, over the home's staging directory. From then on this process has a mount namespace that nobody else
/// sees, and that ends with it; it must have one thread. `layers`: uppermost first.
///
/// # Errors
/// As [`view`]; when a mount point is not a directory.
pub fn assemble(home: &Home, mounts: &[Mount], layers: &[LayerId], marks: Marks) -> Result<Assembled> {
    let cannot = |at: &str, error: io::Error| Error::unavailable(format!("{at} cannot be put in its place")).because(error);
    unshare(Namespaces::MOUNT).and_then(|()| mount::make_all_private()).map_err(|error| cannot("a file system", error))?;
    let at = home.staging();
    let mut overlays: Vec<OwnedFd> = Vec::with_capacity(mounts.len());
    for mount in mounts {
        let overlay = view(&layers::lowers(home, mount, layers), marks)?;
        let attached = match overlays.first() {
            None => mount::attach_at_host_path(&overlay, &at),
            Some(root) => beneath::directory(root, Path::new(mount.at.trim_start_matches('/')), Mounts::Enter)
                .and_then(|place| mount::attach(&overlay, place)),
        };
        attached.map_err(|error| cannot(&mount.at, error))?;
        overlays.push(overlay);
    }
    let root = overlays.first().ok_or_else(|| Error::internal("a file system has no root"))?;
    let root = root.try_clone().map_err(|error| cannot("/", error))?;
    Ok(Assembled { root, at, overlays })
}

impl Assembled {
    /// How much is in it.
    ///
    /// # Errors
    /// When a directory cannot be read.
    pub fn usage(&self) -> pyro_layer::Result<Usage> {
        let mut sum = Usage::default();
        for overlay in &self.overlays {
            // Not by its path, which leads through what the inside has written.
            let usage = pyro_layer::measure(Path::new(&format!("/proc/self/fd/{}", overlay.as_raw_fd())))?;
            sum.disk_bytes += usage.disk_bytes;
            sum.size_bytes = sum.size_bytes.saturating_add(usage.size_bytes);
            sum.entry_count += usage.entry_count;
        }
        Ok(sum)
    }
}
