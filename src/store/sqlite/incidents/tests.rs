use super::*;
use crate::analysis::incident::{Severity, Subjects};
use crate::analysis::judge::Category;
use crate::analysis::localize::Component;
use crate::store::Location;
use crate::store::sqlite::journal::SqliteJournal;

pub(in crate::store) fn incident(id: u64, closed: Option<i64>) -> Incident {
    Incident {
        id,
        subject: Component::Link {
            from: "spine1".to_owned(),
            to: "tor3".to_owned(),
        },
        both_directions: false,
        or: Vec::new(),
        deciding: false,
        category: Category::LinkLoss,
        severity: Severity::P1,
        opened_unix_ns: 1_000,
        seen_unix_ns: 2_000,
        closed_unix_ns: closed,
        confidence: 0.99,
        share: 0.01,
        sent: 1_000,
        lost: 10,
        services: [("train".to_owned(), false)].into(),
        evidence: vec!["why".to_owned()],
        openings: 1,
        interval: None,
        explains: Vec::new(),
        subjects: Subjects::default(),
        cause: None,
    }
}

#[tokio::test]
async fn incidents_outlive_the_process_and_ids_are_never_used_again() {
    let folder = tempfile::tempdir().expect("a folder");
    let location = Location::File(folder.path().join("analyzer.db"));
    let ids = |incidents: Vec<Incident>| incidents.iter().map(|one| one.id).collect::<Vec<_>>();
    {
        let store = SqliteJournal::open(&location)
            .await
            .expect("a store")
            .incidents();
        assert_eq!(store.last_id().await.expect("readable"), 0);
        let three = vec![
            incident(1, None),
            incident(2, Some(5_000)),
            incident(3, None),
        ];
        store.put(three).await.expect("stored");
        store
            .put(vec![incident(3, Some(9_000))])
            .await
            .expect("stored");
    }
    let store = SqliteJournal::open(&location)
        .await
        .expect("a store")
        .incidents();
    let read = |open, before| {
        let query = Query {
            open,
            before,
            limit: 10,
        };
        store.read(query)
    };
    assert_eq!(
        read(Some(true), None).await.expect("readable"),
        [incident(1, None)]
    );
    assert_eq!(
        ids(read(Some(false), None).await.expect("readable")),
        [3, 2]
    );
    assert_eq!(ids(read(None, Some(3)).await.expect("readable")), [2, 1]);
    assert_eq!(
        store
            .prune(WallTime::from_nanos(9_001))
            .await
            .expect("pruned"),
        2
    );
    assert_eq!(ids(read(None, None).await.expect("readable")), [1]);
    assert_eq!(store.last_id().await.expect("readable"), 3);
}

#[tokio::test]
async fn what_receivers_were_told_outlives_the_process() {
    let folder = tempfile::tempdir().expect("a folder");
    let location = Location::File(folder.path().join("analyzer.db"));
    let open = async || {
        SqliteJournal::open(&location)
            .await
            .expect("a store")
            .incidents()
    };
    let now = WallTime::from_nanos(6_000);
    let delivered = |id, closed| (id, DeliveryState::from(&incident(id, closed)));
    {
        let store = open().await;
        let all = vec![
            incident(1, None),
            incident(2, Some(5_000)),
            incident(3, None),
            incident(4, None),
        ];
        store.put(all).await.expect("stored");
        // Incidents that were closed before the receiver was known are not delivered to it.
        let first = store.undelivered("a", now, 10).await.expect("readable");
        let ids: Vec<_> = first
            .iter()
            .map(|(one, delivered)| (one.id, delivered.is_some()))
            .collect();
        assert_eq!(ids, [(1, false), (3, false), (4, false)]);
        let delivered = vec![delivered(1, None), delivered(3, None)];
        store
            .record_delivered("a", delivered)
            .await
            .expect("stored");
        let ends = vec![
            incident(3, Some(7_000)),
            incident(4, Some(7_000)),
            incident(5, Some(7_000)),
        ];
        store.put(ends).await.expect("stored");
    }
    let store = open().await;
    let undelivered = |receiver: &'static str| {
        let store = store.clone();
        async move {
            let undelivered = store
                .undelivered(receiver, now, 10)
                .await
                .expect("readable");
            let line = |(one, delivered): (Incident, Option<DeliveryState>)| {
                (
                    one.id,
                    one.is_open(),
                    delivered.map(|delivered| delivered.closed),
                )
            };
            undelivered.into_iter().map(line).collect::<Vec<_>>()
        }
    };
    let expected = [
        (1, true, Some(false)),
        (3, false, Some(false)),
        (4, false, None),
        (5, false, None),
    ];
    assert_eq!(undelivered("a").await, expected);
    let ends = [3, 4, 5].map(|id| delivered(id, Some(7_000))).to_vec();
    store.record_delivered("a", ends).await.expect("stored");
    assert_eq!(undelivered("a").await, expected[..1]);
    // Another receiver has its own account.
    let later = store
        .undelivered("b", WallTime::from_nanos(8_000), 10)
        .await;
    assert_eq!(later.expect("readable").len(), 1);
    store
        .prune(WallTime::from_nanos(9_000))
        .await
        .expect("pruned");
    assert_eq!(undelivered("a").await, expected[..1]);
}
