//! A person's terminal handed to a program inside: every key goes there, nothing is echoed or acted on here. It is given back whatever happens.

use std::io::IsTerminal;
use std::os::fd::AsFd;

use pyro_api::{Error, Result};
use rustix::termios::{OptionalActions, Termios, tcgetattr, tcgetwinsize, tcsetattr};

/// As long as this is held, standard input is raw.
pub(super) struct Raw {
    before: Termios,
}

impl Raw {
    /// Makes it raw, and has changes of the window's size told like signals.
    ///
    /// # Errors
    /// `Invalid` when standard input or output is no terminal.
    pub(super) fn enter() -> Result<Self> {
        let stdin = std::io::stdin();
        if !stdin.is_terminal() || !std::io::stdout().is_terminal() {
            return Err(Error::invalid("standard input and output are not a terminal")
                .hint("leave --tty out; for programs there is workspace shell"));
        }
        let cannot = |error: rustix::io::Errno| {
            Error::unavailable("the terminal cannot be handed over").because(std::io::Error::from(error))
        };
        let before = tcgetattr(stdin.as_fd()).map_err(cannot)?;
        let mut raw = before.clone();
        raw.make_raw();
        pyro_sys::interrupt::window_changes().map_err(|error| Error::internal("cannot prepare for signals").because(error))?;
        tcsetattr(stdin.as_fd(), OptionalActions::Now, &raw).map_err(cannot)?;
        Ok(Self { before })
    }
}

impl Raw {
    /// Columns and rows of the terminal now, if it says.
    pub(super) fn size(&self) -> Option<(u16, u16)> {
        let size = tcgetwinsize(std::io::stdin().as_fd()).ok()?;
        (size.ws_col > 0 && size.ws_row > 0).then_some((size.ws_col, size.ws_row))
    }
}

impl Drop for Raw {
    fn drop(&mut self) {
        // A terminal that is gone needs nothing.
        let _ = tcsetattr(std::io::stdin().as_fd(), OptionalActions::Now, &self.before);
    }
}
