//! Random histories of made-up sources: what git says is different is made by the engine, by `git apply` and by GNU patch alike; and diffs that are
//! spoiled as models spoil them are applied right, or refused with a text from which the next call is right.
//!
//! The same over histories of real packages is `examples/histories.rs`.

#[path = "histories/repair.rs"]
mod repair;
#[path = "histories/spoil.rs"]
mod spoil;
#[path = "histories/support.rs"]
mod support;

use std::process::Command;

use pyro_edit::{File, Memory, Mode, RelPath, Request};
use repair::repaired;
use spoil::{Form, SPOILINGS, spoil, still_says_it, text_diffs};
use support::{Pair, Random, applied};

fn has(program: &str) -> bool {
    let found = Command::new(program).arg("--version").output().is_ok();
    if !found {
        println!("skipped: {program} is not here");
    }
    found
}

/// A source with lines that repeat, as they do in real ones.
fn source(random: &mut Random) -> Vec<String> {
    let mut lines = vec!["//! A module.".to_owned(), String::new(), "use std::fmt;".to_owned(), String::new()];
    for _ in 0..3 + random.below(8) {
        lines.push(format!("fn f{}(value: usize) -> usize {{", random.below(1000)));
        for _ in 0..1 + random.below(8) {
            let depth = "    ".repeat(1 + random.below(2));
            lines.push(match random.below(6) {
                0 => String::new(),
                1 => format!("{depth}return value;"),
                2 => format!("{depth}if value == {} {{ return 0; }}", random.below(10)),
                3 => format!("{depth}let name{} = value + {};", random.below(50), random.below(50)),
                4 => format!("{depth}// It is {}.", ["so", "“so”", "not so", "über"][random.below(4)]),
                _ => format!("{depth}call_number_{}(value);", random.below(200)),
            });
        }
        lines.extend(["}".to_owned(), String::new()]);
    }
    lines
}

fn changed(lines: &[String], random: &mut Random) -> Vec<String> {
    let mut lines = lines.to_vec();
    for _ in 0..1 + random.below(5) {
        let at = random.below(lines.len());
        match random.below(4) {
            0 => drop(lines.remove(at)),
            1 => lines.insert(at, format!("    added_{}();", random.below(1000))),
            2 => lines[at] = format!("    changed_{}();", random.below(1000)),
            _ => {
                let block: Vec<String> =
                    (0..1 + random.below(4)).map(|number| format!("    block_{}_{number}();", random.below(1000))).collect();
                lines.splice(at..at, block);
            }
        }
        if lines.is_empty() {
            lines.push(String::new());
        }
    }
    lines
}

fn file(lines: &[String], end: &str, closes: bool, mode: Mode) -> File {
    let text = lines.join(end) + if closes { end } else { "" };
    File { content: text.into_bytes(), mode }
}

/// Two versions of some files: changed, moved, created, deleted, with other modes, links and content that is no text.
fn versions(random: &mut Random) -> (Memory, Memory) {
    let (mut old, mut new) = (Memory::default(), Memory::default());
    let path = |name: String| RelPath::new(name.as_bytes(), b"").expect("a relative path");
    for number in 0..8 {
        let end = if number == 3 { "\r\n" } else { "\n" };
        let lines = source(random);
        let after = changed(&lines, random);
        let closes = random.below(5) > 0;
        let before = file(&lines, end, closes, Mode::Regular);
        let after = file(&after, end, closes || random.below(2) == 0, if number == 6 { Mode::Executable } else { Mode::Regular });
        let name = format!("src/file {number}.rs");
        match random.below(8) {
            0 => drop(new.files.insert(path(name), after)),
            1 => drop(old.files.insert(path(name), before)),
            2 => {
                old.files.insert(path(name), before);
                new.files.insert(path(format!("moved/über{number}.rs")), after);
            }
            _ => {
                old.files.insert(path(name.clone()), before);
                new.files.insert(path(name), after);
            }
        }
    }
    let noise = |random: &mut Random| (0..2000).map(|_| random.below(256) as u8).collect::<Vec<u8>>();
    let binary = [noise(random), vec![0]].concat();
    let mut other = binary.clone();
    other[random.below(2000)] ^= 1;
    old.files.insert(path("data.bin".to_owned()), File { content: binary, mode: Mode::Regular });
    new.files.insert(path("data.bin".to_owned()), File { content: other, mode: Mode::Regular });
    old.files.insert(path("link".to_owned()), File { content: b"src".to_vec(), mode: Mode::Symlink });
    new.files
        .insert(path("link".to_owned()), File { content: format!("moved{}", random.below(2)).into_bytes(), mode: Mode::Symlink });
    new.files.insert(path("empty".to_owned()), File { content: Vec::new(), mode: Mode::Regular });
    (old, new)
}

#[test]
fn exact_patches_come_to_what_git_and_patch_make_of_them() {
    if !has("git") {
        return;
    }
    let has_patch = has("patch");
    for seed in 0..12 {
        let (old, new) = versions(&mut Random::new(seed));
        let pair = Pair::new(old, new);
        for arguments in [
            &["--binary", "-M", "-C"] as &[&str],
            &["--binary", "--full-index", "--no-renames", "-U0"],
            &["--binary", "-B", "-M", "-U1"],
        ] {
            let patch = pair.diff(arguments);
            let ours = applied(&pair.old, &Request::Patch(patch.clone()))
                .unwrap_or_else(|failure| panic!("seed {seed}: {}", failure.render()));
            assert_eq!(ours, pair.new, "seed {seed} {arguments:?}");
            let theirs = pair.by(&["git", "apply", "--unidiff-zero", "-"], &patch);
            assert_eq!(theirs, Some(ours), "seed {seed} {arguments:?}");
        }
        // Neither binary content, links nor empty files: GNU patch takes them differently from version to version.
        let only_text = |tree: &Memory| Memory {
            files: tree
                .files
                .iter()
                .filter(|(path, _)| path.as_bytes().ends_with(b".rs"))
                .map(|(path, file)| (path.clone(), file.clone()))
                .collect(),
        };
        let pair = Pair::new(only_text(&pair.old), only_text(&pair.new));
        let patch = pair.diff(&["--no-renames"]);
        let ours = applied(&pair.old, &Request::Patch(patch.clone())).ok();
        if has_patch {
            assert_eq!(pair.by(&["patch", "-p1", "-s", "-f", "--binary"], &patch), ours, "seed {seed}");
        }
    }
}

#[track_caller]
fn same(ours: &Memory, want: &Memory, what: &str) {
    for (path, file) in &want.files {
        let lines = |content: &[u8]| {
            content
                .split_inclusive(|byte| *byte == b'\n')
                .map(|line| String::from_utf8_lossy(line).into_owned())
                .collect::<Vec<_>>()
        };
        assert_eq!(lines(&ours.files[path].content), lines(&file.content), "{what}");
    }
}

#[test]
fn spoiled_patches_are_applied_right_or_mended_by_one_more_call() {
    if !has("git") {
        return;
    }
    let (mut refused, mut mended, mut sent_count, mut left_out) = (0, 0, 0, [0, 0]);
    for seed in 100..112 {
        let (old, new) = versions(&mut Random::new(seed));
        let pair = Pair::new(old, new);
        for diff in text_diffs(&pair.diff(&["--no-renames"])) {
            let Ok(path) = RelPath::new(diff.path.as_bytes(), b"") else { continue };
            let only = |tree: &Memory| Memory { files: [(path.clone(), tree.files[&path].clone())].into() };
            let (mut before, mut want) = (only(&pair.old), only(&pair.new));
            if before.files[&path].mode == Mode::Symlink {
                continue;
            }
            // A mode is no part of what is sent here.
            for tree in [&mut before, &mut want] {
                tree.files.get_mut(&path).expect("it is there").mode = Mode::Regular;
            }
            for (at, (how, form)) in SPOILINGS.into_iter().enumerate() {
                if !still_says_it(&diff, how, form, &before.files[&path].content, &want.files[&path].content) {
                    continue;
                }
                let (sent, request) = spoil(&diff, how, form, &mut Random::new(seed * 1000 + at as u64));
                sent_count += 1;
                let failure = match applied(&before, &request) {
                    Ok(tree) => {
                        same(&tree, &want, &format!("seed {seed} {} {how} {form:?}", diff.path));
                        left_out[0] += usize::from(how == "lines left out");
                        continue;
                    }
                    // A line beside what is left out is often a brace, which is in many places.
                    Err(_) if how == "lines left out" => {
                        left_out[1] += 1;
                        continue;
                    }
                    Err(failure) => failure,
                };
                refused += 1;
                let meant = if how == "one line of context" { &sent } else { &diff };
                if let Some(Ok(tree)) = repaired(&sent, meant, form, &failure).map(|next| applied(&before, &next)) {
                    same(&tree, &want, &format!("after repair: seed {seed} {} {how} {form:?}: {}", diff.path, failure.render()));
                    mended += 1;
                }
                assert!(how != "none" || form != Form::Unified, "an exact patch was refused: {}", failure.render());
            }
        }
    }
    println!("{sent_count} sent, {refused} refused, {mended} of these mended by one more call");
    println!("with lines left out: {} right, {} refused", left_out[0], left_out[1]);
    assert!(mended * 100 >= refused * 95, "{mended} of {refused}");
    assert!(left_out[0] > left_out[1], "{left_out:?}");
}
