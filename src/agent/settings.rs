//! What the parts of an agent are told of its configuration.

use super::traces::Settings;
use crate::config::agent::AgentConfig;
use crate::config::defaults::agent::PATH_TRACE_TIMEOUT;
use crate::path_trace::Round;
use crate::probe::{Config, Rate};

/// How an agent with this configuration traces.
pub(crate) fn trace_settings(config: &AgentConfig) -> Settings {
    Settings {
        schedule: config.path_schedule,
        round: trace_round(config),
    }
}

/// How the rounds of its traces are made.
pub fn trace_round(config: &AgentConfig) -> Round {
    Round {
        max_hops: config.settings.path_trace.max_hops,
        timeout: PATH_TRACE_TIMEOUT,
        traffic_class: config.settings.traffic_class,
    }
}

/// How the sessions of an agent with this configuration behave.
pub fn session_config(config: &AgentConfig) -> Config {
    Config {
        timeout: config.settings.probe_timeout.0,
        // Validated; the cap of an invalid rate is that of the paper.
        max_rate: Rate::per_second(config.settings.max_probes_per_second)
            .unwrap_or(Config::default().max_rate),
        service_interval: config.settings.service_probe_interval.0,
        traffic_class: config.settings.traffic_class,
        ..Config::default()
    }
}
