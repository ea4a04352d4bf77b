//! Text of what left a disk as a whole. What is listed or read of one is shown as files are.

use pyro_api::ops::disk::{DiskExportResponse, DiskFormat};

use super::page::{inline, plural, size};
use super::transfer::skipped;
use super::{Show, Shown, Style};

impl Show for DiskExportResponse {
    fn person(&self, _style: &Style) -> Shown {
        self.model(usize::MAX).into()
    }
    fn model(&self, _room: usize) -> String {
        let what = match self.format {
            DiskFormat::Ext4 => "disk image",
            DiskFormat::Tar => "tar file",
        };
        let entries = plural(self.entry_count, "entry").replace("entrys", "entries");
        let (workspace, output) = (inline(&self.workspace), inline(&self.output));
        let (bytes, taken) = (size(self.bytes), size(self.disk_bytes));
        format!(
            "exported the disk of {workspace} to {output}: a {what}, {entries}, {bytes}, {taken} on the disk\n{}",
            skipped(&self.skipped)
        )
    }
}
