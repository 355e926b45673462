//! How many RNICs a host of the lab has, and what drives them.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::config::settings::{Kind, scalars};

/// The word for RNICs that the agents' verbs code drives.
const EMULATED: &str = "emulated";

/// The RNICs of each host: `2`, `emulated`, or `emulated:2`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LabRnics {
    /// How many; `None` for as many as otherwise.
    pub per_host: Option<u32>,
    /// Whether programs of the agent drive them by verbs, through a libibverbs that emulates RNICs.
    pub emulated: bool,
}

scalars! { LabRnics: Kind::Text }

impl From<u32> for LabRnics {
    fn from(count: u32) -> Self {
        Self {
            per_host: Some(count),
            emulated: false,
        }
    }
}

impl FromStr for LabRnics {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (emulated, count) = match text.strip_prefix(EMULATED) {
            Some("") => (true, None),
            Some(rest) => (true, rest.strip_prefix(':')),
            None => (false, Some(text)),
        };
        let per_host = match count.map(str::parse) {
            None if emulated && text != EMULATED => return Err(refusal(text)),
            None => None,
            Some(Ok(count)) => Some(count),
            Some(Err(_)) => return Err(refusal(text)),
        };
        Ok(Self { per_host, emulated })
    }
}

fn refusal(text: &str) -> String {
    format!("`{text}` is neither a number nor `{EMULATED}` nor `{EMULATED}:` and a number")
}

impl fmt::Display for LabRnics {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (self.emulated, self.per_host) {
            (false, Some(count)) => count.fmt(f),
            (false, None) => Ok(()),
            (true, None) => f.write_str(EMULATED),
            (true, Some(count)) => write!(f, "{EMULATED}:{count}"),
        }
    }
}

/// A number where it is one alone, else a text.
impl Serialize for LabRnics {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match (self.emulated, self.per_host) {
            (false, Some(count)) => serializer.serialize_u32(count),
            _ => serializer.collect_str(self),
        }
    }
}

impl<'de> Deserialize<'de> for LabRnics {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        #[derive(Deserialize)]
        #[serde(untagged)]
        enum Form {
            Count(u32),
            Text(String),
        }
        match Form::deserialize(deserializer)? {
            Form::Count(count) => Ok(count.into()),
            Form::Text(text) => text.parse().map_err(serde::de::Error::custom),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rnics_are_read_and_written_alike() {
        for (text, per_host, emulated) in [
            ("2", Some(2), false),
            ("emulated", None, true),
            ("emulated:1", Some(1), true),
        ] {
            let rnics: LabRnics = text.parse().expect("RNICs");
            assert_eq!(rnics, LabRnics { per_host, emulated });
            assert_eq!(rnics.to_string(), text);
        }
    }

    #[test]
    fn a_file_has_a_number_or_a_text() {
        #[derive(Debug, PartialEq, Serialize, Deserialize)]
        struct File {
            rnics: LabRnics,
        }
        for text in ["rnics = 2\n", "rnics = \"emulated:4\"\n"] {
            let file: File = toml::from_str(text).expect("TOML");
            assert_eq!(toml::to_string(&file).expect("TOML"), text);
        }
        assert!(toml::from_str::<File>("rnics = -1").is_err());
    }

    #[test]
    fn what_are_no_rnics_is_refused() {
        for text in [
            "",
            "two",
            "emulated:",
            "emulated:x",
            "emulated2",
            "emulatedx:1",
            "-1",
        ] {
            assert!(text.parse::<LabRnics>().is_err(), "{text}");
        }
    }
}
