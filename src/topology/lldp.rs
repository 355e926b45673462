//! The switches at a host's interfaces, as lldpd knows them: what `lldpcli -f json0 show neighbors` prints.
//!
//! Neighbours are what somebody sends: their names are checked, and an interface with two of them is under none.

use std::collections::BTreeMap;
use std::path::Path;

use serde::Deserialize;

use crate::id::{TorId, check_name};

/// The largest file that is read, in bytes.
const MOST_BYTES: u64 = 4 << 20;

/// Why the neighbours, or one of them, are not known.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum LldpError {
    /// The file cannot be read.
    #[error("{file}: cannot be read: {why}")]
    Read {
        /// The file.
        file: String,
        /// Why.
        why: String,
    },
    /// It is something else.
    #[error(
        "line {line}, column {column}: this is not what `lldpcli -f json0 show neighbors` prints: {why}"
    )]
    Form {
        /// From 1.
        line: usize,
        /// From 1.
        column: usize,
        /// What is wrong.
        why: String,
    },
    /// Nobody has said anything at the interface.
    #[error("lldpd has no neighbour at {0}")]
    Nobody(String),
    /// Several have.
    #[error("lldpd has several neighbours at {interface}: {}", names.join(", "))]
    Several {
        /// The interface.
        interface: String,
        /// Their names.
        names: Vec<String>,
    },
    /// A neighbour does not say how it is called, or its name cannot be one.
    #[error("the neighbour at {interface} has no name that can be used: {why}")]
    Name {
        /// The interface.
        interface: String,
        /// What is wrong.
        why: String,
    },
}

/// The neighbours by interface.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Neighbours(BTreeMap<String, Vec<Result<TorId, String>>>);

#[derive(Deserialize)]
struct Document {
    lldp: Vec<Lldp>,
}

#[derive(Deserialize)]
struct Lldp {
    #[serde(default)]
    interface: Vec<Interface>,
}

#[derive(Deserialize)]
struct Interface {
    name: String,
    #[serde(default)]
    chassis: Vec<Chassis>,
}

#[derive(Deserialize)]
struct Chassis {
    #[serde(default)]
    name: Vec<Value>,
}

#[derive(Deserialize)]
struct Value {
    value: String,
}

impl Neighbours {
    /// Reads a file.
    ///
    /// # Errors
    /// [`LldpError::Read`], [`LldpError::Form`].
    pub fn read(file: &Path) -> Result<Self, LldpError> {
        let fail = |why: String| LldpError::Read {
            file: file.display().to_string(),
            why,
        };
        let size = std::fs::metadata(file)
            .map_err(|error| fail(error.to_string()))?
            .len();
        if size > MOST_BYTES {
            return Err(fail(format!("it has {size} bytes, more than {MOST_BYTES}")));
        }
        let text = std::fs::read_to_string(file).map_err(|error| fail(error.to_string()))?;
        Self::parse(&text)
    }

    /// Reads a text.
    ///
    /// # Errors
    /// [`LldpError::Form`].
    pub fn parse(text: &str) -> Result<Self, LldpError> {
        let document: Document = serde_json::from_str(text).map_err(|error| LldpError::Form {
            line: error.line(),
            column: error.column(),
            why: error.to_string(),
        })?;
        let mut neighbours = Self::default();
        for interface in document.lldp.into_iter().flat_map(|lldp| lldp.interface) {
            let known = neighbours.0.entry(interface.name).or_default();
            known.extend(interface.chassis.into_iter().map(name));
        }
        Ok(neighbours)
    }

    /// The switch at an interface.
    ///
    /// # Errors
    /// [`LldpError::Nobody`], [`LldpError::Several`], [`LldpError::Name`].
    pub fn at(&self, interface: &str) -> Result<TorId, LldpError> {
        let interface_name = || interface.to_owned();
        match self.0.get(interface).map(Vec::as_slice) {
            None | Some([]) => Err(LldpError::Nobody(interface_name())),
            Some([Ok(name)]) => Ok(name.clone()),
            Some([Err(why)]) => Err(LldpError::Name {
                interface: interface_name(),
                why: why.clone(),
            }),
            Some(several) => {
                let names = several.iter().flatten().map(ToString::to_string);
                Err(LldpError::Several {
                    interface: interface_name(),
                    names: names.collect(),
                })
            }
        }
    }

    /// The interfaces, by name.
    pub fn interfaces(&self) -> impl Iterator<Item = &str> {
        self.0.keys().map(String::as_str)
    }
}

fn name(chassis: Chassis) -> Result<TorId, String> {
    let Some(name) = chassis.name.into_iter().next() else {
        return Err("it sends no system name".to_owned());
    };
    match check_name(&name.value) {
        _ if name.value.is_empty() => Err("its system name is empty".to_owned()),
        Ok(()) => Ok(TorId::new(name.value)),
        Err(error) => Err(format!("its system name {error}")),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const PRINTED: &str = r#"{"lldp": [{"interface": [
        {"name": "eth2", "via": "LLDP", "rid": "1", "age": "0 day, 00:01:02",
         "chassis": [{"id": [{"type": "mac", "value": "00:11:22:33:44:55"}], "name": [{"value": "leaf0-r0"}],
                      "descr": [{"value": "SONiC"}], "capability": [{"type": "Router", "enabled": true}]}],
         "port": [{"id": [{"type": "ifname", "value": "Ethernet12"}], "ttl": [{"value": "120"}]}]},
        {"name": "eth3", "chassis": [{"name": [{"value": "leaf0-r1"}]}]},
        {"name": "eth4", "chassis": [{"name": [{"value": "leaf0-r2"}]}]},
        {"name": "eth4", "chassis": [{"name": [{"value": "virtual-switch"}]}]},
        {"name": "eth5", "chassis": [{"id": [{"type": "mac", "value": "00:11:22:33:44:56"}]}]},
        {"name": "eth6", "chassis": [{"name": [{"value": "leaf\u001b[31m"}]}]},
        {"name": "eth7", "chassis": [{"name": [{"value": ""}]}]},
        {"name": "eth8"}
    ]}]}"#;

    #[test]
    fn the_switch_at_each_interface_is_known_or_it_is_said_why_not() {
        let neighbours = Neighbours::parse(PRINTED).expect("as lldpcli prints it");
        let interfaces = neighbours.interfaces().chain(["eth9"]);
        let lines: Vec<_> = interfaces
            .map(|interface| match neighbours.at(interface) {
                Ok(tor) => format!("{interface}: {tor}"),
                Err(error) => format!("{interface}: error: {error}"),
            })
            .collect();
        insta::assert_snapshot!(lines.join("\n"), @r"
        eth2: leaf0-r0
        eth3: leaf0-r1
        eth4: error: lldpd has several neighbours at eth4: leaf0-r2, virtual-switch
        eth5: error: the neighbour at eth5 has no name that can be used: it sends no system name
        eth6: error: the neighbour at eth6 has no name that can be used: its system name contains control characters, or ones that are invisible or change the direction of text
        eth7: error: the neighbour at eth7 has no name that can be used: its system name is empty
        eth8: error: lldpd has no neighbour at eth8
        eth9: error: lldpd has no neighbour at eth9
        ");
    }

    #[test]
    fn what_is_something_else_is_refused_with_its_place() {
        // `-f json`, without the 0, has names as keys.
        for text in [
            "",
            "Neighbor lines",
            r#"{"lldp": {"interface": {"eth2": {"chassis": {"leaf0": {}}}}}}"#,
            r#"{"lldp": [{"interface": [{"chassis": []}]}]}"#,
        ] {
            let error = Neighbours::parse(text).expect_err("refused");
            assert!(matches!(error, LldpError::Form { .. }), "{text}: {error}");
        }
        let error = Neighbours::read(Path::new("/nowhere.json")).expect_err("no file");
        assert!(
            error
                .to_string()
                .starts_with("/nowhere.json: cannot be read"),
            "{error}"
        );
    }

    proptest! {
        #[test]
        fn any_text_is_read_or_refused(text in "[ -~]{0,200}") {
            let _ = Neighbours::parse(&text);
        }
    }
}
