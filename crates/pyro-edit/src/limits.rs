//! Every number of this crate, with its reason.

/// Largest file that is changed. Sources end far below; what is larger is data, and text edits are the wrong tool for it.
pub const FILE_BYTES_MAX: usize = 16 << 20;

/// Most lines of one file. An index of lines takes about 40 bytes a line, so this is 40 MiB for one way of comparing.
pub const FILE_LINES_MAX: usize = 1 << 20;

/// Largest patch, and most text of all edits of one request. No model writes a hundredth of it in one reply.
pub const PATCH_BYTES_MAX: usize = 4 << 20;

/// Most edits of one request: each may read its whole file again.
pub const EDITS_MAX: usize = 1_000;

/// Most files of one request.
pub const FILES_MAX: usize = 1_000;

/// Most hunks of one patch. A patch of [`PATCH_BYTES_MAX`] bytes has fewer unless it is made to have many.
pub const HUNKS_MAX: usize = 20_000;

/// Most bytes that are read in one request, and most that a plan holds: a copied file counts each time.
pub const CONTENT_BYTES_MAX: usize = 128 << 20;

/// Steps of search in one request, about one for a byte or a line looked at. The slowest requests known take two to five seconds of one processor with it (a test
/// tells); honest ones take a thousandth.
pub const SEARCH_STEPS_MAX: u64 = 2 << 30;

/// Places that are kept for one hunk that stands in many. Those nearest to its number are kept; more would change no answer.
pub const PLACES_MAX: usize = 1_000;

/// Linux `PATH_MAX` with its NUL.
pub const PATH_BYTES_MAX: usize = 4096;

/// Linux `NAME_MAX`.
pub const NAME_BYTES_MAX: usize = 255;

/// Characters of a rendered failure: hosts cut tool errors at some thousands, and a model reads the first part best.
pub const FAILURE_CHARS_MAX: usize = 1_200;

/// Characters of one quoted line. Longer ones are cut, and say so.
pub const QUOTED_LINE_CHARS_MAX: usize = 240;

/// Lines of changed text in a report, over all files.
pub const REPORT_LINES_MAX: usize = 40;

/// Unchanged lines around a changed region in a report.
pub const REPORT_CONTEXT_LINES: usize = 3;

/// Two gaps with more pairs of lines than this are called different as a whole in counts and reports. It bounds the search for the shortest difference.
pub const COMPARED_PAIRS_MAX: usize = 1 << 20;

/// A line that stands in more places than this says nothing about where a text belongs.
pub const COMMON_LINE_PLACES_MAX: usize = 200;

/// Lines on each side that are tried to tell places with the same text apart.
pub const NEIGHBOUR_LINES_MAX: usize = 16;

/// Places that one edit replaces at most. Each costs some dozens of bytes while the new content is put together.
pub const REPLACED_PLACES_MAX: usize = 1 << 18;
