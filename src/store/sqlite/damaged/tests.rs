//! The deeds of a damaged disk: whatever is done to the file, the store opens, keeps what can be read, and says so.

use std::fs;
use std::path::PathBuf;

use rand::{Rng as _, SeedableRng as _};
use rand_chacha::ChaCha8Rng;

use super::*;
use crate::analysis::admission::Watermark;
use crate::analysis::incident::{Incident, Severity, Subjects};
use crate::analysis::judge::Category;
use crate::analysis::localize::Component;
use crate::analysis::report::{Sender, SpoolId};
use crate::id::{AgentId, HostName};
use crate::store::incidents::Query;
use crate::store::journal::Record;
use crate::store::open::Stores;
use crate::time::WallTime;

fn incident(id: u64, closed: Option<i64>) -> Incident {
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
        perhaps: std::collections::BTreeMap::new(),
        evidence: vec!["why".to_owned()],
        openings: 1,
        interval: None,
        explains: Vec::new(),
        subjects: Subjects::default(),
        cause: None,
    }
}

const BATCHES: usize = 100;
const INCIDENTS: usize = 400;

struct Place {
    folder: tempfile::TempDir,
}

impl Place {
    fn file(&self) -> PathBuf {
        self.folder.path().join("a.db")
    }

    fn location(&self) -> Location {
        Location::File(self.file())
    }

    /// A store with content.
    async fn filled() -> Self {
        let folder = tempfile::tempdir().expect("folder");
        let place = Self { folder };
        let stores = Stores::open(&place.location()).await.expect("a store");
        let incidents = (1..=INCIDENTS as u64)
            .map(|id| incident(id, None))
            .collect();
        stores.incidents.put(incidents).await.expect("stored");
        for sequence in 1..=BATCHES as u64 {
            let sender = Sender {
                agent: AgentId::new(format!("agent{}", sequence % 30)),
                spool: SpoolId(7),
            };
            let mut mark =
                Watermark::new(sender.clone(), HostName::new("h"), WallTime::from_nanos(1));
            mark.admit(sequence, WallTime::from_nanos(1));
            let record = Record {
                sender,
                sequence,
                end: WallTime::from_nanos(5),
                payload: vec![u8::try_from(sequence % 251).expect("a byte"); 2_000].into(),
            };
            stores
                .journal
                .append(vec![record], vec![mark])
                .await
                .expect("stored");
        }
        drop(stores);
        // The owner thread closes the file after the last handle is gone.
        drop(open_again(&place.location()));
        place
    }

    fn kept(&self) -> usize {
        let entries = fs::read_dir(self.folder.path()).expect("folder");
        let names = entries.map(|entry| entry.expect("entry").file_name().into_string());
        // Not the files beside it.
        let is_kept = |name: &str| {
            name.strip_prefix("a.db.damaged-")
                .is_some_and(|time| time.bytes().all(|byte| byte.is_ascii_digit()))
        };
        names
            .filter(|name| name.as_ref().is_ok_and(|name| is_kept(name)))
            .count()
    }
}

fn open_again(location: &Location) -> Connection {
    let Location::File(path) = location else {
        panic!("a file");
    };
    let connection = Connection::open(path).expect("a database");
    connection
        .query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |_| Ok(()))
        .expect("the log is merged");
    connection
}

/// What can be read of a store: incidents, batches, watermarks.
async fn content(stores: &Stores) -> (usize, usize, usize) {
    let query = Query {
        limit: 1_000,
        ..Query::default()
    };
    let incidents = stores.incidents.read(query).await.expect("readable");
    let batches = stores
        .journal
        .read(WallTime::from_nanos(0), 0, 10_000, usize::MAX)
        .await
        .expect("readable");
    let marks = stores.journal.watermarks().await.expect("readable");
    (incidents.len(), batches.len(), marks.len())
}

async fn append(stores: &Stores, sequence: u64) {
    let sender = Sender {
        agent: AgentId::new("later"),
        spool: SpoolId(1),
    };
    let mark = Watermark::new(sender.clone(), HostName::new("h"), WallTime::from_nanos(1));
    let record = Record {
        sender,
        sequence,
        end: WallTime::from_nanos(9),
        payload: vec![1; 10].into(),
    };
    stores
        .journal
        .append(vec![record], vec![mark])
        .await
        .expect("it works on");
}

#[tokio::test]
async fn a_damaged_database_is_renamed_and_what_can_be_read_is_taken_over() {
    type Deed = fn(Vec<u8>) -> Vec<u8>;
    let deeds: [(&str, Deed); 6] = [
        ("truncated", |mut bytes| {
            bytes.truncate(bytes.len() * 2 / 3 / 4096 * 4096);
            bytes
        }),
        ("cut in a page", |mut bytes| {
            bytes.truncate(bytes.len() / 2 / 4096 * 4096 + 100);
            bytes
        }),
        ("60 bytes", |mut bytes| {
            let mut random = ChaCha8Rng::seed_from_u64(1);
            for _ in 0..60 {
                let at = random.random_range(100..bytes.len());
                bytes[at] = random.random();
            }
            bytes
        }),
        ("pages 2 to 7", |mut bytes| {
            ChaCha8Rng::seed_from_u64(2).fill(&mut bytes[4096..4096 * 7]);
            bytes
        }),
        ("the first page", |mut bytes| {
            ChaCha8Rng::seed_from_u64(3).fill(&mut bytes[..4096]);
            bytes
        }),
        ("text", |_| b"hello\n".to_vec()),
    ];
    for (what, deed) in deeds {
        let place = Place::filled().await;
        let bytes = fs::read(place.file()).expect("file");
        fs::write(place.file(), deed(bytes)).expect("file");
        let stores = Stores::open(&place.location()).await.expect(what);
        let (incidents, batches, marks) = content(&stores).await;
        // All of it can be read on: a row with wrong bytes fails where it is decoded.
        append(&stores, 1).await;
        assert_eq!(content(&stores).await.1, batches + 1, "{what}");
        assert_eq!(place.kept(), 1, "{what}");
        assert!(stores.damage.total() > 0, "{what}");
        let lines = stores.damage.take();
        assert!(lines[0].contains("was damaged"), "{what}: {lines:?}");
        match what {
            // Their roots are gone.
            "pages 2 to 7" | "the first page" | "text" => {}
            _ => assert!(
                incidents + batches + marks > 100,
                "{what}: {incidents} incidents, {batches} batches, {marks} marks"
            ),
        }
        drop(stores);
        let stores = Stores::open(&place.location()).await.expect(what);
        assert_eq!(content(&stores).await.1, batches + 1, "{what}");
        let lines = stores.damage.take();
        // A batch with wrong bytes is named whenever it is read; all else is whole again.
        let is_batch = |line: &String| line.ends_with("is left out: invalid data");
        assert!(lines.iter().all(is_batch), "{what}: {lines:?}");
    }
}

#[tokio::test]
async fn an_empty_file_and_a_log_of_garbage_are_no_damage() {
    let place = Place::filled().await;
    fs::write(place.folder.path().join("a.db-wal"), "garbage").expect("file");
    let stores = Stores::open(&place.location()).await.expect("a store");
    let whole = (INCIDENTS, BATCHES, 30);
    assert_eq!(content(&stores).await, whole);
    drop(stores);
    drop(open_again(&place.location()));
    fs::write(place.file(), "").expect("file");
    let stores = Stores::open(&place.location()).await.expect("a store");
    assert_eq!(content(&stores).await, (0, 0, 0));
    assert_eq!(place.kept(), 0);
}

#[tokio::test]
async fn damage_at_run_time_is_overcome() {
    let place = Place::filled().await;
    let stores = Stores::open(&place.location()).await.expect("a store");
    // Nothing is cached yet but the schema.
    let mut bytes = fs::read(place.file()).expect("file");
    ChaCha8Rng::seed_from_u64(2).fill(&mut bytes[4096..]);
    fs::write(place.file(), bytes).expect("file");
    content(&stores).await;
    append(&stores, 1).await;
    assert_eq!(place.kept(), 1);
}

#[tokio::test]
async fn a_file_that_looks_like_none_of_ours_is_left_alone() {
    let folder = tempfile::tempdir().expect("folder");
    let file = folder.path().join("analyzer.toml");
    fs::write(&file, "web = '127.0.0.1:1'\n").expect("file");
    let refused = Stores::open(&Location::File(file.clone())).await;
    let error = refused.err().expect("a configuration");
    assert!(matches!(error, StoreError::NoDatabase { .. }), "{error}");
    assert_eq!(
        fs::read_to_string(&file).expect("file"),
        "web = '127.0.0.1:1'\n"
    );
}

#[tokio::test]
async fn an_incident_that_cannot_be_read_is_set_aside_alone() {
    let place = Place::filled().await;
    let connection = open_again(&place.location());
    connection
        .execute_batch(
            "UPDATE incident SET body = '{}' WHERE id = 3;
             UPDATE incident SET body = 'no JSON' WHERE id = 5;
             UPDATE incident SET body = CAST(x'ff00' AS TEXT) WHERE id = 7;
             INSERT INTO alert_receiver (receiver, since) VALUES ('webhook x', 0);
             INSERT INTO alert (receiver, incident, told, closed) VALUES ('webhook x', 1, 'no JSON', 0);",
        )
        .expect("changed");
    drop(connection);
    let stores = Stores::open(&place.location()).await.expect("a store");
    let time = WallTime::from_nanos(1_500);
    stores
        .incidents
        .open_at(time, 1_000)
        .await
        .expect("readable");
    let now = WallTime::from_nanos(2_000);
    let undelivered = stores
        .incidents
        .undelivered("webhook x", now, 1_000)
        .await
        .expect("readable");
    let left = INCIDENTS - 3;
    assert_eq!(undelivered.len(), left);
    assert_eq!(undelivered[0].1, None, "told again");
    assert_eq!(content(&stores).await.0, left);
    assert_eq!(
        stores.incidents.last_id().await.expect("readable"),
        INCIDENTS as u64
    );
    assert_eq!((stores.damage.total(), place.kept()), (3, 0));
    drop(stores);
    let kept: i64 = open_again(&place.location())
        .query_row(
            "SELECT count(*) FROM set_aside WHERE origin = 'incident'",
            [],
            |row| row.get(0),
        )
        .expect("counted");
    assert_eq!(kept, 3);
}
