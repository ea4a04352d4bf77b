//! A path inside a sandbox: absolute, normalised, bounded.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::limits::{NAME_BYTES_MAX, PATH_BYTES_MAX};

#[cfg(test)]
mod tests;

/// Where everything of a user lives inside a sandbox, and what relative paths are relative to.
pub const WORKSPACE_DIRECTORY: &str = "/workspace";

/// An absolute path inside a sandbox, in UTF-8, without `.`, `..`, empty components or NUL.
///
/// It never names anything outside. Links are resolved by the kernel inside the sandbox, so a path that is valid here may
/// still lead anywhere *within* the sandbox.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct SandboxPath(String);

/// Why a text is not a sandbox path.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PathError {
    /// Nothing was given.
    Empty,
    /// The path or one of its names is too long.
    TooLong,
    /// It holds a NUL byte.
    Nul,
    /// It holds a `..` that would leave the root.
    AboveRoot,
}

impl fmt::Display for PathError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Empty => "the path is empty",
            Self::TooLong => "the path is longer than 4095 bytes or has a name longer than 255",
            Self::Nul => "the path holds a NUL byte",
            Self::AboveRoot => "the path leads above the root",
        })
    }
}

impl std::error::Error for PathError {}

impl SandboxPath {
    /// Reads a path as a user writes it: relative paths are below `/workspace`, `.` and `..` are resolved by text.
    ///
    /// # Errors
    /// When it is empty, too long, holds NUL, or leads above the root.
    pub fn parse(text: &str) -> Result<Self, PathError> {
        if text.is_empty() {
            return Err(PathError::Empty);
        }
        if text.contains('\0') {
            return Err(PathError::Nul);
        }
        let mut names: Vec<&str> = Vec::new();
        if !text.starts_with('/') {
            names.extend(WORKSPACE_DIRECTORY.split('/').filter(|name| !name.is_empty()));
        }
        for name in text.split('/') {
            match name {
                "" | "." => {}
                ".." => {
                    names.pop().ok_or(PathError::AboveRoot)?;
                }
                name if name.len() > NAME_BYTES_MAX => return Err(PathError::TooLong),
                name => names.push(name),
            }
        }
        let joined = format!("/{}", names.join("/"));
        if joined.len() > PATH_BYTES_MAX {
            return Err(PathError::TooLong);
        }
        Ok(Self(joined))
    }

    /// `/workspace` itself.
    #[must_use]
    pub fn workspace() -> Self {
        Self(WORKSPACE_DIRECTORY.to_owned())
    }

    /// The absolute path.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The path as results show it: relative to `/workspace` when it is below it, `.` for `/workspace` itself, else absolute.
    #[must_use]
    pub fn shown(&self) -> &str {
        match self.0.strip_prefix(WORKSPACE_DIRECTORY) {
            Some("") => ".",
            Some(rest) => rest.strip_prefix('/').unwrap_or(&self.0),
            None => &self.0,
        }
    }
}

impl fmt::Display for SandboxPath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::str::FromStr for SandboxPath {
    type Err = PathError;
    fn from_str(text: &str) -> Result<Self, PathError> {
        Self::parse(text)
    }
}

impl TryFrom<String> for SandboxPath {
    type Error = PathError;
    fn try_from(text: String) -> Result<Self, PathError> {
        Self::parse(&text)
    }
}

impl From<SandboxPath> for String {
    fn from(path: SandboxPath) -> Self {
        path.0
    }
}
