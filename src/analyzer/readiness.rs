//! Whether the analyzer takes uploads: `/readyz`. `/healthz` says only that it lives.

use std::sync::{Arc, PoisonError, RwLock};

/// Why uploads are refused; nothing while they are taken. Clones share it.
#[derive(Debug, Clone, Default)]
pub(super) struct Readiness(Arc<RwLock<Option<String>>>);

impl Readiness {
    /// The store has taken a write.
    pub(super) fn stored(&self) {
        if self.reason().is_some() {
            *self.0.write().unwrap_or_else(PoisonError::into_inner) = None;
        }
    }

    /// The store has refused a write.
    pub(super) fn refused(&self, why: String) {
        *self.0.write().unwrap_or_else(PoisonError::into_inner) = Some(why);
    }

    /// Why uploads are refused.
    pub(super) fn reason(&self) -> Option<String> {
        self.0
            .read()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }
}
