//! The UDP payload of a RoCE v2 datagram on an unreliable-datagram queue pair.
//!
//! ```text
//!  0               1               2               3
//!  0 1 2 3 4 5 6 7 0 1 2 3 4 5 6 7 0 1 2 3 4 5 6 7 0 1 2 3 4 5 6 7
//! +---------------+-+-+---+-------+-------------------------------+
//! |    opcode     |S|M|Pad| TVer  |             P_Key             |  BTH
//! +-+-+-----------+-+-+---+-------+-------------------------------+
//! |F|B|  reserved |                destination QP                 |
//! +-+-+-----------+-----------------------------------------------+
//! |A|  reserved   |            packet sequence number             |
//! +-+-------------+-----------------------------------------------+
//! |                             Q_Key                             |  DETH
//! +---------------+-----------------------------------------------+
//! |   reserved    |                   source QP                   |
//! +---------------+-----------------------------------------------+
//! |                       payload, 0…4096 bytes                   |
//! |                                       +-----------------------+
//! |                                       |   Pad bytes of zero   |
//! +---------------------------------------+-----------------------+
//! |          invariant CRC, least significant byte first          |
//! +---------------------------------------------------------------+
//! ```
//!
//! InfiniBand Architecture Specification vol. 1, sections 9.2 (BTH) and 9.3.3 (DETH); Annex A17 puts it into UDP.

use crate::id::{QKey, Qpn};
use crate::transport::{MAX_PAYLOAD, Payload};

use super::icrc::{Headers, ICRC_LEN, Identity, icrc};

/// `SEND Only` of the unreliable datagram service (table 38, opcode bits 011 00100).
pub(crate) const OPCODE_UD_SEND_ONLY: u8 = 0x64;

/// The default partition, full member.
pub(crate) const P_KEY: u16 = 0xffff;

/// The longest datagram that this transport sends and accepts, in bytes of UDP payload.
pub(crate) const MAX_DATAGRAM: usize = field::PAYLOAD + MAX_PAYLOAD.next_multiple_of(4) + ICRC_LEN;

/// The only transport header version.
const VERSION: u8 = 0;
/// The partition number without the membership bit.
const PARTITION: u16 = 0x7fff;

mod field {
    use std::ops::Range;

    pub(super) const OPCODE: usize = 0;
    /// Solicited event, migration state, pad count (bits 5 and 4), version (bits 3 to 0).
    pub(super) const FLAGS: usize = 1;
    pub(super) const P_KEY: Range<usize> = 2..4;
    pub(super) const DESTINATION_QPN: Range<usize> = 5..8;
    pub(super) const PSN: Range<usize> = 9..12;
    pub(super) const Q_KEY: Range<usize> = 12..16;
    pub(super) const SOURCE_QPN: Range<usize> = 17..20;
    pub(super) const PAYLOAD: usize = 20;
}

/// Why a datagram is not taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum PacketError {
    /// No room for BTH, DETH and ICRC, or for the padding that the BTH announces.
    #[error("datagram of {0} bytes is too short for BTH, DETH, padding and ICRC")]
    TooShort(usize),
    /// Payload and padding must fill words of four bytes.
    #[error("datagram of {0} bytes is not padded to a multiple of 4")]
    Unaligned(usize),
    /// More payload than a probe has.
    #[error("payload of {0} bytes is longer than the {MAX_PAYLOAD} that an endpoint carries")]
    Oversized(usize),
    /// The transport header version is not 0.
    #[error("unknown transport header version {0}")]
    Version(u8),
    /// Not `SEND Only` of the unreliable datagram service.
    #[error("opcode {0:#04x} is not UD SEND Only ({OPCODE_UD_SEND_ONLY:#04x})")]
    Opcode(u8),
    /// Another partition.
    #[error("P_Key {0:#06x} is not of the default partition")]
    PKey(u16),
    /// Damaged on the way, or computed by other rules.
    #[error("ICRC {found:#010x} does not fit the datagram")]
    Icrc {
        /// What the datagram carries.
        found: u32,
    },
    /// No endpoint here has that queue pair number.
    #[error("no endpoint has QPN {0}")]
    UnknownQpn(Qpn),
    /// The datagram's key is not the endpoint's.
    #[error("Q_Key {found:?} is not that of QPN {qpn}")]
    QKey {
        /// The endpoint.
        qpn: Qpn,
        /// What the datagram carries.
        found: QKey,
    },
}

/// A checked view of a datagram: every accessor is within bounds.
#[derive(Debug, Clone, Copy)]
pub struct Datagram<'a> {
    bytes: &'a [u8],
}

impl<'a> Datagram<'a> {
    /// Checks lengths only; [`Repr::parse`] checks the values.
    ///
    /// # Errors
    /// [`PacketError::TooShort`], [`PacketError::Unaligned`] or [`PacketError::Oversized`].
    pub fn new_checked(bytes: &'a [u8]) -> Result<Self, PacketError> {
        let len = bytes.len();
        if len < field::PAYLOAD + ICRC_LEN {
            return Err(PacketError::TooShort(len));
        }
        if !len.is_multiple_of(4) {
            return Err(PacketError::Unaligned(len));
        }
        let datagram = Self { bytes };
        let padded = len - field::PAYLOAD - ICRC_LEN;
        let payload = padded
            .checked_sub(datagram.pad_count())
            .ok_or(PacketError::TooShort(len))?;
        if payload > MAX_PAYLOAD {
            return Err(PacketError::Oversized(payload));
        }
        Ok(datagram)
    }

    fn u16_at(&self, range: std::ops::Range<usize>) -> u16 {
        self.bytes[range]
            .iter()
            .fold(0, |value, byte| value << 8 | u16::from(*byte))
    }

    fn u32_at(&self, range: std::ops::Range<usize>) -> u32 {
        self.bytes[range]
            .iter()
            .fold(0, |value, byte| value << 8 | u32::from(*byte))
    }

    /// The operation.
    pub fn opcode(&self) -> u8 {
        self.bytes[field::OPCODE]
    }

    /// Bytes of padding after the payload.
    pub(crate) fn pad_count(&self) -> usize {
        usize::from(self.bytes[field::FLAGS] >> 4 & 3)
    }

    /// The transport header version.
    pub fn version(&self) -> u8 {
        self.bytes[field::FLAGS] & 0x0f
    }

    /// The partition key.
    pub(crate) fn p_key(&self) -> u16 {
        self.u16_at(field::P_KEY)
    }

    /// The queue pair that it is for.
    pub(crate) fn destination_qpn(&self) -> Qpn {
        Qpn::from_lower_bits(self.u32_at(field::DESTINATION_QPN))
    }

    /// The packet sequence number, 24 bits.
    pub(crate) fn psn(&self) -> u32 {
        self.u32_at(field::PSN)
    }

    /// The queue key.
    pub fn q_key(&self) -> QKey {
        QKey(self.u32_at(field::Q_KEY))
    }

    /// The queue pair that sent it.
    pub fn source_qpn(&self) -> Qpn {
        Qpn::from_lower_bits(self.u32_at(field::SOURCE_QPN))
    }

    /// What it carries, without padding.
    pub fn payload(&self) -> &'a [u8] {
        &self.bytes[field::PAYLOAD..self.bytes.len() - ICRC_LEN - self.pad_count()]
    }

    /// Everything before the ICRC.
    pub fn covered(&self) -> &'a [u8] {
        &self.bytes[..self.bytes.len() - ICRC_LEN]
    }

    /// The ICRC that it carries.
    pub fn icrc(&self) -> u32 {
        self.bytes
            .last_chunk()
            .map_or(0, |bytes| u32::from_le_bytes(*bytes))
    }
}

/// What a datagram says, in plain values.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Repr {
    /// The queue pair that it is for.
    pub destination_qpn: Qpn,
    /// The queue pair that sends it.
    pub source_qpn: Qpn,
    /// The key of the receiving queue pair.
    pub q_key: QKey,
    /// The packet sequence number; its lower 24 bits count. Receivers of datagrams ignore it.
    pub psn: u32,
    /// What it carries.
    pub payload: Payload,
}

impl Repr {
    /// Checks everything that needs no knowledge of the IP header and of the endpoints here.
    ///
    /// # Errors
    /// All of [`PacketError`] but [`PacketError::Icrc`], [`PacketError::UnknownQpn`] and [`PacketError::QKey`].
    pub fn parse(datagram: &Datagram<'_>) -> Result<Self, PacketError> {
        if datagram.version() != VERSION {
            return Err(PacketError::Version(datagram.version()));
        }
        if datagram.opcode() != OPCODE_UD_SEND_ONLY {
            return Err(PacketError::Opcode(datagram.opcode()));
        }
        // A limited member may talk to a full one, which we are.
        if datagram.p_key() & PARTITION != P_KEY & PARTITION {
            return Err(PacketError::PKey(datagram.p_key()));
        }
        let payload = datagram.payload();
        Ok(Self {
            destination_qpn: datagram.destination_qpn(),
            source_qpn: datagram.source_qpn(),
            q_key: datagram.q_key(),
            psn: datagram.psn(),
            payload: Payload::new(payload).ok_or(PacketError::Oversized(payload.len()))?,
        })
    }

    /// The datagram with its ICRC, for a packet whose IP header has [`Identity::ATOMIC`].
    pub fn emit(&self, headers: &Headers) -> Encoded {
        let payload = self.payload.as_slice();
        let pad = payload.len().next_multiple_of(4) - payload.len();
        let covered = field::PAYLOAD + payload.len() + pad;
        let mut bytes = [0; MAX_DATAGRAM];
        bytes[field::OPCODE] = OPCODE_UD_SEND_ONLY;
        #[expect(clippy::cast_possible_truncation, reason = "pad is below 4")]
        let flags = (pad as u8) << 4 | VERSION;
        bytes[field::FLAGS] = flags;
        bytes[field::P_KEY].copy_from_slice(&P_KEY.to_be_bytes());
        bytes[field::DESTINATION_QPN].copy_from_slice(&three_bytes(self.destination_qpn.get()));
        bytes[field::PSN].copy_from_slice(&three_bytes(self.psn));
        bytes[field::Q_KEY].copy_from_slice(&self.q_key.0.to_be_bytes());
        bytes[field::SOURCE_QPN].copy_from_slice(&three_bytes(self.source_qpn.get()));
        bytes[field::PAYLOAD..field::PAYLOAD + payload.len()].copy_from_slice(payload);
        // There is a BTH and the length is small, so there is an ICRC.
        let icrc = icrc(headers, Identity::ATOMIC, &bytes[..covered]).unwrap_or_default();
        bytes[covered..covered + ICRC_LEN].copy_from_slice(&icrc.to_le_bytes());
        Encoded {
            bytes,
            len: covered + ICRC_LEN,
        }
    }
}

fn three_bytes(value: u32) -> [u8; 3] {
    let [_, bytes @ ..] = value.to_be_bytes();
    bytes
}

/// A datagram to hand to a UDP socket, held in place.
#[derive(Debug, Clone, Copy)]
pub struct Encoded {
    bytes: [u8; MAX_DATAGRAM],
    len: usize,
}

impl Encoded {
    /// The bytes.
    pub fn as_slice(&self) -> &[u8] {
        &self.bytes[..self.len]
    }
}

#[cfg(test)]
mod tests;
