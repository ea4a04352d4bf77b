//! One form for each byte string, and back.

use proptest::prelude::*;

use super::*;

#[test]
fn only_the_canonical_form_is_accepted() {
    let hex = |digits: &str| Bytes::Hex(digits.to_owned()).to_vec().ok();
    assert_eq!(hex("ff00"), Some(vec![0xff, 0]));
    for wrong in ["", "f", "FF", "fg", "ff0", "6162", "+f", " ff", "é"] {
        assert_eq!(hex(wrong), None, "{wrong}");
    }
    assert_eq!(Bytes::from(b"a\xffb".as_slice()), Bytes::Hex("61ff62".to_owned()));
    assert_eq!(Bytes::from(OsStr::new("é\n")), Bytes::Text("é\n".to_owned()));
}

proptest! {
    #[test]
    fn any_bytes_come_back(bytes in prop::collection::vec(any::<u8>(), 0..100)) {
        prop_assert_eq!(&Bytes::from(bytes.clone()).to_vec().unwrap(), &bytes);
        prop_assert_eq!(OsString::try_from(&Bytes::from(OsString::from_vec(bytes.clone()))).unwrap().into_vec(), bytes.clone());
        prop_assert_eq!(Bytes::from(bytes.as_slice()).to_untrusted().unwrap().raw(), bytes);
    }
}
