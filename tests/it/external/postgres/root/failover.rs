//! A failover of the database itself, as Patroni does it: its primary is killed, or cut off from everything.

use std::time::{Duration, Instant};

use super::fleet::{Fleet, Incident, PATIENCE, hosts, until};
use super::patroni::{HOSTS, Patroni};

/// The newest upload of each agent is never older than this: without a database agents upload as before.
const FRESH: Duration = Duration::from_secs(5);
/// Everybody who has renewed its place lately.
const LIVING: &str = "SELECT (SELECT count(*) FROM rpingmesh.controller WHERE gone IS NULL AND now() - renewed < interval '2 s')
                           + (SELECT count(*) FROM rpingmesh.analyzer WHERE gone IS NULL AND now() - renewed < interval '2 s')";
const PROGRAMS: i64 = 5;
/// Incidents that are stored about a host.
const STORED: &str = "SELECT count(*) FROM rpingmesh.incident WHERE body LIKE '%' || $1 || '%'";

/// Ends an agent for good; gives its host.
fn lose(fleet: &mut Fleet, number: usize) -> String {
    let lost = fleet.agents.remove(number);
    // Dropped, a program is killed.
    lost.host.clone()
}

fn about<'a>(incidents: &'a [Incident], host: &str) -> Vec<&'a Incident> {
    let about = incidents.iter().filter(|one| one.title.contains(host));
    about.collect()
}

async fn stored(fleet: &Fleet, host: &str) -> i64 {
    let row = fleet.client.query_one(STORED, &[&host]).await;
    row.expect("readable").get(0)
}

async fn is_seen(fleet: &Fleet, host: &str) -> Duration {
    until("the fault is seen", PATIENCE, async || {
        let incidents = fleet.incidents();
        let is_open = about(&incidents, host).iter().any(|one| one.is_open);
        is_open
            .then_some(())
            .ok_or_else(|| format!("{incidents:?}"))
    })
    .await
}

async fn is_stored(fleet: &Fleet, host: &str) -> Duration {
    until("it is stored", PATIENCE, async || {
        let stored = stored(fleet, host).await;
        (stored == 1)
            .then_some(())
            .ok_or_else(|| format!("{stored}"))
    })
    .await
}

/// From the fault of the member `1 - to` on, until the other one is the primary and all programs work with it. Agents upload all the time.
async fn fail_over(fleet: &mut Fleet, patroni: &Patroni, to: usize) {
    let begun = Instant::now();
    let mut oldest = Duration::ZERO;
    until("there is another primary", PATIENCE, async || {
        oldest = oldest.max(fleet.oldest_upload().ok_or("the judge does not answer")?);
        patroni.says(&fleet.star, to, "primary")
    })
    .await;
    let promoted = begun.elapsed();
    fleet.client = patroni.client(to, "rpingmesh").await;
    until("all have renewed their places", PATIENCE, async || {
        oldest = oldest.max(fleet.oldest_upload().ok_or("the judge does not answer")?);
        let row = fleet.client.query_one(LIVING, &[]).await;
        let living: i64 = row.map_err(|error| error.to_string())?.get(0);
        (living == PROGRAMS)
            .then_some(())
            .ok_or_else(|| format!("{living} of {PROGRAMS}"))
    })
    .await;
    println!(
        "another primary after {promoted:?}; all programs work with it after {:?}; no upload was older than {oldest:?}",
        begun.elapsed()
    );
    assert!(oldest < FRESH, "agents have uploaded all the time");
}

/// Both members, the way to them, and what is done to the first one.
async fn everybody_goes_on(
    test: &str,
    url: fn(&Patroni) -> String,
    fault: fn(&Fleet, &mut Patroni),
) {
    let star = hosts(test, &HOSTS);
    let mut patroni = Patroni::start(&star).await;
    let client = patroni.client(0, "rpingmesh").await;
    let mut fleet = Fleet::start(star, url(&patroni), client).await;
    // An incident that is open before, and stored.
    let before = lose(&mut fleet, 0);
    is_seen(&fleet, &before).await;
    is_stored(&fleet, &before).await;
    let (judge, owned) = (fleet.judge().await, fleet.owned().await);

    fault(&fleet, &mut patroni);
    // And one that opens meanwhile.
    let meanwhile = lose(&mut fleet, 1);
    fail_over(&mut fleet, &patroni, 1).await;
    let seen = is_seen(&fleet, &meanwhile).await;
    let late = is_stored(&fleet, &meanwhile).await;
    println!("the incident of meanwhile is there {seen:?} later, and stored {late:?} after that");
    let whole = fleet.whole("each batch is counted once").await;
    println!("each batch is counted once {whole:?} later");
    assert_eq!(fleet.judge().await, judge, "nobody was given up");
    assert_eq!(fleet.owned().await, owned, "no shard has moved");
    assert_eq!(stored(&fleet, &before).await, 1, "what was stored is there");

    // The old primary comes back, and follows the new one.
    fleet.star.heal();
    patroni.start_member(&fleet.star, 0);
    let back = patroni.is(&fleet.star, 0, "synchronous").await;
    println!("the old primary follows the new one after {back:?}");
    assert!(patroni.says(&fleet.star, 1, "primary").is_ok());
    fleet.whole("each batch is counted once").await;
    let incidents = fleet.incidents();
    for host in [&before, &meanwhile] {
        let about = about(&incidents, host);
        assert!(
            about.len() == 1 && about[0].is_open,
            "once, and open: {incidents:?}"
        );
    }
    let is_known = |one: &&Incident| {
        one.category == "monitoring_store"
            || [&before, &meanwhile]
                .iter()
                .any(|host| one.title.contains(*host))
    };
    assert!(
        incidents.iter().all(|one| is_known(&one)),
        "nothing else is wrong: {incidents:?}"
    );
    fleet.stop();
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs root on Linux, and Patroni: cargo xtask test --only root"]
async fn a_primary_that_is_killed_behind_haproxy_has_a_successor_and_everybody_goes_on() {
    everybody_goes_on("kill", Patroni::proxied, |_, patroni| patroni.kill(0)).await;
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs root on Linux, and Patroni: cargo xtask test --only root"]
async fn a_primary_that_is_cut_off_gives_up_and_everybody_finds_the_other_one() {
    let isolate = |fleet: &Fleet, _: &mut Patroni| fleet.star.isolate(Patroni::host(0));
    everybody_goes_on("isolate", Patroni::several, isolate).await;
}
