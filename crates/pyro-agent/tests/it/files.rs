//! File requests: what they answer, what they refuse, and that a file appears whole or not at all.

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};
use std::path::Path;

use pyro_agent::End;
use pyro_wire::limits::{ENTRIES_MAX, INPUT_CREDIT_BYTES, OUTPUT_CREDIT_BYTES};
use pyro_wire::message::{Entry, EntryKind, Failed, FileInfo, FileStep, List, Part, Read, Selection, Write, Written};
use pyro_wire::{Bytes, Frame, FromAgent, Stream, ToAgent};
use rustix::io::Errno;

use crate::client::{Client, argv, path};

fn text(path: &Path) -> &str {
    path.to_str().expect("UTF-8")
}

fn failed(step: FileStep, errno: Errno) -> FromAgent {
    FromAgent::Failed(Failed { errno: errno.raw_os_error(), step })
}

/// All names of a tree.
pub fn all_names() -> Selection {
    Selection { globs: Vec::new(), hidden: true, ignored: true }
}

fn list(client: &mut Client, at: &Path, depth: u32, entries_max: u32) -> Result<Vec<Entry>, FromAgent> {
    let channel = client.open(ToAgent::List(List { path: path(text(at)), depth, entries_max, selection: all_names() }));
    let mut all = Vec::new();
    loop {
        match client.message(channel) {
            FromAgent::Entries(entries) => all.extend(entries),
            FromAgent::Listed(_) => return Ok(all),
            other => return Err(other),
        }
    }
}

/// Reads, giving back all credit.
fn read(client: &mut Client, at: &Path, offset: u64, bytes_max: u64) -> Result<(FileInfo, Vec<u8>), FromAgent> {
    let channel =
        client.open(ToAgent::Read(Read { path: path(text(at)), part: Part::From(offset), bytes_max, credit_bytes: 1000 }));
    let info = match client.message(channel) {
        FromAgent::FileInfo(info) => info,
        other => return Err(other),
    };
    let mut content = Vec::new();
    loop {
        match client.receive() {
            Frame::Data { stream: Stream::Content, bytes, .. } => {
                content.extend(&bytes);
                client.send(channel, ToAgent::Credit { bytes: OUTPUT_CREDIT_BYTES });
            }
            Frame::Control { message: FromAgent::Done, .. } => return Ok((info, content)),
            other => panic!("{other:?}"),
        }
    }
}

fn write(client: &mut Client, at: &Path, content: &[u8], mode: Option<u32>) -> FromAgent {
    let channel = client.open(ToAgent::Write(Write { path: path(text(at)), size_bytes: content.len() as u64, mode }));
    let (mut sent, mut credit) = (0, INPUT_CREDIT_BYTES as usize);
    loop {
        while credit > 0 && sent < content.len() {
            let now = credit.min(content.len() - sent).min(64 * 1024);
            client.send_data(channel, Stream::Content, &content[sent..sent + now]);
            (sent, credit) = (sent + now, credit - now);
        }
        match client.message(channel) {
            FromAgent::Credit { bytes } => credit += bytes as usize,
            end => return end,
        }
    }
}

fn names(directory: &Path) -> Vec<String> {
    let entries = std::fs::read_dir(directory).expect("readable");
    let mut names: Vec<String> = entries.map(|entry| entry.expect("readable").file_name().to_string_lossy().into_owned()).collect();
    names.sort();
    names
}

fn mode(path: &Path) -> u32 {
    std::fs::metadata(path).expect("there").permissions().mode() & 0o7777
}

#[test]
fn ten_thousand_names_come_in_order_and_a_limit_keeps_the_first() {
    let directory = tempfile::tempdir().expect("a directory");
    let mut expected: Vec<String> = (0..10_000).map(|index| format!("file-{index}")).collect();
    for name in &expected {
        std::fs::write(directory.path().join(name), "").expect("writable");
    }
    expected.sort();
    let mut client = Client::new();
    let paths = |entries: Vec<Entry>| {
        entries.into_iter().map(|entry| String::from_utf8(entry.path.to_vec().expect("canonical")).expect("UTF-8"))
    };
    let all: Vec<String> = paths(list(&mut client, directory.path(), 1, ENTRIES_MAX).expect("it lists")).collect();
    assert!(all == expected);
    let some: Vec<String> = paths(list(&mut client, directory.path(), 1, 123).expect("it lists")).collect();
    assert!(some == expected[..123]);
}

#[test]
fn any_name_and_kind_is_listed_with_what_is_below_it() {
    let directory = tempfile::tempdir().expect("a directory");
    let at = |name: &[u8]| directory.path().join(OsStr::from_bytes(name));
    std::fs::create_dir_all(at(b"a/b/c")).expect("writable");
    std::fs::write(at(b"a/file"), "12345").expect("writable");
    std::fs::set_permissions(at(b"a/file"), std::fs::Permissions::from_mode(0o4751)).expect("ours");
    std::fs::write(at(b"new\nline"), "").expect("writable");
    std::fs::write(at(b"\xff\xfe"), "").expect("writable");
    symlink("/no/where", at(b"link")).expect("writable");
    let _socket = std::os::unix::net::UnixListener::bind(at(b"socket")).expect("writable");
    let mut client = Client::new();
    let shown = |entries: Vec<Entry>| {
        let show = |entry: Entry| (entry.path, entry.kind, entry.size_bytes, entry.target);
        entries.into_iter().map(show).collect::<Vec<_>>()
    };
    let entry = |path: &[u8], kind| (Bytes::from(path), kind, 0, None);
    let expected = [
        entry(b"a", EntryKind::Directory),
        entry(b"a/b", EntryKind::Directory),
        (Bytes::from(b"a/file".as_slice()), EntryKind::File, 5, None),
        (Bytes::from(b"link".as_slice()), EntryKind::Symlink, 0, Some(Bytes::from(b"/no/where".as_slice()))),
        entry(b"new\nline", EntryKind::File),
        entry(b"socket", EntryKind::Other),
        entry(b"\xff\xfe", EntryKind::File),
    ];
    let found = list(&mut client, directory.path(), 2, ENTRIES_MAX).expect("it lists");
    assert_eq!(found[2].mode, 0o4751);
    assert_eq!(found[2].modified_s, std::fs::metadata(at(b"a/file")).expect("there").mtime());
    assert_eq!(shown(found), expected);
    assert_eq!(shown(list(&mut client, directory.path(), 9, 3).expect("it lists"))[2].0, Bytes::from(b"a/b/c".as_slice()));
    assert_eq!(list(&mut client, &at(b"a/file"), 1, 1), Err(failed(FileStep::NotADirectory, Errno::NOTDIR)));
    assert_eq!(list(&mut client, &at(b"nothing"), 1, 1), Err(failed(FileStep::Open, Errno::NOENT)));
}

#[test]
fn long_names_that_need_escapes_still_fit_their_frames() {
    let directory = tempfile::tempdir().expect("a directory");
    for index in 0..200 {
        let name = format!("{}{index:03}", "\u{1}".repeat(250));
        symlink("\u{2}".repeat(4000), directory.path().join(name)).expect("writable");
    }
    assert_eq!(list(&mut Client::new(), directory.path(), 1, ENTRIES_MAX).expect("it lists").len(), 200);
}

#[test]
fn a_part_of_a_file_is_read_within_credit() {
    let directory = tempfile::tempdir().expect("a directory");
    let file = directory.path().join("file");
    let content: Vec<u8> = (0..300_000_u32).map(|index| (index % 251) as u8).collect();
    std::fs::write(&file, &content).expect("writable");
    std::fs::set_permissions(&file, std::fs::Permissions::from_mode(0o640)).expect("ours");
    let mut client = Client::new();
    let info = FileInfo { size_bytes: 300_000, mode: 0o640 };
    for (offset, bytes_max) in
        [(0, u64::MAX), (0, 0), (0, 10), (299_990, 100), (65_536, 65_536), (300_000, 5), (u64::MAX, 5), (1 << 63, 1)]
    {
        let start = usize::try_from(offset).map_or(content.len(), |offset| offset.min(content.len()));
        let end = start.saturating_add(usize::try_from(bytes_max).expect("64 bits")).min(content.len());
        let (found, part) = read(&mut client, &file, offset, bytes_max).expect("readable");
        assert_eq!(found, info);
        assert!(part == content[start..end], "{offset} {bytes_max}");
    }
    symlink(&file, directory.path().join("link")).expect("writable");
    assert_eq!(read(&mut client, &directory.path().join("link"), 0, 3).expect("followed").1, content[..3]);
    let (info, status) = read(&mut client, Path::new("/proc/self/status"), 0, 1 << 20).expect("readable");
    assert!(info.size_bytes == 0 && status.starts_with(b"Name:"));
}

#[test]
fn what_is_not_a_regular_file_is_refused_promptly() {
    let directory = tempfile::tempdir().expect("a directory");
    let fifo = directory.path().join("fifo");
    rustix::fs::mknodat(rustix::fs::CWD, &fifo, rustix::fs::FileType::Fifo, rustix::fs::Mode::from_raw_mode(0o644), 0)
        .expect("writable");
    let mut client = Client::new();
    let cases = [
        (fifo.as_path(), FileStep::NotAFile, Errno::INVAL),
        (Path::new("/dev/zero"), FileStep::NotAFile, Errno::INVAL),
        (Path::new("/dev/tty"), FileStep::NotAFile, Errno::INVAL),
        (directory.path(), FileStep::NotAFile, Errno::ISDIR),
        (Path::new("/"), FileStep::NotAFile, Errno::ISDIR),
    ];
    for (file, step, errno) in cases {
        // A directory is listed.
        if errno != Errno::ISDIR {
            assert_eq!(read(&mut client, file, 0, 10), Err(failed(step, errno)), "{}", file.display());
        }
        assert_eq!(write(&mut client, file, b"x", None), failed(step, errno), "{}", file.display());
    }
    assert_eq!(read(&mut client, Path::new("/no/such/file"), 0, 1), Err(failed(FileStep::Open, Errno::NOENT)));
}

#[test]
fn a_new_file_gets_its_parents_and_its_mode() {
    let directory = tempfile::tempdir().expect("a directory");
    let mut client = Client::new();
    let deep = directory.path().join("a/b/c/file");
    assert_eq!(write(&mut client, &deep, b"hello", None), FromAgent::Written(Written { created: true, mode: 0o644 }));
    assert_eq!(
        (std::fs::read(&deep).expect("there"), mode(&deep), mode(deep.parent().expect("it has"))),
        (b"hello".to_vec(), 0o644, 0o755)
    );
    let empty = directory.path().join("empty");
    assert_eq!(write(&mut client, &empty, b"", Some(0o750)), FromAgent::Written(Written { created: true, mode: 0o750 }));
    assert_eq!((std::fs::read(&empty).expect("there").len(), mode(&empty)), (0, 0o750));
    let large: Vec<u8> = (0..5_000_000_u32).map(|index| (index % 253) as u8).collect();
    write(&mut client, &deep, &large, None);
    assert!(std::fs::read(&deep).expect("there") == large);
    assert_eq!(names(directory.path()), ["a", "empty"]);
    // A parent that is a file.
    assert_eq!(write(&mut client, &empty.join("x"), b"x", None), failed(FileStep::Open, Errno::NOTDIR));
}

#[test]
fn a_replaced_file_keeps_its_mode_and_owner_and_a_link_its_place() {
    let directory = tempfile::tempdir().expect("a directory");
    let (file, link, chain) = (directory.path().join("d/file"), directory.path().join("link"), directory.path().join("chain"));
    std::fs::create_dir(directory.path().join("d")).expect("writable");
    std::fs::write(&file, "old").expect("writable");
    let owner = rustix::process::geteuid().is_root().then_some(12_345);
    std::os::unix::fs::chown(&file, owner, owner).expect("root may");
    std::fs::set_permissions(&file, std::fs::Permissions::from_mode(0o4755)).expect("ours");
    symlink("d/../d/file", &link).expect("writable");
    symlink(&link, &chain).expect("writable");
    let mut client = Client::new();
    let before = std::fs::metadata(&file).expect("there");
    assert_eq!(write(&mut client, &chain, b"new", None), FromAgent::Written(Written { created: false, mode: 0o4755 }));
    let after = std::fs::metadata(&file).expect("there");
    assert_eq!((after.uid(), after.gid(), mode(&file)), (before.uid(), before.gid(), 0o4755));
    assert_eq!(std::fs::read(&file).expect("there"), b"new");
    assert!(
        std::fs::symlink_metadata(&link).expect("there").is_symlink()
            && std::fs::symlink_metadata(&chain).expect("there").is_symlink()
    );
    // A link to nothing: the file appears where it leads.
    symlink("d/fresh", directory.path().join("dangling")).expect("writable");
    assert_eq!(
        write(&mut client, &directory.path().join("dangling"), b"x", None),
        FromAgent::Written(Written { created: true, mode: 0o644 })
    );
    assert_eq!(names(&directory.path().join("d")), ["file", "fresh"]);
    symlink("loop", directory.path().join("loop")).expect("writable");
    assert_eq!(write(&mut client, &directory.path().join("loop"), b"x", None), failed(FileStep::Open, Errno::LOOP));
}

/// Starts a write of which a part has arrived.
fn half_written(client: &mut Client, at: &Path) -> u32 {
    let channel = client.open(ToAgent::Write(Write { path: path(text(at)), size_bytes: 10_000_000, mode: None }));
    for _ in 0..4 {
        client.send_data(channel, Stream::Content, &[1; 60_000]);
    }
    // Credit says that the first bytes are in the file.
    assert!(matches!(client.message(channel), FromAgent::Credit { .. }));
    channel
}

#[test]
fn a_write_that_is_cut_off_leaves_nothing() {
    let directory = tempfile::tempdir().expect("a directory");
    let (old, new) = (directory.path().join("old"), directory.path().join("new"));
    std::fs::write(&old, "old").expect("writable");
    let mut client = Client::new();
    half_written(&mut client, &new);
    half_written(&mut client, &old);
    assert_eq!(names(directory.path()), ["old"]);
    assert_eq!(client.close(), End::LinkClosed);
    assert_eq!((names(directory.path()), std::fs::read(&old).expect("there")), (vec!["old".to_owned()], b"old".to_vec()));
}

#[test]
fn a_request_that_is_given_up_answers_and_leaves_nothing() {
    let directory = tempfile::tempdir().expect("a directory");
    let mut client = Client::new();
    let channel = half_written(&mut client, &directory.path().join("new"));
    client.send(channel, ToAgent::Kill);
    loop {
        match client.message(channel) {
            FromAgent::Credit { .. } => {}
            other => break assert_eq!(other, failed(FileStep::Write, Errno::CANCELED)),
        }
    }
    assert_eq!(names(directory.path()), [""; 0]);
    // A reader without credit, too.
    let channel =
        client.open(ToAgent::Read(Read { path: path("/etc/passwd"), part: Part::From(0), bytes_max: 100, credit_bytes: 0 }));
    assert!(matches!(client.message(channel), FromAgent::FileInfo(_)));
    client.send(channel, ToAgent::Kill);
    assert_eq!(client.message(channel), failed(FileStep::Read, Errno::CANCELED));
}

#[test]
fn a_place_that_cannot_be_written_is_an_answer() {
    let mut client = Client::new();
    // Whoever we are, nobody makes files there.
    for place in ["/sys/kernel/pyro", "/proc/sys/pyro", "/sys/kernel/a/b"] {
        match write(&mut client, Path::new(place), b"x", None) {
            FromAgent::Failed(Failed { errno, .. }) => {
                let errno = Errno::from_raw_os_error(errno);
                assert!(matches!(errno, Errno::ACCESS | Errno::PERM | Errno::NOENT | Errno::ROFS), "{place}: {errno}");
            }
            other => panic!("{place}: {other:?}"),
        }
    }
}

#[test]
fn a_long_listing_holds_up_nobody() {
    let mut client = Client::new();
    let listing =
        client.open(ToAgent::List(List { path: path("/usr"), depth: 100, entries_max: ENTRIES_MAX, selection: all_names() }));
    let command = client.open(ToAgent::Spawn(argv(&["echo", "quick"])));
    let (mut entries, mut ended_at) = (0, None);
    loop {
        match client.receive() {
            Frame::Control { channel, message: FromAgent::Entries(more) } if channel == listing => entries += more.len(),
            Frame::Control { channel, message: FromAgent::Exited(_) } if channel == command => ended_at = Some(entries),
            Frame::Control { channel, message: FromAgent::Listed(_) } if channel == listing => break,
            Frame::Data { channel, .. } | Frame::Control { channel, message: FromAgent::Started { .. } } if channel == command => {}
            other => panic!("{other:?}"),
        }
    }
    assert!(ended_at.is_some_and(|at| at < entries), "the command ended after {ended_at:?} of {entries} entries");
}
