#![allow(missing_docs)]
use std::path::{Path, PathBuf};
use std::process::Command;
use pyro_api::Result;
pub fn image_of(layer_root: &Path) -> PathBuf { layer_root.with_file_name("image.ext4") }
pub fn make_image(root: &Path, _c: &dyn Fn() -> bool) -> Result<PathBuf> {
    let i = image_of(root);
    if !i.exists() { let s = Command::new("/usr/sbin/mke2fs").args(["-q", "-t", "ext4", "-b", "4096", "-m", "0", "-O", "^has_journal,^metadata_csum", "-d"]).arg(root).arg(&i).arg("1G").status().unwrap(); assert!(s.success()); }
    Ok(i)
}
pub fn make_blank(d: &Path, mib: u64) -> Result<PathBuf> {
    let p = d.join(format!("blank-{mib}.ext4"));
    if !p.exists() { let t = d.join("tree"); for n in ["upper", "work", "seed"] { std::fs::create_dir_all(t.join(n)).unwrap(); }
      assert!(Command::new("/usr/sbin/mke2fs").args(["-q", "-t", "ext4", "-m", "0", "-O", "^metadata_csum", "-d"]).arg(&t).arg(&p).arg(format!("{mib}M")).status().unwrap().success()); }
    Ok(p)
}
pub fn copy_sparse(a: &Path, b: &Path) -> std::io::Result<()> { assert!(Command::new("cp").args(["--sparse=always"]).arg(a).arg(b).status()?.success()); Ok(()) }
pub fn make_seed_image(root: &Path, to: &Path, size: u64) -> Result<()> {
    let s = Command::new("/usr/sbin/mke2fs").args(["-q", "-t", "ext4", "-b", "4096", "-m", "0", "-O", "^has_journal,^metadata_csum", "-d"]).arg(root).arg(to).arg("1G").status().unwrap(); assert!(s.success());
    std::fs::File::options().write(true).open(to).unwrap().set_len(size).unwrap(); Ok(())
}
