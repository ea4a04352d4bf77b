//! Which paths are told as run by others, which are not, and that the table says what it means.

use std::collections::BTreeSet;

use super::{PATTERN_NAMES_MAX, TABLE, runs_outside};
use crate::diff::{Change, Kind, Status};

fn is_told(path: &str, kind: Kind) -> bool {
    runs_outside(path.as_bytes(), kind).is_some()
}

#[test]
fn files_that_run_by_themselves_are_told_at_any_depth() {
    let paths = [
        ".git/hooks/pre-commit",
        ".git/hooks/deep/er",
        ".git/config",
        ".GIT/Config",
        ".git/modules/lib/config",
        ".git/modules/lib/modules/inner/hooks/post-checkout",
        ".git/modules/config",
        ".git/worktrees/one/config.worktree",
        "bare.git/hooks/update",
        "vendor/.git/config",
        ".envrc",
        "a/b/.envrc",
        ".vscode/tasks.json",
        ".idea/runConfigurations/all.xml",
        ".idea/workspace.xml",
        ".devcontainer/devcontainer.json",
        ".husky/_/pre-push",
        ".github/workflows/ci.yml",
        "package.json",
        "web/package.json",
        ".cargo/config",
        ".cargo/config.toml",
        ".yarnrc",
        ".yarnrc.yml",
        ".pnpmfile.cjs",
        "tests/conftest.py",
        ".claude/settings.json",
        ".claude/settings.local.json",
        ".mcp.json",
        ".cursor/mcp.json",
        "my.code-workspace",
        ".zshrc",
        "lefthook.yml",
    ];
    for path in paths {
        assert!(is_told(path, Kind::File), "{path}");
        assert!(is_told(&format!("workspace/{path}"), Kind::File), "{path} further down");
        assert!(!is_told(path, Kind::Directory), "{path} as a directory");
    }
}

#[test]
fn what_somebody_has_to_run_is_not_told() {
    let paths = [
        "",
        "Makefile",
        "AGENTS.md",
        "src/main.rs",
        "build.rs",
        "config",
        "hooks/pre-commit",
        ".gitignore",
        ".git/HEAD",
        ".git/index",
        ".git/objects/ab/cd",
        ".git/refs/heads/config/x",
        ".git/logs/config",
        ".git/modules/lib/objects/ab/cd",
        ".git/info/exclude",
        ".github/CODEOWNERS",
        ".vscode/notes.txt",
        ".cargo/registry/config.json",
        "package.json.bak",
        "a.package.json",
        ".envrc/inside",
        ".envrcx",
        "x.envrc",
        ".claude/commands/x.md",
    ];
    for path in paths {
        assert!(!is_told(path, Kind::File), "{path}");
    }
}

/// Where a directory is meant, a link in its place, or in that of a directory above it, brings along what it leads to.
#[test]
fn links_in_the_place_of_directories_are_told() {
    for path in [".git", ".git/hooks", ".vscode", ".husky", "a/.github", ".git/modules", ".git/modules/lib", ".idea"] {
        assert!(is_told(path, Kind::Symlink), "{path} as a link");
        assert!(!is_told(path, Kind::Directory), "{path} as a directory");
    }
    // A file that says where the repository is.
    assert!(is_told("sub/.git", Kind::File));
    assert!(!is_told("src", Kind::Symlink) && !is_told(".git/objects", Kind::Symlink));
}

#[test]
fn a_change_is_told_by_where_it_is_and_where_it_was() {
    let change = |path: &str, from: Option<&str>| Change {
        path: path.into(),
        status: if from.is_some() { Status::Renamed } else { Status::Deleted },
        from: from.map(Into::into),
        old: None,
        new: None,
        content_changed: false,
        added_lines: 0,
        removed_lines: 0,
        binary: false,
    };
    assert_eq!(change(".envrc", None).runs_outside(), Some("direnv runs it on entering the directory"));
    assert!(change("was-envrc", Some(".envrc")).runs_outside().is_some());
    assert_eq!(change("there", Some("here")).runs_outside(), None);
}

#[test]
fn every_row_can_be_met_and_only_once() {
    let mut patterns = BTreeSet::new();
    for (pattern, reason) in TABLE {
        assert!(patterns.insert(pattern.to_lowercase()), "{pattern} twice");
        assert!(!reason.is_empty() && !reason.ends_with('.'), "{pattern}");
        let names: Vec<&str> = pattern.trim_end_matches('/').split('/').collect();
        assert!(names.len() < PATTERN_NAMES_MAX && names.last() != Some(&"**") && names[0] != "**", "{pattern}");
        assert!(names.iter().all(|name| *name == "**" || name.matches('*').count() <= 1), "{pattern}");
        let mut path = pattern.replace("**", "x/y").replace('*', "x");
        if pattern.ends_with('/') {
            path.push_str("in/it");
        }
        assert!(is_told(&path, Kind::File), "{path}");
    }
}

/// Names that begin a pattern again and again: each is looked at once.
#[test]
fn a_long_path_is_gone_through_once() {
    let path = [".git/modules/".repeat(100_000), "none".to_owned()].concat();
    assert!(!is_told(&path, Kind::File));
    assert!(is_told(&format!("{path}/config"), Kind::File));
}
