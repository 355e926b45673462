//! The answers of `/api/v1/incidents` and `/api/v1/status`.

use std::collections::BTreeMap;

use serde::Serialize;

use super::super::alerts::Alerts;
use super::super::judging::View;
use super::super::state::State;
use super::answer::answer;
use crate::analysis::filter::Reason;
use crate::analysis::incident::{Incident, Severity};
use crate::analysis::judge::{Category, Counts};
use crate::analysis::localize::Component;
use crate::analysis::routes::Origin;
use crate::store::incidents::Query;
use crate::time::WallTime;

/// Incidents in one answer unless asked otherwise.
const DEFAULT_LIMIT: usize = 100;
/// The most incidents in one answer.
const MAX_LIMIT: usize = 1_000;

/// Versions of agents in one answer, the most common: they are what agents say, so anything.
const MOST_VERSIONS: usize = 20;

/// What `GET /api/v1/incidents` was asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::analyzer) struct IncidentQuery {
    open: Option<bool>,
    before: Option<u64>,
    id: Option<u64>,
    limit: usize,
}

impl IncidentQuery {
    /// From the pairs of a query string; the error says which is wrong.
    pub(in crate::analyzer) fn parse(pairs: &[(String, String)]) -> Result<Self, String> {
        let mut query = Self {
            open: None,
            before: None,
            id: None,
            limit: DEFAULT_LIMIT,
        };
        for (index, (key, value)) in pairs.iter().enumerate() {
            if pairs[..index].iter().any(|(earlier, _)| earlier == key) {
                return Err(format!("`{key}` is given twice"));
            }
            match key.as_str() {
                "state" => query.open = state(value)?,
                "before" => query.before = Some(number(key, value)?),
                "id" => query.id = Some(number(key, value)?),
                "limit" => query.limit = super::number(key, value, 1..=MAX_LIMIT)?,
                _ => {
                    return Err(format!(
                        "`{key}` is unknown: expected state, before, id or limit"
                    ));
                }
            }
        }
        Ok(query)
    }

    /// What the store is asked for: one more than fits, to tell whether there is a next page.
    pub(in crate::analyzer) fn to_store(self) -> Query {
        let limit = match self.id {
            Some(_) => 1,
            None => self.limit + 1,
        };
        Query {
            open: self.open,
            before: self.id.map(|id| id.saturating_add(1)).or(self.before),
            limit: u32::try_from(limit).unwrap_or(u32::MAX),
        }
    }
}

fn state(text: &str) -> Result<Option<bool>, String> {
    match text {
        "all" => Ok(None),
        "open" => Ok(Some(true)),
        "closed" => Ok(Some(false)),
        _ => Err(format!("`state` must be open, closed or all, not `{text}`")),
    }
}

fn number(key: &str, text: &str) -> Result<u64, String> {
    text.parse()
        .map_err(|_| format!("`{key}` must be the number of an incident, not `{text}`"))
}

answer! {
    #[derive(Debug, Serialize)]
    pub(in crate::analyzer) struct IncidentsAnswer {
        /// `before` of the next page, null on the last
        next_before: Option<u64>,
        /// the incidents
        incidents: Vec<IncidentJson>,
    }
}

answer! {
    /// An incident, as answers and webhooks show it.
    #[derive(Debug, Serialize)]
    pub(in crate::analyzer) struct IncidentJson {
        /// number
        id: u64,
        /// open or closed
        state: &'static str,
        /// P0: a service's own paths are hit and suffer; P1: are hit; P2: only cluster monitoring sees it
        severity: Severity,
        /// see below
        category: Category,
        /// what is wrong, in one line
        title: String,
        /// `kind` link with `from` and `to` (one direction of a cable), switch or host with `name`, or rnic with `host`
        /// and `device`
        subject: Component,
        /// what it may be instead, in the same form; empty unless the category is undecided
        or: Vec<Component>,
        /// when it was opened
        opened_unix_ns: i64,
        /// when it was last seen
        seen_unix_ns: i64,
        /// when it was closed, null while it is open
        closed_unix_ns: Option<i64>,
        /// 0 to 1
        confidence: f64,
        /// share of the probes that it affects, 0 to 1: lost, slow, or of 5-tuples for a blackhole
        share: f64,
        /// probes on the paths that cross it, when it was last seen
        sent: u64,
        /// those of them that were lost (or slow)
        lost: u64,
        /// how often it was opened within ten minutes, this time included
        openings: usize,
        /// services with paths across it
        services: Vec<ServiceJson>,
        /// lines that explain it: counts, paths, traces, what was ruled out, what voting says
        evidence: Vec<String>,
    }
}

answer! {
    #[derive(Debug, Serialize)]
    struct ServiceJson {
        /// service
        name: String,
        /// whether the service's own probes are lost or slow
        suffers: bool,
    }
}

impl From<&Incident> for IncidentJson {
    fn from(incident: &Incident) -> Self {
        Self {
            id: incident.id,
            state: if incident.is_open() { "open" } else { "closed" },
            severity: incident.severity,
            category: incident.category,
            title: incident.title(),
            subject: incident.subject.clone(),
            or: incident.or.clone(),
            opened_unix_ns: incident.opened_unix_ns,
            seen_unix_ns: incident.seen_unix_ns,
            closed_unix_ns: incident.closed_unix_ns,
            confidence: incident.confidence,
            share: incident.share,
            sent: incident.sent,
            lost: incident.lost,
            openings: incident.openings,
            services: incident
                .services
                .iter()
                .map(|(name, suffers)| ServiceJson {
                    name: name.clone(),
                    suffers: *suffers,
                })
                .collect(),
            evidence: incident.evidence.clone(),
        }
    }
}

/// Answers `GET /api/v1/incidents`: what the store has, and for open incidents what the last run knows better.
pub(in crate::analyzer) fn answer(
    query: &IncidentQuery,
    view: &View,
    mut stored: Vec<Incident>,
) -> IncidentsAnswer {
    if let Some(id) = query.id {
        stored.retain(|incident| incident.id == id);
    }
    let more = query.id.is_none() && stored.len() > query.limit;
    stored.truncate(query.limit);
    let incidents: Vec<_> = stored
        .iter()
        .map(|stored| {
            let newest = view.open.iter().find(|open| open.id == stored.id);
            IncidentJson::from(newest.unwrap_or(stored))
        })
        .collect();
    IncidentsAnswer {
        next_before: more.then(|| incidents.last().map(|last| last.id)).flatten(),
        incidents,
    }
}

answer! {
    #[derive(Debug, Serialize)]
    pub(in crate::analyzer) struct StatusAnswer {
        /// the analyzer's wall clock
        now_unix_ns: i64,
        /// agents listed
        agents: usize,
        /// which versions they run, the most common first, at most 20
        agent_versions: Vec<VersionJson>,
        /// hosts whose agents were heard of in the last ten minutes
        hosts: usize,
        /// RNICs that they reported from
        rnics: usize,
        /// ToRs of these
        tors: usize,
        /// what is open
        incidents: OpenJson,
        /// probes of the last 20 s
        probes: ProbesJson,
        /// the paths that are judged, by what is known of their way
        paths: PathsJson,
        /// what judges
        judge: JudgeJson,
        /// where those who know the fabric contradict each other
        topology: TopologyJson,
        /// who is told of incidents
        alerts: AlertsJson,
    }
}

answer! {
    #[derive(Debug, Serialize)]
    struct VersionJson {
        /// the version; null where it is not known
        version: Option<String>,
        /// agents that run it
        agents: usize,
    }
}

answer! {
    #[derive(Debug, Serialize)]
    struct AlertsJson {
        /// Alertmanagers and webhooks that are told of incidents
        receivers: usize,
        /// what they have not acknowledged yet: incidents, counted for each receiver
        waiting: usize,
    }
}

answer! {
    #[derive(Debug, Serialize)]
    struct OpenJson {
        /// open incidents
        open: usize,
        /// those with severity P0
        p0: usize,
        /// P1
        p1: usize,
        /// P2
        p2: usize,
        /// changes that could not be stored yet; they are tried again
        waiting_for_store: usize,
    }
}

answer! {
    #[derive(Debug, Serialize)]
    struct ProbesJson {
        /// probes of the last 20 s that are judged
        judged: u64,
        /// those of them that were lost
        lost: u64,
        /// by reason, probes of the last 20 s that are not judged because a host caused their results: `host_down`,
        /// `agent_silent`, `qpn_changed`, `responder_starved`, `prober_starved`, `clock_invalid` (RTT only); each with
        /// `sent` and `lost`
        set_aside: BTreeMap<&'static str, CountsJson>,
    }
}

answer! {
    #[derive(Debug, Serialize)]
    struct CountsJson {
        /// probes
        sent: u64,
        /// those of them that were lost
        lost: u64,
    }
}

answer! {
    #[derive(Debug, Serialize)]
    struct PathsJson {
        /// paths judged whose way there is known by a trace, and those under one ToR; ways back are not counted
        traced: usize,
        /// paths of which only what ECMP may choose is known
        candidates: usize,
        /// paths of which nothing is known between the ToRs
        unknown: usize,
        /// 5-tuples that are known by a trace
        known_traces: usize,
    }
}

answer! {
    #[derive(Debug, Serialize)]
    struct JudgeJson {
        /// runs since the start
        runs: u64,
        /// when the last one looked, null before the first
        last_run_unix_ns: Option<i64>,
        /// how long it took
        took_ns: u64,
    }
}

answer! {
    #[derive(Debug, Serialize)]
    struct TopologyJson {
        /// where the topology file and the reports differ
        differences: Vec<String>,
        /// reports that named another host or ToR for an RNIC than its own agent does
        contradictions: u64,
        /// the RNICs of which that was said in the last two minutes
        contradicted_rnics: Vec<String>,
    }
}

/// Answers `GET /api/v1/status`.
pub(in crate::analyzer) fn status(
    state: &State,
    view: &View,
    alerts: &Alerts,
    now: WallTime,
) -> StatusAnswer {
    let (receivers, waiting) = alerts.sizes();
    let of = |severity| {
        let open = view.open.iter();
        open.filter(|incident| incident.severity == severity)
            .count()
    };
    let judgement = &view.judgement;
    let paths = |origin| judgement.paths.get(&origin).copied().unwrap_or_default();
    let (hosts, rnics) = state.ledger.sizes();
    StatusAnswer {
        now_unix_ns: now.nanos(),
        agents: state.agents.len(),
        agent_versions: state
            .agents
            .versions()
            .into_iter()
            .take(MOST_VERSIONS)
            .map(|(version, agents)| VersionJson {
                version: version.map(|version| version.as_str().to_owned()),
                agents,
            })
            .collect(),
        hosts,
        rnics,
        tors: state.ledger.tors().len(),
        incidents: OpenJson {
            open: view.open.len(),
            p0: of(Severity::P0),
            p1: of(Severity::P1),
            p2: of(Severity::P2),
            waiting_for_store: view.waiting,
        },
        probes: ProbesJson {
            judged: judgement.judged.sent,
            lost: judgement.judged.lost,
            set_aside: Reason::ALL
                .into_iter()
                .filter_map(|reason| {
                    let Counts { sent, lost } = *judgement.set_aside.get(&reason)?;
                    Some((reason.name(), CountsJson { sent, lost }))
                })
                .collect(),
        },
        paths: PathsJson {
            traced: paths(Origin::Traced),
            candidates: paths(Origin::Candidates),
            unknown: paths(Origin::Cloud),
            known_traces: view.traced,
        },
        judge: JudgeJson {
            runs: view.runs,
            last_run_unix_ns: judgement.at.map(WallTime::nanos),
            took_ns: u64::try_from(view.took.as_nanos()).unwrap_or(u64::MAX),
        },
        topology: TopologyJson {
            differences: view.differences.clone(),
            contradictions: state.ledger.contradictions(),
            contradicted_rnics: state
                .ledger
                .contradicted(now)
                .take(MAX_LIMIT)
                .map(|end| end.rnic().to_string())
                .collect(),
        },
        alerts: AlertsJson { receivers, waiting },
    }
}

#[cfg(test)]
mod tests;
