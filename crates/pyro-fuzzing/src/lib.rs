//! What must hold of every parser, whatever it is given: each property is a function of bytes that panics where it does not.
//!
//! A fuzz target (`fuzz/fuzz_targets/NAME.rs`) calls one of these under libFuzzer, on nightly; the test of this crate calls all of them on stable, with the inputs in
//! `fuzz/seeds/NAME` and with those spoiled a little. An input that once failed is kept there, so it is asked again at each run of the tests.
//!
//! Properties are of public functions only: what an enemy can reach. They may use a directory for temporary files and nothing else of the machine.

pub mod api;
pub mod edit;
mod input;
pub mod layer;
pub mod term;
pub mod wire;

/// A property, by the name of its fuzz target.
pub struct Target {
    /// As in `cargo xtask fuzz NAME`.
    pub name: &'static str,
    /// Panics where it does not hold.
    pub check: fn(&[u8]),
}

/// All of them.
pub const TARGETS: [Target; 11] = [
    Target { name: "api_request", check: api::request },
    Target { name: "api_values", check: api::values },
    Target { name: "edit_diff", check: edit::diff },
    Target { name: "edit_patch", check: edit::patch },
    Target { name: "edit_plan", check: edit::plan },
    Target { name: "layer_archive", check: layer::archive },
    Target { name: "term_digest", check: term::digest },
    Target { name: "term_screen", check: term::screen },
    Target { name: "wire_answer", check: wire::answer },
    Target { name: "wire_frame", check: wire::frame },
    Target { name: "wire_message", check: wire::message },
];
