//! Environments: the read-only root file systems that workspaces start from.
//!
//! What can be built is the [`CATALOGUE`]; what is built is a manifest on disk, `environments/<name>/manifest.json`, that names the
//! mounts from `/` down. [`resolve`] reads one file and no database: it is on the way of every `pyro run`.
//!
//! A layer is unpacked beneath `tmp/`, renamed to `layers/<digest>`, and only then named by a manifest: whatever is interrupted,
//! a manifest never names a layer that is not whole. Layers are never written again.
//!
//! Everything here that touches the inside of a layer assumes that the process is root of the user namespace that the
//! layers belong to (see the privilege modes); resolving and listing need nothing.

use std::path::{Path, PathBuf};

use pyro_api::nearest::{did_you_mean, nearest};
use pyro_api::ops::environment::EnvironmentView;
use pyro_api::{Error, Result};
use serde::{Deserialize, Serialize};

mod build;
mod command;
mod host_environment;
pub mod image;
mod include;
mod kit;
mod manifest;
mod progress;
mod removal;
mod sources;
mod unpack;
mod workdir;

pub use build::{BuildOptions, build};
pub use kit::{Kit, kit};
pub use removal::{Removed, prune, remove, sweep};

#[cfg(test)]
mod tests;

/// Tells progress to whoever waits.
pub type OnProgress<'a> = &'a mut dyn FnMut(pyro_api::envelope::Progress);

/// Which workspaces are made from the environment with this digest, by name.
pub type UsedBy<'a> = &'a dyn Fn(&str) -> Vec<String>;

/// Name of the environment that shows the machine's own programs.
pub const HOST: &str = "host";

/// Name of what `--isolation microvm` is made of. Built, listed and removed like an environment, but nothing runs in it.
pub const MICROVM: &str = "microvm";

/// What an environment is made of before it is built.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CatalogueEntry {
    /// `debian:12`.
    pub name: &'static str,
    /// What it is, in a line.
    pub description: &'static str,
    /// How it is made.
    pub source: CatalogueSource,
}

/// How an environment is made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CatalogueSource {
    /// From packages of a Debian suite.
    Debian {
        /// The suite's name in the archive.
        suite: &'static str,
        /// Packages besides the essential ones and apt.
        packages: &'static [&'static str],
    },
    /// From the machine itself.
    Host,
    /// No environment, but the virtual machine monitor and the kernel that a microVM needs: picked from packages of a Debian suite that are
    /// unpacked and never installed.
    Kit {
        /// The suite's name in the archive.
        suite: &'static str,
        /// Packages that what is needed is in.
        packages: &'static [&'static str],
    },
}

/// What something built is for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum EnvironmentKind {
    /// To run things in.
    #[default]
    Ordinary,
    /// To make microVMs of: nothing runs in it.
    Kit,
}

impl CatalogueSource {
    /// What is made this way is for this.
    #[must_use]
    pub fn kind(self) -> EnvironmentKind {
        match self {
            Self::Debian { .. } | Self::Host => EnvironmentKind::Ordinary,
            Self::Kit { .. } => EnvironmentKind::Kit,
        }
    }
}

/// The code name of Debian 12 in the archive.
const DEBIAN_12: &str = "bookworm";

/// The code name of Debian 13 in the archive.
const DEBIAN_13: &str = "trixie";

/// Everything that can be built, in name order.
pub const CATALOGUE: &[CatalogueEntry] = &[
    CatalogueEntry {
        name: "debian:12",
        description: "Debian 12 with git and the certificates of public authorities",
        source: CatalogueSource::Debian { suite: DEBIAN_12, packages: &["ca-certificates", "git"] },
    },
    CatalogueEntry {
        name: "debian:12-base",
        description: "Debian 12, the smallest that has apt",
        source: CatalogueSource::Debian { suite: DEBIAN_12, packages: &[] },
    },
    CatalogueEntry {
        name: "debian:12-build",
        description: "Debian 12 with git, C and C++ compilers, make, cmake and Python with pip and venv",
        source: CatalogueSource::Debian {
            suite: DEBIAN_12,
            packages: &[
                "ca-certificates",
                "cmake",
                "file",
                "g++",
                "gcc",
                "git",
                "libc6-dev",
                "make",
                "patch",
                "pkg-config",
                "procps",
                "python3",
                "python3-dev",
                "python3-pip",
                "python3-venv",
                "unzip",
                "xz-utils",
            ],
        },
    },
    CatalogueEntry {
        name: HOST,
        description: "this machine's own programs, read-only under copy-on-write, without its users' files",
        source: CatalogueSource::Host,
    },
    CatalogueEntry {
        name: MICROVM,
        description: "QEMU and a Linux kernel, for workspaces with a kernel of their own",
        source: CatalogueSource::Kit { suite: DEBIAN_13, packages: &["linux-image-cloud-amd64", "qemu-system-x86"] },
    },
];

/// Whose ids the files of a layer have on disk.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum IdMode {
    /// As inside: the layer is mapped when it is mounted.
    Root,
    /// As inside, in a user namespace with a range of ids: shifted on disk.
    Range,
    /// All files are the user's own.
    Single,
}

/// A built environment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Environment {
    /// `debian:12`.
    pub name: String,
    /// What it is for.
    pub kind: EnvironmentKind,
    /// Digest of its content; the name of its layer.
    pub digest: String,
    /// What it is, in a line.
    pub description: String,
    /// When it was built, RFC 3339.
    pub built_at: String,
    /// Bytes of file content when it was built; of `host`, without what is shown of the machine. A disk image that was made of it since is
    /// not in it: [`view`] adds that.
    pub size_bytes: u64,
    /// Packages asked for, or directories of the host.
    pub contents: Vec<String>,
    /// Directories of the host that the user named.
    pub includes: Vec<String>,
    /// Whose ids its files have on disk.
    pub id_mode: IdMode,
    /// From `/` down: a mount comes after the one it is mounted in.
    pub mounts: Vec<EnvironmentMount>,
    /// Directories to put in front of `PATH` inside.
    pub path: Vec<String>,
}

impl Environment {
    /// The directory of its own layer: what is mounted at `/` is the directory `root` in it.
    fn layer(&self) -> Option<&Path> {
        self.mounts.first().and_then(|mount| mount.source.parent())
    }
}

/// One read-only tree of an environment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EnvironmentMount {
    /// Where it is inside: `/`, `/usr`.
    pub at: String,
    /// Where it is on the host, absolute.
    pub source: PathBuf,
}

/// The built environment of that name; `None` when it can be built but is not, or is no longer whole or current.
///
/// # Errors
/// `NotFound` with the nearest names when there is no such environment.
pub fn resolve(home: &Path, name: &str) -> Result<Option<Environment>> {
    match manifest::read(home, name)? {
        Some(manifest) if manifest.is_usable(home) => Ok(Some(manifest.into_environment(home))),
        Some(_) => Ok(None),
        None => entry(name).map(|_| None),
    }
}

/// What the catalogue says about a name.
///
/// # Errors
/// `NotFound` with the nearest names.
pub fn entry(name: &str) -> Result<&'static CatalogueEntry> {
    CATALOGUE.iter().find(|entry| entry.name == name).ok_or_else(|| unknown(name))
}

/// Refuses to run anything in what is no environment. Asked before anything is built for a run.
///
/// # Errors
/// `Invalid`.
pub fn refuse_kit(name: &str) -> Result<()> {
    match CATALOGUE.iter().find(|entry| entry.name == name).map(|entry| entry.source.kind()) {
        Some(EnvironmentKind::Kit) => {
            Err(Error::invalid(format!("{name} is no environment to run in: it is what --isolation microvm is made of"))
                .hint("name an environment, such as debian:12, and give --isolation microvm"))
        }
        // An unknown name is told of by whoever looks for it.
        Some(EnvironmentKind::Ordinary) | None => Ok(()),
    }
}

/// Every environment that is built or can be, in name order.
///
/// # Errors
/// When the directory of environments cannot be read.
pub fn list(home: &Path, used_by: UsedBy<'_>) -> Result<Vec<EnvironmentView>> {
    let mut names: Vec<String> = CATALOGUE.iter().map(|entry| entry.name.to_owned()).collect();
    names.extend(manifest::names(home)?);
    names.sort_unstable();
    names.dedup();
    names.iter().map(|name| inspect(home, name, used_by)).collect()
}

/// One environment, built or not.
///
/// # Errors
/// `NotFound` with the nearest names when there is no such environment.
pub fn inspect(home: &Path, name: &str, used_by: UsedBy<'_>) -> Result<EnvironmentView> {
    Ok(match resolve(home, name)? {
        Some(environment) => view(&environment, used_by),
        None => {
            let entry = entry(name)?;
            let (contents, notes) = match entry.source {
                CatalogueSource::Debian { packages, .. } => {
                    (packages.iter().map(|&package| package.to_owned()).collect(), Vec::new())
                }
                CatalogueSource::Host => (vec!["/usr".to_owned()], host_environment::notes(&[], &[])),
                CatalogueSource::Kit { packages, .. } => {
                    (packages.iter().map(|&package| package.to_owned()).collect(), kit::notes(None))
                }
            };
            EnvironmentView {
                environment: entry.name.to_owned(),
                description: entry.description.to_owned(),
                built: false,
                digest: None,
                size_bytes: None,
                built_at: None,
                contents,
                workspace_count: 0,
                notes,
            }
        }
    })
}

/// A built environment as the surfaces show it.
#[must_use]
pub fn view(environment: &Environment, used_by: UsedBy<'_>) -> EnvironmentView {
    let notes = if environment.name == HOST {
        host_environment::notes(&environment.includes, &environment.path)
    } else if environment.kind == EnvironmentKind::Kit {
        kit::notes(environment.layer())
    } else if environment.id_mode == IdMode::Single {
        vec!["built with a single user id: every file belongs to root inside".to_owned()]
    } else {
        Vec::new()
    };
    EnvironmentView {
        environment: environment.name.clone(),
        description: environment.description.clone(),
        built: true,
        digest: Some(environment.digest.clone()),
        // What it takes on the disk by now: its files and the disk images that guests were given of them.
        size_bytes: Some(environment.size_bytes + environment.layer().map_or(0, image::taken_bytes)),
        built_at: Some(environment.built_at.clone()),
        contents: environment.contents.clone(),
        workspace_count: used_by(&environment.digest).len() as u64,
        notes,
    }
}

fn unknown(name: &str) -> Error {
    let all: Vec<&str> = CATALOGUE.iter().map(|entry| entry.name).collect();
    let list = all.join(", ");
    Error::not_found(format!("there is no environment {name}")).hint(match did_you_mean(&nearest(name, all)) {
        Some(near) => format!("{near} There are: {list}"),
        None => format!("there are: {list}"),
    })
}
