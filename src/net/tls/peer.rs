//! Which hosts a client's certificate names, and what it may therefore say it is.
//!
//! The rule. A subject alternative name (SAN) of the certificate names a host:
//! - a DNS name names the host of that name, in any case; a host whose name has no dot is also named by a DNS name whose
//!   first label it is (`host-a` by `host-a.example.net`, but never `host-a.example.net` by `host-a`);
//! - a SPIFFE id names the host in the segment after `host` (`spiffe://fabric/rack7/host/host-a`), else the one in its last
//!   segment (`spiffe://fabric/host-a`), letter for letter.
//!
//! An analyzer may also be named by an IP address (RFC 5280, section 4.2.1.6), where others reach it by one.
//!
//! A wildcard names no host, and neither does the subject (CN). An agent's id is a name of its certificate, or begins with
//! one and a slash or a colon (`host-a/second`), so that nobody can take the id of another host's agent.

use std::fmt;
use std::net::IpAddr;
use std::sync::Arc;

use rustls::pki_types::{CertificateDer, ServerName};

use crate::id::{AgentId, HostName};

/// Names of one certificate that are looked at; the others are left out.
const MOST_NAMES: usize = 64;

/// What a client's certificate must say (`tls.identity`).
#[derive(
    Debug,
    Clone,
    Copy,
    Default,
    PartialEq,
    Eq,
    Hash,
    serde::Serialize,
    serde::Deserialize,
    clap::ValueEnum,
)]
#[serde(rename_all = "lowercase")]
pub enum IdentityRule {
    /// A subject alternative name of it names the host
    #[default]
    San,
    /// Any certificate of the CA speaks for every host
    Any,
}

/// Who a client has proved to be.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub enum PeerIdentity {
    /// Nobody: the connection has no TLS. It may say that it is any host.
    #[default]
    Unproven,
    /// Somebody with a certificate of the CA, and `tls.identity` is `any`.
    Anybody,
    /// The hosts that its certificate names.
    Names(Names),
}

/// The hosts that a certificate names; cheap to clone.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Names {
    /// Of DNS names, in lower case, without wildcards.
    dns: Arc<[String]>,
    /// Of SPIFFE ids: the part that names the host.
    spiffe: Arc<[String]>,
    /// The certificate, where it may have IP addresses: webpki compares these, and does not list them.
    certificate: Option<Arc<[u8]>>,
}

/// A client that says it is another host or agent than its certificate names.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum IdentityError {
    /// The host.
    #[error(
        "the agent calls its host `{host}`, but its certificate names {names}: {}",
        remedy(host.as_str(), names)
    )]
    Host {
        /// As the client says.
        host: HostName,
        /// What its certificate says.
        names: Names,
    },
    /// The id of the agent.
    #[error(
        "the agent's id is `{agent}`, but its certificate names {names}: set `agent_id` on the agent to its host's name \
         (the default), to that name with a slash and more, or add `{agent}` to the DNS names of its certificate (tls.cert)"
    )]
    Agent {
        /// As the client says.
        agent: AgentId,
        /// What its certificate says.
        names: Names,
    },
    /// An analyzer.
    #[error(
        "the client's certificate names {names}, none of them an analyzer of focus.analyzers: add one of the names there on the \
         controller, or give the analyzer another certificate (tls.cert)"
    )]
    Analyzer {
        /// What its certificate says.
        names: Names,
    },
}

fn remedy(host: &str, names: &Names) -> String {
    let issue = format!(
        "give it a certificate (tls.cert) with `{host}` as DNS name or SPIFFE id, or set tls.identity = \"any\" on the server, \
         which lets every certificate speak for every host"
    );
    match names.first() {
        Some(name) => format!("set `host = \"{name}\"` on the agent, or {issue}"),
        None => issue,
    }
}

impl PeerIdentity {
    /// Who a client with this certificate is.
    pub(in crate::net) fn of(rule: IdentityRule, certificate: Option<&CertificateDer<'_>>) -> Self {
        match rule {
            IdentityRule::Any => Self::Anybody,
            IdentityRule::San => Self::Names(certificate.map(Names::of).unwrap_or_default()),
        }
    }

    /// Whether the client may speak for this host as this agent.
    ///
    /// # Errors
    /// [`IdentityError`]: what its certificate names instead, and which key to set.
    pub fn permit(&self, host: &HostName, agent: &AgentId) -> Result<(), IdentityError> {
        let Self::Names(names) = self else {
            return Ok(());
        };
        if !names.host(host.as_str()) {
            return Err(IdentityError::Host {
                host: host.clone(),
                names: names.clone(),
            });
        }
        self.permit_agent(agent)
    }

    /// Whether the client may be the agent with this id.
    ///
    /// # Errors
    /// [`IdentityError::Agent`].
    pub fn permit_agent(&self, agent: &AgentId) -> Result<(), IdentityError> {
        match self {
            Self::Names(names) if !names.agent(agent.as_str()) => Err(IdentityError::Agent {
                agent: agent.clone(),
                names: names.clone(),
            }),
            _ => Ok(()),
        }
    }

    /// Of a certificate with these DNS names.
    #[cfg(test)]
    pub(crate) fn of_dns_names(names: &[&str]) -> Self {
        Self::Names(Names::new(names.iter().copied(), std::iter::empty()))
    }

    /// Whether the client is one of these analyzers. Without TLS, and where any certificate speaks for every host, everybody is.
    ///
    /// # Errors
    /// [`IdentityError::Analyzer`].
    pub fn permit_analyzer(&self, analyzers: &[String]) -> Result<(), IdentityError> {
        match self {
            Self::Names(names)
                if !analyzers
                    .iter()
                    .any(|name| names.host(name) || names.address(name)) =>
            {
                Err(IdentityError::Analyzer {
                    names: names.clone(),
                })
            }
            _ => Ok(()),
        }
    }
}

impl Names {
    /// Of a certificate; none where it cannot be read, which a verified one can.
    pub(super) fn of(certificate: &CertificateDer<'_>) -> Self {
        let Ok(parsed) = webpki::EndEntityCert::try_from(certificate) else {
            return Self::default();
        };
        Self {
            certificate: may_have_addresses(certificate).then(|| Arc::from(&**certificate)),
            ..Self::new(parsed.valid_dns_names(), parsed.valid_uri_names())
        }
    }

    /// Whether they have this IP address; one of version 6 may be in brackets.
    fn address(&self, text: &str) -> bool {
        let text = text.trim_start_matches('[').trim_end_matches(']');
        let (Some(certificate), Ok(address)) = (&self.certificate, text.parse::<IpAddr>()) else {
            return false;
        };
        let certificate = CertificateDer::from_slice(certificate);
        webpki::EndEntityCert::try_from(&certificate).is_ok_and(|certificate| {
            let name = ServerName::IpAddress(address.into());
            certificate.verify_is_valid_for_subject_name(&name).is_ok()
        })
    }

    /// Of DNS names and URIs.
    fn new<'a>(dns: impl Iterator<Item = &'a str>, uris: impl Iterator<Item = &'a str>) -> Self {
        Self {
            dns: dns
                .filter(|name| !name.contains('*'))
                .map(|name| name.trim_end_matches('.').to_ascii_lowercase())
                .take(MOST_NAMES)
                .collect(),
            spiffe: uris
                .filter_map(host_of_spiffe)
                .map(str::to_owned)
                .take(MOST_NAMES)
                .collect(),
            certificate: None,
        }
    }

    /// Whether they name this host.
    pub fn host(&self, host: &str) -> bool {
        if self.spiffe.iter().any(|name| name == host) {
            return true;
        }
        let is_short = !host.contains('.');
        self.dns.iter().any(|name| {
            let first = name.split('.').next().unwrap_or_default();
            host.eq_ignore_ascii_case(name) || is_short && host.eq_ignore_ascii_case(first)
        })
    }

    /// Whether an agent with this id may be theirs.
    fn agent(&self, id: &str) -> bool {
        let before = id.split(['/', ':']).next().unwrap_or_default();
        self.host(id) || self.host(before)
    }

    fn first(&self) -> Option<&str> {
        self.dns
            .iter()
            .chain(&*self.spiffe)
            .next()
            .map(String::as_str)
    }
}

impl fmt::Display for Names {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        /// As many as a line of a log has room for.
        const SHOWN: usize = 4;
        let mut all = self.dns.iter().chain(&*self.spiffe);
        let Some(first) = all.next() else {
            return f.write_str(
                "no host (it has no DNS name and no SPIFFE id as subject alternative name)",
            );
        };
        // Checked by nobody but the CA.
        write!(f, "`{}`", first.escape_debug())?;
        for name in all.by_ref().take(SHOWN - 1) {
            write!(f, ", `{}`", name.escape_debug())?;
        }
        match all.count() {
            0 => Ok(()),
            more => write!(f, " and {more} more"),
        }
    }
}

/// Whether the bytes of an address of 4 or 16 bytes among the subject alternative names may be in it: most certificates need not be kept.
fn may_have_addresses(certificate: &[u8]) -> bool {
    /// `iPAddress [7]` of RFC 5280, with its length.
    const ADDRESSES: [[u8; 2]; 2] = [[0x87, 4], [0x87, 16]];
    certificate
        .windows(2)
        .any(|pair| ADDRESSES.iter().any(|address| pair == address))
}

/// The host that a SPIFFE id names.
fn host_of_spiffe(uri: &str) -> Option<&str> {
    let (scheme, rest) = uri.split_once("://")?;
    if !scheme.eq_ignore_ascii_case("spiffe") || rest.contains(['?', '#']) {
        return None;
    }
    let (_trust_domain, path) = rest.split_once('/')?;
    let mut segments = path.split('/').skip_while(|segment| *segment != "host");
    let name = match segments.nth(1) {
        Some(name) => name,
        None => path.rsplit('/').next()?,
    };
    (!name.is_empty()).then_some(name)
}

#[cfg(test)]
mod tests;
