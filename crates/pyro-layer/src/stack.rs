//! Stacks of layers by name, and two of them opened together.
//!
//! A stack is written uppermost first, as overlayfs takes it. What is in a layer is not looked at here.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};

use crate::beneath;
use crate::error::{Error, ErrorKind, Naming, Result};
use crate::limits::COMPARED_LAYERS_MAX;
use crate::marks::Marks;

/// The layers of one mount.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Stack {
    /// The writable layer.
    pub upper: PathBuf,
    /// What is below it, uppermost first.
    pub lowers: Vec<PathBuf>,
    /// What the mount obeys.
    pub marks: Marks,
}

impl Stack {
    /// For asking what its writable layer changed.
    #[must_use]
    pub fn changes_of_upper(&self) -> Stacks {
        let new = std::iter::once(&self.upper).chain(&self.lowers).cloned().collect();
        Stacks { old: self.lowers.clone(), new, marks: self.marks }
    }
}

/// Two states of one tree, each a stack of at least one layer, uppermost first.
///
/// Layers that both stacks end with, by the same paths, are shared: what only they have is not looked at.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Stacks {
    /// The state before.
    pub old: Vec<PathBuf>,
    /// The state after.
    pub new: Vec<PathBuf>,
    /// What the mounts of both obey.
    pub marks: Marks,
}

/// One of two states.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum State {
    Old,
    New,
}

/// Two stacks, each layer of them opened once: the old state's own layers, the new state's own, then the shared ones.
#[derive(Debug)]
pub(crate) struct OpenStacks {
    layers: Vec<OwnedFd>,
    arrangement: Arrangement,
}

/// How layers that were opened once belong to two stacks.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Arrangement {
    old_own: usize,
    new_own: usize,
    shared: usize,
}

impl Arrangement {
    /// The layers of one state among all, uppermost first.
    pub(crate) fn of(self, state: State) -> Vec<usize> {
        let own = match state {
            State::Old => 0..self.old_own,
            State::New => self.old_own..self.first_shared(),
        };
        own.chain(self.first_shared()..self.first_shared() + self.shared).collect()
    }

    /// Whether both states have a layer, given its place among all.
    pub(crate) fn is_shared(self, layer: usize) -> bool {
        layer >= self.first_shared()
    }

    /// Where a layer, given its place among all, is in the stack of its state.
    pub(crate) fn place_in(self, state: State, layer: usize) -> usize {
        match state {
            State::Old if self.is_shared(layer) => layer - self.new_own,
            State::Old => layer,
            State::New => layer - self.old_own,
        }
    }

    fn place_among_all(self, state: State, layer: usize) -> usize {
        match state {
            State::Old if layer >= self.old_own => layer + self.new_own,
            State::Old => layer,
            State::New => layer + self.old_own,
        }
    }

    fn first_shared(self) -> usize {
        self.old_own + self.new_own
    }
}

impl OpenStacks {
    pub(crate) fn open(stacks: &Stacks) -> Result<Self> {
        let Stacks { old, new, marks: _ } = stacks;
        if old.is_empty() || new.is_empty() {
            return Err(Error::new(ErrorKind::Refused, "a stack to be compared has no layer"));
        }
        let shared = old.iter().rev().zip(new.iter().rev()).take_while(|(old, new)| old == new).count();
        let arrangement = Arrangement { old_own: old.len() - shared, new_own: new.len() - shared, shared };
        let layers = open_layers(old[..arrangement.old_own].iter().chain(new))?;
        Ok(Self { layers, arrangement })
    }

    /// A layer by its place in the stack of its state.
    pub(crate) fn layer(&self, state: State, layer: usize) -> BorrowedFd<'_> {
        self.layers[self.arrangement.place_among_all(state, layer)].as_fd()
    }

    /// All layers in order, and how they belong to the two stacks.
    pub(crate) fn into_parts(self) -> (Vec<OwnedFd>, Arrangement) {
        (self.layers, self.arrangement)
    }
}

/// Opens layers, no more of them than one comparison may have.
pub(crate) fn open_layers<'a>(layers: impl Iterator<Item = &'a PathBuf>) -> Result<Vec<OwnedFd>> {
    let mut opened = Vec::new();
    for layer in layers {
        if opened.len() == COMPARED_LAYERS_MAX {
            return Err(Error::limit(format!("more than {COMPARED_LAYERS_MAX} layers are to be compared")));
        }
        opened.push(open_layer(layer)?);
    }
    Ok(opened)
}

fn open_layer(layer: &Path) -> Result<OwnedFd> {
    beneath::open_root(layer).naming(layer.as_os_str().as_encoded_bytes(), "open the layer")
}
