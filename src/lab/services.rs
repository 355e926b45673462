//! The services' connections of a lab, as a tracer on each host would tell of them.
//!
//! There is no kernel below the emulated RNICs, so their queue pairs are made up; what the agents do with them, from the
//! channel on, is what they do anywhere.

use std::collections::HashMap;

use rpingmesh_ebpf_event::{EventKind, QpEvent, present};
use tokio::sync::mpsc;

use crate::fabric::topology::{Flow, Topology};
use crate::fabric::{ScenarioError, scenario::ServiceConnection};
use crate::lab::plan::LabPlan;
use crate::service::qp::Variables;
use crate::service::trace::{TraceMessage, TracedEvent, TracerStatus};
use crate::time::HostTime;

/// Numbers of the connections' queue pairs begin here: far above those of the emulated endpoints.
const FIRST_QPN: u32 = 0x80_0000;

/// `enum ib_qp_type`: a reliable connection.
const RC: u8 = 2;
/// `enum ib_qp_state`.
const READY_TO_SEND: u8 = 3;

/// What the tracer of each host tells after its boot, by number of the host. Hosts where no connection begins have none.
///
/// # Errors
/// [`ScenarioError`]: a connection is between RNICs that the fabric does not have.
pub(crate) fn messages(
    plan: &LabPlan,
    topology: &Topology,
    now: HostTime,
) -> Result<HashMap<u32, Vec<TraceMessage>>, ScenarioError> {
    let mut told: HashMap<u32, Vec<TraceMessage>> = HashMap::new();
    for (number, service) in (0_u32..).zip(&plan.scenario.services) {
        let flow = service.flow(topology)?;
        let host = topology.rnic(flow.source).host_index;
        let attached = TraceMessage::Status(TracerStatus::Attached {
            since: now,
            unseen: Vec::new(),
            devx: false,
            unproved: None,
        });
        told.entry(host)
            .or_insert_with(|| vec![attached])
            .push(connected(service, flow, topology, number, now));
    }
    Ok(told)
}

/// Both ends of a tracer's channel, with what there is to tell in it. The tracer's end has to stay open.
pub(crate) fn tracer(
    messages: Vec<TraceMessage>,
) -> (mpsc::Sender<TraceMessage>, mpsc::Receiver<TraceMessage>) {
    let (tracer, agent) = mpsc::channel(messages.len().max(1));
    for message in messages {
        // There is room for exactly these.
        let _ = tracer.try_send(message);
    }
    (tracer, agent)
}

fn connected(
    service: &ServiceConnection,
    flow: Flow,
    topology: &Topology,
    number: u32,
    now: HostTime,
) -> TraceMessage {
    let (source, target) = (topology.rnic(flow.source), topology.rnic(flow.target));
    let event = QpEvent {
        qp_type: RC,
        qp_state: READY_TO_SEND,
        port: 1,
        time_ns: u64::try_from(now.nanos()).unwrap_or(0),
        local_qpn: FIRST_QPN + number,
        remote_qpn: FIRST_QPN + number,
        flow_label: service.flow_label.get(),
        present: present::DEVICE
            | present::STATE
            | present::REMOTE_QPN
            | present::ADDRESS_VECTOR
            | present::SOURCE_GID,
        source_gid: source.gid.bytes(),
        destination_gid: target.gid.bytes(),
        comm: padded(service.name.as_str()),
        device: padded(source.device.as_str()),
        ..QpEvent::empty(EventKind::Modify)
    };
    TraceMessage::Event(TracedEvent {
        event,
        // A cgroup that is named like a unit gives the service its plain name.
        cgroup: Some(format!("/lab.slice/{}.service", service.name).into()),
        variables: Variables::default(),
    })
}

/// As much of a name as fits.
fn padded<const N: usize>(name: &str) -> [u8; N] {
    let mut bytes = [0; N];
    for (place, byte) in bytes.iter_mut().zip(name.bytes()) {
        *place = byte;
    }
    bytes
}
