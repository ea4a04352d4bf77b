//! Listings of some names, lines, deletions, moves and new directories, where the agent does them.

use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};
use std::path::Path;

use pyro_wire::message::{Delete, Failed, FileStep, List, Listed, MakeDirectory, Move, Part, Read, Selection};
use pyro_wire::{Frame, FromAgent, Stream, ToAgent};
use rustix::io::Errno;

use crate::client::{Client, path};
use crate::files::all_names;

fn at(directory: &Path, name: &str) -> pyro_wire::SandboxPath {
    path(directory.join(name).to_str().expect("UTF-8"))
}

fn failed(step: FileStep, errno: Errno) -> FromAgent {
    FromAgent::Failed(Failed { errno: errno.raw_os_error(), step })
}

fn ask(client: &mut Client, request: ToAgent) -> FromAgent {
    let channel = client.open(request);
    client.message(channel)
}

fn delete(client: &mut Client, directory: &Path, name: &str, recursive: bool) -> FromAgent {
    ask(client, ToAgent::Delete(Delete { path: at(directory, name), recursive }))
}

fn rename(client: &mut Client, directory: &Path, from: &str, to: &str, overwrite: bool) -> FromAgent {
    ask(client, ToAgent::Move(Move { from: at(directory, from), to: at(directory, to), overwrite }))
}

fn mkdir(client: &mut Client, directory: &Path, name: &str) -> FromAgent {
    ask(client, ToAgent::MakeDirectory(MakeDirectory { path: at(directory, name) }))
}

fn write(directory: &Path, name: &str, content: &str) {
    let file = directory.join(name);
    std::fs::create_dir_all(file.parent().expect("a directory")).expect("writable");
    std::fs::write(file, content).expect("writable");
}

/// Paths that are told, and how many there are.
fn list(client: &mut Client, request: List) -> (Vec<String>, Listed) {
    let channel = client.open(ToAgent::List(request));
    let mut all = Vec::new();
    loop {
        match client.message(channel) {
            FromAgent::Entries(page) => {
                all.extend(page.iter().map(|entry| String::from_utf8(entry.path.to_vec().expect("bytes")).expect("UTF-8")));
            }
            FromAgent::Listed(listed) => return (all, listed),
            other => panic!("{other:?}"),
        }
    }
}

#[test]
fn some_names_are_listed_in_the_order_of_all_and_counted() {
    let directory = tempfile::tempdir().expect("a directory");
    let top = directory.path();
    for name in ["a/b/c.rs", "a/b.rs", "a.rs", "target/x.rs", ".hidden/y.rs", "z.txt"] {
        write(top, name, "");
    }
    write(top, ".gitignore", "target\n");
    symlink("a.rs", top.join("link.rs")).expect("writable");
    let mut client = Client::new();
    let mut of = |globs: &[&str], ignored, depth, entries_max| {
        let globs = globs.iter().map(|glob| (*glob).to_owned()).collect();
        let selection = Selection { globs, hidden: true, ignored };
        list(&mut client, List { path: at(top, ""), depth, entries_max, selection })
    };
    let all = |total| Listed { total, more: false };
    assert_eq!(of(&["**/*.rs"], true, u32::MAX, 100).0, [".hidden/y.rs", "a/b/c.rs", "a/b.rs", "a.rs", "link.rs", "target/x.rs"]);
    assert_eq!(of(&["**/*.rs"], true, u32::MAX, 2), (vec![".hidden/y.rs".to_owned(), "a/b/c.rs".to_owned()], all(6)));
    assert_eq!(of(&["*.rs"], true, 1, 100).0, ["a.rs", "link.rs"]);
    assert_eq!(of(&["!*.rs"], false, u32::MAX, 100).0, [".gitignore", ".hidden", "a", "a/b", "z.txt"]);
    assert_eq!(of(&[], false, 1, 100).0, [".gitignore", ".hidden", "a", "a.rs", "link.rs", "z.txt"]);
    // Without any rule, cut: the rest is counted.
    assert_eq!(of(&[], true, 9, 3).1, all(12));
    assert_eq!(of(&[], true, 9, 12).1, all(12));
}

#[test]
fn lines_come_with_where_they_are_and_a_directory_is_listed() {
    let directory = tempfile::tempdir().expect("a directory");
    let top = directory.path();
    write(top, "file", &(1..=100_000).map(|number| format!("line {number}\n")).collect::<String>());
    let mut client = Client::new();
    let mut read = |name: &str, part| {
        let channel = client.open(ToAgent::Read(Read { path: at(top, name), part, bytes_max: 1 << 20, credit_bytes: 1 << 20 }));
        let mut content = Vec::new();
        loop {
            match client.receive() {
                Frame::Control { channel: of, message: FromAgent::FileInfo(_) } if of == channel => {}
                Frame::Data { stream: Stream::Content, bytes, .. } => content.extend(bytes),
                Frame::Control { message, .. } => return (String::from_utf8(content).expect("UTF-8"), message),
                other => panic!("{other:?}"),
            }
        }
    };
    let (content, end) = read("file", Part::Lines { first: 60_000, last: Some(60_001) });
    assert_eq!(content, "line 60000\nline 60001\n");
    assert!(matches!(end, FromAgent::LinesRead(read) if (read.first, read.total) == (Some(60_000), Some(100_000))), "{end:?}");
    let (content, end) = read("file", Part::LastLines(2));
    assert_eq!(content, "line 99999\nline 100000\n");
    assert!(matches!(end, FromAgent::LinesRead(read) if (read.first, read.total) == (Some(99_999), Some(100_000))), "{end:?}");
    let (content, end) = read("", Part::From(0));
    assert!(content.is_empty() && matches!(&end, FromAgent::Entries(page) if page.len() == 1), "{end:?}");
}

#[test]
fn deleting_takes_what_is_named_and_nothing_behind_a_link() {
    let outside = tempfile::tempdir().expect("a directory");
    write(outside.path(), "kept", "");
    let directory = tempfile::tempdir().expect("a directory");
    let top = directory.path();
    write(top, "file", "");
    write(top, "full/a/b", "");
    std::fs::create_dir(top.join("empty")).expect("writable");
    symlink(outside.path(), top.join("way")).expect("writable");
    symlink(outside.path(), top.join("full/way")).expect("writable");
    let mut client = Client::new();
    let gone = |entries| FromAgent::Deleted { entries };
    assert_eq!(delete(&mut client, top, "file", false), gone(1));
    assert_eq!(delete(&mut client, top, "file", true), failed(FileStep::Open, Errno::NOENT));
    assert_eq!(delete(&mut client, top, "empty", false), gone(1));
    assert_eq!(delete(&mut client, top, "full", false), failed(FileStep::NotEmpty, Errno::NOTEMPTY));
    assert_eq!(delete(&mut client, top, "way/kept", true), failed(FileStep::Open, Errno::LOOP));
    assert_eq!(delete(&mut client, top, "full", true), gone(4));
    assert_eq!(delete(&mut client, top, "way", true), gone(1));
    assert!(outside.path().join("kept").exists() && std::fs::read_dir(top).expect("readable").count() == 0);
    for fixed in ["/", "/workspace", "/proc", "/proc/self/.."] {
        let answer = ask(&mut client, ToAgent::Delete(Delete { path: path(fixed), recursive: true }));
        assert_eq!(answer, failed(FileStep::Fixed, Errno::BUSY), "{fixed}");
    }
}

#[test]
fn moving_keeps_what_a_thing_is_and_never_takes_a_place_unasked() {
    let directory = tempfile::tempdir().expect("a directory");
    let top = directory.path();
    write(top, "file", "content");
    std::fs::set_permissions(top.join("file"), std::fs::Permissions::from_mode(0o640)).expect("ours");
    write(top, "there", "old");
    write(top, "tree/a/b", "");
    symlink("nowhere", top.join("link")).expect("writable");
    let before = std::fs::metadata(top.join("file")).expect("there");
    let mut client = Client::new();
    let (new, instead) = (FromAgent::Moved { replaced: false }, FromAgent::Moved { replaced: true });
    assert_eq!(rename(&mut client, top, "file", "deep/er/file", false), new);
    let after = std::fs::metadata(top.join("deep/er/file")).expect("there");
    assert_eq!((after.mode(), after.mtime_nsec(), after.ino()), (before.mode(), before.mtime_nsec(), before.ino()));
    let exists = failed(FileStep::Exists, Errno::EXIST);
    assert_eq!(rename(&mut client, top, "deep/er/file", "there", false), exists);
    assert_eq!(rename(&mut client, top, "deep/er/file", "tree", true), exists);
    assert_eq!(rename(&mut client, top, "tree", "there", true), exists);
    assert_eq!(rename(&mut client, top, "deep/er/file", "there", true), instead);
    assert_eq!(std::fs::read_to_string(top.join("there")).expect("there"), "content");
    assert_eq!(rename(&mut client, top, "tree", "tree/a/x", false), failed(FileStep::IntoItself, Errno::INVAL));
    assert_eq!(rename(&mut client, top, "tree", "moved", false), new);
    assert_eq!(rename(&mut client, top, "link", "other", false), new);
    assert_eq!(std::fs::read_link(top.join("other")).expect("a link"), Path::new("nowhere"));
    assert_eq!(rename(&mut client, top, "nothing", "made/x", false), failed(FileStep::Open, Errno::NOENT));
    assert!(!top.join("made").exists());
    let fixed = ask(&mut client, ToAgent::Move(Move { from: path("/proc"), to: path("/x"), overwrite: false }));
    assert_eq!(fixed, failed(FileStep::Fixed, Errno::BUSY));
}

#[test]
fn what_cannot_be_renamed_is_copied_whole() {
    // Another mount, of which every machine has one.
    let Ok(memory) = tempfile::tempdir_in("/dev/shm") else {
        println!("SKIPPED: there is no /dev/shm");
        return;
    };
    let directory = tempfile::tempdir().expect("a directory");
    let top = directory.path();
    write(top, "tree/a/file", "content");
    std::fs::hard_link(top.join("tree/a/file"), top.join("tree/again")).expect("writable");
    std::fs::set_permissions(top.join("tree/a/file"), std::fs::Permissions::from_mode(0o4750)).expect("ours");
    std::fs::set_permissions(top.join("tree/a"), std::fs::Permissions::from_mode(0o1700)).expect("ours");
    symlink("a/file", top.join("tree/link")).expect("writable");
    let before = std::fs::metadata(top.join("tree/a/file")).expect("there");
    let mut client = Client::new();
    let to = memory.path().join("sub/moved");
    let request = Move { from: at(top, "tree"), to: path(to.to_str().expect("UTF-8")), overwrite: false };
    assert_eq!(ask(&mut client, ToAgent::Move(request)), FromAgent::Moved { replaced: false });
    let after = std::fs::metadata(to.join("a/file")).expect("there");
    assert_ne!(after.dev(), before.dev());
    assert_eq!((after.mode(), after.mtime(), after.mtime_nsec()), (before.mode(), before.mtime(), before.mtime_nsec()));
    assert_eq!(after.ino(), std::fs::metadata(to.join("again")).expect("there").ino());
    assert_eq!(std::fs::metadata(to.join("a")).expect("there").mode() & 0o7777, 0o1700);
    assert!(!top.join("tree").exists());
    assert_eq!(std::fs::read_dir(to.parent().expect("a directory")).expect("readable").count(), 1, "nothing is left aside");
    // What cannot be copied stays, and leaves nothing either.
    std::fs::create_dir(top.join("odd")).expect("writable");
    let _socket = std::os::unix::net::UnixListener::bind(top.join("odd/socket")).expect("writable");
    let other = memory.path().join("other/odd");
    let request = Move { from: at(top, "odd"), to: path(other.to_str().expect("UTF-8")), overwrite: false };
    assert_eq!(ask(&mut client, ToAgent::Move(request)), failed(FileStep::Move, Errno::OPNOTSUPP));
    assert!(top.join("odd/socket").exists() && !memory.path().join("other").exists());
}

#[test]
fn directories_are_made_with_those_above_and_once() {
    let directory = tempfile::tempdir().expect("a directory");
    let top = directory.path();
    write(top, "file", "");
    symlink(".", top.join("way")).expect("writable");
    let mut client = Client::new();
    assert_eq!(mkdir(&mut client, top, "a/b/c"), FromAgent::DirectoryMade { created: true });
    assert_eq!(mkdir(&mut client, top, "a/b"), FromAgent::DirectoryMade { created: false });
    assert_eq!(std::fs::metadata(top.join("a/b/c")).expect("there").mode() & 0o7777, 0o755);
    assert_eq!(mkdir(&mut client, top, "file"), failed(FileStep::NotADirectory, Errno::NOTDIR));
    assert_eq!(mkdir(&mut client, top, "file/x"), failed(FileStep::NotADirectory, Errno::NOTDIR));
    assert_eq!(mkdir(&mut client, top, "way/x"), failed(FileStep::MakeParents, Errno::LOOP));
    let (names, _) = list(&mut client, List { path: at(top, ""), depth: 9, entries_max: 9, selection: all_names() });
    assert_eq!(names, ["a", "a/b", "a/b/c", "file", "way"]);
}
