//! What is written is read back as the same entries.

use std::ops::Range;

use proptest::collection::vec;
use proptest::prelude::*;

use super::TarWriter;
use crate::tar_reader::{Piece, TarEntry, TarKind, TarReader};

fn bytes(length: Range<usize>) -> impl Strategy<Value = Vec<u8>> {
    vec(any::<u8>().prop_filter("no NUL", |byte| *byte != 0), length)
}

/// Names as they are in a tree: no slash at the end, which only directories have in an archive.
fn name() -> impl Strategy<Value = Vec<u8>> {
    prop_oneof![bytes(1..20), bytes(95..110), bytes(1000..1010)].prop_map(|mut name| {
        name.push(b'n');
        name
    })
}

fn id() -> impl Strategy<Value = u64> {
    prop_oneof![0..70_000_u64, any::<u32>().prop_map(u64::from)]
}

/// Pieces with holes before, between and after them.
fn pieces() -> impl Strategy<Value = (Vec<Piece>, u64)> {
    (vec((0..3_u64, 1..2000_u64), 0..4), 0..3_u64).prop_map(|(parts, rest)| {
        let mut at = 0;
        let mut pieces: Vec<Piece> = Vec::new();
        for (hole, length) in parts {
            at += hole * 5000;
            pieces.push(Piece { offset: at, length });
            at += length;
        }
        (pieces, at + rest * 7000)
    })
}

fn entry() -> impl Strategy<Value = TarEntry> {
    let kind = prop::sample::select(vec![TarKind::File, TarKind::HardLink, TarKind::Symlink, TarKind::Directory, TarKind::Fifo]);
    let times = (prop_oneof![any::<i32>().prop_map(i64::from), any::<i64>().prop_map(|time| time / 4)], 0..1_000_000_000_u32);
    let attributes = prop::collection::btree_map("user\\.[a-z]{1,9}", bytes(0..200), 0..3);
    (name(), kind, name(), 0..0o10000_u32, id(), id(), times, pieces(), attributes).prop_map(
        |(mut name, kind, link, mode, user, group, modified_at, (mut pieces, mut size), attributes)| {
            if kind != TarKind::File {
                (pieces, size) = (vec![Piece { offset: 0, length: 0 }], 0);
            } else if pieces.iter().map(|piece| piece.length).sum::<u64>() == size {
                // Without holes it is one piece, whatever it was made of.
                pieces = vec![Piece { offset: 0, length: size }];
            }
            if kind == TarKind::Directory {
                name.push(b'/');
            }
            let link = if matches!(kind, TarKind::HardLink | TarKind::Symlink) { link } else { Vec::new() };
            let attributes = attributes.into_iter().map(|(name, value)| (name.into_bytes(), value)).collect();
            TarEntry { name, kind, link, mode, user, group, modified_at, size, attributes, pieces }
        },
    )
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn what_is_written_is_read_back(entries in vec(entry(), 0..6)) {
        let mut archive = Vec::new();
        let mut writer = TarWriter::new(&mut archive);
        for entry in &entries {
            writer.begin(entry).expect("begin");
            for piece in &entry.pieces {
                writer.data(&vec![u8::try_from(piece.length % 251).expect("small"); usize::try_from(piece.length).expect("small")])
                    .expect("data");
            }
            writer.end().expect("end");
        }
        writer.finish().expect("finish");
        let mut reader = TarReader::new(&archive[..], 1 << 30);
        for entry in &entries {
            let mut read = reader.next_entry().expect("a good archive").expect("as many");
            reader.content(&read, &mut |_, bytes| {
                assert!(bytes.iter().all(|byte| entry.pieces.iter().any(|piece| u64::from(*byte) == piece.length % 251)));
                Ok(())
            }).expect("content");
            // The end of a file that is a hole is said by a piece without a length.
            if read.pieces.len() > 1 || entry.pieces.is_empty() {
                read.pieces.retain(|piece| piece.length > 0);
            }
            prop_assert_eq!(&read, entry);
        }
        prop_assert!(reader.next_entry().expect("a good archive").is_none());
    }
}

#[test]
fn sizes_that_do_not_fit_their_field_are_said() {
    let size = (9 << 30) + 1;
    let entry = TarEntry { name: b"large".to_vec(), size, pieces: vec![Piece { offset: 0, length: size }], ..TarEntry::default() };
    let mut archive = Vec::new();
    TarWriter::new(&mut archive).begin(&entry).expect("begin");
    let read = TarReader::new(&archive[..], 1 << 40).next_entry().expect("a header").expect("an entry");
    assert_eq!(read, entry);
}
