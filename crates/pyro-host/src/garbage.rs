//! What nothing names any more: layers and seeds of workspaces that were deleted, never finished, or gone back in. It is moved to the trash, and deleted
//! from there by the janitor.
//!
//! The database says what is named. Who makes something that it does not name yet holds [`Naming`] until it does, and we hold it alone: what has no
//! name then has nobody who would give it one, but for a [spare](layers::Spare) that somebody keeps.

use std::collections::HashSet;
use std::path::{Path, PathBuf};

use pyro_api::{Error, Result};
use serde::{Deserialize, Serialize};

use crate::fault;
use crate::home::Home;
use crate::janitor;
use crate::layers::{self, LayerId, Naming};
use crate::store::Store;

/// What was cleared away.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Collected {
    /// Layers of changes.
    pub layers: u64,
    /// Seeds.
    pub seeds: u64,
    /// The room that all of it took on disk, bytes.
    pub bytes: u64,
}

impl Collected {
    /// How many things.
    #[must_use]
    pub fn count(&self) -> u64 {
        self.layers + self.seeds
    }
}

/// Whether what is cleared away is measured, which takes as long as walking through it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Measure {
    /// It is.
    Yes,
    /// Nobody asks.
    No,
}

/// Forgets the steps that no way leads back to, of every workspace: how many. What only they named is garbage from then on.
///
/// # Errors
/// When the home or the database cannot be opened, or the database cannot be written.
pub fn forget_left_behind(home: &Home) -> Result<usize> {
    let mut store = Store::open(home)?;
    // A copy of a workspace's files is a step that nothing leads to, until what it is made for names it.
    let _alone = Naming::alone(home)?;
    store.forget_left_behind()
}

/// Clears away what nothing names.
///
/// # Errors
/// When the home or the database cannot be read, or something cannot be moved.
pub fn collect(home: &Home, measure: Measure) -> Result<Collected> {
    // A database of its own: who holds the host's may be waiting for the lock that we hold.
    let store = Store::open(home)?;
    let _alone = Naming::alone(home)?;
    collect_alone(home, &store, measure, None)
}

/// Clears away what nothing names but one workspace that is being deleted: on a full disk that it is cannot be recorded before.
///
/// # Errors
/// As [`collect`].
pub fn collect_of(home: &Home, workspace: &str) -> Result<Collected> {
    let store = Store::open(home)?;
    let _alone = Naming::alone(home)?;
    collect_alone(home, &store, Measure::No, Some(workspace))
}

/// Clears away a layer that is not written to any more and that only its workspace named, for that. It is looked up in the database that there is now: the
/// one of who calls may have been lost under it and made again, with this layer for the live one.
pub fn discard_live(home: &Home, layer: &LayerId) {
    let is_named = Store::open(home).and_then(|store| store.is_written_to(layer));
    match is_named {
        Ok(false) => layers::discard(home, layer),
        // What is not cleared away here is, the next time that somebody looks for what nothing names.
        Ok(true) => {}
        Err(error) => crate::supervisor::complain(&error),
    }
}

fn collect_alone(home: &Home, store: &Store, measure: Measure, without: Option<&str>) -> Result<Collected> {
    let mut collected = Collected::default();
    let (named, mut records) = (store.named_layers(without)?, store.workspaces()?);
    records.retain(|record| without != Some(record.manifest.id.as_str()));
    let mut discard = |path: &Path| -> Result<()> {
        if measure == Measure::Yes {
            // What cannot be measured is cleared away all the same.
            collected.bytes += pyro_layer::measure(path).map_or(0, |usage| usage.disk_bytes);
        }
        janitor::discard(home, path)?;
        fault::pass(home, "gc.moved");
        Ok(())
    };
    let mut count = 0;
    for (layer, _) in layers::on_disk(home)? {
        if !named.contains(&layer) && !layers::is_kept(home, &layer) {
            discard(&home.layer(&layer))?;
            count += 1;
        }
    }
    let lowers: HashSet<&PathBuf> =
        records.iter().flat_map(|record| &record.manifest.mounts).flat_map(|mount| &mount.lowers).collect();
    let is_seed_of_any = |seed: &Path| lowers.contains(&seed.join("root"));
    let mut seeds = 0;
    for seed in entries(&home.seeds())? {
        if !is_seed_of_any(&seed) {
            discard(&seed)?;
            seeds += 1;
        }
    }
    Ok(Collected { layers: count, seeds, ..collected })
}

fn entries(directory: &Path) -> Result<Vec<PathBuf>> {
    let unreadable = |error: std::io::Error| Error::unavailable(format!("{} cannot be read", directory.display())).because(error);
    std::fs::read_dir(directory).map_err(unreadable)?.map(|entry| entry.map(|entry| entry.path()).map_err(unreadable)).collect()
}
