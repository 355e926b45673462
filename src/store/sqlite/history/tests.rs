use super::*;
use crate::store::Location;
use crate::store::sqlite::journal::SqliteJournal;

#[tokio::test]
async fn the_nearest_picture_is_found_and_old_ones_go() {
    let store = SqliteJournal::open(&Location::Memory)
        .await
        .expect("a store")
        .history();
    let at = WallTime::from_nanos;
    assert_eq!(store.nearest(at(5)).await.expect("readable"), None);
    assert_eq!(store.bounds().await.expect("readable"), None);
    for time in [10, 20, 40] {
        let body = vec![u8::try_from(time).expect("small")];
        store.put((at(time), body), at(0)).await.expect("stored");
    }
    for (time, found) in [
        (0, 10),
        (10, 10),
        (14, 10),
        (15, 10),
        (16, 20),
        (31, 40),
        (99, 40),
    ] {
        let picture = store
            .nearest(at(time))
            .await
            .expect("readable")
            .expect("one");
        assert_eq!(picture.0, at(found), "{time}");
        assert_eq!(i64::from(picture.1[0]), found);
    }
    store.put((at(40), vec![7]), at(20)).await.expect("stored");
    assert_eq!(
        store.bounds().await.expect("readable"),
        Some((at(20), at(40)))
    );
    assert_eq!(
        store.nearest(at(40)).await.expect("readable"),
        Some((at(40), vec![7]))
    );
}
