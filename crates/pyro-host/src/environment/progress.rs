//! What mmdebstrap is doing, from the lines that it and apt print with `--verbose` in the C locale.
//!
//! Used for showing progress and for a better error only: a line that is not understood changes nothing.

use pyro_api::envelope::Progress;

/// Reads a build's lines.
#[derive(Debug, Default)]
pub(super) struct BuildLines {
    name: String,
    phase: Phase,
    done: u64,
    /// Packages of the transaction that apt announced last.
    announced: u64,
    /// Packages of all transactions so far.
    packages: u64,
    configured: u64,
    /// The last lines that name an error, for the message.
    errors: Vec<String>,
    /// The last lines of any sort, for when nothing names one.
    last: Vec<String>,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Phase {
    #[default]
    Starting,
    Lists,
    Downloading,
    Extracting,
    Configuring,
    Cleaning,
    Packing,
}

/// How many lines of an error are worth showing.
const ERROR_LINES_MAX: usize = 3;

impl BuildLines {
    pub fn new(name: &str) -> Self {
        Self { name: name.to_owned(), ..Self::default() }
    }

    /// Takes one line; says how far the build is when that changed.
    pub fn take(&mut self, line: &str) -> Option<Progress> {
        let line = line.trim_end();
        self.remember(line);
        if let Some(words) = line.strip_prefix("I: ") {
            let phase = match words {
                _ if words.starts_with("running apt-get update") => Phase::Lists,
                _ if words.starts_with("downloading packages") => Phase::Downloading,
                _ if words.starts_with("extracting archives") => Phase::Extracting,
                _ if words.starts_with("installing essential") => Phase::Configuring,
                _ if words.starts_with("installing remaining") => Phase::Downloading,
                _ if words.starts_with("cleaning") => Phase::Cleaning,
                _ if words.starts_with("creating tarball") => Phase::Packing,
                _ => return None,
            };
            self.enter(phase);
            return Some(self.progress());
        }
        if line.starts_with("Get:") {
            self.done += 1;
            return Some(self.progress());
        }
        if let Some(count) = newly_installed(line) {
            self.announced = count;
            return None;
        }
        if line.starts_with("Fetched ") && self.phase == Phase::Downloading && self.done > 0 {
            self.packages += self.announced;
            self.announced = 0;
            if self.configured > 0 {
                self.enter(Phase::Configuring);
                return Some(self.progress());
            }
        }
        if line.starts_with("Setting up ") {
            if self.phase != Phase::Configuring {
                self.enter(Phase::Configuring);
            }
            self.configured += 1;
            return Some(self.progress());
        }
        None
    }

    /// Why it failed, as far as its lines say.
    pub fn error(&self) -> String {
        let lines = if self.errors.is_empty() { &self.last } else { &self.errors };
        lines.join("; ")
    }

    /// Whether a line of the errors holds these words.
    pub fn error_says(&self, words: &str) -> bool {
        self.errors.iter().chain(&self.last).any(|line| line.contains(words))
    }

    fn enter(&mut self, phase: Phase) {
        self.phase = phase;
        self.done = 0;
    }

    fn progress(&self) -> Progress {
        let (step, done, total, unit) = match self.phase {
            Phase::Starting => ("starting", 0, None, "packages"),
            Phase::Lists => ("reading the package lists of", self.done, None, "files"),
            Phase::Downloading => ("downloading", self.done, Some(self.announced).filter(|&total| total > 0), "packages"),
            Phase::Extracting => ("extracting", 0, None, "packages"),
            Phase::Configuring => ("configuring", self.configured, Some(self.packages.max(self.configured)), "packages"),
            Phase::Cleaning => ("cleaning", 0, None, "packages"),
            Phase::Packing => ("packing", 0, None, "bytes"),
        };
        Progress { step: format!("{step} {}", self.name), done, total, unit: unit.to_owned() }
    }

    fn remember(&mut self, line: &str) {
        // `E: mmdebstrap failed to run` and the like say nothing, and come last.
        let names_an_error = ["E: ", "Err:", "dpkg: error", "gpgv: "].iter().any(|start| line.starts_with(start))
            || ["No space left on device", "NO_PUBKEY", "cannot execute", ": error:"].iter().any(|words| line.contains(words));
        if names_an_error && !line.ends_with("failed to run") {
            keep_last(&mut self.errors, line);
        }
        if !line.is_empty() && !line.starts_with("I: removing tempdir") && !line.starts_with("I: main() received") {
            keep_last(&mut self.last, line);
        }
    }
}

fn keep_last(lines: &mut Vec<String>, line: &str) {
    if lines.len() == ERROR_LINES_MAX {
        lines.remove(0);
    }
    lines.push(line.to_owned());
}

/// `0 upgraded, 69 newly installed, 0 to remove and 0 not upgraded.`
fn newly_installed(line: &str) -> Option<u64> {
    line.split(", ").find_map(|part| part.strip_suffix(" newly installed"))?.parse().ok()
}
