//! `pyro workspace diff`: what changed since the seed, as text that `git apply` takes.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::{PermissionsExt as _, symlink};
use std::path::Path;
use std::process::Command;

use serde_json::{Value, json};

use crate::{case, noise};

/// Every file below a directory: mode, and content or target.
fn tree(root: &Path) -> BTreeMap<String, (u32, Vec<u8>)> {
    let mut found = BTreeMap::new();
    let mut folders = vec![root.to_owned()];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(&folder).expect("list").flatten() {
            let (path, metadata) = (entry.path(), entry.metadata().expect("stat"));
            if entry.file_name() == ".git" {
                continue;
            }
            let name = path.strip_prefix(root).expect("below").to_string_lossy().into_owned();
            if metadata.is_dir() {
                folders.push(path);
            } else if metadata.is_symlink() {
                found.insert(name, (0, fs::read_link(&path).expect("readlink").into_os_string().into_encoded_bytes()));
            } else {
                found.insert(name, (metadata.permissions().mode() & 0o111, fs::read(&path).expect("read")));
            }
        }
    }
    found
}

fn git(folder: &Path, arguments: &[&str]) -> String {
    let mut git = Command::new("git");
    // Nothing of the user's own configuration, and no repository further up.
    git.current_dir(folder)
        .env("GIT_CONFIG_GLOBAL", "/dev/null")
        .env("GIT_CONFIG_SYSTEM", "/dev/null")
        .env("GIT_CEILING_DIRECTORIES", folder);
    let output = git.args(["-c", "user.name=t", "-c", "user.email=t@example.org"]).args(arguments).output().expect("git runs");
    assert!(output.status.success(), "git {arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8_lossy(&output.stdout).into_owned()
}

fn seed(root: &Path) {
    let long: String = (0..2000).map(|line| format!("line {line}\n")).collect();
    for (path, content) in [
        ("edited.txt", "one\ntwo\nthree\n"),
        ("long.txt", long.as_str()),
        ("deleted.txt", "to be deleted\n"),
        ("no-newline.txt", "no newline at the end"),
        ("script.sh", "#!/bin/sh\necho hello\n"),
        ("dir/inner.txt", "inner\n"),
        ("dir/gone/too.txt", "gone\n"),
        ("untouched.txt", "untouched\n"),
        ("becomes-link", "a file\n"),
        ("emptied", "content\n"),
        ("with space.txt", "space\n"),
        ("crlf.txt", "a\r\nb\r\n"),
        ("umlaut-ä.txt", "ä\n"),
    ] {
        let path = root.join(path);
        fs::create_dir_all(path.parent().expect("below the root")).expect("make a folder");
        fs::write(path, content).expect("write");
    }
    symlink("edited.txt", root.join("link")).expect("link");
    symlink("dir", root.join("link-becomes-file")).expect("link");
}

#[test]
fn the_patch_makes_the_seed_into_what_is_in_the_workspace() {
    case(|env| {
        let here = env.scratch();
        let (source, copy) = (here.path().join("seed"), here.path().join("copy"));
        for root in [&source, &copy] {
            fs::create_dir(root).expect("make a folder");
            seed(root);
        }
        let ws = env.name("patch");
        env.pyro(&["workspace", "create", "debian:12", "--name", &ws, "--seed-path", &source.to_string_lossy()]).expect_ok();
        assert_eq!(env.pyro(&["workspace", "diff", &ws]).expect_ok().stdout, "", "nothing changed yet");
        let script = r"
            sed -i s/two/TWO/ edited.txt; sed -i '5s/.*/changed/;1000d;1990s/$/ more/' long.txt; rm deleted.txt; printf ' now' >>no-newline.txt
            chmod +x script.sh; rm -r dir/gone; printf 'new\n' >dir/new.txt; mkdir -p new/deep; printf 'deep\n' >new/deep/file.txt
            rm becomes-link; ln -s untouched.txt becomes-link; : >emptied; : >new-empty; ln -sfn script.sh link
            rm link-becomes-file; printf 'file\n' >link-becomes-file; printf 'c\r\n' >>crlf.txt; printf 'x\n' >>'with space.txt'; printf 'x\n' >>umlaut-ä.txt
            printf 'odd\n' >'quote'\''s and \back.txt'; printf '#!/bin/sh\n' >new.sh; chmod 755 new.sh; touch untouched.txt; mkdir empty-dir
        ";
        env.pyro(&["workspace", "exec", &ws, "--", "sh", "-ec", script]).expect_ok();
        let patch = env.command(&["workspace", "diff", &ws]).output().expect("start pyro").stdout;
        fs::write(here.path().join("patch"), &patch).expect("write the patch");
        git(&copy, &["init", "-q"]);
        git(&copy, &["apply", "--check", "../patch"]);
        git(&copy, &["apply", "--whitespace=nowarn", "../patch"]);
        // What is inside, by another way than ours.
        let inside = here.path().join("inside");
        fs::create_dir(&inside).expect("make a folder");
        let archive = env.command(&["workspace", "exec", &ws, "--", "tar", "-c", "."]).output().expect("start pyro").stdout;
        fs::write(here.path().join("inside.tar"), archive).expect("write");
        let status = Command::new("tar").args(["-xf", "../inside.tar"]).current_dir(&inside).status().expect("tar runs");
        assert!(status.success());
        let (patched, inside) = (tree(&copy), tree(&inside));
        for name in patched.keys().chain(inside.keys()) {
            assert_eq!(patched.get(name), inside.get(name), "{name}\n{}", String::from_utf8_lossy(&patch));
        }
        assert!(!String::from_utf8_lossy(&patch).contains("untouched.txt b/untouched.txt"), "a new time is no change");

        let diff: Value = env.json(&["workspace", "diff", &ws]);
        let change = |path: &str| {
            diff["changes"]
                .as_array()
                .expect("changes")
                .iter()
                .find(|change| change["path"] == path)
                .cloned()
                .unwrap_or(Value::Null)
        };
        assert_eq!(
            (&change("edited.txt")["status"], &change("edited.txt")["added_lines"], &change("edited.txt")["removed_lines"]),
            (&json!("modified"), &json!(1), &json!(1))
        );
        assert_eq!((&change("deleted.txt")["status"], &change("new.sh")["status"]), (&json!("deleted"), &json!("added")));
        assert_eq!((&change("becomes-link")["status"], &change("untouched.txt")), (&json!("type_changed"), &Value::Null));
        assert!(change("script.sh")["mode_change"].is_string(), "{diff:#}");
        assert_eq!(diff["omitted"], 0);
    });
}

#[test]
fn counts_and_paths_are_chosen() {
    case(|env| {
        let here = env.scratch();
        seed(here.path());
        let ws = env.name("stat");
        env.pyro(&["workspace", "create", "debian:12", "--name", &ws, "--seed-path", &here.path().to_string_lossy()]).expect_ok();
        env.pyro(&[
            "workspace",
            "exec",
            &ws,
            "--",
            "sh",
            "-c",
            "echo x >>dir/inner.txt; echo y >>edited.txt; echo z >/etc/outside; rm deleted.txt",
        ])
        .expect_ok();
        let stat = env.pyro(&["workspace", "diff", &ws, "--stat"]).expect_ok();
        assert!(
            stat.stdout.contains("dir/inner.txt") && stat.stdout.contains("deleted.txt") && !stat.stdout.contains("@@"),
            "{}",
            stat.all()
        );
        let stat: Value = env.json(&["workspace", "diff", &ws, "--stat"]);
        assert_eq!((&stat["patch"], stat["changes"].as_array().map(Vec::len)), (&json!(""), Some(3)));
        let paths = |path: &str| -> Vec<String> {
            let diff: Value = env.json(&["workspace", "diff", &ws, "--path", path]);
            diff["changes"]
                .as_array()
                .expect("changes")
                .iter()
                .filter_map(|change| change["path"].as_str().map(str::to_owned))
                .collect()
        };
        assert_eq!(paths("dir"), ["dir/inner.txt"]);
        assert_eq!(paths("edited.txt"), ["edited.txt"]);
        assert_eq!(paths("untouched.txt"), Vec::<String>::new());
        assert_eq!(paths("/etc"), ["/etc/outside"]);
        assert!(paths("/").contains(&"/etc/outside".to_owned()));
        // Of a stopped workspace too, and that starts nothing that was not there.
        env.pyro(&["workspace", "stop", &ws]).expect_ok();
        assert_eq!(paths("dir"), ["dir/inner.txt"]);
    });
}

#[test]
fn binary_files_are_named_and_large_ones_do_not_flood() {
    case(|env| {
        let here = env.scratch();
        fs::write(here.path().join("image"), noise(100_000)).expect("write");
        fs::write(here.path().join("text"), "text\n").expect("write");
        let ws = env.name("bin");
        env.pyro(&["workspace", "create", "debian:12", "--name", &ws, "--seed-path", &here.path().to_string_lossy()]).expect_ok();
        env.pyro(&[
            "workspace",
            "exec",
            &ws,
            "--",
            "sh",
            "-c",
            "printf '\\0' >>image; head -c 1000 /dev/urandom >new-binary; echo more >>text; seq 1 3000000 >huge",
        ])
        .expect_ok();
        let diff: Value = env.json(&["workspace", "diff", &ws]);
        let of = |path: &str| {
            diff["changes"]
                .as_array()
                .expect("changes")
                .iter()
                .find(|change| change["path"] == path)
                .cloned()
                .unwrap_or(Value::Null)
        };
        assert_eq!(
            (&of("image")["binary"], &of("new-binary")["status"], &of("text")["binary"]),
            (&json!(true), &json!("added"), &json!(false))
        );
        // What is left out is counted, and said.
        assert_eq!((&of("huge")["status"], &diff["omitted"]), (&json!("added"), &json!(1)));
        let ran = env.pyro(&["workspace", "diff", &ws]).expect_ok();
        assert!(ran.stderr.contains('1'), "{}", ran.stderr);
        let patch = diff["patch"].as_str().expect("text");
        assert!(patch.contains("image") && patch.contains("+more"), "{:.2000}", patch);
        assert!(patch.len() < 32 << 20);
    });
}
