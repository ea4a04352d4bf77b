//! A directory of the host that changes between pushes, and what a push of it has to make of a tree.

use std::fs::{self, File, FileTimes};
use std::os::unix::ffi::{OsStrExt as _, OsStringExt as _};
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _, symlink};
use std::path::{Path, PathBuf};
use std::time::{Duration, UNIX_EPOCH};

use rustix::fs::XattrFlags;

use super::acts::{self, Rng};
use super::tree::{Node, Tree, content_of, hex, is_at_or_below, name_links};

/// The attribute that files outside may have.
const ATTRIBUTE: &str = "user.from";

/// A directory of the host.
pub struct Source {
    pub at: PathBuf,
}

impl Source {
    /// Makes one with a few things in it.
    pub fn new(at: PathBuf, rng: &mut Rng) -> Self {
        fs::create_dir(&at).expect("make a directory");
        let source = Self { at };
        for _ in 0..6 {
            source.change(rng);
        }
        source
    }

    /// Changes something in it. What cannot be done is left.
    pub fn change(&self, rng: &mut Rng) {
        let mut path = self.at.clone();
        for _ in 0..=rng.below(2) {
            path.push(std::ffi::OsString::from_vec(acts::name(rng)));
        }
        let path = path.as_path();
        let _ = match rng.below(12) {
            0..=3 => fs::write(path, acts::content(rng)),
            4..=5 => fs::create_dir_all(path),
            6 => fs::remove_file(path).or_else(|_| fs::remove_dir_all(path)),
            7 => symlink("a", path),
            8 => fs::hard_link(self.at.join("a"), path),
            9 => fs::symlink_metadata(path).and_then(|found| match found.is_symlink() {
                true => Ok(()),
                false => fs::set_permissions(path, fs::Permissions::from_mode([0o644, 0o755, 0o600, 0o2755][rng.below(4)])),
            }),
            10 => File::open(path).and_then(|file| {
                let at = UNIX_EPOCH + Duration::from_secs(rng.below(2_000_000_000) as u64) + Duration::from_nanos(123_456_789);
                file.set_times(FileTimes::new().set_modified(at))
            }),
            _ => rustix::fs::lsetxattr(path, ATTRIBUTE, b"outside", XattrFlags::empty()).map_err(Into::into),
        };
    }

    /// What it is like; its root is the empty path. Everything belongs to the root inside.
    fn tree(&self) -> Tree {
        let mut tree = Tree::new();
        let mut paths = vec![PathBuf::new()];
        while let Some(path) = paths.pop() {
            let full = if path.as_os_str().is_empty() { self.at.clone() } else { self.at.join(&path) };
            let found = fs::symlink_metadata(&full).expect("look at what we made");
            let (kind, content) = if found.is_dir() {
                paths.extend(fs::read_dir(&full).expect("list it").map(|entry| path.join(entry.expect("an entry").file_name())));
                (b'd', "-".to_owned())
            } else if found.is_symlink() {
                (b'l', hex(fs::read_link(&full).expect("a link").as_os_str().as_bytes()))
            } else {
                (b'f', content_of(&fs::read(&full).expect("read it")))
            };
            let node = Node {
                kind,
                mode: found.mode() & 0o7777,
                owner: (0, 0),
                modified_at: Some((found.mtime(), found.mtime_nsec())),
                size: if kind == b'd' { 0 } else { found.len() },
                content: Some(content),
                attributes: attributes(&full),
                same_as: format!("outside {}:{}", found.dev(), found.ino()).into_bytes(),
            };
            tree.insert(path.into_os_string().into_vec(), node);
        }
        tree
    }

    /// What a tree is after a push of this to a place in it; the second: whether that changes anything. `None` when it has to be refused: a
    /// directory cannot be there.
    pub fn pushed(&self, tree: &Tree, to: &[u8], missing_goes: bool) -> Option<(Tree, bool)> {
        let source = self.tree();
        let mut pushed = tree.clone();
        let mut is_changed = false;
        for end in (1..=to.len()).filter(|end| to.get(*end).is_none_or(|byte| *byte == b'/')) {
            match pushed.get(&to[..end]) {
                Some(node) if node.kind == b'd' => {}
                Some(_) => return None,
                // Above the trees that are told.
                None if end < to.len()
                    && acts::ROOTS.iter().any(|root| root.len() > end && root.as_bytes().starts_with(&to[..end])) => {}
                None => {
                    let node = Node {
                        kind: b'd',
                        mode: 0o755,
                        owner: (0, 0),
                        modified_at: None,
                        size: 0,
                        content: Some("-".to_owned()),
                        attributes: "-".to_owned(),
                        same_as: to[..end].to_vec(),
                    };
                    pushed.insert(to[..end].to_vec(), node);
                }
            }
        }
        for (rest, outside) in &source {
            let path = if rest.is_empty() { to.to_vec() } else { [to, b"/", rest].concat() };
            let is_same = pushed.get(&path).is_some_and(|inside| {
                inside.kind == outside.kind
                    && (inside.mode == outside.mode || inside.kind == b'l')
                    && (inside.size, &inside.content) == (outside.size, &outside.content)
            });
            if is_same {
                continue;
            }
            is_changed = true;
            let was_directory = pushed.get(&path).is_some_and(|inside| inside.kind == b'd');
            if was_directory && outside.kind != b'd' {
                pushed.retain(|other, _| !is_at_or_below(other, &path));
            }
            pushed.insert(path, outside.clone());
        }
        if missing_goes {
            let is_gone = |path: &Vec<u8>| {
                path.strip_prefix(to).and_then(|rest| rest.strip_prefix(b"/")).is_some_and(|rest| !source.contains_key(rest))
            };
            is_changed |= pushed.keys().any(is_gone);
            pushed.retain(|path, _| !is_gone(path));
        }
        name_links(&mut pushed);
        if is_changed { Some((pushed, true)) } else { Some((tree.clone(), false)) }
    }
}

/// As `inside.pl` tells them.
fn attributes(path: &Path) -> String {
    /// More than the one that we set.
    const VALUE_BYTES_MAX: usize = 256;
    let mut value = vec![0; VALUE_BYTES_MAX];
    match rustix::fs::lgetxattr(path, ATTRIBUTE, &mut value[..]) {
        Ok(length) => format!("{}={}", hex(ATTRIBUTE.as_bytes()), hex(&value[..length])),
        Err(_) => "-".to_owned(),
    }
}
