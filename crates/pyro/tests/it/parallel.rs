//! Several callers at once: nobody loses, and one thing happens once.

use std::collections::BTreeSet;

use pyro_testkit::processes_with;
use serde_json::{Value, json};

use crate::{HOST_DIRECTORIES, case, mark, namespaces_case, wait_for_line, wait_until_gone};

#[test]
fn twenty_workspaces_are_made_at_once() {
    case(|env| {
        let env = env.fresh();
        // In a new home: the first of them also makes the database.
        let children: Vec<_> = (0..20).map(|_| env.start(&["workspace", "create", "debian:12", "--json"])).collect();
        let mut names = BTreeSet::new();
        for child in children {
            let ran = env.wait("one of twenty creates", child).expect_ok();
            let made: Value = serde_json::from_str(&ran.stdout).expect("JSON");
            names.insert(made["workspace"].as_str().expect("a name").to_owned());
        }
        assert_eq!(names.len(), 20, "{names:?}");
        let listed: Value = env.json(&["workspace", "list", "--state", "running"]);
        assert_eq!(listed["workspaces"].as_array().map(Vec::len), Some(20));
        let children: Vec<_> = names.iter().map(|name| env.start(&["workspace", "delete", name])).collect();
        for child in children {
            env.wait("one of twenty deletes", child).expect_ok();
        }
        env.assert_no_leaks();
    });
}

#[test]
fn one_name_is_given_once_however_many_ask() {
    case(|env| {
        let name = env.name("wanted");
        let children: Vec<_> = (0..8).map(|_| env.start(&["workspace", "create", "debian:12", "--name", &name])).collect();
        let ran: Vec<_> = children.into_iter().map(|child| env.wait("a create", child)).collect();
        assert_eq!(ran.iter().filter(|ran| ran.code == 0).count(), 1, "{ran:?}");
        assert!(ran.iter().all(|ran| ran.code == 0 || (ran.code == 125 && ran.stderr.contains("already"))), "{ran:?}");
        let listed: Value = env.json(&["workspace", "list", "--name", &name]);
        assert_eq!(listed["workspaces"].as_array().map(Vec::len), Some(1));

        let name = env.name("shared");
        let children: Vec<_> =
            (0..8).map(|_| env.start(&["workspace", "create", "debian:12", "--name", &name, "--reuse", "--json"])).collect();
        let ids: BTreeSet<String> = children
            .into_iter()
            .map(|child| {
                let made: Value = serde_json::from_str(&env.wait("a create with reuse", child).expect_ok().stdout).expect("JSON");
                made["id"].as_str().expect("an id").to_owned()
            })
            .collect();
        assert_eq!(ids.len(), 1, "{ids:?}");
    });
}

#[test]
fn a_stopped_workspace_is_started_once_however_many_use_it() {
    case(|env| {
        let ws = env.workspace("restart");
        env.pyro(&["workspace", "exec", &ws, "--", "sh", "-c", "echo kept >kept"]).expect_ok();
        for _ in 0..3 {
            env.pyro(&["workspace", "stop", &ws]).expect_ok();
            let mut children: Vec<_> = (0..8).map(|_| env.start(&["workspace", "exec", &ws, "--", "cat", "kept"])).collect();
            children.push(env.start(&["workspace", "file", "read", &ws, "kept"]));
            for child in children {
                let ran = env.wait("a use of a stopped workspace", child).expect_ok();
                assert_eq!(ran.stdout, "kept\n");
            }
            let starts = (0..4).map(|_| env.start(&["workspace", "start", &ws])).collect::<Vec<_>>();
            for child in starts {
                env.wait("a start", child).expect_ok();
            }
        }
        let log: Value = env.json(&["workspace", "logs", &ws, "--limit", "200"]);
        let starts = log["entries"].as_array().expect("entries").iter().filter(|entry| entry["op"] == "workspace start").count();
        assert_eq!(starts, 3, "{log:#}");
    });
}

#[test]
fn stops_starts_and_commands_in_any_order_end_in_a_good_state() {
    case(|env| {
        let ws = env.workspace("churn");
        let mut children = Vec::new();
        for round in 0..6 {
            children.push(env.start(&["workspace", "exec", &ws, "--", "true"]));
            children.push(env.start(&["workspace", if round % 2 == 0 { "stop" } else { "start" }, &ws]));
            children.push(env.start(&["workspace", "status", &ws]));
        }
        for child in children {
            let ran = env.wait("something done to a busy workspace", child);
            // A stop may end a command that runs; one that comes meanwhile starts the workspace again. Nothing else may fail.
            assert!(ran.code == 0 || (ran.code == 125 && ran.stderr.contains("the workspace was stopped")), "{}", ran.all());
        }
        env.pyro(&["workspace", "exec", &ws, "--", "true"]).expect_ok();
    });
}

#[test]
fn two_clients_work_in_one_workspace() {
    case(|env| {
        let ws = env.workspace("both");
        let mut first =
            env.start(&["workspace", "exec", &ws, "--", "sh", "-c", "echo ready; while ! test -e go; do sleep 0.02; done; cat go"]);
        let reader = wait_for_line(&mut first, "ready");
        // While one waits, the other writes what it waits for.
        env.pyro_with_stdin(&["workspace", "file", "write", &ws, "go"], b"now\n").expect_ok();
        assert_eq!(std::io::read_to_string(reader).expect("read its output"), "now\n");
        env.wait("the first client", first).expect_ok();
    });
}

#[test]
fn deleting_a_workspace_ends_what_runs_in_it() {
    case(|env| {
        let ws = env.workspace("doomed");
        let id = env.id(&ws);
        let mark = mark(20);
        let mut child = env.start(&[
            "workspace",
            "exec",
            &ws,
            "--",
            "sh",
            "-c",
            &format!("trap '' TERM HUP; setsid sleep {mark} & echo ready; sleep {mark}; sleep {mark}"),
        ]);
        let reader = wait_for_line(&mut child, "ready");
        env.pyro(&["workspace", "delete", &ws]).expect_ok();
        assert_eq!(processes_with(&mark), Vec::<i32>::new(), "when delete has answered, they are gone");
        drop(reader);
        let ran = env.wait("an exec whose workspace was deleted", child);
        assert!(ran.code == 125 && ran.stderr.contains("stopped"), "{}", ran.all());
        assert!(!env.home().join("workspaces").join(id).exists());
    });
}

#[test]
fn a_workspace_is_deleted_once_however_many_delete_it() {
    case(|env| {
        let ws = env.workspace("deleted");
        let children: Vec<_> = (0..6).map(|_| env.start(&["workspace", "delete", &ws])).collect();
        let ran: Vec<_> = children.into_iter().map(|child| env.wait("a delete", child)).collect();
        assert!(ran.iter().any(|ran| ran.code == 0), "{ran:#?}");
        assert!(ran.iter().all(|ran| ran.code == 0 || (ran.code == 125 && ran.stderr.contains(&ws))), "{ran:#?}");
        env.pyro(&["workspace", "status", &ws]).expect_error(125, &ws);
    });
}

#[test]
fn ten_runs_at_once() {
    case(|env| {
        let mark = mark(21);
        let children: Vec<_> = (0..10)
            .map(|number| {
                env.start(&[
                    "run",
                    "debian:12",
                    "--",
                    "sh",
                    "-c",
                    &format!("sleep {mark} & echo {number} >/tmp/x; cat /tmp/x; ls /workspace"),
                ])
            })
            .collect();
        for (number, child) in children.into_iter().enumerate() {
            assert_eq!(env.wait("one of ten runs", child).expect_ok().stdout, format!("{number}\n"));
        }
        wait_until_gone(env, &mark);
    });
}

#[test]
fn an_environment_is_built_once_however_many_need_it() {
    namespaces_case(HOST_DIRECTORIES, |env| {
        // The smallest one, which is quick to build; in a home where nothing is built.
        let env = env.empty();
        let children: Vec<_> = (0..3).map(|_| env.start(&["run", "host", "--json", "--", "true"])).collect();
        for child in children {
            env.wait("a run that needs an environment", child).expect_ok();
        }
        let view: Value = env.json(&["env", "inspect", "host"]);
        assert_eq!(view["built"], json!(true));
        env.pyro(&["env", "remove", "host"]).expect_ok();
    });
}
