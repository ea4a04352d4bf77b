//! Every property with the inputs that are kept for it, as they are and spoiled a little; and that the properties, the targets and the inputs belong together.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use pyro_fuzzing::{TARGETS, Target};

/// All kept inputs together. They are read in each run of the tests and kept in git for ever.
const SEEDS_BYTES_MAX: u64 = 100 << 10;

/// Ways in which each input is spoiled.
const SPOILED_COUNT: usize = 40;

fn fuzz() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../fuzz")
}

fn names(directory: &Path) -> Vec<String> {
    let entries = fs::read_dir(directory).unwrap_or_else(|error| panic!("{}: {error}", directory.display()));
    let mut names: Vec<String> =
        entries.map(|entry| entry.expect("an entry").file_name().into_string().expect("a plain name")).collect();
    names.sort();
    names
}

fn seeds(target: &Target) -> Vec<(String, Vec<u8>)> {
    let directory = fuzz().join("seeds").join(target.name);
    names(&directory).into_iter().map(|name| (name.clone(), fs::read(directory.join(name)).expect("a file"))).collect()
}

/// Says which input it is before it is asked: a panic names only its own line.
#[track_caller]
fn ask(target: &Target, name: &str, input: &[u8]) {
    let outcome = std::panic::catch_unwind(|| (target.check)(input));
    assert!(outcome.is_ok(), "{} does not hold for {name}: {:?}", target.name, String::from_utf8_lossy(input));
}

#[test]
fn properties_hold_for_every_input_that_is_kept() {
    for target in &TARGETS {
        let seeds = seeds(target);
        assert!(!seeds.is_empty(), "fuzz/seeds/{} is empty", target.name);
        seeds.iter().for_each(|(name, input)| ask(target, name, input));
        ask(target, "nothing", b"");
    }
}

#[test]
fn properties_hold_for_inputs_that_are_spoiled() {
    for target in &TARGETS {
        let seeds = seeds(target);
        for (at, (name, input)) in seeds.iter().enumerate() {
            let mut random = Random(at as u64 + 1);
            let other = &seeds[random.below(seeds.len())].1;
            for number in 0..SPOILED_COUNT {
                ask(target, &format!("{name}, spoiled for the {number}th time"), &spoiled(input, other, &mut random));
            }
        }
    }
}

#[test]
fn each_property_has_a_target_and_seeds_and_nothing_else_does() {
    let properties: BTreeSet<String> = TARGETS.iter().map(|target| target.name.to_owned()).collect();
    let sources = names(&fuzz().join("fuzz_targets"));
    assert_eq!(sources.iter().map(|name| name.trim_end_matches(".rs").to_owned()).collect::<BTreeSet<_>>(), properties);
    assert_eq!(names(&fuzz().join("seeds")).into_iter().collect::<BTreeSet<_>>(), properties);
    let manifest = fs::read_to_string(fuzz().join("Cargo.toml")).expect("a manifest");
    let bins: BTreeSet<String> = manifest
        .lines()
        .filter_map(|line| Some(line.strip_prefix("path = \"fuzz_targets/")?.strip_suffix(".rs\"")?.to_owned()))
        .collect();
    assert_eq!(bins, properties);
    for target in &TARGETS {
        let source = fs::read_to_string(fuzz().join(format!("fuzz_targets/{}.rs", target.name))).expect("a target");
        let function = target.name.replacen('_', "::", 1);
        assert!(source.contains(&format!("pyro_fuzzing::{function}(")), "fuzz_targets/{}.rs calls something else", target.name);
    }
}

#[test]
fn the_kept_inputs_stay_small() {
    let bytes: u64 = TARGETS.iter().flat_map(seeds).map(|(_, input)| input.len() as u64).sum();
    assert!(bytes <= SEEDS_BYTES_MAX, "{bytes} bytes");
}

/// An input with some bytes changed, taken away, doubled or taken from another.
fn spoiled(input: &[u8], other: &[u8], random: &mut Random) -> Vec<u8> {
    let mut input = input.to_vec();
    for _ in 0..1 + random.below(3) {
        let at = random.below(input.len() + 1);
        let until = (at + random.below(16)).min(input.len());
        match random.below(5) {
            0 => input.truncate(at),
            1 => drop(input.drain(at..until)),
            2 => {
                let copy = input[at..until].to_vec();
                input.splice(at..at, copy);
            }
            3 => {
                let from = random.below(other.len() + 1);
                let copy = other[from..(from + random.below(64)).min(other.len())].to_vec();
                input.splice(at..until, copy);
            }
            _ => input.splice(at..until, [[0, 0x1e, 0xff, b'\n', b'9', b'-'][random.below(6)]]).for_each(drop),
        }
    }
    input
}

/// The same numbers each time (xorshift64).
struct Random(u64);

impl Random {
    fn below(&mut self, count: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 >> 11) as usize % count.max(1)
    }
}
