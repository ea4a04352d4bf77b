//! `pyro run`: one command in a sandbox of its own, of which nothing is left.

use std::fs;
use std::process::Stdio;

use pyro_testkit::{TestEnv, processes_with};
use rustix::process::Signal;
use serde_json::Value;

use crate::{SEEN_OUTSIDE, case, mark, namespaces_case, noise, pid_of, signal, wait_for_line, wait_until_gone};

#[test]
fn the_exit_status_is_the_commands_own() {
    case(|env| {
        for code in [0, 1, 2, 42, 124, 125, 255] {
            let ran = env.pyro(&["run", "debian:12", "--", "sh", "-c", &format!("exit {code}")]);
            assert_eq!((ran.code, ran.stdout.as_str(), ran.stderr.as_str()), (code, "", ""), "{}", ran.all());
        }
        for (name, number) in [("TERM", 15), ("KILL", 9), ("SEGV", 11)] {
            let ran = env.pyro(&["run", "debian:12", "--", "sh", "-c", &format!("kill -{name} $$")]);
            assert!(ran.code == 128 + number && ran.stderr.contains(&format!("SIG{name}")), "{}", ran.all());
        }
    });
}

#[test]
fn what_did_not_start_says_why() {
    case(|env| {
        env.pyro(&["run", "debian:12", "--", "no-such-program"]).expect_error(127, "no-such-program");
        env.pyro(&["run", "debian:12", "--", "/etc/passwd"]).expect_error(126, "/etc/passwd");
        env.pyro(&["run", "debian:12", "--", "/etc"]).expect_error(126, "/etc");
        let ran = env.pyro(&["run", "debian:12", "--cwd", "/no/such", "--", "true"]);
        assert!(ran.code != 0 && ran.stderr.contains("/no/such"), "{}", ran.all());
        // A script whose interpreter is not there is not "not found": the script is there.
        let ran =
            env.pyro(&["run", "debian:12", "--", "sh", "-c", "printf '#!/no/such\\n' >/tmp/x; chmod 755 /tmp/x; exec /tmp/x"]);
        assert!(ran.code == 126 || ran.code == 127, "{}", ran.all());
    });
}

#[test]
fn mistakes_are_told_before_anything_is_made() {
    case(|env| {
        env.pyro(&["run", "debian:12", "--no-such-flag", "--", "true"]).expect_error(2, "--no-such-flag");
        env.pyro(&["run", "debian:12"]).expect_error(2, "");
        env.pyro(&["run", "debian:12", "--timeout-seconds", "0", "--", "true"]).expect_error(2, "timeout_seconds");
        env.pyro(&["run", "debian:12", "--env", "no-equals", "--", "true"]).expect_error(2, "NAME=VALUE");
        env.pyro(&["run", "../etc", "--", "true"]).expect_error(2, "not the name of an environment");
        env.pyro(&["run", "debain:12", "--", "true"]).expect_error(125, "did you mean debian:12");
        env.pyro(&["run", "debian:12", "--seed-path", "/no/such/seed", "--", "true"]).expect_error(125, "/no/such/seed");
    });
}

#[test]
fn both_streams_come_as_they_are_written() {
    case(|env| {
        let ran = env.pyro(&["run", "debian:12", "--", "sh", "-c", "printf 'one\\ntwo'; printf '\\0\\377' >&2"]).expect_ok();
        assert_eq!((ran.stdout.as_str(), ran.stderr.as_str()), ("one\ntwo", "\0\u{fffd}"));
        // The first line comes while the command still runs.
        let mut child = env.command(&["run", "debian:12", "--", "sh", "-c", "echo first; read line; echo \"$line\""]);
        let mut child = child.stdin(Stdio::piped()).spawn().expect("start pyro");
        let mut rest = wait_for_line(&mut child, "first");
        std::io::Write::write_all(child.stdin.as_mut().expect("stdin is piped"), b"second\n").expect("it reads");
        let mut line = String::new();
        std::io::BufRead::read_line(&mut rest, &mut line).expect("read its output");
        assert_eq!(line, "second\n");
        assert_eq!(env.wait("the end of a run", child).code, 0);
    });
}

#[test]
fn standard_input_is_passed_whole() {
    case(|env| {
        let input = noise(10 << 20);
        let here = env.scratch();
        let file = here.path().join("input");
        fs::write(&file, &input).expect("write a file");
        let wanted = std::process::Command::new("sha256sum").arg(&file).output().expect("sha256sum");
        let wanted = String::from_utf8_lossy(&wanted.stdout);
        let wanted = wanted.split(' ').next().expect("a sum");
        let ran = env.pyro_with_stdin(&["run", "debian:12", "--", "sha256sum"], &input).expect_ok();
        assert_eq!(ran.stdout.split(' ').next(), Some(wanted));
        // No input at all is an empty one, and a command that reads none of it ends all the same.
        assert_eq!(env.pyro(&["run", "debian:12", "--", "wc", "-c"]).expect_ok().stdout.trim(), "0");
        env.pyro_with_stdin(&["run", "debian:12", "--", "true"], &input).expect_ok();
        // What comes back is what went in.
        let ran = env.pyro_with_stdin(&["run", "debian:12", "--", "sh", "-c", "cat | cksum; cat >&2"], b"x\n").expect_ok();
        assert!(ran.stdout.ends_with(" 2\n"), "{}", ran.all());
    });
}

#[test]
fn working_directory_variables_and_seed_are_given() {
    case(|env| {
        let ran = env.pyro(&["run", "debian:12", "--", "sh", "-c", "pwd; echo ~; id -un; id -u; hostname"]).expect_ok();
        assert_eq!(ran.stdout, "/workspace\n/root\nroot\n0\nrun\n");
        assert_eq!(env.pyro(&["run", "debian:12", "--cwd", "/usr/bin", "--", "pwd"]).expect_ok().stdout, "/usr/bin\n");
        let ran = env.pyro(&[
            "run",
            "debian:12",
            "--env",
            "A=b c",
            "--env",
            "EMPTY=",
            "--env",
            "A=d",
            "--",
            "sh",
            "-c",
            "echo \"$A|$EMPTY|${EMPTY-unset}\"",
        ]);
        assert_eq!(ran.expect_ok().stdout, "d||\n");
        // Nothing of our own environment is seen inside.
        let mut command = env.command(&["run", "debian:12", "--", "env"]);
        let output = command.env("PYRO_SECRET_OF_THE_HOST", "canary").output().expect("start pyro");
        let text = String::from_utf8_lossy(&output.stdout);
        assert!(!text.contains("canary") && !text.contains("PYRO_HOME") && text.contains("PATH="), "{text}");
        let seed = env.scratch();
        fs::write(seed.path().join("hello.txt"), "from the host").expect("write a seed");
        let path = seed.path().to_string_lossy().into_owned();
        let ran = env
            .pyro(&["run", "debian:12", "--seed-path", &path, "--", "sh", "-c", "cat hello.txt; echo changed >hello.txt"])
            .expect_ok();
        assert_eq!(ran.stdout, "from the host");
        assert_eq!(fs::read_to_string(seed.path().join("hello.txt")).expect("the seed is there"), "from the host");
    });
}

#[test]
fn json_is_one_document_with_the_outcome() {
    case(|env| {
        let answer: Value = env.document(&["run", "debian:12", "--", "sh", "-c", "echo out; echo err >&2; exit 7"]);
        assert_eq!(answer["outcome"], serde_json::json!({ "kind": "exited", "code": 7 }));
        assert_eq!((&answer["stdout"]["text"], &answer["stderr"]["text"]), (&"out\n".into(), &"err\n".into()));
        assert_eq!(answer["stdout"]["bytes_total"], 4);
        assert!(answer["isolation"]["guarantees"].as_array().is_some_and(|all| all.len() >= 12), "{answer:#}");
        let answer = env.document(&["run", "debian:13", "--", "true"]);
        assert!(answer["error"]["message"].as_str().is_some_and(|text| text.contains("debian:13")), "{answer:#}");
    });
}

#[test]
fn nothing_is_left_of_a_run() {
    case(|env| {
        let env = env.fresh();
        let mark = mark(7);
        let files = |env: &TestEnv| -> Vec<String> {
            let list = |name: &str| fs::read_dir(env.home().join(name)).expect("a folder of the home");
            ["runs", "workspaces", "tmp", "trash"]
                .into_iter()
                .flat_map(list)
                .flatten()
                .map(|entry| format!("{:?}", entry.path()))
                .collect()
        };
        env.pyro(&[
            "run",
            "debian:12",
            "--",
            "sh",
            "-c",
            &format!("dd if=/dev/zero of=/big bs=1M count=20 2>/dev/null; sleep {mark} & exit 0"),
        ])
        .expect_ok();
        wait_until_gone(&env, &mark);
        env.pyro(&["run", "debian:12", "--", "false"]);
        env.pyro(&["run", "debian:12", "--", "no-such-program"]);
        // Its files are deleted after the answer, and nobody waits for that.
        env.wait_for("what is left of runs to be gone", || files(&env).is_empty().then_some(()));
        env.assert_no_leaks();
    });
}

#[test]
fn time_is_up_for_the_whole_tree() {
    case(|env| {
        let mark = mark(1);
        // Out of the session, out of the process group, deaf to TERM, and an orphan.
        let line =
            format!("setsid sleep {mark} & (trap '' TERM INT HUP; sleep {mark} & sleep {mark}) & (sleep {mark} &) ; sleep {mark}");
        let ran = env.pyro(&["run", "debian:12", "--timeout-seconds", "1", "--", "sh", "-c", &line]);
        assert!(ran.code == 124 && ran.stderr.contains("timed out after 1 s"), "{}", ran.all());
        assert_eq!(processes_with(&mark), Vec::<i32>::new(), "when pyro has answered, they are gone");
    });
}

#[test]
fn the_first_interrupt_is_the_commands_and_the_second_ends_it() {
    case(|env| {
        let mut child = env.start(&[
            "run",
            "debian:12",
            "--",
            "sh",
            "-c",
            "trap 'echo caught; exit 9' INT; echo ready; while :; do sleep 0.05; done",
        ]);
        let reader = wait_for_line(&mut child, "ready");
        signal(pid_of(&child), Signal::INT);
        let text = std::io::read_to_string(reader).expect("read its output");
        assert_eq!((env.wait("an interrupted run", child).code, text.as_str()), (9, "caught\n"));

        let mark = mark(2);
        let line = format!("trap 'echo caught' INT; sleep {mark} & echo ready; while :; do sleep 0.05; done");
        let mut child = env.start(&["run", "debian:12", "--", "sh", "-c", &line]);
        let mut reader = wait_for_line(&mut child, "ready");
        signal(pid_of(&child), Signal::INT);
        let mut caught = String::new();
        std::io::BufRead::read_line(&mut reader, &mut caught).expect("read its output");
        assert_eq!(caught, "caught\n");
        // It goes on. The second one is ours.
        signal(pid_of(&child), Signal::INT);
        drop(reader);
        let ran = env.wait("a run interrupted twice", child);
        assert_eq!(ran.code, 130, "{}", ran.all());
        wait_until_gone(env, &mark);
        // An interrupt that nobody catches ends the command as in any shell.
        let mut child = env.start(&["run", "debian:12", "--", "sh", "-c", "echo ready; exec sleep 1000"]);
        let reader = wait_for_line(&mut child, "ready");
        signal(pid_of(&child), Signal::INT);
        drop(reader);
        assert_eq!(env.wait("an interrupted sleep", child).code, 130);
    });
}

#[test]
fn term_takes_it_back() {
    case(|env| {
        let mark = mark(3);
        let mut child = env.start(&["run", "debian:12", "--", "sh", "-c", &format!("trap '' TERM; echo ready; sleep {mark}")]);
        let reader = wait_for_line(&mut child, "ready");
        signal(pid_of(&child), Signal::TERM);
        drop(reader);
        assert_eq!(env.wait("a run that was ended", child).code, 130);
        wait_until_gone(env, &mark);
    });
}

#[test]
fn killing_pyro_kills_everything_and_the_next_command_works() {
    namespaces_case(SEEN_OUTSIDE, |env| {
        let env = env.fresh();
        let mark = mark(4);
        for _ in 0..3 {
            let mut child =
                env.start(&["run", "debian:12", "--", "sh", "-c", &format!("setsid sleep {mark} & echo ready; sleep {mark}")]);
            let reader = wait_for_line(&mut child, "ready");
            env.wait_for("the command to run", || (processes_with(&mark).len() >= 2).then_some(()));
            child.kill().expect("kill pyro");
            child.wait().expect("it is dead");
            drop(reader);
            wait_until_gone(&env, &mark);
        }
        env.pyro(&["run", "debian:12", "--", "true"]).expect_ok();
        env.assert_no_leaks();
    });
}

#[test]
fn killing_pyro_at_any_moment_of_a_run_leaves_nothing() {
    case(|env| {
        let env = env.fresh();
        let mark = mark(5);
        // Each kill comes a little later in the launch than the last, by counting what pyro has done: the lease, the directory, the sandbox's
        // first process, the command.
        let runs = env.home().join("runs");
        let seen = |suffix: bool| {
            fs::read_dir(&runs)
                .into_iter()
                .flatten()
                .flatten()
                .any(|entry| entry.file_name().to_string_lossy().ends_with(".lease") == suffix)
        };
        for stage in 0..4 {
            let mut child = env.start(&["run", "debian:12", "--", "sleep", &mark]);
            env.wait_for("a moment of a run", || {
                let there = match stage {
                    0 => true,
                    1 => seen(true),
                    2 => seen(false),
                    _ => !processes_with("@agent").is_empty(),
                };
                there.then_some(())
            });
            child.kill().expect("kill pyro");
            child.wait().expect("it is dead");
            wait_until_gone(&env, &mark);
            env.pyro(&["run", "debian:12", "--", "true"]).expect_ok();
        }
        env.assert_no_leaks();
    });
}

#[test]
fn a_reader_that_goes_away_ends_the_command() {
    case(|env| {
        let mark = mark(6);
        let mut child = env.start(&["run", "debian:12", "--", "sh", "-c", &format!("sleep {mark} & echo ready; exec yes")]);
        drop(wait_for_line(&mut child, "ready"));
        let ran = env.wait("a run that nobody reads", child);
        assert!(ran.code != 0, "{}", ran.all());
        wait_until_gone(env, &mark);
    });
}

#[test]
fn a_hundred_megabytes_pass_through_exactly() {
    case(|env| {
        let mut child = env.start(&["run", "debian:12", "--", "sh", "-c", "head -c 104857600 /dev/zero | tr '\\0' x"]);
        let mut reader = child.stdout.take().expect("stdout is piped");
        let mut buffer = vec![0; 1 << 20];
        let mut total = 0;
        loop {
            let count = std::io::Read::read(&mut reader, &mut buffer).expect("read its output");
            if count == 0 {
                break;
            }
            assert!(buffer[..count].iter().all(|byte| *byte == b'x'));
            total += count;
        }
        assert_eq!(total, 100 << 20);
        assert_eq!(env.wait("a talkative run", child).code, 0);
    });
}
