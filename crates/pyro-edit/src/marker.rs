//! Lines that stand for lines left out: `...`, `# ...`, `// ... existing code ...`.
//!
//! Models write them in texts to find, as the blocks that they were taught have them, and at times in texts to write, which would destroy what they stand for.
//! Whether a line is one is told from the line alone: three dots, by themselves or in a comment, and no words but those that such lines are made of. The
//! signs and words are those that the tools before this one accept or warn of (aider, Cline, Gemini CLI) and that their reports of lost code quote.

use crate::view::{trim_end, trim_start};

/// How plainly a line says that others are left out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Marker {
    /// Three dots and nothing else. Python has such lines for empty bodies, YAML for ends.
    Dots,
    /// Dots in a comment, perhaps with words that could mean anything.
    Comment,
    /// It says that there is more: `existing`, `rest`, `unchanged`.
    Words,
}

/// A longer line has something of its own to say. The longest that was seen has some 60 bytes.
const LINE_BYTES_MAX: usize = 120;

/// Signs that a comment begins and ends with. One for the rest of a line ends with nothing.
const COMMENTS: [(&str, &str); 11] = [
    ("{/*", "*/}"),
    ("/*", "*/"),
    ("<!--", "-->"),
    ("(*", "*)"),
    ("{#", "#}"),
    ("<%#", "%>"),
    ("//", ""),
    ("#", ""),
    ("--", ""),
    (";", ""),
    ("%", ""),
];

/// Words of which one is enough.
const TELLING: [&str; 14] = [
    "elided",
    "existing",
    "omitted",
    "original",
    "other",
    "others",
    "previous",
    "remain",
    "remainder",
    "remaining",
    "remains",
    "rest",
    "unchanged",
    "unmodified",
];

/// Words that may stand beside them.
const USUAL: [&str; 71] = [
    "a",
    "all",
    "and",
    "are",
    "as",
    "assertions",
    "attributes",
    "before",
    "block",
    "body",
    "case",
    "cases",
    "change",
    "changed",
    "changes",
    "class",
    "classes",
    "code",
    "component",
    "components",
    "config",
    "configuration",
    "constants",
    "content",
    "contents",
    "definitions",
    "entries",
    "exports",
    "fields",
    "file",
    "for",
    "from",
    "function",
    "functions",
    "goes",
    "handlers",
    "here",
    "implementation",
    "imports",
    "in",
    "is",
    "it",
    "items",
    "keep",
    "kept",
    "lines",
    "logic",
    "method",
    "methods",
    "module",
    "more",
    "no",
    "of",
    "options",
    "properties",
    "props",
    "routes",
    "same",
    "section",
    "setup",
    "state",
    "stay",
    "stays",
    "styles",
    "tests",
    "that",
    "the",
    "this",
    "types",
    "variables",
    "your",
];

/// What a line says of lines left out, if it is one that stands for such.
pub(crate) fn marker(line: &[u8]) -> Option<Marker> {
    let line = bare(line);
    if line.len() > LINE_BYTES_MAX {
        return None;
    }
    let line = std::str::from_utf8(line).ok()?.replace('…', "...");
    if line.len() >= 3 && line.bytes().all(|byte| byte == b'.') {
        return Some(Marker::Dots);
    }
    let (inner, is_comment) = uncommented(&line);
    let text = in_brackets(inner).unwrap_or(inner);
    if !(text.starts_with("...") || text.ends_with("...")) {
        return None;
    }
    let text = text.trim_matches(|c: char| c == '.' || c.is_whitespace());
    if !text.chars().all(|c| c.is_alphabetic() || " ,()'/-".contains(c)) {
        return None;
    }
    let text = text.to_lowercase();
    let words: Vec<&str> = text.split(|c: char| !c.is_alphabetic()).filter(|word| !word.is_empty()).collect();
    if !words.iter().all(|word| TELLING.contains(word) || USUAL.contains(word)) {
        return None;
    }
    let is_telling = words.iter().any(|word| TELLING.contains(word));
    match (is_telling, is_comment) {
        // `...rest` by itself is JavaScript.
        (true, false) if words.len() < 2 => None,
        (true, _) => Some(Marker::Words),
        (false, true) => Some(Marker::Comment),
        (false, false) => None,
    }
}

/// A line without blanks around it.
pub(crate) fn bare(line: &[u8]) -> &[u8] {
    trim_end(trim_start(line))
}

/// What is in a comment that is the whole line, and whether it is one.
fn uncommented(line: &str) -> (&str, bool) {
    for (begin, end) in COMMENTS {
        let Some(inner) = line.strip_prefix(begin).and_then(|rest| rest.strip_suffix(end)) else { continue };
        // `///`, `##` and `;;;` are comments as well.
        let inner = if end.is_empty() { inner.trim_start_matches([begin.chars().next_back().unwrap_or(' '), '!']) } else { inner };
        return (inner.trim(), true);
    }
    (line, false)
}

fn in_brackets(text: &str) -> Option<&str> {
    let round = text.strip_prefix('(').and_then(|rest| rest.strip_suffix(')'));
    round.or_else(|| text.strip_prefix('[').and_then(|rest| rest.strip_suffix(']'))).map(str::trim)
}

#[cfg(test)]
mod tests {
    use super::{Marker, marker};

    #[test]
    fn lines_that_stand_for_others_are_told_from_those_that_do_not() {
        let all = |lines: &[&str], want: Option<Marker>| {
            for line in lines {
                assert_eq!(marker(line.as_bytes()), want, "{line:?}");
            }
        };
        all(&["...", "    ...\n", "\t…\r\n", "....."], Some(Marker::Dots));
        all(
            &[
                "# ...",
                "// ...",
                "/* ... */",
                "<!-- ... -->",
                "{/* ... */}",
                "-- …",
                ";; ...",
                "# ... imports ...",
                "// same as before ...",
            ],
            Some(Marker::Comment),
        );
        all(
            &[
                "# ... existing code ...",
                "    // ... existing code ...\n",
                "// ...existing code...",
                "/* … rest of the file … */",
                "<!-- ... rest of file unchanged ... -->",
                "{/* ... existing JSX ... */}".replace("JSX", "component").as_str(),
                "// (...rest of implementation)",
                "(rest of methods ...)",
                "# [... other methods remain the same ...]",
                "... existing code ...",
                "// ... (rest of the file remains unchanged)",
            ],
            Some(Marker::Words),
        );
        all(
            &[
                "",
                "..",
                ". . .",
                "...args",
                "...rest",
                "...rest,",
                "    ...other,",
                "    ...existing",
                "[...]",
                "(...)",
                "[...previous, next]",
                "def f(): ...",
                "# existing code",
                "# the rest of the code is unchanged",
                "# loading data ...",
                "// wait for the rest ... of 3 items",
                "print('...')",
                "* ...",
                "- ...",
                "// ... x = 1 ...",
                "case ...:",
            ],
            None,
        );
        assert_eq!(marker(b"# ... \xff ..."), None);
        assert_eq!(marker(format!("# {} ...", "existing ".repeat(50)).as_bytes()), None);
    }
}
