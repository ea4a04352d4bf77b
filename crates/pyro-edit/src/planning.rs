//! A request carried out on the files in memory: every part is tried, so that a failure can say which others would have worked.

mod patches;

use crate::Planned;
use crate::edit::{self, Edited};
use crate::failure::{Failed, Failure, Part, Why};
use crate::files::{File, Files, Mode};
use crate::limits::{EDITS_MAX, FILES_MAX, PATCH_BYTES_MAX};
use crate::patch::detect::{Form, detect};
use crate::patch::{blocks, unified, v4a};
use crate::path::RelPath;
use crate::report::{self, Notes};
use crate::request::{Edit, FileEdits, Options, Request};
use crate::tree::{Tree, check_no_link};

/// Makes a plan of a request. Nothing is done; `files` is only read.
///
/// # Errors
/// When any part of the request does not work: then nothing of it is planned.
pub fn plan(request: &Request, options: &Options, files: &mut dyn Files) -> Result<Planned, Failure> {
    let mut tree = Tree::new(files, options);
    let mut parts = Parts::default();
    match request {
        Request::Edits(files) => edits(&mut tree, files, Part::Edit, &mut parts)?,
        Request::Patch(patch) => {
            let whole = |why: Why| Failure::whole(Part::Hunk, None, why);
            let (form, text) = detect(patch).map_err(whole)?;
            match form {
                Form::Blocks => edits(&mut tree, &blocks::parse(&text).map_err(whole)?, Part::Block, &mut parts)?,
                Form::Unified => patches::apply(&mut tree, &unified::parse(&text).map_err(whole)?, &mut parts),
                Form::V4a => patches::apply(&mut tree, &v4a::parse(&text).map_err(whole)?, &mut parts),
            }
        }
    }
    let part = parts.part;
    let notes = parts.finish()?;
    let plan = tree.plan().map_err(|(path, why)| Failure::whole(part, Some(path), why))?;
    let report = report::make(&tree, notes);
    Ok(Planned { plan, report })
}

/// How the parts of a request have fared so far.
#[derive(Default)]
struct Parts {
    part: Part,
    count: usize,
    matching: Vec<usize>,
    failed: Vec<Failed>,
    notes: Notes,
}

impl Parts {
    fn matched(&mut self, path: &RelPath, note: Option<String>) {
        self.count += 1;
        self.matching.push(self.count);
        if let Some(note) = note {
            let note = format!("{} {}: {note}", self.part.word(), self.count);
            self.notes.entry(path.clone()).or_default().push(note);
        }
    }

    fn failed(&mut self, path: Option<&RelPath>, why: Why) {
        self.count += 1;
        self.failed.push(Failed { number: self.count, path: path.cloned(), why });
    }

    fn finish(self) -> Result<Notes, Failure> {
        if self.failed.is_empty() {
            return Ok(self.notes);
        }
        Err(Failure { part: self.part, count: self.count, failed: self.failed, matching: self.matching })
    }
}

fn edits(tree: &mut Tree<'_>, files: &[FileEdits], part: Part, parts: &mut Parts) -> Result<(), Failure> {
    parts.part = part;
    let whole = |reason: String| Failure::whole(part, None, Why::TooLarge { reason, next: "send fewer at once".to_owned() });
    let count: usize = files.iter().map(|file| file.edits.len()).sum();
    if count > EDITS_MAX || files.len() > FILES_MAX {
        return Err(whole(format!("the request has more than {EDITS_MAX} edits or {FILES_MAX} files")));
    }
    let bytes: usize = files.iter().flat_map(|file| &file.edits).map(|edit| edit.old.len() + edit.new.len()).sum();
    if bytes > PATCH_BYTES_MAX {
        return Err(whole(format!("the request has more than {} MiB of text", PATCH_BYTES_MAX >> 20)));
    }
    if count == 0 {
        let (reason, next) = ("the request has no edits".to_owned(), "send old and new text".to_owned());
        return Err(Failure::whole(part, None, Why::Refused { reason, next }));
    }
    for FileEdits { path: written, edits } in files {
        let named = tree.path(written).and_then(|path| {
            let existing = tree.first_that_exists(std::slice::from_ref(&path))?;
            Ok(existing.unwrap_or(path))
        });
        let path = match named {
            Ok(path) => path,
            Err(why) => {
                for _ in edits {
                    parts.failed(None, why.clone());
                }
                continue;
            }
        };
        for edit in edits {
            match one(tree, &path, edit) {
                Ok(note) => parts.matched(&path, note),
                Err(why) => parts.failed(Some(&path), why),
            }
        }
    }
    Ok(())
}

fn one(tree: &mut Tree<'_>, path: &RelPath, edit: &Edit) -> Result<Option<String>, Why> {
    let Some(file) = tree.now(path)?.cloned() else {
        if !edit.old.is_empty() {
            return Err(tree.missing(path));
        }
        tree.set(path, File { content: edit.new.clone(), mode: Mode::Regular })?;
        return Ok(None);
    };
    check_no_link(path, &file)?;
    if edit.old.is_empty() {
        return fill(tree, path, file, edit);
    }
    if edit.old == edit.new {
        return Err(Why::Refused {
            reason: "old and new text are the same".to_owned(),
            next: "send the new text as it should become".to_owned(),
        });
    }
    let edited = edit::apply(&file.content, edit, &mut tree.budget).or_else(|why| {
        // Line numbers in a failure are those of the file as it is, not as the edits before would have left it.
        match tree.before(path)?.filter(|before| before.content != file.content) {
            Some(before) => match edit::apply(&before.content, edit, &mut tree.budget) {
                Err(of_file) if std::mem::discriminant(&of_file) == std::mem::discriminant(&why) => Err(of_file),
                Ok(_) | Err(_) => Err(why),
            },
            None => Err(why),
        }
    });
    match edited? {
        Edited::Changed { content, note } => {
            tree.set(path, File { content, mode: file.mode })?;
            Ok(note)
        }
        Edited::AlreadyApplied { line } => Ok(Some(format!("already applied (line {line}), nothing changed"))),
    }
}

/// An edit without old text: it makes a file, or fills an empty one.
fn fill(tree: &mut Tree<'_>, path: &RelPath, file: File, edit: &Edit) -> Result<Option<String>, Why> {
    if file.content == edit.new {
        return Ok(Some("already applied, nothing changed".to_owned()));
    }
    if !edit::is_blank(&file.content) {
        let count = memchr::memchr_iter(b'\n', &file.content).count();
        return Err(Why::Conflict {
            reason: format!("`{path}` exists already, with {} lines", count + usize::from(!file.content.ends_with(b"\n"))),
            next: "send as old the text to replace (to add a line, a line beside it, and in new both), or delete the file first to write it anew".to_owned(),
        });
    }
    tree.set(path, File { content: edit.new.clone(), mode: file.mode })?;
    Ok(None)
}
