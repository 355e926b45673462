//! The payload of probes and ACKs: 50 bytes behind the RoCE v2 headers, big endian.
//!
//! ```text
//!  0        2         3      4       5          6         14         22         30          34        50
//!  +--------+---------+------+-------+----------+---------+----------+----------+-----------+---------+
//!  | magic  | version | kind | flags | class    | session | sequence | argument | endpoint  | MAC     |
//!  | u16    | u8      | u8   | u8    | u8       | u64     | u64      | 8 bytes  | u32       | 16 bytes|
//!  +--------+---------+------+-------+----------+---------+----------+----------+-----------+---------+
//!
//!  kind 1, probe       argument u64: flow label that the ACKs shall use    endpoint: Q_Key that they need
//!  kind 2, first ACK   argument u64: UDP source port seen, 0 if none       endpoint: responder's QPN
//!  kind 3, second ACK  argument i64: T4 - T3 in nanoseconds                endpoint: responder's QPN
//!
//!  flags: 1 signed; of a probe: 2 asks for the reverse path, 4 the newest probe of its flow was lost, 8 the ACKs shall
//!         travel in the class of this probe: its traffic class is in the byte behind, its service level in bits 4 to 6
//! ```
//!
//! ACKs return session and sequence unchanged. The session is random per prober, and the sequence starts at a random
//! number. So an ACK to an earlier prober, or a guessed ACK, matches no probe.
//!
//! A receive completion has the sender's GID and QPN, but neither its Q_Key nor the flow label, so the probe carries
//! both. An endpoint with several QPs may answer from any of them, so the responder names the QPN that it registered. A
//! responder in user space sees the UDP source port of a probe; an RNIC does not. It puts the port into the first ACK,
//! and the prober learns whether its driver chose the intended port.
//!
//! Only the responder can trace the reverse path, and only the prober knows when ACKs stop arriving. The flags pass
//! this on. Versions that do not know the flags ignore them.
//!
//! A probe of a service's connection travels in the connection's own class, and so do its ACKs. The responder's RNIC does not
//! tell in which class a probe came, so the probe says it. Without flag 8 the responder takes the class of its own probes.
//!
//! The MAC covers everything before it and the GIDs of both ends as the packet's IP header has them, so a packet
//! recorded elsewhere proves nothing here. It does not cover QPNs: which of its QPs an endpoint sends from is decided
//! below this layer. Without a cluster key the MAC is zero.

mod mac;

use std::fmt;

use crate::id::{FlowLabel, Gid, QKey, Qpn, UdpSourcePort};
use crate::time::Nanos;
use crate::transport::{Class, Payload};

pub(crate) use mac::hmac_of;
pub use mac::{ClusterKey, Fingerprint, KeyError, Keyring};

/// Length of every probe and ACK, the one that the paper's prober has.
pub const LENGTH: usize = 50;
/// The only version there is.
pub const VERSION: u8 = 1;

const MAGIC: u16 = 0x5270;
const FLAG_KEYED: u8 = 1;
const FLAG_WAY_BACK: u8 = 2;
const FLAG_FAILING: u8 = 4;
const FLAG_CLASS: u8 = 8;
/// Where the service level lies among the flags.
const LEVEL_AT: u32 = 4;

/// Where the fields are.
mod field {
    use std::ops::Range;

    pub(super) const MAGIC: Range<usize> = 0..2;
    pub(super) const VERSION: usize = 2;
    pub(super) const KIND: usize = 3;
    pub(super) const FLAGS: usize = 4;
    pub(super) const CLASS: usize = 5;
    pub(super) const SESSION: Range<usize> = 6..14;
    pub(super) const SEQUENCE: Range<usize> = 14..22;
    pub(super) const ARGUMENT: Range<usize> = 22..30;
    pub(super) const ENDPOINT: Range<usize> = 30..34;
    pub(super) const SIGNED: Range<usize> = 0..34;
    pub(super) const MAC: Range<usize> = 34..50;
}

/// One life of a prober; random.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct SessionId(pub u64);

impl fmt::Debug for SessionId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SessionId({:#018x})", self.0)
    }
}

/// The number of a probe within its session; starts at random and wraps.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Sequence(pub u64);

/// The two ends of a packet as its IP header names them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Ends {
    /// The sender.
    pub source: Gid,
    /// The receiver.
    pub destination: Gid,
}

/// What a probe says about its reverse path, the path of its ACKs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum ReversePath {
    /// The prober does not ask for it.
    Unasked,
    /// The responder may trace it. The newest probe of the flow came through, or there was none.
    Healthy,
    /// The responder may trace it. The newest probe of the flow was lost, there or back.
    Failing,
}

impl ReversePath {
    const fn flags(self) -> u8 {
        match self {
            Self::Unasked => 0,
            Self::Healthy => FLAG_WAY_BACK,
            Self::Failing => FLAG_WAY_BACK | FLAG_FAILING,
        }
    }

    const fn from_flags(flags: u8) -> Self {
        match (flags & FLAG_WAY_BACK != 0, flags & FLAG_FAILING != 0) {
            (false, _) => Self::Unasked,
            (true, false) => Self::Healthy,
            (true, true) => Self::Failing,
        }
    }
}

/// Flags with the class that ACKs shall have, and the byte behind them.
fn with_class(flags: u8, class: Option<Class>) -> (u8, u8) {
    class.map_or((flags, 0), |class| {
        let level = class.service_level.min(*Class::LEVELS.end());
        (flags | FLAG_CLASS | level << LEVEL_AT, class.traffic_class)
    })
}

/// The class that ACKs shall have.
fn class_of(flags: u8, class: u8) -> Option<Class> {
    (flags & FLAG_CLASS != 0).then_some(Class {
        traffic_class: class,
        service_level: flags >> LEVEL_AT & Class::LEVELS.end(),
    })
}

/// What a packet is for, with the fields that only this kind has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Body {
    /// A probe, which both ACKs answer.
    Probe {
        /// The label for the ACKs: the probe's own, so that the reverse path is as stable as the forward path.
        reply_label: FlowLabel,
        /// The key that the prober's QP demands.
        reply_key: QKey,
        /// Whether the prober asks for the reverse path.
        reverse_path: ReversePath,
        /// The class for the ACKs; `None` for that of the responder's own probes.
        reply_class: Option<Class>,
    },
    /// Sent at once when a probe arrives; its arrival at the prober is T5.
    FirstAck {
        /// The QPN that the responder is registered by.
        responder: Qpn,
        /// The UDP source port that the probe had, where the responder can see it.
        seen: Option<UdpSourcePort>,
    },
    /// Sent when the first ACK has left.
    SecondAck {
        /// The QPN that the responder is registered by.
        responder: Qpn,
        /// T4 - T3. Negative when the responder's clock is broken: the prober reports that, it is not malformed.
        delay: Nanos,
    },
}

impl Body {
    const PROBE: u8 = 1;
    const FIRST_ACK: u8 = 2;
    const SECOND_ACK: u8 = 3;

    /// Kind, flags and class, argument, endpoint.
    fn fields(self) -> (u8, (u8, u8), [u8; 8], u32) {
        match self {
            Self::Probe {
                reply_label,
                reply_key,
                reverse_path,
                reply_class,
            } => (
                Self::PROBE,
                with_class(reverse_path.flags(), reply_class),
                u64::from(reply_label.get()).to_be_bytes(),
                reply_key.0,
            ),
            Self::FirstAck { responder, seen } => {
                let port = seen.map_or(0, |port| u64::from(port.0));
                (Self::FIRST_ACK, (0, 0), port.to_be_bytes(), responder.get())
            }
            Self::SecondAck { responder, delay } => (
                Self::SECOND_ACK,
                (0, 0),
                delay.0.to_be_bytes(),
                responder.get(),
            ),
        }
    }

    fn from_fields(
        (kind, flags, class): (u8, u8, u8),
        argument: [u8; 8],
        endpoint: u32,
    ) -> Result<Self, WireError> {
        let responder = || Qpn::new(endpoint).ok_or(WireError::Qpn(endpoint));
        match kind {
            Self::PROBE => {
                let label = u64::from_be_bytes(argument);
                let reply_label = u32::try_from(label)
                    .ok()
                    .and_then(FlowLabel::new)
                    .ok_or(WireError::FlowLabel(label))?;
                Ok(Self::Probe {
                    reply_label,
                    reply_key: QKey(endpoint),
                    reverse_path: ReversePath::from_flags(flags),
                    reply_class: class_of(flags, class),
                })
            }
            Self::FIRST_ACK => {
                let port = u64::from_be_bytes(argument);
                let port = u16::try_from(port).map_err(|_| WireError::SourcePort(port))?;
                Ok(Self::FirstAck {
                    responder: responder()?,
                    seen: (port != 0).then_some(UdpSourcePort(port)),
                })
            }
            Self::SECOND_ACK => Ok(Self::SecondAck {
                responder: responder()?,
                delay: Nanos(i64::from_be_bytes(argument)),
            }),
            other => Err(WireError::UnknownKind(other)),
        }
    }
}

/// A probe or ACK.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Packet {
    /// Which prober.
    pub session: SessionId,
    /// Which of its probes.
    pub sequence: Sequence,
    /// What for.
    pub body: Body,
}

/// Why bytes are not a packet to act on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum WireError {
    /// Shorter than a packet.
    #[error("truncated: {0} bytes, a packet has 50")]
    Truncated(usize),
    /// Longer than a packet.
    #[error("oversized: {0} bytes, a packet has 50")]
    Oversized(usize),
    /// Not a packet of this protocol.
    #[error("magic number {0:#06x} is not that of rpingmesh")]
    BadMagic(u16),
    /// From a newer or broken program.
    #[error("version {0} is not known: update this agent or the peer")]
    UnknownVersion(u8),
    /// A kind that this version does not define.
    #[error("packet kind {0} is not known")]
    UnknownKind(u8),
    /// A probe whose flow label is 0 or longer than 20 bits.
    #[error("flow label {0:#x} is not from 1 to 0xfffff")]
    FlowLabel(u64),
    /// An ACK whose QPN is longer than 24 bits.
    #[error("QPN {0:#x} is longer than 24 bits")]
    Qpn(u32),
    /// A first ACK whose UDP source port is longer than 16 bits.
    #[error("UDP source port {0:#x} is longer than 16 bits")]
    SourcePort(u64),
    /// No cluster key of this program verifies the MAC.
    #[error("the MAC fits none of the cluster keys: give both ends the same key")]
    BadMac,
    /// This program has a cluster key, the sender has none.
    #[error("not signed, but a cluster key is configured here: give the peer the key")]
    Unsigned,
    /// The sender has a cluster key, this program has none.
    #[error("signed, but no cluster key is configured here: give this end the key")]
    Unverifiable,
}

/// Bytes that have the length, magic number and version of a packet; nothing else is checked yet.
#[derive(Debug, Clone, Copy)]
pub struct View<'a>(&'a [u8; LENGTH]);

impl<'a> View<'a> {
    /// Checks length, magic number and version.
    ///
    /// # Errors
    /// [`WireError::Truncated`], [`WireError::Oversized`], [`WireError::BadMagic`], [`WireError::UnknownVersion`].
    pub fn new(bytes: &'a [u8]) -> Result<Self, WireError> {
        let array: &[u8; LENGTH] = bytes.try_into().map_err(|_| {
            if bytes.len() < LENGTH {
                WireError::Truncated(bytes.len())
            } else {
                WireError::Oversized(bytes.len())
            }
        })?;
        let view = Self(array);
        let magic = u16::from_be_bytes(view.take(field::MAGIC));
        if magic != MAGIC {
            return Err(WireError::BadMagic(magic));
        }
        match array[field::VERSION] {
            VERSION => Ok(view),
            other => Err(WireError::UnknownVersion(other)),
        }
    }

    /// Whether the sender says that it has signed the packet.
    pub fn is_keyed(&self) -> bool {
        self.0[field::FLAGS] & FLAG_KEYED != 0
    }

    /// Which prober.
    pub fn session(&self) -> SessionId {
        SessionId(u64::from_be_bytes(self.take(field::SESSION)))
    }

    /// Which of its probes.
    pub fn sequence(&self) -> Sequence {
        Sequence(u64::from_be_bytes(self.take(field::SEQUENCE)))
    }

    /// Kind and its own fields.
    ///
    /// # Errors
    /// [`WireError::UnknownKind`], [`WireError::FlowLabel`], [`WireError::Qpn`], [`WireError::SourcePort`].
    pub fn body(&self) -> Result<Body, WireError> {
        Body::from_fields(
            (
                self.0[field::KIND],
                self.0[field::FLAGS],
                self.0[field::CLASS],
            ),
            self.take(field::ARGUMENT),
            u32::from_be_bytes(self.take(field::ENDPOINT)),
        )
    }

    /// Checks that the packet is signed with one of our keys, or not at all where that is accepted.
    ///
    /// # Errors
    /// [`WireError::BadMac`], [`WireError::Unsigned`], [`WireError::Unverifiable`].
    pub fn verify(&self, ends: Ends, keys: &Keyring) -> Result<(), WireError> {
        if !self.is_keyed() {
            return if keys.takes_unsigned() {
                Ok(())
            } else {
                Err(WireError::Unsigned)
            };
        }
        if keys.is_empty() {
            return Err(WireError::Unverifiable);
        }
        let mac = self.take(field::MAC);
        if keys.verify(&self.0[field::SIGNED], ends, &mac) {
            Ok(())
        } else {
            Err(WireError::BadMac)
        }
    }

    /// `range` must have `N` bytes; a constant of [`field`] always has.
    fn take<const N: usize>(self, range: std::ops::Range<usize>) -> [u8; N] {
        let mut bytes = [0; N];
        bytes.copy_from_slice(&self.0[range]);
        bytes
    }
}

impl Packet {
    /// Reads a packet and checks its MAC against `keys`; `ends` are those that the packet travelled between.
    ///
    /// # Errors
    /// Every [`WireError`].
    pub fn decode(bytes: &[u8], ends: Ends, keys: &Keyring) -> Result<Self, WireError> {
        let view = View::new(bytes)?;
        view.verify(ends, keys)?;
        Ok(Self {
            session: view.session(),
            sequence: view.sequence(),
            body: view.body()?,
        })
    }

    /// Writes the packet, signed if one of `keys` signs.
    pub fn encode(&self, ends: Ends, keys: &Keyring) -> Payload {
        let mut bytes = [0; LENGTH];
        let (kind, (flags, class), argument, endpoint) = self.body.fields();
        bytes[field::MAGIC].copy_from_slice(&MAGIC.to_be_bytes());
        bytes[field::VERSION] = VERSION;
        bytes[field::KIND] = kind;
        bytes[field::FLAGS] = flags | if keys.signs() { FLAG_KEYED } else { 0 };
        bytes[field::CLASS] = class;
        bytes[field::SESSION].copy_from_slice(&self.session.0.to_be_bytes());
        bytes[field::SEQUENCE].copy_from_slice(&self.sequence.0.to_be_bytes());
        bytes[field::ARGUMENT].copy_from_slice(&argument);
        bytes[field::ENDPOINT].copy_from_slice(&endpoint.to_be_bytes());
        if let Some(mac) = keys.sign(&bytes[field::SIGNED], ends) {
            bytes[field::MAC].copy_from_slice(&mac);
        }
        Payload::from_array(&bytes)
    }
}

#[cfg(test)]
mod tests;
