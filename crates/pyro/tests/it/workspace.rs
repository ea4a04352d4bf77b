//! A workspace's life: made, found, changed, stopped, used again, deleted.

use std::fs;

use serde_json::{Value, json};

use crate::case;

#[test]
fn what_was_made_is_what_was_asked_for() {
    case(|env| {
        let name = env.name("made");
        let made: Value = env.json(&[
            "workspace",
            "create",
            "debian:12",
            "--name",
            &name,
            "--label",
            "team=red",
            "--label",
            "branch=main",
            "--mem-mib",
            "300",
            "--vcpu-count",
            "2",
        ]);
        assert_eq!(made["workspace"], name.as_str());
        assert_eq!(made["labels"], json!({ "branch": "main", "team": "red" }));
        assert_eq!(
            (&made["environment"], &made["state"], &made["mem_mib"], &made["vcpu_count"]),
            (&json!("debian:12"), &json!("running"), &json!(300), &json!(2))
        );
        assert_eq!((&made["exec_count"], &made["reused"]), (&json!(0), &json!(false)));
        let id = made["id"].as_str().expect("an id");
        // By name, by id, and by a beginning of either.
        for reference in [name.as_str(), id, &id[..8], &name[..name.len() - 1]] {
            let view: Value = env.json(&["workspace", "status", reference]);
            assert_eq!(view["id"], id, "{reference}");
        }
        let ran = env.pyro(&["workspace", "status", &name]).expect_ok();
        assert!(ran.stdout.contains(&name) && ran.stdout.contains("debian:12") && ran.stdout.contains("running"), "{}", ran.all());
        env.pyro(&["workspace", "delete", &name]).expect_ok();
        env.pyro(&["workspace", "status", &name]).expect_error(125, &name);
        env.pyro(&["workspace", "delete", &name]).expect_error(125, &name);
        assert!(!env.home().join("workspaces").join(id).exists());
    });
}

#[test]
fn a_name_is_made_up_when_none_is_given() {
    case(|env| {
        let env = env.fresh();
        let first: Value = env.json(&["workspace", "create"]);
        let second: Value = env.json(&["workspace", "create"]);
        let (first, second) = (first["workspace"].as_str().expect("a name"), second["workspace"].as_str().expect("a name"));
        assert!(first != second && first.split('-').count() == 2, "{first} {second}");
        for name in [first, second] {
            env.pyro(&["workspace", "delete", name]).expect_ok();
        }
    });
}

#[test]
fn a_name_is_one_workspaces_only() {
    case(|env| {
        let name = env.workspace("taken");
        let ran = env.pyro(&["workspace", "create", "debian:12", "--name", &name]);
        assert!(ran.code == 125 && ran.stderr.contains(&name) && ran.stderr.contains("reuse"), "{}", ran.all());
        let id = env.id(&name);
        let again: Value = env.json(&["workspace", "create", "debian:12", "--name", &name, "--reuse"]);
        assert_eq!((&again["id"], &again["reused"]), (&json!(id), &json!(true)));
        env.pyro(&["workspace", "create", "debian:12", "--reuse"]).expect_error(2, "name");
        // Free again once it is deleted.
        env.pyro(&["workspace", "delete", &name]).expect_ok();
        let new: Value = env.json(&["workspace", "create", "debian:12", "--name", &name, "--reuse"]);
        assert!(new["id"] != id && new["reused"] == false, "{new:#}");
        // Renaming onto a taken name changes nothing.
        let other = env.workspace("other");
        env.pyro(&["workspace", "update", &other, "--name", &name]).expect_error(125, &name);
        assert_eq!(env.json::<Value>(&["workspace", "status", &other])["workspace"], other.as_str());
    });
}

#[test]
fn a_miss_names_the_nearest() {
    case(|env| {
        let env = env.fresh();
        env.pyro(&["workspace", "exec", "anything", "--", "true"]).expect_error(125, "there are no workspaces");
        for name in ["brave-otter", "brave-owl", "calm-heron"] {
            env.pyro(&["workspace", "create", "debian:12", "--name", name]).expect_ok();
        }
        let ran = env.pyro(&["workspace", "exec", "brave-oter", "--", "true"]).expect_error(125, "brave-otter");
        assert!(!ran.stderr.contains("calm-heron"), "{}", ran.all());
        let ran = env.pyro(&["workspace", "status", "brave"]);
        assert!(ran.code != 0 && ran.stderr.contains("brave-otter") && ran.stderr.contains("brave-owl"), "{}", ran.all());
        env.pyro(&["workspace", "status", "calm"]).expect_ok();
        for name in ["brave-otter", "brave-owl", "calm-heron"] {
            env.pyro(&["workspace", "delete", name]).expect_ok();
        }
    });
}

#[test]
fn names_and_labels_have_a_grammar() {
    case(|env| {
        let long = "a".repeat(64);
        let huge = "a".repeat(100_000);
        for name in ["", "-a", "a-", "A", "a_b", "a b", "ä", "a/b", "..", &long, &huge, "a\nb"] {
            let ran = env.pyro(&["workspace", "create", "debian:12", &format!("--name={name}")]);
            assert!(ran.code == 2 && ran.stderr.len() < 2000, "{name:.80?}: {}", ran.all());
            assert!(!ran.stderr.contains('\u{1b}'), "no control characters");
        }
        let value = "v".repeat(121);
        for label in ["", "novalue", "=x", "k=", "k y=v", "-k=v", "k=a\nb", &format!("k={value}"), &format!("{}=v", "k".repeat(65))]
        {
            let ran = env.pyro(&["workspace", "create", "debian:12", &format!("--label={label}")]);
            assert!(ran.code == 2, "{label:?}: {}", ran.all());
        }
        for (flag, value) in
            [("mem-mib", "1"), ("mem-mib", "many"), ("vcpu-count", "0"), ("vcpu-count", "-1"), ("isolation", "magic")]
        {
            let ran = env.pyro(&["workspace", "create", "debian:12", &format!("--{flag}={value}")]);
            assert!(ran.code == 2, "--{flag}={value}: {}", ran.all());
        }
        env.pyro(&["workspace", "create", "debian:99"]).expect_error(125, "debian:12");
        // The longest that is allowed is allowed.
        let name = format!("{}-{}", env.name("long"), "a".repeat(63));
        let name = &name[..63];
        env.pyro(&["workspace", "create", "debian:12", "--name", name]).expect_ok();
        env.pyro(&["workspace", "delete", name]).expect_ok();
    });
}

#[test]
fn lists_are_filtered_and_the_last_used_comes_first() {
    case(|env| {
        let env = env.fresh();
        for (name, label) in [("one", "kind=a"), ("two", "kind=b"), ("three", "kind=a")] {
            env.pyro(&["workspace", "create", "debian:12", "--name", name, "--label", label, "--label", "all=yes"]).expect_ok();
        }
        let names = |arguments: &[&str]| -> Vec<String> {
            let listed: Value = env.json(&[&["workspace", "list"], arguments].concat());
            listed["workspaces"]
                .as_array()
                .expect("a list")
                .iter()
                .filter_map(|one| one["workspace"].as_str().map(str::to_owned))
                .collect()
        };
        assert_eq!(names(&[]), ["three", "two", "one"]);
        assert_eq!(names(&["--label", "kind=a"]), ["three", "one"]);
        assert_eq!(names(&["--label", "kind=a", "--label", "all=yes", "--name", "on"]), ["one"]);
        assert_eq!(names(&["--label", "kind=c"]), Vec::<String>::new());
        env.pyro(&["workspace", "exec", "one", "--", "true"]).expect_ok();
        assert_eq!(names(&[]), ["one", "three", "two"]);
        env.pyro(&["workspace", "stop", "two"]).expect_ok();
        assert_eq!(names(&["--state", "stopped"]), ["two"]);
        assert_eq!(names(&["--state", "running"]), ["one", "three"]);
        let ran = env.pyro(&["workspace", "list"]).expect_ok();
        assert!(ran.stdout.contains("one") && ran.stdout.contains("stopped"), "{}", ran.all());
        for name in ["one", "two", "three"] {
            env.pyro(&["workspace", "delete", name]).expect_ok();
        }
        assert_eq!(names(&[]), Vec::<String>::new());
    });
}

#[test]
fn update_changes_name_and_labels_only() {
    case(|env| {
        let (old, new) = (env.workspace("before"), env.name("after"));
        let id = env.id(&old);
        env.pyro(&["workspace", "update", &old, "--label", "a=1", "--label", "b=2"]).expect_ok();
        let view: Value = env.json(&["workspace", "update", &old, "--name", &new, "--label", "b=3", "--clear-label", "a"]);
        assert_eq!((&view["workspace"], &view["id"], &view["labels"]), (&json!(new), &json!(id), &json!({ "b": "3" })));
        env.pyro(&["workspace", "status", &old]).expect_error(125, &old);
        // It runs on under its new name, and is recorded under it.
        env.pyro(&["workspace", "exec", &new, "--", "true"]).expect_ok();
        let manifest = fs::read_to_string(env.home().join("workspaces").join(&id).join("manifest.json")).expect("a manifest");
        assert!(manifest.contains(&new) && !manifest.contains(&old), "{manifest}");
        env.pyro(&["workspace", "update", &new]).expect_error(2, "nothing to change");
    });
}

#[test]
fn a_stopped_workspace_keeps_everything_and_use_starts_it() {
    case(|env| {
        let ws = env.workspace("kept");
        let script = "echo text >file; mkdir -p /opt/deep/er; ln -s ../file /opt/link; ln file hard; chmod 4711 file; \
                      touch -d 2001-02-03T04:05:06Z /opt/deep; rm -rf /usr/share/doc; echo x >/etc/new; echo y >/tmp/y; mkfifo /root/pipe; printf '\\0' >'new\nline'";
        env.pyro(&["workspace", "exec", &ws, "--", "sh", "-ec", script]).expect_ok();
        let look = "stat -c '%n %F %a %u:%g %h %s' file /opt/link /opt/deep/er /etc/new /tmp/y /root/pipe; stat -c %Y /opt/deep; cat file; ls -b; ls /usr/share/doc 2>&1";
        let before = env.pyro(&["workspace", "exec", &ws, "--", "sh", "-c", look]);
        let view: Value = env.json(&["workspace", "stop", &ws]);
        assert_eq!(view["state"], "stopped");
        // Stopping twice is no error, and starting twice neither.
        env.pyro(&["workspace", "stop", &ws]).expect_ok();
        let after = env.pyro(&["workspace", "exec", &ws, "--", "sh", "-c", look]);
        assert_eq!((before.stdout.as_str(), before.code), (after.stdout.as_str(), after.code), "{}", after.all());
        assert!(before.stdout.contains("4711"), "{}", before.all());
        let view: Value = env.json(&["workspace", "status", &ws]);
        assert_eq!(view["state"], "running");
        env.pyro(&["workspace", "start", &ws]).expect_ok();
        // File operations start it as well.
        env.pyro(&["workspace", "stop", &ws]).expect_ok();
        assert_eq!(env.pyro(&["workspace", "file", "read", &ws, "file"]).expect_ok().stdout, "text\n");
        let view: Value = env.json(&["workspace", "stop", &ws]);
        assert_eq!(view["state"], "stopped");
        // And a stopped one can be deleted as it is.
        env.pyro(&["workspace", "delete", &ws]).expect_ok();
    });
}

#[test]
fn a_workspace_may_end_itself_and_is_started_by_its_next_use() {
    case(|env| {
        let ws = env.workspace("suicide");
        // PID 1 is the agent, and no signal from inside reaches it: killing everything ends the command only.
        let ran = env.pyro(&["workspace", "exec", &ws, "--", "sh", "-c", "kill -KILL 1; kill -KILL -1; echo still here"]);
        assert!(ran.code == 137 || ran.code == 0, "{}", ran.all());
        assert_eq!(env.pyro(&["workspace", "exec", &ws, "--", "echo", "fine"]).expect_ok().stdout, "fine\n");
    });
}
