use super::*;

#[tokio::test]
async fn a_clusters_key_that_makes_no_sense_is_set_aside() {
    let keys = Stored {
        master: Master::new(&[7; 32]).expect("a secret"),
        generation: Generation(u64::MAX),
        phase: Phase::Signing,
        begun: WallTime::from_nanos(1_790_000_000_000_000_000),
        is_mixed: true,
    };
    let registry = SqliteRegistry::open(&Location::Memory)
        .await
        .expect("opened");
    registry.put_keys(&keys).await.expect("stored");
    let spoil = |connection: &mut Connection| {
        connection.execute("UPDATE cluster_key SET phase = 'sideways'", [])
    };
    registry.db.call(spoil).await.expect("spoilt");
    assert_eq!(registry.load_keys().await.expect("read"), None);
    registry.put_keys(&keys).await.expect("stored");
    assert_eq!(registry.load_keys().await.expect("read"), Some(keys));
}
