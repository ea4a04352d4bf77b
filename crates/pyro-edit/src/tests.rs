//! The engine as its callers see it: requests against files in memory, as tables.

mod edits;
mod elisions;
mod failures;
mod limits;
mod patches;
mod properties;

use crate::{Edit, Failure, File, FileEdits, Memory, Mode, Options, Planned, RelPath, Request, plan};

fn path(text: &str) -> RelPath {
    RelPath::new(text.as_bytes(), b"/workspace").expect("a relative path")
}

fn tree(files: &[(&str, &str)]) -> Memory {
    let file = |content: &str| File { content: content.as_bytes().to_vec(), mode: Mode::Regular };
    Memory { files: files.iter().map(|(name, content)| (path(name), file(content))).collect() }
}

fn edit(old: &str, new: &str) -> Edit {
    Edit { old: old.as_bytes().to_vec(), new: new.as_bytes().to_vec(), all: false }
}

fn edits(name: &str, edits: Vec<Edit>) -> Request {
    Request::Edits(vec![FileEdits { path: name.as_bytes().to_vec(), edits }])
}

fn patch(text: &str) -> Request {
    Request::Patch(text.as_bytes().to_vec())
}

fn run(files: &Memory, request: &Request) -> Result<(Memory, Planned), Failure> {
    let mut after = files.clone();
    let planned = plan(request, &Options::default(), &mut after)?;
    after.apply(&planned.plan).expect("a plan fits its files");
    Ok((after, planned))
}

#[track_caller]
fn becomes(files: &[(&str, &str)], request: &Request, want: &[(&str, &str)]) -> String {
    match run(&tree(files), request) {
        Ok((after, planned)) => {
            let shown = |memory: &Memory| -> Vec<(String, String)> {
                memory
                    .files
                    .iter()
                    .map(|(path, file)| (path.to_string(), String::from_utf8_lossy(&file.content).into_owned()))
                    .collect()
            };
            assert_eq!(shown(&after), shown(&tree(want)));
            planned.report.render()
        }
        Err(failure) => panic!("{}", failure.render()),
    }
}

#[track_caller]
fn fails(files: &[(&str, &str)], request: &Request, words: &[&str]) -> String {
    let text = run(&tree(files), request).expect_err("it must not work").render();
    for word in words {
        assert!(text.contains(word), "{word:?} is not in:\n{text}");
    }
    assert!(text.chars().count() <= crate::limits::FAILURE_CHARS_MAX);
    assert!(text.contains("Nothing was changed") && text.contains("Next: "), "{text}");
    text
}
