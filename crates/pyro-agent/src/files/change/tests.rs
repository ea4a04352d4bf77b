//! Plans on a real disk: done, or taken back to the last name.

use std::collections::BTreeMap;
use std::fs;
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
