//! Workspaces and what is known of them: every act is done to the real ones, and the model says beforehand what must come of it.
//!
//! What commands do is told by the workspace itself, at the end of the command. Everything about the past follows from rules alone: which steps
//! there are and what each of them was, which of them can be undone, redone, reset to or forgotten. Steps are told apart by the numbers that answers
//! and logs give them, and each number must be the one that the model expects.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::rc::Rc;

use pyro_testkit::{Answer, Rpc, TestEnv};
use serde_json::{Value, json};

use super::acts::{self, ROOTS, Rng, line};
use super::merge::{self, Expected};
use super::push::Source;
use super::tree::{self, Told, Tree, differences, is_at_or_below, shown};

/// What runs inside.
const INSIDE: &str = include_str!("inside.pl");

/// Most workspaces at a time.
const WORKSPACES_MAX: usize = 5;

/// From so many layers on the product may be making them fewer, and may put off a step until it has.
const DEEP: usize = 32;

/// Most entries of a log between two times that it is read.
const ENTRIES_MAX: usize = 400;

type Shared = Rc<Tree>;

/// One state of a workspace.
#[derive(Clone)]
struct Step {
    tree: Shared,
    parent: Option<u64>,
    /// Stands for its layers, uppermost first: what two states have in common.
    layers: Vec<u32>,
}

/// Something that was done and whose step is not known yet.
struct Pending {
    made: Made,
    /// As it left the tree.
    tree: Shared,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Made {
    Exec(u64),
    Write,
}

/// A process that was left running.
struct Background {
    pid: u32,
}

struct Workspace {
    name: String,
    tree: Shared,
    steps: BTreeMap<u64, Step>,
    head: u64,
    last: u64,
    redo: Vec<u64>,
    snapshots: BTreeMap<String, u64>,
    /// Steps that garbage collection has forgotten.
    forgotten: Vec<u64>,
    pending: Vec<Pending>,
    background: Option<Background>,
    is_running: bool,
    /// Several operations may have become one step.
    may_share: bool,
    /// The name of what it is a fork of.
    origin: Option<String>,
}

impl Workspace {
    fn new(name: String, tree: Shared, layers: Vec<u32>, origin: Option<String>) -> Self {
        let first = Step { tree: tree.clone(), parent: None, layers };
        Self {
            name,
            tree,
            steps: BTreeMap::from([(0, first)]),
            head: 0,
            last: 0,
            redo: Vec::new(),
            snapshots: BTreeMap::new(),
            forgotten: Vec::new(),
            pending: Vec::new(),
            background: None,
            is_running: false,
            may_share: false,
            origin,
        }
    }

    fn head(&self) -> &Step {
        &self.steps[&self.head]
    }

    fn is_deep(&self) -> bool {
        self.head().layers.len() >= DEEP
    }

    /// Whether what was done may be in no step yet.
    fn may_be_unsealed(&self) -> bool {
        self.background.is_some() || self.may_share || self.is_deep()
    }
}

/// All of them, in one home.
pub struct World<'a> {
    env: &'a TestEnv,
    rpc: Rpc,
    rng: Rng,
    source: Source,
    workspaces: Vec<Workspace>,
    /// What stacks of layers show.
    states: HashMap<Vec<u32>, Shared>,
    last_layer: u32,
    /// For names.
    prefix: String,
    last_name: u32,
    /// What was done so far, for whoever reads a failure.
    pub told: Vec<String>,
}

#[derive(Clone, Copy)]
enum Act {
    Files,
    FileWrite,
    Push,
    Snapshot,
    DeleteSnapshot,
    Reset,
    Undo,
    Redo,
    Fork,
    Merge,
    Stop,
    Kill,
    Background,
    Poke,
    EndBackground,
    Collect,
    Delete,
    Look,
}

/// How often each.
const ACTS: [(usize, Act); 18] = [
    (40, Act::Files),
    (5, Act::FileWrite),
    (5, Act::Push),
    (8, Act::Snapshot),
    (2, Act::DeleteSnapshot),
    (7, Act::Reset),
    (12, Act::Undo),
    (6, Act::Redo),
    (7, Act::Fork),
    (8, Act::Merge),
    (4, Act::Stop),
    (3, Act::Kill),
    (5, Act::Background),
    (4, Act::Poke),
    (3, Act::EndBackground),
    (3, Act::Collect),
    (1, Act::Delete),
    (4, Act::Look),
];

impl<'a> World<'a> {
    /// One workspace, now and then with a seed.
    pub fn new(env: &'a TestEnv, scratch: &std::path::Path, seed: u64) -> Self {
        let mut rng = Rng::new(seed);
        let source = Source::new(scratch.join(format!("source-{seed}")), &mut rng);
        let mut world = Self {
            env,
            rpc: Rpc::start(env),
            rng,
            source,
            workspaces: Vec::new(),
            states: HashMap::new(),
            last_layer: 0,
            prefix: format!("past-{seed}"),
            last_name: 0,
            told: Vec::new(),
        };
        let name = world.new_name();
        let mut request = json!({ "environment": "debian:12", "name": name });
        if world.rng.one_in(2) {
            request["seed_path"] = world.source.at.to_str().expect("UTF-8").into();
        }
        world.tell(format!("create {request}"));
        world.rpc.call("workspace create", &request);
        world.workspaces.push(Workspace::new(name, Shared::default(), Vec::new(), None));
        let (told, _) = world.exec(0, &[]);
        let tree = Shared::new(told.tree);
        world.workspaces[0].tree = tree.clone();
        world.workspaces[0].steps.get_mut(&0).expect("the first").tree = tree.clone();
        world.states.insert(Vec::new(), tree);
        world
    }

    /// Does something; the same for the same number, if it is done to the same.
    pub fn act(&mut self, seed: u64, deep: bool) {
        self.rng = Rng::new(seed);
        let w = self.rng.below(self.workspaces.len());
        let act = if deep && !self.rng.one_in(8) { Act::Files } else { self.rng.weighted(&ACTS) };
        match act {
            Act::Files => self.files(w, deep),
            Act::FileWrite => self.file_write(w),
            Act::Push => self.push(w),
            Act::Snapshot => self.snapshot(w),
            Act::DeleteSnapshot => self.delete_snapshot(w),
            Act::Reset => self.reset(w),
            Act::Undo => self.undo(w),
            Act::Redo => self.redo(w),
            Act::Fork => self.fork(w),
            Act::Merge => self.merge(w),
            Act::Stop => self.stop(w),
            Act::Kill => self.kill(w),
            Act::Background => self.background(w),
            Act::Poke => self.poke(w),
            Act::EndBackground => self.end_background(w),
            Act::Collect => self.collect(),
            Act::Delete => self.delete(w),
            Act::Look => self.look(w),
        }
    }

    /// Looks at everything, deletes everything, and sees that nothing of it is left on disk.
    pub fn finish(&mut self) {
        for w in 0..self.workspaces.len() {
            self.learn(w);
            self.look(w);
        }
        while let Some(gone) = self.workspaces.pop() {
            self.rpc.call("workspace delete", &json!({ "workspace": gone.name }));
        }
        self.rpc.call("gc", &json!({}));
        for directory in ["changes", "seeds"] {
            let left = std::fs::read_dir(self.env.home().join(directory)).expect("a directory of the home").count();
            assert_eq!(left, 0, "{directory} that nothing names");
        }
    }

    fn tell(&mut self, what: String) {
        self.told.push(what);
    }

    fn new_name(&mut self) -> String {
        self.last_name += 1;
        format!("{}-{}", self.prefix, self.last_name)
    }

    fn call(&mut self, op: &str, w: usize, more: Value) -> Answer {
        let mut request = more;
        request["workspace"] = self.workspaces[w].name.as_str().into();
        let answer = self.rpc.answer(op, &request);
        let told = match &answer.outcome {
            Ok(response) => cut(&response.to_string()),
            Err(error) => format!("{error}"),
        };
        self.tell(format!("{op} {} -> {told}", cut(&request.to_string())));
        answer
    }

    /// Runs a command that does these operations and tells the trees.
    fn exec(&mut self, w: usize, operations: &[String]) -> (Told, u64) {
        let name = self.workspaces[w].name.clone();
        for operation in operations {
            let words: Vec<String> = operation.split(' ').skip(1).map(|word| shown(&tree::bytes(word))).collect();
            let verb = operation.split(' ').next().unwrap_or_default();
            self.tell(format!("{name}: {verb} {}", cut(&words.join(" "))));
        }
        let trees = ROOTS.map(|root| line("tree", &[root.as_bytes().to_vec()]));
        let stdin = format!("{INSIDE}{}\n{}\n", trees.join("\n"), operations.join("\n"));
        let request = json!({ "workspace": name, "command": ["perl", "-"], "cwd": "/", "stdin": stdin.trim_end() });
        let answer = self.rpc.answer("workspace exec", &request);
        let response = answer.outcome.unwrap_or_else(|error| panic!("a command in {name}: {error}"));
        assert!(
            response["outcome"]["kind"] == "exited" && response["outcome"]["code"] == 0,
            "a command in {name}: {} {}",
            response["outcome"],
            response["stderr"]["text"]
        );
        let workspace = &mut self.workspaces[w];
        workspace.is_running = true;
        (tree::read(&answer.stdout), response["exec"].as_u64().expect("a number"))
    }

    /// Does operations and believes what the command tells of them.
    fn change(&mut self, w: usize, operations: &[String]) -> Option<u32> {
        // As long as an overlay is mounted, a link to a file of a lower layer that was made in it has a number of its own (seen with Linux 6.18). With so much
        // written there will be another.
        let mut operations = operations.to_vec();
        let makes_links = operations.iter().any(|operation| makes_links(operation));
        if makes_links {
            operations.push(line("file", &[b"/workspace/.much".to_vec(), vec![b'm'; 70_000]]));
        }
        let (Told { mut tree, pid }, exec) = self.exec(w, &operations);
        if makes_links {
            let (told, _) = self.exec(w, &[]);
            for (path, node) in &mut tree {
                if let Some(later) = told.tree.get(path) {
                    node.same_as.clone_from(&later.same_as);
                }
            }
            let differences = differences(&tree, &told.tree);
            assert!(differences.is_empty(), "after its command {} is not as it was:\n  {differences}", self.workspaces[w].name);
        }
        let workspace = &mut self.workspaces[w];
        workspace.tree = Shared::new(tree);
        workspace.pending.push(Pending { made: Made::Exec(exec), tree: workspace.tree.clone() });
        pid
    }

    /// The tree is what the model says, all of it.
    fn look(&mut self, w: usize) {
        let (told, _) = self.exec(w, &[]);
        let workspace = &self.workspaces[w];
        let differences = differences(&workspace.tree, &told.tree);
        assert!(differences.is_empty(), "{} is not as it should be:\n  {differences}", workspace.name);
    }

    /// Looks, but for now and then.
    fn glance(&mut self, w: usize) {
        if !self.rng.one_in(4) {
            self.look(w);
        }
    }

    /// A new step, made from the head.
    fn add(&mut self, w: usize, step: u64, tree: Shared, is_copy: bool) {
        self.last_layer += 1;
        let workspace = &mut self.workspaces[w];
        assert_eq!(step, workspace.last + 1, "the number of a new step of {}", workspace.name);
        let layers: Vec<u32> = std::iter::once(self.last_layer).chain(workspace.head().layers.iter().copied()).collect();
        self.states.insert(layers.clone(), tree.clone());
        workspace.steps.insert(step, Step { tree, parent: Some(workspace.head), layers });
        workspace.last = step;
        if !is_copy {
            workspace.head = step;
            workspace.redo.clear();
        }
    }

    /// Learns from the log which steps there are now.
    fn learn(&mut self, w: usize) {
        if self.workspaces[w].is_running {
            self.look(w);
        }
        if self.workspaces[w].pending.is_empty() {
            return;
        }
        let logs = self.call("workspace logs", w, json!({ "limit": ENTRIES_MAX }));
        let logs = logs.outcome.expect("there is a log");
        let entries = logs["entries"].as_array().expect("entries");
        let mut writes: Vec<Option<u64>> = entries
            .iter()
            .filter(|entry| entry["op"] == "workspace file write" && entry["outcome"] == "ok")
            .map(|entry| entry["step"].as_u64())
            .collect();
        let pending = std::mem::take(&mut self.workspaces[w].pending);
        let write_count = pending.iter().filter(|pending| pending.made == Made::Write).count();
        let mut writes = writes.split_off(writes.len().checked_sub(write_count).expect("every write has an entry")).into_iter();
        let mut unsealed = Vec::new();
        for pending in pending {
            let step = match pending.made {
                Made::Exec(exec) => {
                    let entry = entries.iter().find(|entry| entry["exec"] == exec);
                    entry.unwrap_or_else(|| panic!("exec {exec} is not in the log"))["step"].as_u64()
                }
                Made::Write => writes.next().expect("as many as there are"),
            };
            let Some(step) = step else {
                unsealed.push(pending);
                continue;
            };
            let workspace = &self.workspaces[w];
            for vain in unsealed.drain(..) {
                let differences = differences(&workspace.head().tree, &vain.tree);
                assert!(differences.is_empty(), "{} changed and is in no step:\n  {differences}", workspace.name);
            }
            if step == workspace.head && step != 0 && step == workspace.last {
                assert!(workspace.may_be_unsealed(), "two operations are both step {step} of {}", workspace.name);
                let layers = workspace.head().layers.clone();
                self.states.insert(layers, pending.tree.clone());
                self.workspaces[w].steps.get_mut(&step).expect("it is the head").tree = pending.tree;
            } else {
                self.add(w, step, pending.tree, false);
            }
        }
        let workspace = &mut self.workspaces[w];
        if workspace.may_be_unsealed() {
            workspace.pending = unsealed;
        } else {
            for vain in unsealed {
                let differences = differences(&workspace.head().tree, &vain.tree);
                assert!(differences.is_empty(), "{} changed and is in no step:\n  {differences}", workspace.name);
            }
        }
        workspace.may_share = workspace.background.is_some() || !workspace.pending.is_empty();
    }

    /// The files as they are now have become this step, if they were none already.
    fn settled(&mut self, w: usize, step: u64) {
        let tree = self.workspaces[w].tree.clone();
        let workspace = &self.workspaces[w];
        if step == workspace.head {
            let differences = differences(&workspace.head().tree, &tree);
            assert!(differences.is_empty(), "{} is said to be as step {step}, and was not:\n  {differences}", workspace.name);
        } else {
            assert!(!workspace.pending.is_empty(), "{} has a step {step} of nothing", workspace.name);
            self.add(w, step, tree, false);
        }
        self.workspaces[w].pending.clear();
    }

    /// A state that never changes again was taken: as a step of its own, or as a copy under somebody who writes.
    fn taken(&mut self, w: usize, response: &Value) -> u64 {
        let step = response["step"].as_u64().expect("a step");
        if response["copied"].is_string() {
            let workspace = &self.workspaces[w];
            assert!(workspace.may_be_unsealed(), "{} was copied though nothing ran: {}", workspace.name, response["copied"]);
            let tree = workspace.tree.clone();
            self.add(w, step, tree, true);
        } else {
            self.settled(w, step);
        }
        step
    }

    fn files(&mut self, w: usize, deep: bool) {
        let tree = self.workspaces[w].tree.clone();
        let count = if deep { 1 } else { 1 + self.rng.below(5) };
        let mut operations: Vec<String> = (0..count).map(|_| acts::operation(&mut self.rng, &tree)).collect();
        if deep && self.rng.one_in(2) {
            // So large that it is a layer more, and not a copy.
            let far = (1 << 20) - self.rng.below(1 << 16);
            operations.push(acts::line(
                "sparse",
                &[b"/srv/bulk".to_vec(), b"1048600".to_vec(), far.to_string().into_bytes(), b"far".to_vec()],
            ));
        }
        // Which files are the same could not be seen before the overlay is mounted anew.
        operations.retain(|operation| !self.workspaces[w].may_be_unsealed() || !makes_links(operation));
        self.change(w, &operations);
        if self.rng.one_in(3) {
            self.look(w);
        }
    }

    fn file_write(&mut self, w: usize) {
        let name = loop {
            if let Ok(name) = String::from_utf8(acts::name(&mut self.rng)) {
                break name;
            }
        };
        let directory = ["", "a/", "b/c d/"][self.rng.below(3)];
        let path = format!("{directory}{name}");
        let content = acts::content(&mut self.rng);
        let base64 = base64::Engine::encode(&base64::engine::general_purpose::STANDARD, &content);
        let answer = self.call("workspace file write", w, json!({ "path": path, "base64": base64 }));
        self.workspaces[w].is_running = true;
        let (told, _) = self.exec(w, &[]);
        let before = self.workspaces[w].tree.clone();
        if answer.outcome.is_err() {
            let differences = differences(&before, &told.tree);
            assert!(differences.is_empty(), "a write that was refused changed something:\n  {differences}");
            return;
        }
        let path = format!("/workspace/{path}").into_bytes();
        // Through a link it is written elsewhere.
        let is_direct = before.iter().all(|(other, node)| node.kind != b'l' || !is_at_or_below(&path, other));
        if is_direct {
            let written = told.tree.get(&path).unwrap_or_else(|| panic!("{} was written and is not there", shown(&path)));
            assert_eq!(written.content, Some(tree::content_of(&content)), "what was written to {}", shown(&path));
            // All else is as it was, but for directories that have seen it and other names of the same file.
            let same_as = before.get(&path).map(|node| node.same_as.clone());
            let untouched = |tree: &Tree| -> Tree {
                let is_touched = |other: &Vec<u8>| {
                    is_at_or_below(&path, other) || before.get(other).is_some_and(|node| Some(&node.same_as) == same_as.as_ref())
                };
                tree.iter().filter(|(other, _)| !is_touched(other)).map(|(other, node)| (other.clone(), node.clone())).collect()
            };
            let differences = differences(&untouched(&before), &untouched(&told.tree));
            assert!(differences.is_empty(), "a write changed something else:\n  {differences}");
        }
        let workspace = &mut self.workspaces[w];
        workspace.tree = Shared::new(told.tree);
        workspace.pending.push(Pending { made: Made::Write, tree: workspace.tree.clone() });
    }

    fn push(&mut self, w: usize) {
        self.learn(w);
        for _ in 0..=self.rng.below(3) {
            self.source.change(&mut self.rng);
        }
        let to = *["/workspace", "/workspace/a", "/srv/b/new", "/opt"].get(self.rng.below(4)).expect("one of four");
        let delete = self.rng.one_in(3);
        let before = self.workspaces[w].tree.clone();
        let expected = self.source.pushed(&before, to.as_bytes(), delete);
        let request = json!({ "source": self.source.at.to_str(), "path": to, "delete": delete });
        let answer = self.call("workspace sync push", w, request);
        self.workspaces[w].is_running = true;
        let response = match answer.outcome {
            Ok(response) => response,
            Err(error) => {
                let workspace = &self.workspaces[w];
                assert!(expected.is_none() || workspace.may_be_unsealed(), "a push to {} was refused: {error}", workspace.name);
                return self.look(w);
            }
        };
        assert!(self.workspaces[w].background.is_none(), "a push under a process that runs");
        let (expected, is_changed) = expected.expect("a push to what is no directory is refused");
        let step = response["step"].as_u64();
        assert_eq!(step.is_some(), is_changed, "whether there was anything to push: {response}");
        if let Some(step) = step {
            self.put_on_top(w, step, &expected);
        } else {
            self.look(w);
        }
    }

    /// A layer was put on top, and this is what it must have made.
    fn put_on_top(&mut self, w: usize, step: u64, expected: &Tree) {
        let (told, _) = self.exec(w, &[]);
        let differences = differences(expected, &told.tree);
        assert!(differences.is_empty(), "{} is not as it should be:\n  {differences}", self.workspaces[w].name);
        // What could not be told beforehand is known now.
        let tree = Shared::new(told.tree);
        // What was there before is a step of its own, if it was none.
        if step == self.workspaces[w].last + 2 {
            self.settled(w, step - 1);
        }
        self.workspaces[w].pending.clear();
        self.workspaces[w].tree = tree.clone();
        self.add(w, step, tree, false);
    }

    fn snapshot(&mut self, w: usize) {
        self.learn(w);
        let name = format!("s{}", self.rng.below(6));
        let answer = self.call("workspace snapshot create", w, json!({ "name": name }));
        match answer.outcome {
            Ok(response) => {
                let step = self.taken(w, &response);
                let before = self.workspaces[w].snapshots.insert(name.clone(), step);
                assert!(before.is_none(), "a snapshot {name} was made twice");
            }
            Err(error) => assert!(self.workspaces[w].snapshots.contains_key(&name), "{error}"),
        }
        self.glance_if_running(w);
    }

    fn glance_if_running(&mut self, w: usize) {
        if self.workspaces[w].is_running {
            self.glance(w);
        }
    }

    fn delete_snapshot(&mut self, w: usize) {
        let name = format!("s{}", self.rng.below(6));
        let answer = self.call("workspace snapshot delete", w, json!({ "name": name }));
        let was_there = self.workspaces[w].snapshots.remove(&name).is_some();
        assert_eq!(answer.outcome.is_ok(), was_there, "deleting the snapshot {name}");
    }

    fn reset(&mut self, w: usize) {
        self.learn(w);
        let workspace = &self.workspaces[w];
        let steps: Vec<u64> = workspace.steps.keys().copied().collect();
        let (request, target) = match self.rng.below(8) {
            0..=2 if !workspace.snapshots.is_empty() => {
                let all: Vec<(&String, &u64)> = workspace.snapshots.iter().collect();
                let (name, step) = all[self.rng.below(all.len())];
                (json!({ "snapshot": name }), Some(*step))
            }
            3 => (json!({}), Some(0)),
            4 if !workspace.forgotten.is_empty() => {
                (json!({ "step": workspace.forgotten[self.rng.below(workspace.forgotten.len())] }), None)
            }
            5 => (json!({ "step": workspace.last + 1000 }), None),
            _ => {
                let step = steps[self.rng.below(steps.len())];
                (json!({ "step": step }), Some(step))
            }
        };
        let answer = self.call("workspace reset", w, request);
        match (answer.outcome, target) {
            (Ok(response), Some(target)) => {
                self.settled(w, response["left"]["step"].as_u64().expect("a reset leaves a step"));
                let at = response["at"]["step"].as_u64().expect("a step");
                let workspace = &mut self.workspaces[w];
                assert_eq!(at, workspace.last + 1, "the number of the step that a reset is");
                let Step { tree, layers, .. } = workspace.steps[&target].clone();
                workspace.tree = tree.clone();
                workspace.steps.insert(at, Step { tree, parent: Some(workspace.head), layers });
                workspace.last = at;
                self.stands_on(w, at, Vec::new());
                self.glance_if_running(w);
            }
            (Err(_), None) => self.glance_if_running(w),
            (Err(error), Some(target)) => panic!("cannot be reset to step {target}: {error}"),
            (Ok(response), None) => panic!("was reset to what is not there: {response}"),
        }
    }

    /// It has gone to another step; nothing runs in it any more.
    fn stands_on(&mut self, w: usize, step: u64, redo: Vec<u64>) {
        let workspace = &mut self.workspaces[w];
        workspace.head = step;
        workspace.redo = redo;
        workspace.background = None;
        workspace.may_share = false;
    }

    fn undo(&mut self, w: usize) {
        self.learn(w);
        match self.call("workspace undo", w, json!({})).outcome {
            Ok(response) => {
                self.settled(w, response["left"]["step"].as_u64().expect("an undo leaves a step"));
                let workspace = &mut self.workspaces[w];
                let (left, parent) = (workspace.head, workspace.head().parent.expect("what was undone was made from something"));
                assert_eq!(response["at"]["step"].as_u64(), Some(parent), "where an undo of step {left} leads");
                workspace.tree = workspace.steps[&parent].tree.clone();
                let redo = workspace.redo.iter().copied().chain([left]).collect();
                self.stands_on(w, parent, redo);
            }
            Err(error) => {
                let workspace = &self.workspaces[w];
                let is_first = workspace.head().parent.is_none() && differences(&workspace.head().tree, &workspace.tree).is_empty();
                assert!(is_first, "undo in {} at step {}: {error}", workspace.name, workspace.head);
            }
        }
        self.glance_if_running(w);
    }

    fn redo(&mut self, w: usize) {
        self.learn(w);
        match self.call("workspace redo", w, json!({})).outcome {
            Ok(response) => {
                let workspace = &mut self.workspaces[w];
                let differences = differences(&workspace.head().tree, &workspace.tree);
                assert!(differences.is_empty(), "redo over what was done since:\n  {differences}");
                let to = workspace.redo.pop().expect("there is something to redo");
                assert_eq!(response["at"]["step"].as_u64(), Some(to), "where a redo leads");
                workspace.tree = workspace.steps[&to].tree.clone();
                workspace.pending.clear();
                let redo = std::mem::take(&mut workspace.redo);
                self.stands_on(w, to, redo);
            }
            Err(error) => {
                let workspace = &self.workspaces[w];
                let is_none = workspace.redo.is_empty() || !workspace.pending.is_empty();
                assert!(is_none, "redo in {} at step {}: {error}", workspace.name, workspace.head);
            }
        }
        self.glance_if_running(w);
    }

    fn fork(&mut self, w: usize) {
        if self.workspaces.len() >= WORKSPACES_MAX {
            return;
        }
        self.learn(w);
        let (name, count) = (self.new_name(), 1 + self.rng.below(2));
        let answer = self.call("workspace fork", w, json!({ "name": name, "count": count }));
        let response = answer.outcome.unwrap_or_else(|error| panic!("a fork: {error}"));
        let step = self.taken(w, &response);
        let names: Vec<String> =
            if count == 1 { vec![name] } else { (1..=count).map(|number| format!("{name}-{number}")).collect() };
        let (origin, layers) = (self.workspaces[w].name.clone(), self.workspaces[w].steps[&step].layers.clone());
        for name in names {
            let tree = self.workspaces[w].tree.clone();
            self.workspaces.push(Workspace::new(name, tree, layers.clone(), Some(origin.clone())));
            let new = self.workspaces.len() - 1;
            if self.rng.one_in(2) {
                self.look(new);
            }
        }
        self.glance_if_running(w);
    }

    fn merge(&mut self, w: usize) {
        let from = self.rng.below(self.workspaces.len());
        // The other's step, if it has to be copied, has a number that nobody tells us.
        if from == w || self.workspaces[from].background.is_some() {
            return;
        }
        self.learn(w);
        self.learn(from);
        // As nothing runs there, it is all in a step as soon as it was asked.
        if !self.workspaces[from].pending.is_empty() {
            return;
        }
        let Some(base) = self.common(w, from) else { return };
        let dry_run = self.rng.one_in(5);
        let (ours, theirs) = (self.workspaces[w].tree.clone(), self.workspaces[from].tree.clone());
        let request = json!({ "from": self.workspaces[from].name, "dry_run": dry_run });
        let answer = self.call("workspace merge", w, request);
        self.workspaces[w].is_running = true;
        let response = match answer.outcome {
            Ok(response) => response,
            Err(error) => {
                assert!(self.workspaces[w].may_be_unsealed(), "a merge: {error}");
                return self.look(w);
            }
        };
        assert!(self.workspaces[w].background.is_none(), "a merge under a process that runs");
        let is_conflict = response["conflict_count"].as_u64().expect("a number") > 0;
        let expected = match merge::expected(&base, &ours, &theirs) {
            Expected::Conflict => {
                assert!(is_conflict, "this is a conflict, and was merged: {response}");
                None
            }
            Expected::Merged(tree) => {
                assert!(!is_conflict, "this is no conflict: {response}");
                Some(tree)
            }
            Expected::Either(tree) => (!is_conflict).then_some(tree),
        };
        match (expected, response["step"].as_u64()) {
            (Some(expected), Some(step)) if !dry_run => self.put_on_top(w, step, &expected),
            (Some(expected), None) if !dry_run => {
                let differences = differences(&expected, &ours);
                assert!(differences.is_empty(), "a merge took nothing, and should have:\n  {differences}");
                self.look(w);
            }
            (_, None) => self.look(w),
            (_, Some(step)) => panic!("a merge that changes nothing is step {step}"),
        }
        if self.workspaces[from].is_running {
            self.glance(from);
        }
    }

    /// What two had in common; `None` when that is known to the product only.
    fn common(&self, ours: usize, from: usize) -> Option<Shared> {
        let is_fork_of = |one: usize, other: usize| self.workspaces[one].origin.as_deref() == Some(&self.workspaces[other].name);
        if is_fork_of(from, ours) {
            return Some(self.workspaces[from].steps[&0].tree.clone());
        }
        if is_fork_of(ours, from) {
            return Some(self.workspaces[ours].steps[&0].tree.clone());
        }
        let (one, other) = (&self.workspaces[ours], &self.workspaces[from]);
        if one.is_deep() || other.is_deep() {
            return None;
        }
        let (one, other) = (&one.head().layers, &other.head().layers);
        let shared = one.iter().rev().zip(other.iter().rev()).take_while(|(one, other)| one == other).count();
        Some(self.states[&one[one.len() - shared..]].clone())
    }

    fn stop(&mut self, w: usize) {
        self.call("workspace stop", w, json!({})).outcome.unwrap_or_else(|error| panic!("a stop: {error}"));
        self.ended(w);
    }

    fn ended(&mut self, w: usize) {
        let workspace = &mut self.workspaces[w];
        workspace.is_running = false;
        workspace.background = None;
        workspace.may_share = true;
    }

    fn kill(&mut self, w: usize) {
        if self.workspaces[w].is_running {
            let name = self.workspaces[w].name.clone();
            self.tell(format!("kill the supervisor of {name}"));
            crate::kill_supervisor(self.env, &name);
            self.ended(w);
        }
    }

    fn background(&mut self, w: usize) {
        if self.workspaces[w].background.is_some() {
            return;
        }
        let kind = *["sleeps", "writes", "holds", "stands"].get(self.rng.below(4)).expect("one of four");
        let path = [b"/workspace/", acts::name(&mut self.rng).as_slice()].concat();
        let tree = self.workspaces[w].tree.clone();
        let mut operations = vec![line("background", &[kind.as_bytes().to_vec(), path.clone()])];
        if self.rng.one_in(2) {
            operations.push(acts::operation(&mut self.rng, &tree));
            operations.retain(|operation| !makes_links(operation));
        }
        let before = self.workspaces[w].may_share;
        self.workspaces[w].may_share = true;
        let pid = self.change(w, &operations);
        let workspace = &mut self.workspaces[w];
        workspace.may_share |= before;
        workspace.background = pid.map(|pid| Background { pid });
    }

    fn poke(&mut self, w: usize) {
        let Some(Background { pid }) = &self.workspaces[w].background else { return };
        let poke = line("poke", &[pid.to_string().into_bytes()]);
        self.change(w, &[poke]);
    }

    fn end_background(&mut self, w: usize) {
        let Some(Background { pid }) = &self.workspaces[w].background else { return };
        let end = line("end", &[pid.to_string().into_bytes()]);
        self.change(w, &[end]);
        self.workspaces[w].background = None;
        self.look(w);
    }

    fn collect(&mut self) {
        for w in 0..self.workspaces.len() {
            self.learn(w);
        }
        let response = self.rpc.call("gc", &json!({}));
        self.tell(format!("gc -> {response}"));
        let mut count = 0;
        for workspace in &mut self.workspaces {
            let mut kept: BTreeSet<u64> = workspace.snapshots.values().chain(&workspace.redo).copied().chain([0]).collect();
            let mut at = Some(workspace.head);
            while let Some(step) = at {
                kept.insert(step);
                at = workspace.steps[&step].parent;
            }
            let left: Vec<u64> = workspace.steps.keys().copied().filter(|step| !kept.contains(step)).collect();
            count += left.len() as u64;
            workspace.steps.retain(|step, _| kept.contains(step));
            workspace.forgotten.extend(left);
        }
        assert_eq!(response["steps"].as_u64(), Some(count), "steps that no way leads back to");
    }

    fn delete(&mut self, w: usize) {
        if self.workspaces.len() < 2 {
            return;
        }
        self.call("workspace delete", w, json!({})).outcome.unwrap_or_else(|error| panic!("a deletion: {error}"));
        self.workspaces.remove(w);
    }
}

/// Whether a file may have another name after it.
fn makes_links(operation: &str) -> bool {
    operation.starts_with("link ") || operation.starts_with("copy ")
}

/// As much of a text as a reader wants to see.
fn cut(text: &str) -> String {
    const CHARS_MAX: usize = 300;
    if text.chars().count() <= CHARS_MAX { text.to_owned() } else { text.chars().take(CHARS_MAX).chain(['…']).collect() }
}
