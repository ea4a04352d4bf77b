//! Files are changed by texts and patches as models send them: all of it or nothing, and a refusal says what to send.

use serde_json::{Value, json};

use pyro_testkit::{Rpc, TestEnv};

use crate::case;

fn sh(env: &TestEnv, workspace: &str, line: &str) -> String {
    env.pyro(&["workspace", "exec", workspace, "--", "sh", "-c", line]).expect_ok().stdout
}

/// A workspace with a file of a few lines.
fn with_file(env: &TestEnv) -> String {
    let name = env.workspace("edit");
    let text = "fn main() {\n    let n = 1;\n    println!(\"{n}\");\n}\n";
    env.pyro(&["workspace", "file", "write", &name, "src/main.rs", "--text", text]).expect_ok();
    name
}

#[test]
fn a_text_is_replaced_and_told_with_its_lines() {
    case(|env| {
        let name = with_file(env);
        sh(env, &name, "chmod 750 src/main.rs; chown 3:4 src/main.rs 2> /dev/null; true");
        let before = sh(env, &name, "stat -c '%a %u %g' src/main.rs");
        let edit = ["workspace", "file", "edit", &name, "src/main.rs", "--old", "let n = 1;", "--new", "let number = 2;"];
        assert_eq!(env.pyro(&edit).expect_ok().stdout, "M src/main.rs +1 -1\n");
        assert_eq!(
            sh(env, &name, "sed -n 2p src/main.rs; stat -c '%a %u %g' src/main.rs"),
            format!("    let number = 2;\n{before}")
        );
        let again = env.document(&edit);
        assert_eq!(again["files"][0]["status"], "unchanged", "{again}");
    });
}

#[test]
fn an_edit_is_a_step_that_can_be_undone() {
    crate::namespaces_case(crate::NO_PAST, |env| {
        let name = with_file(env);
        let edit = ["workspace", "file", "edit", &name, "src/main.rs", "--old", "let n = 1;", "--new", "let number = 2;"];
        env.pyro(&edit).expect_ok();
        // A step is made behind the answer: what asks for one waits until it is.
        env.pyro(&["workspace", "diff", &name]).expect_ok();
        let log = env.document(&["workspace", "logs", &name]);
        let entries = log["entries"].as_array().expect("a list");
        assert!(entries.iter().any(|entry| entry["op"] == "workspace file edit" && entry["step"].is_u64()), "{log}");
        env.pyro(&["workspace", "undo", &name]).expect_ok();
        assert_eq!(sh(env, &name, "sed -n 2p src/main.rs"), "    let n = 1;\n");
    });
}

#[test]
fn what_models_call_their_fields_is_understood() {
    case(|env| {
        let name = with_file(env);
        let mut rpc = Rpc::start(env);
        for (old, new, all, number) in [
            ("old_string", "new_string", "replace_all", 2),
            ("old_str", "new_str", "replaceAll", 3),
            ("oldString", "newString", "all", 4),
            ("search", "replace", "all", 5),
        ] {
            let request = json!({
                "workspace": name, "file_path": "/workspace/src/main.rs", old: format!("n = {};", number - 1), new: format!("n = {number};"), all: false
            });
            let answer = rpc.call("workspace file edit", &request);
            assert!(answer["text"].as_str().is_some_and(|text| text.contains(&format!("2|    let n = {number};"))), "{answer}");
        }
        let edits = json!([{ "old": "n = 5", "new": "m = 5" }, { "path": "b.txt", "old": "", "new": "new\n" }]);
        let answer = rpc.call("workspace file edit", &json!({ "workspace": name, "path": "src/main.rs", "edits": edits }));
        assert_eq!(
            (&answer["files"][0]["status"], &answer["files"][1]["status"]),
            (&"created".into(), &"changed".into()),
            "{answer}"
        );
    });
}

#[test]
fn patches_of_all_forms_are_applied() {
    case(|env| {
        let name = with_file(env);
        for (patch, number) in [
            (
                "--- a/src/main.rs\n+++ b/src/main.rs\n@@ -1,3 +1,3 @@\n fn main() {\n-    let n = 1;\n+    let n = 2;\n     println!(\"{n}\");\n",
                2,
            ),
            ("*** Begin Patch\n*** Update File: src/main.rs\n@@ fn main() {\n-    let n = 2;\n+    let n = 3;\n*** End Patch\n", 3),
            ("```\nsrc/main.rs\n<<<<<<< SEARCH\n    let n = 3;\n=======\n    let n = 4;\n>>>>>>> REPLACE\n```\n", 4),
        ] {
            env.pyro_with_stdin(&["workspace", "file", "edit", &name], patch.as_bytes()).expect_ok();
            assert_eq!(sh(env, &name, "sed -n 2p src/main.rs"), format!("    let n = {number};\n"), "{patch}");
        }
        // What git makes is taken, with moves, modes and what is no text.
        sh(
            env,
            &name,
            "git init -q . && git add . && git -c user.name=a -c user.email=a@b commit -qm a && mkdir -p deep/er \
             && git mv src/main.rs deep/er/main.rs && head -c 300 /dev/urandom > noise && head -c 99 /dev/urandom | tr -d '\\0' > latin && printf 'x' > run && chmod 755 run && ln -s run link \
             && git add . && git diff --cached --binary -M > /tmp/patch && git reset -q --hard",
        );
        // Noise without a NUL is text to git, and no UTF-8.
        let patch = env.command(&["workspace", "exec", &name, "--", "cat", "/tmp/patch"]).output().expect("start pyro").stdout;
        let changed = env.pyro_with_stdin(&["workspace", "file", "edit", &name], &patch).expect_ok();
        assert!(changed.stdout.contains("R src/main.rs -> deep/er/main.rs +0 -0"), "{}", changed.all());
        let look = "git add . && git diff --cached --binary -M | cmp - /tmp/patch && ls -d src 2> /dev/null; stat -c %a run; readlink link";
        assert_eq!(sh(env, &name, look), "755\nrun\n");
    });
}

#[test]
fn directories_become_files_and_files_directories() {
    case(|env| {
        let name = with_file(env);
        // Made by git of what was there in a step of its own: the directory is in a layer below.
        sh(
            env,
            &name,
            "mkdir -p src/in && echo 1 > src/in/one && echo flat > file && git init -q . && git add . \
             && git -c user.name=a -c user.email=a@b commit -qm a",
        );
        sh(
            env,
            &name,
            "rm -r src && echo a file > src && rm file && mkdir -p file/is && echo deep > file/is/there && git add -A . \
             && git diff --cached --binary --no-renames > /tmp/patch && git reset -q --hard",
        );
        let patch = env.pyro(&["workspace", "exec", &name, "--", "cat", "/tmp/patch"]).expect_ok().stdout;
        // With something in the directory that the patch does not know, nothing is done.
        sh(env, &name, "touch src/in/more");
        let refused = env.pyro_with_stdin(&["workspace", "file", "edit", &name], patch.as_bytes());
        assert!(refused.code != 0 && refused.stderr.contains("`src/in/more` in it stays"), "{}", refused.all());
        assert_eq!(sh(env, &name, "rm src/in/more; git status --porcelain"), "");
        env.pyro_with_stdin(&["workspace", "file", "edit", &name], patch.as_bytes()).expect_ok();
        let look = "git add -A . && git diff --cached --binary --no-renames | cmp - /tmp/patch && cat src file/is/there; ls -A";
        assert_eq!(sh(env, &name, look), "a file\ndeep\n.git\nfile\nsrc\n");
    });
}

#[test]
fn half_a_change_of_a_killed_agent_is_taken_back_when_the_next_one_starts() {
    case(|env| {
        let name = with_file(env);
        // As it is between the first and the second of two renames. A machine that is killed loses what is not on its disk yet.
        sh(
            env,
            &name,
            "umask 077; echo old > a; echo new > .pyro-aside; new=$(stat -c %i .pyro-aside); \
             hex() { printf %s \"$1\" | od -An -tx1 | tr -d ' \\n'; }; \
             printf 'replace %s 0 0 %s %s\\ncreate 1 0 0 %s %s\\nend' $new $(hex a) $(hex .pyro-aside) $(hex b) $(hex .pyro-b) > .pyro-journal; \
             mv a old; mv .pyro-aside a; mv old .pyro-aside; sync",
        );
        crate::kill_supervisor(env, &name);
        assert_eq!(sh(env, &name, "ls -A; cat a"), "a\nsrc\nold\n");
    });
}

#[test]
fn all_of_it_is_done_or_nothing() {
    case(|env| {
        let name = with_file(env);
        let look = "find . -type f -o -type l | sort | xargs sha256sum; find . | sort; ls -la";
        let before = sh(env, &name, look);
        let mut rpc = Rpc::start(env);
        let mut refused = |request: Value, says: &[&str]| {
            let answer = rpc.answer("workspace file edit", &request);
            let error = answer.outcome.err().unwrap_or_else(|| panic!("{request} was done"));
            for word in says {
                assert!(error.to_string().contains(word), "{request}: {error}");
            }
            assert_eq!(sh(env, &name, look), before, "{request}");
        };
        let main = "src/main.rs";
        let good = json!({ "path": main, "old": "n = 1", "new": "n = 2" });
        let wrong = json!({ "path": main, "old": "let m = 1;\n    println", "new": "x" });
        let all = |edits: Value| json!({ "workspace": name, "edits": edits });
        refused(all(json!([good, wrong])), &["edit 2 of 2 failed", "Nothing was changed", "2|    let n = 1;"]);
        refused(all(json!([good, { "path": main, "old": "n", "new": "x" }])), &["places"]);
        refused(all(json!([{ "path": "src/mian.rs", "old": "a", "new": "b" }])), &["src/mian.rs"]);
        refused(all(json!([good, { "path": "../x", "old": "", "new": "x" }])), &["`..`"]);
        refused(all(json!([{ "path": "/etc/passwd", "old": "root", "new": "x" }])), &["not below the workspace"]);
        refused(all(json!([{ "path": ".git/hooks/pre-commit", "old": "", "new": "x" }])), &[".git"]);
        refused(all(json!([{ "path": "src", "old": "a", "new": "x" }])), &["is a directory"]);
        refused(json!({ "workspace": name, "patch": "nothing of the kind" }), &["Next"]);
        refused(json!({ "workspace": name, "path": main, "old": "a" }), &["new is missing"]);
        refused(json!({ "workspace": name, "patch": "x", "path": main, "old": "a", "new": "b" }), &["texts and a patch"]);
        let dry = rpc.call("workspace file edit", &json!({ "workspace": name, "edits": [good], "dry_run": true }));
        assert_eq!(dry["files"][0]["status"], "changed");
        assert_eq!(sh(env, &name, look), before);
    });
}

#[test]
fn no_link_leads_an_edit_anywhere() {
    case(|env| {
        let name = with_file(env);
        sh(
            env,
            &name,
            "mkdir /tmp/out && echo kept > /tmp/out/file && ln -s /tmp/out way && ln -s /tmp/out/file link && mkfifo pipe",
        );
        for (path, says) in
            [("link", "symbolic link"), ("way/file", "symbolic link"), ("way/new", "symbolic link"), ("pipe", "not a regular file")]
        {
            let old = if path.ends_with("new") { "" } else { "kept" };
            let ran = env.pyro(&["workspace", "file", "edit", &name, path, "--old", old, "--new", "x"]);
            ran.expect_error(2, says);
        }
        assert_eq!(sh(env, &name, "cat /tmp/out/file; ls /tmp/out"), "kept\nfile\n");
    });
}

#[test]
fn large_patches_come_through_and_too_large_ones_are_refused() {
    case(|env| {
        let name = with_file(env);
        let large = "x".repeat(9 << 20);
        let patch = format!("*** Begin Patch\n*** Add File: a\n+{}\n*** Add File: b\n+y\n*** End Patch\n", &large[..3 << 20]);
        env.pyro_with_stdin(&["workspace", "file", "edit", &name], patch.as_bytes()).expect_ok();
        assert_eq!(sh(env, &name, "wc -c < a; cat b"), format!("{}\ny\n", (3 << 20) + 1));
        let patch = format!("*** Begin Patch\n*** Add File: c\n+{large}\n*** End Patch\n");
        env.pyro_with_stdin(&["workspace", "file", "edit", &name], patch.as_bytes()).expect_error(125, "4 MiB");
    });
}
