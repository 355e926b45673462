//! The text form of a fault.

use std::str::FromStr;
use std::time::Duration;

use super::{Effect, Fault, FaultError, Pulse, Target};
use crate::measure::Ratio;
use crate::time::{HumanDuration, Nanos};

/// The longest time that a fault can name: keeps sums of nanoseconds far from overflow.
const LONGEST: Duration = Duration::from_hours(366 * 24);

/// The effects that each kind of target can have: `down`, `loss=` and so on, separated by a comma and a space.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Effects {
    pub(crate) link: &'static str,
    pub(crate) switch: &'static str,
    pub(crate) rnic: &'static str,
    pub(crate) host: &'static str,
}

/// What the emulated fabric can do.
pub(crate) const EMULATED: Effects = Effects {
    link: "down, loss=, corrupt=, blackhole=, delay=, jitter=, rate=, queue=, load=, pause=, flap=, every=",
    switch: "down, loss=, corrupt=, blackhole=, delay=, jitter=, rate=, queue=, load=, pause=, every=",
    rnic: "down, loss=, corrupt=, delay=, jitter=, rate=, queue=, load=, pause=, flap=, every=, clock-step=, restart",
    host: "down, stall=, every=, restart",
};

impl Effects {
    const fn of(&self, target: &Target) -> &'static str {
        match target {
            Target::Link(_) => self.link,
            Target::Switch(_) => self.switch,
            Target::Rnic(_) => self.rnic,
            Target::Host(_) => self.host,
        }
    }

    fn has(&self, target: &Target, key: &str) -> bool {
        self.of(target)
            .split(", ")
            .any(|known| known.trim_end_matches('=') == key)
    }
}

fn parse_target(kind: &str, name: Option<&str>) -> Result<Target, FaultError> {
    let (kind, example, make): (_, _, fn(String) -> Target) = match kind {
        "link" => ("link", "spine1-tor3", Target::Link),
        "switch" => ("switch", "spine2", Target::Switch),
        "rnic" => ("rnic", "host3/0", Target::Rnic),
        "host" => ("host", "host5", Target::Host),
        other => return Err(FaultError::Kind(other.to_owned())),
    };
    match name {
        Some(name) if name != "down" && !name.contains('=') => Ok(make(name.to_owned())),
        _ => Err(FaultError::NoName { kind, example }),
    }
}

/// One `key=value` for messages and conversions.
#[derive(Clone, Copy)]
struct Word<'a> {
    key: &'a str,
    value: &'a str,
}

impl Word<'_> {
    fn error(self, why: impl Into<String>) -> FaultError {
        FaultError::Value {
            key: self.key.to_owned(),
            value: self.value.to_owned(),
            why: why.into(),
        }
    }

    fn ratio(self) -> Result<Ratio, FaultError> {
        let (digits, scale) = match self.value.strip_suffix('%') {
            Some(digits) => (digits, 100.0),
            None => (self.value, 1.0),
        };
        let number: f64 = digits
            .parse()
            .map_err(|_| self.error("not a share such as 1% or 0.01"))?;
        if number.is_nan() {
            return Err(self.error("not a share such as 1% or 0.01"));
        }
        if number < 0.0 {
            return Err(self.error("a share cannot be negative"));
        }
        Ratio::new(number / scale)
            .ok_or_else(|| self.error("a share is at most 100%; write 5% or 0.05"))
    }

    fn duration(self) -> Result<Duration, FaultError> {
        if self.value.starts_with('-') {
            return Err(self.error("a duration cannot be negative"));
        }
        let HumanDuration(duration) = self
            .value
            .parse::<HumanDuration>()
            .map_err(|why| self.error(why))?;
        if duration > LONGEST {
            return Err(self.error("longer than a year"));
        }
        Ok(duration)
    }

    fn some_time(self) -> Result<Duration, FaultError> {
        let duration = self.duration()?;
        if duration.is_zero() {
            return Err(self.error("must be longer than nothing"));
        }
        Ok(duration)
    }

    fn step(self) -> Result<Nanos, FaultError> {
        let (backwards, value) = match self.value.strip_prefix('-') {
            Some(rest) => (true, rest),
            None => (false, self.value.strip_prefix('+').unwrap_or(self.value)),
        };
        let Nanos(size) = Word { value, ..self }.duration()?.into();
        Ok(Nanos(if backwards { -size } else { size }))
    }

    /// A whole number with one of the units.
    fn quantity(self, units: &[(&str, u64)], example: &str) -> Result<u64, FaultError> {
        if self.value.starts_with('-') {
            return Err(self.error("cannot be negative"));
        }
        let end = self
            .value
            .find(|c: char| !c.is_ascii_digit())
            .unwrap_or(self.value.len());
        let (digits, unit) = self.value.split_at(end);
        let scale = units
            .iter()
            .find(|(name, _)| name.eq_ignore_ascii_case(unit))
            .map(|(_, scale)| *scale);
        let (Ok(number), Some(scale)) = (digits.parse::<u128>(), scale) else {
            return Err(self.error(format!("not a number such as {example}")));
        };
        match u64::try_from(number.saturating_mul(scale.into())) {
            Ok(0) => Err(self.error("must be more than zero")),
            Ok(number) => Ok(number),
            Err(_) => Err(self.error("too large")),
        }
    }

    fn rate(self) -> Result<u64, FaultError> {
        let units = [
            ("", 1),
            ("bit", 1),
            ("kbit", 1_000),
            ("mbit", 1_000_000),
            ("gbit", 1_000_000_000),
        ];
        let rate = self.quantity(&units, "25Gbit")?;
        if rate > 10_000_000_000_000 {
            return Err(self.error("more than 10000Gbit"));
        }
        Ok(rate)
    }

    fn bytes(self) -> Result<u64, FaultError> {
        let units = [
            ("", 1),
            ("b", 1),
            ("kib", 1 << 10),
            ("mib", 1 << 20),
            ("gib", 1 << 30),
        ];
        self.quantity(&units, "64KiB")
    }

    fn effect(self) -> Result<Option<Effect>, FaultError> {
        let pulse = |length| Pulse {
            length,
            every: None,
        };
        Ok(Some(match self.key {
            "loss" => Effect::Loss(self.ratio()?),
            "corrupt" => Effect::Corrupt(self.ratio()?),
            "blackhole" => Effect::Blackhole(self.ratio()?),
            "load" => {
                let load = self.ratio()?;
                if load.get() >= 1.0 {
                    return Err(self.error("must be below 100%: the queue would grow for ever"));
                }
                Effect::Load(load)
            }
            "delay" => Effect::Delay(self.duration()?),
            "jitter" => Effect::Jitter(self.duration()?),
            "rate" => Effect::Rate(self.rate()?),
            "queue" => Effect::Queue(self.bytes()?),
            "pause" => Effect::Pause(pulse(self.some_time()?)),
            "flap" => Effect::Flap(pulse(self.some_time()?)),
            "stall" => Effect::Stall(pulse(self.some_time()?)),
            "clock-step" => Effect::ClockStep(self.step()?),
            _ => return Ok(None),
        }))
    }
}

/// Gives the pulse at the end of `effects` its period.
fn set_period(effects: &mut [Effect], word: Word<'_>) -> Result<(), FaultError> {
    let every = word.some_time()?;
    let Some(Effect::Pause(pulse) | Effect::Flap(pulse) | Effect::Stall(pulse)) =
        effects.last_mut()
    else {
        return Err(FaultError::Every);
    };
    if pulse.every.is_some() {
        return Err(FaultError::Twice("every".to_owned()));
    }
    if every <= pulse.length {
        return Err(word.error("must be longer than what recurs"));
    }
    pulse.every = Some(every);
    Ok(())
}

fn canonical(key: &str) -> &str {
    match key {
        "drop" | "drops" => "loss",
        "slow" => "delay",
        key => key,
    }
}

impl FromStr for Fault {
    type Err = FaultError;

    /// With all effects of the emulated fabric.
    fn from_str(text: &str) -> Result<Self, FaultError> {
        Self::parse(text, &EMULATED)
    }
}

impl Fault {
    /// Reads the text form, with those effects.
    ///
    /// # Errors
    /// [`FaultError`], with the word that cannot be understood.
    pub(crate) fn parse(text: &str, effects: &Effects) -> Result<Self, FaultError> {
        let mut words = text.split_ascii_whitespace();
        let target = parse_target(words.next().unwrap_or_default(), words.next())?;
        let mut fault = Self {
            target,
            effects: Vec::new(),
            at: Duration::ZERO,
            lasts: None,
        };
        let mut seen = Vec::new();
        for word in words {
            let (key, value) = word.split_once('=').unwrap_or((word, ""));
            let key = canonical(key);
            if key != "every" && seen.contains(&key) {
                return Err(FaultError::Twice(key.to_owned()));
            }
            seen.push(key);
            fault.add(Word { key, value }, word, effects)?;
        }
        if fault.effects.is_empty() {
            return Err(FaultError::NoEffect(text.trim().to_owned()));
        }
        Ok(fault)
    }

    fn add(&mut self, word: Word<'_>, text: &str, effects: &Effects) -> Result<(), FaultError> {
        match word.key {
            "at" => self.at = word.duration()?,
            "for" => self.lasts = Some(word.some_time()?),
            key if !effects.has(&self.target, key) => {
                return Err(FaultError::Effect {
                    word: text.to_owned(),
                    kind: self.target.kind(),
                    known: effects.of(&self.target),
                });
            }
            "every" => set_period(&mut self.effects, word)?,
            "down" if word.value.is_empty() => self.effects.push(Effect::Down),
            "restart" if word.value.is_empty() => self.effects.push(Effect::Restart),
            "down" | "restart" => return Err(word.error("takes no value")),
            _ => self.effects.extend(word.effect()?),
        }
        Ok(())
    }
}
