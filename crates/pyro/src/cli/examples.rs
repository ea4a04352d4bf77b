//! Examples that help shows. Each is parsed by a test.

/// Below the help of `pyro` itself.
pub(super) const ROOT: &str = "\
Examples:
  pyro run debian:12 -- git --version
  pyro workspace create --name demo --seed-path .
  pyro workspace exec demo -- make test
  pyro workspace diff demo
  pyro workspace delete demo

Workspaces are named by name, id, or a unique beginning of either.";

/// Examples by command.
pub(super) const ALL: &[(&str, &[&str])] = &[
    (
        "run",
        &[
            "pyro run debian:12 -- git --version",
            "pyro run --seed-path . --timeout-seconds 600 debian:12-build -- make test",
            "pyro run -- sh -c 'echo $HOME; ls -la'",
        ],
    ),
    (
        "workspace create",
        &[
            "pyro workspace create --name demo --seed-path . debian:12-build",
            "pyro workspace create --label issue=123 --mem-mib 4096",
            "pyro workspace create --name demo --reuse",
        ],
    ),
    ("workspace list", &["pyro workspace list", "pyro ws list --label issue=123 --state running"]),
    ("workspace status", &["pyro workspace status demo"]),
    ("workspace update", &["pyro workspace update demo --name fix-123 --label state=done --clear-label issue"]),
    (
        "workspace exec",
        &[
            "pyro workspace exec demo -- ls -la",
            "pyro ws exec demo --cwd src --env RUST_LOG=debug --timeout-seconds 300 -- cargo test",
            "echo 'some input' | pyro ws exec demo -- wc -c",
            "pyro ws exec demo --wait-seconds 0 -- npm run build",
            "pyro ws exec demo --tty -- vim README.md",
        ],
    ),
    ("workspace logs", &["pyro workspace logs demo"]),
    ("workspace job list", &["pyro workspace job list demo --running"]),
    ("workspace job wait", &["pyro workspace job wait demo job3", "pyro ws job wait demo job3 --wait-seconds 60"]),
    (
        "workspace job logs",
        &[
            "pyro workspace job logs demo job3 > output.txt",
            "pyro ws job logs demo job3 --lines -50",
            "pyro ws job logs demo job3 --stream stderr --search 'error|warning'",
        ],
    ),
    ("workspace job stop", &["pyro workspace job stop demo job3"]),
    ("workspace shell open", &["pyro workspace shell open demo", "pyro ws shell open demo --name py --program python3"]),
    (
        "workspace shell write",
        &[
            "pyro workspace shell write demo sh1 --text 'cd src && make'",
            "pyro ws shell write demo py --text 'print(6 * 7)' --until quiet",
            "pyro ws shell write demo sh1 --keys ctrl-c",
        ],
    ),
    (
        "workspace shell read",
        &[
            "pyro workspace shell read demo sh1",
            "pyro ws shell read demo sh1 --screen",
            "pyro ws shell read demo sh1 --pattern 'listening on'",
            "pyro ws shell read demo sh1 --raw",
        ],
    ),
    ("workspace shell signal", &["pyro workspace shell signal demo sh1 --signal term"]),
    ("workspace shell resize", &["pyro workspace shell resize demo sh1 --columns 80 --rows 24"]),
    ("workspace shell list", &["pyro workspace shell list demo"]),
    ("workspace shell close", &["pyro workspace shell close demo sh1"]),
    ("workspace shell attach", &["pyro workspace shell attach demo sh1"]),
    ("workspace start", &["pyro workspace start demo"]),
    ("workspace stop", &["pyro workspace stop demo"]),
    ("workspace delete", &["pyro workspace delete demo"]),
    (
        "workspace diff",
        &[
            "pyro workspace diff demo --stat",
            "pyro workspace diff demo --against snapshot:clean --path src",
            "pyro workspace diff demo > change.patch",
        ],
    ),
    (
        "workspace file edit",
        &[
            "pyro workspace file edit demo src/main.rs --old 'let n = 1;' --new 'let n = 2;'",
            "pyro ws file edit demo < change.patch",
            "git diff | pyro ws file edit demo --dry-run",
        ],
    ),
    (
        "workspace file search",
        &[
            "pyro workspace file search demo 'fn main'",
            "pyro ws file search demo 'unwrap|expect' src --glob '**/*.rs' --context 2",
            "pyro ws file search demo --fixed 'a[0]' --tell files",
        ],
    ),
    ("workspace file delete", &["pyro workspace file delete demo notes.txt", "pyro ws file delete demo target --recursive"]),
    ("workspace file move", &["pyro workspace file move demo src/a.rs src/b/a.rs"]),
    ("workspace file mkdir", &["pyro workspace file mkdir demo src/deep/er"]),
    ("workspace snapshot create", &["pyro workspace snapshot create demo clean"]),
    ("workspace snapshot list", &["pyro workspace snapshot list demo"]),
    ("workspace snapshot delete", &["pyro workspace snapshot delete demo clean"]),
    (
        "workspace reset",
        &["pyro workspace reset demo --snapshot clean", "pyro ws reset demo --step 3", "pyro workspace reset demo"],
    ),
    ("workspace undo", &["pyro workspace undo demo"]),
    ("workspace redo", &["pyro workspace redo demo"]),
    ("workspace fork", &["pyro workspace fork demo --name idea", "pyro ws fork demo --count 3 --name try"]),
    (
        "workspace merge",
        &["pyro workspace merge demo idea", "pyro ws merge demo idea --dry-run", "pyro ws merge demo idea --favour theirs"],
    ),
    ("workspace compare", &["pyro workspace compare try-1 try-2 try-3 --check './test.sh'"]),
    ("workspace sync push", &["pyro workspace sync push demo .", "pyro ws sync push demo ./src /workspace/src --delete --ignore"]),
    (
        "workspace export",
        &[
            "pyro workspace export demo --output result",
            "pyro ws export demo dist --format tar --output dist.tar",
            "pyro ws export demo --to-git . --branch fix",
        ],
    ),
    (
        "workspace file list",
        &[
            "pyro workspace file list demo",
            "pyro ws file list demo src --depth 3",
            "pyro ws file list demo --glob '**/*.rs' --respect-ignore",
        ],
    ),
    (
        "workspace file read",
        &[
            "pyro workspace file read demo README.md",
            "pyro ws file read demo src/main.rs --lines 40-80 --numbered",
            "pyro ws file read demo build.log --lines -50",
            "pyro ws file read demo logo.png > logo.png",
        ],
    ),
    (
        "workspace file write",
        &["pyro workspace file write demo notes.txt --text 'hello'", "pyro ws file write demo run.sh --mode 755 < run.sh"],
    ),
    ("workspace disk list", &["pyro workspace disk list demo", "pyro ws disk list demo /etc --depth 2"]),
    ("workspace disk read", &["pyro workspace disk read demo README.md", "pyro ws disk read demo /etc/os-release"]),
    (
        "workspace disk export",
        &["pyro workspace disk export demo --output demo.ext4", "pyro ws disk export demo --format tar --output demo.tar"],
    ),
    ("env list", &["pyro env list"]),
    ("env inspect", &["pyro env inspect debian:12"]),
    ("env build", &["pyro env build debian:12-build", "pyro env build host --include /opt/toolchain"]),
    ("gc", &["pyro gc"]),
    ("env remove", &["pyro env remove debian:12-build"]),
    ("env prune", &["pyro env prune"]),
    ("doctor", &["pyro doctor", "pyro doctor --leaks"]),
    ("mcp", &["pyro mcp serve", "pyro mcp connect claude-code --write", "pyro mcp profiles"]),
    ("rpc", &["echo '{\"op\":\"workspace list\",\"request\":{}}' | pyro rpc"]),
    ("completions", &["pyro completions bash > /etc/bash_completion.d/pyro"]),
];

/// The examples of a command as help shows them; empty when there are none.
pub(crate) fn of(name: &str) -> String {
    let Some((_, lines)) = ALL.iter().find(|(command, _)| *command == name) else { return String::new() };
    format!("Examples:\n{}", lines.iter().map(|line| format!("  {line}\n")).collect::<String>())
}
