//! What the parts of an agent are told of its configuration.

use std::time::Duration;

use super::traces::Settings;
use crate::config::agent::{AgentConfig, SERVICE_INTERVALS};
use crate::config::defaults::agent::PATH_TRACE_TIMEOUT;
use crate::path_trace::Round;
use crate::probe::focus::FocusBounds;
use crate::probe::{Config, Rate};
use crate::rpc::v1;
use crate::transport::Class;

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

/// How much of its probes an agent moves to what it is asked for.
pub(super) fn focus_bounds(config: &AgentConfig) -> FocusBounds {
    FocusBounds {
        share: config.settings.focus_share,
        ..FocusBounds::default()
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
        class: Class {
            traffic_class: config.settings.traffic_class,
            service_level: config.settings.service_level,
        },
        ..Config::default()
    }
}

/// The agent's own settings, where the controller does not say otherwise. Values that make no sense are left out.
pub(super) fn overridden(config: &AgentConfig, wanted: &v1::AgentConfig) -> Config {
    let mut session = session_config(config);
    if let Some(timeout) = wanted.probe_timeout_ns.filter(|nanos| *nanos > 0) {
        session.timeout = Duration::from_nanos(timeout);
    }
    if let Some(interval) = wanted.service_probe_interval_ns {
        let interval = Duration::from_nanos(interval);
        session.service_interval =
            interval.clamp(*SERVICE_INTERVALS.start(), *SERVICE_INTERVALS.end());
    }
    if let Some(rate) = wanted.max_probes_per_second.and_then(Rate::per_second) {
        session.max_rate = rate;
    }
    if let Some(class) = wanted
        .traffic_class
        .and_then(|class| u8::try_from(class).ok())
    {
        session.class.traffic_class = class;
    }
    let level = wanted
        .service_level
        .and_then(|level| u8::try_from(level).ok());
    if let Some(level) = level.filter(|level| Class::LEVELS.contains(level)) {
        session.class.service_level = level;
    }
    session
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::agent::AgentSettings;

    #[test]
    fn the_controllers_settings_take_the_place_of_the_agents_own() {
        let config = AgentSettings::default().validate().expect("valid");
        let own = session_config(&config);
        assert_eq!(overridden(&config, &v1::AgentConfig::default()), own);
        let wanted = v1::AgentConfig {
            probe_timeout_ns: Some(50_000_000),
            service_probe_interval_ns: Some(1),
            max_probes_per_second: Some(42.0),
            upload_interval_ns: None,
            traffic_class: Some(106),
            service_level: Some(3),
        };
        let session = overridden(&config, &wanted);
        assert_eq!(session.timeout, Duration::from_millis(50));
        assert_eq!(session.service_interval, *SERVICE_INTERVALS.start());
        assert_eq!(Some(session.max_rate), Rate::per_second(42.0));
        let class = session.class;
        assert_eq!((class.traffic_class, class.service_level), (106, 3));
        let nonsense = v1::AgentConfig {
            probe_timeout_ns: Some(0),
            max_probes_per_second: Some(f64::NAN),
            traffic_class: Some(256),
            service_level: Some(8),
            ..v1::AgentConfig::default()
        };
        assert_eq!(overridden(&config, &nonsense), own);
    }
}
