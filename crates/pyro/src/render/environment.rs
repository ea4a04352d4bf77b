//! Text of environments.

use pyro_api::ops::environment::{EnvListResponse, EnvRemoveResponse, EnvironmentView};

use super::page::{self, ago, facts, inline, size, table};
use super::{Show, Shown, Style};

impl Show for EnvListResponse {
    fn person(&self, style: &Style) -> Shown {
        let rows: Vec<Vec<String>> = self
            .environments
            .iter()
            .map(|environment| {
                vec![
                    inline(&environment.environment),
                    if environment.built { "built" } else { "not built" }.to_owned(),
                    environment.size_bytes.map_or_else(String::new, size),
                    environment.workspace_count.to_string(),
                    inline(&environment.description),
                ]
            })
            .collect();
        table(&["NAME", "STATE", "SIZE", "WORKSPACES", "DESCRIPTION"], &rows, style).into()
    }
    fn model(&self, _room: usize) -> String {
        let mut text = format!("{}\n", page::plural(self.environments.len() as u64, "environment"));
        for environment in &self.environments {
            let built = if environment.built { "" } else { " (built when first used)" };
            text.push_str(&format!("{}: {}{built}\n", inline(&environment.environment), inline(&environment.description)));
        }
        text
    }
}

fn text(view: &EnvironmentView, time: &dyn Fn(&str) -> String) -> String {
    let mut lines = vec![("about", inline(&view.description))];
    lines.extend(view.size_bytes.map(|bytes| ("size", size(bytes))));
    lines.extend(view.built_at.as_deref().map(|at| ("built", time(at))));
    lines.extend(view.digest.as_deref().map(|digest| ("digest", inline(digest))));
    lines.push(("workspaces", view.workspace_count.to_string()));
    lines.extend((!view.contents.is_empty()).then(|| ("contents", inline(&view.contents.join(" ")))));
    lines.extend(view.notes.iter().map(|note| ("note", inline(note))));
    facts(&lines)
}

impl Show for EnvironmentView {
    fn person(&self, style: &Style) -> Shown {
        let built = if self.built { "is built" } else { "is not built" };
        format!("{} {built}\n{}", page::bold(&inline(&self.environment), style), text(self, &|at| ago(at, style.now))).into()
    }
    fn model(&self, _room: usize) -> String {
        let built = if self.built { "is built" } else { "is not built" };
        format!("{} {built}\n{}", inline(&self.environment), text(self, &inline))
    }
}

fn removed(response: &EnvRemoveResponse) -> String {
    match response.removed.as_slice() {
        [] => "nothing to remove\n".to_owned(),
        removed => format!("removed {}: {} freed\n", inline(&removed.join(", ")), size(response.freed_bytes)),
    }
}

impl Show for EnvRemoveResponse {
    fn person(&self, _style: &Style) -> Shown {
        removed(self).into()
    }
    fn model(&self, _room: usize) -> String {
        removed(self)
    }
}
