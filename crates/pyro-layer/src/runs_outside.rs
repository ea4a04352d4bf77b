//! Files that programs on the outside run, or obey in what they run, by themselves: because somebody enters a directory, opens it in an editor, lists what changed,
//! installs what it depends on. Nothing of a workspace runs outside, until its files are brought there; then these are what to look at first.
//!
//! It is judged by the path alone, at any depth and whatever the case of letters is, since there are file systems to which it makes no difference. That makes
//! it a help for reviewing, and not a guard: a build runs what it is told to by files that cannot be told by their names.

use crate::diff::{Change, Kind};

/// What is run or obeyed, and why. `*` stands for any part of a name, `**` for any number of names; a slash at the end means everything in a directory.
const TABLE: &[(&str, &str)] = &[
    // git. `*.git` is a repository without a work tree, too.
    ("*.git/hooks/", "git runs hooks"),
    ("*.git/config", "git runs commands that its configuration names"),
    ("*.git/config.worktree", "git runs commands that its configuration names"),
    ("*.git/worktrees/*/config.worktree", "git runs commands that its configuration names"),
    ("*.git/modules/**/hooks/", "git runs the hooks of submodules"),
    ("*.git/modules/**/config", "git runs commands that the configuration of a submodule names"),
    ("*.git/commondir", "git takes hooks and configuration from where it leads"),
    ("*.git/info/attributes", "git runs the filters that attributes name"),
    ("*.git/rebase-merge/git-rebase-todo", "git runs what is listed when a rebase goes on"),
    (".git", "git takes hooks and configuration from the repository that it leads to"),
    (".gitattributes", "git runs the filters that attributes name"),
    (".gitmodules", "git fetches submodules from where it says"),
    (".gitconfig", "git runs commands that its configuration names"),
    (".husky/", "git runs them as hooks"),
    (".pre-commit-config.yaml", "pre-commit fetches and runs the hooks it names"),
    ("lefthook.y*ml", "lefthook runs them as git hooks"),
    (".lefthook.y*ml", "lefthook runs them as git hooks"),
    // Shells and what is run on entering a directory.
    (".envrc", "direnv runs it on entering the directory"),
    (".direnv/", "direnv loads what it has kept there"),
    (".tool-versions", "asdf and mise choose programs by it"),
    ("mise.toml", "mise sets the environment and runs hooks by it"),
    (".mise.toml", "mise sets the environment and runs hooks by it"),
    ("mise.local.toml", "mise sets the environment and runs hooks by it"),
    (".mise.local.toml", "mise sets the environment and runs hooks by it"),
    (".mise/", "mise sets the environment and runs hooks by it"),
    (".config/mise/", "mise sets the environment and runs hooks by it"),
    (".bashrc", "shells run it"),
    (".bash_profile", "shells run it"),
    (".bash_login", "shells run it"),
    (".bash_logout", "shells run it"),
    (".bash_aliases", "shells run it"),
    (".profile", "shells run it"),
    (".zshrc", "shells run it"),
    (".zshenv", "shells run it"),
    (".zprofile", "shells run it"),
    (".zlogin", "shells run it"),
    (".zlogout", "shells run it"),
    (".config/fish/", "shells run it"),
    (".ssh/", "ssh lets in and runs what it names"),
    (".config/autostart/", "desktops start it"),
    (".config/systemd/", "systemd starts it"),
    // Editors.
    (".vscode/tasks.json", "editors run tasks, some of them when the folder is opened"),
    (".vscode/launch.json", "editors run what it names to debug"),
    (".vscode/settings.json", "editors run programs that settings name"),
    (".vscode/mcp.json", "editors start the servers it names"),
    (".vscode/extensions.json", "editors suggest installing what it names"),
    ("*.code-workspace", "editors run tasks and programs that it names"),
    (".idea/", "editors run configurations and startup tasks from it"),
    (".run/", "editors run configurations from it"),
    (".zed/", "editors run tasks and language servers that it names"),
    (".devcontainer/", "editors build and run it"),
    (".devcontainer.json", "editors build and run it"),
    (".exrc", "editors run it"),
    (".vimrc", "editors run it"),
    (".nvimrc", "editors run it"),
    (".nvim.lua", "editors run it"),
    (".dir-locals.el", "editors obey it"),
    (".gdbinit", "debuggers run it"),
    (".lldbinit", "debuggers run it"),
    // Agents.
    (".claude/settings*.json", "coding agents run hooks and grant permissions by it"),
    (".claude/hooks/", "coding agents run them"),
    (".mcp.json", "coding agents start the servers it names"),
    (".cursor/", "coding agents start servers and run hooks by it"),
    (".gemini/settings.json", "coding agents start the servers it names"),
    (".codex/config.toml", "coding agents start the servers it names"),
    // Package managers and test runners.
    ("package.json", "package managers run its lifecycle scripts on installing"),
    (".npmrc", "package managers obey it in where packages are from and what is run"),
    (".yarnrc*", "yarn runs the program it names in place of itself"),
    (".yarn/releases/", "yarn runs it in place of itself"),
    (".yarn/plugins/", "yarn loads them"),
    (".pnpmfile.*js", "pnpm runs it on installing"),
    (".cargo/config", "cargo runs compilers, wrappers and runners that it names"),
    (".cargo/config.toml", "cargo runs compilers, wrappers and runners that it names"),
    ("rust-toolchain", "rustup runs the toolchain it names"),
    ("rust-toolchain.toml", "rustup runs the toolchain it names"),
    ("conftest.py", "pytest runs it before anything else"),
    ("sitecustomize.py", "Python runs it on starting"),
    ("usercustomize.py", "Python runs it on starting"),
    ("*.pth", "Python runs its lines on starting"),
    // Servers, once it is pushed.
    (".github/workflows/", "a server runs it when it is pushed"),
    (".github/actions/", "a server runs it when it is pushed"),
    (".gitlab-ci.yml", "a server runs it when it is pushed"),
    (".circleci/", "a server runs it when it is pushed"),
    (".travis.yml", "a server runs it when it is pushed"),
    ("azure-pipelines.yml", "a server runs it when it is pushed"),
    ("Jenkinsfile", "a server runs it when it is pushed"),
];

impl Change {
    /// Why something on the outside may run this by itself, or obey it; `None` for what has to be run by somebody. What was deleted counts: it may have
    /// forbidden something.
    #[must_use]
    pub fn runs_outside(&self) -> Option<&'static str> {
        let from = || self.from.as_deref().and_then(|from| runs_outside(from, Kind::File));
        runs_outside(&self.path, self.kind()).or_else(from)
    }
}

/// The same for a path and what is there.
#[must_use]
pub fn runs_outside(path: &[u8], kind: Kind) -> Option<&'static str> {
    if kind == Kind::Directory {
        // It is what is in it.
        return None;
    }
    TABLE.iter().find(|(pattern, _)| is_match(pattern, path, kind)).map(|(_, reason)| *reason)
}

/// Names of a pattern, at most; its states fit into the bits of a number.
const PATTERN_NAMES_MAX: usize = 8;

/// Goes through the names of a path once, with all the places where the pattern may be by then: paths of a hostile tree are long.
fn is_match(pattern: &str, path: &[u8], kind: Kind) -> bool {
    let is_directory_pattern = pattern.ends_with('/');
    let mut names = [""; PATTERN_NAMES_MAX];
    let mut count = 0;
    for (slot, name) in names.iter_mut().zip(pattern.trim_end_matches('/').split('/')) {
        *slot = name;
        count += 1;
    }
    // Bit n: n names of the pattern are behind us.
    let end = 1_u32 << count;
    let mut at = 0_u32;
    let mut is_below = false;
    for name in path.split(|byte| *byte == b'/') {
        is_below |= is_directory_pattern && at & end != 0;
        // It may begin at any name.
        at |= 1;
        let mut next = 0;
        for (index, wanted) in names.iter().enumerate().take(count).filter(|(index, _)| at & (1 << index) != 0) {
            if *wanted == "**" {
                next |= 1 << index;
                if is_name(names[index + 1], name) {
                    next |= 1 << (index + 2);
                }
            } else if is_name(wanted, name) {
                next |= 1 << (index + 1);
            }
        }
        at = next;
    }
    // A link in the place of a directory brings along all that is where it leads.
    is_below || at & end != 0 || (kind == Kind::Symlink && at != 0)
}

/// Whether a name is what a pattern with at most one `*` says.
fn is_name(pattern: &str, name: &[u8]) -> bool {
    match pattern.split_once('*') {
        None => name.eq_ignore_ascii_case(pattern.as_bytes()),
        Some((start, end)) => {
            name.len() >= start.len() + end.len()
                && name[..start.len()].eq_ignore_ascii_case(start.as_bytes())
                && name[name.len() - end.len()..].eq_ignore_ascii_case(end.as_bytes())
        }
    }
}

#[cfg(test)]
mod tests;
