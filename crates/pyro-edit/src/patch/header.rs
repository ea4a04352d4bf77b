//! What stands before the hunks of one file in a diff: `diff --git` with its lines, or `---` and `+++` alone.

use crate::failure::Why;
use crate::files::Mode;
use crate::patch::name::{of_git, of_line};
use crate::patch::{Body, FilePatch, PatchLines, What};
use crate::view::without_end;

/// Reads a header at the current line, up to its first hunk or binary part. `Ok(None)` when none begins here.
pub(crate) fn read<'p>(lines: &mut PatchLines<'p>) -> Result<Option<FilePatch<'p>>, Why> {
    let Some(line) = lines.peek() else { return Ok(None) };
    if line.starts_with(b"diff --git ") {
        return git(lines).map(Some);
    }
    if line.starts_with(b"diff --cc ") || line.starts_with(b"diff --combined ") {
        return Err(lines.bad("a combined diff of a merge has no single old file", "send a diff against one version"));
    }
    if !is_plain(lines) {
        return Ok(None);
    }
    let mut file = empty(lines.at + 1);
    sides(lines, &mut file);
    file.what = match (&file.old, &file.new) {
        (None, Some(_)) => What::Create,
        (Some(_), None) => What::Delete,
        (Some(_), Some(_)) | (None, None) => What::Modify,
    };
    file.has_sides = [&file.old, &file.new].into_iter().flatten().all(|name| crate::patch::name::without_side(name).is_some());
    Ok(Some(file))
}

fn empty<'p>(patch_line: usize) -> FilePatch<'p> {
    FilePatch {
        old: None,
        new: None,
        what: What::Modify,
        new_mode: None,
        body: Body::Hunks(Vec::new()),
        has_sides: true,
        patch_line,
    }
}

/// Whether `---` and `+++` stand here, or one of them right before a hunk.
pub(crate) fn is_plain(lines: &PatchLines<'_>) -> bool {
    let starts = |ahead: usize, with: &[u8]| lines.ahead(ahead).is_some_and(|line| line.starts_with(with));
    (starts(0, b"--- ") && (starts(1, b"+++ ") || starts(1, b"@@"))) || (starts(0, b"+++ ") && starts(1, b"@@"))
}

fn sides(lines: &mut PatchLines<'_>, file: &mut FilePatch<'_>) {
    let (mut old, mut new) = (None, None);
    if let Some(name) = lines.peek().and_then(|line| line.strip_prefix(b"--- ")) {
        old = Some(of_line(name));
        lines.at += 1;
    }
    if let Some(name) = lines.peek().and_then(|line| line.strip_prefix(b"+++ ")) {
        new = Some(of_line(name));
        lines.at += 1;
    }
    // Where one of the lines is missing both sides have the name of the other.
    file.old = old.clone().or_else(|| new.clone()).flatten();
    file.new = new.or(old).flatten();
}

fn git<'p>(lines: &mut PatchLines<'p>) -> Result<FilePatch<'p>, Why> {
    let mut file = empty(lines.at + 1);
    let names = lines.peek().and_then(|line| line.strip_prefix(b"diff --git ")).and_then(of_git);
    let start = lines.at;
    lines.at += 1;
    let (mut from, mut to, mut has_names) = (None, None, false);
    while let Some(line) = lines.peek() {
        let line = without_end(line);
        if let Some(mode) = line.strip_prefix(b"new mode ") {
            file.new_mode = Some(mode_of(lines, mode)?);
        } else if let Some(mode) = line.strip_prefix(b"new file mode ") {
            file.new_mode = Some(mode_of(lines, mode)?);
            file.what = What::Create;
        } else if let Some(mode) = line.strip_prefix(b"deleted file mode ") {
            mode_of(lines, mode)?;
            file.what = What::Delete;
        } else if let Some(name) = line.strip_prefix(b"rename from ").or(line.strip_prefix(b"copy from ")) {
            from = of_line(name);
            file.what = if line.starts_with(b"rename") { What::Rename } else { What::Copy };
        } else if let Some(name) = line.strip_prefix(b"rename to ").or(line.strip_prefix(b"copy to ")) {
            to = of_line(name);
        } else if is_plain(lines) {
            sides(lines, &mut file);
            has_names = true;
            break;
        } else if let Some(mode) = line.strip_prefix(b"index ") {
            // A mode here is that of both sides: a symbolic link stays one.
            if let Some(at) = mode.iter().position(|byte| *byte == b' ')
                && mode_of(lines, &mode[at + 1..])? == Mode::Symlink
            {
                file.new_mode = Some(Mode::Symlink);
            }
        } else if !["old mode ", "similarity index ", "dissimilarity index "].iter().any(|start| line.starts_with(start.as_bytes()))
        {
            break;
        }
        lines.at += 1;
    }
    if matches!(file.what, What::Rename | What::Copy) {
        (file.old, file.new, file.has_sides) = (from, to, false);
    } else if !has_names {
        let Some((old, new)) = names else {
            lines.at = start;
            return Err(lines
                .bad("the two names cannot be told apart", "write `diff --git a/PATH b/PATH`, or `--- a/PATH` and `+++ b/PATH`"));
        };
        file.has_sides = crate::patch::name::without_side(&old).is_some() && crate::patch::name::without_side(&new).is_some();
        (file.old, file.new) = (Some(old), Some(new));
    } else {
        file.has_sides = [&file.old, &file.new].into_iter().flatten().all(|name| crate::patch::name::without_side(name).is_some());
        if file.what == What::Modify {
            file.what = match (&file.old, &file.new) {
                (None, Some(_)) => What::Create,
                (Some(_), None) => What::Delete,
                (Some(_), Some(_)) | (None, None) => What::Modify,
            };
        }
    }
    match file.what {
        What::Create => file.old = None,
        What::Delete => file.new = None,
        What::Modify | What::Rename | What::Copy => {}
    }
    if file.old.is_none() && file.new.is_none() {
        lines.at = start;
        return Err(lines.bad("no file is named", "write `diff --git a/PATH b/PATH`, or `--- a/PATH` and `+++ b/PATH`"));
    }
    Ok(file)
}

fn mode_of(lines: &PatchLines<'_>, text: &[u8]) -> Result<Mode, Why> {
    match text {
        // git itself takes any mode of a file; what counts is the owner's executable bit.
        b"120000" => Ok(Mode::Symlink),
        [b'1', b'0', b'0', owner @ b'0'..=b'7', b'0'..=b'7', b'0'..=b'7'] => {
            Ok(if owner & 1 == 1 { Mode::Executable } else { Mode::Regular })
        }
        b"160000" => Err(lines.bad("a submodule cannot be changed by a patch", "change it with git in the workspace")),
        _ => Err(lines.bad("this mode is none of 100644, 100755, 120000", "write `new file mode 100644`")),
    }
}
