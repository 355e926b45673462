//! How a comparison with the ground truth came out.

use serde::{Serialize, Serializer};

/// Whether what was observed, or located, is right. In JSON `true`, `false` or `null`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Check {
    /// It is.
    Right,
    /// It is not.
    Wrong,
    /// The ground truth does not say.
    NotComparable,
}

impl From<bool> for Check {
    fn from(is_right: bool) -> Self {
        if is_right { Self::Right } else { Self::Wrong }
    }
}

impl Serialize for Check {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::Right => serializer.serialize_bool(true),
            Self::Wrong => serializer.serialize_bool(false),
            Self::NotComparable => serializer.serialize_none(),
        }
    }
}
