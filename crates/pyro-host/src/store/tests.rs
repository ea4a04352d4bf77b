//! The store against real files: what survives, what is refused, what is found.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};

use pyro_api::ErrorKind;
use pyro_api::ops::exec::Outcome;

use super::{ExecEnd, NewStep, Position, Sealing, Store, WorkspaceRecord};
use crate::clock::Instant;
use crate::home::Home;
use crate::layers::{self, LayerId, Naming};
use crate::manifest::{Manifest, Mount};
use crate::state::WorkspaceState;

fn home() -> (tempfile::TempDir, Home) {
    let directory = tempfile::tempdir().expect("a temporary directory");
    let home = Home::open(&directory.path().join("home")).expect("a new home");
    (directory, home)
}

fn workspace(id: &str, name: &str) -> WorkspaceRecord {
    let mounts = vec![Mount { at: "/".into(), lowers: vec!["/layers/x".into()] }];
    let labels = BTreeMap::from([("branch".to_owned(), "main".to_owned())]);
    let manifest = Manifest::new(
        id.into(),
        name.into(),
        labels,
        "debian:12".into(),
        "d".into(),
        mounts,
        (1, 1024, 2048),
        "namespaces".into(),
        None,
        5,
    );
    let live = LayerId::from_record(format!("live-of-{id}"));
    let state = WorkspaceState::Running;
    WorkspaceRecord { manifest, state, used_at: Instant(5), exec_count: 0, isolation: None, live, expires_at: None }
}

#[test]
fn a_workspace_is_found_by_name_id_and_unique_beginning() {
    let (_directory, home) = home();
    let mut store = Store::open(&home).unwrap();
    store.insert(&workspace("aaaaaaaaaaaa", "brave-otter")).unwrap();
    store.insert(&workspace("bbbbbbbbbbbb", "brave-yak")).unwrap();
    for wanted in ["brave-otter", "aaaaaaaaaaaa", "brave-ot", "aaa"] {
        assert_eq!(store.find(&wanted.parse().unwrap()).unwrap().manifest.id, "aaaaaaaaaaaa", "{wanted}");
    }
    let error = store.find(&"brave".parse().unwrap()).unwrap_err();
    assert_eq!((error.kind, error.hint.as_deref()), (ErrorKind::Invalid, Some("write more of it: brave-otter, brave-yak")));
    let error = store.find(&"brave-oter".parse().unwrap()).unwrap_err();
    assert_eq!((error.kind, error.hint.as_deref()), (ErrorKind::NotFound, Some("did you mean brave-otter?")));
}

#[test]
fn a_name_is_unique_among_live_workspaces_and_free_after_deletion() {
    let (_directory, home) = home();
    let mut store = Store::open(&home).unwrap();
    store.insert(&workspace("aaaaaaaaaaaa", "one")).unwrap();
    assert_eq!(store.insert(&workspace("bbbbbbbbbbbb", "one")).unwrap_err().kind, ErrorKind::Conflict);
    store.insert(&workspace("cccccccccccc", "two")).unwrap();
    let error = store.set_name_and_labels("cccccccccccc", "one", &BTreeMap::new(), None, "").unwrap_err();
    assert_eq!(error.kind, ErrorKind::Conflict);
    assert_eq!(store.get("cccccccccccc").unwrap().manifest.labels.len(), 1, "a refused update changes nothing");
    store.delete("aaaaaaaaaaaa", "one").unwrap();
    store.insert(&workspace("bbbbbbbbbbbb", "one")).unwrap();
}

#[test]
fn what_is_deleted_between_two_looks_is_told_by_its_name() {
    let (_directory, home) = home();
    let mut store = Store::open(&home).unwrap();
    store.insert(&workspace("aaaaaaaaaaaa", "one")).unwrap();
    let record = store.find(&"one".parse().unwrap()).unwrap();
    assert_eq!(store.again(&record).unwrap().manifest.name, "one");
    Store::open(&home).unwrap().delete("aaaaaaaaaaaa", "one").unwrap();
    let error = store.again(&record).unwrap_err();
    assert_eq!((error.kind, error.message.as_str()), (ErrorKind::NotFound, "workspace one was deleted meanwhile"));
}

#[test]
fn what_is_found_does_not_go_before_it_is_read() {
    let (_directory, home) = home();
    let mut store = Store::open(&home).unwrap();
    let record = workspace("aaaaaaaaaaaa", "one");
    let is_over = AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            let store = Store::open(&home).unwrap();
            while !is_over.load(Ordering::Relaxed) {
                if let Err(error) = store.find(&"one".parse().unwrap()) {
                    assert_eq!(error.message, "there is no workspace one");
                }
            }
        });
        for _ in 0..100 {
            store.insert(&record).unwrap();
            store.delete("aaaaaaaaaaaa", "one").unwrap();
        }
        is_over.store(true, Ordering::Relaxed);
    });
}

#[test]
fn a_lost_database_is_made_again_from_the_manifests() {
    let (_directory, home) = home();
    let record = workspace("aaaaaaaaaaaa", "one");
    std::fs::create_dir(home.workspace("aaaaaaaaaaaa").root()).unwrap();
    record.manifest.write(&home.workspace("aaaaaaaaaaaa")).unwrap();
    std::fs::create_dir(home.workspace("aaaaaaaaaaaa").execs()).unwrap();
    std::fs::write(home.workspace("aaaaaaaaaaaa").execs().join("7.out"), "x").unwrap();
    let naming = Naming::shared(&home).unwrap();
    let sealed = layers::make(&home, &naming, &record.manifest.mounts, "aaaaaaaaaaaa", &[]).unwrap();
    let live = layers::make(&home, &naming, &record.manifest.mounts, "aaaaaaaaaaaa", std::slice::from_ref(&sealed)).unwrap();
    // A step that was copied is newer than what goes on being written to, and not that.
    layers::make_copy(&home, &naming, &record.manifest.mounts, &live).unwrap();

    let found = Store::open(&home).unwrap().get("aaaaaaaaaaaa").unwrap();
    assert_eq!(found.manifest, record.manifest);
    assert_eq!((found.state, found.exec_count), (WorkspaceState::Stopped, 7));
    let position = Store::open(&home).unwrap().position("aaaaaaaaaaaa").unwrap();
    assert_eq!((position.live, position.layers), (live, vec![sealed]), "it stands where it stood");

    for damage in ["not a database at all, but long enough to be looked at", ""] {
        for side in ["db-wal", "db-shm"] {
            let _ = std::fs::remove_file(home.database().with_extension(side));
        }
        std::fs::write(home.database(), damage.repeat(200)).unwrap();
        let found = Store::open(&home).unwrap().workspaces().unwrap();
        assert_eq!(found.len(), 1, "{damage:?}");
    }
    let aside =
        std::fs::read_dir(home.root()).unwrap().flatten().filter(|entry| entry.file_name().to_string_lossy().contains("damaged"));
    assert_eq!(aside.count(), 1, "the damaged file is kept");
}

#[test]
fn a_database_of_a_newer_version_is_refused_and_left_alone() {
    let (_directory, home) = home();
    drop(Store::open(&home).unwrap());
    let connection = rusqlite::Connection::open(home.database()).unwrap();
    connection.pragma_update(None, "user_version", 99).unwrap();
    drop(connection);
    let Err(error) = Store::open(&home) else { panic!("a newer database was opened") };
    assert!(error.message.contains("newer"), "{error}");
    let connection = rusqlite::Connection::open(home.database()).unwrap();
    let version: i64 = connection.query_row("PRAGMA user_version", [], |row| row.get(0)).unwrap();
    assert_eq!(version, 99);
}

#[test]
fn a_database_of_the_first_version_goes_on_with_what_it_has() {
    let (_directory, home) = home();
    let connection = rusqlite::Connection::open(home.database()).unwrap();
    connection.execute_batch(super::MIGRATIONS[0]).unwrap();
    connection.pragma_update(None, "user_version", 1).unwrap();
    let row = "INSERT INTO workspace (id, name, environment, environment_digest, mounts, vcpu_count, mem_mib, isolation_minimum, created_at,
                                      used_at, state, exec_count)
               VALUES ('aaaaaaaaaaaa', 'old', 'debian:12', 'd', '[]', 2, 512, 'namespaces', 1, 2, 'stopped', 3)";
    connection.execute(row, []).unwrap();
    drop(connection);
    let found = Store::open(&home).unwrap().get("aaaaaaaaaaaa").unwrap();
    assert_eq!((found.manifest.name.as_str(), found.manifest.mem_mib, found.manifest.disk_mib), ("old", 512, 16_384));
}

#[test]
fn commands_and_events_tell_the_same_story() {
    let (_directory, home) = home();
    let mut store = Store::open(&home).unwrap();
    store.insert(&workspace("aaaaaaaaaaaa", "one")).unwrap();
    let first = store.begin_exec("aaaaaaaaaaaa", 1, "make").unwrap();
    store.begin_exec("aaaaaaaaaaaa", 2, "sleep 9").unwrap();
    let end = ExecEnd {
        outcome: &Outcome::Exited { code: 2 },
        words: "exited 2".into(),
        stdout: (100, 0),
        stderr: (5, 1),
        duration_ms: 12,
    };
    store.end_exec("aaaaaaaaaaaa", 1, first, &end).unwrap();
    store.close_open("aaaaaaaaaaaa", &Outcome::SandboxLost { reason: "power".into() }, "lost").unwrap();

    let (count, events) = store.events("aaaaaaaaaaaa", 10).unwrap();
    let told: Vec<_> = events.iter().map(|event| (event.op.as_str(), event.outcome.as_deref(), event.exec)).collect();
    assert_eq!(count, 3);
    assert_eq!(
        told,
        [
            ("workspace create", Some("ok"), None),
            ("workspace exec", Some("exited 2"), Some(1)),
            ("workspace exec", Some("lost"), Some(2))
        ]
    );
    assert_eq!(store.exec("aaaaaaaaaaaa", "one", 1).unwrap().outcome, Some(Outcome::Exited { code: 2 }));
    assert_eq!(store.exec("aaaaaaaaaaaa", "one", 3).unwrap_err().kind, ErrorKind::NotFound);
    assert_eq!(store.get("aaaaaaaaaaaa").unwrap().exec_count, 2);
}

/// A new step that is a copy, as a snapshot makes it under somebody who writes.
fn copied(store: &mut Store, snapshot: &str) -> u64 {
    let position = store.position("aaaaaaaaaaaa").unwrap();
    let new = NewStep { op: "workspace snapshot create", subject: snapshot, layers: Vec::new() };
    let step = store.add_copy("aaaaaaaaaaaa", &position, &new).unwrap().last;
    store.add_snapshot("aaaaaaaaaaaa", "one", snapshot, step).unwrap();
    step
}

#[test]
fn what_was_only_copied_is_still_in_no_step() {
    let (_directory, home) = home();
    let mut store = Store::open(&home).unwrap();
    store.insert(&workspace("aaaaaaaaaaaa", "one")).unwrap();
    assert_eq!(store.first_unsealed("aaaaaaaaaaaa").unwrap(), None);
    let first = store.begin_exec("aaaaaaaaaaaa", 1, "sleep 1000 &").unwrap();
    let step = copied(&mut store, "moving");
    store.add_forks("aaaaaaaaaaaa", "two", step).unwrap();
    store.begin_exec("aaaaaaaaaaaa", 2, "touch more").unwrap();
    assert_eq!(store.first_unsealed("aaaaaaaaaaaa").unwrap(), Some(first));
    let position = store.position("aaaaaaaaaaaa").unwrap();
    let live = LayerId::from_record("another".into());
    let sealed = store.seal("aaaaaaaaaaaa", &position, Sealing::GoOnOver(&live), Some(first)).unwrap();
    assert_eq!(store.step("aaaaaaaaaaaa", "one", sealed.head).unwrap().op_count, 2);
    assert_eq!(store.first_unsealed("aaaaaaaaaaaa").unwrap(), None);
}

#[test]
fn no_number_of_a_step_is_given_twice() {
    let (_directory, home) = home();
    let mut store = Store::open(&home).unwrap();
    store.insert(&workspace("aaaaaaaaaaaa", "one")).unwrap();
    let first = copied(&mut store, "moving");
    store.remove_snapshot("aaaaaaaaaaaa", "moving").unwrap();
    assert_eq!(store.forget_left_behind().unwrap(), 1);
    assert_eq!(copied(&mut store, "again"), first + 1);
}

#[test]
fn nothing_is_forgotten_of_steps_that_are_made_meanwhile_nor_said_of_workspaces_that_go() {
    const STEPS: usize = 200;
    let (_directory, home) = home();
    let mut store = Store::open(&home).unwrap();
    store.insert(&workspace("aaaaaaaaaaaa", "one")).unwrap();
    let is_over = AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            let mut store = Store::open(&home).unwrap();
            while !is_over.load(Ordering::Relaxed) {
                assert_eq!(store.forget_left_behind().unwrap(), 0);
            }
        });
        let mut position = store.position("aaaaaaaaaaaa").unwrap();
        for number in 0..STEPS {
            let live = LayerId::from_record(format!("live-{number}"));
            position = store.seal("aaaaaaaaaaaa", &position, Sealing::GoOnOver(&live), None).unwrap();
            store.insert(&workspace("bbbbbbbbbbbb", "two")).unwrap();
            store.delete("bbbbbbbbbbbb", "two").unwrap();
        }
        is_over.store(true, Ordering::Relaxed);
    });
    assert_eq!(store.steps("aaaaaaaaaaaa").unwrap().len(), STEPS + 1);
}

#[test]
fn layers_below_are_kept_only_by_the_step_before_as_they_lie_there() {
    let (_directory, home) = home();
    let mut store = Store::open(&home).unwrap();
    let id = "aaaaaaaaaaaa";
    store.insert(&workspace(id, "past")).unwrap();
    let layer = |name: &str| LayerId::from_record(name.into());
    let first = store.position(id).unwrap();
    assert!(!store.is_kept_below(id, &first).unwrap(), "nobody was before the first step");
    let second = store.seal(id, &first, Sealing::GoOnOver(&layer("one")), None).unwrap();
    let third = store.seal(id, &second, Sealing::GoOnOver(&layer("two")), None).unwrap();
    assert!(store.is_kept_below(id, &second).unwrap() && store.is_kept_below(id, &third).unwrap());
    // What was made fewer is only named by the head, and the others only by the step before: until the next one.
    let fewer = vec![third.layers[0].clone(), layer("fewer")];
    store.replace_layers(id, &Position { layers: fewer.clone(), below: fewer, ..third }).unwrap();
    let third = store.position(id).unwrap();
    assert!(!store.is_kept_below(id, &third).unwrap());
    let fourth = store.seal(id, &third, Sealing::GoOnOver(&layer("three")), None).unwrap();
    assert!(store.is_kept_below(id, &fourth).unwrap());
    store.forget_before(id, 1).unwrap();
    assert!(store.is_kept_below(id, &fourth).unwrap(), "the step before is not forgotten");
    assert!(store.steps(id).unwrap().len() < 4);
}

#[test]
fn a_live_layer_that_was_copied_for_a_step_goes_on_over_what_it_lay_over() {
    let (_directory, home) = home();
    let mut store = Store::open(&home).unwrap();
    let id = "aaaaaaaaaaaa";
    store.insert(&workspace(id, "copied")).unwrap();
    let layer = |name: &str| LayerId::from_record(name.into());
    let first = store.position(id).unwrap();
    let sealed = store.seal(id, &first, Sealing::GoOnOver(&layer("live")), None).unwrap();
    assert_eq!(sealed.copy(), None);
    let copied = store.seal(id, &sealed, Sealing::Copied(&layer("copy")), None).unwrap();
    assert_eq!((copied.copy(), copied.stack()), (Some(&layer("copy")), sealed.stack()));
    assert_eq!(store.position(id).unwrap(), copied);
    assert_eq!(store.step(id, "copied", 2).unwrap().layers, [vec![layer("copy")], sealed.below.clone()].concat());
    // Another copy is of everything too.
    let again = store.seal(id, &copied, Sealing::Copied(&layer("again")), None).unwrap();
    assert_eq!(again.layers, [vec![layer("again")], sealed.below.clone()].concat());
    // What is below it is made fewer: the steps before go on naming the others.
    let fewer = Position { below: vec![layer("fewer")], layers: vec![layer("again"), layer("fewer")], ..again.clone() };
    store.replace_layers(id, &fewer).unwrap();
    assert_eq!(store.position(id).unwrap(), fewer);
    let named = store.named_layers(None).unwrap();
    assert!([again.stack(), fewer.stack(), vec![layer("copy"), layer("again")]].concat().iter().all(|layer| named.contains(layer)));
    // What it runs over is named after every step that was made from it.
    let over = store.seal(id, &fewer, Sealing::GoOnOver(&layer("next")), None).unwrap();
    assert_eq!((over.copy(), &over.below, &over.layers), (None, &fewer.stack(), &fewer.stack()));
    assert!(store.is_kept_below(id, &over).unwrap(), "by the copy before");
    // Nothing but the copy is left of one that is put away.
    let copied = store.seal(id, &over, Sealing::Copied(&layer("last")), None).unwrap();
    let renewed = store.renew(id, &copied, &layer("fresh")).unwrap();
    assert_eq!(store.position(id).unwrap(), renewed);
    assert_eq!((renewed.copy(), renewed.head, &renewed.below), (None, copied.head, &copied.layers));
    assert!(!store.named_layers(None).unwrap().contains(&layer("next")));
}

#[test]
fn two_processes_may_write_at_once() {
    let (_directory, home) = home();
    let mut store = Store::open(&home).unwrap();
    store.insert(&workspace("aaaaaaaaaaaa", "one")).unwrap();
    std::thread::scope(|scope| {
        for writer in 0..4_u64 {
            let home = &home;
            scope.spawn(move || {
                let mut store = Store::open(home).unwrap();
                for number in 0..25 {
                    store.begin_exec("aaaaaaaaaaaa", writer * 100 + number + 1, "true").unwrap();
                }
            });
        }
    });
    assert_eq!(store.events("aaaaaaaaaaaa", 1).unwrap().0, 101);
}

#[test]
fn a_new_home_is_opened_by_many_at_once() {
    const OPENERS: usize = 8;
    for _ in 0..100 {
        let (_directory, home) = home();
        let begin = std::sync::Barrier::new(OPENERS);
        std::thread::scope(|scope| {
            let openers: Vec<_> = (0..OPENERS)
                .map(|_| {
                    scope.spawn(|| {
                        begin.wait();
                        Store::open(&home).map(drop)
                    })
                })
                .collect();
            for opener in openers {
                opener.join().expect("a thread").expect("everybody gets in");
            }
        });
    }
}
