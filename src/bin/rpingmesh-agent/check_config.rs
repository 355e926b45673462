//! `check-config`: says whether `run` would accept the configuration.

use rpingmesh::config::agent::TransportChoice;
use rpingmesh::config::program::Failure;
use rpingmesh::config::weak;

use crate::cli::Configured;

pub(crate) fn run(configured: Configured) -> Result<(), Failure> {
    let config = configured.start()?;
    if config.settings.transport != TransportChoice::None {
        config.require_tor()?;
    }
    weak::print(&config.settings.weak_files());
    if let Some(why) = config.misnamed() {
        println!("warning: {why}");
    }
    println!("the configuration is valid");
    Ok(())
}
