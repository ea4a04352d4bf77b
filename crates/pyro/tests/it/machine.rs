//! Machines with a kernel of their own: what only they promise. Everything else they are asked by the same cases as every sandbox, under
//! `PYRO_ISOLATION=microvm`.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use pyro_testkit::TestEnv;
use rustix::process::Signal;
use serde_json::Value;

use crate::{case, kill_supervisor, signal};

const MACHINE: [&str; 2] = ["--isolation", "microvm"];

/// A workspace with a kernel of its own.
fn machine(env: &TestEnv, word: &str) -> String {
    env.environment("microvm");
    let name = env.name(word);
    env.pyro(&[&["workspace", "create", "debian:12", "--name", &name], &MACHINE[..]].concat()).expect_ok();
    name
}

fn exec(env: &TestEnv, workspace: &str, line: &str) -> String {
    env.pyro(&["workspace", "exec", workspace, "--", "sh", "-c", line]).expect_ok().stdout
}

/// Process id of the QEMU of a running workspace: the one child that its supervisor has.
fn qemu(env: &TestEnv, workspace: &str) -> i32 {
    let supervisor = env.supervisor(workspace);
    let text = fs::read_to_string(format!("/proc/{supervisor}/task/{supervisor}/children")).expect("the supervisor's children");
    text.split_ascii_whitespace().next().and_then(|pid| pid.parse().ok()).expect("a supervisor of a machine has a child")
}

#[test]
fn a_machine_has_a_kernel_of_its_own_and_says_what_holds() {
    case(|env| {
        let ws = machine(env, "kernel");
        let ours = fs::read_to_string("/proc/sys/kernel/osrelease").expect("a release");
        let theirs = exec(env, &ws, "cat /proc/sys/kernel/osrelease /proc/sys/kernel/pid_max; id -u; cat /proc/mounts");
        assert!(!theirs.starts_with(ours.trim()) && theirs.contains("\n4096\n0\n"), "{theirs}");
        let report = &env.json::<Value>(&["workspace", "status", &ws])["isolation"];
        assert_eq!(report["backend"], "qemu");
        for guarantee in report["guarantees"].as_array().expect("guarantees") {
            let name = guarantee["name"].as_str().expect("a name");
            // What QEMU itself is limited to is the host's to give.
            if !["landlock", "cpu_limit"].contains(&name) {
                assert_eq!(guarantee["held"], true, "{guarantee}");
            }
        }
        // Root of a machine may do what root of a computer may.
        exec(env, &ws, "mkdir /mnt/x && mount -t tmpfs none /mnt/x && umount /mnt/x && unshare --user --map-root-user true");
        env.pyro(&["run", "debian:12", "--isolation", "microvm,own_kernel,no_network,disk_limit", "--", "true"]).expect_ok();
    });
}

#[test]
fn qemu_runs_as_nobody_with_nothing_around_it() {
    case(|env| {
        let ws = machine(env, "confined");
        let pid = qemu(env, &ws);
        let status = fs::read_to_string(format!("/proc/{pid}/status")).expect("its status");
        let field = |name: &str| status.lines().find_map(|line| line.strip_prefix(name)).unwrap_or_default().trim().to_owned();
        assert_eq!((field("NoNewPrivs:").as_str(), field("Seccomp:").as_str()), ("1", "2"));
        // Ours and the one that it loads itself.
        assert_eq!(field("Seccomp_filters:"), "2");
        let net = fs::read_to_string(format!("/proc/{pid}/net/dev")).expect("its devices");
        let devices: Vec<&str> = net.lines().filter_map(|line| Some(line.split_once(':')?.0.trim())).collect();
        assert_eq!(devices, ["lo"]);
        if rustix::process::geteuid().is_root() {
            let uid: u32 = field("Uid:").split_ascii_whitespace().next().and_then(|uid| uid.parse().ok()).expect("a user id");
            assert!(uid >= 65_536, "QEMU is user {uid} of the host");
            // No shell, no tool: itself, its libraries, its firmware.
            let programs = ["bin/sh", "usr/bin", "sbin", "etc/passwd", "home"].map(|path| format!("/proc/{pid}/root/{path}"));
            for path in programs {
                assert!(
                    !Path::new(&path).exists() || fs::read_dir(&path).is_ok_and(|mut entries| entries.next().is_none()),
                    "{path}"
                );
            }
        }
        for kind in ["user", "mnt", "pid", "net", "ipc", "uts", "cgroup"] {
            let of = |who: &str| fs::read_link(format!("/proc/{who}/ns/{kind}"));
            if let (Ok(theirs), Ok(ours)) = (of(&pid.to_string()), of("self")) {
                assert_ne!(theirs, ours, "QEMU shares the {kind} namespace");
            }
        }
    });
}

#[test]
fn copies_of_one_machine_are_all_different() {
    case(|env| {
        env.environment("microvm");
        const COPIES: usize = 12;
        let line = "cat /proc/sys/kernel/random/boot_id /etc/machine-id; head -c 16 /dev/urandom | od -An -tx1; date +%s";
        let mut seen: [BTreeSet<String>; 3] = Default::default();
        for _ in 0..COPIES {
            let run = env.pyro(&[&["run", "debian:12"], &MACHINE[..], &["--", "sh", "-c", line]].concat()).expect_ok();
            let lines: Vec<&str> = run.stdout.lines().collect();
            for (set, line) in seen.iter_mut().zip(&lines) {
                assert!(line.trim().len() >= 32, "{}", run.all());
                set.insert((*line).to_owned());
            }
            let clock: u64 = lines[3].parse().expect("a time");
            let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).expect("after 1970").as_secs();
            assert!(now.abs_diff(clock) < 60, "it is {now}, and the machine says {clock}");
        }
        assert_eq!(seen.map(|set| set.len()), [COPIES; 3], "boot ids, machine ids, random bytes");
    });
}

#[test]
fn a_machine_that_is_killed_starts_again_with_what_was_on_disk() {
    case(|env| {
        let ws = machine(env, "killed");
        exec(env, &ws, "echo one >kept; sync");
        let id = exec(env, &ws, "cat /etc/machine-id");
        for (victim, kept) in [("qemu", "one\n"), ("its supervisor", "one\ntwo\n")] {
            match victim {
                "qemu" => signal(qemu(env, &ws), Signal::KILL),
                _ => kill_supervisor(env, &ws),
            }
            env.wait_for("the workspace to be known as lost", || {
                (env.json::<Value>(&["workspace", "status", &ws])["state"] == "failed").then_some(())
            });
            assert_eq!(exec(env, &ws, "cat kept; echo two >>kept; sync"), kept);
        }
        assert_eq!(exec(env, &ws, "cat /etc/machine-id"), id, "who it is it keeps");
    });
}

#[test]
fn what_was_stopped_in_order_has_everything() {
    case(|env| {
        let ws = machine(env, "stopped");
        exec(env, &ws, "head -c 20M /dev/urandom >large; sha256sum large >sum");
        env.pyro(&["workspace", "stop", &ws]).expect_ok();
        assert!(exec(env, &ws, "sha256sum -c sum").contains("large: OK"));
    });
}

#[test]
fn an_environment_stays_as_it_is_whatever_root_of_a_machine_does() {
    case(|env| {
        let ws = machine(env, "spoiler");
        let layer = PathBuf::from(env.home()).join("layers");
        let digest = env.json::<Value>(&["env", "inspect", "debian:12"])["digest"].as_str().expect("a digest").to_owned();
        let image = layer.join(digest).join("image.ext4");
        let sum = || digest_of(&image);
        let before = sum();
        // The device refuses; what it would do to the file is nothing in any case.
        let tried = "for disk in /dev/vd?; do case $(cat /sys/block/${disk#/dev/}/serial) in environment|seed) ro=$(cat /sys/block/${disk#/dev/}/ro); \
                     echo $ro; dd if=/dev/zero of=$disk bs=4096 count=16 conv=notrunc 2>&1 | tail -1;; esac; done";
        let said = exec(env, &ws, tried);
        assert!(said.starts_with("1\n"), "{said}");
        exec(env, &ws, "rm -rf /usr/bin/git /etc/ssl; sync");
        env.pyro(&["run", "debian:12", "--isolation", "microvm", "--", "git", "--version"]).expect_ok();
        assert_eq!(sum(), before);
    });
}

fn digest_of(file: &Path) -> String {
    let sum = std::process::Command::new("sha256sum").arg(file).output().expect("start sha256sum");
    String::from_utf8_lossy(&sum.stdout).split_ascii_whitespace().next().unwrap_or_default().to_owned()
}

#[test]
fn floods_are_bounded() {
    case(|env| {
        let ws = machine(env, "flood");
        // The console is nobody's, the disk has an end, the output is kept up to its cap.
        exec(env, &ws, "head -c 4M /dev/zero >/dev/console");
        let ran = env.pyro(&["workspace", "exec", &ws, "--timeout-seconds", "100", "--", "sh", "-c", "yes | head -c 30M"]);
        assert_eq!(ran.code, 0, "{}", ran.all().chars().take(500).collect::<String>());
        assert_eq!(exec(env, &ws, "echo alive"), "alive\n");
    });
}

#[test]
fn a_machine_has_the_size_that_was_asked_for() {
    case(|env| {
        env.environment("microvm");
        let ws = env.name("sized");
        let size = ["--vcpu-count", "2", "--mem-mib", "512", "--disk-mib", "600"];
        env.pyro(&[&["workspace", "create", "debian:12", "--name", &ws], &MACHINE[..], &size[..]].concat()).expect_ok();
        let said = exec(env, &ws, "nproc; grep MemTotal /proc/meminfo | tr -dc 0-9; echo; df -m --output=size / | tail -1");
        let numbers: Vec<u64> = said.split_ascii_whitespace().map(|number| number.parse().expect("a number")).collect();
        assert_eq!(numbers[0], 2);
        assert!((400_000..524_288).contains(&numbers[1]), "{} KiB of memory", numbers[1]);
        assert!((450..=600).contains(&numbers[2]), "{} MiB of disk", numbers[2]);
        assert_eq!(env.json::<Value>(&["workspace", "status", &ws])["disk_mib"], 600);
        // A full disk is the machine's own, and is said; the next command works.
        let ran =
            env.pyro(&["workspace", "exec", &ws, "--timeout-seconds", "100", "--", "sh", "-c", "head -c 700M /dev/zero >zeros"]);
        assert!(ran.code != 0 && ran.stderr.contains("No space left"), "{}", ran.all());
        assert_eq!(exec(env, &ws, "rm zeros; echo room"), "room\n");
    });
}

#[test]
fn the_first_machine_says_what_takes_a_while_and_its_copies_do_not() {
    case(|env| {
        env.environment("microvm");
        env.environment("debian:12");
        let env = env.fresh();
        if let Err(error) = fs::remove_file(env.home().join("machines")) {
            assert_eq!(error.kind(), std::io::ErrorKind::NotFound, "forget the machines that have booted");
        }
        let run = || env.pyro(&[&["run", "debian:12"], &MACHINE[..], &["--", "true"]].concat()).expect_ok().stderr;
        let said = "booting the first machine of this environment and size";
        assert!(run().contains(said));
        assert!(!run().contains(said));
    });
}

#[test]
fn what_a_machine_cannot_be_is_refused_with_a_way_out() {
    case(|env| {
        env.environment("microvm");
        let run = |arguments: &[&str]| env.pyro(&[&["run"], arguments, &MACHINE[..], &["--", "true"]].concat());
        run(&["debian:12", "--mem-mib", "64"]).expect_error(2, "192");
        run(&["microvm"]).expect_error(2, "no environment");
        env.environment("host");
        let refused = run(&["host"]);
        assert!(refused.code == 125 && refused.stderr.contains("hint:"), "{}", refused.all());
    });
}

#[test]
fn the_past_of_a_machine_is_copies_of_its_disk() {
    case(|env| {
        let ws = machine(env, "past");
        let ws = ws.as_str();
        let read = || exec(env, ws, "cat file; cat /var/x/y 2>/dev/null || echo nothing");
        exec(env, ws, "echo one >file; mkdir /var/x; echo two >/var/x/y");
        let snapshot: Value = env.json(&["workspace", "snapshot", "create", ws, "before"]);
        assert_eq!((&snapshot["step"], snapshot["copied"].is_string()), (&Value::from(1), true), "{snapshot:#}");
        exec(env, ws, "echo changed >file; rm -r /var/x");
        let gone: Value = env.json(&["workspace", "reset", ws, "--snapshot", "before"]);
        assert_eq!(gone["left"]["subject"], "sh -c 'echo changed >file; rm -r /var/x'", "{gone:#}");
        assert_eq!(read(), "one\ntwo\n");
        // What was done since the last step is what is undone first, though it only looked: nobody outside sees that.
        let undone: Value = env.json(&["workspace", "undo", ws]);
        assert_eq!(undone["at"]["op"], "workspace reset", "{undone:#}");
        env.pyro(&["workspace", "undo", ws]).expect_ok();
        assert_eq!(read(), "changed\nnothing\n");
        // While something runs a snapshot lies beside the way.
        exec(env, ws, "(while :; do echo more >>log; done) >/dev/null 2>&1 & until [ -s log ]; do :; done");
        let beside: Value = env.json(&["workspace", "snapshot", "create", ws, "beside"]);
        assert!(beside["copied"].is_string(), "{beside:#}");
        env.pyro(&["workspace", "stop", ws]).expect_ok();
        // One that stands still is gone back with as well.
        let gone: Value = env.json(&["workspace", "reset", ws, "--snapshot", "beside"]);
        assert_eq!(gone["stopped"], Value::Null, "{gone:#}");
        assert_eq!(exec(env, ws, "test -s log && cat file"), "changed\n");
        env.pyro(&["workspace", "reset", ws]).expect_ok();
        assert_eq!(exec(env, ws, "ls -A"), "", "as it was created");
    });
}

#[test]
fn forks_of_a_machine_have_its_files_and_disks_of_their_own() {
    case(|env| {
        let ws = machine(env, "origin");
        let ws = ws.as_str();
        exec(env, ws, "echo common >file; head -c 3M /dev/urandom >much; sha256sum much >sum");
        let (one, two) = (env.name("fork-1"), env.name("fork-2"));
        for fork in [&one, &two] {
            env.pyro(&["workspace", "fork", ws, "--name", fork]).expect_ok();
        }
        exec(env, &one, "sha256sum --quiet -c sum && echo first >file");
        exec(env, ws, "echo origin >file");
        env.pyro(&["workspace", "delete", ws]).expect_ok();
        assert_eq!(exec(env, &two, "sha256sum --quiet -c sum; cat file"), "common\n");
        assert_eq!(exec(env, &one, "cat file"), "first\n");
        let refused = env.pyro(&["workspace", "diff", &one]);
        refused.expect_error(125, "cannot be compared with that");
        let diff = env.pyro(&["workspace", "diff", &one, "--against", "seed", "--stat"]).expect_ok();
        assert!(diff.stdout.starts_with("A file +1 -0\n"), "{}", diff.stdout);
        env.pyro(&["workspace", "merge", &one, &two]).expect_error(125, "cannot be merged");
        let again = env.name("fork-again");
        env.pyro(&["workspace", "stop", &one]).expect_ok();
        env.pyro(&["workspace", "fork", &one, "--name", &again]).expect_ok();
        assert_eq!(exec(env, &again, "cat file"), "first\n");
    });
}
