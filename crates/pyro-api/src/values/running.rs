//! Names of what runs in a workspace: commands and shells.

use super::{
    Deserialize, Deserializer, Error, FromStr, JsonSchema, Result, Serialize, Serializer, de, describe, fmt, number_or_text, shown,
};

/// Name of a shell: what a person or a model calls it.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, JsonSchema)]
#[schemars(inline, with = "String")]
pub struct ShellName(String);

impl ShellName {
    /// The text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for ShellName {
    type Err = Error;
    fn from_str(text: &str) -> Result<Self> {
        let fits = (1..=32).contains(&text.len())
            && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_'))
            && !text.starts_with('-');
        if fits {
            return Ok(Self(text.to_owned()));
        }
        Err(Error::invalid(format!("{} is not the name of a shell", shown(text)))
            .hint("up to 32 letters, digits, - and _, such as sh1"))
    }
}

impl fmt::Display for ShellName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// A command of a workspace by name: `job3` is the third. The number alone is taken too.
#[derive(Clone, Copy, Debug, PartialEq, Eq, JsonSchema)]
#[schemars(inline, with = "String")]
pub struct JobName(u64);

impl JobName {
    /// Its number, from 1.
    #[must_use]
    pub fn number(self) -> u64 {
        self.0
    }
}

impl From<u64> for JobName {
    fn from(number: u64) -> Self {
        Self(number)
    }
}

impl FromStr for JobName {
    type Err = Error;
    fn from_str(text: &str) -> Result<Self> {
        let word = text.trim().to_ascii_lowercase();
        let digits = word.strip_prefix("job").map_or(word.as_str(), |rest| rest.trim_start_matches(['-', ' ', '#']));
        digits.parse().ok().filter(|number| (1..=i64::MAX as u64).contains(number)).map(Self).ok_or_else(|| {
            Error::invalid(format!("{} is not a job", shown(text))).hint("such as job3; workspace job list shows them")
        })
    }
}

impl fmt::Display for JobName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "job{}", self.0)
    }
}

impl Serialize for JobName {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for JobName {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        number_or_text(deserializer)?.parse().map_err(|error: Error| de::Error::custom(describe(&error)))
    }
}

impl Serialize for ShellName {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for ShellName {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(|error: Error| de::Error::custom(describe(&error)))
    }
}
