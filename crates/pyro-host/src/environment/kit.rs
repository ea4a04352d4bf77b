use std::path::{Path, PathBuf};
use pyro_api::Result;
#[derive(Debug)]
#[allow(missing_docs)]
pub struct Kit { pub root: PathBuf, pub kernel: PathBuf, pub modules: Vec<PathBuf>, pub qemu_version: String, pub kernel_release: String, pub digest: String }
#[allow(missing_docs)]
pub fn kit(_home: &Path) -> Result<Option<Kit>> {
    let k = PathBuf::from("/tmp/vm/k");
    let mut modules: Vec<PathBuf> = std::fs::read_dir(k.join("modules")).unwrap().map(|e| e.unwrap().path()).collect();
    modules.sort();
    Ok(Some(Kit { root: k.join("root"), kernel: k.join("kernel"), modules, qemu_version: "10.0.13".into(), kernel_release: "6.12".into(), digest: "x".into() }))
}
