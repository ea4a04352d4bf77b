//! Requests about files: listings, reads, writes, and diffs of layers that lie inside, all of which the agent answers. Paths and content from inside become text here, and
//! nothing else: no path from inside is ever opened outside.

use std::time::{Duration, Instant};

use base64::{Engine as _, engine::general_purpose::STANDARD};
use pyro_api::ops::edit::FileEditRequest;
use pyro_api::ops::file::{
    self, DiffRequest, FileEntry, FileKind, FileListRequest, FileListResponse, FileReadRequest, FileWriteRequest, FileWriteResponse,
};
use pyro_api::ops::names::{FileDeleteRequest, FileMkdirRequest, FileMoveRequest};
use pyro_api::ops::search::FileSearchRequest;
use pyro_api::ops::{FileDelete, FileEdit, FileMkdir, FileMove, FileWrite};
use pyro_api::{Call, Error, ErrorKind, Op as _, Result};
use pyro_layer::diff::is_at_or_below;
use pyro_wire::limits::{
    CHANGE_BYTES, CHANGES_BYTES_MAX, EDIT_ANSWER_BYTES_MAX, EDIT_ORDER_BYTES_MAX, ENTRIES_MAX, INPUT_CREDIT_BYTES,
    OUTPUT_CREDIT_BYTES, PATCH_BYTES_MAX, SEARCH_ANSWER_BYTES_MAX,
};
use pyro_wire::message::{
    Change, Delete, Diff, Diffed, Edit, Entry, EntryKind, Failed, FileStep, List, Listed, MakeDirectory, Move, Selection, Write,
};
use pyro_wire::path::WORKSPACE_DIRECTORY;
use pyro_wire::{FromAgent, SandboxPath, Stream, ToAgent, Violation};
use rustix::io::Errno;
use serde_json::Value;

use super::exec::Due;
use super::outcome::shown;
use crate::diff;
use edit::{Editing, order_of};
use names::Naming;
use reading::Reading;
pub use reading::read_response;
use search::Searching;

mod edit;
mod names;
mod reading;
mod search;

/// Largest content of one write: what a base64 text in one control line may be.
const WRITE_BYTES_MAX: usize = 16 * 1024 * 1024;

/// How long the agent may take for one request. The slowest honest ones are a listing of [`ENTRIES_MAX`] entries on a cold disk
/// under a processor limit, some ten seconds, and a search of ten gigabytes there: a minute.
const FILE_TIME_MAX: Duration = Duration::from_secs(120);

/// The same for a diff, which may have to compare everything that was ever written to the layers: 60 GB at 100 MB/s.
const DIFF_TIME_MAX: Duration = Duration::from_secs(600);

/// A file request that was sent to the agent.
#[derive(Debug)]
pub struct FileTask {
    /// Which caller waits for it; `None` when it is gone.
    pub connection: Option<u32>,
    /// What the log says it was about.
    pub subject: String,
    workspace: String,
    path: SandboxPath,
    kind: Kind,
    deadline: Instant,
    given_up: Option<GivenUp>,
}

/// Why the agent was told to give a request up. It confirms that, or is not believed any more.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum GivenUp {
    TooSlow(Duration),
    Cancelled,
}

#[derive(Debug)]
enum Kind {
    List {
        limit: usize,
        entries: Vec<FileEntry>,
    },
    Read(Box<Reading>),
    Write {
        content: Vec<u8>,
        sent: usize,
    },
    Edit(Box<Editing>),
    Search(Box<Searching>),
    Names(Naming),
    Diff(Box<Claimed>),
    /// Before the disk is copied for this call.
    Sync(Box<Call>),
}

/// What the agent has said so far of what changed.
#[derive(Debug)]
struct Claimed {
    stat: bool,
    changes: Vec<file::Change>,
    /// Of the last change: the next one is behind it.
    last_path: Vec<u8>,
    /// At most [`CHANGES_BYTES_MAX`].
    changes_bytes: usize,
    /// At most [`PATCH_BYTES_MAX`].
    patch: Vec<u8>,
    credit_left: u32,
}

impl Claimed {
    /// Takes a change that is to be at or below `path`.
    fn add(&mut self, change: &Change, path: &SandboxPath) -> Result<(), Violation> {
        if !self.patch.is_empty() {
            return Err(Violation("a change came after the patch".to_owned()));
        }
        let inside = change.path.to_vec()?;
        if !is_at_or_below(&inside, path.as_str().trim_matches('/').as_bytes()) {
            return Err(Violation("a change came that is not below what was asked for".to_owned()));
        }
        if inside <= self.last_path {
            return Err(Violation("a change came that is not behind the one before it".to_owned()));
        }
        let from = change.from.as_ref().map(|from| from.to_vec()).transpose()?;
        self.changes_bytes += inside.len() + from.map_or(0, |from| from.len()) + CHANGE_BYTES;
        if self.changes_bytes > CHANGES_BYTES_MAX {
            return Err(Violation("more changes came than an answer can hold".to_owned()));
        }
        self.last_path = inside;
        self.changes.push(diff::convert(change));
        Ok(())
    }

    /// All of it, when it is what a diff can be.
    fn response(&mut self, workspace: &str, end: &Diffed) -> Result<file::DiffResponse, Violation> {
        let omitted_max = if self.stat { 0 } else { self.changes.len() as u64 };
        if end.omitted > omitted_max {
            return Err(Violation("more changes were left out of the patch than there are".to_owned()));
        }
        let patch = String::from_utf8(std::mem::take(&mut self.patch)).ok().filter(|text| !text.contains('\0'));
        let patch = patch.ok_or_else(|| Violation("a patch is not text".to_owned()))?;
        Ok(diff::response(workspace, std::mem::take(&mut self.changes), patch, end.omitted))
    }
}

/// What a message of the agent leads to.
#[derive(Debug)]
pub enum Step {
    /// It goes on.
    More,
    /// It goes on, and the agent gets so much credit.
    Credit(u32),
    /// These bytes of content can be sent.
    Content(Vec<u8>),
    /// It ended.
    Done(Result<Value>),
    /// What was written is on disk, with so many processes besides the agent: this call can be done.
    Synced(Box<Call>, u64),
}

/// A path as the user wrote it.
///
/// # Errors
/// `Invalid` when it is no path.
pub fn path_of(text: &str) -> Result<SandboxPath> {
    SandboxPath::parse(text).map_err(|error| Error::invalid(format!("path {text:?}: {error}")))
}

impl FileTask {
    /// A listing, and the message that asks for it.
    ///
    /// # Errors
    /// `Invalid` when the request is wrong.
    pub fn list(workspace: &str, connection: u32, request: &FileListRequest) -> Result<(Self, ToAgent)> {
        let path = path_of(&request.path)?;
        let depth = request.levels();
        if depth == 0 || request.limit == 0 || request.limit > ENTRIES_MAX {
            return Err(Error::invalid(format!("depth and limit begin at 1, and limit ends at {ENTRIES_MAX}")));
        }
        let selection = Selection { globs: request.glob.clone(), hidden: true, ignored: !request.respect_ignore };
        let message = ToAgent::List(List { path: path.clone(), depth, entries_max: request.limit, selection });
        let kind = Kind::List { limit: request.limit as usize, entries: Vec::new() };
        Ok((Self::new(workspace, connection, path, kind), message))
    }

    /// A read, and the message that asks for it.
    ///
    /// # Errors
    /// `Invalid` when the request is wrong.
    pub fn read(workspace: &str, connection: u32, request: &FileReadRequest) -> Result<(Self, ToAgent)> {
        let path = path_of(&request.path)?;
        let (reading, read) = Reading::new(&path, request)?;
        Ok((Self::new(workspace, connection, path, Kind::Read(Box::new(reading))), ToAgent::Read(read)))
    }

    /// A write, and the message that announces it.
    ///
    /// # Errors
    /// `Invalid` or `Limit` when the request is wrong.
    pub fn write(workspace: &str, connection: u32, request: &FileWriteRequest) -> Result<(Self, ToAgent)> {
        let path = path_of(&request.path)?;
        let content = match (&request.text, &request.base64) {
            (Some(text), None) => text.clone().into_bytes(),
            (None, Some(text)) => {
                STANDARD.decode(text.as_bytes()).map_err(|error| Error::invalid("base64 content").because(error))?
            }
            (Some(_), Some(_)) | (None, None) => return Err(Error::invalid("give either text or base64")),
        };
        if content.len() > WRITE_BYTES_MAX {
            return Err(Error::limit(format!("the content is {} bytes, more than {WRITE_BYTES_MAX}", content.len()))
                .hint("bring large files in with the seed, or write them with a command"));
        }
        let mode = match &request.mode {
            None => None,
            Some(text) => Some(u32::from_str_radix(text, 8).ok().filter(|mode| *mode <= 0o7777).ok_or_else(|| {
                Error::invalid(format!("mode {text:?} is not permission bits in octal")).hint("such as 644 or 755")
            })?),
        };
        let message = ToAgent::Write(Write { path: path.clone(), size_bytes: content.len() as u64, mode });
        Ok((Self::new(workspace, connection, path, Kind::Write { content, sent: 0 }), message))
    }

    /// An edit, and the message that announces it.
    ///
    /// # Errors
    /// `Limit` when it is too large.
    pub fn edit(workspace: &str, connection: u32, request: &FileEditRequest) -> Result<(Self, ToAgent)> {
        let order = order_of(request)?;
        let files = order.edits.len();
        let path = path_of(order.edits.first().filter(|_| files == 1).map_or(WORKSPACE_DIRECTORY, |file| &file.path))?;
        let order = order.to_json();
        let size_bytes = u32::try_from(order.len()).ok().filter(|size| *size <= EDIT_ORDER_BYTES_MAX);
        let size_bytes = size_bytes.ok_or_else(|| {
            Error::limit("the edit is too large").hint("send fewer changes at once, or write the files with a command")
        })?;
        let dry_run = request.dry_run;
        let message = ToAgent::Edit(Edit { size_bytes, dry_run, credit_bytes: OUTPUT_CREDIT_BYTES });
        let editing = Editing { order, sent: 0, dry_run, answer: Vec::new(), credit_left: OUTPUT_CREDIT_BYTES };
        let mut task = Self::new(workspace, connection, path, Kind::Edit(Box::new(editing)));
        if request.patch.is_some() || request.base64.is_some() {
            task.subject = "a patch".to_owned();
        } else if files > 1 {
            task.subject = format!("{files} files");
        }
        Ok((task, message))
    }

    /// A search, and the message that asks for it.
    ///
    /// # Errors
    /// `Invalid` when the request is wrong.
    pub fn search(workspace: &str, connection: u32, request: &FileSearchRequest) -> Result<(Self, ToAgent)> {
        let path = path_of(&request.path)?;
        let searching = Searching::new(&path, request);
        let message = ToAgent::Search(searching.asked.clone());
        Ok((Self::new(workspace, connection, path, Kind::Search(Box::new(searching))), message))
    }

    /// A deletion, and the message that asks for it.
    ///
    /// # Errors
    /// `Invalid` when the request is wrong.
    pub fn delete(workspace: &str, connection: u32, request: &FileDeleteRequest) -> Result<(Self, ToAgent)> {
        let path = path_of(&request.path)?;
        let message = ToAgent::Delete(Delete { path: path.clone(), recursive: request.recursive });
        Ok((Self::new(workspace, connection, path, Kind::Names(Naming::Delete)), message))
    }

    /// A move, and the message that asks for it.
    ///
    /// # Errors
    /// `Invalid` when the request is wrong.
    pub fn rename(workspace: &str, connection: u32, request: &FileMoveRequest) -> Result<(Self, ToAgent)> {
        let (from, to) = (path_of(&request.from)?, path_of(&request.to)?);
        let message = ToAgent::Move(Move { from: from.clone(), to: to.clone(), overwrite: request.overwrite });
        let subject = format!("{} to {}", from.shown(), to.shown());
        let mut task = Self::new(workspace, connection, from, Kind::Names(Naming::Move { to }));
        task.subject = subject;
        Ok((task, message))
    }

    /// A new directory, and the message that asks for it.
    ///
    /// # Errors
    /// `Invalid` when the request is wrong.
    pub fn mkdir(workspace: &str, connection: u32, request: &FileMkdirRequest) -> Result<(Self, ToAgent)> {
        let path = path_of(&request.path)?;
        let message = ToAgent::MakeDirectory(MakeDirectory { path: path.clone() });
        Ok((Self::new(workspace, connection, path, Kind::Names(Naming::MakeDirectory)), message))
    }

    /// A diff of layers that lie inside, and the message that asks for it.
    pub fn diff(workspace: &str, connection: u32, path: SandboxPath, request: &DiffRequest) -> (Self, ToAgent) {
        let stat = request.stat || request.name_only;
        let message = ToAgent::Diff(Diff { path: path.clone(), stat, binary: request.binary, credit_bytes: OUTPUT_CREDIT_BYTES });
        let claimed = Claimed {
            stat,
            changes: Vec::new(),
            last_path: Vec::new(),
            changes_bytes: 0,
            patch: Vec::new(),
            credit_left: OUTPUT_CREDIT_BYTES,
        };
        (Self::new(workspace, connection, path, Kind::Diff(Box::new(claimed))), message)
    }

    /// Everything on disk first, for a call that copies it.
    pub fn sync(workspace: &str, connection: u32, call: Call) -> (Self, ToAgent) {
        (Self::new(workspace, connection, SandboxPath::workspace(), Kind::Sync(Box::new(call))), ToAgent::Sync)
    }

    fn new(workspace: &str, connection: u32, path: SandboxPath, kind: Kind) -> Self {
        Self {
            connection: Some(connection),
            subject: path.shown().to_owned(),
            workspace: workspace.to_owned(),
            path,
            deadline: Instant::now() + kind.time_max(),
            kind,
            given_up: None,
        }
    }

    /// When something is due next.
    pub fn deadline(&self) -> Instant {
        self.deadline
    }

    /// Nobody waits for it any more. True when the agent must be told to give it up now.
    pub fn cancel(&mut self, kill_confirm: Duration) -> bool {
        if self.given_up.is_some() {
            return false;
        }
        self.given_up = Some(GivenUp::Cancelled);
        self.deadline = Instant::now() + kill_confirm;
        true
    }

    /// What is due at `now`.
    pub fn due(&mut self, now: Instant, kill_confirm: Duration) -> Due {
        if now < self.deadline {
            return Due::Nothing;
        }
        if self.given_up.is_some() {
            return Due::Distrust;
        }
        self.given_up = Some(GivenUp::TooSlow(self.kind.time_max()));
        self.deadline = now + kill_confirm;
        Due::Kill
    }

    /// What the log has a line for it as: what only looks leaves none.
    pub fn recorded_as(&self) -> Option<&'static str> {
        match &self.kind {
            Kind::Write { .. } => Some(FileWrite::NAME),
            Kind::Edit(editing) => (!editing.dry_run).then_some(FileEdit::NAME),
            Kind::Names(Naming::Delete) => Some(FileDelete::NAME),
            Kind::Names(Naming::Move { .. }) => Some(FileMove::NAME),
            Kind::Names(Naming::MakeDirectory) => Some(FileMkdir::NAME),
            Kind::List { .. } | Kind::Read(_) | Kind::Search(_) | Kind::Diff(_) | Kind::Sync(_) => None,
        }
    }

    /// Whether it is a diff.
    pub fn is_diff(&self) -> bool {
        matches!(self.kind, Kind::Diff(_))
    }

    /// What of its content goes with the request.
    pub fn first_piece(&mut self) -> Vec<u8> {
        let (content, sent) = match &mut self.kind {
            Kind::Write { content, sent } => (&*content, sent),
            Kind::Edit(editing) => (&editing.order, &mut editing.sent),
            Kind::List { .. } | Kind::Read(_) | Kind::Search(_) | Kind::Names(_) | Kind::Diff(_) | Kind::Sync(_) => {
                return Vec::new();
            }
        };
        let end = content.len().min(INPUT_CREDIT_BYTES as usize);
        *sent = end;
        content[..end].to_vec()
    }

    /// A message of the agent on this channel.
    ///
    /// # Errors
    /// When it may not come now.
    pub fn message(&mut self, message: FromAgent) -> Result<Step, Violation> {
        if let FromAgent::Failed(failed) = &message {
            let shown = self.path.shown();
            return Ok(Step::Done(Err(match self.given_up {
                None => match &self.kind {
                    Kind::Diff(_) => explain_diff(failed),
                    Kind::Sync(_) => Error::unavailable("what was written could not be put on disk")
                        .because(std::io::Error::from_raw_os_error(failed.errno)),
                    Kind::Names(naming) => naming.explain(failed, &self.path).unwrap_or_else(|| explain(failed, &self.path)),
                    Kind::List { .. } | Kind::Read(_) | Kind::Write { .. } | Kind::Edit(_) | Kind::Search(_) => {
                        explain(failed, &self.path)
                    }
                },
                Some(GivenUp::TooSlow(after)) => {
                    Error::timeout(format!("the request about {shown} took longer than {} s", after.as_secs()))
                }
                Some(GivenUp::Cancelled) => Error::new(ErrorKind::Cancelled, format!("the request about {shown} was taken back")),
            })));
        }
        match (&mut self.kind, message) {
            (Kind::List { limit, entries }, FromAgent::Entries(page)) => {
                if entries.len() + page.len() > *limit {
                    return Err(Violation("more entries came than were asked for".to_owned()));
                }
                entries.extend(page.iter().map(convert));
                Ok(Step::More)
            }
            (Kind::List { entries, .. }, FromAgent::Listed(listed)) => {
                let response = list_response(&self.workspace, &self.path, std::mem::take(entries), listed)?;
                Ok(Step::Done(crate::ops::to_value(&response)))
            }
            (Kind::Read(reading), FromAgent::FileInfo(found)) => reading.found(found.size_bytes).map(|()| Step::More),
            (Kind::Read(reading), FromAgent::Entries(page)) => reading.add(&page).map(|()| Step::More),
            (Kind::Read(reading), FromAgent::Listed(listed)) => {
                Ok(Step::Done(crate::ops::to_value(&reading.listed(&self.workspace, &self.path, listed)?)))
            }
            (Kind::Read(reading), FromAgent::Done) => {
                Ok(Step::Done(crate::ops::to_value(&reading.done(&self.workspace, &self.path)?)))
            }
            (Kind::Read(reading), FromAgent::LinesRead(read)) => {
                Ok(Step::Done(crate::ops::to_value(&reading.lines(&self.workspace, &self.path, read)?)))
            }
            (Kind::Names(naming), message) => naming.response(&self.workspace, &self.path, &message).map(Step::Done),
            (Kind::Write { content, sent }, FromAgent::Credit { bytes }) => next_piece(content, sent, bytes).map(Step::Content),
            (Kind::Write { content, sent }, FromAgent::Written(written)) => {
                if *sent < content.len() {
                    return Err(Violation("a file was written before its content was sent".to_owned()));
                }
                let response = FileWriteResponse {
                    workspace: self.workspace.clone(),
                    path: self.path.shown().to_owned(),
                    size_bytes: content.len() as u64,
                    created: written.created,
                    mode: octal(written.mode),
                };
                Ok(Step::Done(crate::ops::to_value(&response)))
            }
            (Kind::Edit(editing), FromAgent::Credit { bytes }) => {
                next_piece(&editing.order, &mut editing.sent, bytes).map(Step::Content)
            }
            (Kind::Edit(editing), FromAgent::Done) => {
                let response = editing.response(&self.workspace)?;
                Ok(Step::Done(response.and_then(|response| crate::ops::to_value(&response))))
            }
            (Kind::Search(searching), FromAgent::Done) => {
                let response = searching.response(&self.workspace, &self.path)?;
                Ok(Step::Done(response.and_then(|response| crate::ops::to_value(&response))))
            }
            (Kind::Diff(claimed), FromAgent::Changes(page)) => {
                page.iter().try_for_each(|change| claimed.add(change, &self.path))?;
                Ok(Step::More)
            }
            (Kind::Diff(claimed), FromAgent::Diffed(end)) => {
                Ok(Step::Done(crate::ops::to_value(&claimed.response(&self.workspace, &end)?)))
            }
            (Kind::Sync(call), FromAgent::Synced { alive }) => Ok(Step::Synced(call.clone(), alive)),
            (
                Kind::List { .. }
                | Kind::Read(_)
                | Kind::Write { .. }
                | Kind::Edit(_)
                | Kind::Search(_)
                | Kind::Diff(_)
                | Kind::Sync(_),
                _,
            ) => Err(Violation("a file request was answered with a message that is not an answer to it".to_owned())),
        }
    }

    /// Content of the file that is being read, or of a patch.
    ///
    /// # Errors
    /// When it may not come now.
    pub fn data(&mut self, stream: Stream, bytes: &[u8]) -> Result<Step, Violation> {
        let (content, bytes_max, credit_left) = match &mut self.kind {
            Kind::Read(reading) if reading.info.is_some() => (&mut reading.content, reading.bytes_max, &mut reading.credit_left),
            Kind::Edit(editing) => (&mut editing.answer, EDIT_ANSWER_BYTES_MAX as u64, &mut editing.credit_left),
            Kind::Search(searching) => (&mut searching.answer, SEARCH_ANSWER_BYTES_MAX as u64, &mut searching.credit_left),
            Kind::Diff(claimed) if !claimed.stat => (&mut claimed.patch, PATCH_BYTES_MAX as u64, &mut claimed.credit_left),
            Kind::List { .. } | Kind::Read(_) | Kind::Write { .. } | Kind::Names(_) | Kind::Diff(_) | Kind::Sync(_) => {
                return Err(Violation("content came for a request that reads nothing".to_owned()));
            }
        };
        let length = u32::try_from(bytes.len()).unwrap_or(u32::MAX);
        let fits = content.len() as u64 + bytes.len() as u64 <= bytes_max;
        match credit_left.checked_sub(length) {
            Some(left) if fits && stream == Stream::Content => *credit_left = left,
            _ => return Err(Violation("more content came than was asked for".to_owned())),
        }
        content.extend_from_slice(bytes);
        *credit_left += length;
        Ok(Step::Credit(length))
    }
}

impl Kind {
    fn time_max(&self) -> Duration {
        match self {
            Self::List { .. } | Self::Read(_) | Self::Write { .. } | Self::Edit(_) | Self::Search(_) | Self::Names(_) => {
                FILE_TIME_MAX
            }
            Self::Diff(_) | Self::Sync(_) => DIFF_TIME_MAX,
        }
    }
}

/// The next piece of a content, for which the agent has said that it has room.
fn next_piece(content: &[u8], sent: &mut usize, room: u32) -> Result<Vec<u8>, Violation> {
    let end = sent.saturating_add(room as usize);
    if end > content.len() {
        return Err(Violation("the agent asked for more content than there is".to_owned()));
    }
    let piece = content[*sent..end].to_vec();
    *sent = end;
    Ok(piece)
}

/// Permission bits as answers show them.
pub fn octal(mode: u32) -> String {
    format!("{:04o}", mode & 0o7777)
}

fn convert(entry: &Entry) -> FileEntry {
    FileEntry {
        path: shown(&entry.path),
        kind: match entry.kind {
            EntryKind::File => FileKind::File,
            EntryKind::Directory => FileKind::Directory,
            EntryKind::Symlink => FileKind::Symlink,
            EntryKind::Other => FileKind::Other,
        },
        size_bytes: entry.size_bytes,
        mode: octal(entry.mode),
        target: entry.target.as_ref().map(shown),
    }
}

fn list_response(
    workspace: &str,
    path: &SandboxPath,
    entries: Vec<FileEntry>,
    listed: Listed,
) -> Result<FileListResponse, Violation> {
    if listed.total < entries.len() as u64 {
        return Err(Violation("a listing has more entries than it says".to_owned()));
    }
    let truncated = listed.total > entries.len() as u64 || listed.more;
    Ok(FileListResponse {
        workspace: workspace.to_owned(),
        path: path.shown().to_owned(),
        entries,
        truncated,
        entries_total: truncated.then_some(listed.total),
        uncounted: listed.more,
    })
}

fn explain(failed: &Failed, path: &SandboxPath) -> Error {
    let reason = std::io::Error::from_raw_os_error(failed.errno);
    let shown = path.shown();
    let kind = match reason.kind() {
        std::io::ErrorKind::NotFound => ErrorKind::NotFound,
        std::io::ErrorKind::StorageFull => ErrorKind::Limit,
        _ => ErrorKind::Conflict,
    };
    let error = match failed.step {
        FileStep::Open if kind == ErrorKind::NotFound => {
            return Error::not_found(format!("there is no {shown}")).hint("file list shows what is there");
        }
        FileStep::Open => Error::new(kind, format!("{shown} cannot be opened")),
        FileStep::NotAFile => return Error::conflict(format!("{shown} is not a regular file")).hint("file list shows directories"),
        FileStep::NotADirectory => return Error::conflict(format!("{shown} is not a directory")).hint("file read shows files"),
        FileStep::BadGlob => return search::bad_glob("it cannot be read"),
        FileStep::Read => Error::new(kind, format!("{shown} cannot be read")),
        FileStep::MakeParents => Error::new(kind, format!("the directories above {shown} cannot be made")),
        FileStep::Write => Error::new(kind, format!("{shown} cannot be written")),
        FileStep::Replace => Error::new(kind, format!("{shown} cannot be put in place")),
        FileStep::Fixed
        | FileStep::NotEmpty
        | FileStep::Exists
        | FileStep::IntoItself
        | FileStep::Delete
        | FileStep::Move
        | FileStep::MoveAway => Error::new(kind, format!("{shown} cannot be changed")),
    };
    error.because(reason)
}

/// Why there is no diff, in the words of one that is made outside.
fn explain_diff(failed: &Failed) -> Error {
    let errno = Errno::from_raw_os_error(failed.errno);
    match errno {
        // A name that the link does not carry, or more than one answer holds.
        Errno::FBIG | Errno::NAMETOOLONG => diff::unreadable(ErrorKind::Limit),
        errno => diff::unreadable(ErrorKind::Unavailable).because(std::io::Error::from(errno)),
    }
}
