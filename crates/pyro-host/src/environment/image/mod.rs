//! Disk images: what a guest with a kernel of its own gets instead of a directory, and what a user gets who wants a whole file system as a file.
//! Layers and seeds, which a guest only reads, and blank ones to write to.
//!
//! They are made by `mke2fs`, which fills an image from a directory without mounting anything and without privilege: it writes the ids that this process
//! sees, which are those of the inside in all modes. An image is made beside its place and renamed into it: it is there whole or not at all,
//! whoever is interrupted, and two who make the same one at once do no harm. What an interrupted maker left is swept by the next.
//!
//! An image of a layer lies beside the layer's `root` and is found, kept and removed with it. Both are content-addressed: nothing ever
//! changes in one that is there.

use std::fs::{self, File};
use std::io::{self, Read as _};
use std::os::unix::fs::{DirBuilderExt as _, MetadataExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::mpsc::{self, RecvTimeoutError};
use std::thread;
use std::time::Duration;

use pyro_api::{Error, ErrorKind, Result};
use pyro_layer::Usage;

use super::build::LAYERS;
use super::command;
use super::manifest::{failed, sync_directory};
use super::workdir::make_locked;

mod sparse;

#[cfg(test)]
mod tests;

pub use sparse::copy_sparse;

/// Where the image of a layer is when it has been made.
#[must_use]
pub fn image_of(layer_root: &Path) -> PathBuf {
    layer_root.with_file_name(LAYER_IMAGE)
}

/// Makes the image of a layer, unless it is there. `layer_root` is the directory `root` of the layer.
///
/// # Errors
/// `Unavailable` when `mke2fs` is missing, or when the directory is none of our layers but one of the machine's own; `Limit` when the disk is
/// full; `Cancelled`.
pub fn make_image(layer_root: &Path, cancelled: &dyn Fn() -> bool) -> Result<PathBuf> {
    let image = image_of(layer_root);
    if image.exists() {
        return Ok(image);
    }
    let layer = own_layer(layer_root)?;
    let doing = "cannot make the disk image of a layer";
    let name = layer.file_name().unwrap_or_default().to_string_lossy();
    let making = Making::beside(&image).map_err(|error| failed(doing, error))?;
    let unfinished = making.path.join("image");
    let room = Room::of(layer_root)?;
    Filesystem { identity: &name, room, journal: false, tree: layer_root }.write(&unfinished, cancelled)?;
    publish(&unfinished, &image, 0o444).map_err(|error| failed(doing, error))?;
    Ok(image)
}

/// Makes the image of any tree, on a device of exactly `size_bytes_fixed`: so that how large a device is says nothing about what is on it, and
/// can be told before it is filled. Replaces what is at `to`.
///
/// # Errors
/// `Limit` when the tree needs more, or the disk is full; `Unavailable` when `mke2fs` is missing.
pub fn make_seed_image(tree: &Path, to: &Path, size_bytes_fixed: u64) -> Result<()> {
    let doing = "cannot make the disk image of a seed";
    let too_large = || {
        Error::limit(format!("the seed needs more than the {} MiB that there are for seeds", size_bytes_fixed >> 20))
            .hint("leave out what is not needed inside")
    };
    let mut room = Room::of(tree)?;
    if room.needed_blocks.saturating_mul(BLOCK_BYTES) > size_bytes_fixed {
        return Err(too_large());
    }
    room.blocks = room.blocks.min(size_bytes_fixed / BLOCK_BYTES);
    let making = Making::beside(to).map_err(|error| failed(doing, error))?;
    let unfinished = making.path.join("image");
    Filesystem { identity: "seed", room, journal: false, tree }.write(&unfinished, &|| false).map_err(|error| {
        // What is left on our own disk has nothing to do with it.
        if error.message.contains("Could not allocate") { too_large() } else { error }
    })?;
    File::options()
        .write(true)
        .open(&unfinished)
        .and_then(|file| file.set_len(size_bytes_fixed))
        .and_then(|()| publish(&unfinished, to, 0o444))
        .map_err(|error| failed(doing, error))
}

/// Largest content of an image that leaves, holes included: what somebody inside says that a sparse file is long. An image of 1 TiB takes
/// 64 MiB for the bitmaps of its 8,192 groups whatever is in it; more would be theirs to make us write.
const LEAVING_BYTES_MAX: u64 = 1 << 40;

/// Makes the image of a whole file system that is to be read elsewhere, at a path at which nothing is. `usage` is what was measured of it, `identity`
/// tells its images from those of others.
///
/// # Errors
/// `Limit` when it is too large or the disk is full; `Unavailable` when `mke2fs` is missing; `Cancelled`. What was written until then is the
/// caller's to remove.
pub fn make_leaving_image(tree: &Path, usage: Usage, identity: &str, to: &Path, cancelled: &dyn Fn() -> bool) -> Result<()> {
    if usage.size_bytes > LEAVING_BYTES_MAX {
        return Err(Error::limit(format!(
            "its files are {} GiB long, more than the {} of an image",
            usage.size_bytes >> 30,
            LEAVING_BYTES_MAX >> 30
        ))
        .hint("export it as tar, in which holes take no room"));
    }
    let room = Room::for_usage(usage.size_bytes, usage.entry_count);
    Filesystem { identity, room, journal: false, tree }.write(to, cancelled)
}

/// Directories at the root of a blank image: the writable layer of an overlay, what the overlay works in, and where a seed is mounted.
const BLANK_DIRECTORIES: [&str; 3] = ["upper", "work", "seed"];

/// Makes a blank image to be copied ([`copy_sparse`]) and written to, unless it is there. With a journal, what is written to it survives the
/// end of its guest at any moment; without, it is mounted in half the time.
///
/// # Errors
/// As [`make_image`].
pub fn make_blank(directory: &Path, size_mib: u64, journal: bool) -> Result<PathBuf> {
    let kind = if journal { "journal" } else { "plain" };
    let image = directory.join(format!("blank-{kind}-{size_mib}.ext4"));
    if image.exists() {
        return Ok(image);
    }
    let doing = "cannot make a blank disk image";
    let making = Making::beside(&image).map_err(|error| failed(doing, error))?;
    let (unfinished, tree) = (making.path.join("image"), making.path.join("tree"));
    let make_tree = || -> io::Result<()> {
        for place in [tree.clone()].into_iter().chain(BLANK_DIRECTORIES.map(|name| tree.join(name))) {
            fs::DirBuilder::new().mode(0o700).create(&place)?;
            fs::set_permissions(&place, fs::Permissions::from_mode(0o755))?;
        }
        Ok(())
    };
    make_tree().map_err(|error| failed(doing, error))?;
    let blocks = size_mib.saturating_mul((1 << 20) / BLOCK_BYTES);
    // As many files as mke2fs itself thinks right for a disk of that size.
    let room = Room { needed_blocks: 0, blocks, inodes: None };
    Filesystem { identity: "blank", room, journal, tree: &tree }.write(&unfinished, &|| false)?;
    publish(&unfinished, &image, 0o444).map_err(|error| failed(doing, error))?;
    Ok(image)
}

/// What the images of a layer take on the disk. They are holes where nothing is, so it is blocks that count and not their length.
pub(super) fn taken_bytes(layer: &Path) -> u64 {
    fs::symlink_metadata(layer.join(LAYER_IMAGE)).map_or(0, |facts| facts.blocks() * 512)
}

const LAYER_IMAGE: &str = "image.ext4";

/// The layer that a directory is the root of. What the environment `host` shows is the machine's own: nothing is ever written beside that.
fn own_layer(layer_root: &Path) -> Result<&Path> {
    let layer = layer_root.parent().filter(|_| layer_root.file_name().is_some_and(|name| name == "root"));
    layer.filter(|layer| layer.parent().and_then(Path::file_name).is_some_and(|name| name == LAYERS)).ok_or_else(|| {
        Error::unavailable(format!("no disk image is made of {}: it is the machine's own", layer_root.display()))
            .hint("choose an environment that is built from packages")
    })
}

/// A directory of unfinished work beside the image that is being made, so that it can be renamed into place. Dropped, it is gone.
struct Making {
    path: PathBuf,
    _lock: File,
}

/// What the names of such directories begin with.
const MAKING: &str = ".making";

impl Making {
    fn beside(image: &Path) -> io::Result<Self> {
        let directory = image.parent().unwrap_or(Path::new("/"));
        sweep(directory)?;
        let (path, lock) = make_locked(directory, MAKING)?;
        Ok(Self { path, _lock: lock })
    }
}

impl Drop for Making {
    fn drop(&mut self) {
        // What cannot be removed is swept by the next.
        let _ = fs::remove_dir_all(&self.path);
    }
}

/// Removes what makers left that died: directories of unfinished work that nobody holds the lock of.
fn sweep(directory: &Path) -> io::Result<()> {
    for entry in fs::read_dir(directory)? {
        let entry = entry?;
        if !entry.file_name().as_encoded_bytes().starts_with(MAKING.as_bytes()) {
            continue;
        }
        let Ok(lock) = File::open(entry.path()) else { continue };
        if lock.try_lock().is_ok() {
            // Somebody else may sweep too.
            let _ = fs::remove_dir_all(entry.path());
        }
    }
    Ok(())
}

fn publish(unfinished: &Path, image: &Path, mode: u32) -> io::Result<()> {
    fs::set_permissions(unfinished, fs::Permissions::from_mode(mode))?;
    File::open(unfinished)?.sync_all()?;
    fs::rename(unfinished, image)?;
    image.parent().map_or(Ok(()), sync_directory)
}

/// The unit of everything on an image; the page of the guest's memory.
const BLOCK_BYTES: u64 = 4096;
/// With what mke2fs reserves (11), some more for what it makes itself.
const INODES_RESERVED: u64 = 64;
/// Room beyond what the tree needs, for group descriptors and for what cannot be told from outside, such as long attributes. It is holes.
const SPARE_BLOCKS: u64 = (64 << 20) / BLOCK_BYTES;
/// 256 bytes hold an inode with times to the nanosecond and the capability of a file.
const INODE_BYTES: u64 = 256;

/// How large an image is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Room {
    /// Without these it cannot be made.
    needed_blocks: u64,
    blocks: u64,
    /// `None`: as many as mke2fs makes.
    inodes: Option<u64>,
}

impl Room {
    /// For a tree that is only read.
    fn of(tree: &Path) -> Result<Self> {
        let usage = pyro_layer::measure(tree).map_err(|error| {
            let doing = format!("cannot measure {}", tree.display());
            Error::unavailable(doing).because(error)
        })?;
        Ok(Self::for_usage(usage.size_bytes, usage.entry_count))
    }

    fn for_usage(size_bytes: u64, entry_count: u64) -> Self {
        let inodes = entry_count.saturating_add(INODES_RESERVED);
        // Files are rounded up, each directory and each long link has a block, and so has its name in the directory above at the very most.
        let needed_blocks =
            (size_bytes / BLOCK_BYTES).saturating_add(entry_count).saturating_add((inodes * INODE_BYTES).div_ceil(BLOCK_BYTES));
        let spare = (needed_blocks / 4).saturating_add(entry_count).saturating_add(SPARE_BLOCKS);
        Self { needed_blocks, blocks: needed_blocks.saturating_add(spare), inodes: Some(inodes) }
    }
}

/// A file system to be written into a file.
struct Filesystem<'a> {
    /// What its UUID and its hash seed are made of: the same tree gives the same image.
    identity: &'a str,
    room: Room,
    journal: bool,
    tree: &'a Path,
}

/// What the file system can do: named one by one, because the defaults differ from machine to machine. No checksums of metadata, which a guest
/// would compute for files that only its own host writes. What has a journal is written to and mostly empty: `uninit_bg` marks the tables that
/// nobody has used yet, so that a disk of 20 GiB begins as 300 KiB instead of 320 MiB (measured).
const FEATURES: &str = "none,dir_index,dir_nlink,ext_attr,extent,extra_isize,filetype,flex_bg,huge_file,large_file,sparse_super";

/// How often a waiting maker looks whether it was cancelled.
const LOOK_EVERY: Duration = Duration::from_millis(100);

/// A second of 2023, the release of Debian 12: times that are not those of a file say nothing about when an image was made.
const MADE_AT: &str = "1686355200";

/// Longest complaint of mke2fs that is kept: it could be one for each file.
const COMPLAINT_BYTES_MAX: u64 = 64 * 1024;
/// How much of its end is shown.
const COMPLAINT_LINES_SHOWN: usize = 3;

impl Filesystem<'_> {
    fn write(&self, image: &Path, cancelled: &dyn Fn() -> bool) -> Result<()> {
        let owner = fs::symlink_metadata(self.tree).map_err(|error| failed("cannot look at the tree of a disk image", error))?;
        let [uuid, hash_seed] = uuids(self.identity);
        let mut mke2fs = tool("mke2fs")?;
        mke2fs.args(["-q", "-F", "-t", "ext4", "-m", "0"]).args(["-b", &BLOCK_BYTES.to_string(), "-I", &INODE_BYTES.to_string()]);
        mke2fs.args(["-O", &if self.journal { format!("{FEATURES},has_journal,uninit_bg") } else { FEATURES.to_owned() }]);
        mke2fs.args(["-U", &uuid]);
        // Of a file that is holes all over, and that it may punch, mke2fs knows that it reads as zeros: it writes no empty tables, and leaves
        // the guest's kernel none to write.
        mke2fs
            .args(["-E", &format!("hash_seed={hash_seed},root_owner={}:{},discard,lazy_journal_init=1", owner.uid(), owner.gid())]);
        let length = self.room.blocks.saturating_mul(BLOCK_BYTES);
        File::create_new(image).and_then(|file| file.set_len(length)).map_err(|error| failed("cannot make a disk image", error))?;
        if let Some(inodes) = self.room.inodes {
            mke2fs.args(["-N", &inodes.to_string()]);
        }
        mke2fs.arg("-d").arg(self.tree).arg(image).arg(self.room.blocks.to_string());
        run(mke2fs, "mke2fs", cancelled)?;
        if fs::symlink_metadata(self.tree.join("lost+found")).is_err() {
            // It is made always, and would be seen inside. debugfs ends well whatever happens: at worst an empty directory is seen.
            let mut debugfs = tool("debugfs")?;
            debugfs.args(["-w", "-R", "rmdir lost+found"]).arg(image);
            run(debugfs, "debugfs", cancelled)?;
        }
        Ok(())
    }
}

/// A program of e2fsprogs that obeys no configuration of the machine.
fn tool(program: &str) -> Result<Command> {
    let found = command::find_for_administrators(program).ok_or_else(|| {
        Error::unavailable(format!("making a disk image needs {program}, which is not on the PATH"))
            .hint("sudo apt-get install e2fsprogs")
    })?;
    let mut command = Command::new(found);
    command.env_clear().env("MKE2FS_CONFIG", "/nonexistent").env("E2FSPROGS_FAKE_TIME", MADE_AT).env("LC_ALL", "C.UTF-8");
    Ok(command)
}

/// Runs it to its end, or until it is cancelled.
fn run(mut command: Command, program: &str, cancelled: &dyn Fn() -> bool) -> Result<()> {
    let cannot = |error: io::Error| Error::unavailable(format!("cannot run {program}")).because(error);
    // Ctrl-C at a terminal must reach us only.
    std::os::unix::process::CommandExt::process_group(&mut command, 0);
    let mut child = command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped()).spawn().map_err(cannot)?;
    let stderr = child.stderr.take();
    let (tell, told) = mpsc::channel();
    let reader = thread::spawn(move || {
        let mut complaint = Vec::new();
        if let Some(mut stderr) = stderr {
            let _ = stderr.by_ref().take(COMPLAINT_BYTES_MAX).read_to_end(&mut complaint);
            // Whoever writes more must not wait for us for ever.
            let _ = io::copy(&mut stderr, &mut io::sink());
        }
        let _ = tell.send(String::from_utf8_lossy(&complaint).into_owned());
    });
    let mut stopped = false;
    let complaint = loop {
        if !stopped && cancelled() {
            stopped = true;
            // An error means that it has ended already.
            let _ = child.kill();
        }
        match told.recv_timeout(LOOK_EVERY) {
            Ok(complaint) => break complaint,
            Err(RecvTimeoutError::Timeout) => {}
            Err(RecvTimeoutError::Disconnected) => break String::new(),
        }
    };
    let status = child.wait().map_err(cannot)?;
    let _ = reader.join();
    if stopped {
        return Err(Error::new(ErrorKind::Cancelled, "making a disk image was cancelled"));
    }
    if status.success() {
        return Ok(());
    }
    let lines: Vec<&str> = complaint.lines().map(str::trim).filter(|line| !line.is_empty()).collect();
    let why = lines[lines.len().saturating_sub(COMPLAINT_LINES_SHOWN)..].join("; ");
    let message = format!("cannot make a disk image: {program}: {}", if why.is_empty() { status.to_string() } else { why });
    if complaint.contains("No space left on device") {
        return Err(Error::limit(message).hint("free some space, or set PYRO_HOME to a directory on a larger disk"));
    }
    Err(Error::unavailable(message))
}

/// Two UUIDs of version 8 (RFC 9562, "custom") that are always the same for the same words.
fn uuids(identity: &str) -> [String; 2] {
    let hash = blake3::Hasher::new().update(b"pyro disk image 1\n").update(identity.as_bytes()).finalize();
    let (first, second) = hash.as_bytes().split_at(16);
    [first, second].map(|half| {
        let mut bytes = [0; 16];
        bytes.copy_from_slice(half);
        bytes[6] = bytes[6] & 0x0f | 0x80;
        bytes[8] = bytes[8] & 0x3f | 0x80;
        let hex: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
        format!("{}-{}-{}-{}-{}", &hex[..8], &hex[8..12], &hex[12..16], &hex[16..20], &hex[20..])
    })
}
