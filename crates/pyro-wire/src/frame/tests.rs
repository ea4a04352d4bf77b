//! The codec refuses, bounds and never panics; what it writes it reads.

use proptest::prelude::*;

use super::*;
use crate::limits::DECODE_BYTES_MAX;
use crate::message::{FromAgent, ToAgent};

fn frame(kind: u8, length: u32, payload: &[u8]) -> Vec<u8> {
    [length.to_le_bytes().as_slice(), &[kind], &5_u32.to_le_bytes(), payload].concat()
}

fn control(json: &str) -> Vec<u8> {
    frame(0, u32::try_from(json.len()).unwrap(), json.as_bytes())
}

fn read(bytes: &[u8]) -> Result<Option<Frame<FromAgent>>, LinkError> {
    read_frame(&mut &bytes[..])
}

/// What both ways of reading say, which must be the same.
fn violation(bytes: &[u8]) -> String {
    let mut decoder = Decoder::new();
    let mut rest = bytes;
    let incremental = loop {
        if let Err(violation) = decoder.next_frame::<FromAgent>() {
            break violation;
        }
        assert!(decoder.fill(&mut rest).unwrap().bytes > 0, "no violation in {bytes:?}");
    };
    match read(bytes) {
        Err(LinkError::Violation(violation)) => assert_eq!(violation, incremental),
        other => panic!("{other:?}"),
    }
    incremental.0
}

#[test]
fn what_is_not_exactly_right_is_refused_by_name() {
    let cases = [
        (frame(0, 65_537, b""), "a frame announces 65537 bytes; the limit is 65536"),
        (frame(2, u32::MAX, b""), "a frame announces 4294967295 bytes; the limit is 65536"),
        (frame(5, 1, b""), "a frame has the unknown kind 5"),
        (frame(0, 0, b""), "a frame has no payload"),
        (frame(3, 0, b""), "a frame has no payload"),
        (control(&"[".repeat(9)), "a message is nested deeper than 8 levels"),
        (control(&format!(r#"{{"x\"[":{}"#, "{".repeat(8))), "a message is nested deeper than 8 levels"),
        (control("\"done\" x"), "not a message: trailing characters at line 1 column 8"),
        (control(r#"{"credit":{"bytes":0}}"#), "0 bytes of credit from the agent"),
        (control(r#"{"started":{"pid":1,"x":2}}"#), "not a message: unknown field `x`, expected `pid` at line 1 column 23"),
        (control("\"kill\""), "not a message: unknown variant `kill`, expected one of"),
        (control(r#""[[[[[[[[[[""#), "not a message: unknown variant `[[[[[[[[[[`, expected one of"),
    ];
    for (bytes, sentence) in cases {
        let found = violation(&bytes);
        assert!(found.starts_with(sentence), "{found} instead of {sentence}");
    }
}

#[test]
fn a_violation_is_safe_to_print_and_short() {
    let found = violation(&control(&format!(r#"{{"\u001b[31m{}":1}}"#, "x".repeat(5000))));
    let is_safe = |found: &str| {
        assert!(found.contains("\\u{1b}[31mxxx") && found.ends_with('…') && found.len() < 350, "{found}");
    };
    is_safe(&found);
    // Also where a message does not come as a frame of its own.
    let strange = format!(r#"{{"\u001b[31m{}":1}}"#, "x".repeat(5000));
    let asked = crate::message::tests::search();
    is_safe(&crate::edit::EditOrder::from_json(strange.as_bytes()).expect_err("it is no order").0);
    is_safe(&crate::edit::EditAnswer::from_json(strange.as_bytes()).expect_err("it is no answer").0);
    is_safe(&crate::search::SearchAnswer::from_json(strange.as_bytes(), &asked).expect_err("it is no answer").0);
}

#[test]
fn the_end_of_the_link_is_clean_only_between_frames() {
    let whole = control("\"done\"");
    assert!(matches!(read(b""), Ok(None)));
    for cut in 1..whole.len() {
        assert!(matches!(read(&whole[..cut]), Err(LinkError::Link(error)) if error.kind() == io::ErrorKind::UnexpectedEof));
    }
    assert_eq!(read(&whole).unwrap(), Some(Frame::Control { channel: 5, message: FromAgent::Done }));
}

#[test]
fn frames_come_out_however_the_bytes_come_in() {
    let frames: Vec<Frame<FromAgent>> = vec![
        Frame::Control { channel: 1, message: FromAgent::Started { pid: 4 } },
        Frame::Data { channel: 1, stream: Stream::Stdout, bytes: vec![7; FRAME_PAYLOAD_BYTES_MAX] },
        Frame::Data { channel: u32::MAX, stream: Stream::Content, bytes: vec![0] },
        Frame::Control { channel: 2, message: FromAgent::Done },
    ];
    let mut bytes = Vec::new();
    for frame in &frames {
        encode(frame, &mut bytes).unwrap();
    }
    for step in [1, 2, 8, 9, 10, 4096, 70_000, usize::MAX] {
        let (mut decoder, mut found, mut rest) = (Decoder::new(), Vec::new(), bytes.as_slice());
        while !rest.is_empty() {
            let (now, later) = rest.split_at(step.min(rest.len()));
            let mut now = now;
            while !now.is_empty() {
                decoder.fill(&mut now).unwrap();
                while let Some(frame) = decoder.next_frame().unwrap() {
                    found.push(frame);
                }
            }
            rest = later;
        }
        assert!(found == frames, "in steps of {step}");
        assert!(decoder.is_empty() && decoder.held_bytes() <= READ_BYTES);
    }
}

#[test]
fn a_decoder_that_is_full_does_not_pretend_that_the_link_ended() {
    let mut decoder = Decoder::new();
    let endless = vec![0x41; 1 << 20];
    let mut rest = endless.as_slice();
    let error = loop {
        match decoder.fill(&mut rest) {
            Ok(fill) => assert!(fill.bytes > 0),
            Err(error) => break error,
        }
    };
    assert_eq!(error.kind(), io::ErrorKind::WouldBlock);
    assert!(decoder.held_bytes() <= Decoder::BYTES_MAX);
}

#[test]
fn nothing_is_written_of_a_frame_that_breaks_a_bound() {
    let mut bytes = vec![1, 2];
    for frame in [
        Frame::Control { channel: 1, message: FromAgent::Credit { bytes: 0 } },
        Frame::Data { channel: 1, stream: Stream::Stderr, bytes: Vec::new() },
        Frame::Data { channel: 1, stream: Stream::Stderr, bytes: vec![0; FRAME_PAYLOAD_BYTES_MAX + 1] },
    ] {
        assert!(encode(&frame, &mut bytes).is_err());
        assert!(matches!(write_frame(&mut Vec::new(), &frame), Err(LinkError::Violation(_))));
        assert_eq!(bytes, [1, 2]);
    }
}

/// Bytes allocated at most at one time while these are decoded to the end.
fn memory(bytes: &[u8]) -> u64 {
    let used = allocation_counter::measure(|| {
        let mut rest = bytes;
        while let Ok(Some(_)) = read_frame::<FromAgent>(&mut rest) {}
        let (mut decoder, mut rest) = (Decoder::new(), bytes);
        while let Ok(fill) = decoder.fill(&mut rest)
            && fill.bytes > 0
        {
            while let Ok(Some(_)) = decoder.next_frame::<FromAgent>() {}
        }
    });
    used.bytes_max
}

fn limit() -> u64 {
    u64::try_from(DECODE_BYTES_MAX).unwrap()
}

#[test]
fn the_worst_payloads_stay_within_the_memory_limit() {
    let fill = |head: &str, item: &str, tail: &str| {
        let count = (FRAME_PAYLOAD_BYTES_MAX - head.len() - tail.len() - item.len()) / (item.len() + 1);
        control(&format!("{head}{}{item}{tail}", format!("{item},").repeat(count)))
    };
    let entry = r#"{"path":{"text":"a"},"kind":"file","size_bytes":0,"mode":0,"modified_s":0,"target":null}"#;
    let change = r#"{"path":{"text":"a"},"status":"added","kind":"file","mode_change":null,"added_lines":0,"removed_lines":0,"binary":true}"#;
    let probe = r#"{"name":"no_network","held":true,"detail":""}"#;
    let worst = [
        fill(r#"{"entries":["#, entry, "]}"),
        fill(r#"{"changes":["#, change, "]}"),
        fill(r#"{"hello":{"nonce":1,"build":"b","probes":["#, probe, "]}}"),
        fill(r#"{"hello":{"nonce":1,"build":""#, "\\n", r#"","probes":[]}}"#),
        fill(r#"{"failed":{"errno":1,"step":""#, "\\u001b", r#""}}"#),
        fill("", "[", ""),
        frame(1, u32::MAX, b""),
    ];
    for bytes in worst {
        let used = memory(&bytes);
        assert!(used <= limit(), "{used} bytes for {}", String::from_utf8_lossy(&bytes[..60.min(bytes.len())]));
    }
}

proptest! {
    #[test]
    fn arbitrary_bytes_neither_panic_nor_allocate_beyond_the_limit(bytes in prop::collection::vec(any::<u8>(), 0..2000)) {
        prop_assert!(memory(&bytes) <= limit());
    }

    #[test]
    fn arbitrary_payloads_neither_panic_nor_allocate_beyond_the_limit(kind in 0..6_u8, payload in r#"(\{|\}|\[|\]|"|:|,|\\|credit|entries|hello|bytes|1|-1|null){0,200}"#) {
        let bytes = frame(kind, u32::try_from(payload.len()).unwrap(), payload.as_bytes());
        prop_assert!(memory(&bytes) <= limit());
    }

    #[test]
    fn what_is_written_is_read(frame in frames(crate::message::tests::from_agent())) {
        let mut bytes = Vec::new();
        encode(&frame, &mut bytes).unwrap();
        prop_assert_eq!(read_frame(&mut bytes.as_slice()).unwrap(), Some(frame));
    }

    #[test]
    fn what_is_asked_is_read(frame in frames(crate::message::tests::to_agent())) {
        let mut bytes = Vec::new();
        encode(&frame, &mut bytes).unwrap();
        prop_assert_eq!(read_frame::<ToAgent>(&mut bytes.as_slice()).unwrap(), Some(frame));
    }
}

fn frames<M: fmt::Debug + Clone>(message: impl Strategy<Value = M>) -> impl Strategy<Value = Frame<M>> {
    let stream = prop::sample::select(vec![Stream::Stdin, Stream::Stdout, Stream::Stderr, Stream::Content]);
    prop_oneof![
        (any::<u32>(), message).prop_map(|(channel, message)| Frame::Control { channel, message }),
        (any::<u32>(), stream, prop::collection::vec(any::<u8>(), 1..3000)).prop_map(|(channel, stream, bytes)| Frame::Data {
            channel,
            stream,
            bytes
        }),
    ]
}
