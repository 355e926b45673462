//! `/host/NAME`: a host's RNICs with what their probes and ACKs went through, its agents, and the incidents about it.

use std::collections::BTreeMap;
use std::ops::Range;

use super::frame::Frame;
use super::incidents::Line;
use super::parts::{MEASURED, Measured, PageError, agents_href, host_path, rnic_href};
use super::past;
use crate::analysis::incident::Incident;
use crate::analysis::localize::Component;
use crate::analysis::report::End;
use crate::analysis::windows::{PathView, Slot, Sums};
use crate::analyzer::dashboard::board::Dashboard;
use crate::analyzer::dashboard::listing::{Controls, Listing};
use crate::analyzer::dashboard::query::{Pairs, When, written};
use crate::api::list::{Column, Listed, Value};
use crate::id::{Gid, HostName};
use crate::store::incidents::Query;
use askama::Template as Page;

/// Incidents that are searched for those about it.
const SEARCHED: u32 = 1_000;
/// Incidents that are shown.
const MOST_INCIDENTS: usize = 20;

/// One of its RNICs.
#[derive(Debug)]
struct Row {
    device: String,
    gid: String,
    tor: String,
    href: String,
    /// Probes of others that it lost.
    answered: Measured,
    measured: Measured,
}

impl Listed for Row {
    const COLUMNS: &'static [Column] = &[
        Column::text("rnic", "RNIC"),
        Column::text("gid", "GID"),
        Column::text("tor", "ToR"),
        Column::ratio("lost-to", "Lost, probes to it"),
        MEASURED[0],
        MEASURED[1],
        MEASURED[2],
        MEASURED[3],
        MEASURED[4],
        MEASURED[5],
    ];

    fn value(&self, column: &str) -> Value<'_> {
        match column {
            "rnic" => Value::text(&self.device),
            "gid" => Value::text(&self.gid),
            "tor" => Value::text(&self.tor),
            "lost-to" => self.answered.value("loss"),
            measured => self.measured.value(measured),
        }
    }
}

#[derive(Debug, Page)]
#[template(path = "host.html")]
pub(in crate::analyzer::dashboard) struct Host {
    page: Frame,
    name: String,
    fabric: String,
    agents: String,
    incidents: Vec<Line>,
    controls: Controls,
    rows: Vec<Row>,
}

/// An RNIC: what it sent, and what was sent to it.
#[derive(Default)]
struct Gathered(BTreeMap<Gid, (Option<End>, [Sums; 2])>);

impl Gathered {
    fn take(&mut self, path: PathView<'_>, slots: &Range<Slot>, host: &HostName) {
        for (at, end) in [path.source(), path.target()].into_iter().enumerate() {
            if end.host == *host {
                let (known, sums) = self.0.entry(end.gid).or_default();
                known.get_or_insert_with(|| end.clone());
                path.add_to(slots, &mut sums[at]);
            }
        }
    }
}

/// Makes the page.
pub(in crate::analyzer::dashboard) async fn page(
    board: &Dashboard,
    pairs: &Pairs,
    name: &str,
) -> Result<Host, PageError> {
    let mut when = When::default();
    let take = |key: &str, value: &str| when.take(key, value);
    let listing =
        Listing::parse::<Row>(pairs, "window, at", take).map_err(PageError::BadRequest)?;
    let incidents = incidents(board, when, name).await?;
    let mut rows = match when.at {
        None => rows(board, when, name).await?,
        Some(_) => Vec::new(),
    };
    if when.at.is_none() && rows.is_empty() && incidents.is_empty() {
        return Err(PageError::NotFound(format!(
            "No report of the last minutes and no recent incident names a host {name}."
        )));
    }
    listing.apply(&mut rows);
    let now = when.at.unwrap_or_else(|| board.parts.clock.wall());
    let path = host_path(name);
    let note =
        "What a host's RNICs measured is not kept; the incidents are shown as they are known now.";
    let href = |at| path.clone() + &When { at, ..when }.query();
    let mut node = vec![("node", name.to_owned())];
    node.extend(crate::analyzer::dashboard::query::at_pair(when.at));
    Ok(Host {
        page: Frame::timed(board, name, "fabric", when.at, note, &href).slow(),
        name: name.to_owned(),
        fabric: format!("/fabric{}", written(&node)),
        agents: agents_href("host", name),
        incidents: incidents
            .iter()
            .map(|incident| Line::new(incident, now))
            .collect(),
        controls: listing.controls::<Row>(&path, when.pairs()),
        rows,
    })
}

async fn rows(board: &Dashboard, when: When, name: &str) -> Result<Vec<Row>, PageError> {
    let host = HostName::from(name);
    let asked = host.clone();
    let known = board.parts.state.read(move |state, _| {
        let ends = state.host_filter.rnics().filter(|end| end.host == asked);
        let ends = ends.map(|end| (end.gid, (Some(end.clone()), Default::default())));
        Gathered(ends.collect())
    });
    let known = known.await.ok_or(PageError::Stopping)?;
    let scanning = board.scanner.paths(
        when.window,
        (known, host),
        |(gathered, host), _, path, slots| gathered.take(path, slots, host),
    );
    let (Gathered(gathered), _) = scanning.await.ok_or(PageError::Stopping)?;
    let row = |(end, [sent, answered]): (Option<End>, [Sums; 2])| {
        let end = end?;
        Some(Row {
            href: rnic_href(end.host.as_str(), end.device.as_str(), None),
            device: end.device.to_string(),
            gid: end.gid.to_string(),
            tor: end.tor.to_string(),
            answered: Measured::from(&answered),
            measured: Measured::from(&sent),
        })
    };
    let mut rows: Vec<Row> = gathered.into_values().filter_map(row).collect();
    rows.sort_by(|a, b| crate::api::list::natural(&a.device, &b.device));
    Ok(rows)
}

/// Open ones first, then the newest of those that are over; of the past those that were open.
async fn incidents(board: &Dashboard, when: When, name: &str) -> Result<Vec<Incident>, PageError> {
    let is_about = |incident: &Incident| {
        let mut suspects = incident.suspects();
        suspects.any(|component: &Component| component.host() == Some(name))
    };
    let mut found = match when.at {
        Some(at) => past::open_at(board, at).await?,
        None => {
            let view = board.parts.views.get();
            let asked = Query {
                open: None,
                before: None,
                limit: SEARCHED,
            };
            let stored = board.parts.incidents.read(asked).await?;
            let is_new = |one: &Incident| !view.open.iter().any(|open| open.id == one.id);
            let older: Vec<_> = stored.into_iter().filter(is_new).collect();
            view.open.iter().cloned().chain(older).collect()
        }
    };
    found.retain(is_about);
    found.truncate(MOST_INCIDENTS);
    Ok(found)
}
