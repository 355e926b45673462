//! What is asked for, for a limited time.

use std::time::Duration;

use super::{Ask, Focus};
use crate::time::HostTime;

/// For how long what was asked for stands, unless it is asked for again.
pub const VALID: Duration = Duration::from_secs(5);

/// What is asked for until it expires: without word from those who rank, the base schedule is in force again.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Standing {
    focus: Focus,
    until: Option<HostTime>,
}

impl Standing {
    /// Asked for at `now`, for [`VALID`].
    pub fn new(focus: Focus, now: HostTime) -> Self {
        Self {
            focus,
            until: Some(now.after(VALID)),
        }
    }

    /// What is asked for at `now`; nothing after it has expired.
    pub fn asks(&self, now: HostTime) -> &[Ask] {
        if self.until.is_some_and(|until| now < until) {
            &self.focus.asks
        } else {
            &[]
        }
    }
}
