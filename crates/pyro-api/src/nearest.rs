//! What a user may have meant: the nearest of the names that exist. Used for fields, ops, tools, workspaces, environments.

/// Alternatives in one error: more than three are a listing, which has its own op.
const ALTERNATIVES_MAX: usize = 3;
/// Longer texts are not compared: the work is quadratic.
const COMPARED_CHARS_MAX: usize = 64;

/// The names nearest to `wanted`, best first, at most three; empty when nothing is like it.
///
/// A name is near when one holds the other (`cmd` and `cmdline`), or when at most a third of the letters differ.
pub fn nearest<'a>(wanted: &str, names: impl IntoIterator<Item = &'a str>) -> Vec<&'a str> {
    let wanted = wanted.to_lowercase();
    let mut found: Vec<(usize, &str)> = names
        .into_iter()
        .filter_map(|name| {
            let lower = name.to_lowercase();
            let distance = distance(&wanted, &lower)?;
            let longest = wanted.chars().count().max(lower.chars().count());
            let holds = wanted.len() >= 2 && lower.len() >= 2 && (lower.contains(&wanted) || wanted.contains(&lower));
            (holds || distance.saturating_mul(3) <= longest).then_some((distance, name))
        })
        .collect();
    found.sort();
    // Beside a very near name, a far one only confuses.
    let best = found.first().map_or(0, |(distance, _)| *distance);
    found.retain(|(distance, _)| *distance <= best.saturating_mul(2).saturating_add(1));
    found.truncate(ALTERNATIVES_MAX);
    found.into_iter().map(|(_, name)| name).collect()
}

/// Insertions, deletions, replacements and swaps of neighbours that turn one text into the other.
fn distance(from: &str, to: &str) -> Option<usize> {
    let from: Vec<char> = from.chars().take(COMPARED_CHARS_MAX + 1).collect();
    let to: Vec<char> = to.chars().take(COMPARED_CHARS_MAX + 1).collect();
    if from.len() > COMPARED_CHARS_MAX || to.len() > COMPARED_CHARS_MAX {
        return None;
    }
    let mut before_last = vec![0; to.len() + 1];
    let mut last: Vec<usize> = (0..=to.len()).collect();
    for i in 1..=from.len() {
        let mut row = vec![i; to.len() + 1];
        for j in 1..=to.len() {
            let replaced = last[j - 1] + usize::from(from[i - 1] != to[j - 1]);
            row[j] = replaced.min(last[j] + 1).min(row[j - 1] + 1);
            if i > 1 && j > 1 && from[i - 1] == to[j - 2] && from[i - 2] == to[j - 1] {
                row[j] = row[j].min(before_last[j - 2] + 1);
            }
        }
        before_last = std::mem::replace(&mut last, row);
    }
    last.last().copied()
}

/// `did you mean a, b or c?`, or nothing.
#[must_use]
pub fn did_you_mean(names: &[&str]) -> Option<String> {
    match names {
        [] => None,
        [one] => Some(format!("did you mean {one}?")),
        [first @ .., last] => Some(format!("did you mean {} or {last}?", first.join(", "))),
    }
}
