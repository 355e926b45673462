//! What `flows` prints: a table for people, one object per line for programs.

use std::io::{self, Write as _};
use std::time::Duration;

use rpingmesh::id::{Qpn, shown};
use rpingmesh::service::flow::{Flow, FlowChange, FlowTable, Missing, Origin, QpState, QpType};
use rpingmesh::service::naming::Naming;
use rpingmesh::service::trace::{TracerCounters, TracerStatus, Unseen};
use serde::Serialize;

/// How long the tracer took from its start.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Took {
    /// Until it was attached; `None` where it is not.
    pub(super) attached: Option<Duration>,
    /// Until the table was complete; `None` when no listing came.
    pub(super) complete: Option<Duration>,
}

/// How to print.
#[derive(Default)]
pub(super) struct Output {
    pub(super) json: bool,
    pub(super) all: bool,
    /// Whether to say what has named each service.
    pub(super) explain: bool,
    pub(super) naming: Naming,
}

/// A queue pair. Fields that are not known are absent; their names and meanings stay.
#[derive(Debug, Serialize)]
struct FlowLine<'a> {
    /// `flow` in the table; `live` when a connection goes up or changes.
    r#type: &'static str,
    device: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    port: Option<u8>,
    qpn: u32,
    qp_type: String,
    state: String,
    /// Whether it is a connection that is up and whose route is known: such ones are probed.
    live: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    remote_qpn: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    source_gid: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    destination_gid: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    flow_label: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    udp_source_port: Option<u16>,
    #[serde(skip_serializing_if = "Option::is_none")]
    traffic_class: Option<u8>,
    #[serde(skip_serializing_if = "Option::is_none")]
    sgid_index: Option<u8>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pid: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    comm: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    cgroup_id: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    cgroup: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    service: Option<String>,
    /// What has named the service; with `--explain`.
    #[serde(skip_serializing_if = "Option::is_none")]
    named_by: Option<String>,
    /// What should be known of a connection and is not; absent where all is.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    missing: Vec<Missing>,
    /// `created`, `modified` (first seen when it was modified) or `listed` (from before the tracer).
    origin: &'static str,
    /// When it was first seen, on this host's monotonic clock.
    since_ns: i64,
}

#[derive(Serialize)]
struct EndedLine<'a> {
    r#type: &'static str,
    device: &'a str,
    qpn: u32,
}

#[derive(Serialize)]
struct TracerLine<'a> {
    r#type: &'static str,
    /// `attached`, `waiting`, `unavailable` or `off`.
    state: &'static str,
    message: &'a str,
    /// Whether connections from before come with their GIDs.
    completes_listing: bool,
    /// What is not seen because this kernel lacks a function; absent where all is.
    #[serde(skip_serializing_if = "<[Unseen]>::is_empty")]
    unseen: &'a [Unseen],
    #[serde(skip_serializing_if = "Option::is_none")]
    attached_after_ns: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    complete_after_ns: Option<u64>,
    events: u64,
    lost: u64,
    #[serde(flatten)]
    counters: Counted,
}

#[derive(Serialize)]
struct Counted {
    lost_ring_full: u64,
    lost_calls_full: u64,
    lost_undecodable: u64,
    read_failed: u64,
    reattached: u64,
}

impl Output {
    /// All connections, in the order of devices and numbers.
    pub(super) fn table(&self, table: &FlowTable) -> io::Result<()> {
        let mut flows: Vec<&Flow> = table.flows().filter(|flow| self.shows(flow)).collect();
        flows.sort_by(|a, b| a.key.cmp(&b.key));
        let mut out = io::stdout().lock();
        for flow in &flows {
            self.write_flow(&mut out, "flow", flow)?;
        }
        if flows.is_empty() && !self.json {
            writeln!(out, "no connections")?;
        }
        out.flush()
    }

    /// A connection that went up, changed or ended.
    pub(super) fn change(&self, change: &FlowChange) -> io::Result<()> {
        let mut out = io::stdout().lock();
        match change {
            FlowChange::Live(flow) => self.write_flow(&mut out, "live", flow)?,
            FlowChange::Ended(key) if self.json => {
                let line = EndedLine {
                    r#type: "ended",
                    device: key.device.as_str(),
                    qpn: key.qpn.get(),
                };
                writeln!(out, "{}", serde_json::to_string(&line)?)?;
            }
            FlowChange::Ended(key) => writeln!(out, "ended {} qp {}", key.device, key.qpn.get())?,
        }
        out.flush()
    }

    /// How the tracer is.
    pub(super) fn tracer(
        &self,
        status: &TracerStatus,
        counters: TracerCounters,
        took: Took,
    ) -> io::Result<()> {
        let mut out = io::stdout().lock();
        let text = status.to_string();
        if !self.json {
            writeln!(
                out,
                "tracing: {text}; {} events, {} lost",
                counters.events,
                counters.lost()
            )?;
            return out.flush();
        }
        let (state, unseen) = match status {
            TracerStatus::Attached { unseen, .. } => ("attached", Some(unseen.as_slice())),
            TracerStatus::WaitingForIbCore => ("waiting", None),
            TracerStatus::Unavailable(_) => ("unavailable", None),
            TracerStatus::Off => ("off", None),
        };
        let line = TracerLine {
            r#type: "tracer",
            state,
            message: &text,
            completes_listing: unseen.is_some_and(|unseen| !unseen.contains(&Unseen::EarlierGids)),
            unseen: unseen.unwrap_or_default(),
            attached_after_ns: took.attached.map(nanos),
            complete_after_ns: took.complete.map(nanos),
            events: counters.events,
            lost: counters.lost(),
            counters: Counted {
                lost_ring_full: counters.ring_full,
                lost_calls_full: counters.calls_full,
                lost_undecodable: counters.undecodable,
                read_failed: counters.read_failed,
                reattached: counters.reattached,
            },
        };
        writeln!(out, "{}", serde_json::to_string(&line)?)?;
        out.flush()
    }

    /// Connections by default: those of a connected type whose peer is known.
    fn shows(&self, flow: &Flow) -> bool {
        let connected = flow.qp_type.is_some_and(QpType::has_one_peer)
            && flow.state.is_some_and(QpState::is_connected);
        self.all || connected
    }

    fn write_flow(
        &self,
        out: &mut impl io::Write,
        kind: &'static str,
        flow: &Flow,
    ) -> io::Result<()> {
        let line = FlowLine::new(kind, flow, self);
        if self.json {
            writeln!(out, "{}", serde_json::to_string(&line)?)
        } else {
            writeln!(out, "{}", line.text())
        }
    }
}

impl<'a> FlowLine<'a> {
    fn new(kind: &'static str, flow: &'a Flow, output: &Output) -> Self {
        let owner = flow.owner.as_ref();
        let decided = owner.map(|owner| output.naming.decide(Some(owner)));
        Self {
            r#type: kind,
            device: flow.key.device.as_str(),
            port: flow.port,
            qpn: flow.key.qpn.get(),
            qp_type: type_name(flow.qp_type),
            state: state_name(flow.state),
            live: flow.is_live(),
            remote_qpn: flow.remote_qpn.map(Qpn::get),
            source_gid: flow.source.map(|gid| gid.to_string()),
            destination_gid: flow.route.map(|route| route.destination.to_string()),
            flow_label: flow.route.map(|route| route.flow_label),
            udp_source_port: flow.source_port().map(|port| port.0),
            traffic_class: flow.route.map(|route| route.traffic_class),
            sgid_index: flow.route.map(|route| route.sgid_index),
            pid: owner
                .filter(|owner| !owner.is_kernel)
                .map(|owner| owner.pid),
            comm: owner.map(|owner| owner.comm.as_str()),
            cgroup_id: owner.and_then(|owner| owner.cgroup_id),
            cgroup: owner.and_then(|owner| owner.cgroup.as_deref()),
            service: decided.as_ref().map(|decided| decided.name.to_string()),
            named_by: decided
                .filter(|_| output.explain)
                .map(|decided| decided.why),
            missing: flow.missing(),
            origin: match flow.origin {
                Origin::Created => "created",
                Origin::Modified => "modified",
                Origin::Listed => "listed",
            },
            since_ns: flow.since.nanos(),
        }
    }

    fn text(&self) -> String {
        let gid = |gid: &Option<String>| gid.clone().unwrap_or_else(|| "?".to_owned());
        let peer = self
            .remote_qpn
            .map_or_else(|| "?".to_owned(), |qpn| qpn.to_string());
        let port = self
            .udp_source_port
            .map_or_else(|| "?".to_owned(), |port| port.to_string());
        let owner = match (self.comm, self.pid) {
            (Some(comm), Some(pid)) => format!("{comm}[{pid}]"),
            (Some(module), None) => format!("{module}[kernel]"),
            (None, _) => "unknown".to_owned(),
        };
        // A process chooses its name.
        let by = self
            .named_by
            .as_ref()
            .map_or_else(String::new, |why| format!(" by {why}"));
        shown(&format!(
            "{} {} {} {} {}%{} -> {}%{peer} udp {port} {owner} {}{by}",
            self.r#type,
            self.device,
            self.qp_type,
            self.state,
            gid(&self.source_gid),
            self.qpn,
            gid(&self.destination_gid),
            self.service.as_deref().unwrap_or("-"),
        ))
        .into_owned()
    }
}

fn nanos(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}

fn type_name(qp_type: Option<QpType>) -> String {
    match qp_type {
        Some(QpType::Rc) => "RC".to_owned(),
        Some(QpType::Uc) => "UC".to_owned(),
        Some(QpType::Ud) => "UD".to_owned(),
        Some(QpType::XrcInitiator) => "XRC_INI".to_owned(),
        Some(QpType::XrcTarget) => "XRC_TGT".to_owned(),
        Some(QpType::Driver) => "DRIVER".to_owned(),
        Some(QpType::Unknown(number)) => format!("type{number}"),
        None => "?".to_owned(),
    }
}

fn state_name(state: Option<QpState>) -> String {
    match state {
        Some(QpState::Reset) => "RESET".to_owned(),
        Some(QpState::Init) => "INIT".to_owned(),
        Some(QpState::Rtr) => "RTR".to_owned(),
        Some(QpState::Rts) => "RTS".to_owned(),
        Some(QpState::Sqd) => "SQD".to_owned(),
        Some(QpState::Sqe) => "SQE".to_owned(),
        Some(QpState::Err) => "ERR".to_owned(),
        Some(QpState::Unknown(number)) => format!("state{number}"),
        None => "?".to_owned(),
    }
}

#[cfg(test)]
mod tests;
