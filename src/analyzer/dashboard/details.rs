//! What a picture of the past holds beside the matrix: services, and the paths that lost probes.
//!
//! Both are bounded: [`MOST_SERVICES`] services with [`MOST_PAIRS`] pairs of ToRs each, and the [`MOST_PATHS`] paths that
//! lost most. Paths without loss are not kept one by one; the matrix has what they add up to.

use std::collections::{BTreeSet, HashMap};
use std::ops::Range;

use serde::{Deserialize, Serialize};

use crate::analysis::report::End;
use crate::analysis::windows::{PathView, Slot, Sums};
use crate::analyzer::state::State;
use crate::api::list::Value;
use crate::id::{Gid, ServiceName, TorId};
use crate::probe::trace::{Route, Tuple};
use crate::time::Nanos;

/// Services of one picture, those with most probes.
const MOST_SERVICES: usize = 200;
/// Pairs of ToRs of one service, those that lose most.
const MOST_PAIRS: usize = 20;
/// Paths of one picture, those that lose most: some 300 bytes each.
const MOST_PATHS: usize = 300;

/// What was measured.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Numbers {
    pub(super) sent: u64,
    pub(super) lost: u64,
    pub(super) invalid: u64,
    pub(super) rtt_p50: Option<Nanos>,
    pub(super) rtt_p99: Option<Nanos>,
    pub(super) prober_p99: Option<Nanos>,
    pub(super) responder_p99: Option<Nanos>,
}

impl Numbers {
    /// The share of lost probes; 0 without any.
    pub(super) fn loss(&self) -> f64 {
        self.lost as f64 / self.sent.max(1) as f64
    }
}

impl From<&Sums> for Numbers {
    fn from(sums: &Sums) -> Self {
        Self {
            sent: sums.sent,
            lost: sums.lost,
            invalid: sums.invalid.iter().sum(),
            rtt_p50: sums.network_rtt.quantile(0.5),
            rtt_p99: sums.network_rtt.quantile(0.99),
            prober_p99: sums.prober_delay.quantile(0.99),
            responder_p99: sums.responder_delay.quantile(0.99),
        }
    }
}

/// One end of a path, for people.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Rnic {
    pub(super) host: String,
    pub(super) device: String,
    pub(super) tor: String,
    pub(super) gid: String,
}

impl From<&End> for Rnic {
    fn from(end: &End) -> Self {
        Self {
            host: end.host.to_string(),
            device: end.device.to_string(),
            tor: end.tor.to_string(),
            gid: end.gid.to_string(),
        }
    }
}

impl Rnic {
    /// By what a list finds it.
    pub(super) fn names(&self) -> Value<'_> {
        let names = [&self.host, &self.device, &self.gid, &self.tor];
        Value::Texts(names.map(Into::into).to_vec())
    }
}

/// A path that lost probes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Lossy {
    pub(super) source: Rnic,
    pub(super) target: Rnic,
    pub(super) port: Option<u16>,
    pub(super) kind: String,
    pub(super) service: Option<String>,
    pub(super) numbers: Numbers,
    /// The switches that traces had shown, empty names for those that never answered; none while it was not traced.
    pub(super) way: Vec<String>,
}

/// What a service's own paths went through.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Service {
    pub(super) name: String,
    pub(super) paths: usize,
    pub(super) rnics: usize,
    pub(super) numbers: Numbers,
    /// Source, target, paths between them.
    pub(super) pairs: Vec<(String, String, usize, Numbers)>,
}

/// All of it.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Details {
    /// Those with most probes first.
    pub(super) services: Vec<Service>,
    /// Services that are not among them.
    pub(super) more_services: usize,
    /// Those that lost most first.
    pub(super) lossy: Vec<Lossy>,
    /// Paths that lost probes and are not among them.
    pub(super) more_lossy: usize,
}

#[derive(Default)]
struct Gathered {
    paths: usize,
    rnics: BTreeSet<Gid>,
    sums: Sums,
    pairs: HashMap<(TorId, TorId), (usize, Sums)>,
}

/// Takes paths one after another.
#[derive(Default)]
pub(super) struct Gatherer {
    services: HashMap<ServiceName, Gathered>,
    lossy: Vec<Lossy>,
    lossy_paths: usize,
}

impl Gatherer {
    /// Takes a path that has results in these slots.
    pub(super) fn take(&mut self, state: &State, path: PathView<'_>, slots: &Range<Slot>) {
        if let Some(name) = path.service() {
            if !self.services.contains_key(name) {
                self.services.insert(name.clone(), Gathered::default());
            }
            if let Some(service) = self.services.get_mut(name) {
                service.paths += 1;
                service.rnics.extend([path.source().gid, path.target().gid]);
                path.add_to(slots, &mut service.sums);
                let tors = (path.source().tor.clone(), path.target().tor.clone());
                let (paths, sums) = service.pairs.entry(tors).or_default();
                *paths += 1;
                path.add_to(slots, sums);
            }
        }
        if path.counts(slots).all(|slot| slot.lost == 0) {
            return;
        }
        self.lossy_paths += 1;
        self.lossy.push(lossy(state, path, slots));
        if self.lossy.len() >= 4 * MOST_PATHS {
            self.forget_better_ones();
        }
    }

    fn forget_better_ones(&mut self) {
        self.lossy
            .sort_by_key(|path| std::cmp::Reverse(path.numbers.lost));
        self.lossy.truncate(MOST_PATHS);
    }

    pub(super) fn finish(mut self) -> Details {
        self.forget_better_ones();
        let mut services: Vec<Service> = self
            .services
            .into_iter()
            .map(|(name, gathered)| service(&name, gathered))
            .collect();
        services.sort_by(|a, b| {
            b.numbers
                .sent
                .cmp(&a.numbers.sent)
                .then_with(|| a.name.cmp(&b.name))
        });
        let more_services = services.len().saturating_sub(MOST_SERVICES);
        services.truncate(MOST_SERVICES);
        Details {
            services,
            more_services,
            more_lossy: self.lossy_paths - self.lossy.len(),
            lossy: self.lossy,
        }
    }
}

fn service(name: &ServiceName, gathered: Gathered) -> Service {
    let mut pairs: Vec<_> = gathered
        .pairs
        .into_iter()
        .map(|((source, target), (paths, sums))| {
            let numbers = Numbers::from(&sums);
            (source.to_string(), target.to_string(), paths, numbers)
        })
        .collect();
    pairs.sort_by(|a, b| {
        b.3.loss()
            .total_cmp(&a.3.loss())
            .then_with(|| (&a.0, &a.1).cmp(&(&b.0, &b.1)))
    });
    pairs.truncate(MOST_PAIRS);
    Service {
        name: name.to_string(),
        paths: gathered.paths,
        rnics: gathered.rnics.len(),
        numbers: Numbers::from(&gathered.sums),
        pairs,
    }
}

fn lossy(state: &State, path: PathView<'_>, slots: &Range<Slot>) -> Lossy {
    let mut sums = Sums::default();
    path.add_to(slots, &mut sums);
    let sums = sums.with_focused();
    let route = path.source_port().and_then(|port| {
        let tuple = Tuple {
            source: path.source().gid,
            target: path.target().gid,
            port,
        };
        state.paths.get(&tuple)?.route()
    });
    Lossy {
        source: path.source().into(),
        target: path.target().into(),
        port: path.source_port().map(|port| port.0),
        kind: path.kind().name().to_owned(),
        service: path.service().map(ToString::to_string),
        numbers: Numbers::from(&sums),
        way: route.map(names).unwrap_or_default(),
    }
}

/// The switches of a route; empty names for those that never answered.
pub(super) fn names(route: &Route) -> Vec<String> {
    route
        .hops()
        .iter()
        .map(|hop| hop.as_ref().map(ToString::to_string).unwrap_or_default())
        .collect()
}
