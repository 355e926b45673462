//! `rpingmesh incidents`.

use std::fmt::Write as _;

use clap::{Args, ValueEnum};
use rpingmesh::analysis::incident::Severity;
use rpingmesh::api::Name;
use rpingmesh::api::incidents::{Incident, IncidentsQuery, Wanted};
use rpingmesh::api::name::SeverityName;
use rpingmesh::api::query::{Choice, IncidentPageSize};
use rpingmesh::api::status::StatusQuery;
use rpingmesh::config::program::Failure;

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
    /// Number of the incident to explain [default: list all]
    #[arg(value_name = "NUMBER")]
    id: Option<u64>,
    #[command(flatten)]
    api: ApiArgs,
    /// Which incidents to list [default: open]
    #[arg(long, value_enum)]
    state: Option<State>,
    /// Maximum number of incidents, the newest first [default: 100]
    #[arg(long, value_name = "N")]
    limit: Option<IncidentPageSize>,
}

pub(crate) fn main(args: &IncidentsArgs) -> Result<(), Failure> {
    let analyzer = args.api.analyzer()?;
    let wanted = match args.state.unwrap_or(State::Open) {
        State::Open => Wanted::Open,
        State::Closed => Wanted::Closed,
        State::All => Wanted::All,
    };
    let query = match args.id {
        Some(id) => IncidentsQuery {
            id: Some(id.into()),
            ..IncidentsQuery::default()
        },
        None => IncidentsQuery {
            state: Some(Choice(wanted)),
            limit: args.limit,
            ..IncidentsQuery::default()
        },
    };
    let (incidents, now) = api::block_on(async {
        let answer = analyzer.ask(&query).await?;
        let status = analyzer.ask(&StatusQuery::default()).await?;
        Ok((answer.incidents, status.now_unix_ns))
    })?;
    if args.api.json {
        return incidents.iter().try_for_each(api::print_json);
    }
    match (args.id, &*incidents) {
        (Some(id), []) => Err(Failure::run(format!(
            "there is no incident {id}; `rpingmesh incidents --state all` lists them"
        ))),
        (Some(_), [incident, ..]) => api::print(&explain(incident, now)),
        (None, []) if wanted == Wanted::Open => {
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
pub(crate) fn line(incident: &Incident, now: i64) -> String {
    let closed = incident.closed_unix_ns;
    let state = match closed {
        Some(closed) => format!("closed {} ago", api::ago(now, closed)),
        None => "open".to_owned(),
    };
    format!(
        "{:>5}  {:<3}  {:<14}  {:>7}  {state:<19}  {}",
        incident.id,
        incident.severity,
        incident.category,
        api::ago(closed.unwrap_or(now), incident.opened_unix_ns),
        incident.title,
    )
}

/// A point in time for people, in UTC.
fn utc(unix_ns: i64) -> String {
    let since = std::time::Duration::from_nanos(u64::try_from(unix_ns).unwrap_or_default());
    let text = humantime::format_rfc3339_seconds(std::time::UNIX_EPOCH + since).to_string();
    text.replace('T', " ").replace('Z', " UTC")
}

/// All about an incident.
pub(crate) fn explain(incident: &Incident, now: i64) -> String {
    let opened = incident.opened_unix_ns;
    let mut text = format!(
        "incident {}: {}\n\nimpact     {}, {}\ncategory   {}\nopened     {}, {} ago",
        incident.id,
        incident.title,
        incident.severity,
        impact(&incident.severity),
        incident.category,
        utc(opened),
        api::ago(now, opened),
    );
    match incident.closed_unix_ns {
        Some(closed) => {
            let (ago, lasted) = (api::ago(now, closed), api::ago(closed, opened));
            let _ = write!(
                text,
                "\nclosed     {}, {ago} ago; it lasted {lasted}",
                utc(closed)
            );
        }
        None => {
            let seen = api::ago(now, incident.seen_unix_ns);
            let _ = write!(text, "\nclosed     no; last seen {seen} ago");
        }
    }
    if incident.openings > 1 {
        let _ = write!(
            text,
            "\nagain      opened {} times within ten minutes",
            incident.openings
        );
    }
    let probes = api::share(incident.lost, incident.sent);
    let _ = write!(
        text,
        "\nsure       {:.1} %\nprobes     {probes} lost or slow, of those that cross it",
        incident.confidence * 100.0
    );
    for other in &incident.or {
        let _ = write!(text, "\nor         {other}");
    }
    for service in &incident.services {
        let suffers = if service.suffers {
            "suffers"
        } else {
            "has paths across it, and does not suffer"
        };
        let _ = write!(text, "\nservice    {} {suffers}", service.name);
    }
    text.push_str("\nevidence");
    for evidence in &incident.evidence {
        let _ = write!(text, "\n  {evidence}");
    }
    text
}

fn impact(severity: &SeverityName) -> &'static str {
    match severity {
        Name::Known(Severity::P0) => "a service's own paths are hit and it suffers",
        Name::Known(Severity::P1) => "a service's own paths are hit",
        Name::Known(Severity::P2) => "only the monitoring of the cluster sees it",
        Name::Unknown(_) => "which only a newer program knows",
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use rpingmesh::analysis::judge::Category;
    use rpingmesh::api::component::Component;
    use rpingmesh::api::incidents::{Service, State};

    use super::*;

    /// An open incident without services, alternatives and evidence.
    pub(crate) fn incident(id: u64, title: &str) -> Incident {
        Incident {
            id,
            state: State::Open.into(),
            severity: Severity::P1.into(),
            category: Category::LinkLoss.into(),
            title: title.to_owned(),
            subject: Component::Link {
                from: "spine1".to_owned(),
                to: "tor3".to_owned(),
            },
            or: Vec::new(),
            opened_unix_ns: 0,
            seen_unix_ns: 0,
            closed_unix_ns: None,
            confidence: 1.0,
            share: 0.05,
            sent: 0,
            lost: 0,
            openings: 1,
            services: Vec::new(),
            evidence: Vec::new(),
        }
    }

    #[test]
    fn an_incident_is_explained_in_words() {
        let second = 1_000_000_000_i64;
        let opened = 1_800_000_000 * second;
        let service = |name: &str, suffers| Service {
            name: name.to_owned(),
            suffers,
        };
        let mut incident = Incident {
            severity: Severity::P0.into(),
            or: vec![
                Component::Switch {
                    name: "spine1".to_owned(),
                },
                Component::Link {
                    from: "tor0".to_owned(),
                    to: "spine1".to_owned(),
                },
            ],
            opened_unix_ns: opened,
            seen_unix_ns: opened + 94 * second,
            confidence: 0.9954,
            sent: 2_400,
            lost: 120,
            openings: 2,
            services: vec![service("train", true), service("store", false)],
            evidence: vec![
                "120 of 2400 probes were lost".to_owned(),
                "ruled out: hosts".to_owned(),
            ],
            ..incident(7, "link spine1->tor3 loses 5.0 %")
        };
        let now = opened + 95 * second;
        let mut lines = vec![
            HEADING.to_owned(),
            line(&incident, now),
            explain(&incident, now),
        ];
        incident.closed_unix_ns = Some(opened + 90 * second);
        incident.openings = 1;
        lines.extend([line(&incident, now), explain(&incident, now)]);
        insta::assert_snapshot!(lines.join("\n\n"));
    }
}
