//! The programs that a line for the shell names. The line is ours, not its output: nothing is told from what a command printed.
//!
//! It is no shell. What it does not surely understand (expansions, words that are put together, what follows a here-document) it passes over: then no
//! program is told, which is no harm.

use pyro_wire::limits::NAME_BYTES_MAX;

/// Programs of one line that are told: each is looked for in every directory of PATH.
const PROGRAMS_MAX: usize = 32;

/// Words after which a command comes.
const BEFORE_COMMANDS: [&str; 13] =
    ["!", "{", "if", "then", "else", "elif", "while", "until", "do", "time", "exec", "command", "nohup"];

/// What a shell does itself: POSIX's special and regular built-in utilities and reserved words, and those of bash(1).
const OWN: [&str; 79] = [
    ".",
    ":",
    "[",
    "[[",
    "alias",
    "bg",
    "bind",
    "break",
    "builtin",
    "caller",
    "case",
    "cd",
    "compgen",
    "complete",
    "compopt",
    "continue",
    "coproc",
    "declare",
    "dirs",
    "disown",
    "done",
    "echo",
    "enable",
    "esac",
    "eval",
    "exit",
    "export",
    "false",
    "fc",
    "fg",
    "fi",
    "for",
    "function",
    "getopts",
    "hash",
    "help",
    "history",
    "in",
    "jobs",
    "kill",
    "let",
    "local",
    "logout",
    "mapfile",
    "popd",
    "printf",
    "pushd",
    "pwd",
    "read",
    "readarray",
    "readonly",
    "return",
    "select",
    "set",
    "shift",
    "shopt",
    "source",
    "suspend",
    "test",
    "times",
    "trap",
    "true",
    "type",
    "typeset",
    "ulimit",
    "umask",
    "unalias",
    "unset",
    "wait",
    "}",
    "]]",
    "chdir",
    "newgrp",
    "print",
    "whence",
    "setopt",
    "unsetopt",
    "autoload",
    "zmodload",
];

/// The programs that a line names, in their order: neither what a shell does itself nor functions that the line makes. At most [`PROGRAMS_MAX`].
pub fn programs(line: &str) -> Vec<String> {
    let names = commands(line);
    let defined: Vec<String> = names.iter().filter(|(_, is_definition)| *is_definition).map(|(name, _)| name.clone()).collect();
    let is_program = |name: &String| !OWN.contains(&name.as_str()) && !defined.contains(name) && name.len() <= NAME_BYTES_MAX;
    names.into_iter().map(|(name, _)| name).filter(is_program).take(PROGRAMS_MAX).collect()
}

/// Names of commands in their order, and whether each is that of a function which is made there.
fn commands(line: &str) -> Vec<(String, bool)> {
    let mut names = Vec::new();
    let mut rest = line;
    // A command may come next; the word before was a redirection's.
    let (mut expects, mut is_target) = (true, false);
    while let Some(first) = rest.chars().next() {
        match first {
            ' ' | '\t' | '\r' => rest = &rest[1..],
            '#' => rest = rest.find('\n').map_or("", |end| &rest[end..]),
            ';' | '&' | '|' | '\n' | '(' | ')' => (rest, expects, is_target) = (&rest[1..], true, false),
            // What a here-document holds is no command.
            '<' if rest.starts_with("<<") && !rest.starts_with("<<<") => break,
            '<' | '>' => (rest, is_target) = (rest[1..].trim_start_matches(['>', '&', '|', '<']), true),
            _ => {
                let (word, is_plain, after) = word(rest);
                rest = after;
                let is_descriptor = word.bytes().all(|byte| byte.is_ascii_digit()) && rest.starts_with(['<', '>']);
                let is_assignment = word.split_once('=').is_some_and(|(name, _)| is_variable(name));
                if std::mem::take(&mut is_target) || !expects || is_descriptor || is_assignment {
                    continue;
                }
                expects = BEFORE_COMMANDS.contains(&word);
                if is_plain && !expects {
                    names.push((word.to_owned(), rest.trim_start().starts_with("()")));
                }
            }
        }
    }
    names
}

/// The word that a text begins with, whether it means itself, and what follows it.
fn word(text: &str) -> (&str, bool, &str) {
    let (mut quote, mut is_escaped) = (None, false);
    let end = text.find(|letter: char| {
        if std::mem::take(&mut is_escaped) {
            return false;
        }
        match (quote, letter) {
            (Some(open), letter) if letter == open => quote = None,
            (Some('\''), _) => {}
            (_, '\\') => is_escaped = true,
            (Some(_), _) => {}
            (None, '\'' | '"' | '`') => quote = Some(letter),
            (None, letter) => return letter.is_whitespace() || ";&|()<>".contains(letter),
        }
        false
    });
    let (word, rest) = text.split_at(end.unwrap_or(text.len()));
    let is_plain =
        word.chars().all(|letter| letter.is_alphanumeric() || "._+-/@:,[]{}!".contains(letter)) && !word.starts_with('-');
    (word, is_plain, rest)
}

fn is_variable(name: &str) -> bool {
    let name = name.strip_suffix('+').unwrap_or(name);
    !name.is_empty()
        && !name.starts_with(|letter: char| letter.is_ascii_digit())
        && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn programs_are_told_in_their_order_and_nothing_that_a_shell_does_itself() {
        for (line, expected) in [
            ("gti status", "gti"),
            ("cd src && gti status", "gti"),
            ("ls | grpe x", "ls grpe"),
            ("A=1 B='x y' pyhton -c 'import nothing; nothing'", "pyhton"),
            ("if ! frob; then echo no; fi", "frob"),
            ("for f in a b; do frob $f; done", "frob"),
            ("(cd x; ./run-it)", "./run-it"),
            ("ls >out 2>&1 <in; frob", "ls frob"),
            ("ls # frob\ngrep x", "ls grep"),
            ("ls; echo frob; printf 'frob; frob'", "ls"),
            ("$TOOL x; `frob`; \"frob\" x", ""),
            ("frob() { ls; }; frob", "ls"),
            ("cat <<END\nfrob\nEND", "cat"),
            ("[ -e x ] || [[ -e y ]] && exit 127", ""),
            ("echo a\\ b; ls 'a\\' | grep frob", "ls grep"),
            ("time exec frob", "frob"),
            ("", ""),
        ] {
            assert_eq!(programs(line).join(" "), expected, "{line:?}");
        }
        assert_eq!(programs(&"a;".repeat(1000)).len(), PROGRAMS_MAX);
    }
}
