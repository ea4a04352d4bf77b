//! Becoming another program, with exactly the descriptors that it is to have.

use std::ffi::CString;
use std::io;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd, RawFd};

use crate::check;

/// A program that this process is about to become: everything is prepared, so that nothing but two system calls is left to do.
#[derive(Debug)]
pub struct Image {
    arguments: Vec<CString>,
    /// Where each descriptor goes; all of them are above every place.
    places: Vec<(OwnedFd, RawFd)>,
}

impl Image {
    /// Prepares. `arguments`: the path of the program and what follows it. `places`: descriptors and the numbers that they get; besides these
    /// the program has what is not close-on-exec.
    ///
    /// # Errors
    /// `InvalidInput` for an argument with NUL or no argument; when there are no descriptors left.
    pub fn new(arguments: &[String], places: Vec<(OwnedFd, RawFd)>) -> io::Result<Self> {
        let invalid = || io::Error::from(io::ErrorKind::InvalidInput);
        if arguments.is_empty() {
            return Err(invalid());
        }
        let arguments = arguments
            .iter()
            .map(|argument| CString::new(argument.as_str()).map_err(|_| invalid()))
            .collect::<io::Result<Vec<_>>>()?;
        let above = places.iter().map(|(_, place)| place + 1).max().unwrap_or(0);
        let places = places
            .into_iter()
            .map(|(descriptor, place)| {
                // SAFETY: takes plain numbers.
                let copy = check(libc::c_long::from(unsafe { libc::fcntl(descriptor.as_raw_fd(), libc::F_DUPFD_CLOEXEC, above) }))?;
                let copy = RawFd::try_from(copy).map_err(|_| invalid())?;
                // SAFETY: the kernel has just made it, and nobody else owns it.
                Ok((unsafe { OwnedFd::from_raw_fd(copy) }, place))
            })
            .collect::<io::Result<Vec<_>>>()?;
        Ok(Self { arguments, places })
    }

    /// Becomes it, with an empty environment. Returns only when it could not; the places are taken then.
    #[must_use]
    pub fn execute(self) -> io::Error {
        for (descriptor, place) in &self.places {
            // SAFETY: takes plain numbers. What is closed at `place` is one of the numbers that were asked for: this process is to end or to be
            // replaced, and uses none of them any more.
            if unsafe { libc::dup2(descriptor.as_raw_fd(), *place) } < 0 {
                return io::Error::last_os_error();
            }
        }
        let mut arguments: Vec<*const libc::c_char> = self.arguments.iter().map(|argument| argument.as_ptr()).collect();
        arguments.push(std::ptr::null());
        let environment = [std::ptr::null()];
        // SAFETY: both lists end with a null pointer, and what they point to lives until the call returns.
        unsafe { libc::execve(arguments[0], arguments.as_ptr(), environment.as_ptr()) };
        io::Error::last_os_error()
    }
}

#[cfg(test)]
mod tests {
    use std::io::Read;
    use std::os::fd::OwnedFd;
    use std::os::unix::process::CommandExt;
    use std::process::Command;

    use super::Image;

    #[test]
    fn a_program_finds_its_descriptors_where_they_were_promised() {
        let (mut reader, writer) = std::io::pipe().expect("a pipe");
        let arguments = ["/bin/sh", "-c", "echo out >&5; echo err >&2; test -z \"$HOME\""].map(str::to_owned);
        let copy = || OwnedFd::from(writer.try_clone().expect("a copy"));
        let mut image = Some(Image::new(&arguments, vec![(copy(), 2), (copy(), 5)]).expect("an image"));
        let mut command = Command::new("/bin/false");
        // SAFETY: between fork and exec, the closure allocates one short list, which glibc's allocator allows (it is locked around fork), and makes
        // system calls.
        unsafe { command.pre_exec(move || Err(image.take().expect("it is executed once").execute())) };
        let mut child = command.env("HOME", "/nowhere").spawn().expect("a child");
        drop(command);
        drop(writer);
        let mut said = String::new();
        reader.read_to_string(&mut said).expect("its words");
        assert_eq!((said.as_str(), child.wait().expect("its end").code()), ("out\nerr\n", Some(0)));
    }

    #[test]
    fn what_is_no_command_line_is_refused() {
        assert!(Image::new(&[], Vec::new()).is_err());
        assert!(Image::new(&["a\0b".to_owned()], Vec::new()).is_err());
    }
}
