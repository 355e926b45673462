//! Where a PostgreSQL database is, as the configuration writes it: `postgres://USER@HOST:PORT/DATABASE?fleet=NAME`.
//!
//! | parameter | meaning |
//! |---|---|
//! | `fleet` | the fleet whose data the database keeps; what another fleet has stored is refused |
//! | `password_file` | a file whose first line is the password |
//! | `sslrootcert` | PEM file with the CAs of the server's certificate; with it TLS is used, and the host's name verified |
//! | `sslmode` | `disable`: no TLS, also beyond this host; `verify-full`: the default with `sslrootcert` |
//!
//! Several hosts may be named, with commas between them: that one is used which takes changes.

use std::fmt;
use std::path::{Path, PathBuf};
use std::str::FromStr;

use tokio_postgres::Config;
use tokio_postgres::config::Host;

/// What is expected, for messages.
pub(super) const FORM: &str = "postgres://USER@HOST/DATABASE?fleet=NAME";
/// The longest name of a fleet.
const LONGEST_FLEET: usize = 64;

/// A database on a server. [`FromStr`] and [`Display`](fmt::Display) are the notation of the configuration.
#[derive(Clone, PartialEq, Eq)]
pub struct Server {
    /// As written, without the parameters.
    base: String,
    /// The parameters as written.
    query: String,
    config: Config,
    fleet: String,
    password_file: Option<PathBuf>,
    ca: Option<PathBuf>,
}

impl Server {
    /// Without the parameters, for messages.
    pub(super) fn name(&self) -> &str {
        &self.base
    }

    /// Hosts, user and database; neither password nor TLS.
    pub(super) const fn config(&self) -> &Config {
        &self.config
    }

    /// The fleet whose data the database keeps.
    pub(super) fn fleet(&self) -> &str {
        &self.fleet
    }

    /// The file that has the password.
    pub fn password_file(&self) -> Option<&Path> {
        self.password_file.as_deref()
    }

    /// The CAs of the server's certificate; `None` for no TLS.
    pub(super) fn ca(&self) -> Option<&Path> {
        self.ca.as_deref()
    }
}

impl FromStr for Server {
    type Err = String;

    /// The error says why, without repeating what may be a password.
    fn from_str(text: &str) -> Result<Self, String> {
        let (base, query) = text.split_once('?').unwrap_or((text, ""));
        check_base(base)?;
        let config: Config = base
            .parse()
            .map_err(|error| crate::error::describe(&error))?;
        let mut server = Self {
            base: base.to_owned(),
            query: query.to_owned(),
            config,
            fleet: String::new(),
            password_file: None,
            ca: None,
        };
        let is_plaintext = server.read(query)?;
        check_fleet(&server.fleet)?;
        match (&server.ca, is_plaintext) {
            (Some(_), true) => Err("sslrootcert and sslmode=disable exclude each other".to_owned()),
            (None, false) if !is_local(&server.config) => {
                let why = "the password and all data would cross the network without TLS: add sslrootcert=FILE with the CA of \
                           the server's certificate, or sslmode=disable";
                Err(why.to_owned())
            }
            _ => Ok(server),
        }
    }
}

impl Server {
    /// Takes the parameters; gives whether TLS is turned off.
    fn read(&mut self, query: &str) -> Result<bool, String> {
        let parameters: Vec<(String, String)> = serde_urlencoded::from_str(query)
            .map_err(|error| format!("its parameters cannot be read: {error}"))?;
        let (mut mode, mut seen) = (None, std::collections::BTreeSet::new());
        for (name, value) in parameters {
            if value.is_empty() {
                return Err(format!("`{name}` has no value"));
            }
            if !seen.insert(name.clone()) {
                return Err(format!("`{name}` is there twice"));
            }
            match name.as_str() {
                "fleet" => self.fleet = value,
                "password_file" => self.password_file = Some(value.into()),
                "sslrootcert" => self.ca = Some(value.into()),
                "sslmode" => mode = Some(value),
                "password" => return Err(PASSWORD.to_owned()),
                _ => {
                    return Err(format!(
                        "`{name}` is not one of its parameters: fleet, password_file, sslrootcert, sslmode"
                    ));
                }
            }
        }
        match mode.as_deref() {
            Some("disable") => Ok(true),
            Some("verify-full") if self.ca.is_none() => {
                Err("sslmode=verify-full needs sslrootcert=FILE".to_owned())
            }
            None | Some("verify-full") => Ok(false),
            Some(other) => Err(format!(
                "sslmode `{other}` is not possible: disable or verify-full"
            )),
        }
    }
}

const PASSWORD: &str = "a password in it would show in lists of processes and in logs: write it into a file, and add \
                        password_file=FILE";

fn check_base(base: &str) -> Result<(), String> {
    let rest = base.split_once("://").map_or("", |(_, rest)| rest);
    let (authority, database) = rest.split_once('/').unwrap_or((rest, ""));
    let (user, host) = authority.rsplit_once('@').unwrap_or(("", authority));
    if user.contains(':') {
        return Err(PASSWORD.to_owned());
    }
    for (part, what) in [(user, "user"), (host, "host"), (database, "database")] {
        if part.is_empty() {
            return Err(format!("it names no {what}"));
        }
    }
    Ok(())
}

fn check_fleet(fleet: &str) -> Result<(), String> {
    let is_allowed = |letter: char| letter.is_ascii_alphanumeric() || "._-".contains(letter);
    if fleet.is_empty() {
        return Err(
            "it names no fleet: add fleet=NAME, so that no other fleet's data is mixed in"
                .to_owned(),
        );
    }
    if fleet.len() > LONGEST_FLEET || !fleet.chars().all(is_allowed) {
        return Err(format!(
            "a fleet's name has at most {LONGEST_FLEET} letters, digits, dots, dashes and underscores"
        ));
    }
    Ok(())
}

/// Whether what is sent stays on this host.
fn is_local(config: &Config) -> bool {
    config.get_hosts().iter().all(|host| match host {
        Host::Unix(_) => true,
        Host::Tcp(name) => {
            let address = name.trim_start_matches('[').trim_end_matches(']');
            name == "localhost"
                || address
                    .parse::<std::net::IpAddr>()
                    .is_ok_and(|address| address.to_canonical().is_loopback())
        }
    })
}

impl fmt::Display for Server {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}?{}", self.base, self.query)
    }
}

impl fmt::Debug for Server {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Server({self})")
    }
}
