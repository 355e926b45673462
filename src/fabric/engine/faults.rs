//! When faults begin and end, and what they do to hosts, switches and RNICs; links see to themselves.

use std::cmp::Reverse;

use super::state::{Change, Stall};
use super::{Delivery, Engine, RnicId, What};
use crate::fabric::fault::Place;
use crate::fabric::truth::FaultTruth;
use crate::fault::{Effect, Fault, FaultError};
use crate::time::{HostTime, Nanos};
use crate::transport::{Completion, EndpointEvent};

impl Engine {
    /// Plans a fault; `at` counts from the fabric's origin, and what is past begins now.
    ///
    /// # Errors
    /// [`FaultError::Unknown`] when the topology has nothing of that name.
    pub fn inject(&mut self, fault: &Fault) -> Result<(), FaultError> {
        let resolved = fault.resolve(&self.topology)?;
        let number = u32::try_from(self.faults.len()).unwrap_or(u32::MAX);
        let begin = self.origin.saturating_add(Nanos::from(fault.at).0);
        self.plan(begin, true, number);
        if let Some(lasts) = fault.lasts {
            self.plan(begin.saturating_add(Nanos::from(lasts).0), false, number);
        }
        self.faults.push(resolved);
        self.fault_truth.push(FaultTruth::default());
        Ok(())
    }

    fn plan(&mut self, at: i64, begins: bool, fault: u32) {
        let at = at.max(self.now);
        self.changes.push(Reverse(Change { at, begins, fault }));
        self.next_change = self.next_change.min(at);
    }

    pub(super) fn apply_next_change(&mut self, out: &mut Vec<Delivery>) {
        if let Some(Reverse(change)) = self.changes.pop() {
            let places = std::mem::take(&mut self.faults[change.fault as usize].places);
            for (place, effect) in &places {
                if change.begins {
                    self.begin(change.fault, *place, *effect, out);
                } else {
                    self.end(change.fault, *place, *effect, out);
                }
            }
            self.faults[change.fault as usize].places = places;
        }
        self.next_change = self
            .changes
            .peek()
            .map_or(i64::MAX, |Reverse(change)| change.at);
    }

    fn begin(&mut self, fault: u32, place: Place, effect: Effect, out: &mut Vec<Delivery>) {
        let now = self.now;
        match (place, effect) {
            (Place::Link(link), effect) => self.links[link.index()].begin(fault, effect, now),
            (Place::Switch(switch), _) => self.switches[switch.0 as usize].down += 1,
            (Place::Host(host), Effect::Stall(pulse)) => {
                self.hosts[host as usize].stalls.push(Stall {
                    fault,
                    since: now,
                    pulse: Some(pulse),
                });
            }
            (Place::Host(host), _) => self.hosts[host as usize].stalls.push(Stall {
                fault,
                since: now,
                pulse: None,
            }),
            (Place::Rnic(rnic), Effect::ClockStep(step)) => {
                self.rnics[rnic.index()].clock.step(step);
            }
            (Place::Rnic(rnic), Effect::Restart) => {
                self.rnics[rnic.index()].queue_pairs.clear();
                self.report(rnic, EndpointEvent::AddressChanged, out);
            }
            (Place::Rnic(rnic), Effect::Flap(_)) => self.toggle_port(rnic, fault, out),
            (Place::Rnic(rnic), _) => self.report(rnic, EndpointEvent::PortDown, out),
        }
    }

    fn end(&mut self, fault: u32, place: Place, effect: Effect, out: &mut Vec<Delivery>) {
        match (place, effect) {
            (Place::Link(link), _) => self.links[link.index()].end(fault),
            (Place::Switch(switch), _) => {
                let state = &mut self.switches[switch.0 as usize];
                state.down = state.down.saturating_sub(1);
            }
            (Place::Host(host), _) => self.hosts[host as usize]
                .stalls
                .retain(|stall| stall.fault != fault),
            (Place::Rnic(rnic), Effect::Down | Effect::Flap(_)) => {
                self.report(rnic, EndpointEvent::PortActive, out);
            }
            (Place::Rnic(_), _) => {}
        }
    }

    /// Reports a flapping port's present state and plans the next change of it.
    pub(super) fn toggle_port(&mut self, rnic: RnicId, fault: u32, out: &mut Vec<Delivery>) {
        let Some(resolved) = self.faults.get(fault as usize) else {
            return;
        };
        let begin = self.origin.saturating_add(Nanos::from(resolved.fault.at).0);
        let lasts = resolved.fault.lasts.map(|lasts| Nanos::from(lasts).0);
        if lasts.is_some_and(|lasts| self.now >= begin.saturating_add(lasts)) {
            return;
        }
        let Some(pulse) = resolved
            .fault
            .effects
            .iter()
            .find_map(|effect| match effect {
                Effect::Flap(pulse) => Some(*pulse),
                _ => None,
            })
        else {
            return;
        };
        let next = match (pulse.on_until(begin, self.now), pulse.every) {
            (Some(up), _) => {
                self.report(rnic, EndpointEvent::PortDown, out);
                Some(up)
            }
            (None, every) => {
                self.report(rnic, EndpointEvent::PortActive, out);
                every.map(|every| {
                    let every = Nanos::from(every).0.max(1);
                    self.now + every - (self.now - begin).rem_euclid(every)
                })
            }
        };
        if let Some(next) = next {
            self.schedule(
                next,
                What::Port {
                    rnic: rnic.0,
                    fault,
                },
            );
        }
    }

    fn report(&self, rnic: RnicId, event: EndpointEvent, out: &mut Vec<Delivery>) {
        out.push(Delivery {
            at: HostTime::from_nanos(self.now),
            rnic,
            qpn: None,
            completion: Completion::Event(event),
        });
    }
}
