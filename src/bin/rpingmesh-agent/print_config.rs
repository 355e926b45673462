//! `print-config`: the settings with the defaults filled in.

use rpingmesh::config::program::Failure;

use crate::cli::Configured;

pub(crate) fn run(configured: Configured) -> Result<(), Failure> {
    let settings = configured.load()?;
    settings.validate()?;
    print!("{}", toml::to_string(&settings).map_err(Failure::run)?);
    Ok(())
}
