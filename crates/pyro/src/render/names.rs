//! Text of deletions, moves and new directories.

use pyro_api::ops::names::{FileDeleteResponse, FileMkdirResponse, FileMoveResponse};

use super::page::{count, inline};
use super::{Show, Shown, Style};

fn deleted(response: &FileDeleteResponse) -> String {
    let below = match response.entries {
        0 | 1 => String::new(),
        entries => format!(" with {} below it", count(entries - 1)),
    };
    format!("deleted {}{below}\n", inline(&response.path))
}

fn moved(response: &FileMoveResponse) -> String {
    let replaced = if response.replaced { ", in the place of what was there" } else { "" };
    format!("moved {} to {}{replaced}\n", inline(&response.from), inline(&response.to))
}

fn made(response: &FileMkdirResponse) -> String {
    let what = if response.created { "created" } else { "already there:" };
    format!("{what} {}\n", inline(&response.path))
}

impl Show for FileDeleteResponse {
    fn person(&self, _style: &Style) -> Shown {
        deleted(self).into()
    }
    fn model(&self, _room: usize) -> String {
        deleted(self)
    }
}

impl Show for FileMoveResponse {
    fn person(&self, _style: &Style) -> Shown {
        moved(self).into()
    }
    fn model(&self, _room: usize) -> String {
        moved(self)
    }
}

impl Show for FileMkdirResponse {
    fn person(&self, _style: &Style) -> Shown {
        made(self).into()
    }
    fn model(&self, _room: usize) -> String {
        made(self)
    }
}
