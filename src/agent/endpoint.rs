//! The task of one RNIC: opens an endpoint, drives its session, opens a new one when it is lost or moves.
//!
//! Channels:
//! - in: `orders` (watch), what all RNICs of this agent probe; the task picks its own GID's part;
//! - in: its mailbox, the paths of service connections, see [`super::mailbox`];
//! - in: `sighting` (watch), the GID and index that a look at all RNICs found best for this one;
//! - in: `tor` (watch), the ToR that it is cabled to;
//! - out: `inventory` (watch), one entry per RNIC: the address it is reached at now, or why there is none;
//! - out: `deliveries` (bounded), results and counters; what finds no place is dropped and counted.
//!
//! Opening and closing an endpoint are calls into a driver, which may take its time: they run on threads that may block.
//!
//! The task ends when its token is cancelled or its future is dropped, at any await: an endpoint closes with its owner,
//! results not yet delivered are those of the last turn.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{mpsc, watch};
use tokio_util::sync::CancellationToken;

use super::backoff::Backoff;
use super::drive::{Driver, DriverCounters, Turn};
use super::mailbox::{Mailboxes, News};
use super::outcome::PathOutcome;
use crate::cluster_key::KeyUse;
use crate::error::describe;
use crate::id::{Gid, TorId};
use crate::probe::{Config, Counters, Group, ProbeResult, Session};
use crate::time::{Clock, HostTime};
use crate::transport::{
    Address, Capabilities, Endpoint, Provider, RnicName, SourcePortSteering, TransportError,
};
use crate::wire::Keyring;

/// Deliveries that wait for the collector. Eight endpoints fill about a thousand in a second, and the collector needs
/// microseconds for each: a full channel means that it has been starved for a second.
pub const DELIVERY_DEPTH: usize = 1024;

/// An endpoint that only answers still tells its counters this often, and every endpoint what it has answered.
pub(crate) const COUNTERS_INTERVAL: Duration = Duration::from_secs(1);

const FIRST_WAIT: Duration = Duration::from_millis(100);
const LONGEST_WAIT: Duration = Duration::from_secs(10);
/// The longest wait before an RNIC that lacks only a link or an address is tried again, and before a changed address is
/// followed: an address that comes is used within two seconds.
const LONGEST_WAIT_FOR_ADDRESS: Duration = Duration::from_secs(1);
/// An endpoint that lived shorter counts as a failed attempt: a device that fails after each open must not be opened
/// without pause.
const STEADY: Duration = Duration::from_secs(10);

/// What the agent's RNICs are to do.
#[derive(Debug, Clone, PartialEq)]
pub struct Orders {
    /// How sessions behave.
    pub session: Config,
    /// What each RNIC probes; one that is not named only answers.
    pub groups: HashMap<Gid, Vec<Group>>,
    /// What packets are signed and verified with.
    pub keys: Arc<Keyring>,
    /// What people are told of the keys.
    pub key_use: KeyUse,
}

impl Orders {
    /// To answer only, with these keys.
    pub fn idle(session: Config, keys: Arc<Keyring>) -> Self {
        Self {
            session,
            groups: HashMap::new(),
            keys,
            key_use: KeyUse::default(),
        }
    }
}

/// An RNIC with an open endpoint.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OpenRnic {
    /// Where peers reach it.
    pub address: Address,
    /// What it can do.
    pub capabilities: Capabilities,
    /// Index of its GID in the port's table.
    pub gid_index: u32,
    /// The ToR that it is cabled to.
    pub tor: TorId,
}

/// The agent's RNICs: the open ones with their addresses, the others with the reason.
pub type Inventory = BTreeMap<RnicName, Result<OpenRnic, String>>;

/// What an endpoint's task hands over after a turn that brought something.
#[derive(Debug)]
pub struct Delivery {
    /// Which RNIC.
    pub rnic: RnicName,
    /// Its ToR.
    pub tor: TorId,
    /// What became of its probes.
    pub results: Vec<ProbeResult>,
    /// The ways of the ACKs that it has sent, at most once in [`COUNTERS_INTERVAL`].
    pub reverse_paths: Vec<PathOutcome>,
    /// What it has counted since its start.
    pub counters: EndpointCounters,
}

/// The counters of one endpoint's task, since its start.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct EndpointCounters {
    /// The session's.
    pub session: Counters,
    /// The driver's.
    pub driver: DriverCounters,
    /// Results that were dropped because the delivery channel was full.
    pub results_dropped: u64,
    /// Times that a lost endpoint was replaced by a new one.
    pub reopened: u64,
}

/// What the tasks of all endpoints share.
#[derive(Clone)]
pub struct Shared {
    /// Opens endpoints.
    pub provider: Arc<dyn Provider>,
    /// Host time.
    pub clock: Arc<dyn Clock>,
    /// What is to be done.
    pub orders: watch::Receiver<Arc<Orders>>,
    /// What is to be done for services.
    pub mailboxes: Mailboxes,
    /// Who is reached where.
    pub inventory: watch::Sender<Inventory>,
    /// Results.
    pub deliveries: mpsc::Sender<Delivery>,
}

/// The task of one RNIC.
pub struct EndpointTask {
    shared: Shared,
    rnic: RnicName,
    tor: watch::Receiver<TorId>,
    counters: EndpointCounters,
    delivered_at: HostTime,
    reverse_paths_at: HostTime,
    backoff: Backoff,
    /// When the endpoint was opened.
    opened_at: HostTime,
    /// Index of its GID.
    gid_index: u32,
    sighting: watch::Receiver<Option<Sighting>>,
    /// What peers are told of the open endpoint's steering.
    announced: SourcePortSteering,
}

/// The GID that an RNIC would be opened with now, and its index.
pub type Sighting = (Gid, u32);

/// Why an endpoint is no longer driven.
enum End {
    Stopped,
    AddressChanged,
    Lost(TransportError),
}

impl EndpointTask {
    /// For one RNIC, which is cabled to `tor`. Nobody tells it where it would be opened now.
    pub fn new(shared: Shared, rnic: RnicName, tor: TorId) -> Self {
        Self::watching(shared, rnic, watch::channel(tor).1, watch::channel(None).1)
    }

    /// The same, with somebody who looks from time to time at the RNIC and at the switch that it is cabled to.
    pub(crate) fn watching(
        shared: Shared,
        rnic: RnicName,
        tor: watch::Receiver<TorId>,
        sighting: watch::Receiver<Option<Sighting>>,
    ) -> Self {
        Self {
            shared,
            rnic,
            tor,
            counters: EndpointCounters::default(),
            delivered_at: HostTime::from_nanos(0),
            reverse_paths_at: HostTime::from_nanos(0),
            backoff: Backoff::new(FIRST_WAIT, LONGEST_WAIT, rand::random()),
            opened_at: HostTime::from_nanos(0),
            gid_index: 0,
            sighting,
            announced: SourcePortSteering::Driver,
        }
    }

    /// Opens and drives until `stop`.
    pub async fn run(mut self, stop: CancellationToken) {
        let Some(mut driver) = stop.run_until_cancelled(self.first()).await else {
            return;
        };
        loop {
            let longest = match self.drive(&mut driver, &stop).await {
                End::Stopped => return close(&mut driver).await,
                End::AddressChanged => {
                    tracing::warn!(rnic = %self.rnic, "the address has changed, opening a new endpoint");
                    LONGEST_WAIT_FOR_ADDRESS
                }
                End::Lost(error) => {
                    tracing::warn!(rnic = %self.rnic, error = describe(&error), "opening a new endpoint");
                    LONGEST_WAIT
                }
            };
            let wait = self.wait_after_life().min(longest);
            self.shared.inventory.send_modify(|inventory| {
                inventory.insert(self.rnic.clone(), Err("being opened again".to_owned()));
            });
            let pause = async {
                close(&mut driver).await;
                tokio::time::sleep(wait).await;
            };
            if stop.run_until_cancelled(pause).await.is_none() {
                return;
            }
            let Some(endpoint) = stop.run_until_cancelled(self.open()).await else {
                return;
            };
            driver.replace(endpoint);
            self.counters.reopened += 1;
        }
    }

    /// How long to wait before the next endpoint: not at all after one that lived long enough.
    fn wait_after_life(&mut self) -> Duration {
        if self.shared.clock.host().since(self.opened_at) < STEADY {
            return self.backoff.next_wait();
        }
        self.backoff.reset();
        Duration::ZERO
    }

    async fn first(&mut self) -> Driver {
        let endpoint = self.open().await;
        let session = Session::new(
            self.shared.orders.borrow().session,
            self.shared.orders.borrow().keys.clone(),
            endpoint.address(),
            endpoint.capabilities().clone(),
            rand::random(),
        );
        Driver::new(endpoint, session, self.shared.clock.clone())
    }

    /// Tries until it works, logging the first failure of an episode and each new reason.
    async fn open(&mut self) -> Box<dyn Endpoint> {
        let mut reported = String::new();
        loop {
            let mut longest = LONGEST_WAIT;
            let (provider, rnic) = (Arc::clone(&self.shared.provider), self.rnic.clone());
            let opening = tokio::task::spawn_blocking(move || open(&*provider, &rnic));
            let opened = opening.await.unwrap_or_else(|panicked| {
                Err(TransportError::Rnic {
                    rnic: self.rnic.clone(),
                    why: format!("opening an endpoint failed: {panicked}"),
                })
            });
            match opened {
                Ok((endpoint, gid_index)) => {
                    self.opened_at = self.shared.clock.host();
                    self.gid_index = gid_index;
                    self.announce(endpoint.address(), endpoint.capabilities().clone());
                    self.announced = endpoint.capabilities().steering.clone();
                    return endpoint;
                }
                Err(error) => {
                    if matches!(error, TransportError::NotReady { .. }) {
                        longest = LONGEST_WAIT_FOR_ADDRESS;
                    }
                    let why = describe(&error);
                    if why != reported {
                        tracing::warn!(rnic = %self.rnic, error = why, "cannot open an endpoint, trying again");
                        self.shared.inventory.send_modify(|inventory| {
                            inventory.insert(self.rnic.clone(), Err(why.clone()));
                        });
                        reported = why;
                    }
                }
            }
            tokio::time::sleep(self.backoff.next_wait().min(longest)).await;
        }
    }

    fn announce(&self, address: Address, capabilities: Capabilities) {
        let open = OpenRnic {
            address,
            capabilities,
            gid_index: self.gid_index,
            tor: self.tor.borrow().clone(),
        };
        tracing::info!(
            rnic = %self.rnic, address = %open.address, clock = ?open.capabilities.clock,
            "endpoint is open"
        );
        self.shared.inventory.send_modify(|inventory| {
            inventory.insert(self.rnic.clone(), Ok(open));
        });
    }

    async fn drive(&mut self, driver: &mut Driver, stop: &CancellationToken) -> End {
        let mut orders = self.shared.orders.clone();
        orders.mark_changed();
        let mailbox = self.shared.mailboxes.of(&self.rnic);
        let mut results = Vec::new();
        loop {
            let turn = tokio::select! {
                biased;
                () = stop.cancelled() => return End::Stopped,
                Ok(()) = orders.changed() => {
                    let orders = orders.borrow_and_update().clone();
                    self.apply_orders(&orders, driver);
                    driver.advance(&mut results).map(|()| Turn::Continue)
                }
                () = mailbox.arrival() => {
                    self.follow(mailbox.take(), driver);
                    driver.advance(&mut results).map(|()| Turn::Continue)
                }
                Ok(()) = self.sighting.changed() => {
                    let sighting = *self.sighting.borrow_and_update();
                    let here = (driver.session().address().gid, self.gid_index);
                    Ok(match sighting {
                        Some(sighting) if sighting != here => Turn::AddressChanged,
                        _ => Turn::Continue,
                    })
                }
                Ok(()) = self.tor.changed() => {
                    self.announce(driver.session().address(), driver.capabilities().clone());
                    Ok(Turn::Continue)
                }
                turn = driver.turn(&mut results) => turn,
            };
            self.deliver(driver, &mut results);
            self.correct(driver);
            match turn {
                Ok(Turn::Continue) => {}
                Ok(Turn::AddressChanged) => return End::AddressChanged,
                Err(error) => return End::Lost(error),
            }
        }
    }

    /// Tells peers when the endpoint's source ports turn out to be decided otherwise than the transport claims.
    fn correct(&mut self, driver: &Driver) {
        let steering = &driver.capabilities().steering;
        if *steering == self.announced {
            return;
        }
        tracing::warn!(
            rnic = %self.rnic, before = ?self.announced, now = ?steering,
            "responders see other UDP source ports than were meant: announced as learned; the key `steering` sets what is \
             assumed at start"
        );
        self.announced = steering.clone();
        self.announce(driver.session().address(), driver.capabilities().clone());
    }

    fn apply_orders(&self, orders: &Orders, driver: &mut Driver) {
        let groups = orders
            .groups
            .get(&driver.session().address().gid)
            .cloned()
            .unwrap_or_default();
        let now = self.shared.clock.host();
        driver.session_mut().set_keys(Arc::clone(&orders.keys));
        driver.session_mut().set_config(orders.session, now);
        driver.session_mut().set_groups(groups, now);
    }

    fn follow(&self, news: Vec<News>, driver: &mut Driver) {
        let now = self.shared.clock.host();
        for (id, path) in news {
            match path {
                Some(path) => driver.session_mut().set_connection(id, path, now),
                None => driver.session_mut().remove_connection(id),
            }
        }
    }

    fn deliver(&mut self, driver: &mut Driver, results: &mut Vec<ProbeResult>) {
        self.counters.session = driver.session().counters();
        self.counters.driver = driver.counters();
        let now = self.shared.clock.host();
        if results.is_empty() && now.since(self.delivered_at) < COUNTERS_INTERVAL {
            return;
        }
        self.delivered_at = now;
        let count = results.len() as u64;
        let reverse_paths = if now.since(self.reverse_paths_at) >= COUNTERS_INTERVAL {
            self.reverse_paths_at = now;
            driver.reverse_paths()
        } else {
            Vec::new()
        };
        let delivery = Delivery {
            rnic: self.rnic.clone(),
            tor: self.tor.borrow().clone(),
            results: std::mem::take(results),
            reverse_paths,
            counters: self.counters,
        };
        if self.shared.deliveries.try_send(delivery).is_err() {
            self.counters.results_dropped += count;
        }
    }
}

impl Drop for EndpointTask {
    /// A task that panics leaves no address behind that nobody answers at.
    fn drop(&mut self) {
        if std::thread::panicking() {
            let why = "its task has panicked and is started again".to_owned();
            self.shared.inventory.send_modify(|inventory| {
                inventory.insert(self.rnic.clone(), Err(why));
            });
        }
    }
}

/// Opens an endpoint and finds the index of its GID. Blocks.
fn open(
    provider: &dyn Provider,
    rnic: &RnicName,
) -> Result<(Box<dyn Endpoint>, u32), TransportError> {
    let endpoint = provider.open(rnic)?;
    let gid = endpoint.address().gid;
    let index = endpoint
        .gid_index()
        .unwrap_or_else(|| discovered_index(provider, rnic, gid));
    Ok((endpoint, index))
}

/// It is shown to people only: a provider that does not know it still works.
fn discovered_index(provider: &dyn Provider, rnic: &RnicName, gid: Gid) -> u32 {
    let ports = provider.discover().unwrap_or_default();
    ports
        .iter()
        .find(|port| port.name == *rnic && port.gid == gid)
        .map_or(0, |port| port.gid_index)
}

/// Closes a driver's endpoint, and waits for that.
async fn close(driver: &mut Driver) {
    let endpoint = driver.release();
    // A panic there is logged by the panic itself; the endpoint is gone.
    let _ = tokio::task::spawn_blocking(move || drop(endpoint)).await;
}
