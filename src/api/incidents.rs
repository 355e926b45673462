//! `GET /api/v1/incidents`: what is or was wrong, where, how bad, and why that is believed.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::Request;
use super::component::Component;
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
}

/// Whether an incident is over.
pub type StateName = Name<State>;
/// Which incidents.
pub type WantedChoice = Choice<Wanted>;

/// What is or was wrong, the newest first.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct Incidents {
    /// `before` of the next page, null on the last
    pub next_before: Option<u64>,
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
    /// P0: services use the component and suffer; P1: services use it; P2: only cluster monitoring sees it
    pub severity: SeverityName,
    /// see below
    pub category: CategoryName,
    /// what is wrong, in one line
    pub title: String,
    /// `kind` link with `from` and `to` (one direction of a cable), switch or host with `name`, or rnic with `host`
    /// and `device`
    pub subject: Component,
    /// what it may be instead, in the same form; empty unless the category is undecided
    pub or: Vec<Component>,
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
    /// probes on the paths that cross it, when it was last seen
    pub sent: u64,
    /// those of them that were lost (or slow)
    pub lost: u64,
    /// how often it was opened within ten minutes, this time included
    pub openings: usize,
    /// services with paths across it
    pub services: Vec<Service>,
    /// lines that explain it: counts, paths, traces, what was ruled out, what voting says
    pub evidence: Vec<String>,
}

/// A service that an incident concerns.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Service {
    /// service
    pub name: String,
    /// whether the service's own probes are lost or slow
    pub suffers: bool,
}
