use super::*;
use crate::analysis::incident::Severity;
use crate::analysis::judge::Category;
use crate::analysis::localize::Component;
use crate::store::journal::sqlite::SqliteJournal;
use crate::store::sqlite::Location;

fn incident(id: u64, closed: Option<i64>) -> Incident {
    Incident {
        id,
        subject: Component::Link {
            from: "spine1".to_owned(),
            to: "tor3".to_owned(),
        },
        or: Vec::new(),
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
    }
}

#[tokio::test]
async fn incidents_outlive_the_process_and_ids_are_never_used_again() {
    let folder = tempfile::tempdir().expect("a folder");
    let location = Location::File(folder.path().join("analyzer.db"));
    let ids = |incidents: Vec<Incident>| incidents.iter().map(|one| one.id).collect::<Vec<_>>();
    {
        let store = SqliteJournal::open(&location).expect("a store").incidents();
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
    let store = SqliteJournal::open(&location).expect("a store").incidents();
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
