//! Bytes of a terminal stream to what they ask for: text, controls and sequences.
//!
//! It assumes nothing about the bytes. It is a state machine after Paul Williams' (vt100.net), with what xterm and tmux do where he is silent: text is
//! UTF-8, so bytes from 0x80 are never controls; ESC ends whatever was begun; a string that is too long is left out. Splitting the bytes anywhere changes
//! nothing, and its memory is bounded.

use crate::limits::{OSC_BYTES_MAX, PARAMETERS_MAX};

#[cfg(test)]
mod tests;

/// Who does what a stream asks for.
pub(crate) trait Perform {
    /// Text without controls; never empty. What is no UTF-8 has become U+FFFD.
    fn print(&mut self, text: &str);
    /// A control below 0x20 (but ESC), or DEL.
    fn control(&mut self, control: u8);
    /// `CSI … last`.
    fn csi(&mut self, csi: &Csi);
    /// `ESC intermediate last`; `intermediate` is 0 where there is none.
    fn escape(&mut self, intermediate: u8, last: u8);
    /// The text of an operating system command, whole.
    fn osc(&mut self, text: &[u8]);
}

/// A control sequence.
#[derive(Clone, Debug, Default)]
pub(crate) struct Csi {
    values: [u16; PARAMETERS_MAX],
    count: usize,
    /// `?`, `>`, `=` or `<` before the parameters, or 0.
    pub(crate) private: u8,
    /// The last byte of 0x20 to 0x2f before the end, or 0.
    pub(crate) intermediate: u8,
    /// What it asks for.
    pub(crate) last: u8,
}

impl Csi {
    /// A parameter that is a count: absent and 0 mean 1.
    pub(crate) fn times(&self, index: usize) -> usize {
        usize::from(self.number(index)).max(1)
    }

    /// A parameter; absent is 0.
    pub(crate) fn number(&self, index: usize) -> u16 {
        if index < self.count { self.values[index] } else { 0 }
    }

    /// All parameters; at least one.
    pub(crate) fn numbers(&self) -> &[u16] {
        &self.values[..self.count.max(1)]
    }

    fn digit(&mut self, digit: u8) {
        self.count = self.count.max(1);
        if let Some(value) = self.values.get_mut(self.count - 1) {
            *value = value.saturating_mul(10).saturating_add(u16::from(digit - b'0'));
        }
    }

    fn next(&mut self) {
        // One more than there is room for says that the rest is left out.
        self.count = (self.count.max(1) + 1).min(PARAMETERS_MAX + 1);
    }
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum State {
    #[default]
    Ground,
    Escape,
    /// In a control sequence.
    Csi,
    /// In one that is malformed.
    CsiIgnored,
    Osc,
    /// In a device control, privacy or application string.
    Ignored,
}

/// The state between two pieces.
#[derive(Clone, Debug, Default)]
pub(crate) struct Parser {
    state: State,
    csi: Csi,
    intermediate: u8,
    osc: Vec<u8>,
    /// The beginning of a character whose end has not come.
    partial: [u8; 4],
    partial_length: usize,
}

impl Parser {
    /// Takes the next bytes.
    pub(crate) fn feed(&mut self, bytes: &[u8], to: &mut impl Perform) {
        let mut rest = bytes;
        while let Some(&byte) = rest.first() {
            if self.state == State::Ground && is_text(byte) {
                let end = rest.iter().position(|byte| !is_text(*byte)).unwrap_or(rest.len());
                self.text(&rest[..end], to);
                rest = &rest[end..];
            } else {
                self.step(byte, to);
                rest = &rest[1..];
            }
        }
    }

    /// Ends what was begun: a character becomes U+FFFD, a sequence or string is left out.
    pub(crate) fn finish(&mut self, to: &mut impl Perform) {
        if self.partial_length > 0 {
            to.print("\u{fffd}");
        }
        self.partial_length = 0;
        self.state = State::Ground;
    }

    fn text(&mut self, mut bytes: &[u8], to: &mut impl Perform) {
        while self.partial_length > 0 {
            let Some((&byte, rest)) = bytes.split_first() else { return };
            self.partial[self.partial_length] = byte;
            match std::str::from_utf8(&self.partial[..=self.partial_length]) {
                Ok(text) => {
                    let (text, partial) = (text.to_owned(), &mut self.partial_length);
                    *partial = 0;
                    to.print(&text);
                    bytes = rest;
                }
                Err(error) if error.error_len().is_none() => {
                    self.partial_length += 1;
                    bytes = rest;
                }
                // The byte does not go on with the character: that one is broken, and the byte is the first of the next.
                Err(_) => {
                    self.partial_length = 0;
                    to.print("\u{fffd}");
                }
            }
        }
        let error = match std::str::from_utf8(bytes) {
            Ok("") => return,
            Ok(text) => return to.print(text),
            Err(error) => error,
        };
        // What a later piece may complete is at the very end: there no error has a length.
        let end = match error.error_len() {
            None => error.valid_up_to(),
            Some(_) => bytes.len() - unfinished_bytes(bytes),
        };
        let (text, unfinished) = bytes.split_at(end);
        if !text.is_empty() {
            to.print(&String::from_utf8_lossy(text));
        }
        self.partial[..unfinished.len()].copy_from_slice(unfinished);
        self.partial_length = unfinished.len();
    }

    fn step(&mut self, byte: u8, to: &mut impl Perform) {
        if self.partial_length > 0 {
            self.partial_length = 0;
            to.print("\u{fffd}");
        }
        match (self.state, byte) {
            (State::Osc, 0x07) => self.end_osc(to),
            (_, 0x1b) => {
                // Either the first half of the string terminator or the end of what is broken off: xterm takes a string as ended by both.
                if self.state == State::Osc {
                    self.end_osc(to);
                }
                self.state = State::Escape;
                self.intermediate = 0;
            }
            // CAN and SUB break off what was begun.
            (State::Ground, 0x18 | 0x1a) => to.control(byte),
            (_, 0x18 | 0x1a) => self.state = State::Ground,
            (State::Osc, 0x20..) => {
                if self.osc.len() <= OSC_BYTES_MAX {
                    self.osc.push(byte);
                }
            }
            (State::Osc | State::Ignored, _) => {}
            (State::Ground, _) | (_, 0..=0x1f) => to.control(byte),
            // Of no meaning inside a sequence.
            (_, 0x7f..) => {}
            (State::Escape, _) => self.step_escape(byte, to),
            (State::Csi, _) => self.step_csi(byte, to),
            (State::CsiIgnored, 0x40..) => self.state = State::Ground,
            (State::CsiIgnored, _) => {}
        }
    }

    fn step_escape(&mut self, byte: u8, to: &mut impl Perform) {
        match byte {
            0x20..=0x2f => self.intermediate = byte,
            b'[' if self.intermediate == 0 => {
                self.csi = Csi::default();
                self.state = State::Csi;
            }
            b']' if self.intermediate == 0 => {
                self.osc.clear();
                self.state = State::Osc;
            }
            b'P' | b'X' | b'^' | b'_' if self.intermediate == 0 => self.state = State::Ignored,
            _ => {
                self.state = State::Ground;
                to.escape(self.intermediate, byte);
            }
        }
    }

    fn step_csi(&mut self, byte: u8, to: &mut impl Perform) {
        match byte {
            b'0'..=b'9' if self.csi.intermediate == 0 => self.csi.digit(byte),
            // What a colon separates matters for colours only, which are not kept.
            b';' | b':' if self.csi.intermediate == 0 => self.csi.next(),
            b'<'..=b'?' if self.csi.count == 0 && self.csi.private == 0 && self.csi.intermediate == 0 => self.csi.private = byte,
            0x20..=0x2f => self.csi.intermediate = byte,
            0x40.. => {
                self.state = State::Ground;
                self.csi.last = byte;
                self.csi.count = self.csi.count.min(PARAMETERS_MAX);
                to.csi(&self.csi);
            }
            _ => self.state = State::CsiIgnored,
        }
    }

    fn end_osc(&mut self, to: &mut impl Perform) {
        self.state = State::Ground;
        if self.osc.len() <= OSC_BYTES_MAX {
            to.osc(&self.osc);
        }
        self.osc = Vec::new();
    }
}

/// Bytes at the end that begin a character.
fn unfinished_bytes(bytes: &[u8]) -> usize {
    let is_unfinished = |count: &usize| {
        let end = &bytes[bytes.len() - count..];
        std::str::from_utf8(end).is_err_and(|error| error.valid_up_to() == 0 && error.error_len().is_none())
    };
    (1..=bytes.len().min(3)).find(is_unfinished).unwrap_or(0)
}

fn is_text(byte: u8) -> bool {
    byte >= 0x20 && byte != 0x7f
}
