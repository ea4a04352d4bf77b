//! The README's tour is real: its commands are run, and what they print is what stands below them.
//!
//! Between `<!-- tour -->` and `<!-- /tour -->`, each console block is a list of commands (`$ …`) with their output. `readme` runs them in
//! one shell session each, in order, and writes the output; `readme --check` compares, with numbers and ids masked.

use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};

use crate::counts::Counts;
use crate::project::{self, Context as _, Failure, Result, root, target};

const OPEN: &str = "<!-- tour -->";
const CLOSE: &str = "<!-- /tour -->";

/// `cargo xtask readme`.
pub fn task(options: &[&str]) -> Result {
    let check_only = match options {
        [] => false,
        ["--check"] => true,
        _ => return Err(Failure::new("readme has one option: --check")),
    };
    let binary = project::build_release()?;
    if check_only {
        let counts = check(&binary)?;
        println!("readme: {} commands of the tour print what it says", counts.passed);
        return Ok(());
    }
    let file = root().join("README.md");
    let old = fs::read_to_string(&file).context("README.md")?;
    let new = regenerate(&old, &binary)?;
    fs::write(&file, new).context("README.md")
}

/// Runs the tour and compares.
pub fn check(binary: &Path) -> Result<Counts> {
    let old = fs::read_to_string(root().join("README.md")).context("README.md")?;
    let new = regenerate(&old, binary)?;
    let (old, new) = (masked(&old), masked(&new));
    for (line, (old, new)) in old.lines().zip(new.lines()).enumerate() {
        if old != new {
            return Err(Failure::new(format!(
                "README.md, line {}: the tour says\n  {old}\nand the command prints\n  {new}",
                line + 1
            ))
            .hint("if the new output is right: cargo xtask readme"));
        }
    }
    if old.lines().count() != new.lines().count() {
        return Err(Failure::new("README.md: the tour's last output has another length now")
            .hint("if the new output is right: cargo xtask readme"));
    }
    let commands = section(&new)?.1.lines().filter(|line| line.starts_with("$ ")).count();
    Ok(Counts { passed: commands as u64, ..Counts::default() })
}

fn section(text: &str) -> Result<(&str, &str, &str)> {
    let missing = || Failure::new(format!("README.md: {OPEN} … {CLOSE} is not there"));
    let (before, rest) = text.split_once(OPEN).ok_or_else(missing)?;
    let (tour, after) = rest.split_once(CLOSE).ok_or_else(missing)?;
    Ok((before, tour, after))
}

/// The text with the output of every command of its tour as it is now.
fn regenerate(text: &str, binary: &Path) -> Result<String> {
    let (before, tour, after) = section(text)?;
    let scratch = target().join("tour");
    if scratch.exists() {
        fs::remove_dir_all(&scratch).context(scratch.display())?;
    }
    let bin = scratch.join("bin");
    fs::create_dir_all(&bin).context(bin.display())?;
    std::os::unix::fs::symlink(binary, bin.join("pyro")).context("link to pyro")?;
    // The tour's commands name files as a reader in the checkout would.
    std::os::unix::fs::symlink(root().join("examples"), scratch.join("examples")).context("link to the examples")?;
    let path = format!("{}:{}", bin.display(), std::env::var("PATH").unwrap_or_default());

    // A tour that was interrupted has left its workspace; usually there is none, and that is no failure.
    let delete = ["workspace", "delete", "tour"];
    project::output(Command::new(binary).args(delete).env("PYRO_HOME", project::home()))?;

    let mut new = String::new();
    let mut in_block = false;
    for line in tour.lines() {
        if line == "```console" {
            in_block = true;
        } else if line == "```" {
            in_block = false;
        } else if in_block {
            let Some(command) = line.strip_prefix("$ ") else {
                continue;
            };
            let output = Command::new("sh")
                .args(["-c", &format!("exec 2>&1\n{command}")])
                .current_dir(&scratch)
                .env("PATH", &path)
                .env("PYRO_HOME", project::home())
                .stdin(Stdio::null())
                .output()
                .context(command)?;
            // The reader's checkout is not ours.
            let printed = String::from_utf8_lossy(&output.stdout).replace(&*scratch.to_string_lossy(), "/home/user/pyro");
            // A comment at the end of a command announces that it ends badly on purpose: `# exit 1`.
            let expected = command.rsplit_once("# exit ").and_then(|(_, code)| code.trim().parse().ok()).unwrap_or(0);
            if output.status.code() != Some(expected) {
                return Err(Failure::new(format!("README.md: {command}: {}\n{printed}", output.status)));
            }
            new.push_str(line);
            new.push('\n');
            new.push_str(printed.trim_end());
            if !printed.trim_end().is_empty() {
                new.push('\n');
            }
            continue;
        }
        new.push_str(line);
        new.push('\n');
    }
    Ok(format!("{before}{OPEN}{new}{CLOSE}{after}"))
}

/// Hides what may differ from run to run and from host to host: numbers and their units, ids in hexadecimal, the padding of columns, and
/// what this host's isolation is.
fn masked(text: &str) -> String {
    let is_id = |word: &str| word.len() >= 7 && word.bytes().all(|byte| byte.is_ascii_hexdigit());
    let mask = |word: &str| if is_id(word) { "#".to_owned() } else { numbers_masked(word) };
    let line = |line: &str| match line.trim_start() {
        report if report.starts_with("isolation ") => "isolation".to_owned(),
        _ => line.split_whitespace().map(mask).collect::<Vec<_>>().join(" ").replace("# ms", "# s"),
    };
    text.lines().map(|text| line(text) + "\n").collect()
}

fn numbers_masked(word: &str) -> String {
    let mut masked = String::new();
    for character in word.chars() {
        if character.is_ascii_digit() {
            if !masked.ends_with('#') {
                masked.push('#');
            }
        } else if !(character == '.' && masked.ends_with('#')) {
            masked.push(character);
        }
    }
    masked
}

#[cfg(test)]
mod tests {
    use super::masked;

    #[test]
    fn numbers_and_ids_are_masked_and_words_are_not() {
        assert_eq!(masked("exited 0 after   12.5 ms, id 0a1b2c3d4e5f\n"), masked("exited 0 after 9 ms, id ffffffffffff\n"));
        assert_ne!(masked("exited 0\n"), masked("killed 0\n"));
    }
}
