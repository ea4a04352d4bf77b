//! Files between the host and the workspace: a push becomes a layer, an export is read from layers that never change again. Nothing inside takes part.

use std::fs::{self, File, Permissions};
use std::io::Write;
use std::ops::ControlFlow;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::fs::{DirBuilderExt, PermissionsExt};
use std::path::{Component, Path, PathBuf};

use pyro_api::ops::transfer::{ExportFormat, ExportRequest, ExportResponse, SyncPushRequest, SyncPushResponse};
use pyro_api::{Error, Result};
use pyro_layer::{
    BinaryFiles, Detail, ExportOptions, IgnoredNames, Missing, MountedStack, Stacks, SyncOptions, Synced, TarOptions,
};
use pyro_sys::beneath::{self, Mounts};
use pyro_wire::path::WORKSPACE_DIRECTORY;
use pyro_wire::{SandboxPath, Untrusted};

use super::change::refused;
use super::past::{Past, Point, Ways};
use super::{Life, Supervisor, Work, files};
use crate::fault;
use crate::layers::{self, Naming};
use crate::manifest::Mount;
use crate::view::view;
use crate::whole;

/// Most bytes of a patch that is exported. It is put together in memory.
const PATCH_BYTES_MAX: usize = 512 << 20;

/// The overlay that a path inside belongs to, and the way from its root.
fn overlay_of<'a>(mounts: &'a [Mount], path: &SandboxPath) -> Result<(usize, &'a Mount, PathBuf)> {
    let below = |mount: &Mount| Path::new(path.as_str()).strip_prefix(&mount.at).ok().map(Path::to_owned);
    let all = mounts.iter().enumerate().filter_map(|(index, mount)| below(mount).map(|rest| (index, mount, rest)));
    all.max_by_key(|(_, mount, _)| mount.at.len()).ok_or_else(|| Error::internal("a file system has no root"))
}

fn shown(path: &SandboxPath) -> String {
    match path.as_str().strip_prefix(WORKSPACE_DIRECTORY) {
        Some("") => ".".to_owned(),
        Some(rest) => rest.trim_start_matches('/').to_owned(),
        None => path.to_string(),
    }
}

fn names(names: &[Vec<u8>]) -> Vec<String> {
    names.iter().map(|name| Untrusted::new(name.clone()).lossy()).collect()
}

impl Supervisor<'_> {
    /// Makes a directory inside like one of the host.
    pub(super) fn push(&mut self, request: &SyncPushRequest) -> Result<SyncPushResponse> {
        let path = files::path_of(&request.path)?;
        self.quieted("pushed to")?;
        let words = format!("{} to {}", request.source, shown(&path));
        let build = |past: &Past<'_>, directories: &[PathBuf]| {
            let synced = sync(past, directories, request, &path)?;
            let is_empty = synced.is_empty();
            Ok((synced, !is_empty))
        };
        let (synced, step) = self.put_on_top("workspace sync push", &words, build)?;
        Ok(SyncPushResponse {
            workspace: self.subject.name.clone(),
            path: shown(&path),
            added: synced.added,
            changed: synced.changed,
            deleted: synced.deleted,
            unchanged: synced.unchanged,
            bytes: synced.bytes,
            step,
            skipped: names(&synced.skipped),
        })
    }

    /// Takes files out, on a thread of its own.
    pub(super) fn begin_export(&mut self, connection: u32, request: ExportRequest) -> Result<()> {
        let path = files::path_of(&request.path)?;
        let output = request.output.clone().ok_or_else(|| Error::invalid("there is no place to export to").hint("give output"))?;
        let point = self.point("workspace export", &shown(&path))?;
        let Life::Workspace { past, store, .. } = &mut self.life else { return Err(Error::internal("a run has no past")) };
        // What the export reads is kept until it is done.
        let naming = Naming::shared(&past.home)?;
        store.add_event(&self.subject.id, "workspace export", &format!("{} to {output}", shown(&path)), "ok")?;
        let export = Export {
            workspace: self.subject.name.clone(),
            home: past.home.clone(),
            mounts: past.mounts.clone(),
            ways: past.ways,
            format: request.format,
            output: output.into(),
            path,
            point,
        };
        let sender = self.work_sender.clone();
        let no_room = |error: std::io::Error| Error::unavailable("an export cannot be begun").because(error);
        let mut ringer = self.work_ringer.try_clone().map_err(no_room)?;
        let work = move || {
            let answer = export.run().and_then(|response| crate::ops::to_value(&response));
            drop(naming);
            // When the loop has ended nobody waits for either.
            let _ = sender.send(Work::Answer { connection, answer });
            let _ = Write::write_all(&mut ringer, &[1]);
        };
        std::thread::Builder::new().name("export".into()).spawn(work).map(drop).map_err(no_room)
    }
}

/// Writes the layer that makes a directory inside like one of the host.
fn sync(past: &Past<'_>, directories: &[PathBuf], request: &SyncPushRequest, path: &SandboxPath) -> Result<Synced> {
    let (index, mount, way) = overlay_of(&past.mounts, path)?;
    let seen = view(&layers::lowers(&past.home, mount, &past.position.layers), past.ways.marks)?;
    let (into, inside) = way_to(&directories[index], &seen, &way, path)?;
    let options = SyncOptions {
        missing: if request.delete { Missing::Delete } else { Missing::Keep },
        ignored: if request.ignore { IgnoredNames::LeaveAlone } else { IgnoredNames::Bring },
        owners: past.ways.owners,
    };
    let source = Path::new(&request.source);
    if !fs::metadata(source).is_ok_and(|found| found.is_dir()) {
        return Err(Error::invalid(format!("{} is not a directory", request.source)).hint("give a directory of this machine"));
    }
    let watch = &mut |_| ControlFlow::Continue(());
    let mut synced = pyro_layer::plan_sync(source, inside.as_fd(), options, &into, past.ways.marks, watch).map_err(refused)?;
    synced.attributes_left_behind += repeat_way(&directories[index], &seen, &way, past.ways)?;
    Ok(synced)
}

/// Makes the directories that lead to a place in a new layer, and gives the last one and what is there.
fn way_to(layer: &Path, seen: &OwnedFd, way: &Path, path: &SandboxPath) -> Result<(PathBuf, OwnedFd)> {
    let cannot = |error: std::io::Error| Error::unavailable(format!("{path} cannot be looked at")).because(error);
    let mut into = layer.to_owned();
    let mut inside = seen.try_clone().map_err(cannot)?;
    let mut so_far = PathBuf::new();
    // What is made in a directory may get its setgid bit, and the root of a layer is like the one below it until `repeat_way` says so again.
    fs::set_permissions(&into, Permissions::from_mode(0o755)).map_err(cannot)?;
    for part in way.components() {
        let Component::Normal(name) = part else { continue };
        into.push(name);
        so_far.push(name);
        fs::DirBuilder::new().mode(0o755).create(&into).map_err(|error| crate::begin::no_room(&into, error))?;
        inside = match beneath::directory(seen, &so_far, Mounts::Stay) {
            Ok(found) => found,
            // Not there yet: nothing is in it.
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => File::open(&into).map(OwnedFd::from).map_err(cannot)?,
            Err(error) => {
                return Err(Error::invalid(format!("{path} is not a directory that can be pushed to")).because(error));
            }
        };
    }
    Ok((into, inside))
}

/// Has the directories above a place be in a new layer as they are, the root of it last: what is made in a directory changes its time, and
/// inherits its access list. The answer is how many attributes had to be left behind.
fn repeat_way(layer: &Path, seen: &OwnedFd, way: &Path, ways: Ways) -> Result<u64> {
    let mut left_behind = 0;
    for above in way.ancestors().skip(1) {
        match beneath::directory(seen, &Path::new(".").join(above), Mounts::Stay) {
            Ok(found) => {
                left_behind +=
                    pyro_layer::repeat_directory(found.as_fd(), &layer.join(above), ways.owners, ways.marks).map_err(refused)?;
            }
            // It is new.
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {}
            Err(error) => return Err(Error::unavailable(format!("{} cannot be looked at", above.display())).because(error)),
        }
    }
    Ok(left_behind)
}

/// What is to be taken out, and where to.
struct Export {
    workspace: String,
    home: crate::home::Home,
    mounts: Vec<Mount>,
    ways: Ways,
    format: ExportFormat,
    output: PathBuf,
    path: SandboxPath,
    point: Point,
}

impl Export {
    fn run(&self) -> Result<ExportResponse> {
        let (_, mount, way) = overlay_of(&self.mounts, &self.path)?;
        let mut response = ExportResponse {
            workspace: self.workspace.clone(),
            path: shown(&self.path),
            output: self.output.display().to_string(),
            entry_count: 0,
            bytes: 0,
            skipped: Vec::new(),
            runs_outside: Vec::new(),
            copied: self.point.copied.clone(),
        };
        let changed = self.changed()?;
        response.runs_outside = changed
            .changes
            .iter()
            .filter_map(|change| Some(format!("{}: {}", Untrusted::new(change.path.clone()).lossy(), change.runs_outside()?)))
            .collect();
        let seen = || view(&layers::lowers(&self.home, mount, &self.point.layers), self.ways.marks);
        let way = way.as_os_str().as_encoded_bytes();
        let exported = match self.format {
            ExportFormat::Tree => {
                let is_empty = fs::read_dir(&self.output).is_ok_and(|mut entries| entries.next().is_none());
                if !is_empty && fs::symlink_metadata(&self.output).is_ok() {
                    return Err(whole::taken(&self.output));
                }
                let seen = seen()?;
                let watch = &mut |_| ControlFlow::Continue(());
                pyro_layer::export_directory(seen.as_fd(), way, &self.output, ExportOptions::default(), watch).map_err(refused)?
            }
            ExportFormat::Tar => {
                let seen = seen()?;
                whole::make(&self.output, |path| {
                    let mut file = File::create_new(path).map_err(|error| crate::begin::no_room(&self.output, error))?;
                    let watch = &mut |_| ControlFlow::Continue(());
                    let exported =
                        pyro_layer::export_tar(seen.as_fd(), way, &mut file, &TarOptions::default(), watch).map_err(refused)?;
                    fault::point(&self.home, "export.written").map(|()| exported)
                })?
            }
            ExportFormat::Patch => {
                if changed.patch.omitted > 0 {
                    return Err(Error::limit(format!("the patch would be larger than {} MiB", PATCH_BYTES_MAX >> 20))
                        .hint("export a part of it with path, or the files as they are"));
                }
                whole::make(&self.output, |path| {
                    let written = File::create_new(path).and_then(|mut file| file.write_all(changed.patch.text.as_bytes()));
                    written.map_err(|error| crate::begin::no_room(&self.output, error))
                })?;
                response.entry_count = changed.changes.len() as u64;
                response.bytes = changed.patch.text.len() as u64;
                return Ok(response);
            }
        };
        response.entry_count = exported.entry_count;
        response.bytes = exported.bytes;
        response.skipped = names(&exported.skipped);
        Ok(response)
    }

    /// What was changed since the seed.
    fn changed(&self) -> Result<pyro_layer::Changed> {
        let stacked = |mount: &Mount| MountedStack {
            at: mount.at.clone(),
            stacks: Stacks {
                old: mount.lowers.clone(),
                new: layers::lowers(&self.home, mount, &self.point.layers),
                marks: self.ways.marks,
            },
        };
        let mounts: Vec<MountedStack> = self.mounts.iter().map(stacked).collect();
        let detail = Detail {
            stat: self.format != ExportFormat::Patch,
            names: self.format != ExportFormat::Patch,
            renames: true,
            binary: BinaryFiles::Written,
            text_bytes_max: Some(PATCH_BYTES_MAX),
        };
        pyro_layer::changed(&mounts, &self.path, detail, &mut |_| ControlFlow::Continue(())).map_err(refused)
    }
}
