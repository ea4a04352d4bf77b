//! The parts of a patch, file by file.
//!
//! As with git, renames and copies are of files as they were before the patch; everything else sees what the patch did before.

use crate::failure::{Part, Why};
use crate::files::{File, Mode};
use crate::hunk::Hunk;
use crate::hunk::choose::{Outcome, place};
use crate::hunk::put::put;
use crate::index::{Budget, Index};
use crate::patch::name::without_side;
use crate::patch::{Binary, Body, FilePatch, What, base85};
use crate::path::RelPath;
use crate::planning::Parts;
use crate::tree::{Tree, check_no_link};
use crate::view::Lines;

pub(super) fn apply(tree: &mut Tree<'_>, files: &[FilePatch<'_>], parts: &mut Parts) {
    parts.part = Part::Hunk;
    for file in files.iter().filter(|file| matches!(file.what, What::Delete | What::Rename)) {
        if let Some(path) =
            file.old.as_ref().and_then(|name| paths(tree, file, name).ok()).and_then(|paths| paths.into_iter().next())
        {
            tree.leaving.insert(path);
        }
    }
    for file in files {
        let hunk_count = match &file.body {
            Body::Hunks(hunks) => hunks.len(),
            Body::Binary { .. } => 0,
        };
        let count = hunk_count.max(1);
        match one(tree, file) {
            Ok((path, results)) => {
                for at in 0..count {
                    match results.get(at) {
                        Some(Ok(note)) => parts.matched(&path, note.clone()),
                        Some(Err(why)) => parts.failed(Some(&path), why.clone()),
                        None => parts.matched(&path, None),
                    }
                }
            }
            Err((path, why)) => {
                for _ in 0..count {
                    parts.failed(path.as_ref(), why.clone());
                }
            }
        }
    }
}

/// What each hunk came to, or a note for the file; an error is of the file as a whole.
type Results = Vec<Result<Option<String>, Why>>;
type Fallible<T> = Result<T, (Option<RelPath>, Why)>;

/// The paths that a name may mean, best first.
fn paths(tree: &Tree<'_>, file: &FilePatch<'_>, name: &[u8]) -> Result<Vec<RelPath>, Why> {
    let mut paths = Vec::new();
    if file.has_sides
        && let Some(bare) = without_side(name)
    {
        paths.push(tree.path(bare)?);
    }
    match tree.path(name) {
        Ok(path) => paths.push(path),
        Err(why) if paths.is_empty() => return Err(why),
        Err(_) => {}
    }
    // `one/src/a.c` against `two/src/a.c`: directories were compared.
    if let (Some(old), Some(new), false) = (&file.old, &file.new, matches!(file.what, What::Rename | What::Copy)) {
        let behind = |name: &[u8]| name.iter().position(|byte| *byte == b'/').map(|slash| name[slash + 1..].to_vec());
        if old != new && behind(old) == behind(new) {
            paths.extend(behind(old).and_then(|rest| tree.path(&rest).ok()));
        }
    }
    paths.dedup();
    Ok(paths)
}

fn one(tree: &mut Tree<'_>, file: &FilePatch<'_>) -> Fallible<(RelPath, Results)> {
    let whole = |why: Why| (None, why);
    let old = file.old.as_deref().map(|name| paths(tree, file, name)).transpose().map_err(whole)?;
    let new = file.new.as_deref().map(|name| paths(tree, file, name)).transpose().map_err(whole)?;
    // Of two names of one file, `x.orig` and `x`, the new one counts.
    let candidates: Vec<RelPath> = match file.what {
        What::Modify => new.iter().chain(&old).flatten().cloned().collect(),
        What::Create => return create(tree, file, new.into_iter().flatten().next()),
        What::Delete | What::Rename | What::Copy => old.into_iter().flatten().collect(),
    };
    let Some(first) = candidates.first().cloned() else {
        return Err(whole(Why::Refused { reason: "no file is named".to_owned(), next: "name the file".to_owned() }));
    };
    let from_before = matches!(file.what, What::Rename | What::Copy);
    let existing = if from_before {
        let mut found = None;
        for path in &candidates {
            if found.is_none() && tree.before(path).map_err(whole)?.is_some() {
                found = Some(path.clone());
            }
        }
        found.map_or_else(|| tree.first_that_exists(&candidates), |path| Ok(Some(path)))
    } else {
        tree.first_that_exists(&candidates)
    };
    let target = new.into_iter().flatten().next();
    let Some(path) = existing.map_err(whole)? else {
        return missing(tree, file, first, target);
    };
    match file.what {
        What::Modify => modify(tree, file, &path).map(|results| (path.clone(), results)),
        What::Delete => delete(tree, file, &path).map(|results| (path.clone(), results)),
        What::Rename | What::Copy => rename(tree, file, &path, target),
        What::Create => create(tree, file, Some(path)),
    }
}

fn hunks<'a, 'p>(file: &'a FilePatch<'p>) -> &'a [Hunk<'p>] {
    match &file.body {
        Body::Hunks(hunks) => hunks,
        Body::Binary { .. } => &[],
    }
}

/// The file of a patch is not there: it may be new without saying so, or moved already.
fn missing(tree: &mut Tree<'_>, file: &FilePatch<'_>, path: RelPath, target: Option<RelPath>) -> Fallible<(RelPath, Results)> {
    let of = |why: Why| (Some(path.clone()), why);
    if let (What::Modify, [hunk]) = (file.what, hunks(file))
        && hunk.before().is_empty()
        && hunk.number == Some(0)
    {
        return create(tree, file, Some(path));
    }
    if let (What::Rename, Some(target)) = (file.what, target)
        && let Some(there) = tree.before(&target).map_err(of)?
    {
        let (_, results) = content(&there.content, file, &mut tree.budget).map_err(of)?;
        if results.iter().all(|result| matches!(result, Ok(Some(note)) if note.starts_with(DONE))) {
            return Ok((target, vec![Ok(Some(format!("{DONE}: it has its new name, nothing changed")))]));
        }
    }
    let why = tree.missing(&path);
    Err((Some(path), why))
}

const DONE: &str = "already applied";

fn create(tree: &mut Tree<'_>, file: &FilePatch<'_>, path: Option<RelPath>) -> Fallible<(RelPath, Results)> {
    let Some(path) = path else {
        return Err((None, Why::Refused { reason: "no file is named".to_owned(), next: "name the file".to_owned() }));
    };
    let of = |why: Why| (Some(path.clone()), why);
    if let Some(hunk) = hunks(file).iter().find(|hunk| !hunk.before().is_empty()) {
        let number = hunks(file).iter().position(|other| other == hunk).unwrap_or(0);
        return Err(of(Why::Conflict {
            reason: format!("is to be created, but its hunk {} has lines that are there already", number + 1),
            next: "mark every line of a new file with +, or name the file after --- if it exists".to_owned(),
        }));
    }
    let (made, results) = content(b"", file, &mut tree.budget).map_err(of)?;
    let made = File { content: made, mode: file.new_mode.unwrap_or(Mode::Regular) };
    let is_leaving = tree.leaving.contains(&path);
    match tree.now(&path).map_err(of)? {
        Some(there) if *there == made => return Ok((path, vec![Ok(Some(format!("{DONE}, nothing changed")))])),
        Some(_) if !is_leaving => {
            return Err(of(Why::Conflict {
                reason: "is to be created, but exists already".to_owned(),
                next: "change it with hunks that have lines of it, or delete it in the same patch first".to_owned(),
            }));
        }
        Some(_) | None => tree.replace(&path, made).map_err(of)?,
    }
    Ok((path, results))
}

fn modify(tree: &mut Tree<'_>, file: &FilePatch<'_>, path: &RelPath) -> Fallible<Results> {
    let of = |why: Why| (Some(path.clone()), why);
    let Some(there) = tree.now(path).map_err(of)?.cloned() else {
        return Err(of(tree.missing(path)));
    };
    if file.new_mode != Some(Mode::Symlink) {
        check_no_link(path, &there).map_err(of)?;
    } else if there.mode != Mode::Symlink {
        return Err(of(Why::Conflict {
            reason: "is no symbolic link".to_owned(),
            next: "delete it and create the link in the same patch".to_owned(),
        }));
    }
    let (content, mut results) = content(&there.content, file, &mut tree.budget).map_err(of)?;
    let mode = file.new_mode.unwrap_or(there.mode);
    if results.is_empty() && content == there.content && mode == there.mode {
        results.push(Ok(Some(format!("{DONE}, nothing changed"))));
    }
    tree.set(path, File { content, mode }).map_err(of)?;
    Ok(results)
}

fn delete(tree: &mut Tree<'_>, file: &FilePatch<'_>, path: &RelPath) -> Fallible<Results> {
    let of = |why: Why| (Some(path.clone()), why);
    let Some(there) = tree.now(path).map_err(of)?.cloned() else {
        return Err(of(tree.missing(path)));
    };
    let says_content = !hunks(file).is_empty() || matches!(file.body, Body::Binary { .. });
    if says_content {
        let (left, results) = content(&there.content, file, &mut tree.budget).map_err(of)?;
        if results.iter().any(Result::is_err) {
            return Ok(results);
        }
        if !crate::edit::is_blank(&left) {
            let count = memchr::memchr_iter(b'\n', &left).count().max(1);
            return Err(of(Why::Conflict {
                reason: format!("is to be deleted, but has {count} lines that the patch does not delete"),
                next: "delete all of its lines, or use `*** Delete File:`, which needs none".to_owned(),
            }));
        }
    }
    tree.remove(path).map_err(of)?;
    Ok(Vec::new())
}

fn rename(tree: &mut Tree<'_>, file: &FilePatch<'_>, from: &RelPath, to: Option<RelPath>) -> Fallible<(RelPath, Results)> {
    let of = |why: Why| (Some(from.clone()), why);
    let to = to.ok_or_else(|| of(Why::Refused { reason: "has no new name".to_owned(), next: "name both".to_owned() }))?;
    if *from == to {
        return modify(tree, file, from).map(|results| (to, results));
    }
    let there = match tree.before(from).map_err(of)? {
        Some(there) => there,
        None => return Err(of(tree.missing(from))),
    };
    if tree.exists(&to).map_err(of)? && !tree.leaving.contains(&to) {
        return Err(of(Why::Conflict {
            reason: format!("cannot become `{to}`, which exists already"),
            next: "choose another name, or delete that file in the same patch".to_owned(),
        }));
    }
    let (content, results) = content(&there.content, file, &mut tree.budget).map_err(of)?;
    tree.replace(&to, File { content, mode: file.new_mode.unwrap_or(there.mode) }).map_err(of)?;
    if file.what == What::Rename {
        tree.remove(from).map_err(of)?;
        tree.moves.push((from.clone(), to.clone()));
    }
    Ok((to, results))
}

/// The new content, and what each hunk came to. With a hunk that failed the content means nothing.
fn content(old: &[u8], file: &FilePatch<'_>, budget: &mut Budget) -> Result<(Vec<u8>, Results), Why> {
    match &file.body {
        Body::Hunks(hunks) if hunks.is_empty() => Ok((old.to_vec(), Vec::new())),
        Body::Hunks(hunks) => {
            let too_many = || Why::TooLarge {
                reason: "the file has too many lines".to_owned(),
                next: "change it with a command instead".to_owned(),
            };
            budget.spend(old.len())?;
            let lines = Lines::new(old).ok_or_else(too_many)?;
            let mut index = Index::new(lines);
            let outcomes = place(&mut index, hunks, budget)?;
            let mut placed = Vec::new();
            let mut results = Vec::new();
            for outcome in &outcomes {
                results.push(match outcome {
                    Ok(Outcome::Placed(hunk)) => {
                        placed.push(hunk);
                        Ok((!hunk.notes.is_empty()).then(|| hunk.notes.join("; ")))
                    }
                    Ok(Outcome::Done(line)) => Ok(Some(format!("{DONE} (line {}), nothing changed", line + 1))),
                    Err(why) => Err(why.clone()),
                });
            }
            Ok((put(&index.lines, placed)?, results))
        }
        Body::Binary { forward, backward } => {
            binary(old, forward, backward.as_ref()).map(|(content, note)| (content, vec![Ok(note)]))
        }
    }
}

/// The way back must lead to what is there: content that cannot be shown is never replaced on trust.
fn binary(old: &[u8], forward: &Binary, backward: Option<&Binary>) -> Result<(Vec<u8>, Option<String>), Why> {
    let make = |base: &[u8], binary: &Binary| match binary {
        Binary::Literal(content) => Some(content.clone()),
        Binary::Delta(delta) => base85::apply_delta(base, delta),
    };
    let new = make(old, forward);
    let leads_back = |new: &[u8]| backward.is_none_or(|backward| make(new, backward).as_deref() == Some(old));
    match new {
        Some(new) if new == old => Ok((new, Some(format!("{DONE}, nothing changed")))),
        Some(new) if leads_back(&new) => Ok((new, None)),
        Some(_) | None => Err(Why::Conflict {
            reason: "has other content than the binary patch was made for".to_owned(),
            next: "make the diff anew with `git diff --binary` against what is there, or write the file with a command".to_owned(),
        }),
    }
}
