//! An agent whose RNICs are the swarm's, and the clock of all.
//!
//! What is real: registration, upload, collector, spool. What is not: the tasks of its RNICs, for which a
//! [`Swarm`](rpingmesh::fabric::swarm::Swarm) stands.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;

use rpingmesh::agent::client::Controller;
use rpingmesh::agent::collect::{Collect, Inputs, Outputs};
use rpingmesh::agent::condition::{Condition, RegistrationTrouble};
use rpingmesh::agent::endpoint::{Inventory, Orders};
use rpingmesh::agent::health::Health;
use rpingmesh::agent::keys::Keys;
use rpingmesh::agent::metrics::Metrics;
use rpingmesh::agent::registration::{Registration, RegistrationChannels, groups};
use rpingmesh::agent::session_config;
use rpingmesh::agent::upload::Upload;
use rpingmesh::config::agent::AgentConfig;
use rpingmesh::store::Location;
use rpingmesh::store::spool::Spool;
use rpingmesh::time::{Clock, HostTime, WallTime};
use tokio::sync::{mpsc, watch};
use tokio_util::sync::CancellationToken;

use crate::agent::PATIENCE;

/// The wall clock at the start: the beginning of a slot.
const EPOCH: i64 = 1_800_000_000 * 1_000_000_000;
/// How often batches would be made if their task ran.
const INTERVAL: Duration = Duration::from_secs(1);

/// Stands still while servers answer.
#[derive(Default)]
pub(crate) struct VirtualClock(AtomicI64);

impl VirtualClock {
    pub(crate) fn set(&self, now: HostTime) {
        self.0.store(now.nanos(), Ordering::SeqCst);
    }
}

impl Clock for VirtualClock {
    fn host(&self) -> HostTime {
        HostTime::from_nanos(self.0.load(Ordering::SeqCst))
    }

    fn wall(&self) -> WallTime {
        WallTime::from_nanos(EPOCH + self.0.load(Ordering::SeqCst))
    }
}

pub(crate) async fn patiently<T>(what: &str, waiting: impl Future<Output = T>) -> T {
    tokio::time::timeout(PATIENCE, waiting)
        .await
        .unwrap_or_else(|_| panic!("no {what} within {PATIENCE:?}"))
}

/// An agent without the tasks of its RNICs, which the swarm stands for.
pub(crate) struct Host {
    pub(crate) config: Arc<AgentConfig>,
    pub(crate) client: Controller,
    pub(crate) collect: Collect,
    pub(crate) spool: Spool,
    pub(crate) inventory: watch::Sender<Inventory>,
    pub(crate) orders: watch::Receiver<Arc<Orders>>,
    /// What heartbeats and metrics tell.
    pub(crate) health: watch::Receiver<Health>,
    spooled: watch::Receiver<u64>,
    acknowledged: watch::Receiver<u64>,
    stop: CancellationToken,
    tasks: Vec<tokio::task::JoinHandle<()>>,
    /// What its sessions have been given.
    pub(crate) applied: Option<Arc<Orders>>,
}

impl Host {
    /// Starts it, with its spool at a place; `limit` bounds the spool in bytes.
    pub(crate) async fn start(
        config: AgentConfig,
        clock: Arc<dyn Clock>,
        (place, limit): (&Location, u64),
    ) -> Self {
        let config = Arc::new(config);
        let client = Controller::new(&config.controller, &config.security).expect("a client");
        let spool = Spool::open(place, limit).await.expect("a spool");
        let (spooled_out, spooled) = watch::channel(0);
        let (inventory, inventory_in) = watch::channel(Inventory::new());
        let idle = Arc::new(Orders::idle(session_config(&config), Arc::default()));
        let (orders_out, orders) = watch::channel(idle);
        let (health_out, health) = watch::channel(Health::default());
        let (upload_interval, interval) = watch::channel(INTERVAL);
        let (trouble, registration) = watch::channel(RegistrationTrouble::default());
        let condition = Condition {
            off: Vec::new(),
            inventory: inventory_in.clone(),
            health: health.clone(),
            without_rnics: watch::channel(None).1,
            services: None,
            registration,
            orders: orders.clone(),
        };
        let (assignment, assigned) = watch::channel(None);
        let upload = Upload::new(
            &config,
            spool.clone(),
            spooled.clone(),
            condition.clone(),
            assigned,
        );
        let upload = upload.expect("an uploader");
        let acknowledged = upload.acknowledged();
        let channels = RegistrationChannels {
            inventory: inventory_in,
            condition,
            trouble,
            orders: orders_out,
            upload_interval,
            assignment,
        };
        let metrics = Arc::new(Metrics::new());
        let registration = Registration::new(
            config.clone(),
            client.clone(),
            channels,
            Keys::none(),
            Arc::clone(&metrics),
        );
        // The swarm delivers by itself, and nothing is traced.
        let inputs = Inputs {
            deliveries: mpsc::channel(1).1,
            traces: mpsc::channel(1).1,
            hardware: mpsc::channel(1).1,
            interval,
        };
        let outputs = Outputs {
            spool: spool.clone(),
            spooled: spooled_out,
            health: health_out,
            metrics,
        };
        let collect = Collect::new(inputs, outputs, None, config.host.clone(), clock);
        let stop = CancellationToken::new();
        let tasks = vec![
            tokio::spawn(registration.run(stop.clone())),
            tokio::spawn(upload.run(stop.clone())),
        ];
        Self {
            config,
            client,
            collect,
            spool,
            inventory,
            orders,
            health,
            spooled,
            acknowledged,
            stop,
            tasks,
            applied: None,
        }
    }

    pub(crate) fn newest(&self) -> u64 {
        *self.spooled.borrow()
    }

    /// Until the analyzer has everything.
    pub(crate) async fn uploaded(&mut self) {
        let newest = self.newest();
        let acknowledged = self.acknowledged.wait_for(|sequence| *sequence >= newest);
        patiently("acknowledgement", acknowledged)
            .await
            .expect("the uploader runs");
    }

    /// Until it follows the newest pinglist that the controller has for it.
    pub(crate) async fn instructed(&mut self) {
        let answer = self.client.pinglist(&self.config.agent_id, 0).await;
        let list = answer
            .expect("a registered agent")
            .pinglist
            .expect("a list");
        let wanted = groups(&self.client.read(list).expect("a readable list"));
        let obeyed = self.orders.wait_for(|orders| orders.groups == wanted);
        patiently("pinglist", obeyed)
            .await
            .expect("the registration runs");
    }

    pub(crate) async fn stop(self) {
        self.stop.cancel();
        for task in self.tasks {
            task.await.expect("no panic");
        }
    }

    /// Ends it as SIGKILL does: wherever its tasks are. What the operating system has is what is left.
    pub(crate) async fn kill(self) {
        for task in &self.tasks {
            task.abort();
        }
        for task in self.tasks {
            let _ = task.await;
        }
    }
}
