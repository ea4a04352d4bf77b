//! What the short and the long run over histories share: trees on the disk and in memory, and real diffs of them.

#![allow(dead_code, reason = "the two that share it need different parts")]

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::Path;
use std::process::{Command, Stdio};

pub use pyro_edit::Memory;
use pyro_edit::{Failure, File, Mode, Options, RelPath, Request, plan};

/// Numbers that are the same on every run.
pub struct Random(u64);

impl Random {
    pub fn new(seed: u64) -> Self {
        Self(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1)
    }

    pub fn below(&mut self, end: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 >> 11) as usize % end.max(1)
    }
}

pub fn load(directory: &Path) -> Memory {
    fn walk(directory: &Path, prefix: &[u8], files: &mut BTreeMap<RelPath, File>) {
        for entry in fs::read_dir(directory).expect("a directory").map(|entry| entry.expect("an entry")) {
            let path = [prefix, entry.file_name().as_bytes()].concat();
            let metadata = entry.path().symlink_metadata().expect("it is there");
            if metadata.is_dir() {
                if entry.file_name() != ".git" {
                    walk(&entry.path(), &[&path, b"/".as_slice()].concat(), files);
                }
                continue;
            }
            let (content, mode) = if metadata.is_symlink() {
                (fs::read_link(entry.path()).expect("a link").as_os_str().as_bytes().to_vec(), Mode::Symlink)
            } else {
                let mode = if metadata.permissions().mode() & 0o100 == 0 { Mode::Regular } else { Mode::Executable };
                (fs::read(entry.path()).expect("a file"), mode)
            };
            files.insert(RelPath::new(&path, b"").expect("a relative path"), File { content, mode });
        }
    }
    let mut memory = Memory::default();
    walk(directory, b"", &mut memory.files);
    memory
}

pub fn store(tree: &Memory, directory: &Path) {
    for (path, file) in &tree.files {
        let full = directory.join(std::ffi::OsStr::from_bytes(path.as_bytes()));
        fs::create_dir_all(full.parent().expect("a parent")).expect("mkdir");
        if file.mode == Mode::Symlink {
            symlink(std::ffi::OsStr::from_bytes(&file.content), &full).expect("symlink");
            continue;
        }
        fs::write(&full, &file.content).expect("write");
        let mode = if file.mode == Mode::Executable { 0o755 } else { 0o644 };
        fs::set_permissions(&full, fs::Permissions::from_mode(mode)).expect("chmod");
    }
}

/// A git repository with two trees in it; the work tree has the old one.
pub struct Pair {
    pub directory: tempfile::TempDir,
    trees: [String; 2],
    pub old: Memory,
    pub new: Memory,
}

pub fn git(directory: &Path, arguments: &[&str]) -> (bool, Vec<u8>) {
    let output = Command::new("git")
        .current_dir(directory)
        .env("GIT_CONFIG_GLOBAL", "/dev/null")
        .env("GIT_CONFIG_NOSYSTEM", "1")
        .args(["-c", "core.autocrlf=false", "-c", "core.safecrlf=false", "-c", "core.attributesFile=/dev/null"])
        .args(arguments)
        .output()
        .expect("git is there");
    (output.status.success(), output.stdout)
}

impl Pair {
    pub fn new(old: Memory, new: Memory) -> Self {
        let directory = tempfile::tempdir().expect("a directory");
        assert!(git(directory.path(), &["init", "-q", "."]).0);
        let trees = [&new, &old].map(|tree| {
            for entry in fs::read_dir(directory.path()).expect("readable").map(|entry| entry.expect("an entry")) {
                if entry.file_name() != ".git" {
                    let path = entry.path();
                    if path.is_dir() && !path.is_symlink() { fs::remove_dir_all(path) } else { fs::remove_file(path) }
                        .expect("removed");
                }
            }
            store(tree, directory.path());
            assert!(git(directory.path(), &["add", "-A", "-f", "."]).0);
            let (is_written, name) = git(directory.path(), &["write-tree"]);
            assert!(is_written);
            String::from_utf8(name).expect("a name").trim().to_owned()
        });
        let [new_tree, old_tree] = trees;
        Self { directory, trees: [old_tree, new_tree], old, new }
    }

    pub fn diff(&self, arguments: &[&str]) -> Vec<u8> {
        let all =
            [&["diff-tree", "-r", "-p", "--no-ext-diff", "--no-textconv"], arguments, &[&self.trees[0], &self.trees[1]]].concat();
        git(self.directory.path(), &all).1
    }

    /// What a program makes of a patch in the work tree, which is put back afterwards. `None` if it says no.
    pub fn by(&self, program: &[&str], patch: &[u8]) -> Option<Memory> {
        let directory = tempfile::tempdir().expect("a directory");
        store(&self.old, directory.path());
        let mut child = Command::new(program[0])
            .args(&program[1..])
            .current_dir(directory.path())
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .expect("the program is there");
        let mut stdin = child.stdin.take().expect("piped");
        let patch = patch.to_vec();
        let writer = std::thread::spawn(move || std::io::Write::write_all(&mut stdin, &patch));
        let is_ok = child.wait().expect("waited").success();
        let _ = writer.join();
        is_ok.then(|| load(directory.path()))
    }
}

/// What the engine makes of a request.
pub fn applied(tree: &Memory, request: &Request) -> Result<Memory, Failure> {
    let mut tree = tree.clone();
    let planned = plan(request, &Options::default(), &mut tree)?;
    tree.apply(&planned.plan).expect("a plan fits the files it was made for");
    Ok(tree)
}
