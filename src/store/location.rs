//! Where a store is, as the configuration writes it: `sqlite:PATH`.

use std::fmt;
use std::path::{Path, PathBuf};
use std::str::FromStr;

/// Where a store is. [`FromStr`] and [`Display`](fmt::Display) are the notation of the configuration.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Location {
    /// `sqlite:PATH`: an SQLite file, made if missing, with its folder.
    File(PathBuf),
    /// `sqlite::memory:`: SQLite in memory, gone with the program.
    Memory,
}

/// Why a text names no store of this build.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum LocationError {
    /// The scheme is that of an engine which this build does not have.
    #[error("`{scheme}:` is not possible: this build has no {engine} engine; use sqlite:PATH")]
    NoEngine {
        /// The scheme as written.
        scheme: String,
        /// Whose scheme it is.
        engine: &'static str,
    },
    /// Anything else.
    #[error("`{text}` is not a store: expected sqlite:PATH")]
    Unknown {
        /// What was written.
        text: String,
    },
}

impl Location {
    /// The path, for messages.
    pub(super) fn name(&self) -> String {
        match self {
            Self::File(path) => path.display().to_string(),
            Self::Memory => MEMORY.to_owned(),
        }
    }
}

const MEMORY: &str = ":memory:";

impl FromStr for Location {
    type Err = LocationError;

    fn from_str(text: &str) -> Result<Self, LocationError> {
        match text.split_once(':') {
            Some(("sqlite", MEMORY)) => Ok(Self::Memory),
            Some(("sqlite", path)) if !path.is_empty() => Ok(Self::File(path.into())),
            // Only the scheme is repeated: a URL may have a password.
            Some((scheme @ ("postgres" | "postgresql"), _)) => Err(LocationError::NoEngine {
                scheme: scheme.to_owned(),
                engine: "PostgreSQL",
            }),
            Some((scheme, rest)) if rest.starts_with("//") => Err(LocationError::Unknown {
                text: format!("{scheme}://…"),
            }),
            _ => Err(LocationError::Unknown {
                text: text.to_owned(),
            }),
        }
    }
}

impl fmt::Display for Location {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "sqlite:{}", self.name())
    }
}

impl From<&Path> for Location {
    fn from(path: &Path) -> Self {
        Self::File(path.to_owned())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_shown_again() {
        for text in ["sqlite:/var/lib/a.db", "sqlite:a b.db", "sqlite::memory:"] {
            let location: Location = text.parse().expect("a store");
            assert_eq!(location.to_string(), text);
        }
        assert_eq!("sqlite::memory:".parse(), Ok(Location::Memory));
    }

    #[test]
    fn what_is_no_store_is_named_without_its_password() {
        for (text, said) in [
            (
                "postgres://ann:secret@db/rpingmesh",
                "`postgres:` is not possible: this build has no PostgreSQL engine; use sqlite:PATH",
            ),
            (
                "postgresql://db/x",
                "`postgresql:` is not possible: this build has no PostgreSQL engine; use sqlite:PATH",
            ),
            (
                "mysql://ann:secret@db",
                "`mysql://…` is not a store: expected sqlite:PATH",
            ),
            ("sqlite:", "`sqlite:` is not a store: expected sqlite:PATH"),
            (
                "/var/lib/a.db",
                "`/var/lib/a.db` is not a store: expected sqlite:PATH",
            ),
            ("", "`` is not a store: expected sqlite:PATH"),
        ] {
            let error = text.parse::<Location>().expect_err(text);
            assert_eq!(error.to_string(), said);
        }
    }
}
