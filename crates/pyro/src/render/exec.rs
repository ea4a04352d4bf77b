//! Text of runs, execs and logs.

use pyro_api::ops::exec::{Clip, ExecResponse, LogsResponse, Outcome, RunResponse};
use pyro_api::values::JobName;

use super::page::{self, contents, count, duration, inline, size};
use super::{Show, Shown, Style};

/// How a command ended, without how long it took: `exit 0`.
pub(super) fn outcome_words(outcome: &Outcome) -> String {
    match outcome {
        Outcome::Running => "running".to_owned(),
        Outcome::Exited { code } => format!("exit {code}"),
        Outcome::Signaled { signal, name } => format!("killed by {} (signal {signal})", inline(name)),
        Outcome::TimedOut { after_seconds } => format!("timed out after {after_seconds} s and was killed"),
        Outcome::OutOfMemory { limit_mib, peak_mib, code } => {
            let peak = peak_mib.map(|peak| format!(", peak {peak} MiB")).unwrap_or_default();
            format!("out of memory (limit {limit_mib} MiB{peak}), exit {code}")
        }
        Outcome::DiskFull { path, code } => format!("exit {code}, disk full ({})", inline(path)),
        Outcome::ProcessLimit { limit, code } => format!("exit {code}, no more processes (limit {limit})"),
        Outcome::Cancelled => "cancelled and killed".to_owned(),
        Outcome::NotStarted { reason, .. } => format!("not started: {}", inline(reason)),
        Outcome::SandboxLost { reason } => format!("the sandbox was lost: {}", inline(reason)),
    }
}

/// How a command ended, in a line: `exit 0 in 1.2 s`.
fn outcome_line(outcome: &Outcome, duration_ms: u64) -> String {
    let (words, took) = (outcome_words(outcome), duration(duration_ms));
    match outcome {
        Outcome::Exited { .. } => format!("{words} in {took}"),
        // Their time is known, or none passed.
        Outcome::TimedOut { .. } | Outcome::NotStarted { .. } => words,
        Outcome::Running => format!("still running after {took}"),
        _ => format!("{words} after {took}"),
    }
}

/// What a person is told after a command's own output: nothing when it returned by itself.
fn outcome_note(outcome: &Outcome, line: impl FnOnce() -> String, next: Option<&str>) -> Option<String> {
    let line = match outcome {
        Outcome::Exited { .. } => None,
        _ => Some(line()),
    };
    let hint = next.map(|next| format!("hint: {}", inline(next)));
    match (line, hint) {
        (Some(line), Some(hint)) => Some(format!("{line}\n{hint}")),
        // What a shell's own status means is no news to a person.
        (line, _) => line,
    }
}

/// Characters for status, fences and the last line.
const FRAME_CHARS: usize = 700;

/// Output of a command for a model. `rest` says where the rest is.
fn output(status: &str, stdout: &Clip, stderr: &Clip, rest: &str, next: Option<&str>, room: usize) -> String {
    let room = room.saturating_sub(FRAME_CHARS);
    let (out, err) = (page_chars(&stdout.text), page_chars(&stderr.text));
    // What one of them does not need, the other may have; errors come first when both are long.
    let err_room = err.min((room / 2).max(room.saturating_sub(out)));
    let out_room = room.saturating_sub(err_room);
    let mut text = format!("{status}\n");
    let mut cut = false;
    let mut dropped = 0;
    for (label, clip, room) in [("stdout", stdout, out_room), ("stderr", stderr, err_room)] {
        dropped += clip.bytes_dropped;
        if clip.text.is_empty() && clip.bytes_total == 0 {
            continue;
        }
        let shown = page::head_and_tail(&clip.text, room);
        cut |= shown.lines_omitted > 0 || clip.bytes_omitted > 0;
        let label = match clip.binary {
            true => format!("{label}, {}, binary", size(clip.bytes_total)),
            false if shown.lines_omitted > 0 || clip.bytes_omitted > 0 => format!("{label}, {} in all", size(clip.bytes_total)),
            false => label.to_owned(),
        };
        text.push_str(&page::fenced(&label, &shown.text));
    }
    if stdout.bytes_total == 0 && stderr.bytes_total == 0 {
        text.push_str("no output\n");
    }
    if dropped > 0 {
        text.push_str(&format!("{} more was written and is not kept\n", size(dropped)));
    }
    let next = match next {
        Some(next) => Some(inline(next)),
        None if cut => Some(rest.to_owned()),
        None => None,
    };
    if let Some(next) = next {
        text.push_str(&format!("next: {next}\n"));
    }
    text
}

/// Characters a text takes once it is escaped.
fn page_chars(text: &str) -> usize {
    pyro_wire::untrusted::escape(text).chars().count() + 1
}

/// Escaped first, so that what is cut to fit is what is shown.
fn escaped(clip: &Clip) -> Clip {
    Clip { text: pyro_wire::untrusted::escape(&clip.text), ..clip.clone() }
}

/// The output of a finished command for a person who did not see it stream.
fn clips(stdout: &Clip, stderr: &Clip, style: &Style) -> String {
    let mut text = contents(&stdout.text, style);
    if !text.is_empty() && !text.ends_with('\n') && !stderr.text.is_empty() {
        text.push('\n');
    }
    text.push_str(&contents(&stderr.text, style));
    text
}

impl Show for RunResponse {
    fn person(&self, style: &Style) -> Shown {
        let note = outcome_note(&self.outcome, || outcome_line(&self.outcome, self.duration_ms), self.next.as_deref());
        Shown { out: clips(&self.stdout, &self.stderr, style).into_bytes(), note }
    }
    fn model(&self, room: usize) -> String {
        let rest = "the rest is not kept; print less, or use a workspace";
        let status = outcome_line(&self.outcome, self.duration_ms);
        output(&status, &escaped(&self.stdout), &escaped(&self.stderr), rest, self.next.as_deref(), room)
    }
}

/// How a command of a workspace stands, in a line.
fn status(exec: &ExecResponse) -> String {
    let line = outcome_line(&exec.outcome, exec.duration_ms);
    match &exec.waits_for_input {
        Some(prompt) => format!("{line}; it {}", page::asks(prompt)),
        None => line,
    }
}

impl Show for ExecResponse {
    fn person(&self, style: &Style) -> Shown {
        let note = outcome_note(&self.outcome, || status(self), self.next.as_deref());
        Shown { out: clips(&self.stdout, &self.stderr, style).into_bytes(), note }
    }
    fn model(&self, room: usize) -> String {
        let job = JobName::from(self.exec);
        let rest = format!("workspace_job action=logs job={job} lines=... or search=... reads the rest");
        output(&status(self), &escaped(&self.stdout), &escaped(&self.stderr), &rest, self.next.as_deref(), room)
    }
}

impl Show for LogsResponse {
    fn person(&self, style: &Style) -> Shown {
        let rows: Vec<Vec<String>> = self
            .entries
            .iter()
            .map(|entry| {
                vec![
                    entry.exec.map_or_else(String::new, |exec| exec.to_string()),
                    entry.step.map_or_else(String::new, |step| step.to_string()),
                    page::ago(&entry.at, style.now),
                    entry.op.strip_prefix("workspace ").unwrap_or(&entry.op).to_owned(),
                    inline(&entry.outcome),
                    entry.duration_ms.map_or_else(String::new, duration),
                    inline(&entry.subject),
                ]
            })
            .collect();
        let note = (self.count > self.entries.len() as u64).then(|| {
            format!(
                "the newest {} of {}; --limit shows more",
                self.entries.len(),
                page::plural(self.count, "entry").replace("entrys", "entries")
            )
        });
        Shown { out: page::table(&["EXEC", "STEP", "WHEN", "WHAT", "OUTCOME", "TOOK", "SUBJECT"], &rows, style).into_bytes(), note }
    }
    fn model(&self, room: usize) -> String {
        let mut text = format!("{} of {} entries, oldest first\n", self.entries.len(), count(self.count));
        let lines: String = self
            .entries
            .iter()
            .map(|entry| {
                let exec = entry.exec.map_or_else(String::new, |exec| format!(" {exec}"));
                let step = entry.step.map_or_else(String::new, |step| format!(" (step {step})"));
                let took = entry.duration_ms.map_or_else(String::new, |ms| format!(" in {}", duration(ms)));
                format!(
                    "{} {}{exec}: {} -> {}{took}{step}\n",
                    inline(&entry.at),
                    entry.op,
                    inline(&entry.subject),
                    inline(&entry.outcome)
                )
            })
            .collect();
        text.push_str(&page::head_and_tail(&lines, room.saturating_sub(200)).text);
        text
    }
}
