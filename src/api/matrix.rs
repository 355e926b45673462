//! `GET /api/v1/matrix`: loss and latency from each ToR to each other.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::Request;
use super::name::WindowName;
use super::query::WindowChoice;

/// Parameters; each may be left out.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct MatrixQuery {
    /// how far back; 20s if it is left out
    #[serde(skip_serializing_if = "Option::is_none")]
    pub window: Option<WindowChoice>,
}

impl Request for MatrixQuery {
    const PATH: &'static str = "/api/v1/matrix";
    const SUMMARY: &'static str = "Loss and latency from each ToR to each other";
    type Answer = Matrix;
}

/// Loss and latency from each ToR to each other.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Matrix {
    /// the window asked for
    pub window: WindowName,
    /// where it begins
    pub start_unix_ns: i64,
    /// where it ends
    pub end_unix_ns: i64,
    /// the ToRs that have results
    pub tors: Vec<String>,
    /// pairs of ToRs that have results
    pub total_pairs: usize,
    /// the pairs
    pub pairs: Vec<Pair>,
}

/// From one ToR to another.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Pair {
    /// ToR of the probing RNICs
    pub source_tor: String,
    /// ToR of the answering RNICs
    pub target_tor: String,
    /// probes
    pub sent: u64,
    /// probes without an ACK in time
    pub lost: u64,
    /// measurements that say nothing about the network
    pub invalid: u64,
    /// median network RTT, null without any
    pub rtt_p50_ns: Option<i64>,
    /// 99 % are not above it
    pub rtt_p99_ns: Option<i64>,
}
