//! Text of what was found out about the machine.

use pyro_api::ops::host::{CheckStatus, DoctorResponse, GcResponse};

use super::page::{inline, painted, plural, size};
use super::{Show, Shown, Style};

impl Show for GcResponse {
    fn person(&self, _style: &Style) -> Shown {
        self.model(usize::MAX).into()
    }
    fn model(&self, _room: usize) -> String {
        let what = [(self.steps, "step"), (self.layers, "layer"), (self.seeds, "seed")];
        let what: Vec<String> = what.into_iter().filter(|(count, _)| *count > 0).map(|(count, one)| plural(count, one)).collect();
        if what.is_empty() {
            return "nothing to free\n".to_owned();
        }
        format!("{} freed: {}\n", size(self.freed_bytes), what.join(", "))
    }
}

impl Show for DoctorResponse {
    fn person(&self, style: &Style) -> Shown {
        let width = self.checks.iter().map(|check| check.name.chars().count()).max().unwrap_or(0);
        let mut text = String::new();
        for check in &self.checks {
            let mark = match check.status {
                CheckStatus::Ok => painted("ok     ", "32", style),
                CheckStatus::Limited => painted("limited", "33", style),
                CheckStatus::Missing => painted("missing", "31", style),
            };
            text.push_str(&format!("{mark}  {:<width$}  {}\n", inline(&check.name), inline(&check.detail)));
            if let Some(fix) = &check.fix {
                text.push_str(&format!("         {:<width$}  fix: {}\n", "", inline(fix)));
            }
        }
        for thing in &self.recovered {
            text.push_str(&format!("cleared: {}\n", inline(thing)));
        }
        for thing in self.leaks.iter().flatten() {
            text.push_str(&format!("left over: {}\n", inline(thing)));
        }
        if self.leaks.as_ref().is_some_and(Vec::is_empty) {
            text.push_str("nothing is left over\n");
        }
        text.push_str(&format!("{}\n", inline(&self.best)));
        text.into()
    }
    fn model(&self, _room: usize) -> String {
        let plain = Style { color: false, terminal: true, now: jiff::Timestamp::UNIX_EPOCH };
        String::from_utf8_lossy(&self.person(&plain).out).into_owned()
    }
}
