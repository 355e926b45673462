//! A queue pair that shows whether the service tracer reads the kernel's structures at the right places: see
//! [`proof`](rpingmesh::service::proof).

use std::io;
use std::sync::Arc;

use rdma_core_sys::Library;
use rpingmesh::error::describe;
use rpingmesh::service::proof::Specimen;
use rpingmesh::transport::Class;

use super::address::Route;
use super::completion::{CompletionQueue, Format};
use super::handles::{Channel, Origin, ProtectionDomain, QueuePair, address_vector};
use super::ports::{Ports, UsablePort};
use crate::rdma_settings::Settings;

/// Flow label and traffic class of the connection: values that no kernel and no driver puts there by itself. Nothing is sent.
const LABEL: u32 = 0x5_a5a5;
const CLASS: u8 = 0xa8;

/// Makes a queue pair of type RC on the first usable port that has such, connects it to itself, and destroys it.
///
/// # Errors
/// Why there is none, in words.
pub(super) fn make(library: &Arc<Library>, settings: &Settings) -> Result<Specimen, String> {
    let ports = Ports::new(library, settings);
    let mut refusals = Vec::new();
    for port in ports.usable().map_err(|error| describe(&error))? {
        let made = ports
            .open(&port.name)
            .map_err(|error| describe(&error))
            .and_then(|port| on(&port).map_err(|(call, error)| format!("{call} failed: {error}")));
        match made {
            Ok(specimen) => return Ok(specimen),
            Err(why) => refusals.push(format!("{}: {why}", port.name)),
        }
    }
    Err(refusals.join("; "))
}

fn on(port: &UsablePort) -> Result<Specimen, (&'static str, io::Error)> {
    let device = &port.device;
    let domain = ProtectionDomain::new(device).map_err(|error| ("ibv_alloc_pd", error))?;
    let channel = Channel::new(device).map_err(|error| ("ibv_create_comp_channel", error))?;
    let completions = CompletionQueue::new(device, &channel, 2, Format::plain())
        .map_err(|error| ("ibv_create_cq", error))?;
    let pair = QueuePair::for_connection(&domain, completions.handle())
        .map_err(|error| ("ibv_create_qp (RC)", error))?;
    let number = port.rnic.port;
    pair.bind(number)
        .map_err(|error| ("ibv_modify_qp (INIT)", error))?;
    let from = Origin {
        port: number,
        gid_index: port.gid_index,
    };
    let route = Route {
        gid: port.gid,
        flow_label: LABEL,
        class: Class {
            traffic_class: CLASS,
            service_level: 0,
        },
    };
    let connected = pair.connect(pair.qpn(), address_vector(from, route));
    Ok(Specimen {
        device: port.rnic.device.to_string(),
        qpn: pair.qpn().get(),
        port: number,
        gid: port.gid,
        gid_index: port.gid_index,
        flow_label: LABEL,
        traffic_class: CLASS,
        refused: connected.err().map(|error| error.to_string()),
    })
}
