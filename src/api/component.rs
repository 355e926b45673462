//! What an incident is about.

use std::borrow::Cow;
use std::fmt;

use serde::{Deserialize, Serialize};
use utoipa::openapi::RefOr;
use utoipa::openapi::schema::{ObjectBuilder, OneOfBuilder, Schema, Type};
use utoipa::{PartialSchema, ToSchema};

/// A part of the fabric.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "lowercase")]
pub enum Component {
    /// One direction of a cable.
    Link {
        /// The end that sends.
        from: String,
        /// The end that receives.
        to: String,
    },
    /// A switch, with all its ports.
    Switch {
        /// Its name.
        name: String,
    },
    /// A host, with its RNICs.
    Host {
        /// Its name.
        name: String,
    },
    /// An RNIC.
    Rnic {
        /// The host that it is in.
        host: String,
        /// Its name on the host.
        device: String,
    },
    /// Many parts, or the monitoring itself: `explains` lists them.
    Group {
        /// What they have in common: the name of the category.
        name: String,
    },
    /// A kind that only a newer analyzer knows. An analyzer never answers this one.
    #[serde(other)]
    Other,
}

impl fmt::Display for Component {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Link { from, to } => write!(f, "link {from}->{to}"),
            Self::Switch { name } => write!(f, "switch {name}"),
            Self::Host { name } => write!(f, "host {name}"),
            Self::Rnic { host, device } => write!(f, "RNIC {host}/{device}"),
            Self::Group { name } => f.write_str(if name.starts_with("monitoring") {
                "the monitoring"
            } else {
                "many of a kind"
            }),
            Self::Other => f.write_str("a component of a kind that only a newer program knows"),
        }
    }
}

/// Written by hand: the derived one would list [`Component::Other`].
impl PartialSchema for Component {
    fn schema() -> RefOr<Schema> {
        let variant = |kind: &str, fields: &[&str]| {
            let tag = ObjectBuilder::new()
                .schema_type(Type::String)
                .enum_values(Some([kind]));
            let mut object = ObjectBuilder::new().property("kind", tag).required("kind");
            for field in fields {
                let text = ObjectBuilder::new().schema_type(Type::String);
                object = object.property(*field, text).required(*field);
            }
            object
        };
        OneOfBuilder::new()
            .description(Some("a part of the fabric; kinds may be added"))
            .item(variant("link", &["from", "to"]))
            .item(variant("switch", &["name"]))
            .item(variant("host", &["name"]))
            .item(variant("rnic", &["host", "device"]))
            .item(variant("group", &["name"]))
            .into()
    }
}

impl ToSchema for Component {
    fn name() -> Cow<'static, str> {
        "Component".into()
    }
}
