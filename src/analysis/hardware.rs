//! What the RNICs' own hardware counters say beside the probes, as evidence in incidents.
//!
//! Agents report by how much counters of faults have risen ([`PortRise`]); [`Hardware`] keeps that for
//! [`KEPT`]; [`Risen`] turns it into lines for an incident whose subject is that RNIC, its host, or the link to it.
//! Counters never make an incident: their meaning differs between drivers, and they also count what services cause.

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::time::Duration;

use super::localize::Component;
use crate::id::{DeviceName, HostName, RnicName};
use crate::time::WallTime;

/// How long a rise speaks for a fault.
pub(crate) const KEPT: Duration = Duration::from_mins(5);
/// Counters of one port in one batch; more are left out.
pub(crate) const MOST_COUNTERS: usize = 64;
/// Ports in one batch; more are left out.
pub(crate) const MOST_PORTS: usize = 64;
/// The longest name of a counter, in bytes.
pub(crate) const MAX_COUNTER_NAME: usize = 64;
/// Hosts whose counters are kept. Only those with faults take room.
const MOST_HOSTS: usize = 100_000;
/// Rises of one counter that are kept apart; agents report one each few seconds.
const MOST_RISES: usize = 128;
/// Lines for one incident.
const MOST_LINES: usize = 8;

/// Name of a counter: 1 to 64 letters, digits and underscores.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct CounterName(Box<str>);

impl CounterName {
    /// The name, if it is one.
    pub fn new(text: &str) -> Option<Self> {
        let fits = (1..=MAX_COUNTER_NAME).contains(&text.len());
        let plain = text
            .bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || byte == b'_');
        (fits && plain).then(|| Self(text.into()))
    }

    /// The name.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// Counters of faults and what it means when they rise. Names as the kernel has them in `counters` (InfiniBand
/// specification, PortCounters) and `hw_counters` (drivers mlx5, mlx4, bnxt_re, irdma, rxe).
const FAULTS: &[(&str, &str)] = &[
    (
        "rx_icrc_encapsulated",
        "packets came with a wrong ICRC: they were damaged on their way to it",
    ),
    (
        "out_of_sequence",
        "packets came out of sequence: some were lost or reordered on their way to it",
    ),
    (
        "out_of_seq_request",
        "packets came out of sequence: some were lost or reordered on their way to it",
    ),
    (
        "oos_drop_count",
        "packets came out of sequence and were dropped",
    ),
    (
        "packet_seq_err",
        "peers asked for packets again: some were lost on their way from it",
    ),
    (
        "seq_err_naks_rcvd",
        "peers asked for packets again: some were lost on their way from it",
    ),
    (
        "rcvd_seq_err",
        "peers asked for packets again: some were lost on their way from it",
    ),
    (
        "implied_nak_seq_err",
        "peers skipped packets: some were lost on their way from it",
    ),
    (
        "local_ack_timeout_err",
        "no ACK came in time: packets or ACKs were lost",
    ),
    (
        "completer_retry_err",
        "no ACK came in time: packets or ACKs were lost",
    ),
    (
        "to_retransmits",
        "no ACK came in time: packets or ACKs were lost",
    ),
    (
        "retry_exceeded_err",
        "connections gave up after their retries",
    ),
    (
        "max_retry_exceeded",
        "connections gave up after their retries",
    ),
    ("rnr_nak_retry_err", "peers were not ready to receive"),
    (
        "duplicate_request",
        "requests came twice: ACKs were lost on their way from it",
    ),
    (
        "out_of_buffer",
        "packets were dropped because no receive buffer was free: the host does not keep up",
    ),
    (
        "rx_discards_phy",
        "packets were dropped because the RNIC's buffers were full: PCIe or the host does not keep up",
    ),
    (
        "rx_write_requests_dropped",
        "packets were dropped in the RNIC",
    ),
    (
        "roce_slow_restart",
        "congestion control started again from its lowest rate",
    ),
    (
        "np_ecn_marked_roce_packets",
        "switches marked packets on their way to it: congestion",
    ),
    (
        "rx_ecn_marked_pkts",
        "switches marked packets on their way to it: congestion",
    ),
    (
        "rp_cnp_handled",
        "peers asked it to send slower: congestion",
    ),
    (
        "port_rcv_errors",
        "frames came damaged: cable, transceiver or port",
    ),
    (
        "port_rcv_remote_physical_errors",
        "frames came that the sender had marked as bad",
    ),
    (
        "port_rcv_switch_relay_errors",
        "frames came that could not be forwarded",
    ),
    (
        "port_xmit_discards",
        "packets were dropped instead of sent: the port was down or congested",
    ),
    (
        "port_rcv_constraint_errors",
        "packets were refused on arrival",
    ),
    (
        "port_xmit_constraint_errors",
        "packets were refused for sending",
    ),
    (
        "port_xmit_wait",
        "the port had to wait before it could send: pauses by its neighbour",
    ),
    ("symbol_error", "symbols came damaged: cable or transceiver"),
    ("link_error_recovery", "the link trained again"),
    ("link_downed", "the link went down"),
    (
        "local_link_integrity_errors",
        "the link had too many errors",
    ),
    (
        "excessive_buffer_overrun_errors",
        "buffers overran: flow control does not work on this link",
    ),
    ("VL15_dropped", "management packets were dropped"),
];

/// What a rise of this counter means; `None` for a counter that does not tell of a fault.
pub(crate) fn meaning(counter: &str) -> Option<&'static str> {
    FAULTS
        .iter()
        .find(|(name, _)| *name == counter)
        .map(|(_, meaning)| *meaning)
}

/// By how much counters of faults of one RNIC port have risen in an interval.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PortRise {
    /// The RNIC.
    pub device: DeviceName,
    /// Its port, from 1.
    pub port: u8,
    /// Each more than zero.
    pub counters: Vec<(CounterName, u64)>,
}

type Rises = VecDeque<(WallTime, u64)>;
type Ports = BTreeMap<(DeviceName, u8), BTreeMap<CounterName, Rises>>;

/// What the RNICs of all hosts have counted lately, in bounded memory.
#[derive(Debug, Default)]
pub(crate) struct Hardware {
    hosts: HashMap<HostName, Ports>,
}

impl Hardware {
    /// Takes the rises of one batch.
    pub(crate) fn ingest(&mut self, host: &HostName, rises: &[PortRise], now: WallTime) {
        if rises.is_empty() || (self.hosts.len() >= MOST_HOSTS && !self.hosts.contains_key(host)) {
            return;
        }
        let ports = self.hosts.entry(host.clone()).or_default();
        for rise in rises.iter().take(MOST_PORTS) {
            let key = (rise.device.clone(), rise.port);
            if ports.len() >= MOST_PORTS && !ports.contains_key(&key) {
                continue;
            }
            let counters = ports.entry(key).or_default();
            for (name, by) in &rise.counters {
                if counters.len() >= MOST_COUNTERS && !counters.contains_key(name) {
                    continue;
                }
                let kept = counters.entry(name.clone()).or_default();
                if kept.len() >= MOST_RISES {
                    kept.pop_front();
                }
                kept.push_back((now, *by));
            }
        }
    }

    /// Forgets what is older than [`KEPT`].
    pub(crate) fn expire(&mut self, now: WallTime) {
        self.hosts.retain(|_, ports| {
            ports.retain(|_, counters| {
                counters.retain(|_, rises| {
                    rises.retain(|(at, _)| now.since(*at) < KEPT);
                    !rises.is_empty()
                });
                !counters.is_empty()
            });
            !ports.is_empty()
        });
    }

    /// What has risen within [`KEPT`] before `now`.
    pub(crate) fn risen(&self, now: WallTime) -> Risen {
        let mut risen = Risen::default();
        for (host, ports) in &self.hosts {
            for ((device, port), counters) in ports {
                for (name, rises) in counters {
                    let by = rises
                        .iter()
                        .filter(|(at, _)| now.since(*at) < KEPT)
                        .fold(0u64, |sum, (_, by)| sum.saturating_add(*by));
                    if by > 0 {
                        risen
                            .hosts
                            .entry(host.as_str().to_owned())
                            .or_default()
                            .push(Rise {
                                device: device.as_str().to_owned(),
                                port: *port,
                                counter: name.clone(),
                                by,
                            });
                    }
                }
            }
        }
        risen
    }
}

#[derive(Debug, Clone, PartialEq, Eq)]
struct Rise {
    device: String,
    port: u8,
    counter: CounterName,
    by: u64,
}

/// What has risen lately, by host.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Risen {
    hosts: BTreeMap<String, Vec<Rise>>,
}

impl Risen {
    /// Lines for an incident about `subject`: about an RNIC those of that RNIC, about a host those of all its RNICs, about
    /// a link those of the host or RNIC at its end. Those that rose most come first.
    pub(crate) fn evidence(&self, subject: &Component) -> Vec<String> {
        let mut found: Vec<(&str, &Rise)> = match subject {
            Component::Host { name } => self.of_host(name).collect(),
            Component::Rnic { host, device } => self
                .of_host(host.as_str())
                .filter(|(_, rise)| rise.device == device.as_str())
                .collect(),
            Component::Link { from, to } => [from, to]
                .into_iter()
                .flat_map(|end| self.of_host(end).chain(self.of_rnic_named(end)))
                .collect(),
            Component::Switch { .. } | Component::Group { .. } => Vec::new(),
        };
        found.sort_by(|a, b| (b.1.by, &a.1.counter).cmp(&(a.1.by, &b.1.counter)));
        found.truncate(MOST_LINES);
        found
            .into_iter()
            .map(|(host, rise)| line(host, rise))
            .collect()
    }

    /// The rises of all RNICs of a host.
    fn of_host(&self, host: &str) -> impl Iterator<Item = (&str, &Rise)> {
        self.hosts
            .get_key_value(host)
            .into_iter()
            .flat_map(|(host, rises)| rises.iter().map(move |rise| (host.as_str(), rise)))
    }

    /// The rises of the RNIC that ends of links name so.
    fn of_rnic_named(&self, end: &str) -> impl Iterator<Item = (&str, &Rise)> {
        self.hosts
            .keys()
            .filter(|host| end.starts_with(host.as_str()))
            .flat_map(|host| self.of_host(host))
            .filter(move |(host, rise)| {
                RnicName::new(*host, rise.device.as_str()).to_string() == end
            })
    }
}

fn line(host: &str, rise: &Rise) -> String {
    let name = rise.counter.as_str();
    let mut line = format!(
        "hardware counter {name} of {host}/{} port {} rose by {} within {} s",
        rise.device,
        rise.port,
        rise.by,
        KEPT.as_secs()
    );
    if let Some(meaning) = meaning(name) {
        line.push_str(": ");
        line.push_str(meaning);
    }
    line
}

#[cfg(test)]
mod tests;
