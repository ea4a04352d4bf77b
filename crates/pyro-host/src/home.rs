//! The one directory a host writes to, and where everything in it is.
//!
//! Nothing else in the crate joins names onto it. It is private to its owner (mode 0700): whoever can enter it owns every workspace.

use std::fs::{self, DirBuilder};
use std::os::unix::fs::{DirBuilderExt, MetadataExt};
use std::path::{Path, PathBuf};

use pyro_api::{Error, Result};

use crate::layers::LayerId;

/// `$PYRO_HOME`.
#[derive(Clone, Debug)]
pub struct Home {
    root: PathBuf,
}

impl Home {
    /// Opens a home, making it when it is not there.
    ///
    /// # Errors
    /// When it cannot be made, is not a directory, belongs to somebody else, or others may enter it.
    pub fn open(root: &Path) -> Result<Self> {
        let home = Self { root: root.to_owned() };
        match fs::metadata(root) {
            Ok(found) => {
                home.check_owner(&found)?;
                // Made last: without it the rest may be missing too.
                if !home.changes().exists() {
                    home.make()?;
                }
            }
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => home.make()?,
            Err(error) => return Err(unusable(root).because(error)),
        }
        Ok(home)
    }

    fn check_owner(&self, found: &fs::Metadata) -> Result<()> {
        let own = rustix::process::geteuid().as_raw();
        if !found.is_dir() {
            return Err(unusable(&self.root).hint("it is not a directory; set PYRO_HOME to another place"));
        }
        if found.uid() != own {
            return Err(Error::unavailable(format!("{} belongs to user {}, not to {own}", self.root.display(), found.uid()))
                .hint("each user has a home of their own; set PYRO_HOME to one of yours"));
        }
        if found.mode() & 0o077 != 0 {
            return Err(Error::unavailable(format!("{} can be entered by other users", self.root.display()))
                .hint(format!("chmod 700 {}", self.root.display())));
        }
        Ok(())
    }

    fn make(&self) -> Result<()> {
        let mut private = DirBuilder::new();
        private.recursive(true).mode(0o700);
        for directory in [
            self.root.clone(),
            self.workspaces(),
            self.runs(),
            self.layers(),
            self.seeds(),
            self.environments(),
            self.tmp(),
            self.trash(),
            self.staging(),
            self.changes(),
        ] {
            private.create(&directory).map_err(|error| unusable(&directory).because(error))?;
        }
        Ok(())
    }

    /// The directory itself.
    #[must_use]
    pub fn root(&self) -> &Path {
        &self.root
    }
    /// What marks the control groups of a sandbox of this home: homes share them.
    #[must_use]
    pub fn mark(&self, id: &str) -> String {
        // 32-bit FNV-1a: the same in every process and build.
        let bytes = self.root.as_os_str().as_encoded_bytes();
        let hash = bytes.iter().fold(0x811c_9dc5_u32, |hash, byte| (hash ^ u32::from(*byte)).wrapping_mul(0x0100_0193));
        format!("{hash:08x}-{id}")
    }
    /// The database.
    #[must_use]
    pub fn database(&self) -> PathBuf {
        self.root.join("state.db")
    }
    /// One directory for each workspace, named by its id.
    #[must_use]
    pub fn workspaces(&self) -> PathBuf {
        self.root.join("workspaces")
    }
    /// What one workspace has on disk.
    #[must_use]
    pub fn workspace(&self, id: &str) -> Place {
        Place { root: self.workspaces().join(id) }
    }
    /// What one workspace has on disk while it is being made.
    #[must_use]
    pub fn unfinished(&self, id: &str) -> Place {
        Place { root: self.runs().join(id) }
    }
    /// One-shot runs and workspaces that are being made: a lease `ID.lease` and a directory `ID` each.
    #[must_use]
    pub fn runs(&self) -> PathBuf {
        self.root.join("runs")
    }
    /// Lease of something in [`Home::runs`]. It is taken before the directory is made and given back after it is gone, so
    /// that a directory without a held lease is nobody's.
    #[must_use]
    pub fn run_lease(&self, id: &str) -> PathBuf {
        self.runs().join(format!("{id}.lease"))
    }
    /// Read-only layers, named by digest.
    #[must_use]
    pub fn layers(&self) -> PathBuf {
        self.root.join("layers")
    }
    /// What workspaces have changed: one directory for each layer.
    #[must_use]
    pub fn changes(&self) -> PathBuf {
        self.root.join("changes")
    }
    /// One layer of changes.
    #[must_use]
    pub fn layer(&self, id: &LayerId) -> PathBuf {
        self.changes().join(id.as_str())
    }
    /// What workspaces were made with: one directory for each seed.
    #[must_use]
    pub fn seeds(&self) -> PathBuf {
        self.root.join("seeds")
    }
    /// One directory for each environment.
    #[must_use]
    pub fn environments(&self) -> PathBuf {
        self.root.join("environments")
    }
    /// What is half made.
    #[must_use]
    pub fn tmp(&self) -> PathBuf {
        self.root.join("tmp")
    }
    /// What is to be deleted: anything here is nobody's.
    #[must_use]
    pub fn trash(&self) -> PathBuf {
        self.root.join("trash")
    }
    /// An empty directory that every sandbox mounts over, each in a mount namespace of its own.
    #[must_use]
    pub fn staging(&self) -> PathBuf {
        self.root.join("staging")
    }
}

fn unusable(path: &Path) -> Error {
    Error::unavailable(format!("{} cannot be used as a home for workspaces", path.display()))
}

/// What one workspace (or one run) has on disk.
#[derive(Clone, Debug)]
pub struct Place {
    root: PathBuf,
}

impl Place {
    /// The directory itself.
    #[must_use]
    pub fn root(&self) -> &Path {
        &self.root
    }
    /// Everything that is needed to list and start it again if the database is lost.
    #[must_use]
    pub fn manifest(&self) -> PathBuf {
        self.root.join("manifest.json")
    }
    /// Held locked by its supervisor.
    #[must_use]
    pub fn lease(&self) -> PathBuf {
        self.root.join("lease")
    }
    /// Where its supervisor listens.
    #[must_use]
    pub fn control(&self) -> PathBuf {
        self.root.join("control.sock")
    }
    /// What its supervisor has to say to a person.
    #[must_use]
    pub fn log(&self) -> PathBuf {
        self.root.join("supervisor.log")
    }
    /// The layer that the seed was copied into.
    #[must_use]
    pub fn seed(&self) -> PathBuf {
        self.root.join("seed")
    }
    /// The writable layer of an overlay. Not below a directory of all of them: a one-shot run pays for each directory.
    #[must_use]
    pub fn upper(&self, overlay: &str) -> PathBuf {
        self.root.join(format!("upper-{overlay}"))
    }
    /// The work directory of an overlay.
    #[must_use]
    pub fn work(&self, overlay: &str) -> PathBuf {
        self.root.join(format!("work-{overlay}"))
    }
    /// Outputs of its commands.
    #[must_use]
    pub fn execs(&self) -> PathBuf {
        self.root.join("execs")
    }
}
