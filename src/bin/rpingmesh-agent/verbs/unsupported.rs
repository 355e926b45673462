//! Stands in for the verbs transport where there is none.

use rpingmesh::service::proof::Specimen;
use rpingmesh::transport::rdma_report::{Inventory, Stamps};
use rpingmesh::transport::{Endpoint, Provider, RnicName, RnicPort, TransportError};

use crate::rdma_settings::Settings;

const WHY: &str = "libibverbs exists on Linux only; use `--transport userspace`";

fn unsupported() -> TransportError {
    TransportError::Unsupported {
        what: "the verbs transport",
        why: WHY.to_owned(),
    }
}

/// Whether this system has a verbs transport at all.
pub(crate) const EXISTS: bool = false;

/// Cannot be made.
pub(crate) enum Verbs {}

impl Verbs {
    /// Always fails.
    ///
    /// # Errors
    /// [`TransportError::Unsupported`].
    pub(crate) fn new(_: Settings) -> Result<Self, TransportError> {
        Err(unsupported())
    }
}

impl Provider for Verbs {
    fn name(&self) -> &'static str {
        match *self {}
    }

    fn discover(&self) -> Result<Vec<RnicPort>, TransportError> {
        match *self {}
    }

    fn open(&self, _: &RnicName) -> Result<Box<dyn Endpoint>, TransportError> {
        match *self {}
    }
}

/// Always fails.
///
/// # Errors
/// [`TransportError::Unsupported`].
pub(crate) fn stamps(_: &Settings, _: &RnicName) -> Result<Stamps, TransportError> {
    Err(unsupported())
}

/// Always fails.
///
/// # Errors
/// That this system has no verbs transport.
pub(crate) fn specimen(_: &Settings) -> Result<Specimen, String> {
    Err(unsupported().to_string())
}

/// Says that there is nothing to list.
pub(crate) fn inventory(_: &Settings) -> Inventory {
    Inventory {
        problem: Some(unsupported().to_string()),
        devices: Vec::new(),
    }
}
