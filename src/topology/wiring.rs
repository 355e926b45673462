//! How switches are cabled, and how many equal-cost paths that gives between ToRs.

use std::collections::{BTreeSet, HashMap, VecDeque};
use std::net::IpAddr;

use serde::Deserialize;

use crate::id::TorId;

/// A description of the fabric: `{"links":[{"a":"spine0","b":"tor3"}], "hosts":[{"name":"h0","tor":"tor0"}]}`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Wiring {
    /// Cables between switches, and between hosts and their ToRs; parallel cables are listed once each.
    pub links: Vec<Link>,
    /// The hosts; what they are cabled to are the ToRs.
    #[serde(default)]
    pub hosts: Vec<Host>,
    /// By which addresses switches answer traces: `{"name":"spine0","addresses":["10.2.0.2"]}`.
    #[serde(default)]
    pub switches: Vec<Switch>,
}

/// What a switch calls itself where it answers a trace. Many answer from the interface that a packet came in by, so that
/// one switch has many addresses.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Switch {
    /// Its name in `links`.
    pub name: String,
    /// Addresses of its interfaces, or other names of it.
    pub addresses: Vec<String>,
}

/// Names of switches by what answers traces.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Names(HashMap<String, String>);

impl Names {
    /// The switch that answers so; what answers itself where no other name is known.
    pub fn of<'a>(&'a self, answers: &'a str) -> &'a str {
        self.0.get(answers).map_or(answers, String::as_str)
    }
}

/// An address in the one way in which traces write it; another name as it is.
fn canonical(address: &str) -> String {
    match address.parse::<IpAddr>() {
        Ok(address) => address.to_canonical().to_string(),
        Err(_) => address.to_owned(),
    }
}

/// A cable; both directions.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Link {
    /// One end.
    pub a: String,
    /// The other end.
    pub b: String,
}

/// A host under a ToR.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Host {
    /// Its name.
    pub name: String,
    /// Its ToR.
    pub tor: String,
}

impl Wiring {
    /// The switches' names by their addresses.
    ///
    /// # Errors
    /// The address that two switches have.
    pub fn names(&self) -> Result<Names, String> {
        let mut names = HashMap::new();
        for switch in &self.switches {
            for address in &switch.addresses {
                let other = names.insert(canonical(address), switch.name.clone());
                if other.is_some_and(|other| other != switch.name) {
                    return Err(address.clone());
                }
            }
        }
        Ok(Names(names))
    }

    /// The number of shortest paths from each ToR to each other one; pairs without a path are absent.
    pub fn paths(&self) -> HashMap<(TorId, TorId), u32> {
        let hosts: BTreeSet<_> = self.hosts.iter().map(|host| host.name.as_str()).collect();
        let tors: BTreeSet<_> = self.hosts.iter().map(|host| host.tor.as_str()).collect();
        let mut neighbours: HashMap<&str, Vec<&str>> = HashMap::new();
        for link in &self.links {
            if hosts.contains(link.a.as_str()) || hosts.contains(link.b.as_str()) {
                continue;
            }
            neighbours.entry(&link.a).or_default().push(&link.b);
            neighbours.entry(&link.b).or_default().push(&link.a);
        }
        let mut paths = HashMap::new();
        for source in &tors {
            let reached = shortest_paths(source, &neighbours);
            for target in tors.iter().filter(|target| *target != source) {
                if let Some((_, count)) = reached.get(target) {
                    paths.insert((TorId::from(*source), TorId::from(*target)), *count);
                }
            }
        }
        paths
    }
}

/// Distance and number of shortest paths from `source` to everything that it reaches.
fn shortest_paths<'a>(
    source: &'a str,
    neighbours: &HashMap<&'a str, Vec<&'a str>>,
) -> HashMap<&'a str, (u32, u32)> {
    let mut reached = HashMap::from([(source, (0, 1))]);
    let mut queue = VecDeque::from([source]);
    while let Some(node) = queue.pop_front() {
        let (distance, paths): (u32, u32) = reached[node];
        for next in neighbours.get(node).into_iter().flatten() {
            match reached.get_mut(next) {
                None => {
                    reached.insert(next, (distance + 1, paths));
                    queue.push_back(next);
                }
                Some((at, count)) if *at == distance + 1 => *count = count.saturating_add(paths),
                Some(_) => {}
            }
        }
    }
    reached
}

#[cfg(test)]
mod tests {
    use super::*;

    fn wiring(links: &[(&str, &str)], tors: &[&str]) -> Wiring {
        Wiring {
            links: links
                .iter()
                .map(|(a, b)| Link {
                    a: (*a).to_owned(),
                    b: (*b).to_owned(),
                })
                .collect(),
            hosts: tors
                .iter()
                .map(|tor| Host {
                    name: format!("h-{tor}"),
                    tor: (*tor).to_owned(),
                })
                .collect(),
            switches: Vec::new(),
        }
    }

    #[test]
    fn switches_are_found_by_their_addresses() {
        let text = r#"{"links":[{"a":"s0","b":"t0"}],
            "switches":[{"name":"s0","addresses":["10.2.0.2","FD00:0::1","lo.s0"]}]}"#;
        let mut wiring: Wiring = serde_json::from_str(text).expect("a topology");
        let names = wiring.names().expect("no address twice");
        for known in ["10.2.0.2", "fd00::1", "lo.s0", "s0"] {
            assert_eq!(names.of(known), "s0");
        }
        assert_eq!(names.of("10.2.0.3"), "10.2.0.3");
        wiring.switches.push(Switch {
            name: "s1".to_owned(),
            addresses: vec!["10.2.0.2".to_owned()],
        });
        assert_eq!(wiring.names(), Err("10.2.0.2".to_owned()));
        let unknown = serde_json::from_str::<Wiring>(r#"{"links":[],"switch":[]}"#);
        assert!(unknown.is_err_and(|error| error.to_string().contains("`switch`")));
    }

    #[test]
    fn two_tiers_and_three() {
        let flat = wiring(
            &[
                ("s0", "t0"),
                ("s1", "t0"),
                ("s0", "t1"),
                ("s1", "t1"),
                ("s1", "t1"),
                ("h-t0", "t0"),
            ],
            &["t0", "t1"],
        );
        assert_eq!(
            flat.paths()[&("t0".into(), "t1".into())],
            3,
            "a doubled cable counts twice"
        );

        let mut links = Vec::new();
        for (pod, tor) in [(0, "t0"), (0, "t1"), (1, "t2")] {
            for agg in 0..2 {
                links.push((format!("agg{pod}-{agg}"), tor.to_owned()));
            }
        }
        for pod in 0..2 {
            for core in 0..4 {
                links.push((format!("c{core}"), format!("agg{pod}-{}", core / 2)));
            }
        }
        let links: Vec<_> = links
            .iter()
            .map(|(a, b)| (a.as_str(), b.as_str()))
            .collect();
        let paths = wiring(&links, &["t0", "t1", "t2", "alone"]).paths();
        assert_eq!(paths[&("t0".into(), "t1".into())], 2);
        assert_eq!(paths[&("t0".into(), "t2".into())], 4);
        assert!(!paths.contains_key(&("t0".into(), "alone".into())));
    }
}
