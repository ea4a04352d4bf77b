//! Content that is no text, in the form that `git diff --binary` gives it: compressed, in lines of base 85, once for each direction, and named by the
//! identities that git gives to content, by which it checks both what it is applied to and what comes of it.

use std::fmt::Write as _;
use std::io::Write as _;

use flate2::Compression;
use flate2::write::ZlibEncoder;
use sha1::{Digest, Sha1};

/// Digits of git's base 85, in order.
const DIGITS: &[u8; 85] = b"0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz!#$%&()*+-;<=>?@^_`{|}~";

/// Bytes in one line: git's, whose first letter says how many, up to `z`.
const LINE_BYTES: usize = 52;

/// The lines after a patch's header: identities, then what makes `new` of `old` and the other way round. What is not there is `None`. A mode that is
/// the same before and after is named with the identities.
pub(super) fn literal(old: Option<&[u8]>, new: Option<&[u8]>, mode: Option<&str>) -> String {
    let mut text = format!("index {}..{}", identity(old), identity(new));
    if let Some(mode) = mode {
        let _ = write!(text, " {mode}");
    }
    text.push_str("\nGIT binary patch\n");
    for content in [new, old] {
        push_literal(&mut text, content.unwrap_or_default());
    }
    text
}

/// The name of content as git's object; all zeros where nothing is.
fn identity(content: Option<&[u8]>) -> String {
    let digest: [u8; 20] = match content {
        Some(content) => {
            let header = format!("blob {}\0", content.len());
            Sha1::new().chain_update(header).chain_update(content).finalize().into()
        }
        None => [0; 20],
    };
    digest.iter().fold(String::new(), |mut text, byte| {
        let _ = write!(text, "{byte:02x}");
        text
    })
}

fn push_literal(text: &mut String, content: &[u8]) {
    let _ = writeln!(text, "literal {}", content.len());
    let mut encoder = ZlibEncoder::new(Vec::new(), Compression::default());
    let deflated = encoder.write_all(content).and_then(|()| encoder.finish()).expect("memory can be written to");
    for line in deflated.chunks(LINE_BYTES) {
        let count = u8::try_from(line.len()).expect("a line has at most 52 bytes");
        text.push(char::from(if count <= 26 { b'A' + count - 1 } else { b'a' + count - 27 }));
        for group in line.chunks(4) {
            let mut bytes = [0; 4];
            bytes[..group.len()].copy_from_slice(group);
            let number = u32::from_be_bytes(bytes);
            for power in [85 * 85 * 85 * 85, 85 * 85 * 85, 85 * 85, 85, 1] {
                text.push(char::from(DIGITS[(number / power % 85) as usize]));
            }
        }
        text.push('\n');
    }
    text.push('\n');
}
