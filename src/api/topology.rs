//! `GET /api/v1/topology`: the fabric as topology file, reports and traces know it together.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::Request;
use super::name::{Name, NodeKindName, SourceName, named};
use super::query::Choice;

/// Parameters; each may be left out.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct TopologyQuery {
    /// what is listed, the kinds above included; rnics if it is left out
    #[serde(skip_serializing_if = "Option::is_none")]
    pub detail: Option<DetailChoice>,
}

impl Request for TopologyQuery {
    const PATH: &'static str = "/api/v1/topology";
    const SUMMARY: &'static str = "Hosts, RNICs, switches and links, who knows of each, and where the sources contradict each other";
    type Answer = Topology;
}

/// What is listed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Detail {
    /// Switches and ToRs.
    Switches,
    /// Hosts, too.
    Hosts,
    /// RNICs, too.
    Rnics,
}

impl Detail {
    /// Every detail.
    pub const ALL: [Self; 3] = [Self::Switches, Self::Hosts, Self::Rnics];

    /// Its name in a query.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Switches => "switches",
            Self::Hosts => "hosts",
            Self::Rnics => "rnics",
        }
    }
}

/// What is known of a node or link.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum State {
    /// An open incident is about it.
    Incident,
    /// The host's agent uploads nothing.
    Silent,
    /// The topology file alone knows it.
    Unseen,
    /// None of its probes is judged right now: nothing is known of it.
    Unjudged,
    /// Nothing is wrong with it.
    Ok,
}

impl State {
    /// Every state.
    pub const ALL: [Self; 5] = [
        Self::Incident,
        Self::Silent,
        Self::Unseen,
        Self::Unjudged,
        Self::Ok,
    ];

    /// Its name in an answer.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Incident => "incident",
            Self::Silent => "silent",
            Self::Unseen => "unseen",
            Self::Unjudged => "unjudged",
            Self::Ok => "ok",
        }
    }
}

named! {
    State as "NodeState";
    Detail as "Detail";
}

/// What is known of a node or link.
pub type StateName = Name<State>;
/// What is listed.
pub type DetailChoice = Choice<Detail>;

/// The fabric as topology file, reports and traces know it together.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Topology {
    /// the analyzer's wall clock
    pub now_unix_ns: i64,
    /// whether a topology file was given
    pub has_file: bool,
    /// nodes that are known, in this detail
    pub total_nodes: usize,
    /// links that are known
    pub total_links: usize,
    /// the nodes, the upper tiers first, then by name
    pub nodes: Vec<Node>,
    /// the links, one for all cables between the same two nodes; RNICs have none of their own
    pub links: Vec<Link>,
    /// where no probe between parts of the fabric has ever come through: each part; empty while all ToRs reach each other
    pub planes: Vec<Plane>,
    /// where file, reports and traces contradict each other, in words
    pub differences: Vec<String>,
}

/// ToRs that probes from one to another have come through, and from there to a third.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Plane {
    /// the ToRs, at least two, by name
    pub tors: Vec<String>,
}

/// A switch, ToR, host or RNIC.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Node {
    /// its name; of an RNIC `HOST/DEVICE`
    pub name: String,
    /// switch, tor, host or rnic
    pub kind: NodeKindName,
    /// 0 for hosts and RNICs, 1 for ToRs, 2 and more above; null while no known link joins it to a ToR
    pub tier: Option<u32>,
    /// ToRs that a host or RNIC is cabled to
    pub tors: Vec<String>,
    /// the host of an RNIC, else null
    pub host: Option<String>,
    /// its GID, else null
    pub gid: Option<String>,
    /// what else a switch calls itself where it answers traces
    pub addresses: Vec<String>,
    /// who knows of it: file, report (of an agent, from its registration), trace
    pub known_from: Vec<SourceName>,
    /// incident: an open incident is about it; silent: the host's agent uploads nothing; unseen: the file alone
    /// knows it; unjudged: no probe of the last 20 s is judged; ok
    pub state: StateName,
    /// numbers of open incidents about it, or perhaps about it
    pub incidents: Vec<u64>,
}

/// All cables between two nodes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Link {
    /// the lower end
    pub a: String,
    /// the upper end
    pub b: String,
    /// who knows of it
    pub known_from: Vec<SourceName>,
    /// cables that the file lists; 0 if it has none
    pub cables: u32,
    /// traced 5-tuples that cross it upwards
    pub paths_a_to_b: u64,
    /// traced 5-tuples that cross it downwards
    pub paths_b_to_a: u64,
    /// when a trace last showed it; null if none has
    pub traced_unix_ns: Option<i64>,
    /// incident, unseen, unjudged or ok, as for nodes
    pub state: StateName,
    /// numbers of open incidents about it in this direction, or perhaps about it
    pub incidents_a_to_b: Vec<u64>,
    /// in the other one
    pub incidents_b_to_a: Vec<u64>,
}
