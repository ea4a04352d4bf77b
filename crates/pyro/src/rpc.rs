//! JSON lines for SDKs: each line of standard input is a [`Call`], each line of standard output a [`Reply`]. Calls are answered one
//! after the other; a program that wants several at once starts several, and one that wants a call taken back ends us. Closing standard
//! input ends it.

use std::io::{BufRead, Read, Write};
use std::process::ExitCode;

use pyro_api::{Call, Error, Reply, Result};
use pyro_host::Session;

use crate::calls::Calls;

/// Longest line of a caller: the largest content of one file write in base64, and room for the rest.
const CALL_BYTES_MAX: u64 = 24 * 1024 * 1024;

/// Serves standard input until it ends.
pub(crate) fn serve(calls: &dyn Calls) -> Result<ExitCode> {
    answer(calls, &mut std::io::stdin().lock(), &mut std::io::stdout().lock())?;
    Ok(ExitCode::SUCCESS)
}

/// Answers every call of `input`. A caller that went away ends it too.
fn answer(calls: &dyn Calls, input: &mut dyn BufRead, output: &mut dyn Write) -> Result<()> {
    loop {
        let mut line = Vec::new();
        let read = input
            .take(CALL_BYTES_MAX)
            .read_until(b'\n', &mut line)
            .map_err(|error| Error::invalid("cannot read standard input").because(error))?;
        if read == 0 {
            return Ok(());
        }
        if read as u64 == CALL_BYTES_MAX && !line.ends_with(b"\n") {
            // Where the next call begins cannot be told any more.
            let error = Error::limit(format!("a call is longer than {CALL_BYTES_MAX} bytes"));
            write_line(output, &Reply::Error(error));
            return Ok(());
        }
        if line.iter().all(u8::is_ascii_whitespace) {
            continue;
        }
        let reply = match serde_json::from_slice::<Call>(&line) {
            Ok(call) => one(calls, call, output),
            Err(error) => Reply::Error(
                Error::invalid(format!("this line is not a call: {error}")).hint(r#"such as {"op":"workspace list","request":{}}"#),
            ),
        };
        if !write_line(output, &reply) {
            return Ok(());
        }
    }
}

fn one(calls: &dyn Calls, call: Call, output: &mut dyn Write) -> Reply {
    let mut on_event = |event| {
        if call.stream {
            write_line(output, &Reply::Event(event));
        }
    };
    let mut session = Session { on_event: &mut on_event, stdin: None, signals: None, terminal: false };
    match calls.call(&call.op, call.request, &mut session) {
        Ok(response) => Reply::Response(response),
        Err(error) => Reply::Error(error),
    }
}

/// False: nobody reads any more.
fn write_line(output: &mut dyn Write, reply: &Reply) -> bool {
    let Ok(mut line) = serde_json::to_vec(reply) else { return true };
    line.push(b'\n');
    output.write_all(&line).and_then(|()| output.flush()).is_ok()
}

#[cfg(test)]
mod tests;
