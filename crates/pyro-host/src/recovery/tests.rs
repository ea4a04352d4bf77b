//! Homes as a killed supervisor, client or deleter leaves them: what each becomes when somebody looks.

use pyro_api::ops::exec::Outcome;
use pyro_api::ops::workspace::{ListRequest, StateView};
use pyro_api::ops::{WorkspaceList, WorkspaceStatus};
use pyro_api::{ErrorKind, Result};
use serde_json::json;

use super::{settle_missing, sweep_runs};
use crate::clock::Instant;
use crate::layers::LayerId;
use crate::lease::Lease;
use crate::manifest::Manifest;
use crate::state::WorkspaceState;
use crate::store::WorkspaceRecord;
use crate::{Host, HostOptions, begin, janitor};

const ID: &str = "aaaaaaaaaaaa";

/// A home of its own; nothing is ever started from it.
fn host() -> (tempfile::TempDir, Host) {
    let directory = tempfile::tempdir().expect("a temporary directory");
    let options =
        HostOptions { home: directory.path().join("home"), binary: "/nowhere/pyro".into(), isolation: Default::default() };
    (directory, Host::open(options).expect("a new home"))
}

fn record(state: WorkspaceState) -> WorkspaceRecord {
    let manifest = Manifest::new(
        ID.into(),
        "one".into(),
        Default::default(),
        "debian:12".into(),
        "d".into(),
        Vec::new(),
        (1, 64, 1024),
        "namespaces".into(),
        None,
        1,
    );
    WorkspaceRecord {
        manifest,
        state,
        used_at: Instant(1),
        exec_count: 0,
        isolation: None,
        live: LayerId::from_record("live".into()),
        expires_at: None,
    }
}

/// A workspace with files, in this state and with one command under way.
fn with_workspace(host: &Host, state: WorkspaceState) {
    std::fs::create_dir_all(host.home().workspace(ID).upper("root")).expect("a place");
    let mut store = host.store().expect("a database");
    store.insert(&record(state)).expect("a new row");
    store.begin_exec(ID, 1, "make").expect("a command");
}

fn look(host: &Host) -> Result<pyro_api::ops::workspace::WorkspaceView> {
    host.ask::<WorkspaceStatus>(serde_json::from_value(json!({ "workspace": "one" })).expect("a request"))
}

#[test]
fn a_dead_supervisor_is_noticed_by_whoever_looks() {
    for (before, after, outcome) in [
        (WorkspaceState::Running, StateView::Failed, Some("sandbox lost: its supervisor died")),
        (WorkspaceState::Starting, StateView::Failed, Some("sandbox lost: its supervisor died")),
        // It was to end, and it has.
        (WorkspaceState::Stopping, StateView::Stopped, Some("sandbox lost: its supervisor died")),
        // Nobody died here.
        (WorkspaceState::Stopped, StateView::Stopped, None),
    ] {
        let (_directory, host) = host();
        with_workspace(&host, before.clone());
        // What it listened on, and nobody listens.
        drop(begin::listen(&host.home().workspace(ID)).expect("a socket"));
        assert_eq!(look(&host).expect("it is there").state, after, "{before:?}");
        let store = host.store().expect("a database");
        let (_, events) = store.events(ID, 10).expect("its log");
        let exec = events.iter().find(|event| event.op == "workspace exec").expect("its command");
        assert_eq!(exec.outcome.as_deref(), outcome, "{before:?}");
        let lost = Outcome::SandboxLost { reason: "its supervisor died".into() };
        assert_eq!(store.exec(ID, "one", 1).expect("its command").outcome, outcome.map(|_| lost), "{before:?}");
        assert!(host.home().workspace(ID).upper("root").exists(), "its files stay");
    }
}

#[test]
fn a_workspace_that_somebody_begins_or_ends_is_left_to_them() {
    let (_directory, host) = host();
    with_workspace(&host, WorkspaceState::Running);
    let lease = Lease::take(&host.home().workspace(ID).lease()).expect("a lease").expect("nobody has it");
    assert_eq!(look(&host).expect("it is there").state, StateView::Running);
    drop(lease);
    assert_eq!(look(&host).expect("it is there").state, StateView::Failed);
}

#[test]
fn settling_is_done_once_and_by_many() {
    let (_directory, host) = host();
    with_workspace(&host, WorkspaceState::Running);
    std::thread::scope(|scope| {
        for _ in 0..8 {
            scope.spawn(|| {
                let listed = host.ask::<WorkspaceList>(serde_json::from_value::<ListRequest>(json!({})).expect("a request"));
                let state = listed.expect("a list").workspaces[0].state;
                // While another holds the lease to settle it, the record is as good as anything.
                assert!(matches!(state, StateView::Failed | StateView::Running), "{state:?}");
            });
        }
    });
    assert_eq!(look(&host).expect("it is there").state, StateView::Failed);
    let (_, events) = host.store().expect("a database").events(ID, 100).expect("its log");
    assert_eq!(events.iter().filter(|event| event.op == "workspace lost").count(), 1);
}

#[test]
fn a_row_without_files_is_forgotten_unless_its_maker_lives() {
    let (_directory, host) = host();
    host.store().expect("a database").insert(&record(WorkspaceState::Running)).expect("a new row");
    let maker = Lease::take(&host.home().run_lease(ID)).expect("a lease").expect("nobody has it");
    std::fs::create_dir(host.home().unfinished(ID).root()).expect("what it has made so far");
    assert_eq!(settle_missing(&host, record(WorkspaceState::Running)).expect("it is being made").manifest.id, ID);
    drop(maker);
    let error = look(&host).expect_err("it was never finished");
    assert_eq!(error.kind, ErrorKind::NotFound);
    assert!(error.message.contains("workspace one was never finished"), "{error}");
    assert!(!host.home().unfinished(ID).root().exists() && !host.home().run_lease(ID).exists());
    let error = look(&host).expect_err("it is forgotten");
    assert!(error.message.starts_with("there is no workspace one"), "{error}");
}

#[test]
fn sweeping_takes_what_the_dead_left_and_nothing_of_the_living() {
    let (_directory, host) = host();
    let home = host.home();
    let files = |id: &str| {
        std::fs::create_dir_all(home.unfinished(id).upper("root")).expect("a place");
        std::fs::write(home.unfinished(id).upper("root").join("file"), "x").expect("a file");
    };
    files("dead00000000");
    drop(Lease::take(&home.run_lease("dead00000000")).expect("a lease"));
    files("nolease00000");
    drop(Lease::take(&home.run_lease("nofiles00000")).expect("a lease"));
    files("alive0000000");
    let alive = Lease::take(&home.run_lease("alive0000000")).expect("a lease").expect("nobody has it");

    let mut cleared = sweep_runs(home).expect("it can be swept");
    cleared.sort();
    let words = |id: &str| format!("what was left of a run or an unfinished workspace ({id})");
    assert_eq!(cleared, [words("dead00000000"), words("nolease00000")]);
    let mut left: Vec<_> = std::fs::read_dir(home.runs()).expect("runs").flatten().map(|entry| entry.file_name()).collect();
    left.sort();
    assert_eq!(left, ["alive0000000", "alive0000000.lease"]);
    assert!(home.unfinished("alive0000000").upper("root").join("file").exists());
    assert!(sweep_runs(home).expect("again").is_empty());
    // It is out of the way, and off the disk once somebody empties the trash.
    assert_eq!(std::fs::read_dir(home.trash()).expect("trash").count(), 2);
    janitor::empty_trash(home).expect("it can be deleted");
    assert_eq!(std::fs::read_dir(home.trash()).expect("trash").count(), 0);
    drop(alive);
}

#[test]
fn runs_that_begin_while_others_sweep_all_begin() {
    let (_directory, host) = host();
    let home = host.home();
    std::thread::scope(|scope| {
        let sweepers: Vec<_> = (0..2)
            .map(|_| {
                scope.spawn(|| {
                    for _ in 0..100 {
                        sweep_runs(home).expect("it can be swept");
                    }
                })
            })
            .collect();
        while !sweepers.iter().all(|sweeper| sweeper.is_finished()) {
            begin::begin_and_drop(home).expect("it begins");
        }
    });
    sweep_runs(home).expect("it can be swept");
    assert_eq!(std::fs::read_dir(home.runs()).expect("runs").count(), 0);
}
