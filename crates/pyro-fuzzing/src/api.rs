//! Values of requests, as people and models write them.

use std::fmt::{Debug, Display};
use std::str::FromStr;

use pyro_api::values::{
    Against, CommandLine, DiskMib, EnvVar, EnvironmentName, ExecSeconds, ForkCount, IsolationMinimum, JobName, Label, LabelKey,
    LineRange, MemMib, ShellName, SnapshotName, TimeoutSeconds, VcpuCount, WaitSeconds, WorkspaceName, WorkspaceRef,
};
use pyro_wire::SandboxPath;
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::input::parts;

/// Any text as a value of every type, on the command line and in JSON: what is taken is written as a text that is taken for the same; an error acts on no terminal.
pub fn values(bytes: &[u8]) {
    let Ok(text) = std::str::from_utf8(bytes) else { return };
    written::<Against>(text);
    written::<DiskMib>(text);
    written::<EnvVar>(text);
    written::<EnvironmentName>(text);
    written::<ExecSeconds>(text);
    written::<ForkCount>(text);
    written::<IsolationMinimum>(text);
    written::<JobName>(text);
    written::<Label>(text);
    written::<LabelKey>(text);
    written::<LineRange>(text);
    written::<MemMib>(text);
    written::<ShellName>(text);
    written::<SnapshotName>(text);
    written::<TimeoutSeconds>(text);
    written::<VcpuCount>(text);
    written::<WaitSeconds>(text);
    written::<WorkspaceName>(text);
    written::<WorkspaceRef>(text);
    command_line(text);
    if let Ok(path) = text.parse::<SandboxPath>() {
        let names: Vec<&str> = path.as_str().split('/').skip(1).collect();
        assert!(path.as_str().starts_with('/') && !names.contains(&"..") && !names.contains(&"."), "{path:?}");
        assert!(path.as_str() == "/" || !names.contains(&""), "{path:?}");
        assert_eq!(path.as_str().parse().ok(), Some(path.clone()));
        assert_eq!(path.shown().parse().ok(), Some(path));
    }
}

fn written<T: FromStr<Err = pyro_api::Error> + Display + Serialize + DeserializeOwned + PartialEq + Debug>(text: &str) {
    let again = |value: &T| {
        assert_eq!(value.to_string().parse::<T>().ok().as_ref(), Some(value), "by text");
        let json = serde_json::to_string(value).expect("a value can be written");
        assert_eq!(serde_json::from_str::<T>(&json).ok().as_ref(), Some(value), "by JSON");
    };
    match text.parse::<T>() {
        Ok(value) => again(&value),
        Err(error) => harmless(&error),
    }
    if let Ok(value) = serde_json::from_str::<T>(text) {
        again(&value);
    }
}

/// Errors are shown on terminals and to models.
fn harmless(error: &pyro_api::Error) {
    let text = format!("{error} {}", error.hint.as_deref().unwrap_or_default());
    assert!(!text.chars().any(|c| c.is_control() && c != '\n'), "{text:?}");
    assert!(text.chars().count() < 2000, "{} characters", text.chars().count());
}

fn command_line(text: &str) {
    let Ok(command) = serde_json::from_str::<CommandLine>(text) else { return };
    if command.check().is_err() {
        return;
    }
    if let CommandLine::Argv(argv) = &command {
        assert_eq!(words(&command.to_string()).as_ref(), Some(argv), "{command}");
    }
}

/// The words that a shell makes of a line (POSIX, 2.2 and 2.6.5), as far as single quotes and backslashes; none where it has other signs that mean something.
fn words(line: &str) -> Option<Vec<String>> {
    let mut words = Vec::new();
    let mut word: Option<String> = None;
    let mut signs = line.chars();
    while let Some(sign) = signs.next() {
        match sign {
            ' ' => words.extend(word.take()),
            '\'' => {
                let word = word.get_or_insert_default();
                loop {
                    match signs.next()? {
                        '\'' => break,
                        quoted => word.push(quoted),
                    }
                }
            }
            '\\' => word.get_or_insert_default().push(signs.next()?),
            plain if plain.is_ascii_alphanumeric() || "_-./=:,@%+".contains(plain) => word.get_or_insert_default().push(plain),
            _ => return None,
        }
    }
    words.extend(word);
    Some(words)
}

/// Parts: the name of an operation, or its number in the table; and a request in JSON. What is taken is a request that is taken for the same; what is not is an error
/// that acts on no terminal.
pub fn request(bytes: &[u8]) {
    let parts = parts(bytes);
    let [name, json] = parts[..] else { return };
    let op = match (name, pyro_api::table::find(&String::from_utf8_lossy(name))) {
        (_, Ok(op)) => op,
        ([number], Err(_)) => {
            let table = pyro_api::table::table();
            &table[usize::from(*number) % table.len()]
        }
        (_, Err(error)) => return harmless(&error),
    };
    let Ok(request) = serde_json::from_slice::<serde_json::Value>(json) else { return };
    match op.request_from_json(request) {
        Ok(taken) => assert_eq!(op.request_from_json(taken.clone()).ok(), Some(taken), "{}", op.name),
        Err(error) => harmless(&error),
    }
}
