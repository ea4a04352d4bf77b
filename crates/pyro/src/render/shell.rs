//! Text of shells.

use pyro_api::ops::exec::Outcome;
use pyro_api::ops::shell::{ShellListResponse, ShellView};
use pyro_wire::untrusted::escape;

use super::exec::outcome_words;
use super::page::{self, contents, count, duration, inline};
use super::{Show, Shown, Style};

/// How a shell stands, in a line.
fn status(view: &ShellView) -> String {
    let shell = &view.shell;
    if view.outcome != Outcome::Running {
        return format!("{shell} has ended: {}", inline(&outcome_words(&view.outcome)));
    }
    let last = match &view.command {
        Some(command) if command.finished => match (&command.outcome, command.exit) {
            (Some(outcome), _) => format!("{}; ", outcome_words(outcome)),
            (None, Some(exit)) => format!("exit {exit}; "),
            (None, None) => String::new(),
        },
        Some(command) => match &command.line {
            Some(line) => format!("{} runs; ", page::cut_to(&inline(line), 80)),
            None => "a command runs; ".to_owned(),
        },
        None => String::new(),
    };
    let state = match (view.at_prompt, &view.waits_for_input, &view.screen, view.done) {
        (true, ..) => "at its prompt".to_owned(),
        (false, _, Some(_), _) => "a program has the whole screen".to_owned(),
        (false, Some(prompt), None, _) => page::asks(prompt),
        (false, None, None, true) => "open".to_owned(),
        (false, None, None, false) => "what was waited for has not come".to_owned(),
    };
    format!("{shell}: {last}{state}")
}

/// What to do about the last command, when its shell is at the prompt again.
fn next(view: &ShellView) -> Option<&str> {
    view.command.as_ref().filter(|_| view.at_prompt)?.next.as_deref()
}

impl Show for ShellView {
    fn person(&self, style: &Style) -> Shown {
        let mut text = contents(&self.text, style);
        for row in self.screen.iter().flatten() {
            text.push_str(&contents(row, style));
            text.push('\n');
        }
        if !text.is_empty() && !text.ends_with('\n') {
            text.push('\n');
        }
        let hint = next(self).map(|next| format!("\nhint: {}", inline(next))).unwrap_or_default();
        Shown { out: text.into_bytes(), note: Some(status(self) + &hint) }
    }
    fn model(&self, room: usize) -> String {
        let mut text = format!("{}\n", status(self));
        let room = room.saturating_sub(text.chars().count() + 300);
        match &self.screen {
            Some(rows) => {
                let rows = escape(rows.join("\n").trim_end());
                let label = format!("screen, cursor in row {}, column {}", self.cursor_row, self.cursor_column);
                text.push_str(&page::fenced(&label, &page::head_and_tail(&rows, room).text));
            }
            None if self.text.is_empty() => text.push_str("nothing new\n"),
            None => text.push_str(&page::fenced("terminal", &page::head_and_tail(&escape(&self.text), room).text)),
        }
        if self.lines_dropped > 0 {
            text.push_str(&format!(
                "{} lines before that are in workspace_job action=logs job=job{}\n",
                count(self.lines_dropped),
                self.exec
            ));
        }
        if let Some(next) = next(self) {
            text.push_str(&format!("next: {}\n", inline(next)));
        }
        if !self.done && self.waits_for_input.is_none() && self.outcome == Outcome::Running {
            text.push_str(&format!(
                "next: shell_read shell={} with until or pattern waits on; shell_write types, keys ctrl-c\n",
                self.shell
            ));
        }
        text
    }
}

impl Show for ShellListResponse {
    fn person(&self, style: &Style) -> Shown {
        let rows: Vec<Vec<String>> = self
            .shells
            .iter()
            .map(|shell| {
                vec![
                    shell.shell.clone(),
                    inline(&shell.program),
                    format!("{}x{}", shell.columns, shell.rows),
                    if shell.at_prompt { "at its prompt".to_owned() } else { "busy".to_owned() },
                    duration(shell.duration_ms),
                    inline(&shell.title),
                ]
            })
            .collect();
        page::table(&["SHELL", "PROGRAM", "SIZE", "STATE", "OPEN FOR", "TITLE"], &rows, style).into()
    }
    fn model(&self, room: usize) -> String {
        let lines: String = self
            .shells
            .iter()
            .map(|shell| {
                let state = if shell.at_prompt { "at its prompt" } else { "busy" };
                format!("{}: {}, {state}, {}\n", shell.shell, inline(&shell.program), duration(shell.duration_ms))
            })
            .collect();
        let text = if lines.is_empty() { "no shells; shell_open makes one\n".to_owned() } else { lines };
        page::head_only(&text, room).0.to_owned()
    }
}
