//! The files in `docs/reference` are what the program would write now.

use std::path::Path;

use super::documents;

#[test]
fn the_references_are_current() {
    let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/reference");
    if std::env::var_os("UPDATE").is_some() {
        std::fs::create_dir_all(&directory).expect("docs/reference can be made");
        for document in documents() {
            std::fs::write(directory.join(document.name), document.text).expect("docs/reference can be written");
        }
    }
    for document in documents() {
        let file = std::fs::read_to_string(directory.join(document.name)).unwrap_or_default();
        assert!(file == document.text, "docs/reference/{} is not current; UPDATE=1 cargo test -p pyro rewrites it", document.name);
    }
}
