//! Which layers are made one. Every step is a layer more, and every look-up in a directory goes through all layers that have it, so there should be few;
//! and what is in a layer should not be moved each time that there is one more.
//!
//! So layers have a level, how often they were made of others, and [`WIDTH`] neighbours of one level are made one of the next: of a thousand steps there
//! are some twenty layers, and each file was moved three times. Their files are copied, for further names of a file are seen inside and gzip
//! refuses a file with two ([`SharedFiles`]). What is too large for that stays as it is. Only when there are [`DEPTH_LINKED`] after all, the oldest are
//! made one by links.

use std::collections::HashMap;
use std::ops::Range;
use std::sync::{Arc, Mutex, PoisonError};

use pyro_api::Result;
use pyro_layer::SharedFiles;

use super::LayerId;
use crate::home::Home;

/// So many neighbours of one level are made one: with fewer each file is copied more often, with more the stack is deeper.
pub const WIDTH: usize = 8;

/// What is copied at a time, bytes on disk: a tenth of a second on a thread of its own, and room that is taken twice for as long as steps name both.
const COPIED_BYTES_MAX: u64 = 32 << 20;
/// The same in names, of which each takes some 20 µs.
const COPIED_NAMES_MAX: u64 = 4_000;

/// From so many layers on the oldest are made one in any case.
const DEPTH_LINKED: usize = 48;
/// So many stay above them.
const LINKED_ABOVE: usize = 16;
/// At most so many at a time: what [`pyro_layer::squash`] takes.
const AT_ONCE_MAX: usize = 32;

/// What is known of a layer that is sealed, and so stays.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Weight {
    /// How often layers were made one to make it.
    pub level: u32,
    /// Names in it.
    pub names: u64,
    /// Room on disk.
    pub bytes: u64,
}

/// What each layer weighs, looked up once.
#[derive(Clone, Debug, Default)]
pub struct Weights(Arc<Mutex<HashMap<LayerId, Weight>>>);

impl Weights {
    /// Of a stack. What is not in it is forgotten.
    ///
    /// # Errors
    /// When a layer cannot be read.
    pub fn of(&self, home: &Home, layers: &[LayerId]) -> Result<Vec<Weight>> {
        // A panic elsewhere cannot have left it half-done.
        let mut known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        known.retain(|layer, _| layers.contains(layer));
        let weigh = |layer: &LayerId| match known.get(layer) {
            Some(weight) => Ok(*weight),
            None => {
                let (names, bytes) = super::size(home, layer)?;
                let weight = Weight { level: super::made_for(home, layer).map_or(0, |made| made.level), names, bytes };
                known.insert(layer.clone(), weight);
                Ok(weight)
            }
        };
        layers.iter().map(weigh).collect()
    }
}

/// Layers to be made one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Choice {
    /// Which, of a stack, uppermost first.
    pub range: Range<usize>,
    /// The level of what they become.
    pub level: u32,
    /// How.
    pub files: SharedFiles,
}

/// What is to be made one of a stack, uppermost first: the newest first, for those are small.
#[must_use]
pub fn choose(layers: &[Weight]) -> Option<Choice> {
    let mut start = 0;
    for run in layers.chunk_by(|one, other| one.level == other.level) {
        if let Some(found) = of_one_level(run) {
            let (range, level) = (start + found.start..start + found.end, run[0].level + 1);
            return Some(Choice { range, level, files: SharedFiles::Copies });
        }
        start += run.len();
    }
    if layers.len() < DEPTH_LINKED {
        return None;
    }
    let range = layers.len() - (layers.len() - LINKED_ABOVE).min(AT_ONCE_MAX)..layers.len();
    let level = layers[range.clone()].iter().map(|layer| layer.level).max().unwrap_or(0) + 1;
    Some(Choice { range, level, files: SharedFiles::Links })
}

/// The oldest of a run of one level that are enough, and not too much.
fn of_one_level(run: &[Weight]) -> Option<Range<usize>> {
    for end in (WIDTH..=run.len()).rev() {
        let (mut names, mut bytes, mut start) = (0, 0, end);
        while start > 0 && end - start < AT_ONCE_MAX {
            names += run[start - 1].names;
            bytes += run[start - 1].bytes;
            if names > COPIED_NAMES_MAX || bytes > COPIED_BYTES_MAX {
                break;
            }
            start -= 1;
        }
        if end - start >= WIDTH {
            return Some(start..end);
        }
    }
    None
}

/// After how many more layers there may be something to choose.
#[must_use]
pub fn again_after(layers: &[Weight]) -> usize {
    let written = layers.iter().take_while(|layer| layer.level == 0).count();
    WIDTH - written % WIDTH
}

#[cfg(test)]
mod tests {
    use super::{COPIED_BYTES_MAX, Choice, DEPTH_LINKED, LINKED_ABOVE, SharedFiles, WIDTH, Weight, again_after, choose};

    fn small(level: u32) -> Weight {
        Weight { level, names: 3, bytes: 4096 }
    }

    fn large() -> Weight {
        Weight { level: 0, names: 3, bytes: COPIED_BYTES_MAX + 1 }
    }

    fn copied(range: std::ops::Range<usize>, level: u32) -> Option<Choice> {
        Some(Choice { range, level, files: SharedFiles::Copies })
    }

    #[test]
    fn neighbours_of_one_level_are_made_one_of_the_next() {
        let mut layers = vec![small(0); WIDTH - 1];
        assert_eq!(choose(&layers), None);
        assert_eq!(again_after(&layers), 1);
        layers.insert(0, small(0));
        assert_eq!(choose(&layers), copied(0..WIDTH, 1));
        // Those of a level above wait for their own.
        layers.extend([small(1); WIDTH - 1]);
        assert_eq!(choose(&layers), copied(0..WIDTH, 1));
        layers.splice(0..WIDTH, [small(1)]);
        assert_eq!(choose(&layers), copied(0..WIDTH, 2));
    }

    #[test]
    fn what_is_large_stays_and_parts_its_neighbours() {
        let mut layers = vec![small(0); WIDTH];
        layers.insert(3, large());
        assert_eq!(choose(&layers), None);
        // Enough on one side of it.
        layers.splice(0..0, [small(0); 5]);
        assert_eq!(choose(&layers), copied(0..WIDTH, 1));
        // Many that are too much together are made one in parts.
        let half = Weight { bytes: COPIED_BYTES_MAX / 10, ..small(0) };
        assert_eq!(choose(&[half; 15]), copied(5..15, 1));
    }

    #[test]
    fn a_thousand_steps_are_some_twenty_layers() {
        let (mut layers, mut deepest, mut moved) = (Vec::new(), 0, 0);
        for _ in 0..1000 {
            layers.insert(0, small(0));
            while let Some(Choice { range, level, .. }) = choose(&layers) {
                moved += layers[range.clone()].iter().map(|layer| layer.names).sum::<u64>();
                let names = layers[range.clone()].iter().map(|layer| layer.names).sum();
                layers.splice(range, [Weight { level, names, bytes: 4096 }]);
            }
            deepest = deepest.max(layers.len());
        }
        assert!(deepest <= 25, "{deepest}");
        assert!(moved <= 3 * 3000, "{moved}");
    }

    #[test]
    fn too_many_that_are_large_are_made_one_by_links() {
        let layers = vec![large(); DEPTH_LINKED];
        let linked = Choice { range: LINKED_ABOVE..DEPTH_LINKED, level: 1, files: SharedFiles::Links };
        assert_eq!(choose(&layers), Some(linked));
        assert_eq!(choose(&layers[1..]), None);
    }
}
