//! The analyzer's JSON API: one type for each answer and each query of `/api/v1`.
//!
//! The analyzer makes the answers from these types, the operator's commands read them: a field that is renamed on one side
//! does not compile on the other. The OpenAPI document ([`openapi::document`]) and the tables of `docs/api.md` are made
//! from the same types.
//!
//! Rules of the contract:
//! - Fields may be added, never renamed or removed. A reader ignores fields that it does not know and refuses an answer
//!   without a field that it needs ([`read`]).
//! - A name in an answer (a category, a state) may be newer than the reader: [`Name`] keeps it as text.
//! - A query is strict: an unknown parameter, a parameter given twice and a value out of range are errors that say what is
//!   allowed ([`query`]).
//! - Lists for people, on pages and in commands, are filtered and ordered by their columns ([`list`]).
//! - Durations and points in time are integer nanoseconds and end in `_ns`; points in time count from the Unix epoch.

pub mod agents;
pub mod component;
pub mod evidence;
pub mod focus;
pub mod incidents;
pub mod list;
pub mod matrix;
pub mod name;
pub mod openapi;
pub mod paths;
pub mod query;
pub mod read;
pub mod status;
pub mod topology;
pub mod traces;
pub mod trends;
pub mod withdrawn;

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

pub use name::{Name, Named};

/// Where the OpenAPI document is served.
pub const OPENAPI: &str = "/api/v1/openapi.json";

/// A `GET` request: its type holds the parameters of the query string.
pub trait Request: Serialize + DeserializeOwned + ToSchema + Send + 'static {
    /// The resource's path.
    const PATH: &'static str;
    /// What the resource is, in one line.
    const SUMMARY: &'static str;
    /// What is answered.
    type Answer: Serialize + DeserializeOwned + ToSchema + Send;

    /// The resource's path with the query string.
    fn target(&self) -> String {
        // Every parameter is an optional text, number or name: they always have a form in a query string.
        match serde_urlencoded::to_string(self) {
            Ok(query) if !query.is_empty() => format!("{}?{query}", Self::PATH),
            _ => Self::PATH.to_owned(),
        }
    }
}

/// Why there is no answer.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Error {
    /// the reason, in one sentence
    pub error: String,
}

#[cfg(test)]
mod tests;
