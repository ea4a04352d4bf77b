//! The whole past against a model: random sequences of everything that can be done to workspaces and their past, through the real program, and after
//! each the trees must be what the rules say, to the last attribute.
//!
//! The same sequences every time, so that a change is judged by itself. `PYRO_TEST_PAST` says how many,
//! `PYRO_TEST_PAST_SEED` which is the first. One that fails is made shorter, and said with its seed and all that was done.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use pyro_testkit::TestEnv;

use acts::Rng;
use world::World;

mod acts;
mod merge;
mod push;
mod tree;
mod world;

/// Sequences in a usual run: about ten seconds with a program that was not optimised.
const SEQUENCES: u64 = 18;

/// Acts of one sequence.
const ACTS: usize = 30;

/// One in so many is a long row of changes of one file, half of them with a large one, so that layers are made fewer under it.
const DEEP_ONE_IN: u64 = 12;

/// Acts of such a one: as many as steps are kept of themselves, which [`world`] does not forget.
const DEEP_ACTS: usize = 50;

/// Sequences between two times that the home is looked at for what was left over.
const SEQUENCES_OF_A_HOME: u64 = 24;

/// Sequences between two words of how far a long run is.
const SAID_EVERY: u64 = 100;

/// Attempts to make a failing sequence shorter.
const ATTEMPTS_MAX: usize = 60;

fn number(variable: &str) -> Option<u64> {
    std::env::var(variable).ok().map(|text| text.parse().unwrap_or_else(|_| panic!("{variable} is {text:?} and no number")))
}

#[test]
fn the_past_is_what_its_rules_say() {
    crate::namespaces_case(crate::NO_PAST, |env| {
        let (first, count) = (number("PYRO_TEST_PAST_SEED").unwrap_or(1), number("PYRO_TEST_PAST").unwrap_or(SEQUENCES));
        env.environment("debian:12");
        let threads = std::thread::available_parallelism().map_or(1, std::num::NonZero::get).min(2);
        let (next, has_failed) = (AtomicU64::new(0), AtomicBool::new(false));
        std::thread::scope(|scope| {
            for _ in 0..threads {
                scope.spawn(|| {
                    loop {
                        let start = next.fetch_add(SEQUENCES_OF_A_HOME.min(count.div_ceil(threads as u64)), Ordering::Relaxed);
                        let end = count.min(start + SEQUENCES_OF_A_HOME.min(count.div_ceil(threads as u64)));
                        if start >= end || has_failed.load(Ordering::Relaxed) {
                            return;
                        }
                        let home = env.fresh();
                        for seed in first + start..first + end {
                            if seed % SAID_EVERY == 0 {
                                println!("sequence {seed}");
                            }
                            if let Err(failure) = run(&home, seed, &all(seed)) {
                                has_failed.store(true, Ordering::Relaxed);
                                abandon(&home);
                                panic!("{}", shortened(env, seed, failure));
                            }
                        }
                    }
                });
            }
        });
    });
}

/// What went wrong, and at which act.
struct Failure {
    why: String,
    told: Vec<String>,
    acts: Vec<usize>,
}

fn is_deep(seed: u64) -> bool {
    seed.is_multiple_of(DEEP_ONE_IN)
}

/// The numbers of the acts of a sequence.
fn all(seed: u64) -> Vec<usize> {
    (0..if is_deep(seed) { DEEP_ACTS } else { ACTS }).collect()
}

/// Does these acts of a sequence. What an act does depends on its number and on what it is done to.
fn run(env: &TestEnv, seed: u64, acts: &[usize]) -> Result<(), Failure> {
    let scratch = env.scratch();
    let mut done = Vec::new();
    let mut world = None;
    let outcome = catch_unwind(AssertUnwindSafe(|| {
        let world = world.insert(World::new(env, scratch.path(), seed));
        for act in acts {
            done.push(*act);
            let mut mixed = Rng::new(seed);
            let seed_of_act = mixed.next().wrapping_add(*act as u64);
            world.act(Rng::new(seed_of_act).next(), is_deep(seed));
        }
        world.finish();
    }));
    outcome.map_err(|panic| {
        let text = panic.downcast_ref::<String>().cloned();
        let why = text.or_else(|| panic.downcast_ref::<&str>().map(|text| (*text).to_owned())).unwrap_or_default();
        Failure { why, told: world.map(|world| world.told).unwrap_or_default(), acts: done }
    })
}

/// Leaves out what a failure does not need, and says what is left.
fn shortened(env: &TestEnv, seed: u64, mut failure: Failure) -> String {
    let mut attempts = 0;
    let mut size = failure.acts.len().div_ceil(2);
    while size > 0 && attempts < ATTEMPTS_MAX {
        let mut at = 0;
        while at < failure.acts.len() && attempts < ATTEMPTS_MAX {
            attempts += 1;
            let mut fewer = failure.acts.clone();
            fewer.drain(at..(at + size).min(fewer.len()));
            let home = env.fresh();
            match run(&home, seed, &fewer) {
                Err(shorter) => {
                    abandon(&home);
                    failure = shorter;
                }
                Ok(()) => at += size,
            }
        }
        size /= 2;
    }
    format!(
        "PYRO_TEST_PAST_SEED={seed} PYRO_TEST_PAST=1 fails: {}\nshortest (acts {:?}):\n  {}",
        failure.why,
        failure.acts,
        failure.told.join("\n  ")
    )
}

/// Deletes what a failed sequence has left.
fn abandon(env: &TestEnv) {
    let list = env.document(&["workspace", "list"]);
    for workspace in list["workspaces"].as_array().into_iter().flatten() {
        env.pyro(&["workspace", "delete", workspace["workspace"].as_str().unwrap_or_default()]);
    }
}
