//! Every number of this crate, with its reason.

/// Directories held open at once by one walk of one tree. A walk that comes back up reopens what it closed, so more would save little.
pub const OPEN_DIRECTORIES_MAX: usize = 16;

/// Directories held open at once below the roots of all layers that are walked together: half of the 1,024 descriptors that a process has by default.
pub const OPEN_DIRECTORIES_IN_ALL_MAX: usize = 512;

/// Layers of one comparison or merge, those that several sides share counted once. Each holds its root and at least two directories open, in a merge one
/// more, and that fits into 1,024 descriptors; overlayfs itself mounts at most 500 at once.
pub const COMPARED_LAYERS_MAX: usize = 200;

/// Deepest directory. Nothing honest comes near it, and the walk costs no stack; it bounds the memory of a walk.
pub const DEPTH_MAX: usize = 20_000;

/// Bytes of content copied between two looks at whether to go on: at 1 GB/s, cancelling takes a millisecond.
pub const CHUNK_BYTES: usize = 1 << 20;

/// Files with several names whose other names have not been met yet, in one copy. Each costs about 100 bytes.
pub const HARD_LINKS_PENDING_MAX: usize = 1 << 20;

/// Names of skipped things that are kept; beyond it they are only counted.
pub const SKIPPED_NAMES_MAX: usize = 1000;

/// A skipped thing whose path is longer is only counted: a hostile tree may have paths of megabytes.
pub const SKIPPED_NAME_BYTES_MAX: usize = 16 * 1024;

/// How often a file that changes while it is copied is copied again.
pub const COPY_ATTEMPTS_MAX: u32 = 5;

/// How often one directory is listed again because something in it vanished.
pub const LISTINGS_MAX: u32 = 100;

/// Linux `PATH_MAX` with its NUL: the most that one call takes.
pub const PATH_BYTES_MAX: usize = 4096;

/// Linux `NAME_MAX`.
pub const NAME_BYTES_MAX: usize = 255;

/// Longest name in an archive, in bytes. GNU tar writes such names; four times `PATH_MAX` is more than any tree that was reached by a path.
pub const ARCHIVE_NAME_BYTES_MAX: usize = 16 * 1024;

/// Deepest entry of an archive: names of one letter fill half of [`ARCHIVE_NAME_BYTES_MAX`].
pub const ARCHIVE_DEPTH_MAX: usize = 4096;

/// Largest extended header of an archive. It holds attributes, and Linux lets one file have 64 KiB of each.
pub const EXTENDED_HEADER_BYTES_MAX: u64 = 1 << 20;

/// Names and values of one file's attributes in an archive that is written: half of what [`EXTENDED_HEADER_BYTES_MAX`] lets a reader take,
/// since two long names go there too.
pub const ARCHIVED_ATTRIBUTES_BYTES_MAX: usize = 512 * 1024;

/// Pieces of one sparse file in an archive.
pub const SPARSE_PIECES_MAX: usize = 1 << 20;

/// Padding after an archive's end mark: the largest record that GNU tar writes by default is 10 KiB, tape users go to megabytes.
pub const ARCHIVE_PADDING_BYTES_MAX: u64 = 64 << 20;

/// Window of a zstd stream: `zstd --ultra -22` uses 128 MiB, and it is memory that a stream makes us take.
pub const ZSTD_WINDOW_BYTES_MAX: u64 = 128 << 20;

/// Names of an archive that are kept in memory until its end (of directories, and of everything in an environment). A tree of a
/// million files has about 60 MB of names.
pub const DIRECTORY_NAMES_BYTES_MAX: usize = 256 << 20;

/// Changes of one diff. At about 200 bytes each it is memory that the inside makes us take.
pub const CHANGES_MAX: usize = 1 << 20;

/// Bytes of the paths in one diff. A chain of directories 1,400 deep with the longest names comes to this; without a limit its paths alone
/// could take gigabytes.
pub const CHANGED_PATHS_BYTES_MAX: usize = 256 << 20;

/// Files that are read to find out which were moved: a directory of sources that was moved as a whole.
pub const RENAME_CANDIDATES_MAX: u64 = 20_000;

/// Content that is read for that: a fraction of a second.
pub const RENAME_CONTENT_BYTES_MAX: u64 = 256 << 20;

/// Longest time that one file's hunks are searched for the shortest form; then a longer but right form is taken.
pub const HUNK_SEARCH_MS: u64 = 200;

/// The same for one patch: hostile files must not add up to minutes.
pub const HUNK_SEARCH_TOTAL_MS: u64 = 5_000;

/// Largest file that is merged by lines: sources are far smaller, and three of them are in memory at once.
pub const MERGED_FILE_BYTES_MAX: u64 = 4 << 20;

/// Texts that one merge has put together and not written yet. They are kept in memory, because nothing may be written before all is decided.
pub const MERGED_TEXTS_BYTES_MAX: usize = 256 << 20;

/// Conflicts that one merge tells about: more than anybody decides one by one. The rest is counted.
pub const CONFLICTS_MAX: usize = 1000;

/// Largest content that a conflict brings along.
pub const CONFLICT_TEXT_BYTES_MAX: u64 = 64 << 10;

/// Content and lines that all conflicts of one merge bring along: they become one reply.
pub const CONFLICT_TEXTS_BYTES_MAX: usize = 4 << 20;

/// Layers that are made one at a time: each may have [`OPEN_DIRECTORIES_MAX`] directories open, of 1,024 descriptors.
pub const SQUASHED_LAYERS_MAX: usize = 32;

/// Largest `.gitignore` or `.ignore` file. Honest ones have some kilobytes, and the patterns of every one on the way are held in memory
/// in a form some hundred times as large.
pub const IGNORE_FILE_BYTES_MAX: usize = 256 * 1024;

/// Threads that take a fingerprint. They wait for nothing but the kernel, and more than this many wait for each other.
pub const FINGERPRINT_THREADS_MAX: usize = 8;

/// How deep directories are shared out between them. For each level and thread one more directory may be held open; what is deeper is walked
/// by the thread that came upon it.
pub const FINGERPRINT_SHARED_DEPTH_MAX: usize = 8;
