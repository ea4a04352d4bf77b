//! Replacing texts and applying patches: what is to be done is worked out by `pyro-edit`, from files that are read here, and carried out by
//! [`super::change`], whole or not at all.
//!
//! Only below /workspace, and never through a symbolic link: where one leads is decided by whoever wrote it.

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStrExt;

use pyro_edit::{FileEdits, Files, Mode, Options, RelPath, Status, Unreadable, Why};
use pyro_wire::edit::{EditAnswer, EditOrder, EditStatus, Edited, EditedFile, Refused, RefusedKind};
use pyro_wire::limits::EDIT_ANSWER_BYTES_MAX;
use pyro_wire::message::{Edit, FileStep};
use pyro_wire::{FromAgent, Violation};
use rustix::fs::{FileType, OFlags};
use rustix::io::Errno;

use super::change::{self, Seen, beneath};
use super::{Failure, Reply, at};

/// Where models think they are.
const WORKSPACE: &str = "/workspace";

/// Names that are looked at for a path that was meant.
const LOOKED_AT_MAX: usize = 20_000;

/// Takes back, or finishes, what an agent before us was changing when it was killed.
pub fn recover() {
    // Without a workspace there is nothing to find.
    if let Ok(root) = workspace() {
        change::journal::recover(&root);
    }
}

fn workspace() -> Result<OwnedFd, Errno> {
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
    rustix::fs::open(WORKSPACE, flags, rustix::fs::Mode::empty())
}

/// Answers an edit.
pub fn edit(reply: &Reply, request: &Edit) -> Result<FromAgent, Failure> {
    let mut text = Vec::new();
    reply.receive(u64::from(request.size_bytes), |content| {
        text.extend_from_slice(content);
        Ok(())
    })?;
    let order = EditOrder::from_json(&text).map_err(|_| at(FileStep::Read)(Errno::INVAL))?;
    let root = workspace().map_err(at(FileStep::Open))?;
    let answer = answer(reply, &root, order, request.dry_run)?.to_json();
    if answer.len() > EDIT_ANSWER_BYTES_MAX {
        // What a thousand files of the longest names say is less.
        return Err(at(FileStep::Read)(Errno::FBIG));
    }
    reply.send_content(&answer)?;
    Ok(FromAgent::Done)
}

fn answer(reply: &Reply, root: &OwnedFd, order: EditOrder, dry_run: bool) -> Result<EditAnswer, Failure> {
    let options = Options { root: WORKSPACE.into(), project: None, allow_git_internals: order.allow_git };
    let mut inside = Inside { root, seen: BTreeMap::new() };
    let wanted = of(order).map_err(|_| at(FileStep::Read)(Errno::INVAL))?;
    let planned = match pyro_edit::plan(&wanted, &options, &mut inside) {
        Ok(planned) => planned,
        Err(failure) => return Ok(EditAnswer::Refused(Refused { kind: kind(&failure), text: failure.render() })),
    };
    if reply.is_cancelled() {
        return Err(Failure::Cancelled);
    }
    if !dry_run && let Err(not) = change::carry_out(root, &planned.plan, &inside.seen) {
        let kind = if not.is_full { RefusedKind::Limit } else { RefusedKind::Conflict };
        return Ok(EditAnswer::Refused(Refused { kind, text: format!("{}; nothing was changed", not.text) }));
    }
    let files = planned.report.files.iter().map(edited).collect();
    Ok(EditAnswer::Edited(Edited { files, text: planned.report.render() }))
}

fn of(order: EditOrder) -> Result<pyro_edit::Request, Violation> {
    if let Some(patch) = order.patch {
        return Ok(pyro_edit::Request::Patch(patch.to_vec()?));
    }
    let files = order.edits.into_iter().map(|file| FileEdits {
        path: file.path.into_bytes(),
        edits: file
            .edits
            .into_iter()
            .map(|edit| pyro_edit::Edit { old: edit.old.into_bytes(), new: edit.new.into_bytes(), all: edit.all })
            .collect(),
    });
    Ok(pyro_edit::Request::Edits(files.collect()))
}

/// The first that went wrong says what kind of failure it is.
fn kind(failure: &pyro_edit::Failure) -> RefusedKind {
    match failure.failed.first().map(|failed| &failed.why) {
        Some(Why::NotFound { .. } | Why::PathMissing { .. }) => RefusedKind::NotFound,
        Some(Why::Ambiguous { .. } | Why::Conflict { .. }) => RefusedKind::Conflict,
        Some(Why::TooLarge { .. }) => RefusedKind::Limit,
        Some(Why::BadSyntax { .. } | Why::Refused { .. }) | None => RefusedKind::Invalid,
    }
}

fn edited(file: &pyro_edit::FileReport) -> EditedFile {
    let (status, from) = match &file.status {
        Status::Unchanged => (EditStatus::Unchanged, None),
        Status::Created => (EditStatus::Created, None),
        Status::Changed => (EditStatus::Changed, None),
        Status::Moved(from) => (EditStatus::Moved, Some(from.to_string())),
        Status::Deleted => (EditStatus::Deleted, None),
    };
    EditedFile {
        path: file.path.to_string(),
        status,
        from,
        added_lines: file.added_count as u64,
        removed_lines: file.removed_count as u64,
        notes: file.notes.clone(),
    }
}

/// Files below the workspace.
struct Inside<'a> {
    root: &'a OwnedFd,
    /// What was there when it was read: what is there when it is changed must be the same.
    seen: BTreeMap<RelPath, Seen>,
}

impl Files for Inside<'_> {
    fn read(&mut self, path: &RelPath) -> Result<Option<pyro_edit::File>, Unreadable> {
        let refused = |text: &str| Unreadable::Refused(text.to_owned());
        let name = OsStr::from_bytes(path.as_bytes());
        let place = match beneath(self.root, name, OFlags::PATH | OFlags::NOFOLLOW) {
            Ok(place) => place,
            Err(Errno::NOENT | Errno::NOTDIR) => return Ok(None),
            Err(Errno::LOOP) => {
                return Err(refused("is reached through a symbolic link, which is not followed; name the file itself"));
            }
            Err(Errno::XDEV) => return Err(refused("is in another file system")),
            Err(error) => return Err(refused(&format!("cannot be opened: {}", std::io::Error::from(error)))),
        };
        let cannot = |error: Errno| refused(&format!("cannot be read: {}", std::io::Error::from(error)));
        let stat = rustix::fs::fstat(&place).map_err(cannot)?;
        let file = match FileType::from_raw_mode(stat.st_mode) {
            FileType::RegularFile => {
                let size_bytes = u64::try_from(stat.st_size).unwrap_or(u64::MAX);
                if size_bytes > pyro_edit::limits::FILE_BYTES_MAX as u64 {
                    return Err(Unreadable::TooLarge(size_bytes));
                }
                let file = beneath(self.root, name, OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK).map_err(cannot)?;
                let content = content_of(file).map_err(cannot)?;
                let mode = if stat.st_mode & 0o111 == 0 { Mode::Regular } else { Mode::Executable };
                pyro_edit::File { content, mode }
            }
            FileType::Symlink => {
                let target = rustix::fs::readlinkat(&place, "", Vec::new()).map_err(cannot)?;
                pyro_edit::File { content: target.into_bytes(), mode: Mode::Symlink }
            }
            FileType::Directory => return Err(Unreadable::Directory),
            _ => return Err(refused("is not a regular file")),
        };
        self.seen.insert(path.clone(), Seen::of(&stat));
        Ok(Some(file))
    }

    fn staying(&mut self, directory: &RelPath, goes: &dyn Fn(&RelPath) -> bool) -> Option<RelPath> {
        let opened = beneath(self.root, OsStr::from_bytes(directory.as_bytes()), OFlags::RDONLY | OFlags::DIRECTORY).ok()?;
        let mut is_empty = true;
        for entry in rustix::fs::Dir::read_from(&opened).ok()?.flatten() {
            let name = entry.file_name().to_bytes();
            if matches!(name, b"." | b"..") {
                continue;
            }
            is_empty = false;
            let path = RelPath::new(&[directory.as_bytes(), b"/", name].concat(), b"").ok()?;
            let stays = match entry.file_type() {
                FileType::Directory => self.staying(&path, goes),
                _ => (!goes(&path)).then_some(path),
            };
            if stays.is_some() {
                return stays;
            }
        }
        // An empty directory is nothing that anybody takes away.
        is_empty.then(|| directory.clone())
    }

    fn near(&mut self, path: &RelPath) -> Vec<RelPath> {
        let wanted = path.names().last().unwrap_or_default().to_ascii_lowercase();
        let mut found = Vec::new();
        let mut waiting = std::collections::VecDeque::from([Vec::new()]);
        let mut looked_at = 0;
        while let Some(directory) = waiting.pop_front() {
            let at: &[u8] = if directory.is_empty() { b"." } else { &directory };
            let Ok(opened) = beneath(self.root, OsStr::from_bytes(at), OFlags::RDONLY | OFlags::DIRECTORY) else { continue };
            let Ok(entries) = rustix::fs::Dir::read_from(&opened) else { continue };
            for entry in entries.flatten() {
                looked_at += 1;
                if looked_at > LOOKED_AT_MAX || found.len() == NEAR_MAX {
                    return found;
                }
                let name = entry.file_name().to_bytes();
                if matches!(name, b"." | b".." | b".git" | b"node_modules") {
                    continue;
                }
                let whole = if directory.is_empty() { name.to_vec() } else { [&directory, b"/".as_slice(), name].concat() };
                match entry.file_type() {
                    FileType::Directory => waiting.push_back(whole),
                    FileType::RegularFile if is_like(&name.to_ascii_lowercase(), &wanted) => {
                        found.extend(RelPath::new(&whole, b""));
                    }
                    _ => {}
                }
            }
        }
        found
    }
}

/// Paths that are named instead of one that is not there.
const NEAR_MAX: usize = 5;

/// Whether a name may have been meant: the same, or the same before its last dot.
fn is_like(name: &[u8], wanted: &[u8]) -> bool {
    let stem = |name: &'_ [u8]| name.iter().rposition(|byte| *byte == b'.').filter(|dot| *dot > 0).map_or(name.len(), |dot| dot);
    name[..stem(name)] == wanted[..stem(wanted)]
}

/// All of a file, up to one byte more than can be changed.
fn content_of(file: OwnedFd) -> Result<Vec<u8>, Errno> {
    use std::io::Read as _;
    let mut content = Vec::new();
    let limit = pyro_edit::limits::FILE_BYTES_MAX as u64 + 1;
    let read = std::fs::File::from(file).take(limit).read_to_end(&mut content);
    read.map_err(|error| Errno::from_io_error(&error).unwrap_or(Errno::IO))?;
    if content.len() as u64 == limit { Err(Errno::FBIG) } else { Ok(content) }
}
