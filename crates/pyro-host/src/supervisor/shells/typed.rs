//! The command that was typed into a shell last, and why it ended as it did: its status by the shell's marks, the rest from what was counted outside and from
//! what the agent sees. A mark is a claim; what hangs on it is what callers are told, and nothing else.

use std::time::{Duration, Instant};

use pyro_api::ops::exec::Outcome;
use pyro_term::Command;
use pyro_wire::limits::TYPED_LINE_BYTES_MAX;
use pyro_wire::message::{ExitStatus, FailedLine, Trouble};

use crate::backend::Pressure;
use crate::supervisor::outcome::{self, Met};

/// How long nobody is told of a failure before the agent has said what it sees of it.
const PATIENCE: Duration = Duration::from_millis(500);

/// What is known of it.
#[derive(Debug, Default)]
pub struct Typed {
    number: u64,
    line: String,
    /// What was counted when it began.
    before: Pressure,
    state: State,
}

#[derive(Debug, Default)]
enum State {
    /// There is none, or it runs, or its shell does not say how it ended.
    #[default]
    Untold,
    /// It failed, and the agent has not said what it sees of it.
    Failed {
        at: Instant,
        code: u8,
        met: Met,
        asked: bool,
    },
    Told {
        outcome: Outcome,
        next: Option<String>,
    },
}

/// Why a command ended.
#[derive(Debug)]
pub struct Why<'a> {
    /// The command.
    pub line: &'a str,
    /// Why.
    pub outcome: &'a Outcome,
    /// What to do next; may be said otherwise.
    pub next: &'a mut Option<String>,
}

impl Typed {
    /// Takes what the shell's marks say now; gives why it ended when that is known at once. `count` counts outside, from `before` on.
    pub fn note(&mut self, last: &Command, count: impl FnOnce(Pressure) -> Met) -> Option<Why<'_>> {
        let is_new = last.number != self.number;
        if !is_new && (!last.finished || !matches!(self.state, State::Untold)) {
            return None;
        }
        let met = count(self.before);
        if is_new {
            (self.number, self.state) = (last.number, State::Untold);
            let line: String = last.line.clone().unwrap_or_default();
            let end = (0..=line.len().min(TYPED_LINE_BYTES_MAX)).rev().find(|end| line.is_char_boundary(*end));
            self.line = line[..end.unwrap_or(0)].to_owned();
            // One that is over already began after what was counted last.
            if !last.finished {
                self.before = met.after;
            }
        }
        let exit = last.exit.filter(|_| last.finished)?;
        self.before = met.after;
        let code = u8::try_from(exit).unwrap_or(u8::MAX);
        if code == 0 {
            return Some(self.tell(Outcome::Exited { code }, None));
        }
        self.state = State::Failed { at: Instant::now(), code, met, asked: false };
        None
    }

    /// What the agent is to be asked, once, about the failure.
    pub fn take_failed(&mut self) -> Option<FailedLine> {
        match &mut self.state {
            State::Failed { code, asked, .. } if !*asked => {
                *asked = true;
                Some(FailedLine { line: self.line.clone(), code: *code })
            }
            State::Untold | State::Failed { .. } | State::Told { .. } => None,
        }
    }

    /// What the agent sees of the failure, if it was asked.
    pub fn explain(&mut self, trouble: &Trouble) -> Option<Why<'_>> {
        let State::Failed { code, met, asked: true, .. } = &self.state else { return None };
        let outcome = outcome::of_exit(ExitStatus::Code(*code), trouble, met);
        let next = outcome::next(&outcome, true, trouble.missing.as_ref());
        Some(self.tell(outcome, next))
    }

    fn tell(&mut self, outcome: Outcome, next: Option<String>) -> Why<'_> {
        self.state = State::Told { outcome, next };
        match &mut self.state {
            State::Told { outcome, next } => Why { line: &self.line, outcome, next },
            State::Untold | State::Failed { .. } => unreachable!("it has just been set"),
        }
    }

    /// It failed, and what the agent sees of it is waited for.
    pub fn is_unexplained(&self, now: Instant) -> bool {
        matches!(&self.state, State::Failed { at, .. } if now.saturating_duration_since(*at) < PATIENCE)
    }

    /// The agent has not been asked yet.
    pub fn wants_explanation(&self) -> bool {
        matches!(&self.state, State::Failed { asked: false, .. })
    }

    /// Why it ended and what to do next, as far as it is known.
    pub fn told(&self) -> (Option<Outcome>, Option<String>) {
        match &self.state {
            State::Untold => (None, None),
            State::Failed { code, met, .. } => {
                let outcome = outcome::of_exit(ExitStatus::Code(*code), &Trouble::default(), met);
                let next = outcome::next(&outcome, true, None);
                (Some(outcome), next)
            }
            State::Told { outcome, next } => (Some(outcome.clone()), next.clone()),
        }
    }
}

#[cfg(test)]
mod tests;
