//! Frames and messages of the link.

use std::fmt::Debug;

use pyro_wire::edit::{EditAnswer, EditOrder};
use pyro_wire::frame::{Message, encode_control};
use pyro_wire::message::{Search, SearchTell, Selection};
use pyro_wire::search::SearchAnswer;
use pyro_wire::{Decoder, Frame, FromAgent, LinkError, SandboxPath, ToAgent, Violation, read_frame};

use crate::input::{numbers, pieces};

/// Any bytes, in any pieces: both ways of reading agree, never panic, and hold no more than the limit. The first byte is the size of the pieces.
pub fn frame(bytes: &[u8]) {
    let ([size], bytes) = numbers(bytes);
    both_ways::<FromAgent>(size, bytes);
    both_ways::<ToAgent>(size, bytes);
}

fn both_ways<M: Message + PartialEq + Debug>(size: u8, bytes: &[u8]) {
    let mut blocking = Vec::new();
    let mut rest = bytes;
    let end = loop {
        match read_frame::<M>(&mut rest) {
            Ok(Some(frame)) => blocking.push(frame),
            Ok(None) | Err(LinkError::Link(_)) => break None,
            Err(LinkError::Violation(violation)) => break Some(violation),
        }
    };
    let mut incremental: Vec<Frame<M>> = Vec::new();
    let violation = in_pieces(size, bytes, &mut incremental).err();
    assert_eq!((blocking, end), (incremental, violation));
}

fn in_pieces<M: Message>(size: u8, bytes: &[u8], frames: &mut Vec<Frame<M>>) -> Result<(), Violation> {
    let mut decoder = Decoder::new();
    for mut piece in pieces(bytes, size) {
        while !piece.is_empty() {
            decoder.fill(&mut piece).expect("a slice is always readable and all frames were taken out");
            assert!(decoder.held_bytes() <= 2 * Decoder::BYTES_MAX, "{} bytes are held", decoder.held_bytes());
            while let Some(frame) = decoder.next_frame()? {
                frames.push(frame);
            }
        }
    }
    Ok(())
}

/// One payload as a control frame: what is accepted is written again and reads back the same.
pub fn message(payload: &[u8]) {
    round_trip::<FromAgent>(payload);
    round_trip::<ToAgent>(payload);
}

fn round_trip<M: Message + PartialEq + Debug>(payload: &[u8]) {
    let Ok(length) = u32::try_from(payload.len()) else { return };
    let bytes = [length.to_le_bytes().as_slice(), &[0], &1_u32.to_le_bytes(), payload].concat();
    match read_frame::<M>(&mut bytes.as_slice()) {
        Ok(Some(Frame::Control { channel, message })) => {
            let mut again = Vec::new();
            // What came with few escapes may need more than a frame when we write it: that is refused, not wrong.
            if encode_control(channel, &message, &mut again).is_ok() {
                let read = read_frame::<M>(&mut again.as_slice()).expect("what we write is right");
                assert_eq!(read, Some(Frame::Control { channel, message }));
            }
        }
        Err(LinkError::Violation(violation)) => is_safe(&violation),
        Ok(_) | Err(LinkError::Link(_)) => {}
    }
}

/// One short sentence that acts on no terminal. A tab stays.
fn is_safe(violation: &Violation) {
    let acts = violation.0.chars().any(|c| c.is_control() && c != '\t');
    assert!(violation.0.len() < 1024 && !acts, "{violation:?}");
}

/// What is sent as content: orders and answers of edits and searches. What is taken is written again and reads back the same.
pub fn answer(bytes: &[u8]) {
    match EditOrder::from_json(bytes) {
        Ok(order) => assert_eq!(EditOrder::from_json(&order.to_json()).as_ref(), Ok(&order)),
        Err(violation) => is_safe(&violation),
    }
    match EditAnswer::from_json(bytes) {
        Ok(answer) => assert_eq!(EditAnswer::from_json(&answer.to_json()).as_ref(), Ok(&answer)),
        Err(violation) => is_safe(&violation),
    }
    for tell in [SearchTell::Lines, SearchTell::Files, SearchTell::Counts] {
        let asked = Search {
            path: SandboxPath::workspace(),
            pattern: "x".to_owned(),
            fixed: false,
            ignore_case: false,
            multiline: false,
            selection: Selection { globs: Vec::new(), hidden: false, ignored: false },
            tell,
            context: 2,
            limit: 10,
            credit_bytes: 40,
        };
        match SearchAnswer::from_json(bytes, &asked) {
            Ok(answer) => assert_eq!(SearchAnswer::from_json(&answer.to_json(), &asked).as_ref(), Ok(&answer)),
            Err(violation) => is_safe(&violation),
        }
    }
}
