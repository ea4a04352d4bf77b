//! Times the import of a directory, and the diff and removal of what it became.
//!
//! `import_bench SOURCE SCRATCH` copies SOURCE into SCRATCH, which must be empty and on the file system to be measured.

use std::ops::ControlFlow;
use std::path::PathBuf;
use std::time::Instant;

use pyro_layer::{Marks, Owners, Stack, diff, import_directory, measure, remove_tree};

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut arguments = std::env::args_os().skip(1).map(PathBuf::from);
    let (Some(source), Some(scratch)) = (arguments.next(), arguments.next()) else {
        return Err("usage: import_bench SOURCE SCRATCH".into());
    };
    let (lower, upper) = (scratch.join("lower"), scratch.join("upper"));
    std::fs::create_dir(&lower)?;
    std::fs::create_dir(&upper)?;

    let started_at = Instant::now();
    let report = import_directory(&source, &lower, Owners::Canonical, &mut |_| ControlFlow::Continue(()))?;
    println!("import  {:8.1} ms  {} entries, {} bytes", milliseconds(started_at), report.entry_count, report.bytes);

    let started_at = Instant::now();
    let usage = measure(&lower)?;
    println!("measure {:8.1} ms  {} bytes on the disk", milliseconds(started_at), usage.disk_bytes);

    // Ten files changed, as an overlay leaves them: at the same paths, the directories around them copied up.
    let mut changed = 0;
    let mut directories = vec![PathBuf::new()];
    while let Some(directory) = directories.pop() {
        for entry in std::fs::read_dir(lower.join(&directory))? {
            let entry = entry?;
            let path = directory.join(entry.file_name());
            if entry.file_type()?.is_dir() {
                directories.push(path);
            } else if changed < 10 && entry.file_type()?.is_file() {
                std::fs::create_dir_all(upper.join(&directory))?;
                std::fs::write(upper.join(&path), b"changed\n")?;
                changed += 1;
                break;
            }
        }
    }
    let stack = Stack { upper, lowers: vec![lower.clone()], marks: Marks::User };
    let started_at = Instant::now();
    let changes = diff(&stack.changes_of_upper(), b"", &mut |_| std::ops::ControlFlow::Continue(()))?;
    println!("diff    {:8.1} ms  {} changes", milliseconds(started_at), changes.len());

    let started_at = Instant::now();
    let removed = remove_tree(&lower)?;
    println!("remove  {:8.1} ms  {} entries, {} bytes", milliseconds(started_at), removed.entry_count, removed.freed_bytes);
    remove_tree(&stack.upper)?;
    Ok(())
}

fn milliseconds(started_at: Instant) -> f64 {
    started_at.elapsed().as_secs_f64() * 1000.0
}
