//! The manifest of a built environment, on disk: the only record of it. Written whole or not at all.

use std::fs::{self, File};
use std::io::{self, Write as _};
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

use pyro_api::{Error, Result};
use serde::{Deserialize, Serialize};

use super::{Environment, EnvironmentKind, EnvironmentMount, IdMode, kit};

/// `environments/<name>/manifest.json`. Sources beneath the home directory are relative to it, so that a home can be moved.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Manifest {
    pub name: String,
    /// Manifests from before there were kits do not have it.
    #[serde(default, skip_serializing_if = "is_ordinary")]
    pub kind: EnvironmentKind,
    pub digest: String,
    pub description: String,
    pub built_at: String,
    pub size_bytes: u64,
    pub contents: Vec<String>,
    pub includes: Vec<String>,
    pub id_mode: IdMode,
    pub mounts: Vec<ManifestMount>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub path: Vec<String>,
    /// Files of the host that were copied: another stamp means that the copy is out of date.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub stamps: Vec<Stamp>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct ManifestMount {
    pub at: String,
    pub source: PathBuf,
}

/// What a file of the host was like when it was copied.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Stamp {
    pub file: PathBuf,
    pub inode: u64,
    pub changed_at_ns: i64,
}

impl Stamp {
    /// The stamp of a file; `None` when it is not there.
    pub fn of(file: &Path) -> Option<Self> {
        let facts = fs::metadata(file).ok()?;
        let changed_at_ns = facts.ctime().saturating_mul(1_000_000_000).saturating_add(facts.ctime_nsec());
        Some(Self { file: file.to_owned(), inode: facts.ino(), changed_at_ns })
    }
}

impl Manifest {
    /// Everything it names is there, copies of host files are current, and a kit is of the form that is used now. A few calls of stat.
    pub fn is_usable(&self, home: &Path) -> bool {
        self.mounts.iter().all(|mount| home.join(&mount.source).is_dir())
            && self.stamps.iter().all(|stamp| Stamp::of(&stamp.file).as_ref() == Some(stamp))
            && match self.kind {
                EnvironmentKind::Ordinary => true,
                EnvironmentKind::Kit => self.layer(home).is_some_and(|layer| kit::is_current(&layer)),
            }
    }

    /// The directory of its own layer.
    pub fn layer(&self, home: &Path) -> Option<PathBuf> {
        self.mounts.first().and_then(|mount| home.join(&mount.source).parent().map(Path::to_owned))
    }

    pub fn into_environment(self, home: &Path) -> Environment {
        let mounts = self
            .mounts
            .into_iter()
            // Joining an absolute source gives the source itself.
            .map(|mount| EnvironmentMount { at: mount.at, source: home.join(mount.source) })
            .collect();
        Environment {
            name: self.name,
            kind: self.kind,
            digest: self.digest,
            description: self.description,
            built_at: self.built_at,
            size_bytes: self.size_bytes,
            contents: self.contents,
            includes: self.includes,
            id_mode: self.id_mode,
            mounts,
            path: self.path,
        }
    }

    /// Puts it in place of the one before: a reader sees the old or the new, also after a power cut.
    pub fn write(&self, home: &Path) -> Result<()> {
        let directory = directory(home, &self.name);
        let write = || -> io::Result<()> {
            fs::create_dir_all(&directory)?;
            let temporary = directory.join("manifest.json.new");
            let mut file = File::create(&temporary)?;
            serde_json::to_writer_pretty(&mut file, self)?;
            file.write_all(b"\n")?;
            file.sync_all()?;
            fs::rename(&temporary, directory.join(FILE))?;
            sync_directory(&directory)?;
            sync_directory(&home.join(ENVIRONMENTS))
        };
        write().map_err(|error| failed(format!("cannot write the manifest of {}", self.name), error))
    }
}

fn is_ordinary(kind: &EnvironmentKind) -> bool {
    *kind == EnvironmentKind::Ordinary
}

pub(super) const ENVIRONMENTS: &str = "environments";
const FILE: &str = "manifest.json";

/// Where an environment's manifest is. Names hold no `..` and no leading `/` (checked by their type), and a `/` must not
/// make a directory.
pub(super) fn directory(home: &Path, name: &str) -> PathBuf {
    home.join(ENVIRONMENTS).join(name.replace([':', '/'], "_"))
}

/// The manifest of that name; `None` when there is none.
pub(super) fn read(home: &Path, name: &str) -> Result<Option<Manifest>> {
    let file = directory(home, name).join(FILE);
    let text = match fs::read(&file) {
        Ok(text) => text,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(failed(format!("cannot read the manifest of {name}"), error)),
    };
    match serde_json::from_slice::<Manifest>(&text) {
        // `a:b` and `a/b` share a directory: only its own name may find it.
        Ok(manifest) if manifest.name == name => Ok(Some(manifest)),
        Ok(_) => Ok(None),
        Err(error) => Err(Error::internal(format!("the manifest of {name} is damaged"))
            .because(error)
            .hint(format!("pyro env remove {name}, then pyro env build {name}"))),
    }
}

/// Names of all environments that have a manifest. A damaged one is left out: it is reported when it is asked for by name.
pub(super) fn names(home: &Path) -> Result<Vec<String>> {
    Ok(all(home)?.into_iter().map(|manifest| manifest.name).collect())
}

/// All manifests that can be read.
pub(super) fn all(home: &Path) -> Result<Vec<Manifest>> {
    let entries = match fs::read_dir(home.join(ENVIRONMENTS)) {
        Ok(entries) => entries,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(failed("cannot read the environments", error)),
    };
    let mut found: Vec<Manifest> = entries
        .flatten()
        .filter_map(|entry| fs::read(entry.path().join(FILE)).ok())
        .filter_map(|text| serde_json::from_slice(&text).ok())
        .collect();
    found.sort_unstable_by(|left: &Manifest, right| left.name.cmp(&right.name));
    Ok(found)
}

/// Takes a manifest away. The directory stays: its lock and log belong to whoever builds next.
pub(super) fn forget(home: &Path, name: &str) -> Result<()> {
    let directory = directory(home, name);
    match fs::remove_file(directory.join(FILE)) {
        Ok(()) => sync_directory(&directory).map_err(|error| failed(format!("cannot remove {name}"), error)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        Err(error) => Err(failed(format!("cannot remove {name}"), error)),
    }
}

/// Makes renames in a directory last through a power cut.
pub(super) fn sync_directory(directory: &Path) -> io::Result<()> {
    File::open(directory)?.sync_all()
}

/// An error of the file system as the product shows it.
pub(super) fn failed(doing: impl Into<String>, error: io::Error) -> Error {
    match error.kind() {
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => {
            Error::limit(doing).because(error).hint("free some space, or set PYRO_HOME to a directory on a larger disk")
        }
        io::ErrorKind::PermissionDenied | io::ErrorKind::ReadOnlyFilesystem => {
            Error::unavailable(doing).because(error).hint("set PYRO_HOME to a directory of your own")
        }
        _ => Error::internal(doing).because(error),
    }
}
