//! Names, ids and nonces that are made up.

use rustix::rand::{GetRandomFlags, getrandom};

const ADJECTIVES: [&str; 64] = [
    "able", "amber", "apt", "bold", "brave", "brief", "bright", "brisk", "calm", "civil", "clear", "clever", "cool", "crisp",
    "deft", "eager", "early", "easy", "even", "fair", "fast", "fine", "firm", "fond", "free", "fresh", "gentle", "glad", "good",
    "grand", "green", "happy", "hardy", "honest", "keen", "kind", "light", "lively", "loyal", "lucid", "mellow", "merry", "mild",
    "neat", "nimble", "noble", "open", "patient", "plain", "polite", "prime", "proud", "quick", "quiet", "ready", "sharp",
    "silver", "smart", "solid", "steady", "sunny", "swift", "tidy", "warm",
];
const NOUNS: [&str; 64] = [
    "badger", "beaver", "bison", "bittern", "bream", "bunting", "camel", "carp", "condor", "crane", "curlew", "deer", "dingo",
    "dove", "eagle", "egret", "elk", "falcon", "ferret", "finch", "fox", "gannet", "gecko", "goose", "grebe", "hare", "hawk",
    "heron", "hoopoe", "ibex", "ibis", "jackal", "jay", "kestrel", "kite", "koala", "lark", "lemur", "linnet", "lynx", "magpie",
    "marten", "mole", "newt", "ocelot", "osprey", "otter", "owl", "panda", "perch", "pike", "plover", "puffin", "quail", "raven",
    "robin", "salmon", "seal", "shrew", "stork", "swan", "tapir", "wren", "yak",
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

#[cfg(test)]
mod tests {
    use super::{new_id, new_name};

    #[test]
    fn a_made_up_name_fits_the_grammar_of_names() {
        for attempt in 0..50 {
            let name = new_name(attempt);
            assert!(name.parse::<pyro_api::values::WorkspaceName>().is_ok(), "{name}");
        }
        assert_eq!(new_id().len(), 12);
    }
}
