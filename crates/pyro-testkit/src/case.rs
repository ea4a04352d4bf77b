//! What a conformance case is: a function of a [`TestEnv`], run against the real program, after which nothing is left over.
//!
//! ```no_run
//! use pyro_testkit::case;
//!
//! #[test]
//! fn run_passes_the_exit_status_on() {
//!     case(option_env!("CARGO_BIN_EXE_pyro"), |env| {
//!         assert_eq!(env.pyro(&["run", "debian:12", "--", "sh", "-c", "exit 3"]).code, 3);
//!     });
//! }
//! ```
//!
//! What the test runner sets: `PYRO_TEST_BINARY` (the program; for users who cannot read the build directory), `PYRO_TEST_HOME`
//! (a home whose built environments are kept), `PYRO_TEST_REQUIRE=namespaces,…` (that a case cannot run for lack of one of these is a failure).

use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::sync::{Once, OnceLock};

use serde_json::Value;

use crate::env::{TestEnv, binary};

/// A case that needs a sandbox. Where none can be made it prints `SKIPPED namespaces: why` and returns, which
/// `cargo xtask test` takes out of the passes again; with `PYRO_TEST_REQUIRE=namespaces` it fails.
///
/// `built` is `option_env!("CARGO_BIN_EXE_pyro")` of the calling test program.
///
/// # Panics
/// When the case fails, or leaves something over.
pub fn case(built: Option<&str>, story: impl FnOnce(&TestEnv)) {
    let env = TestEnv::shared(&binary(built));
    if let Err(why) = sandboxes(&env) {
        return skip("namespaces", &why);
    }
    told(&env, story);
}

/// Says that a case, or the part of it that matters, cannot run here, because `what` is missing. The case must then return: it is taken out of the passes.
/// With `what` in `PYRO_TEST_REQUIRE` it fails.
///
/// # Panics
/// When it is required.
pub fn skip(what: &str, why: &str) {
    let required = std::env::var("PYRO_TEST_REQUIRE").unwrap_or_default();
    assert!(!required.split(',').any(|name| name.trim() == what), "{what} is required and is not there: {why}");
    let thread = std::thread::current();
    println!("SKIPPED {what}: {} cannot run: {why}", thread.name().unwrap_or("a case"));
}

/// A case about sandboxes of the host's own kernel, which says `why` it cannot be told of a machine with a kernel of its own. Where `PYRO_ISOLATION`
/// makes every sandbox such a machine, it is taken out of the passes like one that cannot run.
///
/// # Panics
/// As [`case`].
pub fn namespaces_case(built: Option<&str>, why: &str, story: impl FnOnce(&TestEnv)) {
    if in_machines() {
        return skip("namespaces of the host", why);
    }
    case(built, story);
}

/// Whether every sandbox of these cases has a kernel of its own.
#[must_use]
pub fn in_machines() -> bool {
    std::env::var("PYRO_ISOLATION").is_ok_and(|minimum| minimum.split(',').any(|word| word.trim() == "microvm"))
}

/// What the user who runs the cases may do about user ids.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    /// Root.
    Root,
    /// An ordinary user with a range of ids in `/etc/subuid` and `/etc/subgid`.
    Range,
    /// An ordinary user with one id.
    Single,
}

impl Mode {
    /// Of the user we are.
    #[must_use]
    pub fn ours() -> Self {
        let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
        let uid =
            status.lines().find_map(|line| line.strip_prefix("Uid:")?.split_whitespace().next()).unwrap_or_default().to_owned();
        if uid == "0" {
            return Self::Root;
        }
        let users = std::fs::read_to_string("/etc/passwd").unwrap_or_default();
        let name =
            users.lines().find(|line| line.split(':').nth(2) == Some(&uid)).and_then(|line| line.split(':').next()).unwrap_or(&uid);
        let has = |file: &str| {
            let table = std::fs::read_to_string(file).unwrap_or_default();
            table.lines().any(|line| matches!(line.split(':').next(), Some(owner) if owner == name || owner == uid))
        };
        if has("/etc/subuid") && has("/etc/subgid") { Self::Range } else { Self::Single }
    }
}

/// A case that needs no sandbox: command line, errors, what is refused.
///
/// # Panics
/// When the case fails, or leaves something over.
pub fn surface_case(built: Option<&str>, story: impl FnOnce(&TestEnv)) {
    told(&TestEnv::shared(&binary(built)), story);
}

fn told(env: &TestEnv, story: impl FnOnce(&TestEnv)) {
    static CLEARED: Once = Once::new();
    CLEARED.call_once(|| env.clear());
    let outcome = catch_unwind(AssertUnwindSafe(|| story(env)));
    env.delete_workspaces();
    if let Err(panic) = outcome {
        resume_unwind(panic);
    }
    env.assert_no_leaks();
}

/// Can sandboxes be made here? Asked once in a test program.
fn sandboxes(env: &TestEnv) -> Result<(), String> {
    static ANSWER: OnceLock<Result<(), String>> = OnceLock::new();
    ANSWER
        .get_or_init(|| {
            let ran = env.pyro(&["doctor", "--json"]);
            let answer: Value =
                serde_json::from_str(&ran.stdout).map_err(|error| format!("doctor did not answer: {error}\n{}", ran.all()))?;
            if answer["ok"] == true {
                return Ok(());
            }
            let missing = answer["checks"].as_array().into_iter().flatten().filter(|check| check["status"] == "missing");
            let missing: Vec<String> = missing.map(|check| format!("{}: {}", check["name"], check["detail"])).collect();
            Err(missing.join("; "))
        })
        .clone()
}
