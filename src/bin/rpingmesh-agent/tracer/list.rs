//! Lists the queue pairs over RDMA netlink.

use std::collections::HashMap;
use std::io::{self, Read as _, Write as _};
use std::time::Duration;

use rpingmesh::error::describe;
use rpingmesh::id::Qpn;
use rpingmesh::service::flow::{ListedQp, Owner, QpKey, QpType};
use rpingmesh::service::netlink::{self, CONNECTION_MANAGER, Device, NetlinkError, Part};
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
    let (devices, odd_devices) = socket.devices()?;
    odd += odd_devices;
    for device in devices {
        let begin = qps.len();
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
                owner: match qp.kernel {
                    // The kernel makes it for a process, and does not say for which.
                    Some(_) if qp.qp_type == QpType::XrcTarget => None,
                    Some(module) => Some(Owner::module(&module)),
                    None => qp.pid.and_then(|pid| owners.get(pid)),
                },
            }));
            between();
        })?;
        name_modules(&mut socket, &device, &mut qps[begin..]);
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

/// Which kernel modules have queue pairs that the connection manager made, on all devices.
///
/// # Errors
/// [`ListError`].
pub(super) fn modules() -> Result<HashMap<QpKey, String>, ListError> {
    let mut socket = Netlink::open()?;
    let mut all = HashMap::new();
    for device in socket.devices()?.0 {
        let found = socket.modules(&device)?;
        all.extend(found.into_iter().map(|(qpn, module)| {
            let device = device.name.clone();
            (QpKey { device, qpn }, module)
        }));
    }
    Ok(all)
}

/// Puts the module for which the connection manager made a queue pair in its place.
fn name_modules(socket: &mut Netlink, device: &Device, qps: &mut [ListedQp]) {
    let is_managed = |owner: &&mut Owner| owner.is_kernel && owner.comm == CONNECTION_MANAGER;
    let mut managed = qps
        .iter_mut()
        .filter_map(|qp| Some((qp.key.qpn, qp.owner.as_mut().filter(is_managed)?)))
        .peekable();
    if managed.peek().is_none() {
        return;
    }
    match socket.modules(device) {
        Ok(modules) => {
            for (qpn, owner) in managed {
                if let Some(module) = modules.get(&qpn) {
                    *owner = Owner::module(module);
                }
            }
        }
        // They keep the connection manager's name.
        Err(error) => tracing::debug!(error = describe(&error), "no listing of cm_ids"),
    }
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

    /// All devices, and how many entries were not understood.
    fn devices(&mut self) -> Result<(Vec<Device>, usize), ListError> {
        let (mut devices, mut odd) = (Vec::new(), 0);
        self.ask(netlink::ask_devices, netlink::devices, |part| {
            devices.extend(part.items);
            odd += part.odd;
        })?;
        Ok((devices, odd))
    }

    /// Which kernel modules have queue pairs that the connection manager made on a device.
    fn modules(&mut self, device: &Device) -> Result<HashMap<Qpn, String>, ListError> {
        let mut modules = HashMap::new();
        let ask = |sequence| netlink::ask_cm_ids(sequence, device.index);
        self.ask(ask, netlink::cm_ids, |part| {
            let named = part.items.into_iter();
            modules.extend(named.filter_map(|id| Some((id.qpn, id.kernel?))));
        })?;
        Ok(modules)
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
