use super::*;

#[test]
fn sandboxes_of_root_get_whole_slots_of_the_container_range() {
    let privilege = Privilege::Root { slots: Some(CONTAINER_IDS) };
    for id in ["000000000000", "0123456789ab", "ffffffffffff", "deadbeef0001"] {
        let ids = privilege.sandbox_ids(id);
        assert_eq!((ids.inside, ids.count), (0, SANDBOX_IDS));
        assert_eq!((ids.outside - CONTAINER_IDS.start) % SANDBOX_IDS, 0);
        assert!(CONTAINER_IDS.contains(&ids.outside) && CONTAINER_IDS.contains(&(ids.outside + SANDBOX_IDS - 1)));
        assert_eq!(ids, privilege.sandbox_ids(id), "a workspace keeps its ids");
    }
}

#[test]
fn maps_are_read_as_the_kernel_writes_them() {
    assert_eq!(mapped_ids("         0          0 4294967295\n"), [0..u32::MAX]);
    assert_eq!(mapped_ids("0 1000 1\n1 100000 65536\n"), [0..1, 1..65_537]);
}

#[test]
fn a_range_of_sub_ids_is_found_by_name_and_by_number_and_must_be_large_enough() {
    let text = "someone:100000:65536\nada:1:10\n1003:165536:65536\nbob:231072:65536\n";
    assert_eq!(sub_range(text, 1003, Some("carol")), Some(165_536..231_072));
    assert_eq!(sub_range(text, 7, Some("bob")), Some(231_072..296_608));
    assert_eq!(sub_range(text, 7, Some("ada")), None);
    assert_eq!(sub_range(text, 7, None), None);
}
