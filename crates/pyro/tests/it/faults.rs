//! A disk that is full, a home that is not ours, files that somebody spoiled: one clear sentence, and the next command works.

use std::fs;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};
use std::process::Command;

use pyro_testkit::{Mode, TestEnv, skip};
use rustix::fs::{FlockOperation, flock};
use serde_json::Value;

use crate::{case, kill_supervisor, noise, surface_case};

/// A small file system of its own, mounted until it is dropped.
pub struct SmallDisk {
    /// Where it is mounted.
    pub at: PathBuf,
}

impl SmallDisk {
    /// An ext4 of so many MiB in a file beside the home; or why there is none.
    pub fn mount(below: &Path, mib: u64) -> Result<Self, String> {
        let (image, at) = (below.join("disk.img"), below.join("disk"));
        fs::create_dir(&at).expect("make a folder");
        fs::File::create(&image).and_then(|file| file.set_len(mib << 20)).expect("make an image");
        let done = |command: &mut Command| match command.output() {
            Ok(output) if output.status.success() => Ok(()),
            Ok(output) => Err(String::from_utf8_lossy(&output.stderr).into_owned()),
            Err(error) => Err(error.to_string()),
        };
        done(Command::new("mkfs.ext4").args(["-q", "-m", "0"]).arg(&image))?;
        done(Command::new("mount").args(["-o", "loop"]).arg(&image).arg(&at))?;
        Ok(Self { at })
    }

    /// Takes the last byte of it, with a file that is given back.
    pub fn fill(&self) -> PathBuf {
        let path = self.at.join("filler");
        let mut filler = fs::File::create(&path).expect("make a file");
        let full = std::io::copy(&mut std::io::repeat(0), &mut filler).expect_err("a disk has an end");
        assert_eq!(full.kind(), std::io::ErrorKind::StorageFull);
        path
    }

    /// Gives all of it back. What ext4 has freed is nobody's until its journal is written.
    pub fn free(&self, filler: &Path) {
        fs::remove_file(filler).expect("it was made");
        let disk = fs::File::open(&self.at).expect("the disk");
        rustix::fs::syncfs(&disk).expect("written");
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        // Lazily: what a failed case left running must not keep it.
        let _ = Command::new("umount").arg("--lazy").arg(&self.at).status();
    }
}

#[test]
fn a_full_disk_is_said_and_the_next_command_works() {
    case(|env| {
        if Mode::ours() != Mode::Root {
            return skip("root", "only root can mount a small disk");
        }
        let here = env.scratch();
        let disk = match SmallDisk::mount(here.path(), 48) {
            Ok(disk) => disk,
            Err(why) => return skip("a loop device", why.trim()),
        };
        let small = env.fresh_at(&disk.at.join("home"));
        small.pyro(&["workspace", "create", "debian:12", "--name", "full"]).expect_ok();
        small.pyro(&["workspace", "exec", "full", "--", "sh", "-c", "echo kept >kept"]).expect_ok();
        // A seed that does not fit.
        let seed = here.path().join("seed");
        fs::create_dir(&seed).expect("make a folder");
        fs::write(seed.join("large"), noise(60 << 20)).expect("write");
        let path = seed.to_string_lossy().into_owned();
        for arguments in [
            &["workspace", "create", "debian:12", "--name", "big", "--seed-path", &path][..],
            &["run", "debian:12", "--seed-path", &path, "--", "true"],
        ] {
            let ran = small.pyro(arguments);
            assert!(ran.code == 125 && ran.stderr.contains("hint:") && ran.stderr.contains("full"), "{}", ran.all());
        }
        small.pyro(&["workspace", "status", "big"]).expect_error(125, "big");
        small.assert_no_leaks();
        // A command that fills it: its own error, and everything goes on.
        let ran = small.pyro(&["workspace", "exec", "full", "--", "sh", "-c", "cat /dev/zero >zeros; ls -s zeros"]);
        assert!(ran.stderr.contains("No space left"), "{}", ran.all());
        for arguments in [
            &["workspace", "create", "debian:12", "--name", "another"][..],
            &["workspace", "exec", "full", "--", "echo", "said"],
            &["workspace", "file", "write", "full", "more", "--text", "more text than there is room for"],
            &["run", "debian:12", "--", "echo", "said"],
        ] {
            let ran = small.pyro(arguments);
            assert!(ran.code == 0 || (ran.code == 125 && ran.stderr.lines().count() <= 3), "{}", ran.all());
            assert!(!ran.stderr.contains("panicked"), "{}", ran.all());
        }
        // Room is made by deleting, by a command or with the workspace.
        small.pyro(&["workspace", "file", "list", "full"]);
        let ran = small.pyro(&["workspace", "exec", "full", "--", "sh", "-c", "rm zeros; cat kept"]);
        if ran.code != 0 {
            // The record of a command needs a little room too; stopping and deleting do not need much.
            assert!(ran.stderr.contains("full"), "{}", ran.all());
        }
        small.pyro(&["workspace", "delete", "full"]).expect_ok();
        if small.pyro(&["workspace", "status", "another"]).code == 0 {
            small.pyro(&["workspace", "delete", "another"]).expect_ok();
        }
        small.assert_no_leaks();
        small.pyro(&["run", "debian:12", "--", "true"]).expect_ok();
        small.pyro(&["workspace", "create", "debian:12", "--name", "after"]).expect_ok();
        small.pyro(&["workspace", "delete", "after"]).expect_ok();
        small.assert_no_leaks();
    });
}

#[test]
fn a_workspace_is_deleted_where_not_a_byte_is_free() {
    case(|env| {
        if Mode::ours() != Mode::Root {
            return skip("root", "only root can mount a small disk");
        }
        for killed in [false, true] {
            let here = env.scratch();
            let disk = match SmallDisk::mount(here.path(), 48) {
                Ok(disk) => disk,
                Err(why) => return skip("a loop device", why.trim()),
            };
            let small = env.fresh_at(&disk.at.join("home"));
            small.pyro(&["workspace", "create", "debian:12", "--name", "large"]).expect_ok();
            let fill = "head -c 20M /dev/zero >zeros";
            small.pyro(&["workspace", "exec", "large", "--", "sh", "-c", fill]).expect_ok();
            disk.fill();
            if killed {
                kill_supervisor(&small, "large");
            }
            small.pyro(&["workspace", "delete", "large"]).expect_ok();
            small.pyro(&["workspace", "status", "large"]).expect_error(125, "large");
            small.assert_no_leaks();
        }
    });
}

/// Waits until somebody waits for the lock of a file.
pub fn wait_for_a_waiter(env: &TestEnv, path: &Path) {
    let inode = fs::metadata(path).expect("a file that is locked").ino();
    env.wait_for("somebody to wait for a lock", || {
        // Who waits for one has an arrow (proc_locks(5)).
        let locks = fs::read_to_string("/proc/locks").expect("locks");
        locks.lines().any(|line| line.contains("->") && line.contains(&format!(":{inode} "))).then_some(())
    });
}

#[test]
fn what_is_thrown_away_while_a_janitor_ends_is_deleted_too() {
    case(|env| {
        let env = env.fresh();
        env.pyro(&["workspace", "list"]).expect_ok();
        fs::create_dir_all(env.home().join("changes/000000000000")).expect("a layer that nothing names");
        // A janitor that has looked for the last time and has not gone yet: who comes now finds its lease taken.
        let path = env.home().join("janitor.lease");
        let lease = fs::File::create(&path).expect("the lease");
        flock(&lease, FlockOperation::LockExclusive).expect("it is free");
        let gc = env.start(&["gc"]);
        wait_for_a_waiter(&env, &path);
        drop(lease);
        env.wait("gc", gc).expect_ok();
        assert_eq!(fs::read_dir(env.home().join("trash")).expect("the trash").count(), 0);
    });
}

#[test]
fn a_home_that_others_may_enter_is_refused() {
    surface_case(|env| {
        let here = env.scratch();
        let home = here.path().join("home");
        fs::create_dir(&home).expect("make a folder");
        fs::set_permissions(&home, fs::Permissions::from_mode(0o755)).expect("chmod");
        let list = |home: &Path| env.pyro(&["--home".as_ref(), home.as_os_str(), "workspace".as_ref(), "list".as_ref()]);
        list(&home).expect_error(125, "chmod 700");
        assert_eq!(fs::read_dir(&home).expect("list").count(), 0, "nothing was made in it");
        let file = here.path().join("file");
        fs::write(&file, "x").expect("write");
        list(&file).expect_error(125, "not a directory");
        list(&file.join("below")).expect_error(125, "below");
        if Mode::ours() != Mode::Root {
            list(Path::new("/proc/1/home")).expect_error(125, "/proc/1/home");
            list(Path::new("/")).expect_error(125, "belongs to");
        }
        // One that is not there is made, with its parents.
        list(&here.path().join("a/b/home")).expect_ok();
        let mode = fs::metadata(here.path().join("a/b/home")).expect("it is made").permissions().mode();
        assert_eq!(mode & 0o777, 0o700);
    });
}

#[test]
fn a_spoiled_manifest_is_named_and_harms_no_other() {
    case(|env| {
        let env = env.fresh();
        for name in ["good", "bad"] {
            env.pyro(&["workspace", "create", "debian:12", "--name", name]).expect_ok();
            env.pyro(&["workspace", "stop", name]).expect_ok();
        }
        let manifest = env.home().join("workspaces").join(env.id("bad")).join("manifest.json");
        fs::write(&manifest, "{ this is no JSON").expect("spoil it");
        let ran = env.pyro(&["workspace", "exec", "bad", "--", "true"]);
        assert!(ran.code == 125 && ran.stderr.contains("manifest"), "{}", ran.all());
        env.pyro(&["workspace", "exec", "good", "--", "true"]).expect_ok();
        let listed: Value = env.json(&["workspace", "list"]);
        assert_eq!(listed["workspaces"].as_array().map(Vec::len), Some(2));
        env.pyro(&["workspace", "delete", "bad"]).expect_ok();
        env.pyro(&["workspace", "delete", "good"]).expect_ok();
    });
}

#[test]
fn an_environment_that_is_not_whole_is_said_and_a_workspace_of_it_survives() {
    case(|env| {
        let env = env.fresh();
        env.pyro(&["workspace", "create", "debian:12", "--name", "orphan"]).expect_ok();
        env.pyro(&["workspace", "exec", "orphan", "--", "sh", "-c", "echo kept >kept"]).expect_ok();
        env.pyro(&["workspace", "stop", "orphan"]).expect_ok();
        // What it stands on is used, so it is not removed.
        let ran = env.pyro(&["env", "remove", "debian:12"]);
        assert!(ran.code == 125 && ran.stderr.contains("orphan"), "{}", ran.all());
        env.pyro(&["workspace", "exec", "orphan", "--", "cat", "kept"]).expect_ok();
        env.pyro(&["workspace", "delete", "orphan"]).expect_ok();
    });
}

#[test]
fn a_place_whose_parts_are_gone_can_be_deleted() {
    case(|env| {
        let env = env.fresh();
        for part in ["manifest.json", "lease", "execs", "root", "work-root"] {
            env.pyro(&["workspace", "create", "debian:12", "--name", "broken"]).expect_ok();
            let place = env.home().join("workspaces").join(env.id("broken"));
            env.pyro(&["workspace", "stop", "broken"]).expect_ok();
            // The last two are of its only layer.
            let layers = fs::read_dir(env.home().join("changes")).expect("list").flatten().map(|entry| entry.path());
            let gone =
                layers.chain([place.clone()]).map(|folder| folder.join(part)).find(|path| path.exists()).expect("it is there");
            // Not deleted but moved: some of it belongs to ids that are not ours.
            fs::rename(&gone, gone.with_file_name("moved")).expect("take it away");
            let ran = env.pyro(&["workspace", "exec", "broken", "--", "true"]);
            assert!(ran.code == 0 || (ran.code == 125 && !ran.stderr.contains("panicked")), "{part}: {}", ran.all());
            env.pyro(&["workspace", "delete", "broken"]).expect_ok();
            assert!(!place.exists());
        }
        env.assert_no_leaks();
    });
}

#[test]
fn two_homes_do_not_touch_each_other() {
    case(|env| {
        let (one, two) = (env.fresh(), env.fresh());
        let create = |env: &TestEnv| env.pyro(&["workspace", "create", "debian:12", "--name", "same"]).expect_ok();
        create(&one);
        create(&two);
        one.pyro(&["workspace", "exec", "same", "--", "sh", "-c", "echo one >which"]).expect_ok();
        two.pyro(&["workspace", "exec", "same", "--", "test", "!", "-e", "which"]).expect_ok();
        one.assert_no_leaks();
        one.pyro(&["workspace", "delete", "same"]).expect_ok();
        two.pyro(&["workspace", "exec", "same", "--", "true"]).expect_ok();
        two.assert_no_leaks();
        two.pyro(&["workspace", "delete", "same"]).expect_ok();
    });
}
