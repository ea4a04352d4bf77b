//! Bytes between a socket that must not block and whoever writes or reads whole things: [`Unsent`] on the way out, [`Lines`] on the
//! way in. Both cost time in proportion to the bytes that pass, however they are cut, and hold no more memory than what waits.

use std::io::{self, Write};

/// An empty buffer keeps at most this much memory: most lines and messages fit, and an idle owner is small.
const KEPT_BYTES_MAX: usize = 64 * 1024;

/// Bytes that a socket has not taken yet.
#[derive(Debug, Default)]
pub struct Unsent {
    bytes: Vec<u8>,
    /// How many of them were written. What was written is given up before it is as much as what waits.
    written: usize,
}

impl Unsent {
    /// With these bytes to begin with.
    pub fn new(bytes: Vec<u8>) -> Self {
        Self { bytes, written: 0 }
    }

    /// How many bytes wait.
    pub fn len(&self) -> usize {
        self.bytes.len() - self.written
    }

    /// Nothing waits.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Where more is appended. Nothing else may be done with it.
    pub fn end(&mut self) -> &mut Vec<u8> {
        &mut self.bytes
    }

    /// Takes out the first bytes, or all when there are fewer: for whoever sends them in another form.
    pub fn take(&mut self, count: usize) -> Vec<u8> {
        let count = count.min(self.len());
        let taken = self.bytes[self.written..self.written + count].to_vec();
        self.written += count;
        self.release();
        taken
    }

    /// Forgets what waits.
    pub fn clear(&mut self) {
        *self = Self::default();
    }

    /// Writes what the socket takes now. That it takes nothing more is no error.
    ///
    /// # Errors
    /// Those of the socket; `WriteZero` when it takes nothing ever again.
    pub fn flush_to(&mut self, mut socket: impl Write) -> io::Result<()> {
        while !self.is_empty() {
            match socket.write(&self.bytes[self.written..]) {
                Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
                Ok(count) => self.written += count,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        self.release();
        Ok(())
    }

    /// A reader that is never quite done would otherwise let the written part grow for ever.
    fn release(&mut self) {
        if self.is_empty() {
            release(&mut self.bytes);
            self.written = 0;
        } else if self.written >= self.len() {
            self.bytes.drain(..self.written);
            self.written = 0;
        }
    }
}

/// Bytes that become lines.
#[derive(Debug, Default)]
pub struct Lines {
    bytes: Vec<u8>,
    /// Before it are lines that were given out.
    taken: usize,
    /// Before it is no end of a line that was not given out.
    searched: usize,
}

impl Lines {
    /// Adds what came. Take all lines out with [`Lines::next_line`] before the next call.
    pub fn add(&mut self, bytes: &[u8]) {
        self.bytes.extend_from_slice(bytes);
    }

    /// The next whole line, without its end.
    pub fn next_line(&mut self) -> Option<&[u8]> {
        match memchr::memchr(b'\n', &self.bytes[self.searched..]) {
            Some(length) => {
                let line = self.taken..self.searched + length;
                self.taken = line.end + 1;
                self.searched = self.taken;
                Some(&self.bytes[line])
            }
            None => {
                self.forget_taken();
                self.searched = self.bytes.len();
                None
            }
        }
    }

    /// The next bytes, as many as are there and at most so many, though they are no lines. `None` when there is none.
    pub fn next_bytes(&mut self, count_max: usize) -> Option<&[u8]> {
        let end = self.bytes.len().min(self.taken.saturating_add(count_max));
        if end == self.taken {
            self.forget_taken();
            return None;
        }
        let bytes = self.taken..end;
        (self.taken, self.searched) = (end, end);
        Some(&self.bytes[bytes])
    }

    fn forget_taken(&mut self) {
        self.bytes.drain(..self.taken);
        (self.taken, self.searched) = (0, 0);
        if self.bytes.is_empty() {
            release(&mut self.bytes);
        }
    }

    /// Bytes of the line that has not ended, once all others were taken out.
    pub fn unfinished_bytes(&self) -> usize {
        self.bytes.len() - self.taken
    }

    /// Forgets everything.
    pub fn clear(&mut self) {
        *self = Self::default();
    }
}

fn release(bytes: &mut Vec<u8>) {
    if bytes.capacity() > KEPT_BYTES_MAX { *bytes = Vec::new() } else { bytes.clear() }
}

#[cfg(test)]
mod tests {
    use std::io::{self, Write};

    use super::{KEPT_BYTES_MAX, Lines, Unsent};

    /// Takes so many bytes, then would block.
    struct Takes(usize);

    impl Write for Takes {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            let count = bytes.len().min(self.0);
            self.0 -= count;
            if count == 0 { Err(io::ErrorKind::WouldBlock.into()) } else { Ok(count) }
        }
        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn a_reader_that_is_always_a_little_behind_costs_no_more_than_what_it_is_behind() {
        let mut unsent = Unsent::default();
        unsent.end().extend_from_slice(&[7; 1000]);
        for _ in 0..100_000 {
            unsent.end().extend_from_slice(&[7; 1000]);
            unsent.flush_to(Takes(1000)).expect("it only would block");
            assert_eq!(unsent.len(), 1000);
        }
        assert!(unsent.bytes.capacity() <= 8 * 1000, "{} bytes are held for 1000", unsent.bytes.capacity());
    }

    #[test]
    fn what_is_taken_out_is_the_same_however_it_is_cut() {
        let text: Vec<u8> = (0..=255).collect();
        for size in 1..=text.len() {
            let mut unsent = Unsent::new(text.clone());
            let mut found = Vec::new();
            while !unsent.is_empty() {
                found.extend(unsent.take(size));
            }
            assert_eq!(found, text, "in pieces of {size}");
        }
        assert!(Unsent::default().take(1).is_empty());
    }

    #[test]
    fn what_was_large_leaves_nothing_behind() {
        let mut unsent = Unsent::new(vec![1; 1 << 20]);
        unsent.flush_to(Takes(usize::MAX)).expect("it takes everything");
        assert!(unsent.is_empty() && unsent.bytes.capacity() <= KEPT_BYTES_MAX);
        let mut lines = Lines::default();
        lines.add(&vec![b'x'; 1 << 20]);
        lines.add(b"\n");
        assert_eq!(lines.next_line().map(<[u8]>::len), Some(1 << 20));
        assert_eq!(lines.next_line(), None);
        assert!(lines.bytes.capacity() <= KEPT_BYTES_MAX);
    }

    #[test]
    fn lines_are_the_same_however_they_are_cut() {
        let text = b"one\n\ntwo and more\nthe rest";
        for size in 1..=text.len() {
            let mut lines = Lines::default();
            let mut found = Vec::new();
            for piece in text.chunks(size) {
                lines.add(piece);
                while let Some(line) = lines.next_line() {
                    found.push(line.to_vec());
                }
            }
            assert_eq!(found, [b"one".as_slice(), b"", b"two and more"], "in pieces of {size}");
            assert_eq!(lines.unfinished_bytes(), b"the rest".len());
        }
    }

    #[test]
    fn bytes_between_lines_are_taken_as_they_are() {
        let mut lines = Lines::default();
        lines.add(b"3 follow\na\nb4 follow\nc");
        assert_eq!(lines.next_line(), Some(b"3 follow".as_slice()));
        assert_eq!(lines.next_bytes(3), Some(b"a\nb".as_slice()));
        assert_eq!(lines.next_line(), Some(b"4 follow".as_slice()));
        assert_eq!(lines.next_bytes(4), Some(b"c".as_slice()));
        assert_eq!(lines.next_bytes(3), None);
        lines.add(b"\nd\n\nend\n");
        assert_eq!(lines.next_bytes(3), Some(b"\nd\n".as_slice()));
        assert_eq!(lines.next_line(), Some(b"".as_slice()));
        assert_eq!(lines.next_line(), Some(b"end".as_slice()));
        assert_eq!(lines.next_bytes(1), None);
        assert_eq!(lines.next_line(), None);
        assert!(lines.bytes.is_empty());
    }

    #[test]
    fn no_byte_of_an_unfinished_line_is_looked_at_twice() {
        let mut lines = Lines::default();
        for round in 1..=100 {
            lines.add(&[b'x'; 1000]);
            assert_eq!(lines.next_line(), None);
            assert_eq!((lines.searched, lines.unfinished_bytes()), (round * 1000, round * 1000));
        }
    }
}
