//! RNICs beside their siblings.

use std::collections::BTreeMap;

use super::evidence::{Evidence, Level, RnicEvidence};
use super::report::{Fault, FaultKind};
use crate::id::{Gid, RnicName};
use crate::time::Nanos;

/// Measurements from which on a median is compared.
const LEAST_COUNT: u64 = 20;
/// RNICs under a ToR from which on one is compared with the others: of two either may be the slow one.
const LEAST_SIBLINGS: usize = 3;
/// A round trip is slow above so many times the siblings' median,
const SLOW_FACTOR: i64 = 3;
/// plus this: as the judge has it.
const RTT_MARGIN: Nanos = Nanos(5_000);
/// A host is slow above so many times the median of all hosts,
const HOST_FACTOR: i64 = 5;
/// plus this.
const HOST_MARGIN: Nanos = Nanos(100_000);

/// RNICs that are slower than their siblings, hosts that are slower than the others, GIDs of another kind.
pub(super) fn faults(evidence: &Evidence) -> Vec<Fault> {
    let mut faults = slow_rnics(evidence);
    let prober = |rnic: &RnicEvidence| rnic.prober_delay;
    let responder = |rnic: &RnicEvidence| rnic.responder_delay;
    faults.extend(slow_hosts(evidence, "to handle an ACK", &prober));
    faults.extend(slow_hosts(evidence, "to answer a probe", &responder));
    faults.extend(gids(evidence));
    faults
}

fn median(mut values: Vec<Nanos>) -> Option<Nanos> {
    let middle = values.len() / 2;
    (!values.is_empty()).then(|| *values.select_nth_unstable(middle).1)
}

fn micros(span: Nanos) -> String {
    format!("{:.1} µs", span.0 as f64 / 1e3)
}

fn limit(usual: Nanos, factor: i64, margin: Nanos) -> Nanos {
    Nanos(usual.0.saturating_mul(factor).saturating_add(margin.0))
}

fn slow_rnics(evidence: &Evidence) -> Vec<Fault> {
    let mut under: BTreeMap<&str, Vec<(&RnicName, Nanos)>> = BTreeMap::new();
    for (name, rnic) in &evidence.rnics {
        if rnic.rtt.count >= LEAST_COUNT {
            under
                .entry(&rnic.tor)
                .or_default()
                .push((name, rnic.rtt.median));
        }
    }
    let mut faults = Vec::new();
    for (tor, rnics) in under
        .iter()
        .filter(|(_, rnics)| rnics.len() >= LEAST_SIBLINGS)
    {
        let Some(usual) = median(rnics.iter().map(|(_, rtt)| *rtt).collect()) else {
            continue;
        };
        for (name, rtt) in rnics {
            if *rtt > limit(usual, SLOW_FACTOR, RTT_MARGIN) {
                let text = format!(
                    "round trips of RNIC {name} to the others under {tor} take {} in the median, those of its siblings {}",
                    micros(*rtt),
                    micros(usual)
                );
                faults.push(Fault::new(
                    FaultKind::RnicSlow,
                    vec![name.to_string()],
                    text,
                ));
            }
        }
    }
    faults
}

fn slow_hosts(evidence: &Evidence, what: &str, of: &dyn Fn(&RnicEvidence) -> Level) -> Vec<Fault> {
    let measured = || {
        let all = evidence.rnics.iter().map(|(name, rnic)| (name, of(rnic)));
        all.filter(|(_, level)| level.count >= LEAST_COUNT)
    };
    let Some(usual) = median(measured().map(|(_, level)| level.median).collect()) else {
        return Vec::new();
    };
    let limit = limit(usual, HOST_FACTOR, HOST_MARGIN);
    measured()
        .filter(|(_, level)| level.median > limit)
        .map(|(name, level)| {
            let text = format!(
                "the host of RNIC {name} takes {} {what} in the median, the others {}",
                micros(level.median),
                micros(usual)
            );
            Fault::new(FaultKind::HostSlow, vec![name.to_string()], text)
        })
        .collect()
}

fn kind(gid: Gid) -> &'static str {
    match (gid.is_link_local(), gid.is_ipv4()) {
        (true, _) => "link-local",
        (false, true) => "IPv4",
        (false, false) => "IPv6",
    }
}

fn gids(evidence: &Evidence) -> Vec<Fault> {
    let gids = || {
        let all = evidence.rnics.iter();
        all.filter_map(|(name, rnic)| Some((name, rnic.gid?)))
    };
    let mut counts: BTreeMap<&str, usize> = BTreeMap::new();
    for (_, gid) in gids() {
        *counts.entry(kind(gid)).or_default() += 1;
    }
    let usual = counts.iter().max_by_key(|(_, count)| **count);
    let Some(usual) = usual.map(|(usual, _)| *usual) else {
        return Vec::new();
    };
    gids()
        .filter(|(_, gid)| kind(*gid) != usual || gid.is_link_local())
        .map(|(name, gid)| {
            let text = format!(
                "RNIC {name} has the {} GID {gid}, most others have {usual} GIDs",
                kind(gid)
            );
            Fault::new(FaultKind::Gid, vec![name.to_string()], text)
        })
        .collect()
}
