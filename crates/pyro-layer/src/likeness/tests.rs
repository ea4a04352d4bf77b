use std::fs::{self, File, Permissions};
use std::os::fd::AsFd;
use std::os::unix::fs::PermissionsExt;

use rustix::fs::{XattrFlags, fgetxattr, fsetxattr};

use super::Likeness;

/// The value of an attribute.
fn attribute(of: &File, name: &str) -> Option<Vec<u8>> {
    let mut value = [0; 64];
    let length = fgetxattr(of, name, &mut value[..]).ok()?;
    Some(value[..length].to_vec())
}

#[test]
fn a_directory_becomes_like_another_in_all_but_what_is_in_it() {
    let scratch = tempfile::tempdir().unwrap();
    let [old, new] = ["old", "new"].map(|name| {
        fs::create_dir(scratch.path().join(name)).unwrap();
        File::open(scratch.path().join(name)).unwrap()
    });
    fs::set_permissions(scratch.path().join("old"), Permissions::from_mode(0o1750)).unwrap();
    for (file, name, value) in [
        (&old, "user.colour", "red"),
        (&old, "user.overlay.opaque", "y"),
        (&new, "user.colour", "blue"),
        (&new, "user.gone", "soon"),
        (&new, "user.overlay.origin", ""),
    ] {
        fsetxattr(file, name, value.as_bytes(), XattrFlags::empty()).unwrap();
    }
    fs::write(scratch.path().join("new/file"), "content").unwrap();
    let like = Likeness::of(old.as_fd()).unwrap();
    assert!(!Likeness::of(new.as_fd()).unwrap().is_same_but_for_time(&like));
    like.give(new.as_fd()).unwrap();
    assert_eq!(Likeness::of(new.as_fd()).unwrap(), like);
    assert_eq!(new.metadata().unwrap().permissions().mode() & 0o7777, 0o1750);
    assert_eq!(new.metadata().unwrap().modified().unwrap(), old.metadata().unwrap().modified().unwrap());
    assert_eq!(attribute(&new, "user.colour").as_deref(), Some(b"red".as_slice()));
    assert_eq!(attribute(&new, "user.gone"), None);
    // What it says about layers stays its own.
    assert_eq!(attribute(&new, "user.overlay.opaque"), None);
    assert_eq!(attribute(&new, "user.overlay.origin").as_deref(), Some(b"".as_slice()));
    fs::write(scratch.path().join("new/another"), "content").unwrap();
    assert!(Likeness::of(new.as_fd()).unwrap().is_same_but_for_time(&like));
}
