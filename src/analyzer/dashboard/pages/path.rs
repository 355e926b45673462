//! `/path/SOURCE/TARGET`: the ECMP paths of a pair of RNICs by source port, with the switches that traces have shown.

use super::frame::Frame;
use super::parts::{
    Choice, Fact, MEASURED, Measured, PageError, link_href, pair_href, path_href, path_path,
    rnic_href, service_href, windows,
};
use super::past::{self, LossyPaths, LossyRow, why};
use crate::analysis::paths::Known;
use crate::analysis::windows::{PathView, Sums};
use crate::analyzer::dashboard::board::Dashboard;
use crate::analyzer::dashboard::details::{Rnic, names};
use crate::analyzer::dashboard::format;
use crate::analyzer::dashboard::listing::{Controls, Listing};
use crate::analyzer::dashboard::query::{self, Pairs, When};
use crate::analyzer::state::{NamedHop, State};
use crate::api::list::{Column, Listed, Value};
use crate::id::{Gid, UdpSourcePort};
use crate::probe::trace::Tuple;
use crate::time::WallTime;
use askama::Template as Page;

/// Paths on one page, the worst first.
const MOST: usize = 200;

/// A switch on the way.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Hop {
    /// Empty where it never answered.
    name: String,
    /// The page of the link to the next one; empty where either is not known, and at the end.
    link: String,
    /// Where that link leads.
    next: String,
}

impl Hop {
    /// The hops of a way.
    fn all(hops: &[NamedHop<'_>]) -> Vec<Self> {
        let hop = |(at, (answer, name)): (usize, &NamedHop<'_>)| {
            let next = hops.get(at + 1).and_then(|(_, next)| *next);
            let link = name.zip(next);
            Self {
                link: link.map_or_else(String::new, |(from, to)| link_href(from, to, None)),
                next: next.unwrap_or_default().to_owned(),
                name: answer.unwrap_or_default().to_owned(),
            }
        };
        hops.iter().enumerate().map(hop).collect()
    }
}

/// What is known of the way that packets take.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Way {
    hops: Vec<Hop>,
    note: String,
    changes: Vec<(String, String, Vec<String>)>,
    changed: u64,
}

/// One 5-tuple.
#[derive(Debug, Clone)]
struct Row {
    port: String,
    kind: String,
    service: Option<(String, String)>,
    measured: Measured,
    way: Option<Way>,
    /// That of the ACKs.
    back: Option<Way>,
}

impl Listed for Row {
    const COLUMNS: &'static [Column] = &[
        Column::text("port", "Port"),
        Column::text("why", "Why"),
        MEASURED[0],
        MEASURED[1],
        MEASURED[2],
        MEASURED[3],
        MEASURED[4],
        MEASURED[5],
        Column::text("switches", "Switches"),
    ];

    fn value(&self, column: &str) -> Value<'_> {
        match column {
            "port" => Value::text(&self.port),
            "why" => why(&self.kind, self.service.as_ref()),
            "switches" => Value::Texts(
                [&self.way, &self.back]
                    .into_iter()
                    .flatten()
                    .flat_map(|way| way.hops.iter().map(|hop| hop.name.as_str().into()))
                    .collect(),
            ),
            measured => self.measured.value(measured),
        }
    }
}

#[derive(Debug, Page)]
#[template(path = "path.html")]
pub(in crate::analyzer::dashboard) struct Ways {
    page: Frame,
    source: Rnic,
    target: Rnic,
    windows: Vec<Choice>,
    pair: String,
    back: String,
    facts: Vec<Fact>,
    controls: Controls,
    /// Pages of the RNICs.
    rnics: [String; 2],
    rows: Vec<Row>,
    more: usize,
    /// Of the past, in place of the rows.
    lossy: Option<LossyPaths>,
}

struct Found {
    source: Rnic,
    target: Rnic,
    total: Measured,
    rows: Vec<Row>,
}

/// Makes the page.
pub(in crate::analyzer::dashboard) async fn page(
    board: &Dashboard,
    pairs: &Pairs,
    source: &str,
    target: &str,
) -> Result<Ways, PageError> {
    let mut when = When::default();
    let is_past = query::has_at(pairs);
    let take = |key: &str, value: &str| when.take(key, value);
    let listing = if is_past {
        Listing::parse::<LossyRow>(pairs, "window, at", take)
    } else {
        Listing::parse::<Row>(pairs, "window, at", take)
    };
    let listing = listing.map_err(PageError::BadRequest)?;
    let unknown = || {
        PageError::NotFound(format!(
            "No report of the last minutes is about the path from {source} to {target}."
        ))
    };
    let from: Gid = source.parse().map_err(|_| unknown())?;
    let to: Gid = target.parse().map_err(|_| unknown())?;
    let read = board
        .parts
        .state
        .read(move |state, now| read(state, now, when, from, to));
    let found = read.await.ok_or(PageError::Stopping)?;
    match when.at {
        None => Ok(now(board, when, &listing, found.ok_or_else(unknown)?)),
        Some(at) => then(board, (when, at), &listing, (from, to), found).await,
    }
}

fn now(board: &Dashboard, when: When, listing: &Listing, found: Found) -> Ways {
    let Found {
        source,
        target,
        total,
        mut rows,
    } = found;
    rows.sort_by(|a, b| {
        let (x, y) = (a.measured.badness().0, b.measured.badness().0);
        y.total_cmp(&x)
            .then_with(|| (&a.kind, &a.port).cmp(&(&b.kind, &b.port)))
    });
    listing.apply(&mut rows);
    let more = rows.len().saturating_sub(MOST);
    rows.truncate(MOST);
    Ways {
        windows: windows(when.window, |window| {
            path_href(&source.gid, &target.gid, When { window, ..when })
        }),
        facts: total.facts("on all paths"),
        controls: listing.controls::<Row>(&path_path(&source.gid, &target.gid), when.pairs()),
        rows,
        more,
        ..frame(board, when, source, target, "")
    }
}

/// The paths that lost probes. Who the RNICs were is known from these paths, or from what is known of them now.
async fn then(
    board: &Dashboard,
    (when, at): (When, WallTime),
    listing: &Listing,
    (from, to): (Gid, Gid),
    known: Option<Found>,
) -> Result<Ways, PageError> {
    let picture = past::picture(board, at).await?;
    let note =
        past::note(picture.as_ref()) + " Totals of all paths of a pair of RNICs are not kept.";
    let details = picture.and_then(|picture| picture.details);
    let (source, target) = (from.to_string(), to.to_string());
    let lossy = LossyPaths::of(details.as_ref(), (when, listing), |path| {
        path.source.gid == source && path.target.gid == target
    });
    let nameless = |gid: String| Rnic {
        host: gid.clone(),
        device: String::new(),
        tor: String::new(),
        gid,
    };
    let (source, target) = match (lossy.rows.first(), known) {
        (Some(row), _) => (row.source.clone(), row.target.clone()),
        (None, Some(known)) => (known.source, known.target),
        (None, None) => (nameless(source), nameless(target)),
    };
    Ok(Ways {
        controls: listing.controls::<LossyRow>(&path_path(&source.gid, &target.gid), when.pairs()),
        lossy: Some(lossy),
        ..frame(board, when, source, target, &note)
    })
}

/// What both have in common.
fn frame(board: &Dashboard, when: When, source: Rnic, target: Rnic, note: &str) -> Ways {
    let title = format!("{} → {}", source.host, target.host);
    let href = |at| path_href(&source.gid, &target.gid, When { at, ..when });
    Ways {
        page: Frame::timed(board, title, "overview", when.at, note, &href),
        windows: Vec::new(),
        pair: if source.tor.is_empty() {
            String::new()
        } else {
            pair_href(&source.tor, &target.tor, when)
        },
        back: path_href(&target.gid, &source.gid, when),
        facts: Vec::new(),
        controls: Listing::default().controls::<Row>("", Vec::new()),
        rnics: [&source, &target].map(|end| {
            if end.device.is_empty() {
                String::new()
            } else {
                rnic_href(&end.host, &end.device, when.at)
            }
        }),
        rows: Vec::new(),
        more: 0,
        lossy: None,
        source,
        target,
    }
}

fn read(state: &State, now: WallTime, when: When, from: Gid, to: Gid) -> Option<Found> {
    let slots = state.windows.slots(when.window, now);
    let mut total = Sums::default();
    let (mut source, mut target) = (None, None);
    let mut rows = Vec::new();
    for path in state.windows.paths() {
        // The reverse path of a path that is probed in one direction only has ends, but no probes.
        for end in [path.source(), path.target()] {
            if end.gid == from && source.is_none() {
                source = Some(Rnic::from(end));
            }
            if end.gid == to && target.is_none() {
                target = Some(Rnic::from(end));
            }
        }
        if path.source().gid != from || path.target().gid != to {
            continue;
        }
        if path.has_results(&slots) {
            path.add_to(&slots, &mut total);
            rows.push(row(state, path, &slots, now));
        }
    }
    Some(Found {
        source: source?,
        target: target?,
        total: Measured::from(&total),
        rows,
    })
}

fn row(
    state: &State,
    path: PathView<'_>,
    slots: &std::ops::Range<crate::analysis::windows::Slot>,
    now: WallTime,
) -> Row {
    let mut sums = Sums::default();
    path.add_to(slots, &mut sums);
    let sums = sums.with_focused();
    let traced = |source: Gid, target: Gid| {
        let port: UdpSourcePort = path.source_port()?;
        let tuple = Tuple {
            source,
            target,
            port,
        };
        let known = state.paths.get(&tuple)?;
        let hops: Vec<_> = state.hops(&tuple).collect();
        Some(way(known, &hops, now))
    };
    let (source, target) = (path.source().gid, path.target().gid);
    Row {
        port: path
            .source_port()
            .map_or_else(|| "hidden".to_owned(), |port| port.0.to_string()),
        kind: path.kind().name().replace('_', " "),
        service: path
            .service()
            .map(|name| (name.to_string(), service_href(name.as_str(), None))),
        measured: Measured::from(&sums),
        way: traced(source, target),
        // ACKs have the probe's own port as theirs.
        back: traced(target, source),
    }
}

fn way(known: &Known, hops: &[NamedHop<'_>], now: WallTime) -> Way {
    let newest = known.newest();
    let reached = if newest.end.is_complete() {
        ""
    } else {
        "; the newest trace ends in silence"
    };
    Way {
        hops: Hop::all(hops),
        note: match known.confirmed() {
            Some(at) => format!("traced {} ago{reached}", format::age(now.since(at))),
            None => "no complete trace yet".to_owned(),
        },
        changes: known
            .changes()
            .rev()
            .map(|change| {
                (
                    format::stamp(change.at),
                    format::time(change.at),
                    names(&change.from),
                )
            })
            .collect(),
        changed: known.changed(),
    }
}
