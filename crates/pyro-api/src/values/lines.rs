//! Lines of a file, as people and models name them.

use super::{Deserialize, Deserializer, Error, FromStr, JsonSchema, Result, Serialize, Serializer, de, describe, fmt, shown};

/// Which lines: `40-80`, `40-` to the end, `-50` the last fifty, `40` one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, JsonSchema)]
#[schemars(inline, with = "String")]
pub enum LineRange {
    /// From one number, from 1, to another, or to the end.
    Between(u64, Option<u64>),
    /// So many at the end, 1 at least.
    Last(u64),
}

impl LineRange {
    /// From one line to another. 0 is taken for the first line, as tools that count from 0 mean it; an end of -1 or none is the file's.
    ///
    /// # Errors
    /// `Invalid` when the end comes before the beginning.
    pub fn between(first: i64, last: Option<i64>) -> Result<Self> {
        let wrong = || Error::invalid(format!("lines {first} to {} are none", last.unwrap_or(-1)));
        let from = u64::try_from(first.max(1)).map_err(|_| wrong())?;
        match last {
            None | Some(-1) => Ok(Self::Between(from, None)),
            Some(last) => {
                let to = u64::try_from(last).ok().filter(|to| *to >= from && first >= 0);
                to.map(|to| Self::Between(from, Some(to))).ok_or_else(wrong)
            }
        }
    }
}

impl FromStr for LineRange {
    type Err = Error;
    fn from_str(text: &str) -> Result<Self> {
        let wrong = || {
            Error::invalid(format!("lines {} are no lines", shown(text)))
                .hint("such as 40-80, 40- (to the end), -50 (the last 50) or 40")
        };
        let number = |text: &str| text.trim().parse::<u64>().ok().filter(|number| *number > 0);
        let plain = text.trim();
        let (first, last) = match plain.split_once(['-', ':', ',']) {
            None => return number(plain).map(|line| Self::Between(line, Some(line))).ok_or_else(wrong),
            Some((first, last)) => (first.trim(), last.trim()),
        };
        match (first, last) {
            ("", last) => number(last).map(Self::Last).ok_or_else(wrong),
            (first, "" | "$" | "end" | "-1") => number(first).map(|first| Self::Between(first, None)).ok_or_else(wrong),
            (first, last) => match (number(first), number(last)) {
                (Some(first), Some(last)) if first <= last => Ok(Self::Between(first, Some(last))),
                _ => Err(wrong()),
            },
        }
    }
}

impl fmt::Display for LineRange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Between(first, Some(last)) => write!(f, "{first}-{last}"),
            Self::Between(first, None) => write!(f, "{first}-"),
            Self::Last(count) => write!(f, "-{count}"),
        }
    }
}

impl Serialize for LineRange {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

/// Text, a number as a line, or what other tools send: `[40, 80]` and `[40, -1]`.
impl<'de> Deserialize<'de> for LineRange {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        #[derive(Deserialize)]
        #[serde(untagged)]
        enum Shape {
            Text(String),
            Line(i64),
            Pair([i64; 2]),
        }
        let range = match Shape::deserialize(deserializer) {
            Ok(Shape::Text(text)) => text.parse(),
            Ok(Shape::Line(line)) => line.to_string().parse(),
            Ok(Shape::Pair([first, last])) => Self::between(first, Some(last)),
            Err(_) => return Err(de::Error::custom("lines are a text such as 40-80")),
        };
        range.map_err(|error: Error| de::Error::custom(describe(&error)))
    }
}

#[cfg(test)]
mod tests {
    use super::LineRange::{self, Between, Last};

    #[test]
    fn lines_are_taken_as_people_and_models_write_them() {
        let table: [(&str, LineRange); 10] = [
            ("\"40-80\"", Between(40, Some(80))),
            ("\"40:80\"", Between(40, Some(80))),
            ("\" 40 - 80 \"", Between(40, Some(80))),
            ("\"40-\"", Between(40, None)),
            ("\"-50\"", Last(50)),
            ("\"7\"", Between(7, Some(7))),
            ("7", Between(7, Some(7))),
            ("-7", Last(7)),
            ("[3, 9]", Between(3, Some(9))),
            ("[3, -1]", Between(3, None)),
        ];
        for (text, range) in table {
            assert_eq!(serde_json::from_str::<LineRange>(text).ok(), Some(range), "{text}");
            assert_eq!(range.to_string().parse::<LineRange>().ok(), Some(range), "{text}");
        }
        for text in ["\"\"", "\"-\"", "\"0\"", "\"9-3\"", "\"a-b\"", "[9, 3]", "[1]", "true", "\"1-2-3\""] {
            assert!(serde_json::from_str::<LineRange>(text).is_err(), "{text}");
        }
    }
}
