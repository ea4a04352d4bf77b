//! Trees as they are told from inside, held in memory: whatever a state of a workspace has to bring back is in a [`Node`].

use std::collections::BTreeMap;
use std::fmt::Write as _;

/// One file, directory, link or FIFO.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Node {
    /// `f`, `d`, `l`, `p`; `o` for what nobody makes here.
    pub kind: u8,
    pub mode: u32,
    pub owner: (u32, u32),
    /// `None`: it does not count (of `/`, whose time is no change), or cannot be told beforehand.
    pub modified_at: Option<(i64, i64)>,
    pub size: u64,
    /// What is in it: blocks that are not all zero, or where a link points. `None`: it cannot be told beforehand.
    pub content: Option<String>,
    pub attributes: String,
    /// Nodes with the same are the same file: the first of its names.
    pub same_as: Vec<u8>,
}

/// By path, from `/` on.
pub type Tree = BTreeMap<Vec<u8>, Node>;

/// Most differences that are told of one comparison.
const TOLD_MAX: usize = 12;

/// Most of a content that is told.
const CONTENT_TOLD_MAX: usize = 120;

/// What a command told.
pub struct Told {
    pub tree: Tree,
    /// Process id inside of what it left running.
    pub pid: Option<u32>,
}

/// Reads what `inside.pl` prints.
pub fn read(output: &[u8]) -> Told {
    let text = std::str::from_utf8(output).expect("it prints ASCII");
    let (mut tree, mut pid) = (Tree::new(), None);
    let mut is_whole = false;
    for line in text.lines() {
        let words: Vec<&str> = line.split(' ').collect();
        match words[..] {
            ["node", path, kind, mode, uid, gid, seconds, nanoseconds, inode, size, content, attributes] => {
                let number = |word: &str| word.parse::<i64>().unwrap_or_else(|_| panic!("{word:?} in {line:?}"));
                let id = |word| u32::try_from(number(word)).expect("ids have 32 bits");
                let path = bytes(path);
                let modified_at = (path != b"/").then(|| (number(seconds), number(nanoseconds)));
                let node = Node {
                    kind: kind.as_bytes()[0],
                    mode: id(mode),
                    owner: (id(uid), id(gid)),
                    modified_at,
                    size: u64::try_from(number(size)).expect("a size"),
                    content: Some(content.to_owned()),
                    attributes: attributes.to_owned(),
                    same_as: inode.as_bytes().to_vec(),
                };
                tree.insert(path, node);
            }
            ["pid", number] => pid = number.parse().ok(),
            ["end"] => is_whole = true,
            _ => panic!("a line that was not expected: {line:?}"),
        }
    }
    assert!(is_whole, "the listing breaks off: {text}");
    name_links(&mut tree);
    Told { tree, pid }
}

/// Says by the first of its names which file is which.
pub fn name_links(tree: &mut Tree) {
    let mut first: BTreeMap<Vec<u8>, Vec<u8>> = BTreeMap::new();
    for (path, node) in tree {
        let first = first.entry(std::mem::take(&mut node.same_as)).or_insert_with(|| path.clone());
        node.same_as.clone_from(first);
    }
}

/// Whether something is a path or below it.
pub fn is_at_or_below(path: &[u8], above: &[u8]) -> bool {
    path.strip_prefix(above).is_some_and(|rest| rest.is_empty() || rest[0] == b'/')
}

/// In what two trees differ, in words; nothing when they are the same. What the first leaves open is not compared.
pub fn differences(expected: &Tree, found: &Tree) -> String {
    let mut told = Vec::new();
    let paths: std::collections::BTreeSet<&Vec<u8>> = expected.keys().chain(found.keys()).collect();
    for path in paths {
        match (expected.get(path), found.get(path)) {
            (Some(expected), Some(found)) => {
                let mut what = String::new();
                let mut say = |name: &str, expected: &str, found: &str| {
                    if expected != found {
                        let cut = |text: &str| text.chars().take(CONTENT_TOLD_MAX).collect::<String>();
                        let _ = write!(what, " {name} {} and not {}", cut(found), cut(expected));
                    }
                };
                say("is", &(expected.kind as char).to_string(), &(found.kind as char).to_string());
                say("mode", &format!("{:o}", expected.mode), &format!("{:o}", found.mode));
                say("owner", &format!("{:?}", expected.owner), &format!("{:?}", found.owner));
                if let (Some(expected), Some(found)) = (&expected.modified_at, &found.modified_at) {
                    say("time", &format!("{expected:?}"), &format!("{found:?}"));
                }
                if let (Some(content), Some(found_content)) = (&expected.content, &found.content) {
                    say("size", &expected.size.to_string(), &found.size.to_string());
                    say("content", content, found_content);
                }
                say("attributes", &expected.attributes, &found.attributes);
                say("is the same file as", &shown(&expected.same_as), &shown(&found.same_as));
                if !what.is_empty() {
                    told.push(format!("{}{what}", shown(path)));
                }
            }
            (Some(_), None) => told.push(format!("{} is missing", shown(path))),
            (None, Some(node)) => told.push(format!("{} ({}) should not be there", shown(path), node.kind as char)),
            (None, None) => {}
        }
    }
    let more = told.len().saturating_sub(TOLD_MAX);
    told.truncate(TOLD_MAX);
    if more > 0 {
        told.push(format!("and {more} more"));
    }
    told.join("\n  ")
}

/// A path for people; long names cut.
pub fn shown(path: &[u8]) -> String {
    let text = path.escape_ascii().to_string();
    match text.find(&"x".repeat(200)) {
        Some(at) => format!("{}x…{}", &text[..at], text[at..].trim_start_matches('x')),
        None => text,
    }
}

/// Hexadecimal to bytes.
pub fn bytes(hex: &str) -> Vec<u8> {
    let digit = |byte: u8| char::from(byte).to_digit(16).expect("a hexadecimal digit");
    hex.as_bytes().chunks(2).map(|pair| u8::try_from(digit(pair[0]) * 16 + digit(pair[1])).expect("two digits")).collect()
}

/// Bytes in hexadecimal.
pub fn hex(bytes: &[u8]) -> String {
    let mut text = String::with_capacity(bytes.len() * 2);
    for byte in bytes {
        let _ = write!(text, "{byte:02x}");
    }
    text
}

/// Bytes of a block of [`content_of`].
const BLOCK_BYTES: usize = 4096;

/// Content of a file as `inside.pl` tells it.
pub fn content_of(file: &[u8]) -> String {
    let blocks = file.chunks(BLOCK_BYTES).enumerate().filter(|(_, block)| block.iter().any(|byte| *byte != 0));
    let told: Vec<String> = blocks.map(|(index, block)| format!("{index}:{}", hex(block))).collect();
    if told.is_empty() { "-".to_owned() } else { told.join(",") }
}

/// The text of a file, if it is one (no NUL, UTF-8) and not large.
pub fn text_of(node: &Node) -> Option<String> {
    /// More than any text that is made here.
    const TEXT_BYTES_MAX: u64 = 1 << 16;
    if node.kind != b'f' || node.size > TEXT_BYTES_MAX {
        return None;
    }
    let mut all = vec![0; usize::try_from(node.size).expect("a small size")];
    for block in node.content.as_deref()?.split(',').filter(|block| *block != "-") {
        let (index, content) = block.split_once(':').expect("INDEX:HEX");
        let (at, content) = (index.parse::<usize>().expect("a number") * BLOCK_BYTES, bytes(content));
        all[at..at + content.len()].copy_from_slice(&content);
    }
    String::from_utf8(all).ok().filter(|text| !text.contains('\0'))
}
