//! Images that are really made, and looked into with e2fsprogs' own tools, which mount nothing.

use std::ffi::CString;
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::{FileExt as _, symlink};
use std::os::unix::net::UnixListener;

use rustix::fs::{CWD, Dev, FileType, Mode};

use super::*;

/// A home with one layer, the path of whose root it gives.
fn layer(home: &Path, digest: &str) -> PathBuf {
    let root = home.join("layers").join(digest).join("root");
    fs::create_dir_all(&root).unwrap();
    root
}

fn files(root: &Path) {
    fs::create_dir_all(root.join("usr/share/deep")).unwrap();
    fs::write(root.join("usr/hello"), "hello\n").unwrap();
    fs::set_permissions(root.join("usr/hello"), fs::Permissions::from_mode(0o4755)).unwrap();
    fs::hard_link(root.join("usr/hello"), root.join("usr/again")).unwrap();
    symlink("x".repeat(200), root.join("long")).unwrap();
    symlink("usr", root.join("short")).unwrap();
    for number in 0..500 {
        fs::write(root.join(format!("usr/share/deep/a-long-name-so-that-the-directory-grows-{number}")), [b'x'; 10]).unwrap();
    }
    let pipe = CString::new(root.join("pipe").as_os_str().as_bytes()).unwrap();
    rustix::fs::mknodat(CWD, &pipe, FileType::Fifo, Mode::RUSR, Dev::default()).unwrap();
    drop(UnixListener::bind(root.join("socket")).unwrap());
    let device = CString::new(root.join("device").as_os_str().as_bytes()).unwrap();
    // Only root may make one.
    let _ = rustix::fs::mknodat(CWD, &device, FileType::CharacterDevice, Mode::RUSR, rustix::fs::makedev(1, 3));
}

/// What a tool of e2fsprogs says, and that it is content.
fn ask(program: &str, arguments: &[&str], image: &Path) -> String {
    let output = tool(program).unwrap().args(arguments).arg(image).output().unwrap();
    let said = format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success(), "{program} {arguments:?}: {said}");
    said
}

fn debugfs(request: &str, image: &Path) -> String {
    ask("debugfs", &["-R", request], image)
}

fn check(image: &Path) {
    ask("e2fsck", &["-fn"], image);
}

fn left_over(directory: &Path) -> usize {
    fs::read_dir(directory)
        .unwrap()
        .filter(|entry| entry.as_ref().unwrap().file_name().as_encoded_bytes().starts_with(b".making"))
        .count()
}

const NEVER: &dyn Fn() -> bool = &|| false;

#[test]
fn the_image_of_a_layer_holds_what_the_layer_holds() {
    let home = tempfile::tempdir().unwrap();
    let root = layer(home.path(), "aa");
    files(&root);
    let image = make_image(&root, NEVER).unwrap();
    assert_eq!(image, home.path().join("layers/aa/image.ext4"));
    check(&image);
    assert_eq!(fs::metadata(&image).unwrap().permissions().mode() & 0o7777, 0o444);
    assert_eq!(debugfs("cat /usr/hello", &image).lines().next(), Some("hello"));
    assert!(debugfs("stat /usr/hello", &image).contains("Mode:  04755"), "{}", debugfs("stat /usr/hello", &image));
    assert!(debugfs("stat /usr/again", &image).contains("Links: 2"));
    assert_eq!(debugfs("ls -p /usr/share/deep", &image).matches("/a-long-name").count(), 500);
    let top = debugfs("ls -p /", &image);
    for name in ["long", "short", "pipe", "socket", "usr"] {
        assert!(top.contains(&format!("/{name}/")), "{name}: {top}");
    }
    assert!(!top.contains("lost+found"), "{top}");
    let about = ask("dumpe2fs", &["-h"], &image);
    assert!(
        !about.contains("has_journal") && !about.contains("metadata_csum") && about.contains("Reserved block count:     0"),
        "{about}"
    );
    assert_eq!(left_over(image.parent().unwrap()), 0);
    // It is holes for the most part, and made once.
    assert!(taken_bytes(&home.path().join("layers/aa")) < 8 << 20);
    let made = fs::metadata(&image).unwrap().ino();
    assert_eq!(fs::metadata(make_image(&root, NEVER).unwrap()).unwrap().ino(), made);
}

#[test]
fn the_same_layer_has_the_same_image() {
    let (one, two) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let root = layer(one.path(), "aa");
    fs::write(root.join("file"), "content").unwrap();
    let first = fs::read(make_image(&root, NEVER).unwrap()).unwrap();
    // The same files, moved: their times are part of them.
    fs::create_dir_all(two.path().join("layers/aa")).unwrap();
    fs::rename(&root, two.path().join("layers/aa/root")).unwrap();
    let second = fs::read(make_image(&two.path().join("layers/aa/root"), NEVER).unwrap()).unwrap();
    assert!(first == second);
    assert_ne!(uuids("aa"), uuids("bb"));
}

#[test]
fn many_make_the_same_image_at_once() {
    let home = tempfile::tempdir().unwrap();
    let root = layer(home.path(), "aa");
    files(&root);
    thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| check(&make_image(&root, NEVER).unwrap()));
        }
    });
    assert_eq!(left_over(root.parent().unwrap()), 0);
}

#[test]
fn an_interrupted_image_is_not_there_and_what_is_left_of_it_is_swept() {
    let home = tempfile::tempdir().unwrap();
    let root = layer(home.path(), "aa");
    assert_eq!(make_image(&root, &|| true).unwrap_err().kind, ErrorKind::Cancelled);
    assert!(!image_of(&root).exists());
    assert_eq!(left_over(root.parent().unwrap()), 0);
    let dead = root.with_file_name(".making-of-a-dead-one");
    fs::create_dir(&dead).unwrap();
    fs::write(dead.join("image"), "half").unwrap();
    let live = Making::beside(&image_of(&root)).unwrap();
    assert!(!dead.exists());
    make_image(&root, NEVER).unwrap();
    assert!(live.path.is_dir());
}

#[test]
fn nothing_is_written_beside_directories_of_the_machine() {
    let home = tempfile::tempdir().unwrap();
    for path in ["usr", "layers/aa/other", "elsewhere/aa/root"] {
        fs::create_dir_all(home.path().join(path)).unwrap();
        assert_eq!(make_image(&home.path().join(path), NEVER).unwrap_err().kind, ErrorKind::Unavailable, "{path}");
    }
    assert_eq!(make_image(Path::new("/"), NEVER).unwrap_err().kind, ErrorKind::Unavailable);
}

#[test]
fn an_image_counts_as_part_of_its_environment_and_goes_with_it() {
    use super::super::tests::{NOBODY, written};
    use super::super::{inspect, remove};
    let home = tempfile::tempdir().unwrap();
    written(home.path(), "debian:12", "aa");
    let size = || inspect(home.path(), "debian:12", NOBODY).unwrap().size_bytes.unwrap();
    let before = size();
    let root = home.path().join("layers/aa/root");
    make_image(&root, NEVER).unwrap();
    let taken = taken_bytes(&home.path().join("layers/aa"));
    assert!(taken > 0 && size() == before + taken);
    assert_eq!(remove(home.path(), "debian:12", NOBODY).unwrap().freed_bytes, before + taken);
    assert!(!home.path().join("layers/aa").exists());
}

#[test]
fn a_blank_image_has_its_size_its_directories_and_a_journal() {
    let directory = tempfile::tempdir().unwrap();
    let image = make_blank(directory.path(), 2048, true).unwrap();
    assert_eq!(image, directory.path().join("blank-journal-2048.ext4"));
    check(&image);
    let facts = fs::metadata(&image).unwrap();
    assert!(facts.len() == 2048 << 20 && facts.blocks() * 512 < 4 << 20, "{} blocks", facts.blocks());
    let top = debugfs("ls -p /", &image);
    for name in BLANK_DIRECTORIES {
        assert!(
            top.contains(&format!("/040755/{}/{}/{name}/", rustix::process::geteuid(), rustix::process::getegid())),
            "{name}: {top}"
        );
    }
    let about = ask("dumpe2fs", &[], &image);
    assert!(
        about.contains("has_journal") && about.matches("\nGroup ").count() == about.matches("ITABLE_ZEROED").count(),
        "{about}"
    );
    let copy = directory.path().join("copy");
    copy_sparse(&image, &copy).unwrap();
    check(&copy);
    let copied = fs::metadata(&copy).unwrap();
    assert_eq!((copied.len(), copied.permissions().mode() & 0o7777), (facts.len(), 0o600));
    assert!(copied.blocks() <= facts.blocks() + 64, "{} of {}", copied.blocks(), facts.blocks());
    assert_eq!(make_blank(directory.path(), 2048, true).unwrap(), image);
}

#[test]
fn a_seed_has_a_device_of_the_same_size_whatever_is_in_it() {
    let directory = tempfile::tempdir().unwrap();
    let (tree, image) = (directory.path().join("tree"), directory.path().join("seed.ext4"));
    fs::create_dir_all(tree.join("workspace")).unwrap();
    fs::write(tree.join("workspace/file"), vec![b'x'; 3 << 20]).unwrap();
    for size_mib in [16, 1024] {
        make_seed_image(&tree, &image, size_mib << 20).unwrap();
        assert_eq!(fs::metadata(&image).unwrap().len(), size_mib << 20);
        check(&image);
        assert!(debugfs("stat /workspace/file", &image).contains("Size: 3145728"));
    }
    for size_mib in [2, 3] {
        let error = make_seed_image(&tree, &directory.path().join("small"), size_mib << 20).unwrap_err();
        assert_eq!(error.kind, ErrorKind::Limit, "{error}");
    }
    assert!(!directory.path().join("small").exists());
    assert_eq!(left_over(directory.path()), 0);
}

#[test]
fn an_image_that_leaves_holds_the_tree_and_has_a_limit() {
    let directory = tempfile::tempdir().unwrap();
    let (tree, image) = (directory.path().join("tree"), directory.path().join("image"));
    fs::create_dir(&tree).unwrap();
    files(&tree);
    File::create(tree.join("hole")).unwrap().set_len(3 << 30).unwrap();
    let usage = pyro_layer::measure(&tree).unwrap();
    make_leaving_image(&tree, usage, "one", &image, NEVER).unwrap();
    check(&image);
    assert!(debugfs("stat /hole", &image).contains("Size: 3221225472"));
    assert!(fs::metadata(&image).unwrap().blocks() * 512 < 16 << 20);
    let endless = Usage { size_bytes: u64::MAX, ..usage };
    assert_eq!(
        make_leaving_image(&tree, endless, "one", &directory.path().join("other"), NEVER).unwrap_err().kind,
        ErrorKind::Limit
    );
    assert_eq!(fs::read_dir(directory.path()).unwrap().count(), 2);
}

#[test]
fn what_mke2fs_complains_of_is_said() {
    let directory = tempfile::tempdir().unwrap();
    let room = Room { needed_blocks: 0, blocks: 1024, inodes: Some(100) };
    let missing = directory.path().join("missing");
    let mut mke2fs = tool("mke2fs").unwrap();
    mke2fs.args(["-q", "-F", "-d"]).arg(&missing).arg(directory.path().join("image")).arg("1024");
    let error = run(mke2fs, "mke2fs", NEVER).unwrap_err();
    assert!(error.kind == ErrorKind::Unavailable && error.message.contains("missing"), "{error}");
    let unmade = Filesystem { identity: "x", room, journal: false, tree: &missing }.write(&directory.path().join("image"), NEVER);
    assert!(unmade.is_err());
}

#[test]
fn a_copy_has_the_data_and_the_holes() {
    let directory = tempfile::tempdir().unwrap();
    let at = |name: &str| directory.path().join(name);
    let file = File::create(at("from")).unwrap();
    file.set_len(1 << 30).unwrap();
    for (offset, byte) in [(0, b'a'), (300 << 20, b'b'), ((1 << 30) - 1, b'c')] {
        file.write_all_at(&[byte], offset).unwrap();
    }
    copy_sparse(&at("from"), &at("to")).unwrap();
    let copy = File::open(at("to")).unwrap();
    let facts = copy.metadata().unwrap();
    assert!(facts.len() == 1 << 30 && facts.blocks() * 512 < 4 << 20, "{} blocks", facts.blocks());
    for (offset, byte) in [(0, b'a'), (1, 0), (300 << 20, b'b'), (700 << 20, 0), ((1 << 30) - 1, b'c')] {
        let mut read = [0xff];
        copy.read_exact_at(&mut read, offset).unwrap();
        assert_eq!(read, [byte], "{offset}");
    }
    // Only holes, and nothing at all.
    for (name, length) in [("hole", 5 << 20), ("empty", 0)] {
        File::create(at(name)).unwrap().set_len(length).unwrap();
        copy_sparse(&at(name), &at(&format!("{name}-copy"))).unwrap();
        assert_eq!(fs::metadata(at(&format!("{name}-copy"))).unwrap().len(), length);
    }
    // What is there is never written over.
    assert_eq!(copy_sparse(&at("empty"), &at("to")).unwrap_err().kind(), io::ErrorKind::AlreadyExists);
    assert_eq!(fs::metadata(at("to")).unwrap().len(), 1 << 30);
}
