//! `/link/A/B` and `/rnic/HOST/DEVICE`: the paths across a part of the fabric, what they measured, and the
//! incidents about it.
//!
//! Of the past these pages have the incidents and the paths that lost probes; nothing else is kept of single parts.

mod subject;

use std::collections::BTreeSet;
use std::ops::Range;

use super::frame::Frame;
use super::incidents::Line;
use super::parts::{
    Choice, Fact, MEASURED, Measured, PageError, host_href, link_href, pair_href, path_href,
    rnic_href, service_href, windows,
};
use super::past::{self, LossyPaths, LossyRow};
use crate::analysis::incident::Incident;
use crate::analysis::windows::{PathView, Slot, Sums};
use crate::analyzer::dashboard::board::Dashboard;
use crate::analyzer::dashboard::details::Rnic;
use crate::analyzer::dashboard::format;
use crate::analyzer::dashboard::listing::{Controls, Listing};
use crate::analyzer::dashboard::query::{self, Pairs, When, written};
use crate::analyzer::state::State;
use crate::api::list::{Column, Listed, Value};
use crate::id::{RnicName, ServiceName};
use crate::store::incidents::Query;
use askama::Template as Page;
use subject::{Direction, Subject};

/// Paths on one page, the worst first.
const MOST: usize = 200;
/// Paths that are gathered; those beyond are counted in the sums only.
const MOST_GATHERED: usize = 20_000;
/// Incidents that are searched for those about it.
const SEARCHED: u32 = 1_000;
/// Incidents that are shown.
const MOST_INCIDENTS: usize = 20;

/// One 5-tuple.
#[derive(Debug, Clone)]
struct Row {
    source: Rnic,
    target: Rnic,
    href: String,
    port: String,
    carries: &'static str,
    kind: String,
    service: Option<(String, String)>,
    measured: Measured,
}

impl Listed for Row {
    const COLUMNS: &'static [Column] = &[
        Column::text("from", "From"),
        Column::text("to", "To"),
        Column::text("port", "Port"),
        Column::text("carries", "Carries"),
        Column::text("why", "Why"),
        MEASURED[0],
        MEASURED[1],
        MEASURED[2],
        MEASURED[3],
        MEASURED[4],
        MEASURED[5],
    ];

    fn value(&self, column: &str) -> Value<'_> {
        match column {
            "from" => self.source.names(),
            "to" => self.target.names(),
            "port" => Value::text(&self.port),
            "carries" => Value::text(self.carries),
            "why" => past::why(&self.kind, self.service.as_ref()),
            measured => self.measured.value(measured),
        }
    }
}

/// What crosses it.
#[derive(Default)]
struct Gathered {
    paths: [usize; 2],
    sums: [Sums; 2],
    services: BTreeSet<ServiceName>,
    /// ToRs and GIDs of the RNIC.
    places: BTreeSet<(String, String)>,
    rows: Vec<Row>,
}

impl Gathered {
    fn take(
        &mut self,
        state: &State,
        path: PathView<'_>,
        slots: &Range<Slot>,
        subject: &Subject,
        when: When,
    ) {
        let Some(direction) = subject.direction(state, path) else {
            return;
        };
        if let Subject::Rnic { .. } = subject {
            let end = match direction {
                Direction::Probes => path.source(),
                Direction::Acks => path.target(),
            };
            let place = (end.tor.to_string(), end.gid.to_string());
            if !self.places.contains(&place) {
                self.places.insert(place);
            }
        }
        if !path.has_results(slots) {
            return;
        }
        let at = direction as usize;
        self.paths[at] += 1;
        path.add_to(slots, &mut self.sums[at]);
        self.services.extend(path.service().cloned());
        if self.rows.len() < MOST_GATHERED {
            self.rows.push(row(path, slots, direction, when));
        }
    }
}

fn row(path: PathView<'_>, slots: &Range<Slot>, direction: Direction, when: When) -> Row {
    let mut sums = Sums::default();
    path.add_to(slots, &mut sums);
    let (source, target) = (Rnic::from(path.source()), Rnic::from(path.target()));
    Row {
        href: path_href(&source.gid, &target.gid, when),
        port: path
            .source_port()
            .map_or_else(|| "hidden".to_owned(), |port| port.0.to_string()),
        carries: match direction {
            Direction::Probes => "probes",
            Direction::Acks => "ACKs",
        },
        kind: path.kind().name().replace('_', " "),
        service: path
            .service()
            .map(|name| (name.to_string(), service_href(name.as_str(), None))),
        measured: Measured::from(&sums.with_focused()),
        source,
        target,
    }
}

#[derive(Debug, Page)]
#[template(path = "across.html")]
pub(in crate::analyzer::dashboard) struct Across {
    page: Frame,
    title: String,
    kind: &'static str,
    windows: Vec<Choice>,
    /// Pages of what it is a part of or beside.
    near: Vec<Choice>,
    facts: Vec<Fact>,
    services: Vec<(String, String)>,
    incidents: Vec<Line>,
    controls: Controls,
    rows: Vec<Row>,
    more: usize,
    /// That not all paths are listed, sorted and filtered.
    only: Option<String>,
    /// Of the past, in place of the rows.
    lossy: Option<LossyPaths>,
}

/// Makes `/link/FROM/TO`.
pub(in crate::analyzer::dashboard) async fn link(
    board: &Dashboard,
    pairs: &Pairs,
    (from, to): (String, String),
) -> Result<Across, PageError> {
    page(board, pairs, Subject::Link { from, to }).await
}

/// Makes `/rnic/HOST/DEVICE`.
pub(in crate::analyzer::dashboard) async fn rnic(
    board: &Dashboard,
    pairs: &Pairs,
    (host, device): (String, String),
) -> Result<Across, PageError> {
    page(board, pairs, Subject::Rnic { host, device }).await
}

async fn page(board: &Dashboard, pairs: &Pairs, subject: Subject) -> Result<Across, PageError> {
    let mut when = When::default();
    let is_past = query::has_at(pairs);
    let take = |key: &str, value: &str| when.take(key, value);
    let listing = if is_past {
        Listing::parse::<LossyRow>(pairs, "window, at", take)
    } else {
        Listing::parse::<Row>(pairs, "window, at", take)
    };
    let listing = listing.map_err(PageError::BadRequest)?;
    match when.at {
        None => now(board, when, &listing, subject).await,
        Some(_) => then(board, when, &listing, subject).await,
    }
}

async fn now(
    board: &Dashboard,
    when: When,
    listing: &Listing,
    subject: Subject,
) -> Result<Across, PageError> {
    let incidents = incidents(board, &subject).await?;
    let collector = (Gathered::default(), subject, when);
    let scanning = board.scanner.paths(
        when.window,
        collector,
        |(gathered, subject, when), state, path, slots| {
            gathered.take(state, path, slots, subject, *when);
        },
    );
    let (gathered, subject, _) = scanning.await.ok_or(PageError::Stopping)?;
    let is_known = !gathered.places.is_empty()
        || gathered.paths != [0, 0]
        || !incidents.is_empty()
        || is_wired(board, &subject);
    if !is_known {
        return Err(PageError::NotFound(match &subject {
            Subject::Link { from, to } => format!(
                "No path of the last minutes, no cable of the topology file and no incident is known of a link from {from} to {to}."
            ),
            Subject::Rnic { host, device } => {
                format!(
                    "No report of the last minutes and no incident names the RNIC {device} of {host}."
                )
            }
        }));
    }
    let facts = facts(&gathered, &subject);
    let mut rows = gathered.rows;
    let looked_at = rows.len();
    rows.sort_by(|a, b| {
        let (x, y) = (a.measured.badness(), b.measured.badness());
        y.0.total_cmp(&x.0)
            .then(y.1.cmp(&x.1))
            .then_with(|| (&a.href, &a.port).cmp(&(&b.href, &b.port)))
    });
    listing.apply(&mut rows);
    let all: usize = gathered.paths.iter().sum();
    let more = if listing.is_filtered() {
        rows.len().saturating_sub(MOST)
    } else {
        all.saturating_sub(MOST)
    };
    rows.truncate(MOST);
    let tors = gathered.places.iter().map(|(tor, _)| tor.as_str());
    Ok(Across {
        windows: windows(when.window, |window| {
            let mut pairs = When { window, ..when }.pairs();
            pairs.extend(listing.pairs());
            subject.path() + &written(&pairs)
        }),
        near: {
            let mut near = near(&subject, &tors.collect(), when);
            near.push(Choice {
                title: "Trend".to_owned(),
                href: subject.trend(),
                current: false,
            });
            near
        },
        facts,
        services: gathered
            .services
            .iter()
            .map(|name| (name.to_string(), service_href(name.as_str(), None)))
            .collect(),
        incidents: lines(board, &incidents),
        controls: listing.controls::<Row>(&subject.path(), when.pairs()),
        rows,
        more,
        only: (looked_at < all).then(|| looked_at_only(looked_at, all)),
        lossy: None,
        ..frame(board, when, &subject, "")
    })
}

/// The incidents of the time, and the paths that lost probes.
async fn then(
    board: &Dashboard,
    when: When,
    listing: &Listing,
    subject: Subject,
) -> Result<Across, PageError> {
    let at = when.at.unwrap_or_else(|| board.parts.clock.wall());
    let picture = past::picture(board, at).await?;
    let note = past::note(picture.as_ref())
        + " Of single links and RNICs only paths that lost probes are kept.";
    let open = past::open_at(board, at).await?;
    let incidents = open
        .iter()
        .filter(|incident| is_about(incident, &subject))
        .take(MOST_INCIDENTS)
        .map(|incident| Line::new(incident, at))
        .collect();
    let details = picture.and_then(|picture| picture.details);
    let lossy = LossyPaths::of(details.as_ref(), (when, listing), |path| {
        subject.is_on(path)
    });
    Ok(Across {
        incidents,
        near: near(&subject, &BTreeSet::new(), when),
        controls: listing.controls::<LossyRow>(&subject.path(), when.pairs()),
        lossy: Some(lossy),
        ..frame(board, when, &subject, &note)
    })
}

/// What both have in common.
fn frame(board: &Dashboard, when: When, subject: &Subject, note: &str) -> Across {
    let href = |at| subject.path() + &When { at, ..when }.query();
    Across {
        page: Frame::timed(board, subject.title(), "fabric", when.at, note, &href).slow(),
        title: subject.title(),
        kind: subject.kind(),
        windows: Vec::new(),
        near: Vec::new(),
        facts: Vec::new(),
        services: Vec::new(),
        incidents: Vec::new(),
        controls: Listing::default().controls::<Row>("", Vec::new()),
        rows: Vec::new(),
        more: 0,
        only: None,
        lossy: None,
    }
}

fn looked_at_only(some: usize, all: usize) -> String {
    format!(
        "Filter and order are for the first {} of {} paths; the sums above have all of them.",
        format::count(some as u64),
        format::count(all as u64)
    )
}

fn is_about(incident: &Incident, subject: &Subject) -> bool {
    incident.suspects().any(|one| subject.is_meant(one))
}

/// The newest incidents about it, open ones first.
async fn incidents(board: &Dashboard, subject: &Subject) -> Result<Vec<Incident>, PageError> {
    let view = board.parts.views.get();
    let mut found: Vec<Incident> = view
        .open
        .iter()
        .filter(|incident| is_about(incident, subject))
        .cloned()
        .collect();
    let asked = Query {
        open: None,
        before: None,
        limit: SEARCHED,
    };
    let stored = board.parts.incidents.read(asked).await?;
    let is_new = |one: &Incident| !view.open.iter().any(|open| open.id == one.id);
    found.extend(
        stored
            .into_iter()
            .filter(|incident| is_about(incident, subject) && is_new(incident)),
    );
    found.truncate(MOST_INCIDENTS);
    Ok(found)
}

fn lines(board: &Dashboard, incidents: &[Incident]) -> Vec<Line> {
    let now = board.parts.clock.wall();
    incidents
        .iter()
        .map(|incident| Line::new(incident, now))
        .collect()
}

/// Whether the topology file has it.
fn is_wired(board: &Dashboard, subject: &Subject) -> bool {
    let Some(wiring) = &board.parts.wiring else {
        return false;
    };
    match subject {
        Subject::Rnic { .. } => false,
        Subject::Link { from, to } => wiring
            .links()
            .iter()
            .any(|link| (&link.a, &link.b) == (from, to) || (&link.b, &link.a) == (from, to)),
    }
}

fn facts(gathered: &Gathered, subject: &Subject) -> Vec<Fact> {
    let [probes, acks] = &gathered.sums;
    let paths = format!(
        "{} of probes, {} of ACKs",
        gathered.paths[0], gathered.paths[1]
    );
    let all = gathered.paths.iter().sum::<usize>().to_string();
    let (first, second, acks_name) = match subject {
        Subject::Link { .. } => (
            "of paths that cross it",
            "whose ACKs cross it",
            "Lost, ACKs here",
        ),
        Subject::Rnic { .. } => ("that it sent", "to it", "Lost, probes to it"),
    };
    let mut facts = vec![Fact::new("Paths", all, paths)];
    facts.extend(Measured::from(probes).facts(first));
    let back = Measured::from(acks);
    let lost = format!("{} of {} probes {second}", back.lost, back.sent);
    facts.push(Fact::new(acks_name, back.loss, lost));
    facts
}

/// Links to what it is beside.
fn near(subject: &Subject, tors: &BTreeSet<&str>, when: When) -> Vec<Choice> {
    let choice = |title: String, href: String| Choice {
        title,
        href,
        current: false,
    };
    let node = |name: &str| {
        let mut pairs = vec![("node", name.to_owned())];
        pairs.extend(query::at_pair(when.at));
        format!("/fabric{}", written(&pairs))
    };
    match subject {
        Subject::Link { from, to } => {
            let mut near = vec![choice(
                "The other way".to_owned(),
                link_href(to, from, when.at),
            )];
            for name in [from, to] {
                let href = match name.parse::<RnicName>() {
                    Ok(rnic) => rnic_href(rnic.host.as_str(), rnic.device.as_str(), when.at),
                    Err(_) => node(name),
                };
                near.push(choice(name.clone(), href));
            }
            near
        }
        Subject::Rnic { host, device } => {
            let mut near = vec![choice(host.clone(), host_href(host, when.at))];
            for tor in tors {
                let name = format!("{host}/{device}");
                near.push(choice((*tor).to_owned(), pair_href(tor, tor, when)));
                near.push(choice(
                    format!("cable to {tor}"),
                    link_href(&name, tor, when.at),
                ));
                near.push(choice(
                    format!("cable from {tor}"),
                    link_href(tor, &name, when.at),
                ));
            }
            near
        }
    }
}
