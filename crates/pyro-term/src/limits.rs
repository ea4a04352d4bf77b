//! Every number of this crate, with its reason.

/// Text kept of the beginning of a stream, in bytes: a quarter of the largest text that is ever shown.
pub const HEAD_BYTES: usize = 16 * 1024;

/// Text kept of its end: what went wrong is nearly always there.
pub const TAIL_BYTES: usize = 48 * 1024;

/// Lines kept of the end, and of the beginning: empty lines have no text, and a record of 56 bytes for each all the same.
pub const STORED_LINES_MAX: usize = 8 * 1024;

/// Text kept of one line, in bytes. A longer one is data; so much of it is shown whole when nothing else is to be shown.
pub const LINE_BYTES_MAX: usize = 16 * 1024;

/// Characters shown of one line when not everything can be shown.
pub const LINE_CHARS_SHOWN: usize = 400;

/// Columns of a line that the cursor can be put on again. Terminals are narrower, and programs draw for terminals.
pub const LINE_COLUMNS_MAX: usize = 1024;

/// Columns that a line may be made longer by moving the cursor alone: a move of five bytes must not cost thousands of blanks.
pub const MOVE_COLUMNS_MAX: usize = 256;

/// Last lines that the cursor can go up to again. More than a terminal has rows is never redrawn: it would have scrolled away.
pub const LIVE_ROWS_MAX: usize = 64;

/// Runs of equal lines shorter than this are shown as they are: the marker is a line too.
pub const FOLD_LINES_MIN: u64 = 4;

/// Lines of an omitted middle that are shown because they look like the error.
pub const ERRORS_SHOWN: usize = 10;

/// Lines that look like errors and are remembered, of what is kept of the beginning and of what comes after: the first ones matter, later ones follow from them.
pub const ERRORS_KEPT: usize = 24;

/// Of an unfinished last line, its end, in characters: more is no prompt.
pub const UNFINISHED_CHARS: usize = 400;

/// Longest text of an operating system command (a title, a mark of shell integration), in bytes: xterm's are shorter.
pub const OSC_BYTES_MAX: usize = 4096;

/// Parameters of one control sequence; xterm takes 30.
pub const PARAMETERS_MAX: usize = 32;

/// Combining characters of one cell: tmux keeps 21 bytes of a cell, with its base.
pub const CELL_MARKS_MAX: usize = 6;

/// Combining characters of one row.
pub const ROW_MARKS_MAX: usize = 1024;

/// Largest screen, in columns and rows. A cell has 4 bytes, so this is 2 MB for each of two screens.
pub const COLUMNS_MAX: u16 = 1000;
/// See [`COLUMNS_MAX`].
pub const ROWS_MAX: u16 = 500;

/// Rows above the screen that come back when it grows, as tmux has it (whose default is 2,000).
pub const HISTORY_ROWS_MAX: usize = 2_000;

/// Cells of those rows: they may be wide.
pub const HISTORY_CELLS_MAX: usize = 400_000;

/// Finished lines that nobody has taken yet; then the oldest are dropped and counted.
pub const UNREAD_LINES_MAX: usize = 10_000;

/// Bytes of those.
pub const UNREAD_BYTES_MAX: usize = 4 << 20;

/// A line longer than this is broken there.
pub const UNREAD_LINE_BYTES_MAX: usize = 64 * 1024;

/// Answers to a program that it has not read yet, in bytes; what is beyond is not answered.
pub const REPLY_BYTES_MAX: usize = 4096;

/// Characters of a title.
pub const TITLE_CHARS_MAX: usize = 256;

/// Commands remembered by their marks; older ones are forgotten.
pub const COMMANDS_MAX: usize = 16;

/// Text kept of the output of one of them, in bytes: its end.
pub const COMMAND_BYTES_MAX: usize = 64 * 1024;

/// Text kept of a typed command, in bytes.
pub const COMMAND_LINE_BYTES_MAX: usize = 4096;
