//! Section `[path_trace]`: which switches the probes pass.

use super::TracingChoice;
use crate::config::settings::{between, hours, mins, rate_up_to, secs, settings};
use crate::config::{ConfigError, HumanDuration};
use crate::probe::Rate;
use crate::probe::trace::MAX_HOPS;
use crate::probe::trace::schedule::Config;

/// Traces and answers per second beyond this would be a load on the switches' processors.
const MAX_RATE: f64 = 1_000.0;

settings! {
    /// Which switches the probes pass.
    PathTraceSettings in "path_trace" {
        /// Whether the paths of probes are traced; needs raw sockets (CAP_NET_RAW)
        mode: TracingChoice = TracingChoice::Auto;
        /// How often each path is traced as far as the rates allow, 1s to 24h; besides at once when it fails or recovers
        interval: HumanDuration = mins(5), value("DURATION"), check(between(secs(1), hours(24)));
        /// Upper bound of traces per second of this agent, up to 1000
        rate: f64 = 4.0, check(rate_up_to(MAX_RATE));
        /// Upper bound of traces per second and switch by this agent, up to 1000
        ///
        /// Switches answer 100 to 1000 packets a second to all who ask.
        switch_rate: f64 = 10.0, value("RATE"), check(rate_up_to(MAX_RATE));
        /// The most switches on a path, 1 to 32
        ///
        /// A fabric of three tiers has five, one of four tiers seven.
        max_hops: u8 = 8, value("COUNT"), check(between(1, MAX_HOPS));
    }
}

/// When paths are traced.
pub(super) fn schedule(settings: &PathTraceSettings) -> Result<Config, ConfigError> {
    let rate = |key, value| {
        Rate::per_second(value)
            .ok_or_else(|| ConfigError::value(key, format!("{value} is not a rate")))
    };
    Ok(Config {
        interval: settings.interval.0,
        rate: rate("path_trace.rate", settings.rate)?,
        switch_rate: rate("path_trace.switch_rate", settings.switch_rate)?,
        ..Config::default()
    })
}
