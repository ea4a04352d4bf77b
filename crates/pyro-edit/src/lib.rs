//! What a language model sends to change files, understood: texts to replace, diffs, patches in the forms that models were taught.
//!
//! It is given a request and a way to read files, and gives back a plan, every file with its whole new content, and a report of it; or a failure that says
//! what to send instead. It touches no file, clock or network itself. Whoever carries the plan out does so whole or not at all.
//!
//! It must assume that both the request and the files were written by an enemy: nothing in them makes it panic, and memory and time are bounded
//! ([`limits`]). It never changes anything because it is *similar*: on each rung of its ladder two texts are the same or not, and a place must be the only
//! one. What it leaves out of account (line ends, indentation by the same amount, pasted line numbers, lines that `...` stands for …) it says in the report.

// A failure ends its request: it is made once and copied never, so its size costs nothing.
#![allow(clippy::result_large_err)]

mod compare;
mod edit;
mod elision;
mod failure;
mod files;
mod hunk;
mod index;
pub mod limits;
mod marker;
mod nearest;
mod neighbours;
mod patch;
mod path;
mod plan;
mod planning;
mod report;
mod request;
mod rung;
mod shift;
mod tree;
mod view;

#[cfg(test)]
mod tests;

pub use failure::{Failed, Failure, Nearest, Part, Place, Why};
pub use files::{File, Files, Memory, Mode, Unreadable};
pub use path::RelPath;
pub use plan::{Before, Change, Plan};
pub use planning::plan;
pub use report::{FileReport, Region, Report, Status};
pub use request::{Edit, FileEdits, Options, Request};

/// A request that can be carried out.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Planned {
    /// What to do.
    pub plan: Plan,
    /// What it comes to.
    pub report: Report,
}
