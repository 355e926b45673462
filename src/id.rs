//! Identifiers of the RDMA and RoCE v2 world as distinct types.

use std::borrow::Cow;
use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// The UDP destination port of RoCE v2 (IANA; InfiniBand Architecture Specification, Annex A17).
pub const ROCE_V2_UDP_PORT: u16 = 4791;

/// The longest name (host, device, ToR, switch, agent, service) that is accepted anywhere, in bytes.
pub(crate) const MAX_NAME: usize = 256;

/// Why a text cannot be a name.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum NameError {
    /// Longer than [`MAX_NAME`].
    #[error("has {0} bytes, at most {MAX_NAME} are accepted")]
    TooLong(usize),
    /// It would change how the text around it is shown.
    #[error(
        "contains control characters, or ones that are invisible or change the direction of text"
    )]
    Unprintable,
}

/// Checks a name from outside, which may be empty: at most [`MAX_NAME`] bytes, all of them [printable](is_printable).
///
/// # Errors
/// [`NameError`].
pub fn check_name(name: &str) -> Result<(), NameError> {
    if name.len() > MAX_NAME {
        return Err(NameError::TooLong(name.len()));
    }
    if name.chars().all(is_printable) {
        Ok(())
    } else {
        Err(NameError::Unprintable)
    }
}

/// Whether a character of a name shows as itself: neither a control character, which moves the cursor or ends a line, nor
/// one that is invisible or changes the direction of the text around it (Unicode's format characters and separators of lines).
pub fn is_printable(letter: char) -> bool {
    !letter.is_control()
        && !matches!(
            letter,
            '\u{ad}'
                | '\u{61c}'
                | '\u{180e}'
                | '\u{200b}'..='\u{200f}'
                | '\u{2028}'..='\u{202e}'
                | '\u{2060}'..='\u{206f}'
                | '\u{feff}'
                | '\u{fff9}'..='\u{fffb}'
                | '\u{e0000}'..='\u{e007f}'
        )
}

/// A text from outside as it can be shown: what is not [printable](is_printable) is written `\u{1b}`.
pub fn shown(text: &str) -> Cow<'_, str> {
    if text.chars().all(is_printable) {
        return Cow::Borrowed(text);
    }
    let mut shown = String::with_capacity(text.len() + 8);
    for letter in text.chars() {
        if is_printable(letter) {
            shown.push(letter);
        } else {
            shown.extend(letter.escape_unicode());
        }
    }
    Cow::Owned(shown)
}

/// An identifier that does not have the form it must have.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum IdError {
    /// Not an IPv4 address, an IPv6 address or 32 hexadecimal digits in GID notation.
    #[error("`{0}` is not a GID: expected an IPv6 or IPv4 address, such as fe80::1 or 10.0.0.1")]
    Gid(String),
    /// A GID on the wire must be 16 bytes.
    #[error("a GID has 16 bytes, not {0}")]
    GidLength(usize),
    /// More than 24 bits, or not a number.
    #[error("`{0}` is not a QPN: expected a number below 16777216 (24 bits), decimal or 0x…")]
    Qpn(String),
    /// Zero, more than 20 bits, or not a number.
    #[error(
        "`{0}` is not a flow label: expected a number from 1 to 1048575 (20 bits), decimal or 0x…"
    )]
    FlowLabel(String),
    /// Not `host/device`.
    #[error("`{0}` is not an RNIC: expected HOST/DEVICE, such as host1/mlx5_0")]
    Rnic(String),
    /// Not `gid%qpn`.
    #[error("`{0}` is not a target: expected GID%QPN, such as fe80::1%0x11")]
    Target(String),
}

/// A global identifier of an RNIC port: for RoCE v2 an IPv6 address, IPv4 being mapped (`::ffff:a.b.c.d`).
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Gid([u8; 16]);

impl Gid {
    /// From the 16 bytes in network order, as the verbs API and GRHs have them.
    pub const fn from_bytes(bytes: [u8; 16]) -> Self {
        Self(bytes)
    }

    /// The 16 bytes in network order.
    pub const fn bytes(self) -> [u8; 16] {
        self.0
    }

    /// The IP address that stands for this GID in RoCE v2 packets.
    pub fn ip(self) -> IpAddr {
        let address = Ipv6Addr::from(self.0);
        address
            .to_ipv4_mapped()
            .map_or(IpAddr::V6(address), IpAddr::V4)
    }

    /// Whether this is an IPv4-mapped GID.
    pub fn is_ipv4(self) -> bool {
        self.ip().is_ipv4()
    }

    /// Whether this is a link-local GID (fe80::/10, or 169.254.0.0/16), which only reaches its own segment.
    pub fn is_link_local(self) -> bool {
        match self.ip() {
            IpAddr::V4(address) => address.is_link_local(),
            IpAddr::V6(address) => address.is_unicast_link_local(),
        }
    }

    /// Whether all bytes are zero: an empty entry of a GID table.
    pub fn is_zero(self) -> bool {
        self.0 == [0; 16]
    }
}

impl From<Ipv4Addr> for Gid {
    fn from(address: Ipv4Addr) -> Self {
        Self(address.to_ipv6_mapped().octets())
    }
}

impl From<Ipv6Addr> for Gid {
    fn from(address: Ipv6Addr) -> Self {
        Self(address.octets())
    }
}

impl From<IpAddr> for Gid {
    fn from(address: IpAddr) -> Self {
        match address {
            IpAddr::V4(address) => address.into(),
            IpAddr::V6(address) => address.into(),
        }
    }
}

impl TryFrom<&[u8]> for Gid {
    type Error = IdError;

    fn try_from(bytes: &[u8]) -> Result<Self, IdError> {
        bytes
            .try_into()
            .map(Self)
            .map_err(|_| IdError::GidLength(bytes.len()))
    }
}

impl FromStr for Gid {
    type Err = IdError;

    fn from_str(text: &str) -> Result<Self, IdError> {
        text.parse::<IpAddr>()
            .map(Self::from)
            .map_err(|_| IdError::Gid(text.to_owned()))
    }
}

impl TryFrom<String> for Gid {
    type Error = IdError;

    fn try_from(text: String) -> Result<Self, IdError> {
        text.parse()
    }
}

impl From<Gid> for String {
    fn from(gid: Gid) -> Self {
        gid.to_string()
    }
}

impl fmt::Display for Gid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.ip().fmt(f)
    }
}

impl fmt::Debug for Gid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Gid({self})")
    }
}

fn parse_number(text: &str) -> Option<u32> {
    match text.strip_prefix("0x").or_else(|| text.strip_prefix("0X")) {
        Some(digits) => u32::from_str_radix(digits, 16).ok(),
        None => text.parse().ok(),
    }
}

/// A queue pair number, 24 bits.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "u32", into = "u32")]
pub struct Qpn(u32);

impl Qpn {
    /// The number, if it fits 24 bits.
    pub const fn new(number: u32) -> Option<Self> {
        if number < 1 << 24 {
            Some(Self(number))
        } else {
            None
        }
    }

    /// The lower 24 bits of a number, as packet headers carry them.
    pub const fn from_lower_bits(number: u32) -> Self {
        Self(number & 0x00ff_ffff)
    }

    /// The number.
    pub const fn get(self) -> u32 {
        self.0
    }
}

impl TryFrom<u32> for Qpn {
    type Error = IdError;

    fn try_from(number: u32) -> Result<Self, IdError> {
        Self::new(number).ok_or_else(|| IdError::Qpn(number.to_string()))
    }
}

impl From<Qpn> for u32 {
    fn from(qpn: Qpn) -> Self {
        qpn.0
    }
}

impl FromStr for Qpn {
    type Err = IdError;

    fn from_str(text: &str) -> Result<Self, IdError> {
        parse_number(text)
            .and_then(Self::new)
            .ok_or_else(|| IdError::Qpn(text.to_owned()))
    }
}

impl fmt::Display for Qpn {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:#08x}", self.0)
    }
}

/// A queue key: a UD QP accepts only datagrams that carry its own.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct QKey(pub u32);

impl fmt::Debug for QKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "QKey({:#010x})", self.0)
    }
}

/// The 20-bit flow label of an address handle's GRH; never 0, which would let the driver choose.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "u32", into = "u32")]
pub struct FlowLabel(u32);

impl FlowLabel {
    /// The largest label.
    pub const MAX: u32 = 0xf_ffff;

    /// The label, if it is neither 0 nor longer than 20 bits.
    pub const fn new(label: u32) -> Option<Self> {
        if label != 0 && label <= Self::MAX {
            Some(Self(label))
        } else {
            None
        }
    }

    /// The number.
    pub const fn get(self) -> u32 {
        self.0
    }

    /// The UDP source port that drivers derive from this label (`rdma_flow_label_to_udp_sport`, Linux
    /// `include/rdma/ib_verbs.h`).
    pub const fn source_port(self) -> UdpSourcePort {
        let low = self.0 & 0x3fff;
        let high = self.0 & 0xf_c000;
        #[expect(clippy::cast_possible_truncation, reason = "14 bits")]
        UdpSourcePort((low ^ (high >> 14)) as u16 | UdpSourcePort::FIRST)
    }
}

impl TryFrom<u32> for FlowLabel {
    type Error = IdError;

    fn try_from(label: u32) -> Result<Self, IdError> {
        Self::new(label).ok_or_else(|| IdError::FlowLabel(label.to_string()))
    }
}

impl From<FlowLabel> for u32 {
    fn from(label: FlowLabel) -> Self {
        label.0
    }
}

impl FromStr for FlowLabel {
    type Err = IdError;

    fn from_str(text: &str) -> Result<Self, IdError> {
        parse_number(text)
            .and_then(Self::new)
            .ok_or_else(|| IdError::FlowLabel(text.to_owned()))
    }
}

impl fmt::Display for FlowLabel {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:#07x}", self.0)
    }
}

/// The UDP source port of RoCE v2 packets: the field that ECMP hashes see differ between flows.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct UdpSourcePort(pub u16);

impl UdpSourcePort {
    /// The first port that a flow label can fold to; the last is 65535.
    pub const FIRST: u16 = 0xc000;
    /// How many ports flow labels can reach.
    pub const COUNT: u16 = 0x4000;

    /// A flow label that folds to this port, if the port is in the range that labels reach.
    pub const fn flow_label(self) -> Option<FlowLabel> {
        match self.0 {
            0..Self::FIRST => None,
            // Low bits of zero would give label 0: use one that folds to zero.
            Self::FIRST => Some(FlowLabel(0x4001)),
            port => Some(FlowLabel((port & 0x3fff) as u32)),
        }
    }
}

impl fmt::Display for UdpSourcePort {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// How one UD queue pair is named by people: `gid%qpn`, for example `fe80::1%0x000011`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct TargetName {
    /// The RNIC port.
    pub gid: Gid,
    /// The queue pair on it.
    pub qpn: Qpn,
}

impl FromStr for TargetName {
    type Err = IdError;

    fn from_str(text: &str) -> Result<Self, IdError> {
        let (gid, qpn) = text
            .rsplit_once('%')
            .ok_or_else(|| IdError::Target(text.to_owned()))?;
        Ok(Self {
            gid: gid.parse()?,
            qpn: qpn.parse()?,
        })
    }
}

impl fmt::Display for TargetName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}%{}", self.gid, self.qpn)
    }
}

macro_rules! names {
    ($($(#[$doc:meta])* $name:ident;)*) => {$(
        $(#[$doc])*
        #[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
        #[serde(transparent)]
        pub struct $name(String);

        impl $name {
            /// From any text.
            pub fn new(text: impl Into<String>) -> Self {
                Self(text.into())
            }

            /// The text.
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.0.fmt(f)
            }
        }

        impl From<&str> for $name {
            fn from(text: &str) -> Self {
                Self(text.to_owned())
            }
        }

        impl From<String> for $name {
            fn from(text: String) -> Self {
                Self(text)
            }
        }
    )*};
}

names! {
    /// Name of a ToR switch.
    TorId;
    /// Name of a host.
    HostName;
    /// Name of an RDMA device on its host (`mlx5_0`, `rxe0`).
    DeviceName;
    /// Name of an agent, stable over its restarts.
    AgentId;
    /// Version of an agent's program, for people: nothing is decided by it.
    AgentVersion;
    /// Name of a service whose connections are traced.
    ServiceName;
    /// What a switch answers a trace as: the address of the interface that answers, or the switch's name where the
    /// tracer knows it.
    NodeName;
}

/// An RNIC, as people name it: `host1/mlx5_0`.
///
/// The text is for people and for files only: programs compare the two names. Reading it ([`FromStr`]) is for the edges,
/// where text comes in.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct RnicName {
    /// The host that it is in.
    pub host: HostName,
    /// Its name on the host.
    pub device: DeviceName,
}

impl RnicName {
    /// Between the two names in text. No device has it in its name, so the last one in a text separates.
    const SEPARATOR: char = '/';

    /// An RNIC of a host.
    pub fn new(host: impl Into<HostName>, device: impl Into<DeviceName>) -> Self {
        Self {
            host: host.into(),
            device: device.into(),
        }
    }
}

impl FromStr for RnicName {
    type Err = IdError;

    fn from_str(text: &str) -> Result<Self, IdError> {
        text.rsplit_once(Self::SEPARATOR)
            .filter(|(host, device)| !host.is_empty() && !device.is_empty())
            .map(|(host, device)| Self::new(host, device))
            .ok_or_else(|| IdError::Rnic(text.to_owned()))
    }
}

impl fmt::Display for RnicName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}{}{}", self.host, Self::SEPARATOR, self.device)
    }
}

#[cfg(test)]
mod tests;
