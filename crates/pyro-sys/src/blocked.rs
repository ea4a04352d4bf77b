//! What the threads of another process are blocked in, as `/proc` tells it: proc_pid_syscall(5).
//!
//! Where the kernel refuses that (Yama's `ptrace_scope` of 2 and more, a process of another user), what is left is the function it sleeps in
//! (proc_pid_wchan(5)), and only a plain read of a terminal is recognised.

use std::fs::File;
use std::os::unix::fs::FileExt;

use libc::{SYS_epoll_pwait, SYS_epoll_pwait2, SYS_ppoll, SYS_pselect6, SYS_read, SYS_readv, c_long};

/// Threads of one process that are looked at.
const THREADS_MAX: usize = 256;

/// Descriptors of one call that are looked at: `FD_SETSIZE` of select(2).
const DESCRIPTORS_MAX: usize = 1024;

/// How a thread waits for something to read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Waiting {
    /// In a call that reads this descriptor.
    Reads(i32),
    /// Until one of these descriptors has something to read, however long that takes.
    Polls(Vec<i32>),
    /// In a call that reads a terminal, by a descriptor that is not told.
    ReadsTerminal,
}

/// What those threads of a process wait for that do nothing but wait for something to read. A process that is gone, or may not be looked at, waits for nothing.
#[must_use]
pub fn waiting(pid: i32) -> Vec<Waiting> {
    let Ok(threads) = std::fs::read_dir(format!("/proc/{pid}/task")) else { return Vec::new() };
    let threads = threads.filter_map(|entry| entry.ok()?.file_name().into_string().ok());
    threads.take(THREADS_MAX).filter_map(|thread| of_thread(pid, &thread)).collect()
}

fn of_thread(pid: i32, thread: &str) -> Option<Waiting> {
    let about = |what: &str| std::fs::read_to_string(format!("/proc/{pid}/task/{thread}/{what}"));
    match about("syscall") {
        Ok(line) => Call::parse(&line)?.waiting(pid),
        Err(_) => (about("wchan").ok()? == "n_tty_read").then_some(Waiting::ReadsTerminal),
    }
}

/// A system call that a thread is blocked in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Call {
    number: c_long,
    arguments: [u64; 6],
}

impl Call {
    /// Reads the line: `running`, or a decimal number, six hexadecimal arguments, stack pointer and program counter; -1 and only the latter two in no call.
    fn parse(line: &str) -> Option<Self> {
        let mut words = line.split_ascii_whitespace();
        let number = words.next()?.parse().ok()?;
        let mut arguments = [0; 6];
        for argument in &mut arguments {
            *argument = u64::from_str_radix(words.next()?.strip_prefix("0x")?, 16).ok()?;
        }
        Some(Self { number, arguments })
    }

    #[expect(non_upper_case_globals, reason = "the names of the calls")]
    fn waiting(self, pid: i32) -> Option<Waiting> {
        let [first, second, third, fourth, fifth, _] = self.arguments;
        let forever = |milliseconds: u64| low(milliseconds) < 0;
        match self.number {
            SYS_read | SYS_readv => Some(Waiting::Reads(low(first))),
            SYS_ppoll if third == 0 => polled(pid, first, second),
            SYS_pselect6 if fifth == 0 => selected(pid, first, second),
            SYS_epoll_pwait if forever(fourth) => watched(pid, first),
            SYS_epoll_pwait2 if fourth == 0 => watched(pid, first),
            #[cfg(target_arch = "x86_64")]
            libc::SYS_poll if forever(third) => polled(pid, first, second),
            #[cfg(target_arch = "x86_64")]
            libc::SYS_select if fifth == 0 => selected(pid, first, second),
            #[cfg(target_arch = "x86_64")]
            libc::SYS_epoll_wait if forever(fourth) => watched(pid, first),
            _ => None,
        }
    }
}

/// An `int` as it was passed in a register.
fn low(argument: u64) -> i32 {
    argument.cast_signed() as i32
}

/// Descriptors that a poll(2) waits to read from: `struct pollfd` is the descriptor, what is waited for, and what has happened.
fn polled(pid: i32, address: u64, count: u64) -> Option<Waiting> {
    let count = usize::try_from(count).ok()?.min(DESCRIPTORS_MAX);
    let bytes = memory(pid, address, count * 8)?;
    let entries = bytes.chunks_exact(8).filter(|entry| i16::from_ne_bytes([entry[4], entry[5]]) & libc::POLLIN != 0);
    Some(Waiting::Polls(entries.map(|entry| i32::from_ne_bytes([entry[0], entry[1], entry[2], entry[3]])).collect()))
}

/// Descriptors that a select(2) waits to read from: one bit each.
fn selected(pid: i32, count: u64, address: u64) -> Option<Waiting> {
    let count = usize::try_from(count).ok()?.min(DESCRIPTORS_MAX);
    if address == 0 {
        return None;
    }
    let bytes = memory(pid, address, count.div_ceil(64) * 8)?;
    let is_set = |descriptor: &usize| bytes[descriptor / 8] & (1 << (descriptor % 8)) != 0;
    Some(Waiting::Polls((0..count).filter(is_set).filter_map(|descriptor| i32::try_from(descriptor).ok()).collect()))
}

/// Descriptors that an epoll(7) instance waits to read from: proc_pid_fdinfo(5).
fn watched(pid: i32, descriptor: u64) -> Option<Waiting> {
    let text = std::fs::read_to_string(format!("/proc/{pid}/fdinfo/{}", low(descriptor))).ok()?;
    let target = |line: &str| {
        let mut words = line.strip_prefix("tfd:")?.split_ascii_whitespace();
        let target = words.next()?.parse().ok()?;
        let events = u32::from_str_radix(words.skip_while(|word| *word != "events:").nth(1)?, 16).ok()?;
        (events & libc::EPOLLIN.cast_unsigned() != 0).then_some(target)
    };
    Some(Waiting::Polls(text.lines().filter_map(target).take(DESCRIPTORS_MAX).collect()))
}

/// Bytes of another process's memory, as it has them now.
fn memory(pid: i32, address: u64, length: usize) -> Option<Vec<u8>> {
    let mut bytes = vec![0; length];
    File::open(format!("/proc/{pid}/mem")).ok()?.read_exact_at(&mut bytes, address).ok()?;
    Some(bytes)
}

#[cfg(test)]
mod tests;
