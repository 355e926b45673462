//! Section `[alerts]`: who is told of incidents.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

use crate::config::settings::{between, hours, mins, secs, settings};
use crate::config::{ConfigError, HumanDuration};
use crate::net::http::Client;
use crate::net::url::Url;

/// How long a receiver may take to answer.
const TIMEOUT: Duration = Duration::from_secs(10);
/// The shortest secret that is worth its name.
const LEAST_SECRET: usize = 16;
/// Receivers of each kind.
const MOST_RECEIVERS: usize = 16;
/// Labels that alerts have anyway.
const OWN_LABELS: [&str; 5] = ["alertname", "severity", "impact", "kind", "subject"];

settings! {
    /// Who is told of incidents: see docs/alerts.md.
    AlertSettings in "alerts" {
        /// Base URLs of Alertmanagers, such as http://127.0.0.1:9093; all get all alerts; separated by commas [default: none]
        alertmanagers: Vec<String>, value("URL"), example(vec!["http://127.0.0.1:9093"]);
        /// URLs that changes of incidents are posted to as JSON; separated by commas [default: none]
        webhooks: Vec<String>, value("URL"), example(vec!["http://127.0.0.1:8080/rpingmesh"]);
        /// File with a secret of at least 16 bytes that webhooks' bodies are signed with (HMAC-SHA256) [default: none]
        webhook_secret_file: Option<PathBuf>, value("FILE"), example("/etc/rpingmesh/webhook.secret");
        /// Labels that every alert gets, as NAME=VALUE; separated by commas [default: none]
        labels: Vec<String>, value("NAME=VALUE"), example(vec!["cluster=a"]);
        /// How often open alerts are told to Alertmanagers again, 10s to 1h; they forget one after four times this
        resend_interval: HumanDuration = RESEND_INTERVAL, value("DURATION"), check(between(secs(10), hours(1)));
        /// Where people reach the analyzer's web server, for the links in alerts [default: the web address]
        external_url: Option<String>, value("URL"), example("https://rpingmesh.example");
        /// CA certificates (PEM) that receivers with https:// are verified by [default: none]
        ca: Option<PathBuf>, value("FILE"), example("/etc/rpingmesh/receivers-ca.pem");
    }
}

const RESEND_INTERVAL: HumanDuration = mins(1);

/// Who is told, and how.
#[derive(Debug, Clone)]
pub struct AlertConfig {
    /// Base URLs of Alertmanagers.
    pub alertmanagers: Vec<Url>,
    /// Where changes are posted to.
    pub webhooks: Vec<Url>,
    /// What their bodies are signed with.
    pub secret: Option<Secret>,
    /// Labels of every alert.
    pub labels: BTreeMap<String, String>,
    /// How often Alertmanagers are told again.
    pub resend_interval: Duration,
    /// Where people reach the web server; the web address if it is not given.
    pub external_url: Option<String>,
    /// Sends the requests.
    pub client: Client,
}

/// A key, never printed.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(Vec<u8>);

impl std::fmt::Debug for Secret {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Secret")
    }
}

impl Secret {
    /// The bytes.
    pub fn bytes(&self) -> &[u8] {
        &self.0
    }
}

impl Default for AlertConfig {
    /// Nobody is told.
    fn default() -> Self {
        Self {
            alertmanagers: Vec::new(),
            webhooks: Vec::new(),
            secret: None,
            labels: BTreeMap::new(),
            resend_interval: RESEND_INTERVAL.0,
            external_url: None,
            client: Client::plaintext(TIMEOUT),
        }
    }
}

impl AlertSettings {
    pub(super) fn validate(&self) -> Result<AlertConfig, ConfigError> {
        let alertmanagers = urls("alerts.alertmanagers", &self.alertmanagers)?;
        let webhooks = urls("alerts.webhooks", &self.webhooks)?;
        let secret = self.webhook_secret_file.as_ref().map(secret).transpose()?;
        if secret.is_some() && webhooks.is_empty() {
            return Err(ConfigError::value(
                "alerts.webhook_secret_file",
                "nothing is signed with it: alerts.webhooks is empty",
            ));
        }
        let needs_ca = alertmanagers
            .iter()
            .chain(&webhooks)
            .find(|url| url.is_tls());
        let client = match (&self.ca, needs_ca) {
            (Some(ca), _) => Client::with_ca("alerts.ca", ca, TIMEOUT)
                .map_err(|error| ConfigError::value("alerts.ca", crate::error::describe(&error)))?,
            (None, Some(url)) => {
                return Err(ConfigError::value(
                    "alerts.ca",
                    format!(
                        "is missing: the CA certificates that {} is verified by",
                        url.authority()
                    ),
                ));
            }
            (None, None) => Client::plaintext(TIMEOUT),
        };
        let external_url = self.external_url.as_deref().map(|text| {
            Url::parse(text)
                .map(|url| url.to_string())
                .map_err(|error| ConfigError::value("alerts.external_url", error.to_string()))
        });
        Ok(AlertConfig {
            alertmanagers,
            webhooks,
            secret,
            labels: labels(&self.labels)?,
            resend_interval: self.resend_interval.0,
            external_url: external_url.transpose()?,
            client,
        })
    }
}

fn urls(key: &'static str, texts: &[String]) -> Result<Vec<Url>, ConfigError> {
    if texts.len() > MOST_RECEIVERS {
        return Err(ConfigError::value(
            key,
            format!("at most {MOST_RECEIVERS} are possible"),
        ));
    }
    let mut urls: Vec<Url> = Vec::new();
    for text in texts {
        let url =
            Url::parse(text.trim()).map_err(|error| ConfigError::value(key, error.to_string()))?;
        if urls.contains(&url) {
            return Err(ConfigError::value(key, format!("{url} is listed twice")));
        }
        urls.push(url);
    }
    Ok(urls)
}

fn secret(file: &PathBuf) -> Result<Secret, ConfigError> {
    let fail = |why: String| {
        ConfigError::value(
            "alerts.webhook_secret_file",
            format!("{}: {why}", file.display()),
        )
    };
    let mut bytes =
        std::fs::read(file).map_err(|error| fail(format!("cannot be read: {error}")))?;
    // Editors end a file with a line feed, which nobody means.
    while bytes.last().is_some_and(u8::is_ascii_whitespace) {
        bytes.pop();
    }
    if bytes.len() < LEAST_SECRET {
        return Err(fail(format!("has less than {LEAST_SECRET} bytes")));
    }
    Ok(Secret(bytes))
}

fn labels(texts: &[String]) -> Result<BTreeMap<String, String>, ConfigError> {
    let fail = |why: String| ConfigError::value("alerts.labels", why);
    let mut labels = BTreeMap::new();
    for text in texts {
        let (name, value) = text
            .split_once('=')
            .ok_or_else(|| fail(format!("`{text}` is not NAME=VALUE")))?;
        let mut characters = name.chars();
        let first = characters
            .next()
            .is_some_and(|first| first.is_ascii_alphabetic() || first == '_');
        if !first || !characters.all(|rest| rest.is_ascii_alphanumeric() || rest == '_') {
            return Err(fail(format!(
                "`{name}` is no name of a label: letters, digits and underscores, no digit first"
            )));
        }
        if OWN_LABELS.contains(&name) {
            return Err(fail(format!(
                "`{name}` is a label that every alert has anyway"
            )));
        }
        if value.is_empty() {
            return Err(fail(format!("`{name}` has no value")));
        }
        if labels.insert(name.to_owned(), value.to_owned()).is_some() {
            return Err(fail(format!("`{name}` is given twice")));
        }
    }
    Ok(labels)
}
