//! `pyro workspace file search`: the same answer on every surface, and nothing inside that misleads it or holds it up.

use serde_json::{Value, json};

use pyro_testkit::Rpc;

use crate::case;

#[test]
fn lines_are_found_by_path_and_told_as_they_are_asked_for() {
    case(|env| {
        let ws = env.workspace("search");
        let line = "mkdir -p src/deep target .hid && printf 'fn main() {}\\nlet x = 1;\\n// MARK: a[0]\\n' > src/main.rs && printf 'mark\\n' > src/deep/notes.md \
                    && echo MARK > target/out.rs && echo MARK > .hid/x && echo target > .gitignore && printf 'MARK\\0' > blob && ln -s /etc way && mkfifo pipe";
        env.pyro(&["workspace", "exec", &ws, "--", "sh", "-c", line]).expect_ok();
        let search = |more: &[&str]| env.pyro(&[&["workspace", "file", "search", &ws], more].concat());
        let found = search(&["MARK"]).expect_ok();
        assert_eq!(
            (found.stdout.as_str(), found.stderr.as_str()),
            ("src/main.rs:3:// MARK: a[0]\n", "pyro: not searched: 1 binary file\n")
        );
        assert_eq!(search(&["mark", "--ignore-case", "--tell", "files"]).expect_ok().stdout, "src/deep/notes.md\nsrc/main.rs\n");
        assert_eq!(
            search(&["MARK", "--no-ignore", "--hidden", "--tell", "counts"]).expect_ok().stdout,
            ".hid/x:1\nsrc/main.rs:1\ntarget/out.rs:1\n"
        );
        assert_eq!(
            search(&["a[0]", "src", "--fixed", "--context", "1"]).expect_ok().stdout,
            "src/main.rs-2-let x = 1;\nsrc/main.rs:3:// MARK: a[0]\n"
        );
        assert_eq!(search(&["o", "--glob", "*.md", "--glob", "!deep"]).expect_ok().stdout, "");
        assert_eq!(search(&["root:", "/etc/passwd", "--limit", "1"]).expect_ok().stdout.lines().count(), 1);
        assert_eq!(
            search(&["root", "way", "--tell", "files", "--glob", "passwd"]).expect_ok().stdout,
            "way/passwd\n",
            "what is named itself is followed"
        );
        let wrong = search(&["a(b"]);
        wrong.expect_error(2, "pattern \"a(b\" is no regular expression: unclosed group");
        search(&["x", "--glob", "a["]).expect_error(2, "a glob is none");
        search(&["x", "nothing"]).expect_error(125, "there is no nothing");
        search(&[""]).expect_error(2, "the pattern is empty");
        // As models call things.
        let mut rpc = Rpc::start(env);
        let asked = json!({ "workspace": ws, "pattern": "mark", "-i": true, "glob": "*.rs", "output_mode": "content", "-C": 1, "head_limit": 5 });
        let answer: Value = rpc.call("workspace file search", &asked);
        assert_eq!((&answer["files"][0]["path"], &answer["files_total"]), (&json!("src/main.rs"), &json!(1)), "{answer}");
        assert_eq!(answer["files"][0]["lines"][1], json!({ "number": 3, "column": 4, "text": "// MARK: a[0]" }));
    });
}

#[test]
fn a_search_of_many_files_is_the_same_each_time_and_says_what_it_does_not_tell() {
    case(|env| {
        let ws = env.workspace("many");
        let line =
            "for d in $(seq -w 1 40); do mkdir -p d$d; for f in $(seq -w 1 50); do echo \"needle $d $f\" > d$d/$f; done; done";
        env.pyro(&["workspace", "exec", &ws, "--", "bash", "-c", line]).expect_ok();
        let first = env.document(&["workspace", "file", "search", &ws, "needle", "--limit", "120"]);
        let files = first["files"].as_array().expect("a list");
        assert_eq!((files.len(), &first["lines_total"], &first["truncated"]), (120, &json!(2000), &json!(true)), "{first}");
        assert_eq!((&files[0]["path"], &files[119]["path"]), (&json!("d01/01"), &json!("d03/20")));
        assert_eq!(env.document(&["workspace", "file", "search", &ws, "needle", "--limit", "120"]), first);
        let listed = env.document(&["workspace", "file", "list", &ws, "--glob", "**/07", "--limit", "3"]);
        assert_eq!((&listed["entries"][2]["path"], &listed["entries_total"]), (&json!("d03/07"), &json!(40)), "{listed}");
        let listed = env.document(&["workspace", "file", "list", &ws, "--depth", "2", "--limit", "3"]);
        assert_eq!((&listed["truncated"], &listed["entries_total"]), (&json!(true), &json!(2040)), "{listed}");
    });
}
