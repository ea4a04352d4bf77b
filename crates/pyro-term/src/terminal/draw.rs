//! What a program asks a terminal for, done.
//!
//! The terminal is xterm as far as text goes: colours, mice and pictures are taken and forgotten. Where xterm and tmux differ, it does as xterm; programs are
//! told that they have one.

use unicode_width::UnicodeWidthChar;

use super::command::Commands;
use super::page::{Cursor, Page};
use super::unread::Unread;
use crate::limits::{REPLY_BYTES_MAX, TITLE_CHARS_MAX};
use crate::parse::{Csi, Perform};

/// Modes that a program chose.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Modes {
    /// Cursor keys are sent in their application form (DECCKM).
    pub application_cursor: bool,
    /// What is pasted is put in brackets (mode 2004).
    pub bracketed_paste: bool,
    /// The cursor is to be seen.
    pub cursor_visible: bool,
    /// Text goes on in the next row (DECAWM).
    pub(crate) wrap: bool,
    /// Rows are counted from the part that scrolls (DECOM).
    pub(crate) origin: bool,
    /// What is written moves what is there (IRM).
    pub(crate) insert: bool,
    /// A line feed goes to the first column too (LNM).
    pub(crate) new_line: bool,
}

impl Default for Modes {
    fn default() -> Self {
        Self {
            application_cursor: false,
            bracketed_paste: false,
            cursor_visible: true,
            wrap: true,
            origin: false,
            insert: false,
            new_line: false,
        }
    }
}

/// What DECSC keeps.
#[derive(Clone, Copy, Debug, Default)]
struct Saved {
    /// Whether something was saved: otherwise it is what a terminal begins with.
    is_set: bool,
    cursor: Cursor,
    origin: bool,
    charsets: Charsets,
}

/// Which of the two sets of characters is in use, and which of them draws lines.
#[derive(Clone, Copy, Debug, Default)]
struct Charsets {
    lines: [bool; 2],
    active: usize,
}

/// Everything but the parser.
#[derive(Debug)]
pub(crate) struct Board {
    /// The screen that is drawn on.
    pub(crate) page: Page,
    /// The primary screen while the alternate one is drawn on.
    pub(crate) primary: Option<Page>,
    pub(crate) unread: Unread,
    pub(crate) commands: Commands,
    pub(crate) modes: Modes,
    pub(crate) replies: Vec<u8>,
    pub(crate) title: String,
    pub(crate) bells: u64,
    /// Columns that have a tab stop.
    tabs: Vec<bool>,
    charsets: Charsets,
    saved: Saved,
    /// What DECSC keeps of the other screen.
    other_saved: Saved,
    /// The last character, to be repeated.
    last: Option<char>,
}

impl Board {
    pub(crate) fn new(columns: usize, rows: usize) -> Self {
        Self {
            page: Page::new(columns, rows),
            primary: None,
            unread: Unread::default(),
            commands: Commands::default(),
            modes: Modes::default(),
            replies: Vec::new(),
            title: String::new(),
            bells: 0,
            tabs: tabs(columns),
            charsets: Charsets::default(),
            saved: Saved::default(),
            other_saved: Saved::default(),
            last: None,
        }
    }

    /// The page whose text is read: the primary one.
    pub(crate) fn text_page(&self) -> &Page {
        self.primary.as_ref().unwrap_or(&self.page)
    }

    pub(crate) fn text_page_mut(&mut self) -> &mut Page {
        self.primary.as_mut().unwrap_or(&mut self.page)
    }

    pub(crate) fn resize(&mut self, columns: usize, rows: usize) {
        self.unread.break_open();
        if self.primary.is_some() {
            self.page.resize_rows(rows, None);
            self.page.cut_columns(columns);
        }
        let unread = &mut self.unread;
        let page = self.primary.as_mut().unwrap_or(&mut self.page);
        page.resize_rows(rows, Some(unread));
        if page.columns != columns {
            page.wrap_columns(columns, unread);
        }
        if self.tabs.len() != columns {
            self.tabs = tabs(columns);
        }
    }

    /// Where rows that scroll away go: nowhere from the alternate screen.
    fn scrolling(&mut self) -> (&mut Page, Option<&mut Unread>) {
        let unread = if self.primary.is_none() { Some(&mut self.unread) } else { None };
        (&mut self.page, unread)
    }

    fn line_feed(&mut self, wrapped: bool) {
        let (page, unread) = self.scrolling();
        page.line_feed(wrapped, unread);
    }

    fn put(&mut self, character: char) {
        let character = if self.charsets.lines[self.charsets.active] { line_drawing(character) } else { character };
        // Controls of C1 as characters have no width, and no meaning here.
        let Some(width) = character.width() else { return };
        if width == 0 {
            let column = self.page.cursor.column;
            return self.page.line().row.combine(column, character);
        }
        let (columns, width) = (self.page.columns, width.min(self.page.columns));
        if self.page.cursor.column + width > columns {
            if self.modes.wrap {
                self.line_feed(true);
                self.page.cursor.column = 0;
            } else if width > 1 {
                // There is no room for it, as tmux has it.
                return;
            } else {
                self.page.cursor.column = columns - 1;
            }
        }
        let column = self.page.cursor.column;
        let insert = self.modes.insert;
        let line = self.page.line();
        if insert {
            line.row.insert(column, width, columns);
        }
        line.row.put(column, character, width);
        line.row.cut(columns);
        self.page.cursor.column = (column + width).min(if self.modes.wrap { columns } else { columns - 1 });
        self.last = Some(character);
    }

    /// Text of characters that need nothing special.
    fn put_ascii(&mut self, mut text: &[u8]) {
        self.last = text.last().map(|last| char::from(*last));
        while !text.is_empty() {
            if self.page.cursor.column >= self.page.columns {
                self.line_feed(true);
                self.page.cursor.column = 0;
            }
            let column = self.page.cursor.column;
            let (now, later) = text.split_at(text.len().min(self.page.columns - column));
            self.page.line().row.put_ascii(column, now);
            self.page.cursor.column += now.len();
            text = later;
        }
    }

    fn tab(&mut self, forward: bool, times: usize) {
        let last = self.page.columns - 1;
        for _ in 0..times.min(last) {
            let column = self.page.cursor.column;
            let is_stop = |column: &usize| self.tabs.get(*column).copied().unwrap_or(false);
            self.page.cursor.column = match forward {
                // A cursor that waits to wrap goes on waiting.
                true if column >= last => column,
                true => (column + 1..last).find(is_stop).unwrap_or(last),
                false => (0..column).rev().find(is_stop).unwrap_or(0),
            };
        }
    }

    fn move_to(&mut self, row: usize, column: usize) {
        let (first, last) = if self.modes.origin { (self.page.top, self.page.bottom) } else { (0, self.page.rows() - 1) };
        self.page.cursor = Cursor { row: (first + row).min(last), column: column.min(self.page.columns - 1) };
    }

    fn set_column(&mut self, column: usize) {
        self.page.cursor.column = column.min(self.page.columns - 1);
    }

    fn save(&mut self) {
        self.saved = Saved { is_set: true, cursor: self.page.cursor, origin: self.modes.origin, charsets: self.charsets };
    }

    fn restore(&mut self) {
        let saved = self.saved;
        (self.modes.origin, self.charsets) = (saved.origin, saved.charsets);
        let cursor = Cursor { row: saved.cursor.row.min(self.page.rows() - 1), column: saved.cursor.column.min(self.page.columns) };
        self.page.cursor = cursor;
    }

    fn erase_display(&mut self, what: u16) {
        let (row, rows) = (self.page.cursor.row, self.page.rows());
        let is_all = what == 2 || what == 0 && self.page.cursor == Cursor::default();
        match what {
            0 | 2 if is_all => {
                let (page, unread) = self.scrolling();
                match unread {
                    Some(unread) => page.clear_to(unread),
                    None => page.erase_rows(0, rows),
                }
            }
            0 => {
                self.page.erase_in_line(0);
                self.page.erase_rows(row + 1, rows);
            }
            1 => {
                self.page.erase_rows(0, row);
                self.page.erase_in_line(1);
            }
            3 => self.unread.clear_history(),
            _ => {}
        }
    }

    fn reset(&mut self) {
        self.set_alternate(false);
        self.page.clear_to(&mut self.unread);
        let (columns, rows) = (self.page.columns, self.page.rows());
        (self.modes, self.charsets, self.saved) = (Modes::default(), Charsets::default(), Saved::default());
        self.tabs = tabs(columns);
        self.page.cursor = Cursor::default();
        (self.page.top, self.page.bottom) = (0, rows - 1);
    }

    fn set_alternate(&mut self, on: bool) {
        if on == self.primary.is_some() {
            return;
        }
        if on {
            let mut alternate = Page::new(self.page.columns, self.page.rows());
            (alternate.cursor, alternate.top, alternate.bottom) = (self.page.cursor, self.page.top, self.page.bottom);
            self.primary = Some(std::mem::replace(&mut self.page, alternate));
        } else if let Some(primary) = self.primary.take() {
            // Cursor and margins belong to the terminal, not to one of its screens.
            let alternate = std::mem::replace(&mut self.page, primary);
            (self.page.cursor, self.page.top, self.page.bottom) = (alternate.cursor, alternate.top, alternate.bottom);
        }
        std::mem::swap(&mut self.saved, &mut self.other_saved);
    }

    fn set_mode(&mut self, mode: u16, on: bool) {
        match mode {
            1 => self.modes.application_cursor = on,
            6 => {
                self.modes.origin = on;
                self.move_to(0, 0);
            }
            7 => self.modes.wrap = on,
            25 => self.modes.cursor_visible = on,
            47 | 1047 => self.set_alternate(on),
            1048 if on => self.save(),
            1048 => self.restore(),
            1049 if on => {
                if self.primary.is_none() {
                    self.save();
                }
                self.set_alternate(true);
            }
            // xterm would go to the top then; a program that leaves what nobody entered would write over what stands there. So has tmux it.
            1049 if self.primary.is_none() && !self.saved.is_set => {}
            1049 => {
                self.set_alternate(false);
                self.restore();
            }
            2004 => self.modes.bracketed_paste = on,
            _ => {}
        }
    }

    /// What DECRQM is told: 1 is set, 2 is reset, 0 is not known.
    fn mode_state(&self, mode: u16) -> u8 {
        let on = match mode {
            1 => self.modes.application_cursor,
            6 => self.modes.origin,
            7 => self.modes.wrap,
            25 => self.modes.cursor_visible,
            47 | 1047 | 1049 => self.primary.is_some(),
            2004 => self.modes.bracketed_paste,
            _ => return 0,
        };
        if on { 1 } else { 2 }
    }

    fn reply(&mut self, text: &str) {
        if self.replies.len() + text.len() <= REPLY_BYTES_MAX {
            self.replies.extend_from_slice(text.as_bytes());
        }
    }

    fn csi_private(&mut self, csi: &Csi) {
        match (csi.private, csi.intermediate, csi.last) {
            (b'?', 0, b'h' | b'l') => csi.numbers().iter().for_each(|mode| self.set_mode(*mode, csi.last == b'h')),
            (b'?', 0, b'J') => self.erase_display(csi.number(0)),
            (b'?', 0, b'K') => self.page.erase_in_line(csi.number(0)),
            (b'?', 0, b'n') if csi.number(0) == 6 => self.report_cursor("?"),
            (b'?', b'$', b'p') => {
                let mode = csi.number(0);
                self.reply(&format!("\x1b[?{mode};{}$y", self.mode_state(mode)));
            }
            // A VT100 of version 0, as xterm and tmux say in their ways.
            (b'>', 0, b'c') if csi.number(0) == 0 => self.reply("\x1b[>0;10;0c"),
            (b'>', 0, b'q') if csi.number(0) == 0 => self.reply("\x1bP>|pyro\x1b\\"),
            _ => {}
        }
    }

    fn report_cursor(&mut self, private: &str) {
        let first = if self.modes.origin { self.page.top } else { 0 };
        let row = self.page.cursor.row.saturating_sub(first) + 1;
        let column = self.page.cursor.column.min(self.page.columns - 1) + 1;
        self.reply(&format!("\x1b[{private}{row};{column}R"));
    }
}

fn tabs(columns: usize) -> Vec<bool> {
    (0..columns).map(|column| column % 8 == 0).collect()
}

/// The DEC special graphics of 0x60 to 0x7e.
fn line_drawing(character: char) -> char {
    const SET: &str = "◆▒␉␌␍␊°±␤␋┘┐┌└┼⎺⎻─⎼⎽├┤┴┬│≤≥π≠£·";
    match character {
        '`'..='~' => SET.chars().nth(character as usize - '`' as usize).unwrap_or(character),
        _ => character,
    }
}

impl Perform for Board {
    fn print(&mut self, text: &str) {
        if text.is_ascii() && self.modes.wrap && !self.modes.insert && !self.charsets.lines[self.charsets.active] {
            return self.put_ascii(text.as_bytes());
        }
        text.chars().for_each(|character| self.put(character));
    }

    fn control(&mut self, control: u8) {
        match control {
            0x07 => self.bells += 1,
            0x08 => {
                self.page.settle();
                self.page.cursor.column = self.page.cursor.column.saturating_sub(1);
            }
            b'\t' => self.tab(true, 1),
            b'\n' | 0x0b | 0x0c => {
                self.line_feed(false);
                if self.modes.new_line {
                    self.page.cursor.column = 0;
                }
            }
            b'\r' => self.page.cursor.column = 0,
            0x0e => self.charsets.active = 1,
            0x0f => self.charsets.active = 0,
            _ => {}
        }
    }

    fn csi(&mut self, csi: &Csi) {
        if csi.private != 0 {
            return self.csi_private(csi);
        }
        let times = csi.times(0);
        let (row, column) = (self.page.cursor.row, self.page.cursor.column);
        let (columns, top, bottom) = (self.page.columns, self.page.top, self.page.bottom);
        let inside = (top..=bottom).contains(&row);
        match (csi.intermediate, csi.last) {
            (0, b'@') if column < columns => self.page.line().row.insert(column, times, columns),
            (0, b'A') => self.page.move_rows(false, times),
            (0, b'B' | b'e') => self.page.move_rows(true, times),
            (0, b'C' | b'a') => self.set_column(column + times),
            (0, b'D') => self.set_column(column.min(columns - 1).saturating_sub(times)),
            (0, b'E' | b'F') => {
                self.page.move_rows(csi.last == b'E', times);
                self.page.cursor.column = 0;
            }
            (0, b'G' | b'`') => self.set_column(times - 1),
            (0, b'H' | b'f') => self.move_to(times - 1, csi.times(1) - 1),
            (0, b'I') => self.tab(true, times),
            (0, b'J') => self.erase_display(csi.number(0)),
            (0, b'K') => self.page.erase_in_line(csi.number(0)),
            (0, b'L') if inside => self.page.scroll_down(row, bottom, times),
            (0, b'M') if inside => self.page.scroll_up(row, bottom, times, None),
            (0, b'P') if column < columns => self.page.line().row.delete(column, times),
            (0, b'S') => {
                let (page, unread) = self.scrolling();
                page.scroll_up(top, bottom, times, unread);
            }
            (0, b'T') => self.page.scroll_down(top, bottom, times),
            (0, b'X') if column < columns => self.page.line().row.erase(column, column.saturating_add(times).min(columns)),
            (0, b'Z') => self.tab(false, times),
            (0, b'b') => {
                // As tmux: at most to the end of the row, so that six bytes never are a thousand rows.
                let times = times.min(columns.saturating_sub(column));
                if let Some(last) = self.last {
                    (0..times).for_each(|_| self.put(last));
                }
            }
            (0, b'c') if csi.number(0) == 0 => self.reply("\x1b[?1;2c"),
            (0, b'd') => self.move_to(times - 1, column),
            (0, b'g') if csi.number(0) == 0 => self.tabs.iter_mut().skip(column).take(1).for_each(|stop| *stop = false),
            (0, b'g') if csi.number(0) == 3 => self.tabs.fill(false),
            (0, b'h' | b'l') => {
                for mode in csi.numbers() {
                    match mode {
                        4 => self.modes.insert = csi.last == b'h',
                        20 => self.modes.new_line = csi.last == b'h',
                        _ => {}
                    }
                }
            }
            (0, b'n') if csi.number(0) == 5 => self.reply("\x1b[0n"),
            (0, b'n') if csi.number(0) == 6 => self.report_cursor(""),
            (0, b'r') => {
                let rows = self.page.rows();
                let last = if csi.number(1) == 0 { rows } else { usize::from(csi.number(1)).min(rows) };
                if times < last {
                    (self.page.top, self.page.bottom) = (times - 1, last - 1);
                    self.move_to(0, 0);
                }
            }
            (0, b's') => self.save(),
            (0, b'u') => self.restore(),
            (0, b't') if csi.number(0) == 18 => self.reply(&format!("\x1b[8;{};{columns}t", self.page.rows())),
            (b'!', b'p') => {
                (self.modes.origin, self.modes.insert, self.modes.wrap, self.modes.cursor_visible) = (false, false, true, true);
                self.modes.application_cursor = false;
                (self.page.top, self.page.bottom) = (0, self.page.rows() - 1);
                (self.charsets, self.saved) = (Charsets::default(), Saved::default());
            }
            _ => {}
        }
    }

    fn escape(&mut self, intermediate: u8, last: u8) {
        match (intermediate, last) {
            (0, b'7') => self.save(),
            (0, b'8') => self.restore(),
            (0, b'D') => self.line_feed(false),
            (0, b'E') => {
                self.line_feed(false);
                self.page.cursor.column = 0;
            }
            (0, b'H') => {
                let column = self.page.cursor.column;
                self.tabs.iter_mut().skip(column).take(1).for_each(|stop| *stop = true);
            }
            (0, b'M') if self.page.cursor.row == self.page.top => self.page.scroll_down(self.page.top, self.page.bottom, 1),
            (0, b'M') => self.page.cursor.row = self.page.cursor.row.saturating_sub(1),
            (0, b'c') => self.reset(),
            (b'(', set) => self.charsets.lines[0] = set == b'0',
            (b')', set) => self.charsets.lines[1] = set == b'0',
            (b'#', b'8') => {
                let columns = self.page.columns;
                for line in &mut self.page.lines {
                    line.row.put_ascii(0, &vec![b'E'; columns]);
                    (line.touched, line.wrapped) = (true, false);
                }
                self.page.cursor = Cursor::default();
            }
            _ => {}
        }
    }

    fn osc(&mut self, text: &[u8]) {
        if let Some(title) = text.strip_prefix(b"0;").or_else(|| text.strip_prefix(b"2;")) {
            let title = pyro_wire::untrusted::escape(&String::from_utf8_lossy(title)).replace(['\n', '\t'], " ");
            self.title = title.chars().take(TITLE_CHARS_MAX).collect();
            return;
        }
        let Self { commands, page, primary, unread, .. } = self;
        commands.osc(text, primary.as_ref().unwrap_or(page), unread);
    }
}
