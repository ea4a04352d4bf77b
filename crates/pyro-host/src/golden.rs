//! Texts that are frozen in `tests/snapshots`: a change of them is seen, and is meant.

use std::path::Path;

/// Compares with the snapshot of that name; with `UPDATE` set it is written instead.
///
/// # Panics
/// When it is another text.
pub(crate) fn check(name: &str, text: &str) {
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/snapshots").join(name);
    if std::env::var_os("UPDATE").is_some() {
        std::fs::create_dir_all(file.parent().unwrap()).unwrap();
        std::fs::write(&file, text).unwrap();
    }
    let written = std::fs::read_to_string(&file).unwrap_or_default();
    assert!(written == text, "tests/snapshots/{name} is not current: UPDATE=1 rewrites it. Now:\n{text}");
}
