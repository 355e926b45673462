//! What Enter opens, in words.

use std::fmt::Write as _;

use rpingmesh::api::agents::Agent;
use rpingmesh::api::matrix::Pair;

use super::model::{Answers, Opened};
use crate::{api, incidents};

/// All about what was opened.
pub(super) fn text(opened: &Opened, seen: &Answers) -> String {
    match opened {
        Opened::Incident(id) => {
            let mut all = seen.incidents().into_iter();
            all.find(|incident| incident.id == *id).map_or_else(
                || format!("incident {id} is no longer listed"),
                |incident| incidents::explain(incident, seen.now()),
            )
        }
        Opened::Pair(from, to) => pair(from, to, seen),
        Opened::Agent(name) => {
            let mut all = seen.agents.iter();
            all.find(|agent| agent.agent == *name).map_or_else(
                || format!("agent {name} is no longer listed"),
                |known| agent(known, seen.now()),
            )
        }
    }
}

/// Both directions of a pair of ToRs, and the open incidents at either.
fn pair(from: &str, to: &str, seen: &Answers) -> String {
    let mut text = format!("{from} -> {to}, over {}\n", seen.matrix.window);
    let ways = [("forth", from, to), ("back", to, from)];
    for (name, source, target) in &ways[..if from == to { 1 } else { 2 }] {
        let _ = write!(text, "\n{name:<10} {}", measured(seen.pair(source, target)));
    }
    text.push_str("\n\nopen incidents at either");
    let mut found: Vec<_> = seen
        .incidents_at(from)
        .chain(seen.incidents_at(to))
        .collect();
    found.sort_by_key(|incident| incident.id);
    found.dedup_by_key(|incident| incident.id);
    if found.is_empty() {
        text.push_str("\n  none");
    }
    for incident in found {
        let (id, severity, title) = (incident.id, &incident.severity, &incident.title);
        let _ = write!(text, "\n  {id}  {severity}  {title}");
    }
    let _ = write!(
        text,
        "\n\nits paths: rpingmesh paths --source {from} --target {to}"
    );
    text
}

fn measured(pair: Option<&Pair>) -> String {
    let Some(pair) = pair else {
        return "nothing measured".to_owned();
    };
    let micros = |span: Option<i64>| {
        span.map_or_else(
            || "-".to_owned(),
            |span| format!("{:.1} µs", span as f64 / 1e3),
        )
    };
    format!(
        "lost {}, RTT median {}, p99 {}",
        api::share(pair.lost, pair.sent),
        micros(pair.rtt_p50_ns),
        micros(pair.rtt_p99_ns)
    )
}

fn agent(agent: &Agent, now: i64) -> String {
    let counters = &agent.counters;
    let mut text = format!(
        "agent {} on {}\n\nversion    {}\nlast       upload {} ago, {:.1} s late\nbatches    {} taken, {} lost, {} came again\nprobes     {} answered; dropped {} results and {} batches",
        agent.agent,
        agent.host,
        agent.version.as_deref().unwrap_or("-"),
        api::ago(now, agent.last_upload_unix_ns),
        agent.lateness_ns as f64 / 1e9,
        agent.batches,
        agent.lost_batches,
        agent.duplicate_batches,
        counters.probes_answered,
        counters.results_dropped,
        counters.batches_dropped,
    );
    for rnic in &agent.rnics {
        let state = rnic.closed.as_deref().unwrap_or("open");
        let _ = write!(text, "\nRNIC       {} {state}", rnic.device);
    }
    for reason in &agent.degraded {
        let _ = write!(text, "\noff        {reason}");
    }
    if let Some(refusal) = &agent.last_refusal {
        let _ = write!(
            text,
            "\nrefused    {} reports, last: {refusal}",
            agent.refused_reports
        );
    }
    text
}
