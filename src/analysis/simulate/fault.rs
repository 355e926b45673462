//! What fails in a simulated fabric, and how to write it.

use std::fmt;
use std::ops::RangeInclusive;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::analysis::localize::files::FileError;
use crate::analysis::localize::{Component, Symptom};

/// What fails.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum FaultKind {
    /// One direction of a cable; drawn among those between switches.
    Link,
    /// A switch: it loses on all its ports alike.
    Switch,
    /// A host: its RNICs lose in both directions.
    Host,
    /// An RNIC of a host on rails: it loses in both directions.
    Rnic,
    /// A switch that loses all packets of some 5-tuples; the loss rate is the share of the 5-tuples.
    Blackhole,
}

impl FaultKind {
    const ALL: [(&'static str, Self); 5] = [
        ("link", Self::Link),
        ("switch", Self::Switch),
        ("host", Self::Host),
        ("rnic", Self::Rnic),
        ("blackhole", Self::Blackhole),
    ];

    const fn name(self) -> &'static str {
        match self {
            Self::Link => "link",
            Self::Switch => "switch",
            Self::Host => "host",
            Self::Rnic => "rnic",
            Self::Blackhole => "blackhole",
        }
    }
}

/// Faults of one kind: `link count=4 loss=0.2%..2%`, `switch spine3 loss=1%`, `link tor0->spine1 loss=100%`.
#[derive(Debug, Clone, PartialEq)]
pub struct FaultPlan {
    /// What fails.
    pub kind: FaultKind,
    /// Which one; drawn where it is not said.
    pub place: Option<Component>,
    /// How many.
    pub count: usize,
    /// Loss rate of each, drawn evenly from this range, 0 to 1.
    pub loss: RangeInclusive<f64>,
}

impl FaultPlan {
    /// Faults at places that are drawn.
    pub const fn drawn(kind: FaultKind, count: usize, loss: RangeInclusive<f64>) -> Self {
        Self {
            kind,
            place: None,
            count,
            loss,
        }
    }
}

/// Why a text is no fault.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "fault `{text}`: {why}; for instance `link count=4 loss=0.2%..2%` or `switch spine1 loss=1%`"
)]
pub struct FaultSyntax {
    text: String,
    why: String,
}

impl FromStr for FaultPlan {
    type Err = FaultSyntax;

    fn from_str(text: &str) -> Result<Self, FaultSyntax> {
        parse(text).map_err(|why| FaultSyntax {
            text: text.to_owned(),
            why,
        })
    }
}

fn parse(text: &str) -> Result<FaultPlan, String> {
    let mut words = text.split_whitespace();
    let name = words.next().ok_or("it is empty")?;
    let (_, kind) = FaultKind::ALL
        .into_iter()
        .find(|(known, _)| *known == name)
        .ok_or_else(|| {
            format!("no kind `{name}`; there are link, switch, host, rnic, blackhole")
        })?;
    let mut plan = FaultPlan::drawn(kind, 1, 1.0..=1.0);
    let mut loss = None;
    let mut counted = false;
    for word in words {
        match word.split_once('=') {
            Some(("count", value)) => {
                plan.count = value
                    .parse()
                    .map_err(|_| format!("`{value}` is no count"))?;
                counted = true;
            }
            Some(("loss", value)) => loss = Some(range(value)?),
            Some((key, _)) => return Err(format!("no setting `{key}`; there are count and loss")),
            None if plan.place.is_none() => plan.place = Some(place(kind, word)?),
            None => return Err(format!("`{word}` is one name too many")),
        }
    }
    if plan.place.is_some() && counted {
        return Err("a place and a count exclude each other".to_owned());
    }
    plan.loss = loss.ok_or("`loss=` is missing")?;
    Ok(plan)
}

fn place(kind: FaultKind, name: &str) -> Result<Component, String> {
    let node = || name.to_owned();
    Ok(match kind {
        FaultKind::Link => {
            let (from, to) = name
                .split_once("->")
                .filter(|(from, to)| !from.is_empty() && !to.is_empty())
                .ok_or_else(|| format!("`{name}` is no link; write FROM->TO"))?;
            Component::Link {
                from: from.to_owned(),
                to: to.to_owned(),
            }
        }
        FaultKind::Switch | FaultKind::Blackhole => Component::Switch { name: node() },
        FaultKind::Host => Component::Host { name: node() },
        FaultKind::Rnic => {
            Component::rnic(name.parse().map_err(|_| {
                format!("`{name}` is no RNIC; write HOST/DEVICE, such as h1/mlx5_0")
            })?)
        }
    })
}

/// `2%`, `0.02`, or two of them with `..` between.
///
/// # Errors
/// What is wrong, with what is expected.
pub fn range(text: &str) -> Result<RangeInclusive<f64>, String> {
    let (low, high) = text.split_once("..").unwrap_or((text, text));
    let (low, high) = (ratio(low)?, ratio(high)?);
    if low > high {
        return Err(format!("`{text}` runs backwards"));
    }
    Ok(low..=high)
}

/// `2%` or `0.02`.
///
/// # Errors
/// What is wrong, with what is expected.
pub fn ratio(text: &str) -> Result<f64, String> {
    let (digits, scale) = text
        .strip_suffix('%')
        .map_or((text, 1.0), |digits| (digits, 100.0));
    digits
        .parse::<f64>()
        .map(|value| value / scale)
        .ok()
        .filter(|value| (0.0..=1.0).contains(value))
        .ok_or_else(|| format!("`{text}` is not a ratio between 0 and 1; write 2% or 0.02"))
}

impl fmt::Display for FaultPlan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.kind.name())?;
        match &self.place {
            Some(Component::Link { from, to }) => write!(f, " {from}->{to}")?,
            Some(node) => write!(f, " {}", node.node().unwrap_or_default())?,
            None => write!(f, " count={}", self.count)?,
        }
        let (low, high) = (self.loss.start(), self.loss.end());
        if low.total_cmp(high).is_eq() {
            write!(f, " loss={low}")
        } else {
            write!(f, " loss={low}..{high}")
        }
    }
}

/// A fault that was put in.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Truth {
    /// Where.
    #[serde(flatten)]
    pub component: Component,
    /// How it shows.
    pub symptom: Symptom,
    /// Its loss rate (for a blackhole: the share of its 5-tuples), 0 to 1.
    pub loss_rate: f64,
}

/// The faults as `rpingmesh simulate generate` writes them, one JSON object.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TruthFile {
    /// All of them.
    pub faults: Vec<Truth>,
}

impl TruthFile {
    /// Reads the file.
    ///
    /// # Errors
    /// [`FileError::Json`].
    pub fn parse(text: &str) -> Result<Self, FileError> {
        serde_json::from_str(text).map_err(|error| FileError::json("truth", error.line(), &error))
    }
}
