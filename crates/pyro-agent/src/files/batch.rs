//! Many small things on their way into few frames.

use pyro_wire::limits::{ENTRIES_PER_FRAME_MAX, FRAME_PAYLOAD_BYTES_MAX};
use pyro_wire::{Bytes, FromAgent};

use super::{Failure, Reply};

/// JSON of an entry or a change beside its texts, at most: field names and four numbers, rounded up.
const ITEM_JSON_BYTES: usize = 256;

/// What is to go into one frame.
pub struct Batch<'a, T> {
    reply: &'a Reply,
    /// Which message carries them.
    message: fn(Vec<T>) -> FromAgent,
    items: Vec<T>,
    /// Upper bound of their JSON.
    json_bytes: usize,
}

impl<'a, T> Batch<'a, T> {
    /// An empty one.
    pub fn new(reply: &'a Reply, message: fn(Vec<T>) -> FromAgent) -> Self {
        Self { reply, message, items: Vec::new(), json_bytes: 0 }
    }

    /// Adds an item whose JSON is at most so long; sends what was there when both do not fit.
    pub fn push(&mut self, item: T, json_bytes: usize) -> Result<(), Failure> {
        if self.items.len() == ENTRIES_PER_FRAME_MAX || self.json_bytes + json_bytes > FRAME_PAYLOAD_BYTES_MAX - ITEM_JSON_BYTES {
            self.flush()?;
        }
        self.json_bytes += json_bytes;
        self.items.push(item);
        Ok(())
    }

    /// Sends what is there.
    pub fn flush(&mut self) -> Result<(), Failure> {
        self.json_bytes = 0;
        match std::mem::take(&mut self.items) {
            items if items.is_empty() => Ok(()),
            items => self.reply.send(&(self.message)(items)),
        }
    }
}

/// Upper bound of the JSON of an item with these texts.
pub fn json_bytes<'a>(texts: impl IntoIterator<Item = &'a Bytes>) -> usize {
    let text = |bytes: &Bytes| match bytes {
        Bytes::Text(text) => text_json_bytes(text),
        Bytes::Hex(digits) => digits.len(),
    };
    ITEM_JSON_BYTES + texts.into_iter().map(text).sum::<usize>()
}

/// Upper bound of the JSON of a text, without its quotes.
pub fn text_json_bytes(text: &str) -> usize {
    // A control character becomes six characters, a quote or a backslash two.
    let of = |byte| match byte {
        0..0x20 | 0x7f => 6,
        b'"' | b'\\' => 2,
        _ => 1,
    };
    text.bytes().map(of).sum()
}
