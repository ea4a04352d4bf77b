//! The table of all ops: what each surface needs to know of an op, without its types.
//!
//! Front ends walk this table: the command line, the MCP tools and the references are derived from it and from nothing else. A
//! request is checked here in the same way, and in the same words, whoever made it.

use serde::Deserialize;
use serde_json::{Map, Value};

use crate::error::{Error, Result};
use crate::nearest::{did_you_mean, nearest};
use crate::{Effect, Op, Profile, ops, schema};

/// One op as a surface sees it.
pub struct OpSurface {
    /// Name as words: `workspace exec`.
    pub name: &'static str,
    /// Name of its MCP tool, when it has one.
    pub tool: Option<&'static str>,
    /// What it does to the world.
    pub effect: Effect,
    /// The smallest tool profile that shows it.
    pub profile: Profile,
    /// Fields that the tool's schema leaves out; they are taken all the same.
    pub tool_omits: &'static [&'static str],
    /// It runs a command that its caller may follow.
    pub live: bool,
    /// Its response has the outcome of a command.
    pub command_outcome: bool,
    /// It has a command.
    pub on_command_line: bool,
    /// Field that the command line fills from standard input.
    pub stdin: Option<&'static str>,
    /// Fields that make that unnecessary.
    pub stdin_unless: &'static [&'static str],
    /// Fields that name something on the host.
    pub host_paths: &'static [&'static str],
    /// Of these, the fields that name something that it makes.
    pub host_made: &'static [&'static str],
    description: fn() -> String,
    input: fn() -> Value,
    output: fn() -> Value,
    check: fn(Value) -> Result<Value>,
    #[cfg(feature = "clap")]
    augment: fn(clap::Command) -> clap::Command,
    #[cfg(feature = "clap")]
    from_matches: fn(&clap::ArgMatches) -> Result<Value>,
}

const fn surface<O: Op>() -> OpSurface {
    OpSurface {
        name: O::NAME,
        tool: O::TOOL,
        effect: O::EFFECT,
        profile: O::PROFILE,
        tool_omits: O::TOOL_OMITS,
        live: O::LIVE,
        command_outcome: O::COMMAND,
        on_command_line: O::ON_COMMAND_LINE,
        stdin: O::STDIN,
        stdin_unless: O::STDIN_UNLESS,
        host_paths: O::HOST_PATHS,
        host_made: O::HOST_MADE,
        description: schema::description_of::<O::Request>,
        input: schema::of_request::<O::Request>,
        output: schema::of_response::<O::Response>,
        check: |value| to_json(&request_from_json::<O>(value)?),
        #[cfg(feature = "clap")]
        augment: <O::Request as clap::Args>::augment_args,
        #[cfg(feature = "clap")]
        from_matches: |matches| {
            let request = <O::Request as clap::FromArgMatches>::from_arg_matches(matches)
                .map_err(|error| Error::invalid(error.to_string().trim().to_owned()))?;
            to_json(&request)
        },
    }
}

macro_rules! rows {
    ($($op:ident,)*) => { &[$(surface::<ops::$op>()),*] };
}
static TABLE: &[OpSurface] = crate::for_each_op!(rows);

/// All ops, in the order in which help shows them.
#[must_use]
pub fn table() -> &'static [OpSurface] {
    TABLE
}

/// The op of this name.
///
/// # Errors
/// `Invalid`, with the nearest names.
pub fn find(name: &str) -> Result<&'static OpSurface> {
    TABLE.iter().find(|op| op.name == name).ok_or_else(|| {
        let error = Error::invalid(format!("there is no operation {name:?}"));
        match did_you_mean(&nearest(name, TABLE.iter().map(|op| op.name))) {
            Some(hint) => error.hint(hint),
            None => error.hint("pyro --help lists them"),
        }
    })
}

/// The ops that a tool profile shows, in the order of the table.
pub fn of_profile(profile: Profile) -> impl Iterator<Item = &'static OpSurface> {
    TABLE.iter().filter(move |op| op.tool.is_some() && op.profile <= profile)
}

impl OpSurface {
    /// What it does, in one line without a full stop.
    #[must_use]
    pub fn about(&self) -> String {
        (self.description)().lines().next().unwrap_or_default().to_owned()
    }

    /// What it does, in sentences: for models and references.
    #[must_use]
    pub fn description(&self) -> String {
        let text = (self.description)();
        let mut paragraphs = text.split("\n\n").map(|paragraph| paragraph.replace('\n', " "));
        let mut description = paragraphs.next().unwrap_or_default();
        for paragraph in paragraphs {
            if !description.ends_with('.') {
                description.push('.');
            }
            description.push(' ');
            description.push_str(&paragraph);
        }
        description
    }

    /// Schema of its request, whole.
    #[must_use]
    pub fn input_schema(&self) -> Value {
        (self.input)()
    }

    /// Schema of its request as its MCP tool shows it: without the fields that a model is better not asked for.
    #[must_use]
    pub fn tool_schema(&self) -> Value {
        let mut schema = (self.input)();
        open_to_aliases(&mut schema);
        if let Some(Value::Object(properties)) = schema.get_mut("properties") {
            properties.retain(|name, _| !self.tool_omits.contains(&name.as_str()));
            for name in SELF_EXPLAINING {
                if let Some(Value::Object(property)) = properties.get_mut(name) {
                    property.remove("description");
                }
            }
            // As little is said by a path of a file operation that is called a file.
            if let Some(Value::Object(path)) = properties.get_mut("path")
                && path.get("description") == Some(&Value::from("File"))
            {
                path.remove("description");
            }
        }
        schema
    }

    /// Schema of its response.
    #[must_use]
    pub fn output_schema(&self) -> Value {
        (self.output)()
    }

    /// A request as a program or a model sends it, checked, with every default filled in.
    ///
    /// # Errors
    /// `Invalid`, in the words the command line uses too.
    pub fn request_from_json(&self, request: Value) -> Result<Value> {
        (self.check)(request)
    }

    /// Its last word: the name of its subcommand.
    #[must_use]
    pub fn word(&self) -> &'static str {
        self.name.rsplit(' ').next().unwrap_or(self.name)
    }

    /// Its arguments, added to a command.
    #[cfg(feature = "clap")]
    #[must_use]
    pub fn augment(&self, command: clap::Command) -> clap::Command {
        (self.augment)(command)
    }

    /// What [`OpSurface::augment`] does, as clap takes it to do it later.
    #[cfg(feature = "clap")]
    #[must_use]
    pub fn augmenter(&self) -> fn(clap::Command) -> clap::Command {
        self.augment
    }

    /// Its subcommand.
    #[cfg(feature = "clap")]
    #[must_use]
    pub fn command(&self) -> clap::Command {
        (self.augment)(clap::Command::new(self.word()))
    }

    /// The request that a command line stands for. [`OpSurface::request_from_json`] has still to check it as a whole, once the caller has
    /// filled in what no flag gives.
    ///
    /// # Errors
    /// `Invalid` when a required argument is not there, which clap has told before.
    #[cfg(feature = "clap")]
    pub fn request_from_matches(&self, matches: &clap::ArgMatches) -> Result<Value> {
        (self.from_matches)(matches)
    }
}

/// Fields whose word says it; the server's instructions do too, and every tool would pay for it again.
const SELF_EXPLAINING: [&str; 8] = ["workspace", "cwd", "action", "job", "stdin", "stream", "text", "snapshot"];

/// Hosts that check arguments themselves would refuse the names that models bring from other tools; we understand many of them, and refuse the
/// others with the nearest name.
fn open_to_aliases(schema: &mut Value) {
    match schema {
        Value::Object(fields) => {
            fields.remove("additionalProperties");
            fields.values_mut().for_each(open_to_aliases);
        }
        Value::Array(items) => items.iter_mut().for_each(open_to_aliases),
        _ => {}
    }
}

fn to_json<T: serde::Serialize>(value: &T) -> Result<Value> {
    serde_json::to_value(value).map_err(|error| Error::internal("a request cannot be written as JSON").because(error))
}

/// A request of one op from JSON: what hosts and models send is taken where it can mean only one thing (`null` for a field that may
/// be absent, `"30"` for 30, one text for a list of one, an object for `NAME=VALUE` pairs); anything else is refused in one sentence.
///
/// # Errors
/// `Invalid`.
pub fn request_from_json<O: Op>(request: Value) -> Result<O::Request> {
    let request = match request {
        Value::Null => Value::Object(Map::new()),
        request => request,
    };
    let parsed = match O::Request::deserialize(&request) {
        Ok(parsed) => parsed,
        Err(_) => explain::<O>(request)?,
    };
    O::check(&parsed)?;
    Ok(parsed)
}

/// The slow way, once the quick one has failed: takes nulls out, or says what is wrong.
fn explain<O: Op>(request: Value) -> Result<O::Request> {
    let Value::Object(mut fields) = request else {
        return Err(Error::invalid(format!("the request of {} is not a JSON object", O::NAME)));
    };
    let schema = schema::of_request::<O::Request>();
    let empty = Map::new();
    let properties = schema.get("properties").and_then(Value::as_object).unwrap_or(&empty);
    if let Some(unknown) = fields.keys().find(|name| !properties.contains_key(*name) && is_refused::<O>(name)) {
        let error = Error::invalid(format!("{} takes no {unknown:?}", O::NAME));
        let names: Vec<&str> = properties.keys().map(String::as_str).collect();
        return Err(match did_you_mean(&nearest(meant(unknown), names.iter().copied())) {
            Some(hint) => error.hint(hint),
            None if names.is_empty() => error.hint("it takes nothing"),
            None => error.hint(format!("it takes {}", names.join(", "))),
        });
    }
    fields.retain(|_, value| !value.is_null());
    let required = schema.get("required").and_then(Value::as_array).into_iter().flatten().filter_map(Value::as_str);
    for name in required {
        if !fields.contains_key(name) {
            return Err(missing(
                name,
                properties.get(name).and_then(|property| property.get("description")).and_then(Value::as_str),
            ));
        }
    }
    serde_path_to_error::deserialize(Value::Object(fields)).map_err(|error| {
        let field = error.path().to_string();
        let text = error.into_inner().to_string();
        let (sentence, hint) = match text.split_once(HINT_MARK) {
            Some((sentence, hint)) => (sentence.to_owned(), Some(hint.to_owned())),
            None => (text, None),
        };
        // Sentences of our own types name the value; serde's name only types.
        let sentence = match sentence.strip_prefix("invalid type: ") {
            Some(types) => format!("{field} is {}", types.replace(", expected ", ", not ")),
            None if sentence.starts_with("invalid whole number ") => {
                not_a_number(&field, sentence.trim_start_matches("invalid whole number "))
            }
            None if sentence.starts_with("unknown variant ") => not_one_of(&field, &sentence),
            None if sentence.starts_with("invalid ") || sentence.starts_with("unknown ") => format!("{field}: {sentence}"),
            None => sentence,
        };
        let error = Error::invalid(sentence);
        match hint {
            Some(hint) => error.hint(hint),
            None => error,
        }
    })
}

/// Whether a request has no field of this name, nor takes it for another.
fn is_refused<O: Op>(name: &str) -> bool {
    let alone = Value::Object(Map::from_iter([(name.to_owned(), Value::Null)]));
    O::Request::deserialize(alone).is_err_and(|error| error.to_string().starts_with("unknown field "))
}

/// The sentence for a number that is none: the same from every surface. The value comes quoted.
#[must_use]
pub fn not_a_number(field: &str, value: &str) -> String {
    format!("{field} {value} is not a whole number that fits here")
}

/// ``unknown variant `x`, expected one of `a`, `b` `` becomes the sentence that every surface uses.
fn not_one_of(field: &str, sentence: &str) -> String {
    let mut names = sentence.split('`').skip(1).step_by(2);
    let given = names.next().unwrap_or_default();
    not_a_choice(field, given, &names.collect::<Vec<_>>())
}

/// The sentence for a word that is not among the choices: the same from every surface.
#[must_use]
pub fn not_a_choice(field: &str, given: &str, choices: &[&str]) -> String {
    format!("{field} {given:?} is not one of {}", choices.join(", "))
}

/// The error for a field that is not there: the same from every surface.
#[must_use]
pub fn missing(field: &str, description: Option<&str>) -> Error {
    let error = Error::invalid(format!("{field} is missing"));
    match description {
        Some(description) => error.hint(description),
        None => error,
    }
}

/// Between a sentence and its hint where only one text can be carried, as through serde.
pub(crate) const HINT_MARK: &str = "; hint: ";

/// Names that models bring from other tools and that no spelling leads from.
fn meant(name: &str) -> &str {
    match name {
        "cmd" | "argv" | "script" | "code" | "shell" => "command",
        "timeout_ms" | "timeout" | "seconds" => "timeout_seconds",
        "yield_time_ms" | "wait" | "wait_s" => "wait_seconds",
        "job_id" | "job_name" | "exec" | "process" | "session_id" => "job",
        "workspace_id" | "id" | "ws" | "sandbox" => "workspace",
        "content" | "contents" | "file_text" | "data" | "body" => "text",
        "file_path" | "filePath" | "file" | "filename" | "directory" | "dir" => "path",
        "workdir" | "working_directory" | "working_dir" => "cwd",
        "image" => "environment",
        name => name,
    }
}
