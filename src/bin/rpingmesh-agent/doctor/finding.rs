//! What `doctor` finds.

use serde::Serialize;

/// How a finding is to be taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum Status {
    /// As it should be.
    Ok,
    /// Something is worse than it could be; probing works.
    Note,
    /// The agent cannot probe here while this is so.
    Problem,
}

/// One finding.
#[derive(Debug, Serialize)]
pub(super) struct Finding {
    pub(super) check: &'static str,
    pub(super) status: Status,
    pub(super) message: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) advice: Option<String>,
}

impl Finding {
    pub(super) fn ok(check: &'static str, message: impl Into<String>) -> Self {
        Self {
            check,
            status: Status::Ok,
            message: message.into(),
            advice: None,
        }
    }

    /// With advice where there is something to do.
    pub(super) fn with(
        check: &'static str,
        status: Status,
        message: impl Into<String>,
        advice: Option<String>,
    ) -> Self {
        Self {
            check,
            status,
            message: message.into(),
            advice,
        }
    }

    pub(super) fn note(
        check: &'static str,
        message: impl Into<String>,
        advice: impl Into<String>,
    ) -> Self {
        Self {
            check,
            status: Status::Note,
            message: message.into(),
            advice: Some(advice.into()),
        }
    }

    pub(super) fn problem(
        check: &'static str,
        message: impl Into<String>,
        advice: impl Into<String>,
    ) -> Self {
        Self {
            status: Status::Problem,
            ..Self::note(check, message, advice)
        }
    }
}
