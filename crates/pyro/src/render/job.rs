//! Text of jobs.

use pyro_api::ops::job::{JobListResponse, JobLogsResponse, JobResponse};
use pyro_wire::untrusted::escape;

use super::exec::outcome_words;
use super::page::{self, contents, count, duration, inline, plural, size};
use super::{Show, Shown, Style};

impl Show for JobListResponse {
    fn person(&self, style: &Style) -> Shown {
        let rows: Vec<Vec<String>> = self
            .jobs
            .iter()
            .map(|job| {
                vec![
                    job.job.clone(),
                    page::ago(&job.at, style.now),
                    inline(&outcome_words(&job.outcome)),
                    job.duration_ms.map_or_else(String::new, duration),
                    inline(&job.command),
                ]
            })
            .collect();
        let left = self.count.saturating_sub(self.jobs.len() as u64);
        let note = (left > 0).then(|| format!("{} more; --limit shows them", plural(left, "job")));
        Shown { out: page::table(&["JOB", "BEGAN", "OUTCOME", "TOOK", "COMMAND"], &rows, style).into_bytes(), note }
    }
    fn model(&self, room: usize) -> String {
        let lines: String = self
            .jobs
            .iter()
            .map(|job| {
                let took = job.duration_ms.map_or_else(String::new, |ms| format!(", {}", duration(ms)));
                format!("{}: {}{took}: {}\n", job.job, inline(&outcome_words(&job.outcome)), inline(&job.command))
            })
            .collect();
        let status = format!("{} of {}, those that run first\n", self.jobs.len(), plural(self.count, "job"));
        format!("{status}{}", page::head_only(&lines, room.saturating_sub(status.len())).0)
    }
}

impl Show for JobLogsResponse {
    fn person(&self, style: &Style) -> Shown {
        let note = self.matches.map(|matches| format!("{} of {} match", count(matches), plural(self.lines_total, "line")));
        Shown { out: contents(&self.text, style).into_bytes(), note }
    }
    fn model(&self, room: usize) -> String {
        let lines = plural(self.lines_total, "line");
        let what = match (self.matches, &self.lines) {
            (Some(matches), _) => format!("{} of {lines} match", count(matches)),
            (None, Some(shown)) => format!("lines {shown} of {}", count(self.lines_total)),
            (None, None) => lines,
        };
        let binary = if self.binary { ", binary" } else { "" };
        let command = page::cut_to(&inline(&self.command), 200);
        let mut text = format!("{}, {}, {command}: {what}{binary}\n", self.job, inline(&outcome_words(&self.outcome)));
        let shown = page::head_and_tail(&escape(&self.text), room.saturating_sub(text.chars().count() + 200));
        if !shown.text.is_empty() {
            text.push_str(&page::fenced("output", &shown.text));
        }
        if self.bytes_dropped > 0 {
            text.push_str(&format!("{} more was written and is not kept\n", size(self.bytes_dropped)));
        }
        if let Some(next) = self.next_line {
            text.push_str(&format!("next: lines {next}- goes on\n"));
        }
        text
    }
}

impl Show for JobResponse {
    fn person(&self, style: &Style) -> Shown {
        self.shown().map_or_else(Shown::default, |shown| shown.person(style))
    }
    fn model(&self, room: usize) -> String {
        self.shown().map_or_else(String::new, |shown| shown.model(room))
    }
}

trait One {
    /// The one thing that was asked for.
    fn shown(&self) -> Option<&dyn Show>;
}

impl One for JobResponse {
    fn shown(&self) -> Option<&dyn Show> {
        let command = self.command.as_ref().map(|command| command as &dyn Show);
        command.or(self.logs.as_ref().map(|logs| logs as &dyn Show)).or(self.list.as_ref().map(|list| list as &dyn Show))
    }
}
