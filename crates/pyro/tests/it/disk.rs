//! The disk of a stopped workspace: looked at and taken out while nothing of it runs.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;
use std::process::{Command, Stdio};

use pyro_testkit::{Mode, TestEnv};
use serde_json::Value;

/// Why these are not told of machines.
const NOT_OUTSIDE: &str = "what a machine has written is on a disk that only it reads";

fn case(story: impl FnOnce(&TestEnv)) {
    crate::namespaces_case(NOT_OUTSIDE, story);
}

/// Runs a shell line.
fn sh(env: &TestEnv, workspace: &str, line: &str) {
    env.pyro(&["workspace", "exec", workspace, "--", "sh", "-c", line]).expect_ok();
}

/// A workspace with files in several layers, stopped. Every line of it is looked for below.
fn stopped(env: &TestEnv) -> String {
    let name = env.workspace("disk");
    sh(
        env,
        &name,
        "mkdir -p src/deep && echo sealed > f && echo early > gone && printf 'a\\000b' > src/binary && echo deep > src/deep/d",
    );
    env.pyro(&["workspace", "snapshot", "create", &name, "one"]).expect_ok();
    sh(
        env,
        &name,
        "rm gone && echo later > src/g && ln f hard && ln -s f link && ln -s /workspace/src/g absolute && ln -s nowhere dangling",
    );
    sh(
        env,
        &name,
        "ln -s ../../../../../../etc/shadow up && ln -s /proc/self/root/etc/hostname magic && mkfifo pipe && rm /etc/issue",
    );
    sh(env, &name, "chown 7:8 src/g 2> /dev/null; chmod 4711 src/g; truncate -s 1G sparse; echo end >> sparse");
    env.pyro(&["workspace", "stop", &name]).expect_ok();
    name
}

fn state(env: &TestEnv, name: &str) -> String {
    env.document(&["workspace", "status", name])["state"].as_str().unwrap_or_default().to_owned()
}

/// What is at a path in an image, as debugfs says it.
fn debugfs(image: &Path, request: &str) -> String {
    let output = Command::new("debugfs").args(["-R", request]).arg(image).output().expect("e2fsprogs is installed");
    String::from_utf8_lossy(&output.stdout).into_owned()
}

fn check(image: &Path) {
    let checked = Command::new("e2fsck").arg("-fn").arg(image).output().expect("e2fsprogs is installed");
    assert!(checked.status.success(), "{}{}", String::from_utf8_lossy(&checked.stdout), String::from_utf8_lossy(&checked.stderr));
}

fn text(path: &Path) -> &str {
    path.to_str().expect("UTF-8")
}

#[test]
fn a_stopped_workspace_is_listed_and_read_and_stays_stopped() {
    case(|env| {
        let name = stopped(env);
        let listed = env.document(&["workspace", "disk", "list", &name, ".", "--depth", "2"]);
        let entries: BTreeMap<&str, &Value> = listed["entries"]
            .as_array()
            .into_iter()
            .flatten()
            .map(|entry| (entry["path"].as_str().unwrap_or_default(), entry))
            .collect();
        let names: Vec<&str> = entries.keys().copied().collect();
        assert_eq!(
            names,
            [
                "absolute",
                "dangling",
                "f",
                "hard",
                "link",
                "magic",
                "pipe",
                "sparse",
                "src",
                "src/binary",
                "src/deep",
                "src/g",
                "up"
            ]
        );
        assert_eq!((&listed["path"], &listed["truncated"]), (&Value::from("."), &Value::from(false)));
        assert_eq!((&entries["link"]["kind"], &entries["link"]["target"]), (&Value::from("symlink"), &Value::from("f")));
        assert_eq!((&entries["src/g"]["mode"], &entries["src/g"]["size_bytes"]), (&Value::from("4711"), &Value::from(6)));
        assert_eq!((&entries["pipe"]["kind"], &entries["src"]["kind"]), (&Value::from("other"), &Value::from("directory")));
        let some = env.document(&["workspace", "disk", "list", &name, "--limit", "3"]);
        assert_eq!((some["entries"].as_array().map(Vec::len), &some["truncated"]), (Some(3), &Value::from(true)));

        let read = |path: &str| env.pyro(&["workspace", "disk", "read", &name, path]);
        assert_eq!(read("f").expect_ok().stdout, "sealed\n");
        assert_eq!(read("hard").expect_ok().stdout, "sealed\n");
        assert_eq!(read("/etc/hostname").expect_ok().stdout, "sandbox\n");
        // As they lead inside.
        assert_eq!(read("link").expect_ok().stdout, "sealed\n");
        assert_eq!(read("absolute").expect_ok().stdout, "later\n");
        assert!(read("/bin/ls").expect_ok().stdout.starts_with("\u{7f}ELF"));
        assert_eq!(env.document(&["workspace", "disk", "read", &name, "src/binary"])["encoding"], "base64");
        let part = env.document(&["workspace", "disk", "read", &name, "sparse", "--offset", "1073741824", "--max-bytes", "3"]);
        assert_eq!((&part["content"], &part["truncated"]), (&Value::from("end"), &Value::from(true)));
        let beyond = env.document(&["workspace", "disk", "read", &name, "f", "--offset", "100"]);
        assert_eq!((&beyond["content"], &beyond["size_bytes"]), (&Value::from(""), &Value::from(7)));
        for gone in ["gone", "/etc/issue", "dangling", "magic", "f/below"] {
            read(gone).expect_error(125, &format!("there is no {gone}"));
        }
        read("src").expect_error(125, "src is not a regular file");
        read("pipe").expect_error(125, "pipe is not a regular file");
        read("../..//../etc").expect_error(2, "");
        env.pyro(&["workspace", "disk", "list", &name, "f"]).expect_error(125, "f is not a directory");

        // It leads to the inside's own, whatever is outside.
        let inside = read("up").expect_ok().stdout;
        assert_eq!(inside, read("/etc/shadow").expect_ok().stdout);
        assert_ne!(fs::read_to_string("/etc/shadow").ok(), Some(inside));

        assert_eq!(state(env, &name), "stopped");
        let logs = env.document(&["workspace", "logs", &name]);
        let last = logs["entries"].as_array().and_then(|entries| entries.last()).cloned().unwrap_or_default();
        assert_eq!(last["op"], "workspace stop", "looking leaves no line: {logs}");
        // And it is as it was when it is started again.
        assert_eq!(env.pyro(&["workspace", "exec", &name, "--", "cat", "f", "src/g"]).expect_ok().stdout, "sealed\nlater\n");
    });
}

#[test]
fn a_running_workspace_is_refused_and_told_what_to_do() {
    case(|env| {
        let scratch = env.scratch();
        let output = scratch.path().join("out");
        let name = env.workspace("disk");
        for arguments in
            [&["disk", "list", &name][..], &["disk", "read", &name, "f"], &["disk", "export", &name, "--output", text(&output)]]
        {
            let ran = env.pyro(&[&["workspace"], arguments].concat()).expect_error(125, "is running, and its disk changes");
            assert!(ran.stderr.contains(&format!("workspace stop {name}")) && ran.stderr.contains("file list"), "{}", ran.all());
        }
        assert!(!output.exists());
        assert_eq!(state(env, &name), "running");
    });
}

#[test]
fn what_a_killed_supervisor_left_unsealed_is_on_the_disk_too() {
    case(|env| {
        let name = env.workspace("disk");
        sh(env, &name, "echo before > f; sleep 1000 > /dev/null 2>&1 &");
        sh(env, &name, "echo unsealed > f");
        crate::kill_supervisor(env, &name);
        assert_eq!(env.pyro(&["workspace", "disk", "read", &name, "f"]).expect_ok().stdout, "unsealed\n");
        assert_eq!(state(env, &name), "failed");
    });
}

#[test]
fn an_exported_image_is_a_sound_file_system_with_everything_in_it() {
    case(|env| {
        let scratch = env.scratch();
        let image = scratch.path().join("disk.ext4");
        let name = stopped(env);
        let export = ["workspace", "disk", "export", &name, "--format", "ext4", "--output", text(&image)];
        let answer = env.document(&export);
        assert_eq!((&answer["format"], answer["output"].as_str()), (&Value::from("ext4"), Some(text(&image))), "{answer}");
        assert!(answer["entry_count"].as_u64().is_some_and(|count| count > 1000), "{answer}");
        check(&image);
        assert_eq!(debugfs(&image, "cat /workspace/f"), "sealed\n");
        assert_eq!(debugfs(&image, "cat /workspace/src/g"), "later\n");
        assert!(debugfs(&image, "stat /workspace/link").contains("Fast link dest: \"f\""));
        assert!(debugfs(&image, "stat /workspace/hard").contains("Links: 2"));
        let owned = debugfs(&image, "stat /workspace/src/g");
        // With one id, all there is belongs to it.
        let owner = if Mode::ours() == Mode::Single { ("    0", "    0") } else { ("    7", "    8") };
        assert!(owned.contains("Mode:  04711") && owned.contains(&format!("User: {}   Group: {}", owner.0, owner.1)), "{owned}");
        assert!(debugfs(&image, "stat /etc/os-release").contains("Inode"));
        for gone in ["/workspace/gone", "/etc/issue", "/lost+found"] {
            assert!(!debugfs(&image, &format!("stat {gone}")).contains("Inode"), "{gone} is there");
        }
        let found = fs::metadata(&image).expect("it was made");
        assert_eq!(found.uid(), rustix::process::geteuid().as_raw());
        // Neither what is empty nor a hole of a GiB is written.
        assert!(found.blocks() * 512 < 700 << 20 && found.len() > 1 << 30, "{} of {}", found.blocks() * 512, found.len());
        assert!(answer["disk_bytes"].as_u64().is_some_and(|bytes| bytes.abs_diff(found.blocks() * 512) < 1 << 20), "{answer}");
        env.pyro(&export).expect_error(125, "is there already");
        assert_eq!(fs::read_dir(scratch.path()).expect("list").count(), 1);
        assert_eq!(state(env, &name), "stopped");
    });
}

#[test]
fn an_exported_archive_is_the_whole_file_system_and_gnu_tar_lists_it() {
    case(|env| {
        let scratch = env.scratch();
        let archive = scratch.path().join("disk.tar");
        let name = stopped(env);
        let ran = env.pyro(&["workspace", "disk", "export", &name, "--format", "tar", "--output", text(&archive)]).expect_ok();
        assert!(
            ran.stdout.starts_with(&format!("exported the disk of {name} to")) && ran.stdout.contains("a tar file"),
            "{}",
            ran.all()
        );
        let listed = Command::new("tar").args(["-tvf", text(&archive)]).output().expect("tar is there");
        assert!(listed.status.success(), "{}", String::from_utf8_lossy(&listed.stderr));
        let listed = String::from_utf8_lossy(&listed.stdout).into_owned();
        let has = |end: &str| listed.lines().any(|line| line.ends_with(end));
        for there in [
            " workspace/f",
            " workspace/link -> f",
            " workspace/hard link to workspace/f",
            " workspace/src/g",
            " etc/os-release -> ../usr/lib/os-release",
        ] {
            assert!(has(there), "{there} is not in {listed}");
        }
        assert!(!has(" workspace/gone") && !has(" etc/issue"));
        let content = Command::new("tar").args(["-xOf", text(&archive), "workspace/f"]).output().expect("tar is there");
        assert_eq!(content.stdout, b"sealed\n");
        assert_eq!(state(env, &name), "stopped");
        let logs = env.pyro(&["workspace", "logs", &name]).expect_ok();
        assert!(logs.stdout.contains("disk export"), "{}", logs.all());
    });
}

#[test]
fn an_export_whose_caller_goes_away_leaves_nothing() {
    case(|env| {
        let scratch = env.scratch();
        let name = stopped(env);
        for format in ["ext4", "tar"] {
            let output = scratch.path().join(format);
            let arguments = ["workspace", "disk", "export", &name, "--format", format, "--output", text(&output)];
            let mut child = env.command(&arguments).stdout(Stdio::null()).stderr(Stdio::null()).spawn().expect("start pyro");
            let begun = || fs::read_dir(scratch.path()).expect("list").next().is_some();
            env.wait_for("the export to begin", || begun().then_some(()));
            crate::signal(crate::pid_of(&child), rustix::process::Signal::KILL);
            child.wait().expect("it is ours");
            // Whether it was quicker than we: then it is whole.
            env.wait_for("what was begun to be gone", || {
                let names: Vec<_> = fs::read_dir(scratch.path()).expect("list").flatten().map(|entry| entry.file_name()).collect();
                names.iter().all(|name| name == format).then_some(())
            });
            let _ = fs::remove_file(&output);
            // The lease is free again.
            env.pyro(&["workspace", "disk", "read", &name, "f"]).expect_ok();
        }
    });
}

#[test]
fn directories_of_the_machine_are_where_they_belong() {
    case(|env| {
        env.environment("host");
        let name = env.name("disk");
        env.pyro(&["workspace", "create", "host", "--name", &name]).expect_ok();
        env.pyro(&["workspace", "stop", &name]).expect_ok();
        let list = |path: &str| env.pyro(&["workspace", "disk", "list", &name, path]).expect_ok().stdout;
        assert!(list("/usr").contains(" bin/\n"), "{}", list("/usr"));
        assert!(list("/usr/bin").lines().any(|line| line.ends_with(" env")), "/usr/bin/env is not there");
        if fs::symlink_metadata("/bin").is_ok_and(|found| found.is_symlink()) {
            // From one overlay into another.
            assert_eq!(list("/bin"), list("/usr/bin"));
        }
        if Mode::ours() != Mode::Root {
            // What belongs to the machine's root cannot be changed by others.
            return;
        }
        sh(env, &name, "echo ours > /usr/local/ours");
        env.pyro(&["workspace", "stop", &name]).expect_ok();
        assert_eq!(env.pyro(&["workspace", "disk", "read", &name, "/usr/local/ours"]).expect_ok().stdout, "ours\n");
    });
}
