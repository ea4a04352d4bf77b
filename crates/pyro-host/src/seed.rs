//! Seeds: what a user brings along, copied into a layer that workspaces stand on. It is named by what its source looked like (paths, sizes, times,
//! inodes of everything in it), so that the next workspace from the same unchanged directory is made without copying anything.
//!
//! A seed is copied in the place of what is being made, and renamed into `seeds/` when it is whole. It never changes again, and goes when no
//! workspace stands on it ([`crate::garbage`]).

use std::fs::{self, DirBuilder};
use std::ops::ControlFlow;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use pyro_api::envelope::Progress;
use pyro_api::ops::workspace::SeedView;
use pyro_api::{Error, ErrorKind, Result};
use pyro_layer::{Fingerprint, Owners};
use pyro_wire::Untrusted;

use crate::begin::{DISK_FULL, no_room};
use crate::home::{Home, Place};
use crate::layers::Naming;
use crate::supervisor::control::Connection;

/// A seed in its place.
pub struct Kept {
    /// What was copied.
    pub view: SeedView,
    /// The tree that workspaces stand on.
    pub tree: PathBuf,
    /// Held until a workspace that names it is recorded.
    pub naming: Naming,
}

/// File beside a seed's tree with its [`SeedView`].
const VIEW: &str = "seed.json";

/// Copies a seed, or finds that it is there already.
///
/// # Errors
/// As [`import`].
pub fn keep(home: &Home, place: &Place, owners: Owners, seed_path: &str, connection: &mut Connection) -> Result<Kept> {
    let look = || look_at(Path::new(seed_path));
    let before = look();
    if let Some(before) = &before {
        let naming = Naming::shared(home)?;
        if let Some(kept) = find(home, before, owners, seed_path, naming) {
            return Ok(kept);
        }
    }
    let view = import(place, owners, seed_path, connection)?;
    let text = serde_json::to_vec(&view).expect("our own types have only text keys");
    let written = fs::write(place.seed().join(VIEW), text);
    written.map_err(|error| no_room(&place.seed(), error))?;
    // What was copied is what was looked at only if it still looks the same.
    let same = before.filter(|before| look().as_ref() == Some(before));
    let naming = Naming::shared(home)?;
    let directory = home.seeds().join(same.map_or_else(crate::name::new_id, |same| name_of(&same, owners)));
    match fs::rename(place.seed(), &directory) {
        // If no workspace is made it is garbage; another may stand on it already.
        Ok(()) => Ok(Kept { view, tree: directory.join(TREE), naming }),
        // Somebody else has copied the same meanwhile; a directory that is not empty is in the way.
        Err(error) if matches!(error.kind(), std::io::ErrorKind::DirectoryNotEmpty | std::io::ErrorKind::AlreadyExists) => {
            Ok(Kept { view, tree: directory.join(TREE), naming })
        }
        Err(error) => Err(no_room(&directory, error)),
    }
}

/// Directory of a seed that is mounted as a layer.
const TREE: &str = "root";

/// Files are copied with other owners where there is one id only.
fn name_of(fingerprint: &Fingerprint, owners: Owners) -> String {
    match owners {
        Owners::Canonical => fingerprint.to_string(),
        Owners::CallerOnly => format!("{fingerprint}-single"),
    }
}

/// What a directory looks like, if that can be relied on. An archive is read each time.
fn look_at(source: &Path) -> Option<Fingerprint> {
    if !fs::metadata(source).ok()?.is_dir() {
        return None;
    }
    // What cannot be looked at is copied, which says why.
    pyro_layer::fingerprint(source, &mut |_| ControlFlow::Continue(())).ok().flatten()
}

fn find(home: &Home, fingerprint: &Fingerprint, owners: Owners, seed_path: &str, naming: Naming) -> Option<Kept> {
    let directory = home.seeds().join(name_of(fingerprint, owners));
    let text = fs::read(directory.join(VIEW)).ok()?;
    let view: SeedView = serde_json::from_slice(&text).ok()?;
    let view = SeedView { path: seed_path.to_owned(), ..view };
    Some(Kept { view, tree: directory.join(TREE), naming })
}

/// Copies a seed into a layer of the place.
///
/// # Errors
/// When the source cannot be read or is not one, or the disk refuses.
pub fn import(place: &Place, owners: Owners, seed_path: &str, connection: &mut Connection) -> Result<SeedView> {
    let workspace = place.seed().join("root/workspace");
    DirBuilder::new().mode(0o755).recursive(true).create(&workspace).map_err(|error| no_room(&workspace, error))?;
    let source = Path::new(seed_path);
    let found = fs::metadata(source)
        .map_err(|error| Error::new(kind_of(&error), format!("seed {seed_path} cannot be read")).because(error))?;
    /// A bar that moves ten times a second is smooth enough.
    const SHOW_EVERY: Duration = Duration::from_millis(100);
    let mut shown_at = std::time::Instant::now();
    let mut watch = |done: pyro_layer::Progress| {
        if shown_at.elapsed() < SHOW_EVERY {
            return ControlFlow::Continue(());
        }
        shown_at = std::time::Instant::now();
        let progress = Progress { step: format!("copying {seed_path}"), done: done.entry_count, total: None, unit: "files".into() };
        connection.progress(progress);
        // A caller that is gone ends the copy.
        if connection.flush().is_ok() { ControlFlow::Continue(()) } else { ControlFlow::Break(()) }
    };
    let report = if found.is_dir() {
        pyro_layer::import_directory(source, &workspace, owners, &mut watch)
    } else if !found.is_file() {
        // Opening a pipe would wait for a writer, and a device is no archive.
        return Err(
            Error::invalid(format!("seed {seed_path} is neither a directory nor a file")).hint("give a directory or a tar file")
        );
    } else {
        let file = fs::File::open(source)
            .map_err(|error| Error::new(kind_of(&error), format!("seed {seed_path} cannot be read")).because(error))?;
        pyro_layer::import_archive(file, &workspace, owners, pyro_layer::ArchiveLimits::default(), &mut watch)
    };
    let report = report.map_err(|error| seed_refused(seed_path, &error))?;
    Ok(SeedView {
        path: seed_path.to_owned(),
        entry_count: report.entry_count,
        bytes: report.bytes,
        skipped: report.skipped.into_iter().map(|name| Untrusted::new(name).lossy()).collect(),
        markers: report.markers,
    })
}

fn kind_of(error: &std::io::Error) -> ErrorKind {
    match error.kind() {
        std::io::ErrorKind::NotFound => ErrorKind::NotFound,
        _ => ErrorKind::Unavailable,
    }
}

fn seed_refused(seed_path: &str, error: &pyro_layer::Error) -> Error {
    let sentence = format!("seed {seed_path}: {error}");
    match error.kind() {
        pyro_layer::ErrorKind::Refused | pyro_layer::ErrorKind::Damaged => Error::invalid(sentence),
        pyro_layer::ErrorKind::Limit => Error::limit(sentence),
        pyro_layer::ErrorKind::Full => Error::unavailable(sentence).hint(DISK_FULL),
        pyro_layer::ErrorKind::Changed => Error::conflict(sentence).hint("try again when nothing writes to it"),
        pyro_layer::ErrorKind::Cancelled | pyro_layer::ErrorKind::System => Error::unavailable(sentence),
    }
}
