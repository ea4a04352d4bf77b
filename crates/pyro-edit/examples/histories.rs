//! Runs the engine over histories of real packages: every diff that git makes of two successive versions, exact and spoiled in many ways.
//!
//! `crates/pyro-edit/tests/histories/fetch.sh DIRECTORY` fetches them; then
//! `cargo run --release -p pyro-edit --example histories -- DIRECTORY [DIFFS]` prints what came of them, with at most DIFFS changed files of each pair
//! of versions spoiled (default 1000). With HISTORIES_SHOW set it shows what could not be mended. It needs git and GNU patch. Any wrong result is printed and makes it fail.

#[path = "../tests/histories/repair.rs"]
mod repair;
#[path = "../tests/histories/spoil.rs"]
mod spoil;
#[path = "../tests/histories/support.rs"]
mod support;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::Instant;

use pyro_edit::{RelPath, Request};
use repair::repaired;
use spoil::{SPOILINGS, spoil, still_says_it, text_diffs};
use support::{Memory, Pair, Random, applied, load};

/// What came of one way of spoiling.
#[derive(Default)]
struct Score {
    sent: usize,
    right: usize,
    refused: usize,
    repaired: usize,
    wrong: usize,
}

fn main() {
    let mut arguments = std::env::args_os().skip(1);
    let directory = PathBuf::from(arguments.next().expect("usage: histories DIRECTORY [DIFFS]"));
    let diffs_max: usize = arguments.next().and_then(|count| count.to_str()?.parse().ok()).unwrap_or(1000);
    let mut scores: BTreeMap<usize, Score> = BTreeMap::new();
    let (mut wrong, mut pairs, mut files, mut engine_ms) = (0, 0, 0, 0);
    let mut agree = [[0usize; 2]; 2];
    for (name, old, new) in pairs_in(&directory) {
        let pair = Pair::new(load(&old), load(&new));
        pairs += 1;
        let patch = pair.diff(&["--binary", "-M", "-C"]);
        files += patch.split(|byte| *byte == b'\n').filter(|line| line.starts_with(b"diff --git ")).count();
        let started_at = Instant::now();
        match applied(&pair.old, &Request::Patch(patch.clone())) {
            Ok(tree) if tree == pair.new => {}
            Ok(tree) => {
                wrong += 1;
                println!("{name}: whole tree WRONG: {:?}", first_difference(&tree, &pair.new));
            }
            Err(failure) => {
                wrong += 1;
                println!("{name}: whole tree refused ({} bytes): {}", patch.len(), failure.render());
            }
        }
        engine_ms += started_at.elapsed().as_millis();
        for (at, program) in [&["git", "apply", "-"] as &[&str], &["patch", "-p1", "-s", "-f"]].into_iter().enumerate() {
            // GNU patch knows neither binary content nor copies.
            let patch = if at == 0 { patch.clone() } else { pair.diff(&["--no-renames"]) };
            let theirs = pair.by(program, &patch);
            let ours = applied(&pair.old, &Request::Patch(patch)).ok();
            agree[at][usize::from(theirs == ours)] += 1;
            if theirs != ours {
                let difference = theirs.as_ref().zip(ours.as_ref()).and_then(|(theirs, ours)| first_difference(ours, theirs));
                println!(
                    "{name}: {} {} differs: theirs {}, ours {}, {difference:?}",
                    program[0],
                    program[1],
                    theirs.is_some(),
                    ours.is_some()
                );
            }
        }
        for (number, diff) in text_diffs(&pair.diff(&["--no-renames"])).into_iter().take(diffs_max).enumerate() {
            let Ok(path) = RelPath::new(diff.path.as_bytes(), b"") else { continue };
            let mut want = pair.old.clone();
            want.files.insert(path.clone(), pair.new.files[&path].clone());
            for (at, (how, form)) in SPOILINGS.into_iter().enumerate() {
                if !still_says_it(&diff, how, form, &pair.old.files[&path].content, &want.files[&path].content) {
                    continue;
                }
                let score = scores.entry(at).or_default();
                let mut random = Random::new((pairs * 100_000 + number * 100 + at) as u64);
                let (sent, request) = spoil(&diff, how, form, &mut random);
                let only = Memory {
                    files: pair
                        .old
                        .files
                        .get_key_value(&path)
                        .map(|(path, file)| (path.clone(), file.clone()))
                        .into_iter()
                        .collect(),
                };
                let want = Memory { files: [(path.clone(), want.files[&path].clone())].into() };
                score.sent += 1;
                match applied(&only, &request) {
                    Ok(tree) if tree == want => score.right += 1,
                    Ok(tree) => {
                        score.wrong += 1;
                        println!("{name} {} {how} {form:?}: WRONG {:?}", diff.path, first_difference(&tree, &want));
                        if std::env::var_os("HISTORIES_SHOW").is_some() {
                            show(&request);
                        }
                    }
                    Err(failure) => {
                        score.refused += 1;
                        let next = repaired(&sent, if how == "one line of context" { &sent } else { &diff }, form, &failure);
                        match next.as_ref().map(|next| applied(&only, next)) {
                            Some(Ok(tree)) if tree == want => score.repaired += 1,
                            Some(Ok(tree)) => {
                                score.wrong += 1;
                                println!(
                                    "{name} {} {how} {form:?}: WRONG after repair {:?}\n{}",
                                    diff.path,
                                    first_difference(&tree, &want),
                                    failure.render()
                                );
                                if let (true, Some(next)) = (std::env::var_os("HISTORIES_SHOW").is_some(), &next) {
                                    show(next);
                                }
                            }
                            other => {
                                if std::env::var_os("HISTORIES_SHOW").is_some() {
                                    println!("{name} {} {how} {form:?}: not repaired:\n{}", diff.path, failure.render());
                                    if let Some(Err(second)) = other {
                                        println!("then: {}", second.render());
                                    }
                                    show(&request);
                                }
                            }
                        }
                    }
                }
            }
        }
    }
    println!("{pairs} pairs of versions, {files} files in their diffs; {engine_ms} ms for all whole diffs");
    println!(
        "git apply: {} of {} the same; GNU patch: {} of {}",
        agree[0][1],
        agree[0][0] + agree[0][1],
        agree[1][1],
        agree[1][0] + agree[1][1]
    );
    println!("{:<22} {:<11} {:>6} {:>6} {:>8} {:>9} {:>6}", "spoiled", "form", "sent", "right", "refused", "repaired", "wrong");
    for (at, score) in &scores {
        let (how, form) = SPOILINGS[*at];
        println!(
            "{how:<22} {form:<11?} {:>6} {:>6} {:>8} {:>9} {:>6}",
            score.sent, score.right, score.refused, score.repaired, score.wrong
        );
        wrong += score.wrong;
    }
    assert_eq!(wrong, 0, "wrong results");
}

fn show(request: &Request) {
    match request {
        Request::Patch(patch) => println!("sent:\n{}", String::from_utf8_lossy(&patch[..patch.len().min(3000)])),
        Request::Edits(files) => {
            for edit in files.iter().flat_map(|file| &file.edits) {
                println!("old:\n{}new:\n{}", String::from_utf8_lossy(&edit.old), String::from_utf8_lossy(&edit.new));
            }
        }
    }
}

fn pairs_in(directory: &Path) -> Vec<(String, PathBuf, PathBuf)> {
    let directories = |path: &Path| {
        let mut found: Vec<PathBuf> = std::fs::read_dir(path)
            .expect("a directory")
            .map(|entry| entry.expect("an entry").path())
            .filter(|path| path.is_dir())
            .collect();
        found.sort_by_key(|path| {
            let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default().to_owned();
            name.split('.').map(|part| part.parse::<u64>().unwrap_or(u64::MAX)).collect::<Vec<_>>()
        });
        found
    };
    let is_version = |path: &PathBuf| {
        path.file_name()
            .and_then(|name| name.to_str())
            .is_some_and(|name| name.starts_with(|c: char| c.is_ascii_digit()) && !name.ends_with(".part"))
    };
    let mut pairs = Vec::new();
    for package in directories(directory) {
        let versions: Vec<PathBuf> = directories(&package).into_iter().filter(is_version).collect();
        for pair in versions.windows(2) {
            let name = |path: &Path| path.file_name().and_then(|name| name.to_str()).unwrap_or_default().to_owned();
            pairs.push((format!("{} {}..{}", name(&package), name(&pair[0]), name(&pair[1])), pair[0].clone(), pair[1].clone()));
        }
    }
    pairs
}

/// The first path whose file is not the same, and the first lines of it that are not.
fn first_difference(ours: &Memory, want: &Memory) -> Option<(RelPath, String)> {
    let paths = ours.files.keys().chain(want.files.keys());
    let path = paths.into_iter().find(|path| ours.files.get(path) != want.files.get(path))?;
    let lines = |tree: &Memory| {
        tree.files.get(path).map(|file| file.content.split(|byte| *byte == b'\n').map(<[u8]>::to_vec).collect::<Vec<_>>())
    };
    let (Some(ours), Some(want)) = (lines(ours), lines(want)) else {
        return Some((path.clone(), "is there in one only".to_owned()));
    };
    let at = (0..ours.len().max(want.len())).find(|at| ours.get(*at) != want.get(*at)).unwrap_or(0);
    let text = |lines: &[Vec<u8>]| lines.get(at).map(|line| String::from_utf8_lossy(line).into_owned());
    Some((path.clone(), format!("line {}: {:?}, not {:?}", at + 1, text(&ours), text(&want))))
}
