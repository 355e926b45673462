//! Parameters of a query string: their types, and the words for those that are wrong.

use std::borrow::Cow;
use std::error::Error as StdError;
use std::str::FromStr;

use serde::de::Error as _;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use utoipa::openapi::RefOr;
use utoipa::openapi::schema::{ObjectBuilder, Schema, Type};
use utoipa::{PartialSchema, ToSchema};

use super::name::Named;
use crate::analysis::windows::WindowLength;
use crate::probe::ProbeKind;

/// One of the names of a type, and nothing else.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Choice<T>(pub T);

impl<T: Named> Serialize for Choice<T> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.0.name())
    }
}

impl<'de, T: Named> Deserialize<'de> for Choice<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        text.parse().map_err(D::Error::custom)
    }
}

/// The error says what is allowed.
impl<T: Named> FromStr for Choice<T> {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        T::from_name(text).map(Self).ok_or_else(|| {
            let names = one_of(T::ALL.iter().map(|value| value.name()));
            format!("must be {names}, not `{}`", shortened(text))
        })
    }
}

impl<T: Named> PartialSchema for Choice<T> {
    fn schema() -> RefOr<Schema> {
        T::schema()
    }
}

impl<T: Named> ToSchema for Choice<T> {
    fn name() -> Cow<'static, str> {
        T::TYPE.into()
    }
}

/// An integer from `MIN` to `MAX`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Bounded<const MIN: u64, const MAX: u64>(u64);

/// An offset, or the number of an incident.
pub type Number = Bounded<0, { u64::MAX }>;
/// How many paths one answer may have.
pub type PageSize = Bounded<1, 10_000>;
/// How many incidents one answer may have.
pub type IncidentPageSize = Bounded<1, 1_000>;
/// A UDP source port.
pub type Port = Bounded<1, 65_535>;
/// A window.
pub type WindowChoice = Choice<WindowLength>;
/// The kind of probes.
pub type ProbeKindChoice = Choice<ProbeKind>;
/// `true` or `false`.
pub type YesNo = Choice<bool>;

impl<const MIN: u64, const MAX: u64> Bounded<MIN, MAX> {
    /// The largest number.
    pub const MAX: u64 = MAX;

    /// The number, if it is within the bounds.
    pub const fn new(number: u64) -> Option<Self> {
        if number >= MIN && number <= MAX {
            Some(Self(number))
        } else {
            None
        }
    }

    /// The number.
    pub const fn get(self) -> u64 {
        self.0
    }

    /// The number, or the largest that this machine can count to.
    pub fn as_usize(self) -> usize {
        usize::try_from(self.0).unwrap_or(usize::MAX)
    }
}

impl<const MIN: u64, const MAX: u64> Serialize for Bounded<MIN, MAX> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_u64(self.0)
    }
}

impl<'de, const MIN: u64, const MAX: u64> Deserialize<'de> for Bounded<MIN, MAX> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        text.parse().map_err(D::Error::custom)
    }
}

/// The error says what is allowed.
impl<const MIN: u64, const MAX: u64> FromStr for Bounded<MIN, MAX> {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        text.parse().ok().and_then(Self::new).ok_or_else(|| {
            let text = shortened(text);
            if MAX == u64::MAX {
                format!("must be a number, {MIN} or more, not `{text}`")
            } else {
                format!("must be a number from {MIN} to {MAX}, not `{text}`")
            }
        })
    }
}

impl From<u64> for Number {
    fn from(number: u64) -> Self {
        Self(number)
    }
}

impl<const MIN: u64, const MAX: u64> PartialSchema for Bounded<MIN, MAX> {
    fn schema() -> RefOr<Schema> {
        ObjectBuilder::new()
            .schema_type(Type::Integer)
            .minimum(Some(MIN))
            .maximum(Some(MAX))
            .into()
    }
}

impl<const MIN: u64, const MAX: u64> ToSchema for Bounded<MIN, MAX> {
    fn name() -> Cow<'static, str> {
        if MAX == u64::MAX {
            "Number".into()
        } else {
            format!("From{MIN}To{MAX}").into()
        }
    }
}

/// What is wrong with a query string, from the error of axum's extractor.
///
/// The message names the parameter and what is allowed.
pub fn explain(error: &(dyn StdError + 'static)) -> String {
    type Located = serde_path_to_error::Error<serde::de::value::Error>;
    let mut cause = Some(error);
    while let Some(error) = cause {
        if let Some(located) = error.downcast_ref::<Located>() {
            return in_words(&located.path().to_string(), &located.inner().to_string());
        }
        cause = error.source();
    }
    error.to_string()
}

/// From the place and the words of serde.
fn in_words(parameter: &str, message: &str) -> String {
    if let Some(rest) = message.strip_prefix("unknown field ") {
        let rest = rest.replace("there are no fields", "this resource takes none");
        format!("unknown parameter {rest}")
    } else if let Some(twice) = message.strip_prefix("duplicate field ") {
        format!("{twice} is given twice")
    } else {
        format!("`{parameter}` {message}")
    }
}

/// `a`, `b` or `c`.
fn one_of(names: impl Iterator<Item = &'static str>) -> String {
    let mut names: Vec<_> = names.collect();
    let last = names.pop().unwrap_or_default();
    if names.is_empty() {
        last.to_owned()
    } else {
        format!("{} or {last}", names.join(", "))
    }
}

/// The beginning of a text from outside.
fn shortened(text: &str) -> String {
    const LONGEST: usize = 40;
    let mut characters = text.chars();
    let mut beginning: String = characters.by_ref().take(LONGEST).collect();
    if characters.next().is_some() {
        beginning.push('…');
    }
    beginning
}
