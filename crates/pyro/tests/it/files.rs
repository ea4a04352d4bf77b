//! `pyro workspace file`: list, read, write.

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt as _;

use serde_json::{Value, json};

use crate::{case, noise};

#[test]
fn what_was_written_is_what_is_read() {
    case(|env| {
        let ws = env.workspace("bytes");
        for (path, content) in [
            ("text.txt", b"line\nline two\n".to_vec()),
            ("empty", Vec::new()),
            ("no-newline", b"x".to_vec()),
            ("all-bytes", (0..=255).collect()),
            ("big", noise(5_000_000)),
            ("a/b/c/d.txt", b"parents are made\n".to_vec()),
            ("/opt/outside/of/workspace", b"absolute\n".to_vec()),
            ("with space and 'quotes' \"x\" \\ $HOME *", b"odd\n".to_vec()),
        ] {
            env.pyro_with_stdin(&["workspace", "file", "write", &ws, path], &content).expect_ok();
            let output =
                env.command(&["workspace", "file", "read", &ws, path, "--max-bytes", "16000000"]).output().expect("start pyro");
            assert!(output.status.success() && output.stdout == content, "{path}: {}", String::from_utf8_lossy(&output.stderr));
            // The command sees the same.
            let output = env.command(&["workspace", "exec", &ws, "--", "cat", path]).output().expect("start pyro");
            assert!(output.stdout == content, "{path}");
        }
        env.pyro(&["workspace", "file", "write", &ws, "flag.txt", "--text", "from a flag\n"]).expect_ok();
        assert_eq!(env.pyro(&["workspace", "file", "read", &ws, "flag.txt"]).expect_ok().stdout, "from a flag\n");
    });
}

#[test]
fn parts_of_files_are_read_by_place() {
    case(|env| {
        let ws = env.workspace("parts");
        let content = noise(100_000);
        env.pyro_with_stdin(&["workspace", "file", "write", &ws, "noise"], &content).expect_ok();
        for (offset, count) in [(0, 10), (1, 1), (65_535, 2), (99_999, 10), (100_000, 10), (200_000, 10), (50_000, 65_536)] {
            let output = env
                .command(&[
                    "workspace",
                    "file",
                    "read",
                    &ws,
                    "noise",
                    "--offset",
                    &offset.to_string(),
                    "--max-bytes",
                    &count.to_string(),
                ])
                .output()
                .expect("start pyro");
            let wanted = content.get(offset..).map_or(&[][..], |rest| &rest[..rest.len().min(count)]);
            // A part may end before a character that it would cut in two.
            let whole = output.stdout.len() >= wanted.len().saturating_sub(3).max(usize::from(!wanted.is_empty()));
            assert!(
                output.status.success() && wanted.starts_with(&output.stdout) && whole,
                "{offset} {count}: {} bytes",
                output.stdout.len()
            );
        }
        let part: Value = env.json(&["workspace", "file", "read", &ws, "noise", "--max-bytes", "10"]);
        assert_eq!(
            (&part["size_bytes"], &part["truncated"], &part["encoding"], &part["offset"]),
            (&json!(100_000), &json!(true), &json!("base64"), &json!(0))
        );
        env.pyro(&["workspace", "file", "read", &ws, "noise", "--max-bytes", "0"]).expect_error(2, "max_bytes");
        // A part that is not the whole says so.
        let ran = env.pyro(&["workspace", "file", "read", &ws, "noise"]).expect_ok();
        assert!(!ran.stderr.is_empty(), "{}", ran.stderr);
        // A 10 GB file that is all hole is read where one looks.
        env.pyro(&[
            "workspace",
            "exec",
            &ws,
            "--",
            "sh",
            "-c",
            "truncate -s 10G sparse; printf end | dd of=sparse bs=1 seek=10737418240 conv=notrunc 2>&1",
        ])
        .expect_ok();
        assert_eq!(env.pyro(&["workspace", "file", "read", &ws, "sparse", "--offset", "10737418240"]).expect_ok().stdout, "end");
    });
}

#[test]
fn modes_are_kept_and_given() {
    case(|env| {
        let ws = env.workspace("modes");
        let mode = |path: &str| env.pyro(&["workspace", "exec", &ws, "--", "stat", "-c", "%a %U", path]).expect_ok().stdout;
        env.pyro(&["workspace", "file", "write", &ws, "plain", "--text", "x"]).expect_ok();
        assert_eq!(mode("plain"), "644 root\n");
        let answer: Value =
            env.json(&["workspace", "file", "write", &ws, "run.sh", "--text", "#!/bin/sh\necho ran\n", "--mode", "755"]);
        assert_eq!((&answer["created"], &answer["mode"], &answer["path"]), (&json!(true), &json!("0755"), &json!("run.sh")));
        assert_eq!(env.pyro(&["workspace", "exec", &ws, "--", "./run.sh"]).expect_ok().stdout, "ran\n");
        // Written again without a mode it stays what it is.
        let answer: Value = env.json(&["workspace", "file", "write", &ws, "run.sh", "--text", "#!/bin/sh\necho again\n"]);
        assert_eq!((&answer["created"], &answer["mode"]), (&json!(false), &json!("0755")));
        assert_eq!(env.pyro(&["workspace", "exec", &ws, "--", "./run.sh"]).expect_ok().stdout, "again\n");
        env.pyro(&["workspace", "file", "write", &ws, "x", "--text", "x", "--mode", "999"]).expect_error(2, "999");
        env.pyro(&["workspace", "exec", &ws, "--", "test", "!", "-e", "x"]).expect_ok();
    });
}

#[test]
fn what_cannot_be_done_says_why_and_changes_nothing() {
    case(|env| {
        let ws = env.workspace("cannot");
        env.pyro(&[
            "workspace",
            "exec",
            &ws,
            "--",
            "sh",
            "-c",
            "mkdir dir; echo x >file; ln -s loop loop; mkfifo pipe; ln -s /etc/passwd link",
        ])
        .expect_ok();
        env.pyro(&["workspace", "file", "read", &ws, "nothing"]).expect_error(125, "nothing");
        env.pyro(&["workspace", "file", "read", &ws, "dir"]).expect_error(125, "dir");
        env.pyro(&["workspace", "file", "read", &ws, "loop"]).expect_error(125, "loop");
        env.pyro(&["workspace", "file", "read", &ws, "pipe"]).expect_error(125, "pipe");
        env.pyro(&["workspace", "file", "list", &ws, "file"]).expect_error(125, "file");
        env.pyro(&["workspace", "file", "list", &ws, "nothing"]).expect_error(125, "nothing");
        env.pyro(&["workspace", "file", "write", &ws, "dir", "--text", "x"]).expect_error(125, "dir");
        env.pyro(&["workspace", "file", "write", &ws, "file/below", "--text", "x"]).expect_error(125, "file");
        env.pyro(&["workspace", "file", "write", &ws, "/proc/sys/kernel/hostname", "--text", "x"]).expect_error(125, "hostname");
        env.pyro(&["workspace", "file", "list", &ws, "--depth", "0"]).expect_error(2, "depth");
        env.pyro(&["workspace", "file", "read", &ws, ""]).expect_error(2, "");
        let ran = env.pyro(&["workspace", "file", "read", &ws, "../../../../etc/hostname"]);
        assert!(ran.code != 0 || ran.stdout.contains(&ws), "a path with .. is of the sandbox or refused: {}", ran.all());
        // Links are the inside's own: they lead to the inside's files.
        let ran = env.pyro(&["workspace", "file", "read", &ws, "link"]);
        assert!(ran.code != 0 || ran.stdout.starts_with("root:"), "{}", ran.all());
        assert_eq!(env.pyro(&["workspace", "exec", &ws, "--", "cat", "file"]).expect_ok().stdout, "x\n");
    });
}

#[test]
fn listings_tell_kind_size_mode_and_depth() {
    case(|env| {
        let ws = env.workspace("list");
        env.pyro(&["workspace", "exec", &ws, "--", "sh", "-c", "mkdir -p a/b/c; printf 123 >a/file; chmod 600 a/file; ln -s file a/link; mkfifo a/pipe; printf x >a/b/c/deep; printf x >.hidden"])
            .expect_ok();
        let listed: Value = env.json(&["workspace", "file", "list", &ws, "a"]);
        let of = |name: &str| {
            listed["entries"]
                .as_array()
                .expect("entries")
                .iter()
                .find(|entry| entry["path"] == name)
                .cloned()
                .unwrap_or(Value::Null)
        };
        assert_eq!(of("file"), json!({ "path": "file", "kind": "file", "size_bytes": 3, "mode": "0600" }));
        assert_eq!((&of("link")["kind"], &of("link")["target"]), (&json!("symlink"), &json!("file")));
        assert_eq!((&of("b")["kind"], &of("pipe")["kind"]), (&json!("directory"), &json!("other")));
        assert_eq!((listed["entries"].as_array().map(Vec::len), &listed["truncated"]), (Some(4), &json!(false)));
        let paths = |arguments: &[&str]| -> (Vec<String>, bool) {
            let listed: Value = env.json(&[&["workspace", "file", "list", &ws], arguments].concat());
            let entries = listed["entries"].as_array().expect("entries").iter();
            (entries.filter_map(|entry| entry["path"].as_str().map(str::to_owned)).collect(), listed["truncated"] == true)
        };
        assert_eq!(paths(&[]), (vec![".hidden".into(), "a".into()], false));
        assert_eq!(paths(&["--depth", "2"]).0, [".hidden", "a", "a/b", "a/file", "a/link", "a/pipe"]);
        assert_eq!(paths(&["--depth", "9"]).0.len(), 8);
        assert!(paths(&["--depth", "9", "--limit", "3"]).1);
        let ran = env.pyro(&["workspace", "file", "list", &ws]).expect_ok();
        assert!(ran.stdout.contains(".hidden"), "{}", ran.all());
    });
}

#[test]
fn names_that_are_no_text_are_shown_and_harm_nothing() {
    case(|env| {
        let ws = env.workspace("names");
        env.pyro(&[
            "workspace",
            "exec",
            &ws,
            "--",
            "bash",
            "-c",
            r"touch $'new\nline' $'bad\xff' $'\e[31mred' $'tab\t'; ls | wc -l",
        ])
        .expect_ok();
        let listed: Value = env.json(&["workspace", "file", "list", &ws]);
        assert_eq!(listed["entries"].as_array().map(Vec::len), Some(4), "{listed:#}");
        let ran = env.pyro(&["workspace", "file", "list", &ws]).expect_ok();
        assert!(!ran.stdout.contains('\u{1b}'), "{:?}", ran.stdout);
        // A name from the command line that is no UTF-8 is refused in words.
        let arguments =
            [OsStr::new("workspace"), OsStr::new("file"), OsStr::new("read"), OsStr::new(&ws), OsStr::from_bytes(b"bad\xff")];
        let ran = env.pyro(&arguments);
        assert!(ran.code == 2 || ran.code == 125 || ran.code == 0, "{}", ran.all());
    });
}

#[test]
fn a_reader_never_sees_half_a_file() {
    case(|env| {
        let ws = env.workspace("atomic");
        let (small, large) = ("a".repeat(1000), "b".repeat(2_000_000));
        env.pyro_with_stdin(&["workspace", "file", "write", &ws, "file"], small.as_bytes()).expect_ok();
        let watcher = "while ! test -e end; do n=$(wc -c <file); case $n in 1000|2000000) ;; *) echo torn $n; exit 1;; esac; done";
        let child = env.start(&["workspace", "exec", &ws, "--timeout-seconds", "60", "--", "sh", "-c", watcher]);
        for round in 0..10 {
            let content = if round % 2 == 0 { &large } else { &small };
            env.pyro_with_stdin(&["workspace", "file", "write", &ws, "file"], content.as_bytes()).expect_ok();
        }
        env.pyro(&["workspace", "file", "write", &ws, "end", "--text", ""]).expect_ok();
        env.wait("the one that watches", child).expect_ok();
    });
}
