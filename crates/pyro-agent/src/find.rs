//! Which file a command's name means, and why it could not be executed.

use std::ffi::{CString, OsStr};
use std::fs::File;
use std::io::Read;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use pyro_wire::Bytes;
use pyro_wire::limits::PATH_BYTES_MAX;
use pyro_wire::message::{NotStarted, SpawnStep};
use rustix::io::Errno;

mod similar;

use similar::similar;

#[cfg(test)]
mod tests;

/// Where programs are looked for when the environment has no PATH: the C library's own default.
const PATH_DEFAULT: &str = "/bin:/usr/bin";

/// How often an interpreter may be a script itself: the kernel's limit (`exec_binprm` in fs/exec.c).
const INTERPRETERS_MAX: usize = 5;

/// How much of a script's first line the kernel reads (`BINPRM_BUF_SIZE`).
const FIRST_LINE_BYTES: usize = 256;

/// The files that a program's name may mean, in order. A name with a slash means itself; another is looked for in each directory of
/// PATH, where an empty one is the working directory.
pub fn candidates(program: &str, env: &[String]) -> Vec<CString> {
    let text = |path: String| CString::new(path).expect("the codec refuses NUL in arguments and environment");
    if program.is_empty() {
        return Vec::new();
    }
    if program.contains('/') {
        return vec![text(program.to_owned())];
    }
    let path = env.iter().find_map(|variable| variable.strip_prefix("PATH=")).unwrap_or(PATH_DEFAULT);
    let within = |directory: &str| match directory {
        "" => format!("./{program}"),
        directory => format!("{directory}/{program}"),
    };
    path.split(':').map(|directory| text(within(directory))).collect()
}

/// Says why none of the candidates for `program` could be executed, given the kernel's error number.
pub fn explain(program: &str, candidates: &[CString], env: &[String], cwd: &Path, errno: i32) -> NotStarted {
    let there = || candidates.iter().map(|path| cwd.join(OsStr::from_bytes(path.as_bytes()))).find(|path| path.exists());
    let refused = NotStarted::at(SpawnStep::Execute, errno);
    match Errno::from_raw_os_error(errno) {
        // The kernel says "not there" of a program and of its interpreter alike.
        Errno::NOENT | Errno::NOTDIR => match there() {
            Some(path) => {
                let interpreter = missing_interpreter(path);
                let name = interpreter.as_ref().and_then(|name| String::from_utf8(name.to_vec().ok()?).ok());
                let similar = name.and_then(|name| similar(name.trim_end(), env, cwd));
                NotStarted { interpreter, similar, ..refused }
            }
            None => {
                let similar = similar(program, env, cwd);
                NotStarted { similar, ..NotStarted::at(SpawnStep::Find, errno) }
            }
        },
        Errno::NOEXEC => NotStarted { machine: there().and_then(|path| machine(&path)), ..refused },
        _ => refused,
    }
}

/// The kind of processor that an ELF program was made for: `e_machine` of elf(5).
fn machine(path: &Path) -> Option<u16> {
    let (_, start) = open(path)?;
    let header = start.strip_prefix(b"\x7fELF")?;
    // Offset 18 in the file. The sixth byte says in which order the two are: 2 is the higher one first.
    let bytes = [*header.get(14)?, *header.get(15)?];
    Some(if header.get(1) == Some(&2) { u16::from_be_bytes(bytes) } else { u16::from_le_bytes(bytes) })
}

fn missing_interpreter(mut path: PathBuf) -> Option<Bytes> {
    for _ in 0..INTERPRETERS_MAX {
        let interpreter = interpreter(&path)?;
        if !interpreter.exists() {
            return Some(Bytes::from(interpreter.as_os_str()));
        }
        path = interpreter;
    }
    None
}

/// The interpreter of a script or the loader of an ELF program.
fn interpreter(path: &Path) -> Option<PathBuf> {
    let (file, start) = open(path)?;
    let name = if let Some(line) = start.strip_prefix(b"#!") {
        let line = line.split(|byte| *byte == b'\n').next()?.trim_ascii_start();
        // A carriage return is part of the name, as for the kernel: that is what is wrong with such a script.
        line.split(|byte| matches!(byte, b' ' | b'\t')).next()?.to_vec()
    } else if start.starts_with(b"\x7fELF") {
        loader(&file, &start)?
    } else {
        return None;
    };
    (!name.is_empty() && name.len() <= PATH_BYTES_MAX).then(|| PathBuf::from(OsStr::from_bytes(&name)))
}

/// A regular file and its beginning.
fn open(path: &Path) -> Option<(File, Vec<u8>)> {
    if !path.is_file() {
        return None;
    }
    // Never waits, should it have become a pipe by now.
    let flags = rustix::fs::OFlags::NONBLOCK | rustix::fs::OFlags::NOCTTY;
    let mut file = File::options().read(true).custom_flags(flags.bits() as i32).open(path).ok()?;
    let mut start = Vec::new();
    Read::by_ref(&mut file).take(FIRST_LINE_BYTES as u64).read_to_end(&mut start).ok()?;
    Some((file, start))
}

/// The `PT_INTERP` of a 64-bit little-endian ELF file: both of our architectures.
fn loader(file: &File, header: &[u8]) -> Option<Vec<u8>> {
    const PT_INTERP: u64 = 3;
    const CLASS_64: u8 = 2;
    const LITTLE_ENDIAN: u8 = 1;
    if header.get(4..6)? != [CLASS_64, LITTLE_ENDIAN] {
        return None;
    }
    let table = number(header, 32, 8)?;
    let (entry_bytes, entries) = (number(header, 54, 2)?, number(header, 56, 2)?);
    // A real file has about a dozen.
    for index in 0..entries.min(64) {
        let mut entry = [0; 56];
        file.read_exact_at(&mut entry, table.checked_add(index.checked_mul(entry_bytes)?)?).ok()?;
        if number(&entry, 0, 4)? == PT_INTERP {
            let length = usize::try_from(number(&entry, 32, 8)?).ok()?;
            let mut name = vec![0; length.min(PATH_BYTES_MAX)];
            file.read_exact_at(&mut name, number(&entry, 8, 8)?).ok()?;
            return name.split(|byte| *byte == 0).next().map(<[u8]>::to_vec);
        }
    }
    None
}

fn number(bytes: &[u8], at: usize, length: usize) -> Option<u64> {
    let bytes = bytes.get(at..at.checked_add(length)?)?;
    Some(bytes.iter().rev().fold(0, |number, byte| number << 8 | u64::from(*byte)))
}
