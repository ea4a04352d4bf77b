//! What the past of a workspace costs: every operation over a tree of 1,000 files and one of 100,000, of which ten were changed since, in turns. And
//! what people do instead: a copy, a git worktree, a btrfs snapshot.

use std::fs;
use std::os::unix::fs::lchown;
use std::path::{Path, PathBuf};

use serde_json::{Value, json};

use super::report::{self, Pair, Row, Series};
use super::worker::{Reply, Request};
use super::{Actor, Options, Worker, checked};
use crate::project::{Context as _, Failure, Result, is_root, root};

/// Files of the two trees, and how they are called.
const SIZES: [(u32, &str); 2] = [(1_000, "1,000 files"), (100_000, "100,000 files")];

/// Files of one directory.
const IN_DIRECTORY: u32 = 100;

/// What is changed before each measurement: ten files in ten directories.
const CHANGE: &str = "for i in 0 1 2 3 4 5 6 7 8 9; do echo {n} > d0000$i/f00$i.txt; done";

/// Times that a whole tree is brought in or copied.
const WHOLE: u32 = 3;

/// Forks at once.
const FORKS: &str = "100";

/// Room of the btrfs that is made for the comparison, sparse.
const BTRFS_BYTES: u64 = 8 << 30;

/// `cargo xtask bench layers`.
pub fn task(options: &Options) -> Result {
    let actors = super::actors()?;
    let about = "Written by `cargo xtask bench layers`; do not edit. Both trees take turns on one machine in one run. Before each measurement ten files are changed by a command
inside. Times are milliseconds, medians and the 95th percentile of the larger tree; ÷ is the larger tree's median by the smaller's. The trees are directories
of 100 files of 0.2 to 2.2 KB. Goals are for the larger tree. CLI: a process for each call; MCP: one connection. What is copied or brought in is deleted when
everything is measured: ext4 does not use the inode of a file that was deleted a moment ago, and makes new ones many times slower while it looks for others.
";
    let (mut sections, mut left) = (String::new(), Vec::new());
    for actor in &actors {
        println!("\n== as {}", actor.who);
        let measured = measure(actor, options, &mut left)?;
        println!("{measured}");
        sections.push_str(&measured);
    }
    let command = format!("cargo xtask bench layers --repetitions {}", options.repetitions);
    let versions = ["git", "btrfs"].map(|program| report::first_line(std::process::Command::new(program).arg("--version")));
    let page = report::head("Benchmarks of layers", about, &command, &versions, &actors[0].pyro)? + &sections;
    if options.write {
        let file = root().join("docs/benchmarks-layers.md");
        fs::write(&file, &page).context(file.display())?;
    }
    for actor in &actors {
        for workspace in own_workspaces(actor)? {
            actor.pyro(&["workspace", "delete", &workspace])?;
        }
        actor.pyro(&["gc"])?;
    }
    for directory in left {
        fs::remove_dir_all(&directory).context(directory.display())?;
    }
    Ok(())
}

/// Names of the workspaces that this process has made.
fn own_workspaces(actor: &Actor) -> Result<Vec<String>> {
    let list = actor.pyro(&["workspace", "list"])?;
    let names = list["workspaces"].as_array().into_iter().flatten().filter_map(|workspace| workspace["workspace"].as_str());
    Ok(names.filter(|name| name.starts_with(&prefix())).map(str::to_owned).collect())
}

fn prefix() -> String {
    format!("layers-{}-", std::process::id())
}

/// The directories that are deleted in the end go to `left`.
fn measure(actor: &Actor, options: &Options, left: &mut Vec<PathBuf>) -> Result<String> {
    actor.environment_root()?;
    let mut bench = Bench { actor, worker: actor.worker(false)?, trees: Vec::new(), left };
    for (count, _) in SIZES {
        let tree = tree(actor, count)?;
        bench.left.push(tree.clone());
        bench.trees.push(tree);
    }
    let seeding = seeding(&mut bench)?;
    let (pairs, first) = past(&mut bench, options)?;
    let others = others(&mut bench, options)?;
    bench.worker.stop()?;
    let who = &actor.who;
    Ok(report::pairs(&format!("The past, as {who}"), SIZES.map(|(_, name)| name), &pairs)
        + &report::pairs(&format!("Bringing a tree in, as {who}"), SIZES.map(|(_, name)| name), &seeding)
        + &report::against_first(
            &format!("A second state of 100,000 files to work in, as {who}"),
            &std::iter::once(first).chain(others).collect::<Vec<_>>(),
        ))
}

struct Bench<'a> {
    actor: &'a Actor,
    worker: Worker,
    trees: Vec<PathBuf>,
    /// What is deleted when everything is measured.
    left: &'a mut Vec<PathBuf>,
}

impl Bench<'_> {
    fn workspace(&self, number: usize) -> String {
        format!("{}{number}", prefix())
    }

    fn words(&self, words: &[&str]) -> Vec<String> {
        let own = self.actor.pyro.to_string_lossy().into_owned();
        std::iter::once(own).chain(words.iter().map(|word| (*word).to_owned())).collect()
    }

    /// A place for a directory that is not there yet, and is deleted in the end.
    fn place(&mut self, name: &str) -> String {
        let path = self.actor.scratch.join(format!("{name}-{}", self.left.len()));
        self.left.push(path.clone());
        path.to_string_lossy().into_owned()
    }

    /// Runs commands of pyro one after the other, timed together.
    fn pyro(&mut self, steps: &[&[&str]]) -> Result<Reply> {
        let steps = steps.iter().map(|step| self.words(step)).collect();
        self.worker.ask(&Request::Run { steps, adopt: false }).and_then(checked)
    }

    fn call(&mut self, calls: &[(&str, Value)]) -> Result<Reply> {
        let mut whole: Option<Reply> = None;
        for (tool, arguments) in calls {
            let reply = self.worker.ask(&Request::McpCall { tool: (*tool).to_owned(), arguments: arguments.clone() });
            let reply = reply.and_then(checked)?;
            let before = whole.map_or(0.0, |whole| whole.wall_ms);
            whole = Some(Reply { wall_ms: before + reply.wall_ms, ..reply });
        }
        whole.ok_or_else(|| Failure::new("nothing was called"))
    }

    /// Runs any program.
    fn run(&mut self, words: &[&str]) -> Result<Reply> {
        self.worker.run(&words.iter().map(|word| (*word).to_owned()).collect::<Vec<_>>(), false)
    }
}

/// Makes a tree that belongs to who is measured.
pub fn tree(actor: &Actor, count: u32) -> Result<PathBuf> {
    let tree = actor.scratch.join(format!("tree-{count}"));
    if tree.exists() {
        fs::remove_dir_all(&tree).context(tree.display())?;
    }
    let (uid, gid) = actor.ids();
    let own = |path: &Path| lchown(path, Some(uid), Some(gid)).context(path.display());
    fs::create_dir(&tree).context(tree.display())?;
    own(&tree)?;
    for number in 0..count {
        let directory = tree.join(format!("d{:05}", number / IN_DIRECTORY));
        if number % IN_DIRECTORY == 0 {
            fs::create_dir(&directory).context(directory.display())?;
            own(&directory)?;
        }
        let file = directory.join(format!("f{:03}.txt", number % IN_DIRECTORY));
        // All different, of 0.2 to 2.2 KB.
        let text = format!("line of file {number}\n").repeat(10 + (number as usize * 7919) % 100);
        fs::write(&file, text).context(file.display())?;
        own(&file)?;
    }
    Ok(tree)
}

/// One way to do something to a workspace: its name, a remark, and its goal on the larger tree.
struct Way {
    name: &'static str,
    note: &'static str,
    goal: Option<f64>,
}

/// The operations, with goals in milliseconds: what a person or a model does not notice.
const WAYS: [Way; 12] = [
    Way { name: "snapshot, CLI", note: "", goal: Some(5.0) },
    Way { name: "snapshot, MCP", note: "", goal: Some(5.0) },
    Way { name: "diff, CLI", note: "against the seed, as a patch", goal: Some(20.0) },
    Way { name: "diff, MCP", note: "", goal: Some(20.0) },
    Way { name: "undo, CLI", note: "the sandbox ends and another begins", goal: Some(15.0) },
    Way { name: "undo, MCP", note: "", goal: Some(15.0) },
    Way { name: "reset, CLI", note: "to a snapshot", goal: Some(15.0) },
    Way { name: "reset, MCP", note: "", goal: Some(15.0) },
    Way { name: "fork + first exec, CLI", note: "two commands; a sandbox begins", goal: Some(15.0) },
    Way { name: "fork + first exec, MCP", note: "two calls", goal: Some(15.0) },
    Way { name: "exec that changes ten files, CLI", note: "a step is made of it behind the answer", goal: None },
    Way { name: "100 forks, CLI", note: "one command; none is started", goal: Some(1500.0) },
];

/// Which of [`WAYS`] is the fork that peers are compared with.
const FORK: usize = 8;

/// The operations on both trees, and the fork again for the comparison with others.
fn past(bench: &mut Bench<'_>, options: &Options) -> Result<(Vec<Pair>, Row)> {
    for number in 0..SIZES.len() {
        let (name, seed) = (bench.workspace(number), bench.trees[number].to_string_lossy().into_owned());
        bench.actor.pyro(&["workspace", "create", "debian:12", "--name", &name, "--seed-path", &seed])?;
        bench.actor.pyro(&["workspace", "snapshot", "create", &name, "first"])?;
    }
    let server = bench.words(&["mcp", "serve", "--profile", "workspace-full"]);
    bench.worker.ask(&Request::McpStart { argv: server }).and_then(checked)?;
    let mut measured: Vec<Vec<Series>> = vec![vec![Series::default(); WAYS.len()]; SIZES.len()];
    for repetition in 0..super::WARM_UP + options.repetitions {
        for (number, all) in measured.iter_mut().enumerate() {
            let replies = round(bench, number, repetition)?;
            if repetition >= super::WARM_UP {
                all.iter_mut().zip(&replies).for_each(|(series, reply)| series.push(reply));
            }
        }
    }
    bench.worker.ask(&Request::McpStop).and_then(checked)?;
    let [mut small, mut large] = <[Vec<Series>; 2]>::try_from(measured).map_err(|_| Failure::new("two trees were measured"))?;
    let first = Row::new("pyro: fork + first exec", "isolated, and running", Ok(large[FORK].clone()));
    let pairs = WAYS.iter().zip(small.drain(..).zip(large.drain(..))).map(|(way, (small, large))| Pair {
        name: way.name.to_owned(),
        note: way.note.to_owned(),
        goal: way.goal,
        small: Ok(small),
        large: Ok(large),
    });
    Ok((pairs.collect(), first))
}

/// Each of [`WAYS`] once, in their order.
fn round(bench: &mut Bench<'_>, number: usize, repetition: u32) -> Result<[Reply; WAYS.len()]> {
    let name = &bench.workspace(number);
    let command = &CHANGE.replace("{n}", &format!("{repetition}"));
    let mut changes = 0;
    let mut change = |bench: &mut Bench<'_>| {
        changes += 1;
        bench.pyro(&[&["workspace", "exec", name, "--", "sh", "-c", &format!("{command}; echo {changes} >> d00000/f000.txt")]])
    };
    let label = |way: &str| format!("{way}-{repetition}");
    let written = change(bench)?;
    let snapshot = bench.pyro(&[&["workspace", "snapshot", "create", name, &label("cli")]])?;
    change(bench)?;
    let snapshot_mcp = bench.call(&[("snapshot_create", json!({ "workspace": name, "name": label("mcp") }))])?;
    change(bench)?;
    let diff = bench.pyro(&[&["workspace", "diff", name]])?;
    change(bench)?;
    let diff_mcp = bench.call(&[("workspace_diff", json!({ "workspace": name }))])?;
    change(bench)?;
    let undo = bench.pyro(&[&["workspace", "undo", name]])?;
    change(bench)?;
    let undo_mcp = bench.call(&[("workspace_undo", json!({ "workspace": name }))])?;
    change(bench)?;
    let reset = bench.pyro(&[&["workspace", "reset", name, "--snapshot", &label("cli")]])?;
    change(bench)?;
    let reset_mcp = bench.call(&[("workspace_reset", json!({ "workspace": name, "snapshot": label("mcp") }))])?;
    change(bench)?;
    let fork = &format!("{name}-fork");
    let forked = bench.pyro(&[&["workspace", "fork", name, "--name", fork], &["workspace", "exec", fork, "--", "true"]])?;
    bench.pyro(&[&["workspace", "delete", fork]])?;
    change(bench)?;
    let forked_mcp = bench.call(&[
        ("workspace_fork", json!({ "workspace": name, "name": fork })),
        ("workspace_exec", json!({ "workspace": fork, "command": ["true"] })),
    ])?;
    bench.pyro(&[&["workspace", "delete", fork]])?;
    let many = bench.pyro(&[&["workspace", "fork", name, "--name", fork, "--count", FORKS]])?;
    let forks: Vec<String> = (1..=FORKS.parse::<u32>().context("a number")?).map(|number| format!("{fork}-{number}")).collect();
    for fork in &forks {
        bench.pyro(&[&["workspace", "delete", fork]])?;
    }
    // Back to where it began, so that every round does the same.
    bench.pyro(&[&["workspace", "reset", name, "--snapshot", "first"]])?;
    for way in ["cli", "mcp"] {
        bench.pyro(&[&["workspace", "snapshot", "delete", name, &label(way)]])?;
    }
    // It waits until the trash is empty, which the next round would share the machine with.
    bench.pyro(&[&["gc"], &["doctor", "--leaks"]])?;
    Ok([snapshot, snapshot_mcp, diff, diff_mcp, undo, undo_mcp, reset, reset_mcp, forked, forked_mcp, written, many])
}

/// A tree that comes in for the first time, beside a plain copy of it, and one that is there already.
fn seeding(bench: &mut Bench<'_>) -> Result<Vec<Pair>> {
    let mut series: Vec<[Series; 3]> = vec![Default::default(); SIZES.len()];
    for repetition in 0..WHOLE {
        for (number, [copied, first, second]) in series.iter_mut().enumerate() {
            let tree = bench.trees[number].clone();
            // Another tree than the one before: what is unchanged is not brought in again.
            fs::write(tree.join("d00000/f099.txt"), repetition.to_string()).context(tree.display())?;
            let (tree, copy) = (tree.to_string_lossy().into_owned(), bench.place("copy"));
            let name = format!("{}-{repetition}", bench.workspace(number));
            let again = format!("{name}-again");
            // What was written before is on the disk before the next begins.
            bench.run(&["sync"])?;
            copied.push(&bench.run(&["cp", "-a", &tree, &copy])?);
            bench.run(&["sync"])?;
            first.push(&bench.pyro(&[&["workspace", "create", "debian:12", "--name", &name, "--seed-path", &tree]])?);
            bench.run(&["sync"])?;
            second.push(&bench.pyro(&[&["workspace", "create", "debian:12", "--name", &again, "--seed-path", &tree]])?);
            bench.pyro(&[&["workspace", "stop", &again], &["workspace", "stop", &name]])?;
        }
    }
    let names = [
        ("cp -a", "the same tree on the same disk", None),
        ("workspace create --seed-path, first", "the environment is there; at most 1.2 of cp -a is the goal", None),
        ("the same, of an unchanged tree", "a second workspace; the tree is looked through and shared", Some(100.0)),
    ];
    let mut columns: Vec<_> = series.into_iter().map(IntoIterator::into_iter).collect();
    let mut next = |number: usize| columns[number].next().ok_or_else(|| Failure::new("nothing was measured"));
    names
        .into_iter()
        .map(|(name, note, goal)| {
            let (small, large) = (Ok(next(0)?), Ok(next(1)?));
            Ok(Pair { name: name.to_owned(), note: note.to_owned(), goal, small, large })
        })
        .collect()
}

/// What others do for a second state to work in.
fn others(bench: &mut Bench<'_>, options: &Options) -> Result<Vec<Row>> {
    let tree = bench.trees[SIZES.len() - 1].to_string_lossy().into_owned();
    let copied = repeat(bench, "copy", |to| ["cp", "-a", &tree, to].map(str::to_owned).to_vec());
    let mut rows = vec![Row::new("cp -a", "no isolation", copied)];

    let repository = bench.place("repository");
    let git = |words: &[&str]| -> Vec<String> {
        let own = ["git", "-C", &repository, "-c", "user.name=bench", "-c", "user.email=bench@localhost"];
        own.iter().chain(words).map(|word| (*word).to_owned()).collect()
    };
    let committed = bench
        .run(&["cp", "-a", &tree, &repository])
        .and_then(|_| bench.worker.run(&git(&["init", "-q"]), false))
        .and_then(|_| bench.worker.run(&git(&["add", "."]), false))
        .and_then(|_| bench.worker.run(&git(&["commit", "-qm", "all"]), false));
    let added = committed.and_then(|_| repeat(bench, "worktree", |to| git(&["worktree", "add", "-q", "--detach", to])));
    rows.push(Row::new("git worktree add", "what is tracked only; no isolation", added));
    rows.push(Row::new("btrfs subvolume snapshot", "on a file system made for it; no isolation", btrfs(bench, &tree, options)));
    Ok(rows)
}

/// Makes a whole tree, each time in a place of its own.
fn repeat(bench: &mut Bench<'_>, name: &str, command: impl Fn(&str) -> Vec<String>) -> Result<Series> {
    let mut series = Series::default();
    for _ in 0..WHOLE {
        let to = bench.place(name);
        bench.run(&["sync"])?;
        series.push(&bench.worker.run(&command(&to), false)?);
    }
    Ok(series)
}

/// A snapshot on a btrfs of its own, which only root can mount.
fn btrfs(bench: &mut Bench<'_>, tree: &str, options: &Options) -> Result<Series> {
    if !is_root() || bench.actor.user.is_some() {
        return Err(Failure::new("only root mounts a file system"));
    }
    let (image, at) = (bench.actor.scratch.join("btrfs.img"), bench.actor.scratch.join("btrfs"));
    fs::create_dir_all(&at).context(at.display())?;
    fs::File::create(&image).and_then(|file| file.set_len(BTRFS_BYTES)).context(image.display())?;
    let (image, mount) = (image.to_string_lossy().into_owned(), at.to_string_lossy().into_owned());
    let (from, to) = (format!("{mount}/from"), format!("{mount}/to"));
    let measured = bench
        .run(&["mkfs.btrfs", "-q", "-f", &image])
        .and_then(|_| bench.run(&["mount", "-o", "loop", &image, &mount]))
        .and_then(|_| {
            let measured = bench
                .run(&["btrfs", "subvolume", "create", &from])
                .and_then(|_| bench.run(&["cp", "-a", tree, &from]))
                .and_then(|_| {
                    let mut series = Series::default();
                    for _ in 0..options.repetitions {
                        bench.run(&["sync"])?;
                        series.push(&bench.run(&["btrfs", "subvolume", "snapshot", &from, &to])?);
                        bench.run(&["btrfs", "subvolume", "delete", &to])?;
                    }
                    Ok(series)
                });
            bench.run(&["umount", &mount]).and(measured)
        });
    fs::remove_file(&image).context("the image")?;
    fs::remove_dir(&at).context("where it was mounted")?;
    measured
}
