//! `/incidents` and `/incidents/N`.

mod words;

use super::frame::Frame;
use super::parts::{Choice, Fact, PageError, host_href, link_href, rnic_href, service_href};
use super::past;
use crate::analysis::incident::Incident;
use crate::analysis::localize::Component;
use crate::analyzer::dashboard::board::Dashboard;
use crate::analyzer::dashboard::format;
use crate::analyzer::dashboard::listing::{Controls, Listing};
use crate::analyzer::dashboard::query::{self, Pairs, at_pair, at_query, only_at, written};
use crate::api;
use crate::api::list::{Column, Listed, Value};
use crate::store::incidents::Query;
use crate::time::WallTime;
use askama::Template as Page;
use words::{meaning, severity};

pub(super) use words::category;

/// Incidents on one page.
const PAGE: u32 = 50;
/// The newest incidents that a filter or an order looks at.
const SEARCHED: u32 = 1_000;
/// Those of them that are shown.
const MOST: usize = 200;

/// An incident in a list.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::analyzer::dashboard) struct Line {
    pub(super) id: u64,
    pub(super) severity: &'static str,
    pub(super) title: String,
    pub(super) category: &'static str,
    pub(super) is_open: bool,
    /// When it was opened, for machines and for people.
    pub(super) stamp: String,
    pub(super) when: String,
    pub(super) lasted: String,
    pub(super) services: Vec<String>,
    pub(super) confidence: String,
    /// Probes are under way that will tell which of its alternatives it is.
    pub(super) is_deciding: bool,
    /// The incident above it explains this one.
    pub(super) is_below: bool,
}

/// Lines with those that another one of the list explains below that.
fn tree(incidents: &[&Incident], now: WallTime) -> Vec<Line> {
    let listed = |cause: u64| incidents.iter().any(|incident| incident.id == cause);
    let mut lines = Vec::with_capacity(incidents.len());
    for incident in incidents {
        if incident.cause.is_some_and(listed) {
            continue;
        }
        lines.push(Line::new(incident, now));
        let below = incidents
            .iter()
            .filter(|below| below.cause == Some(incident.id));
        lines.extend(below.map(|below| Line {
            is_below: true,
            ..Line::new(below, now)
        }));
    }
    lines
}

impl Line {
    pub(super) fn new(incident: &Incident, now: WallTime) -> Self {
        let opened = WallTime::from_nanos(incident.opened_unix_ns);
        let closed = incident
            .closed_unix_ns
            .map(WallTime::from_nanos)
            .filter(|closed| *closed <= now);
        Self {
            id: incident.id,
            severity: incident.severity.name(),
            title: incident.title(),
            category: category(incident.category),
            is_open: closed.is_none(),
            stamp: format::stamp(opened),
            when: format::time(opened),
            lasted: format::age(closed.unwrap_or(now).since(opened)),
            services: incident.services.keys().cloned().collect(),
            confidence: format::percent(incident.confidence),
            is_deciding: closed.is_none() && incident.deciding,
            is_below: false,
        }
    }
}

#[derive(Debug, Page)]
#[template(path = "incidents.html")]
pub(in crate::analyzer::dashboard) struct List {
    page: Frame,
    states: Vec<Choice>,
    controls: Controls,
    incidents: Vec<Line>,
    /// What is left out, in a sentence; empty where nothing is.
    left_out: String,
    older: Option<String>,
    is_first: bool,
}

/// Makes `/incidents`.
pub(in crate::analyzer::dashboard) async fn list(
    board: &Dashboard,
    pairs: &Pairs,
) -> Result<List, PageError> {
    let (mut state, mut before, mut at) = (None, None, None);
    let listing =
        Listing::parse::<api::incidents::Incident>(pairs, "state, before, at", |key, value| {
            match key {
                "state" => state = parse_state(value)?,
                "before" => before = Some(query::id(key, value)?),
                "at" => at = query::at(value)?,
                _ => return Ok(false),
            }
            Ok(true)
        })
        .map_err(PageError::BadRequest)?;
    let timed = |at| format!("/incidents{}", at_query(at));
    if let Some(at) = at {
        if state.is_some() || before.is_some() || !listing.is_usual() {
            let message = "`at` shows the incidents that were open then; do not combine it with `state`, `before`, `filter` or `sort`";
            return Err(PageError::BadRequest(message.to_owned()));
        }
        let open = past::open_at(board, at).await?;
        let note = "These incidents were open; they are shown as they are known now.";
        return Ok(List {
            page: Frame::timed(board, "Incidents", "incidents", Some(at), note, &timed),
            states: Vec::new(),
            controls: listing.controls::<api::incidents::Incident>("/incidents", Vec::new()),
            left_out: String::new(),
            incidents: open
                .iter()
                .map(|incident| Line::new(incident, at))
                .collect(),
            older: None,
            is_first: true,
        });
    }
    let page = Frame::timed(board, "Incidents", "incidents", None, "", &timed);
    if !listing.is_usual() {
        return picked(board, page, &listing, (state, before)).await;
    }
    let asked = Query {
        open: state,
        before,
        limit: PAGE + 1,
    };
    let mut stored = board.parts.incidents.read(asked).await?;
    let more = stored.len() > PAGE as usize;
    stored.truncate(PAGE as usize);
    let view = board.parts.views.get();
    let now = board.parts.clock.wall();
    let newest: Vec<&Incident> = stored
        .iter()
        .map(|stored| {
            let open = view.open.iter().find(|open| open.id == stored.id);
            open.unwrap_or(stored)
        })
        .collect();
    let last = newest.last().map(|last| last.id);
    let incidents = if state == Some(true) && before.is_none() && !more {
        // All open ones, the one to look at first at the top.
        let mut ranked = newest;
        ranked.sort_by_cached_key(|incident| incident.rank());
        tree(&ranked, now)
    } else {
        tree(&newest, now)
    };
    Ok(List {
        page,
        states: states(state, &listing),
        controls: listing.controls::<api::incidents::Incident>("/incidents", state_pair(state)),
        left_out: String::new(),
        older: more
            .then(|| last.map(|last| href(state, Some(last), &listing)))
            .flatten(),
        is_first: before.is_none(),
        incidents,
    })
}

fn state_pair(state: Option<bool>) -> Vec<(&'static str, String)> {
    let name = state.map(|open| if open { "open" } else { "closed" });
    name.map(|name| ("state", name.to_owned()))
        .into_iter()
        .collect()
}

fn href(state: Option<bool>, before: Option<u64>, listing: &Listing) -> String {
    let mut pairs = state_pair(state);
    pairs.extend(before.map(|before| ("before", before.to_string())));
    pairs.extend(listing.pairs());
    format!("/incidents{}", written(&pairs))
}

fn states(current: Option<bool>, listing: &Listing) -> Vec<Choice> {
    [(None, "All"), (Some(true), "Open"), (Some(false), "Closed")]
        .into_iter()
        .map(|(one, title)| Choice {
            title: title.to_owned(),
            href: href(one, None, listing),
            current: one == current,
        })
        .collect()
}

/// The newest [`SEARCHED`] incidents as a filter and an order want them.
async fn picked(
    board: &Dashboard,
    page: Frame,
    listing: &Listing,
    (state, before): (Option<bool>, Option<u64>),
) -> Result<List, PageError> {
    let asked = Query {
        open: state,
        before,
        limit: SEARCHED + 1,
    };
    let mut stored = board.parts.incidents.read(asked).await?;
    let has_older = stored.len() > SEARCHED as usize;
    stored.truncate(SEARCHED as usize);
    let view = board.parts.views.get();
    let mut rows: Vec<Picked> = stored
        .into_iter()
        .map(|stored| {
            let open = view.open.iter().find(|open| open.id == stored.id);
            Picked::new(open.cloned().unwrap_or(stored))
        })
        .collect();
    let oldest = rows.last().map(|row| row.incident.id);
    listing.apply(&mut rows);
    let found = rows.len();
    rows.truncate(MOST);
    let now = board.parts.clock.wall();
    let mut left_out = Vec::new();
    if found > rows.len() {
        left_out.push(format!("{} more pass the filter.", found - rows.len()));
    }
    if has_older {
        left_out.push(format!("Only the newest {SEARCHED} were looked at."));
    }
    Ok(List {
        page,
        states: states(state, listing),
        controls: listing.controls::<Picked>("/incidents", state_pair(state)),
        incidents: rows
            .iter()
            .map(|row| Line::new(&row.incident, now))
            .collect(),
        left_out: left_out.join(" "),
        older: has_older
            .then(|| oldest.map(|oldest| href(state, Some(oldest), listing)))
            .flatten(),
        is_first: before.is_none(),
    })
}

/// An incident, with what filters see of it.
struct Picked {
    incident: Incident,
    shown: api::incidents::Incident,
}

impl Picked {
    fn new(incident: Incident) -> Self {
        Self {
            shown: (&incident).into(),
            incident,
        }
    }
}

impl Listed for Picked {
    const COLUMNS: &'static [Column] = api::incidents::Incident::COLUMNS;

    fn value(&self, column: &str) -> Value<'_> {
        self.shown.value(column)
    }
}

fn parse_state(text: &str) -> Result<Option<bool>, String> {
    match text {
        "all" => Ok(None),
        "open" => Ok(Some(true)),
        "closed" => Ok(Some(false)),
        _ => Err("`state` must be open, closed or all".to_owned()),
    }
}

/// The incident of this number, as the last run or else the store knows it.
pub(super) async fn newest_of(board: &Dashboard, id: u64) -> Result<Option<Incident>, PageError> {
    let view = board.parts.views.get();
    if let Some(open) = view.open.iter().find(|open| open.id == id) {
        return Ok(Some(open.clone()));
    }
    let asked = Query {
        open: None,
        before: Some(id.saturating_add(1)),
        limit: 1,
    };
    let stored = board.parts.incidents.read(asked).await?;
    Ok(stored.into_iter().find(|stored| stored.id == id))
}

/// A part of the fabric with the page that shows it, and where it stands in the fabric.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::analyzer::dashboard) struct Part {
    text: String,
    href: String,
    /// Empty where `href` shows the fabric.
    fabric: String,
}

impl Part {
    fn new(component: &Component, at: Option<WallTime>) -> Self {
        let (text, node) = match component {
            Component::Link { from, to } => (format!("link {from} → {to}"), from.clone()),
            group @ Component::Group { .. } => {
                return Self {
                    text: group.to_string(),
                    href: "/agents".to_owned(),
                    fabric: String::new(),
                };
            }
            node => (
                node.to_string(),
                node.node().unwrap_or_default().into_owned(),
            ),
        };
        let mut pairs = vec![("node", node)];
        pairs.extend(at_pair(at));
        let fabric = format!("/fabric{}", written(&pairs));
        let href = match component {
            Component::Link { from, to } => link_href(from, to, at),
            Component::Rnic { host, device } => rnic_href(host.as_str(), device.as_str(), at),
            Component::Host { name } => host_href(name, at),
            Component::Switch { .. } | Component::Group { .. } => {
                return Self {
                    text,
                    href: fabric,
                    fabric: String::new(),
                };
            }
        };
        Self { text, href, fabric }
    }
}

/// A service that an incident hits.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Hit {
    name: String,
    href: String,
    suffers: bool,
    /// Its probes take other paths than its connections, or unknown ones.
    perhaps: bool,
}

/// Something that happened.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Moment {
    stamp: String,
    when: String,
    what: String,
}

#[derive(Debug, Page)]
#[template(path = "incident.html")]
pub(in crate::analyzer::dashboard) struct One {
    page: Frame,
    line: Line,
    meaning: &'static str,
    severity: &'static str,
    subject: Part,
    or: Vec<Part>,
    facts: Vec<Fact>,
    evidence: Vec<String>,
    /// What it stands for or explains, and how many more there are.
    explains: Vec<(String, Option<u64>)>,
    more: u64,
    /// The incident that explains it.
    cause: Option<u64>,
    timeline: Vec<Moment>,
    services: Vec<Hit>,
    /// The overview at the time when it was open.
    then: String,
}

/// Makes `/incidents/N`.
pub(in crate::analyzer::dashboard) async fn one(
    board: &Dashboard,
    pairs: &Pairs,
    id: &str,
) -> Result<One, PageError> {
    let at = only_at(pairs).map_err(PageError::BadRequest)?;
    let unknown = || {
        PageError::NotFound(
            "There is no incident with this number, or it was deleted because of its age."
                .to_owned(),
        )
    };
    let id: u64 = id.parse().map_err(|_| unknown())?;
    let incident = newest_of(board, id).await?.ok_or_else(unknown)?;
    let now = board.parts.clock.wall();
    let line = Line::new(&incident, now);
    // What a closed incident was about is to be seen in its own time.
    let seen = WallTime::from_nanos(incident.seen_unix_ns);
    let when = at.or((!line.is_open).then_some(seen));
    let note = "The incident is shown as it is known now.";
    let href = |at| format!("/incidents/{id}{}", at_query(at));
    Ok(One {
        page: Frame::timed(
            board,
            format!("Incident {id}"),
            "incidents",
            at,
            note,
            &href,
        ),
        meaning: meaning(incident.category),
        severity: severity(incident.severity),
        subject: Part::new(&incident.subject, when),
        or: incident.or.iter().map(|one| Part::new(one, when)).collect(),
        facts: facts(&incident, &line),
        evidence: incident.evidence.clone(),
        explains: incident
            .explains
            .iter()
            .map(|one| (one.title.clone(), one.incident))
            .collect(),
        more: incident
            .subjects
            .now
            .saturating_sub(incident.explains.len() as u64),
        cause: incident.cause,
        timeline: timeline(&incident, now),
        services: [(&incident.services, false), (&incident.perhaps, true)]
            .into_iter()
            .flat_map(|(services, perhaps)| {
                services.iter().map(move |(name, suffers)| Hit {
                    name: name.clone(),
                    href: service_href(name, when),
                    suffers: *suffers,
                    perhaps,
                })
            })
            .collect(),
        then: at_query(Some(seen)),
        line,
    })
}

fn facts(incident: &Incident, line: &Line) -> Vec<Fact> {
    vec![
        Fact::new("Confidence", line.confidence.clone(), "that this is it"),
        Fact::new(
            "Affected",
            format::percent(incident.share),
            match incident.interval {
                Some([low, high]) => format!(
                    "of what crosses it; {} to {} with 95 % probability",
                    format::percent(low),
                    format::percent(high)
                ),
                None => "of what crosses it".to_owned(),
            },
        ),
        Fact::new(
            "Probes",
            format::count(incident.sent),
            format!("{} lost or slow, last seen", format::count(incident.lost)),
        ),
        Fact::new(
            "Lasts",
            line.lasted.clone(),
            if line.is_open {
                "and goes on"
            } else {
                "it is over"
            },
        ),
    ]
}

fn timeline(incident: &Incident, now: WallTime) -> Vec<Moment> {
    let moment = |nanos: i64, what: String| {
        let at = WallTime::from_nanos(nanos);
        Moment {
            stamp: format::stamp(at),
            when: format::time(at),
            what,
        }
    };
    let opened = match incident.openings {
        0 | 1 => "opened: confirmed".to_owned(),
        count => format!("opened, for the {count}. time within ten minutes"),
    };
    let mut moments = vec![moment(incident.opened_unix_ns, opened)];
    let seen = WallTime::from_nanos(incident.seen_unix_ns);
    moments.push(moment(
        incident.seen_unix_ns,
        match incident.closed_unix_ns {
            None => format!("last seen, {} ago", format::age(now.since(seen))),
            Some(_) => "last seen".to_owned(),
        },
    ));
    if let Some(closed) = incident.closed_unix_ns {
        let why = match incident.cause {
            Some(cause) => format!("closed: incident {cause} explains it"),
            None => "closed: it stayed away".to_owned(),
        };
        moments.push(moment(closed, why));
    }
    moments
}
