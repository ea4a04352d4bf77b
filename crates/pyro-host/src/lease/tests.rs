//! Leases against the real kernel, and against a holder that is killed.

use std::io::{BufRead, BufReader, Read, Write};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use super::Lease;

/// When it is set, this test program is a holder: it takes the lease there and keeps it until it is killed.
const HOLDS: &str = "PYRO_TEST_HOLDS_LEASE";

fn lease() -> (tempfile::TempDir, PathBuf) {
    let directory = tempfile::tempdir().expect("a temporary directory");
    let path = directory.path().join("lease");
    (directory, path)
}

fn take(path: &Path) -> Option<Lease> {
    Lease::take(path).expect("the file system works")
}

#[test]
fn a_lease_has_one_holder_at_a_time() {
    let (_directory, path) = lease();
    let held = take(&path).expect("nobody has it");
    assert!(take(&path).is_none());
    assert_eq!(std::fs::read_to_string(&path).unwrap().trim(), std::process::id().to_string(), "people can see whose it is");
    drop(held);
    take(&path).expect("it was given back").remove();
    assert!(!path.exists());
}

#[test]
fn a_lease_is_given_back_when_its_holder_is_killed() {
    if let Some(path) = std::env::var_os(HOLDS) {
        let _held = take(Path::new(&path)).expect("nobody has it");
        writeln!(std::io::stderr(), "held").expect("somebody reads this");
        // Ends with the test that started us, should that fail.
        let _ = std::io::stdin().read(&mut [0]);
        return;
    }
    let (_directory, path) = lease();
    let mut holder = Command::new(std::env::current_exe().expect("this program"))
        .args(["--exact", "lease::tests::a_lease_is_given_back_when_its_holder_is_killed", "--nocapture"])
        .env(HOLDS, &path)
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .expect("this program starts again");
    let mut lines = BufReader::new(holder.stderr.take().expect("a pipe")).lines();
    assert!(lines.any(|line| line.expect("text") == "held"), "it ended without the lease");
    assert!(take(&path).is_none());

    holder.kill().expect("it runs");
    Lease::wait_until_free(&path).expect("it can be waited for");
    assert!(take(&path).is_some(), "nobody is alive who could have it");
    holder.wait().expect("it was killed");
}

#[test]
fn a_lease_that_was_cleared_away_meanwhile_is_not_taken() {
    let (_directory, path) = lease();
    let cleared = take(&path).expect("nobody has it");
    std::thread::scope(|scope| {
        // It may open the file before it is removed and lock it after that: then what it locked has no name.
        let waiting = scope.spawn(|| {
            loop {
                if let Some(lease) = take(&path) {
                    return lease;
                }
            }
        });
        cleared.remove();
        let lease = waiting.join().expect("it gets a lease");
        assert!(path.exists(), "it has a lease that nobody can see");
        assert!(take(&path).is_none());
        drop(lease);
    });
}

#[test]
fn a_lease_that_is_not_there_is_free() {
    let (_directory, path) = lease();
    Lease::wait_until_free(&path).expect("nothing to wait for");
    assert!(!path.exists(), "waiting makes nothing");
}
