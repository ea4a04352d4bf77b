//! Finding runs of lines in a file in time that does not depend on how many lines look alike.
//!
//! Lines are numbered by what counts of them under a view; a run of lines is then a run of numbers. Runs with a rare line are looked for at its
//! places, others by one pass over the file (Knuth, Morris and Pratt), so a hostile file costs a pass, never a pass for each line.

use std::borrow::Cow;
use std::collections::HashMap;

use crate::failure::Why;
use crate::limits::SEARCH_STEPS_MAX;
use crate::view::{Lines, View};

/// Steps of search that are left in this request.
pub(crate) struct Budget {
    left: u64,
}

impl Budget {
    pub(crate) fn new() -> Self {
        Self { left: SEARCH_STEPS_MAX }
    }

    pub(crate) fn spend(&mut self, steps: usize) -> Result<(), Why> {
        self.left = self.left.checked_sub(steps as u64).ok_or_else(|| Why::TooLarge {
            reason: "looking for that much text in files of that size takes too long".to_owned(),
            next: "send fewer edits at once, or with text copied exactly".to_owned(),
        })?;
        Ok(())
    }
}

/// Places of a rarest line that are tried one by one before a pass over the file is cheaper.
const RARE_PLACES: usize = 64;

/// The lines of one text under one view.
struct Numbered<'t> {
    numbers: Vec<u32>,
    known: HashMap<Cow<'t, [u8]>, u32>,
    /// `places[firsts[n]..firsts[n + 1]]` are the lines with number `n`, in order.
    firsts: Vec<u32>,
    places: Vec<u32>,
}

impl<'t> Numbered<'t> {
    fn new(lines: &Lines<'t>, view: View) -> Self {
        let mut known: HashMap<Cow<'t, [u8]>, u32> = HashMap::new();
        let numbers: Vec<u32> = lines
            .iter()
            .map(|line| {
                let next = known.len() as u32;
                *known.entry(view.key(line)).or_insert(next)
            })
            .collect();
        let mut firsts = vec![0u32; known.len() + 1];
        for number in &numbers {
            firsts[*number as usize + 1] += 1;
        }
        for at in 1..firsts.len() {
            firsts[at] += firsts[at - 1];
        }
        let mut next = firsts.clone();
        let mut places = vec![0; numbers.len()];
        for (line, number) in numbers.iter().enumerate() {
            places[next[*number as usize] as usize] = line as u32;
            next[*number as usize] += 1;
        }
        Self { numbers, known, firsts, places }
    }

    fn places(&self, number: u32) -> &[u32] {
        &self.places[self.firsts[number as usize] as usize..self.firsts[number as usize + 1] as usize]
    }
}

/// A file's lines, indexed under each view when it is first asked for.
pub(crate) struct Index<'t> {
    pub(crate) lines: Lines<'t>,
    views: [Option<Numbered<'t>>; View::COUNT],
}

impl<'t> Index<'t> {
    pub(crate) fn new(lines: Lines<'t>) -> Self {
        Self { lines, views: [const { None }; View::COUNT] }
    }

    fn view(&mut self, view: View, budget: &mut Budget) -> Result<&Numbered<'t>, Why> {
        let slot = &mut self.views[view as usize];
        if slot.is_none() {
            budget.spend(self.lines.bytes.len())?;
        }
        Ok(slot.get_or_insert_with(|| Numbered::new(&self.lines, view)))
    }

    /// Every line that a run equal to `wanted` begins at.
    pub(crate) fn find(&mut self, wanted: &[&[u8]], view: View, budget: &mut Budget) -> Result<Vec<usize>, Why> {
        let numbered = self.view(view, budget)?;
        budget.spend(wanted.len())?;
        let Some(run) = wanted.iter().map(|line| numbered.known.get(&view.key(line)).copied()).collect::<Option<Vec<u32>>>() else {
            return Ok(Vec::new());
        };
        let Some((offset, rarest)) = run.iter().copied().enumerate().min_by_key(|(_, number)| numbered.places(*number).len())
        else {
            return Ok(Vec::new());
        };
        let places = numbered.places(rarest);
        if places.len() <= RARE_PLACES {
            budget.spend(places.len() * run.len())?;
            let starts = places.iter().filter_map(|place| (*place as usize).checked_sub(offset));
            return Ok(starts.filter(|start| numbered.numbers.get(*start..*start + run.len()) == Some(&run)).collect());
        }
        budget.spend(2 * numbered.numbers.len())?;
        Ok(runs(&numbered.numbers, &run))
    }

    /// The lines equal to one, under a view.
    pub(crate) fn places(&mut self, line: &[u8], view: View, budget: &mut Budget) -> Result<&[u32], Why> {
        let numbered = self.view(view, budget)?;
        Ok(numbered.known.get(&view.key(line)).map_or(&[], |number| numbered.places(*number)))
    }
}

/// Every start of `run` in `numbers`, overlapping ones too.
fn runs(numbers: &[u32], run: &[u32]) -> Vec<usize> {
    // How much of the run is still matched when the character behind so much of it is another.
    let mut falls = vec![0usize; run.len()];
    let mut matched = 0;
    for at in 1..run.len() {
        while matched > 0 && run[at] != run[matched] {
            matched = falls[matched - 1];
        }
        matched += usize::from(run[at] == run[matched]);
        falls[at] = matched;
    }
    let mut starts = Vec::new();
    matched = 0;
    for (at, number) in numbers.iter().enumerate() {
        while matched > 0 && *number != run[matched] {
            matched = falls[matched - 1];
        }
        matched += usize::from(*number == run[matched]);
        if matched == run.len() {
            starts.push(at + 1 - run.len());
            matched = falls[matched - 1];
        }
    }
    starts
}
