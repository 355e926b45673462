//! Findings about libibverbs, devices, ports and GIDs.

use rpingmesh::config::agent::AgentConfig;
use rpingmesh::error::describe;
use rpingmesh::transport::rdma_report::{
    DeviceReport, GidEntry, GidKind, LinkLayer, PortReport, Stamps, Timestamps,
};
use rpingmesh::transport::{CompletionClock, RnicName, TransportError};

use super::{Finding, Status, gids};
use crate::{transports, verbs};

const ADVICE: &str = "install libibverbs1 and ibverbs-providers, load the RNIC's driver (`modprobe ib_uverbs`), or make a \
                      soft-RoCE device (`rdma link add rxe0 type rxe netdev eth0`); `--transport userspace` does without";

/// Everything about RDMA on this host.
pub(super) fn findings(config: &AgentConfig, explain_gids: bool) -> Vec<Finding> {
    let settings = transports::verbs_settings(config);
    let inventory = verbs::inventory(&settings);
    if let Some(problem) = inventory.problem {
        return vec![Finding::problem("libibverbs", problem, ADVICE)];
    }
    let mut findings = vec![Finding::ok("libibverbs", "loaded")];
    if inventory.devices.is_empty() {
        findings.push(Finding::problem(
            "devices",
            "there is no RDMA device",
            ADVICE,
        ));
        return findings;
    }
    let mut usable = 0;
    for device in &inventory.devices {
        let is_ethernet = |port: &PortReport| port.link_layer == Some(LinkLayer::Ethernet);
        if device.problem.is_some() || device.ports.iter().any(is_ethernet) {
            findings.push(device_finding(device));
        }
        for port in &device.ports {
            let name = RnicName {
                device: device.name.clone(),
                port: port.port,
            };
            if !config.allows(&name) {
                findings.push(Finding::ok(
                    "ports",
                    format!("{name}: not used, `devices` does not name it"),
                ));
                continue;
            }
            findings.push(port_finding(&name, port));
            if port.usable.is_ok() {
                let stamps = verbs::stamps(&settings, &name);
                usable += usize::from(stamps.is_ok());
                findings.push(stamps_finding(&name, device.timestamps, stamps));
            }
            // What is empty or cannot be read is said with the port.
            if port.link_layer == Some(LinkLayer::Ethernet) && !port.gids.is_empty() {
                findings.push(gid_finding(&name, &port.gids));
            }
            if explain_gids {
                findings.extend(gids::explained(
                    &name,
                    &port.gids,
                    &settings.gid,
                    port.usable.is_ok(),
                ));
            }
        }
    }
    findings.push(if usable == 0 {
        Finding::problem(
            "devices",
            "no RNIC port is usable",
            "see the notes on the ports above; `devices` and `gid_index` may be too narrow",
        )
    } else {
        Finding::ok("devices", format!("{usable} usable RNIC ports"))
    });
    findings
}

fn device_finding(device: &DeviceReport) -> Finding {
    let driver = device.driver.as_deref().unwrap_or("unknown");
    if let Some(problem) = &device.problem {
        return Finding::with(
            "devices",
            Status::Note,
            format!("{} (driver {driver}): {}", device.name, problem.what),
            problem.advice.clone(),
        );
    }
    match device.timestamps {
        Timestamps::Hardware { khz, .. } => Finding::ok(
            "clocks",
            format!(
                "{} (driver {driver}): stamps completions itself, {khz} kHz",
                device.name
            ),
        ),
        Timestamps::Software => Finding::note(
            "clocks",
            format!(
                "{} (driver {driver}): has no hardware time stamps; software stamps instead",
                device.name
            ),
            "nothing to do for soft-RoCE; for an RNIC update its firmware and driver",
        ),
    }
}

fn port_finding(name: &RnicName, port: &PortReport) -> Finding {
    let mtu = port
        .mtu
        .map_or_else(|| "unknown".to_owned(), |mtu| mtu.to_string());
    let state = match (port.state, port.link_layer) {
        (Some(state), Some(link_layer)) => format!("{name}: {state}, {link_layer}, MTU {mtu}"),
        _ => name.to_string(),
    };
    match &port.usable {
        Ok(index) => Finding::ok("ports", format!("{state}, GID index {index} is used")),
        Err(trouble) => Finding::with(
            "ports",
            Status::Note,
            format!("{state}: {}", trouble.what),
            trouble.advice.clone(),
        ),
    }
}

/// What an endpoint on a usable port turned out to be stamped by.
fn stamps_finding(
    name: &RnicName,
    claimed: Timestamps,
    stamps: Result<Stamps, TransportError>,
) -> Finding {
    let Stamps { clock, refused } = match stamps {
        Ok(stamps) => stamps,
        Err(error) => {
            let what = format!("no endpoint can be opened: {}", describe(&error));
            return Finding::with("ports", Status::Note, what, None);
        }
    };
    let refused: Vec<_> = refused.iter().map(ToString::to_string).collect();
    let before = match refused.join(", ") {
        none if none.is_empty() => none,
        refused => format!("; refused before: {refused}"),
    };
    let what = format!("{name}: completions are stamped by {clock}{before}");
    if clock != CompletionClock::Software || claimed == Timestamps::Software {
        return Finding::ok("clocks", what);
    }
    Finding::note(
        "clocks",
        what,
        "the device says that it stamps and its driver does not let it, or its counter wraps within a probe: update firmware, \
         driver and libibverbs; until then round trips contain delays of this host",
    )
}

/// Entries that are listed; a table may have thousands.
const LISTED: usize = 32;

fn listed(gids: &[GidEntry]) -> String {
    let first: Vec<_> = gids.iter().take(LISTED).map(ToString::to_string).collect();
    match gids.len() - first.len() {
        0 => first.join(", "),
        more => format!("{} and {more} more", first.join(", ")),
    }
}

fn gid_finding(name: &RnicName, gids: &[GidEntry]) -> Finding {
    let listed = listed(gids);
    if gids.iter().any(|entry| entry.kind == GidKind::RoceV2) {
        Finding::ok("gids", format!("{name}: {listed}"))
    } else {
        Finding::with(
            "gids",
            Status::Note,
            format!(
                "{name}: no RoCE v2 GID among {} entries: {listed}",
                gids.len()
            ),
            // What to do depends on the port's state and is said there.
            None,
        )
    }
}
