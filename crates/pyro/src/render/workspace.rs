//! Text of a workspace's life.

use pyro_api::ops::workspace::{CreateResponse, DeleteResponse, IsolationReport, ListResponse, StateView, WorkspaceView};
use pyro_api::values::serde_name;

use super::page::{self, ago, facts, inline, painted, size, table};
use super::{Show, Shown, Style};

fn state(state: StateView, style: &Style) -> String {
    let name = serde_name(&state);
    match state {
        StateView::Running => painted(&name, "32", style),
        StateView::Failed => painted(&name, "31", style),
        StateView::Starting | StateView::Stopping | StateView::Stopped => name,
    }
}

fn labels(view: &WorkspaceView) -> String {
    view.labels.iter().map(|(key, value)| format!("{}={}", inline(key), inline(value))).collect::<Vec<_>>().join(" ")
}

/// `namespaces: 11 of 12 guarantees held`.
fn held(report: &IsolationReport) -> String {
    let held = report.guarantees.iter().filter(|guarantee| guarantee.held).count();
    let mut text = format!("{}, {held} of {} guarantees held", inline(&report.backend), report.guarantees.len());
    let not: Vec<String> = report.guarantees.iter().filter(|guarantee| !guarantee.held).map(|g| serde_name(&g.name)).collect();
    if !not.is_empty() {
        text.push_str(&format!("; not held: {}", not.join(", ")));
    }
    text
}

fn seed(view: &WorkspaceView) -> Option<String> {
    let seed = view.seed.as_ref()?;
    let entries = page::plural(seed.entry_count, "entry").replace("entrys", "entries");
    let mut text = format!("{} ({entries}, {})", inline(&seed.path), size(seed.bytes));
    if !seed.markers.is_empty() {
        text.push_str(&format!("; found {}", inline(&seed.markers.join(", "))));
    }
    if !seed.skipped.is_empty() {
        text.push_str(&format!("; left out {}", inline(&seed.skipped.join(", "))));
    }
    Some(text)
}

/// The facts that people and models both want; times as `time` writes them.
fn view_facts(view: &WorkspaceView, time: &dyn Fn(&str) -> String) -> Vec<(&'static str, String)> {
    let mut facts = vec![("environment", inline(&view.environment))];
    if let Some(failure) = &view.failure {
        facts.push(("failure", inline(failure)));
    }
    facts.extend(seed(view).map(|seed| ("seed", seed)));
    let disk = view.disk_mib.map(|mib| format!(", {mib} MiB of disk")).unwrap_or_default();
    let processors = page::plural(u64::from(view.vcpu_count), "processor");
    facts.push(("machine", format!("{processors}, {} MiB of memory{disk}", view.mem_mib)));
    if !view.labels.is_empty() {
        facts.push(("labels", labels(view)));
    }
    facts.push(("created", time(&view.created_at)));
    facts.push(("used", format!("{}, {}", time(&view.used_at), page::plural(view.exec_count, "command"))));
    facts.extend(view.fork_of.as_ref().map(|origin| ("fork of", format!("{} at step {}", inline(&origin.workspace), origin.step))));
    facts.extend(view.expires_at.as_ref().map(|at| ("deleted", format!("by itself at {}", inline(at)))));
    facts.extend(view.isolation.as_ref().map(|report| ("isolation", held(report))));
    facts
}

impl Show for WorkspaceView {
    fn person(&self, style: &Style) -> Shown {
        let mut text =
            format!("{} ({}) is {}\n", page::bold(&inline(&self.workspace), style), inline(&self.id), state(self.state, style));
        text.push_str(&facts(&view_facts(self, &|at| ago(at, style.now))));
        for guarantee in self.isolation.iter().flat_map(|report| &report.guarantees) {
            let mark = if guarantee.held { painted("held    ", "32", style) } else { painted("not held", "33", style) };
            text.push_str(&format!("    {mark}  {:<17}  {}\n", serde_name(&guarantee.name), inline(&guarantee.detail)));
        }
        text.into()
    }
    fn model(&self, _room: usize) -> String {
        let mut text = format!("{} is {}\n", inline(&self.workspace), serde_name(&self.state));
        text.push_str(&facts(&view_facts(self, &inline)));
        text
    }
}

impl Show for CreateResponse {
    fn person(&self, style: &Style) -> Shown {
        let view = &self.workspace;
        let how = if self.reused { "was there already" } else { "is ready" };
        let mut text = format!("{} {how}\n", page::bold(&inline(&view.workspace), style));
        let mut lines = vec![("environment", inline(&view.environment))];
        lines.extend(seed(view).map(|seed| ("seed", seed)));
        lines.extend(view.isolation.as_ref().map(|report| ("isolation", held(report))));
        text.push_str(&facts(&lines));
        text.into()
    }
    fn model(&self, room: usize) -> String {
        let how = if self.reused { "was there already" } else { "created" };
        format!("{how}: {}", self.workspace.model(room))
    }
}

impl Show for ListResponse {
    fn person(&self, style: &Style) -> Shown {
        if self.workspaces.is_empty() {
            return Shown { out: Vec::new(), note: Some("no workspaces; `pyro workspace create` makes one".to_owned()) };
        }
        // Columns that are empty for all are not there.
        let has_forks = self.workspaces.iter().any(|view| view.fork_of.is_some());
        let has_ends = self.workspaces.iter().any(|view| view.expires_at.is_some());
        let mut head = vec!["NAME", "STATE", "ENVIRONMENT", "USED", "COMMANDS"];
        head.extend(has_forks.then_some("FORK OF"));
        head.extend(has_ends.then_some("DELETED"));
        head.push("LABELS");
        let row = |view: &WorkspaceView| {
            let mut row = vec![
                inline(&view.workspace),
                serde_name(&view.state),
                inline(&view.environment),
                ago(&view.used_at, style.now),
                view.exec_count.to_string(),
            ];
            row.extend(has_forks.then(|| view.fork_of.as_ref().map_or_else(String::new, |origin| inline(&origin.workspace))));
            row.extend(has_ends.then(|| view.expires_at.as_ref().map_or_else(String::new, |at| inline(at))));
            row.push(labels(view));
            row
        };
        let rows: Vec<Vec<String>> = self.workspaces.iter().map(row).collect();
        table(&head, &rows, style).into()
    }
    fn model(&self, room: usize) -> String {
        let count = page::plural(self.workspaces.len() as u64, "workspace");
        let mut text = format!("{count}{}\n", if self.workspaces.is_empty() { "" } else { ", most recently used first" });
        let lines: String = self
            .workspaces
            .iter()
            .map(|view| {
                let labels = if view.labels.is_empty() { String::new() } else { format!(", {}", labels(view)) };
                let (name, environment, used) = (inline(&view.workspace), inline(&view.environment), inline(&view.used_at));
                let fork =
                    view.fork_of.as_ref().map_or_else(String::new, |origin| format!(", fork of {}", inline(&origin.workspace)));
                let end = view.expires_at.as_ref().map_or_else(String::new, |at| format!(", deleted at {}", inline(at)));
                format!("{name}: {}, {environment}, used {used}{fork}{end}{labels}\n", serde_name(&view.state))
            })
            .collect();
        let (shown, bytes) = page::head_only(&lines, room.saturating_sub(200));
        text.push_str(shown);
        if bytes < lines.len() {
            let left = lines[bytes..].lines().count();
            text.push_str(&format!("{left} more\nnext: narrow it with labels, name or state\n"));
        }
        text
    }
}

impl Show for DeleteResponse {
    fn person(&self, _style: &Style) -> Shown {
        format!("deleted {}\n", inline(&self.workspace)).into()
    }
    fn model(&self, _room: usize) -> String {
        format!("deleted {}\n", inline(&self.workspace))
    }
}
