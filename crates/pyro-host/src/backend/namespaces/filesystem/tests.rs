use super::*;

#[test]
fn upper_and_work_are_reached_from_the_directory_that_holds_both() {
    let check = |one: &str, other: &str, common: &str, first: &str, second: &str| {
        let found = common_directory(Path::new(one), Path::new(other));
        assert_eq!(found, (PathBuf::from(common), PathBuf::from(first), PathBuf::from(second)));
    };
    check("/h/w/upper/root", "/h/w/work", "/h/w", "upper/root", "work");
    check("/h/w/u", "/h/w/u2", "/h/w", "u", "u2");
    check("/a", "/b", "/", "a", "b");
}
