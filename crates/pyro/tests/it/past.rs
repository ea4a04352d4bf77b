//! The past of a workspace: every change is a step, and one can go back to each.

use std::fs;
use std::os::unix::fs::{PermissionsExt as _, symlink};

use serde_json::{Value, json};

use pyro_testkit::{Rpc, TestEnv};

fn case(story: impl FnOnce(&TestEnv)) {
    crate::namespaces_case(crate::NO_PAST, story);
}

/// Runs a shell line.
fn sh(env: &TestEnv, workspace: &str, line: &str) -> String {
    env.pyro(&["workspace", "exec", workspace, "--", "sh", "-c", line]).expect_ok().stdout
}

/// Everything that can be told of a tree of files inside: names, kinds, modes, owners, sizes, times, links, contents.
fn digest(env: &TestEnv, workspace: &str, tree: &str) -> String {
    let line = format!(
        "cd {tree} && find . -printf '%p %y %m %U %G %s %T@ %n %l\\n' | grep -v '^./\\(proc\\|sys\\|dev\\|run\\)' \
         | sed 's/^\\([^ ]* d .*\\) [0-9]* \\([^ ]*\\) [0-9]* $/\\1 \\2/' | sort | sha256sum; \
         find . \\( -path ./proc -o -path ./sys -o -path ./dev -o -path ./run \\) -prune -o -type f -print0 | sort -z | xargs -0 sha256sum | sha256sum"
    );
    sh(env, workspace, &line)
}

/// Text of a first line and so much after it that a step of it is a layer of its own, and no copy of a few files.
fn much(first: &str) -> String {
    format!("{first}\n{}", "and more\n".repeat(8_000))
}

#[test]
fn files_have_one_name_and_stay_as_they_are_over_a_hundred_steps() {
    case(|env| {
        let text_of: [fn(u32) -> String; 2] = [|number| format!("written {number}\n"), |number| much(&format!("written {number}"))];
        for (text_of, layers_max) in [(text_of[0], 100 / 9 + 3), (text_of[1], 2 + 7 + 7 + 2)] {
            let name = env.workspace("many");
            let mut rpc = Rpc::start(env);
            let write =
                |number: u32| json!({ "workspace": name, "path": format!("file-{}", number % 40), "text": text_of(number) });
            for number in 0..100 {
                rpc.call("workspace file write", &write(number));
            }
            let sh = |line: &str| sh(env, &name, line);
            let seen = "ls | wc -l; find . -type f -links +1; head -qn 1 file-19 file-20";
            assert_eq!(sh(seen), "40\nwritten 99\nwritten 60\n");
            // gzip refuses a file with another name.
            assert_eq!(sh("gzip file-3 && ls file-3.*"), "file-3.gz\n");
            // A hundred layers are two of the second level and some of the others, as soon as the thread that makes them has been there. A hundred small
            // steps are no more than every ninth a layer below what is written to.
            env.wait_for("layers to be few", || {
                let written = "head -c 100000 /dev/urandom > now";
                let below = sh(&format!("{written}; grep ' / / ' /proc/self/mountinfo | tail -n 1 | grep -o 'lowerdir' | wc -l"));
                let count: usize = below.trim().parse().expect("a number");
                assert!(count > 1, "this counts layers");
                (count <= layers_max).then_some(())
            });
        }
    });
}

#[test]
fn forks_of_many_layers_keep_what_they_run_over_when_the_first_is_gone() {
    case(|env| {
        let name = env.workspace("many");
        let mut rpc = Rpc::start(env);
        let mut write = |number: u32| {
            rpc.call(
                "workspace file write",
                &json!({ "workspace": name, "path": format!("file-{number}"), "text": much(&number.to_string()) }),
            );
        };
        (0..64).for_each(&mut write);
        // One of these stands where there are enough layers to be made one of the second level.
        let mut forks = Vec::new();
        for number in 64..73 {
            write(number);
            let fork = env.name(&format!("of-{number}"));
            env.pyro(&["workspace", "fork", &name, "--name", &fork]).expect_ok();
            // What is made fewer is made so after a command, whatever that did.
            sh(env, &fork, "true");
            forks.push((number, fork));
        }
        env.pyro(&["workspace", "delete", &name]).expect_ok();
        let count = "ls | wc -l; head -qn 1 $(ls) | sort -n | uniq | wc -l";
        for (number, fork) in &forks {
            sh(env, fork, "true");
            env.pyro(&["gc"]).expect_ok();
            assert_eq!(sh(env, fork, count), format!("{0}\n{0}\n", number + 1), "{fork}");
            env.pyro(&["workspace", "delete", fork]).expect_ok();
        }
    });
}

#[test]
fn what_a_command_destroyed_is_there_again_after_undo() {
    case(|env| {
        let name = env.workspace("past");
        sh(env, &name, "mkdir -p src && echo precious > src/a && ln -s a src/b && chmod 640 src/a");
        let before = digest(env, &name, "/");
        sh(env, &name, "rm -rf /workspace/* /usr/lib/git-core /etc/passwd");
        assert_eq!(sh(env, &name, "ls /workspace"), "");
        let undone = env.pyro(&["workspace", "undo", &name]).expect_ok();
        assert!(
            undone.stdout.contains("is at step 1") && undone.stdout.contains("left: step 2, after: sh -c 'rm -rf"),
            "{}",
            undone.all()
        );
        assert_eq!(digest(env, &name, "/"), before);
        env.pyro(&["workspace", "redo", &name]).expect_ok();
        assert_eq!(sh(env, &name, "ls /workspace"), "");
        env.pyro(&["workspace", "redo", &name]).expect_error(125, "there is nothing to redo");
    });
}

#[test]
fn only_what_changed_something_is_a_step() {
    case(|env| {
        let name = env.workspace("past");
        sh(env, &name, "true");
        sh(env, &name, "echo a > a");
        sh(env, &name, "cat a");
        env.pyro(&["workspace", "file", "write", &name, "b", "--text", "b"]).expect_ok();
        // What was written by the last operation is a step by the time that somebody asks for more.
        env.pyro(&["workspace", "snapshot", "create", &name, "here"]).expect_ok();
        let logs = env.document(&["workspace", "logs", &name]);
        let steps: Vec<(String, Option<u64>)> = logs["entries"]
            .as_array()
            .into_iter()
            .flatten()
            .map(|entry| (entry["op"].as_str().unwrap_or_default().to_owned(), entry["step"].as_u64()))
            .collect();
        let told: Vec<(&str, Option<u64>)> = steps.iter().map(|(op, step)| (op.as_str(), *step)).collect();
        let exec = "workspace exec";
        assert_eq!(
            told,
            [
                ("workspace create", None),
                (exec, None),
                (exec, Some(1)),
                (exec, None),
                ("workspace file write", Some(2)),
                ("workspace snapshot create", Some(2))
            ]
        );
    });
}

#[test]
fn a_snapshot_holds_the_whole_file_system_and_a_reset_to_it_can_be_undone() {
    case(|env| {
        let name = env.workspace("past");
        sh(env, &name, "echo tool > /usr/local/bin/tool; chmod +x /usr/local/bin/tool; echo one > f");
        let made = env.pyro(&["workspace", "snapshot", "create", &name, "clean"]).expect_ok();
        assert!(made.stdout.starts_with("snapshot clean of"), "{}", made.all());
        env.pyro(&["workspace", "snapshot", "create", &name, "clean"]).expect_error(125, "has a snapshot clean already");
        sh(env, &name, "rm /usr/local/bin/tool; echo two > f; touch g");
        env.pyro(&["workspace", "reset", &name, "--snapshot", "claen"]).expect_error(125, "did you mean clean?");
        env.pyro(&["workspace", "reset", &name, "--snapshot", "clean"]).expect_ok();
        assert_eq!(sh(env, &name, "cat f; ls; test -x /usr/local/bin/tool && echo there"), "one\nf\nthere\n");
        env.pyro(&["workspace", "undo", &name]).expect_ok();
        assert_eq!(sh(env, &name, "cat f; ls; test -x /usr/local/bin/tool || echo gone"), "two\nf\ng\ngone\n");
        let list = env.document(&["workspace", "snapshot", "list", &name]);
        assert_eq!(list["snapshots"][0]["name"], "clean");
        assert!(list["snapshots"][0]["bytes"].as_u64().is_some_and(|bytes| bytes > 0), "{list}");
        env.pyro(&["workspace", "snapshot", "delete", &name, "clean"]).expect_ok();
        env.pyro(&["workspace", "reset", &name, "--snapshot", "clean"]).expect_error(125, "has no snapshot clean");
        env.pyro(&["workspace", "reset", &name]).expect_ok();
        assert_eq!(sh(env, &name, "ls"), "");
    });
}

#[test]
fn a_snapshot_under_a_process_that_writes_is_of_one_moment_and_the_process_goes_on() {
    case(|env| {
        let name = env.workspace("past");
        // Two files that are always the same, but for the moment between the two writes.
        let line = "(i=0; while :; do i=$((i+1)); echo $i > a; echo $i > b; done) > /dev/null 2>&1 & while ! test -s b; do :; done";
        sh(env, &name, line);
        let made = env.pyro(&["workspace", "snapshot", "create", &name, "moving"]).expect_ok();
        assert!(made.stdout.contains("was copied: a process is running in the background"), "{}", made.all());
        let number = |text: &str| text.trim().parse::<u64>().expect("a number");
        let last = "until n=$(cat b) && test -n \"$n\"; do :; done; echo $n";
        let then = number(&sh(env, &name, last));
        env.wait_for("the process to go on", || {
            let now = number(&sh(env, &name, last));
            (now > then).then_some(())
        });
        let reset = env.pyro(&["workspace", "reset", &name, "--snapshot", "moving"]).expect_ok();
        assert!(reset.stdout.contains("ended"), "{}", reset.all());
        let kept = sh(env, &name, "cat a; echo; cat b");
        let numbers: Vec<u64> = kept.split_whitespace().map(number).collect();
        // What was sealed does not change any more.
        assert_eq!(sh(env, &name, "cat a; echo; cat b"), kept);
        if let [a, b] = numbers[..] {
            assert!(a == b || a == b + 1, "{kept:?}");
        }
    });
}

#[test]
fn what_could_not_be_told_apart_is_undone_together_and_said_so() {
    case(|env| {
        let name = env.workspace("past");
        sh(env, &name, "sleep 1000 > /dev/null 2>&1 &");
        sh(env, &name, "echo a > a");
        sh(env, &name, "echo b > b");
        let undone = env.pyro(&["workspace", "undo", &name]).expect_ok();
        assert!(
            undone.stdout.contains("and 1 operation before it") && undone.stdout.contains("1 process ended"),
            "{}",
            undone.all()
        );
        assert_eq!(sh(env, &name, "ls"), "");
        env.pyro(&["workspace", "redo", &name]).expect_ok();
        assert_eq!(sh(env, &name, "ls"), "a\nb\n");
    });
}

#[test]
fn forks_share_files_and_nothing_else() {
    case(|env| {
        let name = env.workspace("past");
        sh(env, &name, "echo one > f; mkdir d; echo x > d/x");
        let fork = env.name("fork");
        let made = env.document(&["workspace", "fork", &name, "--count", "2", "--name", &fork]);
        let forks = [format!("{fork}-1"), format!("{fork}-2")];
        assert_eq!(made["forks"][1]["workspace"], forks[1].as_str());
        assert_eq!(made["forks"][0]["fork_of"]["workspace"], name.as_str());
        sh(env, &forks[0], "echo two > f; rm -r d");
        sh(env, &name, "echo three > f");
        assert_eq!(sh(env, &name, "cat f d/x"), "three\nx\n");
        assert_eq!(sh(env, &forks[0], "cat f; ls"), "two\nf\n");
        assert_eq!(sh(env, &forks[1], "cat f d/x"), "one\nx\n");
        // Of itself since it was forked; and of all since there was a workspace.
        let stat = |against: &str| env.pyro(&["workspace", "diff", &forks[0], "--stat", "--against", against]).expect_ok().stdout;
        assert_eq!(stat("baseline"), "D d/\nD d/x +0 -1\nM f +1 -1\n");
        assert_eq!(stat("seed"), "A f +1 -0\n");
        assert_eq!(stat(&format!("workspace:{name}")), "D d/\nD d/x +0 -1\nM f +1 -1\n");
        // The forks go on when what they were forked from is gone.
        env.pyro(&["workspace", "delete", &name]).expect_ok();
        assert_eq!(sh(env, &forks[1], "cat f d/x"), "one\nx\n");
        for fork in &forks {
            env.pyro(&["workspace", "delete", fork]).expect_ok();
        }
    });
}

#[test]
fn a_stopped_workspace_can_be_set_back_and_forked_without_being_started() {
    case(|env| {
        let name = env.workspace("past");
        sh(env, &name, "echo a > a");
        sh(env, &name, "echo b > b");
        env.pyro(&["workspace", "stop", &name]).expect_ok();
        env.pyro(&["workspace", "snapshot", "create", &name, "both"]).expect_ok();
        env.pyro(&["workspace", "undo", &name]).expect_ok();
        let fork = env.name("fork");
        env.pyro(&["workspace", "fork", &name, "--name", &fork]).expect_ok();
        assert_eq!(env.document(&["workspace", "status", &name])["state"], "stopped");
        assert_eq!(sh(env, &fork, "ls"), "a\n");
        env.pyro(&["workspace", "reset", &name, "--snapshot", "both"]).expect_ok();
        assert_eq!(sh(env, &name, "ls"), "a\nb\n");
        env.pyro(&["workspace", "delete", &fork]).expect_ok();
    });
}

#[test]
fn what_was_closed_inside_is_closed_to_nobody_who_keeps_the_past() {
    case(|env| {
        let env = env.fresh();
        let name = env.workspace("past");
        // To whoever asks outside these are somebody else's directories, or their own without any right to them.
        sh(&env, &name, "mkdir closed && head -c 1000000 /dev/urandom > closed/big && chmod 0 closed && chmod 700 / && echo a > a");
        env.pyro(&["workspace", "snapshot", "create", &name, "closed"]).expect_ok();
        let look = "stat -c '%a %n' / closed a; wc -c < closed/big";
        let before = sh(&env, &name, look);
        sh(&env, &name, "chmod 0 / && rm a");
        let list = env.document(&["workspace", "snapshot", "list", &name]);
        assert!(list["snapshots"][0]["bytes"].as_u64().is_some_and(|bytes| bytes >= 1_000_000), "{list}");
        let fork = env.name("fork");
        env.pyro(&["workspace", "fork", &name, "--name", &fork]).expect_ok();
        assert_eq!(sh(&env, &fork, "stat -c %a /; ls"), "0\nclosed\n");
        env.pyro(&["workspace", "delete", &fork]).expect_ok();

        env.pyro(&["workspace", "stop", &name]).expect_ok();
        env.pyro(&["workspace", "fork", &name, "--name", &fork]).expect_ok();
        let stopped = env.document(&["workspace", "disk", "list", &fork]);
        assert_eq!(stopped["entries"][0]["path"], "closed", "{stopped}");
        env.pyro(&["workspace", "reset", &fork]).expect_ok();
        assert_eq!(sh(&env, &fork, "stat -c %a /; ls"), "0\nclosed\n");
        env.pyro(&["workspace", "undo", &name]).expect_ok();
        assert_eq!(sh(&env, &name, look), before);

        env.pyro(&["workspace", "reset", &name]).expect_ok();
        env.pyro(&["workspace", "snapshot", "delete", &name, "closed"]).expect_ok();
        env.pyro(&["workspace", "delete", &fork]).expect_ok();
        env.pyro(&["workspace", "undo", &name]).expect_ok();
        env.pyro(&["workspace", "undo", &name]).expect_ok();
        // With this what was undone is left behind.
        sh(&env, &name, "echo new > new");
        env.pyro(&["workspace", "stop", &name]).expect_ok();
        let freed = env.document(&["gc"]);
        assert!(freed["freed_bytes"].as_u64().is_some_and(|bytes| bytes >= 1_000_000), "{freed}");
    });
}

#[test]
fn a_supervisor_that_was_killed_loses_nothing_that_was_written() {
    case(|env| {
        let name = env.workspace("past");
        sh(env, &name, "echo a > a");
        sh(env, &name, "sleep 1000 > /dev/null 2>&1 & echo b > b");
        let number = env.supervisor(&name);
        let supervisor = rustix::process::Pid::from_raw(number).expect("a process");
        rustix::process::kill_process(supervisor, rustix::process::Signal::KILL).expect("ours to kill");
        let gone = || fs::read_to_string(format!("/proc/{number}/stat")).map_or(true, |stat| stat.contains(") Z"));
        env.wait_for("the supervisor to be gone", || gone().then_some(()));
        assert_eq!(sh(env, &name, "cat a b"), "a\nb\n");
        env.pyro(&["workspace", "undo", &name]).expect_ok();
        assert_eq!(sh(env, &name, "ls"), "a\n");
    });
}

#[test]
fn garbage_is_freed_and_nothing_that_a_way_leads_to() {
    // Alone: what others have left behind is freed too.
    case(|env| {
        let env = env.fresh();
        let name = env.workspace("past");
        sh(&env, &name, "head -c 1000000 /dev/urandom > big");
        env.pyro(&["workspace", "undo", &name]).expect_ok();
        sh(&env, &name, "echo small > small");
        env.pyro(&["workspace", "snapshot", "create", &name, "small"]).expect_ok();
        let freed = env.document(&["gc"]);
        assert_eq!((freed["steps"].as_u64(), freed["layers"].as_u64()), (Some(1), Some(1)), "{freed}");
        assert!(freed["freed_bytes"].as_u64().is_some_and(|bytes| bytes >= 1_000_000), "{freed}");
        assert_eq!(env.document(&["gc"])["freed_bytes"], 0);
        assert_eq!(sh(&env, &name, "ls"), "small\n");
        env.pyro(&["workspace", "undo", &name]).expect_ok();
        assert_eq!(sh(&env, &name, "ls"), "");
    });
}

#[test]
fn a_merge_takes_what_a_fork_did_and_tells_conflicts_by_their_lines() {
    case(|env| {
        let name = env.workspace("past");
        sh(env, &name, "seq 1 20 > list; echo old > both; echo mine > gone; mkdir d");
        let fork = env.name("fork");
        env.pyro(&["workspace", "fork", &name, "--name", &fork]).expect_ok();
        sh(env, &fork, "sed -i 's/^18$/eighteen/' list; rm gone; echo new > d/new; chmod 755 d/new; ln -s new d/link");
        sh(env, &name, "sed -i 's/^2$/two/' list");
        let would = env.pyro(&["workspace", "merge", &name, &fork, "--dry-run"]).expect_ok();
        assert!(would.stdout.contains("would change") && would.stdout.contains("joined list"), "{}", would.all());
        assert_eq!(sh(env, &name, "ls d; cat gone"), "mine\n");
        env.pyro(&["workspace", "merge", &name, &fork]).expect_ok();
        assert_eq!(
            sh(env, &name, "sed -n '2p;18p' list; ls; stat -c %a d/new; readlink d/link"),
            "two\neighteen\nboth\nd\nlist\n755\nnew\n"
        );
        // Now both change the same line.
        sh(env, &fork, "echo theirs > both");
        sh(env, &name, "echo ours > both");
        let refused = env.pyro(&["--json", "workspace", "merge", &name, &fork]);
        assert_eq!(refused.code, 1, "{}", refused.all());
        let conflicts: Value = serde_json::from_str(&refused.stdout).expect("JSON");
        assert_eq!(conflicts["conflicts"][0]["path"], "both");
        let hunk = &conflicts["conflicts"][0]["hunks"][0];
        assert_eq!((&hunk["base"], &hunk["ours"], &hunk["theirs"]), (&"old\n".into(), &"ours\n".into(), &"theirs\n".into()));
        assert_eq!(sh(env, &name, "cat both"), "ours\n");
        env.pyro(&["workspace", "merge", &name, &fork, "--favour", "theirs"]).expect_ok();
        assert_eq!(sh(env, &name, "cat both"), "theirs\n");
        env.pyro(&["workspace", "undo", &name]).expect_ok();
        assert_eq!(sh(env, &name, "cat both"), "ours\n");
        env.pyro(&["workspace", "delete", &fork]).expect_ok();
    });
}

/// Sets an attribute of a file inside. The value is an expression of perl.
fn set_attribute(env: &TestEnv, workspace: &str, path: &str, attribute: &str, value: &str) {
    // setxattr(2) of x86-64: no environment brings a program for it.
    let call = format!("$v = {value}; syscall(188, $ARGV[0], $ARGV[1], $v, length $v, 0) == 0 or die $!");
    sh(env, workspace, &format!("perl -e '{call}' {path} {attribute}"));
}

#[test]
fn marks_that_are_set_inside_make_no_deletion() {
    case(|env| {
        let name = env.workspace("past");
        sh(env, &name, "mkdir d; echo 1 > d/kept; touch d/empty");
        env.pyro(&["workspace", "snapshot", "create", &name, "before"]).expect_ok();
        let fork = env.name("fork");
        env.pyro(&["workspace", "fork", &name, "--name", &fork]).expect_ok();
        set_attribute(env, &name, "d", "user.overlay.opaque", "\"y\"");
        set_attribute(env, &name, "d/empty", "user.overlay.whiteout", "\"y\"");
        assert_eq!(sh(env, &name, "ls d; cat d/kept"), "empty\nkept\n1\n");
        let changes = env.document(&["workspace", "diff", &name, "--against", "snapshot:before"]);
        assert_eq!(changes["changes"].as_array().map(Vec::len), Some(0), "{changes}");
        sh(env, &fork, "echo 2 > d/kept; echo full > d/empty");
        env.pyro(&["workspace", "merge", &name, &fork]).expect_ok();
        assert_eq!(sh(env, &name, "cat d/kept d/empty"), "2\nfull\n");
        env.pyro(&["workspace", "delete", &fork]).expect_ok();
    });
}

#[test]
fn directories_above_a_push_stay_as_they_are() {
    case(|env| {
        let scratch = env.scratch();
        fs::write(scratch.path().join("new"), "new\n").expect("a file");
        let (name, from) = (env.workspace("past"), scratch.path().to_str().expect("UTF-8").to_owned());
        sh(env, &name, "mkdir -p a/b/c && chmod 750 a && touch -d 2001-02-03 a/b/c a/b a");
        set_attribute(env, &name, "a/b", "user.kept", "\"yes\"");
        // Mode 0755, and one more user who may read and enter; what is made in it inherits that.
        let list = "pack(\"L(SSL)5\", 2, 1,7,4294967295, 2,5,0, 4,5,4294967295, 16,5,4294967295, 32,5,4294967295)";
        for attribute in ["system.posix_acl_access", "system.posix_acl_default"] {
            set_attribute(env, &name, "a/b", attribute, list);
        }
        // listxattr(2) and the time and mode of everything above.
        let look = "stat -c '%n %a %Y' / /workspace a a/b; \
             perl -e 'for (\"a/b\", \"a/b/c\") { $path = $_; $v = \"\\0\" x 999; syscall(194, $path, $v, 999); $v =~ tr/\\0/ /s; print \"$v\\n\" }'";
        let before = sh(env, &name, look);
        assert!(before.contains("posix_acl_default") && before.contains("user.kept"), "{before}");
        let pushed = env.document(&["workspace", "sync", "push", &name, &from, "a/b/c"]);
        assert_eq!(pushed["added"].as_u64(), Some(1), "{pushed}");
        assert_eq!(sh(env, &name, &format!("cat a/b/c/new; {look}")), format!("new\n{before}"));

        // Nothing that a push makes is of the group of a directory whose files are all of its group.
        sh(env, &name, "chmod 2755 /");
        env.pyro(&["workspace", "sync", "push", &name, &from, "/made/for/it"]).expect_ok();
        assert_eq!(sh(env, &name, "stat -c %a / /made /made/for /made/for/it/new"), "2755\n755\n755\n644\n");
    });
}

#[test]
fn a_push_brings_what_differs_and_an_export_takes_it_out_again() {
    case(|env| {
        let scratch = env.scratch();
        let source = scratch.path().join("source");
        fs::create_dir_all(source.join("src")).expect("a directory");
        fs::write(source.join("src/a.txt"), "a\n").expect("a file");
        fs::write(source.join("run.sh"), "#!/bin/sh\n").expect("a file");
        fs::set_permissions(source.join("run.sh"), fs::Permissions::from_mode(0o755)).expect("a mode");
        symlink("src/a.txt", source.join("link")).expect("a link");
        let (name, from) = (env.workspace("past"), source.to_str().expect("UTF-8").to_owned());
        let push = |more: &[&str]| env.document(&[&["workspace", "sync", "push", &name, &from], more].concat());
        let first = push(&[]);
        assert_eq!((first["added"].as_u64(), first["step"].as_u64()), (Some(4), Some(1)), "{first}");
        assert_eq!(sh(env, &name, "cat link; stat -c '%a %U' run.sh"), "a\n755 root\n");
        assert_eq!(push(&[])["step"], Value::Null, "nothing differs");
        sh(env, &name, "echo kept > mine");
        fs::write(source.join("src/a.txt"), "changed\n").expect("a file");
        fs::remove_file(source.join("run.sh")).expect("it was there");
        let second = push(&[]);
        assert_eq!((second["changed"].as_u64(), second["deleted"].as_u64()), (Some(1), Some(0)), "{second}");
        assert_eq!(sh(env, &name, "cat src/a.txt; ls"), "changed\nlink\nmine\nrun.sh\nsrc\n");
        push(&["--delete"]);
        assert_eq!(sh(env, &name, "ls"), "link\nsrc\n");
        env.pyro(&["workspace", "undo", &name]).expect_ok();
        assert_eq!(sh(env, &name, "ls"), "link\nmine\nrun.sh\nsrc\n");

        let out = scratch.path().join("out");
        let to = out.to_str().expect("UTF-8");
        env.pyro(&["workspace", "export", &name, "--output", to]).expect_ok();
        assert_eq!(fs::read_to_string(out.join("src/a.txt")).expect("it was exported"), "changed\n");
        assert_eq!(fs::read_link(out.join("link")).expect("a link").to_str(), Some("src/a.txt"));
        env.pyro(&["workspace", "export", &name, "--output", to]).expect_error(125, "there already");
        let tar = scratch.path().join("out.tar");
        env.pyro(&["workspace", "export", &name, "src", "--format", "tar", "--output", tar.to_str().expect("UTF-8")]).expect_ok();
        let listed = std::process::Command::new("tar").arg("tf").arg(&tar).output().expect("tar runs");
        assert_eq!(String::from_utf8_lossy(&listed.stdout), "./\na.txt\n");
    });
}

#[test]
fn forks_are_compared_by_what_they_changed_and_how_a_check_ends() {
    case(|env| {
        let name = env.workspace("past");
        sh(env, &name, "echo 1 > value");
        let fork = env.name("fork");
        env.pyro(&["workspace", "fork", &name, "--count", "2", "--name", &fork]).expect_ok();
        let forks = [format!("{fork}-1"), format!("{fork}-2")];
        sh(env, &forks[1], "echo 2 > value; echo new > new");
        let table = env.document(&["workspace", "compare", &forks[0], &forks[1], "--check", "grep -q 2 value"]);
        let row = |index: usize| &table["workspaces"][index];
        assert_eq!((&row(0)["passed"], &row(0)["changed"]), (&Value::Bool(false), &0.into()), "{table}");
        assert_eq!(
            (&row(1)["passed"], &row(1)["changed"], &row(1)["added_lines"]),
            (&Value::Bool(true), &2.into(), &2.into()),
            "{table}"
        );
        for fork in &forks {
            env.pyro(&["workspace", "delete", fork]).expect_ok();
        }
    });
}

#[test]
fn a_workspace_whose_time_is_over_is_deleted_by_whoever_looks_next() {
    case(|env| {
        let name = env.name("past");
        env.pyro(&["workspace", "create", "debian:12", "--name", &name, "--ttl-seconds", "2"]).expect_ok();
        assert!(env.document(&["workspace", "status", &name])["expires_at"].is_string());
        env.wait_for("its end", || {
            let list = env.document(&["workspace", "list", "--name", &name]);
            list["workspaces"].as_array().is_some_and(Vec::is_empty).then_some(())
        });
        env.pyro(&["workspace", "status", &name]).expect_error(125, "there is no workspace");
        let kept = env.workspace("past");
        env.pyro(&["workspace", "update", &kept, "--ttl-seconds", "3600"]).expect_ok();
        env.pyro(&["workspace", "update", &kept, "--ttl-seconds", "0"]).expect_ok();
        assert!(env.document(&["workspace", "status", &kept])["expires_at"].is_null());
    });
}

#[test]
fn changes_are_brought_home_as_a_branch_and_the_checkout_is_not_touched() {
    case(|env| {
        let scratch = env.scratch();
        let git = |arguments: &[&str]| {
            let mut git = std::process::Command::new("git");
            git.current_dir(scratch.path()).env("GIT_CONFIG_GLOBAL", "/dev/null").args([
                "-c",
                "user.name=t",
                "-c",
                "user.email=t@example.org",
            ]);
            let output = git.args(arguments).output().expect("git runs");
            assert!(output.status.success(), "git {arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
            String::from_utf8_lossy(&output.stdout).into_owned()
        };
        git(&["init", "-q"]);
        // The committer of the commit that is made later.
        git(&["config", "user.name", "t"]);
        git(&["config", "user.email", "t@example.org"]);
        fs::write(scratch.path().join("a"), "one\n").expect("a file");
        git(&["add", "-A"]);
        git(&["commit", "-qm", "first"]);
        let from = scratch.path().to_str().expect("UTF-8");
        let name = env.name("past");
        env.pyro(&["workspace", "create", "debian:12", "--name", &name, "--seed-path", from]).expect_ok();
        let hook = "printf '#!/bin/sh\\ntouch /tmp/pyro-was-here\\n' > .git/hooks/pre-commit; chmod +x .git/hooks/pre-commit";
        sh(env, &name, &format!("echo two > a; head -c 100 /dev/zero > binary; {hook}"));
        let tree = scratch.path().join("patch");
        let patched =
            env.pyro(&["workspace", "export", &name, "--format", "patch", "--output", tree.to_str().expect("UTF-8")]).expect_ok();
        assert!(patched.stdout.contains(".git/hooks/pre-commit"), "a hook is pointed at: {}", patched.all());
        fs::remove_file(&tree).expect("it was made");
        sh(env, &name, "rm .git/hooks/pre-commit");
        let out = env.pyro(&["workspace", "export", &name, "--to-git", from, "--branch", "fix"]).expect_ok();
        assert!(out.stdout.contains("branch fix of"), "{}", out.all());
        assert_eq!(git(&["show", "fix:a"]), "two\n");
        assert_eq!(
            git(&["show", "--stat", "--format=%s", "fix"]).lines().next(),
            Some(format!("Changes of workspace {name}").as_str())
        );
        assert_eq!(
            (git(&["status", "--porcelain"]), fs::read_to_string(scratch.path().join("a")).expect("a file")),
            (String::new(), "one\n".into())
        );
        env.pyro(&["workspace", "export", &name, "--to-git", from, "--branch", "fix"])
            .expect_error(125, "has a branch fix already");
        env.pyro(&["workspace", "delete", &name]).expect_ok();
    });
}
