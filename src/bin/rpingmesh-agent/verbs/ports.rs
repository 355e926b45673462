//! The devices and ports of this host, and which of them an endpoint can be opened on.

use std::io;
use std::ops::Range;
use std::sync::Arc;

use rdma_core_sys::{Library, abi};
use rpingmesh::id::{DeviceName, Gid};
use rpingmesh::transport::rdma_report::{
    DeviceReport, GidEntry, GidKind, LinkLayer, Place, PortReport, PortState, Timestamps, Trouble,
};
use rpingmesh::transport::{RnicName, RnicPort, TransportError};

use super::failure;
use super::handles::{Attributes, Context, DeviceEntry, DeviceList, TableEntry};
use super::interfaces::Interfaces;
use super::sysfs::Sysfs;
use crate::gid_choice;
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
        let list = DeviceList::read(self.library)
            .map_err(|error| failure::trouble("ibv_get_device_list", &error).to_string())?;
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
        let report = port_report(&device, rnic, self.settings, &self.sysfs);
        let index = report.usable.map_err(|trouble| TransportError::NotReady {
            rnic: rnic.clone(),
            why: trouble.to_string(),
        })?;
        let gid = report
            .gids
            .iter()
            .find(|entry| entry.index == index)
            .map(|entry| entry.gid)
            .ok_or_else(|| wrong(format!("GID index {index} is gone")))?;
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
            problem: entry.is_iwarp().then(|| Trouble::fact(IWARP)),
            firmware: String::new(),
            timestamps: Timestamps::Software,
            ports: Vec::new(),
        };
        if report.problem.is_none()
            && let Err((call, error)) = self.fill(entry, &mut report)
        {
            report.problem = Some(failure::trouble(call, &error));
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
        report.ports = (1..=attributes.ports)
            .map(|port| {
                let rnic = RnicName {
                    device: report.name.clone(),
                    port,
                };
                port_report(&device, &rnic, self.settings, &self.sysfs)
            })
            .collect();
        Ok(())
    }
}

/// One port. What it does not tell is a fact about this port, not about its device: the others may be good.
fn port_report(
    device: &Context,
    rnic: &RnicName,
    settings: &Settings,
    sysfs: &Sysfs,
) -> PortReport {
    let mut report = PortReport {
        port: rnic.port,
        state: None,
        link_layer: None,
        mtu: None,
        gids: Vec::new(),
        usable: Ok(0),
    };
    report.usable = device
        .port(rnic.port)
        .map_err(|error| failure::trouble("ibv_query_port", &error))
        .and_then(|attr| {
            let (state, link_layer) = (port_state(attr.state), link_layer(attr.link_layer));
            (report.state, report.link_layer) = (Some(state), Some(link_layer));
            report.mtu = path_mtu(attr.active_mtu);
            let gids = gids(device, rnic, attr.gid_tbl_len, sysfs);
            report.gids = gids.as_ref().map_or_else(|_| Vec::new(), Clone::clone);
            usable(state, link_layer)?;
            let gids = gids.map_err(|error| failure::trouble("ibv_query_gid_table", &error))?;
            gid_choice::choose(&gids, &settings.gid).map(|entry| entry.index)
        });
    report
}

/// The GID that an endpoint on this port would be opened with now, and its index; `None` where none can be.
pub(super) fn best(device: &Context, rnic: &RnicName, settings: &Settings) -> Option<(Gid, u32)> {
    let length = device.port(rnic.port).ok()?.gid_tbl_len;
    let table = gids(device, rnic, length, &Sysfs::default()).ok()?;
    let entry = gid_choice::choose(&table, &settings.gid).ok()?;
    Some((entry.gid, entry.index))
}

/// The used entries of a port's GID table. An older libibverbs does not know the types, and a driver may refuse the
/// whole table; then sysfs knows them.
fn gids(
    device: &Context,
    rnic: &RnicName,
    length: i32,
    sysfs: &Sysfs,
) -> io::Result<Vec<GidEntry>> {
    let entries = match device.gid_table(rnic.port) {
        Some(Ok(entries)) => entries,
        other => {
            let single = single_entries(device, rnic, length, sysfs);
            match other {
                Some(Err(error)) if single.is_empty() => return Err(error),
                _ => single,
            }
        }
    };
    let interfaces = Interfaces::new(sysfs.has(rnic.device.as_str()));
    Ok(entries
        .into_iter()
        .filter(|entry| !entry.gid.is_zero())
        .map(|entry| {
            // One that no address handle can name is not looked up: a table may have thousands.
            if u8::try_from(entry.index).is_err() {
                return GidEntry {
                    index: entry.index,
                    gid: entry.gid,
                    kind: entry.kind,
                    place: Place::Unknown,
                    interface: None,
                };
            }
            let interface = sysfs.gid_interface(rnic, entry.index);
            GidEntry {
                index: entry.index,
                gid: entry.gid,
                kind: entry.kind,
                place: interfaces.place(entry.interface, interface.as_deref()),
                interface: interface.or_else(|| interfaces.name(entry.interface)),
            }
        })
        .collect())
}

/// Entries of a GID table that are asked for one by one. No driver has more; one that claims more is not believed.
const MOST_GIDS: u32 = 16_384;

/// Entry by entry, with the types that sysfs tells. An unused entry cannot be read with some drivers, and is zero with
/// others. Each entry is a file, and there may be thousands. So entries beyond those that an address handle can name are read only if
/// no RoCE v2 entry is among those.
fn single_entries(
    device: &Context,
    rnic: &RnicName,
    length: i32,
    sysfs: &Sysfs,
) -> Vec<TableEntry> {
    let length = u32::try_from(length).unwrap_or(0).min(MOST_GIDS);
    let nameable = length.min(u32::from(u8::MAX) + 1);
    let mut entries = entries_at(device, rnic, 0..nameable, sysfs);
    if entries.iter().all(|entry| entry.kind != GidKind::RoceV2) {
        entries.extend(entries_at(device, rnic, nameable..length, sysfs));
    }
    entries
}

fn entries_at(
    device: &Context,
    rnic: &RnicName,
    indexes: Range<u32>,
    sysfs: &Sysfs,
) -> Vec<TableEntry> {
    indexes
        .filter_map(|index| {
            let gid = device
                .gid(rnic.port, index)
                .ok()
                .filter(|gid| !gid.is_zero())?;
            Some(TableEntry {
                index,
                gid,
                kind: sysfs
                    .gid_kind(rnic, index)
                    .unwrap_or(GidKind::Unknown(u32::MAX)),
                interface: 0,
            })
        })
        .collect()
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
fn usable(state: PortState, link_layer: LinkLayer) -> Result<(), Trouble> {
    match (link_layer, state) {
        (LinkLayer::Ethernet, PortState::Active | PortState::ActiveDeferred) => Ok(()),
        (LinkLayer::Ethernet, state) => Err(Trouble::new(
            format!("the port is {state}"),
            "bring its network interface up and check the cable",
        )),
        (LinkLayer::Infiniband, _) => Err(Trouble::fact(
            "its link layer is InfiniBand, not Ethernet: it carries no RoCE (a VPI port can be set to Ethernet)",
        )),
        (LinkLayer::Unspecified, _) => Err(Trouble::fact(
            "its link layer is unspecified, as that of EFA and of InfiniBand's old drivers is: it carries no RoCE",
        )),
        (other, _) => Err(Trouble::fact(format!(
            "its link layer is {other}, RoCE needs Ethernet"
        ))),
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
        abi::IBV_LINK_LAYER_INFINIBAND => LinkLayer::Infiniband,
        abi::IBV_LINK_LAYER_UNSPECIFIED => LinkLayer::Unspecified,
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
            problem: problem.map(Trouble::fact),
            firmware: String::new(),
            timestamps: Timestamps::Software,
            ports,
        }
    }

    fn port(number: u8, usable: Result<u32, &str>) -> PortReport {
        PortReport {
            port: number,
            state: Some(PortState::Active),
            link_layer: Some(LinkLayer::Ethernet),
            mtu: Some(1024),
            gids: vec![GidEntry {
                index: 1,
                gid: "10.0.0.1".parse().expect("a GID"),
                kind: GidKind::RoceV2,
                interface: Some("eth0".to_owned()),
                place: Place::Here,
            }],
            usable: usable.map_err(Trouble::fact),
        }
    }

    #[test]
    fn usable_ports_and_problems_are_told_apart() {
        let devices = [
            device("a0", Some("it is broken"), vec![]),
            device(
                "b0",
                None,
                vec![port(1, Ok(1)), port(2, Err("the port is down"))],
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
        let trouble = |state, link_layer| usable(state, link_layer).expect_err("not usable");
        let down = trouble(PortState::Down, LinkLayer::Ethernet);
        assert_eq!(down.what, "the port is down");
        assert!(down.advice.is_some_and(|advice| advice.contains("cable")));
        let unknown = trouble(PortState::Unknown(17), LinkLayer::Ethernet);
        assert_eq!(unknown.what, "the port is port state 17");
        // Nothing that an IP address would help.
        for (link_layer, word) in [
            (LinkLayer::Infiniband, "InfiniBand"),
            (LinkLayer::Unspecified, "EFA"),
            (LinkLayer::Unknown(9), "link layer 9"),
        ] {
            let other = trouble(PortState::Active, link_layer);
            assert!(other.what.contains(word), "{other}");
            assert_eq!(other.advice, None);
        }
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
