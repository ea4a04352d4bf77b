//! When each step of a launch was done, for those who make it faster. Off unless asked for; then both processes take the time from one
//! clock, and the first process sends its part when it is done.

use std::time::Duration;

use rustix::time::{ClockId, clock_gettime};

/// First byte of a message with times: no step has this number.
pub const TAG: u8 = 0xff;

/// When steps were done.
#[derive(Clone, Debug)]
pub struct Marks {
    /// When the launch began, on the clock of the whole machine; `None`: not known yet, or nobody asks.
    begin: Option<Duration>,
    /// On the same clock.
    done: Vec<(u8, Duration)>,
    is_on: bool,
}

/// A step that is timed: its number, and what it is called in a report.
pub type Timed = (u8, &'static str);

/// Steps, in the order of each process.
pub const STEPS: [Timed; 21] = [
    (1, "supervisor: ready to start it"),
    (2, "supervisor: started it"),
    (3, "supervisor: user namespace"),
    (4, "supervisor: layers made"),
    (5, "supervisor: /dev, /run, overlays"),
    (6, "supervisor: parts sent"),
    (7, "supervisor: control groups made, sent"),
    (8, "supervisor: sandbox closed"),
    (20, "first process: runs"),
    (21, "first process: mount, network, ipc, uts namespaces"),
    (22, "first process: loopback up"),
    (23, "first process: low ports"),
    (24, "first process: proc, sysfs"),
    (25, "first process: plan read, filter made"),
    (26, "first process: has its parts"),
    (27, "first process: root changed"),
    (28, "first process: in its control groups"),
    (29, "first process: control group namespace, host name"),
    (30, "first process: user namespace entered"),
    (31, "first process: capabilities given up"),
    (32, "first process: filter loaded"),
];

fn now() -> Duration {
    let time = clock_gettime(ClockId::Monotonic);
    Duration::new(time.tv_sec.try_into().unwrap_or(0), time.tv_nsec.try_into().unwrap_or(0))
}

impl Marks {
    /// Takes no times.
    #[must_use]
    pub fn off() -> Self {
        Self { begin: None, done: Vec::new(), is_on: false }
    }

    /// Begins now.
    #[must_use]
    pub fn on() -> Self {
        Self { begin: Some(now()), done: Vec::new(), is_on: true }
    }

    /// Takes times before it is known whether anybody asks: [`Marks::settle`] says it.
    #[must_use]
    pub fn unsettled() -> Self {
        Self { begin: None, done: Vec::new(), is_on: true }
    }

    /// The launch began then, if its steps are timed at all.
    pub fn settle(&mut self, begin: Option<Duration>) {
        self.begin = begin;
        self.is_on = begin.is_some();
    }

    /// When it began: for the other process.
    #[must_use]
    pub fn begin(&self) -> Option<Duration> {
        self.begin
    }

    /// A step is done.
    pub fn mark(&mut self, step: u8) {
        if self.is_on {
            self.done.push((step, now()));
        }
    }

    /// What the other process is sent; `None` when no times are taken.
    #[must_use]
    pub fn message(&self) -> Option<Vec<u8>> {
        self.begin?;
        let mut bytes = vec![TAG];
        for (step, at) in &self.done {
            bytes.push(*step);
            bytes.extend(u64::try_from(at.as_nanos()).unwrap_or(u64::MAX).to_le_bytes());
        }
        Some(bytes)
    }

    /// Takes in what the other process sent.
    pub fn take(&mut self, message: &[u8]) {
        for mark in message[1..].chunks_exact(9) {
            let Ok(nanos) = mark[1..].try_into().map(u64::from_le_bytes) else { continue };
            self.done.push((mark[0], Duration::from_nanos(nanos)));
        }
    }

    /// Times since the beginning, by name.
    #[must_use]
    pub fn named(&self) -> Vec<(&'static str, Duration)> {
        let begin = self.begin.unwrap_or_default();
        let mut done = self.done.clone();
        done.sort_by_key(|(step, _)| *step);
        done.dedup_by_key(|(step, _)| *step);
        let name = |step| STEPS.iter().find(|(number, _)| *number == step).map_or("?", |(_, name)| name);
        done.into_iter().map(|(step, at)| (name(step), at.saturating_sub(begin))).collect()
    }
}
