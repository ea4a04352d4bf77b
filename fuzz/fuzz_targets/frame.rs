//! Any bytes, in any pieces: both ways of reading agree, never panic, and hold no more than the limit.
#![no_main]

use libfuzzer_sys::fuzz_target;
use pyro_wire::{Decoder, Frame, FromAgent, LinkError, read_frame};

fuzz_target!(|input: (u16, &[u8])| {
    let (step, bytes) = (usize::from(input.0).max(1), input.1);

    let mut blocking = Vec::new();
    let mut rest = bytes;
    let end = loop {
        match read_frame::<FromAgent>(&mut rest) {
            Ok(Some(frame)) => blocking.push(frame),
            Ok(None) => break None,
            Err(LinkError::Link(_)) => break None,
            Err(LinkError::Violation(violation)) => break Some(violation),
        }
    };

    let mut incremental: Vec<Frame<FromAgent>> = Vec::new();
    let mut decoder = Decoder::new();
    let mut violation = None;
    'pieces: for mut piece in bytes.chunks(step) {
        while !piece.is_empty() {
            decoder.fill(&mut piece).expect("a slice is always readable and all frames were taken out");
            assert!(decoder.held_bytes() <= 2 * Decoder::BYTES_MAX);
            loop {
                match decoder.next_frame() {
                    Ok(Some(frame)) => incremental.push(frame),
                    Ok(None) => break,
                    Err(found) => {
                        violation = Some(found);
                        break 'pieces;
                    }
                }
            }
        }
    }
    assert_eq!((blocking, end), (incremental, violation));
});
