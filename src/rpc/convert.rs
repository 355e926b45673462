//! Checked conversion of single fields, shared by all messages: what came from the network is named when it is wrong.

use crate::id::{Gid, QKey, Qpn, UdpSourcePort, check_name};
use crate::transport::{Address, CompletionClock, SourcePortSteering};

use super::v1;

/// A field of a message that cannot be used; gRPC answers `INVALID_ARGUMENT` with this text.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{field}: {why}")]
pub struct FieldError {
    /// Path of the field, `announcement.rnics[2].address.gid`.
    pub field: String,
    /// What is wrong with it.
    pub why: String,
}

impl FieldError {
    /// A field and what is wrong with it.
    pub fn new(field: impl Into<String>, why: impl Into<String>) -> Self {
        Self {
            field: field.into(),
            why: why.into(),
        }
    }

    /// The same fault seen from the message that contains the field.
    #[must_use]
    pub fn within(mut self, parent: &str) -> Self {
        self.field = format!("{parent}.{}", self.field);
        self
    }
}

impl From<FieldError> for tonic::Status {
    fn from(error: FieldError) -> Self {
        Self::invalid_argument(error.to_string())
    }
}

/// A message field that must be there.
pub fn required<T>(field: &str, value: Option<T>) -> Result<T, FieldError> {
    value.ok_or_else(|| FieldError::new(field, "is missing"))
}

/// A GID that an RNIC can have.
pub fn gid(field: &str, bytes: &[u8]) -> Result<Gid, FieldError> {
    let gid = Gid::try_from(bytes).map_err(|error| FieldError::new(field, error.to_string()))?;
    if gid.is_zero() {
        return Err(FieldError::new(
            field,
            "is all zero, an empty entry of a GID table",
        ));
    }
    if gid.ip().is_multicast() {
        return Err(FieldError::new(
            field,
            format!("{gid} is a multicast address"),
        ));
    }
    Ok(gid)
}

/// A QPN of 24 bits.
pub fn qpn(field: &str, number: u32) -> Result<Qpn, FieldError> {
    Qpn::try_from(number).map_err(|error| FieldError::new(field, error.to_string()))
}

/// A name that is not empty and that [`check_name`] takes.
pub fn name<T: From<String>>(field: &str, text: String) -> Result<T, FieldError> {
    if text.is_empty() {
        return Err(FieldError::new(field, "is empty"));
    }
    optional_text(field, text).map(T::from)
}

/// Text that may be empty, otherwise like [`name`].
pub fn optional_text(field: &str, text: String) -> Result<String, FieldError> {
    match check_name(&text) {
        Ok(()) => Ok(text),
        Err(error) => Err(FieldError::new(field, error.to_string())),
    }
}

/// A finite number that is not negative.
pub fn rate(field: &str, value: f64) -> Result<f64, FieldError> {
    if value.is_finite() && value >= 0.0 {
        Ok(value)
    } else {
        Err(FieldError::new(field, format!("{value} is not a rate")))
    }
}

/// How a UD queue pair is reached.
pub fn address(field: &str, address: Option<v1::RnicAddress>) -> Result<Address, FieldError> {
    let address = required(field, address)?;
    let checked = || {
        Ok(Address {
            gid: gid("gid", &address.gid)?,
            qpn: qpn("qpn", address.qpn)?,
            q_key: QKey(address.q_key),
        })
    };
    checked().map_err(|error: FieldError| error.within(field))
}

impl From<Address> for v1::RnicAddress {
    fn from(address: Address) -> Self {
        Self {
            gid: gid_bytes(address.gid),
            qpn: address.qpn.get(),
            q_key: address.q_key.0,
        }
    }
}

/// A GID as messages carry it.
pub fn gid_bytes(gid: Gid) -> bytes::Bytes {
    bytes::Bytes::copy_from_slice(&gid.bytes())
}

/// Which clock stamps completions.
pub fn clock(field: &str, number: i32) -> Result<CompletionClock, FieldError> {
    use v1::CompletionClock as Wire;
    match Wire::try_from(number) {
        Ok(Wire::HardwareWall) => Ok(CompletionClock::HardwareWall),
        Ok(Wire::HardwareRaw) => Ok(CompletionClock::HardwareRaw),
        Ok(Wire::Kernel) => Ok(CompletionClock::Kernel),
        Ok(Wire::Software) => Ok(CompletionClock::Software),
        Ok(Wire::Emulated) => Ok(CompletionClock::Emulated),
        Ok(Wire::Unspecified) | Err(_) => Err(unknown(field, number)),
    }
}

impl From<CompletionClock> for v1::CompletionClock {
    fn from(clock: CompletionClock) -> Self {
        match clock {
            CompletionClock::HardwareWall => Self::HardwareWall,
            CompletionClock::HardwareRaw => Self::HardwareRaw,
            CompletionClock::Kernel => Self::Kernel,
            CompletionClock::Software => Self::Software,
            CompletionClock::Emulated => Self::Emulated,
        }
    }
}

/// What decides the UDP source port; `ports` belong to steering by queue pair.
pub fn steering(field: &str, number: i32, ports: &[u32]) -> Result<SourcePortSteering, FieldError> {
    use v1::SourcePortSteering as Wire;
    match Wire::try_from(number) {
        Ok(Wire::FlowLabel) => Ok(SourcePortSteering::FlowLabel),
        Ok(Wire::Driver) => Ok(SourcePortSteering::Driver),
        Ok(Wire::QueuePair) => source_ports(ports).map(SourcePortSteering::QueuePair),
        Ok(Wire::Unspecified) | Err(_) => Err(unknown(field, number)),
    }
}

/// More QPs than any endpoint needs; bounds what an announcement can make the controller store.
pub const MAX_SOURCE_PORTS: usize = 1024;

fn source_ports(ports: &[u32]) -> Result<Vec<UdpSourcePort>, FieldError> {
    let field = "source_ports";
    if ports.is_empty() {
        return Err(FieldError::new(
            field,
            "is empty, but the endpoint chooses among its queue pairs",
        ));
    }
    if ports.len() > MAX_SOURCE_PORTS {
        let why = format!(
            "has {} entries, at most {MAX_SOURCE_PORTS} are accepted",
            ports.len()
        );
        return Err(FieldError::new(field, why));
    }
    let mut checked: Vec<UdpSourcePort> = Vec::with_capacity(ports.len());
    for (index, port) in ports.iter().enumerate() {
        let port = u16::try_from(*port)
            .ok()
            .filter(|port| *port != 0)
            .map(UdpSourcePort)
            .ok_or_else(|| {
                FieldError::new(
                    format!("{field}[{index}]"),
                    format!("{port} is not a UDP port"),
                )
            })?;
        if checked.contains(&port) {
            return Err(FieldError::new(
                format!("{field}[{index}]"),
                format!("{port} occurs twice"),
            ));
        }
        checked.push(port);
    }
    Ok(checked)
}

/// Steering as messages carry it: the kind, and the ports that go with it.
pub fn steering_to_wire(steering: &SourcePortSteering) -> (v1::SourcePortSteering, Vec<u32>) {
    match steering {
        SourcePortSteering::FlowLabel => (v1::SourcePortSteering::FlowLabel, Vec::new()),
        SourcePortSteering::Driver => (v1::SourcePortSteering::Driver, Vec::new()),
        SourcePortSteering::QueuePair(ports) => (
            v1::SourcePortSteering::QueuePair,
            ports.iter().map(|port| u32::from(port.0)).collect(),
        ),
    }
}

/// An enum value that is unspecified or from a newer version.
pub fn unknown(field: &str, number: i32) -> FieldError {
    FieldError::new(
        field,
        format!("{number} is not a value that this version knows"),
    )
}
