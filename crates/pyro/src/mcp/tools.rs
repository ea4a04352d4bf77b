//! Tools as hosts list them, and what a call's end looks like to a model.

use std::sync::Arc;

use pyro_api::ops::{ShellRead, ShellWrite, WorkspaceExec, WorkspaceJob};
use pyro_api::table::OpSurface;
use pyro_api::values::{WaitSeconds, serde_name};
use pyro_api::{Effect, Error, Op};
use pyro_wire::untrusted::escape;
use rmcp::model::{CallToolResult, ContentBlock, Tool, ToolAnnotations};
use serde_json::{Value, json};

use crate::render::{self, page};

/// Longest result, characters. The tightest host cuts at 10 KB, and each cuts in another place; so we cut, where we know what matters.
pub(super) const RESULT_CHARS_MAX: usize = 8_000;
/// Longest error, characters.
pub(super) const ERROR_CHARS_MAX: usize = 1_500;

/// The tool of an op that has one.
pub(super) fn tool(op: &'static OpSurface) -> Option<Tool> {
    let Value::Object(schema) = op.tool_schema() else { return None };
    let (read_only, destructive, idempotent) = match op.effect {
        Effect::Read => (true, false, true),
        Effect::Write => (false, false, false),
        Effect::Destroy => (false, true, true),
    };
    // A sandbox has no network: what a tool does stays in it.
    let annotations = ToolAnnotations::new().read_only(read_only).destructive(destructive).idempotent(idempotent).open_world(false);
    Some(Tool::new(op.tool?, op.description(), Arc::new(schema)).with_annotations(annotations))
}

/// Sees to it that a call which waits for a command answers before a host gives it up: the tightest do after 60 seconds.
pub(super) fn hold(op: &OpSurface, request: &mut Value) {
    if let (WorkspaceExec::NAME | WorkspaceJob::NAME | ShellWrite::NAME | ShellRead::NAME, Value::Object(fields)) =
        (op.name, request)
    {
        let most = WaitSeconds::default().get();
        let asked = fields.get("wait_seconds").and_then(Value::as_u64);
        fields.insert("wait_seconds".to_owned(), asked.map_or(most, |asked| asked.min(most)).into());
    }
}

/// A tool as it costs a model tokens: name, description, schema.
pub(crate) fn tool_json(op: &OpSurface) -> Value {
    json!({ "name": op.tool, "description": op.description(), "inputSchema": op.tool_schema() })
}

/// A response as a result.
pub(super) fn success(op: &str, response: Value, structured: bool) -> CallToolResult {
    let kept = structured.then(|| response.clone());
    match render::for_model(op, response, RESULT_CHARS_MAX) {
        Ok(text) => {
            let mut result = CallToolResult::success(vec![ContentBlock::text(text)]);
            result.structured_content = kept;
            result
        }
        Err(error) => failure(&error, structured),
    }
}

/// An error as a result: models see these, while protocol errors are shown as a fault of the host.
pub(super) fn failure(error: &Error, structured: bool) -> CallToolResult {
    let mut result = CallToolResult::error(vec![ContentBlock::text(error_text(error))]);
    result.structured_content = structured.then(|| json!({ "error": error }));
    result
}

/// `not_found: sentence`, then the hint, which is never what is cut.
fn error_text(error: &Error) -> String {
    let hint =
        error.hint.as_ref().map(|hint| page::cut_to(&format!("\nhint: {}", escape(hint)), ERROR_CHARS_MAX / 2)).unwrap_or_default();
    let sentence = format!("{}: {}", serde_name(&error.kind), escape(&error.message));
    format!("{}{hint}", page::cut_to(&sentence, ERROR_CHARS_MAX - hint.chars().count()))
}
