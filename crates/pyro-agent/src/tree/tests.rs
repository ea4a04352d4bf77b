//! Who belongs to a command, on a made-up process table.

use super::*;

fn process(pid: i32, parent: i32, group: i32, session: i32) -> Process {
    Process { pid, parent, group, session, state: b'S', started_at: 100 }
}

#[test]
fn a_tree_is_its_session_its_group_and_all_their_children() {
    let root = 1_000_000;
    let other = root + 50;
    let table = [
        // A child of a child is listed before its parent.
        process(root + 3, root + 2, root + 3, root + 3),
        process(root, 1, root, root),
        process(root + 1, root, root, root),
        process(root + 2, root + 1, root + 2, root + 2),
        process(root + 4, 1, root, root),
        process(root + 5, 1, root + 5, root),
        // A daemon, another command with its child, and init.
        process(root + 6, 1, root + 6, root + 6),
        process(other, 1, other, other),
        process(other + 1, other, other, other),
        process(1, 0, 1, 1),
    ];
    let found = |tree: &Tree| tree.find(&table).iter().map(|process| process.pid - root).collect::<Vec<_>>();
    let mut tree = Tree::new(root, vec![other]);
    assert_eq!(found(&tree), [0, 1, 2, 3, 4, 5]);
    // What was seen before stays known, unless the number is another process by now.
    tree.known.insert(root + 6, 100);
    tree.known.insert(other + 1, 99);
    assert_eq!(found(&tree), [0, 1, 2, 3, 4, 5, 6]);
    // Another command that got our root's number is not ours.
    assert_eq!(Tree::new(other, vec![other]).find(&table[7..8]), []);
}

#[test]
fn a_line_of_the_table_is_read_whatever_the_name() {
    let line = "42 (a) b) S 1 2 3 0 -1 4194560 1 0 0 0 0 0 0 0 20 0 1 0 777 1 1\n";
    assert_eq!(Process::parse(line), Some(Process { pid: 42, parent: 1, group: 2, session: 3, state: b'S', started_at: 777 }));
    for wrong in ["", "42", "42 (x)", "42 (x) S", "42 (x) S 1 2", "x (y) S 1 2 3 0 -1 0 0 0 0 0 0 0 0 0 20 0 1 0 777 1"] {
        assert_eq!(Process::parse(wrong), None, "{wrong}");
    }
    let own = std::fs::read_to_string("/proc/self/stat").expect("readable");
    assert_eq!(Process::parse(&own).map(|process| process.pid), i32::try_from(std::process::id()).ok());
}
