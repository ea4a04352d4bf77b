//! The disk of a workspace that is stopped: a listing, a part of a file, or all of it as a file of the user's. No sandbox is made and nothing inside is
//! run.
//!
//! Everything in it was written by an enemy. It is mounted together as the inside sees it, so that one rule holds for every path: links are followed as
//! they would be inside and never lead out of it (to refuse them would leave out what an honest environment is made of: `/bin` is a link). Only regular
//! files are opened for their content, and nothing is written but what the user asked for.

use std::fs::{self, File};
use std::ops::ControlFlow;
use std::os::fd::AsFd;
use std::os::unix::fs::{FileExt, MetadataExt};
use std::path::Path;

use pyro_api::envelope::Progress;
use pyro_api::ops::DiskExport;
use pyro_api::ops::disk::{DiskExportRequest, DiskExportResponse, DiskFormat, DiskListRequest, DiskReadRequest};
use pyro_api::ops::file::{FileEntry, FileKind, FileListResponse, FileReadResponse};
use pyro_api::{Error, ErrorKind, Op, Result};
use pyro_layer::{Kind, Listed, Mounts, TarOptions};
use pyro_sys::in_root;
use pyro_wire::limits::PATH_BYTES_MAX;
use pyro_wire::{SandboxPath, Untrusted};
use rustix::io::Errno;

use super::{Caller, Stopped};
use crate::begin::{DISK_FULL, no_room, ways};
use crate::environment::image;
use crate::fault;
use crate::layers;
use crate::supervisor::complain;
use crate::supervisor::files::{octal, path_of, read_response};
use crate::view::{Assembled, assemble};
use crate::whole;

/// Bytes of the names in one listing: with what each entry is besides they fit one reply, even where every byte has to be spelled out.
const NAMES_BYTES_MAX: usize = 4 << 20;

impl Stopped<'_> {
    /// Its files, with what a supervisor that was killed has not sealed.
    fn assembled(&self) -> Result<Assembled> {
        let live = Some(&self.position.live).filter(|live| layers::is_furnished(self.home, &self.manifest.mounts, live));
        let layers: Vec<_> = live.into_iter().chain(&self.position.below).cloned().collect();
        assemble(self.home, &self.manifest.mounts, &layers, ways(self.privilege).marks)
    }

    pub(super) fn list(&self, request: &DiskListRequest, caller: &Caller<'_>) -> Result<FileListResponse> {
        let path = path_of(&request.path)?;
        let files = self.assembled()?;
        let top =
            in_root::directory(&files.root, Path::new(path.as_str())).map_err(|error| match Errno::from_io_error(&error) {
                Some(Errno::NOTDIR) => {
                    Error::conflict(format!("{} is not a directory", path.shown())).hint("disk read shows files")
                }
                _ => unopened(&path, error),
            })?;
        let limit = request.limit as usize;
        let (mut entries, mut truncated, mut names_bytes, mut too_long) = (Vec::new(), false, 0, false);
        let mut tell = |listed: Listed| {
            too_long = listed.path.len() > PATH_BYTES_MAX;
            let entry = entry(listed);
            names_bytes += entry.path.len() + entry.target.as_ref().map_or(0, String::len);
            truncated = entries.len() == limit || names_bytes > NAMES_BYTES_MAX;
            if truncated || too_long {
                return ControlFlow::Break(());
            }
            entries.push(entry);
            ControlFlow::Continue(())
        };
        let mut watch = |done: pyro_layer::Progress| caller.watch(|| self.progress("listing", done));
        // One more than is shown tells whether there is more.
        pyro_layer::list(top, request.depth, limit.saturating_add(1), &mut tell, &mut watch).map_err(unread)?;
        if too_long {
            return Err(Error::limit(format!("below {} there are paths of more than {PATH_BYTES_MAX} bytes", path.shown()))
                .hint("list fewer levels at once"));
        }
        Ok(FileListResponse {
            workspace: self.manifest.name.clone(),
            path: path.shown().to_owned(),
            entries,
            truncated,
            // Somebody who wants to know it can start the workspace.
            entries_total: None,
            uncounted: false,
        })
    }

    pub(super) fn read(&self, request: &DiskReadRequest) -> Result<FileReadResponse> {
        let path = path_of(&request.path)?;
        let files = self.assembled()?;
        let file = in_root::file(&files.root, Path::new(path.as_str())).map(File::from).map_err(|error| unopened(&path, error))?;
        let unread = |error: std::io::Error| Error::conflict(format!("{} cannot be read", path.shown())).because(error);
        let size_bytes = file.metadata().map_err(unread)?.len();
        // The request was checked: this is at most what one call reads.
        let wanted = size_bytes.saturating_sub(request.offset).min(request.max_bytes);
        let mut content = vec![0; usize::try_from(wanted).unwrap_or(usize::MAX)];
        file.read_exact_at(&mut content, request.offset).map_err(unread)?;
        Ok(read_response(&self.manifest.name, &path, request.offset, size_bytes, content))
    }

    pub(super) fn export(&mut self, request: &DiskExportRequest, caller: &Caller<'_>) -> Result<DiskExportResponse> {
        let output = Path::new(&request.output);
        let files = self.assembled()?;
        let mut response = DiskExportResponse {
            workspace: self.manifest.name.clone(),
            output: request.output.clone(),
            format: request.format,
            entry_count: 0,
            bytes: 0,
            disk_bytes: 0,
            skipped: Vec::new(),
        };
        whole::make(output, |path| {
            match request.format {
                DiskFormat::Ext4 => self.write_image(&files, path, caller, &mut response)?,
                DiskFormat::Tar => self.write_archive(&files, path, caller, &mut response)?,
            }
            fault::point(self.home, "export.written")?;
            response.disk_bytes = fs::metadata(path).map_err(|error| no_room(output, error))?.blocks() * 512;
            Ok(())
        })?;
        // The file is there, whether or not the log says so.
        if let Err(error) = self.store.add_event(&self.manifest.id, DiskExport::NAME, &format!("to {}", request.output), "ok") {
            complain(&error);
        }
        Ok(response)
    }

    fn write_image(&self, files: &Assembled, path: &Path, caller: &Caller<'_>, response: &mut DiskExportResponse) -> Result<()> {
        let usage = files.usage().map_err(unread)?;
        (response.entry_count, response.bytes) = (usage.entry_count, usage.size_bytes);
        let cancelled = || {
            let done = || Progress {
                step: format!("making the disk image of {}", self.manifest.name),
                // It grows as it is filled.
                done: fs::metadata(path).map_or(0, |image| image.blocks() * 512).min(usage.disk_bytes),
                total: Some(usage.disk_bytes),
                unit: "bytes".into(),
            };
            caller.watch(done).is_break()
        };
        image::make_leaving_image(&files.at, usage, &self.manifest.id, path, &cancelled).map_err(|error| match error.kind {
            ErrorKind::Limit if error.message.contains("No space left on device") => {
                error.hint("free some space there, or give another output")
            }
            _ => error,
        })
    }

    fn write_archive(&self, files: &Assembled, path: &Path, caller: &Caller<'_>, response: &mut DiskExportResponse) -> Result<()> {
        let mut file = File::create_new(path).map_err(|error| no_room(path, error))?;
        let options = TarOptions { mounts: Mounts::Cross, ..TarOptions::default() };
        let mut watch = |done: pyro_layer::Progress| caller.watch(|| self.progress("exporting", done));
        let exported = pyro_layer::export_tar(files.root.as_fd(), b"", &mut file, &options, &mut watch).map_err(unread)?;
        (response.entry_count, response.bytes) = (exported.entry_count, exported.bytes);
        response.skipped = exported.skipped.into_iter().map(|name| Untrusted::new(name).lossy()).collect();
        Ok(())
    }

    fn progress(&self, doing: &str, done: pyro_layer::Progress) -> Progress {
        Progress {
            step: format!("{doing} the disk of {}", self.manifest.name),
            done: done.entry_count,
            total: None,
            unit: "files".into(),
        }
    }
}

fn entry(listed: Listed) -> FileEntry {
    FileEntry {
        path: Untrusted::new(listed.path).escaped(),
        kind: match listed.kind {
            Kind::File => FileKind::File,
            Kind::Directory => FileKind::Directory,
            Kind::Symlink => FileKind::Symlink,
            Kind::Other => FileKind::Other,
        },
        size_bytes: listed.size_bytes,
        mode: octal(listed.mode),
        target: listed.target.map(|target| Untrusted::new(target).escaped()),
    }
}

fn unopened(path: &SandboxPath, error: std::io::Error) -> Error {
    let shown = path.shown();
    match Errno::from_io_error(&error) {
        Some(Errno::NOENT | Errno::NOTDIR) => {
            Error::not_found(format!("there is no {shown}")).hint("disk list shows what is there")
        }
        Some(Errno::ISDIR | Errno::INVAL) => {
            Error::conflict(format!("{shown} is not a regular file")).hint("disk list shows directories")
        }
        _ => Error::conflict(format!("{shown} cannot be opened")).because(error),
    }
}

/// Why files could not be read, as the caller's error.
fn unread(error: pyro_layer::Error) -> Error {
    use pyro_layer::ErrorKind as Why;
    let sentence = "the disk cannot be read";
    match error.kind() {
        Why::Cancelled => Error::new(ErrorKind::Cancelled, "the request about the disk was taken back"),
        Why::Limit => Error::limit(sentence).because(error),
        Why::Full => Error::unavailable("the file cannot be written").because(error).hint(DISK_FULL),
        // Everything else there is ours to read.
        Why::System if error.raw_os_error() == Some(Errno::ACCESS.raw_os_error()) => Error::unavailable(sentence)
            .because(error)
            .hint("it is the machine's own, and only root may read it; workspace export takes a part out"),
        Why::Refused | Why::Damaged | Why::Changed | Why::System => Error::unavailable(sentence).because(error),
    }
}
