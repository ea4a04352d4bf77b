//! Whether nothing inside can write any more, told from what the kernel shows outside: who is alive, and what the agent has mapped. And stopping those
//! who are alive for a moment.
//!
//! The inside may have taken over the agent, so nothing is asked of it.

use std::io::{self, Read};
use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;
use std::time::{Duration, Instant};

use pyro_sys::spawn::Child;
use rustix::fs::{Mode, OFlags, openat};
use rustix::process::{Pid, PidfdFlags, Signal, pidfd_open, pidfd_send_signal};

/// The agent as `/proc` shows it, opened while the caller's `/proc` is the host's: it can be read from anywhere.
pub struct Watched {
    process: OwnedFd,
    pid: i32,
}

impl Watched {
    /// Of a sandbox's first process.
    pub fn open(child: &Child) -> io::Result<Self> {
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let path = format!("/proc/{}", child.pid());
        Ok(Self { process: rustix::fs::open(path, flags, Mode::empty())?, pid: child.pid() })
    }

    fn read(&self, path: &str) -> io::Result<String> {
        let file = openat(&self.process, path, OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty())?;
        // What /proc says has no size to ask for, and fits most often.
        let mut text = String::with_capacity(PROC_TEXT_BYTES);
        std::fs::File::from(file).take(u64::MAX).read_to_string(&mut text)?;
        Ok(text)
    }

    /// Processes that the agent has started or inherited. As it is the first process, every other one inside descends from them. Those that
    /// have ended and are not collected yet count too.
    fn children(&self) -> io::Result<Vec<i32>> {
        for _ in 0..LOOKS_MAX {
            if let Some(children) = self.children_of_threads()? {
                return Ok(children);
            }
        }
        Err(io::Error::other("its threads end faster than they can be looked at"))
    }

    /// `None` when a thread ended meanwhile: what it had started belongs to another one now, which may have been looked at before.
    fn children_of_threads(&self) -> io::Result<Option<Vec<i32>>> {
        let tasks = openat(&self.process, "task", OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty())?;
        let mut children = Vec::new();
        for task in rustix::fs::Dir::read_from(&tasks)? {
            let task = task?;
            let Some(thread) = task.file_name().to_str().ok().filter(|name| name.bytes().all(|byte| byte.is_ascii_digit())) else {
                continue;
            };
            // CONFIG_PROC_CHILDREN.
            let listed = match self.read(&format!("task/{thread}/children")) {
                Err(error) if matches!(error.raw_os_error(), Some(ESRCH | ENOENT)) && self.is_there() => return Ok(None),
                listed => listed?,
            };
            children.extend(listed.split_ascii_whitespace().filter_map(|pid| pid.parse::<i32>().ok()));
        }
        Ok(Some(children))
    }

    /// Whether the kernel says what threads have started, of the first one, which cannot end before the others.
    fn is_there(&self) -> bool {
        self.read(&format!("task/{}/children", self.pid)).is_ok()
    }

    /// How many processes there are but the agent.
    ///
    /// # Errors
    /// When the kernel does not say.
    pub fn count(&self) -> io::Result<u64> {
        Ok(descendants(self)?.len() as u64)
    }

    /// Why something inside may still write to files that it has at hand already; `None` when nothing can.
    ///
    /// # Errors
    /// When the kernel does not say.
    pub fn who_may_write(&self) -> io::Result<Option<&'static str>> {
        if !self.children()?.is_empty() {
            return Ok(Some("a process is running in the background"));
        }
        // A file that is mapped is written to without being open. Ours maps none.
        let maps = self.read("maps")?;
        let is_shared = |line: &str| line.split(' ').nth(1).is_some_and(|permissions| permissions.ends_with('s'));
        Ok(maps.lines().any(is_shared).then_some("the agent has mapped a file"))
    }
}

/// Space for what /proc says of an agent: its mappings are some twenty lines.
const PROC_TEXT_BYTES: usize = 4096;

/// "No such file or directory": a thread had ended when it was opened.
const ENOENT: i32 = 2;

/// "No such process": it ended after that.
const ESRCH: i32 = 3;

/// How often it is looked again because a thread has ended: one ends after each request about files.
const LOOKS_MAX: usize = 64;

/// How long stopping them all may take. One that waits for a disk cannot be stopped before that has answered.
const STOPPED_WITHIN: Duration = Duration::from_secs(5);

/// Between two looks: nothing says "they are all stopped".
const LOOK_EVERY: Duration = Duration::from_millis(1);

/// All processes inside but the agent, stopped. They go on when it is dropped.
pub struct Frozen {
    /// In the order in which they were stopped: parents before what they have started. Each with whether it was running before.
    stopped: Vec<(OwnedFd, bool)>,
}

impl Frozen {
    /// Stops them. `None` when one could not be stopped in time; all go on then.
    ///
    /// # Errors
    /// When the kernel does not say who is there.
    pub fn new(watched: &Watched) -> io::Result<Option<Self>> {
        let home = namespace_of(watched.pid)?;
        let mut frozen = Self { stopped: Vec::new() };
        let mut known: Vec<i32> = Vec::new();
        let deadline = Instant::now() + STOPPED_WITHIN;
        loop {
            let mut found_new = false;
            // Whoever was not stopped yet may have started others meanwhile: look until there is nobody new.
            for pid in descendants(watched)? {
                if known.contains(&pid) {
                    continue;
                }
                let Some(process) = Pid::from_raw(pid).and_then(|pid| pidfd_open(pid, PidfdFlags::empty()).ok()) else { continue };
                // The number may have come to mean another: what the descriptor holds is what is looked at from here on.
                if namespace_of(pid).ok().as_ref() != Some(&home) {
                    continue;
                }
                let was_running = state_of(pid).is_none_or(|state| !matches!(state, b'T' | b't'));
                if pidfd_send_signal(process.as_fd(), Signal::STOP).is_ok() {
                    frozen.stopped.push((process, was_running));
                    known.push(pid);
                    found_new = true;
                }
            }
            if !found_new && known.iter().all(|pid| is_stopped(*pid)) {
                return Ok(Some(frozen));
            }
            if Instant::now() > deadline {
                return Ok(None);
            }
            std::thread::sleep(LOOK_EVERY);
        }
    }

    /// Stops the first process instead. `None` when it could not be stopped in time.
    ///
    /// # Errors
    /// When it is gone.
    pub fn first(watched: &Watched) -> io::Result<Option<Self>> {
        let pid = Pid::from_raw(watched.pid).ok_or(io::ErrorKind::NotFound)?;
        let process = pidfd_open(pid, PidfdFlags::empty())?;
        pidfd_send_signal(process.as_fd(), Signal::STOP)?;
        let frozen = Self { stopped: vec![(process, true)] };
        let deadline = Instant::now() + STOPPED_WITHIN;
        while !is_stopped(watched.pid) {
            if Instant::now() > deadline {
                return Ok(None);
            }
            std::thread::sleep(LOOK_EVERY);
        }
        Ok(Some(frozen))
    }
}

impl Drop for Frozen {
    fn drop(&mut self) {
        // Children first: a parent then never sees that they were stopped.
        for (process, was_running) in self.stopped.iter().rev() {
            if *was_running {
                // One that is gone needs nothing.
                let _ = pidfd_send_signal(process.as_fd(), Signal::CONT);
            }
        }
    }
}

/// Every process inside but the first, parents first.
fn descendants(watched: &Watched) -> io::Result<Vec<i32>> {
    let mut all = watched.children()?;
    let mut at = 0;
    while let Some(&pid) = all.get(at) {
        at += 1;
        let Ok(tasks) = std::fs::read_dir(format!("/proc/{pid}/task")) else { continue };
        for task in tasks.flatten() {
            let listed = std::fs::read_to_string(task.path().join("children")).unwrap_or_default();
            all.extend(listed.split_ascii_whitespace().filter_map(|pid| pid.parse::<i32>().ok()));
        }
    }
    Ok(all)
}

fn namespace_of(pid: i32) -> io::Result<std::path::PathBuf> {
    std::fs::read_link(Path::new("/proc").join(pid.to_string()).join("ns/pid"))
}

/// Whether no thread of a process runs any more: each stops when it comes back from what it asked of the kernel.
fn is_stopped(pid: i32) -> bool {
    let Ok(threads) = std::fs::read_dir(format!("/proc/{pid}/task")) else { return true };
    let mut states = threads.flatten().filter_map(|thread| state_in(&thread.path().join("stat")));
    states.all(|state| matches!(state, b'T' | b't' | b'Z' | b'X'))
}

/// State of a process as proc_pid_stat(5) has it; `None` when it is gone.
fn state_of(pid: i32) -> Option<u8> {
    state_in(&Path::new("/proc").join(pid.to_string()).join("stat"))
}

fn state_in(stat: &Path) -> Option<u8> {
    let stat = std::fs::read(stat).ok()?;
    // After the name, which may hold anything, in parentheses.
    let end = stat.iter().rposition(|byte| *byte == b')')?;
    stat.get(end + 2).copied()
}
