//! What can go wrong with a tree, as one sentence with the name of the file at fault.

use std::fmt;

use pyro_wire::untrusted::escape;
use rustix::io::Errno;

/// A result of this crate.
pub type Result<T> = std::result::Result<T, Error>;

/// What sort of failure it is: what a caller decides on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ErrorKind {
    /// The tree or archive holds something that is not taken over.
    Refused,
    /// The archive is not one, or cut short, or contradicts itself.
    Damaged,
    /// A named limit was reached.
    Limit,
    /// The file system is full, or the quota used up.
    Full,
    /// It changed all the time while it was read.
    Changed,
    /// The caller said stop.
    Cancelled,
    /// The system said no.
    System,
}

/// A failure: a sentence in lower case that names the file.
#[derive(Debug)]
pub struct Error {
    kind: ErrorKind,
    message: String,
    source: Option<std::io::Error>,
}

impl Error {
    pub(crate) fn new(kind: ErrorKind, message: impl Into<String>) -> Self {
        Self { kind, message: message.into(), source: None }
    }

    pub(crate) fn refused(path: &[u8], why: &str) -> Self {
        Self::new(ErrorKind::Refused, format!("{} {why}", shown(path)))
    }

    pub(crate) fn damaged(message: impl Into<String>) -> Self {
        Self::new(ErrorKind::Damaged, message)
    }

    pub(crate) fn limit(message: impl Into<String>) -> Self {
        Self::new(ErrorKind::Limit, message)
    }

    pub(crate) fn cancelled() -> Self {
        Self::new(ErrorKind::Cancelled, "cancelled")
    }

    pub(crate) fn system(path: &[u8], doing: &str, errno: Errno) -> Self {
        let kind = match errno {
            Errno::NOSPC | Errno::DQUOT => ErrorKind::Full,
            Errno::FBIG => ErrorKind::Limit,
            _ => ErrorKind::System,
        };
        Self { kind, message: format!("{}: cannot {doing}", shown(path)), source: Some(errno.into()) }
    }

    pub(crate) fn reading(message: impl Into<String>, source: std::io::Error) -> Self {
        Self { kind: ErrorKind::Damaged, message: message.into(), source: Some(source) }
    }

    pub(crate) fn writing(message: impl Into<String>, source: std::io::Error) -> Self {
        let kind = if source.kind() == std::io::ErrorKind::StorageFull { ErrorKind::Full } else { ErrorKind::System };
        Self { kind, message: message.into(), source: Some(source) }
    }

    /// The system's error number, when it was the system.
    #[must_use]
    pub fn raw_os_error(&self) -> Option<i32> {
        self.source.as_ref().and_then(std::io::Error::raw_os_error)
    }

    /// What sort of failure it is.
    #[must_use]
    pub fn kind(&self) -> ErrorKind {
        self.kind
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)?;
        match &self.source {
            Some(source) => write!(f, ": {source}"),
            None => Ok(()),
        }
    }
}

impl std::error::Error for Error {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        self.source.as_ref().map(|source| source as _)
    }
}

/// A name for a sentence: bytes that could move a terminal's cursor are spelled out, the tree itself is `.`, and what is very
/// long is shortened in the middle.
pub(crate) fn shown(path: &[u8]) -> String {
    /// Three lines of a terminal.
    const SHOWN_CHARACTERS_MAX: usize = 240;
    if path.is_empty() {
        return ".".to_owned();
    }
    let text: Vec<char> = escape(&String::from_utf8_lossy(path)).replace('\n', "\\n").replace('\t', "\\t").chars().collect();
    if text.len() <= SHOWN_CHARACTERS_MAX {
        return text.into_iter().collect();
    }
    let half = SHOWN_CHARACTERS_MAX / 2;
    text[..half].iter().chain(&['…']).chain(&text[text.len() - half..]).collect()
}

/// Turns a system call's failure into an [`Error`] that says what was being done to which file.
pub(crate) trait Naming<T> {
    fn naming(self, path: &[u8], doing: &str) -> Result<T>;
}

impl<T> Naming<T> for rustix::io::Result<T> {
    fn naming(self, path: &[u8], doing: &str) -> Result<T> {
        self.map_err(|errno| Error::system(path, doing, errno))
    }
}
