//! Being PID 1: reaping what others leave behind, and ending everything in order.
//!
//! PID 1 has no handlers and the kernel drops signals that it has no handler for, so nothing inside can end it, and it forwards nothing:
//! who wants to signal a command says so over the link.

use std::io;
use std::time::{Duration, Instant};

use pyro_sys::command::{Wait, ended_child, wait};
use pyro_sys::{inside, memory};
use rustix::process::{DumpableBehavior, set_dumpable_behavior, umask};

use crate::{Agent, Channel, Place};

/// How a shutdown goes.
#[derive(Debug)]
pub struct Stopping {
    /// When what is still there is killed; later, when we exit regardless.
    at: Instant,
    killed: bool,
}

impl Stopping {
    /// When something has to be done.
    pub fn deadline(&self) -> Instant {
        self.at
    }
}

/// How long killed processes may take to disappear. Exiting as PID 1 ends them anyway; waiting only lets their last output through.
const KILLED_GONE: Duration = Duration::from_millis(500);

/// First thing as PID 1.
pub fn prepare() -> io::Result<()> {
    // From here on no process inside can read or trace this one, even as root of the sandbox.
    set_dumpable_behavior(DumpableBehavior::NotDumpable)?;
    memory::keep_heap_small();
    umask(rustix::fs::Mode::from_raw_mode(0o022));
    Ok(())
}

impl Agent {
    /// Takes every ended child out of the process table: commands are noted, orphans forgotten.
    pub fn reap(&mut self) {
        if let Some(signals) = &self.signals {
            // One SIGCHLD can stand for many; it must be taken before looking, so that the next one is a new event.
            let mut signal = [0; 128];
            let _none_left = rustix::io::read(signals, &mut signal);
        }
        while let Ok(Some(pid)) = ended_child() {
            let exec = self.channels.values_mut().find_map(|request| match request {
                Channel::Exec(exec) if exec.running_pid() == Some(pid) => Some(exec),
                Channel::Exec(_) | Channel::File(_) => None,
            });
            match exec {
                Some(exec) => exec.note_end(),
                None if wait(pid, Wait::Look).is_ok() => {}
                None => break,
            }
        }
    }

    /// Asks everything to end.
    pub fn begin_shutdown(&mut self, grace_ms: u32) {
        if self.stopping.is_some() {
            return;
        }
        self.signal_all(rustix::process::Signal::TERM);
        // Stopped processes cannot end before they continue.
        self.signal_all(rustix::process::Signal::CONT);
        self.stopping = Some(Stopping { at: Instant::now() + Duration::from_millis(u64::from(grace_ms)), killed: false });
    }

    /// Whether a shutdown is complete. Kills what is left when the grace is over.
    pub fn check_stopping(&mut self) -> bool {
        let Some(stopping) = &self.stopping else { return false };
        let (expired, killed) = (Instant::now() >= stopping.at, stopping.killed);
        if self.nothing_runs() || (expired && killed) {
            return true;
        }
        if expired {
            self.signal_all(rustix::process::Signal::KILL);
            self.stopping = Some(Stopping { at: Instant::now() + KILLED_GONE, killed: true });
        }
        false
    }

    fn nothing_runs(&self) -> bool {
        self.channels.is_empty() && (self.place == Place::Nowhere || !inside::sees_other_processes())
    }

    fn signal_all(&mut self, signal: rustix::process::Signal) {
        if self.place != Place::Nowhere {
            // Nobody there is fine; so is a process that another one has just ended.
            let _anyone = inside::signal_everyone(signal.as_raw());
            return;
        }
        let roots = self.roots();
        for request in self.channels.values_mut() {
            match request {
                Channel::Exec(exec) if signal == rustix::process::Signal::KILL => exec.kill(&roots),
                Channel::Exec(exec) => exec.signal(signal.as_raw()),
                Channel::File(request) => request.cancel(),
            }
        }
    }
}
