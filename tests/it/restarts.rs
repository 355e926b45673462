//! Servers that go away and come back while agents probe over the emulated fabric, whose ground truth tells how many
//! packets there really were: every probe is stored once, and probing goes on.

use std::sync::Arc;
use std::time::Duration;

use prost::Message as _;
use rpingmesh::agent::SPOOL_FOLDER;
use rpingmesh::analysis::report::{Batch, PathReport};
use rpingmesh::fabric::realtime::Fabric;
use rpingmesh::fabric::topology::{Shape, Topology};
use rpingmesh::fabric::truth::Totals;
use rpingmesh::fabric::{Engine, Profile};
use rpingmesh::rpc::results::{Ends, Received};
use rpingmesh::rpc::v1;
use rpingmesh::store::Location;
use rpingmesh::store::open::Stores;
use rpingmesh::store::spool::Spool;
use rpingmesh::time::{Clock as _, SystemClock, WallTime};
use serde_json::Value;
use tokio_util::sync::CancellationToken;

use crate::agent::{Chain, Running};
use crate::analyzer::harness;

const PATHS: &str = "/api/v1/paths?window=120s&limit=1000";
/// A probe and its two ACKs.
const PACKETS: u64 = 3;
/// Probes that the end of the agents may leave unfinished, whose packets exist but no results: far fewer than one batch
/// of one host holds.
const UNFINISHED: u64 = 6;
/// Larger than any spool here.
const SPOOL_LIMIT: u64 = 1 << 30;
const SPOOL_BYTES: usize = 1 << 24;
/// Looking for progress costs a request; nothing is decided by how long this is.
const LOOK: Duration = Duration::from_millis(50);

/// Two ToRs with two hosts each, all with an agent.
struct Site {
    chain: Chain,
    fabric: Fabric,
    agents: Vec<Running>,
    stop_fabric: CancellationToken,
}

/// Probes that a store has.
#[derive(Debug, Default)]
struct Kept {
    sent: u64,
    /// Those in slots that were over when the windows were read.
    over: u64,
    complete: u64,
}

impl Site {
    async fn start() -> Self {
        let shape = Shape {
            spines: 2,
            tors: 2,
            hosts: 2,
            rnics: 1,
            ..Shape::default()
        };
        let topology = Arc::new(Topology::new(shape, 1).expect("a shape"));
        let clock = Arc::new(SystemClock);
        let engine = Engine::new(topology, Profile::default(), 1, clock.host());
        let stop_fabric = CancellationToken::new();
        let (fabric, _) = Fabric::start(engine, clock, stop_fabric.clone());
        let chain = Chain::new().await;
        let agents = (0..4)
            .map(|number| {
                let topology = fabric.topology();
                let rnic = topology.rnics_of(number).next().expect("an RNIC");
                let rnic = topology.rnic(rnic);
                let provider = Arc::new(fabric.provider(number));
                chain.agent_on(provider, rnic.host.as_str(), rnic.tor.as_str())
            })
            .collect();
        Self {
            chain,
            fabric,
            agents,
            stop_fabric,
        }
    }

    async fn packets(&self) -> Totals {
        self.fabric
            .with(|engine| engine.totals())
            .await
            .expect("the fabric runs")
    }

    /// Until the agents have sent so many more probes.
    async fn probes(&self, more: u64) {
        let before = self.packets().await.sent;
        let probing = async {
            while self.packets().await.sent < before + more * PACKETS {
                tokio::time::sleep(LOOK).await;
            }
        };
        tokio::time::timeout(Duration::from_secs(25), probing)
            .await
            .expect("probing goes on");
    }

    /// Until the analyzer has results of every host.
    async fn results(&self) {
        self.chain
            .wait(PATHS, "results of every host", |answer| {
                let paths = answer["paths"].as_array().expect("paths");
                self.fabric.topology().hosts().iter().all(|host| {
                    paths
                        .iter()
                        .any(|path| path["source"]["host"] == host.as_str())
                })
            })
            .await;
    }

    /// Until each agent has uploaded what it measured up to now: none waits to try a server again.
    async fn uploaded(&self) {
        let now = SystemClock.wall().nanos();
        self.chain
            .wait("/api/v1/agents", "an upload of every agent", |answer| {
                let agents = answer["agents"].as_array().expect("agents");
                agents.len() == self.agents.len()
                    && agents
                        .iter()
                        .all(|agent| agent["last_interval_end_unix_ns"].as_i64() > Some(now))
            })
            .await;
    }

    /// Stops the agents at once, then `analyzer`, and compares all accounts: the fabric's, the windows', the journal's and
    /// what an agent kept because the analyzer had not taken it when it stopped.
    async fn settle(mut self, analyzer: Running) {
        self.uploaded().await;
        let stops = self.agents.drain(..).map(Running::stop);
        let stops: Vec<_> = stops.map(tokio::spawn).collect();
        for stop in stops {
            stop.await.expect("no panic");
        }
        let packets = self.packets().await;
        assert_eq!((packets.lost, packets.unroutable), (0, 0), "{packets:?}");
        let answer = self.chain.get(PATHS).await.expect("an answer");
        assert_eq!(answer["next_offset"], Value::Null);
        let end = answer["end_unix_ns"].as_i64().expect("a time");
        let windows = harness::sent(&answer);
        let agents = self.chain.get("/api/v1/agents").await.expect("an answer");
        let mut waiting = Kept::default();
        for agent in agents["agents"].as_array().expect("agents") {
            assert_eq!(agent["lost_batches"], 0, "{agent}");
            assert_eq!(agent["counters"]["results_dropped"], 0, "{agent}");
            let taken = agent["sequence"].as_u64().expect("a number");
            self.spooled(agent["host"].as_str().expect("a name"), taken, &mut waiting)
                .await;
        }
        analyzer.stop().await;
        let kept = self.journal(end).await;
        assert!(windows > 0);
        assert_eq!(
            windows, kept.over,
            "the windows count each stored probe once"
        );
        // None twice: there were enough packets for each.
        assert!(
            (kept.complete + waiting.complete) * PACKETS <= packets.sent,
            "{kept:?} stored and {waiting:?} in spools, of {} packets",
            packets.sent
        );
        // None missing.
        assert!(
            packets.sent <= (kept.sent + waiting.sent + UNFINISHED) * PACKETS,
            "{kept:?} stored and {waiting:?} in spools, of {} packets",
            packets.sent
        );
        self.stop_fabric.cancel();
    }

    async fn journal(&self, end: i64) -> Kept {
        let file = self.chain.folder.path().join("analyzer.sqlite");
        let stores = Stores::open(&Location::File(file))
            .await
            .expect("the analyzer's stores");
        let stored = stores
            .journal
            .read(WallTime::from_nanos(0), 0, 100_000, usize::MAX)
            .await
            .expect("readable");
        let mut kept = Kept::default();
        for stored in stored {
            kept.add(&stored.record.payload, end);
        }
        kept
    }

    /// Adds the batches after `taken` that are still in the spool of an agent that has stopped.
    async fn spooled(&self, host: &str, taken: u64, waiting: &mut Kept) {
        let file = self.chain.folder.path().join(host).join(SPOOL_FOLDER);
        let spool = Spool::open(&Location::File(file), SPOOL_LIMIT)
            .await
            .expect("the agent's spool");
        let batches = spool.read(taken, SPOOL_BYTES).await.expect("readable");
        for batch in batches {
            waiting.add(&batch.payload, i64::MAX);
        }
    }
}

impl Kept {
    /// Adds an encoded batch; windows are read up to `end`.
    fn add(&mut self, batch: &[u8], end: i64) {
        let message = v1::ResultBatch::decode(batch).expect("a batch");
        // The slot of a batch is that of its middle.
        let middle = message.start_unix_ns.midpoint(message.end_unix_ns);
        let Received { batch, refused } = Received::read(batch, &Ends::default()).expect("a batch");
        assert!(refused.is_empty(), "{refused:?}");
        let Batch { paths, .. } = batch;
        let sent: u64 = paths.iter().map(PathReport::sent).sum();
        self.sent += sent;
        if middle < end {
            self.over += sent;
        }
        let complete = paths.iter().map(|path| path.samples.len() as u64);
        self.complete += complete.sum::<u64>();
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn controller_away() {
    let site = Site::start().await;
    let (controller, analyzer) = (site.chain.controller().await, site.chain.analyzer().await);
    site.results().await;
    controller.stop().await;
    site.probes(100).await;
    let controller = site.chain.controller().await;
    site.probes(100).await;
    site.settle(analyzer).await;
    controller.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn analyzer_restart() {
    let site = Site::start().await;
    let (controller, mut analyzer) = (site.chain.controller().await, site.chain.analyzer().await);
    site.results().await;
    for _ in 0..2 {
        analyzer.stop().await;
        site.probes(100).await;
        analyzer = site.chain.analyzer().await;
        site.probes(50).await;
    }
    site.settle(analyzer).await;
    controller.stop().await;
}
