//! `pyro_fuzzing::edit::plan`, which says what it is about.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| pyro_fuzzing::edit::plan(bytes));
