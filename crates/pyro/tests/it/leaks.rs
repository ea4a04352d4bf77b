//! Deaths at every moment: of supervisors, of callers, of the record. Nothing is lost that was there, and nothing is left that should not be.

use std::fs;
use std::io::{Seek as _, SeekFrom, Write as _};
use std::path::PathBuf;

use pyro_testkit::{TestEnv, processes_with, skip};
use rustix::process::Signal;
use serde_json::Value;

use crate::{case, kill_supervisor, mark, namespaces_case, signal, wait_for_line, wait_until_gone};

fn state(env: &TestEnv, ws: &str) -> (String, String) {
    let view: Value = env.json(&["workspace", "status", ws]);
    let text = |key: &str| view[key].as_str().unwrap_or_default().to_owned();
    (text("state"), text("failure"))
}

fn cleared(env: &TestEnv) -> Vec<String> {
    let answer = env.document(&["doctor", "--leaks"]);
    assert_eq!(answer["leaks"].as_array().map_or(0, Vec::len), 0, "{answer:#}");
    answer["recovered"].as_array().into_iter().flatten().filter_map(|line| line.as_str().map(str::to_owned)).collect()
}

#[test]
fn a_killed_supervisor_takes_its_processes_and_loses_no_file() {
    case(|env| {
        let env = env.fresh();
        let ws = env.workspace("widow");
        let mark = mark(30);
        env.pyro(&["workspace", "exec", &ws, "--", "sh", "-c", &format!("echo kept >kept; sync; setsid sleep {mark} & true")])
            .expect_ok();
        let mut child = env.start(&["workspace", "exec", &ws, "--", "sh", "-c", &format!("echo ready; sleep {mark}")]);
        let reader = wait_for_line(&mut child, "ready");
        kill_supervisor(&env, &ws);
        wait_until_gone(&env, &mark);
        drop(reader);
        let ran = env.wait("an exec whose supervisor was killed", child);
        assert!(ran.code == 125 && ran.stderr.contains("supervisor"), "{}", ran.all());
        // What the record says is true from the first look on.
        let (word, failure) = state(&env, &ws);
        assert!(word == "failed" && failure.contains("supervisor died"), "{word} {failure}");
        let log: Value = env.json(&["workspace", "logs", &ws]);
        let last = &log["entries"][2];
        assert!(last["outcome"].as_str().is_some_and(|text| text.contains("lost")), "{log:#}");
        // And its next use starts it with all its files.
        assert_eq!(env.pyro(&["workspace", "exec", &ws, "--", "cat", "kept"]).expect_ok().stdout, "kept\n");
        assert_eq!(state(&env, &ws), ("running".into(), String::new()));
        assert_eq!(processes_with(&mark), Vec::<i32>::new());
        assert_eq!(cleared(&env), Vec::<String>::new());
    });
}

#[test]
fn whatever_comes_first_after_a_death_works() {
    case(|env| {
        let env = env.fresh();
        let ws = env.workspace("first");
        let commands: [&[&str]; 8] = [
            &["workspace", "exec", &ws, "--", "true"],
            &["workspace", "start", &ws],
            &["workspace", "stop", &ws],
            &["workspace", "file", "list", &ws],
            &["workspace", "diff", &ws],
            &["workspace", "list"],
            &["workspace", "update", &ws, "--label", "a=b"],
            &["workspace", "delete", &ws],
        ];
        for command in commands {
            env.pyro(&["workspace", "start", &ws]).expect_ok();
            kill_supervisor(&env, &ws);
            env.pyro(command).expect_ok();
        }
        env.assert_no_leaks();
    });
}

#[test]
fn doctor_clears_what_a_dead_supervisor_left_and_says_so() {
    case(|env| {
        let env = env.fresh();
        let ws = env.workspace("doctor");
        kill_supervisor(&env, &ws);
        let cleared = cleared(&env);
        assert!(cleared.iter().any(|line| line.contains(&ws)), "{cleared:?}");
        assert_eq!(state(&env, &ws).0, "failed");
    });
}

#[test]
fn control_groups_outlive_a_home_and_are_cleared_away_by_the_next_one_at_its_path() {
    namespaces_case("a machine's groups are those of the program that runs it", |env| {
        let place = env.scratch();
        let home = place.path().join("home");
        let before = env.fresh_at(&home);
        let ws = before.workspace("lost");
        let groups = groups_of(&before.id(&ws));
        if groups.is_empty() {
            before.pyro(&["workspace", "delete", &ws]).expect_ok();
            return skip("control groups", "none can be made here");
        }
        kill_supervisor(&before, &ws);
        fs::remove_dir_all(&home).expect("delete the home");
        let after = env.fresh_at(&home);
        let said = cleared(&after).join("\n");
        for group in groups {
            assert!(said.contains(&group.display().to_string()) && !group.exists(), "{} is not in {said}", group.display());
        }
        after.assert_no_leaks();
    });
}

/// Control groups that are named after a workspace.
fn groups_of(id: &str) -> Vec<PathBuf> {
    let mut found = Vec::new();
    let mut waiting = vec![PathBuf::from("/sys/fs/cgroup")];
    while let Some(directory) = waiting.pop() {
        for entry in fs::read_dir(directory).into_iter().flatten().flatten() {
            if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
                let is_it = entry.file_name().to_string_lossy().ends_with(id);
                if is_it { &mut found } else { &mut waiting }.push(entry.path());
            }
        }
    }
    found
}

#[test]
fn a_seed_whose_caller_dies_half_way_leaves_nothing() {
    case(|env| {
        let env = env.fresh();
        let seed = env.scratch();
        for folder in 0..40 {
            let folder = seed.path().join(format!("folder-{folder}"));
            fs::create_dir(&folder).expect("make a folder");
            for file in 0..200 {
                fs::write(folder.join(format!("file-{file}")), "content").expect("write a file");
            }
        }
        let path = seed.path().to_string_lossy().into_owned();
        let runs = env.home().join("runs");
        for who in ["caller", "supervisor"] {
            let mut child = env.start(&["workspace", "create", "debian:12", "--name", "half", "--seed-path", &path]);
            // The copy has begun: there is a first file of it.
            let lease = env.wait_for("a copy to begin", || {
                let place = fs::read_dir(&runs).ok()?.flatten().map(|entry| entry.path()).find(|path| path.is_dir())?;
                let copied = fs::read_dir(place.join("seed/root/workspace")).ok()?.next().is_some();
                copied.then(|| place.join("lease"))
            });
            if who == "caller" {
                child.kill().expect("kill pyro");
                child.wait().expect("it is dead");
            } else {
                let text = fs::read_to_string(lease).expect("the lease names its holder");
                signal(text.trim().parse().expect("a process id"), Signal::KILL);
                let ran = env.wait("a create whose supervisor was killed", child);
                assert!(ran.code == 125 && ran.stderr.contains("supervisor"), "{}", ran.all());
            }
            // A caller's death is noticed by the one that copies, which may have been past the copy already: then there is a workspace.
            env.wait_for("the copy to be cleared away", || {
                env.pyro(&["doctor", "--leaks"]);
                fs::read_dir(&runs).ok()?.next().is_none().then_some(())
            });
            let listed: Value = env.json(&["workspace", "list"]);
            if listed["workspaces"].as_array().is_some_and(|all| !all.is_empty()) {
                assert_eq!(who, "caller", "{listed:#}");
                env.pyro(&["workspace", "exec", "half", "--", "test", "-e", "folder-39/file-199"]).expect_ok();
                env.pyro(&["workspace", "delete", "half"]).expect_ok();
            }
            env.assert_no_leaks();
        }
        env.pyro(&["workspace", "create", "debian:12", "--name", "half", "--seed-path", &path]).expect_ok();
        assert_eq!(
            env.pyro(&["workspace", "exec", "half", "--", "sh", "-c", "find . -type f | wc -l"]).expect_ok().stdout.trim(),
            "8000"
        );
        env.pyro(&["workspace", "delete", "half"]).expect_ok();
    });
}

#[test]
fn a_delete_that_dies_is_finished_by_the_next_command() {
    case(|env| {
        let env = env.fresh();
        let trash = env.home().join("trash");
        for moment in 0..6 {
            let name = format!("gone-{moment}");
            env.pyro(&["workspace", "create", "debian:12", "--name", &name]).expect_ok();
            env.pyro(&[
                "workspace",
                "exec",
                &name,
                "--",
                "sh",
                "-c",
                "for n in $(seq 1 300); do mkdir -p d$n; echo x >d$n/x; done",
            ])
            .expect_ok();
            let id = env.id(&name);
            let place = env.home().join("workspaces").join(&id);
            let mut child = env.start(&["workspace", "delete", &name]);
            env.wait_for("a moment of a delete", || {
                let there = match moment {
                    0 => true,
                    1 | 2 => !place.join("control.sock").exists() || !place.exists(),
                    3 | 4 => !place.exists(),
                    _ => fs::read_dir(&trash).ok()?.next().is_some() || !place.exists(),
                };
                there.then_some(())
            });
            let _ = child.kill();
            child.wait().expect("it is dead");
            // Whole or gone, and can be deleted in either case.
            let ran = env.pyro(&["workspace", "exec", &name, "--", "cat", "d300/x"]);
            assert!((ran.code == 0 && ran.stdout == "x\n") || (ran.code == 125 && ran.stderr.contains(&name)), "{}", ran.all());
            let ran = env.pyro(&["workspace", "delete", &name]);
            assert!(ran.code == 0 || ran.stderr.contains(&name), "{}", ran.all());
            env.assert_no_leaks();
            assert!(!place.exists());
        }
        let left: Vec<_> = fs::read_dir(&trash).expect("the trash").flatten().map(|entry| entry.path()).collect();
        assert!(left.is_empty(), "{left:?}");
    });
}

#[test]
fn a_lost_database_is_made_again_from_the_manifests() {
    case(|env| {
        let env = env.fresh();
        for (name, label) in [("running", "k=1"), ("stopped", "k=2")] {
            env.pyro(&["workspace", "create", "debian:12", "--name", name, "--label", label]).expect_ok();
            env.pyro(&["workspace", "exec", name, "--", "sh", "-c", &format!("echo {name} | tee kept")]).expect_ok();
        }
        env.pyro(&["workspace", "stop", "running"]).expect_ok();
        env.pyro(&["workspace", "stop", "stopped"]).expect_ok();
        let ruin: [(&str, &dyn Fn()); 3] = [
            ("lost", &|| {
                for name in ["state.db", "state.db-wal", "state.db-shm"] {
                    let _ = fs::remove_file(env.home().join(name));
                }
            }),
            ("overwritten", &|| fs::write(env.home().join("state.db"), "this is no database").expect("overwrite it")),
            ("damaged", &|| {
                // Everything after the first page but the header's promise of it.
                let mut file = fs::OpenOptions::new().write(true).open(env.home().join("state.db")).expect("open it");
                file.seek(SeekFrom::Start(0)).expect("seek");
                file.write_all(&[0x5a; 4096]).expect("damage it");
            }),
        ];
        for (round, (what, ruin)) in (0..).zip(ruin) {
            ruin();
            let listed: Value = env.json(&["workspace", "list", "--label", "k=1"]);
            assert_eq!(listed["workspaces"][0]["workspace"], "running", "{what}: {listed:#}");
            for name in ["running", "stopped"] {
                assert_eq!(
                    env.pyro(&["workspace", "exec", name, "--", "cat", "kept"]).expect_ok().stdout,
                    format!("{name}\n"),
                    "{what}"
                );
                // Numbers of commands go on: nothing that is kept is written over.
                let answer = env.document(&["workspace", "exec", name, "--", "true"]);
                assert!(answer["exec"].as_u64().is_some_and(|number| number == 3 + round), "{what}: {answer:#}");
                env.pyro(&["workspace", "stop", name]).expect_ok();
            }
        }
        let asides = fs::read_dir(env.home())
            .expect("the home")
            .flatten()
            .filter(|entry| entry.file_name().to_string_lossy().contains("damaged"))
            .count();
        assert!(asides >= 1, "a damaged database is set aside, not deleted");
        for name in ["running", "stopped"] {
            env.pyro(&["workspace", "delete", name]).expect_ok();
        }
    });
}

#[test]
fn a_database_that_is_lost_under_a_running_workspace_loses_no_workspace() {
    case(|env| {
        let env = env.fresh();
        let ws = env.workspace("running");
        env.pyro(&["workspace", "exec", &ws, "--", "sh", "-c", "echo kept >kept"]).expect_ok();
        for name in ["state.db", "state.db-wal", "state.db-shm"] {
            let _ = fs::remove_file(env.home().join(name));
        }
        let listed: Value = env.json(&["workspace", "list"]);
        assert_eq!(listed["workspaces"][0]["workspace"], ws.as_str(), "{listed:#}");
        assert_eq!(env.pyro(&["workspace", "exec", &ws, "--", "cat", "kept"]).expect_ok().stdout, "kept\n");
        env.pyro(&["workspace", "stop", &ws]).expect_ok();
        assert_eq!(env.pyro(&["workspace", "exec", &ws, "--", "cat", "kept"]).expect_ok().stdout, "kept\n");
        env.pyro(&["workspace", "delete", &ws]).expect_ok();
    });
}

#[test]
fn a_build_that_is_killed_leaves_nothing_half_made() {
    case(|env| {
        let env = env.empty();
        let tmp = env.home().join("tmp");
        let mut child = env.start(&["env", "build", "debian:12-base"]);
        env.wait_for("a build to begin", || fs::read_dir(&tmp).ok()?.next().map(drop));
        child.kill().expect("kill pyro");
        child.wait().expect("it is dead");
        // The builder notices that nobody waits, or ends with what it does; either way nothing of it is left.
        env.wait_for("the builder to be gone", || {
            let answer = env.document(&["doctor", "--leaks"]);
            let left = fs::read_dir(&tmp).ok()?.next().is_some() || fs::read_dir(env.home().join("trash")).ok()?.next().is_some();
            (!left && answer["leaks"].as_array().map_or(0, Vec::len) == 0).then_some(())
        });
        let view: Value = env.json(&["env", "inspect", "debian:12-base"]);
        assert!(view["built"] == false, "{view:#}");
    });
}
