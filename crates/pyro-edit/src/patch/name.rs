//! Names of files as git writes them: quoted like strings of C where they have unusual bytes, and followed by a tab and a time.

/// Reads a quoted name at the start: the name, and what stands behind it.
pub(crate) fn unquote(text: &[u8]) -> Option<(Vec<u8>, &[u8])> {
    let mut rest = text.strip_prefix(b"\"")?;
    let mut name = Vec::new();
    loop {
        let (byte, behind) = rest.split_first()?;
        rest = behind;
        match byte {
            b'"' => return Some((name, rest)),
            b'\\' => {
                let (escape, behind) = rest.split_first()?;
                rest = behind;
                name.push(match escape {
                    b'a' => 7,
                    b'b' => 8,
                    b't' => b'\t',
                    b'n' => b'\n',
                    b'v' => 11,
                    b'f' => 12,
                    b'r' => b'\r',
                    b'"' | b'\\' => *escape,
                    b'0'..=b'3' => {
                        let [second @ b'0'..=b'7', third @ b'0'..=b'7', behind @ ..] = rest else { return None };
                        rest = behind;
                        (escape - b'0') << 6 | (second - b'0') << 3 | (third - b'0')
                    }
                    _ => return None,
                });
            }
            byte => name.push(*byte),
        }
    }
}

/// The name in a `---`, `+++` or `rename from` line, without what was before it. `None` is `/dev/null`.
pub(crate) fn of_line(text: &[u8]) -> Option<Vec<u8>> {
    let name = match unquote(text) {
        Some((name, _)) => name,
        None => {
            let end = text.iter().position(|byte| matches!(byte, b'\t' | b'\n')).unwrap_or(text.len());
            let name = &text[..end];
            crate::view::trim_end(without_time(name)).to_vec()
        }
    };
    (name != b"/dev/null").then_some(name)
}

/// Without ` 2024-01-31 12:00:00.000000000 +0100`, where blanks stand in the place of a tab.
fn without_time(name: &[u8]) -> &[u8] {
    for (at, _) in name.iter().enumerate().filter(|(_, byte)| **byte == b' ') {
        let digits = |from: usize, count: usize| {
            name.get(at + from..at + from + count).is_some_and(|part| part.iter().all(u8::is_ascii_digit))
        };
        let is = |from: usize, byte: u8| name.get(at + from) == Some(&byte);
        if digits(1, 4)
            && is(5, b'-')
            && digits(6, 2)
            && is(8, b'-')
            && digits(9, 2)
            && is(11, b' ')
            && digits(12, 2)
            && is(14, b':')
        {
            return &name[..at];
        }
    }
    name
}

/// The two names of a `diff --git` line. Without quotes they can be told apart only if they are the same but for their sides.
pub(crate) fn of_git(text: &[u8]) -> Option<(Vec<u8>, Vec<u8>)> {
    let text = crate::view::without_end(text);
    if let Some((old, rest)) = unquote(text) {
        let rest = rest.strip_prefix(b" ")?;
        let new = unquote(rest).map_or_else(|| rest.to_vec(), |(new, _)| new);
        return Some((old, new));
    }
    if text.ends_with(b"\"")
        && let Some(at) = text.windows(2).position(|pair| pair == b" \"")
        && let Some((new, b"")) = unquote(&text[at + 1..])
    {
        return Some((text[..at].to_vec(), new));
    }
    let blanks = text.iter().enumerate().filter(|(_, byte)| **byte == b' ').map(|(at, _)| (&text[..at], &text[at + 1..]));
    let behind_side = |name: &[u8]| name.iter().position(|byte| *byte == b'/').map_or(0, |slash| slash + 1);
    let mut pairs = blanks.filter(|(old, new)| old.len() == new.len());
    let (old, new) = pairs.find(|(old, new)| old == new || old[behind_side(old)..] == new[behind_side(new)..])?;
    Some((old.to_vec(), new.to_vec()))
}

/// A name without the letter for its side, if it has one.
pub(crate) fn without_side(name: &[u8]) -> Option<&[u8]> {
    // git writes a and b, and with another setting i, w, c, o for index, work tree, commit, object.
    match name {
        [b'a' | b'b' | b'i' | b'w' | b'c' | b'o', b'/', rest @ ..] if !rest.is_empty() => Some(rest),
        _ => None,
    }
}
