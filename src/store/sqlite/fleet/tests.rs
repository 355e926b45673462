use super::*;
use crate::store::Location;
use crate::store::sqlite::journal::SqliteJournal;

fn record(host: &str) -> HostRecord {
    let body = format!(
        r#"{{"host": "{host}", "gone": null, "rnics": {{"mlx5_0": {{"agent": "a", "withdrawn": {{
            "since_unix_ns": 7, "reason": "the port is down", "services": ["train"], "is_reported": true,
            "is_acknowledged": false}}}}}}}}"#
    );
    serde_json::from_str(&body).expect("a record")
}

fn changes(records: &[HostRecord]) -> BTreeMap<HostName, Option<HostRecord>> {
    records
        .iter()
        .map(|record| (record.host.clone(), Some(record.clone())))
        .collect()
}

#[tokio::test]
async fn a_host_that_cannot_be_read_is_set_aside() {
    let journal = SqliteJournal::open(&Location::Memory)
        .await
        .expect("a store");
    let hosts = journal.hosts();
    hosts
        .put(changes(&[record("a"), record("b")]))
        .await
        .expect("stored");
    hosts
        .db
        .call(|connection| connection.execute("UPDATE host SET body = '{' WHERE name = 'a'", []))
        .await
        .expect("damaged");
    assert_eq!(hosts.load().await.expect("readable"), [record("b")]);
    assert_eq!(journal.damage().total(), 1);
    assert_eq!(hosts.load().await.expect("readable"), [record("b")]);
}
