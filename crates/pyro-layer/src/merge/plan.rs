//! Deciding what a merge does, from what each side changed: for each path to take, to put together, to leave, or to report a conflict.
//!
//! Nothing is written here. Lists are gone through in the order of the tree ([`super::tree_order`]), so that what is below a path is found by
//! halving, however the paths of a hostile tree look.

use super::join::join;
use super::sources::Sources;
use super::{
    Conflict, ConflictHunk, ConflictKind, Favour, MergeOptions, Merged, Origin, Settled, Step, Taken, Version, What, tree_order,
};
use crate::content;
use crate::diff::{Change, Kind, Side, Status, is_at_or_below};
use crate::error::{Error, Result};
use crate::limits::{
    CONFLICT_TEXT_BYTES_MAX, CONFLICT_TEXTS_BYTES_MAX, CONFLICTS_MAX, MERGED_FILE_BYTES_MAX, MERGED_TEXTS_BYTES_MAX,
};
use crate::lines::Search;
use crate::{Progress, Watch};

pub(super) struct Planned {
    /// In the order of the tree. What is below a path that is not going to be a directory needs no step.
    pub(super) steps: Vec<Step>,
    pub(super) merged: Merged,
}

/// Decides about everything that theirs changed. `to_be_written` says whether texts that were put together are kept.
pub(super) fn plan(
    sources: &Sources,
    mut ours: Vec<Change>,
    mut theirs: Vec<Change>,
    options: &MergeOptions,
    to_be_written: bool,
    watch: Watch<'_>,
) -> Result<Planned> {
    for changes in [&mut ours, &mut theirs] {
        changes.sort_by(|left, right| tree_order(&left.path, &right.path));
    }
    let mut planner = Planner {
        sources,
        options,
        to_be_written,
        steps: Vec::new(),
        merged: Merged::default(),
        search: Search::new(),
        texts_bytes: 0,
        conflict_texts_bytes: 0,
        content: content::Content::new(),
        progress: Progress::default(),
        watch,
    };
    let both = Both { ours, theirs };
    let collisions = both.collisions();
    for collision in &collisions {
        planner.collide(&both, collision)?;
    }
    let survivors = both.survivors(options.favour);
    for change in &both.theirs {
        planner.progress.entry_count += 1;
        planner.report_progress(0)?;
        // Settled with its whole directory, or reported. Where it was only reported, what is below may be a conflict of its own.
        let is_decided = match options.favour {
            Some(_) => at_or_above(&collisions, &change.path).is_some(),
            None => collisions.binary_search_by(|collision| tree_order(collision.path, &change.path)).is_ok(),
        };
        if !is_decided {
            planner.decide(change, both.ours_at(&change.path), &survivors)?;
        }
    }
    planner.steps.sort_by(|left, right| tree_order(&left.path, &right.path));
    let mut merged = planner.merged;
    merged.taken.sort_by(|left, right| left.path.cmp(&right.path));
    merged.merged.sort();
    merged.settled.sort_by(|left, right| left.path.cmp(&right.path));
    merged.conflicts.sort_by(|left, right| left.path.cmp(&right.path));
    Ok(Planned { steps: planner.steps, merged })
}

/// What each side changed, in the order of the tree.
struct Both {
    ours: Vec<Change>,
    theirs: Vec<Change>,
}

/// A path that is a directory with something new in it on one side, and something else on the other.
struct Collision<'a> {
    path: &'a [u8],
    kind: ConflictKind,
    base: Option<Side>,
    ours: (Origin, Side),
    theirs: (Origin, Side),
}

impl Both {
    fn ours_at(&self, path: &[u8]) -> Option<&Change> {
        find(&self.ours, path)
    }

    /// All collisions. None is below another: where one side has something else than a directory, it has nothing below.
    fn collisions(&self) -> Vec<Collision<'_>> {
        let (ours_there, theirs_there) = (there(&self.ours), there(&self.theirs));
        let mut collisions = Vec::new();
        for our in &self.ours {
            let Some(our_side) = our.new else { continue };
            let (kind, theirs) = match (find(&self.theirs, &our.path), our.old) {
                // A directory that theirs has left as it was, but for what is in it.
                (None, Some(old)) if our_side.kind != Kind::Directory && is_any_below(&theirs_there, &our.path) => {
                    (ConflictKind::DirectoryAgainstFile, (Origin::Base, old))
                }
                (Some(Change { new: Some(their_side), .. }), old)
                    if (our_side.kind == Kind::Directory) != (their_side.kind == Kind::Directory) =>
                {
                    let kind = if old.is_none() { ConflictKind::AddedTwice } else { ConflictKind::Type };
                    (kind, (Origin::Theirs, *their_side))
                }
                (_, _) => continue,
            };
            collisions.push(Collision { path: &our.path, kind, base: our.old, ours: (Origin::Ours, our_side), theirs });
        }
        for their in &self.theirs {
            if let (Some(old), Some(their_side), None) = (their.old, their.new, find(&self.ours, &their.path))
                && their_side.kind != Kind::Directory
                && is_any_below(&ours_there, &their.path)
            {
                let (kind, ours, theirs) = (ConflictKind::DirectoryAgainstFile, (Origin::Base, old), (Origin::Theirs, their_side));
                collisions.push(Collision { path: &their.path, kind, base: their.old, ours, theirs });
            }
        }
        collisions.sort_by(|left, right| tree_order(left.path, right.path));
        collisions
    }

    /// What ours has changed and still has when what theirs deleted is gone.
    fn survivors(&self, favour: Option<Favour>) -> Vec<&[u8]> {
        let goes =
            |path: &[u8]| favour == Some(Favour::Theirs) && find(&self.theirs, path).is_some_and(|their| their.new.is_none());
        there(&self.ours).into_iter().filter(|path| !goes(path)).collect()
    }
}

fn find<'a>(changes: &'a [Change], path: &[u8]) -> Option<&'a Change> {
    changes.binary_search_by(|change| tree_order(&change.path, path)).ok().map(|index| &changes[index])
}

/// The paths of what is there after a change.
fn there(changes: &[Change]) -> Vec<&[u8]> {
    changes.iter().filter(|change| change.new.is_some()).map(|change| change.path.as_slice()).collect()
}

/// Whether one of `paths`, which are in the order of the tree, is below a path.
fn is_any_below(paths: &[&[u8]], path: &[u8]) -> bool {
    let next = paths.partition_point(|other| tree_order(other, path).is_le());
    paths.get(next).is_some_and(|other| is_at_or_below(other, path))
}

/// The changes below a path.
fn below<'a>(changes: &'a [Change], path: &'a [u8]) -> impl Iterator<Item = &'a Change> {
    let next = changes.partition_point(|change| tree_order(&change.path, path).is_le());
    changes[next..].iter().take_while(|change| is_at_or_below(&change.path, path))
}

/// The collision at a path or above it. None is below another.
fn at_or_above<'a, 'b>(collisions: &'a [Collision<'b>], path: &[u8]) -> Option<&'a Collision<'b>> {
    let next = collisions.partition_point(|collision| tree_order(collision.path, path).is_le());
    collisions[..next].last().filter(|collision| is_at_or_below(path, collision.path))
}

struct Planner<'a> {
    sources: &'a Sources,
    options: &'a MergeOptions,
    to_be_written: bool,
    steps: Vec<Step>,
    merged: Merged,
    search: Search,
    /// Of texts that were put together and kept.
    texts_bytes: usize,
    /// Of texts in conflicts.
    conflict_texts_bytes: usize,
    content: content::Content,
    progress: Progress,
    watch: Watch<'a>,
}

/// What a path was, where both sides changed it, and is.
#[derive(Clone, Copy)]
struct Three {
    base: Option<(Origin, Side)>,
    ours: Option<(Origin, Side)>,
    theirs: Option<(Origin, Side)>,
}

/// The content that a file of both sides gets.
enum Content {
    Ours,
    Theirs,
    Text(String),
    /// It cannot be put together.
    Neither,
}

impl Planner<'_> {
    fn report_progress(&mut self, bytes: u64) -> Result<()> {
        self.progress.bytes += bytes;
        if (self.watch)(self.progress).is_break() { Err(Error::cancelled()) } else { Ok(()) }
    }

    /// A collision is decided for a whole directory: the rest of a directory without what it was changed for is of use to nobody.
    fn collide(&mut self, both: &Both, collision: &Collision<'_>) -> Result<()> {
        let Collision { path, kind, base, ours, theirs } = *collision;
        let three = Three { base: base.map(|side| (Origin::Base, side)), ours: Some(ours), theirs: Some(theirs) };
        match self.options.favour {
            None => self.conflict(path, kind, three, Vec::new()),
            Some(Favour::Ours) => {
                self.settle(path, kind, Favour::Ours);
                Ok(())
            }
            Some(Favour::Theirs) => {
                self.settle(path, kind, Favour::Theirs);
                let (from, side) = theirs;
                self.put(path, from, side, if base.is_some() { Status::TypeChanged } else { Status::Added });
                if side.kind == Kind::Directory {
                    for change in below(&both.theirs, path) {
                        if let Some(side) = change.new {
                            self.put(&change.path, Origin::Theirs, side, change.status);
                        }
                    }
                    // What ours deleted with the directory, and theirs left as it was.
                    for change in below(&both.ours, path) {
                        if let (Some(side), None) = (change.old, find(&both.theirs, &change.path)) {
                            self.put(&change.path, Origin::Base, side, Status::Added);
                        }
                    }
                }
                Ok(())
            }
        }
    }

    /// Decides about one path that theirs changed.
    fn decide(&mut self, their: &Change, our: Option<&Change>, survivors: &[&[u8]]) -> Result<()> {
        let path = their.path.as_slice();
        let Some(our) = our else {
            match their.new {
                Some(side) => self.put(path, Origin::Theirs, side, their.status),
                None => self.delete(their, survivors),
            }
            return Ok(());
        };
        let three = Three {
            base: our.old.map(|side| (Origin::Base, side)),
            ours: our.new.map(|side| (Origin::Ours, side)),
            theirs: their.new.map(|side| (Origin::Theirs, side)),
        };
        let (our_side, their_side) = match (our.new, their.new) {
            (None, None) => return Ok(()),
            (Some(our_side), Some(their_side)) => (our_side, their_side),
            (Some(_), None) | (None, Some(_)) => {
                return self.one_of_two(their, ConflictKind::ModifiedAndDeleted, self.options.favour, three, survivors);
            }
        };
        let is_same = self.is_same(path, our_side, their_side)?;
        let is_same_mode = our_side.mode == their_side.mode || our_side.kind == Kind::Symlink;
        match our.old.filter(|_| our.status == Status::Modified && their.status == Status::Modified) {
            _ if is_same && is_same_mode => Ok(()),
            Some(base) => self.modified([our, their], [base, our_side, their_side], is_same, three),
            None => {
                let kind = if our.old.is_none() { ConflictKind::AddedTwice } else { ConflictKind::Type };
                let has_lines = || -> Result<bool> {
                    Ok(self.lines(path, Origin::Ours, our_side)?.is_some()
                        && self.lines(path, Origin::Theirs, their_side)?.is_some())
                };
                let is_content = our_side.kind == their_side.kind && our_side.kind != Kind::Directory && !has_lines()?;
                let favour = self.options.binary.filter(|_| is_content).or(self.options.favour);
                self.one_of_two(their, kind, favour, three, survivors)
            }
        }
    }

    fn is_same(&mut self, path: &[u8], ours: Side, theirs: Side) -> Result<bool> {
        self.sources.is_same(path, (ours, theirs), &mut self.content, &mut self.progress, &mut *self.watch)
    }

    /// The content of a text that is not too large to be merged.
    fn lines(&self, path: &[u8], origin: Origin, side: Side) -> Result<Option<String>> {
        if side.kind == Kind::File { self.sources.text(origin, side, path, MERGED_FILE_BYTES_MAX) } else { Ok(None) }
    }

    /// A conflict that has no middle.
    fn one_of_two(
        &mut self,
        their: &Change,
        kind: ConflictKind,
        favour: Option<Favour>,
        three: Three,
        survivors: &[&[u8]],
    ) -> Result<()> {
        let path = their.path.as_slice();
        let Some(favour) = favour else { return self.conflict(path, kind, three, Vec::new()) };
        self.settle(path, kind, favour);
        match (favour, their.new) {
            (Favour::Ours, _) => {}
            (Favour::Theirs, Some(side)) => self.put(path, Origin::Theirs, side, their.status),
            (Favour::Theirs, None) => self.delete(their, survivors),
        }
        Ok(())
    }

    /// What both changed and neither made into something else: content and mode apart.
    fn modified(&mut self, changes: [&Change; 2], sides: [Side; 3], is_same: bool, three: Three) -> Result<()> {
        let ([our, their], [base, our_side, their_side]) = (changes, sides);
        let path = their.path.as_slice();
        let MergeOptions { favour, binary } = *self.options;
        let content_favour = binary.or(favour);
        let mode = match (our_side.mode, their_side.mode) {
            (ours, theirs) if ours == theirs || theirs == base.mode || our_side.kind == Kind::Symlink => Some(ours),
            (ours, theirs) if ours == base.mode => Some(theirs),
            (_, _) => None,
        };
        let mut hunks = Vec::new();
        let content = if is_same || !their.content_changed {
            Content::Ours
        } else if !our.content_changed {
            Content::Theirs
        } else {
            let texts = (
                self.lines(path, Origin::Base, base)?,
                self.lines(path, Origin::Ours, our_side)?,
                self.lines(path, Origin::Theirs, their_side)?,
            );
            match texts {
                (Some(base), Some(ours), Some(theirs)) => {
                    self.report_progress((base.len() + ours.len() + theirs.len()) as u64)?;
                    let joined = join(&base, &ours, &theirs, favour, &mut self.search);
                    hunks = joined.hunks;
                    if joined.text == ours { Content::Ours } else { Content::Text(joined.text) }
                }
                _ => Content::Neither,
            }
        };
        let conflicts = [
            (ConflictKind::Lines, !hunks.is_empty(), favour),
            (ConflictKind::Content, matches!(content, Content::Neither), content_favour),
            (ConflictKind::Mode, mode.is_none(), favour),
        ];
        let mut conflicts = conflicts.into_iter().filter(|(_, is_there, _)| *is_there);
        if let Some((kind, _, _)) = conflicts.clone().find(|(_, _, favour)| favour.is_none()) {
            return self.conflict(path, kind, three, hunks);
        }
        if let Some((kind, _, Some(favour))) = conflicts.next() {
            self.settle(path, kind, favour);
        }
        let mode = mode.unwrap_or(if favour == Some(Favour::Theirs) { their_side.mode } else { our_side.mode });
        let (from, side, text) = match (content, content_favour) {
            (Content::Theirs, _) | (Content::Neither, Some(Favour::Theirs)) => (Origin::Theirs, their_side, None),
            (Content::Ours, _) | (Content::Neither, Some(Favour::Ours) | None) => (Origin::Ours, our_side, None),
            (Content::Text(text), _) => (Origin::Ours, our_side, Some(text)),
        };
        match from {
            Origin::Ours if text.is_none() && mode == our_side.mode => {}
            Origin::Theirs if mode == their_side.mode => self.put(path, from, side, their.status),
            Origin::Base | Origin::Ours | Origin::Theirs => {
                let text = text.filter(|_| self.to_be_written && self.merged.conflict_count == 0);
                self.texts_bytes += text.as_ref().map_or(0, String::len);
                if self.texts_bytes > MERGED_TEXTS_BYTES_MAX {
                    return Err(Error::limit(format!("the texts to be merged come to more than {MERGED_TEXTS_BYTES_MAX} bytes")));
                }
                self.merged.merged.push(path.to_vec());
                self.steps.push(Step { path: path.to_vec(), what: What::Put { from, side, mode, text } });
            }
        }
        Ok(())
    }

    fn put(&mut self, path: &[u8], from: Origin, side: Side, status: Status) {
        self.merged.taken.push(Taken { path: path.to_vec(), status });
        self.steps.push(Step { path: path.to_vec(), what: What::Put { from, side, mode: side.mode, text: None } });
    }

    /// A directory stays when something in it does.
    fn delete(&mut self, change: &Change, survivors: &[&[u8]]) {
        if change.old.is_some_and(|old| old.kind == Kind::Directory) && is_any_below(survivors, &change.path) {
            return;
        }
        self.merged.taken.push(Taken { path: change.path.clone(), status: Status::Deleted });
        self.steps.push(Step { path: change.path.clone(), what: What::Delete });
    }

    fn settle(&mut self, path: &[u8], kind: ConflictKind, favour: Favour) {
        self.merged.settled.push(Settled { path: path.to_vec(), kind, favour });
    }

    fn conflict(&mut self, path: &[u8], kind: ConflictKind, three: Three, hunks: Vec<ConflictHunk>) -> Result<()> {
        self.merged.conflict_count += 1;
        // Nothing is going to be written.
        self.steps.clear();
        if self.merged.conflicts.len() >= CONFLICTS_MAX {
            return Ok(());
        }
        let hunks_bytes = hunks.iter().map(|hunk| hunk.base.len() + hunk.ours.len() + hunk.theirs.len()).sum();
        let hunks = if self.has_room(hunks_bytes) { hunks } else { Vec::new() };
        let base = self.version(path, three.base)?;
        let ours = self.version(path, three.ours)?;
        let theirs = self.version(path, three.theirs)?;
        self.merged.conflicts.push(Conflict { path: path.to_vec(), kind, base, ours, theirs, hunks });
        Ok(())
    }

    fn version(&mut self, path: &[u8], side: Option<(Origin, Side)>) -> Result<Option<Version>> {
        let Some((origin, side)) = side else { return Ok(None) };
        let text = self.sources.text(origin, side, path, CONFLICT_TEXT_BYTES_MAX)?.filter(|text| self.has_room(text.len()));
        Ok(Some(Version { kind: side.kind, mode: side.mode, size_bytes: side.size_bytes, text }))
    }

    /// Takes room for text in conflicts, if there is enough of it.
    fn has_room(&mut self, bytes: usize) -> bool {
        let fits = self.conflict_texts_bytes + bytes <= CONFLICT_TEXTS_BYTES_MAX;
        self.conflict_texts_bytes += if fits { bytes } else { 0 };
        fits
    }
}
