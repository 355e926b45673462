//! `GET /api/v1/focus`: what is probed more than its schedule, why, and until when.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::Request;
use super::component::Component;

/// Takes no parameters.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct FocusQuery {}

impl Request for FocusQuery {
    const PATH: &'static str = "/api/v1/focus";
    const SUMMARY: &'static str = "What is probed more than its schedule, why, and until when";
    type Answer = Focus;
}

/// What is probed more, and why.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct Focus {
    /// the analyzer's wall clock
    pub now_unix_ns: i64,
    /// whether the analyzer asks for probes at all: its key `focus_controller` is set
    pub is_on: bool,
    /// when what the last run asks for expires, unless the next one asks for it again; null where nothing is asked for
    pub until_unix_ns: Option<i64>,
    /// 5-tuples that the last run asks for
    pub tuples: usize,
    /// probes per second that are added to them, and taken from other 5-tuples of the same RNICs
    pub probes_per_second: f64,
    /// what the controller has made of the newest request that it took; null before the first
    pub controller: Option<Passed>,
    /// what is asked about, most probes first, at most 100
    pub questions: Vec<Question>,
}

/// What the controller has made of a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Passed {
    /// when it answered
    pub at_unix_ns: i64,
    /// 5-tuples that it passed on to their agents
    pub passed_on: u32,
    /// 5-tuples whose RNICs are not registered, or whose agent is not connected
    pub unknown: u32,
    /// 5-tuples beyond its budgets
    pub beyond: u32,
}

/// What is asked about: components of which at most one is at fault.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct Question {
    /// which, most probable first, at most 10
    pub suspects: Vec<Suspect>,
    /// 5-tuples that are asked for because of it more than because of others
    pub tuples: usize,
    /// probes per second that are added to them
    pub probes_per_second: f64,
    /// what is not known about it yet: entropy in nats
    pub entropy: f64,
    /// what all probes that are asked for are expected to tell about it, in nats per second
    pub information: f64,
    /// number of the open incident that it belongs to; null where no incident is open
    pub incident: Option<u64>,
}

/// A component that may be at fault.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct Suspect {
    /// which one, in the form of an incident's subject
    pub component: Component,
    /// probability that it is at fault, 0 to 1
    pub probability: f64,
}
