//! Values that have fixed names in JSON and in query strings.

use std::borrow::Cow;
use std::fmt;

use serde::{Deserialize, Deserializer, Serialize, Serializer};
use utoipa::openapi::RefOr;
use utoipa::openapi::schema::{ObjectBuilder, Schema, Type};
use utoipa::{PartialSchema, ToSchema};

use crate::analysis::incident::Severity;
use crate::analysis::judge::Category;
use crate::analysis::map::{NodeKind, Source};
use crate::analysis::windows::WindowLength;
use crate::probe::trace::{End as TraceEnd, Reason as TraceReason};
use crate::probe::{PathFidelity, ProbeKind};
use crate::transport::CompletionClock;

/// A type whose values have names.
pub trait Named: Copy + Eq + 'static {
    /// The type's name in the OpenAPI document.
    const TYPE: &'static str;
    /// Every value.
    const ALL: &'static [Self];

    /// The value's name.
    fn name(self) -> &'static str;

    /// The schema: a string that is one of the names.
    fn schema() -> RefOr<Schema> {
        let names = Self::ALL.iter().map(|value| value.name());
        ObjectBuilder::new()
            .schema_type(Type::String)
            .enum_values(Some(names))
            .into()
    }

    /// The value of this name.
    fn from_name(name: &str) -> Option<Self> {
        Self::ALL.iter().copied().find(|value| value.name() == name)
    }
}

/// A name in an answer; one that only a newer analyzer knows is kept as text.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Name<T> {
    /// A name that this program knows.
    Known(T),
    /// Another one.
    Unknown(String),
}

impl<T: Named> Name<T> {
    /// As it is written.
    pub fn as_str(&self) -> &str {
        match self {
            Self::Known(value) => value.name(),
            Self::Unknown(text) => text,
        }
    }

    /// Whether it is the name of this value.
    pub fn is(&self, value: T) -> bool {
        matches!(self, Self::Known(known) if *known == value)
    }
}

impl<T> From<T> for Name<T> {
    fn from(value: T) -> Self {
        Self::Known(value)
    }
}

impl<T: Named> fmt::Display for Name<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

impl<T: Named> Serialize for Name<T> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.as_str())
    }
}

impl<'de, T: Named> Deserialize<'de> for Name<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        Ok(T::from_name(&text).map_or(Self::Unknown(text), Self::Known))
    }
}

impl<T: Named> PartialSchema for Name<T> {
    fn schema() -> RefOr<Schema> {
        T::schema()
    }
}

impl<T: Named> ToSchema for Name<T> {
    fn name() -> Cow<'static, str> {
        T::TYPE.into()
    }
}

/// Declares types that have `ALL` and `name()` already.
macro_rules! named {
    ($($type:ty as $name:literal;)+) => {
        $(impl $crate::api::name::Named for $type {
            const TYPE: &'static str = $name;
            const ALL: &'static [Self] = &Self::ALL;

            fn name(self) -> &'static str {
                self.name()
            }
        })+
    };
}

pub(super) use named;

named! {
    Category as "Category";
    Severity as "Severity";
    NodeKind as "NodeKind";
    Source as "Source";
    WindowLength as "Window";
    ProbeKind as "ProbeKind";
    TraceEnd as "TraceEnd";
    TraceReason as "TraceReason";
    CompletionClock as "CompletionClock";
    PathFidelity as "PathFidelity";
}

impl Named for bool {
    const TYPE: &'static str = "Boolean";
    const ALL: &'static [Self] = &[true, false];

    fn name(self) -> &'static str {
        if self { "true" } else { "false" }
    }

    fn schema() -> RefOr<Schema> {
        ObjectBuilder::new().schema_type(Type::Boolean).into()
    }
}

/// A window.
pub type WindowName = Name<WindowLength>;
/// The kind of probes.
pub type ProbeKindName = Name<ProbeKind>;
/// What is wrong.
pub type CategoryName = Name<Category>;
/// The impact of an incident.
pub type SeverityName = Name<Severity>;
/// The kind of a node.
pub type NodeKindName = Name<NodeKind>;
/// Who knows of a node or link.
pub type SourceName = Name<Source>;
/// What stamps completions.
pub type ClockName = Name<CompletionClock>;
/// Whether a path is that of a service's connections.
pub type FidelityName = Name<PathFidelity>;
/// Why a trace was made.
pub type TraceReasonName = Name<TraceReason>;
/// What is behind the last hop of a trace.
pub type TraceEndName = Name<TraceEnd>;
