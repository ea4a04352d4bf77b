//! Taking kernel, modules and libraries out of packages, with packages made by hand. Building the kit from a mirror is tested with the whole product.

use std::fs;
use std::io::Write as _;
use std::os::unix::fs::{PermissionsExt as _, symlink};
use std::path::{Path, PathBuf};

use pyro_api::ErrorKind;

use super::super::manifest::{Manifest, ManifestMount};
use super::super::{EnvironmentKind, IdMode, inspect, list, prune, refuse_kit, remove};
use super::*;

fn put_u32(bytes: &mut [u8], at: usize, value: usize) {
    bytes[at..at + 4].copy_from_slice(&u32::try_from(value).unwrap().to_le_bytes());
}

/// A boot image with two sectors of setup, and the payload 100 bytes behind them.
fn boot_image(payload: &[u8]) -> Vec<u8> {
    let start = 3 * 512 + 100;
    let mut image = vec![0; start];
    image[0x1f1] = 2;
    image[0x202..0x206].copy_from_slice(b"HdrS");
    image[0x206..0x208].copy_from_slice(&0x020f_u16.to_le_bytes());
    put_u32(&mut image, 0x248, 100);
    put_u32(&mut image, 0x24c, payload.len());
    image.extend_from_slice(payload);
    image.extend_from_slice(b"signature");
    image
}

fn gzip(content: &[u8]) -> Vec<u8> {
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    encoder.write_all(content).unwrap();
    encoder.finish().unwrap()
}

fn zstd(content: &[u8]) -> Vec<u8> {
    ruzstd::encoding::compress_to_vec(content, ruzstd::encoding::CompressionLevel::Fastest)
}

/// `xz` of the eight bytes of `\x7fELFxz!\n`, made by `xz --check=crc32`.
const XZ: &[u8] = b"\xfd\x37\x7a\x58\x5a\x00\x00\x01\x69\x22\xde\x36\x02\x00\x21\x01\x16\x00\x00\x00\x74\x2f\xe5\xa3\x01\x00\x07\x7f\x45\x4c\x46\x78\x7a\x21\x0a\x00\x7d\xf8\xef\x32\x00\x01\x1c\x08\x44\x60\x2a\xc8\x90\x42\x99\x0d\x01\x00\x00\x00\x00\x01\x59\x5a";

#[test]
fn the_kernel_is_taken_out_of_its_image_however_it_is_compressed() {
    let content = [b"\x7fELF".as_slice(), &[7; 100_000]].concat();
    let mut with_size = zstd(&content);
    with_size.extend_from_slice(&u32::try_from(content.len()).unwrap().to_le_bytes());
    for payload in [with_size, gzip(&content), content.clone()] {
        assert!(kernel::uncompressed(&boot_image(&payload)).unwrap() == content);
    }
    assert_eq!(kernel::uncompressed(&boot_image(XZ)).unwrap(), b"\x7fELFxz!\n");
}

#[test]
fn what_is_no_kernel_is_refused_with_the_reason() {
    let refused = |image: &[u8], why: &str| {
        let error = kernel::uncompressed(image).unwrap_err();
        assert_eq!(error.kind, ErrorKind::Unavailable);
        assert!(error.to_string().contains(why), "{error}");
    };
    refused(b"", "bzImage");
    refused(&[0; 4096], "bzImage");
    refused(&boot_image(b"BZh91AY"), "neither zstd nor gzip nor xz");
    refused(&boot_image(&gzip(b"no kernel")), "no ELF file");
    let mut old = boot_image(b"\x7fELF");
    old[0x206] = 0x07;
    refused(&old, "bzImage");
    let mut long = boot_image(b"\x7fELF");
    put_u32(&mut long, 0x24c, usize::try_from(u32::MAX).unwrap());
    refused(&long, "bzImage");
}

/// An object file with one section besides that of the names.
fn object(section: &str, content: &[u8]) -> Vec<u8> {
    let names = format!("\0.shstrtab\0{section}\0");
    let mut file = vec![0; 64];
    file[..6].copy_from_slice(b"\x7fELF\x02\x01");
    let names_at = file.len();
    file.extend_from_slice(names.as_bytes());
    let content_at = file.len();
    file.extend_from_slice(content);
    let table = file.len();
    put_u32(&mut file, 0x28, table);
    file[0x3a] = 64;
    file[0x3c] = 3;
    file[0x3e] = 1;
    for (name, at, length) in [(0, 0, 0), (1, names_at, names.len()), (11, content_at, content.len())] {
        let mut header = [0; 64];
        put_u32(&mut header, 0, name);
        put_u32(&mut header, 0x18, at);
        put_u32(&mut header, 0x20, length);
        file.extend_from_slice(&header);
    }
    file
}

fn module(depends: &str) -> Vec<u8> {
    object(".modinfo", format!("license=GPL\0depends={depends}\0name=x\0").as_bytes())
}

#[test]
fn a_module_says_what_it_depends_on() {
    let of = |file: &[u8]| {
        modules::dependencies(file).map(|mut names| {
            names.reverse();
            names
        })
    };
    assert_eq!(of(&module("")).unwrap(), [""; 0]);
    assert_eq!(of(&module("vsock,virtio-ring")).unwrap(), ["vsock", "virtio_ring"]);
    assert_eq!(of(&object(".modinfo", b"license=GPL\0")), None);
    assert_eq!(of(&object(".text", b"depends=a\0")), None);
    let whole = module("a,b");
    // Cut off or damaged anywhere, it is refused and nothing worse.
    for length in 0..whole.len() {
        let _ = of(&whole[..length]);
        let mut damaged = whole.clone();
        damaged[length] = 0xff;
        let _ = of(&damaged);
    }
}

fn order(wanted: &[&str], builtin: &[&str], files: &[(&str, &str)]) -> Result<Vec<String>> {
    let builtin: Vec<String> = builtin.iter().map(|&name| name.to_owned()).collect();
    let ordered = modules::in_order(wanted, &builtin, &mut |name| {
        Ok(files.iter().find(|(file, _)| *file == name).map(|(_, depends)| module(depends)))
    })?;
    Ok(ordered.into_iter().map(|module| module.name).collect())
}

#[test]
fn a_module_comes_after_everything_that_it_depends_on() {
    let files = [
        ("disk", ""),
        ("common", "vsock"),
        ("transport", "common,vsock,crc"),
        ("vsock", ""),
        ("crc", "polynomials"),
        ("polynomials", ""),
    ];
    assert_eq!(
        order(&["transport", "disk", "vsock"], &["virtio"], &files).unwrap(),
        ["vsock", "common", "polynomials", "crc", "transport", "disk"]
    );
    assert_eq!(order(&["disk", "virtio", "overlay"], &["virtio", "overlay"], &files).unwrap(), ["disk"]);
    assert_eq!(order(&["common"], &["vsock"], &files).unwrap(), ["common"]);
    assert!(order(&["disk", "virtio_rng"], &[], &files).unwrap_err().message.contains("the kernel module virtio_rng"));
    assert!(order(&["a"], &[], &[("a", "b"), ("b", "a")]).unwrap_err().message.contains("depends on itself"));
}

#[test]
fn names_of_modules_are_those_of_the_kernel_and_sort_as_they_are_loaded() {
    let name = |path: &str| modules::name_of(Path::new(path));
    assert_eq!(name("kernel/drivers/char/hw_random/virtio-rng.ko.xz").as_deref(), Some("virtio_rng"));
    assert_eq!(name("ext4.ko").as_deref(), Some("ext4"));
    assert_eq!((name("modules.order"), name("x.ko.bz2"), name("x.kopie")), (None, None, None));
    let names: Vec<String> = (0..12).map(|index| modules::file_name(index, "x")).collect();
    assert!(names.is_sorted() && names[0] == "00-x.ko", "{names:?}");
}

#[test]
fn libraries_come_from_the_packages_and_from_nowhere_else() {
    let list = "\tlinux-vdso.so.1 (0x00007f)\n\
        \tlibz.so.1 => /tree/usr/lib/x86_64-linux-gnu/libz.so.1 (0x00007f)\n\
        \tlibc.so.6 => /tree/usr/lib/x86_64-linux-gnu/libc.so.6 (0x00007f)\n\
        \t/lib64/ld-linux-x86-64.so.2 => /tree/usr/lib64/ld-linux-x86-64.so.2 (0x00007f)\n";
    let directory = Path::new("usr/lib/x86_64-linux-gnu");
    assert_eq!(libraries::parse(Path::new("/tree"), list).unwrap(), [directory.join("libc.so.6"), directory.join("libz.so.1")]);
    for bad in ["\tlibz.so.1 => not found\n", "\tlibz.so.1 => /usr/lib/x86_64-linux-gnu/libz.so.1 (0x00007f)\n"] {
        let error = libraries::parse(Path::new("/tree"), &format!("{list}{bad}")).unwrap_err();
        assert_eq!(error.kind, ErrorKind::Unavailable);
        assert!(error.message.contains("do not hold libz.so.1"), "{error}");
    }
}

#[test]
fn no_link_leads_out_of_the_packages() {
    let tree = tempfile::tempdir().unwrap();
    let tree = fs::canonicalize(tree.path()).unwrap();
    fs::write(tree.join("file"), "").unwrap();
    symlink("file", tree.join("inside")).unwrap();
    symlink("/etc/passwd", tree.join("outside")).unwrap();
    symlink("missing", tree.join("broken")).unwrap();
    assert_eq!(within(&tree, Path::new("inside")).unwrap(), tree.join("file"));
    for path in ["outside", "broken", "nothing"] {
        assert!(within(&tree, Path::new(path)).unwrap_err().message.contains(path));
    }
}

#[test]
fn there_is_no_kit_for_other_processors() {
    check_architecture("x86_64").unwrap();
    let error = check_architecture("aarch64").unwrap_err();
    assert!(error.kind == ErrorKind::Unavailable && error.message.contains("aarch64"), "{error}");
}

#[test]
fn the_version_is_the_one_that_qemu_says() {
    assert_eq!(parse_version("QEMU emulator version 10.0.13 (Debian 1:10.0.13+ds-0+deb13u1)\nCopyright\n"), Some("10.0.13"));
    assert_eq!(parse_version("something else"), None);
    assert_eq!(parse_version(""), None);
}

/// A layer that looks like a kit.
fn layer(home: &Path, format: u32) -> PathBuf {
    let layer = home.join("layers/aa");
    fs::create_dir_all(layer.join("root")).unwrap();
    fs::create_dir_all(layer.join("modules")).unwrap();
    fs::write(layer.join("kernel"), "kernel").unwrap();
    for name in ["01-vsock.ko", "00-virtio_mmio.ko"] {
        fs::write(layer.join("modules").join(name), name).unwrap();
    }
    let facts = Facts { qemu: "10.0.13".to_owned(), kernel: "6.12.107".to_owned(), format };
    fs::write(layer.join("kit.json"), serde_json::to_vec(&facts).unwrap()).unwrap();
    layer
}

fn built(home: &Path, format: u32) {
    layer(home, format);
    let manifest = Manifest {
        name: MICROVM.to_owned(),
        kind: EnvironmentKind::Kit,
        digest: "aa".to_owned(),
        description: "for a test".to_owned(),
        built_at: "2026-01-01T00:00:00Z".to_owned(),
        size_bytes: 7,
        contents: Vec::new(),
        includes: Vec::new(),
        id_mode: IdMode::Root,
        mounts: vec![ManifestMount { at: "/".to_owned(), source: "layers/aa/root".into() }],
        path: Vec::new(),
        stamps: Vec::new(),
    };
    manifest.write(home).unwrap();
}

#[test]
fn a_kit_is_found_with_its_modules_in_order() {
    let home = tempfile::tempdir().unwrap();
    assert_eq!(kit(home.path()).unwrap(), None);
    built(home.path(), FORMAT);
    let layer = home.path().join("layers/aa");
    let expected = Kit {
        root: layer.join("root"),
        kernel: layer.join("kernel"),
        modules: vec![layer.join("modules/00-virtio_mmio.ko"), layer.join("modules/01-vsock.ko")],
        qemu_version: "10.0.13".to_owned(),
        kernel_release: "6.12.107".to_owned(),
        digest: "aa".to_owned(),
    };
    assert_eq!(kit(home.path()).unwrap(), Some(expected));
    assert_eq!(resolve(home.path(), MICROVM).unwrap().unwrap().kind, EnvironmentKind::Kit);
}

#[test]
fn a_kit_of_another_form_is_not_current() {
    let home = tempfile::tempdir().unwrap();
    built(home.path(), FORMAT + 1);
    assert_eq!(kit(home.path()).unwrap(), None);
    assert_eq!(resolve(home.path(), MICROVM).unwrap(), None);
}

#[test]
fn a_kit_is_listed_removed_and_pruned_like_an_environment_and_nothing_runs_in_it() {
    let home = tempfile::tempdir().unwrap();
    let nobody = |_: &str| Vec::new();
    let listed = |is_built| {
        let all = list(home.path(), &nobody).unwrap();
        let one = all.iter().find(|one| one.environment == MICROVM).unwrap().clone();
        assert!(one.built == is_built && one == inspect(home.path(), MICROVM, &nobody).unwrap(), "{one:?}");
        assert!(one.notes[0].contains("nothing runs in it"), "{one:?}");
        one
    };
    assert_eq!(listed(false).contents, ["linux-image-cloud-amd64", "qemu-system-x86"]);
    built(home.path(), FORMAT);
    assert_eq!(listed(true).notes.last().unwrap(), "QEMU 10.0.13, Linux 6.12.107");
    assert_eq!(remove(home.path(), MICROVM, &nobody).unwrap().names, [MICROVM]);
    listed(false);
    assert!(!home.path().join("layers/aa").exists());
    built(home.path(), FORMAT);
    let used = |digest: &str| if digest == "aa" { vec!["w".to_owned()] } else { Vec::new() };
    assert_eq!(prune(home.path(), &used).unwrap().names, [""; 0]);
    assert_eq!(prune(home.path(), &nobody).unwrap().names, [MICROVM]);
    let error = refuse_kit(MICROVM).unwrap_err();
    assert_eq!(
        (error.kind, error.message.as_str()),
        (ErrorKind::Invalid, "microvm is no environment to run in: it is what --isolation microvm is made of")
    );
    for other in ["debian:12", "host", "unknown"] {
        refuse_kit(other).unwrap();
    }
}

#[test]
fn the_digest_of_a_kit_follows_its_paths_modes_and_contents_and_not_its_times() {
    let home = tempfile::tempdir().unwrap();
    let layer = layer(home.path(), FORMAT);
    let digest = || seal(&layer).unwrap().digest;
    let before = digest();
    fs::write(layer.join("kernel"), "kernel").unwrap();
    assert_eq!(digest(), before);
    assert_eq!(seal(&layer).unwrap().size_bytes, 6 + 11 + 17 + fs::metadata(layer.join("kit.json")).unwrap().len());
    fs::write(layer.join("kernel"), "other!").unwrap();
    let other = digest();
    fs::set_permissions(layer.join("kernel"), fs::Permissions::from_mode(0o755)).unwrap();
    let executable = digest();
    fs::create_dir(layer.join("root/tmp")).unwrap();
    let larger = digest();
    let all = std::collections::BTreeSet::from([before, other, executable, larger]);
    assert_eq!(all.len(), 4);
}
