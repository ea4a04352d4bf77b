//! Every number of the protocol, with its reason. Both ends are compiled from this file.

/// Largest payload of one frame. 64 KiB is the size of a full pipe: one read of a command's output fits one frame.
pub const FRAME_PAYLOAD_BYTES_MAX: usize = 64 * 1024;

/// Length, kind and channel before each payload.
pub const FRAME_HEADER_BYTES: usize = 9;

/// Nesting of a control message's JSON. The deepest message we have is an entry's path at 4; the rest is room to grow.
pub const JSON_DEPTH_MAX: usize = 8;

/// How much of the parser's words about a bad message is kept: they may quote what the other side sent.
pub const VIOLATION_BYTES_MAX: usize = 300;

/// Memory for decoding one frame from inside: the payload, its values, and a list that doubles while it grows. Only tests
/// read this: they hold the decoder to it.
pub const DECODE_BYTES_MAX: usize = 8 * FRAME_PAYLOAD_BYTES_MAX;

/// Length of a build id. A BLAKE3 digest in hexadecimal is 64.
pub const BUILD_ID_BYTES_MAX: usize = 128;

/// Length of a host name: Linux `HOST_NAME_MAX`.
pub const HOSTNAME_BYTES_MAX: usize = 64;

/// Largest permission bits of a file: rwx three times, setuid, setgid, sticky.
pub const MODE_MAX: u32 = 0o7777;

/// Largest signal number of Linux on every architecture we run on (`SIGRTMAX`).
pub const SIGNAL_MAX: u8 = 64;

/// Largest Linux error number (`MAX_ERRNO` in the kernel's err.h).
pub const ERRNO_MAX: i32 = 4095;

/// Channels open at one time: commands and file requests together. Each costs the agent at most a few pipes, and the
/// agent's descriptor limit is 1,024.
pub const CHANNELS_MAX: usize = 256;

/// Credit that the supervisor gives a command at its start. Four full pipes: enough that a quick command never waits for
/// credit, small enough that 256 channels cannot make the supervisor hold more than 64 MiB.
pub const OUTPUT_CREDIT_BYTES: u32 = 256 * 1024;

/// Credit that an agent gives for content or standard input. As above.
pub const INPUT_CREDIT_BYTES: u32 = 256 * 1024;

/// Arguments and environment of one command together. Linux refuses more than a quarter of the stack limit (2 MiB of
/// 8 MiB); one control frame carries them, so the frame's limit is the tighter one.
pub const ARGUMENT_BYTES_MAX: usize = 48 * 1024;

/// Linux `PATH_MAX`, less its NUL.
pub const PATH_BYTES_MAX: usize = 4095;

/// Linux `NAME_MAX`.
pub const NAME_BYTES_MAX: usize = 255;

/// Bytes of a line that was typed into a shell: the kernel's own limit of one that is edited by it (`N_TTY_BUF_SIZE`).
pub const TYPED_LINE_BYTES_MAX: usize = 4096;

/// Entries in one `Entries` message, changes in one `Changes`: with names of 255 bytes in hexadecimal they still fit a frame. Longer
/// paths mean fewer of them; a single one always fits.
pub const ENTRIES_PER_FRAME_MAX: usize = 64;

/// Entries of one listing.
pub const ENTRIES_MAX: u32 = 100_000;

/// Entries of one listing that are counted when not all are told: a second's work.
pub const ENTRIES_COUNTED_MAX: u64 = 200_000;

/// Entries that a read tells of a directory.
pub const READ_ENTRIES_MAX: u32 = 1000;

/// How far lines of a file are counted when its end is not asked for: a tenth of a second from memory, a second or two from a disk.
pub const LINES_COUNTED_BYTES_MAX: u64 = 256 * 1024 * 1024;

/// One diff's changes: the bytes of their paths, and [`CHANGE_BYTES`] for each of them. They become one reply, which is one line of at most
/// 32 MiB: what is more could be read and not be given on. The limits under which layers are compared are far above it.
pub const CHANGES_BYTES_MAX: usize = 32 * 1024 * 1024;

/// What a change is in the JSON of a reply, beside its path.
pub const CHANGE_BYTES: usize = 128;

/// Text of one patch: more than anybody reads, and it fits one reply.
pub const PATCH_BYTES_MAX: usize = 1024 * 1024;

/// A file whose text may be in a patch. As above.
pub const PATCH_FILE_BYTES_MAX: usize = PATCH_BYTES_MAX;

/// JSON of what one edit is asked with: 4 MiB of text, of which each byte can become six.
pub const EDIT_ORDER_BYTES_MAX: u32 = 25 * 1024 * 1024;

/// JSON of what one edit answers: a thousand files with long names and notes, and some lines of text.
pub const EDIT_ANSWER_BYTES_MAX: usize = 8 * 1024 * 1024;

/// A pattern that is searched for: longer than anybody writes, and with its escapes it fits a frame beside the rest.
pub const PATTERN_BYTES_MAX: usize = 4096;

/// Globs of one request, and bytes of each: as above.
pub const GLOBS_MAX: usize = 32;
/// See [`GLOBS_MAX`].
pub const GLOB_BYTES_MAX: usize = 256;

/// Lines around each line that is found. Who wants more reads the file.
pub const CONTEXT_LINES_MAX: u32 = 20;

/// Lines or files that one search tells.
pub const FOUND_MAX: u32 = 10_000;

/// Text of one line that is found; of a longer one the part around the match. Lines that people write are shorter.
pub const FOUND_LINE_BYTES_MAX: usize = 500;

/// JSON of what one search answers. It becomes one reply, which is one line of at most 32 MiB; nobody reads as much.
pub const SEARCH_ANSWER_BYTES_MAX: usize = 8 * 1024 * 1024;

/// Probes in a hello.
pub const PROBES_MAX: usize = 32;

/// Characters of a probe's detail.
pub const PROBE_DETAIL_BYTES_MAX: usize = 200;

/// After a command has ended, how long its output may still come from processes that it left behind. A daemonised
/// grandchild must not hold the call open; 300 ms is enough for a pipe to be emptied.
pub const OUTPUT_DRAIN_MS: u32 = 300;

/// How long the agent has to answer a hello, by the outside clock.
pub const HELLO_DEADLINE_MS: u64 = 10_000;

/// How long the agent has to confirm that a killed command is gone. After that the sandbox is not believed any more.
pub const KILL_CONFIRM_MS: u64 = 5_000;

/// Longest time that a shutdown may leave processes between TERM and KILL.
pub const SHUTDOWN_GRACE_MS_MAX: u32 = 600_000;

/// Capabilities that anything inside may hold, as a bit mask by capability number: CHOWN(0) DAC_OVERRIDE(1) FOWNER(3) FSETID(4)
/// KILL(5) SETGID(6) SETUID(7) SETPCAP(8) NET_BIND_SERVICE(10) SYS_CHROOT(18) AUDIT_WRITE(29) SETFCAP(31). Here because the
/// launch sets it outside and the agent's probe checks it inside.
pub const CAPABILITIES_INSIDE: u64 = 0xa004_05fb;

/// Random bytes that a copied machine gets when it wakes: what the kernel's generator is keyed with (drivers/char/random.c, 256 bits), twice.
pub const WAKE_ENTROPY_BYTES: usize = 64;

/// Fewest processes that a machine can be limited to: less the kernel refuses (`RESERVED_PIDS` of kernel/pid.c is 300).
pub const PIDS_MAX_MIN: u64 = 512;
