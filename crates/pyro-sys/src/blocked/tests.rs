use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::sync::mpsc;
use std::time::{Duration, Instant};

use rustix::event::epoll::{self, CreateFlags, EventData, EventFlags};
use rustix::event::{FdSetElement, PollFd, PollFlags, Timespec, fd_set_insert, fd_set_num_elements, poll, select};
use rustix::pipe::{PipeFlags, pipe_with};

use super::*;

/// What a thread of ours is seen to wait for once it is blocked in what it was given to do. The call ends when `keep` is dropped.
fn seen(keep: OwnedFd, call: impl FnOnce() + Send + 'static, expected: &dyn Fn(&Option<Waiting>) -> bool) {
    let (tell, told) = mpsc::channel();
    let thread = std::thread::spawn(move || {
        tell.send(rustix::thread::gettid().as_raw_nonzero().get()).expect("somebody waits for it");
        call();
    });
    let (pid, id) = (std::process::id().cast_signed(), told.recv().expect("a thread").to_string());
    let until = Instant::now() + Duration::from_secs(60);
    let mut last = None;
    while !expected(&last) {
        assert!(Instant::now() < until, "it was seen to wait for {last:?}");
        std::thread::yield_now();
        last = of_thread(pid, &id);
    }
    drop(keep);
    thread.join().expect("it ends");
}

fn pipe() -> (OwnedFd, OwnedFd) {
    pipe_with(PipeFlags::CLOEXEC).expect("a pipe")
}

#[test]
fn each_call_that_waits_for_something_to_read_is_seen_with_its_descriptors() {
    let (end, keep) = pipe();
    let raw = end.as_raw_fd();
    seen(keep, move || assert_eq!(rustix::io::read(&end, &mut [0; 8]), Ok(0)), &|seen| *seen == Some(Waiting::Reads(raw)));

    let (end, keep) = pipe();
    let raw = end.as_raw_fd();
    let polls = move || {
        // Room to write is nothing that somebody types.
        let other = pipe();
        let mut fds = [PollFd::new(&other.0, PollFlags::PRI), PollFd::new(&end, PollFlags::IN)];
        poll(&mut fds, None).expect("poll");
    };
    seen(keep, polls, &|seen| *seen == Some(Waiting::Polls(vec![raw])));

    let (end, keep) = pipe();
    let raw = end.as_raw_fd();
    let selects = move || {
        let mut set = vec![FdSetElement::default(); fd_set_num_elements(1, end.as_raw_fd() + 1)];
        fd_set_insert(&mut set, end.as_raw_fd());
        // SAFETY: the descriptor in the set is open for as long as the call lasts.
        let ready = unsafe { select(end.as_raw_fd() + 1, Some(&mut set), None, None, None) };
        ready.expect("select");
    };
    seen(keep, selects, &|seen| *seen == Some(Waiting::Polls(vec![raw])));

    let (end, keep) = pipe();
    let raw = end.as_raw_fd();
    let waits = move || {
        let watched = epoll::create(CreateFlags::CLOEXEC).expect("epoll");
        epoll::add(&watched, end.as_fd(), EventData::new_u64(0), EventFlags::IN).expect("watched");
        epoll::wait(&watched, &mut Vec::<epoll::Event>::with_capacity(4).spare_capacity_mut()[..1], None).expect("wait");
    };
    seen(keep, waits, &|seen| *seen == Some(Waiting::Polls(vec![raw])));
}

#[test]
fn who_would_go_on_by_itself_waits_for_nothing() {
    let (end, keep) = pipe();
    let a_minute = Timespec { tv_sec: 60, tv_nsec: 0 };
    let (pid, until) = (std::process::id().cast_signed(), Instant::now() + Duration::from_secs(60));
    let (tell, told) = mpsc::channel();
    let thread = std::thread::spawn(move || {
        tell.send(rustix::thread::gettid().as_raw_nonzero().get().to_string()).expect("somebody waits for it");
        poll(&mut [PollFd::new(&end, PollFlags::IN)], Some(&a_minute)).expect("poll");
    });
    let id = told.recv().expect("a thread");
    let state = || std::fs::read_to_string(format!("/proc/{pid}/task/{id}/wchan")).unwrap_or_default();
    while !state().contains("poll") {
        assert!(Instant::now() < until, "it was never in its call: {}", state());
    }
    assert_eq!(of_thread(pid, &id), None);
    drop(keep);
    thread.join().expect("it ends");
    assert_eq!(waiting(i32::MAX), Vec::new());
}

#[test]
fn lines_are_read_as_the_kernel_writes_them() {
    let call = Call::parse("0 0x3 0x7ffc79330150 0x1000 0x8 0x0 0x564823df8400 0x7ffc793300b8 0x7f0ecd7f82ad");
    assert_eq!(call, Some(Call { number: 0, arguments: [3, 0x7ffc_7933_0150, 0x1000, 8, 0, 0x5648_23df_8400] }));
    for line in ["running", "-1 0x7ffc793300b8 0x7f0ecd7f82ad", "", "0 3 4", "0 0x3", "x 0x0 0x0 0x0 0x0 0x0 0x0"] {
        assert_eq!(Call::parse(line), None, "{line:?}");
    }
}
