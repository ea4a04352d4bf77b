//! The last lines of a stream that redraws itself, as a terminal of any width would show them.
//!
//! Understood are CR, BS, tab, moves of the cursor, and erasing in the line and below; colours and everything else vanish. Lines are live until the cursor has
//! gone so far from them that nothing comes back.

use std::collections::VecDeque;

use unicode_width::UnicodeWidthChar;

use super::Kept;
use super::store::Place;
use crate::limits::{LINE_BYTES_MAX, LINE_COLUMNS_MAX, LIVE_ROWS_MAX, MOVE_COLUMNS_MAX};
use crate::parse::{Csi, Perform};
use crate::row::Row;

/// Text that live lines may have beyond the columns that can be drawn on, in bytes, before the uppermost are finished.
const BEYOND_BYTES_MAX: usize = 4 * LINE_BYTES_MAX;

/// Bytes that live lines can have at most, with their cells of four bytes.
#[cfg(test)]
pub(crate) const WEIGHT_MAX: usize = BEYOND_BYTES_MAX + LINE_BYTES_MAX + LIVE_ROWS_MAX * LINE_COLUMNS_MAX * 4;

/// One line that may still change.
#[derive(Debug)]
struct Line {
    row: Row,
    /// What follows the last column that can be drawn on.
    beyond: String,
    /// Whether the cursor went back since that was written: the next text there replaces it.
    beyond_is_old: bool,
    beyond_is_full: bool,
    cut: u64,
    place: Place,
}

/// See the module. Empty while a stream is plain.
#[derive(Debug, Default)]
pub(crate) struct Live {
    lines: VecDeque<Line>,
    /// The line that the cursor is in.
    at: usize,
    column: usize,
    /// Line ends to come before lines are finished at once: a stream that went up goes up again.
    quiet_after: usize,
    saved: Option<(usize, usize)>,
}

/// The lines with what it takes to draw on them.
pub(crate) struct Drawing<'a> {
    live: &'a mut Live,
    kept: &'a mut Kept,
}

impl Line {
    fn new(place: Place, cut: u64) -> Self {
        Self { row: Row::default(), beyond: String::new(), beyond_is_old: false, beyond_is_full: false, cut, place }
    }

    fn text(&self) -> String {
        if self.beyond.is_empty() {
            return self.row.text();
        }
        let mut text = String::with_capacity(self.row.len() + self.beyond.len());
        self.row.push_text(0, usize::MAX, &mut text);
        text.push_str(&self.beyond);
        text
    }

    fn push_beyond(&mut self, text: &str) {
        if self.beyond_is_old {
            self.clear_beyond();
        }
        // Once something did not fit nothing fits after it: what is kept is a beginning.
        let mut room =
            if self.beyond_is_full { 0 } else { (LINE_BYTES_MAX - LINE_COLUMNS_MAX - self.beyond.len()).min(text.len()) };
        while !text.is_char_boundary(room) {
            room -= 1;
        }
        self.beyond.push_str(&text[..room]);
        self.beyond_is_full = self.beyond_is_full || room < text.len();
        self.cut += (text.len() - room) as u64;
    }

    fn clear_beyond(&mut self) {
        self.beyond.clear();
        (self.beyond_is_old, self.beyond_is_full) = (false, false);
    }
}

impl Live {
    pub(crate) fn is_empty(&self) -> bool {
        self.lines.is_empty()
    }

    /// The first line is drawn; `cut` bytes of it are gone already.
    pub(crate) fn begin(&mut self, place: Place, cut: u64) {
        self.lines.push_back(Line::new(place, cut));
        (self.at, self.column, self.saved) = (0, 0, None);
    }

    pub(crate) fn with<'a>(&'a mut self, kept: &'a mut Kept) -> Drawing<'a> {
        Drawing { live: self, kept }
    }

    /// The end of a line of the stream; the next begins at `place`.
    pub(crate) fn line_feed(&mut self, kept: &mut Kept, place: Place) {
        self.set_column(0);
        if self.at + 1 < self.lines.len() {
            self.at += 1;
            return;
        }
        self.quiet_after = self.quiet_after.saturating_sub(1);
        if self.quiet_after == 0 {
            for line in self.lines.drain(..) {
                kept.push(line.text().as_bytes(), line.place, line.cut);
            }
            return;
        }
        self.lines.push_back(Line::new(place, 0));
        self.at += 1;
        let beyond: usize = self.lines.iter().map(|line| line.beyond.len()).sum();
        let too_much = if beyond > BEYOND_BYTES_MAX { self.lines.len() - 1 } else { 0 };
        for _ in 0..too_much.max(self.lines.len().saturating_sub(LIVE_ROWS_MAX)) {
            self.finish_first(kept);
        }
    }

    fn finish_first(&mut self, kept: &mut Kept) {
        if let Some(line) = self.lines.pop_front() {
            kept.push(line.text().as_bytes(), line.place, line.cut);
        }
        self.at = self.at.saturating_sub(1);
        self.saved = self.saved.and_then(|(at, column)| Some((at.checked_sub(1)?, column)));
    }

    /// The lines as they stand: text, where each begins, and the bytes that were cut off; and whether the cursor is in the last and it is not empty.
    pub(crate) fn lines(&self) -> impl Iterator<Item = (String, Place, u64)> {
        self.lines.iter().map(|line| (line.text(), line.place, line.cut))
    }

    /// The line that the cursor is in.
    pub(crate) fn unfinished(&self) -> Option<String> {
        self.lines.get(self.at).map(Line::text)
    }

    fn line(&mut self) -> Option<&mut Line> {
        self.lines.get_mut(self.at)
    }

    fn set_column(&mut self, column: usize) {
        if self.column >= LINE_COLUMNS_MAX
            && column < LINE_COLUMNS_MAX
            && let Some(line) = self.line()
        {
            line.beyond_is_old = true;
        }
        self.column = column;
    }

    /// A move to the right goes over what is there, and a little further.
    fn right_to(&mut self, column: usize) {
        let written = self.line().map_or(0, |line| line.row.len());
        let limit = written.max(MOVE_COLUMNS_MAX).max(self.column).min(LINE_COLUMNS_MAX);
        self.set_column(column.min(limit));
    }

    /// To another line: what was beyond the columns stays there.
    fn set_line(&mut self, at: usize) {
        let column = self.column.min(LINE_COLUMNS_MAX - 1);
        self.set_column(column);
        self.at = at.min(self.lines.len().saturating_sub(1));
    }

    fn up(&mut self, count: usize, kept: &mut Kept) {
        self.quiet_after = LIVE_ROWS_MAX;
        let missing = count.saturating_sub(self.at).min(LIVE_ROWS_MAX.saturating_sub(self.lines.len()));
        let mut beyond: usize = self.lines.iter().map(|line| line.beyond.len()).sum();
        for _ in 0..missing {
            if beyond > BEYOND_BYTES_MAX {
                break;
            }
            let Some((text, place, cut)) = kept.pop() else { break };
            let mut line = Line::new(place, cut);
            let mut column = 0;
            write(&mut line, &mut column, &String::from_utf8_lossy(&text));
            beyond += line.beyond.len();
            self.lines.push_front(line);
            self.at += 1;
            self.saved = self.saved.map(|(at, column)| (at + 1, column));
        }
        self.set_line(self.at.saturating_sub(count));
    }
}

/// Writes text at a column of a line, and moves the column.
fn write(line: &mut Line, column: &mut usize, text: &str) {
    if *column >= LINE_COLUMNS_MAX {
        return line.push_beyond(text);
    }
    if text.is_ascii() {
        let fits = text.len().min(LINE_COLUMNS_MAX.saturating_sub(*column));
        // Controls come one by one, from lines that were finished: a tab takes columns.
        if !text.as_bytes()[..fits].iter().any(u8::is_ascii_control) {
            line.row.put_ascii(*column, &text.as_bytes()[..fits]);
            *column += fits;
            if fits < text.len() {
                line.push_beyond(&text[fits..]);
            }
            return;
        }
    }
    for (at, character) in text.char_indices() {
        let width = match character {
            '\t' => 8 - *column % 8,
            // What has no width of its own is shown by an escape later.
            _ => character.width().unwrap_or(1),
        };
        if *column + width.max(1) > LINE_COLUMNS_MAX {
            *column = LINE_COLUMNS_MAX;
            return line.push_beyond(&text[at..]);
        }
        match width {
            0 if *column > 0 && *column <= line.row.len() => line.row.combine(*column, character),
            _ => {
                line.row.put(*column, character, width.max(1));
                *column += width.max(1);
            }
        }
    }
}

impl Perform for Drawing<'_> {
    fn print(&mut self, text: &str) {
        let mut column = self.live.column;
        if let Some(line) = self.live.line() {
            write(line, &mut column, text);
        }
        self.live.column = column;
    }

    fn control(&mut self, control: u8) {
        let live = &mut *self.live;
        match control {
            b'\r' => live.set_column(0),
            0x08 => live.set_column(live.column.min(LINE_COLUMNS_MAX).saturating_sub(1)),
            // Over what is written a tab is a move; after it, it is a tab of the text.
            b'\t' if live.lines.get(live.at).is_some_and(|line| line.row.len() > live.column) => {
                live.right_to((live.column / 8 + 1) * 8)
            }
            _ => self.print(char::from(control).encode_utf8(&mut [0; 4])),
        }
    }

    fn csi(&mut self, csi: &Csi) {
        let live = &mut *self.live;
        if csi.private != 0 || csi.intermediate != 0 {
            return;
        }
        let times = csi.times(0);
        match csi.last {
            b'A' => live.up(times, self.kept),
            b'F' => {
                live.set_column(0);
                live.up(times, self.kept);
            }
            b'B' => live.set_line(live.at + times),
            b'E' => {
                live.set_column(0);
                live.set_line(live.at + times);
            }
            b'C' => live.right_to(live.column + times),
            b'D' => live.set_column(live.column.min(LINE_COLUMNS_MAX).saturating_sub(times)),
            b'G' | b'`' if times <= live.column => live.set_column(times - 1),
            b'G' | b'`' => live.right_to(times - 1),
            b'K' => live.erase_in_line(csi.number(0)),
            // Up and all of it: there is no screen whose beginning one could know, so that is left as it is.
            b'J' if csi.number(0) == 0 => {
                live.erase_in_line(0);
                live.lines.truncate(live.at + 1);
            }
            b's' => live.saved = Some((live.at, live.column)),
            b'u' => live.restore(),
            _ => {}
        }
    }

    fn escape(&mut self, intermediate: u8, last: u8) {
        match (intermediate, last) {
            (0, b'M') => self.live.up(1, self.kept),
            (0, b'7') => self.live.saved = Some((self.live.at, self.live.column)),
            (0, b'8') => self.live.restore(),
            _ => {}
        }
    }

    fn osc(&mut self, _: &[u8]) {}
}

impl Live {
    #[cfg(test)]
    pub(crate) fn weight(&self) -> usize {
        self.lines.iter().map(|line| line.row.len() * 4 + line.beyond.len()).sum()
    }

    fn erase_in_line(&mut self, what: u16) {
        let column = self.column;
        let Some(line) = self.line() else { return };
        match what {
            0 | 2 => {
                line.row.truncate(if what == 0 { column } else { 0 });
                if column < LINE_COLUMNS_MAX || what == 2 {
                    line.clear_beyond();
                }
            }
            1 => line.row.erase(0, column + 1),
            _ => {}
        }
    }

    fn restore(&mut self) {
        if let Some((at, column)) = self.saved {
            self.set_line(at);
            self.set_column(column);
        }
    }
}
