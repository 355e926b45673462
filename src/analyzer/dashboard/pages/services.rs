//! `/services` and `/services/NAME`: what services' own paths went through.

use std::collections::{BTreeMap, BTreeSet};

use super::frame::Frame;
use super::incidents::Line;
use super::parts::{
    MEASURED, Measured, PageError, pair_href, service_href, service_path, trend_path, window_title,
};
use super::past;
use crate::analysis::incident::{Incident, Severity};
use crate::analysis::trend::Kind;
use crate::analysis::windows::{Sums, WindowLength};
use crate::analyzer::dashboard::board::Dashboard;
use crate::analyzer::dashboard::details::{Details, Numbers};
use crate::analyzer::dashboard::listing::{Controls, Listing};
use crate::analyzer::dashboard::query::{self, Pairs, When, at_pair, at_query};
use crate::analyzer::state::State;
use crate::api::list::{Column, Listed, Value};
use crate::id::{Gid, ServiceName, TorId};
use crate::store::incidents::Query;
use crate::time::WallTime;
use askama::Template as Page;

/// Services in the list.
const MOST: usize = 500;
/// Pairs of ToRs of one service, the worst first.
const MOST_PAIRS: usize = 100;
/// Incidents that are searched for those of a service.
const SEARCHED: u32 = 1_000;

/// A service in the list.
#[derive(Debug)]
struct Row {
    name: String,
    href: String,
    paths: usize,
    rnics: usize,
    measured: Measured,
    /// Severity and number of the incidents that hit it.
    incidents: Vec<(&'static str, u64)>,
}

impl Listed for Row {
    const COLUMNS: &'static [Column] = &[
        Column::text("service", "Service"),
        Column::count("incidents", "Incidents"),
        Column::count("rnics", "RNICs"),
        Column::count("paths", "Paths"),
        MEASURED[0],
        MEASURED[1],
        MEASURED[2],
        MEASURED[3],
        MEASURED[4],
        MEASURED[5],
    ];

    fn value(&self, column: &str) -> Value<'_> {
        match column {
            "service" => Value::text(&self.name),
            "incidents" => Value::count(self.incidents.len() as u64),
            "rnics" => Value::count(self.rnics as u64),
            "paths" => Value::count(self.paths as u64),
            measured => self.measured.value(measured),
        }
    }
}

#[derive(Debug, Page)]
#[template(path = "services.html")]
pub(in crate::analyzer::dashboard) struct List {
    page: Frame,
    controls: Controls,
    rows: Vec<Row>,
    more: usize,
    /// Over which time.
    span: &'static str,
}

#[derive(Default)]
struct Gathered {
    paths: usize,
    rnics: BTreeSet<Gid>,
    sums: Sums,
}

/// Makes `/services`.
pub(in crate::analyzer::dashboard) async fn list(
    board: &Dashboard,
    pairs: &Pairs,
) -> Result<List, PageError> {
    let (at, listing) = parse::<Row>(pairs)?;
    match at {
        None => list_now(board, &listing).await,
        Some(at) => list_then(board, &listing, at).await,
    }
}

/// The parameters of either page.
fn parse<T: Listed>(pairs: &Pairs) -> Result<(Option<WallTime>, Listing), PageError> {
    let mut at = None;
    let listing = Listing::parse::<T>(pairs, "at", |key, value| {
        if key == "at" {
            at = query::at(value)?;
        }
        Ok(key == "at")
    });
    Ok((at, listing.map_err(PageError::BadRequest)?))
}

async fn list_now(board: &Dashboard, listing: &Listing) -> Result<List, PageError> {
    let gathered = board
        .parts
        .state
        .read(gather)
        .await
        .ok_or(PageError::Stopping)?;
    let view = board.parts.views.get();
    let rows = gathered
        .into_iter()
        .map(|(name, gathered)| {
            let sizes = (gathered.paths, gathered.rnics.len());
            let numbers = Numbers::from(&gathered.sums);
            row(name.as_str(), sizes, numbers, &view.open, None)
        })
        .collect();
    Ok(listed(board, (rows, 0), listing, None, ""))
}

async fn list_then(board: &Dashboard, listing: &Listing, at: WallTime) -> Result<List, PageError> {
    let picture = past::picture(board, at).await?;
    let open = past::open_at(board, at).await?;
    let mut note = past::note(picture.as_ref());
    let Details {
        services,
        more_services,
        ..
    } = match picture.map(|picture| picture.details) {
        Some(Some(details)) => details,
        Some(None) => {
            note += " Services of this time are not kept.";
            Details::default()
        }
        None => Details::default(),
    };
    let rows = services
        .into_iter()
        .map(|service| {
            let sizes = (service.paths, service.rnics);
            row(&service.name, sizes, service.numbers, &open, Some(at))
        })
        .collect();
    Ok(listed(
        board,
        (rows, more_services),
        listing,
        Some(at),
        &note,
    ))
}

fn row(
    name: &str,
    (paths, rnics): (usize, usize),
    numbers: Numbers,
    open: &[Incident],
    at: Option<WallTime>,
) -> Row {
    Row {
        incidents: open
            .iter()
            .filter(|incident| incident.services.contains_key(name))
            .map(|incident| (incident.severity.name(), incident.id))
            .collect(),
        href: service_href(name, at),
        name: name.to_owned(),
        paths,
        rnics,
        measured: Measured::from(numbers),
    }
}

fn listed(
    board: &Dashboard,
    (mut rows, more): (Vec<Row>, usize),
    listing: &Listing,
    at: Option<WallTime>,
    note: &str,
) -> List {
    rows.sort_by_key(|row| (row.incidents.is_empty(), !row.measured.is_lossy));
    listing.apply(&mut rows);
    let more = more + rows.len().saturating_sub(MOST);
    rows.truncate(MOST);
    let href = |at| format!("/services{}", at_query(at));
    List {
        page: Frame::timed(board, "Services", "services", at, note, &href),
        controls: listing.controls::<Row>("/services", at_pair(at).into_iter().collect()),
        rows,
        more,
        span: if at.is_some() {
            "this minute"
        } else {
            "the last 20 s"
        },
    }
}

fn gather(state: &State, now: WallTime) -> BTreeMap<ServiceName, Gathered> {
    let slots = state.windows.slots(WindowLength::Middle, now);
    let mut services: BTreeMap<ServiceName, Gathered> = BTreeMap::new();
    for path in state.windows.paths() {
        let Some(name) = path.service() else {
            continue;
        };
        if !services.contains_key(name) {
            services.insert(name.clone(), Gathered::default());
        }
        if let Some(service) = services.get_mut(name) {
            service.paths += 1;
            service.rnics.extend([path.source().gid, path.target().gid]);
            path.add_to(&slots, &mut service.sums);
        }
    }
    services
}

/// Two ToRs that a service's paths lead between.
#[derive(Debug)]
struct PairRow {
    source: String,
    target: String,
    href: String,
    paths: usize,
    measured: Measured,
}

impl Listed for PairRow {
    const COLUMNS: &'static [Column] = &[
        Column::text("from", "From"),
        Column::text("to", "To"),
        Column::count("paths", "Paths"),
        MEASURED[0],
        MEASURED[1],
        MEASURED[2],
        MEASURED[3],
        MEASURED[4],
        MEASURED[5],
    ];

    fn value(&self, column: &str) -> Value<'_> {
        match column {
            "from" => Value::text(&self.source),
            "to" => Value::text(&self.target),
            "paths" => Value::count(self.paths as u64),
            measured => self.measured.value(measured),
        }
    }
}

#[derive(Debug, Page)]
#[template(path = "service.html")]
pub(in crate::analyzer::dashboard) struct One {
    page: Frame,
    name: String,
    /// What was measured in each window.
    windows: Vec<(&'static str, Measured)>,
    impact: &'static str,
    impact_class: &'static str,
    incidents: Vec<Line>,
    controls: Controls,
    pairs: Vec<PairRow>,
    more: usize,
    /// What the pairs were measured over.
    span: &'static str,
    trend: String,
}

type Measurements = (Vec<(&'static str, Measured)>, Vec<PairRow>);

/// Makes `/services/NAME`.
pub(in crate::analyzer::dashboard) async fn one(
    board: &Dashboard,
    pairs: &Pairs,
    name: &str,
) -> Result<One, PageError> {
    let (at, listing) = parse::<PairRow>(pairs)?;
    match at {
        None => one_now(board, &listing, name).await,
        Some(at) => one_then(board, &listing, name, at).await,
    }
}

async fn one_now(board: &Dashboard, listing: &Listing, name: &str) -> Result<One, PageError> {
    let wanted = ServiceName::from(name);
    let read = board
        .parts
        .state
        .read(move |state, now| measure(state, now, &wanted))
        .await;
    let measurements = read.ok_or(PageError::Stopping)?;
    let asked = Query {
        open: None,
        before: None,
        limit: SEARCHED,
    };
    let view = board.parts.views.get();
    let stored = board.parts.incidents.read(asked).await?;
    let hit: Vec<&Incident> = stored
        .iter()
        .map(|stored| {
            view.open
                .iter()
                .find(|open| open.id == stored.id)
                .unwrap_or(stored)
        })
        .filter(|incident| incident.services.contains_key(name))
        .take(50)
        .collect();
    if measurements.is_none() && hit.is_empty() {
        return Err(PageError::NotFound(format!(
            "No path of the last minutes and no recent incident belongs to a service {name}."
        )));
    }
    let now = board.parts.clock.wall();
    let open: Vec<_> = hit.iter().filter(|one| one.is_open()).copied().collect();
    let lines = hit
        .iter()
        .map(|incident| Line::new(incident, now))
        .collect();
    let (windows, mut pairs) = measurements.unwrap_or_default();
    pairs.sort_by(|a, b| {
        let (x, y) = (a.measured.badness().0, b.measured.badness().0);
        y.total_cmp(&x)
            .then_with(|| (&a.source, &a.target).cmp(&(&b.source, &b.target)))
    });
    let (impact, impact_class) = impact(&open, !pairs.is_empty());
    listing.apply(&mut pairs);
    let more = pairs.len().saturating_sub(MOST_PAIRS);
    pairs.truncate(MOST_PAIRS);
    let href = |at| service_href(name, at);
    Ok(One {
        page: Frame::timed(board, name, "services", None, "", &href),
        name: name.to_owned(),
        windows,
        impact,
        impact_class,
        incidents: lines,
        controls: listing.controls::<PairRow>(&service_path(name), Vec::new()),
        pairs,
        more,
        span: "20 s",
        trend: trend_path(Kind::Service, name, ""),
    })
}

/// What the minute's picture has of it, and the incidents that were open then.
async fn one_then(
    board: &Dashboard,
    listing: &Listing,
    name: &str,
    at: WallTime,
) -> Result<One, PageError> {
    let picture = past::picture(board, at).await?;
    let mut note = past::note(picture.as_ref());
    let open = past::open_at(board, at).await?;
    let hit: Vec<_> = open
        .iter()
        .filter(|incident| incident.services.contains_key(name))
        .collect();
    let lines = hit.iter().map(|incident| Line::new(incident, at)).collect();
    let details = picture.and_then(|picture| picture.details);
    let kept = details.and_then(|details| {
        let mut services = details.services.into_iter();
        services.find(|service| service.name == name)
    });
    if kept.is_none() {
        note += " Nothing that this service's paths went through is kept of it.";
    }
    let when = When {
        at: Some(at),
        ..When::default()
    };
    let (windows, mut pairs): (Vec<_>, Vec<PairRow>) =
        kept.map_or_else(Default::default, |service| {
            let pair =
                |(source, target, paths, numbers): (String, String, usize, Numbers)| PairRow {
                    href: pair_href(&source, &target, when),
                    source,
                    target,
                    paths,
                    measured: Measured::from(numbers),
                };
            (
                vec![("1 min", Measured::from(service.numbers))],
                service.pairs.into_iter().map(pair).collect(),
            )
        });
    let (impact, impact_class) = impact(&hit, !pairs.is_empty());
    listing.apply(&mut pairs);
    let href = |at| service_href(name, at);
    Ok(One {
        page: Frame::timed(board, name, "services", Some(at), note, &href),
        name: name.to_owned(),
        windows,
        impact,
        impact_class,
        incidents: lines,
        controls: listing
            .controls::<PairRow>(&service_path(name), at_pair(Some(at)).into_iter().collect()),
        pairs,
        more: 0,
        span: "this minute",
        trend: String::new(),
    })
}

/// How a service is, by the incidents that are or were open and whether anything was measured, and the looks of that.
fn impact(open: &[&Incident], is_measured: bool) -> (&'static str, &'static str) {
    match open.iter().map(|incident| incident.severity).min() {
        Some(Severity::P0) => (
            "Suffers: an open incident affects its paths, and its own probes are lost or slow.",
            "trouble",
        ),
        Some(_) => (
            "At risk: an open incident affects its paths; its own probes do not suffer.",
            "waiting",
        ),
        None if !is_measured => ("No data: nothing was measured on its paths.", "unknown"),
        None => ("No open incident affects its paths.", "quiet"),
    }
}

fn measure(state: &State, now: WallTime, wanted: &ServiceName) -> Option<Measurements> {
    let slots = WindowLength::ALL.map(|span| state.windows.slots(span, now));
    let mut sums: [Sums; WindowLength::ALL.len()] = std::array::from_fn(|_| Sums::default());
    let mut pairs: BTreeMap<(&TorId, &TorId), (usize, Sums)> = BTreeMap::new();
    let mut known = false;
    for path in state
        .windows
        .paths()
        .filter(|path| path.service() == Some(wanted))
    {
        known = true;
        for (slots, sums) in slots.iter().zip(&mut sums) {
            path.add_to(slots, sums);
        }
        let (paths, sums) = pairs
            .entry((&path.source().tor, &path.target().tor))
            .or_default();
        *paths += 1;
        path.add_to(&slots[1], sums);
    }
    if !known {
        return None;
    }
    let windows = WindowLength::ALL
        .iter()
        .zip(&sums)
        .map(|(span, sums)| (window_title(*span), Measured::from(sums)))
        .collect();
    let pairs = pairs
        .into_iter()
        .map(|((source, target), (paths, sums))| PairRow {
            href: pair_href(source.as_str(), target.as_str(), When::default()),
            source: source.to_string(),
            target: target.to_string(),
            paths,
            measured: Measured::from(&sums),
        })
        .collect();
    Some((windows, pairs))
}
