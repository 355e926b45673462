//! The disk of the database is full: of its tables first, then of its log as well, so that the server ends.

use super::fleet::{Fleet, PATIENCE, host, hosts, until};
use crate::disk::root::Disk;
use crate::external::postgres::cluster::Cluster;

/// Room for an empty cluster and a segment of its log.
const SIZE: &str = "size=96m";
const LIVING: &str = "SELECT (SELECT count(*) FROM rpingmesh.controller WHERE gone IS NULL)
                           + (SELECT count(*) FROM rpingmesh.analyzer WHERE gone IS NULL)";
const INCIDENTS: &str = "SELECT count(*) FROM rpingmesh.incident";

/// Ends an agent for good, and waits until the judge says so; gives how many changes of incidents wait for the database.
async fn lose(fleet: &mut Fleet) -> u64 {
    let lost = fleet.agents.remove(0);
    let host = lost.host.clone();
    drop(lost);
    let mut waiting = 0;
    let seen = until("the fault is seen", PATIENCE, async || {
        let answer = fleet
            .ask("/api/v1/incidents?state=open&order=rank")
            .ok_or("no answer")?;
        let status = fleet.ask("/api/v1/status").ok_or("no answer")?;
        waiting = status["incidents"]["waiting_for_store"]
            .as_u64()
            .unwrap_or_default();
        let is_open = answer.to_string().contains(&host);
        (is_open && waiting > 0)
            .then_some(())
            .ok_or_else(|| format!("{answer} {waiting}"))
    })
    .await;
    println!("a fault is seen after {seen:?}; {waiting} changes wait for the database");
    waiting
}

async fn everything_is_stored(fleet: &Fleet, least: i64) {
    let took = until("what waited is stored", PATIENCE, async || {
        let status = fleet.ask("/api/v1/status").ok_or("no answer")?;
        let stored = fleet
            .client
            .query_one(INCIDENTS, &[])
            .await
            .map_err(|error| error.to_string())?;
        let (stored, waiting) = (
            stored.get::<_, i64>(0),
            &status["incidents"]["waiting_for_store"],
        );
        let is_so = stored >= least && *waiting == 0;
        is_so
            .then_some(())
            .ok_or_else(|| format!("{stored} {waiting}"))
    })
    .await;
    println!("what waited is stored {took:?} after there was room");
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs root on Linux, and PostgreSQL: cargo xtask test --only root"]
async fn a_full_disk_of_the_database_stops_nothing_and_everything_is_stored_later() {
    let disk = Disk::mount(SIZE);
    let star = hosts("full", &["db"]);
    let mut cluster = Cluster::start_in(disk.path(), host(&star, "db")).await;
    cluster.create("rpingmesh");
    let (store, client) = (
        cluster.url("rpingmesh", "fleet=east"),
        cluster.client("rpingmesh").await,
    );
    let mut fleet = Fleet::start(star, store, client).await;
    let (judge, living) = (fleet.judge().await, fleet.number(LIVING).await);

    // No table can grow.
    let filler = disk.fill();
    lose(&mut fleet).await;
    let at = fleet
        .analyzers
        .iter()
        .position(|one| one.id == judge)
        .expect("one of them");
    let line = fleet.analyzers[at]
        .program
        .wait_for(&["cannot be stored", "no space left"]);
    println!("{line}");
    fleet.whole("all results are judged meanwhile").await;
    std::fs::remove_file(filler).expect("removed");
    everything_is_stored(&fleet, 1).await;

    // The log of the server cannot grow either: it ends, or begins again and again.
    let filler = disk.fill();
    fleet
        .client
        .execute("SELECT pg_switch_wal()", &[])
        .await
        .ok();
    until("the server is gone", PATIENCE, async || {
        let gone = fleet.client.execute("SELECT pg_switch_wal()", &[]).await;
        gone.is_err()
            .then_some(())
            .ok_or_else(|| "it answers".to_owned())
    })
    .await;
    println!("the server runs: {}", cluster.runs());
    lose(&mut fleet).await;
    fleet.whole("all results are judged meanwhile").await;
    std::fs::remove_file(filler).expect("removed");
    if !cluster.runs() {
        cluster.start_again().await;
    }
    fleet.client = cluster.client("rpingmesh").await;
    everything_is_stored(&fleet, 2).await;
    fleet.whole("each batch is counted once").await;
    assert_eq!(fleet.judge().await, judge, "another one does not judge");
    assert_eq!(fleet.number(LIVING).await, living, "nobody was given up");
    let allowed = [
        "host_down",
        "agent_silent",
        "monitoring_store",
        "monitoring_blind",
    ];
    let incidents = fleet.incidents();
    assert!(
        incidents
            .iter()
            .all(|one| allowed.contains(&one.category.as_str())),
        "nothing else is wrong: {incidents:?}"
    );
    fleet.stop();
}
