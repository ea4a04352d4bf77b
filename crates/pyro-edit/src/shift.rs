//! Indentation that is off by the same amount on every line, and putting other lines off by that amount.

use crate::view::{indentation, is_blank_line};

/// Columns that one tab may stand for, most usual first.
const TAB_WIDTHS: [usize; 4] = [4, 2, 8, 3];

/// How the file's indentation comes from what was sent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Shift {
    /// The file has this more in front.
    More(Vec<u8>),
    /// The file has this less in front.
    Less(Vec<u8>),
    /// The file has a tab for so many spaces, and so many more or fewer tabs.
    Tabs { width: usize, levels: isize },
    /// The file has so many spaces for a tab, and so many more or fewer times that.
    Spaces { width: usize, levels: isize },
}

impl Shift {
    /// The one shift that explains all pairs of `(sent, in the file)`; blank lines say nothing.
    pub(crate) fn between<'l>(pairs: impl Iterator<Item = (&'l [u8], &'l [u8])> + Clone) -> Option<Self> {
        let pairs = pairs.filter(|(sent, _)| !is_blank_line(sent)).map(|(sent, found)| (indentation(sent), indentation(found)));
        let (sent, found) = pairs.clone().next()?;
        let mut tried = Vec::new();
        tried.extend(found.strip_suffix(sent).map(|more| Self::More(more.to_vec())));
        tried.extend(sent.strip_suffix(found).map(|less| Self::Less(less.to_vec())));
        for width in TAB_WIDTHS {
            let levels = |tabs: &[u8], spaces: &[u8]| tabs.len() as isize - (spaces.len() / width) as isize;
            tried.push(Self::Tabs { width, levels: levels(found, sent) });
            tried.push(Self::Spaces { width, levels: -levels(sent, found) });
        }
        tried.into_iter().find(|shift| pairs.clone().all(|(sent, found)| shift.shifted(sent).as_deref() == Some(found)))
    }

    fn shifted(&self, sent: &[u8]) -> Option<Vec<u8>> {
        let all = |byte: u8| sent.iter().all(|found| *found == byte);
        match self {
            Self::More(more) => Some([more, sent].concat()),
            Self::Less(less) => sent.strip_prefix(less.as_slice()).map(<[u8]>::to_vec),
            Self::Tabs { width, levels } => {
                let count = (all(b' ') && sent.len().is_multiple_of(*width)).then(|| (sent.len() / width) as isize + levels)?;
                usize::try_from(count).ok().map(|count| vec![b'\t'; count])
            }
            Self::Spaces { width, levels } => {
                let count = all(b'\t').then(|| sent.len() as isize + levels)?;
                usize::try_from(count).ok().map(|count| vec![b' '; count * width])
            }
        }
    }

    /// A line that was sent, as it belongs in the file. `None` if it has less indentation than is to be taken away.
    pub(crate) fn apply(&self, line: &[u8]) -> Option<Vec<u8>> {
        if is_blank_line(line) {
            return Some(line.to_vec());
        }
        let sent = indentation(line);
        let mut shifted = self.shifted(sent)?;
        shifted.extend_from_slice(&line[sent.len()..]);
        Some(shifted)
    }

    /// In words, to stand in brackets.
    pub(crate) fn words(&self) -> String {
        let unit = |bytes: &[u8]| match bytes {
            _ if bytes.iter().all(|byte| *byte == b' ') => bytes.len().to_string(),
            [_] => "1 tab".to_owned(),
            _ => format!("{} tabs", bytes.len()),
        };
        match self {
            Self::More(more) => format!("+{}", unit(more)),
            Self::Less(less) => format!("-{}", unit(less)),
            Self::Tabs { width, levels: 0 } => format!("tabs for {width} spaces"),
            Self::Tabs { width, levels } => format!("tabs for {width} spaces, {levels:+}"),
            Self::Spaces { width, levels: 0 } => format!("{width} spaces for tabs"),
            Self::Spaces { width, levels } => format!("{width} spaces for tabs, {levels:+}"),
        }
    }
}
