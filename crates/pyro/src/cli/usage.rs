//! A command line that does not parse, as one sentence and a hint: the words that JSON callers get for the same mistake.

use std::error::Error as _;
use std::ffi::OsString;
use std::io::IsTerminal;
use std::process::ExitCode;

use clap::error::{ContextKind, ContextValue, ErrorKind};
use pyro_api::nearest::{did_you_mean, nearest};
use pyro_api::values::CommandLine;
use pyro_api::{Error, table};

use super::{terminal, tree};

/// Tells what clap found: help that was asked for, or what is wrong.
pub(super) fn report(error: &clap::Error, arguments: &[OsString]) -> ExitCode {
    match error.kind() {
        ErrorKind::DisplayHelp | ErrorKind::DisplayVersion => {
            terminal::print(error.render().to_string().as_bytes());
            ExitCode::SUCCESS
        }
        ErrorKind::DisplayHelpOnMissingArgumentOrSubcommand => {
            eprint!("{}", error.render());
            ExitCode::from(2)
        }
        _ => {
            // Before `--`: what follows belongs to the command.
            let json = arguments.iter().take_while(|argument| *argument != "--").any(|argument| argument == "--json");
            terminal::report(&explained(error, arguments), json, terminal::colors(std::io::stderr().is_terminal()))
        }
    }
}

/// The sentence.
pub(super) fn explained(error: &clap::Error, arguments: &[OsString]) -> Error {
    let (path, command) = reached(arguments);
    let named = if path.is_empty() { "pyro".to_owned() } else { path.clone() };
    let text = |kind| error.get(kind).map(shown).unwrap_or_default();
    match error.kind() {
        ErrorKind::InvalidSubcommand => {
            let given = text(ContextKind::InvalidSubcommand);
            let error = Error::invalid(format!("{named} has no command {given:?}"));
            let names: Vec<&str> =
                command.get_subcommands().filter(|below| !below.is_hide_set()).map(clap::Command::get_name).collect();
            match did_you_mean(&nearest(&given, names.iter().copied())) {
                Some(hint) => error.hint(hint),
                None => error.hint(format!("it has {}", names.join(", "))),
            }
        }
        ErrorKind::UnknownArgument => unknown_argument(&named, &command, &text(ContextKind::InvalidArg)),
        ErrorKind::MissingRequiredArgument => {
            let missing = match error.get(ContextKind::InvalidArg) {
                Some(ContextValue::Strings(missing)) => missing.first().cloned().unwrap_or_default(),
                _ => String::new(),
            };
            match field(&command, &missing) {
                Some((id, _)) if id == "command" => nothing_to_run(),
                Some((id, help)) => table::missing(&id, help.as_deref()),
                None => Error::invalid(format!("{missing} is missing")),
            }
        }
        ErrorKind::ValueValidation => {
            let source = error.source();
            if let Some(ours) = source.and_then(|source| source.downcast_ref::<Error>()) {
                let error = Error::invalid(ours.message.clone());
                return match &ours.hint {
                    Some(hint) => error.hint(hint.clone()),
                    None => error,
                };
            }
            let id = field(&command, &text(ContextKind::InvalidArg)).map_or_else(String::new, |(id, _)| id);
            let value = format!("{:?}", text(ContextKind::InvalidValue));
            match source {
                Some(source) if source.is::<std::num::ParseIntError>() => Error::invalid(table::not_a_number(&id, &value)),
                Some(source) => Error::invalid(format!("{id} {value}: {source}")),
                None => Error::invalid(format!("{id} {value} is not valid")),
            }
        }
        ErrorKind::InvalidValue => {
            let argument = text(ContextKind::InvalidArg);
            let id = field(&command, &argument).map_or(argument, |(id, _)| id);
            let given = text(ContextKind::InvalidValue);
            if given.is_empty() {
                return Error::invalid(format!("{id} has no value"));
            }
            let choices = match error.get(ContextKind::ValidValue) {
                Some(ContextValue::Strings(choices)) => choices.clone(),
                _ => Vec::new(),
            };
            let choices: Vec<&str> = choices.iter().map(String::as_str).collect();
            let error = Error::invalid(table::not_a_choice(&id, &given, &choices));
            match did_you_mean(&nearest(&given, choices.iter().copied())) {
                Some(hint) => error.hint(hint),
                None => error,
            }
        }
        ErrorKind::ArgumentConflict => {
            Error::invalid(format!("{} is given twice, or beside what excludes it", text(ContextKind::InvalidArg)))
        }
        ErrorKind::InvalidUtf8 => Error::invalid("an argument is not valid UTF-8"),
        _ => {
            let rendered = error.to_string();
            Error::invalid(rendered.lines().next().unwrap_or_default().trim_start_matches("error: ").to_owned())
        }
    }
}

fn unknown_argument(named: &str, command: &clap::Command, given: &str) -> Error {
    let error = Error::invalid(format!("{named} takes no {given:?}"));
    let runs = command.get_arguments().any(|argument| argument.get_id() == "command");
    if !given.starts_with('-') {
        return if runs { error.hint("put the command after `--`, such as: -- ls -l") } else { error };
    }
    let flags: Vec<String> =
        command.get_arguments().filter_map(|argument| argument.get_long()).map(|long| format!("--{long}")).collect();
    match did_you_mean(&nearest(given, flags.iter().map(String::as_str))) {
        Some(hint) => error.hint(hint),
        None if runs => error.hint("flags of the command itself go after `--`"),
        None => error.hint(format!("{named} --help shows its flags")),
    }
}

/// The same words as for an empty command from JSON.
fn nothing_to_run() -> Error {
    CommandLine::Argv(Vec::new()).check().expect_err("nothing cannot be run")
}

fn shown(value: &ContextValue) -> String {
    match value {
        ContextValue::String(text) => text.clone(),
        ContextValue::Strings(texts) => texts.join(", "),
        value => value.to_string(),
    }
}

/// The field that clap shows as `--depth <N>` or `<WORKSPACE>`, and what it is.
fn field(command: &clap::Command, shown: &str) -> Option<(String, Option<String>)> {
    command
        .get_arguments()
        .find(|argument| argument.to_string() == shown)
        .map(|argument| (argument.get_id().to_string(), argument.get_help().map(ToString::to_string)))
}

/// The command that the arguments lead to, built, and its name as words.
fn reached(arguments: &[OsString]) -> (String, clap::Command) {
    let mut command = tree::whole();
    command.build();
    let mut path = String::new();
    for word in arguments.iter().skip(1).take_while(|argument| *argument != "--") {
        let Some(word) = word.to_str() else { break };
        if word.starts_with('-') {
            continue;
        }
        let Some(below) = command.find_subcommand(word).cloned() else { break };
        if !path.is_empty() {
            path.push(' ');
        }
        path.push_str(below.get_name());
        command = below;
    }
    (path, command)
}
