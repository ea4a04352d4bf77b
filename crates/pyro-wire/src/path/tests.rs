//! What is a sandbox path, and how it is shown.

use proptest::prelude::*;

use super::*;

#[test]
fn paths_are_made_absolute_and_plain() {
    let long_name = "x".repeat(255);
    let cases = [
        ("/", "/", "/"),
        (".", "/workspace", "."),
        ("/workspace", "/workspace", "."),
        ("/workspace/", "/workspace", "."),
        ("a", "/workspace/a", "a"),
        ("./a//b/.", "/workspace/a/b", "a/b"),
        ("a/../b", "/workspace/b", "b"),
        ("..", "/", "/"),
        ("../etc", "/etc", "/etc"),
        ("/workspace2/a", "/workspace2/a", "/workspace2/a"),
        ("/a/./b/../c/", "/a/c", "/a/c"),
        ("...", "/workspace/...", "..."),
        (" a\n", "/workspace/ a\n", " a\n"),
        (&long_name, &format!("/workspace/{long_name}"), &long_name),
    ];
    for (text, absolute, shown) in cases {
        let path = SandboxPath::parse(text).unwrap();
        assert_eq!((path.as_str(), path.shown()), (absolute, shown), "{text}");
        assert_eq!(serde_json::from_str::<SandboxPath>(&serde_json::to_string(&path).unwrap()).unwrap(), path);
    }
}

#[test]
fn what_is_no_path_says_why() {
    let cases = [
        (String::new(), PathError::Empty),
        ("a\0b".to_owned(), PathError::Nul),
        ("/..".to_owned(), PathError::AboveRoot),
        ("../..".to_owned(), PathError::AboveRoot),
        ("/a/../../b".to_owned(), PathError::AboveRoot),
        ("x".repeat(256), PathError::TooLong),
        ("/xxxxxxx".repeat(512), PathError::TooLong),
    ];
    for (text, error) in cases {
        assert_eq!(SandboxPath::parse(&text), Err(error), "{text}");
        assert!(serde_json::from_value::<SandboxPath>(text.into()).is_err());
    }
    assert_eq!(SandboxPath::parse(&"/xxxxxxx".repeat(512)[..4095]).unwrap().as_str().len(), 4095);
}

proptest! {
    #[test]
    fn a_path_reads_back_as_itself(text in "[a./é\n]{0,40}") {
        if let Ok(path) = SandboxPath::parse(&text) {
            prop_assert_eq!(&SandboxPath::parse(path.as_str()).unwrap(), &path);
            prop_assert_eq!(&SandboxPath::parse(path.shown()).unwrap(), &path);
            prop_assert!(path.as_str().starts_with('/') && path.as_str().split('/').all(|name| name != ".." && name != "."));
        }
    }
}
