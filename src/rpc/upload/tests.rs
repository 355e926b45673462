use super::*;

#[test]
fn what_is_packed_is_unpacked_and_no_more() {
    let content = Bytes::from(b"leaf3-r0 spine1 ".repeat(1_000));
    let request = UploadRequest::of_packed(content.clone());
    let Some(Message::ZstdBatch(packed)) = request.message else {
        panic!("{request:?}");
    };
    assert!(packed.len() < 200);
    let size = unpacked_size(&packed).expect("a size");
    assert_eq!(size, content.len());
    assert_eq!(unpack(&packed, size).expect("whole"), content);
    // A frame that lies about its size is not unpacked beyond it.
    assert!(matches!(
        unpack(&packed, size - 1),
        Err(PackError::Damaged(_))
    ));
    let small = Bytes::from_static(b"x");
    assert_eq!(
        UploadRequest::of_packed(small.clone()),
        UploadRequest::of_batch(small)
    );
}

#[test]
fn what_is_too_large_or_damaged_is_refused() {
    let bomb = zstd::bulk::compress(&vec![0; MAX_MESSAGE_BYTES + 1], LEVEL).expect("compressed");
    assert!(bomb.len() < 10_000);
    assert!(matches!(
        unpacked_size(&bomb),
        Err(PackError::TooLarge { .. })
    ));
    assert!(matches!(
        unpacked_size(b"hello, world"),
        Err(PackError::NoSize)
    ));
    assert!(matches!(unpacked_size(b""), Err(PackError::NoSize)));
    let mut packed = zstd::bulk::compress(&[7; 5_000], LEVEL).expect("compressed");
    let cut = packed.len() - 4;
    packed.truncate(cut);
    let size = unpacked_size(&packed).expect("the beginning is whole");
    assert!(matches!(unpack(&packed, size), Err(PackError::Damaged(_))));
}
