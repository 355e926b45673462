//! What the analyzer keeps.

use std::collections::BTreeMap;

use rpingmesh::analysis::admission::Watermark;
use rpingmesh::analysis::alerts::DeliveryState;
use rpingmesh::analysis::fleet::record::{HostRecord, RnicRecord};
use rpingmesh::analysis::incident::{Incident, Severity, Subjects};
use rpingmesh::analysis::judge::Category;
use rpingmesh::analysis::localize::Component;
use rpingmesh::analysis::report::{Sender, SpoolId};
use rpingmesh::analysis::trend::{Kind, Step};
use rpingmesh::id::HostName;
use rpingmesh::store::Location;
use rpingmesh::store::incidents::{Incidents, Query};
use rpingmesh::store::journal::Record;
use rpingmesh::store::trends::Place;
use rpingmesh::time::WallTime;

use super::with_stores;

const fn at(nanos: i64) -> WallTime {
    WallTime::from_nanos(nanos)
}

pub(crate) fn incident(id: u64, closed: Option<i64>) -> Incident {
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
        perhaps: BTreeMap::new(),
        evidence: vec!["a NUL \0 and a quote '".to_owned()],
        openings: 1,
        interval: None,
        explains: Vec::new(),
        subjects: Subjects::default(),
        cause: None,
    }
}

async fn read(store: &dyn Incidents, open: Option<bool>, before: Option<u64>) -> Vec<u64> {
    let query = Query {
        open,
        before,
        limit: 10,
    };
    let found = store.read(query).await.expect("readable");
    found.iter().map(|one| one.id).collect()
}

pub(super) async fn incidents_outlive_the_process_and_ids_are_never_used_again(
    location: &Location,
) {
    with_stores(location, async |stores| {
        let store = stores.incidents;
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
    })
    .await;
    with_stores(location, async |stores| {
        let store = &*stores.incidents;
        let query = Query {
            open: Some(true),
            before: None,
            limit: 10,
        };
        assert_eq!(
            store.read(query).await.expect("readable"),
            [incident(1, None)]
        );
        assert_eq!(read(store, Some(false), None).await, [3, 2]);
        assert_eq!(read(store, None, Some(3)).await, [2, 1]);
        for (time, limit, expected) in [
            (999, 9, &[][..]),
            (1_000, 9, &[3, 2, 1]),
            (1_000, 2, &[3, 2]),
            (5_000, 9, &[3, 1]),
            (9_000, 9, &[1]),
        ] {
            let open = store.open_at(at(time), limit).await.expect("readable");
            let open: Vec<_> = open.iter().map(|one| one.id).collect();
            assert_eq!(open, expected, "{time}");
        }
        assert_eq!(store.prune(at(9_001)).await.expect("pruned"), 2);
        assert_eq!(read(store, None, None).await, [1]);
        assert_eq!(store.last_id().await.expect("readable"), 3);
    })
    .await;
}

async fn undelivered(
    store: &dyn Incidents,
    receiver: &str,
    now: i64,
) -> Vec<(u64, bool, Option<bool>)> {
    let undelivered = store
        .undelivered(receiver, at(now), 10)
        .await
        .expect("readable");
    let line = |(one, delivered): (Incident, Option<DeliveryState>)| {
        (
            one.id,
            one.closed_unix_ns.is_none(),
            delivered.map(|delivered| delivered.closed),
        )
    };
    undelivered.into_iter().map(line).collect()
}

pub(super) async fn what_receivers_were_told_outlives_the_process(location: &Location) {
    let delivered = |id, closed| (id, DeliveryState::from(&incident(id, closed)));
    with_stores(location, async |stores| {
        let store = &*stores.incidents;
        let all = vec![
            incident(1, None),
            incident(2, Some(5_000)),
            incident(3, None),
            incident(4, None),
        ];
        store.put(all).await.expect("stored");
        // Incidents that were closed before the receiver was known are not delivered to it.
        let first = undelivered(store, "a", 6_000).await;
        assert_eq!(first, [(1, true, None), (3, true, None), (4, true, None)]);
        let delivered = vec![delivered(1, None), delivered(3, None)];
        store
            .record_delivered("a", delivered)
            .await
            .expect("stored");
        let ends = [3, 4, 5].map(|id| incident(id, Some(7_000))).to_vec();
        store.put(ends).await.expect("stored");
    })
    .await;
    with_stores(location, async |stores| {
        let store = &*stores.incidents;
        let expected = [
            (1, true, Some(false)),
            (3, false, Some(false)),
            (4, false, None),
            (5, false, None),
        ];
        assert_eq!(undelivered(store, "a", 6_000).await, expected);
        let ends = [3, 4, 5].map(|id| delivered(id, Some(7_000))).to_vec();
        store.record_delivered("a", ends).await.expect("stored");
        assert_eq!(undelivered(store, "a", 6_000).await, expected[..1]);
        // Another receiver has its own account.
        assert_eq!(undelivered(store, "b", 8_000).await, [(1, true, None)]);
        store.prune(at(9_000)).await.expect("pruned");
        assert_eq!(undelivered(store, "a", 6_000).await, expected[..1]);
    })
    .await;
}

pub(super) async fn the_nearest_picture_is_found_and_old_ones_go(location: &Location) {
    with_stores(location, async |stores| {
        let store = stores.history;
        assert_eq!(store.nearest(at(5)).await.expect("readable"), None);
        assert_eq!(store.bounds().await.expect("readable"), None);
        for time in [10, 20, 40] {
            let body = vec![u8::try_from(time).expect("small"), 0];
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
        let bounds = store.bounds().await.expect("readable");
        assert_eq!(bounds, Some((at(20), at(40))));
        let replaced = store.nearest(at(40)).await.expect("readable");
        assert_eq!(replaced, Some((at(40), vec![7])));
    })
    .await;
}

pub(super) async fn trends_are_found_by_their_places_and_old_ones_go(location: &Location) {
    let minute = |number: i64| at(number * 60_000_000_000);
    let place = |step: Step, number: i64, kind: Kind, bucket: u16| Place {
        step,
        at: minute(number),
        kind,
        bucket,
    };
    let (pair, rnic) = (Kind::TorPair, Kind::Rnic);
    // Long enough to be packed, and so short that it is not.
    let bodies = [vec![7; 5_000], vec![1, 2, 3], Vec::new()];
    with_stores(location, async |stores| {
        let store = stores.trends;
        assert_eq!(store.bounds(Step::Minute).await.expect("readable"), None);
        let blocks = vec![
            (place(Step::Minute, 1, pair, 0), bodies[0].clone()),
            (place(Step::Minute, 2, pair, 0), bodies[1].clone()),
            (place(Step::Minute, 2, pair, 255), bodies[2].clone()),
            (place(Step::Minute, 2, rnic, 0), bodies[1].clone()),
            (place(Step::Hour, 0, pair, 0), bodies[1].clone()),
        ];
        let none = vec![(Step::Minute, minute(0)), (Step::Hour, minute(0))];
        store.put(blocks, none).await.expect("stored");
        // The same place again.
        let again = vec![(place(Step::Minute, 2, pair, 0), bodies[0].clone())];
        store.put(again, Vec::new()).await.expect("stored");
    })
    .await;
    with_stores(location, async |stores| {
        let store = stores.trends;
        let times: Vec<_> = (0..4).map(minute).collect();
        let found = store.read(Step::Minute, pair, 0, times.clone()).await;
        let all = vec![
            (minute(1), bodies[0].clone()),
            (minute(2), bodies[0].clone()),
        ];
        assert_eq!(found.expect("readable"), all);
        let found = store.read(Step::Minute, pair, 255, times.clone()).await;
        assert_eq!(found.expect("readable"), [(minute(2), bodies[2].clone())]);
        let none = store.read(Step::TenMinutes, pair, 0, times.clone()).await;
        assert_eq!(none.expect("readable"), []);
        let buckets = store.buckets(Step::Minute, times.clone()).await;
        assert_eq!(
            buckets.expect("readable"),
            [(pair, 0), (pair, 255), (rnic, 0)]
        );
        let bounds = store.bounds(Step::Minute).await.expect("readable");
        assert_eq!(bounds, Some((minute(1), minute(2))));
        let (blocks, bytes) = store.size(Step::Minute).await.expect("readable");
        assert_eq!(blocks, 4);
        assert!(bytes < 2 * 5_000, "blocks are packed: {bytes}");
        let oldest = vec![(Step::Minute, minute(2))];
        store.put(Vec::new(), oldest).await.expect("stored");
        let found = store.read(Step::Minute, pair, 0, times).await;
        assert_eq!(found.expect("readable"), all[1..]);
        let hour = store.bounds(Step::Hour).await.expect("readable");
        assert_eq!(
            hour,
            Some((minute(0), minute(0))),
            "each step has its own age"
        );
    })
    .await;
}

fn record(host: &str) -> HostRecord {
    let body = format!(
        r#"{{"host": "{host}", "gone": null, "rnics": {{"mlx5_0": {{"agent": "a", "withdrawn": {{
            "since_unix_ns": 7, "reason": "the port is down", "services": ["train"], "is_reported": true,
            "is_acknowledged": false}}}}}}}}"#
    );
    serde_json::from_str(&body).expect("a record")
}

fn changes(records: &[HostRecord]) -> BTreeMap<HostName, Option<HostRecord>> {
    let change = |record: &HostRecord| (record.host.clone(), Some(record.clone()));
    records.iter().map(change).collect()
}

pub(super) async fn hosts_outlive_the_process_until_they_are_forgotten(location: &Location) {
    let (a, b) = (record("a"), record("b"));
    with_stores(location, async |stores| {
        assert_eq!(stores.hosts.load().await.expect("readable"), []);
        let both = changes(&[b.clone(), a.clone()]);
        stores.hosts.put(both).await.expect("stored");
    })
    .await;
    with_stores(location, async |stores| {
        let hosts = stores.hosts;
        let loaded = hosts.load().await.expect("readable");
        assert_eq!(loaded, [a.clone(), b.clone()]);
        let mut without = a.clone();
        let returned = RnicRecord {
            agent: "a".into(),
            withdrawn: None,
        };
        without.rnics.insert("mlx5_0".into(), returned);
        let mut changes = changes(std::slice::from_ref(&without));
        changes.insert(b.host, None);
        hosts.put(changes).await.expect("stored");
        assert_eq!(hosts.load().await.expect("readable"), [without]);
    })
    .await;
}

fn batch(sender: &Sender, sequence: u64, end: i64) -> Record {
    Record {
        sender: sender.clone(),
        sequence,
        end: at(end),
        // Long and alike, so that it is kept compressed; short ones are not.
        payload: vec![7; usize::try_from(sequence).expect("small") * 100].into(),
    }
}

pub(super) async fn batches_and_watermarks_outlive_the_process(location: &Location) {
    let sender = |agent: &str, spool| Sender {
        agent: agent.into(),
        spool: SpoolId(spool),
    };
    let (a, b) = (sender("a", u64::MAX), sender("b", 7));
    let mark = |sender: &Sender, sequence| Watermark {
        sender: sender.clone(),
        host: "h".into(),
        sequence,
        taken: sequence,
        lost: 0,
        updated: at(100),
    };
    let all = [
        batch(&a, 1, 10),
        batch(&a, 2, 20),
        batch(&b, 1, 30),
        batch(&a, 3, 40),
    ];
    with_stores(location, async |stores| {
        let journal = stores.journal;
        assert_eq!(journal.watermarks().await.expect("readable"), []);
        assert_eq!(journal.newest().await.expect("readable"), 0);
        let first = all[..2].to_vec();
        journal
            .append(first, vec![mark(&a, 2)])
            .await
            .expect("stored");
        let marks = vec![mark(&b, 1), mark(&a, 3)];
        journal
            .append(all[2..].to_vec(), marks)
            .await
            .expect("stored");
    })
    .await;
    with_stores(location, async |stores| {
        let journal = stores.journal;
        let marks = journal.watermarks().await.expect("readable");
        assert_eq!(marks, [mark(&a, 3), mark(&b, 1)]);
        let (mut position, mut found) = (0, Vec::new());
        loop {
            let page = journal
                .read(at(20), position, 2, 1 << 20)
                .await
                .expect("readable");
            let Some(last) = page.last() else { break };
            assert!(page.len() <= 2 && last.position > position);
            position = last.position;
            found.extend(page.into_iter().map(|stored| stored.record));
        }
        assert_eq!(found, all[1..]);
        assert_eq!(journal.newest().await.expect("readable"), position);
        // None follows the one with which a page has enough bytes.
        let page = journal.read(at(0), 0, 9, 101).await.expect("readable");
        assert_eq!(page.len(), 2);
        assert_eq!(journal.prune(at(31), at(0)).await.expect("pruned"), 3);
        let marks = journal.watermarks().await.expect("readable");
        assert_eq!(
            marks,
            [mark(&a, 3), mark(&b, 1)],
            "watermarks outlive their batches"
        );
        journal.forget(vec![b.clone()]).await.expect("forgotten");
        assert_eq!(journal.watermarks().await.expect("readable"), [mark(&a, 3)]);
        journal.prune(at(99), at(101)).await.expect("pruned");
        assert_eq!(journal.watermarks().await.expect("readable"), []);
    })
    .await;
}
