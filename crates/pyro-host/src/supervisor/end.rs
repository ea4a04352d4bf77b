//! How it all ends: in order when that was asked for, at once when the sandbox is lost. Everybody who waits is answered, and how it ended is
//! recorded.

use std::os::fd::AsFd;
use std::os::unix::net::UnixListener;
use std::time::{Duration, Instant};

use pyro_api::ops::exec::Outcome;
use pyro_api::{Error, Result};
use pyro_wire::ToAgent;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use serde_json::Value;

use super::control::Connection;
use super::{End, Life, Supervisor, Task, complain};
use crate::state::{StateEvent, WorkspaceState};

/// Why a command ended whose workspace was stopped.
pub(super) const STOPPED: &str = "the workspace was stopped";

impl Supervisor<'_> {
    pub(super) fn begin_stop(&mut self) {
        if self.stop_deadline.is_some() {
            return;
        }
        if let Ok(next) = self.state.clone().apply(StateEvent::Stop) {
            self.state = next;
        }
        let needs = self.sandbox.as_ref().map_or(Duration::ZERO, |sandbox| sandbox.settles_within());
        self.stop_deadline = Some(Instant::now() + self.patience.grace + self.patience.settle.unwrap_or(needs));
        self.hang_up_shells();
        let grace_ms = u32::try_from(self.patience.grace.as_millis()).unwrap_or(u32::MAX);
        if let Err(violation) = self.link.send(0, &ToAgent::Shutdown { grace_ms }) {
            complain(&Error::internal(violation.0));
        }
    }

    /// Ends what is left, answers everybody, and records how it ended.
    pub(super) fn clear(&mut self, end: End) -> Result<()> {
        let killed = match self.sandbox.take() {
            Some(sandbox) => sandbox.kill(),
            None => Ok(()),
        };
        let reason = match &end {
            End::Stopped => STOPPED.to_owned(),
            End::Lost(why) => why.clone(),
        };
        self.end_tasks(&reason);
        for waiter in std::mem::take(&mut self.diff_waiters) {
            self.answer(waiter, Err(lost(&reason)));
        }
        let sealed = self.seal_for_good();
        let event = match end {
            End::Stopped => StateEvent::Gone,
            End::Lost(why) => StateEvent::Lost(why),
        };
        let recorded = match &mut self.life {
            Life::Run => Ok(()),
            Life::Workspace { store, .. } => match self.state.clone().apply(event) {
                Ok(state) => {
                    let log = if state == WorkspaceState::Stopped { "workspace stop" } else { "workspace lost" };
                    let recorded = store.set_state(&self.subject.id, &state, None, Some(log));
                    self.state = state;
                    recorded
                }
                Err(denied) => Err(Error::internal(denied.0)),
            },
        };
        let cleared = killed.and(sealed).and(recorded);
        // Whoever comes from now on finds that nobody is here, waits for the lease and does what it came for.
        if let Life::Workspace { listener, .. } = &mut self.life
            && let Some(listener) = listener.take()
        {
            self.decline_all(&listener);
        }
        for waiter in std::mem::take(&mut self.stop_waiters) {
            let answer = match &cleared {
                Ok(()) => Ok(Value::Null),
                Err(error) => Err(Error::new(error.kind, error.message.clone())),
            };
            self.answer(waiter, answer);
        }
        cleared
    }

    /// Answers everybody whose command or file request ended with the sandbox.
    pub(super) fn end_tasks(&mut self, reason: &str) {
        for (_, task) in std::mem::take(&mut self.tasks) {
            match task {
                Task::Exec(mut exec) => {
                    let ended = exec.ended(Outcome::SandboxLost { reason: reason.to_owned() });
                    self.end_exec(&mut exec, ended);
                }
                Task::File(file) => self.end_file(*file, Err(lost(reason))),
            }
        }
    }

    /// Nothing more is begun: tells those who have not been heard yet.
    pub(super) fn decline_all(&mut self, listener: &UnixListener) {
        // From here on connecting is refused, so that nobody can get in between the last look and the end (net/unix/af_unix.c).
        let _ = rustix::net::shutdown(listener, rustix::net::Shutdown::Read);
        while let Ok((stream, _)) = listener.accept() {
            if let Ok(connection) = Connection::new(stream) {
                self.add_connection(connection);
            }
        }
        self.connections.values_mut().for_each(Connection::decline);
    }

    /// Writes the last answers. Whoever waits for a workspace to be stopped need not wait for a caller that does not read: it loses
    /// its answer after some time. A run has only the one caller that it is for, who may be a slow reader of a long output.
    pub(super) fn flush_callers(&mut self) {
        let asked_to_end = self.stop_deadline.is_some();
        let deadline = match &self.life {
            Life::Run if !asked_to_end => None,
            Life::Run | Life::Workspace { .. } => Some(Instant::now() + self.patience.last_words),
        };
        loop {
            self.connections.retain(|_, connection| {
                connection.close();
                connection.flush().is_ok() && connection.wants_to_write()
            });
            let left = deadline.map(|deadline| deadline.saturating_duration_since(Instant::now()));
            if self.connections.is_empty() || left.is_some_and(|left| left.is_zero()) {
                return;
            }
            let signals = if asked_to_end { PollFlags::empty() } else { PollFlags::IN };
            let mut fds = vec![PollFd::from_borrowed_fd(self.signals.as_fd(), signals)];
            fds.extend(self.connections.values().map(|connection| PollFd::from_borrowed_fd(connection.fd(), PollFlags::OUT)));
            let timeout = left.map(|left| Timespec::try_from(left).expect("some seconds are a time"));
            match poll(&mut fds, timeout.as_ref()) {
                Ok(_) | Err(rustix::io::Errno::INTR) => {}
                Err(_) => return,
            }
            if fds[0].revents().contains(PollFlags::IN) {
                return;
            }
        }
    }
}

fn lost(reason: &str) -> Error {
    Error::sandbox(reason.to_owned()).hint("using the workspace starts it again")
}
