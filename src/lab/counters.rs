//! What the emulated RNICs have counted, as their agents read it: the names are those of an mlx5.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use crate::analysis::hardware::CounterName;
use crate::fabric::Engine;
use crate::hardware::{Counters, Source};
use crate::id::{DeviceName, HostName};
use crate::transport::RnicName;

type All = HashMap<(HostName, DeviceName), Counters>;

/// The counters of all RNICs of the fabric; clones share them.
#[derive(Debug, Clone, Default)]
pub(super) struct EmulatedCounters(Arc<Mutex<All>>);

/// Those of one host.
#[derive(Debug)]
pub(super) struct OfHost {
    host: HostName,
    all: EmulatedCounters,
}

impl EmulatedCounters {
    pub(super) fn set(&self, counted: All) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = counted;
    }

    pub(super) fn of_host(&self, host: HostName) -> OfHost {
        OfHost {
            host,
            all: self.clone(),
        }
    }
}

impl Source for OfHost {
    fn read(&self, name: &RnicName) -> Counters {
        let all = self.all.0.lock().unwrap_or_else(PoisonError::into_inner);
        let key = (self.host.clone(), name.device.clone());
        all.get(&key).cloned().unwrap_or_default()
    }
}

/// What the engine has counted.
pub(super) fn read(engine: &mut Engine) -> All {
    let topology = Arc::clone(engine.topology());
    let name = CounterName::new("rx_icrc_encapsulated");
    topology
        .rnic_ids()
        .map(|id| {
            let rnic = topology.rnic(id);
            let counted = engine.rnic_counters(id);
            let counters = name
                .iter()
                .map(|name| (name.clone(), counted.icrc_errors))
                .collect();
            ((rnic.host.clone(), rnic.device.clone()), counters)
        })
        .collect()
}
