//! Which of the three forms a patch has, and its text freed of what was wrapped around all of it.
//!
//! The first line that only one form has decides. Fences, heredocs and prose around a patch need no care: no form takes such lines for its own.

use std::borrow::Cow;

use crate::failure::Why;
use crate::limits::PATCH_BYTES_MAX;
use crate::view::{MARK, trim_end, trim_start};

/// The forms.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Form {
    Unified,
    V4a,
    Blocks,
}

/// The text of a patch with one newline at the end and its lines where they should begin, and its form.
pub(crate) fn detect(patch: &[u8]) -> Result<(Form, Cow<'_, [u8]>), Why> {
    if patch.len() > PATCH_BYTES_MAX {
        return Err(Why::TooLarge {
            reason: format!("the patch has more than {} MiB", PATCH_BYTES_MAX >> 20),
            next: "send it in parts".to_owned(),
        });
    }
    let mut text = Cow::Borrowed(patch.strip_prefix(MARK).unwrap_or(patch));
    if !text.ends_with(b"\n") {
        text.to_mut().push(b'\n');
    }
    // All lines end in CRLF: the patch was converted as a whole. With some LF it was not, and CRs are of the files it is for.
    if text.split_inclusive(|byte| *byte == b'\n').all(|line| line.ends_with(b"\r\n") || line == b"\n") && text.contains(&b'\r') {
        let lines = text.split_inclusive(|byte| *byte == b'\n');
        text = Cow::Owned(lines.flat_map(|line| [line.strip_suffix(b"\r\n").unwrap_or(b""), b"\n"]).collect::<Vec<_>>().concat());
    }
    let Some((form, indentation)) = text.split_inclusive(|byte| *byte == b'\n').find_map(of_line) else {
        return Err(Why::BadSyntax {
            patch_line: 0,
            text: String::new(),
            problem: "it is none of the known forms".to_owned(),
            next: "send a unified diff (`--- a/PATH`, `+++ b/PATH`, `@@ -1,3 +1,4 @@`), or `*** Begin Patch` with `*** Update File: PATH`, or PATH and a \
                   `<<<<<<< SEARCH` block, or use edits with old and new text"
                .to_owned(),
        });
    };
    if indentation > 0 {
        // The whole patch stands in something that is indented.
        let bare = |line: &[u8]| {
            let blanks = crate::view::indentation(line).len().min(indentation);
            line[blanks..].to_vec()
        };
        text = Cow::Owned(text.split_inclusive(|byte| *byte == b'\n').flat_map(bare).collect());
    }
    Ok((form, text))
}

/// The form that has a line like this one, and how far that is indented.
fn of_line(line: &[u8]) -> Option<(Form, usize)> {
    let bare = trim_end(trim_start(line));
    let form = if [b"*** Begin Patch".as_slice(), b"*** Update File:", b"*** Add File:", b"*** Delete File:"]
        .iter()
        .any(|start| bare.starts_with(start))
    {
        Form::V4a
    } else if crate::patch::blocks::is_search(bare) {
        Form::Blocks
    } else if bare.starts_with(b"diff --git ")
        || bare.starts_with(b"--- ") && bare.len() > 4
        || bare.starts_with(b"@@ ")
        || bare == b"@@"
    {
        Form::Unified
    } else {
        return None;
    };
    Some((form, crate::view::indentation(line).len()))
}
