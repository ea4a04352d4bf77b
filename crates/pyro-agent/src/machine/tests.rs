use std::os::unix::net::UnixStream;

use pyro_wire::limits::WAKE_ENTROPY_BYTES;
use pyro_wire::message::Bytes;

use super::*;

/// A directory as the kernel shows devices: files with one line.
fn tree(files: &[(&str, &str)]) -> tempfile::TempDir {
    let directory = tempfile::tempdir().unwrap();
    for (file, content) in files {
        let path = directory.path().join(file);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, content).unwrap();
    }
    directory
}

#[test]
fn a_disk_is_known_by_its_serial_number_or_else_by_its_position() {
    let by_serial: &[_] = &[("vda/serial", "seed\n"), ("vdb/serial", "environment\n"), ("vdc/serial", "writable")];
    // Made of the file behind it: not a name that we gave.
    let by_position: &[_] = &[("vda/serial", "2049010\n"), ("vdb/serial", ""), ("vdc/size", "8")];
    for (disks, name, expected) in [
        (by_serial, ENVIRONMENT_DISK, Some("vdb")),
        (by_serial, WRITABLE_DISK, Some("vdc")),
        (by_serial, SEED_DISK, Some("vda")),
        (by_position, ENVIRONMENT_DISK, Some("vda")),
        (by_position, WRITABLE_DISK, Some("vdb")),
        (by_position, SEED_DISK, Some("vdc")),
        // Where serial numbers are known, no position is taken for the disk that is not there yet.
        (&[("vda/serial", "seed")], ENVIRONMENT_DISK, None),
        (&[("vda/size", "8")], WRITABLE_DISK, None),
        (&[("loop0/size", "0")], ENVIRONMENT_DISK, None),
        (&[], ENVIRONMENT_DISK, None),
    ] {
        let found = find_disk(tree(disks).path(), name).unwrap();
        assert_eq!(found.as_deref().and_then(|disk| disk.to_str()), expected, "{name} of {disks:?}");
    }
}

#[test]
fn the_way_out_is_the_port_of_our_name_or_a_vsock_device_with_its_driver() {
    let ports = tree(&[("vport0p0/name", "console\n"), ("vport0p1/name", "agent\n")]);
    assert_eq!(find_port(ports.path()).unwrap(), Some("vport0p1".into()));
    assert_eq!(find_port(&ports.path().join("vport0p0")).unwrap(), None);
    assert_eq!(find_port(Path::new("/there/is/none")).unwrap(), None);
    for (devices, expected) in [
        (tree(&[("virtio0/device", "0x0002\n"), ("virtio1/device", "0x0013\n"), ("virtio1/driver/bind", "")]), true),
        (tree(&[("virtio1/device", "0x0013\n")]), false),
        (tree(&[("virtio0/device", "0x0002\n"), ("virtio0/driver/bind", "")]), false),
    ] {
        assert_eq!(has_vsock(devices.path()).unwrap(), expected);
    }
    assert!(!has_vsock(Path::new("/there/is/none")).unwrap());
}

#[test]
fn a_link_that_ends_before_it_wakes_anybody_is_not_the_end() {
    let wake = Wake {
        unix_time_ns: 7,
        entropy: Bytes::from(vec![1; WAKE_ENTROPY_BYTES]),
        machine_id: "0a".repeat(16),
        seeded: true,
        pids_max: 4096,
    };
    let mut said = Vec::new();
    encode_control(0, &ToAgent::Wake(wake), &mut said).unwrap();
    let heard = |bytes: &[u8]| {
        let (mut ours, mut theirs) = UnixStream::pair().unwrap();
        ours.write_all(bytes).unwrap();
        ours.shutdown(std::net::Shutdown::Write).unwrap();
        let heard = hear_wake(&mut theirs);
        let waits = read_frame::<FromAgent>(&mut ours).unwrap();
        assert!(matches!(waits, Some(Frame::Control { channel: 0, message: FromAgent::Waiting })), "{waits:?}");
        heard
    };
    assert!(matches!(heard(b""), Ok(None)));
    assert!(matches!(heard(&said[..said.len() / 2]), Ok(None)), "the machine was copied in the middle of a word");
    assert_eq!(heard(&said).unwrap().unwrap().unix_time_ns, 7);
    assert!(heard(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n").is_err());
    let (gone, mut theirs) = UnixStream::pair().unwrap();
    drop(gone);
    assert!(matches!(hear_wake(&mut theirs), Ok(None)));
}
