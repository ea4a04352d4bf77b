//! Text of runs, execs and logs.

use pyro_api::ops::exec::{Clip, ExecResponse, LogsResponse, Outcome, RunResponse};

use super::page::{self, contents, count, duration, inline, size};
use super::{Show, Shown, Style};

/// How a command ended, in a line: `exit 0 in 1.2 s`.
fn outcome_line(outcome: &Outcome, duration_ms: u64) -> String {
    let took = duration(duration_ms);
    match outcome {
        Outcome::Exited { code } => format!("exit {code} in {took}"),
        Outcome::Signaled { signal, name } => format!("killed by {} (signal {signal}) after {took}", inline(name)),
        Outcome::TimedOut { after_seconds } => format!("timed out after {after_seconds} s and was killed"),
        Outcome::OutOfMemory { limit_mib } => format!("out of memory after {took}: the limit of {limit_mib} MiB was reached"),
        Outcome::Cancelled => format!("cancelled after {took} and killed"),
        Outcome::NotStarted { reason, .. } => format!("not started: {}", inline(reason)),
        Outcome::SandboxLost { reason } => format!("the sandbox was lost after {took}: {}", inline(reason)),
    }
}

/// What to do about an outcome that is not plain, by flag or field name.
fn outcome_next(outcome: &Outcome) -> Option<&'static str> {
    match outcome {
        Outcome::TimedOut { .. } => Some("a larger timeout_seconds gives it longer"),
        Outcome::OutOfMemory { .. } => Some("mem_mib, given when the sandbox is made, gives it more"),
        Outcome::Exited { .. }
        | Outcome::Signaled { .. }
        | Outcome::Cancelled
        | Outcome::NotStarted { .. }
        | Outcome::SandboxLost { .. } => None,
    }
}

/// What a person is told after a command's own output: nothing when it returned by itself.
fn outcome_note(outcome: &Outcome, duration_ms: u64) -> Option<String> {
    match outcome {
        Outcome::Exited { .. } => None,
        outcome => {
            let line = outcome_line(outcome, duration_ms);
            let hint = match outcome {
                Outcome::TimedOut { .. } => Some("--timeout-seconds gives it longer"),
                Outcome::OutOfMemory { .. } => Some("--mem-mib, given when the sandbox is made, gives it more"),
                _ => None,
            };
            Some(hint.map_or_else(|| line.clone(), |hint| format!("{line}\nhint: {hint}")))
        }
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
        Shown { out: clips(&self.stdout, &self.stderr, style).into_bytes(), note: outcome_note(&self.outcome, self.duration_ms) }
    }
    fn model(&self, room: usize) -> String {
        let rest = "the rest is not kept; print less, or use a workspace";
        let status = outcome_line(&self.outcome, self.duration_ms);
        output(&status, &escaped(&self.stdout), &escaped(&self.stderr), rest, outcome_next(&self.outcome), room)
    }
}

impl Show for ExecResponse {
    fn person(&self, style: &Style) -> Shown {
        Shown { out: clips(&self.stdout, &self.stderr, style).into_bytes(), note: outcome_note(&self.outcome, self.duration_ms) }
    }
    fn model(&self, room: usize) -> String {
        let rest = format!("workspace_logs workspace={} exec={} shows all of it", inline(&self.workspace), self.exec);
        let status = outcome_line(&self.outcome, self.duration_ms);
        let next = self.next.as_deref().or_else(|| outcome_next(&self.outcome));
        output(&status, &escaped(&self.stdout), &escaped(&self.stderr), &rest, next, room)
    }
}

impl Show for LogsResponse {
    fn person(&self, style: &Style) -> Shown {
        if let Some(output) = &self.output {
            let omitted = output.stdout.bytes_omitted + output.stderr.bytes_omitted;
            let note = (omitted > 0).then(|| format!("{} more; --offset shows them", page::plural(omitted, "byte")));
            return Shown { out: clips(&output.stdout, &output.stderr, style).into_bytes(), note };
        }
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
        if let Some(output) = &self.output {
            let mut text = format!("exec {}: {}; {}\n", output.exec, inline(&output.outcome), inline(&output.command));
            let mut room = room.saturating_sub(FRAME_CHARS + page_chars(&output.command));
            for (label, clip) in [("stdout", &output.stdout), ("stderr", &output.stderr)] {
                if clip.text.is_empty() {
                    continue;
                }
                // Escaping makes a text longer at most tenfold; what is measured must be what is shown.
                let escaped = pyro_wire::untrusted::escape(&clip.text);
                let (shown, bytes) = page::head_only(&escaped, room);
                let left = clip.bytes_omitted + (escaped.len() - bytes) as u64;
                let label = if left > 0 { format!("{label}, about {} more after this", size(left)) } else { label.to_owned() };
                text.push_str(&page::fenced(&label, shown));
                if left > 0 {
                    text.push_str(&format!("next: add {} to offset\n", count(bytes as u64)));
                }
                room = room.saturating_sub(page_chars(shown));
            }
            return text;
        }
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
