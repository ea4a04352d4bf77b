//! The rules that the repository checks itself against: STYLE.md and ARCHITECTURE.md where a program can tell.
//!
//! It reads what git tracks (without git: everything but what was built) and knows nothing of the code's meaning. A rule that stands in the
//! way of better code is changed here, visibly.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

/// Which crate may depend on which, in normal builds. Adding an edge is a decision: say why in the commit.
const EDGES: &[(&str, &[&str])] = &[
    ("pyro-wire", &[]),
    ("pyro-sys", &[]),
    ("pyro-layer", &["pyro-wire"]),
    ("pyro-edit", &[]),
    ("pyro-term", &["pyro-wire"]),
    ("pyro-agent", &["pyro-wire", "pyro-sys", "pyro-layer", "pyro-edit"]),
    ("pyro-api", &["pyro-wire"]),
    ("pyro-host", &["pyro-api", "pyro-layer", "pyro-sys", "pyro-term", "pyro-wire"]),
    ("pyro", &["pyro-host", "pyro-agent", "pyro-api", "pyro-sys", "pyro-term", "pyro-wire"]),
    ("pyro-testkit", &["pyro-wire", "pyro-agent"]),
    ("pyro-fuzzing", &["pyro-api", "pyro-edit", "pyro-layer", "pyro-term", "pyro-wire"]),
    ("xtask", &[]),
];

/// The only crate that any other may name as a dev-dependency, besides those it depends on anyway.
const FOR_TESTS: &str = "pyro-testkit";

/// Hosts that a link or a text may name.
const HOSTS: &[&str] = &[
    "apache.org",
    "crates.io",
    "cve.org",
    "debian.org",
    "docs.kernel.org",
    "docs.rs",
    "example.com",
    "example.org",
    "freedesktop.org",
    "github.com",
    "ietf.org",
    "json-schema.org",
    "kernel.org",
    "localhost",
    "man7.org",
    "modelcontextprotocol.io",
    "no-color.org",
    "opencontainers.org",
    "rust-lang.org",
    "rustup.rs",
    "sqlite.org",
    "systemd.io",
];

/// Made-up people whose home directories examples and tests may name.
const PEOPLE: &[&str] = &["alice", "ann", "bob", "me", "user"];

/// Text files whose words count.
const TEXTS: &[&str] = &["rs", "md", "toml", "py", "sh", "sql", "json", "yml", "yaml", "run"];

/// One tracked text file.
struct Text {
    path: String,
    content: String,
}

impl Text {
    fn is_rust(&self) -> bool {
        self.path.ends_with(".rs")
    }

    fn is_this(&self) -> bool {
        self.path == "crates/pyro-testkit/tests/tidy.rs"
    }

    /// Lines with their numbers, from 1.
    fn lines(&self) -> impl Iterator<Item = (usize, &str)> {
        self.content.lines().enumerate().map(|(index, line)| (index + 1, line))
    }
}

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..").canonicalize().expect("the checkout is there")
}

fn texts() -> Vec<Text> {
    let root = root();
    let listed = Command::new("git")
        .current_dir(&root)
        .args(["ls-files", "-z", "--cached", "--others", "--exclude-standard"])
        .output()
        .ok()
        .filter(|output| output.status.success());
    let paths: Vec<String> = match listed {
        Some(output) => String::from_utf8_lossy(&output.stdout).split('\0').map(str::to_owned).collect(),
        None => walk(&root, &root),
    };
    let is_text = |path: &str| {
        TEXTS.contains(&Path::new(path).extension().or(Path::new(path).file_name()).and_then(|e| e.to_str()).unwrap_or(""))
    };
    let read = |path: String| Some(Text { content: fs::read_to_string(root.join(&path)).ok()?, path });
    let texts: Vec<Text> = paths.into_iter().filter(|path| is_text(path)).filter_map(read).collect();
    assert!(texts.len() > 40, "only {} files were found below {}", texts.len(), root.display());
    texts
}

fn walk(root: &Path, folder: &Path) -> Vec<String> {
    let mut paths = Vec::new();
    for entry in fs::read_dir(folder).expect("a folder of the checkout").flatten() {
        let (path, name) = (entry.path(), entry.file_name());
        if path.is_dir() && name != "target" && !name.to_string_lossy().starts_with('.') {
            paths.extend(walk(root, &path));
        } else if path.is_file() {
            paths.push(path.strip_prefix(root).expect("it is below").to_string_lossy().into_owned());
        }
    }
    paths
}

#[track_caller]
fn none(rule: &str, found: &[String]) {
    assert!(found.is_empty(), "{rule}:\n  {}", found.join("\n  "));
}

/// Every place in Rust code (not in comments) where one of these stands.
fn in_code(texts: &[Text], except: impl Fn(&Text) -> bool, words: &[String]) -> Vec<String> {
    let mut found = Vec::new();
    for text in texts.iter().filter(|text| text.is_rust() && !text.is_this() && !except(text)) {
        for (number, line) in text.lines() {
            let code = line.trim_start();
            if !code.starts_with("//") && words.iter().any(|word| code.contains(word.as_str())) {
                found.push(format!("{}:{number}: {code}", text.path));
            }
        }
    }
    found
}

#[test]
fn every_file_says_what_it_is_for() {
    // `tests.rs` is about the file beside it. A file that is included as an expression cannot have module documentation.
    let says = |text: &Text| {
        ["//! ", "// Included by "]
            .iter()
            .any(|start| text.content.trim_start_matches("#![no_main]").trim_start().starts_with(start))
    };
    let found: Vec<String> = texts()
        .iter()
        .filter(|text| text.is_rust() && !text.path.ends_with("/tests.rs") && !says(text))
        .map(|text| text.path.clone())
        .collect();
    none("a file opens with //!: what it is for, what it may assume, what it must never do", &found);
}

#[test]
fn unsafe_is_in_pyro_sys_only() {
    let words =
        [format!("{} {{", "unsafe"), format!("{} fn", "unsafe"), format!("{} impl", "unsafe"), format!("{} extern", "unsafe")];
    none("no unsafe outside pyro-sys", &in_code(&texts(), |text| text.path.starts_with("crates/pyro-sys/"), &words));
}

#[test]
fn every_unsafe_block_says_why_it_is_safe() {
    let mut found = Vec::new();
    for text in texts().iter().filter(|text| text.path.starts_with("crates/pyro-sys/src/") && text.is_rust()) {
        let lines: Vec<&str> = text.content.lines().collect();
        for (index, line) in lines.iter().enumerate() {
            let code = line.trim_start();
            if code.starts_with("//") || !code.contains("unsafe {") {
                continue;
            }
            // The comment stands right above the statement; a statement may begin some lines before its block.
            let above = &lines[index.saturating_sub(12)..index];
            if !above.iter().any(|line| line.contains("SAFETY:")) {
                found.push(format!("{}:{}: {code}", text.path, index + 1));
            }
        }
    }
    none("// SAFETY: lists what the call requires and why each holds here", &found);
}

#[test]
fn sql_is_in_the_store_only() {
    let words: Vec<String> =
        ["SELECT ", "INSERT INTO", "UPDATE OR", "DELETE FROM", "CREATE TABLE", "PRAGMA "].map(|word| format!("\"{word}")).into();
    none("no SQL outside store.rs", &in_code(&texts(), |text| text.path.starts_with("crates/pyro-host/src/store"), &words));
}

#[test]
fn nothing_is_left_to_be_done_later() {
    let words = ["FIX", "TO", "XX"].map(|start| {
        format!(
            "{start}{}",
            if start == "FIX" {
                "ME"
            } else if start == "TO" {
                "DO"
            } else {
                "X"
            }
        )
    });
    let mut found = Vec::new();
    for text in texts().iter().filter(|text| !text.is_this() && text.path != "STYLE.md") {
        for (number, line) in text.lines() {
            let has = |word: &String| line.split(|c: char| !c.is_ascii_alphanumeric()).any(|piece| piece == word);
            if words.iter().any(has) || (text.is_rust() && (line.contains("todo!(") || line.contains("unimplemented!("))) {
                found.push(format!("{}:{number}: {}", text.path, line.trim()));
            }
        }
    }
    none("nothing is left to be done later: do it, or write it down in docs/next.md", &found);
}

#[test]
fn tests_do_not_sleep() {
    let words = [format!("thread::{}", "sleep"), format!("{}(Duration", "sleep")];
    let tests =
        texts().into_iter().filter(|text| text.path.contains("/tests") || text.path.contains("testkit")).collect::<Vec<_>>();
    none("wait for an event with a deadline", &in_code(&tests, |_| false, &words));
}

#[test]
fn no_file_names_a_machine_or_a_strange_host() {
    let machine = ["/home/", "/Users/", "/tmp/wt/", "/tmp/target-"].map(str::to_owned);
    let mut found = Vec::new();
    for text in texts().iter().filter(|text| !text.is_this()) {
        for (number, line) in text.lines() {
            let place = || format!("{}:{number}: {}", text.path, line.trim());
            let is_real = |rest: &str| {
                let name: String = rest.chars().take_while(char::is_ascii_alphanumeric).collect();
                !name.is_empty() && !PEOPLE.contains(&name.as_str())
            };
            let named = machine.iter().any(|path| line.split(path.as_str()).skip(1).any(is_real));
            // `/work` is a place on somebody's machine; `/workspace` and `/workspaces` are ours.
            let work = line
                .match_indices("/work/")
                .any(|(at, _)| !line[..at].ends_with(|c: char| c.is_alphanumeric() || c == '}' || c == '>'));
            if named || work {
                found.push(place());
            }
            for rest in line.split("://").skip(1).filter(|_| line.contains("http://") || line.contains("https://")) {
                let host: String = rest.chars().take_while(|c| c.is_ascii_alphanumeric() || matches!(c, '.' | '-')).collect();
                // Addresses of this machine, and names that RFC 6761 keeps for tests.
                let is_address = host.starts_with("127.") || !host.contains('.') || host.ends_with(".test");
                if !is_address && !HOSTS.iter().any(|known| host == *known || host.ends_with(&format!(".{known}"))) {
                    found.push(place());
                }
            }
        }
    }
    none("no paths of a machine, and only known hosts", &found);
}

#[test]
fn crates_depend_only_on_what_the_table_allows() {
    let allowed: BTreeMap<&str, &[&str]> = EDGES.iter().copied().collect();
    let mut found = Vec::new();
    for text in texts()
        .iter()
        .filter(|text| text.path.ends_with("Cargo.toml") && text.path != "Cargo.toml" && !text.path.starts_with("fuzz"))
    {
        let mut section = "";
        let mut name = "";
        for (number, line) in text.lines() {
            let line = line.trim();
            if line.starts_with('[') {
                section = line;
            } else if let (Some((key, value)), "[package]") = (line.split_once('='), section)
                && key.trim() == "name"
            {
                name = value.trim().trim_matches('"');
            } else if section.contains("dependencies") && line.starts_with("pyro") {
                let target = line.split(['.', '=', ' ']).next().unwrap_or(line);
                let Some(edges) = allowed.get(name) else {
                    found.push(format!("{}: crate {name} is not in the table", text.path));
                    break;
                };
                let is_dev = section.contains("dev-dependencies");
                if !(edges.contains(&target) || is_dev && (target == FOR_TESTS || name == FOR_TESTS)) {
                    found.push(format!("{}:{number}: {name} -> {target} in {section}", text.path));
                }
            }
        }
    }
    none("dependency edges are in the table of tidy.rs, and in ARCHITECTURE.md", &found);
}

#[test]
fn links_between_documents_lead_somewhere() {
    let mut found = Vec::new();
    for text in texts().iter().filter(|text| text.path.ends_with(".md")) {
        let folder = root().join(&text.path).parent().expect("a file is in a folder").to_owned();
        let mut in_block = false;
        for (number, line) in text.lines() {
            if line.starts_with("```") {
                in_block = !in_block;
            }
            for link in line.split("](").skip(1).filter(|_| !in_block) {
                let target = link.split([')', '#', ' ']).next().unwrap_or("");
                if !target.is_empty() && !target.contains("://") && !folder.join(target).exists() {
                    found.push(format!("{}:{number}: {target}", text.path));
                }
            }
        }
    }
    none("relative links exist", &found);
}

#[test]
fn decisions_are_numbered_without_gaps_listed_and_short() {
    let mut found = Vec::new();
    let (mut files, others): (Vec<Text>, Vec<Text>) =
        texts().into_iter().partition(|text| text.path.starts_with("docs/decisions/"));
    let list = others.iter().find(|text| text.path == "docs/README.md").expect("the list of documents");
    files.sort_by(|a, b| a.path.cmp(&b.path));
    for (index, text) in files.iter().enumerate() {
        let name = text.path.trim_start_matches("docs/decisions/");
        if !name.starts_with(&format!("{:04}-", index + 1)) {
            found.push(format!("{name} should be number {:04}", index + 1));
        }
        if !list.content.contains(&format!("(decisions/{name})")) {
            found.push(format!("{name} is not in docs/README.md"));
        }
        if text.content.lines().count() > 25 {
            found.push(format!("{name} is longer than 25 lines"));
        }
    }
    none("docs/decisions/NNNN-title.md, about ten lines each", &found);
}

/// Reported, not asserted: a long file asks for a second look, and a growing lock file for a reason.
#[test]
fn sizes_are_reported() {
    for text in texts().iter().filter(|text| text.is_rust() && !text.path.contains("/tests")) {
        let count = text.content.lines().count();
        if count > 600 {
            println!("{}: {count} lines", text.path);
        }
    }
    let lock = fs::read_to_string(root().join("Cargo.lock")).expect("Cargo.lock is tracked");
    println!("Cargo.lock: {} packages", lock.lines().filter(|line| *line == "[[package]]").count());
}
