//! Layers on a real disk: what is made, what counts as blank, how they stack.

use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;

use super::{
    LayerId, Naming, Spare, furnish, is_blank, is_furnished, is_kept, made_for, make, on_disk, overlay, overlay_name, put_over,
    reserve, stack, tidy,
};
use crate::home::Home;
use crate::manifest::Mount;

fn home() -> (tempfile::TempDir, Home) {
    let directory = tempfile::tempdir().expect("a temporary directory");
    let home = Home::open(&directory.path().join("home")).expect("a new home");
    (directory, home)
}

fn mounts() -> Vec<Mount> {
    vec![
        Mount { at: "/".into(), lowers: vec!["/seed".into(), "/environment".into()] },
        Mount { at: "/usr".into(), lowers: vec!["/usr".into()] },
    ]
}

#[test]
fn no_two_mount_points_share_a_directory_of_a_layer() {
    let names: Vec<String> = ["/", "/usr", "/opt/x", "/opt%2fx", "/opt%x", "/root"].into_iter().map(overlay_name).collect();
    assert_eq!(names[..3], ["root", "at-usr", "at-opt%2fx"]);
    let distinct: std::collections::BTreeSet<_> = names.iter().collect();
    assert_eq!(distinct.len(), names.len(), "{names:?}");
}

#[test]
fn a_live_layer_lies_over_sealed_ones_over_seed_and_environment() {
    let (_directory, home) = home();
    let id = |text: &str| LayerId::from_record(text.to_owned());
    let stacked = stack(&home, &mounts(), &[id("b"), id("a")], &id("c"));
    let below = |name: &str, rest: &[&str]| -> Vec<PathBuf> {
        let sealed = ["b", "a"].map(|layer| home.changes().join(layer).join(name));
        sealed.into_iter().chain(rest.iter().map(PathBuf::from)).collect()
    };
    assert_eq!(stacked[0].lowers, below("root", &["/seed", "/environment"]));
    assert_eq!(stacked[1].lowers, below("at-usr", &["/usr"]));
    assert_eq!(stacked[1].upper, home.changes().join("c/at-usr"));
    assert_eq!(stacked[1].work, home.changes().join("c/work-at-usr"));
}

#[test]
fn a_layer_is_blank_until_something_is_written_to_any_of_its_overlays() {
    let (_directory, home) = home();
    let naming = Naming::shared(&home).unwrap();
    let fresh = || make(&home, &naming, &mounts(), "0123456789ab", &[]).unwrap();
    let untouched = fresh();
    assert!(is_blank(&home, &mounts(), &untouched, &[]).unwrap());
    let written = fresh();
    fs::write(home.layer(&written).join("at-usr/x"), "x").unwrap();
    assert!(!is_blank(&home, &mounts(), &written, &[]).unwrap());
    let changed = fresh();
    fs::set_permissions(home.layer(&changed).join("root"), Permissions::from_mode(0o700)).unwrap();
    assert!(!is_blank(&home, &mounts(), &changed, &[]).unwrap());
    // And what lies over it shows the same root, which is no change.
    let above = make(&home, &naming, &mounts(), "0123456789ab", std::slice::from_ref(&changed)).unwrap();
    assert_eq!(fs::metadata(home.layer(&above).join("root")).unwrap().permissions().mode() & 0o7777, 0o700);
    assert!(is_blank(&home, &mounts(), &above, &[changed]).unwrap());
}

#[test]
fn the_root_of_a_layer_is_like_that_of_the_one_below_in_all_but_what_is_in_it() {
    let (_directory, home) = home();
    let naming = Naming::shared(&home).unwrap();
    let root = |layer: &LayerId| home.layer(layer).join("root");
    let colour = |layer: &LayerId| {
        let mut value = [0; 16];
        rustix::fs::getxattr(root(layer), "user.colour", &mut value[..]).map(|length| value[..length].to_vec()).ok()
    };
    let below = make(&home, &naming, &mounts(), "0123456789ab", &[]).unwrap();
    rustix::fs::setxattr(root(&below), "user.colour", b"red", rustix::fs::XattrFlags::empty()).unwrap();
    assert!(!is_blank(&home, &mounts(), &below, &[]).unwrap(), "an attribute is a change");
    let below = std::slice::from_ref(&below);
    let live = make(&home, &naming, &mounts(), "0123456789ab", below).unwrap();
    assert_eq!(colour(&live).as_deref(), Some(b"red".as_slice()));
    assert!(is_blank(&home, &mounts(), &live, below).unwrap());
    put_over(&home, &mounts(), &live, "0123456789ab", &[]).unwrap();
    assert_eq!(colour(&live), None);
    assert!(is_blank(&home, &mounts(), &live, &[]).unwrap());
    if rustix::process::geteuid().is_root() {
        let owned = make(&home, &naming, &mounts(), "0123456789ab", &[]).unwrap();
        std::os::unix::fs::chown(root(&owned), Some(1000), Some(50)).unwrap();
        let live = make(&home, &naming, &mounts(), "0123456789ab", &[owned]).unwrap();
        put_over(&home, &mounts(), &live, "0123456789ab", &[]).unwrap();
        assert!(is_blank(&home, &mounts(), &live, &[]).unwrap(), "it belongs to root again");
    }
}

#[test]
fn a_layer_that_nobody_has_started_is_blank_and_gets_its_directories_whole() {
    let (_directory, home) = home();
    let naming = Naming::shared(&home).unwrap();
    let below = make(&home, &naming, &mounts(), "0123456789ab", &[]).unwrap();
    fs::set_permissions(home.layer(&below).join("root"), Permissions::from_mode(0o700)).unwrap();
    let below = std::slice::from_ref(&below);
    let live = reserve(&home, &naming, "0123456789ab", below).unwrap();
    assert!(!is_furnished(&home, &mounts(), &live) && is_blank(&home, &mounts(), &live, below).unwrap());
    put_over(&home, &mounts(), &live, "0123456789ab", below).unwrap();
    assert!(!is_furnished(&home, &mounts(), &live), "whoever goes back in it need not be able to");
    // One who has begun with it and died.
    fs::create_dir(home.layer(&live).join("new-root")).unwrap();
    furnish(&home, &mounts(), &live, below).unwrap();
    assert_eq!(fs::metadata(home.layer(&live).join("root")).unwrap().permissions().mode() & 0o7777, 0o700);
    assert!(is_furnished(&home, &mounts(), &live) && is_blank(&home, &mounts(), &live, below).unwrap());
    // What was written to it stays.
    fs::write(home.layer(&live).join("root/x"), "x").unwrap();
    furnish(&home, &mounts(), &live, below).unwrap();
    assert!(!is_blank(&home, &mounts(), &live, below).unwrap());
}

#[test]
fn a_layer_says_what_it_was_made_for_and_loses_its_work_room_when_it_is_sealed() {
    let (_directory, home) = home();
    let naming = Naming::shared(&home).unwrap();
    let first = make(&home, &naming, &mounts(), "0123456789ab", &[]).unwrap();
    let second = make(&home, &naming, &mounts(), "0123456789ab", std::slice::from_ref(&first)).unwrap();
    tidy(&home, &mounts(), &first);
    assert!(!home.layer(&first).join("work-root").exists() && home.layer(&second).join("work-root").exists());
    let found = on_disk(&home).unwrap();
    let (_, made_for) = found.iter().find(|(id, _)| *id == second).expect("it is on disk");
    assert_eq!(made_for.as_ref().expect("it can be read").below, [first]);
}

#[test]
fn a_spare_layer_is_nobodys_garbage_while_it_is_kept() {
    let (_directory, home) = home();
    let naming = Naming::shared(&home).unwrap();
    let live = make(&home, &naming, &mounts(), "0123456789ab", &[]).unwrap();
    let spare = Spare::make(&home, &naming, &mounts(), vec![live.clone()]).unwrap();
    drop(naming);
    let id = spare.id().clone();
    assert!(is_kept(&home, &id) && !is_kept(&home, &live));
    crate::garbage::collect(&home, crate::garbage::Measure::No).unwrap();
    assert!(home.layer(&id).exists() && !home.layer(&live).exists(), "nothing names either");
    // Its keeper has died.
    drop(spare);
    crate::garbage::collect(&home, crate::garbage::Measure::No).unwrap();
    assert!(!home.layer(&id).exists());
}

#[test]
fn a_spare_layer_becomes_the_live_one_if_the_root_below_it_is_still_what_it_was() {
    let (_directory, home) = home();
    let naming = Naming::shared(&home).unwrap();
    let live = make(&home, &naming, &mounts(), "0123456789ab", &[]).unwrap();
    let below = vec![live.clone()];
    let spare = Spare::make(&home, &naming, &mounts(), below.clone()).unwrap();
    let id = spare.id().clone();
    assert_eq!(made_for(&home, &id).unwrap().workspace, "", "a lost database must not take it for the live one");
    assert!(spare.is_over(&below) && !spare.is_over(&[]));
    // What is written in between changes the time of the root.
    let root = overlay(&home, &live, &mounts()[0]);
    fs::write(root.join("new"), "new").unwrap();
    let taken = spare.take(&home, &naming, &mounts(), "0123456789ab").unwrap();
    assert_eq!(taken.as_ref(), Some(&id));
    let modified = |path: PathBuf| fs::metadata(path).unwrap().modified().unwrap();
    assert_eq!(modified(overlay(&home, &id, &mounts()[0])), modified(root.clone()));
    assert!(is_blank(&home, &mounts(), &id, &below).unwrap());
    assert_eq!(
        (made_for(&home, &id).unwrap().workspace.as_str(), made_for(&home, &id).unwrap().below),
        ("0123456789ab", below.clone())
    );
    // An overlay over it would show and check the mode of before.
    let spare = Spare::make(&home, &naming, &mounts(), below).unwrap();
    let id = spare.id().clone();
    fs::set_permissions(&root, Permissions::from_mode(0o711)).unwrap();
    assert_eq!(spare.take(&home, &naming, &mounts(), "0123456789ab").unwrap(), None);
    assert!(!home.layer(&id).exists());
}
