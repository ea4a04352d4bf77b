//! The self-describing file of a workspace: whatever is needed to list it and start it again if the database is lost. It is
//! written when the workspace is made and when its name or labels change.

use std::collections::BTreeMap;
use std::path::PathBuf;

use pyro_api::ops::workspace::SeedView;
use pyro_api::values::DiskMib;
use pyro_api::{Error, Result};
use serde::{Deserialize, Serialize};

use crate::clock::Instant;
use crate::durable;
use crate::home::Place;
use crate::layers::LayerId;

/// Version of the format; a manifest of another one is not read.
const VERSION: u32 = 1;

/// What a workspace is, apart from what it is doing.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Manifest {
    version: u32,
    /// Id.
    pub id: String,
    /// Name.
    pub name: String,
    /// Labels.
    pub labels: BTreeMap<String, String>,
    /// Environment it was made from.
    pub environment: String,
    /// That environment's digest then: it keeps it, whatever is built later under the name.
    pub environment_digest: String,
    /// Its file system: one overlay for each mount point, `/` first.
    pub mounts: Vec<Mount>,
    /// Processors.
    pub vcpu_count: u32,
    /// Memory limit, MiB.
    pub mem_mib: u64,
    /// Size of its own disk, MiB, where its isolation gives it one.
    #[serde(default = "usual_disk")]
    pub disk_mib: u64,
    /// Isolation that must be held, as the user wrote it.
    pub isolation_minimum: String,
    /// What it was seeded with.
    pub seed: Option<SeedView>,
    /// When it was made, milliseconds since 1970.
    pub created_at: i64,
    /// The sealed layers that it was made with, uppermost first: those of the workspace that it is a fork of.
    #[serde(default)]
    pub base: Vec<LayerId>,
    /// What it is a fork of.
    #[serde(default)]
    pub origin: Option<Origin>,
}

/// What a workspace is a fork of.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Origin {
    /// Id of the other workspace.
    pub id: String,
    /// Its name then.
    pub name: String,
    /// At which of its steps.
    pub step: u64,
}

/// What all had before it could be chosen.
fn usual_disk() -> u64 {
    DiskMib::default().get()
}

/// One mount point of a workspace's file system.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Mount {
    /// Where: `/`, `/usr`.
    pub at: String,
    /// Read-only trees below all changes, uppermost first: the seed, then the environment.
    pub lowers: Vec<PathBuf>,
}

impl Manifest {
    /// A manifest of the current version.
    #[expect(clippy::too_many_arguments, reason = "one for each field, all required")]
    #[must_use]
    pub fn new(
        id: String,
        name: String,
        labels: BTreeMap<String, String>,
        environment: String,
        environment_digest: String,
        mounts: Vec<Mount>,
        (vcpu_count, mem_mib, disk_mib): (u32, u64, u64),
        isolation_minimum: String,
        seed: Option<SeedView>,
        created_at: i64,
    ) -> Self {
        Self {
            version: VERSION,
            id,
            name,
            labels,
            environment,
            environment_digest,
            mounts,
            vcpu_count,
            mem_mib,
            disk_mib,
            isolation_minimum,
            seed,
            created_at,
            base: Vec::new(),
            origin: None,
        }
    }

    /// That of a fork made now.
    #[must_use]
    pub fn forked(&self, id: String, name: String, at: Instant, base: Vec<LayerId>, step: u64) -> Self {
        let origin = Origin { id: self.id.clone(), name: self.name.clone(), step };
        Self { id, name, created_at: at.0, base, origin: Some(origin), ..self.clone() }
    }

    /// Writes it, durably.
    ///
    /// # Errors
    /// `Unavailable` when the file system refuses, with its reason.
    pub fn write(&self, place: &Place) -> Result<()> {
        let bytes = serde_json::to_vec_pretty(self).expect("a manifest has only text keys");
        durable::replace_file(&place.manifest(), &bytes)
            .map_err(|error| Error::unavailable(format!("manifest of workspace {} cannot be written", self.name)).because(error))
    }

    /// Writes it where nothing is yet, for as long as no power is cut: the database has it too.
    ///
    /// # Errors
    /// As [`Manifest::write`].
    pub fn write_quickly(&self, place: &Place) -> Result<()> {
        let bytes = serde_json::to_vec_pretty(self).expect("a manifest has only text keys");
        std::fs::write(place.manifest(), bytes).map_err(|error| crate::begin::no_room(&place.manifest(), error))
    }

    /// Reads it.
    ///
    /// # Errors
    /// `Unavailable` when it is not there, damaged, or of another version.
    pub fn read(place: &Place) -> Result<Self> {
        let path = place.manifest();
        let damaged = |why: String| Error::unavailable(format!("{} is not a manifest this version reads: {why}", path.display()));
        let bytes = std::fs::read(&path).map_err(|error| damaged(error.to_string()))?;
        let manifest: Self = serde_json::from_slice(&bytes).map_err(|error| damaged(error.to_string()))?;
        if manifest.version == VERSION { Ok(manifest) } else { Err(damaged(format!("version {}", manifest.version))) }
    }
}

#[cfg(test)]
mod tests;
