//! `pyro workspace file`: list, read, write, delete, move, mkdir.

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt as _;

use serde_json::{Value, json};

use pyro_testkit::Rpc;

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

#[test]
fn lines_are_read_by_number_and_a_directory_that_is_read_is_listed() {
    case(|env| {
        let ws = env.workspace("lines");
        let line = "mkdir dir; touch dir/file; seq 1 20000 > numbers; printf 'caf\\351\\n' > latin; printf '\\377\\376h\\000' > wide; truncate -s 5G sparse; printf '\\nlast\\n' >> sparse";
        env.pyro(&["workspace", "exec", &ws, "--", "sh", "-c", line]).expect_ok();
        let read = |more: &[&str]| env.pyro(&[&["workspace", "file", "read", &ws], more].concat()).expect_ok();
        assert_eq!(read(&["numbers", "--lines", "40-42"]).stdout, "40\n41\n42\n");
        assert_eq!(read(&["numbers", "--lines", "-2", "--numbered"]).stdout, "19999|19999\n20000|20000\n");
        assert_eq!(read(&["numbers", "--lines", "20001-"]).stdout, "");
        // What was not read stays unread: the end of a file of 5 GiB comes as fast as any.
        assert_eq!(read(&["sparse", "--lines", "-1"]).stdout, "last\n");
        let part = env.document(&["workspace", "file", "read", &ws, "numbers", "--lines", "7"]);
        assert_eq!(
            (&part["first_line"], &part["lines_total"], &part["truncated"]),
            (&json!(7), &json!(20_000), &json!(true)),
            "{part}"
        );
        let edit =
            ["workspace", "file", "edit", &ws, "numbers", "--old", "19999|19999\n20000|20000", "--new", "19999|19999\n20000|end"];
        assert_eq!(env.pyro(&edit).expect_ok().stdout.lines().next(), Some("M numbers +1 -1"), "edits take the numbers off again");
        assert_eq!(read(&["dir"]).stdout, env.pyro(&["workspace", "file", "list", &ws, "dir"]).expect_ok().stdout);
        assert_eq!(env.document(&["workspace", "file", "read", &ws, "latin"])["charset"], "latin-1");
        assert_eq!(env.document(&["workspace", "file", "read", &ws, "wide"])["charset"], "utf-16le");
        env.pyro(&["workspace", "file", "read", &ws, "numbers", "--lines", "3-2"]).expect_error(2, "3-2");
        // As other tools of models have it.
        let mut rpc = Rpc::start(env);
        for (request, content) in [
            (json!({ "file_path": "numbers", "offset": 10, "limit": 2 }), "10\n11\n"),
            (json!({ "path": "numbers", "view_range": [19_999, -1] }), "19999\nend\n"),
            (json!({ "path": "numbers", "start_line": 3, "end_line": 3 }), "3\n"),
        ] {
            let mut request = request;
            request["workspace"] = json!(ws);
            assert_eq!(rpc.call("workspace file read", &request)["content"], content, "{request}");
        }
        let encoded =
            rpc.call("workspace file read", &json!({ "workspace": ws, "path": "numbers", "max_bytes": 2, "base64": true }));
        assert_eq!(encoded["content"], "MQo=");
    });
}

#[test]
fn names_are_made_moved_and_deleted_and_undo_takes_it_back() {
    case(|env| {
        let ws = env.workspace("names");
        let sh = |line: &str| env.pyro(&["workspace", "exec", &ws, "--", "sh", "-c", line]).expect_ok().stdout;
        let file = |what: &[&str]| env.pyro(&[&["workspace", "file", what[0], &ws], &what[1..]].concat());
        assert_eq!(file(&["mkdir", "a/b"]).expect_ok().stdout, "created a/b\n");
        assert_eq!(file(&["mkdir", "a/b"]).expect_ok().stdout, "already there: a/b\n");
        sh(
            "mkdir -p tree/x && echo 1 > tree/x/f && chmod 640 tree/x/f && touch -d @1000 tree/x/f && ln -s /etc tree/way && echo 2 > two",
        );
        let look = "cd $0 && find . -printf '%p %y %m %U %T@ %l\\n' | sort";
        let before = sh(&look.replace("$0", "tree"));
        // The directory is of a layer below by now, which an overlay cannot rename.
        assert_eq!(file(&["move", "tree", "new/place"]).expect_ok().stdout, "moved tree to new/place\n");
        assert_eq!(sh(&look.replace("$0", "new/place")), before);
        assert_eq!(sh("ls; ls -A new"), "a\nnew\ntwo\nplace\n");
        file(&["move", "two", "new/place/x/f"]).expect_error(125, "new/place/x/f is there already");
        file(&["move", "two", "new", "--overwrite"]).expect_error(125, "new is there already");
        file(&["move", "two", "new/place/x/f", "--overwrite"]).expect_ok();
        file(&["delete", "new"]).expect_error(125, "not empty");
        file(&["delete", "new/place/way/passwd"]).expect_error(125, "symbolic link");
        for fixed in ["/", "/workspace", ".", "/proc"] {
            file(&["delete", fixed, "--recursive"]).expect_error(125, "has to stay");
        }
        assert_eq!(file(&["delete", "new", "--recursive"]).expect_ok().stdout, "deleted new with 4 below it\n");
        assert_eq!(sh("ls; test -e /etc/passwd && echo kept"), "a\nkept\n");
        if pyro_testkit::in_machines() {
            // What one has written is on a disk that only it reads: there are no steps.
            return;
        }
        env.pyro(&["workspace", "undo", &ws]).expect_ok();
        assert_eq!(sh("cat new/place/x/f"), "2\n");
        let log = env.document(&["workspace", "logs", &ws]);
        let of = |op: &str, about: &str| {
            let entries = log["entries"].as_array().expect("a list");
            entries.iter().any(|entry| entry["op"] == op && entry["step"].is_u64() && entry.to_string().contains(about))
        };
        assert!(of("workspace file delete", "new") && of("workspace file move", "tree to new/place"), "{log}");
        assert!(of("workspace file mkdir", "a/b"), "{log}");
    });
}
