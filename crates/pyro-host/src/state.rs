//! What a workspace is doing, and what may happen next. Pure: no clock, no disk, no process.
//!
//! ```text
//!  Stopped --start--> Starting --ready--> Running --stop--> Stopping --gone--> Stopped
//!     ^                  | failed           | lost            | lost
//!     |                  v                  v                 |
//!     +----- start --- Failed <-------------+                 +--> Stopped
//! ```
//!
//! Only facts seen from outside are events: our own request, the sandbox process gone, a lease that nobody holds. Files survive every
//! one of these transitions, so a failed workspace may simply be started again.

use pyro_api::ops::workspace::StateView;
use serde::{Deserialize, Serialize};

/// What a workspace is doing.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "state", rename_all = "snake_case")]
pub enum WorkspaceState {
    /// Nothing runs.
    Stopped,
    /// A sandbox is being made.
    Starting,
    /// A sandbox runs.
    Running,
    /// The sandbox is being ended.
    Stopping,
    /// It ended though nobody asked for it.
    Failed {
        /// Why, as a sentence.
        why: String,
    },
}

/// What happened.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum StateEvent {
    /// Its supervisor begins to make a sandbox.
    Start,
    /// The agent has answered and the isolation is as asked.
    Ready,
    /// The sandbox could not be made.
    LaunchFailed(String),
    /// Somebody wants it stopped.
    Stop,
    /// The sandbox is gone, as it should be.
    Gone,
    /// The sandbox or its supervisor is gone though nobody asked for it.
    Lost(String),
}

/// An event that this state does not take. The text is the user's sentence.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Denied(pub String);

impl WorkspaceState {
    /// The state after an event.
    ///
    /// # Errors
    /// [`Denied`] when the event makes no sense in this state; nothing has changed then.
    pub fn apply(self, event: StateEvent) -> Result<Self, Denied> {
        use StateEvent::{Gone, LaunchFailed, Lost, Ready, Start, Stop};
        use WorkspaceState::{Failed, Running, Starting, Stopped, Stopping};
        match (self, event) {
            (Stopped | Failed { .. }, Start) => Ok(Starting),
            (Starting, Ready) => Ok(Running),
            (Starting, LaunchFailed(why)) => Ok(Failed { why }),
            (Running, Stop) => Ok(Stopping),
            (Stopping, Gone) => Ok(Stopped),
            (Starting | Running, Lost(why)) => Ok(Failed { why }),
            // It was to end, and it has.
            (Stopping, Lost(_)) => Ok(Stopped),
            (state, event) => Err(Denied(format!("a workspace that is {} cannot {}", state.word(), event.verb()))),
        }
    }

    /// Whether a supervisor must be alive in this state.
    #[must_use]
    pub fn needs_supervisor(&self) -> bool {
        match self {
            Self::Starting | Self::Running | Self::Stopping => true,
            Self::Stopped | Self::Failed { .. } => false,
        }
    }

    /// As the public surface shows it.
    #[must_use]
    pub fn view(&self) -> StateView {
        match self {
            Self::Stopped => StateView::Stopped,
            Self::Starting => StateView::Starting,
            Self::Running => StateView::Running,
            Self::Stopping => StateView::Stopping,
            Self::Failed { .. } => StateView::Failed,
        }
    }

    /// One word, as it is stored and said.
    #[must_use]
    pub fn word(&self) -> &'static str {
        match self {
            Self::Stopped => "stopped",
            Self::Starting => "starting",
            Self::Running => "running",
            Self::Stopping => "stopping",
            Self::Failed { .. } => "failed",
        }
    }
}

impl StateEvent {
    fn verb(&self) -> &'static str {
        match self {
            Self::Start => "start",
            Self::Ready => "become ready",
            Self::LaunchFailed(_) => "fail to start",
            Self::Stop => "be stopped",
            Self::Gone => "end",
            Self::Lost(_) => "be lost",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{StateEvent, WorkspaceState};

    /// Every pair of state and event, and what comes of it: the table a reader checks the diagram against.
    #[test]
    fn every_transition_is_as_drawn() {
        let states = [
            WorkspaceState::Stopped,
            WorkspaceState::Starting,
            WorkspaceState::Running,
            WorkspaceState::Stopping,
            WorkspaceState::Failed { why: "old".into() },
        ];
        let events = [
            StateEvent::Start,
            StateEvent::Ready,
            StateEvent::LaunchFailed("new".into()),
            StateEvent::Stop,
            StateEvent::Gone,
            StateEvent::Lost("new".into()),
        ];
        let mut table = String::new();
        for state in &states {
            for event in &events {
                let after = match state.clone().apply(event.clone()) {
                    Ok(after) => after.word(),
                    Err(_) => "-",
                };
                table.push_str(&format!("{:<9} {:<15} {after}\n", state.word(), event.verb()));
            }
        }
        let expected = "\
stopped   start           starting
stopped   become ready    -
stopped   fail to start   -
stopped   be stopped      -
stopped   end             -
stopped   be lost         -
starting  start           -
starting  become ready    running
starting  fail to start   failed
starting  be stopped      -
starting  end             -
starting  be lost         failed
running   start           -
running   become ready    -
running   fail to start   -
running   be stopped      stopping
running   end             -
running   be lost         failed
stopping  start           -
stopping  become ready    -
stopping  fail to start   -
stopping  be stopped      -
stopping  end             stopped
stopping  be lost         stopped
failed    start           starting
failed    become ready    -
failed    fail to start   -
failed    be stopped      -
failed    end             -
failed    be lost         -
";
        assert_eq!(table, expected);
    }
}
