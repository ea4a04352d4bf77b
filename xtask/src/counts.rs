//! Counting tests from what the runners say about themselves.

use std::ops::AddAssign;

/// Cases that passed, failed and did not run.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// Ran and passed.
    pub passed: u64,
    /// Ran and failed, or could not be run though they had to.
    pub failed: u64,
    /// Did not run: each has said why.
    pub skipped: u64,
}

impl AddAssign for Counts {
    fn add_assign(&mut self, other: Self) {
        self.passed += other.passed;
        self.failed += other.failed;
        self.skipped += other.skipped;
    }
}

impl Counts {
    /// One step without cases of its own, as it ended.
    pub fn step(passed: bool) -> Self {
        Self { passed: u64::from(passed), failed: u64::from(!passed), skipped: 0 }
    }

    /// Adds up the `test result:` lines of libtest. A case that cannot run prints a line that begins with `SKIPPED` and returns,
    /// which libtest counts as passed; it is taken out again here.
    ///
    /// `None` when there is no such line: then the runner never came to its end.
    pub fn of_libtest(text: &str) -> Option<Self> {
        let mut counts = Self::default();
        let mut seen = false;
        let mut skipped = 0_u64;
        for line in text.lines() {
            if let Some(result) = line.strip_prefix("test result: ") {
                seen = true;
                for part in result.split(['.', ';']) {
                    let mut words = part.split_whitespace();
                    if let (Some(number), Some(word)) = (words.next(), words.next())
                        && let Ok(number) = number.parse::<u64>()
                    {
                        match word {
                            "passed" => counts.passed += number,
                            "failed" => counts.failed += number,
                            "ignored" => counts.skipped += number,
                            _ => {}
                        }
                    }
                }
            } else if line.starts_with("SKIPPED ") {
                skipped += 1;
            }
        }
        if !seen {
            return Self::of_one_story(text);
        }
        counts.passed = counts.passed.saturating_sub(skipped);
        counts.skipped += skipped;
        Some(counts)
    }

    /// A test program that is one story ends with `NAME: ok`, or with `SKIPPED NAME: why`.
    fn of_one_story(text: &str) -> Option<Self> {
        let last = text.lines().next_back()?;
        match last.strip_suffix(": ok") {
            Some(name) if !name.contains(' ') => Some(Self::step(true)),
            _ => last.starts_with("SKIPPED ").then_some(Self { skipped: 1, ..Self::default() }),
        }
    }

    /// Reads a last line `N passed, N failed`, optionally with `, N skipped`.
    pub fn of_summary(text: &str) -> Option<Self> {
        let line = text.lines().rev().find(|line| !line.trim().is_empty())?;
        let mut counts = Self::default();
        for part in line.split(", ") {
            let (number, word) = part.trim().split_once(' ')?;
            let number = number.parse().ok()?;
            match word {
                "passed" => counts.passed = number,
                "failed" => counts.failed = number,
                "skipped" => counts.skipped = number,
                _ => return None,
            }
        }
        Some(counts)
    }
}

#[cfg(test)]
mod tests {
    use super::Counts;

    #[test]
    fn libtest_lines_are_added_up_and_skips_are_not_passes() {
        let text = "running 3 tests\nSKIPPED namespaces: no\ntest result: ok. 3 passed; 1 failed; 1 ignored; 0 measured; 9 filtered out; finished in 0.00s\n\
                    test result: ok. 2 passed; 0 failed; 0 ignored; 0 measured; 0 filtered out; finished in 0.01s\n";
        assert_eq!(Counts::of_libtest(text), Some(Counts { passed: 4, failed: 1, skipped: 2 }));
    }

    #[test]
    fn a_runner_that_never_ended_has_no_counts() {
        assert_eq!(Counts::of_libtest("running 3 tests\ntest a ... ok\n"), None);
        assert_eq!(Counts::of_libtest(""), None);
    }

    #[test]
    fn a_program_that_is_one_story_counts_as_one() {
        assert_eq!(Counts::of_libtest("pid_1: ok\n"), Some(Counts { passed: 1, failed: 0, skipped: 0 }));
        assert_eq!(Counts::of_libtest("SKIPPED pid_1: no\n"), Some(Counts { passed: 0, failed: 0, skipped: 1 }));
    }

    #[test]
    fn a_summary_is_the_last_line_and_nothing_else() {
        assert_eq!(Counts::of_summary("x\n7 passed, 1 failed\n"), Some(Counts { passed: 7, failed: 1, skipped: 0 }));
        assert_eq!(Counts::of_summary("7 passed, 1 failed\nTraceback\n"), None);
    }
}
