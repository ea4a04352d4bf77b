//! Scalars with a grammar or a range. Parsed once, at the edge; a value of one of these types cannot be wrong.
//!
//! Each has one `FromStr` and one `Display`, which the command line, JSON and the references share; a `Default` here is the only place
//! where that default is written.

use std::fmt;
use std::str::FromStr;

use schemars::JsonSchema;
use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

use crate::ops::workspace::GuaranteeName;
use crate::{Error, Result};

/// A text value: serde, schema and clap through `FromStr` and `Display`.
macro_rules! text_value {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, JsonSchema)]
        #[schemars(inline, transparent)]
        pub struct $name(String);

        impl $name {
            /// The text.
            #[must_use]
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }
        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }
        impl Serialize for $name {
            fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.serialize_str(&self.0)
            }
        }
        impl<'de> Deserialize<'de> for $name {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                String::deserialize(deserializer)?.parse().map_err(|error: Error| de::Error::custom(describe(&error)))
            }
        }
    };
}

/// A whole number with a range and a default.
macro_rules! number_value {
    ($(#[$doc:meta])* $name:ident: $type:ty, $what:literal, $min:literal..=$max:literal, default $default:literal) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, JsonSchema)]
        #[schemars(inline, transparent)]
        pub struct $name($type);

        impl $name {
            /// The smallest value.
            pub const MIN: $type = $min;
            /// The largest value.
            pub const MAX: $type = $max;
            /// The number.
            #[must_use]
            pub fn get(self) -> $type {
                self.0
            }
        }
        impl TryFrom<u64> for $name {
            type Error = Error;
            fn try_from(number: u64) -> Result<Self> {
                <$type>::try_from(number)
                    .ok()
                    .filter(|number| ($min..=$max).contains(number))
                    .map(Self)
                    .ok_or_else(|| Error::invalid(format!("{} {number} is not between {} and {}", $what, $min, $max)))
            }
        }
        impl Default for $name {
            fn default() -> Self {
                Self($default)
            }
        }
        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, "{}", self.0)
            }
        }
        impl FromStr for $name {
            type Err = Error;
            fn from_str(text: &str) -> Result<Self> {
                let number: u64 = text.trim().parse().map_err(|_| {
                    Error::invalid(format!("{} {text:?} is not a whole number between {} and {}", $what, $min, $max))
                })?;
                Self::try_from(number)
            }
        }
        impl Serialize for $name {
            fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.serialize_u64(u64::from(self.0))
            }
        }
        impl<'de> Deserialize<'de> for $name {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                number_or_text(deserializer)?.parse().map_err(|error: Error| de::Error::custom(describe(&error)))
            }
        }
    };
}

/// Models and hosts send numbers as text at times, and whole numbers as `30.0`: all are taken.
fn number_or_text<'de, D: Deserializer<'de>>(deserializer: D) -> Result<String, D::Error> {
    #[derive(Deserialize)]
    #[serde(untagged)]
    enum Either {
        Number(serde_json::Number),
        Text(String),
    }
    match Either::deserialize(deserializer) {
        Ok(Either::Number(number)) => {
            let text = number.to_string();
            Ok(text.strip_suffix(".0").map(str::to_owned).unwrap_or(text))
        }
        Ok(Either::Text(text)) => Ok(text),
        Err(_) => Err(de::Error::custom("a whole number is wanted here")),
    }
}

/// A plain whole number, as leniently as the types here take theirs. For `deserialize_with`.
pub(crate) fn whole_number<'de, D: Deserializer<'de>, T: FromStr>(deserializer: D) -> Result<T, D::Error> {
    let text = number_or_text(deserializer)?;
    text.trim().parse().map_err(|_| de::Error::custom(format!("invalid whole number {}", shown(&text))))
}

/// As [`whole_number`], for a field that may be absent.
pub(crate) fn whole_number_or_none<'de, D: Deserializer<'de>, T: FromStr>(deserializer: D) -> Result<Option<T>, D::Error> {
    #[derive(Deserialize)]
    struct Wrapped<T: FromStr>(#[serde(deserialize_with = "whole_number")] T);
    Ok(Option::<Wrapped<T>>::deserialize(deserializer)?.map(|Wrapped(number)| number))
}

/// A list as models send it: an array, one text for a list of one, or an object for pairs (`{"A": "b"}` for `["A=b"]`). The schema says
/// array of text. For `deserialize_with`.
pub(crate) fn list<'de, D: Deserializer<'de>, T: FromStr<Err = E>, E: fmt::Display + Into<Error>>(
    deserializer: D,
) -> Result<Vec<T>, D::Error> {
    #[derive(Deserialize)]
    #[serde(untagged)]
    enum Shape {
        Many(Vec<String>),
        One(String),
        Pairs(serde_json::Map<String, serde_json::Value>),
    }
    let texts = match Shape::deserialize(deserializer) {
        Ok(Shape::Many(texts)) => texts,
        Ok(Shape::One(text)) => vec![text],
        Ok(Shape::Pairs(pairs)) => pairs
            .into_iter()
            .map(|(key, value)| match value {
                serde_json::Value::String(text) => format!("{key}={text}"),
                value => format!("{key}={value}"),
            })
            .collect(),
        Err(_) => return Err(de::Error::custom("a list of texts is wanted here")),
    };
    texts.into_iter().map(|text| text.parse().map_err(|error: E| de::Error::custom(describe(&error.into())))).collect()
}

/// [`list`] of plain texts.
pub(crate) fn texts<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<String>, D::Error> {
    list::<D, String, std::convert::Infallible>(deserializer)
}

/// Sentence and hint in one text, for serde's errors; the table takes them apart again.
fn describe(error: &Error) -> String {
    match &error.hint {
        Some(hint) => format!("{}{}{hint}", error.message, crate::table::HINT_MARK),
        None => error.message.clone(),
    }
}

number_value!(
    /// How long a command may take, seconds. The default is the baseline contract's.
    TimeoutSeconds: u64, "timeout_seconds", 1..=604_800, default 30
);
number_value!(
    /// How long a command of a workspace may take, seconds. Whoever made a workspace wants to work in it: one that takes long goes on as a job
    /// meanwhile, and an hour is what a slow build takes.
    ExecSeconds: u64, "timeout_seconds", 1..=604_800, default 3600
);
number_value!(
    /// How long a caller waits for a command before it goes on as a job, seconds. The default is for calls that must not block: 45 seconds is less
    /// than any chat host waits for a tool.
    WaitSeconds: u64, "wait_seconds", 0..=604_800, default 45
);
number_value!(
    /// Processors of a sandbox. Range and default are the baseline contract's, with room for larger machines.
    VcpuCount: u32, "vcpu_count", 1..=256, default 1
);
number_value!(
    /// Memory limit of a sandbox in MiB. The default is the baseline contract's; below 32 MiB no shell starts reliably.
    MemMib: u64, "mem_mib", 32..=1_048_576, default 1024
);
number_value!(
    /// Size of a sandbox's own disk in MiB, where it has one. The file behind it takes what is written; at least what a build of a small project takes.
    DiskMib: u64, "disk_mib", 256..=1_048_576, default 16_384
);

text_value!(
    /// Name of an environment: `debian:12`, `host`.
    EnvironmentName
);
text_value!(
    /// Name of a workspace: unique among live workspaces.
    WorkspaceName
);
text_value!(
    /// A workspace by name, id, or a unique beginning of either.
    WorkspaceRef
);
text_value!(
    /// Key of a label.
    LabelKey
);

mod lines;
mod past;
mod running;
pub use lines::LineRange;
pub use past::{Against, ForkCount, SnapshotName};
pub use running::{JobName, ShellName};

/// Longest name of a workspace. Short enough for a host name (63 bytes, RFC 1035).
pub const WORKSPACE_NAME_BYTES_MAX: usize = 63;
/// Longest name of an environment.
const ENVIRONMENT_NAME_BYTES_MAX: usize = 120;
/// The baseline contract's.
const LABEL_KEY_BYTES_MAX: usize = 64;
/// The baseline contract's.
const LABEL_VALUE_CHARS_MAX: usize = 120;

impl Default for EnvironmentName {
    fn default() -> Self {
        Self("debian:12".to_owned())
    }
}

impl FromStr for EnvironmentName {
    type Err = Error;
    fn from_str(text: &str) -> Result<Self> {
        let ok = text.starts_with(|first: char| first.is_ascii_alphanumeric())
            && text.chars().all(|c| c.is_ascii_alphanumeric() || "._:/@-".contains(c))
            && !text.contains("..")
            && text.len() <= ENVIRONMENT_NAME_BYTES_MAX;
        if ok {
            Ok(Self(text.to_owned()))
        } else {
            Err(Error::invalid(format!("{} is not the name of an environment", shown(text)))
                .hint("such as debian:12; env list shows them"))
        }
    }
}

impl FromStr for WorkspaceName {
    type Err = Error;
    fn from_str(text: &str) -> Result<Self> {
        let ok = text.starts_with(|first: char| first.is_ascii_lowercase() || first.is_ascii_digit())
            && text.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-')
            && !text.ends_with('-')
            && text.len() <= WORKSPACE_NAME_BYTES_MAX;
        if ok {
            Ok(Self(text.to_owned()))
        } else {
            Err(Error::invalid(format!("{} is not a workspace name", shown(text)))
                .hint("lower-case letters, digits and '-', at most 63, such as brave-otter"))
        }
    }
}

impl FromStr for WorkspaceRef {
    type Err = Error;
    fn from_str(text: &str) -> Result<Self> {
        let ok = !text.is_empty()
            && text.len() <= WORKSPACE_NAME_BYTES_MAX
            && text.chars().all(|c| c.is_ascii_alphanumeric() || c == '-');
        if ok {
            Ok(Self(text.to_owned()))
        } else {
            Err(Error::invalid(format!("{} names no workspace", shown(text))).hint("workspace list shows the names"))
        }
    }
}

impl FromStr for LabelKey {
    type Err = Error;
    fn from_str(text: &str) -> Result<Self> {
        let ok = text.starts_with(|first: char| first.is_ascii_alphanumeric())
            && text.chars().all(|c| c.is_ascii_alphanumeric() || "._-".contains(c))
            && text.len() <= LABEL_KEY_BYTES_MAX;
        if ok {
            Ok(Self(text.to_owned()))
        } else {
            Err(Error::invalid(format!("{} is not a label key", shown(text)))
                .hint("letters, digits, '.', '_' and '-', at most 64, beginning with a letter or digit"))
        }
    }
}

/// A text in an error: quoted, control characters escaped, at most 60 characters of it.
fn shown(text: &str) -> String {
    let mut short: String = text.chars().take(60).collect();
    if short.len() < text.len() {
        short.push('…');
    }
    format!("{short:?}")
}

/// `KEY=VALUE`.
#[derive(Clone, Debug, PartialEq, Eq, JsonSchema)]
#[schemars(inline, with = "String")]
pub struct Label {
    /// Key.
    pub key: LabelKey,
    /// Value: 1 to 120 characters, one line.
    pub value: String,
}

impl FromStr for Label {
    type Err = Error;
    fn from_str(text: &str) -> Result<Self> {
        let (key, value) = text.split_once('=').ok_or_else(|| {
            Error::invalid(format!("label {} has no '='", shown(text))).hint("write KEY=VALUE, such as branch=main")
        })?;
        if value.is_empty() || value.chars().count() > LABEL_VALUE_CHARS_MAX || value.chars().any(char::is_control) {
            return Err(Error::invalid(format!("value of label {} is not 1 to 120 characters on one line", shown(key))));
        }
        Ok(Self { key: key.parse()?, value: value.to_owned() })
    }
}

impl fmt::Display for Label {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}={}", self.key, self.value)
    }
}

/// `NAME=VALUE`, for the environment of a command.
#[derive(Clone, Debug, PartialEq, Eq, JsonSchema)]
#[schemars(inline, with = "String")]
pub struct EnvVar {
    /// Name.
    pub name: String,
    /// Value; may be empty.
    pub value: String,
}

impl FromStr for EnvVar {
    type Err = Error;
    fn from_str(text: &str) -> Result<Self> {
        let (name, value) = text
            .split_once('=')
            .ok_or_else(|| Error::invalid(format!("variable {} has no '='", shown(text))).hint("write NAME=VALUE"))?;
        let name_ok = name.starts_with(|first: char| first.is_ascii_alphabetic() || first == '_')
            && name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_');
        if !name_ok || value.contains('\0') {
            return Err(Error::invalid(format!("{} is not a variable name with a value", shown(text))).hint("write NAME=VALUE"));
        }
        Ok(Self { name: name.to_owned(), value: value.to_owned() })
    }
}

impl fmt::Display for EnvVar {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}={}", self.name, self.value)
    }
}

/// The isolation that must be held: a level, guarantees by name, or both: `namespaces,memory_limit`.
#[derive(Clone, Debug, PartialEq, Eq, JsonSchema)]
#[schemars(inline, with = "String")]
pub struct IsolationMinimum {
    /// The level.
    pub level: IsolationLevel,
    /// Guarantees that must be held besides those of the level.
    pub guarantees: Vec<GuaranteeName>,
}

impl IsolationMinimum {
    /// The least that is both this and `other`.
    #[must_use]
    pub fn and(mut self, other: &Self) -> Self {
        self.level = self.level.max(other.level);
        for guarantee in &other.guarantees {
            if !self.guarantees.contains(guarantee) {
                self.guarantees.push(*guarantee);
            }
        }
        self
    }
}

/// How a sandbox is separated from the host.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum IsolationLevel {
    /// Namespaces of the host's kernel, with a system call filter.
    Namespaces,
    /// A kernel of its own.
    Microvm,
}

impl IsolationLevel {
    /// What a level promises: it cannot be had with one of these not held.
    #[must_use]
    pub fn guarantees(self) -> &'static [GuaranteeName] {
        use GuaranteeName::{
            FewCapabilities, NoNetwork, NoNewPrivileges, OwnFileSystem, OwnKernel, OwnProcesses, OwnUserIds, SyscallFilter,
        };
        match self {
            Self::Namespaces => {
                &[OwnUserIds, OwnFileSystem, OwnProcesses, NoNetwork, NoNewPrivileges, FewCapabilities, SyscallFilter]
            }
            Self::Microvm => &[OwnFileSystem, OwnProcesses, NoNetwork, OwnKernel],
        }
    }
}

impl Default for IsolationMinimum {
    fn default() -> Self {
        Self { level: IsolationLevel::Namespaces, guarantees: Vec::new() }
    }
}

/// Name of a unit variant as serde writes it: one spelling for JSON, the command line and errors.
pub fn serde_name<T: Serialize>(variant: &T) -> String {
    match serde_json::to_value(variant) {
        Ok(serde_json::Value::String(name)) => name,
        _ => String::new(),
    }
}

impl FromStr for IsolationMinimum {
    type Err = Error;
    fn from_str(text: &str) -> Result<Self> {
        let mut minimum = Self::default();
        for word in text.split(',').map(str::trim) {
            match word {
                "namespaces" => {}
                "microvm" => minimum.level = IsolationLevel::Microvm,
                word => {
                    let guarantee = serde_json::from_value(serde_json::Value::String(word.to_owned())).map_err(|_| {
                        Error::invalid(format!("{} is not a level of isolation", shown(word)))
                            .hint("namespaces or microvm, and guarantees such as memory_limit after a comma")
                    })?;
                    minimum.guarantees.push(guarantee);
                }
            }
        }
        Ok(minimum)
    }
}

impl fmt::Display for IsolationMinimum {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self.level {
            IsolationLevel::Namespaces => "namespaces",
            IsolationLevel::Microvm => "microvm",
        })?;
        for guarantee in &self.guarantees {
            write!(f, ",{}", serde_name(guarantee))?;
        }
        Ok(())
    }
}

macro_rules! serde_by_text {
    ($($name:ty),*) => {$(
        impl Serialize for $name {
            fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.collect_str(self)
            }
        }
        impl<'de> Deserialize<'de> for $name {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                String::deserialize(deserializer)?.parse().map_err(|error: Error| de::Error::custom(describe(&error)))
            }
        }
    )*};
}
serde_by_text!(Label, EnvVar, IsolationMinimum);

/// What to run: one shell line (a JSON string), or a program with its arguments (a JSON array, and what follows `--` on the
/// command line), in which case no shell is involved.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[schemars(inline, with = "String")]
#[serde(untagged)]
pub enum CommandLine {
    /// A line for the sandbox's shell.
    Shell(String),
    /// A program and its arguments.
    Argv(Vec<String>),
}

/// Program and arguments together, bytes: what one protocol frame carries with room for the environment.
const COMMAND_BYTES_MAX: usize = 32 * 1024;

impl CommandLine {
    /// # Errors
    /// `Invalid` when there is nothing to run, it holds NUL, or it is too long.
    pub fn check(&self) -> Result<()> {
        let (empty, bytes, nul) = match self {
            Self::Shell(line) => (line.trim().is_empty(), line.len(), line.contains('\0')),
            Self::Argv(argv) => (
                argv.first().is_none_or(String::is_empty),
                argv.iter().map(|word| word.len().saturating_add(1)).sum(),
                argv.iter().any(|word| word.contains('\0')),
            ),
        };
        if empty {
            return Err(Error::invalid("there is no command to run").hint("put it after `--`, such as: -- ls -l"));
        }
        if nul {
            return Err(Error::invalid("the command holds a NUL byte"));
        }
        if bytes > COMMAND_BYTES_MAX {
            return Err(Error::invalid(format!("the command is {bytes} bytes long, more than {COMMAND_BYTES_MAX}"))
                .hint("write a script with file write and run that, or use stdin"));
        }
        Ok(())
    }
}

impl fmt::Display for CommandLine {
    /// As a shell line that does the same.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Shell(line) => f.write_str(line),
            Self::Argv(argv) => {
                for (index, word) in argv.iter().enumerate() {
                    if index > 0 {
                        f.write_str(" ")?;
                    }
                    let plain = !word.is_empty() && word.chars().all(|c| c.is_ascii_alphanumeric() || "_-./=:,@%+".contains(c));
                    if plain {
                        f.write_str(word)?;
                    } else {
                        write!(f, "'{}'", word.replace('\'', "'\\''"))?;
                    }
                }
                Ok(())
            }
        }
    }
}

#[cfg(feature = "clap")]
mod command_line_arguments {
    use clap::{Arg, ArgAction, ArgMatches, Command};

    use super::CommandLine;

    /// Name of the argument: the property's name in JSON too.
    const ID: &str = "command";

    impl clap::Args for CommandLine {
        fn augment_args(command: Command) -> Command {
            command.arg(
                Arg::new(ID)
                    .value_name("ARGV")
                    .help("Program and arguments, after `--`; no shell is involved")
                    .required(true)
                    .num_args(1..)
                    .last(true)
                    .action(ArgAction::Append),
            )
        }
        fn augment_args_for_update(command: Command) -> Command {
            Self::augment_args(command)
        }
    }

    impl clap::FromArgMatches for CommandLine {
        fn from_arg_matches(matches: &ArgMatches) -> Result<Self, clap::Error> {
            Ok(Self::Argv(matches.get_many::<String>(ID).into_iter().flatten().cloned().collect()))
        }
        fn update_from_arg_matches(&mut self, matches: &ArgMatches) -> Result<(), clap::Error> {
            *self = Self::from_arg_matches(matches)?;
            Ok(())
        }
    }
}
