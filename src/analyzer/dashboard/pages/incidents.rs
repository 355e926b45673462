//! `/incidents` and `/incidents/N`.

use super::frame::Frame;
use super::parts::{Choice, Fact, PageError, service_href};
use super::past;
use crate::analysis::incident::{Incident, Severity};
use crate::analysis::judge::Category;
use crate::analysis::localize::Component;
use crate::analyzer::dashboard::board::Dashboard;
use crate::analyzer::dashboard::format;
use crate::analyzer::dashboard::query::{self, Pairs, at_pair, at_query, only_at, written};
use crate::store::incidents::Query;
use crate::time::WallTime;
use askama::Template as Page;

/// Incidents on one page.
const PAGE: u32 = 50;

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
    incidents: Vec<Line>,
    older: Option<String>,
    is_first: bool,
}

/// Makes `/incidents`.
pub(in crate::analyzer::dashboard) async fn list(
    board: &Dashboard,
    pairs: &Pairs,
) -> Result<List, PageError> {
    let (mut state, mut before, mut at) = (None, None, None);
    query::each(pairs, "state, before or at", |key, value| {
        match key {
            "state" => state = parse_state(value)?,
            "before" => before = Some(query::id(key, value)?),
            "at" => at = query::at(value)?,
            _ => return Ok(false),
        }
        Ok(true)
    })
    .map_err(PageError::BadRequest)?;
    let href = |at| format!("/incidents{}", at_query(at));
    if let Some(at) = at {
        if state.is_some() || before.is_some() {
            let message = "`at` shows the incidents that were open then; do not combine it with `state` or `before`";
            return Err(PageError::BadRequest(message.to_owned()));
        }
        let open = past::open_at(board, at).await?;
        let note = "These incidents were open; they are shown as they are known now.";
        return Ok(List {
            page: Frame::timed(board, "Incidents", "incidents", Some(at), note, &href),
            states: Vec::new(),
            incidents: open
                .iter()
                .map(|incident| Line::new(incident, at))
                .collect(),
            older: None,
            is_first: true,
        });
    }
    let page = Frame::timed(board, "Incidents", "incidents", None, "", &href);
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
    let href = |state: Option<bool>, before: Option<u64>| {
        let mut pairs = Vec::new();
        if let Some(open) = state {
            pairs.push(("state", if open { "open" } else { "closed" }.to_owned()));
        }
        if let Some(before) = before {
            pairs.push(("before", before.to_string()));
        }
        format!("/incidents{}", written(&pairs))
    };
    Ok(List {
        page,
        states: [(None, "All"), (Some(true), "Open"), (Some(false), "Closed")]
            .into_iter()
            .map(|(one, title)| Choice {
                title: title.to_owned(),
                href: href(one, None),
                current: one == state,
            })
            .collect(),
        older: more
            .then(|| last.map(|last| href(state, Some(last))))
            .flatten(),
        is_first: before.is_none(),
        incidents,
    })
}

fn parse_state(text: &str) -> Result<Option<bool>, String> {
    match text {
        "all" => Ok(None),
        "open" => Ok(Some(true)),
        "closed" => Ok(Some(false)),
        _ => Err("`state` must be open, closed or all".to_owned()),
    }
}

/// A part of the fabric with the page that shows it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::analyzer::dashboard) struct Part {
    text: String,
    href: String,
}

impl Part {
    fn new(component: &Component, at: Option<WallTime>) -> Self {
        let (text, node) = match component {
            Component::Link { from, to } => (format!("link {from} → {to}"), from.clone()),
            group @ Component::Group { .. } => {
                return Self {
                    text: group.to_string(),
                    href: "/agents".to_owned(),
                };
            }
            node => (
                node.to_string(),
                node.node().unwrap_or_default().into_owned(),
            ),
        };
        Self {
            text,
            href: {
                let mut pairs = vec![("node", node)];
                pairs.extend(at_pair(at));
                format!("/fabric{}", written(&pairs))
            },
        }
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
    let view = board.parts.views.get();
    let incident = match view.open.iter().find(|open| open.id == id) {
        Some(open) => open.clone(),
        None => {
            let asked = Query {
                open: None,
                before: Some(id.saturating_add(1)),
                limit: 1,
            };
            let stored = board.parts.incidents.read(asked).await?;
            stored
                .into_iter()
                .find(|stored| stored.id == id)
                .ok_or_else(unknown)?
        }
    };
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

const fn severity(severity: Severity) -> &'static str {
    match severity {
        Severity::P0 => "Paths of a service are affected, and its probes suffer.",
        Severity::P1 => {
            "Paths of a service are affected and its probes do not suffer yet, or the monitoring is blind."
        }
        Severity::P2 => "Only cluster monitoring sees it; no path of a service crosses it.",
    }
}

/// For people.
pub(super) const fn category(category: Category) -> &'static str {
    match category {
        Category::HostDown => "host down",
        Category::AgentSilent => "agent silent",
        Category::RnicDown => "RNIC down",
        Category::RnicLoss => "RNIC loss",
        Category::Flapping => "flapping",
        Category::LinkDown => "link down",
        Category::LinkLoss => "link loss",
        Category::SwitchDown => "switch down",
        Category::SwitchLoss => "switch loss",
        Category::Blackhole => "blackhole",
        Category::Congestion => "congestion",
        Category::PauseStorm => "pause storm",
        Category::RnicSlow => "RNIC slow",
        Category::CpuOverload => "CPU overload",
        Category::MissingRoute => "missing route",
        Category::UnevenEcmp => "uneven ECMP",
        Category::Undecided => "undecided",
        Category::Withdrawn => "missing",
        Category::Clock => "clock",
        Category::MonitoringBlind => "monitoring: blind",
        Category::MonitoringSilence => "monitoring: silence",
        Category::MonitoringMissing => "monitoring: missing",
        Category::MonitoringLate => "monitoring: late",
        Category::MonitoringEvicted => "monitoring: windows full",
        Category::MonitoringStore => "monitoring: store",
        Category::MonitoringFull => "monitoring: table full",
    }
}

/// What it means and what to look at first.
const fn meaning(category: Category) -> &'static str {
    match category {
        Category::HostDown => {
            "The host answers no probe and its agent is silent. Look at the host's power, console and management network."
        }
        Category::AgentSilent => {
            "The agent uploads nothing, but the host's RNICs answer. Look at the agent's service and its connection to the analyzer; the network is not at fault."
        }
        Category::RnicDown => {
            "Nearly all probes to and from it are lost, but its host works. Look at the port, the cable, the transceiver and the RNIC's GIDs. If all RNICs of a host are down, look at what they share: the PCIe switch, the driver, the bond."
        }
        Category::RnicLoss => {
            "Some probes to or from it are lost, with any peer. Look at the cable to its ToR, at optical levels, and at the port's error counters on both ends."
        }
        Category::Flapping => {
            "It fails and recovers again and again. Look at the link state's history; a worn cable or transceiver is the usual cause."
        }
        Category::LinkDown => {
            "Nearly all packets on this link in this direction are lost. Take it out of ECMP, then look at the cable and at both ports."
        }
        Category::LinkLoss => {
            "Some packets on this link in this direction are lost: corruption or a gray failure. Look at FCS errors of the receiving port and at optical levels; take the link out of ECMP if services suffer."
        }
        Category::SwitchDown => {
            "Nearly all packets through this switch are lost. Drain it, then look at its console."
        }
        Category::SwitchLoss => {
            "Some packets through this switch are lost, on several of its links. Look at its drop counters, buffers and parity errors; drain it if services suffer."
        }
        Category::Blackhole => {
            "Some 5-tuples always pass here and others never: a corrupt forwarding entry, a broken ECMP member or an ACL. Compare forwarding tables in hardware and software."
        }
        Category::Congestion => {
            "Round trips through it take much longer than usual: queueing. Look at utilisation, ECN marks and incast; if ECMP is uneven, at the hash."
        }
        Category::PauseStorm => {
            "Round trips take milliseconds and some probes time out: PFC pauses. Find the port that sends pause frames and the RNIC or host behind it that does not drain."
        }
        Category::RnicSlow => {
            "Round trips of this RNIC take longer, with any peer. Look at PCIe link width and speed, at the RNIC's firmware, and at pause frames that it sends."
        }
        Category::CpuOverload => {
            "Completions wait for the host's CPU; the network is not at fault. Its results are set aside. Look at load, CPU limits of the agent's service and interrupts."
        }
        Category::MissingRoute => {
            "The RNIC cannot send: no route, no neighbour, or a GID index that moved. Look at its addresses and routes, and at the agent's log."
        }
        Category::UnevenEcmp => {
            "Some of the parallel paths carry far more than others. Look at the hash's fields and seed on the switch, and at members that are missing."
        }
        Category::Undecided => {
            "Probes are lost here, and the observations fit several components equally well. All are listed. More 5-tuples or a trace will decide."
        }
        Category::Withdrawn => {
            "It was there and no longer is: its agent has withdrawn it, or the agent itself is gone. Look at the port, the cable and the addresses; of a host at its power and its agent. If this is meant, `rpingmesh forget` says so."
        }
        Category::Clock => {
            "The agent dates its results by a clock that is off. They are moved by the estimate where that is possible. Look at the host's NTP or PTP client."
        }
        Category::MonitoringBlind => {
            "Most probes here are set aside because a host disturbed them: a fault of the network would not be seen. Look at the hosts that the evidence names."
        }
        Category::MonitoringSilence => {
            "So many hosts are rarely down at once. Look at the analyzer's CPU, at the management network between agents and analyzer, and at power, before you look at the hosts."
        }
        Category::MonitoringMissing => {
            "RNICs of the topology file never reported or no longer do: nothing is known of them. Look whether their agents run, and whether the file is right."
        }
        Category::MonitoringLate => {
            "Incidents come late. Give the analyzer more CPU, or look what else runs beside it."
        }
        Category::MonitoringEvicted => {
            "Paths were dropped before they could be judged. Raise `memory_limit` (or `max_paths` where it is set), or probe fewer 5-tuples."
        }
        Category::MonitoringStore => {
            "What the agents upload cannot be stored: they keep it, but only for a while. Look at the disk's free space and at the analyzer's log."
        }
        Category::MonitoringFull => {
            "There is no room for further incidents of this kind. Close causes: the worst are listed first."
        }
    }
}
