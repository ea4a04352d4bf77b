//! The surface as a whole: what every op must have, the grammars of its values, and the words of its refusals.

use std::collections::BTreeSet;
use std::str::FromStr;

use serde_json::{Value, json};

use crate::nearest::nearest;
use crate::table::{OpSurface, find, of_profile, table};
use crate::values::*;
use crate::{Error, Profile};

fn op(name: &str) -> &'static OpSurface {
    find(name).expect("an op of the table")
}

fn properties(schema: &Value) -> BTreeSet<String> {
    schema["properties"].as_object().expect("an object of properties").keys().cloned().collect()
}

/// Fields that have no flag, and why.
const NO_FLAG: [(&str, &str); 8] = [
    ("run", "stdin"),                   // our own standard input is the command's
    ("workspace exec", "stdin"),        // as above
    ("workspace exec", "columns"),      // our own terminal's
    ("workspace exec", "rows"),         // as above
    ("workspace file write", "base64"), // standard input carries any bytes
    ("workspace file read", "base64"),  // standard output carries any bytes
    ("workspace file edit", "edits"),   // a person sends several as a patch
    ("workspace file edit", "base64"),  // standard input carries any bytes
];

#[test]
fn flags_equal_properties() {
    for op in table() {
        let command = op.command();
        let mut flags: BTreeSet<String> = command.get_arguments().map(|argument| argument.get_id().to_string()).collect();
        for (_, field) in NO_FLAG.iter().filter(|(name, _)| *name == op.name) {
            assert!(flags.insert((*field).to_owned()), "{}: {field} has a flag by now", op.name);
        }
        assert_eq!(flags, properties(&op.input_schema()), "{}", op.name);
    }
}

#[test]
fn names_are_unique_and_well_formed() {
    let mut names = BTreeSet::new();
    let mut tools = BTreeSet::new();
    for op in table() {
        assert!(names.insert(op.name), "{} twice", op.name);
        assert!(op.name.split(' ').all(|word| !word.is_empty() && word.chars().all(|c| c.is_ascii_lowercase())), "{}", op.name);
        if let Some(tool) = op.tool {
            assert!(tools.insert(tool), "{tool} twice");
            assert!(tool.len() <= 24 && tool.chars().all(|c| c.is_ascii_lowercase() || c == '_'), "{tool}");
            let name = op.name.replace(' ', "_");
            // What only a workspace has needs not say so again.
            let is_it = tool == name || (op.name.split(' ').count() > 2 && name.strip_prefix("workspace_") == Some(tool));
            assert!(is_it || op.name == "run", "{tool} is not the name of {}", op.name);
        }
        assert_eq!(op.tool.is_none(), op.profile == Profile::Person, "{}: a tool is in a profile, and only a tool is", op.name);
        assert!(op.on_command_line || op.tool.is_some(), "{} is nowhere", op.name);
    }
}

#[test]
fn descriptions_start_with_a_verb_and_are_short() {
    const VERBS: [&str; 24] = [
        "Run", "Create", "List", "Show", "Change", "Start", "Stop", "Delete", "Read", "Build", "Remove", "Check", "Set", "Undo",
        "Redo", "Fork", "Free", "Push", "Copy", "Compare", "Replace", "Search", "Move", "Wait",
    ];
    for op in table() {
        let about = op.about();
        let verb = about.split(' ').next().unwrap_or_default();
        assert!(VERBS.contains(&verb), "{}: {about:?} does not start with a verb of the list", op.name);
        assert!(about.chars().count() <= 80 && !about.ends_with('.'), "{}: {about:?}", op.name);
        assert!(op.description().chars().count() <= 800, "{}", op.name);
        let clap = op.command().get_about().map(ToString::to_string);
        assert_eq!(clap.as_deref(), Some(about.as_str()), "{}: help and description differ", op.name);
        for (name, property) in op.input_schema()["properties"].as_object().expect("properties") {
            let text = property["description"].as_str().unwrap_or_else(|| panic!("{} {name} has no doc comment", op.name));
            assert!(!text.ends_with('.') && !text.contains('\n') && text.chars().count() <= 160, "{} {name}: {text:?}", op.name);
        }
    }
}

#[test]
fn schemas_are_what_every_host_takes() {
    fn walk(at: &str, schema: &Value) {
        let object = schema.as_object().unwrap_or_else(|| panic!("{at} is not an object"));
        for keyword in object.keys() {
            assert!(
                ["type", "description", "properties", "required", "additionalProperties", "items", "enum"]
                    .contains(&keyword.as_str()),
                "{at} holds {keyword}"
            );
        }
        assert!(object["type"].is_string(), "{at} has no plain type");
        for (name, property) in schema["properties"].as_object().into_iter().flatten() {
            assert!(name.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_'), "{at}.{name}");
            walk(&format!("{at}.{name}"), property);
        }
        if let Some(items) = object.get("items") {
            walk(&format!("{at}[]"), items);
        }
    }
    for op in table() {
        let schema = op.input_schema();
        walk(op.name, &schema);
        assert_eq!(schema["additionalProperties"], json!(false), "{}", op.name);
        assert_eq!(schema["type"], json!("object"), "{}", op.name);
        assert_eq!(op.output_schema()["type"], json!("object"), "{}: a response is always a struct", op.name);
        assert!(!op.output_schema().to_string().contains("$ref"), "{}", op.name);
        for omitted in op.tool_omits {
            assert!(properties(&schema).contains(*omitted), "{} omits {omitted}, which it does not have", op.name);
        }
        for required in op.tool_schema()["required"].as_array().into_iter().flatten() {
            assert!(properties(&op.tool_schema()).contains(required.as_str().unwrap_or_default()), "{} hides {required}", op.name);
        }
    }
}

#[test]
fn every_field_that_names_something_on_the_host_is_marked() {
    for op in table() {
        let schema = op.input_schema();
        for (name, property) in schema["properties"].as_object().expect("properties") {
            let on_host = property["description"].as_str().expect("a description").to_lowercase().contains("host");
            assert_eq!(on_host, op.host_paths.contains(&name.as_str()), "{} {name}", op.name);
        }
        for field in op.stdin.iter().chain(op.host_paths) {
            assert!(properties(&schema).contains(*field), "{} has no {field}", op.name);
        }
        for field in op.host_made {
            assert!(op.host_paths.contains(field), "{} makes {field}, which is not guarded", op.name);
        }
    }
}

#[test]
fn each_profile_holds_the_smaller_ones() {
    let tools = |profile| of_profile(profile).map(|op| op.name).collect::<BTreeSet<_>>();
    assert_eq!(tools(Profile::VmRun), BTreeSet::from(["run"]));
    assert!(tools(Profile::VmRun).is_subset(&tools(Profile::WorkspaceCore)));
    assert!(tools(Profile::WorkspaceCore).is_subset(&tools(Profile::WorkspaceFull)));
}

fn refused(name: &str, request: Value) -> (String, String) {
    let error = op(name).request_from_json(request.clone()).expect_err(&format!("{name} takes {request}"));
    assert_eq!(error.kind, crate::ErrorKind::Invalid);
    (error.message, error.hint.unwrap_or_default())
}

#[test]
fn a_wrong_request_is_refused_in_one_clear_sentence() {
    let cases = [
        ("workspace exec", json!([1]), "the request of workspace exec is not a JSON object", ""),
        ("workspace exec", json!({"workspace": "x"}), "command is missing", "Shell line to run"),
        ("workspace exec", json!({"command": "ls", "workspace": null}), "workspace is missing", "Workspace name or id"),
        (
            "workspace exec",
            json!({"command": "ls", "workspac": "x"}),
            "workspace exec takes no \"workspac\"",
            "did you mean workspace?",
        ),
        ("workspace exec", json!({"cmd": "ls", "workspace": "x"}), "workspace exec takes no \"cmd\"", "did you mean command?"),
        ("doctor", json!({"qqqqqq": 1}), "doctor takes no \"qqqqqq\"", "it takes leaks"),
        ("env prune", json!({"a": 1}), "env prune takes no \"a\"", "it takes nothing"),
        (
            "workspace exec",
            json!({"command": "ls", "workspace": "x", "timeout_seconds": 0}),
            "timeout_seconds 0 is not between 1 and 604800",
            "",
        ),
        (
            "workspace exec",
            json!({"command": "ls", "workspace": "x", "timeout_seconds": "soon"}),
            "timeout_seconds \"soon\" is not a whole number between 1 and 604800",
            "",
        ),
        (
            "workspace exec",
            json!({"command": "ls", "workspace": "x", "timeout_seconds": -4}),
            "timeout_seconds \"-4\" is not a whole number between 1 and 604800",
            "",
        ),
        (
            "workspace exec",
            json!({"command": "ls", "workspace": "x", "env": ["A"]}),
            "variable \"A\" has no '='",
            "write NAME=VALUE",
        ),
        (
            "workspace exec",
            json!({"command": " ", "workspace": "x"}),
            "there is no command to run",
            "put it after `--`, such as: -- ls -l",
        ),
        ("workspace exec", json!({"command": "ls", "workspace": 7}), "workspace is integer `7`, not a string", ""),
        (
            "workspace exec",
            json!({"command": "ls", "workspace": "a b"}),
            "\"a b\" names no workspace",
            "workspace list shows the names",
        ),
        (
            "workspace create",
            json!({"name": "Big"}),
            "\"Big\" is not a workspace name",
            "lower-case letters, digits and '-', at most 63, such as brave-otter",
        ),
        ("workspace create", json!({"reuse": true}), "reuse needs a name to look for", "add name"),
        ("workspace update", json!({"workspace": "x"}), "nothing to change", "give a name, labels, labels to clear or ttl_seconds"),
        ("workspace logs", json!({"workspace": "x", "limit": "many"}), "limit \"many\" is not a whole number that fits here", ""),
        ("workspace file list", json!({"workspace": "x", "limit": 0}), "limit 0 is not between 1 and 100000", ""),
        (
            "workspace file read",
            json!({"workspace": "x", "path": "a", "max_bytes": 0}),
            "max_bytes 0 is not between 1 and 16777216",
            "",
        ),
        (
            "workspace file write",
            json!({"workspace": "x", "path": "a"}),
            "no content is given",
            "give text, or base64 for binary content",
        ),
        (
            "workspace list",
            json!({"state": "asleep"}),
            "state \"asleep\" is not one of starting, running, stopping, stopped, failed",
            "",
        ),
    ];
    for (name, request, sentence, hint) in cases {
        assert_eq!(refused(name, request), (sentence.to_owned(), hint.to_owned()));
    }
}

#[test]
fn what_can_mean_only_one_thing_is_taken() {
    let request = json!({
        "workspace": "otter", "command": "ls", "cwd": null, "env": {"A": "b c", "N": 1}, "timeout_seconds": "45", "stdin": null
    });
    let request = op("workspace exec").request_from_json(request).expect("a request");
    assert_eq!(request, json!({"workspace": "otter", "command": "ls", "env": ["A=b c", "N=1"], "timeout_seconds": 45}));
    let request = op("workspace create").request_from_json(json!({"labels": "a=b", "mem_mib": 512.0, "vcpu_count": null}));
    let request = request.expect("a request");
    assert_eq!((&request["labels"], &request["mem_mib"], &request["vcpu_count"]), (&json!(["a=b"]), &json!(512), &json!(1)));
    assert_eq!(op("workspace list").request_from_json(Value::Null).expect("a request"), json!({}));
    for job in [json!("job3"), json!("3"), json!(3), json!("Job 3")] {
        let request = op("workspace job wait").request_from_json(json!({"workspace": "x", "job": job, "wait_seconds": null}));
        assert_eq!(request.expect("a request"), json!({"workspace": "x", "job": "job3"}));
    }
}

#[test]
fn the_command_line_and_json_make_the_same_request() {
    let matches = op("workspace exec")
        .command()
        .try_get_matches_from(["exec", "otter", "--env", "A=b", "--timeout-seconds", "9", "--", "ls", "-l"])
        .expect("a command line");
    let from_flags = op("workspace exec").request_from_matches(&matches).expect("a request");
    let from_json = json!({"workspace": "otter", "env": ["A=b"], "timeout_seconds": 9, "command": ["ls", "-l"]});
    assert_eq!(from_flags, op("workspace exec").request_from_json(from_json).expect("a request"));
}

#[test]
fn an_unknown_op_gets_the_nearest_names() {
    let error = find("workspace exce").err().expect("no such op");
    assert_eq!(error.message, "there is no operation \"workspace exce\"");
    assert_eq!(error.hint.as_deref(), Some("did you mean workspace exec or workspace merge?"));
    assert_eq!(nearest("debain:12", ["debian:12", "debian:12-base", "host"]), ["debian:12"]);
    assert_eq!(nearest("zzz", ["debian:12", "host"]), Vec::<&str>::new());
    assert_eq!(nearest("otter", ["brave-otter", "calm-otter", "heron"]), ["calm-otter", "brave-otter"]);
}

fn check<T: FromStr<Err = Error> + ToString>(good: &[&str], bad: &[&str]) {
    for text in good {
        let value = text.parse::<T>().unwrap_or_else(|error| panic!("{text:?} is refused: {error}"));
        let again = value.to_string().parse::<T>().unwrap_or_else(|error| panic!("{text:?} as written is refused: {error}"));
        assert_eq!(again.to_string(), value.to_string());
    }
    for text in bad {
        if let Ok(value) = text.parse::<T>() {
            panic!("{text:?} is taken as {}", value.to_string());
        }
    }
}

#[test]
fn grammars_of_values() {
    let long = "a".repeat(64);
    let longer = "a".repeat(121);
    check::<EnvironmentName>(
        &["debian:12", "debian:12-base", "host", "ghcr.io/o/i@sha256-1"],
        &["", ":x", "a..b", "a b", "a\n", "é", "-a", &longer],
    );
    check::<WorkspaceName>(&["a", "brave-otter", "2"], &["", "A", "-a", "a-", "a_b", "a b", "a/b", "ä", &long]);
    check::<WorkspaceRef>(&["a", "brave-otter", "0123456789ab", "Brave"], &["", "a b", "a/b", "..", "a\0", &long]);
    check::<LabelKey>(&["branch", "a.b-c_d", "1"], &["", "-a", "a=b", "a b", &"k".repeat(65)]);
    check::<Label>(&["a=b", "a=b=c", "a= b"], &["a", "=b", "a=", "a=\n", &format!("a={longer}")]);
    check::<EnvVar>(&["A=", "A=b", "_a1=x=y", "A=two\nlines"], &["A", "=b", "1A=b", "A B=c", "A=\0"]);
    check::<IsolationMinimum>(
        &["namespaces", "microvm", "namespaces,memory_limit", "memory_limit,pids_limit"],
        &["", "strong", "namespaces,", "namespaces,everything"],
    );
    check::<JobName>(&["job3", "job12"], &["", "job", "job0", "jobs3", "-1", "job1.5", "job99999999999999999999"]);
    check::<LineRange>(&["40-80", "40-", "-50", "7"], &["", "-", "0", "80-40", "0-3", "a-b", "-0", "1-2-3", "-5-"]);
    check::<TimeoutSeconds>(&["1", "30", " 604800 "], &["", "0", "604801", "-1", "1.5", "1s", "99999999999999999999"]);
    check::<VcpuCount>(&["1", "256"], &["0", "257", "4294967297"]);
    check::<MemMib>(&["32", "1048576"], &["31", "1048577", "1GiB"]);
}

#[test]
fn a_shell_line_shows_what_an_argv_does() {
    let argv = |words: &[&str]| CommandLine::Argv(words.iter().map(|word| (*word).to_owned()).collect()).to_string();
    assert_eq!(argv(&["ls", "-l"]), "ls -l");
    assert_eq!(argv(&["echo", "it's", "", "$HOME"]), r"echo 'it'\''s' '' '$HOME'");
    for bad in [CommandLine::Argv(vec![]), CommandLine::Argv(vec![String::new()]), CommandLine::Shell("a\0".to_owned())] {
        bad.check().expect_err("nothing to run");
    }
    CommandLine::Shell("x".repeat(33_000)).check().expect_err("too long");
}
