//! A process that keeps a host open for days (an MCP server, say) must not collect descriptors, threads or dead children. Counted for
//! the whole process, so this test is alone in its program.

use std::path::PathBuf;
use std::time::{Duration, Instant};

use pyro_api::ops::environment::EnvPruneRequest;
use pyro_api::ops::{EnvPrune, WorkspaceCreate, WorkspaceList};
use pyro_host::{Host, HostOptions};
use serde_json::json;

/// Open descriptors, threads, and children that are not reaped.
fn held() -> (usize, usize, usize) {
    let count = |path: &str| std::fs::read_dir(path).expect("proc").count();
    let children: usize = std::fs::read_dir("/proc/self/task")
        .expect("proc")
        .flatten()
        .map(|task| std::fs::read_to_string(task.path().join("children")).unwrap_or_default().split_whitespace().count())
        .sum();
    (count("/proc/self/fd"), count("/proc/self/task"), children)
}

#[test]
fn a_host_that_stays_open_collects_nothing() {
    let directory = tempfile::tempdir().expect("a temporary directory");
    // A role process that ends at once, whatever it is asked.
    let binary = PathBuf::from("/bin/true");
    let host =
        Host::open(HostOptions { home: directory.path().join("home"), binary, isolation: Default::default() }).expect("a new home");
    let use_it = || {
        host.ask::<EnvPrune>(EnvPruneRequest {}).expect("nothing to prune");
        host.ask::<WorkspaceList>(serde_json::from_value(json!({})).expect("a request")).expect("nothing to list");
        // Its role process goes without an answer.
        let create = serde_json::from_value(json!({ "environment": "debian:12" })).expect("a request");
        host.ask::<WorkspaceCreate>(create).expect_err("nobody builds it");
    };
    // The database is opened by the first use, and stays open.
    use_it();
    let deadline = Instant::now() + Duration::from_secs(60);
    let settle = |what: &str, most: (usize, usize, usize)| {
        // Role processes end and are reaped while we look.
        loop {
            let now = held();
            if now.0 <= most.0 && now.1 <= most.1 && now.2 <= most.2 {
                return now;
            }
            assert!(Instant::now() < deadline, "{what}: {now:?} are held, at most {most:?} should be");
            std::thread::yield_now();
        }
    };
    let before = settle("at first", (usize::MAX, 2, 0));
    for _ in 0..50 {
        use_it();
    }
    settle("after 50 uses", before);
}
