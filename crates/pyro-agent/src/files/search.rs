//! Searching files with ripgrep's own libraries, here inside: outside nobody reads a file from inside.
//!
//! Whoever wrote the files may want to hang us or fill our memory. Nothing is mapped into memory (a file that shrinks would kill us), lines and what is kept
//! of them are bounded, only regular files are opened, and never through a link. The pattern is from outside, but may be as slow as it is large: the request ends
//! at once when it is taken back, and its threads after the piece that they are at.

use std::fs::File;
use std::io;
use std::os::fd::OwnedFd;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use grep_matcher::Matcher;
use grep_regex::{RegexMatcher, RegexMatcherBuilder};
use grep_searcher::{BinaryDetection, Searcher, SearcherBuilder, Sink, SinkContext, SinkContextKind, SinkMatch};
use pyro_sys::beneath::Mounts;
use pyro_wire::FromAgent;
use pyro_wire::limits::{FOUND_LINE_BYTES_MAX, SEARCH_ANSWER_BYTES_MAX};
use pyro_wire::message::{FileStep, Search, SearchTell};
use pyro_wire::search::{Found, FoundFile, FoundLine, SearchAnswer, path_order};
use rustix::fs::{FileType, Mode, OFlags, Stat};
use rustix::io::Errno;

use super::kept::{Kept, line_bytes, path_of};
use super::walk::{Met, Rules, Visit, apart, walk};
use super::{Failure, Reply, at, read};

/// A compiled pattern, and what its engine may remember while it searches: the library's own default for the first, and as much again for each thread.
const REGEX_BYTES_MAX: usize = 10 * 1024 * 1024;

/// Longest line that is searched, or with `multiline` the largest file. Longer ones are data.
const LINE_BYTES_MAX: usize = 32 * 1024 * 1024;

/// What is shown of a long line before its match.
const BEFORE_MATCH_BYTES: usize = 100;

/// Answers a search.
pub fn search(reply: &Reply, request: &Search) -> Result<FromAgent, Failure> {
    let answer = answer(reply, request)?.to_json();
    if answer.len() > SEARCH_ANSWER_BYTES_MAX {
        // What is kept is counted as the JSON that it becomes.
        return Err(at(FileStep::Read)(Errno::FBIG));
    }
    reply.send_content(&answer)?;
    Ok(FromAgent::Done)
}

fn answer(reply: &Reply, request: &Search) -> Result<SearchAnswer, Failure> {
    let matcher = match matcher(request) {
        Ok(matcher) => matcher,
        Err(why) => return Ok(SearchAnswer::BadPattern(why)),
    };
    let rules = match Rules::of(&request.selection, request.path.as_str()) {
        Ok(rules) => rules,
        Err(why) => return Ok(SearchAnswer::BadGlob(why)),
    };
    let kept = Arc::new(Mutex::new(Kept::new(request)));
    let over = Arc::new(AtomicBool::new(false));
    let new = || Searching {
        matcher: matcher.clone(),
        searcher: searcher(request),
        tell: request.tell,
        limit: request.limit as usize,
        kept: Arc::clone(&kept),
        over: Arc::clone(&over),
        ahead: vec![0; AHEAD_BYTES],
        full_at: None,
        totals: Found::default(),
    };
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NONBLOCK | OFlags::CLOEXEC;
    match rustix::fs::open(request.path.as_str(), flags, Mode::empty()) {
        Ok(top) => walk(reply, top, rules, u32::MAX, Mounts::Stay, &over, new)?,
        Err(Errno::NOTDIR) => one_file(reply, request, &over, new())?,
        Err(error) => return Err(at(FileStep::Open)(error)),
    }
    let kept = std::mem::replace(&mut *kept.lock().unwrap_or_else(PoisonError::into_inner), Kept::new(request));
    Ok(SearchAnswer::Found(kept.answer()))
}

/// Searches the file that was named itself, on a thread that need not be waited for.
fn one_file(reply: &Reply, request: &Search, over: &Arc<AtomicBool>, mut searching: Searching) -> Result<(), Failure> {
    let (file, stat) = read::open_regular(request.path.as_str())?;
    let mut work = Some(move || {
        searching.look_through(file, &stat, &[]);
        searching.finish();
    });
    apart(reply, over, 1, || work.take().expect("one thread"))
}

/// The pattern, understood as `rg` does; or why it is none, in one line.
fn matcher(request: &Search) -> Result<RegexMatcher, String> {
    let mut builder = RegexMatcherBuilder::new();
    builder
        .multi_line(true)
        .fixed_strings(request.fixed)
        .case_insensitive(request.ignore_case)
        .size_limit(REGEX_BYTES_MAX)
        .dfa_size_limit(REGEX_BYTES_MAX);
    if !request.multiline {
        builder.line_terminator(Some(b'\n'));
    }
    // A parser's error is several lines, of which the last says what is wrong.
    builder.build(&request.pattern).map_err(|error| {
        let text = error.to_string();
        let last = text.lines().last().unwrap_or_default();
        last.strip_prefix("error: ").unwrap_or(last).to_owned()
    })
}

fn searcher(request: &Search) -> Searcher {
    let context = if request.tell == SearchTell::Lines { request.context as usize } else { 0 };
    SearcherBuilder::new()
        .binary_detection(BinaryDetection::quit(0))
        .line_number(request.tell == SearchTell::Lines)
        .multi_line(request.multiline)
        .before_context(context)
        .after_context(context)
        .heap_limit(Some(LINE_BYTES_MAX))
        .build()
}

/// One thread of a search.
struct Searching {
    matcher: RegexMatcher,
    searcher: Searcher,
    tell: SearchTell,
    limit: usize,
    kept: Arc<Mutex<Kept>>,
    over: Arc<AtomicBool>,
    /// For [`Content`].
    ahead: Vec<u8>,
    /// When last asked: nothing behind this place will be told.
    full_at: Option<Vec<u8>>,
    totals: Found,
}

impl Visit for Searching {
    fn meet(&mut self, met: &Met<'_>) {
        if met.kind != FileType::RegularFile {
            return;
        }
        let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::NOCTTY | OFlags::CLOEXEC;
        let opened = rustix::fs::openat(met.directory, met.name, flags, Mode::empty());
        match opened.and_then(|file| Ok((rustix::fs::fstat(&file)?, file))) {
            Ok((stat, file)) if FileType::from_raw_mode(stat.st_mode) == FileType::RegularFile => {
                self.look_through(file, &stat, met.path);
            }
            // Gone, or something else since its directory was read.
            Ok(_) | Err(Errno::NOENT | Errno::LOOP | Errno::NXIO) => {}
            Err(_) => self.miss(),
        }
    }

    fn miss(&mut self) {
        self.totals.unread += 1;
    }

    fn finish(self) {
        let mut kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        kept.totals.searched += self.totals.searched;
        kept.totals.binary += self.totals.binary;
        kept.totals.unread += self.totals.unread;
    }
}

impl Searching {
    fn look_through(&mut self, file: OwnedFd, stat: &Stat, path: &[u8]) {
        let told =
            self.tell == SearchTell::Lines && !self.full_at.as_ref().is_some_and(|last| path_order(path).gt(last.iter().copied()));
        let mut lines = Lines {
            matcher: &self.matcher,
            tell: self.tell,
            room: if told { self.limit } else { 0 },
            bytes: 0,
            owed: false,
            is_last_kept: false,
            is_binary: false,
            matching: 0,
            lines: Vec::new(),
        };
        let size = u64::try_from(stat.st_size).unwrap_or(0);
        let content = Content { file: File::from(file), size, done: 0, ahead: &mut self.ahead, held: 0..0, over: &self.over };
        let searched = self.searcher.search_reader(&self.matcher, content, &mut lines);
        let Lines { is_binary, matching, lines, .. } = lines;
        if is_binary {
            self.totals.binary += 1;
            return;
        }
        self.totals.searched += 1;
        if searched.is_err() {
            self.totals.unread += 1;
        }
        if matching > 0 {
            let mut kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
            kept.add(FoundFile { path: path_of(path), matching, lines }, path);
            if kept.full_at() != self.full_at.as_ref() {
                self.full_at = kept.full_at().cloned();
            }
        }
    }
}

/// A file that ends when its search is over. A small one is read by one call of the kernel, where a reader would ask for its first three bytes, the rest and the
/// end: of a hundred thousand small files that is a third of the time.
struct Content<'a> {
    file: File,
    /// Its size when it was opened; 0 also where it is not known, as in /proc.
    size: u64,
    /// Bytes that were read.
    done: u64,
    ahead: &'a mut [u8],
    /// What of that is still to be given on.
    held: std::ops::Range<usize>,
    over: &'a AtomicBool,
}

/// What is read of a file ahead.
const AHEAD_BYTES: usize = 32 * 1024;

impl io::Read for Content<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if self.held.is_empty() {
            if self.over.load(Ordering::Relaxed) {
                return Err(io::Error::other("the search was taken back"));
            }
            if self.size > 0 && self.done >= self.size {
                return Ok(0);
            }
            if buffer.len() >= self.ahead.len() && self.done > 0 {
                let bytes = self.file.read(buffer)?;
                self.done += bytes as u64;
                return Ok(bytes);
            }
            let bytes = self.file.read(self.ahead)?;
            self.done += bytes as u64;
            self.held = 0..bytes;
        }
        let bytes = self.held.len().min(buffer.len());
        buffer[..bytes].copy_from_slice(&self.ahead[self.held.start..self.held.start + bytes]);
        self.held.start += bytes;
        Ok(bytes)
    }
}

/// What is found in one file.
struct Lines<'a> {
    matcher: &'a RegexMatcher,
    tell: SearchTell,
    /// Lines that match and may still be kept.
    room: usize,
    /// Kept so far, as JSON.
    bytes: usize,
    /// Lines before a match are kept, and so that must be.
    owed: bool,
    /// The last line that matches is kept.
    is_last_kept: bool,
    is_binary: bool,
    matching: u64,
    lines: Vec<FoundLine>,
}

impl Lines<'_> {
    fn has_room(&self) -> bool {
        self.room > 0 && self.bytes < SEARCH_ANSWER_BYTES_MAX
    }

    fn keep(&mut self, number: u64, line: &[u8], matched: Option<(usize, usize)>) {
        let (text, cut) = shown(line, matched.map_or(0, |(start, _)| start));
        let column = matched.map_or(0, |(start, _)| start as u64 + 1);
        let line = FoundLine { number, column, text, cut };
        self.bytes += line_bytes(&line);
        self.lines.push(line);
    }
}

impl Sink for Lines<'_> {
    type Error = io::Error;

    fn matched(&mut self, _: &Searcher, found: &SinkMatch<'_>) -> io::Result<bool> {
        if self.tell == SearchTell::Files {
            self.matching = 1;
            return Ok(false);
        }
        for (index, line) in found.lines().enumerate() {
            self.matching += 1;
            self.is_last_kept = self.owed || self.has_room();
            if self.is_last_kept {
                self.owed = false;
                self.room = self.room.saturating_sub(1);
                // Of a match over several lines each is one that matches; where in it only the first knows.
                let at = self.matcher.find(line).ok().flatten().map_or((0, 0), |found| (found.start(), found.end()));
                self.keep(found.line_number().unwrap_or(1) + index as u64, line, Some(at));
            } else {
                // A shorter one behind it would make a gap.
                self.room = 0;
            }
        }
        Ok(true)
    }

    fn context(&mut self, _: &Searcher, context: &SinkContext<'_>) -> io::Result<bool> {
        let wanted = match context.kind() {
            SinkContextKind::Before => self.owed || self.has_room(),
            SinkContextKind::After | SinkContextKind::Other => self.is_last_kept,
        };
        if wanted {
            self.owed |= *context.kind() == SinkContextKind::Before;
            self.keep(context.line_number().unwrap_or(1), context.bytes(), None);
        }
        Ok(true)
    }

    fn binary_data(&mut self, _: &Searcher, _: u64) -> io::Result<bool> {
        self.is_binary = true;
        Ok(false)
    }
}

/// A line as it is told: without its end, and of a long one what is around the place.
fn shown(line: &[u8], place: usize) -> (String, bool) {
    let line = line.strip_suffix(b"\n").unwrap_or(line);
    let line = line.strip_suffix(b"\r").unwrap_or(line);
    if line.len() <= FOUND_LINE_BYTES_MAX {
        return (String::from_utf8_lossy(line).into_owned(), false);
    }
    let inside = |at: &usize| line.get(*at).is_some_and(|byte| byte & 0xc0 == 0x80);
    let start = place.saturating_sub(BEFORE_MATCH_BYTES).min(line.len() - FOUND_LINE_BYTES_MAX);
    let start = (start..start + 3).find(|at| !inside(at)).unwrap_or(start);
    let end = (start + FOUND_LINE_BYTES_MAX).min(line.len());
    let end = (end - 3..=end).rev().find(|at| !inside(at)).unwrap_or(end);
    (String::from_utf8_lossy(&line[start..end]).into_owned(), true)
}
