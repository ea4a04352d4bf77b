//! JSON lines: calls in, replies out, in order, whatever the lines hold.

use pyro_api::envelope::Progress;
use pyro_api::{Error, Event, Result};
use pyro_host::Session;
use serde_json::{Value, json};

use super::answer;
use crate::calls::Calls;

struct Scripted;

impl Calls for Scripted {
    fn call(&self, op: &str, request: Value, session: &mut Session<'_>) -> Result<Value> {
        (session.on_event)(Event::Stdout(b"hi".to_vec()));
        (session.on_event)(Event::Progress(Progress { step: "s".to_owned(), done: 1, total: None, unit: "files".to_owned() }));
        match op {
            "echo" => Ok(request),
            _ => Err(Error::invalid("no such thing").hint("look")),
        }
    }
}

fn replies(input: &str) -> Vec<Value> {
    let mut output = Vec::new();
    answer(&Scripted, &mut input.as_bytes(), &mut output).expect("input that can be read");
    String::from_utf8(output).expect("text").lines().map(|line| serde_json::from_str(line).expect("JSON")).collect()
}

#[test]
fn each_call_is_answered_in_order() {
    let input = "{\"op\":\"echo\",\"request\":{\"a\":1}}\n\n{\"op\":\"x\",\"request\":null}\n";
    let error = json!({"error": {"kind": "invalid", "message": "no such thing", "hint": "look"}});
    assert_eq!(replies(input), [json!({"response": {"a": 1}}), error]);
}

#[test]
fn events_come_only_when_they_are_asked_for() {
    let events = replies("{\"op\":\"echo\",\"request\":2,\"stream\":true}");
    let progress = json!({"event": {"progress": {"step": "s", "done": 1, "unit": "files"}}});
    assert_eq!(events, [json!({"event": {"stdout": "aGk="}}), progress, json!({"response": 2})]);
}

#[test]
fn a_line_that_is_no_call_is_answered_and_the_next_one_too() {
    let answers =
        replies("nonsense\n{\"op\":\"echo\"}\n{\"op\":\"echo\",\"request\":1,\"x\":2}\n{\"op\":\"echo\",\"request\":1}\n");
    assert_eq!(answers.len(), 4);
    for answer in &answers[..3] {
        assert_eq!(answer["error"]["kind"], json!("invalid"), "{answer}");
    }
    assert_eq!(answers[3], json!({"response": 1}));
}
