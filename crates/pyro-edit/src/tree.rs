//! The files of one request: as they were read, and as they will be.
//!
//! Each path is read once. What is asked for later sees what came before it in the same request.

use std::collections::{BTreeMap, BTreeSet};

use crate::failure::Why;
use crate::files::{File, Files, Mode, Unreadable};
use crate::index::Budget;
use crate::limits::{CONTENT_BYTES_MAX, FILE_BYTES_MAX, FILES_MAX};
use crate::path::{RelPath, shown};
use crate::plan::{Before, Change, Plan};
use crate::request::Options;

/// One path.
struct State {
    before: Option<File>,
    now: Option<File>,
    /// It was put here by this request, so that whatever moves away from here later is what was here before.
    is_new: bool,
    /// Before there was a directory, out of which this request takes files.
    was_directory: bool,
}

pub(crate) struct Tree<'f> {
    files: &'f mut dyn Files,
    options: &'f Options,
    states: BTreeMap<RelPath, State>,
    content_bytes: usize,
    pub(crate) budget: Budget,
    pub(crate) moves: Vec<(RelPath, RelPath)>,
    /// What this request takes away somewhere, so that something else may come to its place before.
    pub(crate) leaving: BTreeSet<RelPath>,
}

impl<'f> Tree<'f> {
    pub(crate) fn new(files: &'f mut dyn Files, options: &'f Options) -> Self {
        Self {
            files,
            options,
            states: BTreeMap::new(),
            content_bytes: 0,
            budget: Budget::new(),
            moves: Vec::new(),
            leaving: BTreeSet::new(),
        }
    }

    /// A path as it was written, checked.
    pub(crate) fn path(&self, written: &[u8]) -> Result<RelPath, Why> {
        let refused = |reason: String, next: &str| Why::Refused { reason, next: next.to_owned() };
        let path = RelPath::new(written, &self.options.root).map_err(|why| {
            let name: String = shown(written).chars().take(100).collect();
            refused(format!("path `{name}` {why}"), "send a path relative to the workspace")
        })?;
        if path.is_git_internal() && !self.options.allow_git_internals {
            return Err(refused(
                format!("`{path}` is inside .git and is not changed by edits"),
                "use git commands in the workspace",
            ));
        }
        Ok(path)
    }

    fn state(&mut self, path: &RelPath) -> Result<&mut State, Why> {
        if !self.states.contains_key(path) {
            if self.states.len() >= 4 * FILES_MAX {
                return Err(too_much("the request names too many paths".to_owned()));
            }
            let refused = |reason: &str| Why::Refused {
                reason: format!("`{path}` {}", reason.chars().take(200).collect::<String>()),
                next: "name a regular file".to_owned(),
            };
            let mut was_directory = false;
            let file = match self.files.read(path) {
                Ok(file) => file,
                Err(Unreadable::TooLarge(bytes)) => return Err(too_large(path, bytes)),
                Err(Unreadable::Directory) if self.leaving.iter().any(|leaving| path.is_above(leaving)) => {
                    was_directory = true;
                    None
                }
                Err(Unreadable::Directory) => return Err(refused("is a directory")),
                Err(Unreadable::Refused(reason)) => return Err(refused(&reason)),
            };
            if let Some(file) = &file {
                if file.content.len() > FILE_BYTES_MAX {
                    return Err(too_large(path, file.content.len() as u64));
                }
                self.hold(file.content.len())?;
            }
            self.states.insert(path.clone(), State { before: file.clone(), now: file, is_new: false, was_directory });
        }
        Ok(self.states.get_mut(path).expect("it was put there above"))
    }

    fn hold(&mut self, bytes: usize) -> Result<(), Why> {
        self.content_bytes += bytes;
        if self.content_bytes > CONTENT_BYTES_MAX {
            return Err(too_much(format!("the files of the request have more than {} MiB", CONTENT_BYTES_MAX >> 20)));
        }
        Ok(())
    }

    pub(crate) fn now(&mut self, path: &RelPath) -> Result<Option<&File>, Why> {
        Ok(self.state(path)?.now.as_ref())
    }

    pub(crate) fn before(&mut self, path: &RelPath) -> Result<Option<File>, Why> {
        Ok(self.state(path)?.before.clone())
    }

    pub(crate) fn exists(&mut self, path: &RelPath) -> Result<bool, Why> {
        Ok(self.now(path)?.is_some())
    }

    pub(crate) fn set(&mut self, path: &RelPath, file: File) -> Result<(), Why> {
        // What was there is held as well, as the state before.
        let held = self.state(path)?.now.as_ref().map_or(0, |file| file.content.len());
        self.content_bytes -= held.min(self.content_bytes);
        self.hold(file.content.len())?;
        let state = self.state(path)?;
        state.is_new |= state.now.is_none();
        state.now = Some(file);
        Ok(())
    }

    /// Puts something in the place of what leaves it in this request.
    pub(crate) fn replace(&mut self, path: &RelPath, file: File) -> Result<(), Why> {
        self.set(path, file)?;
        self.state(path)?.is_new = true;
        Ok(())
    }

    pub(crate) fn remove(&mut self, path: &RelPath) -> Result<(), Why> {
        let state = self.state(path)?;
        if !state.is_new {
            state.now = None;
        }
        Ok(())
    }

    /// The first of these that is there, or is there without the name of the project in front.
    pub(crate) fn first_that_exists(&mut self, paths: &[RelPath]) -> Result<Option<RelPath>, Why> {
        for path in paths {
            if self.exists(path)? {
                return Ok(Some(path.clone()));
            }
        }
        let root_name = self.options.root.rsplit(|byte| *byte == b'/').find(|name| !name.is_empty()).map(<[u8]>::to_vec);
        for path in paths {
            let Some((first, rest)) = path.without_first() else { continue };
            let is_project = self.options.project.as_deref() == Some(first) || root_name.as_deref() == Some(first);
            if is_project && self.path(rest.as_bytes()).is_ok() && self.exists(&rest)? {
                return Ok(Some(rest));
            }
        }
        Ok(None)
    }

    pub(crate) fn missing(&mut self, path: &RelPath) -> Why {
        let mut near = self.files.near(path);
        near.truncate(5);
        Why::PathMissing { near }
    }

    /// Every path whose state is another than before, with what was there.
    pub(crate) fn changed(&self) -> impl Iterator<Item = (&RelPath, Option<&File>, Option<&File>)> {
        self.states
            .iter()
            .filter(|(_, state)| state.before != state.now)
            .map(|(path, state)| (path, state.before.as_ref(), state.now.as_ref()))
    }

    pub(crate) fn original(&self, path: &RelPath) -> Option<&File> {
        self.states.get(path).and_then(|state| state.before.as_ref())
    }

    /// The plan, if no file would be a directory too.
    pub(crate) fn plan(&mut self) -> Result<Plan, (RelPath, Why)> {
        let is_made = |state: &State| state.before.is_none() && state.now.is_some();
        let made: Vec<RelPath> = self.states.iter().filter(|(_, state)| is_made(state)).map(|(path, _)| path.clone()).collect();
        for path in made {
            // What cannot be read as a file is a directory, or is found by the one who carries the plan out.
            let file = path.above().find(|above| self.exists(above).unwrap_or(false));
            if let Some(above) = file {
                let reason = format!("`{path}` cannot be a file below `{above}`, which is a file");
                return Err((path, Why::Conflict { reason, next: "delete or move that file in the same request".to_owned() }));
            }
        }
        let goes = |path: &RelPath| self.states.get(path).is_some_and(|state| state.before.is_some() && state.now.is_none());
        for (path, _) in self.states.iter().filter(|(_, state)| state.was_directory && state.now.is_some()) {
            if let Some(other) = self.files.staying(path, &goes) {
                let reason = format!("`{path}` is a directory, and `{other}` in it stays");
                return Err((path.clone(), Why::Conflict { reason, next: "delete or move that in the same request".to_owned() }));
            }
        }
        let change = |(path, state): (&RelPath, &State)| Change {
            path: path.clone(),
            before: match &state.before {
                Some(file) => Before::Present(file.mode),
                None if state.was_directory => Before::Directory,
                None => Before::Absent,
            },
            after: state.now.clone(),
        };
        let changed = self.states.iter().filter(|(_, state)| state.before != state.now);
        Ok(Plan { changes: changed.map(change).collect(), moves: self.moves.clone() })
    }
}

fn too_much(reason: String) -> Why {
    Why::TooLarge { reason, next: "send it in parts".to_owned() }
}

fn too_large(path: &RelPath, bytes: u64) -> Why {
    Why::TooLarge {
        reason: format!("`{path}` has {bytes} bytes, and files of more than {} MiB are not edited", FILE_BYTES_MAX >> 20),
        next: "change it with a command instead".to_owned(),
    }
}

/// A text edit is never made through a link: where it leads is not for words to say.
pub(crate) fn check_no_link(path: &RelPath, file: &File) -> Result<(), Why> {
    match file.mode {
        Mode::Regular | Mode::Executable => Ok(()),
        Mode::Symlink => Err(Why::Refused {
            reason: format!("`{path}` is a symbolic link to `{}`", shown(&file.content).chars().take(100).collect::<String>()),
            next: "name the file that it leads to".to_owned(),
        }),
    }
}
