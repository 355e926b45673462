//! Answers of `/api/v1`, made from what the analyzer knows; their types are in [`crate::api`].

mod agents;
mod evidence;
mod focus;
mod incidents;
mod matrix;
mod paths;
mod status;
mod topology;
mod traces;
mod trends;
mod withdrawn;

use crate::analysis::report::End;
use crate::id::Gid;

pub(super) use agents::agents;
pub(super) use evidence::evidence;
pub(super) use focus::{focus, incident as incident_of};
pub(super) use incidents::{by_rank, incidents, is_by_rank, to_store};
pub(super) use matrix::matrix;
pub(super) use paths::paths;
pub(super) use status::status;
pub(super) use topology::topology;
pub(super) use traces::traces;
pub(super) use trends::{TrendsError, trends};
pub(super) use withdrawn::withdrawn;

/// Whether `wanted` is the end's GID, host or ToR.
fn is_end(end: &End, wanted: &str) -> bool {
    end.host.as_str() == wanted
        || end.tor.as_str() == wanted
        || wanted.parse().is_ok_and(|gid: Gid| gid == end.gid)
}
