//! The command line itself: what it says of itself, and how it says no.

use serde_json::Value;

use crate::surface_case;

#[test]
fn it_tells_its_version_and_its_commands() {
    surface_case(|env| {
        let ran = env.pyro(&["--version"]).expect_ok();
        assert!(ran.stdout.starts_with("pyro ") && ran.stdout.lines().count() == 1, "{}", ran.all());
        for arguments in [
            &["help"][..],
            &["--help"],
            &["workspace", "--help"],
            &["workspace", "file", "--help"],
            &["env", "--help"],
            &["help", "run"],
        ] {
            let ran = env.pyro(arguments).expect_ok();
            assert!(ran.stdout.lines().count() > 3 && ran.stderr.is_empty(), "{}", ran.all());
        }
    });
}

#[test]
fn a_mistake_is_one_sentence_and_the_nearest_that_is_right() {
    surface_case(|env| {
        for (arguments, says) in [
            (&["wrokspace", "list"][..], "workspace"),
            (&["workspace", "lst"], "list"),
            (&["workspace", "list", "--lable", "a=b"], "--label"),
            (&["run"], ""),
            (&[], ""),
            (&["workspace", "list", "--state", "asleep"], "stopped"),
            (&["workspace", "logs", "x", "--limit", "many"], "many"),
            (&["workspace", "file", "read", "a/b", "x"], "a/b"),
        ] {
            let ran = env.pyro(arguments);
            assert!(ran.code == 2 && ran.stderr.contains(says), "wanted {says:?} from {}", ran.all());
            assert!(!ran.stderr.contains("panicked") && ran.stderr.len() < 6000, "{}", ran.all());
        }
    });
}

#[test]
fn errors_are_json_when_json_is_asked_for() {
    surface_case(|env| {
        let answer = env.document(&["workspace", "status", "no-such-workspace-anywhere"]);
        let error = &answer["error"];
        assert!(error["kind"] == "not_found" && error["message"].is_string() && error["hint"].is_string(), "{answer:#}");
        let answer = env.document(&["env", "inspect", "debian:2"]);
        assert!(answer["error"]["hint"].as_str().is_some_and(|hint| hint.contains("debian:12")), "{answer:#}");
        let answer = env.document(&["workspace", "list"]);
        assert!(answer["workspaces"].is_array(), "{answer:#}");
    });
}

#[test]
fn doctor_explains_the_machine_and_works_anywhere() {
    surface_case(|env| {
        let answer: Value = env.document(&["doctor"]);
        let checks = answer["checks"].as_array().expect("checks");
        assert!(answer["best"].is_string() && checks.len() >= 6, "{answer:#}");
        for check in checks {
            let told = ["name", "detail"].iter().all(|key| check[key].as_str().is_some_and(|text| !text.is_empty()));
            assert!(told && (check["status"] == "ok" || check["fix"].is_string() || check["status"] == "limited"), "{check}");
        }
        let ran = env.pyro(&["doctor"]);
        assert_eq!(ran.code, i32::from(answer["ok"] != true), "{}", ran.all());
        // Without a PATH, without a home directory to speak of.
        let mut command = env.command(&["doctor", "--json"]);
        let output = command.env_clear().env("PYRO_HOME", env.home()).output().expect("start pyro");
        assert!(serde_json::from_slice::<Value>(&output.stdout).is_ok(), "{}", String::from_utf8_lossy(&output.stderr));
    });
}
