//! `rpingmesh forget`.

use clap::Args;
use rpingmesh::api::withdrawn::{Forgotten, WithdrawnQuery};
use rpingmesh::config::program::Failure;

use crate::api::{self, ApiArgs};

/// What `forget` takes.
#[derive(Debug, Args)]
pub(crate) struct ForgetArgs {
    #[command(flatten)]
    api: ApiArgs,
    /// A host, or an RNIC as HOST/DEVICE
    #[arg(value_name = "HOST[/DEVICE]")]
    name: String,
}

pub(crate) fn main(args: &ForgetArgs) -> Result<(), Failure> {
    let analyzer = args.api.analyzer()?;
    let query = query(&args.name);
    let answer: Forgotten = api::block_on(async { analyzer.delete(&query).await })?;
    if args.api.json {
        return api::print_json(&answer);
    }
    for name in &answer.forgotten {
        api::print(&format!(
            "{name} is reported no more, until it has returned"
        ))?;
    }
    Ok(())
}

/// No device has a slash in its name.
fn query(name: &str) -> WithdrawnQuery {
    let (host, device) = match name.rsplit_once('/') {
        Some((host, device)) => (host, Some(device.to_owned())),
        None => (name, None),
    };
    WithdrawnQuery {
        host: Some(host.to_owned()),
        device,
    }
}
