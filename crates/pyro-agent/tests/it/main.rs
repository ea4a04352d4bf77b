//! The agent over a socketpair, on a thread of the test: everything but being PID 1.
//! The other end is a supervisor of a few lines. No sleeps: every wait is for a frame, with one deadline for all.

mod client;
mod diff;
mod exec;
mod files;
mod link;
mod names;
mod search;
