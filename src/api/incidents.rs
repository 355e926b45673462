//! `GET /api/v1/incidents`: what is or was wrong, where, how bad, and why that is believed.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::Request;
use super::component::Component;
use super::list::{Column, Listed, Value};
use super::name::{CategoryName, Name, SeverityName, named};
use super::query::{Choice, IncidentPageSize, Number};

/// Incidents in one answer unless asked otherwise.
pub const DEFAULT_LIMIT: usize = 100;

/// Parameters; each may be left out.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct IncidentsQuery {
    /// which incidents; all if it is left out
    #[serde(skip_serializing_if = "Option::is_none")]
    pub state: Option<WantedChoice>,
    /// number of one incident
    #[serde(skip_serializing_if = "Option::is_none")]
    pub id: Option<Number>,
    /// only incidents with a smaller number: the next page
    #[serde(skip_serializing_if = "Option::is_none")]
    pub before: Option<Number>,
    /// the order: newest (if it is left out), or rank: the one to look at first at the top; rank needs `state=open`,
    /// all others come newest first
    #[serde(skip_serializing_if = "Option::is_none")]
    pub order: Option<OrderChoice>,
    /// incidents in the answer; 100 if it is left out
    #[serde(skip_serializing_if = "Option::is_none")]
    pub limit: Option<IncidentPageSize>,
}

impl Request for IncidentsQuery {
    const PATH: &'static str = "/api/v1/incidents";
    const SUMMARY: &'static str = "What is or was wrong, where, how bad, and why that is believed";
    type Answer = Incidents;
}

/// Which incidents are asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Wanted {
    /// Those that are open.
    Open,
    /// Those that are closed.
    Closed,
    /// Both.
    All,
}

impl Wanted {
    /// Every choice.
    pub const ALL: [Self; 3] = [Self::Open, Self::Closed, Self::All];

    /// Its name in a query.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Open => "open",
            Self::Closed => "closed",
            Self::All => "all",
        }
    }
}

/// In which order incidents are listed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Order {
    /// The newest first.
    Newest,
    /// By severity, then by the services that they hit, then by time.
    Rank,
}

impl Order {
    /// Every order.
    pub const ALL: [Self; 2] = [Self::Newest, Self::Rank];

    /// Its name in a query.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Newest => "newest",
            Self::Rank => "rank",
        }
    }
}

/// Whether an incident is over.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum State {
    /// It goes on.
    Open,
    /// It is over.
    Closed,
}

impl State {
    /// Every state.
    pub const ALL: [Self; 2] = [Self::Open, Self::Closed];

    /// Its name in an answer.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Open => "open",
            Self::Closed => "closed",
        }
    }
}

named! {
    State as "IncidentState";
    Wanted as "WantedIncidents";
    Order as "IncidentOrder";
}

/// Whether an incident is over.
pub type StateName = Name<State>;
/// Which incidents.
pub type WantedChoice = Choice<Wanted>;
/// In which order incidents are listed.
pub type OrderChoice = Choice<Order>;

/// What is or was wrong, the newest first unless `order` asks otherwise.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct Incidents {
    /// `before` of the next page, null on the last
    pub next_before: Option<u64>,
    /// with `order=rank`: open incidents that found no place in this answer; else 0
    #[serde(default)]
    pub left_out: usize,
    /// the incidents
    pub incidents: Vec<Incident>,
}

/// An incident, as answers and webhooks show it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct Incident {
    /// number
    pub id: u64,
    /// open or closed
    pub state: StateName,
    /// P0: services use the component and suffer; P1: services use it, or perhaps use it and suffer, or the monitoring is blind;
    /// P2: only cluster monitoring sees it
    pub severity: SeverityName,
    /// see below
    pub category: CategoryName,
    /// what is wrong, in one line
    pub title: String,
    /// `kind` link with `from` and `to` (one direction of a cable), switch or host with `name`, rnic with `host` and
    /// `device`, or group with the `name` of the category: many subjects, which `explains` lists, or the monitoring itself
    pub subject: Component,
    /// whether the other direction of the cable is bad, too
    #[serde(default)]
    pub both_directions: bool,
    /// what it may be instead, in the same form; empty unless the category is undecided
    pub or: Vec<Component>,
    /// whether probes are under way that will tell which of them it is
    #[serde(default)]
    pub deciding: bool,
    /// when it was opened
    pub opened_unix_ns: i64,
    /// when it was last seen
    pub seen_unix_ns: i64,
    /// when it was closed, null while it is open
    pub closed_unix_ns: Option<i64>,
    /// 0 to 1
    pub confidence: f64,
    /// share of the probes that it affects, 0 to 1: lost, slow, or of 5-tuples for a blackhole
    pub share: f64,
    /// 95 % confidence interval of the share, low and high; null if the share is not an estimated rate
    #[serde(default)]
    pub interval: Option<Interval>,
    /// probes on the paths that cross it, when it was last seen
    pub sent: u64,
    /// those of them that were lost (or slow)
    pub lost: u64,
    /// how often it was opened within ten minutes, this time included
    pub openings: usize,
    /// subjects that a group stands for now; 0 where it is about one
    #[serde(default)]
    pub subjects: u64,
    /// and when it stood for most
    #[serde(default)]
    pub subjects_most: u64,
    /// what it stands for or explains, at most 100
    #[serde(default)]
    pub explains: Vec<Explained>,
    /// number of the incident that explains this one, which was closed for that reason; else null
    #[serde(default)]
    pub cause: Option<u64>,
    /// services with paths across it
    pub services: Vec<Service>,
    /// lines that explain it: counts, paths, traces, what was ruled out, what voting says
    pub evidence: Vec<String>,
}

impl Listed for Incident {
    const COLUMNS: &'static [Column] = &[
        Column::count("id", "Number"),
        Column::text("severity", "Severity"),
        Column::text("category", "Category"),
        Column::text("state", "State"),
        Column::text("title", "What"),
        Column::text("subject", "Where"),
        Column::text("service", "Services"),
        Column::ratio("confidence", "Confidence"),
        Column::ratio("share", "Affected"),
        Column::count("lost", "Lost"),
        Column::time("lasts", "Lasts"),
    ];

    fn value(&self, column: &str) -> Value<'_> {
        match column {
            "id" => Value::count(self.id),
            "severity" => Value::text(self.severity.to_string()),
            "category" => Value::text(self.category.to_string()),
            "state" => Value::text(self.state.to_string()),
            "title" => Value::text(&self.title),
            "subject" => Value::Texts(
                std::iter::once(&self.subject)
                    .chain(&self.or)
                    .map(|component| component.to_string().into())
                    .collect(),
            ),
            "service" => Value::Texts(
                self.services
                    .iter()
                    .map(|service| service.name.as_str().into())
                    .collect(),
            ),
            "confidence" => Value::Number(self.confidence),
            "share" => Value::Number(self.share),
            "lost" => Value::count(self.lost),
            // Of an open one until it was last seen.
            "lasts" => {
                let end = self.closed_unix_ns.unwrap_or(self.seen_unix_ns);
                Value::nanos(Some(end.saturating_sub(self.opened_unix_ns)))
            }
            _ => Value::Missing,
        }
    }
}

/// An interval of shares.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct Interval {
    /// its lower end, 0 to 1
    pub low: f64,
    /// its upper end, 0 to 1
    pub high: f64,
}

/// What an incident stands for or explains.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Explained {
    /// what it is about, in the form of an incident's subject
    pub subject: Component,
    /// what is wrong with it
    pub category: CategoryName,
    /// in one line
    pub title: String,
    /// number of the incident about it alone, null if there was none
    pub incident: Option<u64>,
    /// when it was last seen
    pub seen_unix_ns: i64,
}

/// A service that an incident concerns.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Service {
    /// service
    pub name: String,
    /// whether the service's own probes are lost or slow
    pub suffers: bool,
    /// whether its connections surely cross it; false where its probes take other paths than they do, or unknown ones
    #[serde(default = "surely")]
    pub own_path: bool,
}

/// Of analyzers that do not tell.
const fn surely() -> bool {
    true
}
