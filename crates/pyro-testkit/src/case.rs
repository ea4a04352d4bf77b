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
//! (a home whose built environments are kept), `PYRO_TEST_REQUIRE=namespaces` (a case that cannot run is a failure).

use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::sync::OnceLock;

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
        let required = std::env::var("PYRO_TEST_REQUIRE").unwrap_or_default();
        assert!(!required.split(',').any(|name| name.trim() == "namespaces"), "namespaces are required and cannot be used: {why}");
        println!("SKIPPED namespaces: {why}");
        return;
    }
    told(&env, story);
}

/// A case that needs no sandbox: command line, errors, what is refused.
///
/// # Panics
/// When the case fails, or leaves something over.
pub fn surface_case(built: Option<&str>, story: impl FnOnce(&TestEnv)) {
    told(&TestEnv::shared(&binary(built)), story);
}

fn told(env: &TestEnv, story: impl FnOnce(&TestEnv)) {
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
