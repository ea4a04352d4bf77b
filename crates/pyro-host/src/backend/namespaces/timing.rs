//! When each step of a launch was done, for those who make it faster. Off unless asked for; then both processes take the time from one
//! clock, and the first process sends its part before the exec.

use std::time::{Duration, Instant};

/// First byte of a message with times: no step has this number.
pub const TAG: u8 = 0xff;

/// Times since the launch began.
#[derive(Clone, Debug)]
pub struct Marks {
    begin: Option<Instant>,
    done: Vec<(u8, Duration)>,
}

/// A step that is timed: its number, and what it is called in a report.
pub type Timed = (u8, &'static str);

/// Steps, in the order of each process.
pub const STEPS: [Timed; 20] = [
    (1, "supervisor: ready to fork"),
    (2, "supervisor: forked"),
    (3, "supervisor: user namespace"),
    (4, "supervisor: overlays"),
    (5, "supervisor: copy of the binary"),
    (6, "supervisor: parts sent"),
    (7, "supervisor: control groups made, sent"),
    (8, "supervisor: agent runs"),
    (20, "first process: runs"),
    (21, "first process: network namespace"),
    (22, "first process: loopback up"),
    (23, "first process: low ports"),
    (24, "first process: proc, sysfs, devpts, /dev, /run"),
    (25, "first process: mounts private"),
    (26, "first process: has its parts"),
    (27, "first process: root changed"),
    (28, "first process: in its control groups"),
    (30, "first process: user namespace entered"),
    (31, "first process: capabilities given up"),
    (32, "first process: filter loaded"),
];

impl Marks {
    /// Takes no times.
    #[must_use]
    pub fn off() -> Self {
        Self { begin: None, done: Vec::new() }
    }

    /// Begins now.
    #[must_use]
    pub fn on() -> Self {
        Self { begin: Some(Instant::now()), done: Vec::with_capacity(STEPS.len()) }
    }

    /// A step is done.
    pub fn mark(&mut self, step: u8) {
        if let Some(begin) = self.begin {
            self.done.push((step, begin.elapsed()));
        }
    }

    /// What the other process is sent; `None` when no times are taken.
    #[must_use]
    pub fn message(&self) -> Option<Vec<u8>> {
        self.begin?;
        let mut bytes = vec![TAG];
        for (step, took) in &self.done {
            bytes.push(*step);
            bytes.extend(u32::try_from(took.as_nanos()).unwrap_or(u32::MAX).to_le_bytes());
        }
        Some(bytes)
    }

    /// Takes in what the other process sent.
    pub fn take(&mut self, message: &[u8]) {
        for mark in message[1..].chunks_exact(5) {
            let nanos = u32::from_le_bytes([mark[1], mark[2], mark[3], mark[4]]);
            self.done.push((mark[0], Duration::from_nanos(nanos.into())));
        }
    }

    /// Times by name.
    #[must_use]
    pub fn named(&self) -> Vec<(&'static str, Duration)> {
        let mut done = self.done.clone();
        done.sort_by_key(|(step, _)| *step);
        done.dedup_by_key(|(step, _)| *step);
        let name = |step| STEPS.iter().find(|(number, _)| *number == step).map_or("?", |(_, name)| name);
        done.into_iter().map(|(step, took)| (name(step), took)).collect()
    }
}
