//! What is done to files inside: operations chosen at random, few names in few places so that they meet each other, and every sort of thing that
//! a file system has.

use super::tree::{Tree, hex};

/// Numbers that look random and are the same for the same seed (Vigna's splitmix64).
#[derive(Clone, Debug)]
pub struct Rng(u64);

impl Rng {
    pub fn new(seed: u64) -> Self {
        Self(seed)
    }

    pub fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    /// From 0 to below `count`.
    pub fn below(&mut self, count: usize) -> usize {
        usize::try_from(self.next() % count as u64).expect("it is below a usize")
    }

    pub fn one_in(&mut self, count: usize) -> bool {
        self.below(count) == 0
    }

    pub fn pick<'a, T: ?Sized>(&mut self, of: &'a [&'a T]) -> &'a T {
        of[self.below(of.len())]
    }

    /// One of these, each as often as its weight says.
    pub fn weighted<T: Copy>(&mut self, of: &[(usize, T)]) -> T {
        let mut at = self.below(of.iter().map(|(weight, _)| weight).sum());
        for (weight, what) in of {
            match at.checked_sub(*weight) {
                Some(rest) => at = rest,
                None => return *what,
            }
        }
        unreachable!("what is below the sum of the weights is in one of them")
    }
}

/// Directories that operations are about. In the last the environment has files, directories and a link.
pub const ROOTS: [&str; 4] = ["/workspace", "/opt", "/srv", "/etc/dpkg"];

/// Longest name that a file system takes.
const NAME_BYTES_MAX: usize = 255;

/// One name: `.wh.` is what other layered file systems mark deletions with, and `a.x` sorts between a directory and what is in it.
pub fn name(rng: &mut Rng) -> Vec<u8> {
    const NAMES: [&[u8]; 9] = [b"a", b"b", b"c", b"c d", b"a.x", b".wh.a", b"new\nline", b"\xff\xfe", b"-n"];
    if rng.one_in(16) { vec![b'x'; NAME_BYTES_MAX] } else { rng.pick(&NAMES).to_vec() }
}

/// A path: one that there is, or a name in a directory that there is, or any.
fn path(rng: &mut Rng, tree: &Tree) -> Vec<u8> {
    let within = |path: &&Vec<u8>| ROOTS.iter().any(|root| super::tree::is_at_or_below(path, root.as_bytes()));
    let known: Vec<&Vec<u8>> = tree.keys().filter(within).collect();
    match rng.below(10) {
        0..=4 if !known.is_empty() => known[rng.below(known.len())].clone(),
        5..=7 if !known.is_empty() => {
            let directories: Vec<&&Vec<u8>> = known.iter().filter(|path| tree[**path].kind == b'd').collect();
            match directories.len() {
                0 => [b"/workspace/".to_vec(), name(rng)].concat(),
                count => [directories[rng.below(count)].as_slice(), b"/", &name(rng)].concat(),
            }
        }
        _ => {
            let mut path = if rng.one_in(2) { ROOTS[0] } else { rng.pick(&ROOTS) }.as_bytes().to_vec();
            for _ in 0..=rng.below(3) {
                path.push(b'/');
                path.extend(name(rng));
            }
            path
        }
    }
}

/// A path that may be removed or made into something else: commands need `/workspace`.
fn loose_path(rng: &mut Rng, tree: &Tree) -> Vec<u8> {
    loop {
        let path = path(rng, tree);
        if path != ROOTS[0].as_bytes() {
            return path;
        }
    }
}

/// A text of which one or two lines are different each time, so that two can be merged by lines or not.
fn text(rng: &mut Rng) -> Vec<u8> {
    const LINES: usize = 12;
    let mut lines: Vec<String> = (0..LINES).map(|number| format!("line {number}\n")).collect();
    for _ in 0..=rng.below(2) {
        let (at, to) = (rng.below(LINES), rng.below(50));
        lines[at] = format!("line {at} is {to}\n");
    }
    lines.concat().into_bytes()
}

/// What a file may hold.
pub fn content(rng: &mut Rng) -> Vec<u8> {
    match rng.below(12) {
        0 => Vec::new(),
        1 => b"one\n".to_vec(),
        2..=3 => {
            let length = 1 + rng.below(300);
            let mut bytes: Vec<u8> = (0..length).map(|_| rng.next().to_le_bytes()[0]).collect();
            bytes[0] = 0;
            bytes
        }
        // Of several blocks, the last not whole.
        4 => {
            let length = 4000 + rng.below(9000);
            format!("{:016x}\n", rng.next()).repeat(length / 17).into_bytes()
        }
        _ => text(rng),
    }
}

const MODES: [&str; 8] = ["644", "755", "600", "0", "4755", "2775", "1777", "444"];

/// File capabilities as they are stored: version 2, `CAP_NET_BIND_SERVICE` (include/uapi/linux/capability.h).
const CAPABILITY: [u8; 20] = [1, 0, 0, 2, 0, 4, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0];

/// One operation, as a line for `inside.pl`.
pub fn operation(rng: &mut Rng, tree: &Tree) -> String {
    let number = |number: usize| number.to_string().into_bytes();
    let mode = |rng: &mut Rng| rng.pick(&MODES).as_bytes().to_vec();
    let (what, arguments): (&str, Vec<Vec<u8>>) = match rng.below(40) {
        0..=6 => ("write", vec![path(rng, tree), content(rng)]),
        7..=8 => ("append", vec![path(rng, tree), b"appended\n".to_vec()]),
        9 => ("patch", vec![path(rng, tree), number(rng.below(5000)), b"patched".to_vec()]),
        10 => ("truncate", vec![path(rng, tree), number(rng.below(6000))]),
        11 => {
            let size = 1 + rng.below(2 << 20);
            ("sparse", vec![path(rng, tree), number(size), number(rng.below(size)), b"far out".to_vec()])
        }
        12..=15 => ("mkdir", vec![path(rng, tree), mode(rng)]),
        16 => ("rmdir", vec![loose_path(rng, tree)]),
        17..=18 => ("remove", vec![loose_path(rng, tree)]),
        19..=20 => ("rename", vec![loose_path(rng, tree), loose_path(rng, tree)]),
        21..=22 => ("move", vec![loose_path(rng, tree), loose_path(rng, tree)]),
        23 => ("copy", vec![path(rng, tree), loose_path(rng, tree)]),
        24..=25 => ("link", vec![path(rng, tree), path(rng, tree)]),
        26 => {
            const TARGETS: [&[u8]; 5] = [b"a", b"b/a", b"/workspace/a", b"nowhere", b"\xff\n"];
            ("symlink", vec![rng.pick(&TARGETS).to_vec(), path(rng, tree)])
        }
        27..=28 => ("chmod", vec![any_path(rng, tree), mode(rng)]),
        29 => ("chown", vec![any_path(rng, tree), number(rng.below(3) * 1000), number(rng.below(3) * 50)]),
        30..=31 => {
            let seconds = rng.below(2_000_000_000);
            ("touch", vec![any_path(rng, tree), number(seconds), number(rng.below(1_000_000_000))])
        }
        32 => ("set", vec![any_path(rng, tree), b"user.colour".to_vec(), content(rng).into_iter().take(200).collect()]),
        33 if rng.one_in(3) => ("unset", vec![any_path(rng, tree), b"user.colour".to_vec()]),
        33 => ("capable", vec![path(rng, tree), b"security.capability".to_vec(), CAPABILITY.to_vec()]),
        34 => ("fifo", vec![path(rng, tree), b"640".to_vec()]),
        35 => ("file", vec![loose_path(rng, tree), content(rng)]),
        36..=37 => ("directory", vec![loose_path(rng, tree), content(rng)]),
        38 => ("vain", vec![path(rng, tree)]),
        _ => ("again", vec![any_path(rng, tree)]),
    };
    line(what, &arguments)
}

/// As [`path`], and now and then the root itself.
fn any_path(rng: &mut Rng, tree: &Tree) -> Vec<u8> {
    if rng.one_in(12) { b"/".to_vec() } else { path(rng, tree) }
}

/// A line for `inside.pl`.
pub fn line(what: &str, arguments: &[Vec<u8>]) -> String {
    let words: Vec<String> = arguments.iter().map(|argument| hex(argument)).collect();
    [&[what.to_owned()], words.as_slice()].concat().join(" ")
}
