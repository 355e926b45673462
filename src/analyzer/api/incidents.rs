//! The answers of `/api/v1/incidents` and `/api/v1/status`.

use std::collections::BTreeMap;

use serde::Serialize;

use super::super::alerts::Alerts;
use super::super::judging::View;
use super::super::state::State;
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

#[derive(Debug, Serialize)]
pub(in crate::analyzer) struct IncidentsAnswer {
    next_before: Option<u64>,
    incidents: Vec<IncidentJson>,
}

/// An incident, as answers and webhooks show it.
#[derive(Debug, Serialize)]
pub(in crate::analyzer) struct IncidentJson {
    id: u64,
    state: &'static str,
    severity: Severity,
    category: Category,
    title: String,
    subject: Component,
    or: Vec<Component>,
    opened_unix_ns: i64,
    seen_unix_ns: i64,
    closed_unix_ns: Option<i64>,
    confidence: f64,
    share: f64,
    sent: u64,
    lost: u64,
    openings: usize,
    services: Vec<ServiceJson>,
    evidence: Vec<String>,
}

#[derive(Debug, Serialize)]
struct ServiceJson {
    name: String,
    suffers: bool,
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

#[derive(Debug, Serialize)]
pub(in crate::analyzer) struct StatusAnswer {
    now_unix_ns: i64,
    agents: usize,
    agent_versions: Vec<VersionJson>,
    hosts: usize,
    rnics: usize,
    tors: usize,
    incidents: OpenJson,
    probes: ProbesJson,
    paths: PathsJson,
    judge: JudgeJson,
    topology: TopologyJson,
    alerts: AlertsJson,
}

#[derive(Debug, Serialize)]
struct VersionJson {
    version: Option<String>,
    agents: usize,
}

#[derive(Debug, Serialize)]
struct AlertsJson {
    receivers: usize,
    waiting: usize,
}

#[derive(Debug, Serialize)]
struct OpenJson {
    open: usize,
    p0: usize,
    p1: usize,
    p2: usize,
    waiting_for_store: usize,
}

#[derive(Debug, Serialize)]
struct ProbesJson {
    judged: u64,
    lost: u64,
    set_aside: BTreeMap<&'static str, CountsJson>,
}

#[derive(Debug, Serialize)]
struct CountsJson {
    sent: u64,
    lost: u64,
}

#[derive(Debug, Serialize)]
struct PathsJson {
    traced: usize,
    candidates: usize,
    unknown: usize,
    known_traces: usize,
}

#[derive(Debug, Serialize)]
struct JudgeJson {
    runs: u64,
    last_run_unix_ns: Option<i64>,
    took_ns: u64,
}

#[derive(Debug, Serialize)]
struct TopologyJson {
    differences: Vec<String>,
    contradictions: u64,
    contradicted_rnics: Vec<String>,
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
                .map(|end| format!("{}/{}", end.host, end.device))
                .collect(),
        },
        alerts: AlertsJson { receivers, waiting },
    }
}

#[cfg(test)]
mod tests;
