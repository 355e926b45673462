//! A fleet on hosts of its own: two controllers, three analyzers that share it, and agents, all as programs; the database is the
//! test's. What is stored is read beside the network, so a partition does not blind the test.

use std::time::{Duration, Instant};

use serde_json::Value;
use tokio_postgres::Client;

use crate::external::postgres::cluster::Host;
use crate::netns::star::Star;
use crate::support::program::{AGENT, ANALYZER, CONTROLLER, Program};

/// What must come comes in this time, on a loaded machine. How long it took is printed.
pub(super) const PATIENCE: Duration = Duration::from_secs(90);
const LOOK: Duration = Duration::from_millis(100);
/// Windows consist of slots of 5 s. One more has begun and ended.
const SLOT: Duration = Duration::from_secs(6);
/// Agents, with two under each ToR.
pub(super) const AGENTS: usize = 8;

/// A program, and where it runs.
pub(super) struct Member {
    pub(super) host: String,
    pub(super) program: Program,
    /// Its row in the database; 0 for none.
    pub(super) id: i64,
    /// Of an agent.
    tor: String,
}

/// All programs. They end with this value, before their hosts do.
pub(super) struct Fleet {
    pub(super) agents: Vec<Member>,
    pub(super) analyzers: Vec<Member>,
    pub(super) controllers: Vec<Member>,
    pub(super) client: Client,
    store: String,
    folder: tempfile::TempDir,
    pub(super) star: Star,
}

/// Numbered names.
fn named(letter: &str, count: usize) -> impl Iterator<Item = String> {
    (1..=count).map(move |number| format!("{letter}{number}"))
}

pub(super) fn host(star: &Star, name: &str) -> Host {
    Host {
        space: star.space(name),
        address: star.address(name),
    }
}

fn shard_of(tor: &str) -> i32 {
    let tor = tor.into();
    rpingmesh::analysis::shards::ShardId::of_tors([&tor])
        .number()
        .into()
}

/// The hosts of a fleet, and others.
pub(super) fn hosts(test: &str, others: &[&str]) -> Star {
    let others = others.iter().map(|name| (*name).to_owned());
    let fleet = named("c", 2).chain(named("z", 3)).chain(named("h", AGENTS));
    Star::new(test, &others.chain(fleet).collect::<Vec<_>>())
}

/// Tries again until it holds; gives how long that took.
pub(super) async fn until(
    what: &str,
    patience: Duration,
    mut holds: impl AsyncFnMut() -> Result<(), String>,
) -> Duration {
    let begun = Instant::now();
    while let Err(why) = holds().await {
        assert!(
            begun.elapsed() < patience,
            "not within {patience:?}: {what}: {why}"
        );
        tokio::time::sleep(LOOK).await;
    }
    begun.elapsed()
}

impl Fleet {
    /// Starts everything, and waits until all is well. `client` reads what `store` keeps.
    pub(super) async fn start(star: Star, store: String, client: Client) -> Self {
        let mut fleet = Self {
            agents: Vec::new(),
            analyzers: Vec::new(),
            controllers: Vec::new(),
            client,
            store,
            folder: tempfile::tempdir().expect("a folder"),
            star,
        };
        for host in named("c", 2) {
            let controller = fleet.controller(&host).await;
            fleet.controllers.push(controller);
        }
        for host in named("z", 3) {
            let analyzer = fleet.analyzer(&host).await;
            fleet.analyzers.push(analyzer);
        }
        until("each analyzer owns its share", PATIENCE, async || {
            let owned = fleet.owned().await;
            let is_fair =
                owned.len() == 3 && owned.iter().all(|(_, shards)| (21..=22).contains(shards));
            is_fair.then_some(()).ok_or(format!("{owned:?}"))
        })
        .await;
        let tors = fleet.tors().await;
        for (number, host) in named("h", AGENTS).enumerate() {
            let agent = fleet.agent(&host, &tors[number / 2]);
            fleet.agents.push(agent);
        }
        fleet.whole("all results are judged").await;
        assert_eq!(fleet.incidents(), [], "nothing is wrong");
        fleet
    }

    pub(super) async fn controller(&self, host: &str) -> Member {
        let store = format!("--store={}", self.store);
        let words = [
            "run",
            "--listen=0.0.0.0:7470",
            "--tls-allow-plaintext",
            &store,
        ];
        let mut program = self.star.start(host, CONTROLLER, &words);
        program.wait_for(&["controller listens"]);
        let id = self.id("controller", &program).await;
        Member {
            host: host.to_owned(),
            program,
            id,
            tor: String::new(),
        }
    }

    pub(super) async fn analyzer(&self, host: &str) -> Member {
        let address = self.star.address(host);
        let words = [
            "run".to_owned(),
            "--listen=0.0.0.0:7471".to_owned(),
            format!("--web={address}:7472"),
            "--web-allow-remote".to_owned(),
            "--tls-allow-plaintext".to_owned(),
            format!("--advertise=http://{address}:7471"),
            format!("--advertise-web=http://{address}:7472"),
            format!("--store={}", self.store),
        ];
        let words: Vec<_> = words.iter().map(String::as_str).collect();
        let mut program = self.star.start(host, ANALYZER, &words);
        program.wait_for(&["shares the fleet"]);
        let id = self.id("analyzer", &program).await;
        Member {
            host: host.to_owned(),
            program,
            id,
            tor: String::new(),
        }
    }

    /// Names of ToRs, so that each analyzer owns agents.
    async fn tors(&self) -> Vec<String> {
        let mut tors: Vec<String> = Vec::new();
        for number in 0..AGENTS / 2 {
            let owner = &self.analyzers[number % self.analyzers.len()];
            let owned = self.shards_of(owner.id).await;
            let names = (0..).map(|number| format!("tor{number}"));
            let mut free =
                names.filter(|tor| owned.contains(&shard_of(tor)) && !tors.contains(tor));
            let tor = free.next().expect("endless");
            tors.push(tor);
        }
        tors
    }

    fn agent(&self, host: &str, tor: &str) -> Member {
        let controllers: Vec<_> = named("c", 2)
            .map(|host| format!("http://{}:7470", self.star.address(&host)))
            .collect();
        let words = [
            "run".to_owned(),
            "--transport=userspace".to_owned(),
            "--tls-allow-plaintext".to_owned(),
            format!("--userspace-addresses={}", self.star.address(host)),
            format!("--controller={}", controllers.join(",")),
            format!("--analyzer=http://{}:7471", self.star.address("z1")),
            format!("--tor={tor}"),
            format!("--host={host}"),
            format!("--state-dir={}", self.folder.path().join(host).display()),
        ];
        let words: Vec<_> = words.iter().map(String::as_str).collect();
        Member {
            host: host.to_owned(),
            program: self.star.start(host, AGENT, &words),
            id: 0,
            tor: tor.to_owned(),
        }
    }

    /// The row of a program.
    async fn id(&self, table: &str, program: &Program) -> i64 {
        let sql = format!("SELECT id FROM rpingmesh.{table} WHERE name LIKE $1");
        let name = format!("%process {}", program.id());
        let row = self.client.query_one(&sql, &[&name]).await;
        row.expect("its row").get(0)
    }

    /// Analyzers with how many shards they own.
    pub(super) async fn owned(&self) -> Vec<(i64, i64)> {
        let sql = "SELECT owner, count(*) FROM rpingmesh.shard GROUP BY owner ORDER BY owner";
        let rows = self.client.query(sql, &[]).await.expect("readable");
        rows.iter().map(|row| (row.get(0), row.get(1))).collect()
    }

    /// The row of the judge.
    pub(super) async fn judge(&self) -> i64 {
        let sql = "SELECT member FROM rpingmesh.owner WHERE role = 'analyzer'";
        let row = self.client.query_one(sql, &[]).await;
        row.expect("a judge").get(0)
    }

    /// The host of the judge.
    pub(super) async fn judge_host(&self) -> String {
        let judge = self.judge().await;
        let judge = self.analyzers.iter().find(|one| one.id == judge);
        judge.expect("one of them").host.clone()
    }

    /// Numbers of the shards that this analyzer owns.
    async fn shards_of(&self, owner: i64) -> Vec<i32> {
        let sql = "SELECT number FROM rpingmesh.shard WHERE owner = $1";
        let rows = self.client.query(sql, &[&owner]).await.expect("readable");
        rows.iter().map(|row| row.get(0)).collect()
    }

    /// Hosts of the agents that this analyzer owns.
    pub(super) async fn agents_of(&self, owner: i64) -> Vec<String> {
        let owned = self.shards_of(owner).await;
        let agents = self
            .agents
            .iter()
            .filter(|one| owned.contains(&shard_of(&one.tor)));
        agents.map(|one| one.host.clone()).collect()
    }

    /// A number that a statement gives.
    pub(super) async fn number(&self, sql: &str) -> i64 {
        self.client
            .query_one(sql, &[])
            .await
            .expect("readable")
            .get(0)
    }

    /// Probes that agents have sent in the last 20 s that are over, as the judge has counted them.
    pub(super) fn sent(&self) -> Option<u64> {
        let answer = self.ask("/api/v1/paths?window=20s&limit=10000")?;
        let paths = answer["paths"].as_array()?;
        Some(paths.iter().filter_map(|path| path["sent"].as_u64()).sum())
    }

    /// What the analyzer on a host answers itself.
    pub(super) fn ask_host(&self, host: &str, path: &str) -> Option<Value> {
        let answer = self
            .star
            .get(&format!("{}:7472", self.star.address(host)), path)?;
        body(&answer)
    }

    /// What the fleet answers: the analyzer that is asked sends its clients to the judge.
    pub(super) fn ask(&self, path: &str) -> Option<Value> {
        let host = &self.analyzers.last()?.host;
        let address = format!("{}:7472", self.star.address(host));
        let mut answer = self.star.get(&address, path)?;
        if answer.starts_with("HTTP/1.1 307") {
            let line = answer
                .lines()
                .find_map(|line| line.strip_prefix("location: http://"))?;
            let (address, path) = line.trim().split_once('/')?;
            answer = self.star.get(address, &format!("/{path}"))?;
        }
        body(&answer)
    }

    /// The same once all 20 s are full: a slot later it is what it was.
    pub(super) async fn steady(&self) -> u64 {
        let mut seen: Vec<(Instant, u64)> = Vec::new();
        until("results of 20 s are counted", PATIENCE, async || {
            let sent = self.sent().ok_or("no answer")?;
            seen.push((Instant::now(), sent));
            let before = seen.iter().rev().find(|(at, _)| at.elapsed() > SLOT);
            let is_steady =
                before.is_some_and(|(_, before)| sent > 0 && sent.abs_diff(*before) * 50 < sent);
            is_steady.then_some(()).ok_or_else(|| format!("{seen:?}"))
        })
        .await;
        seen.last().expect("some").1
    }

    /// Waits until the judge has heard all agents lately, and has all batches of theirs that a window needs. On a machine that is
    /// overloaded there may be another judge meanwhile, which does not count again what its predecessor has counted.
    pub(super) async fn whole(&self, what: &str) -> Duration {
        until(what, PATIENCE, async || self.is_whole()).await
    }

    /// How old the newest upload is of the agent that has uploaded nothing for longest.
    pub(super) fn oldest_upload(&self) -> Option<Duration> {
        let answer = self.ask("/api/v1/agents")?;
        let now = answer["now_unix_ns"].as_i64()?;
        let hosts: Vec<_> = self.agents.iter().map(|one| one.host.as_str()).collect();
        let agents = answer["agents"].as_array()?.iter();
        let living =
            agents.filter(|agent| hosts.contains(&agent["host"].as_str().unwrap_or_default()));
        let ages =
            living.map(|agent| now - agent["last_upload_unix_ns"].as_i64().unwrap_or_default());
        Some(Duration::from_nanos(u64::try_from(ages.max()?).ok()?))
    }

    fn is_whole(&self) -> Result<(), String> {
        let answer = self.ask("/api/v1/agents").ok_or("no answer")?;
        let agents = answer["agents"].as_array().ok_or("no agents")?;
        let is_whole = |agent: &&Value| {
            let age = answer["now_unix_ns"]
                .as_i64()
                .zip(agent["last_upload_unix_ns"].as_i64());
            age.is_some_and(|(now, last)| now - last < 2_500_000_000)
                && agent["sequence"].as_u64().is_some_and(|newest| newest >= 3)
                && has_all(agent)
                && agent["lost_batches"] == 0
                && agent["late_batches"] == 0
        };
        let whole = agents.iter().filter(is_whole).count();
        let is_so = whole >= self.agents.len();
        is_so.then_some(()).ok_or_else(|| format!("{answer:#}"))
    }

    /// All incidents, but for those that say that the test machine is overloaded.
    pub(super) fn incidents(&self) -> Vec<Incident> {
        told(&self.ask("/api/v1/incidents").expect("the judge answers"))
    }

    /// Ends all programs in order.
    pub(super) fn stop(self) {
        for member in self
            .agents
            .into_iter()
            .chain(self.analyzers)
            .chain(self.controllers)
        {
            member.program.stop();
        }
    }
}

/// What an incident says.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Incident {
    pub(super) category: String,
    pub(super) title: String,
    pub(super) is_open: bool,
}

/// See [`Fleet::incidents`].
pub(super) fn told(answer: &Value) -> Vec<Incident> {
    let is_load = |incident: &Value| {
        let evidence = incident["evidence"].to_string();
        let is_of_hosts = evidence.contains("agent_silent") || evidence.contains("host_down");
        incident["category"] == "cpu_overload"
            || incident["category"] == "monitoring_blind"
                && evidence.contains("starved")
                && !is_of_hosts
    };
    let text = |incident: &Value, key: &str| incident[key].as_str().unwrap_or_default().to_owned();
    let incidents = answer["incidents"].as_array().into_iter().flatten();
    incidents
        .filter(|one| !is_load(one))
        .map(|one| Incident {
            category: text(one, "category"),
            title: text(one, "title"),
            is_open: one["closed_unix_ns"].is_null(),
        })
        .collect()
}

fn body(answer: &str) -> Option<Value> {
    serde_json::from_str(answer.split_once("\r\n\r\n")?.1).ok()
}

/// Whether no batch of an agent is missing among the last ones: the longest window holds 120 s, one batch a second.
fn has_all(agent: &Value) -> bool {
    const HELD: u64 = 115;
    let numbers = agent["sequence"]
        .as_u64()
        .zip(agent["oldest_sequence"].as_u64());
    agent["missing_batches"] == 0
        && numbers.is_some_and(|(newest, oldest)| newest - oldest + 1 >= newest.min(HELD))
}
