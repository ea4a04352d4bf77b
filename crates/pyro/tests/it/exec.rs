//! `pyro workspace exec` and `logs`: commands in a workspace, their outcomes, their output, and what becomes of their processes.

use std::fs;

use pyro_testkit::{TestEnv, processes_with};
use rustix::process::Signal;
use serde_json::{Value, json};

use crate::{SEEN_OUTSIDE, case, mark, namespaces_case, noise, pid_of, signal, wait_for_line, wait_until_gone};

#[test]
fn the_exit_status_is_the_commands_own() {
    case(|env| {
        let ws = env.workspace("status");
        let exec = |argv: &[&str]| env.pyro(&[&["workspace", "exec", &ws, "--"], argv].concat());
        for code in [0, 1, 2, 124, 125, 255] {
            let ran = exec(&["sh", "-c", &format!("exit {code}")]);
            assert_eq!((ran.code, ran.stderr.as_str()), (code, ""), "{}", ran.all());
        }
        assert_eq!(exec(&["sh", "-c", "kill -TERM $$"]).code, 143);
        exec(&["no-such-program"]).expect_error(127, "no-such-program");
        exec(&["/etc/passwd"]).expect_error(126, "/etc/passwd");
        env.pyro(&["workspace", "exec", &ws]).expect_error(2, "");
        env.pyro(&["workspace", "exec", "no-such-workspace", "--", "true"]).expect_error(125, "no-such-workspace");
        env.pyro(&["workspace", "exec", "Not_A_Name", "--", "true"]).expect_error(2, "Not_A_Name");
    });
}

#[test]
fn input_directory_and_variables_are_given_and_do_not_last() {
    case(|env| {
        let ws = env.workspace("given");
        let input = noise(3 << 20);
        let ran =
            env.pyro_with_stdin(&["workspace", "exec", &ws, "--", "sh", "-c", "cat >input; wc -c <input"], &input).expect_ok();
        assert_eq!(ran.stdout.trim(), input.len().to_string());
        let ran = env
            .pyro(&["workspace", "exec", &ws, "--cwd", "/tmp", "--env", "A=b", "--", "sh", "-c", "pwd; echo $A; cd /; export B=c"])
            .expect_ok();
        assert_eq!(ran.stdout, "/tmp\nb\n");
        let ran = env.pyro(&["workspace", "exec", &ws, "--", "sh", "-c", "pwd; echo \"$A$B\"; wc -c <input; hostname"]).expect_ok();
        assert_eq!(ran.stdout, format!("/workspace\n\n{}\n{ws}\n", input.len()));
        // Relative to /workspace, as in everything else.
        env.pyro(&["workspace", "exec", &ws, "--", "mkdir", "-p", "deep/er"]).expect_ok();
        assert_eq!(
            env.pyro(&["workspace", "exec", &ws, "--cwd", "deep/er", "--", "pwd"]).expect_ok().stdout,
            "/workspace/deep/er\n"
        );
        let ran = env.pyro(&["workspace", "exec", &ws, "--cwd", "nowhere", "--", "true"]);
        assert!(ran.code != 0 && ran.stderr.contains("nowhere"), "{}", ran.all());
    });
}

#[test]
fn the_log_says_what_was_done_and_how_it_ended() {
    case(|env| {
        let ws = env.workspace("logged");
        env.pyro(&["workspace", "exec", &ws, "--", "sh", "-c", "echo out; echo err >&2"]).expect_ok();
        env.pyro(&["workspace", "exec", &ws, "--", "sh", "-c", "exit 3"]);
        env.pyro(&["workspace", "exec", &ws, "--", "sh", "-c", "kill -KILL $$"]);
        env.pyro(&["workspace", "exec", &ws, "--timeout-seconds", "1", "--", "sleep", "1000"]);
        env.pyro(&["workspace", "exec", &ws, "--", "no-such-program"]);
        env.pyro_with_stdin(&["workspace", "file", "write", &ws, "note.txt"], b"x").expect_ok();
        let log: Value = env.json(&["workspace", "logs", &ws]);
        let entries = log["entries"].as_array().expect("entries");
        let words: Vec<(&str, &str, u64)> = entries
            .iter()
            .map(|entry| {
                let text = |key: &str| entry[key].as_str().expect("a text");
                (text("op"), text("outcome"), entry["exec"].as_u64().unwrap_or(0))
            })
            .collect();
        assert_eq!(words[0], ("workspace create", "ok", 0));
        assert_eq!(words[1], ("workspace exec", "exited 0", 1));
        assert_eq!(words[2], ("workspace exec", "exited 3", 2));
        assert!(words[3].1.contains("SIGKILL") && words[3].2 == 3, "{words:?}");
        assert!(words[4].1.contains("timed out") && words[4].2 == 4, "{words:?}");
        assert!(words[5].1.contains("not started") && words[5].2 == 5, "{words:?}");
        assert_eq!(words[6].0, "workspace file write");
        assert!(entries[2]["subject"].as_str().is_some_and(|text| text.contains("exit 3")), "{entries:?}");
        assert_eq!(log["count"], words.len());

        let newest: Value = env.json(&["workspace", "logs", &ws, "--limit", "2"]);
        assert_eq!(newest["entries"].as_array().map(Vec::len), Some(2));
        assert_eq!(newest["entries"][1]["op"], "workspace file write");
        assert_eq!(newest["count"], words.len());
    });
}

#[test]
fn outcomes_are_told_apart() {
    case(|env| {
        let ws = env.workspace("outcomes");
        let outcome = |argv: &[&str]| -> Value {
            env.document(&[&["workspace", "exec", &ws, "--timeout-seconds", "1", "--"], argv].concat())["outcome"].take()
        };
        assert_eq!(outcome(&["true"]), json!({ "kind": "exited", "code": 0 }));
        assert_eq!(outcome(&["sh", "-c", "kill -9 $$"]), json!({ "kind": "signaled", "signal": 9, "name": "SIGKILL" }));
        assert_eq!(outcome(&["sleep", "1000"]), json!({ "kind": "timed_out", "after_seconds": 1 }));
        let missing = outcome(&["no-such-program"]);
        assert_eq!((&missing["kind"], &missing["code"]), (&json!("not_started"), &json!(127)));
    });
}

#[test]
fn time_is_up_for_the_whole_tree() {
    case(|env| {
        let ws = env.workspace("time");
        let mark = mark(10);
        let line =
            format!("setsid sleep {mark} & (trap '' TERM INT HUP; sleep {mark} & sleep {mark}) & (sleep {mark} &) ; sleep {mark}");
        let ran = env.pyro(&["workspace", "exec", &ws, "--timeout-seconds", "1", "--", "sh", "-c", &line]);
        assert!(ran.code == 124 && ran.stderr.contains("timed out after 1 s"), "{}", ran.all());
        assert_eq!(processes_with(&mark), Vec::<i32>::new(), "when pyro has answered, they are gone");
        env.pyro(&["workspace", "exec", &ws, "--", "true"]).expect_ok();
    });
}

#[test]
fn a_client_that_is_killed_takes_its_command_with_it() {
    case(|env| {
        let ws = env.workspace("killed");
        let mark = mark(11);
        let mut child =
            env.start(&["workspace", "exec", &ws, "--", "sh", "-c", &format!("setsid sleep {mark} & echo ready; sleep {mark}")]);
        let reader = wait_for_line(&mut child, "ready");
        child.kill().expect("kill pyro");
        child.wait().expect("it is dead");
        drop(reader);
        wait_until_gone(env, &mark);
        env.wait_for("the record of it", || {
            let log: Value = env.json(&["workspace", "logs", &ws]);
            let entry = log["entries"].as_array()?.last()?.clone();
            (entry["outcome"] != "running")
                .then(|| assert!(entry["outcome"].as_str().is_some_and(|text| text.contains("cancelled")), "{entry}"))
        });
        env.pyro(&["workspace", "exec", &ws, "--", "true"]).expect_ok();
    });
}

#[test]
fn the_first_interrupt_is_the_commands_and_the_second_ends_it() {
    case(|env| {
        let ws = env.workspace("interrupt");
        let line = "trap 'echo caught; exit 9' INT; echo ready; while :; do sleep 0.05; done";
        let mut child = env.start(&["workspace", "exec", &ws, "--", "sh", "-c", line]);
        let reader = wait_for_line(&mut child, "ready");
        signal(pid_of(&child), Signal::INT);
        let text = std::io::read_to_string(reader).expect("read its output");
        assert_eq!((env.wait("an interrupted exec", child).code, text.as_str()), (9, "caught\n"));

        let mark = mark(12);
        let line = format!("trap 'echo caught' INT; sleep {mark} & echo ready; while :; do sleep 0.05; done");
        let mut child = env.start(&["workspace", "exec", &ws, "--", "sh", "-c", &line]);
        let mut reader = wait_for_line(&mut child, "ready");
        signal(pid_of(&child), Signal::INT);
        let mut caught = String::new();
        std::io::BufRead::read_line(&mut reader, &mut caught).expect("read its output");
        assert_eq!(caught, "caught\n");
        signal(pid_of(&child), Signal::INT);
        drop(reader);
        assert_eq!(env.wait("an exec interrupted twice", child).code, 130);
        wait_until_gone(env, &mark);
        let log: Value = env.json(&["workspace", "logs", &ws]);
        let outcomes: Vec<&str> =
            log["entries"].as_array().expect("entries").iter().filter_map(|entry| entry["outcome"].as_str()).collect();
        assert!(outcomes[1] == "exited 9" && outcomes[2].contains("cancelled"), "{outcomes:?}");
    });
}

#[test]
fn processes_in_the_background_live_until_the_workspace_stops() {
    namespaces_case(SEEN_OUTSIDE, |env| {
        let ws = env.workspace("background");
        let mark = mark(13);
        // The exec ends though a child of it still holds its output.
        let ran = env.pyro(&["workspace", "exec", &ws, "--", "sh", "-c", &format!("sleep {mark} & echo started")]).expect_ok();
        assert_eq!(ran.stdout, "started\n");
        for _ in 0..3 {
            let ran = env.pyro(&[
                "workspace",
                "exec",
                &ws,
                "--",
                "sh",
                "-c",
                &format!("grep -lz {mark} /proc/[0-9]*/cmdline | grep -v self | wc -l"),
            ]);
            assert!(ran.expect_ok().stdout.trim().parse::<u32>().expect("a number") >= 1);
        }
        assert_eq!(processes_with(&mark).len(), 1);
        env.pyro(&["workspace", "stop", &ws]).expect_ok();
        assert_eq!(processes_with(&mark), Vec::<i32>::new(), "when stop has answered, they are gone");
    });
}

/// Largest memory of a process so far, in KiB.
fn high_water_kib(pid: i32) -> u64 {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).expect("it runs");
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).expect("the kernel tells VmHWM");
    line.trim().trim_end_matches(" kB").parse().expect("a number")
}

/// What a supervisor may take at most, whatever its commands write: several times what it takes, and a fraction of what they write.
const SUPERVISOR_KIB_MAX: u64 = 48 * 1024;

fn output_of(env: &TestEnv, ws: &str, seconds: &str, line: &str) -> Value {
    env.document(&["workspace", "exec", ws, "--timeout-seconds", seconds, "--", "sh", "-c", line])
}

#[test]
fn a_line_of_a_hundred_megabytes_is_counted_exactly_in_little_memory() {
    case(|env| {
        let ws = env.workspace("longline");
        let supervisor = env.supervisor(&ws);
        let answer = output_of(env, &ws, "60", "head -c 104857600 /dev/zero | tr '\\0' x");
        let stdout = &answer["stdout"];
        assert_eq!((&answer["outcome"]["code"], &stdout["bytes_total"]), (&json!(0), &json!(100 << 20)));
        let text = stdout["text"].as_str().expect("text");
        let (shown, marker) = text.split_once(" [... ").expect("it says what is left out");
        assert!(marker.ends_with(" of this line left out]") && shown.bytes().all(|byte| byte == b'x'), "{text}");
        assert_eq!(stdout["bytes_omitted"], json!((100 << 20) - shown.len()));
        // Kept up to the cap, and what is beyond is counted.
        let dropped = stdout["bytes_dropped"].as_u64().expect("a count");
        let kept = fs::metadata(env.home().join("workspaces").join(env.id(&ws)).join("execs/1.out")).expect("it is kept").len();
        assert_eq!((kept, dropped), (32 << 20, 68 << 20));
        let high = high_water_kib(supervisor);
        assert!(high < SUPERVISOR_KIB_MAX, "the supervisor took {high} KiB");
        // And all that is kept can be had.
        let whole = env.pyro(&["workspace", "job", "logs", &ws, "job1"]).expect_ok();
        assert!(whole.stdout.len() == 32 << 20 && whole.stdout.bytes().all(|byte| byte == b'x'), "{}", whole.stdout.len());
    });
}

#[test]
fn output_without_end_is_cut_by_time_in_little_memory() {
    case(|env| {
        let ws = env.workspace("endless");
        let supervisor = env.supervisor(&ws);
        let answer = output_of(env, &ws, "2", "yes | tr -d '\\n' & yes >&2");
        assert_eq!(answer["outcome"]["kind"], "timed_out");
        for stream in ["stdout", "stderr"] {
            let clip = &answer[stream];
            let (total, omitted) =
                (clip["bytes_total"].as_u64().expect("a count"), clip["bytes_omitted"].as_u64().expect("a count"));
            assert!(
                total > 1 << 20 && omitted <= total && clip["text"].as_str().is_some_and(|text| text.len() < 64 << 10),
                "{stream}: {total} {omitted}"
            );
        }
        // Lines that are equal are one, and counted.
        let clip = &answer["stderr"];
        let total = clip["bytes_total"].as_u64().expect("a count");
        let text = clip["text"].as_str().expect("text").replace(',', "");
        assert!(text.starts_with(&format!("y\n[the line above {} more times]", total / 2 - 1)), "{text} of {total} bytes");
        let high = high_water_kib(supervisor);
        assert!(high < SUPERVISOR_KIB_MAX, "the supervisor took {high} KiB");
        env.pyro(&["workspace", "exec", &ws, "--", "true"]).expect_ok();
    });
}

#[test]
fn binary_output_is_said_and_kept_as_it_is() {
    case(|env| {
        let ws = env.workspace("binary");
        let bytes = noise(200_000);
        let here = env.scratch();
        fs::write(here.path().join("noise"), &bytes).expect("write a file");
        env.pyro_with_stdin(&["workspace", "exec", &ws, "--", "sh", "-c", "cat >noise"], &bytes).expect_ok();
        let answer = output_of(env, &ws, "10", "cat noise");
        assert_eq!((&answer["stdout"]["binary"], &answer["stdout"]["bytes_total"]), (&json!(true), &json!(bytes.len())));
        let kept = env.home().join("workspaces").join(env.id(&ws)).join("execs/2.out");
        assert!(fs::read(kept).expect("it is kept") == bytes, "what is kept is what was written");
        // Streamed to another program it is exact too.
        let output = env.command(&["workspace", "exec", &ws, "--", "cat", "noise"]).output().expect("start pyro");
        assert!(output.stdout == bytes, "{} bytes came", output.stdout.len());
    });
}

#[test]
fn fifty_commands_at_once() {
    case(|env| {
        let ws = env.workspace("fifty");
        let children: Vec<_> = (0..50)
            .map(|number| {
                env.start(&[
                    "workspace",
                    "exec",
                    &ws,
                    "--",
                    "sh",
                    "-c",
                    &format!("seq 1 1000 | tail -n 1; echo {number}; exit {}", number % 5),
                ])
            })
            .collect();
        for (number, child) in children.into_iter().enumerate() {
            let ran = env.wait("one of fifty", child);
            assert_eq!(
                (ran.code, ran.stdout),
                (i32::try_from(number % 5).expect("small"), format!("1000\n{number}\n")),
                "{}",
                ran.stderr
            );
        }
        let view: Value = env.json(&["workspace", "status", &ws]);
        assert_eq!(view["exec_count"], 50);
        let log: Value = env.json(&["workspace", "logs", &ws, "--limit", "100"]);
        let mut numbers: Vec<u64> =
            log["entries"].as_array().expect("entries").iter().filter_map(|entry| entry["exec"].as_u64()).collect();
        numbers.sort_unstable();
        assert_eq!(numbers, (1..=50).collect::<Vec<_>>());
    });
}

#[test]
fn out_of_memory_is_an_outcome_and_the_workspace_lives_on() {
    case(|env| {
        if !env.holds("memory_limit") {
            return pyro_testkit::skip("memory_limit", "this user has no control group for memory");
        }
        // A machine has its kernel in it too.
        let limit_mib = if pyro_testkit::in_machines() { 256 } else { 64 };
        let ws = env.name("memory");
        env.pyro(&["workspace", "create", "debian:12", "--name", &ws, "--mem-mib", &limit_mib.to_string()]).expect_ok();
        let mark = mark(14);
        env.pyro(&["workspace", "exec", &ws, "--", "sh", "-c", &format!("sleep {mark} & true")]).expect_ok();
        let answer = env.document(&[
            "workspace",
            "exec",
            &ws,
            "--timeout-seconds",
            "60",
            "--",
            "perl",
            "-e",
            "$x = 'x' x 500_000_000; print length $x",
        ]);
        let outcome = &answer["outcome"];
        assert_eq!(
            (&outcome["kind"], &outcome["limit_mib"], &outcome["code"]),
            (&json!("out_of_memory"), &json!(limit_mib), &json!(137)),
            "{answer:#}"
        );
        let ran = env.pyro(&[
            "workspace",
            "exec",
            &ws,
            "--timeout-seconds",
            "60",
            "--",
            "perl",
            "-e",
            "$x = 'x' x 500_000_000; print length $x",
        ]);
        assert!(ran.code == 137 && ran.stderr.contains("out of memory"), "{}", ran.all());
        env.pyro(&["workspace", "exec", &ws, "--", "true"]).expect_ok();
        // What a machine runs is not seen from here.
        if !pyro_testkit::in_machines() {
            assert_eq!(processes_with(&mark).len(), 1, "what did not take the memory goes on");
        }
    });
}

#[test]
fn a_command_outlives_no_stop_and_says_so() {
    case(|env| {
        let ws = env.workspace("stopped");
        let mark = mark(15);
        let mut child = env.start(&[
            "workspace",
            "exec",
            &ws,
            "--",
            "sh",
            "-c",
            &format!("trap '' TERM; echo ready; sleep {mark}; sleep {mark}"),
        ]);
        let reader = wait_for_line(&mut child, "ready");
        env.pyro(&["workspace", "stop", &ws]).expect_ok();
        drop(reader);
        let ran = env.wait("an exec whose workspace was stopped", child);
        assert!(ran.code != 0 && !ran.stderr.is_empty(), "{}", ran.all());
        wait_until_gone(env, &mark);
        let view: Value = env.json(&["workspace", "status", &ws]);
        assert_eq!(view["state"], "stopped");
    });
}

#[test]
fn commands_are_numbered_on_after_a_stop() {
    case(|env| {
        let ws = env.workspace("numbers");
        env.pyro(&["workspace", "exec", &ws, "--", "echo", "one"]).expect_ok();
        env.pyro(&["workspace", "stop", &ws]).expect_ok();
        // The log of a stopped workspace can be read, and reading does not start it.
        let one = env.pyro(&["workspace", "job", "logs", &ws, "job1"]).expect_ok();
        assert_eq!(one.stdout, "one\n");
        let view: Value = env.json(&["workspace", "status", &ws]);
        assert_eq!(view["state"], "stopped");
        let answer = env.document(&["workspace", "exec", &ws, "--", "echo", "two"]);
        assert_eq!((&answer["exec"], &answer["stdout"]["text"]), (&json!(2), &json!("two\n")));
    });
}
