//! Section `[otlp]`, in every role: metrics pushed to an OpenTelemetry collector.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::defaults::OTLP_INTERVAL;
use super::{ConfigError, HumanDuration};
use crate::net::url::Url;
use crate::telemetry::otlp::OtlpConfig;

const INTERVALS: std::ops::RangeInclusive<Duration> =
    Duration::from_millis(100)..=Duration::from_hours(1);
/// What OTLP/HTTP appends to a collector's base address.
const METRICS_PATH: &str = "/v1/metrics";

/// Section `[otlp]`.
#[derive(Debug, Clone, Default, Serialize, Deserialize, clap::Args)]
#[serde(deny_unknown_fields, default)]
pub struct OtlpSettings {
    /// OpenTelemetry collector that metrics are pushed to, by OTLP/HTTP (protobuf) and without TLS: http://HOST:4318
    /// [default: none, nothing is pushed]
    #[arg(
        long = "otlp-endpoint",
        env = "RPINGMESH_OTLP_ENDPOINT",
        id = "otlp_endpoint",
        value_name = "URL"
    )]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub endpoint: Option<String>,
    /// How often metrics are pushed, 100ms to 1h [default: 15s]
    #[arg(
        long = "otlp-interval",
        env = "RPINGMESH_OTLP_INTERVAL",
        id = "otlp_interval",
        value_name = "DURATION"
    )]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub interval: Option<HumanDuration>,
}

crate::layer!(OtlpSettings { endpoint, interval });

impl OtlpSettings {
    /// With every default.
    pub fn defaults() -> Self {
        Self {
            endpoint: None,
            interval: Some(HumanDuration(OTLP_INTERVAL)),
        }
    }

    /// Checks every value; `None` when nothing is to be pushed.
    ///
    /// # Errors
    /// [`ConfigError::Value`] that names the key.
    pub fn validate(&self) -> Result<Option<OtlpConfig>, ConfigError> {
        let interval = self.interval.map_or(OTLP_INTERVAL, |span| span.0);
        if !INTERVALS.contains(&interval) {
            return Err(ConfigError::value(
                "otlp.interval",
                format!(
                    "{} is not possible: use 100ms to 1h",
                    HumanDuration(interval)
                ),
            ));
        }
        let Some(endpoint) = &self.endpoint else {
            return Ok(None);
        };
        let url = Url::plaintext(endpoint)
            .map_err(|error| ConfigError::value("otlp.endpoint", error.to_string()))?;
        let complete = endpoint.trim_end_matches('/').ends_with(METRICS_PATH);
        Ok(Some(OtlpConfig {
            url: if complete {
                url
            } else {
                url.join(METRICS_PATH)
            },
            interval,
        }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn settings(endpoint: Option<&str>, interval: Option<u64>) -> OtlpSettings {
        OtlpSettings {
            endpoint: endpoint.map(str::to_owned),
            interval: interval.map(|ms| HumanDuration(Duration::from_millis(ms))),
        }
    }

    #[test]
    fn the_path_of_metrics_is_added_once() {
        for endpoint in [
            "http://c:4318",
            "http://c:4318/",
            "http://c:4318/v1/metrics",
        ] {
            let config = settings(Some(endpoint), None)
                .validate()
                .expect("fine")
                .expect("on");
            assert_eq!(config.url.to_string(), "http://c:4318/v1/metrics");
            assert_eq!(config.interval, OTLP_INTERVAL);
        }
        assert_eq!(settings(None, None).validate().expect("fine"), None);
    }

    #[test]
    fn what_cannot_be_used_is_named() {
        for (bad, key) in [
            (settings(Some("https://c"), None), "otlp.endpoint: "),
            (settings(Some("collector"), None), "otlp.endpoint: "),
            (settings(None, Some(1)), "otlp.interval: "),
            (settings(None, Some(3_600_001)), "otlp.interval: "),
        ] {
            let error = bad.validate().expect_err("bad").to_string();
            assert!(error.starts_with(key), "{error}");
        }
    }
}
