//! Files that were moved, found among what was deleted and what was added.
//!
//! Only what has exactly the same content counts: a file that was moved and changed is told as what is sure, a deletion and an addition. Empty files are all the
//! same and say nothing. Contents are compared by their digests, each file read once, small ones first, within limits; beyond them nothing is paired.

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::os::fd::OwnedFd;

use crate::beneath;
use crate::content;
use crate::diff::{Change, Kind, Side, Status};
use crate::error::{Error, Naming, Result};
use crate::limits::{CHUNK_BYTES, RENAME_CANDIDATES_MAX, RENAME_CONTENT_BYTES_MAX};
use crate::stack::{OpenStacks, Stacks, State};
use crate::{Progress, Watch};

/// Makes one change of each deletion and addition, of those that [`crate::diff()`] gave for the same stacks, that are a file which was moved. Of several that
/// could be it, one with the same name is taken, then the first in the order of paths.
///
/// # Errors
/// When a layer cannot be read, or `watch` broke it off.
pub fn find_renames(stacks: &Stacks, mut changes: Vec<Change>, watch: Watch<'_>) -> Result<Vec<Change>> {
    let mut by_size: BTreeMap<u64, Group> = BTreeMap::new();
    for (index, change) in changes.iter().enumerate() {
        let is_candidate = |side: Option<Side>| side.filter(|side| side.kind == Kind::File && side.size_bytes > 0);
        match change.status {
            Status::Deleted => {
                if let Some(side) = is_candidate(change.old) {
                    by_size.entry(side.size_bytes).or_default().gone.push(index);
                }
            }
            Status::Added => {
                if let Some(side) = is_candidate(change.new) {
                    by_size.entry(side.size_bytes).or_default().made.push(index);
                }
            }
            Status::Modified | Status::TypeChanged | Status::Renamed => {}
        }
    }
    let mut reading = Reading { layers: OpenStacks::open(stacks)?, buffer: Vec::new(), progress: Progress::default(), watch };
    let mut pairs = Vec::new();
    for (size_bytes, group) in by_size {
        if group.gone.is_empty() || group.made.is_empty() {
            continue;
        }
        let count = (group.gone.len() + group.made.len()) as u64;
        let all = Progress {
            entry_count: reading.progress.entry_count + count,
            bytes: reading.progress.bytes.saturating_add(count.saturating_mul(size_bytes)),
        };
        if all.entry_count > RENAME_CANDIDATES_MAX || all.bytes > RENAME_CONTENT_BYTES_MAX {
            break;
        }
        let gone = reading.by_content(&changes, &group.gone, State::Old)?;
        let made = reading.by_content(&changes, &group.made, State::New)?;
        for (digest, made) in made {
            if let Some(gone) = gone.get(&digest) {
                pairs.extend(pair(&changes, gone, &made));
            }
        }
    }
    let mut is_gone = vec![false; changes.len()];
    for (gone, made) in pairs {
        is_gone[gone] = true;
        let (from, old) = (std::mem::take(&mut changes[gone].path), changes[gone].old);
        let change = &mut changes[made];
        *change = Change { status: Status::Renamed, from: Some(from), old, content_changed: false, ..change.clone() };
    }
    let mut is_gone = is_gone.into_iter();
    changes.retain(|_| !is_gone.next().unwrap_or(false));
    Ok(changes)
}

/// Files of one size, by their places among the changes.
#[derive(Default)]
struct Group {
    gone: Vec<usize>,
    made: Vec<usize>,
}

/// Pairs files of one content, both in the order of paths.
fn pair(changes: &[Change], gone: &[usize], made: &[usize]) -> Vec<(usize, usize)> {
    let name = |index: usize| beneath::split(&changes[index].path).1;
    let mut by_name: HashMap<&[u8], VecDeque<usize>> = HashMap::new();
    for &gone in gone {
        by_name.entry(name(gone)).or_default().push_back(gone);
    }
    let mut pairs = Vec::new();
    let mut left = Vec::new();
    for &made in made {
        match by_name.get_mut(name(made)).and_then(VecDeque::pop_front) {
            Some(gone) => pairs.push((gone, made)),
            None => left.push(made),
        }
    }
    let mut rest: Vec<usize> = by_name.into_values().flatten().collect();
    rest.sort_unstable();
    pairs.extend(rest.into_iter().zip(left));
    pairs
}

struct Reading<'a> {
    layers: OpenStacks,
    buffer: Vec<u8>,
    /// Files and bytes that were to be read so far.
    progress: Progress,
    watch: Watch<'a>,
}

impl Reading<'_> {
    /// Files of one size by their content; what has become another size meanwhile is left out.
    fn by_content(&mut self, changes: &[Change], files: &[usize], state: State) -> Result<BTreeMap<[u8; 32], Vec<usize>>> {
        let mut found: BTreeMap<[u8; 32], Vec<usize>> = BTreeMap::new();
        for &index in files {
            let change = &changes[index];
            let side = match state {
                State::Old => change.old,
                State::New => change.new,
            };
            let Some(side) = side else { continue };
            self.progress.entry_count += 1;
            if let Some((file, _)) = content::open_regular(self.layers.layer(state, side.layer), &change.path)?
                && let Some(digest) = self.digest(&file, side.size_bytes, &change.path)?
            {
                found.entry(digest).or_default().push(index);
            }
        }
        Ok(found)
    }

    fn digest(&mut self, file: &OwnedFd, size_bytes: u64, path: &[u8]) -> Result<Option<[u8; 32]>> {
        let mut hasher = blake3::Hasher::new();
        let mut at = 0;
        self.buffer.resize(CHUNK_BYTES, 0);
        while at < size_bytes {
            let wanted = usize::try_from(size_bytes - at).unwrap_or(CHUNK_BYTES).min(CHUNK_BYTES);
            let count = content::read_full(file, &mut self.buffer[..wanted], at).naming(path, "read it")?;
            if count < wanted {
                return Ok(None);
            }
            hasher.update(&self.buffer[..count]);
            at += count as u64;
            self.progress.bytes += count as u64;
            if (self.watch)(self.progress).is_break() {
                return Err(Error::cancelled());
            }
        }
        Ok(Some(*hasher.finalize().as_bytes()))
    }
}

#[cfg(test)]
mod tests;
