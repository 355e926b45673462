//! Section `[path_trace]`: which switches the probes pass.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::TracingChoice;
use crate::config::defaults::agent as defaults;
use crate::config::{ConfigError, HumanDuration};
use crate::probe::Rate;
use crate::probe::trace::MAX_HOPS;
use crate::probe::trace::schedule::Config;

const INTERVALS: std::ops::RangeInclusive<Duration> =
    Duration::from_secs(1)..=Duration::from_hours(24);
/// Traces and answers per second beyond this would be a load on the switches' processors.
const MAX_RATE: f64 = 1_000.0;

/// The settings; each is a TOML key, a flag and a variable.
#[derive(Debug, Clone, Default, Serialize, Deserialize, clap::Args)]
#[serde(deny_unknown_fields, default)]
pub struct PathTraceSettings {
    /// Whether the paths of probes are traced; needs raw sockets (CAP_NET_RAW) [default: auto]
    #[arg(
        long = "path-trace-mode",
        env = "RPINGMESH_PATH_TRACE_MODE",
        id = "path_trace_mode",
        value_name = "MODE",
        value_enum
    )]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub mode: Option<TracingChoice>,
    /// How often each path is traced as far as the rates allow, 1s to 24h; besides at once when it fails or recovers
    /// [default: 5m]
    #[arg(
        long = "path-trace-interval",
        env = "RPINGMESH_PATH_TRACE_INTERVAL",
        id = "path_trace_interval",
        value_name = "DURATION"
    )]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub interval: Option<HumanDuration>,
    /// Upper bound of traces per second of this agent, up to 1000 [default: 4]
    #[arg(
        long = "path-trace-rate",
        env = "RPINGMESH_PATH_TRACE_RATE",
        id = "path_trace_rate",
        value_name = "RATE"
    )]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub rate: Option<f64>,
    /// Upper bound of traces per second and switch by this agent, up to 1000 [default: 10]
    #[arg(
        long = "path-trace-switch-rate",
        env = "RPINGMESH_PATH_TRACE_SWITCH_RATE",
        id = "path_trace_switch_rate",
        value_name = "RATE"
    )]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub switch_rate: Option<f64>,
    /// The most switches on a path, 1 to 32 [default: 8]
    #[arg(
        long = "path-trace-max-hops",
        env = "RPINGMESH_PATH_TRACE_MAX_HOPS",
        id = "path_trace_max_hops",
        value_name = "COUNT"
    )]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_hops: Option<u8>,
}

crate::layer!(PathTraceSettings {
    mode,
    interval,
    rate,
    switch_rate,
    max_hops,
});

/// What is validated of them.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct PathTraceConfig {
    /// Whether.
    pub mode: TracingChoice,
    /// When.
    pub schedule: Config,
    /// How far.
    pub max_hops: u8,
}

impl PathTraceSettings {
    pub(super) fn defaults() -> Self {
        Self {
            mode: Some(TracingChoice::Auto),
            interval: Some(HumanDuration(defaults::PATH_TRACE_INTERVAL)),
            rate: Some(defaults::PATH_TRACE_RATE),
            switch_rate: Some(defaults::PATH_TRACE_SWITCH_RATE),
            max_hops: Some(defaults::PATH_TRACE_MAX_HOPS),
        }
    }

    pub(super) fn validate(&self) -> Result<PathTraceConfig, ConfigError> {
        let interval = self
            .interval
            .map_or(defaults::PATH_TRACE_INTERVAL, |span| span.0);
        if !INTERVALS.contains(&interval) {
            return Err(ConfigError::value(
                "path_trace.interval",
                format!("{} is not possible: use 1s to 24h", HumanDuration(interval)),
            ));
        }
        let max_hops = self.max_hops.unwrap_or(defaults::PATH_TRACE_MAX_HOPS);
        if !(1..=MAX_HOPS).contains(&max_hops) {
            return Err(ConfigError::value(
                "path_trace.max_hops",
                format!("{max_hops} is not possible: use 1 to {MAX_HOPS}"),
            ));
        }
        let rate = |key, value: Option<f64>, default: f64| {
            let value = value.unwrap_or(default);
            Rate::per_second(value)
                .filter(|rate| rate.get() <= MAX_RATE)
                .ok_or_else(|| {
                    ConfigError::value(
                        key,
                        format!("{value} is not possible: use a rate above 0 and up to {MAX_RATE}"),
                    )
                })
        };
        Ok(PathTraceConfig {
            mode: self.mode.unwrap_or(TracingChoice::Auto),
            schedule: Config {
                interval,
                rate: rate("path_trace.rate", self.rate, defaults::PATH_TRACE_RATE)?,
                switch_rate: rate(
                    "path_trace.switch_rate",
                    self.switch_rate,
                    defaults::PATH_TRACE_SWITCH_RATE,
                )?,
                ..Config::default()
            },
            max_hops,
        })
    }
}
