//! What happens while a call runs: output is passed on as it comes, progress is drawn, Ctrl-C reaches the command. Without a thread:
//! `run` makes its sandbox in this very process, which must have only one then.

use std::io::IsTerminal;
use std::os::fd::{BorrowedFd, OwnedFd};
use std::time::Duration;

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use pyro_api::envelope::Progress;
use pyro_api::{Error, Event, Result};
use pyro_host::Session;
use pyro_wire::untrusted::escape;
use rustix::pipe::{PipeFlags, pipe_with};
use serde_json::Value;

use crate::calls::Calls;

use super::terminal;

/// How often a sign turns that says nothing but that something is being done.
const TURN_EVERY: Duration = Duration::from_millis(100);

/// One call as it runs.
pub(super) struct Live {
    signals: OwnedFd,
    cancel: OwnedFd,
    view: View,
}

/// Where events go.
struct View {
    /// Output goes straight on.
    streams: bool,
    output: Output,
    progress: Drawn,
}

/// What became of the command's output.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Output {
    /// None has been passed on.
    None,
    /// It has been passed on.
    Streamed,
    /// Nobody reads ours any more.
    Unwanted,
}

/// How progress is told.
enum Drawn {
    Nothing,
    /// A line for each new step.
    Lines {
        step: String,
    },
    /// A bar on the terminal.
    Bar {
        bar: Option<ProgressBar>,
        step: String,
    },
}

impl Live {
    /// Prepares a call. `talks`: it runs a command that signals and output belong to.
    pub(super) fn start(talks: bool, json: bool, quiet: bool) -> Result<Self> {
        let trouble = |error| Error::internal("cannot prepare for signals").because(std::io::Error::from(error));
        let (signals, cancel) = pipe_with(PipeFlags::CLOEXEC).map_err(trouble)?;
        rustix::io::ioctl_fionbio(&cancel, true).map_err(trouble)?;
        let handler = cancel.try_clone().map_err(|error| Error::internal("cannot prepare for signals").because(error))?;
        // The first Ctrl-C is for the command, to end as it likes; without a command there is only taking back.
        let first = if talks { rustix::process::Signal::INT.as_raw() as u8 } else { 0 };
        pyro_sys::interrupt::to_pipe(handler, first)
            .map_err(|error| Error::internal("cannot prepare for signals").because(error))?;
        let progress = match (json || quiet, std::io::stderr().is_terminal()) {
            (true, _) => Drawn::Nothing,
            (false, true) => Drawn::Bar { bar: None, step: String::new() },
            (false, false) => Drawn::Lines { step: String::new() },
        };
        Ok(Self { signals, cancel, view: View { streams: talks && !json, output: Output::None, progress } })
    }

    /// Does the call.
    pub(super) fn call(
        &mut self,
        calls: &dyn Calls,
        op: &str,
        request: Value,
        stdin: Option<BorrowedFd<'_>>,
        terminal: bool,
    ) -> Result<Value> {
        let (view, cancel) = (&mut self.view, &self.cancel);
        let mut on_event = |event| {
            if view.event(event) {
                // A full pipe holds a request to end already.
                let _ = rustix::io::write(cancel, &[0]);
            }
        };
        let signals = Some(std::os::fd::AsFd::as_fd(&self.signals));
        let mut session = Session { on_event: &mut on_event, stdin, signals, terminal };
        calls.call(op, request, &mut session)
    }

    /// Takes progress off the terminal.
    pub(super) fn finish(self) -> Output {
        if let Drawn::Bar { bar: Some(bar), .. } = self.view.progress {
            bar.finish_and_clear();
        }
        self.view.output
    }
}

impl View {
    /// True: nobody reads our output any more, so the command has to end.
    fn event(&mut self, event: Event) -> bool {
        match event {
            Event::Stdout(bytes) => self.output(rustix::stdio::stdout(), &bytes),
            Event::Stderr(bytes) => self.output(rustix::stdio::stderr(), &bytes),
            Event::Progress(progress) => {
                self.progress.draw(&progress);
                false
            }
        }
    }

    fn output(&mut self, to: BorrowedFd<'_>, bytes: &[u8]) -> bool {
        if !self.streams || self.output == Output::Unwanted {
            return false;
        }
        self.progress.clear();
        let written = terminal::write_all(to, bytes);
        self.output = if written.is_ok() { Output::Streamed } else { Output::Unwanted };
        written.is_err()
    }
}

impl Drawn {
    fn clear(&mut self) {
        if let Self::Bar { bar, step } = self
            && let Some(bar) = bar.take()
        {
            bar.finish_and_clear();
            step.clear();
        }
    }

    fn draw(&mut self, progress: &Progress) {
        match self {
            Self::Nothing => {}
            Self::Lines { step } => {
                if *step != progress.step {
                    step.clone_from(&progress.step);
                    terminal::note(&progress.step);
                }
            }
            Self::Bar { bar, step } => {
                let drawn = bar.get_or_insert_with(|| ProgressBar::with_draw_target(None, ProgressDrawTarget::stderr()));
                if *step != progress.step {
                    step.clone_from(&progress.step);
                    drawn.set_style(bar_style(progress));
                    drawn.set_message(escape(&progress.step));
                    // Of what is not counted nothing more is heard until it is over.
                    if progress.unit.is_empty() {
                        drawn.enable_steady_tick(TURN_EVERY);
                    } else {
                        drawn.disable_steady_tick();
                    }
                }
                if let Some(total) = progress.total {
                    drawn.set_length(total);
                }
                drawn.set_position(progress.done);
                drawn.tick();
            }
        }
    }
}

fn bar_style(progress: &Progress) -> ProgressStyle {
    let template = match (progress.total.is_some(), progress.unit.as_str()) {
        (true, "bytes") => "{msg} {wide_bar} {bytes}/{total_bytes}".to_owned(),
        (true, unit) => format!("{{msg}} {{wide_bar}} {{pos}}/{{len}} {unit}"),
        (false, "bytes") => "{spinner} {msg} {bytes}".to_owned(),
        (false, "") => "{spinner} {msg}".to_owned(),
        (false, unit) => format!("{{spinner}} {{msg}} {{pos}} {unit}"),
    };
    ProgressStyle::with_template(&template).unwrap_or_else(|_| ProgressStyle::default_bar())
}
