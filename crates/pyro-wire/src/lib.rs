//! The protocol between a supervisor (outside) and the agent (inside), and nothing else.
//!
//! # Threat model
//!
//! Everything that arrives from inside was written by an enemy: the workload may be root in its sandbox and may
//! have replaced or driven the agent. So this crate is the only place where bytes from inside become values, it has
//! a named limit on everything (`limits`), it checks a length before it allocates, and it never repairs: what is not
//! exactly right is a [`Violation`](frame::Violation), and the supervisor closes the link for good.
//!
//! # The frame
//!
//! ```text
//! +----------------+----------+------------------+------------------+
//! | length: u32 LE | kind: u8 | channel: u32 LE  | payload          |
//! +----------------+----------+------------------+------------------+
//!   length counts the payload only: at least 1, at most FRAME_PAYLOAD_BYTES_MAX
//! ```
//!
//! A *control* frame (kind 0) carries one JSON message, [`message::ToAgent`] or [`message::FromAgent`]. A *data* frame (kinds 1 to 4)
//! carries raw bytes of one stream of its channel: they are not looked at here. Channel 0 is the link itself; every
//! other channel is one request, numbered upwards by the supervisor and never used twice in the life of a link.
//!
//! Frames cross on the way: after the agent has ended a channel, it ignores what still arrives for it (data, credit, signals).
//! The supervisor knows when it was told of the end, so for it anything on an ended channel is a violation.
//!
//! Both ends are the same build: the hello carries the build id and a nonce chosen outside, and a mismatch is refused.
//! There is no negotiation and no compatibility code.

#![deny(clippy::indexing_slicing, clippy::arithmetic_side_effects, clippy::as_conversions)]
#![cfg_attr(test, allow(clippy::indexing_slicing, clippy::arithmetic_side_effects, clippy::unwrap_used))]

mod bounds;
mod bytes;
pub mod edit;
pub mod frame;
pub mod limits;
pub mod machine;
pub mod message;
pub mod path;
pub mod search;
pub mod untrusted;

pub use bytes::Bytes;
pub use frame::{Decoder, Frame, LinkError, Message, Stream, Violation, read_frame, write_frame};
pub use message::{FromAgent, ToAgent};
pub use path::SandboxPath;
pub use untrusted::Untrusted;
