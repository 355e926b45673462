//! `GET /api/v1/trends`: loss and round trips over days.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::Request;
use super::name::{Name, named};
use super::query::{Bounded, Choice, Number};
use crate::analysis::trend::{Kind, Step};

/// The most steps of an answer that has all series of a bucket.
pub const MOST_STEPS: usize = 64;

impl Step {
    /// Its name in a query.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Minute => "1min",
            Self::TenMinutes => "10min",
            Self::Hour => "60min",
        }
    }
}

named! {
    Kind as "TrendKind";
    Step as "TrendStep";
}

/// What series are about.
pub type TrendKindName = Name<Kind>;
/// What series are about.
pub type TrendKindChoice = Choice<Kind>;
/// How long one point is.
pub type TrendStepChoice = Choice<Step>;
/// A part of the series.
pub type Bucket = Bounded<0, 255>;

/// Parameters; `kind` is needed.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct TrendsQuery {
    /// tor: pairs of ToRs, rnic, link: one direction of links, or service
    #[serde(skip_serializing_if = "Option::is_none")]
    pub kind: Option<TrendKindChoice>,
    /// first name of one series: the ToR that probes, host, sending end, or service; all series of a bucket if it is left out
    #[serde(skip_serializing_if = "Option::is_none")]
    pub first: Option<String>,
    /// second name: the ToR that answers, device, or receiving end
    #[serde(skip_serializing_if = "Option::is_none")]
    pub second: Option<String>,
    /// without `first`: which of the 256 parts of the series, 0 if it is left out; such an answer has at most 64 steps
    #[serde(skip_serializing_if = "Option::is_none")]
    pub bucket: Option<Bucket>,
    /// length of a point; the shortest that suits the range if it is left out
    #[serde(skip_serializing_if = "Option::is_none")]
    pub step: Option<TrendStepChoice>,
    /// where the range begins; an hour before its end if it is left out
    #[serde(skip_serializing_if = "Option::is_none")]
    pub from_unix_ns: Option<Number>,
    /// where it ends; now if it is left out
    #[serde(skip_serializing_if = "Option::is_none")]
    pub to_unix_ns: Option<Number>,
}

impl Request for TrendsQuery {
    const PATH: &'static str = "/api/v1/trends";
    const SUMMARY: &'static str = "Loss and round trips over days";
    type Answer = Trends;
}

/// Loss and round trips over days.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Trends {
    /// as asked
    pub kind: TrendKindName,
    /// length of a point
    pub step_ns: i64,
    /// where the first step begins
    pub start_unix_ns: i64,
    /// where the range ends
    pub end_unix_ns: i64,
    /// `bucket` of the next part; null on the last, and where one series was asked for
    pub next_bucket: Option<u64>,
    /// the series that have any point
    pub series: Vec<TrendSeries>,
}

/// One series.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct TrendSeries {
    /// the ToR that probes, host, sending end, or service
    pub first: String,
    /// the ToR that answers, device, or receiving end; empty for a service
    pub second: String,
    /// by time; steps of which nothing is kept are left out
    pub points: Vec<TrendPoint>,
}

/// What a series counted in one step.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct TrendPoint {
    /// where the step begins
    pub start_unix_ns: i64,
    /// probes
    pub sent: u64,
    /// probes without an ACK in time
    pub lost: u64,
    /// median of the network RTT, to 6 %; null without a complete probe
    pub rtt_p50_ns: Option<i64>,
    /// 99 % of the network RTTs are not above it, to 6 %
    pub rtt_p99_ns: Option<i64>,
    /// median of the prober delay of the RNIC's own probes, to 6 %; null but for RNICs
    #[serde(default)]
    pub prober_delay_p50_ns: Option<i64>,
    /// 99 % of these delays are not above it, to 6 %
    #[serde(default)]
    pub prober_delay_p99_ns: Option<i64>,
    /// median of the responder delay of the probes that the RNIC has answered, to 6 %; null but for RNICs
    #[serde(default)]
    pub responder_delay_p50_ns: Option<i64>,
    /// 99 % of these delays are not above it, to 6 %
    #[serde(default)]
    pub responder_delay_p99_ns: Option<i64>,
}
