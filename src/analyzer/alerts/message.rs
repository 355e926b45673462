//! What receivers are sent: Alertmanager's v2 API, and our own webhook.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::net::SocketAddr;

use hmac::{Hmac, KeyInit as _, Mac as _};
use serde::Serialize;
use sha2::Sha256;

use crate::analysis::alerts::{DeliveryState, Event, Item};
use crate::analysis::incident::{Incident, Severity};
use crate::analysis::judge::Category;
use crate::analysis::localize::Component;
use crate::api;
use crate::config::analyzer::Secret;
use crate::time::{Nanos, WallTime};

/// The version of the webhook's body: fields may be added to it, never renamed or removed.
const VERSION: u32 = 1;
/// The header that holds the signature of a webhook's body.
pub(super) const SIGNATURE: &str = "x-rpingmesh-signature";
/// Titles in one annotation.
const MOST_EXPLAINED: usize = 20;
/// Evidence in one annotation, in characters.
const MOST_EVIDENCE: usize = 4_000;

/// Links from messages to the analyzer's web server.
#[derive(Debug, Clone)]
pub(super) struct Links(String);

impl Links {
    pub(super) fn new(external: Option<&str>, web: SocketAddr) -> Self {
        Self(external.map_or_else(|| format!("http://{web}"), str::to_owned))
    }

    /// The dashboard's page of an incident, for people.
    fn page(&self, id: u64) -> String {
        format!("{}/incidents/{id}", self.0)
    }

    /// The incident in the API, for programs.
    fn incident(&self, id: u64) -> String {
        format!("{}/api/v1/incidents?id={id}", self.0)
    }
}

/// An alert of `POST /api/v2/alerts`. Alertmanager tells alerts apart by their labels.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Alert {
    labels: BTreeMap<String, String>,
    annotations: BTreeMap<&'static str, String>,
    starts_at: String,
    ends_at: String,
    #[serde(rename = "generatorURL")]
    generator_url: String,
}

/// The alerts that a batch makes: what is over ends, what is open lasts until `until`.
pub(super) fn alerts(
    batch: &[Item],
    labels: &BTreeMap<String, String>,
    links: &Links,
    now: WallTime,
    until: WallTime,
) -> Vec<Alert> {
    let mut alerts = Vec::new();
    for item in batch {
        let incident = &item.incident;
        let starts = WallTime::from_nanos(incident.opened_unix_ns);
        let alert = |told: &DeliveryState, ends: WallTime| Alert {
            labels: labels_of(told, labels),
            annotations: annotations(incident),
            starts_at: rfc3339(starts),
            // Alertmanager refuses an alert that ends before it starts.
            ends_at: rfc3339(ends.max(starts)),
            generator_url: links.page(incident.id),
        };
        if let Some(over) = &item.over {
            let ended = incident.closed_unix_ns.map_or(now, WallTime::from_nanos);
            // What lies in the future would still be open.
            alerts.push(alert(over, ended.min(now)));
        }
        if item.event != Event::Closed {
            alerts.push(alert(&DeliveryState::from(incident), until));
        }
    }
    alerts
}

/// What an alert is about: the same for the same subject, category and severity, and bounded by what there is in the
/// fabric. Numbers of incidents are no labels, or each would be an alert of its own for ever.
fn labels_of(told: &DeliveryState, further: &BTreeMap<String, String>) -> BTreeMap<String, String> {
    let (kind, subject) = match &told.subject {
        Component::Link { from, to } => ("link", format!("{from}->{to}")),
        Component::Switch { name } => ("switch", name.clone()),
        Component::Host { name } => ("host", name.clone()),
        Component::Group { name } => ("group", name.clone()),
        rnic @ Component::Rnic { .. } => ("rnic", rnic.node().unwrap_or_default().into_owned()),
    };
    let own = [
        ("alertname", alert_name(told.category)),
        ("severity", severity(told.severity).to_owned()),
        ("impact", told.severity.name().to_owned()),
        ("kind", kind.to_owned()),
        ("subject", subject),
    ];
    let own = own.map(|(name, value)| (name.to_owned(), value));
    further
        .iter()
        .map(|(name, value)| (name.clone(), value.clone()))
        .chain(own)
        .collect()
}

/// `RpingmeshLinkLoss` for `link_loss`.
fn alert_name(category: Category) -> String {
    let mut name = "Rpingmesh".to_owned();
    for word in category.name().split('_') {
        let mut characters = word.chars();
        name.extend(characters.next().map(|first| first.to_ascii_uppercase()));
        name.push_str(characters.as_str());
    }
    name
}

/// In the words that most routes of Alertmanager know.
const fn severity(severity: Severity) -> &'static str {
    match severity {
        Severity::P0 => "critical",
        Severity::P1 => "warning",
        Severity::P2 => "info",
    }
}

fn annotations(incident: &Incident) -> BTreeMap<&'static str, String> {
    let evidence = incident.evidence.join("\n");
    let mut annotations = BTreeMap::from([
        ("summary", incident.title()),
        ("incident", incident.id.to_string()),
        ("confidence", format!("{:.3}", incident.confidence)),
        (
            "description",
            evidence.chars().take(MOST_EVIDENCE).collect(),
        ),
    ]);
    if let Some(explains) = explains(incident) {
        annotations.insert("explains", explains);
    }
    let surely = incident.services.iter().map(|(name, suffers)| {
        let suffers = if *suffers { " (suffers)" } else { "" };
        format!("{name}{suffers}")
    });
    let perhaps = incident.perhaps.keys();
    let services: Vec<_> = surely
        .chain(perhaps.map(|name| format!("{name} (perhaps: probed on other paths)")))
        .collect();
    if !services.is_empty() {
        annotations.insert("services", services.join(", "));
    }
    annotations
}

/// What an incident stands for or explains: titles, one in a line.
fn explains(incident: &Incident) -> Option<String> {
    let all = incident.explains.len() as u64;
    let all = all.max(incident.subjects.now);
    let titles = incident.explains.iter().take(MOST_EXPLAINED);
    let mut lines: Vec<String> = titles.map(|one| one.title.clone()).collect();
    let more = all.saturating_sub(lines.len() as u64);
    if more > 0 {
        lines.push(format!("and {more} more"));
    }
    (!lines.is_empty()).then(|| lines.join("\n"))
}

/// The body of a webhook.
#[derive(Debug, Serialize)]
pub(super) struct Changes {
    version: u32,
    changes: Vec<ChangeJson>,
}

#[derive(Debug, Serialize)]
struct ChangeJson {
    event: &'static str,
    url: String,
    page: String,
    incident: api::incidents::Incident,
}

/// What a batch tells a webhook.
pub(super) fn changes(batch: &[Item], links: &Links) -> Changes {
    Changes {
        version: VERSION,
        changes: batch
            .iter()
            .map(|item| ChangeJson {
                event: item.event.name(),
                url: links.incident(item.incident.id),
                page: links.page(item.incident.id),
                incident: api::incidents::Incident::from(&item.incident),
            })
            .collect(),
    }
}

/// The header with the signature of a body: HMAC-SHA256 in hexadecimal digits.
pub(super) fn sign(secret: &Secret, body: &[u8]) -> (&'static str, String) {
    // HMAC takes keys of every length.
    let mut text = "sha256=".to_owned();
    if let Ok(mut mac) = Hmac::<Sha256>::new_from_slice(secret.bytes()) {
        mac.update(body);
        for byte in mac.finalize().into_bytes() {
            let _ = write!(text, "{byte:02x}");
        }
    }
    (SIGNATURE, text)
}

/// When a point in time was, as Alertmanager reads it (RFC 3339).
fn rfc3339(time: WallTime) -> String {
    let since = (time - WallTime::from_nanos(0)).max(Nanos::ZERO);
    let time = std::time::UNIX_EPOCH + since.to_duration().unwrap_or_default();
    humantime::format_rfc3339_nanos(time).to_string()
}
