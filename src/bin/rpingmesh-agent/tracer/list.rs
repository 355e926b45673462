//! Lists the queue pairs over RDMA netlink.

use std::io::{self, Read as _, Write as _};
use std::time::Duration;

use rpingmesh::service::flow::{ListedQp, QpKey};
use rpingmesh::service::netlink::{self, NetlinkError, Part};
use rpingmesh::service::trace::Listing;
use rpingmesh::time::HostTime;
use socket2::{Domain, Protocol, Socket, Type};

use super::cgroups::Cgroups;
use super::environment::Environments;
use super::owners::Owners;

/// The kernel answers within the call; what takes longer never comes.
const PATIENCE: Duration = Duration::from_secs(2);

/// The namespace of all processes; `PROC_PID_INIT_INO` of Linux `include/linux/proc_ns.h`.
const FIRST_PID_NAMESPACE: &str = "pid:[4026531836]";

/// Why there is no listing.
#[derive(Debug, thiserror::Error)]
pub(super) enum ListError {
    /// The socket fails; `EPROTONOSUPPORT` where `ib_core` is not loaded.
    #[error("RDMA netlink cannot be used")]
    Socket(#[from] io::Error),
    /// The kernel's answer.
    #[error(transparent)]
    Answer(#[from] NetlinkError),
}

/// All queue pairs of all devices. `between` is called whenever a part of them has come.
///
/// # Errors
/// [`ListError`].
pub(super) fn list(
    cgroups: &Cgroups,
    environments: &Environments,
    now: HostTime,
    mut between: impl FnMut(),
) -> Result<Listing, ListError> {
    let mut socket = Netlink::open()?;
    let mut owners = Owners::new(cgroups, environments);
    let mut qps = Vec::new();
    let mut odd = 0;
    let mut devices = Vec::new();
    socket.ask(netlink::ask_devices, netlink::devices, |part| {
        devices.extend(part.items);
        odd += part.odd;
    })?;
    for device in devices {
        let ask = |sequence| netlink::ask_queue_pairs(sequence, device.index);
        socket.ask(ask, netlink::queue_pairs, |part| {
            odd += part.odd;
            qps.extend(part.items.into_iter().map(|qp| ListedQp {
                key: QpKey {
                    device: device.name.clone(),
                    qpn: qp.qpn,
                },
                qp_type: qp.qp_type,
                port: qp.port,
                state: qp.state,
                remote_qpn: qp.remote_qpn.filter(|qpn| qpn.get() != 0),
                owner: qp.pid.and_then(|pid| owners.get(pid)),
            }));
            between();
        })?;
    }
    if odd > 0 {
        tracing::warn!(entries = odd, "RDMA netlink lists what is not understood");
    }
    Ok(Listing {
        qps,
        taken_from: now,
        complete: sees_all_processes(),
        events: Vec::new(),
    })
}

/// In another PID namespace the kernel leaves out what belongs to processes that are not seen there.
fn sees_all_processes() -> bool {
    std::fs::read_link("/proc/self/ns/pid")
        .is_ok_and(|namespace| namespace.as_os_str() == FIRST_PID_NAMESPACE)
}

struct Netlink {
    socket: Socket,
    sequence: u32,
    buffer: Vec<u8>,
}

impl Netlink {
    fn open() -> io::Result<Self> {
        let family = Domain::from(libc::AF_NETLINK);
        let socket = Socket::new(family, Type::RAW, Some(Protocol::from(netlink::PROTOCOL)))?;
        socket.set_read_timeout(Some(PATIENCE))?;
        Ok(Self {
            socket,
            sequence: 0,
            buffer: vec![0; netlink::DATAGRAM],
        })
    }

    /// One request and all datagrams of its answer.
    fn ask<T>(
        &mut self,
        request: impl Fn(u32) -> Vec<u8>,
        read: impl Fn(&[u8], u32) -> Result<Part<T>, NetlinkError>,
        mut take: impl FnMut(Part<T>),
    ) -> Result<(), ListError> {
        self.sequence += 1;
        self.socket.write_all(&request(self.sequence))?;
        loop {
            let length = self.socket.read(&mut self.buffer)?;
            let part = read(&self.buffer[..length], self.sequence)?;
            let last = part.last;
            take(part);
            if last {
                return Ok(());
            }
        }
    }
}
