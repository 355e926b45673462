//! Packets that others bring and take away, while they are under way.
//!
//! One [`Bearer`] takes all of them, and what happens to the RNICs' ports.

use std::collections::HashMap;
use std::time::Duration;

use tokio::sync::mpsc;

use crate::fabric::engine::{Carried, Engine};
use crate::fabric::topology::RnicId;
use crate::id::{Gid, UdpSourcePort};
use crate::time::HostTime;
use crate::transport::{Completion, EndpointEvent};

/// A packet is lost if it has not arrived so long after its departure: longer than any queue holds one.
const LONGEST: Duration = Duration::from_secs(10);

/// With so many under way those that are lost are looked for.
const MANY: usize = 4_096;

/// A packet to carry.
#[derive(Debug)]
pub struct Departure {
    /// When it leaves its host, by the fabric's clock.
    pub at: HostTime,
    /// Its RNIC.
    pub rnic: RnicId,
    /// Its destination.
    pub to: Gid,
    /// Its UDP source port.
    pub port: UdpSourcePort,
    /// Whatever its sender wants to have at its destination.
    pub content: Vec<u8>,
}

/// A packet that has arrived.
#[derive(Debug)]
pub struct Arrival {
    /// As it was given.
    pub content: Vec<u8>,
    /// How long it was under way.
    pub transit: Duration,
}

/// Something happened to the port of an RNIC.
pub type PortEvent = (RnicId, EndpointEvent);

/// Where packets and events go. What finds no room is dropped, as by a receiver that is too slow.
#[derive(Debug)]
pub struct Bearer {
    /// Packets.
    pub arrivals: mpsc::Sender<Arrival>,
    /// Events.
    pub events: mpsc::Sender<PortEvent>,
}

struct UnderWay {
    content: Vec<u8>,
    departed: HostTime,
}

/// See the module.
#[derive(Default)]
pub(super) struct Carrying {
    begun: u64,
    under_way: HashMap<u64, UnderWay>,
    bearer: Option<Bearer>,
}

impl Carrying {
    pub(super) fn give_to(&mut self, bearer: Bearer) {
        self.bearer = Some(bearer);
    }

    pub(super) fn begin(&mut self, departure: Departure, engine: &mut Engine) {
        if self.under_way.len() >= MANY {
            let now = engine.now();
            self.under_way
                .retain(|_, packet| now.since(packet.departed) < LONGEST);
        }
        self.begun += 1;
        let payload = departure.content.len() as u64;
        let way = (departure.to, departure.port);
        let departed = engine.carry(departure.at, departure.rnic, way, payload, self.begun);
        let packet = UnderWay {
            content: departure.content,
            departed,
        };
        self.under_way.insert(self.begun, packet);
    }

    pub(super) fn deliver(&mut self, carried: &mut Vec<Carried>) {
        for Carried { number, arrived } in carried.drain(..) {
            let (Some(packet), Some(bearer)) = (self.under_way.remove(&number), &self.bearer)
            else {
                continue;
            };
            // See [`Bearer`].
            let _ = bearer.arrivals.try_send(Arrival {
                content: packet.content,
                transit: arrived.since(packet.departed),
            });
        }
    }

    pub(super) fn report(&self, rnic: RnicId, completion: Completion) {
        if let (Completion::Event(event), Some(bearer)) = (completion, &self.bearer) {
            // See [`Bearer`].
            let _ = bearer.events.try_send((rnic, event));
        }
    }
}
