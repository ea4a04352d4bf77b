//! Going back and forth, with real layers and a real database and nothing that runs: what an overlay would show is told from the layers.

use std::fs;

use pyro_api::ErrorKind;

use super::{Subject, Target, check, go, seal};
use crate::clock::Instant;
use crate::home::Home;
use crate::layers::{self, Naming};
use crate::manifest::{Manifest, Mount};
use crate::state::WorkspaceState;
use crate::store::{Position, Sealing, Store, WorkspaceRecord};

const ID: &str = "0123456789ab";

struct Standing {
    _directory: tempfile::TempDir,
    home: Home,
    store: Store,
    mounts: Vec<Mount>,
    position: Position,
}

/// A workspace that was just made and does not run.
fn standing() -> Standing {
    let directory = tempfile::tempdir().expect("a temporary directory");
    let home = Home::open(&directory.path().join("home")).expect("a new home");
    let mounts = vec![Mount { at: "/".into(), lowers: vec!["/environment".into()] }];
    let live = layers::make(&home, &Naming::shared(&home).unwrap(), &mounts, ID, &[]).unwrap();
    let manifest = Manifest::new(
        ID.into(),
        "one".into(),
        Default::default(),
        "debian:12".into(),
        "d".into(),
        mounts.clone(),
        (1, 64, 1024),
        "namespaces".into(),
        None,
        5,
    );
    let state = WorkspaceState::Stopped;
    let record = WorkspaceRecord { manifest, state, used_at: Instant(5), exec_count: 0, isolation: None, live, expires_at: None };
    let mut store = Store::open(&home).unwrap();
    store.insert(&record).unwrap();
    let position = store.position(ID).unwrap();
    Standing { _directory: directory, home, store, mounts, position }
}

impl Standing {
    /// What a command would do that writes a file.
    fn write(&mut self, name: &str) {
        fs::write(self.home.layer(&self.position.live).join("root").join(name), name).unwrap();
        let event = self.store.add_event(ID, "workspace exec", &format!("touch {name}"), "exited 0").unwrap();
        let subject = Subject { home: &self.home, id: ID, name: "one", mounts: &self.mounts, since: Some(event) };
        self.position = seal(&mut self.store, subject, &self.position).unwrap();
    }

    /// What a command would do after which the live layer is copied, and written to as before.
    fn write_and_copy(&mut self, name: &str) {
        fs::write(self.home.layer(&self.position.live).join("root").join(name), name).unwrap();
        let copy = layers::make_copy(&self.home, &Naming::shared(&self.home).unwrap(), &self.mounts, &self.position.live).unwrap();
        self.position = self.store.seal(ID, &self.position, Sealing::Copied(&copy), None).unwrap();
    }

    fn seal(&mut self) {
        let subject = Subject { home: &self.home, id: ID, name: "one", mounts: &self.mounts, since: None };
        self.position = seal(&mut self.store, subject, &self.position).unwrap();
    }

    fn go(&mut self, target: Target) -> Result<(), pyro_api::Error> {
        let subject = Subject { home: &self.home, id: ID, name: "one", mounts: &self.mounts, since: None };
        let gone = go(&mut self.store, subject, &self.position, &target, "there")?;
        self.position = gone.position;
        assert_eq!(self.store.position(ID).unwrap(), self.position, "what is recorded is what was answered");
        Ok(())
    }

    /// Names of all files that the layers show.
    fn files(&self) -> Vec<String> {
        let layers = self.position.stack();
        let names = layers.iter().flat_map(|layer| fs::read_dir(self.home.layer(layer).join("root")).unwrap());
        let mut names: Vec<String> = names.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
        names.sort();
        names
    }
}

#[test]
fn what_was_written_becomes_a_step_of_the_command_that_wrote_it() {
    let mut standing = standing();
    standing.write("a");
    standing.write("b");
    let steps = standing.store.steps(ID).unwrap();
    let shown: Vec<(u64, Option<u64>, &str)> = steps.iter().map(|step| (step.step, step.parent, step.subject.as_str())).collect();
    assert_eq!(shown, [(0, None, "debian:12"), (1, Some(0), "touch a"), (2, Some(1), "touch b")]);
    assert_eq!(standing.files(), ["a", "b"]);
    let (_, events) = standing.store.events(ID, 10).unwrap();
    assert_eq!(events.iter().map(|event| event.step).collect::<Vec<_>>(), [None, Some(1), Some(2)]);
}

#[test]
fn nothing_written_is_no_step() {
    let mut standing = standing();
    let subject = Subject { home: &standing.home, id: ID, name: "one", mounts: &standing.mounts, since: None };
    let before = standing.position.clone();
    assert_eq!(seal(&mut standing.store, subject, &before).unwrap(), before);
    assert_eq!(standing.store.steps(ID).unwrap().len(), 1);
}

#[test]
fn what_is_in_a_copy_already_is_no_further_step() {
    let mut standing = standing();
    standing.write("a");
    standing.write_and_copy("b");
    let copied = standing.position.clone();
    standing.seal();
    assert_eq!((standing.position.head, &standing.position.below), (copied.head, &copied.layers));
    assert_eq!(standing.files(), ["a", "b"]);
    assert!(!standing.home.layer(&copied.live).exists(), "only the copy is left");
    // Whoever writes now does so over the copy.
    standing.write("c");
    assert_eq!((standing.files(), standing.position.head), (vec!["a".to_owned(), "b".into(), "c".into()], copied.head + 1));
    standing.go(Target::Undo).unwrap();
    standing.go(Target::Undo).unwrap();
    assert_eq!(standing.files(), ["a"]);
}

#[test]
fn what_was_written_after_a_copy_is_a_step_in_the_place_of_the_copied() {
    let mut standing = standing();
    standing.write("a");
    standing.write_and_copy("b");
    standing.write_and_copy("c");
    // A file that was only in the live layer leaves nothing there when it is removed: over the copy it would be seen again.
    fs::remove_file(standing.home.layer(&standing.position.live).join("root/b")).unwrap();
    let subject = Subject { home: &standing.home, id: ID, name: "one", mounts: &standing.mounts, since: None };
    assert!(check(&standing.store, subject, &standing.position, &Target::Undo).is_ok());
    standing.seal();
    assert_eq!(standing.files(), ["a", "c"]);
    standing.go(Target::Undo).unwrap();
    assert_eq!(standing.files(), ["a", "b", "c"]);
    standing.go(Target::Undo).unwrap();
    assert_eq!(standing.files(), ["a", "b"]);
    standing.go(Target::Redo).unwrap();
    standing.go(Target::Redo).unwrap();
    assert_eq!(standing.files(), ["a", "c"]);
}

#[test]
fn undo_goes_back_one_step_at_a_time_and_redo_forth_again() {
    let mut standing = standing();
    for name in ["a", "b", "c"] {
        standing.write(name);
    }
    standing.go(Target::Undo).unwrap();
    standing.go(Target::Undo).unwrap();
    assert_eq!(standing.files(), ["a"]);
    standing.go(Target::Redo).unwrap();
    assert_eq!(standing.files(), ["a", "b"]);
    standing.go(Target::Redo).unwrap();
    assert_eq!(standing.files(), ["a", "b", "c"]);
    assert_eq!(standing.go(Target::Redo).unwrap_err().kind, ErrorKind::Conflict);
    for _ in 0..3 {
        standing.go(Target::Undo).unwrap();
    }
    let error = standing.go(Target::Undo).unwrap_err();
    assert_eq!((error.kind, error.message.as_str()), (ErrorKind::Conflict, "there is nothing to undo in one"));
}

#[test]
fn doing_something_after_an_undo_takes_redo_away_and_not_the_step() {
    let mut standing = standing();
    standing.write("a");
    standing.go(Target::Undo).unwrap();
    standing.write("b");
    assert_eq!(standing.files(), ["b"]);
    assert_eq!(standing.go(Target::Redo).unwrap_err().kind, ErrorKind::Conflict);
    standing.go(Target::Step(1)).unwrap();
    assert_eq!(standing.files(), ["a"]);
}

#[test]
fn a_reset_is_a_step_and_can_be_undone() {
    let mut standing = standing();
    standing.write("a");
    standing.write("b");
    standing.go(Target::Step(0)).unwrap();
    assert!(standing.files().is_empty());
    assert_eq!(standing.position.head, 3, "steps are never numbered twice");
    standing.go(Target::Undo).unwrap();
    assert_eq!(standing.files(), ["a", "b"]);
}

#[test]
fn a_place_that_is_not_there_is_refused_and_nothing_has_changed() {
    let mut standing = standing();
    standing.write("a");
    let before = standing.position.clone();
    let subject = Subject { home: &standing.home, id: ID, name: "one", mounts: &standing.mounts, since: None };
    for target in [Target::Step(9), Target::Redo] {
        assert!(check(&standing.store, subject, &before, &target).is_err(), "{target:?}");
    }
    assert_eq!(standing.go(Target::Step(9)).unwrap_err().kind, ErrorKind::NotFound);
    assert_eq!(standing.store.position(ID).unwrap(), before);
}

#[test]
fn old_steps_without_a_name_are_forgotten_and_undo_ends_there() {
    let mut standing = standing();
    for name in ["a", "b", "c", "d", "e"] {
        standing.write(name);
    }
    standing.store.add_snapshot(ID, "one", "keep", 2).unwrap();
    standing.store.forget_before(ID, 2).unwrap();
    let left: Vec<u64> = standing.store.steps(ID).unwrap().iter().map(|step| step.step).collect();
    assert_eq!(left, [0, 2, 3, 4, 5], "the first, the named one, and two before where it stands");
    standing.go(Target::Undo).unwrap();
    standing.go(Target::Undo).unwrap();
    assert_eq!(standing.files(), ["a", "b", "c"]);
    // The named one is there, so one more; then there is a gap.
    standing.go(Target::Undo).unwrap();
    assert_eq!(standing.go(Target::Undo).unwrap_err().kind, ErrorKind::Conflict);
    standing.go(Target::Step(0)).unwrap();
    assert!(standing.files().is_empty());
}

#[test]
fn garbage_is_what_no_way_leads_back_to() {
    let mut standing = standing();
    standing.write("undone");
    standing.go(Target::Undo).unwrap();
    standing.write("named");
    standing.store.add_snapshot(ID, "one", "keep", 2).unwrap();
    standing.go(Target::Undo).unwrap();
    standing.write("b");
    assert_eq!(standing.store.forget_left_behind().unwrap(), 1, "the step that was undone, and not the snapshot");
    let named = standing.store.named_layers(None).unwrap();
    let on_disk = layers::on_disk(&standing.home).unwrap();
    let garbage: Vec<_> = on_disk.iter().filter(|(layer, _)| !named.contains(layer)).collect();
    assert_eq!(garbage.len(), 1);
    standing.go(Target::Step(2)).unwrap();
    assert_eq!(standing.files(), ["named"]);
}

/// A machine of its own: what it writes is on a disk in its live layer, of which nobody sees what is in it.
impl Standing {
    fn disk(&self) -> std::path::PathBuf {
        layers::disk(&layers::overlay(&self.home, &self.position.live, &self.mounts[0]))
    }

    /// As a start does: a layer without a disk gets a copy of the uppermost below it.
    fn start_machine(&self) {
        let stack = layers::stack(&self.home, &self.mounts, &self.position.below, &self.position.live);
        if self.disk().exists() {
            return;
        }
        match stack[0].lowers[..stack[0].sealed].first() {
            Some(below) => layers::copy_disk(&layers::disk(below), &self.disk()).unwrap(),
            None => fs::write(self.disk(), "blank").unwrap(),
        }
    }

    fn write_to_disk(&self, text: &str) -> Option<crate::store::OpenEvent> {
        self.start_machine();
        let before = fs::read_to_string(self.disk()).unwrap();
        fs::write(self.disk(), format!("{before} {text}")).unwrap();
        Some(self.store_event(text))
    }

    fn store_event(&self, text: &str) -> crate::store::OpenEvent {
        Store::open(&self.home).unwrap().add_event(ID, "workspace exec", text, "exited 0").unwrap()
    }

    fn seal_disk(&mut self, since: Option<crate::store::OpenEvent>) {
        let subject = Subject { home: &self.home, id: ID, name: "one", mounts: &self.mounts, since };
        self.position = seal(&mut self.store, subject, &self.position).unwrap();
    }

    fn on_disk(&self) -> String {
        self.start_machine();
        fs::read_to_string(self.disk()).unwrap()
    }
}

#[test]
fn the_disk_of_a_machine_is_a_layer_that_needs_no_other() {
    let mut standing = standing();
    let since = standing.write_to_disk("one");
    standing.seal_disk(since);
    let first = standing.position.layers.clone();
    assert_eq!((first.len(), &standing.position.below, standing.disk().exists()), (1, &first, false));
    // It goes on with a copy, and what was sealed stays as it is.
    let since = standing.write_to_disk("two");
    assert_eq!(standing.on_disk(), "blank one two");
    standing.seal_disk(since);
    assert_eq!(standing.position.layers.len(), 1);
    assert_eq!(
        fs::read_to_string(layers::disk(&layers::overlay(&standing.home, &first[0], &standing.mounts[0]))).unwrap(),
        "blank one"
    );
    standing.go(Target::Undo).unwrap();
    assert_eq!(standing.on_disk(), "blank one");
}

#[test]
fn a_machine_that_was_started_and_did_nothing_has_nothing_to_undo_of_that() {
    let mut standing = standing();
    let since = standing.write_to_disk("one");
    standing.seal_disk(since);
    let head = standing.position.head;
    standing.go(Target::Step(0)).unwrap();
    assert_eq!(standing.on_disk(), "blank");
    // It has a disk again, to which only its kernel has written.
    let (live, reset) = (standing.position.live.clone(), standing.position.head);
    standing.seal_disk(None);
    assert_eq!(standing.position.head, reset, "no step was made of it");
    assert!(standing.position.live != live && !standing.disk().exists());
    // So what is undone is the reset.
    standing.go(Target::Undo).unwrap();
    assert_eq!((standing.position.head, standing.on_disk().as_str()), (head, "blank one"));
}

#[test]
fn while_a_machine_stands_on_a_copy_of_its_disk_what_was_done_says_whether_it_has_changed() {
    let mut standing = standing();
    let since = standing.write_to_disk("one");
    let naming = Naming::shared(&standing.home).unwrap();
    let copy = layers::make_copy(&standing.home, &naming, &standing.mounts, &standing.position.live).unwrap();
    drop(naming);
    standing.position = standing.store.seal(ID, &standing.position, Sealing::CopiedWhole(&copy), since).unwrap();
    let is_settled =
        |standing: &Standing, since| super::is_settled(&standing.home, &standing.mounts, &standing.position, since).unwrap();
    assert!(is_settled(&standing, None));
    assert_eq!(standing.position.layers, [copy]);
    let since = standing.write_to_disk("two");
    assert!(!is_settled(&standing, since));
    standing.seal_disk(since);
    standing.go(Target::Undo).unwrap();
    assert_eq!(standing.on_disk(), "blank one");
    standing.seal_disk(None);
    standing.go(Target::Redo).unwrap();
    assert_eq!(standing.on_disk(), "blank one two");
}
