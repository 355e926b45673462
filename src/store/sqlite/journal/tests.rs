use super::*;

fn sender(spool: u64) -> Sender {
    Sender {
        agent: AgentId::new("agent-1"),
        spool: SpoolId(spool),
    }
}

fn time(seconds: i64) -> WallTime {
    WallTime::from_nanos(seconds * 1_000_000_000)
}

fn record(sequence: u64) -> Record {
    Record {
        sender: sender(u64::MAX),
        sequence,
        end: time(i64::try_from(sequence).unwrap()),
        payload: vec![0, 255, u8::try_from(sequence).unwrap()].into(),
    }
}

fn mark(sequence: u64) -> Watermark {
    let mut mark = Watermark::new(sender(u64::MAX), HostName::new("host"), time(0));
    mark.admit(sequence, time(100));
    mark
}

/// Bytes that nothing compresses.
fn noise(size: usize) -> bytes::Bytes {
    use rand::{RngCore as _, SeedableRng as _};
    let mut bytes = vec![0; size];
    rand_chacha::ChaCha8Rng::seed_from_u64(size as u64).fill_bytes(&mut bytes);
    bytes.into()
}

#[tokio::test]
async fn what_was_stored_is_there_after_reopening() {
    let folder = tempfile::tempdir().unwrap();
    let location = Location::File(folder.path().join("journal.db"));
    {
        let journal = SqliteJournal::open(&location).await.unwrap();
        journal
            .append(vec![record(1), record(2)], vec![mark(2)])
            .await
            .unwrap();
        journal
            .append(vec![record(3)], vec![mark(3)])
            .await
            .unwrap();
    }
    // The owner thread closes the file after the last handle is gone.
    let journal = reopen(&location).await;
    assert_eq!(journal.watermarks().await.unwrap(), [mark(3)]);
    let all = journal.read(time(0), 0, 10, usize::MAX).await.unwrap();
    let records: Vec<_> = all.iter().map(|stored| stored.record.clone()).collect();
    assert_eq!(records, [record(1), record(2), record(3)]);
    let rest = journal
        .read(time(2), all[1].position, 10, usize::MAX)
        .await
        .unwrap();
    assert_eq!(rest.len(), 1);
}

async fn reopen(location: &Location) -> SqliteJournal {
    // Opening waits for the lock (busy timeout), so no pause is needed here.
    SqliteJournal::open(location).await.unwrap()
}

#[tokio::test]
async fn a_failed_append_stores_nothing() {
    let journal = SqliteJournal::open(&Location::Memory).await.unwrap();
    journal
        .append(vec![record(1)], vec![mark(1)])
        .await
        .unwrap();
    let refusing = "CREATE TRIGGER refusing BEFORE INSERT ON batch WHEN new.sequence = 1
         BEGIN SELECT RAISE(ABORT, 'refused'); END";
    journal
        .db
        .call(move |connection| connection.execute_batch(refusing))
        .await
        .unwrap();
    let error = journal
        .append(vec![record(2), record(1)], vec![mark(2)])
        .await
        .unwrap_err();
    assert!(matches!(error, StoreError::Failed { .. }), "{error}");
    assert_eq!(journal.watermarks().await.unwrap(), [mark(1)]);
    assert_eq!(
        journal
            .read(time(0), 0, 10, usize::MAX)
            .await
            .unwrap()
            .len(),
        1
    );
}

#[tokio::test]
async fn a_full_disk_loses_nothing_that_was_stored() {
    let journal = SqliteJournal::open(&Location::Memory).await.unwrap();
    journal
        .append(vec![record(1)], vec![mark(1)])
        .await
        .unwrap();
    let pages = |count: i64| {
        journal.db.call(move |connection| {
            connection.query_row(&format!("PRAGMA max_page_count = {count}"), [], |_| Ok(()))
        })
    };
    pages(1).await.unwrap();
    let mut large = record(2);
    large.payload = noise(1 << 20);
    let error = journal
        .append(vec![large.clone()], vec![mark(2)])
        .await
        .unwrap_err();
    assert!(matches!(error, StoreError::Full { .. }), "{error}");
    assert_eq!(journal.watermarks().await.unwrap(), [mark(1)]);
    pages(100_000).await.unwrap();
    journal.append(vec![large], vec![mark(2)]).await.unwrap();
    assert_eq!(
        journal
            .read(time(0), 0, 10, usize::MAX)
            .await
            .unwrap()
            .len(),
        2
    );
}

#[tokio::test]
async fn batches_are_forgotten_before_their_watermark() {
    let journal = SqliteJournal::open(&Location::Memory).await.unwrap();
    journal
        .append(vec![record(1), record(2)], vec![mark(2)])
        .await
        .unwrap();
    assert_eq!(journal.prune(time(2), time(100)).await.unwrap(), 1);
    assert_eq!(journal.watermarks().await.unwrap().len(), 1);
    assert_eq!(journal.prune(time(2), time(101)).await.unwrap(), 0);
    assert_eq!(journal.watermarks().await.unwrap().len(), 0);
    assert_eq!(
        journal
            .read(time(0), 0, 10, usize::MAX)
            .await
            .unwrap()
            .len(),
        1
    );
}

#[tokio::test]
async fn a_page_ends_with_the_batch_that_fills_it() {
    let journal = SqliteJournal::open(&Location::Memory).await.unwrap();
    assert_eq!(journal.newest().await.unwrap(), 0);
    let records = (1..=5).map(|sequence| Record {
        payload: vec![1; 1_000].into(),
        ..record(sequence)
    });
    journal
        .append(records.collect(), vec![mark(5)])
        .await
        .unwrap();
    let mut lengths = Vec::new();
    let mut position = 0;
    loop {
        let page = journal.read(time(0), position, 10, 1_500).await.unwrap();
        let Some(last) = page.last() else {
            break;
        };
        position = last.position;
        lengths.push(page.len());
    }
    assert_eq!(lengths, [2, 2, 1]);
    assert_eq!(journal.newest().await.unwrap(), position);
    // One that is larger than a page comes alone.
    assert_eq!(journal.read(time(0), 0, 10, 1).await.unwrap().len(), 1);
}

/// The files of batches beside a database.
fn files(folder: &std::path::Path) -> Vec<std::path::PathBuf> {
    let mut files: Vec<_> = std::fs::read_dir(folder.join("journal.db.batches"))
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .collect();
    files.sort();
    files
}

#[tokio::test]
async fn a_batch_whose_bytes_are_damaged_is_left_out_alone() {
    let folder = tempfile::tempdir().unwrap();
    let location = Location::File(folder.path().join("journal.db"));
    let journal = SqliteJournal::open(&location).await.unwrap();
    let large = |sequence: u64| Record {
        payload: noise(1_000 + usize::try_from(sequence).unwrap()),
        ..record(sequence)
    };
    journal
        .append((1..=5).map(large).collect(), vec![mark(5)])
        .await
        .unwrap();
    drop(journal);
    let file = files(folder.path()).pop().unwrap();
    let mut bytes = std::fs::read(&file).unwrap();
    bytes[1_500] ^= 1;
    std::fs::write(&file, &bytes).unwrap();
    let journal = reopen(&location).await;
    let read = journal.read(time(0), 0, 3, usize::MAX).await.unwrap();
    let numbers: Vec<_> = read.iter().map(|stored| stored.record.sequence).collect();
    assert_eq!(
        numbers,
        [1, 3, 4],
        "a page is full however many are left out"
    );
    assert_eq!(read[2].record, large(4));
    assert_eq!(journal.damage().total(), 1);
    assert_eq!(journal.watermarks().await.unwrap(), [mark(5)]);
}

#[tokio::test]
async fn batches_and_watermarks_of_an_earlier_layout_are_kept() {
    let folder = tempfile::tempdir().unwrap();
    let location = Location::File(folder.path().join("journal.db"));
    let old = Schema {
        migrations: &SCHEMA.migrations[..4],
        ..SCHEMA
    };
    let connection = crate::store::sqlite::opening::open(&location, &old).unwrap();
    connection
        .execute_batch(
            "INSERT INTO batch (agent, spool, sequence, ended, payload) VALUES ('agent-1', -1, 1, 1000000000, x'00ff01');
             INSERT INTO watermark VALUES ('agent-1', -1, 'host', 1, 1, 0, 100000000000);",
        )
        .unwrap();
    drop(connection);
    let journal = reopen(&location).await;
    journal
        .append(vec![record(2)], vec![mark(2)])
        .await
        .unwrap();
    let read = journal.read(time(0), 0, 10, usize::MAX).await.unwrap();
    let records: Vec<_> = read.into_iter().map(|stored| stored.record).collect();
    assert_eq!(records, [record(1), record(2)]);
    assert_eq!(journal.watermarks().await.unwrap(), [mark(2)]);
}

#[tokio::test]
async fn a_file_without_hosts_gets_them() {
    use crate::store::fleet::Hosts as _;

    let folder = tempfile::tempdir().unwrap();
    let location = Location::File(folder.path().join("journal.db"));
    let old = Schema {
        migrations: &SCHEMA.migrations[..6],
        ..SCHEMA
    };
    let connection = crate::store::sqlite::opening::open(&location, &old).unwrap();
    connection
        .execute_batch(
            "INSERT INTO watermark VALUES ('agent-1', -1, 'host', 1, 1, 0, 100000000000);
             INSERT INTO picture VALUES (7, x'01');",
        )
        .unwrap();
    drop(connection);
    let journal = reopen(&location).await;
    assert_eq!(journal.hosts().load().await.unwrap(), []);
    let record = serde_json::from_str(r#"{"host": "h", "gone": null, "rnics": {}}"#).unwrap();
    let changes = [("h".into(), Some(record))].into();
    journal.hosts().put(changes).await.unwrap();
    assert_eq!(journal.hosts().load().await.unwrap().len(), 1);
    assert_eq!(journal.watermarks().await.unwrap(), [mark(1)]);
}

#[tokio::test]
async fn files_go_when_nothing_in_them_is_needed_and_watermarks_stay() {
    let folder = tempfile::tempdir().unwrap();
    let location = Location::File(folder.path().join("journal.db"));
    let journal = SqliteJournal::open(&location).await.unwrap();
    // A file is closed at 32 MiB.
    for sequence in 1..=6 {
        let large = Record {
            payload: noise(15 << 20),
            ..record(sequence)
        };
        journal
            .append(vec![large], vec![mark(sequence)])
            .await
            .unwrap();
    }
    assert_eq!(files(folder.path()).len(), 2);
    assert_eq!(journal.prune(time(5), time(0)).await.unwrap(), 4);
    assert_eq!(files(folder.path()).len(), 1);
    assert_eq!(journal.prune(time(100), time(0)).await.unwrap(), 2);
    assert_eq!(journal.watermarks().await.unwrap(), [mark(6)]);
    drop(journal);
    let journal = reopen(&location).await;
    assert_eq!(journal.watermarks().await.unwrap(), [mark(6)]);
    journal
        .append(vec![record(7)], vec![mark(7)])
        .await
        .unwrap();
    // That of the run before goes with the next call.
    assert_eq!(journal.prune(time(0), time(0)).await.unwrap(), 0);
    assert_eq!(files(folder.path()).len(), 1);
    assert_eq!(
        journal
            .read(time(0), 0, 10, usize::MAX)
            .await
            .unwrap()
            .len(),
        1
    );
}

#[tokio::test]
async fn watermarks_are_forgotten_by_name() {
    let journal = SqliteJournal::open(&Location::Memory).await.unwrap();
    journal
        .append(vec![record(1)], vec![mark(1)])
        .await
        .unwrap();
    assert_eq!(journal.prune(time(100), time(0)).await.unwrap(), 1);
    let stranger = Sender {
        spool: SpoolId(4_711),
        ..mark(1).sender
    };
    journal.forget(vec![stranger]).await.unwrap();
    assert_eq!(journal.watermarks().await.unwrap(), [mark(1)]);
    journal.forget(vec![mark(1).sender]).await.unwrap();
    assert_eq!(journal.watermarks().await.unwrap(), []);
}
