//! `respond`: a responder alone, on each usable RNIC, until SIGTERM.

use std::collections::BTreeMap;
use std::io::Write as _;
use std::sync::Arc;

use rpingmesh::agent::endpoint::{DELIVERY_DEPTH, EndpointTask, Inventory, Orders, Shared};
use rpingmesh::agent::keys;
use rpingmesh::agent::mailbox::Mailboxes;
use rpingmesh::agent::session_config;
use rpingmesh::config::agent::AgentConfig;
use rpingmesh::config::program::{Failure, prepare, run_to_end, stop_on_signal};
use rpingmesh::id::{TargetName, TorId};
use rpingmesh::time::SystemClock;
use rpingmesh::transport::{RnicName, TransportError};
use tokio::sync::{mpsc, watch};
use tokio_util::task::TaskTracker;

use crate::cli::{Configured, runtime};
use crate::transports;

pub(crate) fn run(configured: Configured) -> Result<(), Failure> {
    let config = configured.start()?;
    prepare(&config.settings.weak_files());
    run_to_end(runtime()?, serve(&config))
}

async fn serve(config: &AgentConfig) -> Result<(), Failure> {
    let stop = stop_on_signal().map_err(Failure::run)?;
    let chosen = transports::choose(config).map_err(Failure::run)?;
    tracing::info!("{}", chosen.why);
    let provider = chosen.required().map_err(Failure::run)?;
    let ports = transports::usable_ports(provider.as_ref(), config).map_err(Failure::run)?;
    let (inventory, mut changes) = watch::channel(Inventory::new());
    // Nothing is probed, so nothing is ever delivered but counters, which nobody wants.
    let (deliveries, _) = mpsc::channel(DELIVERY_DEPTH);
    let shared = Shared {
        provider,
        clock: Arc::new(SystemClock),
        orders: watch::channel(Arc::new(Orders::idle(
            session_config(config),
            keys::at_hand(config),
        )))
        .1,
        mailboxes: Mailboxes::default(),
        inventory,
        deliveries,
    };
    let tasks = TaskTracker::new();
    let count = ports.len();
    for port in ports {
        let task = EndpointTask::new(shared.clone(), port.name, TorId::from("unknown"));
        tasks.spawn(task.run(stop.clone()));
    }
    tasks.close();
    let mut printed = BTreeMap::new();
    while let Some(Ok(())) = stop.run_until_cancelled(changes.changed()).await {
        let now = changes.borrow_and_update().clone();
        print_new(&now, &mut printed).map_err(Failure::run)?;
        if let Some(why) = all_failed(&now, count).filter(|_| printed.is_empty()) {
            stop.cancel();
            tasks.wait().await;
            return Err(Failure::run(TransportError::NoDevice(why)));
        }
    }
    tasks.wait().await;
    Ok(())
}

/// One line for each endpoint, again when it has a new address.
fn print_new(
    inventory: &Inventory,
    printed: &mut BTreeMap<RnicName, TargetName>,
) -> std::io::Result<()> {
    let mut out = std::io::stdout().lock();
    for (rnic, state) in inventory {
        let Ok(open) = state else { continue };
        let name = open.address.name();
        if printed.insert(rnic.clone(), name) != Some(name) {
            writeln!(out, "{name}")?;
        }
    }
    out.flush()
}

/// Why not one of the RNICs could be opened, once each has been tried.
fn all_failed(inventory: &Inventory, count: usize) -> Option<String> {
    let reasons: Vec<&str> = inventory
        .values()
        .filter_map(|state| state.as_ref().err().map(String::as_str))
        .collect();
    (reasons.len() == count).then(|| reasons.join("; "))
}
