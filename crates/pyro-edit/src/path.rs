//! Paths of files to change, as they are after all checks: relative, without `.` and `..`, never leading outside by their words.
//!
//! What a path *is* (a symbolic link on the way, another kind of file) only the one who reads files can know. Names are bytes.

use std::fmt;

use crate::limits::{NAME_BYTES_MAX, PATH_BYTES_MAX};

/// A path below the root: not empty, no `.`, `..`, NUL or empty part.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RelPath(Vec<u8>);

impl RelPath {
    /// Takes a path as a model writes it: relative, or absolute below `root`; `./`, doubled and trailing slashes are dropped.
    ///
    /// # Errors
    /// With the reason as half a sentence, to be put behind the path.
    pub fn new(written: &[u8], root: &[u8]) -> Result<Self, &'static str> {
        let mut rest = written;
        if rest.starts_with(b"/") {
            let root = root.strip_suffix(b"/").unwrap_or(root);
            rest = match rest.strip_prefix(root) {
                Some(below) if !root.is_empty() && below.starts_with(b"/") => below,
                _ => return Err("is absolute and not below the workspace; paths are relative to it"),
            };
        }
        let mut path = Vec::with_capacity(rest.len());
        for name in rest.split(|byte| *byte == b'/') {
            match name {
                b"" | b"." => continue,
                b".." => return Err("has `..` in it; paths are relative to the workspace and stay in it"),
                _ if name.contains(&0) => return Err("has a NUL byte in it"),
                _ if name.len() > NAME_BYTES_MAX => return Err("has a name of more than 255 bytes in it"),
                _ => {}
            }
            if !path.is_empty() {
                path.push(b'/');
            }
            path.extend_from_slice(name);
        }
        match path.len() {
            0 => Err("is not the path of a file"),
            length if length >= PATH_BYTES_MAX => Err("is longer than 4095 bytes"),
            _ => Ok(Self(path)),
        }
    }

    /// The path, with `/` between its names.
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }

    /// Its names, from the root down.
    pub fn names(&self) -> impl Iterator<Item = &[u8]> {
        self.0.split(|byte| *byte == b'/')
    }

    /// Whether one of its names is `.git`, in whatever case: what is in there runs programs on the next git command.
    pub fn is_git_internal(&self) -> bool {
        self.names().any(|name| name.eq_ignore_ascii_case(b".git"))
    }

    /// Whether another path is below this one.
    pub fn is_above(&self, other: &Self) -> bool {
        other.0.strip_prefix(&*self.0).is_some_and(|rest| rest.starts_with(b"/"))
    }

    /// The directories that it is in, from the root down.
    pub(crate) fn above(&self) -> impl Iterator<Item = Self> {
        self.0.iter().enumerate().filter(|(_, byte)| **byte == b'/').map(|(slash, _)| Self(self.0[..slash].to_vec()))
    }

    /// The path without its first name; `None` if it has only one.
    pub(crate) fn without_first(&self) -> Option<(&[u8], Self)> {
        let slash = self.0.iter().position(|byte| *byte == b'/')?;
        Some((&self.0[..slash], Self(self.0[slash + 1..].to_vec())))
    }
}

impl fmt::Display for RelPath {
    /// Control characters and what is not UTF-8 are shown escaped.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&shown(&self.0))
    }
}

impl fmt::Debug for RelPath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}", shown(&self.0))
    }
}

/// Bytes as text on one line: control characters (but not tabs) and characters that turn the direction of text are escaped.
pub(crate) fn shown(bytes: &[u8]) -> String {
    let mut text = String::with_capacity(bytes.len());
    for chunk in bytes.utf8_chunks() {
        for character in chunk.valid().chars() {
            let is_bidi = matches!(character, '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}');
            if (character.is_control() && character != '\t') || is_bidi {
                text.extend(character.escape_default());
            } else {
                text.push(character);
            }
        }
        for byte in chunk.invalid() {
            text.push_str(&format!("\\x{byte:02x}"));
        }
    }
    text
}
