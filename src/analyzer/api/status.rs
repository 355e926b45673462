//! `GET /api/v1/status`.

use crate::analysis::filter::Reason;
use crate::analysis::incident::Severity;
use crate::analysis::judge::Counts;
use crate::analysis::routes::Origin;
use crate::analyzer::alerts::Alerts;
use crate::analyzer::state::State;
use crate::analyzer::view::View;
use crate::api;
use crate::api::status::{
    AgentIdentity, AgentVersion, Clocks, ClusterKey, Contradictions, Coverage, Degraded, Judge,
    KeyPhase, KnownPaths, OpenIncidents, ProbeCounts, Probes, Status,
};
use crate::cluster_key::{KeySource, KeyUse, Phase};
use crate::time::WallTime;

/// Versions of agents in one answer, the most common: they are what agents say, so anything.
const MOST_VERSIONS: usize = 20;
/// Ways to sign in one answer, the most common.
const MOST_KEYS: usize = 20;
/// Agents in one answer that say what is off.
const MOST_DEGRADED: usize = 20;
/// RNICs in one answer whose place is contradicted.
const MOST_CONTRADICTED: usize = 1_000;

/// Answers `GET /api/v1/status`.
pub(in crate::analyzer) fn status(
    state: &State,
    view: &View,
    alerts: &Alerts,
    agent_identity: AgentIdentity,
    now: WallTime,
) -> Status {
    let (receivers, waiting) = alerts.sizes();
    let of = |severity| {
        let open = view.open.iter();
        open.filter(|incident| incident.severity == severity)
            .count()
    };
    let judgement = &view.judgement;
    let paths = |origin| judgement.paths.get(&origin).copied().unwrap_or_default();
    let (hosts, rnics) = state.host_filter.sizes();
    Status {
        now_unix_ns: now.nanos(),
        agents: state.agents.len(),
        agent_identity,
        cluster_keys: state
            .agents
            .key_uses()
            .into_iter()
            .take(MOST_KEYS)
            .map(|(keys, agents)| cluster_key(keys, agents))
            .collect(),
        agent_versions: state
            .agents
            .versions()
            .into_iter()
            .take(MOST_VERSIONS)
            .map(|(version, agents)| AgentVersion {
                version: version.map(|version| version.as_str().to_owned()),
                agents,
            })
            .collect(),
        hosts,
        rnics,
        tors: state.host_filter.tors().len(),
        clocks: state
            .agents
            .clocks()
            .into_iter()
            .map(|(clock, rnics)| Clocks {
                clock: clock.into(),
                rnics,
            })
            .collect(),
        degraded_agents: state.agents.degraded().count(),
        degraded: state
            .agents
            .degraded()
            .take(MOST_DEGRADED)
            .map(|(id, agent, lines)| Degraded {
                agent: id.as_str().to_owned(),
                host: agent.host.as_str().to_owned(),
                reasons: lines.to_vec(),
            })
            .collect(),
        withdrawn: state.missing().len(),
        coverage: Coverage {
            judged_rnics: judgement.coverage.judged,
            known_rnics: judgement.coverage.known.max(rnics),
            missing: view.missing,
        },
        incidents: OpenIncidents {
            open: view.open.len(),
            p0: of(Severity::P0),
            p1: of(Severity::P1),
            p2: of(Severity::P2),
            waiting_for_store: view.waiting,
        },
        probes: Probes {
            judged: judgement.judged.sent,
            lost: judgement.judged.lost,
            set_aside: Reason::ALL
                .into_iter()
                .filter_map(|reason| {
                    let Counts { sent, lost } = *judgement.set_aside.get(&reason)?;
                    Some((reason.name().to_owned(), ProbeCounts { sent, lost }))
                })
                .collect(),
        },
        paths: KnownPaths {
            traced: paths(Origin::Traced),
            candidates: paths(Origin::Candidates),
            unknown: paths(Origin::Cloud),
            known_traces: view.traced,
        },
        judge: Judge {
            runs: view.runs,
            last_run_unix_ns: judgement.at.map(WallTime::nanos),
            took_ns: u64::try_from(view.took.as_nanos()).unwrap_or(u64::MAX),
        },
        topology: Contradictions {
            differences: view.differences.clone(),
            contradictions: state.host_filter.contradictions(),
            contradicted_rnics: state
                .host_filter
                .contradicted(now)
                .take(MOST_CONTRADICTED)
                .map(|end| end.rnic().to_string())
                .collect(),
        },
        alerts: api::status::Alerts { receivers, waiting },
    }
}

fn cluster_key(keys: Option<KeyUse>, agents: usize) -> ClusterKey {
    let source = match keys.map(|keys| keys.source) {
        None => api::status::KeySource::Unknown,
        Some(KeySource::NoTls) => api::status::KeySource::NoTls,
        Some(KeySource::NotGiven) => api::status::KeySource::NotGiven,
        Some(KeySource::Own) => api::status::KeySource::Own,
        Some(KeySource::Controller) => api::status::KeySource::Controller,
    };
    let phase = keys.and_then(|keys| keys.phase).map(|phase| match phase {
        Phase::Offered => KeyPhase::Offered,
        Phase::Signing => KeyPhase::Signing,
        Phase::Steady => KeyPhase::Steady,
    });
    let signs = keys.and_then(|keys| keys.signs);
    ClusterKey {
        source,
        phase,
        fingerprint: signs.map(|print| print.to_string()),
        agents,
    }
}
