//! One payload as a control frame: what is accepted is written again and reads back the same.
#![no_main]

use libfuzzer_sys::fuzz_target;
use pyro_wire::frame::{Message, encode_control};
use pyro_wire::{Frame, FromAgent, ToAgent, read_frame};

fuzz_target!(|payload: &[u8]| {
    round_trip::<FromAgent>(payload);
    round_trip::<ToAgent>(payload);
});

fn round_trip<M: Message + PartialEq + std::fmt::Debug>(payload: &[u8]) {
    let length = u32::try_from(payload.len()).expect("a fuzzer's input is small");
    let bytes = [length.to_le_bytes().as_slice(), &[0], &1_u32.to_le_bytes(), payload].concat();
    if let Ok(Some(Frame::Control { channel, message })) = read_frame::<M>(&mut bytes.as_slice()) {
        let mut again = Vec::new();
        // What came with few escapes may need more than a frame when we write it: that is refused, not wrong.
        if encode_control(channel, &message, &mut again).is_ok() {
            let read = read_frame::<M>(&mut again.as_slice()).expect("what we write is right");
            assert_eq!(read, Some(Frame::Control { channel, message }));
        }
    }
}
