//! Bytes that need not be UTF-8 (names, link targets), as JSON can carry them.
//!
//! There is exactly one form for each byte string: [`Bytes::Text`] when it is UTF-8, [`Bytes::Hex`] when not. Anything else is refused
//! by the codec, so that two different texts never mean the same name.

use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::{OsStrExt, OsStringExt};

use serde::{Deserialize, Serialize};

use crate::frame::Violation;
use crate::untrusted::Untrusted;

#[cfg(test)]
mod tests;

/// Bytes that need not be UTF-8 (names, link targets), carried in JSON as lower-case hexadecimal when they are not.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Bytes {
    /// The bytes are valid UTF-8.
    Text(String),
    /// The bytes are not valid UTF-8: two hexadecimal digits a byte.
    Hex(String),
}

impl Bytes {
    /// The bytes themselves.
    ///
    /// # Errors
    /// When the hexadecimal form is not exactly what this side would write. Cannot happen to a message that the codec gave.
    pub fn to_vec(&self) -> Result<Vec<u8>, Violation> {
        match self {
            Self::Text(text) => Ok(text.clone().into_bytes()),
            Self::Hex(digits) => {
                let bytes = from_hex(digits).ok_or_else(|| Violation("bytes are not lower-case hexadecimal".to_owned()))?;
                if std::str::from_utf8(&bytes).is_ok() {
                    return Err(Violation("bytes in hexadecimal are UTF-8".to_owned()));
                }
                Ok(bytes)
            }
        }
    }

    /// The bytes, marked as coming from inside.
    ///
    /// # Errors
    /// As [`Bytes::to_vec`].
    pub fn to_untrusted(&self) -> Result<Untrusted<Vec<u8>>, Violation> {
        self.to_vec().map(Untrusted::new)
    }
}

impl From<Vec<u8>> for Bytes {
    fn from(bytes: Vec<u8>) -> Self {
        match String::from_utf8(bytes) {
            Ok(text) => Self::Text(text),
            Err(error) => Self::Hex(to_hex(error.as_bytes())),
        }
    }
}

impl From<&[u8]> for Bytes {
    fn from(bytes: &[u8]) -> Self {
        Self::from(bytes.to_vec())
    }
}

impl From<&OsStr> for Bytes {
    fn from(text: &OsStr) -> Self {
        Self::from(text.as_bytes())
    }
}

impl From<OsString> for Bytes {
    fn from(text: OsString) -> Self {
        Self::from(text.into_vec())
    }
}

impl TryFrom<&Bytes> for OsString {
    type Error = Violation;
    fn try_from(bytes: &Bytes) -> Result<Self, Violation> {
        bytes.to_vec().map(Self::from_vec)
    }
}

fn to_hex(bytes: &[u8]) -> String {
    let digit = |value: u8| char::from_digit(u32::from(value), 16).expect("a value of four bits is a digit");
    bytes.iter().flat_map(|byte| [digit(byte >> 4), digit(byte & 0x0f)]).collect()
}

fn from_hex(digits: &str) -> Option<Vec<u8>> {
    let value = |digit: u8| match digit {
        b'0'..=b'9' => digit.checked_sub(b'0'),
        b'a'..=b'f' => digit.checked_sub(b'a').and_then(|value| value.checked_add(10)),
        _ => None,
    };
    let (pairs, rest) = digits.as_bytes().as_chunks::<2>();
    if !rest.is_empty() {
        return None;
    }
    pairs.iter().map(|[high, low]| Some((value(*high)? << 4) | value(*low)?)).collect()
}
