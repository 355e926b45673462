//! What fails in a simulated fabric, in the notation of [`crate::fault`].
//!
//! ```text
//! fault = target effect | KIND [ "count=" N ] effect
//! ```
//! Of a kind without a name, so many places are drawn: one where no count is given. Of a name that holds `*`, `count=`
//! draws so many; without it all of them fail. Effects: `down`, `loss=`, and `blackhole=` of links and switches; a share
//! may be a range, from which each fault draws its own (`loss=0.2%..2%`).

use std::fmt;
use std::ops::RangeInclusive;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::analysis::localize::files::FileError;
use crate::analysis::localize::{Component, Symptom};
use crate::fault::{Effect, Effects, Fault, FaultError, Target};

/// What a simulation can do.
const SIMULATED: Effects = Effects {
    link: "down, loss=, blackhole=",
    switch: "down, loss=, blackhole=",
    rnic: "down, loss=",
    host: "down, loss=",
};

/// The text form for people, as help texts show it.
pub const SIMULATED_FAULTS_HELP: &str = "\
Faults: KIND [NAME] [count=N] EFFECT
  link A-B      both directions of a cable; A->B is one of them
  switch NAME   it loses on all its ports alike
  rnic HOST/DEV an RNIC of a host on rails, in both directions
  host NAME     its RNICs, in both directions
A name may hold * for any text. Without a name places are drawn, one without count=.

Effects, a share or a range of shares from which each fault draws its own:
  loss=1%, loss=0.2%..2%            packets vanish
  blackhole=30%                     link, switch: always the same 5-tuples vanish
  down                              everything vanishes

Examples:
  'link count=4 loss=0.2%..2%'      'link tor0->agg0-1 down'
  'switch spine3 loss=1%'           'switch blackhole=30%'";

/// What fails.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FaultKind {
    /// One direction of a cable; drawn among those between switches.
    Link,
    /// A switch.
    Switch,
    /// A host: its RNICs lose in both directions.
    Host,
    /// An RNIC of a host on rails: it loses in both directions.
    Rnic,
}

impl FaultKind {
    pub(super) const fn name(self) -> &'static str {
        match self {
            Self::Link => "link",
            Self::Switch => "switch",
            Self::Host => "host",
            Self::Rnic => "rnic",
        }
    }
}

/// What happens to the packets.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Losing {
    /// Each packet is lost with the same probability.
    ByChance,
    /// All packets of some 5-tuples are lost, none of the others: a blackhole.
    Tuples,
}

/// Faults of one kind, such as `link count=4 loss=0.2%..2%`.
#[derive(Debug, Clone, PartialEq)]
pub struct FaultPlan {
    /// What fails.
    pub kind: FaultKind,
    /// The name of what fails, in which `*` stands for any text; any one where it is not said.
    pub name: Option<String>,
    /// How many of those that have the name are drawn; all where it is not said.
    pub count: Option<usize>,
    /// What happens to the packets.
    pub losing: Losing,
    /// Loss rate of each, drawn evenly from this range, 0 to 1; of a blackhole the share of the 5-tuples.
    pub loss: RangeInclusive<f64>,
}

impl FaultPlan {
    /// Faults at places that are drawn, which lose packets by chance.
    pub const fn drawn(kind: FaultKind, count: usize, loss: RangeInclusive<f64>) -> Self {
        Self {
            kind,
            name: None,
            count: Some(count),
            losing: Losing::ByChance,
            loss,
        }
    }

    /// Blackholes at switches that are drawn.
    pub fn blackholes(count: usize, share: RangeInclusive<f64>) -> Self {
        Self {
            losing: Losing::Tuples,
            ..Self::drawn(FaultKind::Switch, count, share)
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
    let mut count = None;
    let mut words = Vec::new();
    for word in text.split_ascii_whitespace() {
        match word.strip_prefix("count=") {
            None => words.push(word.to_owned()),
            Some(_) if count.is_some() => return Err("`count=` is given twice".to_owned()),
            Some(number) => {
                let number = number
                    .parse()
                    .map_err(|_| format!("`{word}`: not a number of faults such as 4"))?;
                count = Some(number);
            }
        }
    }
    as_of_0_1(&mut words);
    let named = words
        .get(1)
        .is_some_and(|word| word != "down" && !word.contains('='));
    if words.len() < 2 {
        return Err(FaultError::NoEffect(text.trim().to_owned()).to_string());
    }
    if !named {
        words.insert(1, "*".to_owned());
    }
    let [low, high] = [0, 1].map(|end| one_end(&words, end));
    let (low, high) = (read(&low)?, read(&high)?);
    let (losing, loss) = range(&low.effects, &high.effects)?;
    let (kind, name) = match low.target {
        Target::Link(name) => (FaultKind::Link, name),
        Target::Switch(name) => (FaultKind::Switch, name),
        Target::Rnic(name) => (FaultKind::Rnic, name),
        Target::Host(name) => (FaultKind::Host, name),
    };
    Ok(FaultPlan {
        kind,
        name: named.then_some(name),
        count: count.or(if named { None } else { Some(1) }),
        losing,
        loss,
    })
}

/// `blackhole [NAME] loss=20%`, as version 0.1 had it, is `switch [NAME] blackhole=20%`.
fn as_of_0_1(words: &mut [String]) {
    if let Some((first, others)) = words.split_first_mut()
        && first == "blackhole"
    {
        "switch".clone_into(first);
        for word in others {
            if let Some(share) = word.strip_prefix("loss=") {
                *word = format!("blackhole={share}");
            }
        }
    }
}

/// The fault with the low (0) or the high (1) end of each range.
fn one_end(words: &[String], end: usize) -> String {
    let words = words.iter().map(|word| {
        let range = word
            .split_once('=')
            .and_then(|(key, value)| Some((key, value.split_once("..")?)));
        match range {
            None => word.clone(),
            Some((key, (low, high))) => format!("{key}={}", [low, high][end]),
        }
    });
    words.collect::<Vec<_>>().join(" ")
}

fn read(text: &str) -> Result<Fault, String> {
    let fault = Fault::parse(text, &SIMULATED).map_err(|error| error.to_string())?;
    if !fault.at.is_zero() || fault.lasts.is_some() {
        return Err("`at=` and `for=` mean nothing here: it is there in the whole window".into());
    }
    Ok(fault)
}

/// What the two ends of a range say.
fn range(low: &[Effect], high: &[Effect]) -> Result<(Losing, RangeInclusive<f64>), String> {
    let (losing, low, high) = match (low, high) {
        ([Effect::Down], _) => return Ok((Losing::ByChance, 1.0..=1.0)),
        ([Effect::Loss(low)], [Effect::Loss(high)]) => (Losing::ByChance, *low, *high),
        ([Effect::Blackhole(low)], [Effect::Blackhole(high)]) => (Losing::Tuples, *low, *high),
        _ => return Err("it has several effects: write one fault for each".to_owned()),
    };
    if low.get() > high.get() {
        return Err(format!("`{low}..{high}` runs backwards"));
    }
    Ok((losing, low.get()..=high.get()))
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
        if let Some(name) = &self.name {
            write!(f, " {name}")?;
        }
        if let Some(count) = self.count {
            write!(f, " count={count}")?;
        }
        let key = match self.losing {
            Losing::ByChance => "loss",
            Losing::Tuples => "blackhole",
        };
        let (low, high) = (self.loss.start(), self.loss.end());
        if low.total_cmp(high).is_eq() {
            write!(f, " {key}={low}")
        } else {
            write!(f, " {key}={low}..{high}")
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
