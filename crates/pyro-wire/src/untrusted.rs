//! Bytes that came from inside, and the named ways out of them.

#[cfg(test)]
mod tests;

/// Something from inside. It has no `Display` and no `Deref`: whoever wants to show it says how.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Untrusted<T>(T);

impl<T> Untrusted<T> {
    /// Marks a value as coming from inside.
    pub fn new(value: T) -> Self {
        Self(value)
    }

    /// The value itself: only for a terminal that the user attached, or for storage as it is.
    pub fn raw(self) -> T {
        self.0
    }

    /// The value itself, borrowed.
    pub fn raw_ref(&self) -> &T {
        &self.0
    }
}

impl<T: AsRef<[u8]>> Untrusted<T> {
    /// For JSON: invalid UTF-8 becomes U+FFFD; nothing else changes, JSON escapes the rest.
    pub fn lossy(&self) -> String {
        String::from_utf8_lossy(self.0.as_ref()).into_owned()
    }

    /// For terminals and logs: control, C1 and bidirectional characters are made visible; newline and tab stay.
    pub fn escaped(&self) -> String {
        escape(&String::from_utf8_lossy(self.0.as_ref()))
    }
}

/// Makes control, C1 and bidirectional characters visible (`\u{1b}`), keeping newline and tab.
///
/// The bidirectional set is that of CVE-2021-42574 ("Trojan Source").
#[must_use]
pub fn escape(text: &str) -> String {
    let mut shown = String::with_capacity(text.len());
    for character in text.chars() {
        match character {
            '\n' | '\t' => shown.push(character),
            '\u{0}'..='\u{1f}'
            | '\u{7f}'..='\u{9f}'
            | '\u{61c}'
            | '\u{200b}'..='\u{200f}'
            | '\u{202a}'..='\u{202e}'
            | '\u{2066}'..='\u{2069}'
            | '\u{feff}' => shown.extend(character.escape_unicode()),
            _ => shown.push(character),
        }
    }
    shown
}
