//! The topology file: what is written in it, and what is checked.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::net::IpAddr;

use serde::{Deserialize, Serialize};

use super::{Host, Names, Rnic, Rnics, Wiring, WiringError, canonical};
use crate::id::{
    HostName, NameError, RnicName, TorId, check_name as check_name_text, is_printable,
};

/// The file: `{"links":[{"a":"spine0","b":"tor3"}], "hosts":[{"name":"h0","tor":"tor3"}]}`. Unknown fields are errors that
/// name the field.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct File {
    /// Cables between switches; parallel ones are listed once each. Those of hosts are implied; they may be listed as well.
    pub links: Vec<Link>,
    /// The hosts; what their RNICs are cabled to are the ToRs.
    #[serde(default)]
    pub hosts: Vec<HostEntry>,
    /// By which addresses switches answer traces: `{"name":"spine0","addresses":["10.2.0.2"]}`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub switches: Vec<Switch>,
}

/// A cable; both directions.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Link {
    /// One end.
    pub a: String,
    /// The other end.
    pub b: String,
}

/// A host: `{"name":"h0","tor":"tor0"}`, or each RNIC under its own ToR with `rnics`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct HostEntry {
    /// Its name. Older files have an RNIC here as `HOST/DEVICE`.
    pub name: String,
    /// The ToR of all its RNICs.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tor: Option<String>,
    /// Its RNICs.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rnics: Option<Vec<RnicEntry>>,
}

/// An RNIC: `{"device":"mlx5_0","tor":"leaf0"}`, or a bond: `{"device":"mlx5_bond_0","tors":["leaf0","leaf1"]}`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RnicEntry {
    /// Its name on its host.
    pub device: String,
    /// Its ToR.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tor: Option<String>,
    /// The ToRs of a bond.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tors: Option<Vec<String>>,
}

/// What a switch calls itself where it answers a trace. Many answer from the interface that a packet came in by, so that
/// one switch has many addresses.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Switch {
    /// Its name in `links`.
    pub name: String,
    /// Addresses of its interfaces, or other names of it.
    pub addresses: Vec<String>,
}

impl Link {
    /// A cable.
    pub fn new(a: impl Into<String>, b: impl Into<String>) -> Self {
        Self {
            a: a.into(),
            b: b.into(),
        }
    }
}

impl HostEntry {
    /// A host with all its RNICs under one ToR.
    pub fn new(name: impl Into<String>, tor: impl Into<String>) -> Self {
        Self {
            name: name.into(),
            tor: Some(tor.into()),
            rnics: None,
        }
    }
}

impl Wiring {
    /// Reads and checks a topology file.
    ///
    /// # Errors
    /// [`WiringError`] names the thing and its place.
    pub fn parse(text: &str) -> Result<Self, WiringError> {
        if text.trim().is_empty() {
            return Err(WiringError::Empty);
        }
        let file: File = serde_json::from_str(text).map_err(|error| {
            let why = error.to_string();
            let place = format!(" at line {} column {}", error.line(), error.column());
            WiringError::Json {
                line: error.line(),
                column: error.column(),
                why: why.strip_suffix(&place).unwrap_or(&why).to_owned(),
            }
        })?;
        file.check()
    }
}

impl File {
    /// Checks what the file says.
    ///
    /// # Errors
    /// [`WiringError`] names the thing and its place.
    pub fn check(&self) -> Result<Wiring, WiringError> {
        let hosts = Hosts::read(&self.hosts)?;
        let links = links(&self.links, &hosts)?;
        if hosts.all.is_empty() {
            return Err(WiringError::NoHosts);
        }
        let switches: HashSet<&str> = links
            .iter()
            .flat_map(|link| [link.a.as_str(), link.b.as_str()])
            .collect();
        let named: HashSet<&str> = self.switches.iter().map(|one| one.name.as_str()).collect();
        for tor in &hosts.tors {
            let (place, end, tor) = (tor.place.clone(), tor.end.clone(), tor.tor.clone());
            if hosts.end(&tor).is_some() {
                return Err(WiringError::TorIsHost { place, end, tor });
            }
            let is_known = switches.contains(tor.as_str()) || named.contains(tor.as_str());
            if !links.is_empty() && !is_known {
                return Err(WiringError::UnknownTor { place, end, tor });
            }
        }
        let names = self.names(&switches, &hosts)?;
        Ok(Wiring {
            links,
            switches: self.switches.clone(),
            names,
            by_name: hosts.by_name,
            hosts: hosts.all,
        })
    }

    fn names(&self, linked: &HashSet<&str>, hosts: &Hosts) -> Result<Names, WiringError> {
        let tors: HashSet<&str> = hosts.tors.iter().map(|tor| tor.tor.as_str()).collect();
        let is_switch = |name: &str| linked.contains(name) || tors.contains(name);
        let mut names: HashMap<String, String> = HashMap::new();
        for (number, Switch { name, addresses }) in self.switches.iter().enumerate() {
            if !is_switch(name) {
                return Err(WiringError::UnknownSwitch {
                    place: format!("switches[{number}]"),
                    switch: name.clone(),
                });
            }
            for (index, address) in addresses.iter().enumerate() {
                let place = || format!("switches[{number}].addresses[{index}]");
                if is_malformed(address) {
                    return Err(WiringError::Address {
                        place: place(),
                        switch: name.clone(),
                        address: address.clone(),
                    });
                }
                let other = names
                    .insert(canonical(address), name.clone())
                    .or_else(|| is_switch(address).then(|| address.clone()));
                if let Some(other) = other.filter(|other| other != name) {
                    return Err(WiringError::AddressTwice {
                        place: place(),
                        switch: name.clone(),
                        other,
                        address: address.clone(),
                    });
                }
            }
        }
        Ok(Names(names))
    }
}

/// Whether a text is no IP address, and no other name that a switch may answer by.
fn is_malformed(address: &str) -> bool {
    let looks_numeric = address.contains([':', '/'])
        || address
            .chars()
            .all(|digit| digit.is_ascii_digit() || digit == '.');
    let is_blank = address.contains(|letter: char| letter.is_whitespace() || !is_printable(letter));
    is_blank || (looks_numeric && address.parse::<IpAddr>().is_err())
}

/// A ToR as a host or RNIC names it.
struct NamedTor {
    place: String,
    end: String,
    tor: String,
}

/// The hosts of a file.
#[derive(Default)]
struct Hosts {
    all: Vec<Host>,
    by_name: HashMap<HostName, usize>,
    tors: Vec<NamedTor>,
}

impl Hosts {
    fn read(entries: &[HostEntry]) -> Result<Self, WiringError> {
        let mut hosts = Self::default();
        // Hosts whose RNICs older files list one by one.
        let mut by_rnic = BTreeSet::new();
        for (number, entry) in entries.iter().enumerate() {
            let place = format!("hosts[{number}]");
            check_name(&place, "host", &entry.name)?;
            match (entry.name.parse::<RnicName>(), &entry.tor, &entry.rnics) {
                (Ok(rnic), Some(tor), None) => {
                    if hosts.by_name.contains_key(&rnic.host) && !by_rnic.contains(&rnic.host) {
                        let host = rnic.host.to_string();
                        return Err(WiringError::HostTwice { place, host });
                    }
                    by_rnic.insert(rnic.host.clone());
                    let tors = vec![hosts.tor(&place, &entry.name, tor)?];
                    hosts.add_rnic(&place, rnic, tors)?;
                }
                (Err(_), Some(tor), None) => {
                    let tor = hosts.tor(&place, &entry.name, tor)?;
                    hosts.add(&place, &entry.name, Rnics::All(tor))?;
                }
                (Err(_), None, Some(rnics)) if !rnics.is_empty() => {
                    hosts.add(&place, &entry.name, Rnics::Each(Vec::new()))?;
                    for (index, rnic) in rnics.iter().enumerate() {
                        let place = format!("{place}.rnics[{index}]");
                        check_device(&place, &rnic.device)?;
                        let name = RnicName::new(entry.name.as_str(), rnic.device.as_str());
                        let tors = hosts.tors_of(&place, &name, rnic)?;
                        hosts.add_rnic(&place, name, tors)?;
                    }
                }
                (_, _, _) => {
                    let host = entry.name.clone();
                    return Err(WiringError::HostForm { place, host });
                }
            }
        }
        Ok(hosts)
    }

    fn tor(&mut self, place: &str, end: &str, tor: &str) -> Result<TorId, WiringError> {
        check_name(place, "switch", tor)?;
        if end == tor {
            return Err(WiringError::Loop {
                place: place.to_owned(),
                node: tor.to_owned(),
            });
        }
        self.tors.push(NamedTor {
            place: place.to_owned(),
            end: end.to_owned(),
            tor: tor.to_owned(),
        });
        Ok(TorId::new(tor))
    }

    fn tors_of(
        &mut self,
        place: &str,
        name: &RnicName,
        entry: &RnicEntry,
    ) -> Result<Vec<TorId>, WiringError> {
        let rnic = name.to_string();
        let place = place.to_owned();
        match (&entry.tor, &entry.tors) {
            (Some(tor), None) => Ok(vec![self.tor(&place, &rnic, tor)?]),
            (None, Some(tors)) => {
                let count = tors.iter().collect::<BTreeSet<_>>().len();
                if count < 2 || count < tors.len() {
                    return Err(WiringError::Bond { place, rnic, count });
                }
                tors.iter()
                    .map(|tor| self.tor(&place, &rnic, tor))
                    .collect()
            }
            (Some(_), Some(_)) | (None, None) => Err(WiringError::RnicForm { place, rnic }),
        }
    }

    fn add(&mut self, place: &str, name: &str, rnics: Rnics) -> Result<(), WiringError> {
        let name = HostName::new(name);
        if self.by_name.insert(name.clone(), self.all.len()).is_some() {
            return Err(WiringError::HostTwice {
                place: place.to_owned(),
                host: name.to_string(),
            });
        }
        self.all.push(Host { name, rnics });
        Ok(())
    }

    fn add_rnic(
        &mut self,
        place: &str,
        name: RnicName,
        tors: Vec<TorId>,
    ) -> Result<(), WiringError> {
        if !self.by_name.contains_key(&name.host) {
            self.add(place, name.host.as_str(), Rnics::Each(Vec::new()))?;
        }
        let host = &mut self.all[self.by_name[&name.host]];
        if let Rnics::Each(rnics) = &mut host.rnics {
            if rnics.iter().any(|rnic| rnic.device == name.device) {
                return Err(WiringError::RnicTwice {
                    place: place.to_owned(),
                    rnic: name.to_string(),
                });
            }
            let device = name.device;
            rnics.push(Rnic { device, tors });
        }
        Ok(())
    }

    /// The ToRs of a node, if it is a host or an RNIC.
    fn end(&self, node: &str) -> Option<BTreeSet<&TorId>> {
        if let Some(at) = self.by_name.get(&HostName::new(node)) {
            return Some(self.all[*at].tors());
        }
        let rnic = node.parse::<RnicName>().ok()?;
        let host = &self.all[*self.by_name.get(&rnic.host)?];
        Some(host.tors_of(&rnic.device).iter().collect())
    }
}

fn check_name(place: &str, what: &'static str, name: &str) -> Result<(), WiringError> {
    let why = match check_name_text(name) {
        _ if name.is_empty() => "it is empty",
        Ok(()) => return Ok(()),
        Err(NameError::TooLong(_)) => "it is too long",
        Err(NameError::Unprintable) => {
            "it has control characters, or ones that are invisible or change the direction of text"
        }
    };
    Err(WiringError::Name {
        place: place.to_owned(),
        name: name
            .chars()
            .filter(|letter| is_printable(*letter))
            .take(40)
            .collect(),
        what,
        why,
    })
}

fn check_device(place: &str, device: &str) -> Result<(), WiringError> {
    check_name(place, "device", device)?;
    // The text form of an RNIC must lead back to it.
    let name = RnicName::new("h", device);
    if name.to_string().parse() != Ok(name) {
        return Err(WiringError::Name {
            place: place.to_owned(),
            name: device.to_owned(),
            what: "device",
            why: "write its name on the host, such as mlx5_0",
        });
    }
    Ok(())
}

/// The cables between switches. Cables of hosts must agree with `hosts`.
fn links(entries: &[Link], hosts: &Hosts) -> Result<Vec<Link>, WiringError> {
    let mut links = Vec::with_capacity(entries.len());
    let mut of_hosts: BTreeMap<(&str, &str), usize> = BTreeMap::new();
    for (number, link) in entries.iter().enumerate() {
        let place = format!("links[{number}]");
        let (a, b) = (link.a.as_str(), link.b.as_str());
        check_name(&place, "switch", a)?;
        check_name(&place, "switch", b)?;
        if a == b {
            let node = a.to_owned();
            return Err(WiringError::Loop { place, node });
        }
        let (end, switch, tors) = match (hosts.end(a), hosts.end(b)) {
            (None, None) => {
                links.push(link.clone());
                continue;
            }
            (Some(_), Some(_)) => {
                let (a, b) = (a.to_owned(), b.to_owned());
                return Err(WiringError::HostToHost { place, a, b });
            }
            (Some(tors), None) => (a, b, tors),
            (None, Some(tors)) => (b, a, tors),
        };
        if !tors.iter().any(|tor| tor.as_str() == switch) {
            let tors: Vec<&str> = tors.iter().map(|tor| tor.as_str()).collect();
            return Err(WiringError::OtherTor {
                place,
                end: end.to_owned(),
                switch: switch.to_owned(),
                tors: tors.join(", "),
            });
        }
        if of_hosts.insert((end, switch), number).is_some() {
            return Err(WiringError::DuplicateLink {
                place,
                end: end.to_owned(),
                switch: switch.to_owned(),
            });
        }
    }
    Ok(links)
}
