//! Whether a command waits for somebody to type, as the agent is asked about it: while a caller waits for something that may never come, and
//! before one is told how far it is.

use std::time::{Duration, Instant};

use pyro_wire::Violation;

/// Who has just written, or was typed to, is not looked at: what it does next is not to be seen yet.
const BUSY: Duration = Duration::from_millis(50);
/// So long without output or input, and it is looked whether any will come.
const SILENT: Duration = Duration::from_millis(200);
/// It is looked again after this long.
const AGAIN: Duration = Duration::from_millis(500);
/// How long an answer is waited for. Looking takes a millisecond for a few processes, and some dozen in an emulated machine.
const PATIENCE: Duration = Duration::from_millis(500);

/// What is known of one command.
#[derive(Debug)]
pub struct Look {
    /// When it wrote, or was typed to, last.
    active: Instant,
    wanted: bool,
    /// When the agent was asked, until it answers.
    asked: Option<Instant>,
    found: Option<(Instant, bool)>,
}

impl Look {
    /// Of a command that begins now.
    pub fn new() -> Self {
        Self { active: Instant::now(), wanted: false, asked: None, found: None }
    }

    /// It wrote, or was typed to.
    pub fn note_activity(&mut self) {
        self.active = Instant::now();
    }

    /// The agent is to be asked, whatever is known.
    pub fn want(&mut self) {
        self.wanted = true;
    }

    /// Whether the agent is to be asked now.
    pub fn take_wanted(&mut self) -> bool {
        let ask = self.wanted && self.asked.is_none();
        if ask {
            self.wanted = false;
            self.asked = Some(Instant::now());
        }
        ask
    }

    /// What the agent says.
    ///
    /// # Errors
    /// When it was not asked.
    pub fn answered(&mut self, waits: bool) -> Result<(), Violation> {
        let asked = self.asked.take().ok_or_else(|| Violation("what a command waits for was not asked for".to_owned()))?;
        // What it has done meanwhile may have ended the wait.
        self.found = Some((Instant::now(), waits && self.active < asked));
        Ok(())
    }

    /// Whether it waits for somebody to type; `None` when the agent has to be asked first, which it will be, or has not answered yet.
    pub fn waits(&mut self, now: Instant) -> Option<bool> {
        if now.saturating_duration_since(self.active) < BUSY {
            return Some(false);
        }
        if let Some((at, waits)) = self.found
            && at > self.active
            && (waits || now.saturating_duration_since(at) < AGAIN)
        {
            return Some(waits);
        }
        match self.asked {
            Some(at) if now.saturating_duration_since(at) >= PATIENCE => Some(false),
            Some(_) => None,
            None => {
                self.wanted = true;
                None
            }
        }
    }

    /// Whether it was seen to wait for somebody to type, and nothing has happened since.
    pub fn has_found_waiting(&self) -> bool {
        self.found.is_some_and(|(at, waits)| waits && at > self.active)
    }

    /// Whether it has been silent for so long that it is known to wait for somebody to type.
    pub fn is_stuck(&mut self, now: Instant) -> bool {
        now.saturating_duration_since(self.active) >= SILENT && self.waits(now) == Some(true)
    }

    /// When it is to be looked at, for who wants to know as soon as it is stuck.
    pub fn next(&self) -> Option<Instant> {
        match (self.asked, self.found) {
            // Its answer is an event.
            (Some(_), _) => None,
            (None, Some((at, waits))) if at > self.active => (!waits).then(|| at + AGAIN),
            (None, _) => Some(self.active + SILENT),
        }
    }

    /// Who is owed an answer at `due` gets it then, or when the agent has had its time to say what the command does.
    pub fn hold(&self, due: Instant) -> Instant {
        self.asked.map_or(due, |asked| due.max(asked + PATIENCE))
    }
}

#[cfg(test)]
mod tests;
