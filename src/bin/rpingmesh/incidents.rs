//! `rpingmesh incidents`.

use std::fmt::Write as _;

use clap::{Args, ValueEnum};
use rpingmesh::analysis::incident::Severity;
use rpingmesh::api::Name;
use rpingmesh::api::incidents::{DEFAULT_LIMIT, Incident, IncidentsQuery, Order, Wanted};
use rpingmesh::api::query::{Choice, IncidentPageSize};
use rpingmesh::api::status::{Status, StatusQuery};
use rpingmesh::config::program::Failure;

use crate::api::{self, ApiArgs};
use crate::list::{ListArgs, Picker};

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
    #[command(flatten)]
    list: ListArgs,
    /// Maximum number of incidents: of open ones those to look at first, else the newest; with --filter or --sort, those that pass
    /// [default: 100]
    #[arg(long, value_name = "N")]
    limit: Option<IncidentPageSize>,
}

pub(crate) fn main(args: &IncidentsArgs) -> Result<(), Failure> {
    let picker = args.list.picker::<Incident>()?;
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
        None if wanted == Wanted::Open => IncidentsQuery {
            limit: asked_for(args.limit, &picker),
            ..open_by_rank()
        },
        None => IncidentsQuery {
            state: Some(Choice(wanted)),
            limit: asked_for(args.limit, &picker),
            ..IncidentsQuery::default()
        },
    };
    let (answer, status) = api::block_on(async {
        let answer = analyzer.ask(&query).await?;
        Ok((answer, analyzer.ask(&StatusQuery::default()).await?))
    })?;
    let (mut incidents, now) = (answer.incidents, status.now_unix_ns);
    let note = unseen(
        incidents.len(),
        answer.left_out,
        answer.next_before.is_some(),
    )
    .filter(|_| args.id.is_none() && !picker.is_usual());
    let mut left_out = if note.is_some() { 0 } else { answer.left_out };
    if args.id.is_none() {
        let limit = args.limit.map_or(DEFAULT_LIMIT, IncidentPageSize::as_usize);
        left_out += pick(&mut incidents, &picker, limit);
    }
    if args.api.json {
        if let Some(note) = note {
            eprintln!("{note}");
        }
        return incidents.iter().try_for_each(api::print_json);
    }
    match (args.id, &*incidents) {
        (Some(id), []) => Err(Failure::run(format!(
            "there is no incident {id}; `rpingmesh incidents --state all` lists them"
        ))),
        (Some(_), [incident, ..]) => api::print(&explain(incident, now)),
        (None, []) if picker.is_filtered() => {
            api::print(&with_note("no incident passes the filter".to_owned(), note))
        }
        (None, []) if wanted == Wanted::Open => api::print(nothing_open(&status)),
        (None, []) => api::print("no incident"),
        (None, all) if picker.is_usual() => api::print(&list(all, left_out, &status)),
        (None, all) => api::print(&with_note(picked(all, left_out, now), note)),
    }
}

/// That some incidents were not looked at, where that is so: of open ones those that rank lowest, else the oldest.
fn unseen(looked_at: usize, left_out: usize, has_older: bool) -> Option<String> {
    if left_out > 0 {
        let all = looked_at + left_out;
        Some(format!(
            "only {looked_at} of {all} open incidents were looked at"
        ))
    } else {
        has_older.then(|| format!("only the newest {looked_at} were looked at"))
    }
}

fn with_note(mut text: String, note: Option<String>) -> String {
    if let Some(note) = note {
        text.push('\n');
        text += &note;
    }
    text
}

/// How many incidents to ask for: all that one answer may have where some are picked from them.
fn asked_for(limit: Option<IncidentPageSize>, picker: &Picker) -> Option<IncidentPageSize> {
    if picker.is_usual() {
        limit
    } else {
        IncidentPageSize::new(IncidentPageSize::MAX)
    }
}

/// Keeps those that pass, open ones first and the worst severity first unless asked otherwise; how many are beyond the limit.
fn pick(incidents: &mut Vec<Incident>, picker: &Picker, limit: usize) -> usize {
    incidents.sort_by_key(|incident| {
        (
            incident.closed_unix_ns.is_some(),
            incident.severity.to_string(),
        )
    });
    picker.apply(incidents);
    let beyond = incidents.len().saturating_sub(limit);
    incidents.truncate(limit);
    beyond
}

/// Incidents one by one, without what they explain below them.
fn picked(all: &[Incident], left_out: usize, now: i64) -> String {
    let mut text = HEADING.to_owned();
    for incident in all {
        let _ = write!(text, "\n{}", line(incident, now));
    }
    if left_out > 0 {
        let _ = write!(text, "\nand {left_out} more (`--limit 1000` lists them)");
    }
    text
}

/// Asks for the open incidents, the one to look at first at the top.
pub(crate) fn open_by_rank() -> IncidentsQuery {
    IncidentsQuery {
        state: Some(Choice(Wanted::Open)),
        order: Some(Choice(Order::Rank)),
        ..IncidentsQuery::default()
    }
}

/// What it means that no incident is open.
pub(crate) fn nothing_open(status: &Status) -> &'static str {
    if status.judge.last_run_unix_ns.is_none() {
        "no data: the analyzer has not judged yet"
    } else if status.probes.judged > 0 {
        "nothing is wrong (`--state all` lists what was)"
    } else if status.probes.set_aside.is_empty() {
        "no data: no probes came in the last 20 s"
    } else {
        "no incident is open, but nothing is judged: all probes of the last 20 s are set aside (`rpingmesh status`)"
    }
}

/// Incidents with what they explain, and how many open ones are left out.
pub(crate) fn list(all: &[Incident], left_out: usize, status: &Status) -> String {
    let now = status.now_unix_ns;
    let mut text = HEADING.to_owned();
    let listed = |cause: u64| all.iter().any(|incident| incident.id == cause);
    for incident in all {
        // An incident that another one explains stands below that.
        if incident.cause.is_some_and(listed) {
            continue;
        }
        let _ = write!(text, "\n{}", line(incident, now));
        for below in all.iter().filter(|one| one.cause == Some(incident.id)) {
            let _ = write!(text, "\n{}", below_line(below, now));
        }
    }
    if left_out > 0 {
        let _ = write!(text, "\n{}", left_out_line(all, left_out, status));
    }
    text
}

/// A line below that of its cause.
fn below_line(incident: &Incident, now: i64) -> String {
    let mut text = line(incident, now);
    let at = text.len() - incident.title.len();
    text.insert_str(at, "└ ");
    text
}

fn left_out_line(all: &[Incident], left_out: usize, status: &Status) -> String {
    let of = |severity: Severity, open: usize| {
        let listed = all
            .iter()
            .filter(|incident| incident.severity.is(severity))
            .count();
        open.saturating_sub(listed)
    };
    let open = &status.incidents;
    format!(
        "and {left_out} more: {} P0, {} P1, {} P2 (`rpingmesh incidents --limit 1000` lists them)",
        of(Severity::P0, open.p0),
        of(Severity::P1, open.p1),
        of(Severity::P2, open.p2),
    )
}

/// Above lines of [`line`].
pub(crate) const HEADING: &str = "   ID  SEV  CATEGORY          LASTS  STATE                WHAT";

/// One line about an incident.
pub(crate) fn line(incident: &Incident, now: i64) -> String {
    let closed = incident.closed_unix_ns;
    let state = match closed {
        Some(closed) => format!("closed {} ago", api::ago(now, closed)),
        None if incident.deciding => "open, deciding".to_owned(),
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
        impact(incident),
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
    let _ = write!(text, "\nsure       {:.1} %", incident.confidence * 100.0);
    if incident.sent > 0 && !is_monitoring(incident) {
        let probes = api::share(incident.lost, incident.sent);
        let _ = write!(
            text,
            "\nprobes     {probes} lost or slow, of those that cross it"
        );
    }
    if let Some(cause) = incident.cause {
        let _ = write!(text, "\ncause      incident {cause}");
    }
    for other in &incident.or {
        let _ = write!(text, "\nor         {other}");
    }
    if incident.deciding {
        text.push_str(
            "\ndeciding   probes are under way that will tell which it is (`rpingmesh focus`)",
        );
    }
    for service in &incident.services {
        let suffers = match (service.own_path, service.suffers) {
            (true, true) => "suffers",
            (true, false) => "has paths across it, and does not suffer",
            (false, true) => {
                "perhaps has paths across it: its probes suffer, on other paths than its connections or on unknown ones"
            }
            (false, false) => {
                "perhaps has paths across it: its probes do, on other paths than its connections or on unknown ones"
            }
        };
        let _ = write!(text, "\nservice    {} {suffers}", service.name);
    }
    add_explained(&mut text, incident);
    text.push_str("\nevidence");
    for evidence in &incident.evidence {
        let _ = write!(text, "\n  {evidence}");
    }
    text
}

fn is_monitoring(incident: &Incident) -> bool {
    matches!(&incident.category, Name::Known(category) if category.is_monitoring())
}

/// What an incident stands for or explains, at most [`MOST_EXPLAINED`].
fn add_explained(text: &mut String, incident: &Incident) {
    let all = usize::try_from(incident.subjects)
        .unwrap_or(usize::MAX)
        .max(incident.explains.len());
    if all == 0 {
        return;
    }
    let _ = write!(text, "\nexplains   {all}");
    let shown = incident.explains.iter().take(MOST_EXPLAINED);
    for one in shown.clone() {
        let number = one
            .incident
            .map(|id| format!(" (incident {id})"))
            .unwrap_or_default();
        let _ = write!(text, "\n  {}{number}", one.title);
    }
    let more = all.saturating_sub(shown.count());
    if more > 0 {
        let _ = write!(text, "\n  and {more} more");
    }
}

/// Lines about what an incident explains.
const MOST_EXPLAINED: usize = 20;

fn impact(incident: &Incident) -> &'static str {
    match &incident.severity {
        Name::Known(Severity::P0) => "a service's own paths are hit and it suffers",
        Name::Known(Severity::P1) if is_monitoring(incident) => {
            "the monitoring cannot see what it should"
        }
        Name::Known(Severity::P1) if incident.services.iter().all(|service| !service.own_path) => {
            "perhaps a service's paths are hit"
        }
        Name::Known(Severity::P1) => "a service's own paths are hit",
        Name::Known(Severity::P2) => "only the monitoring of the cluster sees it",
        Name::Unknown(_) => "which only a newer program knows",
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use rpingmesh::analysis::judge::Category;
    use rpingmesh::api::component::Component;
    use rpingmesh::api::incidents::{Explained, Service, State};

    use super::*;

    #[test]
    fn what_was_not_looked_at_is_said() {
        assert_eq!(unseen(12, 0, false), None);
        let said = |left_out, has_older| unseen(1_000, left_out, has_older).expect("a note");
        assert_eq!(said(0, true), "only the newest 1000 were looked at");
        assert_eq!(
            said(5, false),
            "only 1000 of 1005 open incidents were looked at"
        );
    }

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
            deciding: false,
            opened_unix_ns: 0,
            seen_unix_ns: 0,
            closed_unix_ns: None,
            confidence: 1.0,
            share: 0.05,
            sent: 0,
            lost: 0,
            openings: 1,
            both_directions: false,
            interval: None,
            subjects: 0,
            subjects_most: 0,
            explains: Vec::new(),
            cause: None,
            services: Vec::new(),
            evidence: Vec::new(),
        }
    }

    /// Two causes of which one explains another incident, and what is left out of the list.
    #[test]
    fn causes_are_listed_with_what_they_explain() {
        let group = Incident {
            severity: Severity::P2.into(),
            category: Category::AgentSilent.into(),
            subject: Component::Group {
                name: "agent_silent".to_owned(),
            },
            subjects: 412,
            subjects_most: 500,
            explains: (0..30)
                .map(|number| Explained {
                    subject: Component::Host {
                        name: format!("h{number}"),
                    },
                    category: Category::AgentSilent.into(),
                    title: format!("the agent of host h{number} is silent"),
                    incident: (number == 0).then_some(3),
                    seen_unix_ns: 0,
                })
                .collect(),
            evidence: vec!["412 at once: h0, h1 and 410 more".to_owned()],
            ..incident(5, "412 agents are silent")
        };
        let part = Incident {
            severity: Severity::P2.into(),
            category: Category::AgentSilent.into(),
            state: State::Closed.into(),
            closed_unix_ns: Some(4_000_000_000),
            cause: Some(5),
            ..incident(3, "the agent of host h0 is silent")
        };
        let mut status = crate::status::tests::status();
        status.now_unix_ns = 9_000_000_000;
        (
            status.incidents.p0,
            status.incidents.p1,
            status.incidents.p2,
        ) = (0, 3, 12);
        let all = [incident(4, "RNIC h3/mlx5_0 is down"), group, part];
        let text = [
            list(&all, 12, &status),
            explain(&all[1], status.now_unix_ns),
        ];
        insta::assert_snapshot!(text.join("\n\n"));
    }

    /// That nothing is open means something only where something is judged.
    #[test]
    fn no_data_is_not_called_nothing_wrong() {
        let mut status = crate::status::tests::status();
        let mut said = Vec::new();
        said.push(nothing_open(&status));
        status.probes.judged = 0;
        said.push(nothing_open(&status));
        status.probes.set_aside = std::collections::BTreeMap::new();
        said.push(nothing_open(&status));
        status.judge.last_run_unix_ns = None;
        said.push(nothing_open(&status));
        assert_eq!(
            said,
            [
                "nothing is wrong (`--state all` lists what was)",
                "no incident is open, but nothing is judged: all probes of the last 20 s are set aside (`rpingmesh status`)",
                "no data: no probes came in the last 20 s",
                "no data: the analyzer has not judged yet",
            ]
        );
    }

    #[test]
    fn an_incident_is_explained_in_words() {
        let second = 1_000_000_000_i64;
        let opened = 1_800_000_000 * second;
        let service = |name: &str, suffers| Service {
            name: name.to_owned(),
            suffers,
            own_path: true,
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
