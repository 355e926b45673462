//! Real agents, controller and analyzer on a fabric of namespaces; a link that loses packets in one direction.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::time::Duration;

use serde_json::Value;

use crate::netns::clos::{Clos, HOSTS, SPINES, TORS, Tuple, tor_of};

/// Conditions that must come come long before this, even on a loaded machine.
const PATIENCE: Duration = Duration::from_mins(1);
/// Losses are remembered for two minutes, and an incident closes when nothing of it was seen for up to a minute.
const CLOSED: Duration = Duration::from_mins(4);
/// All paths of the last 5 s that are over.
const PATHS: &str = "/api/v1/paths?window=5s&limit=10000";
const TRACES: &str = "/api/v1/traces?limit=10000";
const FABRIC: &str = "/api/v1/topology?detail=switches";
const OPEN: &str = "/api/v1/incidents?state=open";
/// The link that gets the fault.
const SPINE: usize = 0;
const TOR: usize = 2;

/// Sent and lost of each path.
type Losses = BTreeMap<Tuple, (u64, u64)>;

fn losses(answer: &Value) -> Losses {
    let mut losses = Losses::new();
    for path in answer["paths"].as_array().expect("paths") {
        let entry = losses.entry(Tuple::of(path)).or_default();
        entry.0 += path["sent"].as_u64().expect("sent");
        entry.1 += path["lost"].as_u64().expect("lost");
    }
    losses
}

/// Every host probes its neighbour, and every ToR every other one.
fn everything_is_probed(answer: &Value) -> Result<Vec<Tuple>, String> {
    let losses = losses(answer);
    let pairs: BTreeSet<_> = losses
        .keys()
        .map(|tuple| (tor_of(tuple.source), tor_of(tuple.target)))
        .collect();
    let neighbours: BTreeSet<_> = losses
        .keys()
        .filter(|tuple| tuple.stays_under_its_tor())
        .map(|tuple| tuple.source)
        .collect();
    if pairs.len() < TORS * TORS || neighbours.len() < HOSTS {
        return Err(format!("only {} pairs of ToRs are probed", pairs.len()));
    }
    let (sent, lost) = sum(losses.values());
    if lost > 0 {
        return Err(format!("{lost} of {sent} are lost on a healthy fabric"));
    }
    Ok(losses.into_keys().collect())
}

fn sum<'a>(losses: impl Iterator<Item = &'a (u64, u64)>) -> (u64, u64) {
    losses.fold((0, 0), |sum, one| (sum.0 + one.0, sum.1 + one.1))
}

fn text_list(value: &Value) -> Vec<String> {
    let list = value.as_array().map_or(&[][..], Vec::as_slice);
    list.iter()
        .map(|hop| hop.as_str().unwrap_or("?").to_owned())
        .collect()
}

fn traces(answer: &Value) -> HashMap<Tuple, &Value> {
    let traces = answer["traces"].as_array().expect("traces");
    traces
        .iter()
        .map(|trace| (Tuple::of(trace), trace))
        .collect()
}

/// Which probes cross the bad link, there or back.
struct Affected<'a>(&'a HashMap<Tuple, usize>);

impl Affected<'_> {
    fn forward(&self, tuple: Tuple) -> bool {
        tor_of(tuple.target) == TOR && self.0.get(&tuple) == Some(&SPINE)
    }

    fn is(&self, tuple: Tuple) -> bool {
        self.forward(tuple) || self.forward(tuple.back())
    }

    fn split(&self, losses: Losses) -> (Losses, Losses) {
        losses.into_iter().partition(|(tuple, _)| self.is(*tuple))
    }
}

/// Incidents, but for what is true of a loaded machine: that agents get their processor time late.
fn of_the_network(answer: &Value) -> Vec<&Value> {
    let open = answer["incidents"].as_array().expect("incidents").iter();
    open.filter(|incident| incident["category"] != "cpu_overload")
        .collect()
}

/// The number of the only open incident, which is about the bad link in its direction.
fn names_the_link(answer: &Value) -> Result<u64, String> {
    let subject = serde_json::json!({
        "kind": "link", "from": format!("s{SPINE}"), "to": format!("t{TOR}"),
    });
    match &of_the_network(answer)[..] {
        [one] if one["subject"] == subject => Ok(one["id"].as_u64().expect("a number")),
        _ => Err(format!("not only {subject}")),
    }
}

fn none_is_open(answer: &Value) -> Result<(), String> {
    match of_the_network(answer).len() {
        0 => Ok(()),
        count => Err(format!("{count} are open")),
    }
}

/// No trace stops on the way.
fn are_whole(answer: &Value) -> Result<(), String> {
    let traces = traces(answer);
    match traces
        .iter()
        .find(|(_, trace)| trace["newest"]["end"] == "silent")
    {
        Some((tuple, trace)) => Err(format!("{tuple:?} is not whole again: {trace}")),
        None => Ok(()),
    }
}

/// File, reports and traces agree about the fabric.
fn is_one_map(answer: &Value) -> Result<(), String> {
    let links = answer["links"].as_array().expect("links");
    let known = serde_json::json!(["file", "trace"]);
    match links.iter().find(|link| link["known_from"] != known) {
        Some(link) => Err(format!("{link}")),
        None if links.len() != TORS * SPINES => Err(format!("{} links", links.len())),
        None if answer["differences"] != serde_json::json!([]) => Err("differences".to_owned()),
        None => Ok(()),
    }
}

/// The map shows the incident on the bad link, downwards.
fn is_marked(answer: &Value, incident: u64) -> Result<(), String> {
    let links = answer["links"].as_array().expect("links");
    let link = links
        .iter()
        .find(|link| link["a"] == format!("t{TOR}") && link["b"] == format!("s{SPINE}"))
        .ok_or("no such link")?;
    let downwards = serde_json::json!([incident]);
    if link["incidents_b_to_a"] != downwards || link["state"] != "incident" {
        return Err(format!("{link}"));
    }
    Ok(())
}

/// The incident is closed, and what it says is what was done.
fn is_explained(clos: &Clos, id: u64, categories: &[&str]) {
    let answer = clos.get(&format!("/api/v1/incidents?id={id}"));
    let incident = &answer["incidents"][0];
    assert_eq!(incident["state"], "closed", "{incident:#}");
    let category = incident["category"].as_str().expect("a category");
    assert!(categories.contains(&category), "{incident:#}");
    let text = clos.operator(&format!("incidents {id}"));
    let link = format!("s{SPINE}->t{TOR}");
    for part in [&*link, category, "evidence", "traced"] {
        assert!(text.contains(part), "no {part}: {text}");
    }
}

#[test]
#[ignore = "needs root on Linux: cargo xtask test --only root"]
fn a_link_that_drops_packets_in_one_direction_is_named_and_only_that() {
    let clos = Clos::start("clos");
    let tuples = clos.wait(PATIENCE, PATHS, everything_is_probed);
    let there_and_back: Vec<_> = tuples
        .iter()
        .flat_map(|tuple| [*tuple, tuple.back()])
        .filter(|tuple| !tuple.stays_under_its_tor() || tuples.contains(tuple))
        .collect();
    let spines = clos.spines(&there_and_back);
    let affected = Affected(&spines);

    // Traces saw the very hops that the kernels choose, those of the ACKs from where they are sent.
    let seen = |answer: &Value| {
        let traces = traces(answer);
        for tuple in &there_and_back {
            let Some(trace) = traces.get(tuple).filter(|trace| !trace["route"].is_null()) else {
                return Err(format!("{tuple:?} is not traced"));
            };
            let expected = Clos::route(*tuple, spines.get(tuple).copied());
            if text_list(&trace["route"]) != expected {
                return Err(format!("{tuple:?} goes over {expected:?}, traced {trace}"));
            }
        }
        Ok(())
    };
    clos.wait(PATIENCE, TRACES, seen);
    clos.wait(PATIENCE, FABRIC, is_one_map);
    clos.wait(PATIENCE, OPEN, none_is_open);

    // Everything is dropped: the paths over the link are dead, the others as before.
    clos.drop_packets(SPINE, TOR, 100);
    let dead = |answer: &Value| {
        let (bad, good) = affected.split(losses(answer));
        let (sent, lost) = sum(good.values());
        // Room for hosts that were late, which is not the network's loss.
        if lost * 20 > sent {
            return Err(format!("{lost} of {sent} lost beside the link"));
        }
        match bad.iter().find(|(_, (sent, lost))| lost * 10 < sent * 9) {
            Some((tuple, loss)) => Err(format!("{tuple:?} has only lost {loss:?}")),
            None if bad.len() < 8 => Err(format!("only {} paths over the link", bad.len())),
            None => Ok(()),
        }
    };
    clos.wait(PATIENCE, PATHS, dead);
    let stopped = |answer: &Value| {
        let traces = traces(answer);
        for tuple in there_and_back
            .iter()
            .filter(|tuple| affected.forward(**tuple))
        {
            let trace = traces.get(tuple).ok_or("a trace is gone")?;
            let newest = &trace["newest"];
            let hops: Vec<_> = newest["hops"]
                .as_array()
                .into_iter()
                .flatten()
                .map(|hop| hop["node"].as_str().unwrap_or("?").to_owned())
                .collect();
            let known = Clos::route(*tuple, Some(SPINE));
            if newest["end"] != "silent" || hops != known[..2] {
                return Err(format!("{tuple:?} does not stop at the spine: {trace}"));
            }
            assert_eq!(
                text_list(&trace["route"]),
                known,
                "what was known stays known"
            );
        }
        Ok(())
    };
    clos.wait(PATIENCE, TRACES, stopped);
    let hard = clos.wait(PATIENCE, OPEN, names_the_link);
    clos.wait(PATIENCE, FABRIC, |answer| is_marked(answer, hard));

    // After repair all is well again, and traces are whole.
    clos.repair(SPINE);
    clos.wait(CLOSED, OPEN, none_is_open);
    is_explained(&clos, hard, &["link_down"]);
    clos.wait(PATIENCE, PATHS, everything_is_probed);
    clos.wait(PATIENCE, TRACES, are_whole);

    // A fifth is dropped: loss on the paths over the link, and on no other.
    clos.drop_packets(SPINE, TOR, 20);
    let gray = |answer: &Value| {
        let (bad, good) = affected.split(losses(answer));
        let ((bad_sent, bad_lost), (sent, lost)) = (sum(bad.values()), sum(good.values()));
        let share = bad_lost as f64 / bad_sent.max(1) as f64;
        if bad_sent < 100 || !(0.08..0.45).contains(&share) {
            return Err(format!("{bad_lost} of {bad_sent} lost on the link"));
        }
        if lost * 50 > sent {
            return Err(format!("{lost} of {sent} lost beside the link"));
        }
        Ok(())
    };
    clos.wait(PATIENCE, PATHS, gray);
    let mild = clos.wait(PATIENCE, OPEN, names_the_link);
    // The loss is not taken for another path.
    let unchanged = |answer: &Value| match answer["total"].as_u64() {
        Some(0) => Ok(()),
        total => Err(format!("{total:?} paths have changed")),
    };
    clos.wait(Duration::ZERO, "/api/v1/traces?changed=true", unchanged);
    clos.repair(SPINE);
    clos.wait(CLOSED, OPEN, none_is_open);
    is_explained(&clos, mild, &["link_loss"]);
    clos.stop();
}
