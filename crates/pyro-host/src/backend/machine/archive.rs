//! The first files of a guest: an archive that the kernel unpacks into memory, `newc` of cpio(5)
//! (Documentation/driver-api/early-userspace/buffer-format.rst of the kernel).

use std::fs::File;
use std::io::{self, BufWriter, Write};
use std::path::{Path, PathBuf};

use pyro_wire::machine::{DIRECTORIES, MODULES};

const DIRECTORY: u32 = 0o040_755;
const PROGRAM: u32 = 0o100_755;
const FILE: u32 = 0o100_644;
const CONSOLE: u32 = 0o020_600;

/// Writes an archive with our own program as `/init`, and the modules in their order.
///
/// # Errors
/// When a file cannot be read, is larger than the format allows (4 GiB), or the archive cannot be written.
pub fn write(archive: &File, program: &Path, modules: &[PathBuf]) -> io::Result<()> {
    let mut archive = Archive { out: BufWriter::new(archive), at: 0, number: 0 };
    for directory in DIRECTORIES {
        archive.entry(directory, DIRECTORY, (0, 0), &mut io::empty(), 0)?;
    }
    // The kernel opens it for the first process before anything is mounted.
    archive.entry("dev/console", CONSOLE, (5, 1), &mut io::empty(), 0)?;
    let mut add = |name: &str, mode, path: &Path| {
        let mut file = File::open(path)?;
        let length = file.metadata()?.len();
        archive.entry(name, mode, (0, 0), &mut file, length)
    };
    add("init", PROGRAM, program)?;
    for module in modules {
        let name = module.file_name().and_then(|name| name.to_str()).ok_or(io::ErrorKind::InvalidInput)?;
        add(&format!("{MODULES}/{name}"), FILE, module)?;
    }
    archive.entry("TRAILER!!!", 0, (0, 0), &mut io::empty(), 0)?;
    archive.out.flush()
}

struct Archive<W> {
    out: W,
    at: u64,
    number: u32,
}

impl<W: Write> Archive<W> {
    fn entry(&mut self, name: &str, mode: u32, device: (u32, u32), content: &mut dyn io::Read, length: u64) -> io::Result<()> {
        let size = u32::try_from(length).map_err(|_| io::Error::from(io::ErrorKind::FileTooLarge))?;
        self.number += 1;
        let links = if mode & 0o170_000 == 0o040_000 { 2 } else { 1 };
        // Number, mode, owner, group, links, time, size, device of the file, device that it is, length of the name with its NUL, checksum.
        let fields = [self.number, mode, 0, 0, links, 0, size, 0, 0, device.0, device.1, name.len() as u32 + 1, 0];
        let mut header = String::from("070701");
        for field in fields {
            header += &format!("{field:08x}");
        }
        header += name;
        header.push('\0');
        self.out.write_all(header.as_bytes())?;
        self.at += header.len() as u64;
        self.pad()?;
        let copied = io::copy(&mut io::Read::take(content, length), &mut self.out)?;
        if copied != length {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        self.at += length;
        self.pad()
    }

    /// Names and contents end at multiples of four.
    fn pad(&mut self) -> io::Result<()> {
        let more = (4 - self.at % 4) % 4;
        self.at += more;
        self.out.write_all(&[0; 3][..usize::try_from(more).unwrap_or(0)])
    }
}

#[cfg(test)]
mod tests {
    #[test]
    fn an_archive_has_what_a_guest_begins_with() {
        let directory = tempfile::tempdir().unwrap();
        let path = |name: &str| directory.path().join(name);
        std::fs::write(path("program"), "12345").unwrap();
        std::fs::write(path("00-a.ko"), "module").unwrap();
        let archive = std::fs::File::create(path("archive")).unwrap();
        super::write(&archive, &path("program"), &[path("00-a.ko")]).unwrap();
        let bytes = std::fs::read(path("archive")).unwrap();
        let entries = read(&bytes);
        let find = |name: &str| entries.iter().find(|entry| entry.0 == name).unwrap_or_else(|| panic!("{name} is not there"));
        assert_eq!((find("init").1, find("init").2), (0o100_755, b"12345".as_slice()));
        assert_eq!(find("modules/00-a.ko").2, b"module");
        assert_eq!(find("dev/console").1, 0o020_600);
        assert_eq!(find("environment").1, 0o040_755);
        assert_eq!(entries.last().unwrap().0, "TRAILER!!!");
    }

    /// Names, modes and contents, read as the kernel's documentation says.
    fn read(mut bytes: &[u8]) -> Vec<(String, u32, &[u8])> {
        let mut entries = Vec::new();
        let padded = |length: usize| length.next_multiple_of(4);
        while !bytes.is_empty() {
            assert_eq!(&bytes[..6], b"070701");
            let field = |number: usize| {
                let at = 6 + 8 * number;
                u32::from_str_radix(std::str::from_utf8(&bytes[at..at + 8]).unwrap(), 16).unwrap()
            };
            let (mode, size, name_size) = (field(1), field(6) as usize, field(11) as usize);
            let name = std::str::from_utf8(&bytes[110..110 + name_size - 1]).unwrap().to_owned();
            let content = padded(110 + name_size);
            entries.push((name, mode, &bytes[content..content + size]));
            bytes = &bytes[padded(content + size)..];
        }
        entries
    }
}
