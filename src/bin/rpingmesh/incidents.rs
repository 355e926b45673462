//! `rpingmesh incidents`.

use std::fmt::Write as _;

use clap::{Args, ValueEnum};
use rpingmesh::config::program::Failure;
use serde_json::Value;

use crate::api::{self, ApiArgs};

/// Which incidents.
#[derive(Debug, Clone, Copy, ValueEnum)]
enum State {
    Open,
    Closed,
    All,
}

/// What `incidents` takes.
#[derive(Debug, Args)]
pub(crate) struct IncidentsArgs {
    /// Explain this one [default: list all]
    #[arg(value_name = "NUMBER")]
    id: Option<u64>,
    #[command(flatten)]
    api: ApiArgs,
    /// Which to list [default: open]
    #[arg(long, value_enum)]
    state: Option<State>,
    /// At most so many, the newest first [default: 100]
    #[arg(long, value_name = "N")]
    limit: Option<u32>,
}

pub(crate) fn main(args: &IncidentsArgs) -> Result<(), Failure> {
    let analyzer = args.api.analyzer()?;
    let state = match args.state.unwrap_or(State::Open) {
        State::Open => "open",
        State::Closed => "closed",
        State::All => "all",
    };
    let query = match args.id {
        Some(id) => format!("incidents?id={id}"),
        None => format!(
            "incidents?state={state}&limit={}",
            args.limit.unwrap_or(100)
        ),
    };
    let (answer, status) = api::block_on(async {
        Ok((analyzer.read(&query).await?, analyzer.read("status").await?))
    })?;
    let now = status["now_unix_ns"].as_i64().unwrap_or_default();
    let incidents = api::list(&answer, "/incidents");
    if args.api.json {
        return incidents
            .iter()
            .try_for_each(|incident| api::print(&incident.to_string()));
    }
    match (args.id, incidents) {
        (Some(id), []) => Err(Failure::run(format!(
            "there is no incident {id}; `rpingmesh incidents --state all` lists them"
        ))),
        (Some(_), [incident, ..]) => api::print(&explain(incident, now)),
        (None, []) if state == "open" => {
            api::print("nothing is wrong (`--state all` lists what was)")
        }
        (None, []) => api::print("no incident"),
        (None, all) => {
            api::print(HEADING)?;
            all.iter()
                .try_for_each(|incident| api::print(&line(incident, now)))
        }
    }
}

/// Above lines of [`line`].
pub(crate) const HEADING: &str = "   ID  SEV  CATEGORY          LASTS  STATE                WHAT";

/// One line about an incident.
pub(crate) fn line(incident: &Value, now: i64) -> String {
    let opened = incident["opened_unix_ns"].as_i64().unwrap_or_default();
    let closed = incident["closed_unix_ns"].as_i64();
    let state = match closed {
        Some(closed) => format!("closed {} ago", api::ago(now, closed)),
        None => "open".to_owned(),
    };
    format!(
        "{:>5}  {:<3}  {:<14}  {:>7}  {state:<19}  {}",
        api::number(incident, "/id"),
        api::text(incident, "/severity"),
        api::text(incident, "/category"),
        api::ago(closed.unwrap_or(now), opened),
        api::text(incident, "/title"),
    )
}

/// A point in time for people, in UTC.
fn utc(unix_ns: i64) -> String {
    let since = std::time::Duration::from_nanos(u64::try_from(unix_ns).unwrap_or_default());
    let text = humantime::format_rfc3339_seconds(std::time::UNIX_EPOCH + since).to_string();
    text.replace('T', " ").replace('Z', " UTC")
}

/// All about an incident.
pub(crate) fn explain(incident: &Value, now: i64) -> String {
    let time = |field: &str| incident[field].as_i64().unwrap_or_default();
    let opened = time("opened_unix_ns");
    let mut text = format!(
        "incident {}: {}\n\nimpact     {}, {}\ncategory   {}\nopened     {}, {} ago",
        api::number(incident, "/id"),
        api::text(incident, "/title"),
        api::text(incident, "/severity"),
        impact(api::text(incident, "/severity")),
        api::text(incident, "/category"),
        utc(opened),
        api::ago(now, opened),
    );
    match incident["closed_unix_ns"].as_i64() {
        Some(closed) => {
            let (ago, lasted) = (api::ago(now, closed), api::ago(closed, opened));
            let _ = write!(
                text,
                "\nclosed     {}, {ago} ago; it lasted {lasted}",
                utc(closed)
            );
        }
        None => {
            let seen = api::ago(now, time("seen_unix_ns"));
            let _ = write!(text, "\nclosed     no; last seen {seen} ago");
        }
    }
    let openings = api::number(incident, "/openings");
    if openings > 1 {
        let _ = write!(
            text,
            "\nagain      opened {openings} times within ten minutes"
        );
    }
    let confidence = incident["confidence"].as_f64().unwrap_or_default();
    let probes = api::share(
        api::number(incident, "/lost"),
        api::number(incident, "/sent"),
    );
    let _ = write!(
        text,
        "\nsure       {:.1} %\nprobes     {probes} lost or slow, of those that cross it",
        confidence * 100.0
    );
    for other in api::list(incident, "/or") {
        let _ = write!(text, "\nor         {}", component(other));
    }
    for service in api::list(incident, "/services") {
        let suffers = if service["suffers"].as_bool() == Some(true) {
            "suffers"
        } else {
            "has paths across it, and does not suffer"
        };
        let _ = write!(
            text,
            "\nservice    {} {suffers}",
            api::text(service, "/name")
        );
    }
    text.push_str("\nevidence");
    for evidence in api::list(incident, "/evidence") {
        let _ = write!(text, "\n  {}", evidence.as_str().unwrap_or_default());
    }
    text
}

fn impact(severity: &str) -> &'static str {
    match severity {
        "P0" => "a service's own paths are hit and it suffers",
        "P1" => "a service's own paths are hit",
        _ => "only the monitoring of the cluster sees it",
    }
}

fn component(value: &Value) -> String {
    match api::text(value, "/kind") {
        "link" => format!(
            "link {}->{}",
            api::text(value, "/from"),
            api::text(value, "/to")
        ),
        kind => format!("{kind} {}", api::text(value, "/name")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_incident_is_explained_in_words() {
        let second = 1_000_000_000_i64;
        let opened = 1_800_000_000 * second;
        let mut incident = serde_json::json!({
            "id": 7, "state": "open", "severity": "P0", "category": "link_loss",
            "title": "link spine1->tor3 loses 5.0 %",
            "or": [{"kind": "switch", "name": "spine1"}, {"kind": "link", "from": "tor0", "to": "spine1"}],
            "opened_unix_ns": opened, "seen_unix_ns": opened + 94 * second, "closed_unix_ns": null,
            "confidence": 0.9954, "sent": 2_400, "lost": 120, "openings": 2,
            "services": [{"name": "train", "suffers": true}, {"name": "store", "suffers": false}],
            "evidence": ["120 of 2400 probes were lost", "ruled out: hosts"],
        });
        let now = opened + 95 * second;
        let mut lines = vec![
            HEADING.to_owned(),
            line(&incident, now),
            explain(&incident, now),
        ];
        incident["closed_unix_ns"] = (opened + 90 * second).into();
        incident["openings"] = 1.into();
        lines.extend([line(&incident, now), explain(&incident, now)]);
        insta::assert_snapshot!(lines.join("\n\n"));
    }
}
