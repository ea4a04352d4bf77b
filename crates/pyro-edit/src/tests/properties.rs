//! Rules that hold for any input.

use proptest::prelude::*;

use super::{path, run, tree};
use crate::limits::FAILURE_CHARS_MAX;
use crate::{Edit, FileEdits, Memory, Options, Request, plan};

/// Pieces that patches are made of, so that random texts get past the first line.
fn pieces() -> impl Strategy<Value = Vec<u8>> {
    let piece = prop_oneof![
        proptest::sample::select(vec![
            "diff --git a/f b/f\n",
            "--- a/f\n",
            "+++ b/f\n",
            "--- /dev/null\n",
            "+++ /dev/null\n",
            "@@ -1,2 +1,2 @@\n",
            "@@\n",
            "@@ a\n",
            "@@ -0,0 +1 @@\n",
            " a\n",
            "-a\n",
            "+a\n",
            "-b\n",
            "+b\n",
            "\n",
            " \n",
            "\\ No newline at end of file\n",
            "new file mode 100644\n",
            "deleted file mode 100644\n",
            "rename from f\n",
            "rename to g\n",
            "copy from f\n",
            "copy to h\n",
            "old mode 100644\n",
            "new mode 100755\n",
            "GIT binary patch\n",
            "literal 3\n",
            "delta 9\n",
            "Kcmb=J\n",
            "index 1..2 120000\n",
            "*** Begin Patch\n",
            "*** End Patch\n",
            "*** Update File: f\n",
            "*** Add File: g\n",
            "*** Delete File: f\n",
            "*** Move to: h\n",
            "*** End of File\n",
            "f\n",
            "<<<<<<< SEARCH\n",
            "=======\n",
            ">>>>>>> REPLACE\n",
            "```\n",
            "EOF\n",
            "+++ b/../x\n",
            "*** Add File: .git/x\n",
            "*** Update File: /etc/passwd\n",
            "-- \n",
            "2.1\n",
            " 1|a\n",
            "\r\n",
            "...\n",
            "  // ... existing code ...\n",
        ])
        .prop_map(|text| text.as_bytes().to_vec()),
        proptest::collection::vec(any::<u8>(), 0..8),
    ];
    proptest::collection::vec(piece, 0..40).prop_map(|pieces| pieces.concat())
}

fn files() -> Memory {
    tree(&[("f", "a\nb\n\na\nc"), ("d/f", "a\r\nb\r\n"), ("e", "")])
}

/// Nothing panics, nothing outside is planned, failures are short, and a plan fits.
fn holds(request: &Request) -> Result<(), TestCaseError> {
    let mut before = files();
    match plan(request, &Options::default(), &mut before) {
        Ok(planned) => {
            for change in &planned.plan.changes {
                let bytes = change.path.as_bytes();
                prop_assert!(!bytes.starts_with(b"/") && !change.path.is_git_internal());
                prop_assert!(change.path.names().all(|name| !name.is_empty() && name != b"." && name != b".."));
            }
            prop_assert!(before.apply(&planned.plan).is_ok());
            planned.report.render();
        }
        Err(failure) => {
            let text = failure.render();
            prop_assert!(text.chars().count() <= FAILURE_CHARS_MAX);
            prop_assert!(text.contains("Nothing was changed") && text.contains("Next: "));
        }
    }
    Ok(())
}

fn lines() -> impl Strategy<Value = String> {
    let line = proptest::sample::select(vec!["a", "b", "c", "", "  a", "}", "dd", "\ta", "a ", "long line of words", "é"]);
    (proptest::collection::vec(line, 0..30), any::<bool>()).prop_map(|(lines, closes)| {
        let text = lines.join("\n");
        if closes && !text.is_empty() { format!("{text}\n") } else { text }
    })
}

fn diff(old: &str, new: &str, context: usize) -> Vec<u8> {
    let mut out = b"diff --git a/f b/f\n--- a/f\n+++ b/f\n".to_vec();
    let text = similar::TextDiff::from_lines(old, new);
    for hunk in text.unified_diff().context_radius(context).missing_newline_hint(false).iter_hunks() {
        out.extend(format!("{}\n", hunk.header()).bytes());
        for change in hunk.iter_changes() {
            out.extend(format!("{}{}", change.tag(), change.value()).bytes());
            if !change.value().ends_with('\n') {
                out.extend(b"\n\\ No newline at end of file\n");
            }
        }
    }
    out
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(2000) })]

    #[test]
    fn any_patch_is_read_without_harm(bytes in pieces()) {
        holds(&Request::Patch(bytes))?;
    }

    #[test]
    fn any_bytes_are_read_without_harm(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
        holds(&Request::Patch(bytes))?;
    }

    #[test]
    fn any_edit_is_read_without_harm(name in "(f|d/f|e|n|[a-z./]{0,6})", old in pieces(), new in pieces(), all in any::<bool>()) {
        holds(&Request::Edits(vec![FileEdits { path: name.into_bytes(), edits: vec![Edit { old, new, all }] }]))?;
    }

    #[test]
    fn a_diff_of_two_texts_makes_one_of_the_other(old in lines(), new in lines(), context in 1usize..4) {
        prop_assume!(old != new);
        let (after, _) = run(&tree(&[("f", &old)]), &Request::Patch(diff(&old, &new, context))).map_err(|failure| TestCaseError::fail(failure.render()))?;
        prop_assert_eq!(String::from_utf8_lossy(&after.files[&path("f")].content), new);
    }

    /// Lines that are left out of an edit change nothing of what it does, or make it an error; never something else.
    #[test]
    fn an_edit_with_lines_left_out_does_what_the_whole_edit_does(old in lines(), new in lines(), at in 0usize..30, count in 0usize..10, dots in "(    )?(\\.\\.\\.|# \\.\\.\\.|// \\.\\.\\. existing code \\.\\.\\.)") {
        // The lines of a file around some that stay: above these others come, and below.
        let (old, new): (Vec<&str>, Vec<&str>) = (old.lines().collect(), new.lines().collect());
        let kept: Vec<String> = (0..count).map(|number| format!("kept {number}")).collect();
        let (old_at, new_at) = (at.min(old.len()), at.min(new.len()));
        let text = |lines: &[&str], at: usize, between: &[String]| {
            let lines: Vec<&str> = lines[..at].iter().copied().chain(between.iter().map(String::as_str)).chain(lines[at..].iter().copied()).collect();
            lines.iter().map(|line| format!("{line}\n")).collect::<String>()
        };
        let (before, after) = (text(&old, old_at, &kept), text(&new, new_at, &kept));
        let (old, new) = (text(&old, old_at, std::slice::from_ref(&dots)), text(&new, new_at, &[dots]));
        let edit = Edit { old: old.into_bytes(), new: new.into_bytes(), all: false };
        let request = Request::Edits(vec![FileEdits { path: b"f".to_vec(), edits: vec![edit] }]);
        if let Ok((found, _)) = run(&tree(&[("f", &before)]), &request) {
            let found = String::from_utf8_lossy(&found.files[&path("f")].content).into_owned();
            // Blank lines beside the dots may be on either side of what is kept.
            let solid = |text: &str| text.lines().filter(|line| !line.trim().is_empty()).map(str::to_owned).collect::<Vec<_>>();
            prop_assert!(solid(&found) == solid(&after) || found == before, "{:?} became {:?}, not {:?}", before, found, after);
        }
    }

    #[test]
    fn counts_of_a_report_are_those_of_the_texts(old in lines().prop_map(|text| format!("x{text}")), new in lines()) {
        prop_assume!(old != new);
        let edit = Edit { old: old.clone().into_bytes(), new: new.clone().into_bytes(), all: false };
        let request = Request::Edits(vec![FileEdits { path: b"f".to_vec(), edits: vec![edit] }]);
        if let Ok((after, planned)) = run(&tree(&[("f", &old)]), &request)
            && after.files[&path("f")].content == new.as_bytes()
        {
            let file = &planned.report.files[0];
            let count = |text: &str| text.split_inclusive('\n').count();
            prop_assert_eq!(count(&old) + file.added_count, count(&new) + file.removed_count);
        }
    }
}
