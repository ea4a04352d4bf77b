//! Commands that outlast their call: they go on, are waited for, read and stopped by name.

use pyro_testkit::processes_with;
use serde_json::{Value, json};

use crate::{case, mark, wait_until_gone};

#[test]
fn a_command_that_outlasts_its_wait_goes_on_as_a_job() {
    case(|env| {
        let ws = env.workspace("job");
        let line = "echo begun; echo trouble >&2; while [ ! -e go ]; do sleep 0.02; done; echo done; exit 3";
        let begun = env.pyro(&["workspace", "exec", &ws, "--wait-seconds", "1", "--", "sh", "-c", line]);
        assert!(begun.code == 0 && begun.stdout == "begun\n" && begun.stderr.contains("goes on as job1"), "{}", begun.all());
        let list: Value = env.json(&["workspace", "job", "list", &ws, "--running"]);
        assert_eq!(
            (&list["count"], &list["jobs"][0]["job"], &list["jobs"][0]["outcome"]),
            (&json!(1), &json!("job1"), &json!({"kind": "running"}))
        );
        // Waiting no longer, or being killed while it waits, leaves it alone.
        let still: Value = env.document(&["workspace", "job", "wait", &ws, "job1", "--wait-seconds", "0"]);
        assert_eq!((&still["outcome"]["kind"], &still["stdout"]["text"]), (&json!("running"), &json!("begun\n")));
        let mut waiter = env.start(&["workspace", "job", "wait", &ws, "job1"]);
        let second = env.start(&["workspace", "job", "wait", &ws, "1"]);
        waiter.kill().expect("kill pyro");
        waiter.wait().expect("it is dead");
        // Other commands run beside it, and what is written so far is read.
        env.pyro(&["workspace", "exec", &ws, "--", "touch", "go"]).expect_ok();
        let ended = env.wait("a job that was waited for", second);
        assert!(ended.code == 3 && ended.stdout == "begun\ndone\ntrouble\n", "{}", ended.all());
        // Whoever comes later gets the same, from the record.
        let again: Value = env.document(&["workspace", "job", "wait", &ws, "job1"]);
        assert_eq!((&again["outcome"], &again["stdout"]["text"]), (&json!({"kind": "exited", "code": 3}), &json!("begun\ndone\n")));
        let stopped = env.pyro(&["workspace", "job", "stop", &ws, "job1"]);
        assert_eq!(stopped.code, 0, "{}", stopped.all());
        env.pyro(&["workspace", "job", "wait", &ws, "job7"]).expect_error(125, "no job7");
        let list = env.pyro(&["workspace", "job", "list", &ws]).expect_ok().stdout;
        assert!(list.contains("job1") && list.contains("exit 3") && list.contains("job2"), "{list}");
    });
}

#[test]
fn a_job_is_asked_to_end_and_then_made_to() {
    case(|env| {
        let ws = env.workspace("stop");
        let start = |line: &str| {
            let begun: Value = env.document(&["workspace", "exec", &ws, "--wait-seconds", "0", "--", "sh", "-c", line]);
            assert_eq!(begun["outcome"]["kind"], "running", "{begun:#}");
            format!("job{}", begun["exec"])
        };
        let polite = start("trap 'echo bye; exit 0' TERM; touch ready; while :; do sleep 0.02; done");
        env.wait_for("it to be ready", || {
            env.pyro(&["workspace", "exec", &ws, "--", "test", "-e", "ready"]).code.eq(&0).then_some(())
        });
        let ended: Value = env.document(&["workspace", "job", "stop", &ws, &polite]);
        assert_eq!((&ended["outcome"]["kind"], &ended["stdout"]["text"]), (&json!("cancelled"), &json!("bye\n")));
        let mark = mark(61);
        let deaf = start(&format!("trap '' TERM; sleep {mark} & while :; do sleep {mark}; done"));
        env.wait_for("it to run", || (!env.pyro(&["workspace", "job", "list", &ws, "--running"]).stdout.is_empty()).then_some(()));
        let ended: Value = env.document(&["workspace", "job", "stop", &ws, &deaf]);
        assert_eq!(ended["outcome"]["kind"], "cancelled");
        wait_until_gone(env, &mark);
        // What still runs when the workspace is stopped ends with it, and says so.
        let lost = start(&format!("sleep {mark}"));
        env.pyro(&["workspace", "stop", &ws]).expect_ok();
        let ended: Value = env.document(&["workspace", "job", "wait", &ws, &lost]);
        assert_eq!(ended["outcome"]["kind"], "sandbox_lost", "{ended:#}");
        assert_eq!(processes_with(&mark), Vec::<i32>::new());
    });
}

#[test]
fn output_is_read_by_lines_by_stream_and_by_what_it_holds() {
    case(|env| {
        let ws = env.workspace("logs");
        let line =
            "for n in $(seq 1 3000); do echo line $n; done; echo 'error: broken' >&2; echo last; printf '\\033[31mred\\033[0m'";
        env.pyro(&["workspace", "exec", &ws, "--", "sh", "-c", line]).expect_ok();
        let logs =
            |arguments: &[&str]| env.pyro(&[&["workspace", "job", "logs", &ws, "job1"], arguments].concat()).expect_ok().stdout;
        assert_eq!(logs(&["--lines", "41-42"]), "line 41\nline 42\n");
        assert_eq!(logs(&["--stream", "stdout", "--lines", "-2"]), "last\n\u{1b}[31mred\u{1b}[0m");
        assert_eq!(logs(&["--stream", "stderr"]), "error: broken\n");
        assert_eq!(logs(&["--stream", "stdout", "--search", "^line 29(99|98)$|ERROR"]), "2998:line 2998\n2999:line 2999\n");
        let whole = logs(&[]);
        assert_eq!(whole.matches("line ").count(), 3000, "all of it");
        let shown: Value = env.json(&["workspace", "job", "logs", &ws, "job1", "--stream", "stdout", "--lines", "2000-"]);
        assert_eq!((&shown["lines"], &shown["lines_total"]), (&json!("2000-2699"), &json!(3002)));
        // What came later comes later, from whichever stream.
        let turns = "for n in 1 2 3; do echo out $n; touch $n; while [ ! -e go$n ]; do sleep 0.02; done; echo err $n >&2; touch e$n; while [ ! -e ge$n ]; do sleep 0.02; done; done";
        env.pyro(&["workspace", "exec", &ws, "--wait-seconds", "0", "--", "sh", "-c", turns]).expect_ok();
        let turn = "for n in 1 2 3; do while [ ! -e $n ]; do sleep 0.02; done; touch go$n; while [ ! -e e$n ]; do sleep 0.02; done; touch ge$n; done";
        env.pyro(&["workspace", "exec", &ws, "--", "sh", "-c", turn]).expect_ok();
        env.pyro(&["workspace", "job", "wait", &ws, "job2"]).expect_ok();
        let both = env.pyro(&["workspace", "job", "logs", &ws, "job2"]).expect_ok().stdout;
        assert_eq!(both.lines().count(), 6, "{both}");
        env.pyro(&["workspace", "job", "logs", &ws, "job1", "--search", "("]).expect_error(2, "regular expression");
    });
}

#[test]
fn a_job_that_can_only_wait_for_somebody_to_type_says_so() {
    case(|env| {
        let ws = env.workspace("unasked");
        // It asks on a terminal that something inside has made: nobody will ever type there.
        let line = "sleep 600 | script -qec \"sh -c 'printf passphrase:; read -r word'\" /dev/null";
        let begun = env.document(&["workspace", "exec", &ws, "--wait-seconds", "2", "--", "sh", "-c", line]);
        assert_eq!((&begun["outcome"]["kind"], &begun["waits_for_input"]), (&json!("running"), &json!("passphrase:")), "{begun:#}");
        assert!(begun["next"].as_str().is_some_and(|next| next.contains("job stop job1")), "{begun:#}");
        let busy = env.document(&["workspace", "exec", &ws, "--wait-seconds", "1", "--", "sleep", "600"]);
        assert_eq!(busy["waits_for_input"], Value::Null, "{busy:#}");
    });
}
