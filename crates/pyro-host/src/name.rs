//! Names: made up when none is given, and the nearest ones when one is not found.

use rustix::rand::{GetRandomFlags, getrandom};

const ADJECTIVES: [&str; 64] = [
    "able", "amber", "apt", "bold", "brave", "brief", "bright", "brisk", "calm", "civil", "clear", "clever", "cool", "crisp", "deft",
    "eager", "early", "easy", "even", "fair", "fast", "fine", "firm", "fond", "free", "fresh", "gentle", "glad", "good", "grand", "green",
    "happy", "hardy", "honest", "keen", "kind", "light", "lively", "loyal", "lucid", "mellow", "merry", "mild", "neat", "nimble", "noble",
    "open", "patient", "plain", "polite", "prime", "proud", "quick", "quiet", "ready", "sharp", "silver", "smart", "solid", "steady",
    "sunny", "swift", "tidy", "warm",
];
const NOUNS: [&str; 64] = [
    "badger", "beaver", "bison", "bittern", "bream", "bunting", "camel", "carp", "condor", "crane", "curlew", "deer", "dingo", "dove",
    "eagle", "egret", "elk", "falcon", "ferret", "finch", "fox", "gannet", "gecko", "goose", "grebe", "hare", "hawk", "heron", "hoopoe",
    "ibex", "ibis", "jackal", "jay", "kestrel", "kite", "koala", "lark", "lemur", "linnet", "lynx", "magpie", "marten", "mole", "newt",
    "ocelot", "osprey", "otter", "owl", "panda", "perch", "pike", "plover", "puffin", "quail", "raven", "robin", "salmon", "seal", "shrew",
    "stork", "swan", "tapir", "wren", "yak",
];

/// Random bytes of the kernel.
fn random<const N: usize>() -> [u8; N] {
    let mut bytes = [0_u8; N];
    // Up to 256 bytes are never cut short once the kernel's pool is up (getrandom(2)), and it blocks until then.
    getrandom(&mut bytes, GetRandomFlags::empty()).expect("the kernel gives random bytes");
    bytes
}

/// A workspace's id: 12 hexadecimal digits, so that 10,000 workspaces share none but once in 5 million hosts.
#[must_use]
pub fn new_id() -> String {
    random::<6>().iter().map(|byte| format!("{byte:02x}")).collect()
}

/// A number that tells the bytes of one link from those of another.
#[must_use]
pub fn new_nonce() -> u64 {
    u64::from_le_bytes(random())
}

/// A readable name: `brave-otter`; from the given attempt on with a number, `brave-otter-37`.
#[must_use]
pub fn new_name(attempt: u32) -> String {
    /// 4,096 plain names: with some hundred workspaces the third try hits a free one nearly always.
    const PLAIN_ATTEMPTS: u32 = 4;
    let [first, second, number] = random::<3>();
    let adjective = ADJECTIVES[usize::from(first) % ADJECTIVES.len()];
    let noun = NOUNS[usize::from(second) % NOUNS.len()];
    if attempt < PLAIN_ATTEMPTS { format!("{adjective}-{noun}") } else { format!("{adjective}-{noun}-{number}") }
}

/// The names that are most like `wanted`, at most three, nearest first; those much less like it than the nearest are left out.
#[must_use]
pub fn nearest<'a>(wanted: &str, names: impl IntoIterator<Item = &'a str>) -> Vec<&'a str> {
    /// More unlike than this many parts in a hundred is no help.
    const LIKENESS_MIN_PERCENT: u32 = 50;
    /// Nobody who wrote `brave-oter` meant `brave-owl`.
    const LIKENESS_GAP_PERCENT: u32 = 15;
    let mut found: Vec<(u32, &str)> = names
        .into_iter()
        .map(|name| (likeness_percent(wanted, name), name))
        .filter(|(likeness, _)| *likeness >= LIKENESS_MIN_PERCENT)
        .collect();
    found.sort_by(|(a, first), (b, second)| b.cmp(a).then(first.cmp(second)));
    let best = found.first().map_or(0, |(likeness, _)| *likeness);
    found.into_iter().take_while(|(likeness, _)| likeness + LIKENESS_GAP_PERCENT >= best).take(3).map(|(_, name)| name).collect()
}

/// A hint that names alternatives: `did you mean A or B?`, or `None` when nothing is near.
#[must_use]
pub fn did_you_mean(nearest: &[&str]) -> Option<String> {
    match nearest {
        [] => None,
        [one] => Some(format!("did you mean {one}?")),
        [most @ .., last] => Some(format!("did you mean {} or {last}?", most.join(", "))),
    }
}

/// How alike two short texts are, 0 to 100: edit distance with transpositions, and a beginning in common counts fully.
fn likeness_percent(wanted: &str, name: &str) -> u32 {
    if !wanted.is_empty() && (name.starts_with(wanted) || name.contains(wanted)) {
        return 90;
    }
    let wanted: Vec<char> = wanted.chars().collect();
    let name: Vec<char> = name.chars().collect();
    let longest = wanted.len().max(name.len());
    if longest == 0 {
        return 100;
    }
    // Optimal string alignment, three rows.
    let mut before_last: Vec<usize> = Vec::new();
    let mut last: Vec<usize> = (0..=name.len()).collect();
    for (i, a) in wanted.iter().enumerate() {
        let mut row = vec![i + 1];
        for (j, b) in name.iter().enumerate() {
            let mut best = (last[j] + usize::from(a != b)).min(last[j + 1] + 1).min(row[j] + 1);
            if i > 0 && j > 0 && *a == name[j - 1] && wanted[i - 1] == *b {
                best = best.min(before_last[j - 1] + 1);
            }
            row.push(best);
        }
        before_last = std::mem::replace(&mut last, row);
    }
    let distance = last[name.len()];
    u32::try_from(100 * (longest - distance.min(longest)) / longest).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::{did_you_mean, nearest, new_id, new_name};

    #[test]
    fn a_made_up_name_fits_the_grammar_of_names() {
        for attempt in 0..50 {
            let name = new_name(attempt);
            assert!(name.parse::<pyro_api::values::WorkspaceName>().is_ok(), "{name}");
        }
        assert_eq!(new_id().len(), 12);
    }

    #[test]
    fn a_slip_of_the_finger_finds_its_name() {
        let names = ["brave-otter", "calm-heron", "debian:12", "debian:12-build"];
        assert_eq!(nearest("brave-oter", names), ["brave-otter"]);
        assert_eq!(nearest("barve-otter", names), ["brave-otter"]);
        assert_eq!(nearest("otter", names), ["brave-otter"]);
        assert_eq!(nearest("zebra", names), Vec::<&str>::new());
        assert_eq!(did_you_mean(&nearest("debian12", names)).as_deref(), Some("did you mean debian:12?"));
        assert_eq!(did_you_mean(&["a", "b", "c"]).as_deref(), Some("did you mean a, b or c?"));
    }
}
