//! `GET /api/v1/evidence`: what each link carried, for `rpingmesh certify`.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::Request;
use super::query::Number;
use crate::analysis::certify;
use crate::id::RnicName;
use crate::time::{Nanos, WallTime};

/// Parameters; each may be left out.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct EvidenceQuery {
    /// from when, nanoseconds since the Unix epoch: `end_unix_ns` of the last answer; as far back as is kept if it is left out
    #[serde(skip_serializing_if = "Option::is_none")]
    pub since_unix_ns: Option<Number>,
    /// links (`A->B`), RNICs (`HOST/DEVICE`), hosts and switches, with commas between them: probes that crossed one of them do not
    /// count; none if it is left out
    #[serde(skip_serializing_if = "Option::is_none")]
    pub without: Option<String>,
}

impl Request for EvidenceQuery {
    const PATH: &'static str = "/api/v1/evidence";
    const SUMMARY: &'static str = "What each link carried and lost, for certifications";
    type Answer = Evidence;
}

/// What each link carried and lost.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Evidence {
    /// beginning of the counts. The analyzer keeps 120 s: it may be later than the beginning that was asked for
    pub start_unix_ns: i64,
    /// to when: 20 s ago, so that late results are counted
    pub end_unix_ns: i64,
    /// how much of this time has results
    pub covered_ns: i64,
    /// whether there is a topology file
    pub has_file: bool,
    /// probes that count
    pub counted: Tally,
    /// probes whose path, or that of their ACKs, is not known
    pub untraced: Tally,
    /// probes that say nothing about the network, because a host may have disturbed them
    pub set_aside: Tally,
    /// probes that crossed what was to be left out
    pub left_out: Tally,
    /// the links, those without a probe too where the topology file has them
    pub links: Vec<LinkEvidence>,
    /// sets of links that were crossed together and whose probes had losses, at most 2000
    pub lossy: Vec<LossyLinks>,
    /// losses of sets that found no place
    pub lossy_left_out: u64,
    /// the RNICs that report
    pub rnics: Vec<RnicEvidence>,
    /// hosts and RNICs of the topology file that report nothing
    pub missing: Vec<String>,
    /// where file, reports and traces contradict each other, in words
    pub differences: Vec<String>,
}

/// Probes.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Tally {
    /// all
    pub sent: u64,
    /// without an ACK in time
    pub lost: u64,
}

/// One direction of a cable, or of all parallel ones.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct LinkEvidence {
    /// the end that sends; an RNIC is `HOST/DEVICE`
    pub from: String,
    /// the end that receives
    pub to: String,
    /// cables that the topology file lists; 0 if it has none
    pub cables: u32,
    /// 5-tuples whose packets cross it
    pub paths: u64,
    /// probes that crossed it, or whose ACK did
    pub sent: u64,
    /// those of them that were lost, here or elsewhere
    pub lost: u64,
}

/// Links that were crossed together.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct LossyLinks {
    /// places in `links`, from 0
    pub links: Vec<usize>,
    /// probes
    pub sent: u64,
    /// those of them that were lost
    pub lost: u64,
}

/// A duration by which RNICs are compared.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Level {
    /// measurements
    pub count: u64,
    /// median
    pub median_ns: i64,
}

/// An RNIC.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct RnicEvidence {
    /// `HOST/DEVICE`
    pub name: String,
    /// its GID
    pub gid: Option<String>,
    /// the ToR that its agent reports
    pub tor: String,
    /// ToRs that the topology file has for it: several for a bond, none where the file does not know it
    pub file_tors: Vec<String>,
    /// the switches that answer first on its traced paths, with the number of 5-tuples; at most 4
    pub first_switches: BTreeMap<String, u64>,
    /// probes from it and to it
    pub sent: u64,
    /// those of them that were lost
    pub lost: u64,
    /// network RTT to and from the others under its ToR
    pub rtt: Level,
    /// prober delay of its own probes
    pub prober_delay: Level,
    /// responder delay of probes to it
    pub responder_delay: Level,
}

impl From<certify::Tally> for Tally {
    fn from(tally: certify::Tally) -> Self {
        Self {
            sent: tally.sent,
            lost: tally.lost,
        }
    }
}

impl From<Tally> for certify::Tally {
    fn from(tally: Tally) -> Self {
        Self {
            sent: tally.sent,
            lost: tally.lost,
        }
    }
}

impl From<certify::Level> for Level {
    fn from(level: certify::Level) -> Self {
        Self {
            count: level.count,
            median_ns: level.median.0,
        }
    }
}

impl From<Level> for certify::Level {
    fn from(level: Level) -> Self {
        Self {
            count: level.count,
            median: Nanos(level.median_ns),
        }
    }
}

impl From<&certify::Evidence> for Evidence {
    fn from(evidence: &certify::Evidence) -> Self {
        let places: BTreeMap<_, usize> = evidence.links.keys().zip(0..).collect();
        let lossy = evidence.lossy.iter().map(|(links, tally)| LossyLinks {
            links: links
                .iter()
                .filter_map(|link| places.get(link).copied())
                .collect(),
            sent: tally.sent,
            lost: tally.lost,
        });
        Self {
            start_unix_ns: evidence.interval.start.nanos(),
            end_unix_ns: evidence.interval.end.nanos(),
            covered_ns: evidence.covered.0,
            has_file: evidence.has_file,
            counted: evidence.counted.into(),
            untraced: evidence.untraced.into(),
            set_aside: evidence.set_aside.into(),
            left_out: evidence.left_out.into(),
            lossy: lossy.collect(),
            links: evidence.links.iter().map(link).collect(),
            lossy_left_out: evidence.lossy_left_out,
            rnics: evidence.rnics.iter().map(rnic).collect(),
            missing: evidence.missing.clone(),
            differences: evidence.differences.clone(),
        }
    }
}

fn link((name, link): (&certify::LinkName, &certify::LinkEvidence)) -> LinkEvidence {
    LinkEvidence {
        from: name.from.clone(),
        to: name.to.clone(),
        cables: link.cables,
        paths: link.paths,
        sent: link.tally.sent,
        lost: link.tally.lost,
    }
}

fn rnic((name, rnic): (&RnicName, &certify::RnicEvidence)) -> RnicEvidence {
    RnicEvidence {
        name: name.to_string(),
        gid: rnic.gid.map(|gid| gid.to_string()),
        tor: rnic.tor.clone(),
        file_tors: rnic.file_tors.clone(),
        first_switches: rnic.first_switches.clone(),
        sent: rnic.tally.sent,
        lost: rnic.tally.lost,
        rtt: rnic.rtt.into(),
        prober_delay: rnic.prober_delay.into(),
        responder_delay: rnic.responder_delay.into(),
    }
}

/// Why an answer says nothing.
#[derive(Debug, thiserror::Error)]
pub enum EvidenceError {
    /// A set of links names one that is not in the list.
    #[error("lossy: link {0} is not in the list of links")]
    Place(usize),
    /// More probes lost than sent.
    #[error("{0}: more probes lost than sent")]
    Counts(String),
    /// A name or address that is none.
    #[error("rnics: `{0}` is not the name of an RNIC, or its GID cannot be read")]
    Rnic(String),
}

impl TryFrom<&Evidence> for certify::Evidence {
    type Error = EvidenceError;

    fn try_from(answer: &Evidence) -> Result<Self, EvidenceError> {
        let (start, end) = (answer.start_unix_ns, answer.end_unix_ns);
        let mut evidence = Self::new(WallTime::from_nanos(start)..WallTime::from_nanos(end));
        evidence.covered = Nanos(answer.covered_ns);
        evidence.has_file = answer.has_file;
        evidence.counted = answer.counted.into();
        evidence.untraced = answer.untraced.into();
        evidence.set_aside = answer.set_aside.into();
        evidence.left_out = answer.left_out.into();
        evidence.lossy_left_out = answer.lossy_left_out;
        evidence.missing.clone_from(&answer.missing);
        evidence.differences.clone_from(&answer.differences);
        for link in &answer.links {
            let name = certify::LinkName::new(&*link.from, &*link.to);
            let tally = checked(&name.to_string(), link.sent, link.lost)?;
            let known = certify::LinkEvidence {
                cables: link.cables,
                paths: link.paths,
                tally,
            };
            evidence.links.insert(name, known);
        }
        for set in &answer.lossy {
            let name = |place: &usize| {
                let link = answer
                    .links
                    .get(*place)
                    .ok_or(EvidenceError::Place(*place))?;
                Ok(certify::LinkName::new(&*link.from, &*link.to))
            };
            let links = set.links.iter().map(name).collect::<Result<Vec<_>, _>>()?;
            let tally = checked("lossy", set.sent, set.lost)?;
            if !links.is_empty() {
                evidence.lossy.entry(links).or_default().add(tally);
            }
        }
        for rnic in &answer.rnics {
            let wrong = || EvidenceError::Rnic(rnic.name.clone());
            let name: RnicName = rnic.name.parse().map_err(|_| wrong())?;
            let gid = rnic.gid.as_deref().map(str::parse).transpose();
            let known = certify::RnicEvidence {
                gid: gid.map_err(|_| wrong())?,
                tor: rnic.tor.clone(),
                file_tors: rnic.file_tors.clone(),
                first_switches: rnic.first_switches.clone(),
                tally: checked(&rnic.name, rnic.sent, rnic.lost)?,
                rtt: rnic.rtt.into(),
                prober_delay: rnic.prober_delay.into(),
                responder_delay: rnic.responder_delay.into(),
            };
            evidence.rnics.insert(name, known);
        }
        Ok(evidence)
    }
}

fn checked(what: &str, sent: u64, lost: u64) -> Result<certify::Tally, EvidenceError> {
    if lost > sent {
        return Err(EvidenceError::Counts(what.to_owned()));
    }
    Ok(certify::Tally { sent, lost })
}
