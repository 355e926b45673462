//! Random kills: what a site of several controllers and analyzers loses by them must be nothing.
//!
//! A host is killed first, and its incident opens. Then each step kills one program, or stops it for a while, and starts it again. After
//! each step every batch of every agent is counted once, the incident is open under its number, and nothing else is wrong.
//!
//! `KILLS=200` says how many steps, `SEED=7` which ones.

mod plan;

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use rustix::process::{Signal, kill_process};
use serde_json::Value;

use super::site::{
    HOSTS, LOOK, Member, PATIENCE, Plan, Site, apart, controller_on, free, name_of, now, until,
};
use super::tally::Tally;
use crate::external::hook::Hook;
use plan::{Deed, Kind, plan};

/// In the default profile: all kinds, one of them twice.
const KILLS: usize = 6;
/// An analyzer that stands still for so long is given up.
const STILL: Duration = Duration::from_secs(5);
/// A write that the database did not take is told for a minute, and the incident stays open for a while after that.
const TOLD: Duration = Duration::from_mins(2);
/// The windows are compared with what agents have measured after so many steps.
const COMPARED: usize = 5;

/// What was seen after a step.
#[derive(Debug, Clone, Copy)]
struct Seen {
    /// Until the judge had all batches of all agents again.
    whole: Duration,
    /// Until another one had judged, where the judge was hit.
    judged: Option<Duration>,
}

/// When a step began, by two clocks.
#[derive(Debug, Clone, Copy)]
struct Begun {
    at: Instant,
    wall: i64,
}

/// What is left of a step to be done.
#[derive(Default)]
struct Hit {
    /// An analyzer that stands still.
    still: Option<Member>,
    /// The row of a controller that was killed.
    left: Option<i64>,
    /// A controller is to be started there.
    controller: Option<SocketAddr>,
}

impl Hit {
    /// Lets an analyzer go on that stands still, when it has done so for long enough.
    async fn wake(&mut self, begun: Begun) {
        if let Some(member) = &self.still {
            tokio::time::sleep(STILL.saturating_sub(begun.at.elapsed())).await;
            kill_process(member.program.pid(), Signal::CONT).expect("goes on");
        }
    }
}

struct Run {
    site: Site,
    hook: Hook,
    tally: Tally,
    /// The number of the incident.
    incident: u64,
    host: String,
    /// Kills after which a message may come twice: its receiver has answered, and nobody has stored that.
    may_repeat: usize,
    /// When the database was killed last.
    database_hit: Option<Instant>,
}

fn number(name: &str) -> Option<u64> {
    let text = std::env::var(name).ok()?;
    Some(text.parse().expect("a number"))
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs PostgreSQL: cargo xtask test --only external"]
async fn a_site_whose_programs_are_killed_at_random_loses_nothing() {
    let seed = number("SEED").unwrap_or_else(rand::random);
    let kills = number("KILLS").map_or(KILLS, |kills| usize::try_from(kills).expect("small"));
    println!("SEED={seed} KILLS={kills}");
    let mut run = Run::start().await;
    let mut all: BTreeMap<Kind, Vec<Seen>> = BTreeMap::new();
    for (at, deed) in plan(seed, kills).into_iter().enumerate() {
        println!("{}: {}", at + 1, deed);
        let seen = run.step(deed).await;
        println!("{}", told(seen));
        all.entry(deed.kind).or_default().push(seen);
        if (at + 1) % COMPARED == 0 {
            run.compare().await;
        }
    }
    run.compare().await;
    run.alerts().await;
    for (kind, seen) in &all {
        println!("{}", summary(*kind, seen));
    }
    run.site.stop().await;
}

fn told(seen: Seen) -> String {
    let judged = seen.judged.map_or_else(String::new, |judged| {
        let seconds = judged.as_secs_f64();
        format!(", another one has judged after {seconds:.1} s")
    });
    let whole = seen.whole.as_secs_f64();
    format!("  each batch is counted once after {whole:.1} s{judged}")
}

fn summary(kind: Kind, seen: &[Seen]) -> String {
    let of = |durations: Vec<Duration>| {
        let mut durations = durations;
        durations.sort_unstable();
        let (median, longest) = (durations.get(durations.len() / 2), durations.last());
        let seconds = |one: Option<&Duration>| one.map_or(0.0, Duration::as_secs_f64);
        format!(
            "median {:.1} s, longest {:.1} s",
            seconds(median),
            seconds(longest)
        )
    };
    let judged: Vec<_> = seen.iter().filter_map(|one| one.judged).collect();
    let judged = match judged.len() {
        0 => String::new(),
        times => format!("; another one had judged, {times} times: {}", of(judged)),
    };
    let whole = of(seen.iter().map(|one| one.whole).collect());
    format!("{} times {kind}: whole after {whole}{judged}", seen.len())
}

impl Run {
    /// A site with one host that is down.
    async fn start() -> Self {
        let any = "127.0.0.1:0".parse().expect("an address");
        let (hook, receiver) = Hook::listen(any).await;
        let metrics: Vec<_> = (0..HOSTS).map(|_| free()).collect();
        let hosts = (1..=HOSTS).map(name_of).zip(metrics.clone());
        let tally = Tally::of(hosts);
        let plan = Plan {
            further_controllers: 1,
            of_analyzers: vec![format!("--alerts-webhooks=http://{receiver}/")],
            metrics,
        };
        let mut site = Site::of(plan).await;
        let (host, agent) = site.agents.remove(0);
        agent.kill();
        let mut incident = None;
        let seen = until("the fault is seen", PATIENCE, async || {
            let faults = site.faults().await.unwrap_or_default();
            let about = |title: &str| title.contains(&host);
            incident = faults
                .iter()
                .find(|one| one["title"].as_str().is_some_and(about))
                .cloned();
            incident.is_some()
        })
        .await;
        let incident = incident.expect("it is seen");
        println!("{} is open after {seen:?}", incident["title"]);
        assert_eq!(incident["category"], "host_down", "{incident:#}");
        let run = Self {
            site,
            hook,
            tally,
            incident: incident["id"].as_u64().expect("a number"),
            host,
            may_repeat: 0,
            database_hit: None,
        };
        // From here on its receiver must not be told again.
        until("the alert is noted as delivered", PATIENCE, async || {
            let sql = "SELECT count(*) FROM rpingmesh.alert WHERE incident = $1";
            let id = i64::try_from(run.incident).expect("small");
            let row = run.site.client.query_one(sql, &[&id]).await;
            row.expect("readable").get::<_, i64>(0) == 1
        })
        .await;
        run
    }

    async fn step(&mut self, deed: Deed) -> Seen {
        let before = self.site.judge().await;
        let begun = Begun {
            at: Instant::now(),
            wall: now(),
        };
        let mut hit = self.hit(deed).await;
        // None but a judge that was hit is followed by another one.
        let is_judge = !self.site.members.iter().any(|one| one.id == before);
        self.may_repeat += usize::from(is_judge || deed.kind == Kind::Database);
        let (whole, judged, ()) = tokio::join!(
            self.whole(begun, hit.left),
            self.judged(begun, before, is_judge),
            hit.wake(begun),
        );
        self.recover(hit).await;
        self.settled(begun).await;
        let judge = self.site.judge().await;
        assert_eq!(judge != before, is_judge, "judges: {before}, then {judge}");
        Seen { whole, judged }
    }

    /// How often the judge has judged.
    async fn runs(&self) -> u64 {
        let status = self.site.ask("/api/v1/status").await.unwrap_or_default();
        status["judge"]["runs"].as_u64().unwrap_or_default()
    }

    /// Waits until another analyzer than `before` has judged, if the judge was hit.
    async fn judged(&self, begun: Begun, before: i64, is_judge: bool) -> Option<Duration> {
        if !is_judge {
            return None;
        }
        until("another one has judged", PATIENCE, async || {
            self.site.judge().await != before && self.runs().await > 0
        })
        .await;
        Some(begun.at.elapsed())
    }

    /// Waits until the judge has all batches, also one that each agent has made since, no agent is served by the controller `left`,
    /// and all analyzers have been in the database since.
    async fn whole(&self, begun: Begun, left: Option<i64>) -> Duration {
        let end = Instant::now() + PATIENCE;
        loop {
            let seen = (
                self.site.has_all_batches(begun.wall).await,
                self.served_by(left).await,
                self.renewed_since(begun.wall).await >= self.site.members.len(),
            );
            if seen == (true, 0, true) {
                return begun.at.elapsed();
            }
            if Instant::now() > end {
                self.explain().await;
                panic!("not all batches of all agents after {PATIENCE:?}: {seen:?}, {begun:?}");
            }
            tokio::time::sleep(LOOK).await;
        }
    }

    /// Prints what helps to find out what is wrong.
    async fn explain(&self) {
        for member in &self.site.members {
            println!("analyzer {}: {:#?}", member.id, member.program.recent());
        }
        let agents = self.site.ask("/api/v1/agents").await.unwrap_or_default();
        for agent in agents["agents"].as_array().into_iter().flatten() {
            let names = [
                "host",
                "sequence",
                "batches",
                "oldest_sequence",
                "missing_batches",
                "lost_batches",
                "late_batches",
                "future_batches",
                "last_upload_unix_ns",
                "last_interval_end_unix_ns",
            ];
            let row: Vec<_> = names.map(|name| format!("{name} {}", agent[name])).into();
            println!("{}", row.join(", "));
        }
    }

    /// How many living agents this controller serves.
    async fn served_by(&self, controller: Option<i64>) -> usize {
        let sql = "SELECT id FROM rpingmesh.agent WHERE controller = $1";
        let rows = self.site.client.query(sql, &[&controller]).await;
        let rows = rows.expect("readable");
        rows.iter()
            .filter(|row| row.get::<_, &str>(0) != self.host)
            .count()
    }

    /// How many analyzers have renewed their rows since.
    async fn renewed_since(&self, wall: i64) -> usize {
        let sql = "SELECT count(*) FROM rpingmesh.analyzer WHERE renewed > to_timestamp($1)";
        let seconds = wall as f64 / 1e9;
        let row = self.site.client.query_one(sql, &[&seconds]).await;
        let renewed: i64 = row.expect("readable").get(0);
        usize::try_from(renewed).expect("small")
    }

    /// Waits until shards have come to rest and the judge has judged that; nothing is wrong but the host that is down.
    async fn settled(&self, begun: Begun) {
        until("each analyzer has its share", PATIENCE, async || {
            let owned = self.site.owned().await;
            let is_living = |id| self.site.members.iter().any(|one| one.id == id);
            owned.len() == 3
                && owned
                    .iter()
                    .all(|(id, shards)| is_living(*id) && (21..=22).contains(shards))
        })
        .await;
        let again = Begun {
            at: Instant::now(),
            wall: now(),
        };
        self.whole(again, None).await;
        let runs = self.runs().await;
        until("it is judged", PATIENCE, async || {
            self.runs().await > runs + 1
        })
        .await;
        let mut faults = self.site.faults().await.expect("an answer");
        faults.retain(|incident| !self.is_of_database(incident));
        let is_it = faults.len() == 1
            && faults[0]["id"] == self.incident
            && faults[0]["state"] == "open"
            && faults[0]["title"]
                .as_str()
                .is_some_and(|title| title.contains(&self.host));
        if !is_it {
            self.explain().await;
            let (id, since) = (self.incident, begun.wall);
            panic!("incident {id} alone is to be open; the step began at {since}: {faults:#?}");
        }
    }

    async fn hit(&mut self, deed: Deed) -> Hit {
        let mut hit = Hit::default();
        match deed.kind {
            Kind::Judge => self.kill_analyzer(true, deed).await,
            Kind::Owner => self.kill_analyzer(false, deed).await,
            Kind::Still => {
                let at = deed.which % self.site.members.len();
                let member = self.site.members.remove(at);
                kill_process(member.program.pid(), Signal::STOP).expect("stopped");
                hit.still = Some(member);
            }
            Kind::Controller => {
                let at = deed.which % self.site.controllers.len();
                let victim = self.site.controllers.remove(at);
                let name = format!("%process {}", victim.program.id());
                let sql = "SELECT id FROM rpingmesh.controller WHERE name LIKE $1";
                let row = self.site.client.query_one(sql, &[&name]).await;
                hit.left = Some(row.expect("its row").get(0));
                let address = victim.address;
                // Dropped, a program is killed.
                apart(|| drop(victim));
                if deed.at_once {
                    self.start_controller(address);
                } else {
                    hit.controller = Some(address);
                }
            }
            Kind::Database => {
                self.database_hit = Some(Instant::now());
                apart(|| self.site.cluster.kill());
                self.site.cluster.start_again().await;
                self.site.client = self.site.cluster.client("rpingmesh").await;
            }
        }
        hit
    }

    /// Whether an incident says that the database took nothing, which was so: the test has killed it.
    fn is_of_database(&self, incident: &Value) -> bool {
        let is_late = |hit: Instant| incident["state"] == "open" && hit.elapsed() > TOLD;
        incident["category"] == "monitoring_store"
            && self.database_hit.is_some_and(|hit| !is_late(hit))
    }

    async fn kill_analyzer(&mut self, judges: bool, deed: Deed) {
        let judge = self.site.judge().await;
        let fitting = self.site.members.iter().enumerate();
        let fitting: Vec<_> = fitting
            .filter(|(_, one)| (one.id == judge) == judges)
            .map(|(at, _)| at)
            .collect();
        let at = fitting[deed.which % fitting.len()];
        let victim = self.site.members.remove(at);
        let (grpc, web) = (victim.grpc, victim.web);
        apart(|| drop(victim));
        if deed.at_once && deed.same_address {
            self.site.join_on(grpc, web).await;
        } else if deed.at_once {
            self.site.join().await;
        }
    }

    fn start_controller(&mut self, address: SocketAddr) {
        let again = controller_on(&self.site.store, address);
        self.site.controllers.push(again);
    }

    /// Starts what is still missing. What stood still has ended.
    async fn recover(&mut self, hit: Hit) {
        if let Some(mut member) = hit.still {
            let status = apart(|| {
                member.program.wait_for(&["was silent for too long"]);
                member.program.ends()
            });
            assert_eq!(status, Some(1));
        }
        if let Some(address) = hit.controller {
            self.start_controller(address);
        }
        while self.site.members.len() < 3 {
            self.site.join().await;
        }
    }

    /// The windows have what agents have measured.
    async fn compare(&self) {
        let mut seen = Err(String::new());
        let is_same = async || {
            seen = self.tally.compare(&self.site).await;
            seen.is_ok()
        };
        let end = Instant::now() + PATIENCE / 3;
        let mut is_same = is_same;
        while !is_same().await && Instant::now() < end {
            tokio::time::sleep(Duration::from_secs(1)).await;
        }
        match seen {
            Ok(same) => println!("{same}"),
            Err(why) => panic!("{why}"),
        }
    }

    /// What the receiver was told of the incident, in order: that of which a change is told.
    fn states(&self) -> Vec<[Value; 3]> {
        let bodies = self.hook.bodies();
        let changes = bodies
            .iter()
            .filter_map(|(_, body)| body["changes"].as_array());
        let incidents = changes.flatten().map(|change| &change["incident"]);
        incidents
            .filter(|incident| incident["id"] == self.incident)
            .map(|incident| ["subject", "category", "severity"].map(|name| incident[name].clone()))
            .collect()
    }

    /// What the receiver was told: everything, and of the incident that was open all the time one message.
    async fn alerts(&self) {
        let url = "/api/v1/incidents?limit=1000";
        let answer = self.site.ask(url).await.expect("an answer");
        let incidents = answer["incidents"].as_array().expect("a list");
        until("the receiver was told everything", PATIENCE, async || {
            let told = self.hook.changes();
            incidents.iter().all(|incident| {
                let id = incident["id"].as_u64().expect("a number");
                let is_open = incident["state"] == "open";
                let event = if is_open { "opened" } else { "closed" };
                told.contains(&(event.to_owned(), id))
            })
        })
        .await;
        let mut told: BTreeMap<(u64, String), usize> = BTreeMap::new();
        for (event, id) in self.hook.changes() {
            *told.entry((id, event)).or_default() += 1;
        }
        let of_it: Vec<_> = told
            .iter()
            .filter(|((id, _), _)| *id == self.incident)
            .collect();
        let opened = (self.incident, "opened".to_owned());
        assert_eq!(of_it, [(&opened, &1)], "the incident is told once");
        let states = self.states();
        let is_news = states.windows(2).all(|pair| pair[0] != pair[1]);
        assert!(is_news, "nothing is told twice in a row: {states:#?}");
        let repeated: usize = told.values().map(|times| times - 1).sum();
        println!(
            "the receiver was told of incident {} once, and of each of {} others (load of the machine, database); {repeated} messages \
             came again",
            self.incident,
            incidents.len() - 1
        );
        assert!(repeated <= self.may_repeat, "{told:?}");
    }
}
