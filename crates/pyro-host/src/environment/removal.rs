//! Removing environments, and what the dead left behind. Removing is a rename into the trash: whoever calls starts the janitor.

use std::io;
use std::path::Path;

use pyro_api::{Error, Result};

use super::build::LAYERS;
use super::manifest::{self, failed};
use super::workdir::{sweep_abandoned, throw_away, try_lock};
use super::{CATALOGUE, UsedBy, entry, image};

/// What was removed.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Removed {
    /// Names of environments.
    pub names: Vec<String>,
    /// Space that will be free when the trash is empty.
    pub freed_bytes: u64,
}

/// Removes a built environment that no workspace uses.
///
/// # Errors
/// `NotFound` when it is not built or unknown; `Conflict` when a workspace uses it or it is being built.
pub fn remove(home: &Path, name: &str, used_by: UsedBy<'_>) -> Result<Removed> {
    let directory = manifest::directory(home, name);
    if !directory.join("manifest.json").exists() {
        entry(name)?;
        return Err(Error::not_found(format!("{name} is not built")));
    }
    let Some(_lock) = try_lock(&directory)? else {
        return Err(Error::conflict(format!("{name} is being built")).hint("wait for it, or stop it"));
    };
    // A damaged manifest names no layer that could be in use; prune finds the layer.
    let Ok(Some(found)) = manifest::read(home, name) else {
        manifest::forget(home, name)?;
        return Ok(Removed { names: vec![name.to_owned()], freed_bytes: 0 });
    };
    let users = used_by(&found.digest);
    if !users.is_empty() {
        return Err(Error::conflict(format!("{name} is used by {}", shown(&users))).hint("delete these workspaces first"));
    }
    manifest::forget(home, name)?;
    let shared = manifest::all(home)?.iter().any(|other| other.digest == found.digest);
    let mut freed_bytes = 0;
    // Disk images of the layer lie beside it and go with it.
    let images_bytes = found.layer(home).map_or(0, |layer| image::taken_bytes(&layer));
    if !shared && discard_layer(home, &found.digest)? {
        freed_bytes = found.size_bytes + images_bytes;
    }
    Ok(Removed { names: vec![name.to_owned()], freed_bytes })
}

/// Removes every built environment that no workspace uses, and layers that nothing names: those that a rebuild replaced.
///
/// # Errors
/// When something cannot be moved to the trash.
pub fn prune(home: &Path, used_by: UsedBy<'_>) -> Result<Removed> {
    let mut removed = Removed::default();
    for name in manifest::names(home)? {
        match remove(home, &name, used_by) {
            Ok(one) => {
                removed.names.extend(one.names);
                removed.freed_bytes += one.freed_bytes;
            }
            Err(error) if error.kind == pyro_api::ErrorKind::Conflict => {}
            Err(error) => return Err(error),
        }
    }
    // A builder puts its layer in place a moment before the manifest that names it: look only while nobody builds.
    let mut locks = Vec::new();
    for entry in CATALOGUE {
        match try_lock(&manifest::directory(home, entry.name))? {
            Some(lock) => locks.push(lock),
            None => return Ok(removed),
        }
    }
    let named: Vec<String> = manifest::all(home)?.into_iter().map(|manifest| manifest.digest).collect();
    let layers = match std::fs::read_dir(home.join(LAYERS)) {
        Ok(layers) => layers,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(removed),
        Err(error) => return Err(failed("cannot read the layers", error)),
    };
    for layer in layers.flatten() {
        let Some(digest) = layer.file_name().to_str().map(str::to_owned) else { continue };
        if !named.contains(&digest) && used_by(&digest).is_empty() && discard_layer(home, &digest)? {
            removed.names.push(format!("layer {digest}"));
        }
    }
    Ok(removed)
}

/// Throws away what builders left that died: call it at the start of a build and from the leak check. Says how much it found.
///
/// # Errors
/// When the directory of unfinished work cannot be read.
pub fn sweep(home: &Path) -> Result<usize> {
    sweep_abandoned(home).map_err(|error| failed("cannot look for what was left behind", error))
}

fn discard_layer(home: &Path, digest: &str) -> Result<bool> {
    match throw_away(home, &home.join(LAYERS).join(digest)) {
        Ok(()) => Ok(true),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
        Err(error) => Err(failed("cannot remove the layer", error)),
    }
}

/// How many names a sentence holds before the rest is counted.
const NAMES_SHOWN_MAX: usize = 5;

fn shown(names: &[String]) -> String {
    let shown: Vec<&str> = names.iter().take(NAMES_SHOWN_MAX).map(String::as_str).collect();
    match names.len().saturating_sub(NAMES_SHOWN_MAX) {
        0 => shown.join(", "),
        more => format!("{} and {more} more", shown.join(", ")),
    }
}
