//! Text of edits.

use pyro_api::ops::edit::{EditStatus, EditedFile, FileEditResponse};

use super::page::{self, inline};
use super::{Show, Shown, Style};

/// `M src/a.rs +3 -1`.
fn line(file: &EditedFile) -> String {
    let letter = match file.status {
        EditStatus::Unchanged => '=',
        EditStatus::Created => 'A',
        EditStatus::Changed => 'M',
        EditStatus::Moved => 'R',
        EditStatus::Deleted => 'D',
    };
    let from = file.from.as_ref().map(|from| format!("{} -> ", inline(from))).unwrap_or_default();
    let mut text = format!("{letter} {from}{} +{} -{}\n", inline(&file.path), file.added_lines, file.removed_lines);
    for note in &file.notes {
        text.push_str(&format!("  {}\n", inline(note)));
    }
    text
}

impl Show for FileEditResponse {
    fn person(&self, _style: &Style) -> Shown {
        let lines: String = self.files.iter().map(line).collect();
        let note = self.dry_run.then(|| "nothing was changed: this is what would be".to_owned());
        Shown { out: lines.into_bytes(), note }
    }
    fn model(&self, room: usize) -> String {
        let head = if self.dry_run { "nothing was changed; it would be:\n" } else { "" };
        let (shown, bytes) = page::head_only(&self.text, room.saturating_sub(200));
        let mut text = format!("{head}{shown}");
        if bytes < self.text.len() {
            text.push_str(&format!("{} more lines not shown\n", self.text[bytes..].lines().count()));
        }
        text
    }
}
