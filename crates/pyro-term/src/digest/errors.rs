//! Lines that look like the error: where a person would look first.
//!
//! A guess, and only ever used to show more. It looks for words that compilers, test runners and interpreters use when they fail, and leaves out where those words
//! say that nothing failed (`0 errors`, `-Werror`, `error.rs`). Words are found over whole buffers at once; only around a hit the line is looked at.

use std::sync::LazyLock;

use aho_corasick::{AhoCorasick, MatchKind};

use super::store::{Place, Store};
use crate::limits::{ERRORS_KEPT, LINE_CHARS_SHOWN};

#[cfg(test)]
mod tests;

/// What must be around a word for its line to look like an error.
#[derive(Clone, Copy)]
enum Around {
    Anything,
    /// It stands at the beginning of its line, but for blanks.
    Start,
    /// No letter, digit, or joining character on either side.
    Alone,
    /// The word is `error` in some way of writing it: see [`is_error_word`].
    Error,
    /// As `Alone`, and a colon or exclamation mark follows.
    Colon,
}

const WORDS: &[(&str, Around)] = &[
    ("rror", Around::Error),
    ("ERROR", Around::Error),
    ("xception", Around::Error),
    ("FAIL", Around::Alone),
    ("FAILED", Around::Alone),
    ("FAILURE", Around::Alone),
    ("failed to ", Around::Anything),
    ("Failed to ", Around::Anything),
    ("panicked at", Around::Anything),
    ("panic:", Around::Anything),
    ("Traceback (most recent", Around::Anything),
    ("fatal", Around::Colon),
    ("Fatal", Around::Colon),
    ("FATAL", Around::Alone),
    ("undefined reference", Around::Anything),
    ("undefined symbol", Around::Anything),
    ("ssertion failed", Around::Anything),
    ("ssertion `", Around::Anything),
    ("Segmentation fault", Around::Anything),
    ("(core dumped)", Around::Anything),
    ("ut of memory", Around::Anything),
    ("command not found", Around::Anything),
    ("No such file or directory", Around::Anything),
    ("Permission denied", Around::Anything),
    ("No rule to make target", Around::Anything),
    ("not ok ", Around::Start),
    ("npm ERR!", Around::Start),
    ("CONFLICT (", Around::Start),
    ("Killed", Around::Start),
];

static SEARCH: LazyLock<AhoCorasick> = LazyLock::new(|| {
    AhoCorasick::builder()
        .match_kind(MatchKind::LeftmostLongest)
        .build(WORDS.iter().map(|(word, _)| word))
        .expect("a few short words make no automaton that is too large")
});

/// One such line.
#[derive(Clone, Debug)]
pub(crate) struct ErrorLine {
    pub(crate) line: u64,
    pub(crate) text: Vec<u8>,
}

/// The first of them, apart for what is kept of the beginning, which may be shown anyway, and for what comes after.
#[derive(Debug, Default)]
pub(crate) struct Errors {
    head: Vec<ErrorLine>,
    after: Vec<ErrorLine>,
}

impl Errors {
    /// Looks at one line that the store has taken.
    pub(crate) fn look_at(&mut self, text: &[u8], place: Place, store: &Store) {
        if self.has_room() && is_error(text) {
            self.keep(text, place, store);
        }
    }

    /// Looks through whole lines that the store has taken, the first at `first`.
    pub(crate) fn look_through(&mut self, lines: &[u8], first: Place, store: &Store) {
        let (mut from, mut place) = (0, first);
        while self.has_room()
            && let Some(found) = SEARCH.find(&lines[from..])
        {
            let start = memchr::memrchr(b'\n', &lines[..from + found.start()]).map_or(0, |at| at + 1);
            let end = memchr::memchr(b'\n', &lines[from + found.start()..]).map_or(lines.len(), |at| from + found.start() + at);
            place.line += memchr::memchr_iter(b'\n', &lines[from.min(start)..start]).count() as u64;
            place.byte = first.byte + start as u64;
            let line = &lines[start..end];
            let line = line.strip_suffix(b"\r").unwrap_or(line);
            if is_error(line) {
                self.keep(line, place, store);
            }
            // `from` stands at the beginning of a line from now on, so each line end is counted once.
            from = (end + 1).min(lines.len());
            place.line += 1;
        }
    }

    /// The lines from `place` on are drawn again.
    pub(crate) fn forget(&mut self, place: Place) {
        for kept in [&mut self.after, &mut self.head] {
            while kept.last().is_some_and(|error| error.line >= place.line) {
                kept.pop();
            }
        }
    }

    /// All that are kept, in order.
    pub(crate) fn all(&self) -> impl Iterator<Item = &ErrorLine> {
        self.head.iter().chain(&self.after)
    }

    fn has_room(&self) -> bool {
        self.head.len() < ERRORS_KEPT || self.after.len() < ERRORS_KEPT
    }

    fn keep(&mut self, text: &[u8], place: Place, store: &Store) {
        let kept = if store.is_head(place) { &mut self.head } else { &mut self.after };
        // A line drawn over several lines of the stream may be finished twice.
        if kept.len() < ERRORS_KEPT && kept.last().is_none_or(|last| last.line < place.line) {
            // Four bytes at most for a character, and one line is shown in one line.
            kept.push(ErrorLine { line: place.line, text: text[..text.len().min(4 * LINE_CHARS_SHOWN)].to_vec() });
        }
    }
}

/// Whether a line, without its end, looks like an error.
fn is_error(line: &[u8]) -> bool {
    // Only its beginning: what is longer is data.
    let line = &line[..line.len().min(4 * LINE_CHARS_SHOWN)];
    SEARCH.find_iter(line).any(|found| {
        let (before, after) = (&line[..found.start()], &line[found.end()..]);
        match WORDS[found.pattern().as_usize()].1 {
            Around::Anything => true,
            Around::Start => before.trim_ascii().is_empty(),
            Around::Alone => is_end(before.last()) && is_end(after.first()) && !is_none_of_them(before),
            Around::Colon => is_end(before.last()) && (after.starts_with(b":") || after.starts_with(b" error")),
            Around::Error => is_error_word(before, &line[found.range()], after),
        }
    })
}

/// Whether `error` (or the like) is said of this line. `before` and `after` are the rest of it.
fn is_error_word(before: &[u8], word: &[u8], after: &[u8]) -> bool {
    // Several are counted (`2 errors generated`), or it is a word of a sentence.
    let (after, several) = after.strip_prefix(b"s").map_or((after, false), |after| (after, true));
    // `rror` begins in the middle: its first letter is the last of what is before.
    let before = match (word, before.split_last()) {
        (b"ERROR", _) => before,
        (_, Some((b'e' | b'E', before))) => before,
        _ => return false,
    };
    if several && !before.trim_ascii_end().last().is_some_and(u8::is_ascii_digit) {
        return false;
    }
    let follows = match after.first() {
        None | Some(b':' | b'[' | b']' | b'!' | b')') => true,
        // `error.rs` is a file; a sentence that ends with it is no report either.
        Some(b' ' | b'\t' | b',' | b'*' | b'.') if several => true,
        Some(b' ' | b'\t' | b',' | b'*') => is_report(before, word),
        _ => false,
    };
    // `TypeError:` has a name before it; `-Werror`, `my_error`, `/error` do not report one.
    let name = before.iter().rev().take_while(|byte| byte.is_ascii_alphanumeric()).count();
    let outside = before[..before.len() - name].last();
    let named = name > 0 && before.last().is_some_and(u8::is_ascii_lowercase) && after.first() == Some(&b':');
    follows && !matches!(outside, Some(b'-' | b'_' | b'/' | b'<' | b'=')) && (name == 0 || named) && !is_none_of_them(before)
}

/// Whether a word that a blank follows reports: it begins the line, or follows what names a place (`a.ts(1,2): error TS1`), or is in capitals, or is counted
/// (`2 errors generated`).
fn is_report(before: &[u8], word: &[u8]) -> bool {
    let rest = before.trim_ascii_end();
    rest.is_empty() || word == b"ERROR" || matches!(rest.last(), Some(b':' | b']' | b'*' | b'0'..=b'9'))
}

/// Whether what is before a word says that there is none: `0 errors`, `no error`, `without errors`.
fn is_none_of_them(before: &[u8]) -> bool {
    let before = before.trim_ascii_end();
    let word = before.rsplit(|byte| byte.is_ascii_whitespace() || matches!(byte, b'(' | b',' | b':')).next().unwrap_or_default();
    matches!(word, b"0" | b"no" | b"No" | b"without" | b"any" | b"if" | b"on" | b"ignore" | b"ignoring")
}

/// Whether a word ends where this stands.
fn is_end(byte: Option<&u8>) -> bool {
    byte.is_none_or(|byte| !(byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-' | b'/' | b'=')))
}
