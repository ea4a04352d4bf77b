//! What can be said over the link: two closed enums.
//!
//! These types are not public types. Turning a [`FromAgent`] into a value of the public surface is the validation step, and it
//! happens in the supervisor's `link`. A channel's life is written beside the request that opens it.

use serde::{Deserialize, Serialize};

pub use crate::bytes::Bytes;
use crate::path::SandboxPath;

#[cfg(test)]
pub(crate) mod tests;

/// From the supervisor to the agent.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum ToAgent {
    /// Channel 0, to the agent of a machine that waits to be used ([`FromAgent::Waiting`]), before its [`ToAgent::Hello`]. No answer.
    Wake(Wake),
    /// Channel 0, first message of a link. Answer: [`FromAgent::Hello`].
    Hello(Hello),
    /// Opens a channel for one command.
    /// Answers: `Started` or `NotStarted` (end). After `Started`: data frames `Stdout`/`Stderr` within the credit,
    /// then exactly one `Exited` (end). The supervisor may send data frames `Stdin`, [`ToAgent::StdinEnd`], `Credit`, `Resize`, `Signal`, `Inspect`, `Kill`.
    Spawn(Spawn),
    /// No more standard input on this channel.
    StdinEnd,
    /// The supervisor has room for this many more bytes of output on this channel.
    Credit {
        /// Bytes of stdout and stderr together.
        bytes: u32,
    },
    /// The terminal of the command has another size from now on; nothing happens to a command that has none.
    Resize(TerminalSize),
    /// Look what the command does just now. Answer: `Inspected`, unless it has ended.
    Inspect(Inspect),
    /// Send a signal to the command's process group; on a terminal, to that which has the foreground.
    Signal {
        /// A Linux signal number.
        signal: i32,
    },
    /// End the request, whatever it is. A command and everything that descends from it is killed; `Exited` confirms that none of
    /// it is left. A file request is given up and answers `Failed` with `ECANCELED`, unless its end was already on the way.
    Kill,
    /// Opens a channel: list a directory. Answers: `Entries`*, then `Listed` or `Failed` (end).
    List(List),
    /// Opens a channel: find lines of files. Answers: the JSON of a [`SearchAnswer`](crate::search::SearchAnswer) in data frames `Content` within the
    /// credit, then `Done` (end); or `Failed` (end).
    Search(Search),
    /// Opens a channel: read part of a file. Answers: `FileInfo`, data frames `Content` within the credit, then `Done` when bytes were asked for and
    /// `LinesRead` when lines were (end); of a directory as to a `List` of depth 1 and [`crate::limits::READ_ENTRIES_MAX`] entries; or `Failed` (end).
    Read(Read),
    /// Opens a channel: create or replace a file. The supervisor then sends exactly `size_bytes` in data frames `Content`: the first
    /// [`crate::limits::INPUT_CREDIT_BYTES`] at once, the rest within the credit that `Credit` from the agent gives, and the agent answers `Written` (end) or `Failed` (end). Nothing is visible
    /// under the name before all bytes have arrived.
    Write(Write),
    /// Opens a channel: replace texts in files or apply a patch, all of it or nothing. The supervisor then sends exactly `size_bytes` in data
    /// frames `Content`, the JSON of an [`EditOrder`](crate::edit::EditOrder), within the same credit as that of a `Write`. Answers: the JSON
    /// of an [`EditAnswer`](crate::edit::EditAnswer) in data frames `Content` within the credit, then `Done` (end); or `Failed` (end).
    Edit(Edit),
    /// Opens a channel: take something away. Answers: `Deleted` or `Failed` (end).
    Delete(Delete),
    /// Opens a channel: give something another name. Answers: `Moved` or `Failed` (end).
    Move(Move),
    /// Opens a channel: make a directory. Answers: `DirectoryMade` or `Failed` (end).
    MakeDirectory(MakeDirectory),
    /// Opens a channel: what changed in the layers that only the inside can read. Answers: `Changes`*, then the patch as data frames
    /// `Content` within the credit, then `Diffed` (end); or `Failed` (end) at any time. It fails with `ENOSYS` where the layers are read
    /// outside.
    Diff(Diff),
    /// Opens a channel: put on disk what was written. Answers: `Synced` or `Failed` (end). What is copied of the disk afterwards has everything that was written
    /// before this was asked.
    Sync,
    /// Channel 0. End every process, then exit. No answer: the link closes.
    Shutdown {
        /// How long processes have between TERM and KILL.
        grace_ms: u32,
    },
}

/// From the agent to the supervisor: every byte of it is a claim.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum FromAgent {
    /// Channel 0, first message of a machine that has booted: nothing of it is anybody's yet. It may be copied now, and each copy be woken.
    Waiting,
    /// Answer to [`ToAgent::Hello`].
    Hello(AgentHello),
    /// The command runs.
    Started {
        /// Process id as the inside sees it.
        pid: u32,
    },
    /// Answer to [`ToAgent::Inspect`].
    Inspected {
        /// Something of it is blocked in reading its input or a terminal, and will be until somebody types.
        waits_for_input: bool,
        /// What may be why a line failed that was typed into it; of nothing, when none was said to have.
        trouble: Box<Trouble>,
    },
    /// The command could not be started. Ends the channel.
    NotStarted(NotStarted),
    /// The command ended. Ends the channel; no data frame follows.
    Exited(Exited),
    /// Part of a listing: in byte order of names in each directory, each directory followed by what is in it.
    Entries(Vec<Entry>),
    /// A listing is whole, or as long as it was asked to be. Ends the channel.
    Listed(Listed),
    /// Lines of a file have been sent. Ends the channel.
    LinesRead(LinesRead),
    /// Part of a diff: in byte order of whole paths, each path once.
    Changes(Vec<Change>),
    /// All changes and the whole patch have been sent. Ends the channel.
    Diffed(Diffed),
    /// What is being read.
    FileInfo(FileInfo),
    /// A file is in place. Ends the channel.
    Written(Written),
    /// Something is gone. Ends the channel.
    Deleted {
        /// Names that are gone: 1, and those below.
        entries: u64,
    },
    /// Something has its new name, and no longer its old one. Ends the channel.
    Moved {
        /// Something had the new name, and is gone.
        replaced: bool,
    },
    /// A directory is there. Ends the channel.
    DirectoryMade {
        /// It was not there before.
        created: bool,
    },
    /// What was written is on disk. Ends the channel.
    Synced {
        /// Processes besides the agent: they may write again.
        alive: u64,
    },
    /// The agent has room for this many more bytes of `Content` or `Stdin` on this channel.
    Credit {
        /// Bytes.
        bytes: u32,
    },
    /// The request is answered in full. Ends the channel.
    Done,
    /// The request failed. Ends the channel.
    Failed(Failed),
}

/// What makes a machine that waits one of its own.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Wake {
    /// Nanoseconds since 1970: its clock stood still.
    pub unix_time_ns: u64,
    /// Fresh random bytes, at least [`crate::limits::WAKE_ENTROPY_BYTES`]: its copies know the same.
    pub entropy: Bytes,
    /// What it is known by to programs, machine-id(5): 32 hexadecimal digits, the same at each start.
    pub machine_id: String,
    /// It has a disk with a seed.
    pub seeded: bool,
    /// Processes and threads that it may have at one time.
    pub pids_max: u64,
}

/// First message of a link.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Hello {
    /// Chosen outside for this link: bytes of an earlier life must be recognisable.
    pub nonce: u64,
    /// Build id of the supervisor's binary; the agent's must be equal.
    pub build: String,
    /// Host name to report; already set by the backend where it can.
    pub hostname: String,
}

/// The agent's answer.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AgentHello {
    /// The nonce of the hello, as it was.
    pub nonce: u64,
    /// Build id of the agent's binary.
    pub build: String,
    /// What the agent found when it tried things from inside, before any workload ran.
    pub probes: Vec<Probe>,
}

/// Something the agent tried from inside.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Probe {
    /// Which guarantee this is about.
    pub name: ProbeName,
    /// The guarantee held when it was tried.
    pub held: bool,
    /// What was tried and what came back, for people; ASCII, one line.
    pub detail: String,
}

/// The guarantees that can be tried from inside.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ProbeName {
    /// The process tree has only this sandbox's processes, and the agent is PID 1.
    OwnProcesses,
    /// Root of the file system is a mount of its own, and mounting is refused.
    OwnFileSystem,
    /// User ids are mapped: `uid_map` is not the host's identity map.
    OwnUserIds,
    /// There is no network interface but loopback.
    NoNetwork,
    /// `no_new_privs` is set.
    NoNewPrivileges,
    /// No capability outside the allowed set is held or can be gained.
    FewCapabilities,
    /// A system call filter is loaded, and calls that it must refuse are refused.
    SyscallFilter,
}

/// A command to start.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Spawn {
    /// What to run.
    pub program: Program,
    /// Whole environment of the command, `NAME=value` each. A `PATH` in it is used to find the program; without one it is
    /// `/bin:/usr/bin`, as in the C library.
    pub env: Vec<String>,
    /// Working directory; must exist.
    pub cwd: SandboxPath,
    /// Standard input: a pipe fed by `Stdin` frames, or `/dev/null`.
    pub stdin: bool,
    /// A terminal of this size for all three instead, which controls the command's session: what is written to it comes as `Stdout`, `Stdin` frames are
    /// what is typed, and there is no end of input but what is typed for one.
    pub terminal: Option<TerminalSize>,
    /// Bytes of output that may be sent before `Credit` gives more.
    pub credit_bytes: u32,
}

/// Size of a terminal, characters.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TerminalSize {
    /// Characters in a row, at least 1.
    pub columns: u16,
    /// Rows, at least 1.
    pub rows: u16,
}

/// What to run.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Program {
    /// A program and its arguments; no shell is involved.
    Argv(Vec<String>),
    /// One line for the sandbox's shell: `/bin/bash` when it is there, else `/bin/sh`.
    Shell(String),
}

/// Why a command did not start.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct NotStarted {
    /// What was being done.
    pub step: SpawnStep,
    /// Linux error number.
    pub errno: i32,
    /// The interpreter (of a script) or loader (of a program) that the file names and that is missing, when that is why.
    pub interpreter: Option<Bytes>,
    /// A program that is there and may be meant instead: of the same name elsewhere, or of nearly the same name on `PATH`.
    pub similar: Option<Bytes>,
    /// The kind of processor that the program was made for (`e_machine` of elf(5)), when that is why.
    pub machine: Option<u16>,
}

impl NotStarted {
    /// At this step with this error number, and nothing more is known.
    #[must_use]
    pub fn at(step: SpawnStep, errno: i32) -> Self {
        Self { step, errno, interpreter: None, similar: None, machine: None }
    }
}

/// Steps of starting a command.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum SpawnStep {
    /// The program was not found on `PATH` or at its path.
    Find,
    /// The working directory cannot be entered.
    ChangeDirectory,
    /// Pipes could not be made.
    Pipes,
    /// A process could not be made, or not be prepared.
    Fork,
    /// The program is there and cannot be executed.
    Execute,
}

/// How a command ended.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Exited {
    /// Exit code or signal.
    pub status: ExitStatus,
    /// Bytes of standard output that were sent in data frames: everything that the command wrote, unless `output_held_open`.
    pub stdout_bytes: u64,
    /// The same of standard error.
    pub stderr_bytes: u64,
    /// The output was still held open by another process when the drain time ended, so what that process writes from then on
    /// is not in the counts.
    pub output_held_open: bool,
    /// Processor time of the command and its waited-for children.
    pub cpu_ms: u64,
    /// Largest resident memory of one of its processes.
    pub rss_max_kib: u64,
    /// What may be why it failed; nothing when it did not.
    pub trouble: Box<Trouble>,
}

/// What the inside can see of why a command failed.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Trouble {
    /// Memory ran out while it ran, and something was killed for it. Said by a machine with a kernel of its own; of others the outside knows it.
    pub out_of_memory: bool,
    /// A directory whose file system had no room left when it had ended.
    pub disk_full: Option<Bytes>,
    /// A program that a line for the shell names and that is nowhere, when the shell says that it found none.
    pub missing: Option<Missing>,
}

/// A program that is not there.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Missing {
    /// Its name, at most [`crate::limits::NAME_BYTES_MAX`].
    pub name: String,
    /// A program that may be meant instead, as in [`NotStarted::similar`].
    pub similar: Option<Bytes>,
}

/// What to look for in a command that runs.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Inspect {
    /// A line that was typed into it has just failed.
    pub failed: Option<FailedLine>,
}

/// A line that failed in a shell.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct FailedLine {
    /// The line, at most [`crate::limits::TYPED_LINE_BYTES_MAX`]; empty when it is not known.
    pub line: String,
    /// With this status.
    pub code: u8,
}

/// Exit code or signal.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ExitStatus {
    /// It returned this code.
    Code(u8),
    /// This signal ended it.
    Signal(u8),
}

/// Which directory to list.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct List {
    /// Where.
    pub path: SandboxPath,
    /// 1 lists the directory itself, 2 its subdirectories too, and so on.
    pub depth: u32,
    /// Stop after this many entries, at most `ENTRIES_MAX`; the rest is only counted.
    pub entries_max: u32,
    /// Which entries.
    pub selection: Selection,
}

/// The end of a listing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Listed {
    /// Entries that there are, those that were not told too.
    pub total: u64,
    /// There are more: it was counted up to [`crate::limits::ENTRIES_COUNTED_MAX`].
    pub more: bool,
}

/// One thing in a directory.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Entry {
    /// Path relative to the listed directory.
    pub path: Bytes,
    /// What it is.
    pub kind: EntryKind,
    /// Size of a file, else 0.
    pub size_bytes: u64,
    /// Permission bits, 12 bits.
    pub mode: u32,
    /// Last modification, seconds since 1970.
    pub modified_s: i64,
    /// Where a symbolic link points, if that could be read.
    pub target: Option<Bytes>,
}

/// What a path names.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum EntryKind {
    /// A regular file.
    File,
    /// A directory.
    Directory,
    /// A symbolic link.
    Symlink,
    /// Device, pipe or socket.
    Other,
}

/// Which names of a tree count.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Selection {
    /// Patterns as in `.gitignore`, matched from the directory that is looked at: what matches one counts, or does not when it begins with `!`; the last that
    /// matches decides. Without any all count, and with exceptions only all others. At most [`crate::limits::GLOBS_MAX`].
    pub globs: Vec<String>,
    /// Names that begin with a dot too.
    pub hidden: bool,
    /// What `.gitignore` and `.ignore` files leave out too.
    pub ignored: bool,
}

/// What to look for in files.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Search {
    /// A directory with all below it on the same mount, or one file. A link is followed here and nowhere below.
    pub path: SandboxPath,
    /// A regular expression, or with `fixed` the text itself; at most [`crate::limits::PATTERN_BYTES_MAX`].
    pub pattern: String,
    /// The pattern is taken as it is.
    pub fixed: bool,
    /// Upper and lower case are the same.
    pub ignore_case: bool,
    /// A match may go over several lines.
    pub multiline: bool,
    /// In which files.
    pub selection: Selection,
    /// What is told of a file in which something was found.
    pub tell: SearchTell,
    /// Lines that are told before and after each line that matches, at most [`crate::limits::CONTEXT_LINES_MAX`].
    pub context: u32,
    /// Lines that match are told up to this number, or files if not lines are told; at most [`crate::limits::FOUND_MAX`].
    pub limit: u32,
    /// Bytes of `Content` that may be sent before `Credit` gives more.
    pub credit_bytes: u32,
}

/// What is told of a file in which something was found.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum SearchTell {
    /// The lines.
    Lines,
    /// That there is something: the rest of the file is not looked at.
    Files,
    /// How many lines match.
    Counts,
}

/// Which part of which file.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Read {
    /// The file; symbolic links are followed inside the sandbox.
    pub path: SandboxPath,
    /// Which part.
    pub part: Part,
    /// At most this many bytes; of lines as many whole ones as that is, or the beginning of one.
    pub bytes_max: u64,
    /// Bytes of `Content` that may be sent before `Credit` gives more.
    pub credit_bytes: u32,
}

/// Part of a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Part {
    /// From this byte on.
    From(u64),
    /// These lines.
    Lines {
        /// From 1.
        first: u64,
        /// The file's last when there is none.
        last: Option<u64>,
    },
    /// So many lines at the end.
    LastLines(u64),
}

/// Where lines are that were read.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LinesRead {
    /// First byte of the content.
    pub offset: u64,
    /// Number of the first line, from 1; `None` in a file that is too large to count up to there from its beginning.
    pub first: Option<u64>,
    /// Lines of the whole file; `None` when that is too large to be counted ([`crate::limits::LINES_COUNTED_BYTES_MAX`]).
    pub total: Option<u64>,
}

/// The file that is being read.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct FileInfo {
    /// Size of the whole file.
    pub size_bytes: u64,
    /// Permission bits, 12 bits.
    pub mode: u32,
}

/// Which changes to tell.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Diff {
    /// What is at or below this path, by text: no link is followed.
    pub path: SandboxPath,
    /// Lines are counted, and no patch is sent.
    pub stat: bool,
    /// Binary files are written whole into the patch.
    pub binary: bool,
    /// Bytes of `Content` that may be sent before `Credit` gives more.
    pub credit_bytes: u32,
}

/// One path that changed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Change {
    /// Path relative to the sandbox's root.
    pub path: Bytes,
    /// What happened to it.
    pub status: ChangeStatus,
    /// Where it was before, relative to the sandbox's root, when it was moved.
    pub from: Option<Bytes>,
    /// What it is now, or was when it is gone.
    pub kind: EntryKind,
    /// Permission bits before and after, when they are what changed.
    pub mode_change: Option<ModeChange>,
    /// Lines added, for text.
    pub added_lines: u64,
    /// Lines removed, for text.
    pub removed_lines: u64,
    /// The content is not text.
    pub binary: bool,
}

/// What happened to a path.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ChangeStatus {
    /// It was not there.
    Added,
    /// Content or mode are different.
    Modified,
    /// It is not there any more.
    Deleted,
    /// It was somewhere else, with the same content.
    Renamed,
    /// It is something else now: a link instead of a file.
    TypeChanged,
}

/// Permission bits before and after, 12 bits each.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ModeChange {
    /// Before.
    pub old: u32,
    /// After.
    pub new: u32,
}

/// The end of a diff.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Diffed {
    /// Changes whose text is not in the patch: too large, or the patch was full.
    pub omitted: u64,
}

/// An edit that is to come.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Edit {
    /// Exactly this many bytes follow, at most [`crate::limits::EDIT_ORDER_BYTES_MAX`].
    pub size_bytes: u32,
    /// It is only said what would be done.
    pub dry_run: bool,
    /// Bytes of `Content` that may be sent before `Credit` gives more.
    pub credit_bytes: u32,
}

/// A file to create or replace.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Write {
    /// The file; its parent directories are made. Symbolic links are followed: the file that a link leads to is replaced, the
    /// link stays. Owner and group of an existing file stay too.
    pub path: SandboxPath,
    /// Exactly this many bytes follow.
    pub size_bytes: u64,
    /// Permission bits; an existing file keeps its own when this is absent, a new one gets 0644.
    pub mode: Option<u32>,
}

/// A file that was put in place.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Written {
    /// It was not there before; a symbolic link to nothing counts as not there.
    pub created: bool,
    /// Permission bits now.
    pub mode: u32,
}

/// What to take away.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Delete {
    /// What: a link itself, not what it leads to. No link is followed on the way there.
    pub path: SandboxPath,
    /// A directory with all below it. Otherwise only an empty one.
    pub recursive: bool,
}

/// What to give which other name.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Move {
    /// What: a link itself, not what it leads to. No link is followed on the way there, nor to the new name.
    pub from: SandboxPath,
    /// Its whole new name; directories above are made.
    pub to: SandboxPath,
    /// A file or a link that has the new name goes. A directory never does.
    pub overwrite: bool,
}

/// A directory to make, with those above.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct MakeDirectory {
    /// Which. No link is followed on the way there.
    pub path: SandboxPath,
}

/// Why a file request failed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Failed {
    /// Linux error number.
    pub errno: i32,
    /// What was being done.
    pub step: FileStep,
}

/// Steps of a file request.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum FileStep {
    /// The path could not be opened.
    Open,
    /// It is not a regular file.
    NotAFile,
    /// It is not a directory.
    NotADirectory,
    /// Reading stopped.
    Read,
    /// A parent directory could not be made.
    MakeParents,
    /// Writing stopped.
    Write,
    /// The new file could not be put in the place of the old.
    Replace,
    /// A glob is none.
    BadGlob,
    /// It is the root, /workspace, or a mount, or has a mount below it: it stays where it is.
    Fixed,
    /// The directory is not empty.
    NotEmpty,
    /// Something has the new name.
    Exists,
    /// A directory would be moved below itself.
    IntoItself,
    /// It could not be taken away, or not all of it.
    Delete,
    /// It could not be moved, and is where it was.
    Move,
    /// It was copied to its new name, and could not be taken away, or not all of it, where it was.
    MoveAway,
}
