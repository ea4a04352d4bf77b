use std::io::{Read, Write};
use std::path::Path;

use super::*;
use crate::beneath::{self, Mounts};

/// A port of the ones that nobody is given by himself (net/vmw_vsock/af_vsock.c), and that nothing else here uses.
const PORT: u32 = 900;

#[test]
fn whoever_listens_on_a_vsock_port_is_found_there() {
    let listener = match listen_vsock(PORT) {
        Ok(listener) => listener,
        Err(error) => return println!("SKIPPED vsock: this kernel has no sockets of that family: {error}"),
    };
    assert_eq!(listen_vsock(PORT).unwrap_err().raw_os_error(), Some(libc::EADDRINUSE));
    let caller = rustix::net::socket_with(AddressFamily::VSOCK, SocketType::STREAM, SocketFlags::CLOEXEC, None).unwrap();
    let address = vsock_address(libc::VMADDR_CID_LOCAL, PORT);
    // SAFETY: as in `listen_vsock`.
    let connected = unsafe {
        libc::connect(
            caller.as_raw_fd(),
            std::ptr::from_ref(&address).cast::<libc::sockaddr>(),
            size_of::<libc::sockaddr_vm>() as u32,
        )
    };
    if connected != 0 {
        let error = io::Error::last_os_error();
        return println!("SKIPPED vsock: listening works, and nothing leads back to this machine (vsock_loopback): {error}");
    }
    let accepted = accept(&listener).unwrap();
    rustix::io::write(&caller, b"hello").unwrap();
    let mut bytes = [0; 5];
    rustix::io::read(&accepted, &mut bytes).unwrap();
    assert_eq!(&bytes, b"hello");
}

#[test]
fn a_socket_is_reached_by_its_place_and_nothing_else_is_followed() {
    let directory = std::env::temp_dir().join(format!("pyro-place-{}", std::process::id()));
    std::fs::create_dir(&directory).unwrap();
    let listener = std::os::unix::net::UnixListener::bind(directory.join("socket")).unwrap();
    std::os::unix::fs::symlink("socket", directory.join("link")).unwrap();
    std::fs::write(directory.join("file"), "").unwrap();
    let start = std::fs::File::open(&directory).unwrap();
    let place = |name: &str| beneath::entry(&start, Path::new(name), Mounts::Stay);
    let mut ours = connect_to_place(place("socket").unwrap()).unwrap();
    let (mut theirs, _) = listener.accept().unwrap();
    theirs.write_all(b"hello").unwrap();
    drop(theirs);
    let mut said = String::new();
    ours.read_to_string(&mut said).unwrap();
    assert_eq!(said, "hello");
    for other in ["link", "file"] {
        let refused = place(other).and_then(connect_to_place).map(drop).unwrap_err();
        assert!([Some(libc::ELOOP), Some(libc::ENOTSOCK)].contains(&refused.raw_os_error()), "{other}: {refused}");
    }
    std::fs::remove_dir_all(&directory).unwrap();
}
