//! `rpingmesh agents`.

use std::fmt::Write as _;

use clap::Args;
use rpingmesh::api::agents::{Agent, Agents, AgentsQuery};
use rpingmesh::config::program::Failure;

use crate::api::{self, ApiArgs};
use crate::list::ListArgs;

/// What `agents` takes.
#[derive(Debug, Args)]
pub(crate) struct AgentsArgs {
    #[command(flatten)]
    api: ApiArgs,
    #[command(flatten)]
    list: ListArgs,
    /// Only agents that say that something is off
    #[arg(long)]
    degraded: bool,
}

pub(crate) fn main(args: &AgentsArgs) -> Result<(), Failure> {
    let picker = args.list.picker::<Agent>()?;
    let analyzer = args.api.analyzer()?;
    let mut answer = api::block_on(async { analyzer.ask(&AgentsQuery::default()).await })?;
    if args.degraded {
        answer.agents.retain(|agent| !agent.degraded.is_empty());
    }
    // Those with something off first.
    answer.agents.sort_by_key(|agent| agent.degraded.is_empty());
    picker.apply(&mut answer.agents);
    if args.api.json {
        return answer.agents.iter().try_for_each(api::print_json);
    }
    if answer.agents.is_empty() && picker.is_filtered() {
        return api::print("no agent passes the filter");
    }
    api::print(&describe(&answer, args.degraded))
}

/// One line for each agent, and one for each thing that is off.
fn describe(answer: &Agents, degraded: bool) -> String {
    if answer.agents.is_empty() {
        let none = if degraded {
            "no agent says that something is off"
        } else {
            "no agent has uploaded in the last 24 hours"
        };
        return none.to_owned();
    }
    let longest = |of: fn(&Agent) -> &str| {
        answer
            .agents
            .iter()
            .map(|one| of(one).chars().count())
            .max()
    };
    let agent_width = longest(|one| &one.agent).unwrap_or(0).max("AGENT".len());
    let host_width = longest(|one| &one.host).unwrap_or(0).max("HOST".len());
    let mut text = format!(
        "{:agent_width$}  {:host_width$}  {:>8}  {:>6}  LAST UPLOAD",
        "AGENT", "HOST", "RNICS", "TUPLES"
    );
    for agent in &answer.agents {
        let open = agent
            .rnics
            .iter()
            .filter(|rnic| rnic.closed.is_none())
            .count();
        let rnics = match (agent.tuples, agent.rnics.len()) {
            (None, _) => "-".to_owned(),
            (Some(_), all) if all == open => all.to_string(),
            (Some(_), all) => format!("{open} of {all}"),
        };
        let tuples = agent
            .tuples
            .map_or_else(|| "-".to_owned(), |tuples| tuples.to_string());
        let last = api::ago(answer.now_unix_ns, agent.last_upload_unix_ns);
        let _ = write!(
            text,
            "\n{:agent_width$}  {:host_width$}  {rnics:>8}  {tuples:>6}  {last} ago",
            agent.agent, agent.host
        );
        for reason in &agent.degraded {
            let _ = write!(text, "\n  DEGRADED  {reason}");
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use rpingmesh::api::agents::{AgentRnic, Counters};

    use super::*;

    fn agent(name: &str, tuples: Option<u64>) -> Agent {
        Agent {
            agent: name.to_owned(),
            host: format!("host-of-{name}"),
            version: None,
            sequence: 1,
            last_upload_unix_ns: 1_000_000_000,
            last_interval_end_unix_ns: 1,
            lateness_ns: 0,
            clock_ahead_ns: 0,
            batches: 1,
            duplicate_batches: 0,
            lost_batches: 0,
            oldest_sequence: None,
            missing_batches: None,
            late_batches: 0,
            late_results: 0,
            future_batches: 0,
            future_results: 0,
            refused_reports: 0,
            last_refusal: None,
            counters: Counters {
                results_dropped: 0,
                batches_dropped: 0,
                malformed_packets: 0,
                unmatched_acks: 0,
                probes_answered: 0,
                source_ports_as_meant: 0,
                source_ports_otherwise: 0,
            },
            degraded: Vec::new(),
            tuples,
            rnics: Vec::new(),
        }
    }

    #[test]
    fn each_agent_has_a_line_and_says_what_is_off() {
        let rnic = |device: &str, closed: Option<&str>| AgentRnic {
            device: device.to_owned(),
            closed: closed.map(str::to_owned),
            clock: None,
        };
        let mut well = agent("a", Some(84));
        well.rnics = vec![rnic("mlx5_0", None)];
        let mut degraded = agent("b", Some(0));
        degraded.rnics = vec![
            rnic("mlx5_0", None),
            rnic("mlx5_1", Some("the port is down")),
        ];
        degraded.degraded = vec![
            "tracing: no CAP_BPF".to_owned(),
            "RNIC mlx5_1: the port is down".to_owned(),
        ];
        let answer = Agents {
            now_unix_ns: 4_000_000_000,
            agents: vec![well, degraded, agent("old", None)],
        };
        insta::assert_snapshot!(describe(&answer, false), @r"
        AGENT  HOST            RNICS  TUPLES  LAST UPLOAD
        a      host-of-a           1      84  3s ago
        b      host-of-b      1 of 2       0  3s ago
          DEGRADED  tracing: no CAP_BPF
          DEGRADED  RNIC mlx5_1: the port is down
        old    host-of-old         -       -  3s ago
        ");
        let none = Agents {
            agents: Vec::new(),
            ..answer
        };
        assert_eq!(describe(&none, true), "no agent says that something is off");
    }
}
