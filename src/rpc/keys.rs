//! Messages about the cluster's keys.

use std::fmt;

use prost::Message as _;

use super::convert::FieldError;
use super::v1;
use crate::cluster_key::{
    Followed, Generation, Held, KeySource, KeyUse, Order, Phase, Report, Secret,
};
use crate::wire::Fingerprint;

/// Keys that a report names, at most.
const MOST_VERIFIED: usize = 8;

impl fmt::Debug for v1::ClusterKeys {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ClusterKeys")
            .field("generation", &self.generation)
            .field("phase", &self.phase)
            .finish_non_exhaustive()
    }
}

impl From<Phase> for v1::KeyPhase {
    fn from(phase: Phase) -> Self {
        match phase {
            Phase::Offered => Self::Offered,
            Phase::Signing => Self::Signing,
            Phase::Steady => Self::Steady,
        }
    }
}

fn phase(number: i32) -> Option<Phase> {
    match v1::KeyPhase::try_from(number).ok()? {
        v1::KeyPhase::Unspecified => None,
        v1::KeyPhase::Offered => Some(Phase::Offered),
        v1::KeyPhase::Signing => Some(Phase::Signing),
        v1::KeyPhase::Steady => Some(Phase::Steady),
    }
}

fn known_phase(number: i32) -> Result<Phase, FieldError> {
    phase(number).ok_or_else(|| FieldError::new("phase", format!("{number} is not a phase")))
}

fn print(field: &str, bytes: &[u8]) -> Result<Fingerprint, FieldError> {
    let bytes = bytes.try_into().map_err(|_| {
        let why = format!("has {} bytes, a fingerprint has 8", bytes.len());
        FieldError::new(field, why)
    })?;
    Ok(Fingerprint(bytes))
}

fn print_bytes(print: Fingerprint) -> bytes::Bytes {
    bytes::Bytes::copy_from_slice(&print.0)
}

fn generation(number: u64) -> Result<Generation, FieldError> {
    if number == 0 {
        return Err(FieldError::new("generation", "is 0, expected at least 1"));
    }
    Ok(Generation(number))
}

fn secret(field: &str, bytes: &[u8]) -> Result<Secret, FieldError> {
    let why = || format!("has {} bytes, a key has 32", bytes.len());
    Secret::new(bytes).ok_or_else(|| FieldError::new(field, why()))
}

impl From<&Order> for v1::ClusterKeys {
    fn from(order: &Order) -> Self {
        let bytes = |secret: &Secret| bytes::Bytes::copy_from_slice(secret.bytes());
        Self {
            lineage: print_bytes(order.lineage),
            generation: order.generation.0,
            phase: v1::KeyPhase::from(order.phase).into(),
            key: bytes(&order.key),
            previous: order.previous.as_ref().map(bytes).unwrap_or_default(),
            keeps: order.keeps,
        }
    }
}

impl TryFrom<v1::ClusterKeys> for Order {
    type Error = FieldError;

    fn try_from(message: v1::ClusterKeys) -> Result<Self, FieldError> {
        let previous = (!message.previous.is_empty())
            .then(|| secret("previous", &message.previous))
            .transpose()?;
        Ok(Self {
            lineage: print("lineage", &message.lineage)?,
            generation: generation(message.generation)?,
            phase: known_phase(message.phase)?,
            key: secret("key", &message.key)?,
            previous,
            keeps: message.keeps,
        })
    }
}

impl From<&Held> for v1::KeyReport {
    fn from(held: &Held) -> Self {
        let followed = held.followed;
        Self {
            own: false,
            lineage: followed
                .map(|at| print_bytes(at.lineage))
                .unwrap_or_default(),
            generation: followed.map_or(0, |at| at.generation.0),
            phase: followed
                .map_or(v1::KeyPhase::Unspecified, |at| at.phase.into())
                .into(),
            verifies: held.verifies.iter().copied().map(print_bytes).collect(),
            signs: held.signs.map(print_bytes).unwrap_or_default(),
            takes_unsigned: held.takes_unsigned,
        }
    }
}

impl From<&Report> for v1::KeyReport {
    fn from(report: &Report) -> Self {
        match report {
            Report::Own => Self {
                own: true,
                ..Self::default()
            },
            Report::Held(held) => held.into(),
        }
    }
}

/// What an agent does with keys, as bytes to keep.
pub(crate) fn report_bytes(report: &Report) -> Vec<u8> {
    v1::KeyReport::from(report).encode_to_vec()
}

/// From [`report_bytes`].
///
/// # Errors
/// They are none.
pub(crate) fn report_of(bytes: &[u8]) -> Result<Report, FieldError> {
    v1::KeyReport::decode(bytes)
        .map_err(|error| FieldError::new("key_report", error.to_string()))?
        .try_into()
}

impl TryFrom<v1::KeyReport> for Report {
    type Error = FieldError;

    fn try_from(message: v1::KeyReport) -> Result<Self, FieldError> {
        if message.own {
            return Ok(Self::Own);
        }
        let count = message.verifies.len();
        if count > MOST_VERIFIED {
            let why = format!("has {count} entries, at most {MOST_VERIFIED} are accepted");
            return Err(FieldError::new("verifies", why));
        }
        let followed = if message.generation == 0 {
            None
        } else {
            Some(Followed {
                lineage: print("lineage", &message.lineage)?,
                generation: Generation(message.generation),
                phase: known_phase(message.phase)?,
            })
        };
        let signs = (!message.signs.is_empty())
            .then(|| print("signs", &message.signs))
            .transpose()?;
        let verifies = message.verifies.iter().map(|one| print("verifies", one));
        Ok(Self::Held(Held {
            followed,
            verifies: verifies.collect::<Result<_, _>>()?,
            signs,
            takes_unsigned: message.takes_unsigned,
        }))
    }
}

impl From<&KeyUse> for v1::KeyState {
    fn from(keys: &KeyUse) -> Self {
        let source = match keys.source {
            KeySource::NoTls => v1::KeySource::NoTls,
            KeySource::NotGiven => v1::KeySource::NotGiven,
            KeySource::Own => v1::KeySource::Own,
            KeySource::Controller => v1::KeySource::Controller,
        };
        Self {
            source: source.into(),
            phase: keys
                .phase
                .map_or(v1::KeyPhase::Unspecified, v1::KeyPhase::from)
                .into(),
            signs: keys.signs.map(print_bytes).unwrap_or_default(),
        }
    }
}

/// What an agent tells of its keys; `None` for what makes no sense, and for a source that is not known here.
pub(super) fn key_use(message: &v1::KeyState) -> Option<KeyUse> {
    let source = match v1::KeySource::try_from(message.source).ok()? {
        v1::KeySource::Unspecified => return None,
        v1::KeySource::NoTls => KeySource::NoTls,
        v1::KeySource::NotGiven => KeySource::NotGiven,
        v1::KeySource::Own => KeySource::Own,
        v1::KeySource::Controller => KeySource::Controller,
    };
    Some(KeyUse {
        source,
        phase: phase(message.phase),
        signs: print("signs", &message.signs).ok(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn order(previous: Option<Secret>) -> Order {
        Order {
            lineage: Fingerprint([1; 8]),
            generation: Generation(7),
            phase: Phase::Signing,
            key: Secret::new(&[0xab; 32]).expect("a key"),
            keeps: previous.is_none(),
            previous,
        }
    }

    #[test]
    fn orders_and_reports_come_back_and_keys_are_not_shown() {
        for order in [order(None), order(Secret::new(&[2; 32]))] {
            let message = v1::ClusterKeys::from(&order);
            assert_eq!(Order::try_from(message.clone()), Ok(order.clone()));
            let shown = format!("{message:?} {order:?}");
            assert!(!shown.contains("171") && !shown.contains("abab"), "{shown}");
        }
        let held = Held {
            followed: Some((&order(None)).into()),
            verifies: vec![Fingerprint([3; 8]), Fingerprint([4; 8])],
            signs: Some(Fingerprint([4; 8])),
            takes_unsigned: true,
        };
        for report in [
            Report::Own,
            Report::Held(held),
            Report::Held(Held::default()),
        ] {
            let message = v1::KeyReport::from(&report);
            assert_eq!(Report::try_from(message), Ok(report));
        }
    }

    #[test]
    fn what_makes_no_sense_is_refused_by_field() {
        let good = v1::ClusterKeys::from(&order(None));
        let report = v1::KeyReport::from(&Report::Held(Held::default()));
        let short = || bytes::Bytes::from_static(b"short");
        let refused = [
            v1::ClusterKeys {
                key: short(),
                ..good.clone()
            },
            v1::ClusterKeys {
                previous: short(),
                ..good.clone()
            },
            v1::ClusterKeys {
                lineage: short(),
                ..good.clone()
            },
            v1::ClusterKeys {
                generation: 0,
                ..good.clone()
            },
            v1::ClusterKeys { phase: 9, ..good },
        ]
        .map(|message| Order::try_from(message).expect_err("refused").to_string())
        .into_iter()
        .chain(
            [
                v1::KeyReport {
                    verifies: vec![short(); 9],
                    ..report.clone()
                },
                v1::KeyReport {
                    verifies: vec![short()],
                    ..report.clone()
                },
                v1::KeyReport {
                    signs: short(),
                    ..report.clone()
                },
                v1::KeyReport {
                    generation: 1,
                    phase: 1,
                    ..report
                },
            ]
            .map(|message| Report::try_from(message).expect_err("refused").to_string()),
        );
        insta::assert_snapshot!(refused.collect::<Vec<_>>().join("\n"));
    }
}
