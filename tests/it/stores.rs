//! What every engine of the stores must do: one suite, which runs on SQLite here and on PostgreSQL in `external::postgres`.

mod analyzer;
mod registry;
mod transfer;

pub(crate) use registry::announcement;
use rpingmesh::analysis::trend::{Kind, Step};
use rpingmesh::store::Location;
use rpingmesh::store::open::{self, Stores};
use rpingmesh::store::registry::Registry;
use rpingmesh::store::transfer::copy;
use rpingmesh::store::trends::Place;
use rpingmesh::time::WallTime;
use std::sync::Arc;
use std::time::Duration;

use tokio_util::sync::CancellationToken;

/// Opens a registry, waits until `work` has used it, and gives it up.
pub(crate) async fn with_registry<T>(
    location: &Location,
    work: impl AsyncFnOnce(Arc<dyn Registry>) -> T,
) -> T {
    let registry = open::registry(location).await.expect("a registry");
    let tenure = registry.tenure();
    if let Some(shared) = registry.shared() {
        // A predecessor may hold the lease for a moment.
        let mut view = shared.view();
        view.wait_for(|view| view.is_holder)
            .await
            .expect("it holds the lease");
    }
    let result = work(registry).await;
    give_up(tenure).await;
    result
}

/// The same with the analyzer's stores.
pub(crate) async fn with_stores<T>(location: &Location, work: impl AsyncFnOnce(Stores) -> T) -> T {
    let stores = Stores::open(location).await.expect("stores");
    let tenure = stores.tenure.clone();
    let result = work(stores).await;
    give_up(tenure).await;
    result
}

/// As a program does at its end.
async fn give_up(tenure: rpingmesh::store::tenure::Tenure) {
    let stop = CancellationToken::new();
    stop.cancel();
    let given_up = tokio::time::timeout(Duration::from_secs(5), tenure.hold(stop)).await;
    given_up.expect("in time").expect("it was held");
}

/// Everything, each part on a store of its own.
pub(crate) async fn all(mut fresh: impl FnMut() -> Location) {
    registry::announcements_outlive_the_process_and_are_replaced_as_a_whole(&fresh()).await;
    registry::a_gid_has_one_owner_and_a_refused_put_changes_nothing(&fresh()).await;
    registry::of_several_announcements_those_that_can_be_are_stored(&fresh()).await;
    registry::the_clusters_key_outlives_the_process(&fresh()).await;
    registry::batches_end_as_single_announcements_do(&fresh(), &fresh()).await;
    analyzer::incidents_outlive_the_process_and_ids_are_never_used_again(&fresh()).await;
    analyzer::what_receivers_were_told_outlives_the_process(&fresh()).await;
    analyzer::the_nearest_picture_is_found_and_old_ones_go(&fresh()).await;
    analyzer::trends_are_found_by_their_places_and_old_ones_go(&fresh()).await;
    analyzer::hosts_outlive_the_process_until_they_are_forgotten(&fresh()).await;
    analyzer::batches_and_watermarks_outlive_the_process(&fresh()).await;
}

/// Moves between SQLite and another engine, of which `other` gives empty stores.
pub(crate) async fn moves(mut other: impl FnMut() -> Location) {
    let folder = tempfile::tempdir().expect("a folder");
    let file = |name: &str| Location::File(folder.path().join(name));
    let (from, middle, last) = (file("a.db"), other(), file("b.db"));
    transfer::an_analyzers_store_moves_as_a_whole([&from, &middle, &last], None).await;
    let (from, middle, last) = (file("c.db"), other(), file("d.db"));
    transfer::a_registry_moves_as_a_whole([&from, &middle, &last], None).await;
}

#[tokio::test]
async fn everything_moves_between_files() {
    let folder = tempfile::tempdir().expect("a folder");
    let mut number = 0;
    let other = || {
        number += 1;
        Location::File(folder.path().join(format!("{number}.db")))
    };
    moves(other).await;
}

/// A block of trends that is damaged stays behind, and the rest arrives.
#[tokio::test]
async fn a_damaged_block_of_trends_is_left_out_of_a_move() {
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("a.db");
    let (from, to) = (
        Location::File(file.clone()),
        Location::File(folder.path().join("b.db")),
    );
    let blocks = |minutes: std::ops::Range<i64>| -> Vec<_> {
        let place = |minute| Place {
            step: Step::Minute,
            at: WallTime::from_nanos(minute * 60_000_000_000),
            kind: Kind::Rnic,
            bucket: 7,
        };
        minutes
            .map(|minute| (place(minute), vec![1; 100]))
            .collect()
    };
    with_stores(&from, async |stores| {
        let stored = stores.trends.put(blocks(0..5), Vec::new()).await;
        stored.expect("stored");
    })
    .await;
    let damaged = rusqlite::Connection::open(&file).expect("a database");
    let damage = "UPDATE trend SET packed = 1, body = x'00' WHERE at = 120000000000";
    assert_eq!(damaged.execute(damage, []).expect("writable"), 1);
    drop(damaged);
    let copied = copy(&from, &to, None, &mut |_| ()).await.expect("copied");
    let trends = copied
        .iter()
        .find(|copied| copied.what == "blocks of trends");
    let counts = trends.map(|trends| (trends.count, trends.left_out));
    assert_eq!(counts, Some((4, 1)));
}

#[tokio::test]
async fn sqlite_does_what_every_engine_must() {
    let folder = tempfile::tempdir().expect("a folder");
    let mut number = 0;
    all(|| {
        number += 1;
        Location::File(folder.path().join(format!("{number}.db")))
    })
    .await;
}
