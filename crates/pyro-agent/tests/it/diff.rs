//! What changed, told by the agent from layers that are made here by hand as an overlay leaves them. What the outside makes of such an answer
//! is tested there.

use std::ffi::OsStr;
use std::fs::{self, Permissions};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use pyro_agent::Layers;
use pyro_layer::Marks;
use pyro_wire::limits::ENTRIES_PER_FRAME_MAX;
use pyro_wire::message::{Change, ChangeStatus, Diff, Diffed, EntryKind, Failed, FileStep, ModeChange};
use pyro_wire::{Bytes, Frame, FromAgent, Stream, ToAgent};
use rustix::fs::{CWD, FileType, Mode, XattrFlags};
use rustix::io::Errno;

use crate::client::{Client, path};

/// An upper and one lower layer, both with an empty workspace, and the marks that anybody may make.
fn layers(directory: &tempfile::TempDir) -> Layers {
    let layer = |name: &str| {
        let layer = directory.path().join(name);
        fs::create_dir_all(layer.join("workspace")).expect("writable");
        layer
    };
    Layers { upper: layer("upper"), lowers: vec![layer("lower")], marks: Marks::User }
}

fn write(layer: &Path, name: &str, content: &str) {
    fs::write(layer.join(name), content).expect("writable");
}

/// The mark of a deletion: a device where we may make one, else the attribute that stands for it.
fn white_out(layer: &Path, name: &str) {
    let path = layer.join(name);
    if let Err(error) = rustix::fs::mknodat(CWD, &path, FileType::CharacterDevice, Mode::empty(), 0) {
        assert_eq!(error, Errno::PERM, "a device can neither be made nor is it forbidden");
        fs::write(&path, "").expect("writable");
        rustix::fs::setxattr(&path, c"user.overlay.whiteout", b"y", XattrFlags::empty()).expect("attributes");
    }
}

fn ask(client: &mut Client, at: &str, stat: bool) -> Result<(Vec<Change>, String, u64), Failed> {
    // Little credit, so that all that is given back matters.
    let channel = client.open(ToAgent::Diff(Diff { path: path(at), stat, binary: false, credit_bytes: 10 }));
    let (mut changes, mut patch) = (Vec::new(), Vec::new());
    loop {
        match client.receive() {
            Frame::Control { message: FromAgent::Changes(page), .. } => {
                assert!(patch.is_empty(), "changes come before the patch");
                changes.extend(page);
            }
            Frame::Data { stream: Stream::Content, bytes, .. } => {
                assert!(bytes.len() <= 10, "{} bytes are beyond the credit", bytes.len());
                client.send(channel, ToAgent::Credit { bytes: u32::try_from(bytes.len()).expect("a frame") });
                patch.extend(bytes);
            }
            Frame::Control { message: FromAgent::Diffed(Diffed { omitted }), .. } => {
                return Ok((changes, String::from_utf8(patch).expect("text"), omitted));
            }
            Frame::Control { message: FromAgent::Failed(failed), .. } => return Err(failed),
            other => panic!("{other:?}"),
        }
    }
}

fn failed(step: FileStep, errno: Errno) -> Failed {
    Failed { errno: errno.raw_os_error(), step }
}

#[test]
fn what_changed_is_told_with_its_patch() {
    let directory = tempfile::tempdir().expect("a directory");
    let layers = layers(&directory);
    let (upper, lower) = (layers.upper.clone(), layers.lowers[0].clone());
    write(&lower, "workspace/edited", "one\ntwo\n");
    write(&upper, "workspace/edited", "one\n2\n");
    write(&lower, "workspace/gone", "was here\n");
    white_out(&upper, "workspace/gone");
    for (layer, mode) in [(&lower, 0o644), (&upper, 0o755)] {
        write(layer, "tool", "same\n");
        fs::set_permissions(layer.join("tool"), Permissions::from_mode(mode)).expect("ours");
    }
    fs::write(upper.join(OsStr::from_bytes(b"workspace/\xff")), "\0").expect("writable");
    let change = |path: &[u8], status, added_lines, removed_lines| Change {
        path: Bytes::from(path),
        status,
        from: None,
        kind: EntryKind::File,
        mode_change: None,
        added_lines,
        removed_lines,
        binary: false,
    };
    let tool = Change { mode_change: Some(ModeChange { old: 0o644, new: 0o755 }), ..change(b"tool", ChangeStatus::Modified, 0, 0) };
    let edited = change(b"workspace/edited", ChangeStatus::Modified, 1, 1);
    let gone = change(b"workspace/gone", ChangeStatus::Deleted, 0, 1);
    let binary = Change { binary: true, ..change(b"workspace/\xff", ChangeStatus::Added, 0, 0) };

    let mut client = Client::with_layers(layers);
    let (changes, patch, omitted) = ask(&mut client, "/workspace", false).expect("a diff");
    assert_eq!(changes, [edited.clone(), gone.clone(), binary.clone()]);
    let expected = "diff --git a/edited b/edited\n--- a/edited\n+++ b/edited\n@@ -1,2 +1,2 @@\n one\n-two\n+2\n\
        diff --git a/gone b/gone\ndeleted file mode 100644\n--- a/gone\n+++ /dev/null\n@@ -1 +0,0 @@\n-was here\n";
    assert!(patch.starts_with(expected) && patch.ends_with("differ\n"), "{patch}");
    assert_eq!(omitted, 0);
    let counted = ask(&mut client, "/", true).expect("a diff");
    assert_eq!(counted, (vec![tool, edited, gone.clone(), binary], String::new(), 0));
    assert_eq!(ask(&mut client, "gone", true).expect("a diff").0, [gone]);
    assert_eq!(ask(&mut client, "/nowhere", false).expect("a diff"), (Vec::new(), String::new(), 0));
}

#[test]
fn marks_that_the_overlay_does_not_obey_delete_nothing() {
    let directory = tempfile::tempdir().expect("a directory");
    let layers = layers(&directory);
    write(&layers.lowers[0], "workspace/kept", "kept\n");
    rustix::fs::setxattr(layers.upper.join("workspace"), c"user.overlay.opaque", b"y", XattrFlags::empty()).expect("attributes");
    let hidden = ask(&mut Client::with_layers(layers.clone()), "/", true).expect("a diff").0;
    assert_eq!(hidden.iter().map(|change| change.status).collect::<Vec<_>>(), [ChangeStatus::Deleted]);
    // As in a machine.
    let layers = Layers { marks: Marks::Trusted, ..layers };
    assert_eq!(ask(&mut Client::with_layers(layers), "/", true).expect("a diff").0, []);
}

#[test]
fn many_changes_come_in_order_in_many_frames() {
    let directory = tempfile::tempdir().expect("a directory");
    let layers = layers(&directory);
    // Each character takes six bytes of JSON: some frames are full before they have all the changes that one may have.
    let name = |index: usize| format!("workspace/{index:04}{}", "\u{1}".repeat(if index % 200 < 100 { 200 } else { 0 }));
    let count = 10 * ENTRIES_PER_FRAME_MAX;
    for index in 0..count {
        write(&layers.upper, &name(index), "");
    }
    let mut client = Client::with_layers(layers);
    let (changes, _, _) = ask(&mut client, "/workspace", true).expect("a diff");
    let found: Vec<Bytes> = changes.into_iter().map(|change| change.path).collect();
    assert!(found == (0..count).map(|index| Bytes::Text(name(index))).collect::<Vec<_>>());
}

#[test]
fn what_cannot_be_told_fails_and_says_why() {
    let diff = |layers: Option<Layers>, at: &str| {
        let mut client = layers.map_or_else(Client::new, Client::with_layers);
        ask(&mut client, at, false).expect_err("no diff")
    };
    assert_eq!(diff(None, "/"), failed(FileStep::Open, Errno::NOSYS));

    let directory = tempfile::tempdir().expect("a directory");
    let layers = layers(&directory);
    let missing = Layers { lowers: vec![directory.path().join("missing")], ..layers.clone() };
    assert_eq!(diff(Some(missing), "/"), failed(FileStep::Read, Errno::NOENT));

    // Deeper than any path that a call takes, and so than what the link carries.
    let name = "x".repeat(250);
    let mut deep = fs::File::open(layers.upper.join("workspace")).expect("it was made");
    for _ in 0..17 {
        rustix::fs::mkdirat(&deep, name.as_str(), Mode::RWXU).expect("writable");
        let flags = rustix::fs::OFlags::RDONLY | rustix::fs::OFlags::DIRECTORY;
        deep = rustix::fs::openat(&deep, name.as_str(), flags, Mode::empty()).expect("just made").into();
    }
    assert_eq!(diff(Some(layers), "/workspace"), failed(FileStep::Read, Errno::NAMETOOLONG));
}

#[test]
fn a_diff_that_waits_for_credit_can_be_given_up() {
    let directory = tempfile::tempdir().expect("a directory");
    let layers = layers(&directory);
    write(&layers.upper, "workspace/new", "line\n");
    let mut client = Client::with_layers(layers);
    let channel = client.open(ToAgent::Diff(Diff { path: path("/workspace"), stat: false, binary: false, credit_bytes: 0 }));
    assert!(matches!(client.message(channel), FromAgent::Changes(changes) if changes.len() == 1));
    client.send(channel, ToAgent::Kill);
    assert_eq!(client.message(channel), FromAgent::Failed(failed(FileStep::Read, Errno::CANCELED)));
    // Others are served as before.
    assert_eq!(ask(&mut client, "/workspace", true).expect("a diff").0.len(), 1);
}
