//! Standard output and error. A reader that went away is not our failure: what is left is not written, and we end quietly.

use std::io::Write;
use std::os::fd::BorrowedFd;
use std::process::ExitCode;

use pyro_api::Error;
use pyro_wire::untrusted::escape;
use rustix::event::{PollFd, PollFlags, poll};
use rustix::io::Errno;

/// Writes everything, unbuffered and unchanged.
///
/// # Errors
/// As write(2).
pub(super) fn write_all(to: BorrowedFd<'_>, mut bytes: &[u8]) -> rustix::io::Result<()> {
    while !bytes.is_empty() {
        match rustix::io::write(to, bytes) {
            Ok(written) => bytes = &bytes[written..],
            Err(Errno::INTR) => {}
            // Whoever shares our terminal or pipe may have made it non-blocking.
            Err(Errno::AGAIN) => {
                poll(&mut [PollFd::from_borrowed_fd(to, PollFlags::OUT)], None)?;
            }
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

/// Prints and succeeds, also when nobody reads any more.
pub(super) fn print(bytes: &[u8]) -> ExitCode {
    match write_all(rustix::stdio::stdout(), bytes) {
        Ok(()) | Err(Errno::PIPE) => ExitCode::SUCCESS,
        Err(error) => {
            note(&format!("cannot write to standard output: {error}"));
            ExitCode::from(125)
        }
    }
}

/// `pyro: …` on standard error. That it cannot be written cannot be told either.
pub(super) fn note(text: &str) {
    let _ = std::io::stderr().write_all(format!("pyro: {}\n", escape(text)).as_bytes());
}

/// Tells an error: sentence and hint on standard error, or one JSON document on standard output.
pub(super) fn report(error: &Error, json: bool, red: bool) -> ExitCode {
    if json {
        print(format!("{:#}\n", super::error_json(error)).as_bytes());
    } else {
        let _ = std::io::stderr().write_all(error_text(error, red).as_bytes());
    }
    ExitCode::from(error.exit_code())
}

/// Whether to use colours when nobody said. <https://no-color.org>: any value that is not empty.
pub(super) fn colors(is_terminal: bool) -> bool {
    is_terminal && std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty())
}

/// The error for people.
pub(super) fn error_text(error: &Error, red: bool) -> String {
    let name = if red { "\u{1b}[1;31mpyro:\u{1b}[0m" } else { "pyro:" };
    let hint = error.hint.as_ref().map(|hint| format!("hint: {}\n", escape(hint))).unwrap_or_default();
    format!("{name} {}\n{hint}", escape(&error.message))
}
