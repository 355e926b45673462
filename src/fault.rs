//! Faults as typed values with a text form, for the emulated fabric and for simulations on files.
//!
//! ```text
//! fault   = target { effect } [ "at=" DURATION ] [ "for=" DURATION ]
//! target  = "link" A-B | "link" A->B | "switch" NAME | "rnic" HOST/N | "host" NAME
//! ```
//! `A-B` is both directions of a cable, `A->B` one. A name may hold `*` for any text (`link spine*->tor3 loss=0.1%`).
//! Without `at=` a fault begins at once, without `for=` it stays. Effects of a target in the emulated fabric
//! ([`parse::EMULATED`]; simulations have some of them):
//!
//! | effect | on | means |
//! |---|---|---|
//! | `down` | link, switch, rnic, host | everything that is sent into it vanishes |
//! | `loss=1%` | link, switch, rnic | vanishes with this probability |
//! | `corrupt=1%` | link, switch, rnic | arrives with a wrong ICRC, which the receiving RNIC counts and drops |
//! | `blackhole=10%` | link, switch | this share of the 5-tuples vanishes, always the same ones |
//! | `delay=50us`, `jitter=20us` | link, switch, rnic | takes longer: always, or by up to so much |
//! | `rate=1Gbit`, `queue=64KiB` | link, switch, rnic | another rate, another length of the queue |
//! | `load=90%` | link, switch, rnic | queueing behind other traffic that fills so much of the rate |
//! | `pause=5ms every=20ms` | link, switch, rnic | the queue stands still for so long, every so often: a pause storm |
//! | `flap=1s every=5s` | link, rnic | down for so long, every so often |
//! | `clock-step=-5ms` | rnic | its clock jumps once |
//! | `restart` | rnic, host | its queue pairs are destroyed: what answers there must open new ones |
//! | `stall=200ms every=1s` | host | the host handles no completion for so long, every so often: starved of CPU |
//!
//! `drop=` is another word for `loss=`, `slow=` for `delay=`. Effects of a switch are those of all links that leave it;
//! a switch that is down also loses what is sent to it.

pub(crate) mod parse;
pub(crate) mod pattern;

use std::fmt;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::measure::Ratio;
use crate::time::{HumanDuration, Nanos};

pub(crate) use parse::Effects;

/// The text form for people, as help texts show it.
pub const FAULTS_HELP: &str = "\
Faults: KIND NAME EFFECT... [at=TIME] [for=TIME]
  link A-B      both directions of a cable; A->B is one of them
  switch NAME   all links that leave it
  rnic HOST/N   an RNIC of a host, such as host3/0
  host NAME     a host
A name may hold * for any text. Without at= a fault begins at once, without for= it stays.

Effects:
  down                              link, switch, rnic, host: nothing passes
  loss=1%, corrupt=1%               link, switch, rnic: packets vanish, or arrive damaged
  blackhole=10%                     link, switch: always the same 5-tuples vanish
  delay=50us, jitter=20us           link, switch, rnic: packets take longer
  rate=1Gbit, queue=64KiB, load=90% link, switch, rnic: other rate, queue or traffic
  pause=5ms every=20ms              link, switch, rnic: the queue stands still so often
  flap=1s every=5s                  link, rnic: down so often
  clock-step=-5ms                   rnic: its clock jumps once
  restart                           rnic, host: its queue pairs are destroyed
  stall=200ms every=1s              host: it handles no completion so often";

/// A fault that cannot be understood or injected.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum FaultError {
    /// The first word is none of the kinds of targets.
    #[error("`{0}`: a fault begins with link, switch, rnic or host")]
    Kind(String),
    /// No name behind the kind.
    #[error("`{kind}` needs a name, such as `{example}`")]
    NoName {
        /// The kind of target.
        kind: &'static str,
        /// A name as it could be.
        example: &'static str,
    },
    /// Nothing is said to happen.
    #[error("`{0}` has no effect: say what is wrong with it, such as down or loss=1%")]
    NoEffect(String),
    /// A word that does not name an effect of this kind of target.
    #[error("`{word}` is not an effect of a {kind}; known are: {known}")]
    Effect {
        /// The word.
        word: String,
        /// The kind of target.
        kind: &'static str,
        /// The effects that it can have.
        known: &'static str,
    },
    /// A value that cannot be used.
    #[error("`{key}={value}`: {why}")]
    Value {
        /// The key.
        key: String,
        /// The value as written.
        value: String,
        /// What is wrong with it.
        why: String,
    },
    /// `every=` without something that recurs.
    #[error("`every=` needs a pause=, flap= or stall= before it")]
    Every,
    /// The same word twice.
    #[error("`{0}` is given twice")]
    Twice(String),
    /// The topology has nothing of that name.
    #[error("no {kind} is named `{name}`{}", did_you_mean(.near))]
    Unknown {
        /// The kind of target.
        kind: &'static str,
        /// The name.
        name: String,
        /// Names that look like it.
        near: Vec<String>,
    },
}

fn did_you_mean(names: &[String]) -> String {
    if names.is_empty() {
        String::new()
    } else {
        format!("; did you mean {}?", names.join(" or "))
    }
}

/// Something that is on for `length` at the beginning of each `every`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Pulse {
    /// How long it is on.
    pub length: Duration,
    /// From one beginning to the next; `None` for once only.
    pub every: Option<Duration>,
}

impl Pulse {
    /// When it ends, if it is on at `now`; all in nanoseconds, `start` being that of the first pulse.
    pub(crate) fn on_until(&self, start: i64, now: i64) -> Option<i64> {
        let since = now.checked_sub(start).filter(|since| *since >= 0)?;
        let length = Nanos::from(self.length).0;
        let phase = match self.every {
            Some(every) => since % Nanos::from(every).0.max(1),
            None => since,
        };
        (phase < length).then(|| now.saturating_add(length - phase))
    }
}

/// What is wrong. The module's table says what each means.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Effect {
    /// Loses everything.
    Down,
    /// Loses by chance.
    Loss(Ratio),
    /// Breaks the ICRC by chance.
    Corrupt(Ratio),
    /// Loses a share of the 5-tuples.
    Blackhole(Ratio),
    /// Takes longer.
    Delay(Duration),
    /// Takes longer by up to so much.
    Jitter(Duration),
    /// Another rate, in bits per second.
    Rate(u64),
    /// Another length of the queue, in bytes.
    Queue(u64),
    /// Other traffic fills so much of the rate.
    Load(Ratio),
    /// The queue stands still.
    Pause(Pulse),
    /// Down now and then.
    Flap(Pulse),
    /// The RNIC's clock jumps.
    ClockStep(Nanos),
    /// The host handles no completion.
    Stall(Pulse),
    /// All queue pairs are destroyed.
    Restart,
}

/// What a fault hits, by name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Target {
    /// `A-B` or `A->B`.
    Link(String),
    /// A switch.
    Switch(String),
    /// `HOST/N`.
    Rnic(String),
    /// A host.
    Host(String),
}

impl Target {
    /// The first word of a fault.
    pub fn kind(&self) -> &'static str {
        match self {
            Self::Link(_) => "link",
            Self::Switch(_) => "switch",
            Self::Rnic(_) => "rnic",
            Self::Host(_) => "host",
        }
    }

    /// The second.
    pub fn name(&self) -> &str {
        match self {
            Self::Link(name) | Self::Switch(name) | Self::Rnic(name) | Self::Host(name) => name,
        }
    }
}

/// One fault: whom it hits, how and when. Its text form is described in the module.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Fault {
    /// Whom.
    pub target: Target,
    /// How; at least one.
    pub effects: Vec<Effect>,
    /// When it begins, from the start of the fabric.
    pub at: Duration,
    /// How long it stays; `None` for ever.
    pub lasts: Option<Duration>,
}

impl TryFrom<String> for Fault {
    type Error = FaultError;

    fn try_from(text: String) -> Result<Self, FaultError> {
        text.parse()
    }
}

impl From<Fault> for String {
    fn from(fault: Fault) -> Self {
        fault.to_string()
    }
}

fn span(f: &mut fmt::Formatter<'_>, key: &str, duration: Duration) -> fmt::Result {
    let text = HumanDuration(duration).to_string().replace(' ', "");
    write!(f, " {key}={text}")
}

fn pulse(f: &mut fmt::Formatter<'_>, key: &str, pulse: Pulse) -> fmt::Result {
    span(f, key, pulse.length)?;
    pulse.every.map_or(Ok(()), |every| span(f, "every", every))
}

impl fmt::Display for Effect {
    /// With a space before it.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            Self::Down => f.write_str(" down"),
            Self::Restart => f.write_str(" restart"),
            Self::Loss(ratio) => write!(f, " loss={ratio}"),
            Self::Corrupt(ratio) => write!(f, " corrupt={ratio}"),
            Self::Blackhole(ratio) => write!(f, " blackhole={ratio}"),
            Self::Load(ratio) => write!(f, " load={ratio}"),
            Self::Delay(delay) => span(f, "delay", delay),
            Self::Jitter(jitter) => span(f, "jitter", jitter),
            Self::Rate(rate) => write!(f, " rate={rate}"),
            Self::Queue(bytes) => write!(f, " queue={bytes}"),
            Self::Pause(on) => pulse(f, "pause", on),
            Self::Flap(on) => pulse(f, "flap", on),
            Self::Stall(on) => pulse(f, "stall", on),
            Self::ClockStep(step) => write!(f, " clock-step={}ns", step.0),
        }
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.target.kind(), self.target.name())?;
        for effect in &self.effects {
            effect.fmt(f)?;
        }
        if !self.at.is_zero() {
            span(f, "at", self.at)?;
        }
        self.lasts.map_or(Ok(()), |lasts| span(f, "for", lasts))
    }
}
