//! What the paths of a snapshot cross, kept between runs of the judge: only what has changed is worked out again.
//!
//! Components, RNICs and legs are numbered. A path is four numbers: its two RNICs, its leg there and its leg back. Millions of paths
//! then take little memory, and a pass over all of them compares no names.

mod changed;
pub(super) mod parts;

use std::collections::HashMap;
use std::sync::Arc;

use self::changed::Changed;
use super::bonds::tors_of_bonds;
use super::path_counts::PathCounts;
use super::snapshot::Snapshot;
use crate::analysis::localize::{Component, ComponentId};
use crate::analysis::report::End;
use crate::analysis::routes::{CLOUD, Leg, Origin, Routes};
use crate::id::UdpSourcePort;
use crate::probe::trace::Tuple;

/// Links between an RNIC and its ToR that a probe and its ACK cross, at both ends together.
const HOST_LINKS: f64 = 4.0;
/// No number.
pub(super) const NONE: u32 = u32::MAX;
/// Numbers of components of legs that are gone, from which on everything is numbered again if they are more than half of all.
const MUCH_WASTE: usize = 1 << 16;

/// An RNIC at the end of paths.
#[derive(Debug)]
pub(super) struct KnownEnd {
    pub(super) end: Arc<End>,
    pub(super) rnic: ComponentId,
    pub(super) tor: ComponentId,
    paths: u32,
}

/// What lies between two ToRs, one way.
#[derive(Debug)]
struct KnownLeg {
    leg: Arc<Leg>,
    /// Where its components begin in [`Board::legs_cross`], and how many they are.
    first: usize,
    count: usize,
    links: f64,
    doubt: f64,
    is_traced: bool,
    /// All its components are crossed by all packets.
    is_single: bool,
    paths: u32,
}

/// What one path crosses.
#[derive(Debug, Clone, Copy)]
pub(super) struct Place {
    /// [`NONE`]: this row has no path.
    pub(super) source: u32,
    pub(super) target: u32,
    /// [`NONE`] for paths under one ToR.
    there: u32,
    back: u32,
    port: Option<UdpSourcePort>,
}

impl Place {
    const EMPTY: Self = Self {
        source: NONE,
        target: NONE,
        there: NONE,
        back: NONE,
        port: None,
    };

    pub(super) fn ends(self) -> [usize; 2] {
        [self.source as usize, self.target as usize]
    }

    pub(super) fn legs(self) -> impl Iterator<Item = usize> {
        [self.there, self.back]
            .into_iter()
            .filter(|leg| *leg != NONE)
            .map(|leg| leg as usize)
    }
}

/// Numbers for components.
#[derive(Debug, Default)]
struct Names {
    components: Vec<Component>,
    ids: HashMap<Component, ComponentId>,
}

impl Names {
    fn id(&mut self, component: &Component) -> ComponentId {
        if let Some(id) = self.ids.get(component) {
            return *id;
        }
        // 2^32 names do not fit into memory.
        let id = ComponentId(u32::try_from(self.components.len()).unwrap_or(NONE));
        self.components.push(component.clone());
        self.ids.insert(component.clone(), id);
        id
    }
}

/// What the paths cross. See the module.
#[derive(Debug, Default)]
pub(super) struct Board {
    names: Names,
    pub(super) ends: Vec<KnownEnd>,
    /// By the address of an end, which paths share.
    ends_by_address: HashMap<usize, u32>,
    free_ends: Vec<u32>,
    legs: Vec<KnownLeg>,
    legs_by_address: HashMap<usize, u32>,
    free_legs: Vec<u32>,
    /// The components of all legs.
    legs_cross: Vec<ComponentId>,
    /// Components of legs and RNICs that are gone.
    waste: usize,
    places: Vec<Place>,
    /// The ToRs that packets cross where an end is a bond, with the share of the packets that cross each, by place.
    bonds: HashMap<usize, Vec<(ComponentId, f64)>>,
    cloud: Option<ComponentId>,
}

impl Board {
    /// Takes in which paths a snapshot has and how they are routed.
    pub(super) fn follow(&mut self, routes: &mut Routes, snapshot: &Snapshot) {
        let changes = routes.take_changes();
        if changes.all || self.waste > MUCH_WASTE.max(self.legs_cross.len() / 2) {
            *self = Self::default();
        }
        for at in snapshot.seen.len()..self.places.len() {
            self.release(at);
        }
        self.places.resize(snapshot.seen.len(), Place::EMPTY);
        let changed = Changed::of(&changes, self.ends.iter().map(|known| &*known.end));
        for (at, seen) in snapshot.seen.iter().enumerate() {
            match seen {
                None if self.places[at].source == NONE => {}
                None => self.release(at),
                Some(seen) => {
                    let place = self.places[at];
                    if !self.is_of(place, seen) || changed.holds(&changes, place.ends(), seen) {
                        self.release(at);
                        self.set(at, seen, routes);
                    }
                }
            }
        }
    }

    fn is_of(&self, place: Place, seen: &PathCounts) -> bool {
        place.source != NONE
            && place.port == seen.port
            && Arc::ptr_eq(&self.ends[place.source as usize].end, &seen.source)
            && Arc::ptr_eq(&self.ends[place.target as usize].end, &seen.target)
    }

    /// Takes a path out.
    fn release(&mut self, at: usize) {
        let place = std::mem::replace(&mut self.places[at], Place::EMPTY);
        if place.source == NONE {
            return;
        }
        self.bonds.remove(&at);
        for number in [place.source, place.target] {
            let known = &mut self.ends[number as usize];
            known.paths -= 1;
            if known.paths == 0 {
                self.waste += 2;
                self.ends_by_address.remove(&address(&known.end));
                self.free_ends.push(number);
            }
        }
        for number in [place.there, place.back] {
            let Some(known) = self.legs.get_mut(number as usize) else {
                continue;
            };
            known.paths -= 1;
            if known.paths == 0 {
                self.waste += known.count;
                self.legs_by_address.remove(&address(&known.leg));
                self.free_legs.push(number);
            }
        }
    }

    fn set(&mut self, at: usize, seen: &PathCounts, routes: &mut Routes) {
        let (source, target) = (&seen.source, &seen.target);
        let legs = (!seen.is_under_one_tor()).then(|| {
            let tuple = |source, target| {
                seen.port.map(|port| Tuple {
                    source,
                    target,
                    port,
                })
            };
            // Responders answer with the probe's own source port.
            [
                routes.leg(&source.tor, &target.tor, tuple(source.gid, target.gid)),
                routes.leg(&target.tor, &source.tor, tuple(target.gid, source.gid)),
            ]
        });
        // Components are numbered in this order, and of two that explain the same the first is named.
        for end in [source, target] {
            self.names.id(&Component::rnic(end.rnic()));
        }
        let (source, target) = (self.end(source), self.end(target));
        let bonds = tors_of_bonds(routes, seen, legs.as_ref().map_or(&[], |legs| legs));
        if !bonds.is_empty() {
            let bonds = bonds.into_iter().map(|(tor, share)| {
                let name = tor.as_str().to_owned();
                (self.names.id(&Component::Switch { name }), share)
            });
            self.bonds.insert(at, bonds.collect());
        }
        if legs.is_some() && self.cloud.is_none() {
            let name = CLOUD.to_owned();
            self.cloud = Some(self.names.id(&Component::Switch { name }));
        }
        let [there, back] = match &legs {
            Some([there, back]) => [self.leg(there), self.leg(back)],
            None => [NONE; 2],
        };
        self.places[at] = Place {
            source,
            target,
            there,
            back,
            port: seen.port,
        };
    }

    /// The number of an end, which one more path has.
    fn end(&mut self, end: &Arc<End>) -> u32 {
        if let Some(number) = self.ends_by_address.get(&address(end)) {
            self.ends[*number as usize].paths += 1;
            return *number;
        }
        let name = end.tor.as_str().to_owned();
        let known = KnownEnd {
            end: Arc::clone(end),
            rnic: self.names.id(&Component::rnic(end.rnic())),
            tor: self.names.id(&Component::Switch { name }),
            paths: 1,
        };
        let number = put(&mut self.ends, &mut self.free_ends, known);
        self.ends_by_address.insert(address(end), number);
        number
    }

    /// The number of a leg, which one more path has.
    fn leg(&mut self, leg: &Arc<Leg>) -> u32 {
        if let Some(number) = self.legs_by_address.get(&address(leg)) {
            self.legs[*number as usize].paths += 1;
            return *number;
        }
        let first = self.legs_cross.len();
        for (component, _) in &leg.shares {
            let id = self.names.id(component);
            self.legs_cross.push(id);
        }
        let known = KnownLeg {
            leg: Arc::clone(leg),
            first,
            count: leg.shares.len(),
            links: leg.links,
            doubt: leg.doubt,
            is_traced: leg.origin == Origin::Traced,
            is_single: leg
                .shares
                .iter()
                .all(|(_, share)| share.to_bits() == 1_f64.to_bits()),
            paths: 1,
        };
        let number = put(&mut self.legs, &mut self.free_legs, known);
        self.legs_by_address.insert(address(leg), number);
        number
    }

    /// The components of a leg with the share of the packets that cross each.
    fn leg_parts(&self, number: usize) -> impl Iterator<Item = (ComponentId, f64)> + '_ {
        let known = &self.legs[number];
        let ids = &self.legs_cross[known.first..known.first + known.count];
        ids.iter().enumerate().map(|(at, id)| {
            let share = if known.is_single {
                1.0
            } else {
                known.leg.shares[at].1
            };
            (*id, share)
        })
    }

    /// How many numbers of legs there are.
    pub(super) const fn legs(&self) -> usize {
        self.legs.len()
    }

    /// The components that a leg crosses, or may cross.
    pub(super) fn leg_components(&self, number: usize) -> impl Iterator<Item = ComponentId> + '_ {
        let known = &self.legs[number];
        self.legs_cross[known.first..known.first + known.count]
            .iter()
            .copied()
    }

    /// Links that a path's probe and its ACK cross.
    pub(super) fn links(&self, at: usize) -> f64 {
        let legs = self.places[at].legs().map(|leg| self.legs[leg].links);
        legs.fold(HOST_LINKS, |all, links| all + links)
    }

    /// The fabric between the ToRs, if there is a path between two.
    pub(super) const fn cloud(&self) -> Option<ComponentId> {
        self.cloud
    }

    /// Whether a path crosses it: its ends are under two ToRs.
    pub(super) fn crosses_fabric(&self, at: usize) -> bool {
        let [source, target] = self.places[at].ends().map(|end| self.ends[end].tor);
        source != target
    }

    /// Whether one of a path's ends is a bond: then it crosses other ToRs than those of its ends.
    pub(super) fn has_bonds(&self, at: usize) -> bool {
        !self.bonds_of(at).is_empty()
    }

    fn bonds_of(&self, at: usize) -> &[(ComponentId, f64)] {
        if self.bonds.is_empty() {
            return &[];
        }
        self.bonds.get(&at).map_or(&[], Vec::as_slice)
    }

    /// Share of a path's packets that cross a switch as the ToR of one of the ends.
    fn share_of_tor(&self, at: usize, tor: ComponentId) -> f64 {
        match self.bonds_of(at) {
            [] => {
                let ends = self.places[at].ends();
                let is_tor = ends.iter().any(|end| self.ends[*end].tor == tor);
                f64::from(u8::from(is_tor))
            }
            bonds => {
                let found = bonds.iter().find(|(known, _)| *known == tor);
                found.map_or(0.0, |(_, share)| *share)
            }
        }
    }

    /// Share of a path's packets that cross a link or a switch.
    pub(super) fn share(&self, at: usize, component: ComponentId) -> f64 {
        if Some(component) == self.cloud {
            return f64::from(u8::from(self.places[at].there != NONE));
        }
        let as_tor = self.share_of_tor(at, component);
        if as_tor > 0.0 {
            return as_tor;
        }
        self.places[at]
            .legs()
            .flat_map(|leg| self.leg_parts(leg))
            .filter(|(other, _)| *other == component)
            .map(|(_, share)| share)
            .sum()
    }

    pub(super) fn place(&self, at: usize) -> Place {
        self.places[at]
    }

    pub(super) fn places(&self) -> &[Place] {
        &self.places
    }

    /// The leg of a path's probes; `None` for one under one ToR.
    pub(super) fn there(&self, at: usize) -> Option<&Leg> {
        let leg = self.legs.get(self.places[at].there as usize)?;
        Some(&leg.leg)
    }

    /// The leg of its ACKs.
    pub(super) fn back(&self, at: usize) -> Option<&Leg> {
        let leg = self.legs.get(self.places[at].back as usize)?;
        Some(&leg.leg)
    }

    /// The source that a path's hops are known from.
    pub(super) fn origin(&self, at: usize) -> Origin {
        self.legs
            .get(self.places[at].there as usize)
            .map_or(Origin::Traced, |known| {
                if known.is_traced {
                    Origin::Traced
                } else {
                    known.leg.origin
                }
            })
    }

    /// How many components have a number.
    pub(super) fn components(&self) -> usize {
        self.names.components.len()
    }

    /// A component by its number.
    pub(super) fn component(&self, id: ComponentId) -> &Component {
        &self.names.components[id.0 as usize]
    }

    /// The number of a component that some path crosses, or has crossed.
    pub(super) fn id(&self, component: &Component) -> Option<ComponentId> {
        self.names.ids.get(component).copied()
    }

    /// Whether a component is a link.
    pub(super) fn is_link(&self, at: usize) -> bool {
        matches!(self.names.components[at], Component::Link { .. })
    }
}

/// The address of what is shared: it stays that of this thing as long as it is held.
fn address<T>(shared: &Arc<T>) -> usize {
    Arc::as_ptr(shared).addr()
}

/// Puts a thing in a free place, or behind the others.
fn put<T>(things: &mut Vec<T>, free: &mut Vec<u32>, thing: T) -> u32 {
    if let Some(number) = free.pop() {
        things[number as usize] = thing;
        return number;
    }
    things.push(thing);
    u32::try_from(things.len() - 1).unwrap_or(NONE)
}
