use super::*;

const LIMIT: u64 = 1 << 20;

async fn append(spool: &Spool, size: usize) -> Appended {
    spool
        .append(move |sequence| {
            let mut payload = vec![0; size];
            payload[0] = u8::try_from(sequence % 256).expect("a byte");
            payload
        })
        .await
        .expect("appended")
}

async fn numbers(spool: &Spool, after: u64) -> Vec<u64> {
    let batches = spool.read(after, usize::MAX).await.expect("read");
    batches.iter().map(|batch| batch.sequence).collect()
}

#[tokio::test]
async fn what_is_not_acknowledged_survives_and_numbers_never_come_back() {
    let folder = tempfile::tempdir().expect("folder");
    let location = Location::File(folder.path().join("spool.sqlite"));
    let spool = Spool::open(&location, LIMIT).await.expect("spool");
    let id = spool.id();
    for sequence in 1..=4 {
        assert_eq!(append(&spool, 100).await.sequence, sequence);
    }
    assert_eq!(spool.acknowledge(3).await.expect("acknowledged"), 1);
    drop(spool);

    let spool = Spool::open(&location, LIMIT).await.expect("spool");
    assert_eq!(spool.id(), id);
    assert_eq!(numbers(&spool, 0).await, [4]);
    assert_eq!(spool.acknowledge(4).await.expect("acknowledged"), 0);
    drop(spool);

    let spool = Spool::open(&location, LIMIT).await.expect("spool");
    assert_eq!(
        append(&spool, 100).await,
        Appended {
            sequence: 5,
            dropped: 0,
            waiting: 1
        }
    );
    assert_eq!(spool.read(0, 1).await.expect("read")[0].payload[0], 5);
}

#[tokio::test]
async fn the_oldest_go_when_the_limit_is_reached() {
    let spool = Spool::open(&Location::Memory, 10_000).await.expect("spool");
    let mut dropped = 0;
    for _ in 0..50 {
        let appended = append(&spool, 936).await;
        dropped += appended.dropped;
        assert!(appended.waiting <= 10);
    }
    assert_eq!(dropped, 40);
    assert_eq!(numbers(&spool, 0).await, (41..=50).collect::<Vec<_>>());
    let appended = append(&spool, 50_000).await;
    assert_eq!(
        (appended.dropped, appended.waiting),
        (10, 1),
        "the newest stays whatever its size"
    );
    spool.acknowledge(51).await.expect("acknowledged");
    assert_eq!(
        append(&spool, 936).await,
        Appended {
            sequence: 52,
            dropped: 0,
            waiting: 1
        }
    );
}

#[tokio::test]
async fn reading_stops_at_the_given_size_but_gives_at_least_one() {
    let spool = Spool::open(&Location::Memory, LIMIT).await.expect("spool");
    for _ in 0..5 {
        append(&spool, 1000).await;
    }
    assert_eq!(spool.read(1, 2500).await.expect("read").len(), 2);
    assert_eq!(spool.read(1, 10).await.expect("read").len(), 1);
    assert_eq!(spool.read(5, 10).await.expect("read"), []);
}

#[tokio::test]
async fn two_spools_have_two_identities_and_one_file_one_owner() {
    let folder = tempfile::tempdir().expect("folder");
    let location = Location::File(folder.path().join("spool.sqlite"));
    let spool = Spool::open(&location, LIMIT).await.expect("spool");
    let other = Spool::open(&Location::Memory, LIMIT).await.expect("spool");
    assert_ne!(spool.id(), other.id());
    let error = Spool::open(&location, LIMIT).await.expect_err("locked");
    assert!(matches!(error, StoreError::Busy { .. }), "{error}");
}
