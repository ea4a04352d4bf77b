//! What has to change in a workspace so that a directory of it is like one outside: a new layer with just that.
//!
//! The directory outside (the source) is compared with the merged view of the one inside, and only read; it may be written to meanwhile, and is then
//! treated as [`crate::import`] treats it. The view was written by an enemy and holds still. The layer is to lie directly upon the
//! layers of the view: what is not in it shows through.
//!
//! # What counts as a difference
//!
//! Another kind, other permission bits, another target, other content. Files of the same size and time are taken to have the same content, as
//! rsync takes it; others of the same size are read. A different time alone, another owner or other attributes change nothing: tools
//! touch files all the time. What did not change keeps what it has inside, directories also where the layer has to have them for
//! what is in them: their access lists too, while those of the host stay outside. Two names of one file outside become two names of one file inside where both are written.

use std::collections::HashSet;
use std::ffi::{CStr, CString};
use std::ops::ControlFlow;
use std::os::fd::{AsFd, BorrowedFd};
use std::path::Path;

use rustix::fs::{self, FileType, OFlags, Stat};
use rustix::io::Errno;

use crate::beneath::{self, Descent, Entry, Mounts, RawKind, WalkPath};
use crate::content::{self, size, stamp};
use crate::entry::{Copier, Found, Purpose, is_directory, keeps_changing};
use crate::error::{Error, ErrorKind, Naming, Result, shown};
use crate::ignored::Ignored;
use crate::import::{open_empty, refuse_containing};
use crate::limits::{COPY_ATTEMPTS_MAX, LISTINGS_MAX};
use crate::marks::Marks;
use crate::tree::{contains_destination, directory_keeps_changing, moved};
use crate::writer;
use crate::{Owners, Watch};

/// What a sync does besides bringing what is new.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SyncOptions {
    /// What becomes of names that are only inside.
    pub missing: Missing,
    /// What becomes of names that `.gitignore` and `.ignore` files outside say are no part of the directory.
    pub ignored: IgnoredNames,
    /// Whose what is brought becomes.
    pub owners: Owners,
}

/// What becomes of names that are not in the source.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Missing {
    /// They stay.
    #[default]
    Keep,
    /// They go, but for ignored ones that are left alone, and for the directories around those.
    Delete,
}

/// What becomes of ignored names.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum IgnoredNames {
    /// They are names like all others.
    #[default]
    Bring,
    /// They are neither brought nor changed nor deleted.
    LeaveAlone,
}

/// What the layer holds. Names are counted: a deleted directory is one.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Synced {
    /// Names that were not inside.
    pub added: u64,
    /// Names that were something else, or had other content or permission bits.
    pub changed: u64,
    /// Names that are gone.
    pub deleted: u64,
    /// Names that are as they were.
    pub unchanged: u64,
    /// Of those, files that have another time outside.
    pub touched: u64,
    /// Names outside that were left alone because they are ignored.
    pub ignored: u64,
    /// Bytes of file content that were brought, holes included.
    pub bytes: u64,
    /// What could not be brought (sockets, and what stands in the place of a directory with ignored names in it), by name; at
    /// most [`crate::limits::SKIPPED_NAMES_MAX`] of them.
    pub skipped: Vec<Vec<u8>>,
    /// How many could not be brought.
    pub skipped_count: u64,
    /// Attributes (`user.*`, capabilities) that could not be brought along.
    pub attributes_left_behind: u64,
}

impl Synced {
    /// Whether there is anything in the layer.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.added + self.changed + self.deleted == 0
    }
}

/// Writes into the empty directory `into` the layer that makes `view` like `source`. Its root stands for that of the view.
///
/// # Errors
/// As [`crate::import_directory`], and `Limit` for an ignore file that is too large. The layer then holds a part, to be discarded.
pub fn plan_sync(
    source: &Path,
    view: BorrowedFd<'_>,
    options: SyncOptions,
    into: &Path,
    marks: Marks,
    watch: Watch<'_>,
) -> Result<Synced> {
    let from = beneath::open_root(source).naming(source.as_os_str().as_encoded_bytes(), "open the directory")?;
    let to = open_empty(into)?;
    refuse_containing(&from, &to)?;
    let to_stat = fs::fstat(&to).naming(b"", "look at the destination")?;
    let from_stat = fs::fstat(&from).naming(b"", "look at it")?;
    let view = beneath::open_beneath(view, b"", OFlags::RDONLY | OFlags::DIRECTORY).naming(b"", "open what is inside")?;
    let view_stat = fs::fstat(&view).naming(b"", "look at what is inside")?;
    let mut ignored = match options.ignored {
        IgnoredNames::Bring => None,
        IgnoredNames::LeaveAlone => Some(Ignored::above(source)?),
    };
    if let Some(ignored) = &mut ignored {
        ignored.enter(from.as_fd(), b"")?;
    }
    let entries = beneath::list(from.as_fd()).naming(b"", "list it")?;
    let sides = Sides::both(&from_stat, &view_stat);
    let changed = u64::from(matches!(sides, Sides::Both { given: Given::Source(_), .. }));
    let mut sync = Sync {
        copier: Copier::new(to.as_fd(), Purpose::Seed(options.owners), watch)?,
        to_id: (to_stat.st_dev, to_stat.st_ino),
        source: Descent::new(from).naming(b"", "open it")?,
        view: Descent::new(view).naming(b"", "open what is inside")?,
        to: Descent::new(to).naming(b"", "open the destination")?,
        path: WalkPath::default(),
        frames: vec![Frame::new(c"", entries, sides)],
        ignored,
        options,
        marks,
        synced: Synced { changed, ..Synced::default() },
    };
    sync.run()?;
    let tally = sync.copier.tally;
    Ok(Synced {
        bytes: tally.bytes,
        skipped: tally.skipped.kept,
        skipped_count: tally.skipped.count,
        attributes_left_behind: tally.attributes_left_behind,
        ..sync.synced
    })
}

/// Gives a directory of a layer everything but its content of the directory `inside`, which a view has at the same place: for those on the way to
/// where a layer of [`plan_sync`] begins, when everything is in them. The answer is how many attributes had to be left behind.
///
/// # Errors
/// When either cannot be read or written.
pub fn repeat_directory(inside: BorrowedFd<'_>, into: &Path, owners: Owners, marks: Marks) -> Result<u64> {
    let name = into.as_os_str().as_encoded_bytes();
    let from = beneath::open_beneath(inside, b"", OFlags::RDONLY | OFlags::DIRECTORY).naming(name, "open what is inside")?;
    let to = beneath::open_root(into).naming(name, "open the directory")?;
    let stat = fs::fstat(&from).naming(name, "look at what is inside")?;
    let watch = &mut |_| ControlFlow::Continue(());
    let mut copier = Copier::new(to.as_fd(), Purpose::Shown(owners, marks), watch)?;
    copier.finish(from.as_fd(), to.as_fd(), &stat, name)?;
    Ok(copier.tally.attributes_left_behind)
}

struct Sync<'a> {
    /// Writes into the layer, and knows the other names of what it has written.
    copier: Copier<'a>,
    to_id: (u64, u64),
    source: Descent,
    view: Descent,
    /// Directories are made in the layer when something has to be in them: it may be less deep than the walk.
    to: Descent,
    path: WalkPath,
    frames: Vec<Frame>,
    ignored: Option<Ignored>,
    options: SyncOptions,
    marks: Marks,
    synced: Synced,
}

/// One directory on the way down.
struct Frame {
    name: CString,
    /// Names in the source, then those that are only in the view.
    entries: Vec<Entry>,
    next: usize,
    listings: u32,
    sides: Sides,
    /// Names to be hidden when the directory is finished.
    gone: Vec<CString>,
}

/// Where a directory is.
enum Sides {
    /// In both.
    Both {
        /// What it is given where the layer has it.
        given: Given,
        /// The names of the source are done with.
        is_compared: bool,
    },
    /// In the source, and something else or nothing is in the view.
    Source { stat: Stat, is_opaque: bool },
    /// In the view.
    View {
        stat: Stat,
        /// There is something ignored in it, so it stays.
        stays: bool,
    },
}

/// Whose metadata a directory gets in the layer.
enum Given {
    Source(Stat),
    View(Stat),
}

impl Sides {
    fn both(source: &Stat, view: &Stat) -> Self {
        let given = if mode(source) == mode(view) { Given::View(*view) } else { Given::Source(*source) };
        Self::Both { given, is_compared: false }
    }

    fn has_source(&self) -> bool {
        !matches!(self, Self::View { .. })
    }

    fn has_view(&self) -> bool {
        !matches!(self, Self::Source { .. })
    }
}

impl Frame {
    fn new(name: &CStr, entries: Vec<Entry>, sides: Sides) -> Self {
        Self { name: name.to_owned(), entries, next: 0, listings: 1, sides, gone: Vec::new() }
    }
}

/// What to do with a name of the source.
enum Wanted {
    /// Nothing: it is as it should be, or left alone.
    Nothing,
    /// It has to be written.
    Written,
    /// It is a directory.
    Entered,
    /// It changed while it was looked at.
    Again,
    Vanished,
}

impl Sync<'_> {
    fn run(&mut self) -> Result<()> {
        while let Some(frame) = self.frames.last_mut() {
            let Some(Entry { name, kind }) = frame.entries.get(frame.next).cloned() else {
                self.next_part()?;
                continue;
            };
            frame.next += 1;
            match &frame.sides {
                Sides::Source { .. } | Sides::Both { is_compared: false, .. } => self.bring(&name, kind)?,
                Sides::Both { is_compared: true, .. } | Sides::View { .. } => self.drop_name(&name)?,
            }
            self.copier.look_up()?;
        }
        Ok(())
    }

    /// All names of the current directory that are known so far are done with.
    fn next_part(&mut self) -> Result<()> {
        let frame = self.frames.last_mut().expect("run looks at the last frame");
        match &mut frame.sides {
            Sides::Both { is_compared, .. } if !*is_compared && self.options.missing == Missing::Delete => {
                *is_compared = true;
                let kept: HashSet<CString> = frame.entries.drain(..).map(|entry| entry.name).collect();
                let mut entries = beneath::list(self.view.here()).naming(self.path.here(), "list what is inside")?;
                entries.retain(|entry| !kept.contains(&entry.name));
                frame.entries = entries;
                frame.next = 0;
                Ok(())
            }
            _ => self.finish_directory(),
        }
    }

    /// Makes a name of the source be in the view.
    fn bring(&mut self, name: &CStr, mut kind: RawKind) -> Result<()> {
        let path = self.path.join(name);
        for _ in 0..COPY_ATTEMPTS_MAX {
            let has_view = self.frames.last().expect("a name has a directory").sides.has_view();
            let there = if has_view { self.in_view(name, &path)? } else { None };
            let stat = match beneath::stat(self.source.here(), name) {
                Err(Errno::NOENT) => return self.list_again(name),
                other => other.naming(&path, "look at it")?,
            };
            match self.wanted(name, &path, &stat, there.as_ref())? {
                Wanted::Nothing => return Ok(()),
                Wanted::Again => {}
                Wanted::Vanished => return self.list_again(name),
                Wanted::Entered => match self.enter(name, &path, there.as_ref())? {
                    Wanted::Again => {}
                    Wanted::Vanished => return self.list_again(name),
                    Wanted::Nothing | Wanted::Written | Wanted::Entered => return Ok(()),
                },
                Wanted::Written => {
                    if there.as_ref().is_some_and(is_directory) && self.holds_ignored(name, &path)? {
                        self.copier.tally.skipped.add(path);
                        return Ok(());
                    }
                    self.make_directories()?;
                    match self.copier.copy(self.source.here(), self.to.here(), name, kind, &self.path)? {
                        Found::Copied => {
                            match there {
                                Some(_) => self.synced.changed += 1,
                                None => self.synced.added += 1,
                            }
                            return Ok(());
                        }
                        Found::LeftOut => return Ok(()),
                        Found::Vanished => return self.list_again(name),
                        Found::Directory => kind = RawKind::Unknown,
                    }
                }
            }
        }
        Err(keeps_changing(&path))
    }

    fn in_view(&self, name: &CStr, path: &[u8]) -> Result<Option<Stat>> {
        match beneath::stat(self.view.here(), name) {
            Ok(stat) => Ok(Some(stat)),
            Err(Errno::NOENT) => Ok(None),
            Err(errno) => Err(errno).naming(path, "look at it inside"),
        }
    }

    /// Compares a name of the source with what is there inside.
    fn wanted(&mut self, name: &CStr, path: &[u8], stat: &Stat, there: Option<&Stat>) -> Result<Wanted> {
        let kind = FileType::from_raw_mode(stat.st_mode);
        if let Some(ignored) = &self.ignored
            && (ignored.is(path, kind == FileType::Directory)
                || there.is_some_and(|there| is_directory(there) && ignored.is(path, true)))
        {
            self.synced.ignored += 1;
            return Ok(Wanted::Nothing);
        }
        if kind == FileType::Directory {
            return Ok(Wanted::Entered);
        }
        if kind == FileType::Socket {
            self.copier.tally.skipped.add(path.to_owned());
            return Ok(Wanted::Nothing);
        }
        let Some(there) = there.filter(|there| FileType::from_raw_mode(there.st_mode) == kind) else { return Ok(Wanted::Written) };
        let is_same = match kind {
            FileType::RegularFile if mode(stat) != mode(there) || stat.st_size != there.st_size => false,
            FileType::RegularFile if time(stat) == time(there) => true,
            FileType::RegularFile => match self.same_content(name, path, stat)? {
                Some(is_same) => {
                    self.synced.touched += u64::from(is_same);
                    is_same
                }
                None => return Ok(Wanted::Again),
            },
            FileType::Symlink => {
                let target = match fs::readlinkat(self.source.here(), name, Vec::new()) {
                    Ok(target) => target,
                    Err(Errno::NOENT) => return Ok(Wanted::Vanished),
                    Err(Errno::INVAL) => return Ok(Wanted::Again),
                    Err(errno) => return Err(errno).naming(path, "read the link"),
                };
                target == fs::readlinkat(self.view.here(), name, Vec::new()).naming(path, "read the link inside")?
            }
            FileType::Fifo => mode(stat) == mode(there),
            // What cannot be brought is refused where it is written.
            _ => false,
        };
        self.synced.unchanged += u64::from(is_same);
        Ok(if is_same { Wanted::Nothing } else { Wanted::Written })
    }

    /// Whether two files of one size have the same content; `None` when the one outside changed meanwhile.
    fn same_content(&mut self, name: &CStr, path: &[u8], stat: &Stat) -> Result<Option<bool>> {
        let open = |directory| content::open_regular_at(directory, name, path);
        let files = (open(self.source.here())?, open(self.view.here())?);
        let (Some((outside, before)), Some((inside, there))) = files else { return Ok(None) };
        if [before.st_size, there.st_size] != [stat.st_size; 2] {
            return Ok(None);
        }
        // What is only compared is not brought.
        let mut progress = self.copier.tally.progress();
        let (content, watch) = (&mut self.copier.content, &mut *self.copier.watch);
        let is_same = content.is_same(outside.as_fd(), inside.as_fd(), size(stat), path, &mut progress, watch)?;
        let after = fs::fstat(&outside).naming(path, "look at it")?;
        Ok((stamp(stat) == stamp(&after)).then_some(is_same))
    }

    /// Goes into a directory of the source.
    fn enter(&mut self, name: &CStr, path: &[u8], there: Option<&Stat>) -> Result<Wanted> {
        let stat = match self.source.enter(name, Mounts::Cross) {
            Ok(stat) => stat,
            Err(Errno::NOENT) => return Ok(Wanted::Vanished),
            Err(Errno::NOTDIR | Errno::LOOP) => return Ok(Wanted::Again),
            Err(errno) => return Err(errno).naming(path, "open it"),
        };
        if (stat.st_dev, stat.st_ino) == self.to_id {
            return Err(contains_destination());
        }
        let sides = match there {
            Some(there) if is_directory(there) => {
                let there = self.view.enter(name, Mounts::Stay).naming(path, "open it inside")?;
                Sides::both(&stat, &there)
            }
            other => Sides::Source { stat, is_opaque: other.is_some() },
        };
        let is_made = match &sides {
            Sides::Both { given: Given::View(_), .. } | Sides::View { .. } => {
                self.synced.unchanged += 1;
                false
            }
            Sides::Both { given: Given::Source(_), .. } | Sides::Source { is_opaque: true, .. } => {
                self.synced.changed += 1;
                true
            }
            Sides::Source { is_opaque: false, .. } => {
                self.synced.added += 1;
                true
            }
        };
        if let Some(ignored) = &mut self.ignored {
            ignored.enter(self.source.here(), path)?;
        }
        let entries = beneath::list(self.source.here()).naming(path, "list it")?;
        self.push(name, entries, sides);
        if is_made {
            self.make_directories()?;
        }
        Ok(Wanted::Entered)
    }

    fn push(&mut self, name: &CStr, entries: Vec<Entry>, sides: Sides) {
        self.path.enter(name);
        self.copier.links.enter(name);
        self.frames.push(Frame::new(name, entries, sides));
    }

    /// A name vanished from the source: what took its place is brought too, and if nothing is there again it counts as missing.
    fn list_again(&mut self, name: &CStr) -> Result<()> {
        let entries = beneath::list(self.source.here()).naming(self.path.here(), "list it")?;
        let frame = self.frames.last_mut().expect("an entry has a directory");
        frame.listings += 1;
        if frame.listings > LISTINGS_MAX {
            return Err(directory_keeps_changing(&self.path.join(name)));
        }
        frame.next -= 1;
        frame.entries.remove(frame.next);
        let known: HashSet<&CStr> = frame.entries.iter().map(|entry| entry.name.as_c_str()).collect();
        let new: Vec<Entry> = entries.iter().filter(|entry| !known.contains(entry.name.as_c_str())).cloned().collect();
        frame.entries.extend(new);
        Ok(())
    }

    /// Makes a name that is only in the view be gone, unless it is ignored or holds what is.
    fn drop_name(&mut self, name: &CStr) -> Result<()> {
        let path = self.path.join(name);
        let Some(stat) = self.in_view(name, &path)? else { return Err(view_changed(&path)) };
        let is_directory = is_directory(&stat);
        let frame = self.frames.last_mut().expect("a name has a directory");
        let Some(ignored) = &mut self.ignored else {
            frame.gone.push(name.to_owned());
            return Ok(());
        };
        if ignored.is(&path, is_directory) {
            if let Sides::View { stays, .. } = &mut frame.sides {
                *stays = true;
            }
        } else if is_directory {
            let stat = self.view.enter(name, Mounts::Stay).naming(&path, "open it inside")?;
            ignored.pass(&path);
            let entries = beneath::list(self.view.here()).naming(&path, "list it inside")?;
            self.push(name, entries, Sides::View { stat, stays: false });
        } else {
            frame.gone.push(name.to_owned());
        }
        Ok(())
    }

    /// Whether there is anything ignored in a directory of the view.
    fn holds_ignored(&mut self, name: &CStr, path: &[u8]) -> Result<bool> {
        let Some(ignored) = &mut self.ignored else { return Ok(false) };
        let open = beneath::open_beneath(self.view.here(), name.to_bytes(), OFlags::RDONLY | OFlags::DIRECTORY)
            .naming(path, "open it inside")?;
        let mut at = WalkPath::default();
        let mut left = vec![beneath::list(open.as_fd()).naming(path, "list it inside")?];
        let mut walk = Descent::new(open).naming(path, "open it inside")?;
        ignored.pass(path);
        let mut found = false;
        'walk: while let Some(entries) = left.last_mut() {
            let Some(Entry { name, .. }) = entries.pop() else {
                left.pop();
                ignored.leave();
                if walk.depth() > 0 {
                    walk.leave().map_err(|_| view_changed(path))?;
                    at.leave();
                }
                continue;
            };
            let below = [path, b"/", &at.join(&name)].concat();
            let stat = beneath::stat(walk.here(), &name).map_err(|_| view_changed(&below))?;
            let is_directory = is_directory(&stat);
            if ignored.is(&below, is_directory) {
                found = true;
                break 'walk;
            }
            if is_directory {
                walk.enter(&name, Mounts::Stay).naming(&below, "open it inside")?;
                at.enter(&name);
                ignored.pass(&below);
                left.push(beneath::list(walk.here()).naming(&below, "list it inside")?);
            }
            if (self.copier.watch)(self.copier.tally.progress()).is_break() {
                return Err(Error::cancelled());
            }
        }
        for _ in &left {
            ignored.leave();
        }
        Ok(found)
    }

    /// Makes the directories on the way here that the layer does not have yet.
    fn make_directories(&mut self) -> Result<()> {
        while self.to.depth() + 1 < self.frames.len() {
            let name = &self.frames[self.to.depth() + 1].name;
            writer::make_directory(self.to.here(), name, self.path.here())?;
            self.to.enter(name, Mounts::Stay).naming(self.path.here(), "open the copy of it")?;
        }
        Ok(())
    }

    fn finish_directory(&mut self) -> Result<()> {
        let depth = self.frames.len() - 1;
        let frame = self.frames.last_mut().expect("run looks at the last frame");
        let gone = std::mem::take(&mut frame.gone);
        let stays = match frame.sides {
            Sides::View { stays, .. } => stays,
            Sides::Both { .. } | Sides::Source { .. } => true,
        };
        if stays && !gone.is_empty() {
            self.make_directories()?;
            for name in &gone {
                self.copier.whiteouts.make(self.to.here(), name, &self.path.join(name))?;
            }
            self.synced.deleted += gone.len() as u64;
        }
        let is_made = self.to.depth() == depth;
        let frame = self.frames.pop().expect("run looks at the last frame");
        if is_made {
            self.give_metadata(&frame.sides)?;
        }
        let Some(above) = self.frames.last_mut() else { return Ok(()) };
        if let Sides::View { .. } = frame.sides {
            // What is to go goes with all that is in it, and what stays keeps the directories around it.
            match (&mut above.sides, stays) {
                (_, false) => above.gone.push(frame.name),
                (Sides::View { stays, .. }, true) => *stays = true,
                (Sides::Both { .. } | Sides::Source { .. }, true) => {}
            }
        }
        if frame.sides.has_source() {
            self.source.leave().map_err(|errno| moved(self.path.here(), errno))?;
        }
        if frame.sides.has_view() {
            self.view.leave().map_err(|_| view_changed(self.path.here()))?;
        }
        if is_made {
            self.to.leave().naming(self.path.here(), "go back up from the copy of it")?;
        }
        if let Some(ignored) = &mut self.ignored {
            ignored.leave();
        }
        self.path.leave();
        self.copier.links.leave();
        Ok(())
    }

    /// What a directory of the layer is given when everything is in it.
    fn give_metadata(&mut self, sides: &Sides) -> Result<()> {
        let (to, path) = (self.to.here(), self.path.here());
        match sides {
            Sides::Source { stat, .. } | Sides::Both { given: Given::Source(stat), .. } => {
                if matches!(sides, Sides::Source { is_opaque: true, .. }) {
                    self.marks.make_opaque(to, path)?;
                }
                self.copier.finish(self.source.here(), to, stat, path)
            }
            Sides::View { stat, .. } | Sides::Both { given: Given::View(stat), .. } => {
                self.copier.finish_as(Purpose::Shown(self.options.owners, self.marks), self.view.here(), to, stat, path)
            }
        }
    }
}

fn mode(stat: &Stat) -> u32 {
    stat.st_mode & 0o7777
}

fn time(stat: &Stat) -> (i64, u64) {
    (stat.st_mtime, stat.st_mtime_nsec)
}

fn view_changed(path: &[u8]) -> Error {
    Error::new(ErrorKind::Changed, format!("{} changed inside while it was compared", shown(path)))
}

#[cfg(test)]
mod tests;
