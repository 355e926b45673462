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
    let all = journal.read(time(0), 0, 10).await.unwrap();
    let records: Vec<_> = all.iter().map(|stored| stored.record.clone()).collect();
    assert_eq!(records, [record(1), record(2), record(3)]);
    let rest = journal.read(time(2), all[1].position, 10).await.unwrap();
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
    // The second record violates the uniqueness of (agent, spool, sequence).
    let error = journal
        .append(vec![record(2), record(1)], vec![mark(2)])
        .await
        .unwrap_err();
    assert!(matches!(error, StoreError::Failed { .. }), "{error}");
    assert_eq!(journal.watermarks().await.unwrap(), [mark(1)]);
    assert_eq!(journal.read(time(0), 0, 10).await.unwrap().len(), 1);
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
    large.payload = vec![1; 1 << 20].into();
    let error = journal
        .append(vec![large.clone()], vec![mark(2)])
        .await
        .unwrap_err();
    assert!(matches!(error, StoreError::Full { .. }), "{error}");
    assert_eq!(journal.watermarks().await.unwrap(), [mark(1)]);
    pages(100_000).await.unwrap();
    journal.append(vec![large], vec![mark(2)]).await.unwrap();
    assert_eq!(journal.read(time(0), 0, 10).await.unwrap().len(), 2);
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
    assert_eq!(journal.read(time(0), 0, 10).await.unwrap().len(), 1);
}
