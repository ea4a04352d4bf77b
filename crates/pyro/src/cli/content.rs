//! Content of a file from standard input: any bytes, up to a limit.

use std::io::Read;

use base64::{Engine as _, engine::general_purpose::STANDARD};
use pyro_api::ops::file::FileReadRequest;
use pyro_api::{Error, Result};
use serde_json::Value;

/// Content of one `file write`: as much as one `file read` gives back. It travels as one JSON line.
const CONTENT_BYTES_MAX: u64 = FileReadRequest::BYTES_MAX;

/// Puts what `input` holds into the request: as text when it is text, else in base64.
pub(super) fn fill(request: &mut Value, field: &str, input: &mut dyn Read) -> Result<()> {
    let mut bytes = Vec::new();
    input
        .take(CONTENT_BYTES_MAX + 1)
        .read_to_end(&mut bytes)
        .map_err(|error| Error::invalid("cannot read standard input").because(error))?;
    if bytes.len() as u64 > CONTENT_BYTES_MAX {
        return Err(Error::limit(format!("standard input is longer than {CONTENT_BYTES_MAX} bytes"))
            .hint("pipe it to a command: pyro workspace exec WS -- tee FILE < BIG > /dev/null"));
    }
    let (field, content) = match String::from_utf8(bytes) {
        Ok(text) => (field, text),
        Err(error) => ("base64", STANDARD.encode(error.as_bytes())),
    };
    if let Value::Object(fields) = request {
        fields.insert(field.to_owned(), Value::String(content));
    }
    Ok(())
}
