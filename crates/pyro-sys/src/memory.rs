//! Holding little memory: one small heap, and nothing of the program while there is nothing to do.

use std::fs;
use std::io;
use std::time::Duration;

/// Makes the C library keep one heap for all threads and give large blocks back at once. Each further heap would cost an idle agent
/// memory that it never uses again. To be called before the first thread.
pub fn keep_heap_small() {
    // SAFETY: mallopt changes numbers inside the allocator, under its own lock.
    #[cfg(target_env = "gnu")]
    unsafe {
        libc::mallopt(libc::M_ARENA_MAX, 1);
        libc::mallopt(libc::M_TRIM_THRESHOLD, 256 * 1024);
        libc::mallopt(libc::M_MMAP_THRESHOLD, 256 * 1024);
    }
}

/// Gives freed memory back to the kernel.
pub fn trim_heap() {
    // SAFETY: releases only what is free, under the allocator's own lock.
    #[cfg(target_env = "gnu")]
    unsafe {
        libc::malloc_trim(0);
    }
}

/// How long nothing must have happened before a loop rests. What is given back is mapped again at the next use, which takes some 0.1 ms: for
/// somebody who was away that long that is nothing, and who works on never pays it.
const REST_AFTER: Duration = Duration::from_secs(1);

/// When an event loop gives its memory back: once, after some time without work.
#[derive(Debug, Default)]
pub struct Rest {
    rests: bool,
}

impl Rest {
    /// How long the loop may wait at most when it has nothing to do and no deadline; `None`: for ever.
    #[must_use]
    pub fn patience(&self) -> Option<Duration> {
        (!self.rests).then_some(REST_AFTER)
    }

    /// Something has happened.
    pub fn wake(&mut self) {
        self.rests = false;
    }

    /// Nothing has happened for as long as [`Rest::patience`] said.
    pub fn begin(&mut self) {
        if self.rests {
            return;
        }
        self.rests = true;
        trim_heap();
        // It costs only memory when it cannot be done.
        let _ = forget_program();
    }
}

/// Unmaps what is in memory of this program's own file. The pages stay in the kernel's cache, and come back one by one as they are needed.
///
/// # Errors
/// When `/proc` is not there.
pub fn forget_program() -> io::Result<()> {
    let maps = fs::read_to_string("/proc/self/maps")?;
    for (start, end) in clean_parts(&maps) {
        // SAFETY: the range is a mapping of this program's file that was never written to (`clean_parts`): reading it again gives the
        // same bytes. The program's file is never changed in place: a new version is a new file.
        unsafe { libc::madvise(std::ptr::with_exposed_provenance_mut(start), end - start, libc::MADV_DONTNEED) };
    }
    Ok(())
}

/// Address ranges of the program's code and of the constants before it. What comes after its code has been relocated, and exists nowhere
/// but in memory.
fn clean_parts(maps: &str) -> Vec<(usize, usize)> {
    struct Part<'a> {
        range: (usize, usize),
        permissions: &'a str,
        offset: u64,
        inode: &'a str,
    }
    // proc_pid_maps(5): range, permissions, offset, device, inode, path.
    let parts = maps.lines().filter_map(|line| {
        let mut fields = line.split_ascii_whitespace();
        let (start, end) = fields.next()?.split_once('-')?;
        let range = (usize::from_str_radix(start, 16).ok()?, usize::from_str_radix(end, 16).ok()?);
        let permissions = fields.next()?;
        let offset = u64::from_str_radix(fields.next()?, 16).ok()?;
        Some(Part { range, permissions, offset, inode: fields.nth(1)? })
    });
    let parts: Vec<Part<'_>> = parts.filter(|part| part.inode != "0").collect();
    let here = clean_parts as fn(&str) -> Vec<(usize, usize)> as usize;
    let Some(code) = parts.iter().find(|part| (part.range.0..part.range.1).contains(&here)) else { return Vec::new() };
    let is_clean =
        |part: &&Part<'_>| part.inode == code.inode && part.offset <= code.offset && matches!(part.permissions, "r--p" | "r-xp");
    parts.iter().filter(is_clean).map(|part| part.range).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// KiB of files that are mapped into this process now.
    fn mapped_kib() -> u64 {
        let status = fs::read_to_string("/proc/self/status").expect("proc");
        let line = status.lines().find_map(|line| line.strip_prefix("RssFile:")).expect("a line");
        line.trim().trim_end_matches("kB").trim().parse().expect("a number")
    }

    #[test]
    fn a_program_works_on_after_it_was_forgotten() {
        let words: Vec<String> = (0..1000).map(|number| format!("{number:x}")).collect();
        let before = mapped_kib();
        let mut rest = Rest::default();
        assert_eq!(rest.patience(), Some(REST_AFTER));
        rest.begin();
        let after = mapped_kib();
        assert!(after < before, "{after} KiB are mapped after {before}");
        assert_eq!(rest.patience(), None, "it rests until something happens");
        assert_eq!(words.join("").len(), 16 + 240 * 2 + 744 * 3);
        rest.wake();
        assert!(rest.patience().is_some());
    }

    #[test]
    fn only_what_was_never_written_is_forgotten() {
        let here = clean_parts as fn(&str) -> Vec<(usize, usize)> as usize;
        let page = here & !0xfff;
        let line = |start: usize, permissions: &str, offset: usize, inode: u32| {
            format!("{start:x}-{:x} {permissions} {offset:08x} fe:00 {inode} /program", start + 0x1000)
        };
        let maps = [
            line(page - 0x2000, "r--p", 0, 7),
            line(page, "r-xp", 0x2000, 7),
            line(page + 0x2000, "r--p", 0x4000, 7),
            line(page + 0x4000, "rw-p", 0x5000, 7),
            line(page + 0x8000, "r-xp", 0, 8),
            format!("{:x}-{:x} rw-p 00000000 00:00 0 [heap]", page + 0x10000, page + 0x11000),
        ];
        let expected = vec![(page - 0x2000, page - 0x1000), (page, page + 0x1000)];
        assert_eq!(clean_parts(&maps.join("\n")), expected);
        assert_eq!(clean_parts("not what it should be"), Vec::new());
    }
}
