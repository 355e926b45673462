//! Between the RNICs' sockets and the fabric.
//!
//! Three tasks, each of which may be cancelled at any await:
//! - from the socket into the fabric;
//! - out of the fabric (`arrivals`, bounded) to the socket of the queue pair;
//! - what happens to ports (`events`, bounded) and clocks, into the tables that the hosts' libraries read. A look every [`LOOK`]
//!   finds what an event did not tell.

use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use tokio::net::UdpSocket;
use tokio::sync::mpsc;
use tokio::time::MissedTickBehavior;

use super::table::{EmulatedRnic, text};
use crate::fabric::realtime::{Arrival, Bearer, Departure, Fabric, PortEvent};
use crate::fabric::topology::{RnicId, Topology};
use crate::id::{Gid, UdpSourcePort};
use crate::lab::error::LabError;
use crate::time::{Clock, HostTime};
use crate::transport::EndpointEvent;

/// Packets that have arrived and were not handed over: what 1 000 RNICs at 150 probes/s receive in 30 ms.
const ARRIVALS: usize = 8_192;
/// Events of ports.
const EVENTS: usize = 1_024;

/// How often the RNICs' clocks are looked at.
const LOOK: Duration = Duration::from_millis(100);

/// The header of `tests/emulated-rnic/src/carry.rs`; numbers are big-endian.
mod header {
    pub(super) const SOURCE: usize = 0;
    pub(super) const TARGET: usize = 16;
    pub(super) const TIME: usize = 40;
    pub(super) const RECEIVER: usize = 49;
    pub(super) const PORT: usize = 53;
    pub(super) const LENGTH: usize = 55;
}

/// The longest datagram: a header and the largest path MTU.
const LONGEST: usize = header::LENGTH + 4_096;

/// See the module.
pub(in crate::lab) struct Bridge {
    fabric: Fabric,
    clock: Arc<dyn Clock>,
    socket: Arc<UdpSocket>,
    port: u16,
    /// Folder of the hosts' folders.
    folder: PathBuf,
    rnics: Vec<EmulatedRnic>,
    written: Vec<String>,
}

impl Bridge {
    /// Binds the socket and writes the first tables. Host `n` reads `folder/<name>/table`.
    pub(in crate::lab) async fn new(
        fabric: Fabric,
        clock: Arc<dyn Clock>,
        folder: &Path,
    ) -> Result<Self, LabError> {
        let socket = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0))
            .await
            .map_err(LabError::Bridge)?;
        let port = socket.local_addr().map_err(LabError::Bridge)?.port();
        let topology = Arc::clone(fabric.topology());
        let rnics = topology.rnic_ids().map(|id| rnic(&topology, id)).collect();
        let mut bridge = Self {
            fabric,
            clock,
            socket: Arc::new(socket),
            port,
            folder: folder.to_owned(),
            rnics,
            written: topology.hosts().iter().map(|_| String::new()).collect(),
        };
        for host in topology.hosts() {
            std::fs::create_dir_all(folder.join(host.as_str())).map_err(LabError::Folder)?;
        }
        bridge.look_at_clocks().await?;
        bridge.write()?;
        Ok(bridge)
    }

    /// Carries until the fabric stops.
    ///
    /// # Errors
    /// The fabric has stopped, the socket failed, or a table cannot be written.
    pub(in crate::lab) async fn run(mut self) -> Result<(), LabError> {
        let (arrivals, arrived) = mpsc::channel(ARRIVALS);
        let (events, happened) = mpsc::channel(EVENTS);
        self.fabric.bear(Bearer { arrivals, events }).await?;
        let taking = take_in(
            self.fabric.clone(),
            Arc::clone(&self.clock),
            Arc::clone(&self.socket),
        );
        let giving = give_out(Arc::clone(&self.socket), arrived);
        tokio::select! {
            ended = taking => ended,
            ended = giving => ended,
            ended = self.follow(happened) => ended,
        }
    }

    async fn follow(&mut self, mut happened: mpsc::Receiver<PortEvent>) -> Result<(), LabError> {
        let mut looks = tokio::time::interval(LOOK);
        looks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                event = happened.recv() => match event {
                    Some((rnic, event)) => self.take(rnic, event),
                    None => return Ok(()),
                },
                _ = looks.tick() => self.look_at_clocks().await?,
            }
            self.write()?;
        }
    }

    fn take(&mut self, rnic: RnicId, event: EndpointEvent) {
        let Some(rnic) = self.rnics.get_mut(rnic.index()) else {
            return;
        };
        match event {
            EndpointEvent::PortDown => rnic.is_up = false,
            EndpointEvent::PortActive => rnic.is_up = true,
            EndpointEvent::AddressChanged => rnic.restarts += 1,
            EndpointEvent::ReceiveOverflow(_) | EndpointEvent::Unknown(_) => {}
        }
    }

    async fn look_at_clocks(&mut self) -> Result<(), LabError> {
        let ids: Vec<_> = self.fabric.topology().rnic_ids().collect();
        let clocks = self
            .fabric
            .with(move |engine| {
                ids.into_iter()
                    .map(|id| engine.clock_of(id))
                    .collect::<Vec<_>>()
            })
            .await?;
        for (rnic, (ahead, drift)) in self.rnics.iter_mut().zip(clocks) {
            (rnic.ahead, rnic.drift) = (ahead, drift);
        }
        Ok(())
    }

    /// Writes the tables that have changed, each at once.
    fn write(&mut self) -> Result<(), LabError> {
        let topology = Arc::clone(self.fabric.topology());
        for (number, host) in (0_u32..).zip(topology.hosts()) {
            let own = topology.rnics_of(number).map(|id| &self.rnics[id.index()]);
            let text = text(own, self.port);
            let written = &mut self.written[number as usize];
            if *written == text {
                continue;
            }
            let folder = self.folder.join(host.as_str());
            let new = folder.join("table.new");
            std::fs::write(&new, &text)
                .and_then(|()| std::fs::rename(&new, folder.join("table")))
                .map_err(LabError::Folder)?;
            *written = text;
        }
        Ok(())
    }
}

fn rnic(topology: &Topology, id: RnicId) -> EmulatedRnic {
    let rnic = topology.rnic(id);
    EmulatedRnic {
        device: rnic.device.clone(),
        gid: rnic.gid,
        is_up: true,
        ahead: 0,
        drift: 0,
        restarts: 0,
        counter_only: id.0 % 2 == 1,
    }
}

async fn take_in(
    fabric: Fabric,
    clock: Arc<dyn Clock>,
    socket: Arc<UdpSocket>,
) -> Result<(), LabError> {
    let mut datagram = [0; LONGEST];
    loop {
        let length = match socket.recv(&mut datagram).await {
            Ok(length) => length,
            // The socket of a queue pair that is gone, to which something was sent.
            Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => continue,
            Err(error) => return Err(LabError::Bridge(error)),
        };
        if let Some(departure) = departure(fabric.topology(), clock.host(), &datagram[..length]) {
            fabric.carry(departure).await?;
        }
    }
}

/// The packet that a datagram is; `None` for what no emulated RNIC has sent.
fn departure(topology: &Topology, at: HostTime, datagram: &[u8]) -> Option<Departure> {
    let gid = |from| Some(Gid::from_bytes(*field(datagram, from)?));
    field::<{ header::LENGTH }>(datagram, 0)?;
    Some(Departure {
        at,
        rnic: topology.rnic_by_gid(gid(header::SOURCE)?)?,
        to: gid(header::TARGET)?,
        port: UdpSourcePort(u16::from_be_bytes(*field(datagram, header::PORT)?)),
        content: datagram.to_vec(),
    })
}

fn field<const N: usize>(datagram: &[u8], from: usize) -> Option<&[u8; N]> {
    datagram.get(from..)?.first_chunk()
}

async fn give_out(
    socket: Arc<UdpSocket>,
    mut arrived: mpsc::Receiver<Arrival>,
) -> Result<(), LabError> {
    while let Some(arrival) = arrived.recv().await {
        let Some((receiver, datagram)) = stamped(arrival) else {
            continue;
        };
        // A queue pair that is gone takes nothing; a full socket loses it, as a network does.
        if let Err(error) = socket.send_to(&datagram, receiver).await {
            tracing::debug!(%error, %receiver, "a datagram was not handed over");
        }
    }
    Ok(())
}

/// A datagram with the time of its arrival in the place of its departure, and the socket of its receiver.
fn stamped(arrival: Arrival) -> Option<(SocketAddr, Vec<u8>)> {
    let Arrival {
        mut content,
        transit,
    } = arrival;
    let departed = u64::from_be_bytes(*field(&content, header::TIME)?);
    let transit = u64::try_from(transit.as_nanos()).ok()?;
    let arrived = departed.saturating_add(transit).to_be_bytes();
    let receiver = u32::from_be_bytes(*field(&content, header::RECEIVER)?);
    content
        .get_mut(header::TIME..header::TIME + arrived.len())?
        .copy_from_slice(&arrived);
    // The number of an emulated queue pair is its socket's port.
    let port = u16::try_from(receiver).ok()?;
    Some(((Ipv4Addr::LOCALHOST, port).into(), content))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fabric::Shape;

    fn datagram(topology: &Topology) -> Vec<u8> {
        let gid = |number| topology.rnic(RnicId(number)).gid.bytes();
        let mut bytes = vec![0; header::LENGTH];
        bytes[..16].copy_from_slice(&gid(0));
        bytes[16..32].copy_from_slice(&gid(1));
        bytes[40..48].copy_from_slice(&1_000_u64.to_be_bytes());
        bytes[49..53].copy_from_slice(&40_000_u32.to_be_bytes());
        bytes[53..55].copy_from_slice(&0xc123_u16.to_be_bytes());
        bytes.extend(b"payload");
        bytes
    }

    #[test]
    fn a_datagram_becomes_a_packet_and_a_datagram_again() {
        let topology = Topology::new(Shape::default(), 0).expect("a fabric");
        let bytes = datagram(&topology);
        let at = HostTime::from_nanos(5);
        let packet = departure(&topology, at, &bytes).expect("a packet");
        assert_eq!((packet.rnic, packet.at), (RnicId(0), at));
        assert_eq!(packet.to, topology.rnic(RnicId(1)).gid);
        assert_eq!(packet.port, UdpSourcePort(0xc123));
        let arrival = Arrival {
            content: packet.content,
            transit: Duration::from_nanos(234),
        };
        let (receiver, content) = stamped(arrival).expect("a receiver");
        assert_eq!(receiver, SocketAddr::from((Ipv4Addr::LOCALHOST, 40_000)));
        assert_eq!(content[40..48], 1_234_u64.to_be_bytes());
        assert_eq!(
            (&content[..40], &content[48..]),
            (&bytes[..40], &bytes[48..])
        );
    }

    #[test]
    fn what_is_no_datagram_is_passed_over() {
        let topology = Topology::new(Shape::default(), 0).expect("a fabric");
        let at = HostTime::from_nanos(5);
        let whole = datagram(&topology);
        assert!(departure(&topology, at, &whole[..54]).is_none());
        assert!(departure(&topology, at, &[]).is_none());
        let mut foreign = whole.clone();
        foreign[0] ^= 0x55;
        assert!(departure(&topology, at, &foreign).is_none());
        let mut nowhere = whole;
        nowhere[49] = 1;
        let arrival = Arrival {
            content: nowhere,
            transit: Duration::ZERO,
        };
        assert!(stamped(arrival).is_none());
    }
}
