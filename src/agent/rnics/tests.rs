use std::net::Ipv4Addr;
use std::path::Path;

use tokio::sync::mpsc;

use super::*;
use crate::agent::endpoint::{DELIVERY_DEPTH, Orders};
use crate::agent::mailbox::Mailboxes;
use crate::config::agent::AgentSettings;
use crate::id::Gid;
use crate::time::SystemClock;
use crate::transport::memory::{MemoryProvider, Network};
use crate::transport::{Endpoint, Provider};

/// One RNIC at the interface eth2.
struct AtInterface(MemoryProvider);

impl Provider for AtInterface {
    fn name(&self) -> &'static str {
        self.0.name()
    }

    fn discover(&self) -> Result<Vec<RnicPort>, TransportError> {
        let ports = self.0.discover()?.into_iter();
        let at = |port| RnicPort {
            interface: Some("eth2".to_owned()),
            ..port
        };
        Ok(ports.map(at).collect())
    }

    fn open(&self, rnic: &RnicName) -> Result<Box<dyn Endpoint>, TransportError> {
        self.0.open(rnic)
    }
}

fn write(file: &Path, switch: &str) {
    let text = format!(
        r#"{{"lldp":[{{"interface":[{{"name":"eth2","chassis":[{{"name":[{{"value":"{switch}"}}]}}]}}]}}]}}"#
    );
    std::fs::write(file, text).expect("written");
}

/// Waits for a look at the RNICs after which this is so.
async fn becomes(inventory: &mut watch::Receiver<Inventory>, tor: &str) {
    let is_there = |inventory: &Inventory| {
        let mut open = inventory.values().filter_map(|state| state.as_ref().ok());
        open.any(|open| open.tor.as_str() == tor)
    };
    tokio::time::timeout(RESCAN_INTERVAL * 3, inventory.wait_for(is_there))
        .await
        .expect("followed within three looks")
        .expect("the task runs");
}

#[tokio::test(start_paused = true)]
async fn an_rnic_follows_its_cable_to_another_switch() {
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("neighbours.json");
    write(&file, "leaf0");
    let settings = AgentSettings {
        lldp: Some(file.clone()),
        ..AgentSettings::default()
    };
    let config = settings.validate().expect("valid");
    let name = RnicName {
        device: "mem0".into(),
        port: 1,
    };
    let gid = Gid::from(Ipv4Addr::new(10, 0, 0, 1));
    let provider = MemoryProvider::new(Network::new(), [(name, gid)]);
    let orders = Orders::idle(crate::probe::Config::default(), Arc::default());
    let (_orders, orders_in) = watch::channel(Arc::new(orders));
    let inventory = watch::Sender::new(Inventory::new());
    let mut seen = inventory.subscribe();
    let (deliveries, _deliveries) = mpsc::channel(DELIVERY_DEPTH);
    let shared = Shared {
        provider: Arc::new(AtInterface(provider)),
        clock: Arc::new(SystemClock),
        orders: orders_in,
        mailboxes: Mailboxes::default(),
        inventory,
        deliveries,
    };
    let rnics = Rnics::new(shared, Arc::new(config), watch::Sender::new(None));
    let stop = CancellationToken::new();
    let task = tokio::spawn(rnics.run(stop.clone()));
    becomes(&mut seen, "leaf0").await;
    let before = seen.borrow().clone();
    // A file that says nothing changes nothing.
    std::fs::write(&file, "{").expect("written");
    tokio::time::sleep(RESCAN_INTERVAL * 2).await;
    assert_eq!(*seen.borrow(), before);
    write(&file, "leaf1");
    becomes(&mut seen, "leaf1").await;
    // It is the same endpoint.
    let address = |inventory: &Inventory| {
        let open = inventory
            .values()
            .next()
            .and_then(|state| state.clone().ok());
        open.map(|open| open.address)
    };
    assert_eq!(address(&seen.borrow()), address(&before));
    stop.cancel();
    task.await.expect("no panic");
}
