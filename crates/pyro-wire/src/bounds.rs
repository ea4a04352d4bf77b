//! The bounds of messages that their types alone do not hold. The codec calls this in both directions, so a decoded message is within
//! them, and a sender that would break one learns it before a byte is written.

use crate::bytes::Bytes;
use crate::frame::{Message, Violation};
use crate::limits::{
    ARGUMENT_BYTES_MAX, BUILD_ID_BYTES_MAX, CONTEXT_LINES_MAX, EDIT_ORDER_BYTES_MAX, ENTRIES_COUNTED_MAX, ENTRIES_MAX,
    ENTRIES_PER_FRAME_MAX, ERRNO_MAX, FOUND_MAX, FRAME_PAYLOAD_BYTES_MAX, GLOB_BYTES_MAX, GLOBS_MAX, HOSTNAME_BYTES_MAX,
    INPUT_CREDIT_BYTES, MODE_MAX, NAME_BYTES_MAX, PATCH_FILE_BYTES_MAX, PATH_BYTES_MAX, PATTERN_BYTES_MAX, PIDS_MAX_MIN,
    PROBE_DETAIL_BYTES_MAX, PROBES_MAX, SHUTDOWN_GRACE_MS_MAX, SIGNAL_MAX, TYPED_LINE_BYTES_MAX, WAKE_ENTROPY_BYTES,
};
use crate::message::{
    AgentHello, Change, ChangeStatus, Entry, EntryKind, ExitStatus, FromAgent, Part, Program, Search, Selection, Spawn,
    TerminalSize, ToAgent, Trouble,
};

#[cfg(test)]
mod tests;

impl Message for FromAgent {
    fn validate(&self) -> Result<(), Violation> {
        match self {
            Self::Hello(hello) => agent_hello(hello),
            Self::Started { pid } => ensure(*pid >= 1 && i32::try_from(*pid).is_ok(), || format!("{pid} is not a process id")),
            Self::NotStarted(not_started) => {
                errno(not_started.errno)?;
                let path = |what, path: &Option<Bytes>| path.as_ref().map_or(Ok(()), |path| path_bytes(what, path).map(|_| ()));
                path("an interpreter", &not_started.interpreter)?;
                path("a similar program", &not_started.similar)
            }
            Self::Exited(exited) => {
                trouble(&exited.trouble)?;
                match exited.status {
                    ExitStatus::Code(_) => Ok(()),
                    ExitStatus::Signal(number) => signal(i32::from(number)),
                }
            }
            Self::Entries(entries) => {
                at_most("entries of a frame", entries.len(), ENTRIES_PER_FRAME_MAX)?;
                ensure(!entries.is_empty(), || "a frame of a listing has no entry".to_owned())?;
                entries.iter().try_for_each(entry)
            }
            Self::Changes(changes) => {
                at_most("changes of a frame", changes.len(), ENTRIES_PER_FRAME_MAX)?;
                ensure(!changes.is_empty(), || "a frame of a diff has no change".to_owned())?;
                changes.iter().try_for_each(change)
            }
            Self::Listed(listed) => {
                ensure(listed.total <= ENTRIES_COUNTED_MAX, || format!("{} entries were counted", listed.total))
            }
            Self::LinesRead(read) => {
                ensure(read.first != Some(0), || "a line has the number 0".to_owned())?;
                ensure(read.first.is_some() || read.total.is_none(), || "lines were counted and not numbered".to_owned())
            }
            Self::Diffed(_) => Ok(()),
            Self::FileInfo(info) => mode(info.mode),
            Self::Written(written) => mode(written.mode),
            Self::Credit { bytes } => {
                ensure((1..=INPUT_CREDIT_BYTES).contains(bytes), || format!("{bytes} bytes of credit from the agent"))
            }
            Self::Deleted { entries } => ensure(*entries >= 1, || "nothing was deleted".to_owned()),
            Self::Inspected { trouble: found, .. } => trouble(found),
            Self::Waiting | Self::Done | Self::Moved { .. } | Self::DirectoryMade { .. } | Self::Synced { .. } => Ok(()),
            Self::Failed(failed) => errno(failed.errno),
        }
    }
}

impl Message for ToAgent {
    fn validate(&self) -> Result<(), Violation> {
        match self {
            Self::Hello(hello) => {
                build_id(&hello.build)?;
                at_most("bytes of a host name", hello.hostname.len(), HOSTNAME_BYTES_MAX)
            }
            Self::Wake(wake) => {
                let bytes = wake.entropy.to_vec()?.len();
                ensure((WAKE_ENTROPY_BYTES..=FRAME_PAYLOAD_BYTES_MAX / 4).contains(&bytes), || {
                    format!("{bytes} bytes of entropy")
                })?;
                let is_id =
                    wake.machine_id.len() == 32 && wake.machine_id.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'));
                ensure(is_id, || "a machine id is not 32 hexadecimal digits".to_owned())?;
                ensure(wake.pids_max >= PIDS_MAX_MIN, || format!("a limit of {} processes", wake.pids_max))
            }
            Self::Spawn(request) => spawn(request),
            Self::StdinEnd | Self::Kill | Self::Sync | Self::Diff(_) => Ok(()),
            Self::Inspect(inspect) => {
                let line = inspect.failed.as_ref().map_or(0, |failed| failed.line.len());
                at_most("bytes of a typed line", line, TYPED_LINE_BYTES_MAX)
            }
            Self::Read(read) => part(read.part),
            Self::Delete(_) | Self::Move(_) | Self::MakeDirectory(_) => Ok(()),
            Self::Credit { bytes } => ensure(*bytes >= 1, || "a credit of nothing".to_owned()),
            Self::Signal { signal: number } => signal(*number),
            Self::Resize(size) => terminal_size(*size),
            Self::List(list) => {
                ensure(list.depth >= 1, || "a listing of depth 0".to_owned())?;
                ensure((1..=ENTRIES_MAX).contains(&list.entries_max), || {
                    format!("a listing of {} entries; the limit is {ENTRIES_MAX}", list.entries_max)
                })?;
                selection(&list.selection)
            }
            Self::Search(request) => search(request),
            Self::Write(write) => write.mode.map_or(Ok(()), mode),
            Self::Edit(edit) => ensure(edit.size_bytes <= EDIT_ORDER_BYTES_MAX, || format!("an edit of {} bytes", edit.size_bytes)),
            Self::Shutdown { grace_ms } => ensure(*grace_ms <= SHUTDOWN_GRACE_MS_MAX, || {
                format!("a grace of {grace_ms} ms; the limit is {SHUTDOWN_GRACE_MS_MAX}")
            }),
        }
    }
}

fn trouble(found: &Trouble) -> Result<(), Violation> {
    found.disk_full.as_ref().map_or(Ok(()), |path| path_bytes("a full directory", path).map(|_| ()))?;
    let Some(missing) = &found.missing else { return Ok(()) };
    at_most("bytes of a missing program's name", missing.name.len(), NAME_BYTES_MAX)?;
    missing.similar.as_ref().map_or(Ok(()), |path| path_bytes("a similar program", path).map(|_| ()))
}

fn search(request: &Search) -> Result<(), Violation> {
    selection(&request.selection)?;
    at_most("bytes of a pattern", request.pattern.len(), PATTERN_BYTES_MAX)?;
    ensure(request.context <= CONTEXT_LINES_MAX, || format!("{} lines around each", request.context))?;
    ensure((1..=FOUND_MAX).contains(&request.limit), || format!("a search that tells {}; the limit is {FOUND_MAX}", request.limit))
}

fn part(part: Part) -> Result<(), Violation> {
    match part {
        Part::From(_) => Ok(()),
        Part::Lines { first, last } => {
            ensure(first >= 1 && last.is_none_or(|last| last >= first), || format!("lines from {first} to {last:?}"))
        }
        Part::LastLines(count) => ensure(count >= 1, || "the last 0 lines".to_owned()),
    }
}

fn selection(selection: &Selection) -> Result<(), Violation> {
    at_most("globs", selection.globs.len(), GLOBS_MAX)?;
    selection.globs.iter().try_for_each(|glob| at_most("bytes of a glob", glob.len(), GLOB_BYTES_MAX))
}

fn agent_hello(hello: &AgentHello) -> Result<(), Violation> {
    build_id(&hello.build)?;
    at_most("probes", hello.probes.len(), PROBES_MAX)?;
    for (index, probe) in hello.probes.iter().enumerate() {
        at_most("bytes of a probe's detail", probe.detail.len(), PROBE_DETAIL_BYTES_MAX)?;
        ensure(probe.detail.bytes().all(|byte| matches!(byte, b' '..=b'~')), || {
            "a probe's detail is not one line of printable ASCII".to_owned()
        })?;
        ensure(hello.probes.iter().skip(index.saturating_add(1)).all(|other| other.name != probe.name), || {
            format!("the probe {:?} is there twice", probe.name)
        })?;
    }
    Ok(())
}

fn build_id(build: &str) -> Result<(), Violation> {
    at_most("bytes of a build id", build.len(), BUILD_ID_BYTES_MAX)?;
    ensure(!build.is_empty() && build.bytes().all(|byte| byte.is_ascii_graphic()), || {
        "a build id is not printable ASCII".to_owned()
    })
}

fn terminal_size(size: TerminalSize) -> Result<(), Violation> {
    ensure(size.columns >= 1 && size.rows >= 1, || "a terminal without a character".to_owned())
}

fn spawn(request: &Spawn) -> Result<(), Violation> {
    request.terminal.map_or(Ok(()), terminal_size)?;
    let arguments: &[String] = match &request.program {
        Program::Argv(arguments) => {
            ensure(!arguments.is_empty(), || "a command has no program".to_owned())?;
            arguments
        }
        Program::Shell(line) => std::slice::from_ref(line),
    };
    let texts = || arguments.iter().chain(&request.env);
    // One byte each for the NUL, as the kernel counts it.
    let bytes = texts().fold(0_usize, |sum, text| sum.saturating_add(text.len()).saturating_add(1));
    at_most("bytes of arguments and environment", bytes, ARGUMENT_BYTES_MAX)?;
    ensure(texts().all(|text| !text.contains('\0')), || "an argument or variable holds a NUL byte".to_owned())?;
    ensure(request.env.iter().all(|variable| variable.find('=').is_some_and(|at| at > 0)), || {
        "an environment variable is not NAME=value".to_owned()
    })
}

fn entry(entry: &Entry) -> Result<(), Violation> {
    plain_path("an entry's path", &entry.path)?;
    mode(entry.mode)?;
    match (entry.kind, &entry.target) {
        (EntryKind::Symlink, Some(target)) => path_bytes("a link's target", target).map(|_| ()),
        (EntryKind::Symlink | EntryKind::File | EntryKind::Directory | EntryKind::Other, None) => Ok(()),
        (EntryKind::File | EntryKind::Directory | EntryKind::Other, Some(_)) => {
            Err(Violation("an entry that is no symbolic link has a target".to_owned()))
        }
    }?;
    ensure(entry.kind == EntryKind::File || entry.size_bytes == 0, || "an entry that is no file has a size".to_owned())
}

fn change(change: &Change) -> Result<(), Violation> {
    plain_path("a change's path", &change.path)?;
    if let Some(from) = &change.from {
        plain_path("a change's old path", from)?;
    }
    ensure(change.from.is_some() == (change.status == ChangeStatus::Renamed), || {
        "a change that is no move has an old path, or a move has none".to_owned()
    })?;
    if let Some(modes) = change.mode_change {
        mode(modes.old)?;
        mode(modes.new)?;
        ensure(modes.old != modes.new, || "a mode changed to what it was".to_owned())?;
    }
    for lines in [change.added_lines, change.removed_lines] {
        // A line has a byte at least, and a larger file is not looked at.
        ensure(usize::try_from(lines).is_ok_and(|lines| lines <= PATCH_FILE_BYTES_MAX), || format!("{lines} lines of one file"))?;
    }
    Ok(())
}

pub(crate) fn plain_path(what: &str, path: &Bytes) -> Result<(), Violation> {
    for name in path_bytes(what, path)?.split(|byte| *byte == b'/') {
        ensure(!matches!(name, b"" | b"." | b".."), || format!("{what} is not relative and plain"))?;
        at_most("bytes of a name", name.len(), NAME_BYTES_MAX)?;
    }
    Ok(())
}

fn path_bytes(what: &str, bytes: &Bytes) -> Result<Vec<u8>, Violation> {
    let bytes = bytes.to_vec()?;
    ensure((1..=PATH_BYTES_MAX).contains(&bytes.len()), || format!("{what} has {} bytes", bytes.len()))?;
    ensure(!bytes.contains(&0), || format!("{what} holds a NUL byte"))?;
    Ok(bytes)
}

fn mode(mode: u32) -> Result<(), Violation> {
    ensure(mode <= MODE_MAX, || format!("{mode:#o} is no permission"))
}

fn signal(number: i32) -> Result<(), Violation> {
    ensure((1..=i32::from(SIGNAL_MAX)).contains(&number), || format!("{number} is not a signal"))
}

fn errno(number: i32) -> Result<(), Violation> {
    ensure((1..=ERRNO_MAX).contains(&number), || format!("{number} is not an error number"))
}

fn at_most(what: &str, count: usize, max: usize) -> Result<(), Violation> {
    ensure(count <= max, || format!("{count} {what}; the limit is {max}"))
}

fn ensure(holds: bool, otherwise: impl FnOnce() -> String) -> Result<(), Violation> {
    if holds { Ok(()) } else { Err(Violation(otherwise())) }
}
