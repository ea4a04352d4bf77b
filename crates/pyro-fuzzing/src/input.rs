//! How bytes are taken apart: so that a seed can be read and written by hand, and a changed byte changes one thing.

/// Between parts of an input: ASCII's record separator, which no text has.
pub(crate) const BETWEEN: u8 = 0x1e;

/// The parts of an input. There is always one.
pub(crate) fn parts(bytes: &[u8]) -> Vec<&[u8]> {
    bytes.split(|byte| *byte == BETWEEN).collect()
}

/// So many bytes off the front, 0 where there are none.
pub(crate) fn numbers<const COUNT: usize>(bytes: &[u8]) -> ([u8; COUNT], &[u8]) {
    let taken = bytes.len().min(COUNT);
    let mut numbers = [0; COUNT];
    numbers[..taken].copy_from_slice(&bytes[..taken]);
    (numbers, &bytes[taken..])
}

/// Pieces of a text, of sizes that differ: `size` at most, at least 1.
pub(crate) fn pieces(bytes: &[u8], size: u8) -> impl Iterator<Item = &[u8]> {
    let size = usize::from(size).max(1);
    let mut rest = bytes;
    let mut next = size;
    std::iter::from_fn(move || {
        let (piece, behind) = rest.split_at(next.min(rest.len()));
        rest = behind;
        next = if next > 1 { next - 1 } else { size };
        (!piece.is_empty()).then_some(piece)
    })
}
