//! How many connections a listener keeps, and which of them gives way.
//!
//! A connection is in one of three stages. *Greeting*: the TLS handshake, the HTTP/2 preface or the first headers have not
//! come yet; anybody can open such a connection. *Idle*: it has been greeted and nothing is asked on it. *Busy*: a call or
//! request is under way.
//!
//! A listener always accepts. Where it, or the address, has its most connections, another connection gives way: the oldest
//! greeting one, else the one that is idle for longest; of the same address where the address has too many, else of the
//! address with the most connections that are not busy. So half-open connections push each other out, and a peer that
//! finishes its handshake soon is served whatever others leave open. Busy connections never give way: the new one is refused
//! where all are busy.
//!
//! Loopback addresses have no quota of their own: a proxy in front of the web server brings all users from there.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::net::{IpAddr, Ipv6Addr};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio_util::sync::CancellationToken;

use super::descriptors::Share;

/// The most connections of a listener.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Budget {
    /// In all.
    pub total: usize,
    /// Of one IPv4 address, or of one IPv6 network of 64 bits.
    pub per_address: usize,
}

/// What part of a budget one address may have, and what it may have at least. An agent needs two connections; hosts behind
/// one address translator share it.
const ADDRESS_PART: usize = 8;
const ADDRESS_LEAST: usize = 16;
const ADDRESS_MOST: usize = 1_024;

impl Budget {
    /// Under the descriptors that the process may have.
    pub fn of(share: Share) -> Self {
        let total = share.connections();
        Self {
            total,
            per_address: (total / ADDRESS_PART).clamp(ADDRESS_LEAST, ADDRESS_MOST),
        }
    }
}

/// Why a connection is refused at once.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Refused {
    /// The address has its most connections, and all are busy.
    Address,
    /// The listener has its most connections, and all are busy.
    Listener,
}

/// What a connection is doing. The order is that of giving way.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Stage {
    Greeting,
    Idle,
    Busy,
}

#[derive(Debug)]
struct Entry {
    address: IpAddr,
    stage: Stage,
    /// Of the entry into the stage.
    turn: u64,
    evicted: CancellationToken,
}

#[derive(Debug, Default)]
struct Origin {
    connections: usize,
    /// Those that are not busy, in the order of giving way.
    waiting: BTreeMap<(Stage, u64), u64>,
}

/// The connections of a listener.
#[derive(Debug)]
struct Table {
    budget: Budget,
    next: u64,
    entries: HashMap<u64, Entry>,
    origins: HashMap<IpAddr, Origin>,
    /// Addresses by how many of their connections are not busy.
    crowded: BTreeSet<(usize, IpAddr)>,
}

impl Table {
    fn new(budget: Budget) -> Self {
        Self {
            budget,
            next: 0,
            entries: HashMap::new(),
            origins: HashMap::new(),
            crowded: BTreeSet::new(),
        }
    }

    fn turn(&mut self) -> u64 {
        self.next += 1;
        self.next
    }

    /// A new connection, and how many gave way to it.
    fn admit(&mut self, peer: IpAddr) -> Result<(u64, CancellationToken, usize), Refused> {
        let address = origin_of(peer);
        let own = self.origins.get(&address).map_or(0, |own| own.connections);
        let mut gone = 0;
        if own >= self.budget.per_address && !address.is_loopback() {
            self.evict(address).ok_or(Refused::Address)?;
            gone += 1;
        }
        if self.entries.len() >= self.budget.total {
            let crowded = self.crowded.last().map(|(_, address)| *address);
            let evicted = crowded.and_then(|address| self.evict(address));
            evicted.ok_or(Refused::Listener)?;
            gone += 1;
        }
        let (id, evicted) = (self.turn(), CancellationToken::new());
        let entry = Entry {
            address,
            stage: Stage::Greeting,
            turn: id,
            evicted: evicted.clone(),
        };
        self.origins.entry(address).or_default().connections += 1;
        self.entries.insert(id, entry);
        self.wait(address, (Stage::Greeting, id), id);
        Ok((id, evicted, gone))
    }

    /// Ends the first connection of this address that gives way.
    fn evict(&mut self, address: IpAddr) -> Option<()> {
        let id = *self.origins.get(&address)?.waiting.first_key_value()?.1;
        if let Some(entry) = self.remove(id) {
            entry.evicted.cancel();
        }
        Some(())
    }

    fn remove(&mut self, id: u64) -> Option<Entry> {
        let entry = self.entries.remove(&id)?;
        self.leave(entry.address, (entry.stage, entry.turn));
        if let Some(origin) = self.origins.get_mut(&entry.address) {
            origin.connections -= 1;
            if origin.connections == 0 {
                self.origins.remove(&entry.address);
            }
        }
        Some(entry)
    }

    fn enter(&mut self, id: u64, stage: Stage) {
        let turn = self.turn();
        let Some(entry) = self.entries.get_mut(&id) else {
            return;
        };
        let (address, before) = (entry.address, (entry.stage, entry.turn));
        (entry.stage, entry.turn) = (stage, turn);
        self.leave(address, before);
        if stage != Stage::Busy {
            self.wait(address, (stage, turn), id);
        }
    }

    fn wait(&mut self, address: IpAddr, place: (Stage, u64), id: u64) {
        let Some(origin) = self.origins.get_mut(&address) else {
            return;
        };
        self.crowded.remove(&(origin.waiting.len(), address));
        origin.waiting.insert(place, id);
        self.crowded.insert((origin.waiting.len(), address));
    }

    fn leave(&mut self, address: IpAddr, place: (Stage, u64)) {
        let Some(origin) = self.origins.get_mut(&address) else {
            return;
        };
        self.crowded.remove(&(origin.waiting.len(), address));
        origin.waiting.remove(&place);
        if !origin.waiting.is_empty() {
            self.crowded.insert((origin.waiting.len(), address));
        }
    }
}

/// What shares a quota: an IPv4 address, or an IPv6 network of 64 bits, whose hosts choose their addresses freely.
fn origin_of(peer: IpAddr) -> IpAddr {
    match peer.to_canonical() {
        IpAddr::V6(address) if !address.is_loopback() => {
            Ipv6Addr::from_bits(address.to_bits() & !u128::from(u64::MAX)).into()
        }
        other => other,
    }
}

/// The connections of a listener; cheap to clone.
#[derive(Debug, Clone)]
pub(super) struct Quota(Arc<Mutex<Table>>);

impl Quota {
    pub(super) fn new(budget: Budget) -> Self {
        Self(Arc::new(Mutex::new(Table::new(budget))))
    }

    fn table(&self) -> MutexGuard<'_, Table> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Ends one connection that is not busy, of the address with the most; whether there was one.
    pub(super) fn relieve(&self) -> bool {
        let mut table = self.table();
        let crowded = table.crowded.last().map(|(_, address)| *address);
        crowded.and_then(|address| table.evict(address)).is_some()
    }

    /// A place for a connection of this peer, and how many others gave way to it.
    pub(super) fn admit(&self, peer: IpAddr) -> Result<(Place, usize), Refused> {
        let (id, evicted, gone) = self.table().admit(peer)?;
        let place = Place {
            quota: self.clone(),
            id,
            evicted,
        };
        Ok((place, gone))
    }
}

/// The place of one connection, given back when it is dropped.
#[derive(Debug)]
pub(super) struct Place {
    quota: Quota,
    id: u64,
    evicted: CancellationToken,
}

impl Place {
    /// Cancelled when the connection has to give way.
    pub(super) const fn evicted(&self) -> &CancellationToken {
        &self.evicted
    }

    /// The connection goes to another stage.
    pub(super) fn enter(&self, stage: Stage) {
        self.quota.table().enter(self.id, stage);
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.quota.table().remove(self.id);
    }
}

#[cfg(test)]
mod tests;
