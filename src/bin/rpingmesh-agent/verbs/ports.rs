//! The devices and ports of this host, and which of them an endpoint can be opened on.

use std::io;
use std::sync::Arc;

use rdma_core_sys::{Library, abi};
use rpingmesh::id::{DeviceName, Gid};
use rpingmesh::transport::rdma_report::{
    DeviceReport, GidEntry, GidKind, LinkLayer, PortReport, PortState, Timestamps,
};
use rpingmesh::transport::{RnicName, RnicPort, TransportError};

use super::failure;
use super::gid;
use super::handles::{Attributes, Context, DeviceEntry, DeviceList};
use super::sysfs::Sysfs;
use crate::rdma_settings::Settings;

/// A port that an endpoint can be opened on, with its device open.
pub(super) struct UsablePort {
    pub(super) rnic: RnicName,
    pub(super) device: Arc<Context>,
    pub(super) attributes: Attributes,
    pub(super) driver: Option<String>,
    pub(super) gid: Gid,
    pub(super) gid_index: u8,
}

/// Looks at devices and ports.
pub(super) struct Ports<'a> {
    pub(super) library: &'a Arc<Library>,
    pub(super) settings: &'a Settings,
    pub(super) sysfs: Sysfs,
}

impl<'a> Ports<'a> {
    /// With the kernel's own sysfs.
    pub(super) fn new(library: &'a Arc<Library>, settings: &'a Settings) -> Self {
        Self {
            library,
            settings,
            sysfs: Sysfs::default(),
        }
    }

    /// Everything that libibverbs lists, usable or not.
    ///
    /// # Errors
    /// Why libibverbs cannot list devices and what to do.
    pub(super) fn report(&self) -> Result<Vec<DeviceReport>, String> {
        let list = DeviceList::read(self.library).map_err(|error| {
            let call = "ibv_get_device_list";
            let advice = failure::advice(call, &error)
                .map_or_else(String::new, |advice| format!("; {advice}"));
            format!("{call} failed: {error}{advice}")
        })?;
        let mut devices: Vec<_> = list.entries().map(|entry| self.device(&entry)).collect();
        devices.sort_by(|a, b| a.name.cmp(&b.name));
        Ok(devices)
    }

    /// The ports that can be used now.
    ///
    /// # Errors
    /// [`TransportError::NoDevice`] with what is wrong about each.
    pub(super) fn usable(&self) -> Result<Vec<RnicPort>, TransportError> {
        let devices = self.report().map_err(TransportError::NoDevice)?;
        let (usable, problems) = sift(&devices);
        for problem in &problems {
            tracing::debug!(problem, "RNIC not used");
        }
        if usable.is_empty() {
            return Err(TransportError::NoDevice(if problems.is_empty() {
                "libibverbs lists no device: is the RNIC's driver loaded, is its provider installed (Debian: \
                 ibverbs-providers)?"
                    .to_owned()
            } else {
                problems.join("; ")
            }));
        }
        Ok(usable)
    }

    /// Opens the device of a port and looks whether the port can be used.
    ///
    /// # Errors
    /// What is wrong with it and what to do.
    pub(super) fn open(&self, rnic: &RnicName) -> Result<UsablePort, TransportError> {
        let wrong = |why: String| TransportError::Rnic {
            rnic: rnic.clone(),
            why,
        };
        let list = DeviceList::read(self.library)
            .map_err(|error| failure::call(rnic, "ibv_get_device_list", error))?;
        let Some(entry) = list
            .entries()
            .find(|entry| entry.name() == rnic.device.as_str())
        else {
            let names: Vec<_> = list.entries().map(|entry| entry.name()).collect();
            return Err(wrong(format!(
                "there is no such device; libibverbs lists {}",
                if names.is_empty() {
                    "none".to_owned()
                } else {
                    names.join(", ")
                }
            )));
        };
        if entry.is_iwarp() {
            return Err(wrong(IWARP.to_owned()));
        }
        let device = entry
            .open()
            .map_err(|error| failure::call(rnic, "ibv_open_device", error))?;
        let attributes = device
            .attributes()
            .map_err(|error| failure::call(rnic, "ibv_query_device", error))?;
        if rnic.port == 0 || rnic.port > attributes.ports {
            return Err(wrong(format!(
                "the device has no such port; its ports are 1 to {}",
                attributes.ports
            )));
        }
        let report = self
            .port(&device, rnic)
            .map_err(|(call, error)| failure::call(rnic, call, error))?;
        let index = report.usable.map_err(wrong)?;
        let gid = device
            .gid(rnic.port, index)
            .map_err(|error| failure::call(rnic, "ibv_query_gid", error))?;
        let gid_index = u8::try_from(index)
            .map_err(|_| wrong(format!("GID index {index} does not fit an address handle")))?;
        Ok(UsablePort {
            rnic: rnic.clone(),
            driver: self.sysfs.driver(rnic.device.as_str()),
            device,
            attributes,
            gid,
            gid_index,
        })
    }

    fn device(&self, entry: &DeviceEntry<'_>) -> DeviceReport {
        let name = entry.name();
        let mut report = DeviceReport {
            driver: self.sysfs.driver(&name),
            name: DeviceName::new(name),
            problem: entry.is_iwarp().then(|| IWARP.to_owned()),
            firmware: String::new(),
            timestamps: Timestamps::Software,
            ports: Vec::new(),
        };
        if report.problem.is_none()
            && let Err((call, error)) = self.fill(entry, &mut report)
        {
            let advice = failure::advice(call, &error)
                .map_or_else(String::new, |advice| format!("; {advice}"));
            report.problem = Some(format!("{call} failed: {error}{advice}"));
        }
        report
    }

    fn fill(
        &self,
        entry: &DeviceEntry<'_>,
        report: &mut DeviceReport,
    ) -> Result<(), (&'static str, io::Error)> {
        let device = entry.open().map_err(|error| ("ibv_open_device", error))?;
        let attributes = device
            .attributes()
            .map_err(|error| ("ibv_query_device", error))?;
        report.firmware = attributes.firmware;
        if attributes.timestamp_mask != 0 {
            report.timestamps = Timestamps::Hardware {
                mask: attributes.timestamp_mask,
                khz: attributes.core_clock_khz,
            };
        }
        for port in 1..=attributes.ports {
            let rnic = RnicName {
                device: report.name.clone(),
                port,
            };
            report.ports.push(self.port(&device, &rnic)?);
        }
        Ok(())
    }

    fn port(
        &self,
        device: &Context,
        rnic: &RnicName,
    ) -> Result<PortReport, (&'static str, io::Error)> {
        let attr = device
            .port(rnic.port)
            .map_err(|error| ("ibv_query_port", error))?;
        let state = port_state(attr.state);
        let link_layer = link_layer(attr.link_layer);
        let gids = self
            .gids(device, rnic, attr.gid_tbl_len)
            .map_err(|error| ("ibv_query_gid_table", error))?;
        let usable = usable(state, link_layer)
            .and_then(|()| gid::choose(&gids, &self.settings.gid).map(|entry| entry.index));
        Ok(PortReport {
            port: rnic.port,
            state,
            link_layer,
            mtu: path_mtu(attr.active_mtu),
            gids,
            usable,
        })
    }

    /// The used entries of a port's GID table. An older libibverbs does not know the types; then sysfs does.
    fn gids(&self, device: &Context, rnic: &RnicName, length: i32) -> io::Result<Vec<GidEntry>> {
        let entries = match device.gid_table(rnic.port) {
            Some(entries) => entries?,
            None => (0..u32::try_from(length).unwrap_or(0))
                .filter_map(|index| {
                    // An unused entry cannot be read with some drivers, and is zero with others.
                    let gid = device.gid(rnic.port, index).ok()?;
                    let kind = self
                        .sysfs
                        .gid_kind(rnic, index)
                        .unwrap_or(GidKind::Unknown(u32::MAX));
                    (!gid.is_zero()).then_some((index, gid, kind))
                })
                .collect(),
        };
        Ok(entries
            .into_iter()
            .map(|(index, gid, kind)| GidEntry {
                index,
                gid,
                kind,
                interface: self.sysfs.gid_interface(rnic, index),
            })
            .collect())
    }
}

const IWARP: &str = "it speaks iWARP, which has no UD queue pairs";

/// The ports that can be used, and what is wrong with everything else.
fn sift(devices: &[DeviceReport]) -> (Vec<RnicPort>, Vec<String>) {
    let mut usable = Vec::new();
    let mut problems = Vec::new();
    for device in devices {
        if let Some(problem) = &device.problem {
            problems.push(format!("{}: {problem}", device.name));
        }
        for port in &device.ports {
            let name = RnicName {
                device: device.name.clone(),
                port: port.port,
            };
            match &port.usable {
                Ok(index) => {
                    let entry = port.gids.iter().find(|entry| entry.index == *index);
                    usable.extend(entry.map(|entry| RnicPort {
                        name,
                        gid: entry.gid,
                        gid_index: entry.index,
                        interface: entry.interface.clone(),
                    }));
                }
                Err(why) => problems.push(format!("{name}: {why}")),
            }
        }
    }
    (usable, problems)
}

/// Whether a port carries RoCE now.
fn usable(state: PortState, link_layer: LinkLayer) -> Result<(), String> {
    match (link_layer, state) {
        (LinkLayer::Ethernet, PortState::Active | PortState::ActiveDeferred) => Ok(()),
        (LinkLayer::Ethernet, state) => Err(format!(
            "the port is {state}: bring its network interface up and check the cable"
        )),
        (other, _) => Err(format!("its link layer is {other}, RoCE needs Ethernet")),
    }
}

/// `ibv_port_state`.
fn port_state(number: u32) -> PortState {
    match number {
        abi::IBV_PORT_DOWN => PortState::Down,
        abi::IBV_PORT_INIT => PortState::Initializing,
        abi::IBV_PORT_ARMED => PortState::Armed,
        abi::IBV_PORT_ACTIVE => PortState::Active,
        abi::IBV_PORT_ACTIVE_DEFER => PortState::ActiveDeferred,
        other => PortState::Unknown(other),
    }
}

/// `IBV_LINK_LAYER_…`.
fn link_layer(number: u8) -> LinkLayer {
    match number {
        abi::IBV_LINK_LAYER_ETHERNET => LinkLayer::Ethernet,
        // Old InfiniBand drivers leave it unspecified.
        abi::IBV_LINK_LAYER_INFINIBAND | abi::IBV_LINK_LAYER_UNSPECIFIED => LinkLayer::Infiniband,
        other => LinkLayer::Unknown(other),
    }
}

/// `ibv_mtu`: 1 is 256 bytes, 5 is 4096.
fn path_mtu(number: u32) -> Option<u32> {
    (1..=5).contains(&number).then(|| 128 << number)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn device(name: &str, problem: Option<&str>, ports: Vec<PortReport>) -> DeviceReport {
        DeviceReport {
            name: name.into(),
            driver: None,
            problem: problem.map(str::to_owned),
            firmware: String::new(),
            timestamps: Timestamps::Software,
            ports,
        }
    }

    fn port(number: u8, usable: Result<u32, String>) -> PortReport {
        PortReport {
            port: number,
            state: PortState::Active,
            link_layer: LinkLayer::Ethernet,
            mtu: Some(1024),
            gids: vec![GidEntry {
                index: 1,
                gid: "10.0.0.1".parse().expect("a GID"),
                kind: GidKind::RoceV2,
                interface: Some("eth0".to_owned()),
            }],
            usable,
        }
    }

    #[test]
    fn usable_ports_and_problems_are_told_apart() {
        let devices = [
            device("a0", Some("it is broken"), vec![]),
            device(
                "b0",
                None,
                vec![port(1, Ok(1)), port(2, Err("the port is down".to_owned()))],
            ),
        ];
        let (usable, problems) = sift(&devices);
        assert_eq!(usable.len(), 1);
        assert_eq!(usable[0].name.to_string(), "b0/1");
        assert_eq!(usable[0].gid_index, 1);
        assert_eq!(usable[0].interface.as_deref(), Some("eth0"));
        assert_eq!(problems, ["a0: it is broken", "b0/2: the port is down"]);
    }

    #[test]
    fn only_active_ethernet_ports_are_usable() {
        assert!(usable(PortState::Active, LinkLayer::Ethernet).is_ok());
        let down = usable(PortState::Down, LinkLayer::Ethernet).expect_err("down");
        assert!(down.starts_with("the port is down"), "{down}");
        let unknown = usable(PortState::Unknown(17), LinkLayer::Ethernet).expect_err("unknown");
        assert!(unknown.contains("port state 17"), "{unknown}");
        let infiniband = usable(PortState::Active, LinkLayer::Infiniband).expect_err("InfiniBand");
        assert!(infiniband.contains("InfiniBand"), "{infiniband}");
    }

    #[test]
    fn unknown_codes_of_a_driver_are_values() {
        assert_eq!(port_state(99), PortState::Unknown(99));
        assert_eq!(link_layer(77), LinkLayer::Unknown(77));
        assert_eq!(path_mtu(3), Some(1024));
        assert_eq!(path_mtu(0), None);
        assert_eq!(path_mtu(u32::MAX), None);
    }
}
