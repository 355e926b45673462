//! `run`: the agent.

use std::sync::Arc;

use rpingmesh::agent::{Agent, AgentError};
use rpingmesh::config::agent::AgentConfig;
use rpingmesh::config::program::{Failure, stop_on_signal};
use rpingmesh::time::SystemClock;

use crate::cli::{Configured, runtime};
use crate::{trace, transports};

pub(crate) fn run(configured: Configured) -> Result<(), Failure> {
    let config = configured.start()?;
    runtime()?.block_on(serve(config))
}

async fn serve(config: AgentConfig) -> Result<(), Failure> {
    let stop = stop_on_signal().map_err(Failure::run)?;
    let chosen = transports::choose(&config).map_err(Failure::run)?;
    let mut off = vec!["tracing: this build has no tracer".to_owned()];
    if chosen.provider.is_some() {
        config.require_tor()?;
    } else {
        off.push(format!("probing: {}", chosen.why));
    }
    let tracer = match (&chosen.provider, trace::tracer(&config)?) {
        (None, _) => None,
        (Some(_), Ok(tracer)) => Some(tracer),
        (Some(_), Err(why)) => {
            tracing::warn!(why, "paths are not traced");
            off.push(format!("path tracing: {why}"));
            None
        }
    };
    tracing::info!(
        agent = %config.agent_id, host = %config.host, controller = %config.controller, analyzer = %config.analyzer,
        "starting; {}; tracing off: this build has no tracer", chosen.why
    );
    let agent = Agent {
        spool: Agent::spool_location(&config),
        config: Arc::new(config),
        provider: chosen.provider,
        tracer,
        clock: Arc::new(SystemClock),
        off,
        tracing: None,
    };
    agent.run(stop).await.map_err(|error| match error {
        AgentError::Config(error) => Failure::Config(error),
        AgentError::Store(error) => Failure::run(error),
    })
}
