//! `run`: the agent.

use std::sync::Arc;

use rpingmesh::agent::metrics::Metrics;
use rpingmesh::agent::{Agent, AgentError};
use rpingmesh::config::agent::{AgentConfig, TracingChoice};
use rpingmesh::config::program::{Failure, prepare, run_to_end, stop_on_signal};
use rpingmesh::hardware::{Reader, SYSFS};
use rpingmesh::service::trace::{TraceMessage, Unavailable};
use rpingmesh::time::SystemClock;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use crate::cli::{Configured, runtime};
use crate::{trace, tracer, transports};

pub(crate) fn run(configured: Configured) -> Result<(), Failure> {
    let config = configured.start()?;
    run_to_end(runtime()?, serve(config))
}

async fn serve(config: AgentConfig) -> Result<(), Failure> {
    let stop = stop_on_signal().map_err(Failure::run)?;
    let chosen = transports::choose(&config).map_err(Failure::run)?;
    let tracing = follow_services(&config, &stop)?;
    let mut off = Vec::new();
    if tracing.is_none() {
        off.push("service tracing: as configured".to_owned());
    } else if !tracer::EXISTS {
        off.push(Unavailable::Unsupported.to_string());
    }
    if chosen.provider.is_some() {
        config.require_tor()?;
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
        "starting; {}", start_line(&chosen.why, &off)
    );
    prepare(&config.settings.weak_files());
    if chosen.provider.is_none() {
        off.push(format!("probing: {}", chosen.why));
    }
    let agent = Agent {
        spool: Agent::spool_location(&config),
        config: Arc::new(config),
        provider: chosen.provider,
        tracer,
        clock: Arc::new(SystemClock),
        off,
        tracing,
        hardware: Some(Arc::new(Reader::new(SYSFS))),
        metrics: Arc::new(Metrics::new()),
    };
    agent.run(stop).await.map_err(|error| match error {
        AgentError::Config(error) => Failure::Config(error),
        error @ (AgentError::Store(_) | AgentError::Metrics { .. } | AgentError::Task(_)) => {
            Failure::run(error)
        }
    })
}

/// What carries the probes and why; what is off and why.
fn start_line(transport: &str, off: &[String]) -> String {
    if off.is_empty() {
        transport.to_owned()
    } else {
        format!("{transport}; off: {}", off.join("; "))
    }
}

/// What the tracer tells; `None` where it is off.
fn follow_services(
    config: &AgentConfig,
    stop: &CancellationToken,
) -> Result<Option<mpsc::Receiver<TraceMessage>>, Failure> {
    let prover = transports::prover(config);
    match config.settings.tracing {
        TracingChoice::Off => return Ok(None),
        TracingChoice::Auto => {}
        TracingChoice::On if tracer::EXISTS && !tracer::has_ib_core() => {
            tracing::warn!("ib_core is not loaded: services are traced as soon as it is");
        }
        TracingChoice::On => {
            tracer::trial(&prover).map_err(|why| {
                Failure::run(format!("`tracing` is on, but {why}: {}", why.advice()))
            })?;
        }
    }
    let variables = config.settings.services.variables();
    let messages = tracer::start(true, prover, &variables, stop.clone()).map_err(Failure::run)?;
    Ok(Some(messages))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_line_says_what_is_off_and_why() {
        assert_eq!(start_line("transport verbs: x", &[]), "transport verbs: x");
        let off = [
            "service tracing: as configured".to_owned(),
            "path tracing: y".to_owned(),
        ];
        assert_eq!(
            start_line("transport none: x", &off),
            "transport none: x; off: service tracing: as configured; path tracing: y"
        );
    }
}
