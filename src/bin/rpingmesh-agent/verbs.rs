//! The verbs transport: UD queue pairs over libibverbs, on RNICs and soft-RoCE.
//!
//! Linux only; elsewhere `verbs/unsupported.rs` stands in its place. What a platform must supply: [`Verbs`], made from
//! [`Settings`] and implementing [`Provider`], [`inventory`], [`stamps`] and [`specimen()`].

mod address;
mod clock;
mod completion;
#[cfg(test)]
mod device_tests;
#[cfg(test)]
mod emulated_tests;
mod endpoint;
mod events;
mod failure;
mod grh;
mod handles;
mod interfaces;
mod memory;
mod plan;
mod ports;
mod queue;
mod specimen;
mod steering;
mod sysfs;

use std::sync::Arc;

use rdma_core_sys::Library;
use rpingmesh::service::proof::Specimen;
use rpingmesh::transport::rdma_report::{Inventory, Stamps};
use rpingmesh::transport::{Endpoint, Provider, RnicName, RnicPort, TransportError};

use self::endpoint::VerbsEndpoint;
use self::ports::Ports;
use crate::rdma_settings::Settings;

/// Whether this system has a verbs transport at all.
pub(crate) const EXISTS: bool = true;

/// The provider of verbs endpoints.
pub(crate) struct Verbs {
    library: Arc<Library>,
    settings: Settings,
}

impl Verbs {
    /// Loads libibverbs.
    ///
    /// # Errors
    /// [`TransportError::Unsupported`] where it cannot be loaded, with the dynamic loader's reason.
    pub(crate) fn new(settings: Settings) -> Result<Self, TransportError> {
        let library = Library::load().map_err(|error| TransportError::Unsupported {
            what: "the verbs transport",
            why: error.to_string(),
        })?;
        Ok(Self {
            library: Arc::new(library),
            settings,
        })
    }
}

impl Provider for Verbs {
    fn name(&self) -> &'static str {
        "verbs"
    }

    fn discover(&self) -> Result<Vec<RnicPort>, TransportError> {
        Ports::new(&self.library, &self.settings).usable()
    }

    fn open(&self, rnic: &RnicName) -> Result<Box<dyn Endpoint>, TransportError> {
        let port = Ports::new(&self.library, &self.settings).open(rnic)?;
        Ok(Box::new(VerbsEndpoint::open(&port, &self.settings)?))
    }
}

/// What stamps the completions of an endpoint on this port: opens one, and closes it. Needs a tokio runtime.
///
/// # Errors
/// Why none can be opened and what to do.
pub(crate) fn stamps(settings: &Settings, rnic: &RnicName) -> Result<Stamps, TransportError> {
    let verbs = Verbs::new(settings.clone())?;
    let port = Ports::new(&verbs.library, settings).open(rnic)?;
    Ok(VerbsEndpoint::open(&port, settings)?.stamps())
}

/// Makes a queue pair for the tracer to see, and destroys it. Blocks for as long as the driver takes.
///
/// # Errors
/// Why none can be made, in words.
pub(crate) fn specimen(settings: &Settings) -> Result<Specimen, String> {
    let library = Library::load().map_err(|error| error.to_string())?;
    specimen::make(&Arc::new(library), settings)
}

/// Everything there is of RDMA on this host, usable or not, with what to do about it.
pub(crate) fn inventory(settings: &Settings) -> Inventory {
    let devices = Library::load()
        .map_err(|error| error.to_string())
        .and_then(|library| Ports::new(&Arc::new(library), settings).report());
    match devices {
        Ok(devices) => Inventory {
            problem: None,
            devices,
        },
        Err(problem) => Inventory {
            problem: Some(problem),
            devices: Vec::new(),
        },
    }
}
