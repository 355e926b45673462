//! `/api/v1/withdrawn`.

use crate::analysis::fleet::missing;
use crate::analyzer::state::State;
use crate::api::withdrawn::{Missing, Withdrawn, WithdrawnQuery};
use crate::id::DeviceName;
use crate::time::WallTime;

/// Answers `GET /api/v1/withdrawn`.
pub(in crate::analyzer) fn withdrawn(
    state: &State,
    query: &WithdrawnQuery,
    now: WallTime,
) -> Withdrawn {
    let is_asked = |one: &missing::Missing| {
        let device = one.device.as_ref().map(DeviceName::as_str);
        query
            .host
            .as_deref()
            .is_none_or(|host| one.host.as_str() == host)
            && query
                .device
                .as_deref()
                .is_none_or(|asked| device == Some(asked))
    };
    let missing = state.missing();
    let asked = missing.iter().filter(|one| is_asked(one));
    Withdrawn {
        now_unix_ns: now.nanos(),
        withdrawn: asked.map(described).collect(),
    }
}

fn described(one: &missing::Missing) -> Missing {
    Missing {
        host: one.host.as_str().to_owned(),
        device: one.device.as_ref().map(|device| device.as_str().to_owned()),
        since_unix_ns: one.since.nanos(),
        reason: one.reason.clone(),
        services: one
            .services
            .iter()
            .map(|service| service.as_str().to_owned())
            .collect(),
    }
}
