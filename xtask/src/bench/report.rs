//! The table, and what a reader needs to judge it: command, host, kernel, processor, date, versions.

use std::fmt::Write as _;
use std::fs;
use std::path::Path;
use std::process::Command;

use super::worker::Reply;
use crate::project::{self, Context as _, Result};

/// Measurements of one candidate.
#[derive(Clone, Debug, Default)]
pub struct Series {
    wall_ms: Vec<f64>,
    cpu_ms: Vec<f64>,
    kib: Option<u32>,
}

/// One line of a table.
pub struct Row {
    /// Who or what.
    pub name: String,
    /// What a reader should know of it.
    pub note: String,
    /// Numbers, or why there are none.
    pub outcome: std::result::Result<Series, String>,
}

impl Row {
    /// A line.
    pub fn new(name: &str, note: &str, outcome: Result<Series>) -> Self {
        Self { name: name.to_owned(), note: note.to_owned(), outcome: outcome.map_err(|failure| failure.to_string()) }
    }
}

/// One table. When its first row has numbers, the others are compared with it.
pub struct Section {
    /// Heading.
    pub title: String,
    /// Lines.
    pub rows: Vec<Row>,
}

impl Series {
    /// Adds one measurement.
    pub fn push(&mut self, reply: &Reply) {
        self.wall_ms.push(reply.wall_ms);
        self.cpu_ms.extend(reply.cpu_ms);
    }

    /// A size instead of times.
    pub fn of_kib(kib: u32) -> Self {
        Self { kib: Some(kib), ..Self::default() }
    }
}

/// One operation on trees of two sizes.
pub struct Pair {
    /// What is done.
    pub name: String,
    /// How.
    pub note: String,
    /// Milliseconds that it should take at most, on the larger tree.
    pub goal: Option<f64>,
    /// On the smaller tree.
    pub small: Result<Series>,
    /// On the larger one.
    pub large: Result<Series>,
}

/// A table of operations on two trees.
pub fn pairs(title: &str, sizes: [&str; 2], pairs: &[Pair]) -> String {
    let [small, large] = sizes;
    let mut page = format!("\n## {title}\n\n| | {small} | {large} | p95 | ÷ | goal | |\n|---|---|---|---|---|---|---|\n");
    for pair in pairs {
        let median = |series: &Result<Series>| match series {
            Ok(series) => ms(percentile(&series.wall_ms, 50)),
            Err(failure) => format!("not run: {}", failure.to_string().replace('|', "/").replace('\n', " ")),
        };
        let half = |series: &Result<Series>| series.as_ref().ok().and_then(|series| percentile(&series.wall_ms, 50));
        let ratio = half(&pair.large)
            .zip(half(&pair.small))
            .map_or_else(|| "–".to_owned(), |(large, small)| format!("{:.2}", large / small));
        let p95 = ms(pair.large.as_ref().ok().and_then(|series| percentile(&series.wall_ms, 95)));
        let goal = pair.goal.map_or_else(String::new, |goal| format!("{goal:.0}"));
        let _ = writeln!(
            page,
            "| {} | {} | {} | {p95} | {ratio} | {goal} | {} |",
            pair.name,
            median(&pair.small),
            median(&pair.large),
            pair.note
        );
    }
    page
}

/// A table of candidates, each with its median as a fraction of the first's.
pub fn against_first(title: &str, rows: &[Row]) -> String {
    let mut page = format!("\n## {title}\n\n| | median | p95 | pyro ÷ | |\n|---|---|---|---|---|\n");
    let median = |row: &Row| row.outcome.as_ref().ok().and_then(|series| percentile(&series.wall_ms, 50));
    let first = rows.first().and_then(median);
    for (index, row) in rows.iter().enumerate() {
        match &row.outcome {
            Ok(series) => {
                let ratio = first.zip(median(row)).filter(|_| index > 0);
                let ratio = ratio.map_or_else(String::new, |(first, this)| format!("{:.3}", first / this));
                let p95 = percentile(&series.wall_ms, 95);
                let _ = writeln!(page, "| {} | {} | {} | {ratio} | {} |", row.name, ms(median(row)), ms(p95), row.note);
            }
            Err(why) => {
                let why = why.replace('|', "/").replace('\n', " ");
                let _ = writeln!(page, "| {} | not run: {why} | | | {} |", row.name, row.note);
            }
        }
    }
    page
}

/// The value below which this many hundredths of the values are (nearest rank).
fn percentile(values: &[f64], hundredths: usize) -> Option<f64> {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    let rank = (sorted.len() * hundredths).div_ceil(100).max(1);
    sorted.get(rank - 1).copied()
}

fn ms(value: Option<f64>) -> String {
    value.map_or_else(|| "–".to_owned(), |value| format!("{value:.2}"))
}

/// What a reader needs to judge figures: who wrote them with which command, where and when.
pub fn head(title: &str, about: &str, command: &str, versions: &[String], pyro: &Path) -> Result<String> {
    let mut page = format!("# {title}\n\n{about}\n");
    let _ = writeln!(page, "- command: `{command}`");
    let _ = writeln!(page, "- date: {}", first_line(Command::new("date").args(["--utc", "+%Y-%m-%d"])));
    let _ = writeln!(
        page,
        "- machine: {}, {} processors, {}",
        processor(),
        std::thread::available_parallelism().context("processors")?,
        memory()
    );
    let _ = writeln!(page, "- kernel: {}; {}", read("/proc/sys/kernel/osrelease"), distribution());
    let _ = writeln!(page, "- file system of the homes: {}", file_system(&project::home()));
    let load = read("/proc/loadavg").split(' ').take(3).collect::<Vec<_>>().join(" ");
    let _ = writeln!(page, "- load average (1, 5, 15 minutes) at the end, of which the benchmark itself is about 1: {load}");
    let mut all = vec![first_line(Command::new(pyro).arg("--version"))];
    all.extend(versions.iter().cloned());
    let _ = writeln!(page, "- versions: {}", all.join(", "));
    Ok(page)
}

/// What a directory lies on. Whether ext4 has a journal is said, for without one it does not use an inode again for minutes after a file was deleted
/// (`recently_deleted` in fs/ext4/ialloc.c), and makes new ones the slower the more were: 0.03 to 0.5 ms each were seen.
fn file_system(directory: &Path) -> String {
    let found = first_line(Command::new("findmnt").args(["--noheadings", "--output", "FSTYPE,SOURCE", "--target"]).arg(directory));
    let mut words = found.split_ascii_whitespace();
    let (kind, source) = (words.next().unwrap_or("unknown"), words.next().unwrap_or_default());
    if kind != "ext4" {
        return kind.to_owned();
    }
    // fs/jbd2/journal.c names it for the device and the inode of the journal; behind a bind mount a directory follows in brackets.
    let device = source.split('[').next().and_then(|path| path.rsplit('/').next()).unwrap_or_default();
    let journals = fs::read_dir("/proc/fs/jbd2").into_iter().flatten().flatten();
    let has_journal =
        journals.map(|journal| journal.file_name()).any(|name| name.to_string_lossy().starts_with(&format!("{device}-")));
    format!("ext4 {} a journal", if has_journal { "with" } else { "without" })
}

/// The page of sandboxes, workspaces and machines.
pub fn render(sections: &[Section], repetitions: u32, versions: &[String], pyro: &Path) -> Result<String> {
    let about = "Written by `cargo xtask bench`; do not edit. Candidates take turns on one machine in one run; every run uses the same root file system and the command
`/bin/true`. Times are milliseconds. CPU is user and system time of everything that the candidate started, including what it left to finish in the
background. `pyro ÷` is pyro's median as a fraction of the row's. Take the ratios: the machine is small and shared.
";
    let command = format!("cargo xtask bench --repetitions {repetitions}");
    let mut page = head("Benchmarks", about, &command, versions, pyro)?;
    for section in sections {
        let _ = writeln!(page, "\n## {}\n", section.title);
        page.push_str("| | median | p95 | CPU median | pyro ÷ | |\n|---|---|---|---|---|---|\n");
        let reference = section
            .rows
            .first()
            .filter(|row| row.name == "pyro run")
            .and_then(|row| row.outcome.as_ref().ok())
            .and_then(|series| percentile(&series.wall_ms, 50));
        for row in &section.rows {
            match &row.outcome {
                Ok(Series { kib: Some(kib), .. }) => {
                    let _ = writeln!(page, "| {} | {kib} KiB | | | | {} |", row.name, row.note);
                }
                Ok(series) => {
                    let median = percentile(&series.wall_ms, 50);
                    let ratio = match (reference, median) {
                        (Some(reference), Some(median)) if row.name != "pyro run" => {
                            format!("{:.2}", reference / median)
                        }
                        _ => String::new(),
                    };
                    let p95 = percentile(&series.wall_ms, 95);
                    let cpu = percentile(&series.cpu_ms, 50);
                    let _ =
                        writeln!(page, "| {} | {} | {} | {} | {ratio} | {} |", row.name, ms(median), ms(p95), ms(cpu), row.note);
                }
                Err(why) => {
                    let _ = writeln!(
                        page,
                        "| {} | not run: {} | | | | {} |",
                        row.name,
                        why.replace('|', "/").replace('\n', " "),
                        row.note
                    );
                }
            }
        }
    }
    Ok(page)
}

pub fn first_line(command: &mut Command) -> String {
    let output = command.output().ok().filter(|output| output.status.success());
    let text = output.map(|output| String::from_utf8_lossy(&output.stdout).into_owned()).unwrap_or_default();
    text.lines().next().unwrap_or("unknown").to_owned()
}

fn read(file: &str) -> String {
    fs::read_to_string(file).unwrap_or_default().trim().to_owned()
}

fn field<'a>(table: &'a str, name: &str, separator: char) -> Option<&'a str> {
    table.lines().find_map(|line| line.split_once(separator).filter(|(key, _)| key.trim() == name).map(|(_, value)| value.trim()))
}

fn processor() -> String {
    field(&read("/proc/cpuinfo"), "model name", ':').unwrap_or("unknown processor").to_owned()
}

fn memory() -> String {
    let kib =
        field(&read("/proc/meminfo"), "MemTotal", ':').and_then(|value| value.split(' ').next()?.parse::<u64>().ok()).unwrap_or(0);
    format!("{} GiB", kib.div_ceil(1024 * 1024))
}

fn distribution() -> String {
    field(&read("/etc/os-release"), "PRETTY_NAME", '=').unwrap_or("unknown distribution").trim_matches('"').to_owned()
}

#[cfg(test)]
mod tests {
    use super::percentile;

    #[test]
    fn percentiles_are_values_that_were_measured() {
        let values = [5.0, 1.0, 4.0, 2.0, 3.0];
        assert_eq!(percentile(&values, 50), Some(3.0));
        assert_eq!(percentile(&values, 95), Some(5.0));
        assert_eq!(percentile(&[], 50), None);
    }
}
