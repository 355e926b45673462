//! Where a store is, as the configuration writes it: `sqlite:PATH` or `postgres://…`.

use std::fmt;
use std::path::{Path, PathBuf};
use std::str::FromStr;

use super::server::{FORM, Server};

/// Where a store is. [`FromStr`] and [`Display`](fmt::Display) are the notation of the configuration.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Location {
    /// `sqlite:PATH`: an SQLite file, made if missing, with its folder.
    File(PathBuf),
    /// `sqlite::memory:`: SQLite in memory, gone with the program.
    Memory,
    /// `postgres://USER@HOST/DATABASE?fleet=NAME`: a database on a server that speaks PostgreSQL's protocol.
    Postgres(Box<Server>),
}

/// Why a text names no store of this build.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum LocationError {
    /// The URL of a server cannot be used. It is not repeated: it may have a password.
    #[error("`{scheme}://…` cannot be used: {why}; expected {FORM}")]
    Server {
        /// The scheme as written.
        scheme: String,
        /// What is wrong with it.
        why: String,
    },
    /// Anything else.
    #[error("`{text}` is not a store: expected sqlite:PATH or {FORM}")]
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
            Self::Postgres(server) => server.name().to_owned(),
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
            Some((scheme @ ("postgres" | "postgresql"), _)) => match text.parse::<Server>() {
                Ok(server) => Ok(Self::Postgres(Box::new(server))),
                Err(why) => Err(LocationError::Server {
                    scheme: scheme.to_owned(),
                    why,
                }),
            },
            // Only the scheme is repeated: a URL may have a password.
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
        match self {
            Self::Postgres(server) => server.fmt(f),
            Self::File(_) | Self::Memory => write!(f, "sqlite:{}", self.name()),
        }
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
        for text in [
            "sqlite:/var/lib/a.db",
            "sqlite:a b.db",
            "sqlite::memory:",
            "postgres://ann@127.0.0.1:5433/rpingmesh?fleet=east",
            "postgres://ann@%2Frun%2Fpostgresql/rpingmesh?fleet=east",
            "postgresql://ann@a,b:5433/rpingmesh?fleet=east&sslrootcert=/etc/ca.pem&password_file=/etc/password",
            "postgres://ann@db/rpingmesh?sslmode=disable&fleet=east",
        ] {
            let location: Location = text.parse().expect(text);
            assert_eq!(location.to_string(), text);
        }
        assert_eq!("sqlite::memory:".parse(), Ok(Location::Memory));
    }

    #[test]
    fn what_is_no_store_is_named_without_its_password() {
        let told: Vec<_> = [
            "mysql://ann:secret@db",
            "sqlite:",
            "/var/lib/a.db",
            "",
            "postgres:",
            "postgres://ann:secret@db/rpingmesh?fleet=east",
            "postgres://ann@db/rpingmesh?fleet=east&password=secret",
            "postgres://db/rpingmesh?fleet=east",
            "postgres://ann@/rpingmesh?fleet=east",
            "postgres://ann@db?fleet=east",
            "postgres://ann@db:port/rpingmesh?fleet=east",
            "postgres://ann@localhost/rpingmesh",
            "postgres://ann@localhost/rpingmesh?fleet=east%20coast",
            "postgres://ann@localhost/rpingmesh?fleet=east&fleet=west",
            "postgres://ann@localhost/rpingmesh?fleet=east&color=red",
            "postgres://ann@localhost/rpingmesh?fleet=east&sslmode=prefer",
            "postgres://ann@localhost/rpingmesh?fleet=east&sslmode=verify-full",
            "postgres://ann@localhost/rpingmesh?fleet=east&sslmode=disable&sslrootcert=ca.pem",
            "postgres://ann@localhost,db/rpingmesh?fleet=east",
        ]
        .iter()
        .map(|text| text.parse::<Location>().expect_err(text).to_string())
        .collect();
        assert!(
            told.iter().all(|line| !line.contains("secret")),
            "{told:#?}"
        );
        insta::assert_snapshot!(told.join("\n"));
    }
}
