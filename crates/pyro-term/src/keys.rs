//! Keys by their names, as the bytes that xterm sends for them.
//!
//! Names are written as people write them: `enter`, `ctrl-c`, `alt-x`, `shift-tab`, `ctrl-right`, `f5`. `C-c`, `M-x` and `^C` are understood, and upper case where it says
//! nothing. The source of the bytes is xterm's ctlseqs.

use std::fmt;

use crate::Modes;

#[cfg(test)]
mod tests;

/// A name that is no key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UnknownKey {
    /// As it was given, cut to 40 characters and made harmless.
    pub name: String,
    /// Names that are nearly the same, the nearest first; none if nothing is.
    pub nearest: Vec<&'static str>,
}

impl fmt::Display for UnknownKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "there is no key `{}`", self.name)?;
        match self.nearest.as_slice() {
            [] => write!(f, "; keys are like enter, up, ctrl-c, alt-x, f5"),
            nearest => write!(f, "; near it are {}", nearest.join(", ")),
        }
    }
}

impl std::error::Error for UnknownKey {}

/// How a key is sent.
#[derive(Clone, Copy)]
enum Sent {
    /// These bytes.
    Plain(&'static str),
    /// `CSI letter`, or `SS3 letter` in application mode; with modifiers `CSI 1;m letter`.
    Cursor(char),
    /// `SS3 letter`; with modifiers `CSI 1;m letter`.
    Function(char),
    /// `CSI number ~`; with modifiers `CSI number;m ~`.
    Number(u8),
}

const KEYS: &[(&str, Sent)] = &[
    ("enter", Sent::Plain("\r")),
    ("return", Sent::Plain("\r")),
    ("tab", Sent::Plain("\t")),
    ("esc", Sent::Plain("\x1b")),
    ("escape", Sent::Plain("\x1b")),
    ("space", Sent::Plain(" ")),
    ("backspace", Sent::Plain("\x7f")),
    ("up", Sent::Cursor('A')),
    ("down", Sent::Cursor('B')),
    ("right", Sent::Cursor('C')),
    ("left", Sent::Cursor('D')),
    ("home", Sent::Cursor('H')),
    ("end", Sent::Cursor('F')),
    ("insert", Sent::Number(2)),
    ("ins", Sent::Number(2)),
    ("delete", Sent::Number(3)),
    ("del", Sent::Number(3)),
    ("pageup", Sent::Number(5)),
    ("pgup", Sent::Number(5)),
    ("pagedown", Sent::Number(6)),
    ("pgdn", Sent::Number(6)),
    ("f1", Sent::Function('P')),
    ("f2", Sent::Function('Q')),
    ("f3", Sent::Function('R')),
    ("f4", Sent::Function('S')),
    ("f5", Sent::Number(15)),
    ("f6", Sent::Number(17)),
    ("f7", Sent::Number(18)),
    ("f8", Sent::Number(19)),
    ("f9", Sent::Number(20)),
    ("f10", Sent::Number(21)),
    ("f11", Sent::Number(23)),
    ("f12", Sent::Number(24)),
];

/// Other names that a wrong one may be near to.
const EXAMPLES: &[&str] = &["ctrl-c", "ctrl-d", "ctrl-z", "ctrl-\\", "alt-x", "shift-tab", "ctrl-left", "ctrl-right"];

#[derive(Clone, Copy, Default)]
struct Modifiers {
    shift: bool,
    alt: bool,
    ctrl: bool,
}

impl Modifiers {
    /// xterm's parameter: 1 and a bit for each.
    fn number(self) -> u8 {
        1 + u8::from(self.shift) + 2 * u8::from(self.alt) + 4 * u8::from(self.ctrl)
    }
}

/// The bytes of a key, by its name; `modes` are those of the program that it is for.
///
/// # Errors
/// The name is none of a key, or of one that cannot be sent with these modifiers.
pub fn encode_key(name: &str, modes: Modes) -> Result<Vec<u8>, UnknownKey> {
    let mut modifiers = Modifiers::default();
    let mut rest = name.trim();
    if let Some(key) = rest.strip_prefix('^').filter(|key| key.chars().count() == 1) {
        (modifiers.ctrl, rest) = (true, key);
    }
    while let Some((modifier, key)) = rest.split_once(['-', '+']).filter(|(_, key)| !key.is_empty()) {
        match modifier.to_ascii_lowercase().as_str() {
            "ctrl" | "control" | "c" => modifiers.ctrl = true,
            "alt" | "meta" | "m" | "a" => modifiers.alt = true,
            "shift" | "s" => modifiers.shift = true,
            _ => return Err(unknown(name)),
        }
        rest = key;
    }
    bytes_of(rest, modifiers, modes).ok_or_else(|| unknown(name))
}

fn bytes_of(key: &str, modifiers: Modifiers, modes: Modes) -> Option<Vec<u8>> {
    let mut characters = key.chars();
    if let (Some(character), None) = (characters.next(), characters.next()) {
        return character_bytes(character, modifiers);
    }
    let lower = key.to_ascii_lowercase().replace([' ', '_', '-'], "");
    let (_, sent) = KEYS.iter().find(|(name, _)| *name == lower)?;
    let number = modifiers.number();
    let text = match *sent {
        Sent::Plain("\t") if modifiers.shift && !modifiers.ctrl => with_alt(modifiers, "\x1b[Z"),
        Sent::Plain(" ") => return character_bytes(' ', modifiers),
        Sent::Plain("\x7f") if modifiers.ctrl => with_alt(modifiers, "\x08"),
        // Terminals send these no differently with shift, and so do we; with ctrl there is nothing to send.
        Sent::Plain(_) if modifiers.ctrl => return None,
        Sent::Plain(plain) => with_alt(modifiers, plain),
        Sent::Cursor(letter) if number == 1 && modes.application_cursor => format!("\x1bO{letter}"),
        Sent::Cursor(letter) if number == 1 => format!("\x1b[{letter}"),
        Sent::Function(letter) if number == 1 => format!("\x1bO{letter}"),
        Sent::Cursor(letter) | Sent::Function(letter) => format!("\x1b[1;{number}{letter}"),
        Sent::Number(key) if number == 1 => format!("\x1b[{key}~"),
        Sent::Number(key) => format!("\x1b[{key};{number}~"),
    };
    Some(text.into_bytes())
}

fn with_alt(modifiers: Modifiers, text: &str) -> String {
    if modifiers.alt { format!("\x1b{text}") } else { text.to_owned() }
}

/// A key that is a character.
fn character_bytes(character: char, modifiers: Modifiers) -> Option<Vec<u8>> {
    if character.is_control() {
        return None;
    }
    let character = if modifiers.shift { character.to_ascii_uppercase() } else { character };
    let character = if modifiers.ctrl {
        match character.to_ascii_uppercase() {
            upper @ '@'..='_' => char::from(upper as u8 - b'@'),
            ' ' => '\0',
            '?' => '\x7f',
            // As xterm: ctrl-/ is ctrl-_.
            '/' => '\x1f',
            _ => return None,
        }
    } else {
        character
    };
    Some(with_alt(modifiers, character.encode_utf8(&mut [0; 4])).into_bytes())
}

fn unknown(name: &str) -> UnknownKey {
    let short: String = name.chars().take(40).collect();
    let lower = short.to_ascii_lowercase();
    let names = KEYS.iter().map(|(name, _)| *name).chain(EXAMPLES.iter().copied());
    let mut near: Vec<(usize, &'static str)> =
        names.map(|known| (distance(&lower, known), known)).filter(|(far, _)| *far <= 2).collect();
    near.sort_by_key(|(far, _)| *far);
    UnknownKey {
        name: pyro_wire::untrusted::escape(&short).replace('\n', " "),
        nearest: near.into_iter().map(|(_, name)| name).take(3).collect(),
    }
}

/// Edits between two short names.
fn distance(a: &str, b: &str) -> usize {
    let b: Vec<char> = b.chars().collect();
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (at, left) in a.chars().enumerate() {
        let mut before = row[0];
        row[0] = at + 1;
        for (column, right) in b.iter().enumerate() {
            let replaced = before + usize::from(left != *right);
            before = row[column + 1];
            row[column + 1] = replaced.min(before + 1).min(row[column] + 1);
        }
    }
    row[b.len()]
}

/// Text as it is pasted: in brackets where the program asked for them, so that it does not act on line ends; nothing in it can end the brackets.
#[must_use]
pub fn encode_paste(text: &str, modes: Modes) -> Vec<u8> {
    // Terminals send CR for the end of a line.
    let text = text.replace("\r\n", "\r").replace('\n', "\r");
    if !modes.bracketed_paste {
        return text.into_bytes();
    }
    format!("\x1b[200~{}\x1b[201~", text.replace('\x1b', "")).into_bytes()
}
