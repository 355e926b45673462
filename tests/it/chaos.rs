//! The whole system under random damage, in virtual time: what happens is drawn from a seed ([`plan`]).
//!
//! What is real: controller and analyzer with their stores and their gRPC on loopback; the agents' registration, upload,
//! collector and spool with its files; sessions and packets of the emulated fabric. Agents, controller and analyzer are killed and
//! come back, spools and databases are replaced by older copies or lose their ends, disks take nothing or do not answer,
//! networks are cut or fall silent in one direction.
//!
//! What must hold, whatever happens:
//! - each probe of a batch is in the analyzer's journal and windows once, or the simulation itself has destroyed the only copy of
//!   the batch, or the agent says that it has dropped it;
//! - no incident blames the network where no fault was injected, and none blames another part of it;
//! - an RNIC that fails or loses is found after all that.
//!
//! **Time** is virtual for everybody: timers too, which go on in steps. Threads (stores, the analyzer's state and judge) have a
//! moment of real time after each step. How far they are when something happens is not decided by the seed; what must hold
//! does not depend on it.
//!
//! `RPINGMESH_CHAOS_SEEDS=17` or `=1..1000` names the seeds, `RPINGMESH_CHAOS_LOG=1` prints the log of the programs.

mod account;
mod files;
mod gate;
mod link;
mod member;
mod plan;
mod server;
mod site;

use std::collections::BTreeMap;
use std::ops::Range;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, mpsc};
use std::time::{Duration, Instant};

use rpingmesh::analysis::judge::Category;
use serde_json::Value;

use crate::analyzer::harness;
use account::{Account, Fates, Probes};
use plan::{CALM, END, Plan};
use site::Site;

/// How long agents may take to upload the last batches, in virtual seconds: an acknowledgement that does not come is waited for for
/// 30 s, and then it is tried again after at most 15 s.
const DRAIN: u64 = 50;
/// After so many seconds all slots are over.
const SETTLED: u64 = 10;
/// What was seen later than this is there at the end: 15 s are how long an incident stays open without being seen.
const LATE: i64 = harness::START + (END.cast_signed() - 15) * 1_000_000_000;
/// Names the seeds.
const SEEDS: &str = "RPINGMESH_CHAOS_SEEDS";
/// Prints what the programs log.
const LOG: &str = "RPINGMESH_CHAOS_LOG";
/// In the default profile.
const SLICE: Range<u64> = 1..13;

/// Lets other threads work, for so long; the runtime goes on meanwhile.
async fn breathe(length: Duration) {
    tokio::task::spawn_blocking(move || std::thread::sleep(length))
        .await
        .expect("no panic");
}

/// What a run, or several, came to.
#[derive(Debug, Clone, Copy, Default)]
struct Figures {
    fates: Fates,
    /// Results of killed agents that were in no batch yet.
    died: Probes,
    deeds: u64,
    faults: u64,
}

impl Figures {
    fn add(&mut self, account: &Account, fates: Fates) {
        self.died.sum(account.died);
        self.fates.made.sum(fates.made);
        self.fates.stored.sum(fates.stored);
        self.fates.destroyed += fates.destroyed;
        self.fates.reported += fates.reported;
    }

    fn sum(&mut self, other: Self) {
        self.died.sum(other.died);
        self.fates.made.sum(other.fates.made);
        self.fates.stored.sum(other.fates.stored);
        self.fates.destroyed += other.fates.destroyed;
        self.fates.reported += other.fates.reported;
        self.deeds += other.deeds;
        self.faults += other.faults;
    }
}

/// One run.
///
/// # Errors
/// What did not hold.
async fn run(plan: &Plan) -> Result<Figures, String> {
    // Timers go on when the simulation says so, not whenever all tasks wait for a thread.
    let (over, wait) = mpsc::channel::<()>();
    let held = tokio::task::spawn_blocking(move || {
        let _ = wait.recv();
    });
    let folder = tempfile::tempdir().expect("a folder");
    let mut site = Site::start(plan, folder.path()).await;
    for second in 1..=END {
        site.second(second, plan).await;
    }
    site.drain(DRAIN).await?;
    for _ in 0..SETTLED {
        site.pass_second().await;
    }
    let web = site.analyzer.web.expect("an analyzer");
    let (_, paths) = harness::http(web, "/api/v1/paths?window=120s&limit=10000").await;
    let (_, incidents) = harness::http(web, "/api/v1/incidents?limit=1000").await;
    let accounts = site.end_agents().await;
    site.controller.kill().await;
    site.analyzer.kill().await;
    site.analyzer.released().await;
    let stored = files::by_agent(files::stored(&site.analyzer.folder).await)?;
    let figures = settle(&accounts, &stored)?;
    check_windows(&paths, figures.fates.stored.sent)?;
    check_incidents(&incidents, plan)?;
    drop(over);
    held.await.expect("no panic");
    Ok(Figures {
        deeds: plan.deeds.len() as u64,
        faults: u64::from(plan.fault.is_some()),
        ..figures
    })
}

/// Compares what was made with what was stored.
fn settle(
    accounts: &BTreeMap<String, Account>,
    stored: &BTreeMap<String, BTreeMap<i64, Probes>>,
) -> Result<Figures, String> {
    let mut figures = Figures::default();
    let nothing = BTreeMap::new();
    for (agent, account) in accounts {
        let own = stored.get(agent).unwrap_or(&nothing);
        let fates = account
            .settle(own)
            .map_err(|why| format!("{agent}: {why}"))?;
        figures.add(account, fates);
    }
    Ok(figures)
}

fn parsed(text: &str) -> Value {
    serde_json::from_str(text).expect("JSON")
}

/// The windows count what is stored, once.
fn check_windows(paths: &str, stored: u64) -> Result<(), String> {
    let paths = parsed(paths);
    if paths["next_offset"] != Value::Null {
        return Err("more paths than there can be".to_owned());
    }
    let counted = harness::sent(&paths);
    if counted == stored {
        Ok(())
    } else {
        Err(format!("{counted} probes in the windows, {stored} stored"))
    }
}

/// Nothing is blamed that was not broken, and what is broken is.
fn check_incidents(incidents: &str, plan: &Plan) -> Result<(), String> {
    let incidents = parsed(incidents);
    let network: Vec<_> = Category::ALL
        .iter()
        .filter(|category| category.is_network())
        .map(|category| category.name())
        .collect();
    let host = plan.fault.as_ref().map(|(host, _)| format!("host{host}"));
    // A host whose RNICs are all down is one incident about the host.
    let is_of_fault = |component: &Value| match component["kind"].as_str() {
        Some("rnic") => host.as_deref() == component["host"].as_str(),
        Some("host") => host.as_deref() == component["name"].as_str(),
        _ => false,
    };
    let mut found = false;
    for incident in incidents["incidents"].as_array().expect("incidents") {
        // One that cannot tell is right if the fault is among what it names.
        let or = incident["or"].as_array().into_iter().flatten();
        let is_about = std::iter::once(&incident["subject"])
            .chain(or)
            .any(is_of_fault);
        // Agents end with the last second; where they take long to upload the rest, incidents close meanwhile.
        let last = incident["seen_unix_ns"].as_i64().expect("an instant");
        found |= is_about && (incident["state"] == "open" || last >= LATE);
        let category = incident["category"].as_str().expect("a category");
        if network.contains(&category) && !is_about && !is_restart(incident, plan) {
            return Err(format!(
                "`{}` is blamed, though {}: {incident}",
                incident["title"],
                what_is_broken(plan)
            ));
        }
    }
    match plan.fault {
        Some(_) if !found => Err(format!(
            "{} and is not found: {incidents}",
            what_is_broken(plan)
        )),
        _ => Ok(()),
    }
}

/// An RNIC whose agent was killed more than once registers other queue pairs again and again: that is what is said of it.
fn is_restart(incident: &Value, plan: &Plan) -> bool {
    let host = incident["subject"]["host"].as_str();
    let number = host.and_then(|host| host.strip_prefix("host")?.parse().ok());
    incident["category"] == Category::Flapping.name()
        && number.is_some_and(|number| plan.kills_of(number) > 1)
}

fn what_is_broken(plan: &Plan) -> String {
    plan.fault.as_ref().map_or_else(
        || "nothing of the network is broken".to_owned(),
        |(_, fault)| format!("`{fault}` is broken"),
    )
}

/// Runs a seed on this thread.
///
/// # Errors
/// What did not hold, or a panic's message.
fn run_seed(seed: u64) -> Result<Figures, String> {
    let plan = Plan::of(seed);
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .start_paused(true)
        .build()
        .expect("a runtime");
    let ran = catch_unwind(AssertUnwindSafe(|| runtime.block_on(run(&plan))));
    runtime.shutdown_background();
    let result = ran.unwrap_or_else(|payload| {
        let text = payload.downcast_ref::<String>().cloned();
        let text = text.or_else(|| payload.downcast_ref::<&str>().map(ToString::to_string));
        Err(text.unwrap_or_else(|| "a panic".to_owned()))
    });
    result.map_err(|why| format!("seed {seed}: {why}\n{plan:#?}"))
}

/// Runs seeds on so many threads; panics with all that failed.
fn run_all(seeds: Range<u64>, threads: usize) {
    let began = Instant::now();
    let next = AtomicU64::new(seeds.start);
    let all = Mutex::new((Figures::default(), Vec::new()));
    std::thread::scope(|scope| {
        for _ in 0..threads {
            scope.spawn(|| {
                let _log = std::env::var_os(LOG).map(|_| {
                    let lines = tracing_subscriber::fmt().with_writer(std::io::stderr);
                    tracing::subscriber::set_default(lines.finish())
                });
                loop {
                    let seed = next.fetch_add(1, Ordering::Relaxed);
                    if seed >= seeds.end {
                        return;
                    }
                    let result = run_seed(seed);
                    let mut all = all.lock().expect("no panic");
                    match result {
                        Ok(figures) => all.0.sum(figures),
                        Err(why) => {
                            eprintln!("{why}");
                            all.1.push(seed);
                        }
                    }
                }
            });
        }
    });
    let (figures, failed) = all.into_inner().expect("no panic");
    report(&figures, seeds, began.elapsed());
    assert!(failed.is_empty(), "seeds that failed: {failed:?}");
}

fn report(figures: &Figures, seeds: Range<u64>, took: Duration) {
    let Figures {
        fates,
        died,
        deeds,
        faults,
    } = figures;
    println!(
        "seeds {seeds:?}, each {END} s with damage until second {CALM}, in {:.0} s: {deeds} deeds, {faults} faults of the fabric",
        took.as_secs_f64()
    );
    println!(
        "{} probes in batches ({} complete), {} stored, each once",
        fates.made.sent, fates.made.complete, fates.stored.sent
    );
    println!(
        "gone: {} batches whose only copy was destroyed, {} batches that agents said they had dropped; {} results of killed \
         agents were in no batch yet",
        fates.destroyed, fates.reported, died.sent
    );
}

/// The seeds that are asked for.
fn wanted() -> Option<Range<u64>> {
    let text = std::env::var(SEEDS).ok()?;
    let number = |text: &str| text.parse::<u64>().expect("a number");
    Some(match text.split_once("..") {
        Some((first, last)) => number(first)..number(last) + 1,
        None => number(&text)..number(&text) + 1,
    })
}

/// A slice of them.
#[test]
fn counts_are_kept_and_nothing_is_blamed_wrongly() {
    run_all(wanted().unwrap_or(SLICE), 2);
}

/// Many of them: `cargo xtask bench chaos --seeds 1000`.
#[test]
#[ignore = "minutes: cargo xtask bench chaos"]
fn many_seeds() {
    let threads = std::thread::available_parallelism().map_or(2, usize::from);
    run_all(wanted().unwrap_or(1..101), threads);
}
