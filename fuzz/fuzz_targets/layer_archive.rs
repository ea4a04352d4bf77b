//! `pyro_fuzzing::layer::archive`, which says what it is about.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| pyro_fuzzing::layer::archive(bytes));
