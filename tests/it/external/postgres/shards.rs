//! Several analyzers on one database: agents upload to the owner of their shard, one of them judges, and each may be killed, or stand
//! still and wake up.

mod kills;
mod site;
mod tally;
mod tls;

use std::time::Duration;

use rpingmesh::net::url::Url;
use rpingmesh::rpc::v1;
use rpingmesh::rpc::v1::judge_service_client::JudgeServiceClient;
use rpingmesh::rpc::v1::relay_request::Message;
use rustix::process::{Signal, kill_process};
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::Code;

use crate::support::program::{ANALYZER, OPERATOR, command, refused};
use site::{PATIENCE, SEEN, Site, ask, free, until};

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs PostgreSQL: cargo xtask test --only external"]
async fn three_analyzers_share_a_fleet_and_operators_see_them() {
    let fleet = Site::start().await;
    for member in &fleet.members {
        let url = format!("http://{}/api/v1/status", member.web);
        let status = ask(&Url::parse(&url).expect("a URL")).await;
        assert!(status.is_some(), "{url}");
    }
    let web = format!("http://{}", fleet.members[2].web);
    let arguments = ["status", "--analyzer", &web, "--store", &fleet.store];
    let done = command(OPERATOR, &arguments).output().expect("it runs");
    let text = String::from_utf8_lossy(&done.stdout);
    assert!(done.status.success(), "{text}");
    assert!(text.contains("analyzers 3"), "{text}");
    assert_eq!(text.matches("; judges").count(), 1, "{text}");
    assert_eq!(text.matches(" shards, newest epoch ").count(), 3, "{text}");
    // An analyzer that wants the fleet for itself is refused, and one of another fleet.
    let alone = [
        "run",
        "--listen",
        "127.0.0.1:0",
        "--web",
        "127.0.0.1:0",
        "--store",
        &fleet.store,
    ];
    let (status, error) = refused(ANALYZER, &alone);
    assert_eq!(status, Some(1), "{error}");
    assert!(error.contains("is used by another analyzer"), "{error}");
    let west = fleet.store.replace("fleet=east", "fleet=west");
    let words = site::arguments(&west, free(), free());
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    let (status, error) = refused(ANALYZER, &words);
    assert_eq!(status, Some(1), "{error}");
    assert!(error.contains("keeps the data of fleet `east`"), "{error}");
    assert_eq!(
        fleet.incidents().await,
        Some(Vec::new()),
        "nothing is wrong"
    );
    fleet.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs PostgreSQL: cargo xtask test --only external"]
async fn an_owner_that_is_killed_loses_nothing_and_faults_are_seen_again() {
    let mut site = Site::start().await;
    let owner = site.take(false).await;
    let victim = site.agent_of(owner.id).await;
    // The fault begins when nobody takes the results of its host's shard.
    let (host, agent) = site.agents.remove(victim);
    agent.kill();
    // Dropped, a program is killed.
    drop(owner);
    let seen = until("the fault is seen", SEEN, async || {
        let incidents = site.incidents().await.unwrap_or_default();
        incidents.iter().any(|(title, _)| title.contains(&host))
    })
    .await;
    println!("a fault in the shard of an owner that was killed is seen after {seen:?}");
    let whole = until("each batch is counted once", SEEN, async || {
        site.is_whole().await
    })
    .await;
    println!("all agents upload again, and each batch is counted once, {whole:?} later");
    let incidents = site.incidents().await.expect("an answer");
    assert!(
        incidents.iter().all(|(title, _)| title.contains(&host)),
        "nothing else is wrong: {incidents:?}"
    );
    until("its shards have owners", PATIENCE, async || {
        site.owned()
            .await
            .iter()
            .map(|(_, shards)| *shards)
            .eq([32, 32])
    })
    .await;
    // A new one takes its share over.
    site.join().await;
    until("the new one has its share", PATIENCE, async || {
        site.owned().await.len() == 3
    })
    .await;
    until("each batch is counted once", PATIENCE, async || {
        site.is_whole().await
    })
    .await;
    site.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs PostgreSQL: cargo xtask test --only external"]
async fn a_judge_that_is_killed_has_a_successor_who_knows_what_was_wrong() {
    let mut site = Site::start().await;
    let (host, agent) = site.agents.remove(0);
    agent.kill();
    until("the fault is seen", PATIENCE, async || {
        let incidents = site.incidents().await.unwrap_or_default();
        incidents
            .iter()
            .any(|(title, is_open)| title.contains(&host) && *is_open)
    })
    .await;
    let judge = site.take(true).await;
    drop(judge);
    let judged = until("another one judges", SEEN, async || {
        let status = site.ask("/api/v1/status").await;
        status.is_some_and(|status| {
            status["judge"]["runs"]
                .as_u64()
                .is_some_and(|runs| runs > 0)
        })
    })
    .await;
    println!("after the judge was killed, another one judges after {judged:?}");
    let incidents = site.incidents().await.expect("an answer");
    assert!(
        incidents
            .iter()
            .any(|(title, is_open)| title.contains(&host) && *is_open),
        "it stays open: {incidents:?}"
    );
    // What owners had kept has come: the windows hold what was before.
    until("all agents are heard", PATIENCE, async || {
        let agents = site.ask("/api/v1/agents").await;
        agents.is_some_and(|agents| {
            agents["agents"]
                .as_array()
                .is_some_and(|all| all.len() >= site.agents.len())
        })
    })
    .await;
    tokio::time::sleep(Duration::from_secs(3)).await;
    let incidents = site.incidents().await.expect("an answer");
    let about: Vec<_> = incidents
        .iter()
        .filter(|(title, _)| title.contains(&host))
        .collect();
    assert_eq!(about.len(), 1, "it was opened once: {incidents:?}");
    assert_eq!(incidents.len(), 1, "nothing else is wrong: {incidents:?}");
    site.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs PostgreSQL: cargo xtask test --only external"]
async fn an_owner_that_stood_still_ends_and_its_late_evidence_is_refused() {
    let mut site = Site::start().await;
    let sql = "SELECT epoch FROM rpingmesh.owner WHERE role = 'analyzer'";
    let judge_epoch: i64 = site
        .client
        .query_one(sql, &[])
        .await
        .expect("a judge")
        .get(0);
    let mut owner = site.take(false).await;
    let sql = "SELECT number, epoch FROM rpingmesh.shard WHERE owner = $1 LIMIT 1";
    let before = site
        .client
        .query_one(sql, &[&owner.id])
        .await
        .expect("its shard");
    let (number, epoch): (i32, i64) = (before.get(0), before.get(1));
    let judge = site.judge().await;
    let judge = site
        .members
        .iter()
        .find(|one| one.id == judge)
        .expect("the judge");
    let mut client = JudgeServiceClient::connect(format!("http://{}", judge.grpc))
        .await
        .expect("a connection");
    let hello = relayed(Message::Hello(v1::RelayHello {
        analyzer: owner.id,
        judge_epoch,
    }));
    let (relay, requests) = mpsc::channel(2);
    relay.send(hello.clone()).await.expect("a hello");
    let mut answers = client
        .relay(ReceiverStream::new(requests))
        .await
        .expect("a stream")
        .into_inner();
    answers.message().await.expect("a hello").expect("one");

    let pid = owner.program.pid();
    kill_process(pid, Signal::STOP).expect("stopped");
    let whole = until("others take its shards", SEEN, async || {
        site.owned().await.len() == 2 && site.is_whole().await
    })
    .await;
    println!("after an owner stood still, each batch is counted once after {whole:?}");
    kill_process(pid, Signal::CONT).expect("goes on");
    owner.program.wait_for(&["was silent for too long"]);

    // What it would have sent, on a connection that survived.
    let item = v1::RelayedItem {
        agent_id: "h01".to_owned(),
        host: "h01".to_owned(),
        ..v1::RelayedItem::default()
    };
    let frame = v1::RelayFrame {
        number: 1,
        shards: vec![v1::RelayedShard {
            shard: Some(v1::ShardEpoch {
                shard: u32::try_from(number).expect("small"),
                epoch: u64::try_from(epoch).expect("positive"),
            }),
            items: vec![item.clone(), item],
        }],
        caught_up: true,
        ..v1::RelayFrame::default()
    };
    let packed = zstd::bulk::compress(&prost::Message::encode_to_vec(&frame), 1).expect("packed");
    let late = relayed(Message::ZstdFrame(packed.into()));
    relay.send(late).await.expect("a frame");
    let answer = answers.message().await.expect("an answer").expect("one");
    assert_eq!((answer.number, answer.stale), (1, 2));

    // On a new connection it is none of those that share the fleet.
    let refused = client
        .relay(tokio_stream::iter([hello]))
        .await
        .expect("a stream")
        .into_inner()
        .message()
        .await
        .expect_err("a refusal");
    assert_eq!(refused.code(), Code::Unavailable, "{refused}");
    assert_eq!(site.incidents().await, Some(Vec::new()), "nothing is wrong");
    site.stop().await;
}

fn relayed(message: Message) -> v1::RelayRequest {
    v1::RelayRequest {
        message: Some(message),
    }
}
