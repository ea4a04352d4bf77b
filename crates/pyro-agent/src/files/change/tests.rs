//! Plans on a real disk: done, or taken back to the last name.

use std::collections::BTreeMap;
use std::fs;
use std::os::fd::OwnedFd;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _, symlink};
use std::path::Path;

use pyro_edit::{Before, Change, File, Mode, Plan, RelPath};
use rustix::fs::OFlags;

use super::{Seen, beneath, carry_out};

fn path(text: &str) -> RelPath {
    RelPath::new(text.as_bytes(), b"").unwrap()
}

fn change(at: &str, before: Before, after: Option<&str>) -> Change {
    let after = after.map(|text| File { content: text.as_bytes().to_vec(), mode: Mode::Regular });
    Change { path: path(at), before, after }
}

/// What is there now, of the paths that a plan finds.
fn seen(root: &Path, plan: &Plan) -> BTreeMap<RelPath, Seen> {
    let look = |change: &Change| {
        let stat = rustix::fs::lstat(root.join(change.path.to_string())).ok()?;
        Some((change.path.clone(), Seen::of(&stat)))
    };
    plan.changes.iter().filter_map(look).collect()
}

/// Every path with its content.
fn all(root: &Path) -> BTreeMap<String, String> {
    let mut found = BTreeMap::new();
    let mut waiting = vec![root.to_owned()];
    while let Some(directory) = waiting.pop() {
        for entry in fs::read_dir(&directory).unwrap() {
            let at = entry.unwrap().path();
            let name = at.strip_prefix(root).unwrap().display().to_string();
            if at.is_dir() && !at.is_symlink() {
                found.insert(format!("{name}/"), String::new());
                waiting.push(at);
            } else {
                found.insert(name, fs::read_to_string(&at).unwrap_or_default());
            }
        }
    }
    found
}

fn made() -> tempfile::TempDir {
    let directory = tempfile::tempdir().unwrap();
    fs::create_dir(directory.path().join("d")).unwrap();
    for (name, text) in [("a", "a"), ("d/gone", "gone"), ("run", "run")] {
        fs::write(directory.path().join(name), text).unwrap();
    }
    fs::set_permissions(directory.path().join("run"), fs::Permissions::from_mode(0o750)).unwrap();
    directory
}

#[test]
fn all_changes_are_made_and_nothing_else_is_left() {
    let directory = made();
    let root = beneath(fs::File::open(directory.path()).unwrap(), ".", OFlags::PATH | OFlags::DIRECTORY).unwrap();
    let present = Before::Present(Mode::Regular);
    let plan = Plan {
        changes: vec![
            change("a", present, Some("A")),
            change("d/gone", present, None),
            change("n/e/w", Before::Absent, Some("w")),
            change("run", Before::Present(Mode::Executable), Some("RUN")),
        ],
        moves: Vec::new(),
    };
    carry_out(&root, &plan, &seen(directory.path(), &plan)).unwrap();
    let found = all(directory.path());
    let names: Vec<&str> = found.keys().map(String::as_str).collect();
    assert_eq!(names, ["a", "n/", "n/e/", "n/e/w", "run"], "an empty directory goes with its last file");
    assert_eq!((&*found["a"], &*found["n/e/w"], &*found["run"]), ("A", "w", "RUN"));
    // What was executable for some stays so for them; the plan said that it is not any more.
    assert_eq!(fs::metadata(directory.path().join("run")).unwrap().mode() & 0o777, 0o640);
}

#[test]
fn what_fails_half_way_is_taken_back_whole() {
    let directory = made();
    let root = beneath(fs::File::open(directory.path()).unwrap(), ".", OFlags::PATH | OFlags::DIRECTORY).unwrap();
    let before = all(directory.path());
    let present = Before::Present(Mode::Regular);
    // The last two contradict each other, which shows only when they are put in place.
    let plan = Plan {
        changes: vec![
            change("a", present, Some("A")),
            change("d/gone", present, None),
            change("x", Before::Absent, Some("x")),
            change("x/y", Before::Absent, Some("y")),
        ],
        moves: Vec::new(),
    };
    let not = carry_out(&root, &plan, &seen(directory.path(), &plan)).unwrap_err();
    assert!(not.text.starts_with("x cannot be changed") && !not.is_full, "{not:?}");
    assert_eq!(all(directory.path()), before);
}

fn opened(directory: &Path) -> OwnedFd {
    beneath(fs::File::open(directory).unwrap(), ".", OFlags::PATH | OFlags::DIRECTORY).unwrap()
}

/// A tree in which directories become files and files directories, and a plan that makes it so.
fn turned_around() -> (tempfile::TempDir, Plan) {
    let directory = made();
    let at = |name: &str| directory.path().join(name);
    fs::create_dir_all(at("top/in")).unwrap();
    fs::set_permissions(at("top/in"), fs::Permissions::from_mode(0o2711)).unwrap();
    for (name, text) in [("top/one", "1"), ("top/in/two", "2"), ("file", "file")] {
        fs::write(at(name), text).unwrap();
    }
    let present = Before::Present(Mode::Regular);
    let changes = vec![
        change("a", present, Some("A")),
        change("d/gone", present, None),
        change("file", present, None),
        change("file/n/e/w", Before::Absent, Some("w")),
        change("other", Before::Absent, Some("o")),
        change("top", Before::Directory, Some("flat")),
        change("top/in/two", present, None),
        change("top/one", present, None),
    ];
    (directory, Plan { changes, moves: Vec::new() })
}

#[test]
fn a_directory_becomes_a_file_and_a_file_a_directory() {
    let (directory, plan) = turned_around();
    carry_out(&opened(directory.path()), &plan, &seen(directory.path(), &plan)).unwrap();
    let found = all(directory.path());
    let names: Vec<&str> = found.keys().map(String::as_str).collect();
    assert_eq!(names, ["a", "file/", "file/n/", "file/n/e/", "file/n/e/w", "other", "run", "top"]);
    assert_eq!((&*found["a"], &*found["top"], &*found["file/n/e/w"]), ("A", "flat", "w"));
}

#[test]
fn a_directory_with_something_else_in_it_stays() {
    let (directory, plan) = turned_around();
    let seen = seen(directory.path(), &plan);
    fs::write(directory.path().join("top/in/more"), "more").unwrap();
    let before = all(directory.path());
    let not = carry_out(&opened(directory.path()), &plan, &seen).unwrap_err();
    assert_eq!(not.text, "top is a directory, and something else is in it");
    assert_eq!(all(directory.path()), before);
    let mode = fs::metadata(directory.path().join("top/in")).unwrap().mode();
    assert_eq!(mode & 0o7777, 0o2711, "it was gone for a moment, or not");
}

/// A change of several files whose agent dies after so many of its steps; `None` when it has no more.
fn killed_after(count: usize, directory: &Path, plan: &Plan) -> Option<()> {
    let root = opened(directory);
    let mut steps = Vec::new();
    super::prepare(&root, plan, &seen(directory, plan), &mut steps).unwrap();
    // Who is killed takes nothing away.
    super::journal::write_alone(&root, &steps).unwrap();
    for (at, step) in steps.iter().take(count).enumerate() {
        step.make(&root, at + 1 == steps.len()).unwrap();
    }
    (count <= steps.len()).then_some(())
}

#[test]
fn a_kill_at_any_step_leaves_all_of_it_or_nothing() {
    let mut ends = BTreeMap::new();
    let whole = {
        let (directory, plan) = turned_around();
        carry_out(&opened(directory.path()), &plan, &seen(directory.path(), &plan)).unwrap();
        all(directory.path())
    };
    for count in 0.. {
        let (directory, plan) = turned_around();
        let before = all(directory.path());
        if killed_after(count, directory.path(), &plan).is_none() {
            break;
        }
        super::journal::recover(&opened(directory.path()));
        let after = all(directory.path());
        assert!(after == before || after == whole, "after {count} steps: {after:#?}");
        let mode = fs::metadata(directory.path().join("top/in")).map(|metadata| metadata.mode() & 0o7777);
        assert!(after == whole || mode.unwrap() == 0o2711);
        // A second agent finds nothing to do.
        super::journal::recover(&opened(directory.path()));
        assert_eq!(all(directory.path()), after);
        ends.insert(count, after == whole);
    }
    assert!(ends.len() > 8, "{ends:?}");
    let done: Vec<bool> = ends.into_values().collect();
    assert_eq!(done.iter().filter(|done| **done).count(), 1, "only the last step decides: {done:?}");
}

#[test]
fn a_journal_of_somebody_else_moves_nothing_and_stays() {
    let line = "replace 1 0 0 61 72756e\n";
    for (text, mode) in
        [(format!("{line}end"), 0o644), (line.to_owned(), 0o600), (format!("{}end", line.replace("61", "2e2e2f61")), 0o600)]
    {
        let (directory, plan) = turned_around();
        fs::write(directory.path().join(".pyro-journal"), text).unwrap();
        fs::set_permissions(directory.path().join(".pyro-journal"), fs::Permissions::from_mode(mode)).unwrap();
        let before = all(directory.path());
        super::journal::recover(&opened(directory.path()));
        assert_eq!(all(directory.path()), before);
        // What would need one of ours is not begun.
        let not = carry_out(&opened(directory.path()), &plan, &seen(directory.path(), &plan)).unwrap_err();
        assert!(not.text.starts_with(".pyro-journal is in the way"), "{not:?}");
        assert_eq!(all(directory.path()), before);
        let one = Plan { changes: vec![change("a", Before::Present(Mode::Regular), Some("A"))], moves: Vec::new() };
        carry_out(&opened(directory.path()), &one, &seen(directory.path(), &one)).unwrap();
    }
}

#[test]
fn a_journal_of_ours_that_came_back_with_an_old_state_is_done_with_first() {
    let (directory, plan) = turned_around();
    let before = all(directory.path());
    killed_after(3, directory.path(), &plan).unwrap();
    assert_ne!(all(directory.path()), before);
    let both = [change("a", Before::Present(Mode::Regular), Some("A")), change("new", Before::Absent, Some("n"))];
    let both = Plan { changes: both.into(), moves: Vec::new() };
    carry_out(&opened(directory.path()), &both, &seen(directory.path(), &both)).unwrap();
    let mut after = before;
    after.extend([("a".to_owned(), "A".to_owned()), ("new".to_owned(), "n".to_owned())]);
    assert_eq!(all(directory.path()), after);
}

#[test]
fn a_file_that_somebody_has_changed_meanwhile_is_not_touched() {
    let directory = made();
    let root = beneath(fs::File::open(directory.path()).unwrap(), ".", OFlags::PATH | OFlags::DIRECTORY).unwrap();
    let present = Before::Present(Mode::Regular);
    let plan = Plan { changes: vec![change("a", present, Some("A")), change("run", present, Some("R"))], moves: Vec::new() };
    let seen = seen(directory.path(), &plan);
    fs::write(directory.path().join("run"), "somebody's").unwrap();
    let before = all(directory.path());
    let not = carry_out(&root, &plan, &seen).unwrap_err();
    assert!(not.text.contains("run was changed by somebody else meanwhile"), "{not:?}");
    // One that was not there and is now.
    let plan = Plan { changes: vec![change("a", Before::Absent, Some("A"))], moves: Vec::new() };
    assert!(carry_out(&root, &plan, &BTreeMap::new()).is_err());
    assert_eq!(all(directory.path()), before);
}

#[test]
fn no_link_is_followed_on_the_way() {
    let (directory, outside) = (made(), tempfile::tempdir().unwrap());
    symlink(outside.path(), directory.path().join("way")).unwrap();
    let root = beneath(fs::File::open(directory.path()).unwrap(), ".", OFlags::PATH | OFlags::DIRECTORY).unwrap();
    let plan = Plan { changes: vec![change("way/new", Before::Absent, Some("x"))], moves: Vec::new() };
    let not = carry_out(&root, &plan, &BTreeMap::new()).unwrap_err();
    assert!(not.text.contains("symbolic link"), "{not:?}");
    assert!(all(outside.path()).is_empty());
}
