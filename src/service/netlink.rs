//! The kernel's listing of queue pairs: RDMA netlink messages, read and written (Linux
//! `include/uapi/rdma/rdma_netlink.h`, `drivers/infiniband/core/nldev.c`).
//!
//! No I/O: the tracer sends the requests and hands the answers over. All numbers are in the byte order of the host, and
//! every access is checked; any bytes may come.
//!
//! ```text
//! message:   0 length u32   4 type u16   6 flags u16   8 sequence u32   12 port u32   16 attributes…
//! attribute: 0 length u16   2 type u16   4 payload…   padded to 4 bytes
//! ```

use crate::id::{DeviceName, Qpn};

use super::qp::{QpState, QpType};

/// Of the socket (`NETLINK_RDMA`).
pub const PROTOCOL: i32 = 20;

/// A buffer of this size takes any answer: the kernel makes its datagrams no larger.
pub const DATAGRAM: usize = 32 << 10;

const HEADER: usize = 16;
const ATTRIBUTE_HEADER: usize = 4;
const REQUEST: u16 = 0x01;
const DUMP: u16 = 0x300;
const NLMSG_NOOP: u16 = 1;
const NLMSG_ERROR: u16 = 2;
const NLMSG_DONE: u16 = 3;

/// `RDMA_NL_GET_TYPE(RDMA_NL_NLDEV, command)`
const fn message_type(command: u16) -> u16 {
    (5 << 10) + command
}

const GET_DEVICES: u16 = message_type(1);
const GET_QUEUE_PAIRS: u16 = message_type(10);
const GET_CM_IDS: u16 = message_type(11);

// enum rdma_nldev_attr
const DEVICE_INDEX: u16 = 1;
const DEVICE_NAME: u16 = 2;
const PORT_INDEX: u16 = 3;
const QP_TABLE: u16 = 19;
const QP_ENTRY: u16 = 20;
const LOCAL_QPN: u16 = 21;
const REMOTE_QPN: u16 = 22;
const TYPE: u16 = 26;
const STATE: u16 = 27;
const PID: u16 = 28;
const KERNEL_NAME: u16 = 29;
const CM_ID_TABLE: u16 = 30;
const CM_ID_ENTRY: u16 = 31;

/// Upper bits of an attribute's type: nested, network byte order.
const TYPE_MASK: u16 = 0x3fff;

/// Why an answer cannot be used.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum NetlinkError {
    /// Cut off or damaged.
    #[error("RDMA netlink answer is damaged: {what} at byte {at} of {length}")]
    Damaged {
        /// What does not fit.
        what: &'static str,
        /// Where, within the datagram.
        at: usize,
        /// Bytes of the datagram.
        length: usize,
    },
    /// The kernel refuses, with its error number.
    #[error("the kernel refuses the RDMA netlink request: error {0}")]
    Refused(i32),
}

/// An RDMA device.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Device {
    /// The number by which requests name it.
    pub index: u32,
    /// Its name.
    pub name: DeviceName,
}

/// A queue pair as the kernel lists it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct QueuePair {
    /// Its number.
    pub qpn: Qpn,
    /// Its type.
    pub qp_type: QpType,
    /// Its state.
    pub state: QpState,
    /// Its port, from 1; absent until it is bound to one.
    pub port: Option<u8>,
    /// The peer's QP; only of connected types. 0 before RTR.
    pub remote_qpn: Option<Qpn>,
    /// The process that made it; absent for the kernel's own and for those of other PID namespaces.
    pub pid: Option<u32>,
    /// The kernel module that made it. For those who connect through the connection manager this is [`CONNECTION_MANAGER`].
    pub kernel: Option<String>,
}

/// The module that makes the queue pairs of modules that connect through it, such as `nvme_rdma` (`rdma_create_qp` of Linux
/// `drivers/infiniband/core/cma.c`). [`cm_ids`] tells for whom.
pub const CONNECTION_MANAGER: &str = "rdma_cm";

/// An endpoint of the connection manager that has a queue pair.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CmId {
    /// Number of its queue pair.
    pub qpn: Qpn,
    /// The kernel module whose it is; absent for those of processes.
    pub kernel: Option<String>,
}

/// What one datagram told.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Part<T> {
    /// In the order of the datagram.
    pub items: Vec<T>,
    /// Whether nothing more follows.
    pub last: bool,
    /// Entries without a number, type or state that can be.
    pub odd: usize,
}

/// Asks for all devices.
pub fn ask_devices(sequence: u32) -> Vec<u8> {
    request(GET_DEVICES, sequence, &[])
}

/// Asks for all queue pairs of a device.
pub fn ask_queue_pairs(sequence: u32, device: u32) -> Vec<u8> {
    of_device(GET_QUEUE_PAIRS, sequence, device)
}

/// Asks for all endpoints of the connection manager on a device.
pub fn ask_cm_ids(sequence: u32, device: u32) -> Vec<u8> {
    of_device(GET_CM_IDS, sequence, device)
}

fn of_device(message: u16, sequence: u32, device: u32) -> Vec<u8> {
    let mut attribute = Vec::with_capacity(8);
    attribute.extend(8u16.to_ne_bytes());
    attribute.extend(DEVICE_INDEX.to_ne_bytes());
    attribute.extend(device.to_ne_bytes());
    request(message, sequence, &attribute)
}

#[expect(clippy::cast_possible_truncation, reason = "a few bytes")]
fn request(message: u16, sequence: u32, attributes: &[u8]) -> Vec<u8> {
    let length = HEADER + attributes.len();
    let mut bytes = Vec::with_capacity(length);
    bytes.extend((length as u32).to_ne_bytes());
    bytes.extend(message.to_ne_bytes());
    bytes.extend((REQUEST | DUMP).to_ne_bytes());
    bytes.extend(sequence.to_ne_bytes());
    bytes.extend(0u32.to_ne_bytes());
    bytes.extend(attributes);
    bytes
}

/// Reads an answer to [`ask_devices`]. Messages of another sequence are passed over.
///
/// # Errors
/// [`NetlinkError`].
pub fn devices(datagram: &[u8], sequence: u32) -> Result<Part<Device>, NetlinkError> {
    read(datagram, sequence, GET_DEVICES, |message, part| {
        let mut index = None;
        let mut name = None;
        for attribute in message.attributes() {
            let (kind, payload) = attribute?;
            match kind {
                DEVICE_INDEX => index = word(payload),
                DEVICE_NAME => name = Some(text(payload)),
                _ => {}
            }
        }
        match (index, name) {
            (Some(index), Some(name)) if !name.is_empty() => part.items.push(Device {
                index,
                name: DeviceName::new(name),
            }),
            _ => part.odd += 1,
        }
        Ok(())
    })
}

/// Reads an answer to [`ask_queue_pairs`]. Messages of another sequence are passed over.
///
/// # Errors
/// [`NetlinkError`].
pub fn queue_pairs(datagram: &[u8], sequence: u32) -> Result<Part<QueuePair>, NetlinkError> {
    entries(datagram, sequence, QUEUE_PAIRS, queue_pair)
}

/// Reads an answer to [`ask_cm_ids`]. Endpoints without a queue pair are left out, as are messages of another sequence.
///
/// # Errors
/// [`NetlinkError`].
pub fn cm_ids(datagram: &[u8], sequence: u32) -> Result<Part<CmId>, NetlinkError> {
    let part = entries(datagram, sequence, CM_IDS, |entry| {
        let (mut qpn, mut kernel) = (None, None);
        for attribute in entry.attributes() {
            let (kind, payload) = attribute?;
            match kind {
                LOCAL_QPN => qpn = word(payload).and_then(Qpn::new),
                KERNEL_NAME => kernel = Some(text(payload)),
                _ => {}
            }
        }
        Ok(qpn.map(|qpn| CmId { qpn, kernel }))
    });
    // An endpoint that listens has no queue pair.
    part.map(|part| Part { odd: 0, ..part })
}

/// A kind of message with a table of entries: its type, and those of the attributes that hold the table and an entry.
#[derive(Clone, Copy)]
struct Table {
    message: u16,
    whole: u16,
    entry: u16,
}

const QUEUE_PAIRS: Table = Table {
    message: GET_QUEUE_PAIRS,
    whole: QP_TABLE,
    entry: QP_ENTRY,
};

const CM_IDS: Table = Table {
    message: GET_CM_IDS,
    whole: CM_ID_TABLE,
    entry: CM_ID_ENTRY,
};

fn entries<T>(
    datagram: &[u8],
    sequence: u32,
    kind: Table,
    entry_of: impl Fn(AttributePayload<'_>) -> Result<Option<T>, NetlinkError>,
) -> Result<Part<T>, NetlinkError> {
    read(datagram, sequence, kind.message, |message, part| {
        for attribute in message.attributes() {
            let (of, entries) = attribute?;
            if of != kind.whole {
                continue;
            }
            for entry in entries.attributes() {
                let (of, entry) = entry?;
                if of != kind.entry {
                    continue;
                }
                match entry_of(entry)? {
                    Some(entry) => part.items.push(entry),
                    None => part.odd += 1,
                }
            }
        }
        Ok(())
    })
}

fn queue_pair(entry: AttributePayload<'_>) -> Result<Option<QueuePair>, NetlinkError> {
    let (mut qpn, mut qp_type, mut state) = (None, None, None);
    let (mut port, mut remote_qpn, mut pid, mut kernel) = (None, None, None, None);
    for attribute in entry.attributes() {
        let (kind, payload) = attribute?;
        match kind {
            LOCAL_QPN => qpn = word(payload).and_then(Qpn::new),
            REMOTE_QPN => remote_qpn = word(payload).and_then(Qpn::new),
            TYPE => qp_type = payload.bytes.first().copied().map(QpType::from),
            STATE => state = payload.bytes.first().copied().map(QpState::from),
            PORT_INDEX => port = word(payload).and_then(|port| u8::try_from(port).ok()),
            PID => pid = word(payload).filter(|pid| *pid != 0),
            KERNEL_NAME => kernel = Some(text(payload)),
            _ => {}
        }
    }
    Ok(match (qpn, qp_type, state) {
        (Some(qpn), Some(qp_type), Some(state)) => Some(QueuePair {
            qpn,
            qp_type,
            state,
            port: port.filter(|port| *port != 0),
            remote_qpn,
            pid,
            kernel,
        }),
        _ => None,
    })
}

/// Walks the messages of a datagram.
fn read<T>(
    datagram: &[u8],
    sequence: u32,
    wanted: u16,
    mut take: impl FnMut(AttributePayload<'_>, &mut Part<T>) -> Result<(), NetlinkError>,
) -> Result<Part<T>, NetlinkError> {
    let mut part = Part {
        items: Vec::new(),
        last: false,
        odd: 0,
    };
    let damaged = |what, at| NetlinkError::Damaged {
        what,
        at,
        length: datagram.len(),
    };
    let mut at = 0;
    while at < datagram.len() {
        let header: &[u8; HEADER] = datagram[at..]
            .first_chunk()
            .ok_or(damaged("message header is cut off", at))?;
        let length = u32::from_ne_bytes([header[0], header[1], header[2], header[3]]) as usize;
        let kind = u16::from_ne_bytes([header[4], header[5]]);
        let of = u32::from_ne_bytes([header[8], header[9], header[10], header[11]]);
        if length < HEADER || length > datagram.len() - at {
            return Err(damaged("message length does not fit", at));
        }
        let body = AttributePayload {
            bytes: &datagram[at + HEADER..at + length],
            at: at + HEADER,
            length: datagram.len(),
        };
        if of == sequence {
            match kind {
                NLMSG_NOOP => {}
                NLMSG_ERROR | NLMSG_DONE => {
                    // Both begin with 0 or a negative error number.
                    match word(body).map(u32::cast_signed) {
                        None if kind == NLMSG_ERROR => {
                            return Err(damaged("error is cut off", at));
                        }
                        Some(error) if error < 0 => {
                            return Err(NetlinkError::Refused(error.saturating_neg()));
                        }
                        _ => part.last = true,
                    }
                }
                kind if kind == wanted => take(body, &mut part)?,
                _ => {}
            }
        }
        at += length.next_multiple_of(4);
    }
    Ok(part)
}

/// Bytes within a datagram that hold attributes, or one value.
#[derive(Debug, Clone, Copy)]
struct AttributePayload<'a> {
    bytes: &'a [u8],
    /// Where they begin in the datagram, and how long that is: for messages.
    at: usize,
    length: usize,
}

impl<'a> AttributePayload<'a> {
    fn attributes(self) -> Attributes<'a> {
        Attributes(self)
    }
}

/// The attributes of a span; ends after the first error.
struct Attributes<'a>(AttributePayload<'a>);

impl<'a> Iterator for Attributes<'a> {
    type Item = Result<(u16, AttributePayload<'a>), NetlinkError>;

    fn next(&mut self) -> Option<Self::Item> {
        let AttributePayload { bytes, at, length } = self.0;
        if bytes.is_empty() {
            return None;
        }
        let own = bytes
            .first_chunk::<ATTRIBUTE_HEADER>()
            .map(|header| u16::from_ne_bytes([header[0], header[1]]) as usize);
        let Some(own) = own.filter(|own| (ATTRIBUTE_HEADER..=bytes.len()).contains(own)) else {
            self.0.bytes = &[];
            return Some(Err(NetlinkError::Damaged {
                what: "attribute length does not fit",
                at,
                length,
            }));
        };
        let kind = u16::from_ne_bytes([bytes[2], bytes[3]]) & TYPE_MASK;
        let payload = AttributePayload {
            bytes: &bytes[ATTRIBUTE_HEADER..own],
            at: at + ATTRIBUTE_HEADER,
            length,
        };
        let step = own.next_multiple_of(4).min(bytes.len());
        self.0.bytes = &bytes[step..];
        self.0.at = at + step;
        Some(Ok((kind, payload)))
    }
}

fn word(span: AttributePayload<'_>) -> Option<u32> {
    span.bytes.first_chunk().copied().map(u32::from_ne_bytes)
}

/// Ends with a zero; bytes that are not UTF-8 are replaced.
fn text(span: AttributePayload<'_>) -> String {
    let bytes = span.bytes;
    let end = bytes
        .iter()
        .position(|byte| *byte == 0)
        .unwrap_or(bytes.len());
    String::from_utf8_lossy(&bytes[..end]).into_owned()
}

#[cfg(test)]
mod tests;
