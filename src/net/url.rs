//! The one type of URLs: of gRPC servers, webhooks, Alertmanager, collectors and the analyzer's API.

use std::fmt;
use std::net::IpAddr;

/// `http://HOST:PORT/PATH` or `https://…`. The port is always known; the path has no slash at its end.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Url {
    tls: bool,
    /// Host name or address, IPv6 without brackets.
    host: String,
    port: u16,
    path: String,
}

/// Why a text cannot be used as a URL.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{text}` is not {what}: {why}")]
pub struct UrlError {
    text: String,
    /// What the URL is for, with an example.
    what: &'static str,
    why: &'static str,
}

const OF_HTTP: &str = "a URL such as https://host.example/path";
const OF_SERVER: &str = "a server URL such as https://controller.example:7470";

/// What a text says; the port only where it is written.
struct Parts<'a> {
    tls: bool,
    host: &'a str,
    port: Option<u16>,
    path: &'a str,
}

impl Url {
    /// Reads a URL of HTTP with or without TLS. Without a port it has the scheme's: 443 or 80.
    ///
    /// # Errors
    /// [`UrlError`]: scheme, host or path cannot be used, or a user's name is in it.
    pub fn parse(text: &str) -> Result<Self, UrlError> {
        let parts = split(text).map_err(|why| UrlError::new(text, OF_HTTP, why))?;
        Ok(Self::from_parts(&parts, if parts.tls { 443 } else { 80 }))
    }

    /// Reads a URL of HTTP where TLS cannot be used.
    ///
    /// # Errors
    /// As [`parse`](Self::parse), and for https.
    pub fn plaintext(text: &str) -> Result<Self, UrlError> {
        let url = Self::parse(text)?;
        if url.tls {
            let why = "TLS cannot be used here: put a proxy on this host in between";
            return Err(UrlError::new(text, OF_HTTP, why));
        }
        Ok(url)
    }

    /// Reads the URL of a gRPC server: its port must be written, a path must not.
    ///
    /// # Errors
    /// [`UrlError`] that says which part is wrong.
    pub fn server(text: &str) -> Result<Self, UrlError> {
        let refuse = |why| UrlError::new(text, OF_SERVER, why);
        let parts = split(text).map_err(refuse)?;
        if !parts.path.is_empty() {
            return Err(refuse("it must have no path"));
        }
        let port = parts.port.ok_or_else(|| refuse("it has no port"))?;
        Ok(Self::from_parts(&parts, port))
    }

    fn from_parts(parts: &Parts<'_>, default_port: u16) -> Self {
        Self {
            tls: parts.tls,
            host: parts.host.to_owned(),
            port: parts.port.unwrap_or(default_port),
            path: parts.path.to_owned(),
        }
    }

    /// Whether it begins with `https://`.
    pub const fn is_tls(&self) -> bool {
        self.tls
    }

    /// Host name or address, IPv6 without brackets.
    pub fn host(&self) -> &str {
        &self.host
    }

    /// The port.
    pub const fn port(&self) -> u16 {
        self.port
    }

    /// The path; empty for the root.
    pub(super) fn path(&self) -> &str {
        &self.path
    }

    /// Host and port: nothing of a path, which may hold a secret.
    pub fn authority(&self) -> String {
        if self.host.contains(':') {
            format!("[{}]:{}", self.host, self.port)
        } else {
            format!("{}:{}", self.host, self.port)
        }
    }

    /// Whether it is on this machine.
    pub fn is_loopback(&self) -> bool {
        self.host == "localhost"
            || self
                .host
                .parse::<IpAddr>()
                .is_ok_and(|address| address.is_loopback())
    }

    /// With more of a path, which begins with `/`.
    #[must_use]
    pub fn join(&self, path: &str) -> Self {
        Self {
            path: format!("{}{path}", self.path),
            ..self.clone()
        }
    }

    /// The same place without TLS.
    pub(super) fn without_tls(&self) -> Self {
        Self {
            tls: false,
            ..self.clone()
        }
    }
}

/// Servers of which each can take the place of another, in the order in which they are written: URLs with commas between them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Servers(Vec<Url>);

impl Servers {
    /// Reads the URLs of gRPC servers.
    ///
    /// # Errors
    /// [`UrlError`] of the first one that cannot be used, also of one that is there twice.
    pub fn parse(text: &str) -> Result<Self, UrlError> {
        let mut servers = Vec::new();
        for one in text.split(',') {
            let server = Url::server(one.trim())?;
            if servers.contains(&server) {
                return Err(UrlError::new(one.trim(), OF_SERVER, "it is there twice"));
            }
            servers.push(server);
        }
        Ok(Self(servers))
    }

    /// Each of them; at least one.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = &Url> {
        self.0.iter()
    }
}

impl From<Url> for Servers {
    fn from(url: Url) -> Self {
        Self(vec![url])
    }
}

impl fmt::Display for Servers {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, url) in self.0.iter().enumerate() {
            let comma = if index == 0 { "" } else { "," };
            write!(f, "{comma}{url}")?;
        }
        Ok(())
    }
}

impl UrlError {
    fn new(text: &str, what: &'static str, why: &'static str) -> Self {
        Self {
            text: text.to_owned(),
            what,
            why,
        }
    }
}

fn split(text: &str) -> Result<Parts<'_>, &'static str> {
    let (tls, rest) = match (text.strip_prefix("http://"), text.strip_prefix("https://")) {
        (Some(rest), _) => (false, rest),
        (_, Some(rest)) => (true, rest),
        _ => return Err("it must begin with https:// (or http:// without TLS)"),
    };
    let (authority, path) = rest.split_at(rest.find('/').unwrap_or(rest.len()));
    if authority.contains(['@', '?', '#']) || authority.contains(char::is_whitespace) {
        return Err("a host with an optional port must follow the scheme, without a user's name");
    }
    if path.contains('#') || path.contains(char::is_whitespace) {
        return Err("its path has a space or a #");
    }
    let (host, port) = match authority.strip_prefix('[') {
        Some(rest) => {
            let (host, port) = rest.split_once(']').ok_or("a `[` is not closed")?;
            if host.parse::<std::net::Ipv6Addr>().is_err() {
                return Err("no IPv6 address is between the brackets");
            }
            let port = match port.strip_prefix(':') {
                None if port.is_empty() => None,
                None => return Err("only a port may follow the brackets"),
                port => port,
            };
            (host, port)
        }
        None => match authority.split_once(':') {
            Some((host, port)) => (host, Some(port)),
            None => (authority, None),
        },
    };
    if host.is_empty() {
        return Err("it has no host");
    }
    let port = port
        .map(|port| {
            port.parse()
                .map_err(|_| "its port is not a number up to 65535")
        })
        .transpose()?;
    Ok(Parts {
        tls,
        host,
        port,
        path: path.trim_end_matches('/'),
    })
}

impl fmt::Display for Url {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let scheme = if self.tls { "https" } else { "http" };
        write!(f, "{scheme}://{}{}", self.authority(), self.path)
    }
}

#[cfg(test)]
mod tests;
