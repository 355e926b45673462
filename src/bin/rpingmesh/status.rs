//! `rpingmesh status`.

use std::fmt::Write as _;
use std::time::Duration;

use clap::Args;
use rpingmesh::api::incidents::IncidentsQuery;
use rpingmesh::api::name::Name;
use rpingmesh::api::query::IncidentPageSize;
use rpingmesh::api::status::{AgentIdentity, ClusterKey, KeyPhase, KeySource, Status, StatusQuery};
use rpingmesh::config::program::Failure;
use rpingmesh::store::analyzers::AnalyzerSeen;
use rpingmesh::store::open;
use rpingmesh::store::shared::ControllerSeen;
use rpingmesh::store::{Location, LocationError, Server};
use serde::Serialize;

use crate::api::{self, ApiArgs};
use crate::incidents;

/// What `status` takes.
#[derive(Debug, Args)]
pub(crate) struct StatusArgs {
    #[command(flatten)]
    api: ApiArgs,
    /// The database of the controllers and of analyzers that share the fleet, as in their key `store`: shows who works with it, who holds
    /// the lease, who judges, and how far the judge is behind [default: none]
    #[arg(long, value_name = "URL", value_parser = database)]
    store: Option<Box<Server>>,
}

fn database(text: &str) -> Result<Box<Server>, String> {
    match text.parse() {
        Ok(Location::Postgres(server)) => Ok(server),
        Ok(_) => Err("controllers share a database: expected postgres://…".to_owned()),
        Err(error) => Err(LocationError::to_string(&error)),
    }
}

/// What `--json` prints.
#[derive(Serialize)]
struct Everything<'a> {
    #[serde(flatten)]
    status: &'a Status,
    #[serde(skip_serializing_if = "Option::is_none")]
    controllers: Option<&'a [ControllerSeen]>,
    #[serde(skip_serializing_if = "Option::is_none")]
    analyzers: Option<&'a [AnalyzerSeen]>,
}

/// Analyzers that share the fleet; nothing where one has it for itself.
fn analyzers(text: &mut String, seen: &[AnalyzerSeen]) {
    if seen.is_empty() {
        return;
    }
    let living = seen.iter().filter(|one| !one.is_gone).count();
    let _ = write!(text, "\n\nanalyzers {living}");
    for one in seen {
        let seconds =
            |nanos: i64| Duration::from_nanos(u64::try_from(nanos).unwrap_or(0)).as_secs_f64();
        let (ago, lag) = (seconds(one.seen_ago_ns), seconds(one.lag_ns));
        let state = match (one.is_gone, one.is_judge) {
            (true, _) => "; gone",
            (false, true) => "; judges",
            (false, false) => "",
        };
        let AnalyzerSeen {
            name,
            address,
            shards,
            newest_epoch,
            ..
        } = one;
        let _ = write!(
            text,
            "\n  {name} at {address}: {shards} shards, newest epoch {newest_epoch}, judge {lag:.1} s behind, seen {ago:.1} s ago{state}"
        );
    }
}

/// Who works with the database.
fn controllers(text: &mut String, seen: &[ControllerSeen]) {
    let living = seen.iter().filter(|one| !one.is_gone).count();
    let _ = write!(text, "\n\ncontrollers {living}");
    for one in seen {
        let ago = Duration::from_nanos(u64::try_from(one.seen_ago_ns).unwrap_or(0)).as_secs_f64();
        let state = match (one.is_gone, one.is_holder) {
            (true, _) => "; gone",
            (false, true) => "; holds the lease",
            (false, false) => "",
        };
        let ControllerSeen { name, agents, .. } = one;
        let _ = write!(
            text,
            "\n  {name}: {agents} agents, seen {ago:.1} s ago{state}"
        );
    }
}

pub(crate) fn main(args: &StatusArgs) -> Result<(), Failure> {
    let analyzer = args.api.analyzer()?;
    let (status, open, seen) = api::block_on(async {
        let status = analyzer.ask(&StatusQuery::default()).await?;
        // All P0 are listed, however many there are.
        let most = (status.incidents.p0 as u64).clamp(MOST_LISTED, IncidentPageSize::MAX);
        let first = IncidentsQuery {
            limit: IncidentPageSize::new(most),
            ..incidents::open_by_rank()
        };
        let open = analyzer.ask(&first).await?;
        let seen = match &args.store {
            Some(server) => {
                let controllers = open::controllers(server).await.map_err(Failure::run)?;
                let analyzers = open::analyzers(server).await.map_err(Failure::run)?;
                Some((controllers, analyzers))
            }
            None => None,
        };
        Ok((status, open, seen))
    })?;
    if args.api.json {
        return api::print_json(&Everything {
            status: &status,
            controllers: seen.as_ref().map(|(controllers, _)| &**controllers),
            analyzers: seen
                .as_ref()
                .map(|(_, analyzers)| &**analyzers)
                .filter(|analyzers| !analyzers.is_empty()),
        });
    }
    let mut text = describe(&status);
    if !open.incidents.is_empty() {
        let list = incidents::list(&open.incidents, open.left_out, &status);
        let _ = write!(text, "\n\n{list}");
    }
    if let Some((served, shared)) = &seen {
        controllers(&mut text, served);
        analyzers(&mut text, shared);
    }
    api::print(&text)
}

/// Open incidents that are listed below the numbers, the one to look at first at the top; of P0 all.
const MOST_LISTED: u64 = 10;

/// How much of the fabric is judged right now, and what that means for what is not listed.
fn judged(status: &Status) -> String {
    let coverage = &status.coverage;
    let Some(share) = coverage.share() else {
        return "no data: no RNIC has reported in the last ten minutes".to_owned();
    };
    let mut text = format!(
        "{:.1} % of the fabric right now: {} of {} RNICs",
        share * 100.0,
        coverage.judged_rnics,
        coverage.known_rnics + coverage.missing,
    );
    if coverage.missing > 0 {
        let _ = write!(
            text,
            "; {} of the topology file report nothing",
            coverage.missing
        );
    }
    if coverage.judged_rnics == 0 {
        text.push_str("; BLIND: no fault of the network would be seen");
    }
    text
}

/// Agents that are named of those that say what is off.
const MOST_DEGRADED: usize = 5;

/// What agents say is off.
fn degraded(text: &mut String, status: &Status) {
    for agent in status.degraded.iter().take(MOST_DEGRADED) {
        let _ = write!(
            text,
            "\nDEGRADED   {}: {}",
            agent.agent,
            agent.reasons.join("; ")
        );
    }
    let named = status.degraded.len().min(MOST_DEGRADED);
    if let Some(more) = status
        .degraded_agents
        .checked_sub(named)
        .filter(|more| *more > 0)
    {
        let _ = write!(
            text,
            "\nDEGRADED   {more} more agents: `rpingmesh agents --degraded`"
        );
    }
}

/// How probes are signed.
fn keys(text: &mut String, status: &Status) {
    let one = |keys: &ClusterKey| {
        let phase = match keys.phase {
            None | Some(KeyPhase::Steady) => "",
            Some(KeyPhase::Offered) => ", the next one is offered",
            Some(KeyPhase::Signing) => ", the one before is still accepted",
        };
        let what = match (keys.source, &keys.fingerprint) {
            (KeySource::Unknown, _) => "do not tell".to_owned(),
            (KeySource::NoTls, _) => {
                "do not sign: they reach the controller without TLS, so it hands out no key"
                    .to_owned()
            }
            (KeySource::NotGiven, _) => {
                "do not sign: the controller has handed out no key".to_owned()
            }
            (KeySource::Own, Some(print)) => {
                format!("sign with {print} of their own configuration")
            }
            (KeySource::Controller, Some(print)) => {
                format!("sign with {print} of the controller{phase}")
            }
            (KeySource::Controller, None) => {
                "do not sign yet: they have the controller's first key".to_owned()
            }
            (KeySource::Own, None) => "do not sign".to_owned(),
        };
        format!("{} {what}", keys.agents)
    };
    let lines: Vec<_> = status.cluster_keys.iter().map(one).collect();
    let is_one = status.cluster_keys.len() == 1 && status.cluster_keys[0].fingerprint.is_some();
    let title = if is_one { "signed   " } else { "SIGNED   " };
    for line in lines {
        let _ = write!(text, "\n{title}  {line}");
    }
}

/// What stamps completions. Software stamps contain delays of the host.
fn clocks(text: &mut String, status: &Status) {
    let clocks: Vec<_> = status
        .clocks
        .iter()
        .map(|one| match &one.clock {
            Name::Known(clock) => format!("{} by {clock}", one.rnics),
            Name::Unknown(clock) => format!("{} by {clock}", one.rnics),
        })
        .collect();
    if !clocks.is_empty() {
        let _ = write!(text, "\nRNIC time stamps: {}", clocks.join(", "));
    }
}

/// In a few lines.
pub(crate) fn describe(status: &Status) -> String {
    let Status {
        incidents,
        probes,
        paths,
        judge,
        topology,
        alerts,
        ..
    } = status;
    let mut text = format!(
        "incidents  {} open: {} P0, {} P1, {} P2\njudged     {}\nagents     {} on {} hosts with {} RNICs under {} ToRs",
        incidents.open,
        incidents.p0,
        incidents.p1,
        incidents.p2,
        judged(status),
        status.agents,
        status.hosts,
        status.rnics,
        status.tors,
    );
    if status.withdrawn > 0 {
        let _ = write!(
            text,
            "\nMISSING    {} hosts and RNICs that were there; see the incidents",
            status.withdrawn
        );
    }
    degraded(&mut text, status);
    let versions: Vec<_> = status
        .agent_versions
        .iter()
        .map(|one| match &one.version {
            None => format!("{} unknown", one.agents),
            Some(version) => format!("{} of {version}", one.agents),
        })
        .collect();
    match versions.len() {
        0 => {}
        1 => {
            let _ = write!(text, "\nversions   {}", versions.join(""));
        }
        _ => {
            let _ = write!(text, "\nVERSIONS   mixed: {}", versions.join(", "));
        }
    }
    clocks(&mut text, status);
    keys(&mut text, status);
    if status.agent_identity == AgentIdentity::Any {
        text.push_str("\nIDENTITY   not proved: every certificate of the CA speaks for every host (tls.identity)");
    }
    let lost = match probes.judged {
        0 => "no data".to_owned(),
        judged => format!("{} lost", api::share(probes.lost, judged)),
    };
    let _ = write!(text, "\nprobes     {lost} in the last 20 s");
    for (reason, counts) in &probes.set_aside {
        let _ = write!(
            text,
            "\nset aside  {} more, {} of them lost: {reason}",
            counts.sent, counts.lost
        );
    }
    let _ = write!(
        text,
        "\npaths      {} traced, {} by candidates, {} unknown\njudge      run {} took {:.1} ms",
        paths.traced,
        paths.candidates,
        paths.unknown,
        judge.runs,
        judge.took_ns as f64 / 1e6,
    );
    if incidents.waiting_for_store > 0 {
        let _ = write!(
            text,
            "\nSTORE      {} changes of incidents cannot be stored; see the analyzer's log",
            incidents.waiting_for_store
        );
    }
    if alerts.waiting > 0 {
        let _ = write!(
            text,
            "\nALERTS     {} not taken yet by {} receivers; see the analyzer's log",
            alerts.waiting, alerts.receivers
        );
    }
    for difference in &topology.differences {
        let _ = write!(text, "\ntopology   {difference}");
    }
    for rnic in &topology.contradicted_rnics {
        let _ = write!(
            text,
            "\ntopology   reports say that {rnic} is elsewhere than its own agent does"
        );
    }
    text
}

#[cfg(test)]
pub(crate) mod tests {
    use std::collections::BTreeMap;

    use rpingmesh::api::status::{
        Alerts, Clocks, Contradictions, Coverage, Degraded, Judge, KnownPaths, OpenIncidents,
        ProbeCounts, Probes,
    };
    use rpingmesh::transport::CompletionClock;

    use super::*;

    /// Of a small fabric where something is judged and something set aside.
    pub(crate) fn status() -> Status {
        let starved = ProbeCounts { sent: 90, lost: 9 };
        Status {
            now_unix_ns: 0,
            agents: 3,
            agent_identity: AgentIdentity::San,
            cluster_keys: Vec::new(),
            agent_versions: Vec::new(),
            hosts: 3,
            rnics: 6,
            tors: 2,
            clocks: vec![
                Clocks {
                    clock: CompletionClock::HardwareWall.into(),
                    rnics: 4,
                },
                Clocks {
                    clock: Name::Unknown("sundial".to_owned()),
                    rnics: 2,
                },
            ],
            degraded_agents: 1,
            degraded: vec![Degraded {
                agent: "h1".to_owned(),
                host: "h1".to_owned(),
                reasons: vec!["tracing: no CAP_BPF".to_owned()],
            }],
            withdrawn: 0,
            coverage: Coverage {
                judged_rnics: 4,
                known_rnics: 6,
                missing: 2,
            },
            incidents: OpenIncidents {
                open: 0,
                p0: 0,
                p1: 0,
                p2: 0,
                waiting_for_store: 0,
            },
            probes: Probes {
                judged: 1_000,
                lost: 1,
                set_aside: BTreeMap::from([("responder_starved".to_owned(), starved)]),
            },
            paths: KnownPaths {
                traced: 5,
                candidates: 1,
                unknown: 0,
                known_traces: 5,
            },
            judge: Judge {
                runs: 7,
                last_run_unix_ns: Some(1),
                took_ns: 2_000_000,
            },
            topology: Contradictions {
                differences: Vec::new(),
                contradictions: 0,
                contradicted_rnics: Vec::new(),
            },
            alerts: Alerts {
                receivers: 0,
                waiting: 0,
            },
        }
    }

    #[test]
    fn what_is_judged_is_said_and_no_data_is_no_data() {
        let judging = status();
        let mut blind = status();
        blind.coverage.judged_rnics = 0;
        (blind.probes.judged, blind.probes.lost) = (0, 0);
        let mut empty = blind.clone();
        empty.coverage = Coverage::default();
        empty.probes.set_aside.clear();
        (empty.withdrawn, empty.degraded_agents) = (3, 9);
        empty.agent_identity = AgentIdentity::Any;
        let signed = |source, phase, print: Option<&str>| ClusterKey {
            source,
            phase,
            fingerprint: print.map(str::to_owned),
            agents: 3,
        };
        let print = Some("04258638edd6915c");
        let steady = signed(KeySource::Controller, Some(KeyPhase::Steady), print);
        blind.cluster_keys = vec![steady.clone()];
        empty.cluster_keys = vec![
            steady,
            signed(KeySource::Controller, Some(KeyPhase::Offered), None),
            signed(KeySource::Controller, Some(KeyPhase::Signing), print),
            signed(KeySource::Own, None, print),
            signed(KeySource::NoTls, None, None),
            signed(KeySource::NotGiven, None, None),
            signed(KeySource::Unknown, None, None),
        ];
        let texts: Vec<_> = [judging, blind, empty].iter().map(describe).collect();
        insta::assert_snapshot!(texts.join("\n\n"));
    }
}
