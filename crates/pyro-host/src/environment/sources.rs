//! Where packages come from: the package sources that apt has on this machine, and how it reaches them.
//!
//! Only entries of the Debian archive itself are taken: somebody else's repository for the same suite does not belong into
//! an environment. No mirror is named here: on a machine without any Debian source, mmdebstrap chooses its own.

use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// Packages of other components are not free software or need some that is not.
const COMPONENT: &str = "main";

/// Where the archive's keys are when the `debian-archive-keyring` package is there.
const ARCHIVE_KEYRING: &str = "/usr/share/keyrings/debian-archive-keyring.gpg";

/// One line for apt: a mirror and a suite.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Source {
    /// The mirror, with whatever secrets the machine's administrator has put in.
    pub uri: String,
    pub suite: String,
    pub signed_by: Option<String>,
    pub trusted: bool,
}

/// An entry of the machine's apt sources, of any archive.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Entry {
    uris: Vec<String>,
    suites: Vec<String>,
    components: Vec<String>,
    signed_by: Option<String>,
    trusted: bool,
}

/// The sources of a suite with its updates and its security fixes, from files and directories of apt's configuration.
/// Empty when the machine has no Debian source.
pub(super) fn of_suite(suite: &str, files: &[PathBuf], keyring_exists: bool) -> Vec<Source> {
    let entries: Vec<Entry> = files.iter().flat_map(|file| read(file)).filter(is_debian_archive).collect();
    let wanted = [suite.to_owned(), format!("{suite}-updates"), format!("{suite}-security")];
    let mut found = Vec::new();
    for wanted in &wanted {
        found.extend(
            entries.iter().filter(|entry| entry.suites.contains(wanted)).filter_map(|entry| source(entry, wanted, keyring_exists)),
        );
    }
    if !found.iter().any(|source| source.suite == suite) {
        // Another release of Debian: its mirror has this one too. A suite with a dash is not a release's main one.
        found = entries
            .iter()
            .filter(|entry| entry.suites.iter().any(|suite| !suite.contains(['-', '/'])))
            .take(1)
            .flat_map(|entry| [source(entry, suite, keyring_exists), source(entry, &format!("{suite}-updates"), keyring_exists)])
            .flatten()
            .collect();
        if !found.is_empty() {
            let security = entries.iter().find(|entry| entry.suites.iter().any(|suite| suite.ends_with("-security")));
            found.extend(security.and_then(|entry| source(entry, &format!("{suite}-security"), keyring_exists)));
        }
    }
    found.dedup();
    found
}

/// As apt reads them.
pub(super) fn lines(sources: &[Source], with_secrets: bool) -> String {
    let mut text = String::new();
    for source in sources {
        let mut options = String::new();
        if let Some(keyring) = source.signed_by.as_deref().filter(|&keyring| with_secrets || keyring == ARCHIVE_KEYRING) {
            let _ = write!(options, "signed-by={keyring} ");
        }
        if source.trusted {
            options.push_str("trusted=yes ");
        }
        let options = if options.is_empty() { String::new() } else { format!("[{}] ", options.trim_end()) };
        let uri = if with_secrets { source.uri.clone() } else { without_secrets(&source.uri) };
        let _ = writeln!(text, "deb {options}{uri} {} {COMPONENT}", source.suite);
    }
    text
}

/// The source files of apt on this machine, in the order that apt reads them.
pub(super) fn configured_files() -> Vec<PathBuf> {
    let mut files = vec![configured_path("Dir::Etc::sourcelist/f", "/etc/apt/sources.list")];
    let parts = configured_path("Dir::Etc::sourceparts/d", "/etc/apt/sources.list.d");
    let mut named: Vec<PathBuf> = fs::read_dir(parts).into_iter().flatten().flatten().map(|entry| entry.path()).collect();
    named.sort_unstable();
    files.extend(named);
    files
}

/// Whether the archive's keys are where its package puts them.
pub(super) fn archive_keyring_exists() -> bool {
    Path::new(ARCHIVE_KEYRING).exists()
}

/// The part of apt's configuration that says how packages are fetched, as a configuration file: proxies, certificates, time
/// limits, credentials. Nothing that would make it accept unsigned archives.
pub(super) fn transport_configuration() -> String {
    let mut text = String::new();
    if let Some(dump) = output("apt-config", &["dump"]) {
        for line in dump.lines().filter(|line| is_transport(line)) {
            text.push_str(line);
            text.push('\n');
        }
    }
    let netrc = configured_path("Dir::Etc::netrc/f", "/etc/apt/auth.conf");
    if fs::File::open(&netrc).is_ok() {
        let _ = writeln!(text, "Dir::Etc::netrc \"{}\";", netrc.display());
    }
    let parts = configured_path("Dir::Etc::netrcparts/d", "/etc/apt/auth.conf.d");
    if fs::read_dir(&parts).is_ok_and(|mut entries| entries.next().is_some()) {
        let _ = writeln!(text, "Dir::Etc::netrcparts \"{}\";", parts.display());
    }
    text
}

/// Keys of apt's configuration that a build takes over, in lower case: exactly, or with `::` and more behind.
const TRANSPORT_KEYS: &[&str] = &[
    "acquire::http",
    "acquire::https",
    "acquire::ftp",
    "acquire::socks",
    "acquire::tor",
    "acquire::retries",
    "acquire::forceipv4",
    "acquire::forceipv6",
    "acquire::enablesrvrecords",
    "acquire::queue-mode",
    "acquire::check-date",
    "acquire::check-valid-until",
    "acquire::max-valid-time",
    "acquire::by-hash",
];

fn is_transport(line: &str) -> bool {
    let Some((key, value)) = line.split_once(' ') else { return false };
    let key = key.to_ascii_lowercase();
    let ours =
        TRANSPORT_KEYS.iter().any(|wanted| key.strip_prefix(wanted).is_some_and(|rest| rest.is_empty() || rest.starts_with("::")));
    // An empty value in a dump stands for a branch, and would unset nothing.
    ours && value != "\"\";"
}

fn source(entry: &Entry, suite: &str, keyring_exists: bool) -> Option<Source> {
    let uri = entry.uris.iter().find_map(|uri| usable(uri))?;
    let signed_by = entry.signed_by.clone().or_else(|| keyring_exists.then(|| ARCHIVE_KEYRING.to_owned()));
    Some(Source { uri, suite: suite.to_owned(), signed_by, trusted: entry.trusted })
}

/// A mirror as the build and the environment can use it: a list of mirrors stands for its first.
fn usable(uri: &str) -> Option<String> {
    if let Some(list) = uri.strip_prefix("mirror+file:") {
        let text = fs::read_to_string(format!("/{}", list.trim_start_matches('/'))).ok()?;
        return text.split_whitespace().find(|word| word.contains("://")).map(str::to_owned);
    }
    (!uri.starts_with("cdrom:")).then(|| uri.to_owned())
}

/// Debian's own archive, by the last part of the mirror's path (`debian`, `debian-security`, `debian.list`) or by its keyring.
fn is_debian_archive(entry: &Entry) -> bool {
    let by_path =
        entry.uris.iter().any(|uri| uri.trim_end_matches('/').rsplit('/').next().is_some_and(|last| last.starts_with("debian")));
    let by_key = entry.signed_by.as_deref().is_some_and(|keyring| keyring.contains("debian-archive"));
    (by_path || by_key) && entry.components.iter().any(|component| component == COMPONENT)
}

fn read(file: &Path) -> Vec<Entry> {
    let Ok(text) = fs::read_to_string(file) else { return Vec::new() };
    match file.extension().and_then(|extension| extension.to_str()) {
        Some("sources") => parse_deb822(&text),
        Some("list") => text.lines().filter_map(parse_line).collect(),
        _ => Vec::new(),
    }
}

/// `deb [signed-by=/x.gpg] http://mirror/debian bookworm main`, sources.list(5).
fn parse_line(line: &str) -> Option<Entry> {
    let line = line.split('#').next().unwrap_or_default().trim();
    let rest = line.strip_prefix("deb").filter(|rest| rest.starts_with([' ', '\t']))?.trim_start();
    let (options, rest) = match rest.strip_prefix('[') {
        Some(rest) => rest.split_once(']')?,
        None => ("", rest),
    };
    let mut words = rest.split_whitespace();
    let mut entry = Entry {
        uris: vec![words.next()?.to_owned()],
        suites: vec![words.next()?.to_owned()],
        components: words.map(str::to_owned).collect(),
        ..Entry::default()
    };
    for (key, value) in options.split_whitespace().filter_map(|option| option.split_once('=')) {
        set_option(&mut entry, key, value);
    }
    Some(entry)
}

/// Paragraphs of `Key: value`, deb822(5). A key given inside the paragraph (a whole key block) cannot be named by path
/// and is left to apt's own keys.
fn parse_deb822(text: &str) -> Vec<Entry> {
    let mut entries = Vec::new();
    let mut paragraph: Vec<(String, String)> = Vec::new();
    for line in text.lines().chain([""]) {
        if line.trim().is_empty() {
            entries.extend(entry_of(&std::mem::take(&mut paragraph)));
        } else if line.starts_with('#') {
        } else if line.starts_with([' ', '\t']) {
            if let Some((_, value)) = paragraph.last_mut() {
                value.push(' ');
                value.push_str(line.trim());
            }
        } else if let Some((key, value)) = line.split_once(':') {
            paragraph.push((key.trim().to_ascii_lowercase(), value.trim().to_owned()));
        }
    }
    entries
}

fn entry_of(paragraph: &[(String, String)]) -> Option<Entry> {
    let field = |name: &str| paragraph.iter().find(|(key, _)| key == name).map(|(_, value)| value.as_str());
    let words = |name: &str| field(name).unwrap_or_default().split_whitespace().map(str::to_owned).collect::<Vec<_>>();
    if !words("types").iter().any(|kind| kind == "deb") || field("enabled").is_some_and(|value| !is_yes(value)) {
        return None;
    }
    let mut entry = Entry { uris: words("uris"), suites: words("suites"), components: words("components"), ..Entry::default() };
    for name in ["signed-by", "trusted"] {
        if let Some(value) = field(name) {
            set_option(&mut entry, name, value);
        }
    }
    Some(entry)
}

fn set_option(entry: &mut Entry, key: &str, value: &str) {
    match key.to_ascii_lowercase().as_str() {
        "signed-by" if value.starts_with('/') => entry.signed_by = Some(value.to_owned()),
        "trusted" => entry.trusted = is_yes(value),
        _ => {}
    }
}

/// What apt takes for true.
fn is_yes(value: &str) -> bool {
    ["yes", "true", "with", "on", "enable", "1"].contains(&value.to_ascii_lowercase().as_str())
}

/// A mirror's address without user name and password.
fn without_secrets(uri: &str) -> String {
    match uri.split_once("://") {
        Some((scheme, rest)) => {
            let (authority, path) = rest.split_at(rest.find('/').unwrap_or(rest.len()));
            let host = authority.rsplit_once('@').map_or(authority, |(_, host)| host);
            format!("{scheme}://{host}{path}")
        }
        None => uri.to_owned(),
    }
}

fn configured_path(key: &str, fallback: &str) -> PathBuf {
    let script = output("apt-config", &["shell", "VALUE", key]);
    let value = script.as_deref().and_then(|line| line.trim().strip_prefix("VALUE='")).and_then(|rest| rest.strip_suffix('\''));
    PathBuf::from(value.filter(|value| value.starts_with('/')).unwrap_or(fallback))
}

/// What a small program of the machine prints; `None` when it cannot be run or fails.
fn output(program: &str, arguments: &[&str]) -> Option<String> {
    let output = Command::new(program).args(arguments).stdin(Stdio::null()).stderr(Stdio::null()).output().ok()?;
    output.status.success().then(|| String::from_utf8_lossy(&output.stdout).into_owned())
}
