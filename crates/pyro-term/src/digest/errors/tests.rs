use super::is_error;

#[test]
fn lines_that_report_an_error_look_like_one() {
    for line in [
        "error: could not compile `demo`",
        "error[E0425]: cannot find value `x` in this scope",
        "src/main.c:3:5: error: expected ';'",
        "src/app.ts(3,5): error TS2304: Cannot find name 'x'.",
        "make: *** [Makefile:2: all] Error 1",
        "TypeError: undefined is not a function",
        "  File \"a.py\", line 1: SyntaxError: invalid syntax",
        "Traceback (most recent call last):",
        "thread 'main' panicked at src/main.rs:2:5:",
        "panic: runtime error: index out of range",
        "FAILED tests/test_a.py::test_b - assert 1 == 2",
        "--- FAIL: TestX (0.00s)",
        "FAIL\tgithub.com/a/b\t0.1s",
        "test tests::adds ... FAILED",
        "fatal: not a git repository",
        "main.c:1:10: fatal error: x.h: No such file or directory",
        "a.o: undefined reference to `f'",
        "Segmentation fault (core dumped)",
        "sh: 1: foo: command not found",
        "2 errors generated.",
        "2026-01-01 ERROR worker stopped",
        "[ERROR] Failed to execute goal",
        "Error: Cannot find module 'x'",
        "Exception in thread \"main\" java.lang.NullPointerException",
        "java.lang.IllegalStateException: no",
        "not ok 3 - adds",
        "npm ERR! code E404",
        "CONFLICT (content): Merge conflict in a.txt",
        "assertion `left == right` failed",
        "E   AssertionError: x",
        "collect2: error: ld returned 1 exit status",
    ] {
        assert!(is_error(line.as_bytes()), "{line}");
    }
}

#[test]
fn lines_that_only_have_the_word_do_not() {
    for line in [
        "0 errors, 3 warnings",
        "Found 0 errors.",
        "test result: ok. 3 passed; 0 failed",
        "cc -Wall -Werror -c main.c",
        "   Compiling src/error.rs",
        "   Compiling thiserror v1.0.0",
        "  CC      lib/error.o",
        "no errors found",
        "finished without error",
        "test parses_error_messages ... ok",
        "docs: errors explained",
        "terror in the mirror",
        "--on-error=continue",
        "my_error: 3",
        "set -o failglob FAILSAFE_MODE",
        "catch exceptions in handlers",
        "this is fatality",
    ] {
        assert!(!is_error(line.as_bytes()), "{line}");
    }
}
