//! Manifests that are whole, damaged, or of another version; and what becomes of a home that has them.

use super::{Manifest, Mount};
use crate::home::Home;
use crate::layers::{self, Naming};
use crate::store::Store;

const ID: &str = "aaaaaaaaaaaa";

fn manifest(id: &str, name: &str) -> Manifest {
    Manifest::new(
        id.into(),
        name.into(),
        [("branch".to_owned(), "main".to_owned())].into(),
        "debian:12".into(),
        "digest".into(),
        vec![Mount { at: "/".into(), lowers: vec!["/layers/x".into()] }],
        (2, 512, 4096),
        "namespaces,memory_limit".into(),
        None,
        7,
    )
}

fn home() -> (tempfile::TempDir, Home) {
    let directory = tempfile::tempdir().expect("a temporary directory");
    let home = Home::open(&directory.path().join("home")).expect("a new home");
    std::fs::create_dir(home.workspace(ID).root()).expect("a place");
    (directory, home)
}

#[test]
fn what_is_written_is_read_and_leaves_nothing_beside_it() {
    let (_directory, home) = home();
    let place = home.workspace(ID);
    manifest(ID, "one").write(&place).unwrap();
    manifest(ID, "two").write(&place).unwrap();
    assert_eq!(Manifest::read(&place).unwrap(), manifest(ID, "two"));
    assert_eq!(std::fs::read_dir(place.root()).unwrap().count(), 1);
}

#[test]
fn damage_is_said_with_the_name_of_the_file_and_nothing_is_deleted() {
    let (_directory, home) = home();
    let place = home.workspace(ID);
    let good = serde_json::to_string(&manifest(ID, "one")).unwrap();
    let damaged = [
        String::new(),
        "{}".to_owned(),
        "null".to_owned(),
        "\0".repeat(4096),
        good[..good.len() / 2].to_owned(),
        format!("{good}{good}"),
        good.replace("\"version\":1", "\"version\":2"),
        good.replace("\"version\":1", "\"version\":-1"),
        good.replace("\"mem_mib\":512", "\"mem_mib\":\"512\""),
        good.replace("\"mounts\":[{", "\"mounts\":[7,{"),
    ];
    for text in damaged {
        assert_ne!(text, good);
        std::fs::write(place.manifest(), &text).unwrap();
        let error = Manifest::read(&place).expect_err("it is damaged");
        assert_eq!(error.kind, pyro_api::ErrorKind::Unavailable, "{text}");
        assert!(error.message.contains(place.manifest().to_str().unwrap()), "{error}");
        // A database that is made again leaves it where it is.
        let database = home.database();
        for file in [database.clone(), database.with_extension("db-wal"), database.with_extension("db-shm")] {
            let _ = std::fs::remove_file(file);
        }
        assert!(Store::open(&home).unwrap().workspaces().unwrap().is_empty(), "{text}");
        assert_eq!(std::fs::read_to_string(place.manifest()).unwrap(), text);
    }
}

#[test]
fn a_damaged_one_does_not_keep_the_others_from_being_found() {
    let (_directory, home) = home();
    std::fs::write(home.workspace(ID).manifest(), "{").unwrap();
    std::fs::create_dir(home.workspace("bbbbbbbbbbbb").root()).unwrap();
    let two = manifest("bbbbbbbbbbbb", "two");
    two.write(&home.workspace("bbbbbbbbbbbb")).unwrap();
    layers::make(&home, &Naming::shared(&home).unwrap(), &two.mounts, &two.id, &[]).unwrap();
    let found = Store::open(&home).unwrap().workspaces().unwrap();
    assert_eq!(found.iter().map(|record| record.manifest.name.as_str()).collect::<Vec<_>>(), ["two"]);
}

#[test]
fn a_manifest_in_the_place_of_another_is_not_believed() {
    let (_directory, home) = home();
    manifest("bbbbbbbbbbbb", "two").write(&home.workspace(ID)).unwrap();
    assert!(Store::open(&home).unwrap().workspaces().unwrap().is_empty(), "its files are elsewhere");
}
