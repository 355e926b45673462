//! Section `[otlp]`, in every role: metrics pushed to an OpenTelemetry collector.

use super::settings::{between, hours, millis, secs, settings};
use super::{ConfigError, HumanDuration};
use crate::net::url::Url;
use crate::telemetry::otlp::OtlpConfig;

/// What OTLP/HTTP appends to a collector's base address.
const METRICS_PATH: &str = "/v1/metrics";

settings! {
    /// Metrics pushed to a collector.
    OtlpSettings in "otlp" {
        /// OpenTelemetry collector that metrics are pushed to, by OTLP/HTTP (protobuf) and without TLS: http://HOST:4318
        /// [default: none, nothing is pushed]
        endpoint: Option<String>, value("URL"), example("http://127.0.0.1:4318");
        /// How often metrics are pushed, 100ms to 1h
        interval: HumanDuration = secs(15), value("DURATION"), check(between(millis(100), hours(1)));
    }
}

impl OtlpSettings {
    /// Where to push to; `None` when nothing is to be pushed.
    ///
    /// # Errors
    /// [`ConfigError::Value`] that names the key.
    pub fn validate(&self) -> Result<Option<OtlpConfig>, ConfigError> {
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
            interval: self.interval.0,
        }))
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::config::settings::Settings as _;

    fn settings(endpoint: Option<&str>) -> OtlpSettings {
        OtlpSettings {
            endpoint: endpoint.map(str::to_owned),
            ..OtlpSettings::default()
        }
    }

    #[test]
    fn the_path_of_metrics_is_added_once() {
        for endpoint in [
            "http://c:4318",
            "http://c:4318/",
            "http://c:4318/v1/metrics",
        ] {
            let config = settings(Some(endpoint))
                .validate()
                .expect("fine")
                .expect("on");
            assert_eq!(config.url.to_string(), "http://c:4318/v1/metrics");
            assert_eq!(config.interval, Duration::from_secs(15));
        }
        assert_eq!(settings(None).validate().expect("fine"), None);
    }

    #[test]
    fn what_cannot_be_used_is_named() {
        for bad in ["https://c", "collector"] {
            let error = settings(Some(bad)).validate().expect_err("bad").to_string();
            assert!(error.starts_with("otlp.endpoint: "), "{error}");
        }
        for bad in [millis(99), millis(3_600_001)] {
            let settings = OtlpSettings {
                interval: bad,
                ..OtlpSettings::default()
            };
            let error = settings.check().expect_err("bad").to_string();
            assert!(error.starts_with("otlp.interval: "), "{error}");
        }
    }
}
