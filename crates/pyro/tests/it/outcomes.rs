//! How commands end, and what is said of it: each fault is brought about for real, for a command that is waited for and for one that goes on as a job.

use pyro_testkit::TestEnv;
use serde_json::{Value, json};

use crate::{case, namespaces_case};

/// Runs it, waiting for it and as a job, and gives what both answers have in common.
fn ended(env: &TestEnv, ws: &str, flags: &[&str], argv: &[&str]) -> Value {
    let words = |flags: &[&str]| {
        let mut words: Vec<String> = ["workspace", "exec", ws].map(str::to_owned).to_vec();
        words.extend(flags.iter().chain(&["--"]).chain(argv).map(|word| (*word).to_owned()));
        words
    };
    let run = |words: &[String]| env.document(&words.iter().map(String::as_str).collect::<Vec<_>>());
    let waited = run(&words(flags));
    let begun = run(&words(&[flags, &["--wait-seconds", "0"]].concat()));
    let job = format!("job{}", begun["exec"]);
    let as_job = env.document(&["workspace", "job", "wait", ws, &job]);
    // What is counted of a whole sandbox may differ.
    let same = |answer: &Value| (answer["outcome"]["kind"].clone(), answer["outcome"]["code"].clone());
    assert_eq!(same(&waited), same(&as_job), "{waited:#} {as_job:#}");
    waited
}

/// Command, kind of outcome, exit status, and words of the outcome and of the hint.
type Fault<'a> = (&'a [&'a str], &'a str, i64, &'a [&'a str]);

fn check(env: &TestEnv, ws: &str, flags: &[&str], faults: &[Fault<'_>]) {
    for (argv, kind, code, says) in faults {
        let answer = ended(env, ws, flags, argv);
        let outcome = &answer["outcome"];
        assert_eq!(outcome["kind"], json!(kind), "{argv:?}: {answer:#}");
        if *code >= 0 {
            assert_eq!(outcome["code"], json!(code), "{argv:?}: {answer:#}");
        }
        let all = format!("{outcome} {}", answer["next"]);
        for word in *says {
            assert!(all.contains(word), "{argv:?}: {word:?} is not in {all}");
        }
    }
}

/// Types it into a shell of the workspace, as a line, and gives what is said of it when the shell is at its prompt again.
fn typed(env: &TestEnv, ws: &str, argv: &[&str]) -> Value {
    let words: Vec<String> = argv.iter().map(|word| format!("'{}'", word.replace('\'', "'\\''"))).collect();
    let line = words.join(" ");
    let line = if argv.len() == 1 { argv[0] } else { &line };
    let shells = env.document(&["workspace", "shell", "list", ws]);
    if shells["shells"].as_array().is_none_or(Vec::is_empty) {
        env.document(&["workspace", "shell", "open", ws]);
    }
    let view = env.document(&["workspace", "shell", "write", ws, "sh1", "--text", line, "--wait-seconds", "120"]);
    assert!(view["done"] == true && view["command"]["finished"] == true, "{line}: {view:#}");
    view["command"].clone()
}

/// The same over shells: what they say of their own children is a status, and what is counted is the same.
fn check_typed(env: &TestEnv, ws: &str, faults: &[Fault<'_>]) {
    for (argv, kind, code, says) in faults {
        let answer = typed(env, ws, argv);
        assert_eq!((&answer["outcome"]["kind"], &answer["exit"]), (&json!(kind), &json!(code)), "{argv:?}: {answer:#}");
        let all = format!("{} {}", answer["outcome"], answer["next"]);
        for word in *says {
            assert!(all.contains(word), "{argv:?}: {word:?} is not in {all}");
        }
    }
}

#[test]
fn what_never_ran_says_what_is_missing_and_what_is_there() {
    case(|env| {
        let ws = env.workspace("missing");
        let prepare = "mkdir -p node_modules/.bin ~/.cargo/bin bin
            for name in node_modules/.bin/eslint ~/.cargo/bin/cargo-tool /usr/local/bin/tool3 strange python-script crlf plain closed
            do printf '#!/bin/sh\\n' >$name; chmod 755 $name; done
            printf '#!/usr/bin/tool\\n' >python-script
            printf '#!/bin/sh\\r\\necho\\r\\n' >crlf
            printf 'echo\\n' >plain
            chmod 644 closed
            for kind in elf loader; do cp /bin/true $kind; done
            printf '\\267\\0' | dd of=elf bs=1 seek=18 conv=notrunc status=none
            sed -i 's,/ld-linux,/ld-nowhr,' loader";
        env.pyro(&["workspace", "exec", &ws, "--", "sh", "-c", prepare]).expect_ok();
        check(
            env,
            &ws,
            &[],
            &[
                (&["frobnicate"], "not_started", 127, &["frobnicate was not found", "install it"]),
                (&["gti", "status"], "not_started", 127, &["gti was not found; there is", "/git"]),
                (&["tool"], "not_started", 127, &["there is /usr/local/bin/tool3"]),
                (&["eslint"], "not_started", 127, &["there is /workspace/node_modules/.bin/eslint"]),
                (&["cargo-tool"], "not_started", 127, &["there is /root/.cargo/bin/cargo-tool"]),
                (&["/no/such/grep"], "not_started", 127, &["/no/such/grep was not found; there is", "/grep"]),
                (
                    &["./python-script"],
                    "not_started",
                    127,
                    &["needs the interpreter /usr/bin/tool, which is not there", "/usr/local/bin/tool3"],
                ),
                (&["./crlf"], "not_started", 127, &["/bin/sh\\\\u{d}", "there is", "/sh"]),
                (&["./closed"], "not_started", 126, &["./closed is not executable", "chmod +x"]),
                (&["./bin"], "not_started", 126, &["./bin is not executable"]),
                (&["./plain"], "not_started", 126, &["neither a program of this machine nor a script"]),
                (&["./elf"], "not_started", 126, &["is a program for aarch64", "this machine is x86_64"]),
                (&["./loader"], "not_started", 127, &["needs the interpreter", "which is not there"]),
            ],
        );
        // A shell says 127 and 126 of what it could not start; where there is something to be meant instead, it is named.
        check_typed(
            env,
            &ws,
            &[
                (&["frobnicate"], "exited", 127, &["frobnicate was not found", "install it"]),
                (&["gti status"], "exited", 127, &["gti was not found; there is", "/git"]),
                (&["cd bin; tool --help"], "exited", 127, &["tool was not found; there is /usr/local/bin/tool3"]),
                (&["true && cargo-tool x | cat; (exit 127)"], "exited", 127, &["there is /root/.cargo/bin/cargo-tool"]),
                (&["cd ..; ./python-script"], "exited", 127, &["/usr/bin/tool was not found", "/usr/local/bin/tool3"]),
                (&["./closed"], "exited", 126, &["look at its mode"]),
                (&["./elf"], "exited", 126, &["could not execute"]),
                (&["./loader"], "exited", 127, &["ld-nowhr"]),
                (&["(exit 127)"], "exited", 127, &["the shell found no such command"]),
            ],
        );
        check(env, &ws, &["--cwd", "nowhere"], &[(&["true"], "not_started", 126, &["there is no directory nowhere"])]);
        check(env, &ws, &["--cwd", "plain"], &[(&["true"], "not_started", 126, &["there is no directory plain"])]);
    });
}

#[test]
fn what_ended_says_why() {
    namespaces_case("the limits of a machine are its own kernel's, which counts otherwise", |env| {
        let ws = env.name("ended");
        env.pyro(&["workspace", "create", "debian:12", "--name", &ws, "--mem-mib", "128"]).expect_ok();
        check(
            env,
            &ws,
            &[],
            &[
                (&["true"], "exited", 0, &[]),
                (&["sh", "-c", "exit 3"], "exited", 3, &[]),
                (&["sh", "-c", "kill -SEGV $$"], "signaled", -1, &["SIGSEGV"]),
                (&["sh", "-c", "kill -KILL $$"], "signaled", -1, &["SIGKILL"]),
                (&["sh", "-c", "kill -TERM $$"], "signaled", -1, &["SIGTERM"]),
                (&["sh", "-c", "kill -ABRT $$"], "signaled", -1, &["SIGABRT"]),
                (&["perl", "-e", "kill PIPE => $$; sleep 9"], "signaled", -1, &["SIGPIPE"]),
                // Its own words about a full disk are no fact.
                (&["sh", "-c", "echo No space left on device >&2; exit 1"], "exited", 1, &[]),
            ],
        );
        check(env, &ws, &["--timeout-seconds", "1"], &[(&["sleep", "60"], "timed_out", -1, &["timeout_seconds"])]);
        // A file system of its own that is full: that of /run.
        let full = env.name("full");
        env.pyro(&["workspace", "create", "debian:12", "--name", &full, "--mem-mib", "1024"]).expect_ok();
        check(env, &full, &[], &[(&["sh", "-c", "cat /dev/zero >/run/fill"], "disk_full", 1, &["/run", "free room"])]);
        check_typed(
            env,
            &full,
            &[
                (&["rm /run/fill"], "exited", 0, &[]),
                (&["sh", "-c", "exit 3"], "exited", 3, &[]),
                (&["sh", "-c", "kill -SEGV $$"], "exited", 139, &["killed by SIGSEGV"]),
                (&["sh", "-c", "kill -KILL $$"], "exited", 137, &["killed by SIGKILL"]),
                (&["perl", "-e", "kill PIPE => $$; sleep 9"], "exited", 141, &["SIGPIPE"]),
                (&["sh", "-c", "cat /dev/zero >/run/again"], "disk_full", 1, &["/run", "free room"]),
                (&["rm /run/again"], "exited", 0, &[]),
                (&["false"], "exited", 1, &[]),
                (&["false"], "exited", 1, &[]),
                (&["false"], "exited", 1, &["three times running"]),
            ],
        );
        env.pyro(&["workspace", "shell", "close", &full, "sh1"]).expect_ok();
        let cancelled = env.document(&["workspace", "exec", &ws, "--wait-seconds", "0", "--", "sleep", "60"]);
        let job = format!("job{}", cancelled["exec"]);
        assert_eq!(env.document(&["workspace", "job", "stop", &ws, &job])["outcome"]["kind"], "cancelled");
        let lost = env.document(&["workspace", "exec", &ws, "--wait-seconds", "0", "--", "sleep", "60"]);
        let job = format!("job{}", lost["exec"]);
        crate::kill_supervisor(env, &ws);
        let lost = env.document(&["workspace", "job", "wait", &ws, &job]);
        assert_eq!(lost["outcome"], json!({"kind": "sandbox_lost", "reason": "its supervisor died"}));
        if env.holds("memory_limit") {
            let hungry = "my @all; push @all, 'x' x 1048576 while 1";
            check(
                env,
                &ws,
                &[],
                &[
                    (&["perl", "-e", hungry], "out_of_memory", 137, &["128", "mem_mib"]),
                    // What a build tool reports of its child that was killed.
                    (&["sh", "-c", &format!("perl -e \"{hungry}\"; exit 2")], "out_of_memory", 2, &["peak_mib", "mem_mib"]),
                ],
            );
            check_typed(env, &ws, &[(&["perl", "-e", hungry], "out_of_memory", 137, &["128", "mem_mib"])]);
        }
        if env.holds("pids_limit") {
            let many = "$SIG{TERM} = 'IGNORE'; for (1 .. 5000) { my $pid = fork; exit 11 unless defined $pid; if (!$pid) { sleep 60; exit } }";
            let answer =
                env.document(&["workspace", "exec", &full, "--", "sh", "-c", "rm -f /run/fill; exec perl -e \"$1\"", "sh", many]);
            assert_eq!(answer["outcome"], json!({"kind": "process_limit", "limit": 4096, "code": 11}), "{answer:#}");
        }
    });
}

#[test]
fn the_same_failure_three_times_running_is_recognised() {
    case(|env| {
        let ws = env.workspace("again");
        let next = |command: &str| env.document(&["workspace", "exec", &ws, "--", "sh", "-c", command])["next"].clone();
        assert_eq!([next("exit 3"), next("exit 3")], [Value::Null, Value::Null]);
        assert!(next("exit 3").as_str().is_some_and(|next| next.contains("three times running")));
        assert_eq!([next("exit 4"), next("exit 3"), next("exit 3"), next("true"), next("exit 3")], [const { Value::Null }; 5]);
    });
}
