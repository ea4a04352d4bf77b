//! Archives: what honest writers make comes through as they meant it, and what an enemy makes is refused by name.

use std::fs;
use std::io::Write;
use std::ops::ControlFlow;
use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};
use std::path::Path;
use std::process::{Command, Stdio};

use rustix::fs::{CWD, Dev, FileType, Mode, XattrFlags, mknodat, setxattr};
use tar::{EntryType, Header};

use super::{ArchiveLimits, import_archive};
use crate::testing::{Scratch, go_on, name, snapshot};
use crate::{ErrorKind, Owners, unpack_environment};

/// Builds an archive from raw headers, however wrong.
#[derive(Clone, Default)]
struct Raw {
    bytes: Vec<u8>,
}

impl Raw {
    /// One entry with a header that `change` may spoil before the checksum is made.
    fn entry(mut self, kind: u8, path: &[u8], link: &[u8], data: &[u8], change: impl FnOnce(&mut Header)) -> Self {
        let mut header = Header::new_ustar();
        header.as_mut_bytes()[..path.len().min(100)].copy_from_slice(&path[..path.len().min(100)]);
        header.as_mut_bytes()[157..157 + link.len().min(100)].copy_from_slice(&link[..link.len().min(100)]);
        header.set_entry_type(EntryType::new(kind));
        header.set_mode(0o644);
        header.set_mtime(1_000_000_000);
        header.set_size(data.len() as u64);
        change(&mut header);
        header.set_cksum();
        self.bytes.extend_from_slice(header.as_bytes());
        self.bytes.extend_from_slice(data);
        self.bytes.resize(self.bytes.len().next_multiple_of(512), 0);
        self
    }

    fn file(self, path: &[u8], data: &[u8]) -> Self {
        self.entry(b'0', path, b"", data, |_| {})
    }

    fn directory(self, path: &[u8]) -> Self {
        self.entry(b'5', path, b"", b"", |header| header.set_mode(0o755))
    }

    fn symlink(self, path: &[u8], target: &[u8]) -> Self {
        self.entry(b'2', path, target, b"", |_| {})
    }

    fn hard_link(self, path: &[u8], target: &[u8]) -> Self {
        self.entry(b'1', path, target, b"", |_| {})
    }

    /// An extended header with records as given.
    fn pax(self, records: &[(&[u8], &[u8])]) -> Self {
        let data: Vec<u8> = records.iter().flat_map(|(key, value)| record(key, value)).collect();
        self.entry(b'x', b"PaxHeaders/x", b"", &data, |_| {})
    }

    fn end(mut self) -> Vec<u8> {
        self.bytes.extend_from_slice(&[0; 1024]);
        self.bytes
    }
}

fn record(key: &[u8], value: &[u8]) -> Vec<u8> {
    let rest = key.len() + value.len() + 3;
    let mut length = rest;
    while length != rest + length.to_string().len() {
        length = rest + length.to_string().len();
    }
    [length.to_string().as_bytes(), b" ", key, b"=", value, b"\n"].concat()
}

/// Large enough for every case here, small enough that a lie about a size is told from a truth.
const LIMITS: ArchiveLimits = ArchiveLimits { entries_max: 1000, bytes_max: 4 << 20 };

fn import(archive: &[u8], destination: &Path) -> crate::Result<crate::SeedReport> {
    import_archive(archive, destination, Owners::Canonical, LIMITS, &mut go_on)
}

#[test]
fn hostile_archives_are_refused_by_name() {
    use ErrorKind::{Damaged, Limit, Refused};
    let raw = Raw::default;
    let long = |length: usize| vec![b'n'; length];
    let deep: Vec<u8> = b"d/".repeat(5000);
    let set = |header: &mut Header, at: usize, value: &[u8]| header.as_mut_bytes()[at..at + value.len()].copy_from_slice(value);
    let cases: Vec<(&str, Vec<u8>, ErrorKind, &str)> = vec![
        ("absolute name", raw().file(b"/etc/passwd", b"x").end(), Refused, "/etc/passwd is an absolute name"),
        ("absolute name, twice the slash", raw().file(b"//etc/passwd", b"x").end(), Refused, "absolute"),
        ("absolute name in a PAX record", raw().pax(&[(b"path", b"/etc/x")]).file(b"x", b"").end(), Refused, "/etc/x"),
        (
            "absolute name in a GNU long name",
            raw().entry(b'L', b"././@LongLink", b"", b"/etc/x\0", |_| {}).file(b"x", b"").end(),
            Refused,
            "/etc/x",
        ),
        ("absolute prefix", raw().entry(b'0', b"passwd", b"", b"", |h| set(h, 345, b"/etc")).end(), Refused, "/etc/passwd"),
        ("dot dot", raw().file(b"../x", b"").end(), Refused, "../x holds `..`"),
        ("dot dot in the middle", raw().directory(b"a").file(b"a/../../x", b"").end(), Refused, ".."),
        ("harmless dot dot", raw().directory(b"a").file(b"a/../x", b"").end(), Refused, ".."),
        ("dot dot at the end", raw().directory(b"a/..").end(), Refused, ".."),
        ("dot dot in a prefix", raw().entry(b'0', b"x", b"", b"", |h| set(h, 345, b"..")).end(), Refused, "../x"),
        ("empty name", raw().file(b"", b"").end(), Damaged, "empty name"),
        ("file named as the tree", raw().file(b"./", b"x").end(), Damaged, "content"),
        ("link named as the tree", raw().symlink(b".", b"/").end(), Refused, "names the tree itself"),
        ("file through a link", raw().symlink(b"l", b"/tmp").file(b"l/x", b"").end(), Refused, "l/x leads through"),
        ("file through a link inside", raw().directory(b"d").symlink(b"l", b"d").file(b"l/x", b"").end(), Refused, "l/x"),
        ("file through a link far up", raw().symlink(b"l", b".").file(b"l/a/b/c", b"").end(), Refused, "l/a/b/c"),
        ("file through two links", raw().symlink(b"a", b"..").symlink(b"b", b"a/..").file(b"b/x", b"").end(), Refused, "b/x"),
        ("directory through a link", raw().symlink(b"l", b"/").directory(b"l/d").end(), Refused, "l/d"),
        ("link through a link", raw().symlink(b"l", b"/").symlink(b"l/d", b"x").end(), Refused, "l/d"),
        ("FIFO through a link", raw().symlink(b"l", b"/").entry(b'6', b"l/p", b"", b"", |_| {}).end(), Refused, "l/p"),
        ("file through a file", raw().file(b"f", b"").file(b"f/x", b"").end(), Refused, "f/x"),
        ("directory over a link", raw().symlink(b"l", b"/tmp").directory(b"l").end(), Refused, "l comes twice"),
        ("directory over a link, with a slash", raw().symlink(b"l", b"/tmp").directory(b"l/").end(), Refused, "l comes twice"),
        ("file over a link", raw().symlink(b"l", b"/etc/passwd").file(b"l", b"x").end(), Refused, "l comes twice"),
        ("link over a file", raw().file(b"f", b"").symlink(b"f", b"x").end(), Refused, "f comes twice"),
        ("file over a directory", raw().directory(b"d").file(b"d", b"").end(), Refused, "d comes twice"),
        ("link over a directory", raw().directory(b"d").symlink(b"d", b"/").end(), Refused, "d comes twice"),
        ("the same by another spelling", raw().directory(b"d").symlink(b"./d//", b"/").end(), Refused, "d comes twice"),
        ("hard link to an absolute name", raw().hard_link(b"h", b"/etc/passwd").end(), Refused, "/etc/passwd is an absolute name"),
        ("hard link upwards", raw().hard_link(b"h", b"../../etc/passwd").end(), Refused, ".."),
        ("hard link to nothing", raw().hard_link(b"h", b"gone").end(), Refused, "h is a hard link to gone"),
        ("hard link to nothing deeper", raw().hard_link(b"h", b"no/such").end(), Refused, "no/such"),
        ("hard link to itself", raw().hard_link(b"h", b"h").end(), Refused, "h is a hard link to h"),
        ("hard link to a later entry", raw().hard_link(b"h", b"f").file(b"f", b"").end(), Refused, "has not brought before"),
        (
            "hard link through a link",
            raw().symlink(b"l", b"/etc").hard_link(b"h", b"l/passwd").end(),
            Refused,
            "l/passwd leads through",
        ),
        ("hard link to a directory", raw().directory(b"d").hard_link(b"h", b"d").end(), Refused, "hard link to a directory"),
        ("hard link to the tree", raw().hard_link(b"h", b".").end(), Refused, "h"),
        (
            "hard link over another type",
            raw().file(b"f", b"").symlink(b"l", b"x").hard_link(b"l", b"f").end(),
            Refused,
            "l comes twice",
        ),
        ("hard link with content", raw().file(b"f", b"").entry(b'1', b"h", b"f", b"data", |_| {}).end(), Damaged, "h has content"),
        ("symbolic link with content", raw().entry(b'2', b"l", b"x", b"data", |_| {}).end(), Damaged, "l has content"),
        ("directory with content", raw().entry(b'5', b"d", b"", b"data", |_| {}).end(), Damaged, "d has content"),
        ("symbolic link to nothing", raw().symlink(b"l", b"").end(), Refused, "l is a link whose target is empty"),
        ("symbolic link to a NUL", raw().pax(&[(b"linkpath", b"a\0b")]).symlink(b"l", b"x").end(), Refused, "NUL"),
        ("symbolic link too long", raw().pax(&[(b"linkpath", &long(4096))]).symlink(b"l", b"x").end(), Refused, "l is a link"),
        ("character device", raw().entry(b'3', b"null", b"", b"", |_| {}).end(), Refused, "null is a device"),
        ("block device", raw().entry(b'4', b"dev/sda", b"", b"", |_| {}).end(), Refused, "dev/sda is a device"),
        ("NUL in a name", raw().pax(&[(b"path", b"a\0b")]).file(b"x", b"").end(), Refused, "NUL"),
        ("a component of 256 bytes", raw().pax(&[(b"path", &long(256))]).file(b"x", b"").end(), Limit, "longer than 255"),
        ("a name of 20,000 bytes", raw().pax(&[(b"path", &b"nn/".repeat(7000))]).file(b"x", b"").end(), Limit, "longer than 16384"),
        ("5,000 directories deep", raw().pax(&[(b"path", &deep)]).directory(b"x").end(), Limit, "deep"),
        ("a long name without end", raw().entry(b'L', b"l", b"", &long(17_000), |_| {}).file(b"x", b"").end(), Limit, "16384"),
        ("two sizes", raw().pax(&[(b"size", b"512")]).file(b"x", &long(1024)).end(), Damaged, "x has two sizes, 1024 and 512"),
        (
            "two names that differ",
            raw().entry(b'L', b"l", b"", b"one\0", |_| {}).pax(&[(b"path", b"two")]).file(b"x", b"").end(),
            Damaged,
            "two names",
        ),
        ("two extended headers", raw().pax(&[]).pax(&[]).file(b"x", b"").end(), Damaged, "two extended headers"),
        (
            "two long names",
            raw().entry(b'L', b"l", b"", b"a\0", |_| {}).entry(b'L', b"l", b"", b"b\0", |_| {}).file(b"x", b"").end(),
            Damaged,
            "two long names",
        ),
        (
            "one name twice in a header",
            raw().pax(&[(b"path", b"a"), (b"path", b"b")]).file(b"x", b"").end(),
            Damaged,
            "says path twice",
        ),
        ("extended header for nothing", raw().pax(&[(b"path", b"a")]).end(), Damaged, "before the entry"),
        ("long name for nothing", raw().entry(b'L', b"l", b"", b"a\0", |_| {}).end(), Damaged, "before the entry"),
        (
            "global name",
            raw().entry(b'g', b"g", b"", &record(b"path", b"a"), |_| {}).file(b"x", b"").end(),
            Damaged,
            "path of every entry",
        ),
        (
            "global size",
            raw().entry(b'g', b"g", b"", &record(b"size", b"0"), |_| {}).file(b"x", b"y").end(),
            Damaged,
            "size of every entry",
        ),
        ("record too long", raw().entry(b'x', b"x", b"", b"99 path=a\n", |_| {}).file(b"x", b"").end(), Damaged, "malformed"),
        ("record without a length", raw().entry(b'x', b"x", b"", b"path=a\n", |_| {}).file(b"x", b"").end(), Damaged, "malformed"),
        ("record of length 0", raw().entry(b'x', b"x", b"", b"0 path=a\n", |_| {}).file(b"x", b"").end(), Damaged, "malformed"),
        (
            "extended header of 2 MiB",
            raw().entry(b'x', b"x", b"", &long(2 << 20), |_| {}).file(b"x", b"").end(),
            Limit,
            "extended header",
        ),
        ("negative size in a record", raw().pax(&[(b"size", b"-1")]).file(b"x", b"").end(), Damaged, "no number"),
        ("time that is none", raw().pax(&[(b"mtime", b"1e9")]).file(b"x", b"").end(), Damaged, "mtime"),
        ("size beyond the archive", raw().entry(b'0', b"x", b"", b"", |h| h.set_size(1 << 20)).end(), Damaged, "cut short"),
        ("size beyond all limits", raw().entry(b'0', b"x", b"", b"", |h| h.set_size(1 << 40)).end(), Limit, "x is larger"),
        (
            "size of 2^63",
            raw().entry(b'0', b"x", b"", b"", |h| set(h, 124, &[0x80, 0, 0, 0, 0x80, 0, 0, 0, 0, 0, 0, 0])).end(),
            Damaged,
            "no number",
        ),
        (
            "negative size",
            raw().entry(b'0', b"x", b"", b"", |h| set(h, 124, &[0xff; 12])).end(),
            Damaged,
            "x has a size that is no number",
        ),
        ("size that is text", raw().entry(b'0', b"x", b"", b"", |h| set(h, 124, b"99999999999\0")).end(), Damaged, "x has a size"),
        ("unknown type", raw().entry(b'Q', b"x", b"", b"", |_| {}).end(), Refused, "x is of a type that is not known here (Q)"),
        ("part of a volume", raw().entry(b'M', b"x", b"", b"", |_| {}).end(), Refused, "(M)"),
        ("incremental directory", raw().entry(b'D', b"x", b"", b"Yfile\0\0", |_| {}).end(), Refused, "(D)"),
        ("data after the end", [raw().file(b"a", b"").end(), raw().file(b"b", b"").end()].concat(), Damaged, "more data follows"),
        ("no end mark", raw().file(b"a", b"").bytes, Damaged, "end mark is missing"),
        ("cut in a header", raw().file(b"a", b"").file(b"b", b"").bytes[..700].to_vec(), Damaged, "cut short"),
        ("cut in content", raw().file(b"a", &long(2000)).bytes[..1500].to_vec(), Damaged, "cut short"),
        (
            "wrong checksum",
            {
                let mut bytes = raw().file(b"a", b"").file(b"b", b"").end();
                bytes[512] ^= 1;
                bytes
            },
            Damaged,
            "checksum",
        ),
        ("no archive", long(1024), Damaged, "no tar archive"),
        ("nothing", Vec::new(), Damaged, "empty"),
        ("xz", b"\xfd7zXZ\0 and so on".to_vec(), Refused, "xz"),
        ("bzip2", b"BZh91AY&SY".to_vec(), Refused, "bzip2"),
        ("zip", b"PK\x03\x04........".to_vec(), Refused, "zip"),
        ("sparse map backwards", sparse("0,1,0,1", 10, &long(2)), Damaged, "map"),
        ("sparse map beyond the file", sparse("0,1,100,1", 10, &long(2)), Damaged, "map"),
        ("sparse map that overflows", sparse("18446744073709551615,1,0,1", 10, &long(2)), Damaged, "map"),
        ("sparse map with other data", sparse("0,1", 10, &long(2)), Damaged, "2 bytes of data"),
        ("sparse map of odd length", sparse("0,1,2", 10, &long(2)), Damaged, "map"),
        ("sparse file of a petabyte", sparse("0,2", 1 << 50, &long(2)), Limit, "bytes large"),
        (
            "sparse without a size",
            raw().pax(&[(b"GNU.sparse.map", b"0,1")]).file(b"x", b"y").end(),
            Damaged,
            "sparse without a size",
        ),
        (
            "1,001 entries",
            (0..1001).fold(raw(), |raw, index| raw.directory(format!("d{index}").as_bytes())).end(),
            Limit,
            "more than 1000 entries",
        ),
        (
            "more bytes than allowed",
            (0..5).fold(raw(), |raw, index| raw.file(format!("f{index}").as_bytes(), &vec![0; 1 << 20])).end(),
            Limit,
            "larger than",
        ),
    ];
    assert!(cases.len() >= 40, "the table is the test");
    let scratch = Scratch::new();
    let canary = scratch.directory("outside");
    fs::write(canary.join("canary"), b"alive").expect("write");
    for (index, (case, archive, kind, wanted)) in cases.iter().enumerate() {
        let destination = scratch.directory(&format!("case{index}/destination"));
        let error = import(archive, &destination).expect_err(case);
        assert_eq!(error.kind(), *kind, "{case}: {error}");
        assert!(error.to_string().contains(wanted), "{case}: {error}");
        assert_eq!(
            fs::read_dir(scratch.path(&format!("case{index}"))).expect("list").count(),
            1,
            "{case}: nothing beside the destination"
        );
        // In every outer form the same is refused.
        for compressed in [gzip(archive), zstd(archive)] {
            let destination = scratch.directory(&format!("compressed{index}.{}/destination", compressed[0]));
            if matches!(*case, "nothing" | "xz" | "bzip2" | "zip") {
                continue;
            }
            assert_eq!(import(&compressed, &destination).expect_err(case).kind(), *kind, "{case}, compressed");
        }
    }
    assert_eq!(fs::read(canary.join("canary")).expect("read"), b"alive");
}

fn sparse(map: &str, size: u64, data: &[u8]) -> Vec<u8> {
    Raw::default()
        .pax(&[(b"GNU.sparse.size", size.to_string().as_bytes()), (b"GNU.sparse.map", map.as_bytes())])
        .file(b"x", data)
        .end()
}

fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    encoder.write_all(bytes).expect("compress");
    encoder.finish().expect("compress")
}

fn zstd(bytes: &[u8]) -> Vec<u8> {
    ruzstd::encoding::compress_to_vec(bytes, ruzstd::encoding::CompressionLevel::Uncompressed)
}

#[test]
fn odd_but_honest_archives_are_taken() {
    let scratch = Scratch::new();
    let import = |case: &str, archive: &[u8]| {
        let destination = scratch.directory(case);
        import(archive, &destination).unwrap_or_else(|error| panic!("{case}: {error}"));
        snapshot(&destination)
    };
    let raw = Raw::default;
    let nodes = import("later counts", &raw().file(b"f", b"first").file(b"f", b"second").end());
    assert_eq!(nodes[b"f".as_slice()].content, b"second");
    let nodes =
        import("replacing keeps the other name", &raw().file(b"f", b"first").hard_link(b"h", b"f").file(b"f", b"second").end());
    assert_eq!(
        (nodes[b"f".as_slice()].content.as_slice(), nodes[b"h".as_slice()].content.as_slice()),
        (b"second".as_slice(), b"first".as_slice())
    );
    let nodes = import("missing parents", &raw().file(b"a/b/c", b"x").end());
    assert_eq!((nodes[b"a/b".as_slice()].kind, nodes[b"a/b".as_slice()].mode), ('d', 0o755));
    let nodes = import("spellings", &raw().directory(b"./a//").file(b"././a/./b", b"x").end());
    assert!(nodes.contains_key(b"a/b".as_slice()));
    let nodes = import("file that is a directory", &raw().entry(b'0', b"d/", b"", b"", |header| header.set_mode(0o700)).end());
    assert_eq!((nodes[b"d".as_slice()].kind, nodes[b"d".as_slice()].mode), ('d', 0o700));
    let nodes = import("links as they are", &raw().symlink(b"a", b"/etc/passwd").symlink(b"b", b"../../x").end());
    assert_eq!(nodes[b"a".as_slice()].content, b"/etc/passwd");
    let nodes = import(
        "a directory that keeps others out",
        &raw().entry(b'5', b"d", b"", b"", |header| header.set_mode(0)).file(b"d/x", b"in").end(),
    );
    assert_eq!((nodes[b"d".as_slice()].mode, nodes[b"d/x".as_slice()].content.as_slice()), (0, b"in".as_slice()));
    let nodes = import("setuid", &raw().entry(b'0', b"su", b"", b"x", |header| header.set_mode(0o4755)).end());
    assert_eq!(nodes[b"su".as_slice()].mode, 0o4755);
    let nodes = import(
        "times",
        &raw().pax(&[(b"mtime", b"-1.25")]).file(b"f", b"").pax(&[(b"mtime", b"4102444800.9999999999")]).file(b"g", b"").end(),
    );
    assert_eq!(nodes[b"f".as_slice()].modified_at, (-2, 750_000_000));
    assert_eq!(nodes[b"g".as_slice()].modified_at, (4_102_444_800, 999_999_999));
    let nodes = import(
        "a global comment and time",
        &raw()
            .entry(b'g', b"g", b"", &[record(b"comment", b"0123"), record(b"mtime", b"77")].concat(), |_| {})
            .file(b"f", b"")
            .end(),
    );
    assert_eq!(nodes[b"f".as_slice()].modified_at, (77, 0));
    let nodes = import("one zero block", &raw().file(b"f", b"x").end()[..1536]);
    assert!(nodes.contains_key(b"f".as_slice()));
    let nodes = import("sparse in one record", &sparse("1,1,8,1", 10, b"ab"));
    assert_eq!(nodes[b"x".as_slice()].content, b"\0a\0\0\0\0\0\0b\0");
    let nodes = import(
        "attributes",
        &raw()
            .pax(&[
                (b"SCHILY.xattr.user.k", b"v\0w"),
                (b"SCHILY.xattr.user.overlay.opaque", b"y"),
                (b"SCHILY.xattr.trusted.overlay.opaque", b"y"),
                (b"SCHILY.xattr.security.selinux", b"z"),
            ])
            .directory(b"d")
            .end(),
    );
    assert_eq!(
        nodes[b"d".as_slice()].attributes.iter().map(|(key, value)| (key.as_slice(), value.as_slice())).collect::<Vec<_>>(),
        [(b"user.k".as_slice(), b"v\0w".as_slice())]
    );
    let nodes = import("volume label", &raw().entry(b'V', b"backup", b"", b"", |_| {}).file(b"f", b"").end());
    assert_eq!(nodes.len(), 2);
    let nodes = import("the tree's own mode", &raw().entry(b'5', b"./", b"", b"", |header| header.set_mode(0o1751)).end());
    assert_eq!(nodes[b"".as_slice()].mode, 0o1751);
    let nodes = import("several members and frames", &{
        let archive = raw().file(b"f", &vec![b'y'; 5000]).end();
        [gzip(&archive[..700]), gzip(&archive[700..])].concat()
    });
    assert_eq!(nodes[b"f".as_slice()].size, 5000);
    let nodes = import("skippable frames", &{
        let archive = raw().file(b"f", &vec![b'y'; 5000]).end();
        [b"\x50\x2a\x4d\x18\x03\0\0\0xyz".to_vec(), zstd(&archive[..700]), zstd(&archive[700..])].concat()
    });
    assert_eq!(nodes[b"f".as_slice()].size, 5000);
}

#[test]
fn a_damaged_compression_is_an_error() {
    let scratch = Scratch::new();
    let archive = Raw::default().file(b"f", &vec![b'y'; 100_000]).end();
    for (index, mut compressed) in [gzip(&archive), zstd(&archive)].into_iter().enumerate() {
        let destination = scratch.directory(&format!("cut{index}"));
        assert_eq!(import(&compressed[..compressed.len() - 20], &destination).expect_err("cut").kind(), ErrorKind::Damaged);
        // The last bytes are the checksum; by then all entries have been read.
        let last = compressed.len() - if index == 0 { 6 } else { 1 };
        compressed[last] ^= 1;
        let destination = scratch.directory(&format!("checksum{index}"));
        assert_eq!(import(&compressed, &destination).expect_err("checksum").kind(), ErrorKind::Damaged);
    }
}

#[test]
fn a_bomb_ends_at_the_limit() {
    let scratch = Scratch::new();
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::best());
    let raw = Raw::default().entry(b'0', b"bomb", b"", b"", |header| header.set_size(64 << 20));
    encoder.write_all(&raw.bytes).expect("compress");
    encoder.write_all(&vec![0; 64 << 20]).expect("compress");
    encoder.write_all(&[0; 1024]).expect("compress");
    let error = import(&encoder.finish().expect("compress"), &scratch.directory("d")).expect_err("a bomb");
    assert_eq!(error.kind(), ErrorKind::Limit);
}

#[test]
fn unpacking_can_be_cancelled() {
    let scratch = Scratch::new();
    let archive = Raw::default().file(b"a", b"").file(b"b", &vec![0; 3 << 20]).end();
    for allowed in 0..4 {
        let mut calls = 0;
        let result =
            import_archive(archive.as_slice(), &scratch.directory(&format!("d{allowed}")), Owners::Canonical, LIMITS, &mut |_| {
                calls += 1;
                if calls > allowed { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
            });
        assert_eq!(result.expect_err("cancelled").kind(), ErrorKind::Cancelled);
    }
}

#[test]
fn no_bytes_of_any_kind_make_it_panic() {
    // Every header byte of a small archive of each dialect, changed in three ways, with the checksum made right again.
    let scratch = Scratch::new();
    let honest = Raw::default()
        .pax(&[(b"path", b"p"), (b"GNU.sparse.size", b"10"), (b"GNU.sparse.map", b"1,1")])
        .file(b"x", b"a")
        .entry(b'L', b"l", b"", b"long\0", |_| {})
        .symlink(b"s", b"t")
        .end();
    let mut runs = 0;
    for at in (0..512).chain(1536..2048) {
        for change in [0x00, 0xff, b'9'] {
            let mut bytes = honest.clone();
            bytes[at] = change;
            let start = at / 512 * 512;
            let sum: u32 =
                (start..start + 512).map(|at| if (148..156).contains(&(at - start)) { 32 } else { u32::from(bytes[at]) }).sum();
            bytes[start + 148..start + 156].copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
            let destination = scratch.directory("fuzzed");
            let _ = import(&bytes, &destination);
            fs::remove_dir_all(&destination).expect("remove");
            runs += 1;
        }
    }
    assert_eq!(runs, 3072);
}

/// A tree that tar can carry.
fn benign_tree(root: &Path) {
    let at = |bytes: &[u8]| root.join(name(bytes));
    fs::create_dir_all(at(b"d/e")).expect("mkdir");
    fs::write(at(b"plain"), b"content").expect("write");
    fs::write(at(&[b'n'; 255]), b"long name").expect("write");
    fs::write(at(b"new\nline \xff"), b"").expect("write");
    let far = [vec![b'p'; 200], vec![b'q'; 200]].join(&b'/');
    fs::create_dir_all(at(&far)).expect("mkdir");
    fs::write(at(&[far.as_slice(), b"leaf"].join(&b'/')), b"far down").expect("write");
    fs::write(at(b"large"), vec![b'L'; 3 << 20]).expect("write");
    fs::write(at(b"setuid"), b"").expect("write");
    fs::set_permissions(at(b"setuid"), fs::Permissions::from_mode(0o6755)).expect("chmod");
    fs::set_permissions(at(b"d/e"), fs::Permissions::from_mode(0o555)).expect("chmod");
    fs::hard_link(at(b"plain"), at(b"d/another name")).expect("link");
    symlink("/nowhere", at(b"absolute")).expect("symlink");
    symlink(name(&[b't'; 300]), at(b"long target")).expect("symlink");
    mknodat(CWD, at(b"fifo"), FileType::Fifo, Mode::from_raw_mode(0o600), Dev::default()).expect("mkfifo");
    let sparse = fs::File::create(at(b"sparse")).expect("create");
    for piece in 0..40 {
        rustix::io::pwrite(&sparse, &[b's'; 4096], piece * 65536).expect("pwrite");
    }
    sparse.set_len(40 * 65536 + 100).expect("truncate");
}

/// GNU tar unpacks it; we unpack it; the trees are the same.
#[test]
fn honest_archives_come_out_as_gnu_tar_unpacks_them() {
    let forms: [&[&str]; 9] = [
        &["--format=gnu"],
        &["--format=gnu", "--sparse"],
        &["--format=posix"],
        &["--format=posix", "--sparse"],
        &["--format=posix", "--sparse", "--sparse-version=0.1"],
        &["--format=posix", "--sparse", "--sparse-version=0.0"],
        &["--format=posix", "--xattrs", "--xattrs-include=user.*"],
        &["--format=posix", "--gzip"],
        &["--format=gnu", "--zstd"],
    ];
    let scratch = Scratch::new();
    let source = scratch.directory("source");
    benign_tree(&source);
    setxattr(source.join("plain"), c"user.note", b"\0binary\n", XattrFlags::empty()).expect("setxattr");
    for (index, form) in forms.iter().enumerate() {
        let archive = scratch.path(&format!("{index}.tar"));
        let tar = Command::new("tar")
            .args(*form)
            .arg("-cf")
            .arg(&archive)
            .arg("-C")
            .arg(&source)
            .arg(".")
            .output()
            .expect("run tar: this test needs GNU tar");
        assert!(tar.status.success(), "{}", String::from_utf8_lossy(&tar.stderr));
        let (theirs, ours) = (scratch.directory(&format!("theirs{index}")), scratch.directory(&format!("ours{index}")));
        let tar = Command::new("tar")
            .args(["--xattrs", "--xattrs-include=user.*", "-xpf"])
            .arg(&archive)
            .arg("-C")
            .arg(&theirs)
            .output()
            .expect("run tar");
        assert!(tar.status.success(), "{}", String::from_utf8_lossy(&tar.stderr));
        let limits = ArchiveLimits::default();
        let report = import_archive(fs::File::open(&archive).expect("open"), &ours, Owners::Canonical, limits, &mut go_on)
            .unwrap_or_else(|error| panic!("{form:?}: {error}"));
        let (theirs, after) = (snapshot(&theirs), snapshot(&ours));
        for (path, node) in &theirs {
            assert_eq!(after.get(path), Some(node), "{form:?}: {}", String::from_utf8_lossy(path));
        }
        assert_eq!(theirs.len(), after.len(), "{form:?}");
        assert_eq!(report.entry_count, theirs.len() as u64 - 1, "{form:?}");
        if form.contains(&"--sparse") {
            assert!(fs::metadata(ours.join("sparse")).expect("stat").blocks() * 512 < 1 << 20, "{form:?}: holes stay holes");
        }
    }
}

#[test]
fn an_environment_keeps_its_owners_and_has_one_digest_in_every_mode() {
    let scratch = Scratch::new();
    let source = scratch.directory("source");
    fs::create_dir_all(source.join("dev")).expect("mkdir");
    fs::create_dir_all(source.join("etc")).expect("mkdir");
    fs::write(source.join("etc/shadow"), b"root:*").expect("write");
    std::os::unix::fs::chown(source.join("etc/shadow"), Some(0), Some(42)).expect("chown");
    fs::set_permissions(source.join("etc/shadow"), fs::Permissions::from_mode(0o2640)).expect("chmod");
    fs::write(source.join("ping"), b"\x7fELF").expect("write");
    let capability = [1, 0, 0, 2, 0, 32, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0];
    setxattr(source.join("ping"), c"security.capability", &capability, XattrFlags::empty()).expect("set a capability");
    mknodat(CWD, source.join("dev/null"), FileType::CharacterDevice, Mode::from_raw_mode(0o666), rustix::fs::makedev(1, 3))
        .expect("mknod");
    symlink("usr/bin", source.join("bin")).expect("symlink");
    rustix::fs::chownat(
        CWD,
        source.join("bin"),
        Some(rustix::fs::Uid::from_raw(7)),
        Some(rustix::fs::Gid::from_raw(8)),
        rustix::fs::AtFlags::SYMLINK_NOFOLLOW,
    )
    .expect("chown");
    let mut tar = Command::new("tar");
    tar.args(["--format=posix", "--xattrs", "--xattrs-include=*", "--sort=name", "-c", "-C"]).arg(&source).arg(".");
    let archive = tar.stderr(Stdio::inherit()).output().expect("run tar").stdout;

    let unpack = |to: &str, owners: Owners, archive: &[u8]| {
        let destination = scratch.directory(to);
        let report = unpack_environment(archive, &destination, owners, LIMITS, &mut go_on).expect("unpack");
        (report, destination)
    };
    let (report, tree) = unpack("canonical", Owners::Canonical, &archive);
    let shadow = fs::metadata(tree.join("etc/shadow")).expect("stat");
    assert_eq!((shadow.uid(), shadow.gid(), shadow.mode() & 0o7777), (0, 42, 0o2640));
    let bin = fs::symlink_metadata(tree.join("bin")).expect("stat");
    assert_eq!((bin.uid(), bin.gid()), (7, 8));
    assert_eq!(snapshot(&tree)[b"ping".as_slice()].attributes[b"security.capability".as_slice()], capability);
    assert!(!tree.join("dev/null").exists());
    assert_eq!((report.devices_skipped, report.entry_count, report.digest.len()), (1, 5, 64));

    let (single, tree) = unpack("single", Owners::CallerOnly, &archive);
    assert_eq!(fs::metadata(tree.join("etc/shadow")).expect("stat").gid(), rustix::process::getgid().as_raw());
    assert_eq!(single.digest, report.digest);

    fs::set_permissions(source.join("ping"), fs::Permissions::from_mode(0o600)).expect("chmod");
    let mut tar = Command::new("tar");
    tar.args(["--format=posix", "--sort=name", "-c", "-C"]).arg(&source).arg(".");
    let (other, _) = unpack("other", Owners::Canonical, &tar.output().expect("run tar").stdout);
    assert_ne!(other.digest, report.digest);
}

#[test]
fn an_environment_of_ids_that_no_sandbox_has_is_refused() {
    let scratch = Scratch::new();
    let archive = Raw::default().entry(b'0', b"f", b"", b"", |header| header.set_uid(65_536)).end();
    let error = unpack_environment(archive.as_slice(), &scratch.directory("d"), Owners::Canonical, LIMITS, &mut go_on)
        .expect_err("an id too large");
    assert_eq!(
        (error.kind(), error.to_string()),
        (ErrorKind::Refused, "f belongs to an id above 65535, which no sandbox has".to_owned())
    );
}
