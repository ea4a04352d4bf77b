//! The clap tree, made from the op table by splitting names: `workspace file list` is three levels. What is not an op (mcp, rpc,
//! completions) is added here.

use std::ffi::OsString;

use clap::{Arg, ArgAction, ArgMatches, Command, ValueHint};
use pyro_api::table::table;

use super::examples;
use crate::{mcp, reference};

/// Groups of ops and what help says of them.
const GROUPS: [(&str, &str); 9] = [
    ("workspace", "Create and use workspaces: computers that are kept"),
    ("workspace file", "List, read and write files of a workspace"),
    ("workspace job", "Wait for commands of a workspace, read their output, stop them"),
    ("workspace shell", "Keep a shell open: type into it, read it, see it live"),
    ("workspace disk", "Look at a stopped workspace, and copy all of it, without starting it"),
    ("workspace sync", "Bring files of the host into a workspace"),
    ("workspace snapshot", "Name states of a workspace to reset to"),
    ("env", "Manage environments: what workspaces start from"),
    ("mcp", "Serve chat hosts over the Model Context Protocol"),
];

/// Short for `workspace`.
const WORKSPACE_ALIAS: &str = "ws";

/// How much of the tree is made.
#[derive(Clone, Copy)]
enum Depth<'a> {
    /// Commands that are among these words, and of them the arguments only once they are chosen.
    Named(&'a [OsString]),
    /// All, as help and completion need it.
    Whole,
}

impl Depth<'_> {
    fn has(self, word: &str) -> bool {
        match self {
            Self::Named(words) => words.iter().any(|given| given == word),
            Self::Whole => true,
        }
    }
}

/// Parses the arguments, making only the part of the tree that they name; all of it is made when something is to be explained.
pub(super) fn parse(arguments: &[OsString]) -> Result<ArgMatches, clap::Error> {
    made(Depth::Named(arguments)).try_get_matches_from(arguments).or_else(|_| whole().try_get_matches_from(arguments))
}

/// The whole tree.
pub(crate) fn whole() -> Command {
    made(Depth::Whole)
}

/// The path of words that was chosen, and its arguments.
pub(super) fn chosen(matches: &ArgMatches) -> (String, &ArgMatches) {
    let mut path = String::new();
    let mut level = matches;
    while let Some((word, below)) = level.subcommand() {
        if !path.is_empty() {
            path.push(' ');
        }
        path.push_str(word);
        level = below;
    }
    (path, level)
}

fn made(depth: Depth<'_>) -> Command {
    let mut root = Command::new("pyro")
        .version(crate::VERSION)
        .about("A computer of its own for a chat-driven coding agent")
        .subcommand_required(true)
        .arg_required_else_help(true)
        .after_help(examples::ROOT)
        .args(global_arguments());
    for (index, command) in level("", depth).into_iter().chain(others(depth)).enumerate() {
        root = root.subcommand(command.display_order(index));
    }
    root
}

fn global_arguments() -> [Arg; 4] {
    let arguments = [
        Arg::new("json")
            .long("json")
            .global(true)
            .action(ArgAction::SetTrue)
            .help("Print one JSON document, for success and failure"),
        Arg::new("quiet").long("quiet").short('q').global(true).action(ArgAction::SetTrue).help("Print no progress and no notes"),
        Arg::new("home")
            .long("home")
            .global(true)
            .value_name("DIR")
            .value_hint(ValueHint::DirPath)
            .value_parser(clap::value_parser!(std::path::PathBuf))
            .help("Where workspaces and environments are kept [env: PYRO_HOME]"),
        Arg::new("color")
            .long("color")
            .global(true)
            .value_name("WHEN")
            .value_parser(["auto", "always", "never"])
            .default_value("auto")
            .help("Colours in text"),
    ];
    arguments.map(|argument| argument.help_heading("Options of every command"))
}

/// Commands below `prefix`, in the order of the table.
fn level(prefix: &str, depth: Depth<'_>) -> Vec<Command> {
    let mut words: Vec<&'static str> = Vec::new();
    for op in table().iter().filter(|op| op.on_command_line) {
        let rest =
            if prefix.is_empty() { Some(op.name) } else { op.name.strip_prefix(prefix).and_then(|rest| rest.strip_prefix(' ')) };
        if let Some(word) = rest.and_then(|rest| rest.split(' ').next())
            && !words.contains(&word)
        {
            words.push(word);
        }
    }
    words
        .into_iter()
        .filter(|word| depth.has(word) || (*word == "workspace" && depth.has(WORKSPACE_ALIAS)))
        .map(|word| {
            let path = if prefix.is_empty() { word.to_owned() } else { format!("{prefix} {word}") };
            let Some(op) = table().iter().find(|op| op.name == path && op.on_command_line) else {
                return group(word, &path, depth);
            };
            let command = Command::new(word);
            match depth {
                Depth::Named(_) => command.defer(op.augmenter()),
                Depth::Whole => op.augment(command).after_help(examples::of(op.name)),
            }
        })
        .collect()
}

fn about(group: &str) -> &'static str {
    GROUPS.iter().find(|(name, _)| *name == group).map_or("", |(_, about)| about)
}

fn group(word: &'static str, path: &str, depth: Depth<'_>) -> Command {
    let mut command = Command::new(word).about(about(path)).subcommand_required(true).arg_required_else_help(true);
    command = command.disable_help_subcommand(true);
    if path == "workspace" {
        command = command.visible_alias(WORKSPACE_ALIAS);
    }
    for (index, below) in level(path, depth).into_iter().enumerate() {
        command = command.subcommand(below.display_order(index));
    }
    command
}

/// What is not an op.
fn others(depth: Depth<'_>) -> Vec<Command> {
    /// A name, and what makes the rest of its command.
    type Maker = (&'static str, fn(Command) -> Command);
    let makers: [Maker; 4] = [
        ("mcp", |command| {
            command
                .about(about("mcp"))
                .subcommand_required(true)
                .arg_required_else_help(true)
                .disable_help_subcommand(true)
                .subcommands(mcp::commands())
        }),
        ("rpc", |command| command.about("Serve programs: calls and replies as JSON lines on standard input and output")),
        ("completions", |command| {
            let shell =
                Arg::new("shell").required(true).value_name("SHELL").value_parser(clap::value_parser!(clap_complete::Shell));
            command.about("Print the completion script of a shell").arg(shell)
        }),
        ("reference", |command| {
            let document = Arg::new("document").required(true).value_name("DOCUMENT").value_parser(reference::NAMES);
            command.about("Print a generated reference").hide(true).arg(document)
        }),
    ];
    makers
        .into_iter()
        .filter(|(name, _)| depth.has(name))
        .map(|(name, make)| match depth {
            Depth::Named(_) => make(Command::new(name)),
            Depth::Whole => make(Command::new(name)).after_help(examples::of(name)),
        })
        .collect()
}
