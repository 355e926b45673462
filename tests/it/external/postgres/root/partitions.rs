//! Partitions of the network between any two: programs go on, packets between them are dropped, and nothing is closed.

use std::time::{Duration, Instant};

use super::fleet::{Fleet, Incident, PATIENCE, host, hosts, told, until};
use crate::external::postgres::cluster::Cluster;

/// How long a cut lasts that nobody has to act on: longer than any silence that counts.
const CUT: Duration = Duration::from_secs(15);
const LOOK: Duration = Duration::from_millis(250);
/// What the last run has left open, whatever could be stored of it.
const OPEN: &str = "/api/v1/incidents?state=open&order=rank";
/// Analyzers that nobody has given up.
const ANALYZERS: &str = "SELECT count(*) FROM rpingmesh.analyzer WHERE gone IS NULL";
const CONTROLLERS: &str = "SELECT count(*) FROM rpingmesh.controller WHERE gone IS NULL";
/// How far the judge is behind at most, as the analyzers say it, in milliseconds.
const LAG: &str = "SELECT max(lag) / 1000000 FROM rpingmesh.analyzer WHERE gone IS NULL";

/// What follows where agents upload nothing: they are silent, and what is probed under their ToR says nothing.
fn is_of_silence(incident: &Incident) -> bool {
    ["agent_silent", "monitoring_blind"].contains(&incident.category.as_str())
}

/// A fleet with one database, on the host `db`.
async fn fleet(test: &str) -> (Fleet, Cluster) {
    let star = hosts(test, &["db"]);
    let cluster = Cluster::start_on(host(&star, "db")).await;
    cluster.create("rpingmesh");
    let (store, client) = (
        cluster.url("rpingmesh", "fleet=east"),
        cluster.client("rpingmesh").await,
    );
    (Fleet::start(star, store, client).await, cluster)
}

fn equal<T: PartialEq + std::fmt::Debug>(seen: &T, wanted: &T) -> Result<(), String> {
    (seen == wanted)
        .then_some(())
        .ok_or_else(|| format!("{seen:?}"))
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs root on Linux, and PostgreSQL: cargo xtask test --only root"]
async fn a_judge_that_the_others_do_not_reach_gets_everything_later() {
    let (fleet, _cluster) = fleet("judge").await;
    let judge = fleet.judge_host().await;
    let others = fleet.analyzers.iter().map(|one| one.host.as_str());
    let others: Vec<_> = others.filter(|host| *host != judge).collect();
    // Packets to the judge, then those from it, then both.
    for (number, cut) in ["to the judge", "from the judge", "both"]
        .iter()
        .enumerate()
    {
        match number {
            0 => fleet.star.cut_one_way(&others, &[&judge]),
            1 => fleet.star.cut_one_way(&[&judge], &others),
            _ => fleet.star.cut(&[&judge], &others),
        }
        let begun = Instant::now();
        while begun.elapsed() < CUT {
            let incidents = fleet
                .ask_host(&judge, "/api/v1/incidents")
                .expect("it answers");
            assert_eq!(told(&incidents), [], "{cut}: its hosts are not silent");
            tokio::time::sleep(LOOK).await;
        }
        let lag = fleet.number(LAG).await;
        println!("{cut}: after {CUT:?} the judge is said to be {lag} ms behind");
        assert!(lag > 8_000, "{cut}: operators see how far it is behind");
        fleet.star.heal();
        let whole = fleet.whole("each batch is counted once").await;
        println!("{cut}: each batch is counted once {whole:?} after it was over");
        until("it has caught up", PATIENCE, async || {
            let lag = fleet.number(LAG).await;
            equal(&(lag < 2_000), &true).map_err(|_| format!("{lag} ms"))
        })
        .await;
    }
    assert_eq!(fleet.judge_host().await, judge);
    assert_eq!(fleet.number(ANALYZERS).await, 3, "nobody was given up");
    assert_eq!(fleet.incidents(), [], "nothing is wrong");
    fleet.stop();
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs root on Linux, and PostgreSQL: cargo xtask test --only root"]
async fn agents_that_do_not_reach_their_owner_send_everything_later() {
    let (fleet, _cluster) = fleet("owner").await;
    let judge = fleet.judge().await;
    let owner = fleet
        .analyzers
        .iter()
        .find(|one| one.id != judge)
        .expect("another one");
    let agents = fleet.agents_of(owner.id).await;
    let agents: Vec<_> = agents.iter().map(String::as_str).collect();
    fleet.star.cut(&[&owner.host], &agents);
    // Each has sent something before, or its silence would say nothing.
    let begun = Instant::now();
    let seen = until(
        "the judge says that they are silent",
        PATIENCE,
        async || {
            let incidents = fleet.incidents();
            let are_silent =
                incidents.iter().any(|one| one.is_open) && incidents.iter().all(is_of_silence);
            equal(&are_silent, &true).map_err(|_| format!("{incidents:?}"))
        },
    )
    .await;
    println!("{agents:?}, cut off from their owner, are silent after {seen:?}");
    tokio::time::sleep(CUT.saturating_sub(begun.elapsed())).await;
    fleet.star.heal();
    let whole = fleet.whole("each batch is counted once").await;
    println!("each batch is counted once {whole:?} after it was over");
    assert_eq!(fleet.number(ANALYZERS).await, 3, "nobody was given up");
    assert_eq!(fleet.judge().await, judge);
    let closed = until("that is over", PATIENCE, async || {
        let incidents = fleet.incidents();
        let is_over = incidents
            .iter()
            .all(|one| !one.is_open && is_of_silence(one));
        equal(&is_over, &true).map_err(|_| format!("{incidents:?}"))
    })
    .await;
    println!("and the incident is closed {closed:?} later");
    fleet.stop();
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs root on Linux, and PostgreSQL: cargo xtask test --only root"]
async fn a_controller_that_does_not_reach_the_database_serves_until_it_is_given_up() {
    let (mut fleet, _cluster) = fleet("ctl").await;
    let mut cut = fleet.controllers.remove(0);
    fleet.star.cut(&[&cut.host], &["db"]);
    let gone = until("the other one gives it up", PATIENCE, async || {
        equal(&fleet.number(CONTROLLERS).await, &1)
    })
    .await;
    println!("a controller without the database is given up after {gone:?}");
    let begun = Instant::now();
    while begun.elapsed() < CUT {
        // Its agents have their lists, and upload.
        assert_eq!(fleet.incidents(), [], "nothing is wrong");
        tokio::time::sleep(LOOK).await;
    }
    fleet.whole("all agents upload meanwhile").await;
    fleet.star.heal();
    cut.program.wait_for(&["the others have given it up"]);
    let other = fleet.controllers[0].id;
    let moved = until("its agents are at the other one", PATIENCE, async || {
        let sql = "SELECT count(*) FROM rpingmesh.agent WHERE controller = $1 AND NOT silent";
        let row = fleet
            .client
            .query_one(sql, &[&other])
            .await
            .expect("readable");
        let agents = i64::try_from(fleet.agents.len()).expect("few");
        equal(&row.get::<_, i64>(0), &agents)
    })
    .await;
    println!("it ends when it is healed; its agents are at the other one after {moved:?}");
    assert_eq!(cut.program.ended(), Some(1));
    let again = fleet.controller(&cut.host).await;
    fleet.controllers.push(again);
    assert_eq!(fleet.number(CONTROLLERS).await, 2, "it has joined again");
    fleet.whole("each batch is counted once").await;
    assert_eq!(fleet.incidents(), [], "nothing is wrong");
    fleet.stop();
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs root on Linux, and PostgreSQL: cargo xtask test --only root"]
async fn a_judge_that_does_not_reach_the_database_is_succeeded_and_says_nothing_wrong() {
    let (mut fleet, _cluster) = fleet("jdb").await;
    let judge = fleet.judge().await;
    let at = fleet
        .analyzers
        .iter()
        .position(|one| one.id == judge)
        .expect("one of them");
    let mut cut = fleet.analyzers.remove(at);
    let before = fleet.steady().await;
    fleet.star.cut(&[&cut.host], &["db"]);
    let begun = Instant::now();
    let succeeded = until("another one judges", PATIENCE, async || {
        equal(&(fleet.judge().await != judge), &true)
    })
    .await;
    println!("without the database a judge is succeeded after {succeeded:?}");
    // Both judge: the others do not listen to the one that was cut off, and what it finds is stored nowhere.
    let mut status = serde_json::Value::Null;
    let mut last = None;
    while begun.elapsed() < CUT {
        let answer = fleet.ask_host(&cut.host, OPEN);
        for one in answer.iter().flat_map(told) {
            assert_eq!(
                one.category, "monitoring_store",
                "it blames nobody for its own silence: {one:?}"
            );
        }
        last = answer.map(|answer| format!("{:#}", answer["incidents"]));
        if let Some(answer) = fleet.ask_host(&cut.host, "/api/v1/status") {
            status = answer["incidents"].clone();
        }
        tokio::time::sleep(LOOK).await;
    }
    println!("the one that was cut off: {status} {last:?}");
    until("its shards have owners", PATIENCE, async || {
        let shares: Vec<_> = fleet
            .owned()
            .await
            .iter()
            .map(|(_, shards)| *shards)
            .collect();
        equal(&shares, &vec![32, 32])
    })
    .await;
    assert_eq!(fleet.incidents(), [], "nothing is wrong");
    let after = fleet.steady().await;
    println!("probes of 20 s that were counted before and after: {before} {after}");
    assert!(after * 20 > before * 19, "no hole: {before} {after}");

    fleet.star.heal();
    cut.program.wait_for(&["was silent for too long"]);
    assert_eq!(cut.program.ended(), Some(1));
    let again = fleet.analyzer(&cut.host).await;
    fleet.analyzers.push(again);
    until("it has a share again", PATIENCE, async || {
        equal(&fleet.owned().await.len(), &3)
    })
    .await;
    let after = fleet.steady().await;
    assert!(after * 20 > before * 19, "no hole: {before} {after}");
    assert_eq!(fleet.incidents(), [], "nothing is wrong");
    fleet.stop();
}
