//! Text of the past of a workspace.

use pyro_api::ops::past::{
    CompareResponse, Compared, ConflictView, ForkResponse, MergeResponse, RewindResponse, SnapshotCreateResponse,
    SnapshotDeleteResponse, SnapshotListResponse, StepView,
};

use super::page::{self, ago, bold, inline, plural, size, table};
use super::{Show, Shown, Style};

/// `step 3, after: npm install`.
fn step(view: &StepView) -> String {
    if view.step == 0 {
        return "step 0, as created".to_owned();
    }
    let what = match (view.op.as_str(), view.subject.as_str()) {
        ("background", _) => "processes in the background".to_owned(),
        ("workspace exec", subject) => inline(subject),
        (op, "") => inline(op.trim_start_matches("workspace ")),
        (op, subject) => format!("{} {}", inline(op.trim_start_matches("workspace ")), inline(subject)),
    };
    let others = match view.op_count {
        0 | 1 => String::new(),
        several => format!(" (and {} before it)", plural(several - 1, "operation")),
    };
    format!("step {}, after: {what}{others}", view.step)
}

fn copied(why: Option<&String>) -> String {
    why.map(|why| format!("what had changed was copied: {}\n", inline(why))).unwrap_or_default()
}

impl Show for SnapshotCreateResponse {
    fn person(&self, style: &Style) -> Shown {
        let name = bold(&inline(&self.name), style);
        format!("snapshot {name} of {} (step {})\n{}", inline(&self.workspace), self.step, copied(self.copied.as_ref())).into()
    }
    fn model(&self, _room: usize) -> String {
        format!("snapshot {} made (step {})\n{}", inline(&self.name), self.step, copied(self.copied.as_ref()))
    }
}

impl Show for SnapshotListResponse {
    fn person(&self, style: &Style) -> Shown {
        if self.snapshots.is_empty() {
            let name = inline(&self.workspace);
            let note = format!("{name} has no snapshots; `pyro workspace snapshot create {name} NAME` makes one");
            return Shown { out: Vec::new(), note: Some(note) };
        }
        let rows: Vec<Vec<String>> = self
            .snapshots
            .iter()
            .map(|view| {
                let changed = plural(view.entry_count, "entry").replace("entrys", "entries");
                vec![inline(&view.name), ago(&view.at, style.now), changed, size(view.bytes), step(&view.made_by)]
            })
            .collect();
        table(&["NAME", "MADE", "CHANGED", "SIZE", "STATE"], &rows, style).into()
    }
    fn model(&self, room: usize) -> String {
        let lines: String = self
            .snapshots
            .iter()
            .map(|view| format!("{}: {}, {}\n", inline(&view.name), step(&view.made_by), size(view.bytes)))
            .collect();
        let (shown, _) = page::head_only(&lines, room.saturating_sub(100));
        format!("{}\n{shown}", plural(self.snapshots.len() as u64, "snapshot"))
    }
}

impl Show for SnapshotDeleteResponse {
    fn person(&self, _style: &Style) -> Shown {
        self.model(usize::MAX).into()
    }
    fn model(&self, _room: usize) -> String {
        format!("deleted snapshot {} of {}\n", inline(&self.name), inline(&self.workspace))
    }
}

fn rewound(response: &RewindResponse) -> String {
    let mut text = String::new();
    if let Some(left) = &response.left {
        text.push_str(&format!("left: {}\n", step(left)));
    }
    if let Some(stopped) = response.stopped.filter(|stopped| *stopped > 0) {
        text.push_str(&format!("{} ended\n", plural(stopped, "process").replace("processs", "processes")));
    }
    text
}

impl Show for RewindResponse {
    fn person(&self, style: &Style) -> Shown {
        format!("{} is at {}\n{}", bold(&inline(&self.workspace), style), step(&self.at), rewound(self)).into()
    }
    fn model(&self, _room: usize) -> String {
        format!("{} is at {}\n{}", inline(&self.workspace), step(&self.at), rewound(self))
    }
}

impl Show for ForkResponse {
    fn person(&self, style: &Style) -> Shown {
        let mut text: String = self.forks.iter().map(|fork| format!("{}\n", bold(&inline(&fork.workspace), style))).collect();
        text.push_str(&copied(self.copied.as_ref()));
        let forks = plural(self.forks.len() as u64, "fork");
        Shown { out: text.into_bytes(), note: Some(format!("{forks} of {} at step {}", inline(&self.workspace), self.step)) }
    }
    fn model(&self, room: usize) -> String {
        let names: Vec<String> = self.forks.iter().map(|fork| inline(&fork.workspace)).collect();
        let text = format!("forked {} at step {}: {}\n", inline(&self.workspace), self.step, names.join(" "));
        page::cut_to(&format!("{text}{}", copied(self.copied.as_ref())), room)
    }
}

/// Lines of a conflict that are shown of each side.
const HUNK_LINES_MAX: usize = 20;

fn conflict(view: &ConflictView) -> String {
    let mut text = format!("conflict in {}: {}\n", inline(&view.path), view.kind.replace('_', " "));
    for hunk in &view.hunks {
        for (label, lines) in [("base", &hunk.base), ("ours", &hunk.ours), ("theirs", &hunk.theirs)] {
            let shown: Vec<String> = lines.lines().take(HUNK_LINES_MAX).map(|line| format!("  {}\n", inline(line))).collect();
            let left = lines.lines().count().saturating_sub(HUNK_LINES_MAX);
            let more = if left > 0 { format!("  ({} more)\n", plural(left as u64, "line")) } else { String::new() };
            text.push_str(&format!("{label}, line {}:\n{}{more}", hunk.line, shown.concat()));
        }
    }
    text
}

fn merge(response: &MergeResponse) -> String {
    let (workspace, from) = (inline(&response.workspace), inline(&response.from));
    let mut text = match (response.step, response.conflict_count) {
        (Some(step), _) => format!("merged {from} into {workspace} (step {step})\n"),
        (None, 0) if response.taken.is_empty() && response.joined.is_empty() => {
            format!("{from} has nothing that {workspace} has not\n")
        }
        (None, 0) => format!("merging {from} into {workspace} would change:\n"),
        (None, count) => format!("{} between {workspace} and {from}; nothing was changed\n", plural(count, "conflict")),
    };
    if response.conflict_count == 0 {
        text.extend(response.taken.iter().map(|line| format!("{}\n", inline(line))));
        text.extend(response.joined.iter().map(|path| format!("joined {}\n", inline(path))));
        text.extend(response.settled.iter().map(|path| format!("settled {}\n", inline(path))));
    }
    text.extend(response.conflicts.iter().map(conflict));
    text
}

impl Show for MergeResponse {
    fn person(&self, _style: &Style) -> Shown {
        merge(self).into()
    }
    fn model(&self, room: usize) -> String {
        let mut text = merge(self);
        if self.conflict_count > 0 {
            text.push_str("next: change one side so that they agree, or merge again with favour ours or theirs\n");
        }
        page::cut_to(&text, room)
    }
}

impl Show for CompareResponse {
    fn person(&self, style: &Style) -> Shown {
        let has_check = self.workspaces.iter().any(|one| one.outcome.is_some());
        let row = |one: &Compared| {
            let mut row = vec![inline(&one.workspace)];
            if has_check {
                row.push(one.outcome.as_ref().map_or_else(String::new, |outcome| inline(outcome)));
                row.push(one.duration_ms.map_or_else(String::new, page::duration));
            }
            row.extend([one.changed.to_string(), format!("+{} -{}", one.added_lines, one.removed_lines)]);
            row
        };
        let rows: Vec<Vec<String>> = self.workspaces.iter().map(row).collect();
        let head: &[&str] = match has_check {
            true => &["NAME", "CHECK", "TOOK", "CHANGED", "LINES"],
            false => &["NAME", "CHANGED", "LINES"],
        };
        table(head, &rows, style).into()
    }
    fn model(&self, room: usize) -> String {
        let passed = self.workspaces.iter().filter(|one| one.passed == Some(true)).count();
        let checked = self.workspaces.iter().filter(|one| one.passed.is_some()).count();
        let count = plural(self.workspaces.len() as u64, "workspace");
        let mut text = if checked > 0 { format!("{passed} of {checked} pass\n") } else { format!("{count}\n") };
        for one in &self.workspaces {
            let check = one.outcome.as_ref().map_or_else(String::new, |outcome| format!("{}, ", inline(outcome)));
            let (changed, name) = (plural(one.changed, "path"), inline(&one.workspace));
            text.push_str(&format!("{name}: {check}{changed} changed, +{} -{} lines\n", one.added_lines, one.removed_lines));
        }
        page::cut_to(&text, room)
    }
}
