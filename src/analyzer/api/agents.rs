//! `GET /api/v1/agents`.

use crate::analyzer::agents::Agent as Known;
use crate::analyzer::state::State;
use crate::api::agents::{Agent, AgentRnic, Agents, Counters};
use crate::id::AgentId;
use crate::time::WallTime;

/// Answers `GET /api/v1/agents`.
pub(in crate::analyzer) fn agents(state: &State, now: WallTime) -> Agents {
    Agents {
        now_unix_ns: now.nanos(),
        agents: state
            .agents
            .iter()
            .map(|(id, known)| agent(id, known))
            .collect(),
    }
}

fn agent(id: &AgentId, agent: &Known) -> Agent {
    let state = agent.state.as_ref();
    Agent {
        agent: id.as_str().to_owned(),
        host: agent.host.as_str().to_owned(),
        version: agent
            .version
            .as_ref()
            .map(|version| version.as_str().to_owned()),
        sequence: agent.sequence,
        last_upload_unix_ns: agent.last_upload.nanos(),
        last_interval_end_unix_ns: agent.last_interval_end.nanos(),
        lateness_ns: agent.lateness.0,
        clock_ahead_ns: agent.clock.0,
        batches: agent.batches,
        duplicate_batches: agent.duplicates,
        lost_batches: agent.lost_batches,
        oldest_sequence: agent.held.map(|held| held.oldest),
        missing_batches: agent.held.map(|held| held.missing),
        late_batches: agent.late_batches,
        late_results: agent.late_results,
        future_batches: agent.future_batches,
        future_results: agent.future_results,
        refused_reports: agent.refused_reports,
        last_refusal: agent.last_refusal.clone(),
        counters: Counters {
            results_dropped: agent.counters.results_dropped,
            batches_dropped: agent.counters.batches_dropped,
            malformed_packets: agent.counters.malformed_packets,
            unmatched_acks: agent.counters.unmatched_acks,
            probes_answered: agent.counters.probes_answered,
            source_ports_as_meant: agent.counters.source_ports_as_meant,
            source_ports_otherwise: agent.counters.source_ports_otherwise,
        },
        degraded: state
            .map(|state| state.degraded.clone())
            .unwrap_or_default(),
        tuples: state.map(|state| state.tuples),
        rnics: state
            .into_iter()
            .flat_map(|state| &state.rnics)
            .map(|rnic| AgentRnic {
                device: rnic.device.as_str().to_owned(),
                closed: rnic.closed.clone(),
                clock: rnic.clock.map(Into::into),
            })
            .collect(),
    }
}
