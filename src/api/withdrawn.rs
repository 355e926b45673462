//! `GET /api/v1/withdrawn`: hosts and RNICs that were there and are missing. `DELETE` acknowledges one of them.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::Request;

/// Of which host and RNIC; for `GET` all are answered without any.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct WithdrawnQuery {
    /// name of the host
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub host: Option<String>,
    /// name of the RNIC on the host
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub device: Option<String>,
}

impl Request for WithdrawnQuery {
    const PATH: &'static str = "/api/v1/withdrawn";
    const SUMMARY: &'static str = "Hosts and RNICs that were there and are missing";
    type Answer = Withdrawn;
}

/// What is missing.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Withdrawn {
    /// the analyzer's wall clock
    pub now_unix_ns: i64,
    /// what is missing and was not acknowledged, by name
    pub withdrawn: Vec<Missing>,
}

/// A host or an RNIC that is missing.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Missing {
    /// the host
    pub host: String,
    /// the RNIC; null where the whole host is missing
    pub device: Option<String>,
    /// since when
    pub since_unix_ns: i64,
    /// why, as its agent or the analyzer says
    pub reason: String,
    /// services that used it when it went missing, at most 64
    pub services: Vec<String>,
}

/// What an operator has acknowledged.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Forgotten {
    /// the names of what is not reported any more
    pub forgotten: Vec<String>,
}
