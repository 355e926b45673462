//! `/search`: one box for GIDs, hosts, RNICs, ToRs and switches, services, agents and incidents.
//!
//! A text that names one thing leads to its page; else what contains it is listed by kind. What is gathered is bounded:
//! [`MOST_FOUND`] of each kind, of which [`MOST_SHOWN`] are shown, all but [`FIRST`] of them folded.

use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::ops::Range;

use super::frame::Frame;
use super::incidents::newest_of;
use super::parts::{PageError, agents_href, host_href, pair_href, rnic_href, service_href};
use crate::analysis::report::End;
use crate::analysis::windows::{PathView, WindowLength};
use crate::analyzer::dashboard::board::Dashboard;
use crate::analyzer::dashboard::query::{Pairs, When, each, written};
use crate::analyzer::state::State;
use crate::api::list::natural;
use crate::id::{Gid, HostName, ServiceName};
use crate::probe::trace::Tuple;
use crate::topology::wiring::Wiring;
use askama::Template as Page;

/// The longest text that is searched for, in characters.
const LONGEST: usize = Frame::LONGEST_SEARCH;
/// Things of one kind that are gathered; those beyond are counted.
const MOST_FOUND: usize = 2_000;
/// Things of one kind that are shown.
const MOST_SHOWN: usize = 200;
/// Things of one kind that are not folded.
const FIRST: usize = 20;
/// The newest incidents whose titles are searched.
const INCIDENTS: u32 = 500;

/// What things are, in the order of the page.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Kind {
    Incident,
    Rnic,
    Host,
    Switch,
    Service,
    Agent,
}

impl Kind {
    const fn title(self) -> &'static str {
        match self {
            Self::Incident => "Incidents",
            Self::Rnic => "RNICs",
            Self::Host => "Hosts",
            Self::Switch => "ToRs and switches",
            Self::Service => "Services",
            Self::Agent => "Agents",
        }
    }
}

/// Something that was found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Hit {
    name: String,
    note: String,
    href: String,
    is_exact: bool,
}

/// Everything of one kind.
#[derive(Debug, Default, PartialEq, Eq)]
struct Hits {
    hits: Vec<Hit>,
    /// Those that were not gathered.
    more: usize,
}

/// What was found so far.
#[derive(Debug, Default)]
struct Found(BTreeMap<Kind, Hits>);

impl Found {
    fn add(&mut self, kind: Kind, hit: impl FnOnce() -> Hit) {
        let hits = self.0.entry(kind).or_default();
        if hits.hits.len() < MOST_FOUND {
            hits.hits.push(hit());
        } else {
            hits.more += 1;
        }
    }

    /// The address of the thing that is meant, if that is clear: the only one of this very name, or the only one at all.
    fn only(&self) -> Option<&str> {
        let all = || self.0.values().flat_map(|hits| &hits.hits);
        let mut exact = all().filter(|hit| hit.is_exact);
        match (exact.next(), exact.next()) {
            (Some(only), None) => return Some(&only.href),
            (Some(_), Some(_)) => return None,
            (None, _) => {}
        }
        let mut all = all();
        match (all.next(), all.next()) {
            (Some(only), None) => Some(&only.href),
            _ => None,
        }
    }

    fn groups(self) -> Vec<Group> {
        let group = |(kind, mut found): (Kind, Hits)| {
            found.hits.sort_by(|a, b| {
                b.is_exact
                    .cmp(&a.is_exact)
                    .then_with(|| natural(&a.name, &b.name))
            });
            let total = found.hits.len() + found.more;
            found.hits.truncate(MOST_SHOWN);
            let folded = found.hits.split_off(found.hits.len().min(FIRST));
            Group {
                title: kind.title(),
                total,
                more: total - found.hits.len() - folded.len(),
                first: found.hits,
                folded,
            }
        };
        self.0.into_iter().map(group).collect()
    }
}

/// What was found of one kind, as it is shown.
#[derive(Debug)]
struct Group {
    title: &'static str,
    total: usize,
    first: Vec<Hit>,
    folded: Vec<Hit>,
    /// Those that are not shown.
    more: usize,
}

#[derive(Debug, Page)]
#[template(path = "search.html")]
pub(in crate::analyzer::dashboard) struct Search {
    page: Frame,
    text: String,
    groups: Vec<Group>,
}

/// Where a search leads.
#[derive(Debug)]
pub(in crate::analyzer::dashboard) enum Answer {
    /// To the page at this address.
    Elsewhere(String),
    /// To a list.
    List(Box<Search>),
}

/// What is searched for.
#[derive(Debug, Clone)]
struct Wanted {
    text: String,
    lower: String,
    gid: Option<Gid>,
}

impl Wanted {
    fn new(text: &str) -> Self {
        Self {
            text: text.to_owned(),
            lower: text.to_lowercase(),
            gid: text.parse().ok(),
        }
    }

    fn is_in(&self, name: &str) -> bool {
        name.to_lowercase().contains(&self.lower)
    }

    /// Whether it may be a part of a GID's text.
    fn may_be_in_gid(&self) -> bool {
        let is_digit = |one: char| one.is_ascii_hexdigit() || matches!(one, ':' | '.');
        self.text.contains([':', '.']) && self.text.chars().all(is_digit)
    }

    fn hit(&self, name: &str, note: impl Into<String>, href: String) -> Hit {
        Hit {
            is_exact: name.to_lowercase() == self.lower,
            name: name.to_owned(),
            note: note.into(),
            href,
        }
    }

    /// The number of an incident: `12`, `#12`, `incident 12`.
    fn incident(&self) -> Option<u64> {
        let text = self.lower.strip_prefix("incident").unwrap_or(&self.lower);
        let text = text.trim_start();
        text.strip_prefix('#').unwrap_or(text).parse().ok()
    }
}

/// Makes the page, or says where the search leads.
pub(in crate::analyzer::dashboard) async fn page(
    board: &Dashboard,
    pairs: &Pairs,
) -> Result<Answer, PageError> {
    let mut text = String::new();
    each(pairs, "q", |key, value| {
        if key == "q" {
            value.trim().clone_into(&mut text);
        }
        Ok(key == "q")
    })
    .map_err(PageError::BadRequest)?;
    if text.chars().count() > LONGEST {
        let message = format!("A search has at most {LONGEST} characters.");
        return Err(PageError::BadRequest(message));
    }
    let found = if text.is_empty() {
        Found::default()
    } else {
        find(board, Wanted::new(&text)).await?
    };
    if let Some(href) = found.only() {
        return Ok(Answer::Elsewhere(href.to_owned()));
    }
    let mut page = Frame::new(board, "Search", "");
    page.live = false;
    page.find.clone_from(&text);
    Ok(Answer::List(Box::new(Search {
        page,
        text,
        groups: found.groups(),
    })))
}

/// What the state thread has been asked about: names of the fabric, and services.
struct Looked {
    wanted: Wanted,
    found: Found,
    seen: HashSet<Gid>,
    hosts: BTreeSet<HostName>,
    /// Whether the fabric's page knows them: it knows the ToRs of RNICs that report, and switches between those.
    switches: BTreeMap<String, bool>,
    services: BTreeSet<ServiceName>,
}

impl Looked {
    /// Takes an RNIC, and its host and ToR.
    fn take(&mut self, end: &End, reports: bool) {
        if !self.seen.insert(end.gid) {
            return;
        }
        let wanted = &self.wanted;
        let (host, device) = (end.host.as_str(), end.device.as_str());
        let is_gid = wanted.gid == Some(end.gid);
        let name = end.rnic().to_string();
        if is_gid
            || wanted.is_in(&name)
            || (wanted.may_be_in_gid() && wanted.is_in(&end.gid.to_string()))
        {
            let note = format!("{} under {}", end.gid, end.tor);
            self.found.add(Kind::Rnic, || {
                let hit = wanted.hit(&name, note, rnic_href(host, device, None));
                Hit {
                    is_exact: hit.is_exact || is_gid,
                    ..hit
                }
            });
        }
        if wanted.is_in(host) && !self.hosts.contains(&end.host) {
            self.hosts.insert(end.host.clone());
        }
        self.take_switch(end.tor.as_str(), reports);
    }

    fn take_switch(&mut self, name: &str, is_in_fabric: bool) {
        if let Some(known) = self.switches.get_mut(name) {
            *known |= is_in_fabric;
        } else if self.wanted.is_in(name) {
            self.switches.insert(name.to_owned(), is_in_fabric);
        }
    }

    fn take_path(&mut self, path: PathView<'_>) {
        for end in [path.source(), path.target()] {
            self.take(end, false);
        }
        if let Some(name) = path.service()
            && self.services.len() < MOST_FOUND
            && !self.services.contains(name)
            && self.wanted.is_in(name.as_str())
        {
            self.services.insert(name.clone());
        }
    }

    /// Takes the switches that traces of a path have shown, on both ways.
    fn take_traces(&mut self, state: &State, path: PathView<'_>) {
        let Some(port) = path.source_port() else {
            return;
        };
        let (source, target) = (path.source().gid, path.target().gid);
        for (source, target) in [(source, target), (target, source)] {
            let tuple = Tuple {
                source,
                target,
                port,
            };
            for name in state.traced(&tuple).into_iter().flat_map(|(_, all)| all) {
                self.take_switch(&name, true);
            }
        }
    }

    /// Everything that was found.
    fn finish(self) -> Found {
        let (wanted, mut found) = (self.wanted, self.found);
        for host in &self.hosts {
            let name = host.as_str();
            found.add(Kind::Host, || wanted.hit(name, "", host_href(name, None)));
        }
        for (name, is_in_fabric) in &self.switches {
            let href = if *is_in_fabric {
                node_href(name)
            } else {
                pair_href(name, name, When::default())
            };
            found.add(Kind::Switch, || wanted.hit(name, "", href));
        }
        for name in &self.services {
            let href = service_href(name.as_str(), None);
            found.add(Kind::Service, || wanted.hit(name.as_str(), "", href));
        }
        found
    }
}

async fn find(board: &Dashboard, wanted: Wanted) -> Result<Found, PageError> {
    let mut found = Found::default();
    add_incidents(board, &wanted, &mut found).await?;
    let has_file = board.parts.wiring.is_some();
    let looked = Looked {
        wanted: wanted.clone(),
        found,
        seen: HashSet::new(),
        hosts: BTreeSet::new(),
        switches: BTreeMap::new(),
        services: BTreeSet::new(),
    };
    let known = board.scanner.portions(looked, |looked, state, _, places| {
        add_rnics(state, looked, places)
    });
    let looked = known.await.ok_or(PageError::Stopping)?;
    let looked = board.scanner.paths(
        WindowLength::Middle,
        (looked, !has_file),
        |(looked, traces), state, path, _| {
            looked.take_path(path);
            if *traces {
                looked.take_traces(state, path);
            }
        },
    );
    let (looked, _) = looked.await.ok_or(PageError::Stopping)?;
    let mut found = looked.finish();
    if let Some(wiring) = &board.parts.wiring {
        add_wiring(wiring, &wanted, &mut found);
    }
    Ok(found)
}

async fn add_incidents(
    board: &Dashboard,
    wanted: &Wanted,
    found: &mut Found,
) -> Result<(), PageError> {
    let href = |id: u64| format!("/incidents/{id}");
    if let Some(id) = wanted.incident()
        && let Some(incident) = newest_of(board, id).await?
    {
        let hit = || Hit {
            name: format!("incident {id}"),
            note: incident.title(),
            href: href(id),
            is_exact: true,
        };
        found.add(Kind::Incident, hit);
    }
    let asked = crate::store::incidents::Query {
        open: None,
        before: None,
        limit: INCIDENTS,
    };
    for incident in board.parts.incidents.read(asked).await? {
        let title = incident.title();
        if wanted.is_in(&title) && wanted.incident() != Some(incident.id) {
            found.add(Kind::Incident, || Hit {
                name: format!("incident {}", incident.id),
                note: title,
                href: href(incident.id),
                is_exact: false,
            });
        }
    }
    Ok(())
}

/// RNICs whose agents report, in portions, and with the last one the agents; whether there are more.
fn add_rnics(state: &State, looked: &mut Looked, places: Range<usize>) -> bool {
    let mut taken = 0;
    for end in state
        .host_filter
        .rnics()
        .skip(places.start)
        .take(places.len())
    {
        looked.take(end, true);
        taken += 1;
    }
    if taken == places.len() {
        return true;
    }
    add_agents(state, looked);
    false
}

fn add_agents(state: &State, looked: &mut Looked) {
    for (id, agent) in state.agents.iter() {
        let (id, host) = (id.as_str(), agent.host.as_str());
        // Most agents are called as their host is.
        if id != host && looked.wanted.is_in(id) {
            let (wanted, href) = (&looked.wanted, agents_href("agent", id));
            let note = format!("on {host}");
            looked.found.add(Kind::Agent, || wanted.hit(id, note, href));
        }
    }
}

/// Switches and hosts that the topology file has and no report.
fn add_wiring(wiring: &Wiring, wanted: &Wanted, found: &mut Found) {
    let known = |found: &Found, kind: Kind| -> BTreeSet<String> {
        let hits = found.0.get(&kind).into_iter().flat_map(|hits| &hits.hits);
        hits.map(|hit| hit.name.clone()).collect()
    };
    let mut switches = known(found, Kind::Switch);
    let links = wiring.links().iter().flat_map(|link| [&link.a, &link.b]);
    let others = wiring.switches().iter().map(|switch| &switch.name);
    for name in links.chain(others) {
        if wanted.is_in(name) && switches.insert(name.clone()) {
            found.add(Kind::Switch, || wanted.hit(name, "", node_href(name)));
        }
    }
    let mut hosts = known(found, Kind::Host);
    for host in wiring.hosts() {
        let name = host.name.as_str();
        if wanted.is_in(name) && hosts.insert(name.to_owned()) {
            let note = "in the topology file";
            found.add(Kind::Host, || wanted.hit(name, note, node_href(name)));
        }
    }
}

fn node_href(name: &str) -> String {
    format!("/fabric{}", written(&[("node", name.to_owned())]))
}

#[cfg(test)]
mod tests;
