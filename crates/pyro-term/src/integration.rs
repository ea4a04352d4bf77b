//! How shells are started so that they mark their prompts and commands (OSC 133), which a [`Terminal`](crate::Terminal) understands.
//!
//! What the user's own files set stays as it is: they are read first, and prompts and hooks are added to, never replaced. A shell that has no place for that is
//! started as it is, and everything works without marks.

use std::path::Path;

/// A shell, by the name of its program.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Shell {
    /// GNU bash; marks of output need 4.4 or later (`PS0`).
    Bash,
    /// zsh.
    Zsh,
    /// fish.
    Fish,
    /// Any other, which is started without marks.
    Other,
}

impl Shell {
    /// Which shell a program is: `/usr/bin/zsh`, `bash`, `-bash`.
    #[must_use]
    pub fn of(program: &str) -> Self {
        let name = Path::new(program).file_name().and_then(|name| name.to_str()).unwrap_or_default();
        match name.trim_start_matches('-') {
            "bash" => Self::Bash,
            "zsh" => Self::Zsh,
            "fish" => Self::Fish,
            _ => Self::Other,
        }
    }
}

/// How to start a shell.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Integration {
    /// Arguments after its name.
    pub arguments: Vec<String>,
    /// Variables that are set for it.
    pub environment: Vec<(&'static str, String)>,
    /// Files to be in the directory that was named, and what is in them; the shell must be able to read them, and nobody else need write them.
    pub files: Vec<(&'static str, &'static str)>,
}

const BASH: &str = include_str!("integration/bashrc");
const ZSH: &str = include_str!("integration/zshenv");
const FISH: &str = include_str!("integration/init.fish");

/// How to start an interactive shell that marks what it does. `directory` is where its files will be, as the shell sees it; `zdotdir` is the user's own
/// `ZDOTDIR`, if there is one.
#[must_use]
pub fn rc_for(shell: Shell, directory: &str, zdotdir: Option<&str>) -> Integration {
    match shell {
        Shell::Bash => Integration {
            arguments: vec!["--rcfile".to_owned(), format!("{directory}/bashrc"), "-i".to_owned()],
            environment: Vec::new(),
            files: vec![("bashrc", BASH)],
        },
        Shell::Zsh => Integration {
            arguments: vec!["-i".to_owned()],
            // zsh reads .zshenv there, which gives the variable back before anything of the user is read.
            environment: [("ZDOTDIR", directory.to_owned())]
                .into_iter()
                .chain(zdotdir.map(|zdotdir| ("PYRO_ZDOTDIR", zdotdir.to_owned())))
                .collect(),
            files: vec![(".zshenv", ZSH)],
        },
        Shell::Fish => Integration {
            arguments: vec!["--init-command".to_owned(), FISH.to_owned(), "-i".to_owned()],
            environment: Vec::new(),
            files: Vec::new(),
        },
        Shell::Other => Integration::default(),
    }
}
