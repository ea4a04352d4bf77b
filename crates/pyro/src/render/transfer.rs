//! Text of what went in and out.

use pyro_api::ops::transfer::{ExportResponse, SyncPushResponse};

use super::page::{inline, plural, size};
use super::{Show, Shown, Style};

/// `left out: a, b`, when something was.
pub(super) fn skipped(names: &[String]) -> String {
    if names.is_empty() {
        return String::new();
    }
    format!("left out: {}\n", inline(&names.join(", ")))
}

impl Show for SyncPushResponse {
    fn person(&self, _style: &Style) -> Shown {
        self.model(usize::MAX).into()
    }
    fn model(&self, _room: usize) -> String {
        let (workspace, path) = (inline(&self.workspace), inline(&self.path));
        let same = plural(self.unchanged, "entry").replace("entrys", "entries");
        let Some(step) = self.step else {
            return format!("{path} of {workspace} was the same: {same}\n{}", skipped(&self.skipped));
        };
        let counts = format!("{} added, {} changed, {} deleted", self.added, self.changed, self.deleted);
        let bytes = size(self.bytes);
        format!("pushed to {path} of {workspace} (step {step}): {counts}, {same} the same; {bytes}\n{}", skipped(&self.skipped))
    }
}

impl Show for ExportResponse {
    fn person(&self, _style: &Style) -> Shown {
        self.model(usize::MAX).into()
    }
    fn model(&self, _room: usize) -> String {
        let entries = plural(self.entry_count, "entry").replace("entrys", "entries");
        let (workspace, path) = (inline(&self.workspace), inline(&self.path));
        let mut text = format!("exported {path} of {workspace} to {}: {entries}, {}\n", inline(&self.output), size(self.bytes));
        text.push_str(&skipped(&self.skipped));
        if let Some(why) = &self.copied {
            text.push_str(&format!("what had changed was copied first: {}\n", inline(why)));
        }
        if !self.runs_outside.is_empty() {
            text.push_str("tools outside run these by themselves, look at them first:\n");
            for line in &self.runs_outside {
                text.push_str(&format!("  {}\n", inline(line)));
            }
        }
        text
    }
}
