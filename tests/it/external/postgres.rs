//! PostgreSQL as the store of controller and analyzer: the suite that every engine passes, what is refused and how, and our programs on
//! it. Each test has a server of its own, on loopback, in a temporary folder. Some call programs that block, while connections go on.

mod clocks;
mod cluster;
mod programs;
mod promoted;
mod refused;
mod several;
mod shards;

/// Needs network namespaces, or a file system of its own: selected by the profile `root`.
mod root {
    mod failover;
    mod fleet;
    mod full;
    mod partitions;
    mod patroni;
}

use cluster::Cluster;
use rpingmesh::store::open::{self, Stores};
use rpingmesh::store::transfer::{Owner, copy};
use rpingmesh::store::{Location, StoreError};
use rpingmesh::time::WallTime;
use tokio_util::sync::CancellationToken;

use crate::stores;

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs PostgreSQL: cargo xtask test --only external"]
async fn postgresql_does_what_every_engine_must() {
    let cluster = Cluster::start().await;
    let mut number = 0;
    stores::all(|| {
        number += 1;
        let database = format!("suite{number}");
        cluster.create(&database);
        cluster.location(&database, "fleet=east")
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs PostgreSQL: cargo xtask test --only external"]
async fn everything_moves_from_sqlite_into_it_and_back() {
    let cluster = Cluster::start().await;
    let mut number = 0;
    let database = || {
        number += 1;
        let database = format!("moved{number}");
        cluster.create(&database);
        cluster.location(&database, "fleet=east")
    };
    stores::moves(database).await;
}

/// From the newest layout back to the first one.
const FIRST_LAYOUT: &str =
    "DROP TABLE rpingmesh.unfinished_copy, rpingmesh.request, rpingmesh.controller, rpingmesh.trend, rpingmesh.analyzer,
         rpingmesh.shard;
     ALTER TABLE rpingmesh.owner DROP COLUMN member;
     ALTER TABLE rpingmesh.agent DROP COLUMN revision, DROP COLUMN controller, DROP COLUMN silent, DROP COLUMN machine,
         DROP COLUMN keys;
     DELETE FROM rpingmesh.counter WHERE name NOT IN ('batch', 'incident');
     UPDATE rpingmesh.layout SET version = 1";

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs PostgreSQL: cargo xtask test --only external"]
async fn a_database_of_an_earlier_layout_is_copied() {
    let cluster = Cluster::start().await;
    cluster.create("rpingmesh");
    let from = cluster.location("rpingmesh", "fleet=east");
    stores::with_registry(&from, async |registry| {
        let agent = stores::announcement("a", &["10.0.0.1"]);
        let now = WallTime::from_nanos(7);
        registry.put(&agent, &[], now).await.expect("stored");
    })
    .await;
    for (owner, name, first) in [
        (Owner::Controller, "registry.db", ("agents", 1)),
        (Owner::Analyzer, "analyzer.db", ("incidents", 0)),
    ] {
        let client = cluster.client("rpingmesh").await;
        client.batch_execute(FIRST_LAYOUT).await.expect("changed");
        let to = Location::File(cluster.folder().join(name));
        let copied = copy(&from, &to, Some(owner), &mut |_| ()).await;
        let copied = copied.unwrap_or_else(|error| panic!("{owner}: {error}"));
        let counts: Vec<_> = copied.iter().map(|one| (one.what, one.count)).collect();
        assert!(counts.contains(&first), "{counts:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs PostgreSQL: cargo xtask test --only external"]
async fn whoever_was_succeeded_changes_nothing_and_finds_out() {
    let cluster = Cluster::start().await;
    cluster.create("rpingmesh");
    let location = cluster.location("rpingmesh", "fleet=east");
    let stores = Stores::open(&location).await.expect("stores");
    // Roles do not exclude each other.
    let registry = open::registry(&location).await.expect("a registry");
    stores
        .history
        .put((WallTime::from_nanos(1), vec![1]), WallTime::from_nanos(0))
        .await
        .expect("stored");

    // As a successor does it while this program is stopped.
    let client = cluster.client("rpingmesh").await;
    client
        .batch_execute(
            "UPDATE rpingmesh.owner SET epoch = epoch + 1, holder = 'host z, process 9' WHERE role = 'analyzer';
             UPDATE rpingmesh.lease SET epoch = epoch + 1, renewed = now() WHERE role = 'analyzer'",
        )
        .await
        .expect("taken over");
    let error = stores
        .history
        .put((WallTime::from_nanos(2), vec![2]), WallTime::from_nanos(0))
        .await
        .expect_err("it is not ours any more");
    let is_expected = |error: &StoreError| matches!(error, StoreError::Taken { role: "analyzer", holder, .. } if holder == "host z, process 9");
    assert!(is_expected(&error), "{error}");
    let error = stores.tenure.clone().hold(CancellationToken::new()).await;
    assert!(error.as_ref().is_err_and(is_expected), "{error:?}");
    let newest = stores
        .history
        .bounds()
        .await
        .expect("readable")
        .expect("a picture")
        .1;
    assert_eq!(newest, WallTime::from_nanos(1));

    // The other role's lease is its own.
    registry
        .remove(&["a".into()])
        .await
        .expect("it is the controller's");
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs PostgreSQL: cargo xtask test --only external"]
async fn a_server_that_comes_back_is_used_again() {
    let mut cluster = Cluster::start().await;
    cluster.create("rpingmesh");
    let location = cluster.location("rpingmesh", "fleet=east");
    let stores = Stores::open(&location).await.expect("stores");
    let put = async |time| {
        let time = WallTime::from_nanos(time);
        stores
            .history
            .put((time, vec![0]), WallTime::from_nanos(0))
            .await
    };
    put(1).await.expect("stored");
    cluster.kill();
    let error = put(2).await.expect_err("nobody answers");
    assert!(matches!(error, StoreError::Unreachable { .. }), "{error:?}");
    cluster.start_again().await;
    // Which connections are gone shows when they are used.
    let mut failures = 0;
    while let Err(error) = put(3).await {
        failures += 1;
        assert!(
            failures < 5 && matches!(error, StoreError::Unreachable { .. }),
            "{error:?}"
        );
    }
    let newest = stores
        .history
        .bounds()
        .await
        .expect("readable")
        .expect("a picture")
        .1;
    assert_eq!(newest, WallTime::from_nanos(3));
}
