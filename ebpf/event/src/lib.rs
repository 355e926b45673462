//! The one layout of the events that the eBPF programs emit, for both sides of the ring buffer.
//!
//! The kernel side writes [`QpEvent`] as it lies in memory; user space reads it by offsets with
//! [`QpEvent::decode`], so neither padding nor alignment nor an unknown value can harm it. All numbers are little
//! endian: both targets (`bpfel`) are.
//!
//! ```text
//!   0 version u16   2 size u16   4 kind u8   5 qp_type u8   6 qp_state u8   7 port u8
//!   8 time_ns u64                            16 cgroup_id u64
//!  24 tgid u32     28 tid u32               32 local_qpn u32   36 remote_qpn u32
//!  40 present u32  44 attr_mask u32         48 flow_label u32  52 return_code i32
//!  56 sgid_index u8   57 traffic_class u8   58 reserved [2]   60 counted u32
//!  64 source_gid [16]                       80 destination_gid [16]
//!  96 comm [16]                            112 device [64]                      176 end
//! ```
#![no_std]
#![warn(missing_docs)]

pub mod architecture;

/// Version of the layout. It grows when a field changes its meaning; fields appended at the end only grow the size.
pub const VERSION: u16 = 2;

/// Bytes of an event of this version.
pub const SIZE: usize = size_of::<QpEvent>();

/// What happened to the queue pair.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum EventKind {
    /// `ib_create_qp_user` or `ib_create_qp_kernel` returned.
    Create,
    /// `ib_modify_qp_with_udata` or `ib_modify_qp` returned.
    Modify,
    /// `ib_destroy_qp_user` returned.
    Destroy,
    /// `ib_query_qp` returned while user space lists the queue pairs: what a connection is that was made before
    /// anyone listened. Who asks is not its owner.
    Query,
    /// A kind that this version does not know.
    Unknown(u8),
}

impl EventKind {
    /// The number in the event.
    pub const fn code(self) -> u8 {
        match self {
            Self::Create => 1,
            Self::Modify => 2,
            Self::Destroy => 3,
            Self::Query => 4,
            Self::Unknown(code) => code,
        }
    }

    const fn from_code(code: u8) -> Self {
        match code {
            1 => Self::Create,
            2 => Self::Modify,
            3 => Self::Destroy,
            4 => Self::Query,
            code => Self::Unknown(code),
        }
    }
}

/// Bits of [`QpEvent::present`]: which optional fields the kernel side could fill.
pub mod present {
    /// `qp_state` is the state asked for.
    pub const STATE: u32 = 1 << 0;
    /// `destination_gid`, `flow_label`, `sgid_index` and `traffic_class` are those of the address vector.
    pub const ADDRESS_VECTOR: u32 = 1 << 1;
    /// `remote_qpn` is set.
    pub const REMOTE_QPN: u32 = 1 << 2;
    /// `source_gid` is set.
    pub const SOURCE_GID: u32 = 1 << 3;
    /// `device` is set.
    pub const DEVICE: u32 = 1 << 4;
    /// A kernel module made the queue pair: `comm` is its name, and `tgid`, `tid` and `cgroup_id` are 0.
    pub const KERNEL: u32 = 1 << 5;
}

/// A change of one queue pair, as it lies in the ring buffer.
#[repr(C)]
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct QpEvent {
    /// [`VERSION`] of the writer.
    pub version: u16,
    /// Bytes of the whole record.
    pub size: u16,
    /// [`EventKind::code`].
    pub kind: u8,
    /// `enum ib_qp_type` of `include/rdma/ib_verbs.h` (2 is RC, 4 is UD).
    pub qp_type: u8,
    /// `enum ib_qp_state` asked for (2 is RTR, 3 is RTS); see [`present::STATE`].
    pub qp_state: u8,
    /// Port of the device, from 1; 0 where not known.
    pub port: u8,
    /// `CLOCK_MONOTONIC` in nanoseconds when the function returned.
    pub time_ns: u64,
    /// Cgroup v2 id of the calling task (the inode of its folder).
    pub cgroup_id: u64,
    /// Process id (thread group).
    pub tgid: u32,
    /// Thread id.
    pub tid: u32,
    /// 24-bit number of the QP.
    pub local_qpn: u32,
    /// 24-bit number of the peer's QP; see [`present::REMOTE_QPN`].
    pub remote_qpn: u32,
    /// Bits of [`present`].
    pub present: u32,
    /// `enum ib_qp_attr_mask` of a modification.
    pub attr_mask: u32,
    /// 20-bit flow label of the address vector; 0 lets the driver choose.
    pub flow_label: u32,
    /// What the function returned: 0 or a negative errno.
    pub return_code: i32,
    /// Index of the source GID in the port's table.
    pub sgid_index: u8,
    /// Traffic class of the address vector.
    pub traffic_class: u8,
    /// Zero.
    pub reserved: [u8; 2],
    /// Moves on when anything was counted (see [`counter`]), and may wrap around.
    pub counted: u32,
    /// Source GID, network order; see [`present::SOURCE_GID`].
    pub source_gid: [u8; 16],
    /// Destination GID, network order; see [`present::ADDRESS_VECTOR`].
    pub destination_gid: [u8; 16],
    /// Name of the calling task, padded with zeros; see [`present::KERNEL`].
    pub comm: [u8; 16],
    /// Name of the device, padded with zeros (`IB_DEVICE_NAME_MAX`).
    pub device: [u8; 64],
}

const _: () = assert!(SIZE == 176 && align_of::<QpEvent>() == 8);

/// Why a record is not an event.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DecodeError {
    /// Fewer bytes than the version's layout has.
    TooShort {
        /// Bytes that are there.
        have: usize,
    },
    /// The record's own size is less than the layout or more than what is there.
    Size {
        /// The size that it claims.
        claimed: u16,
        /// Bytes that are there.
        have: usize,
    },
    /// Written by programs of another version.
    Version(u16),
}

impl core::fmt::Display for DecodeError {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        match self {
            Self::TooShort { have } => {
                write!(f, "eBPF event of {have} bytes, shorter than {SIZE}")
            }
            Self::Size { claimed, have } => {
                write!(f, "eBPF event claims {claimed} bytes, {have} are there")
            }
            Self::Version(version) => write!(
                f,
                "eBPF event of version {version}, this program reads {VERSION}: the object and the agent do not match"
            ),
        }
    }
}

impl core::error::Error for DecodeError {}

impl QpEvent {
    /// An event with nothing filled in but its version and size.
    #[expect(clippy::cast_possible_truncation, reason = "176 fits")]
    pub const fn empty(kind: EventKind) -> Self {
        Self {
            version: VERSION,
            size: SIZE as u16,
            kind: kind.code(),
            qp_type: 0,
            qp_state: 0,
            port: 0,
            time_ns: 0,
            cgroup_id: 0,
            tgid: 0,
            tid: 0,
            local_qpn: 0,
            remote_qpn: 0,
            present: 0,
            attr_mask: 0,
            flow_label: 0,
            return_code: 0,
            sgid_index: 0,
            traffic_class: 0,
            reserved: [0; 2],
            counted: 0,
            source_gid: [0; 16],
            destination_gid: [0; 16],
            comm: [0; 16],
            device: [0; 64],
        }
    }

    /// What happened.
    pub const fn kind(&self) -> EventKind {
        EventKind::from_code(self.kind)
    }

    /// Whether all of these bits of [`present`] are set.
    pub const fn has(&self, bits: u32) -> bool {
        self.present & bits == bits
    }

    /// Reads an event from a ring-buffer record. Records of the same version may be longer: what was appended is
    /// ignored.
    ///
    /// # Errors
    /// [`DecodeError`] for what is not an event of this version.
    pub fn decode(record: &[u8]) -> Result<Self, DecodeError> {
        let have = record.len();
        let short = DecodeError::TooShort { have };
        let version = u16::from_le_bytes(field(record, 0).ok_or(short)?);
        if version != VERSION {
            return Err(DecodeError::Version(version));
        }
        let record: &[u8; SIZE] = record.first_chunk().ok_or(short)?;
        let claimed = u16::from_le_bytes(at(record, 2));
        if usize::from(claimed) < SIZE || usize::from(claimed) > have {
            return Err(DecodeError::Size { claimed, have });
        }
        Ok(Self::read(record, claimed))
    }

    fn read(record: &[u8; SIZE], size: u16) -> Self {
        Self {
            version: VERSION,
            size,
            kind: record[4],
            qp_type: record[5],
            qp_state: record[6],
            port: record[7],
            time_ns: u64::from_le_bytes(at(record, 8)),
            cgroup_id: u64::from_le_bytes(at(record, 16)),
            tgid: u32::from_le_bytes(at(record, 24)),
            tid: u32::from_le_bytes(at(record, 28)),
            local_qpn: u32::from_le_bytes(at(record, 32)),
            remote_qpn: u32::from_le_bytes(at(record, 36)),
            present: u32::from_le_bytes(at(record, 40)),
            attr_mask: u32::from_le_bytes(at(record, 44)),
            flow_label: u32::from_le_bytes(at(record, 48)),
            return_code: i32::from_le_bytes(at(record, 52)),
            sgid_index: record[56],
            traffic_class: record[57],
            reserved: at(record, 58),
            counted: u32::from_le_bytes(at(record, 60)),
            source_gid: at(record, 64),
            destination_gid: at(record, 80),
            comm: at(record, 96),
            device: at(record, 112),
        }
    }

    /// The event as the kernel side leaves it in the ring buffer: for recorded traces and tests.
    pub fn encode(&self) -> [u8; SIZE] {
        let mut record = [0; SIZE];
        let mut put = |offset: usize, bytes: &[u8]| {
            record[offset..offset + bytes.len()].copy_from_slice(bytes);
        };
        put(0, &self.version.to_le_bytes());
        put(2, &self.size.to_le_bytes());
        put(4, &[self.kind, self.qp_type, self.qp_state, self.port]);
        put(8, &self.time_ns.to_le_bytes());
        put(16, &self.cgroup_id.to_le_bytes());
        put(24, &self.tgid.to_le_bytes());
        put(28, &self.tid.to_le_bytes());
        put(32, &self.local_qpn.to_le_bytes());
        put(36, &self.remote_qpn.to_le_bytes());
        put(40, &self.present.to_le_bytes());
        put(44, &self.attr_mask.to_le_bytes());
        put(48, &self.flow_label.to_le_bytes());
        put(52, &self.return_code.to_le_bytes());
        put(56, &[self.sgid_index, self.traffic_class]);
        put(58, &self.reserved);
        put(60, &self.counted.to_le_bytes());
        put(64, &self.source_gid);
        put(80, &self.destination_gid);
        put(96, &self.comm);
        put(112, &self.device);
        record
    }
}

fn field<const N: usize>(record: &[u8], offset: usize) -> Option<[u8; N]> {
    record.get(offset..)?.first_chunk().copied()
}

/// A field at an offset within the layout; the callers' offsets are constants checked by the tests.
fn at<const N: usize>(record: &[u8; SIZE], offset: usize) -> [u8; N] {
    field(record, offset).unwrap_or([0; N])
}

/// Where the fields that the programs read lie in the running kernel's structures, in bytes.
///
/// Rust has no CO-RE: user space finds them in the kernel's BTF and hands them over as one global.
#[repr(C)]
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Offsets {
    /// `ib_device.name`
    pub device_name: u32,
    /// `ib_qp.device`
    pub qp_device: u32,
    /// `ib_qp.qp_num`
    pub qp_number: u32,
    /// `ib_qp.qp_type`
    pub qp_type: u32,
    /// `ib_qp.port`
    pub qp_port: u32,
    /// `ib_qp.av_sgid_attr`
    pub qp_av_sgid_attr: u32,
    /// `ib_qp.real_qp`, the queue pair that several XRC receivers share; 0 where the kernel has none.
    pub qp_real_qp: u32,
    /// `ib_qp.res.kern_name`, the kernel module that made it; 0 where the kernel has none.
    pub qp_kern_name: u32,
    /// `ib_gid_attr.gid`
    pub gid_attr_gid: u32,
    /// `ib_qp_attr.qp_state`
    pub attr_qp_state: u32,
    /// `ib_qp_attr.dest_qp_num`
    pub attr_dest_qp_num: u32,
    /// `ib_qp_attr.port_num`
    pub attr_port_num: u32,
    /// `ib_qp_attr.ah_attr.grh.dgid`
    pub attr_dgid: u32,
    /// `ib_qp_attr.ah_attr.grh.flow_label`
    pub attr_flow_label: u32,
    /// `ib_qp_attr.ah_attr.grh.sgid_index`
    pub attr_sgid_index: u32,
    /// `ib_qp_attr.ah_attr.grh.traffic_class`
    pub attr_traffic_class: u32,
    /// `ib_qp_attr.ah_attr.port_num`
    pub attr_ah_port: u32,
    /// 1 when the others are valid: the programs emit nothing before.
    pub valid: u32,
}

impl Offsets {
    /// As the programs' global lies in memory.
    pub fn encode(&self) -> [u8; size_of::<Self>()] {
        let fields = [
            self.device_name,
            self.qp_device,
            self.qp_number,
            self.qp_type,
            self.qp_port,
            self.qp_av_sgid_attr,
            self.qp_real_qp,
            self.qp_kern_name,
            self.gid_attr_gid,
            self.attr_qp_state,
            self.attr_dest_qp_num,
            self.attr_port_num,
            self.attr_dgid,
            self.attr_flow_label,
            self.attr_sgid_index,
            self.attr_traffic_class,
            self.attr_ah_port,
            self.valid,
        ];
        let mut bytes = [0; size_of::<Self>()];
        for (chunk, field) in bytes.chunks_exact_mut(4).zip(fields) {
            chunk.copy_from_slice(&field.to_le_bytes());
        }
        bytes
    }
}

/// Counters that the programs keep per CPU, by index into their map. All should stay 0.
///
/// User space reads them only if [`QpEvent::counted`] says that they have changed. Reading has a cost: a preemptible
/// kernel may skip programs on a processor that executes a `bpf` system call.
pub mod counter {
    /// Events that did not fit the ring buffer.
    pub const RING_FULL: u32 = 0;
    /// Calls whose arguments could not be kept until the return.
    pub const CALLS_FULL: u32 = 1;
    /// Reads of kernel memory that failed.
    pub const READ_FAILED: u32 = 2;
    /// Returns that were not seen, because too many calls were under way at once for the kernel's return probes.
    pub const RETURN_MISSED: u32 = 3;
    /// Returns of calls that were not kept: forgotten because too many were under way at once, or begun before the programs
    /// were attached.
    pub const CALL_UNKNOWN: u32 = 4;
    /// How many counters there are.
    pub const COUNT: u32 = 5;
}

/// How many calls of a kind are kept until they return, for each processor on which they begin. More are forgotten, the oldest
/// first.
pub mod calls {
    /// Modifications: an RNIC's firmware takes up to milliseconds for one, in which the processor begins others.
    pub const MODIFYING: u32 = 256;
    /// Modifications by kernel modules.
    pub const MODIFYING_IN_KERNEL: u32 = 64;
    /// Destructions.
    pub const DESTROYING: u32 = 64;
    /// Queries while user space lists the queue pairs.
    pub const QUERYING: u32 = 16;
    /// Processors that are provided for. A machine that may have more keeps fewer calls of each.
    const MOST_PROCESSORS: u32 = 1 << 10;

    /// Entries of a map for `each` calls per processor of a machine that may have so many processors.
    pub const fn entries(each: u32, processors: usize) -> u32 {
        let most = MOST_PROCESSORS as usize;
        let processors = if processors > most { most } else { processors };
        #[expect(clippy::cast_possible_truncation, reason = "at most MOST_PROCESSORS")]
        let processors = processors as u32;
        each * if processors == 0 { 1 } else { processors }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sample() -> QpEvent {
        QpEvent {
            qp_type: 2,
            qp_state: 2,
            port: 1,
            time_ns: 0x0102_0304_0506_0708,
            cgroup_id: 0x1112_1314_1516_1718,
            tgid: 0x2122_2324,
            tid: 0x2526_2728,
            local_qpn: 0x0031_3233,
            remote_qpn: 0x0041_4243,
            present: present::STATE | present::ADDRESS_VECTOR,
            attr_mask: 0x0010_0081,
            flow_label: 0x5_1234,
            return_code: -22,
            sgid_index: 3,
            traffic_class: 0x68,
            counted: 0x5152_5354,
            source_gid: [0xa0; 16],
            destination_gid: [0xb0; 16],
            comm: *b"ib_write_bw\0\0\0\0\0",
            device: [b'r'; 64],
            ..QpEvent::empty(EventKind::Modify)
        }
    }

    #[test]
    fn a_record_round_trips() {
        let event = sample();
        assert_eq!(QpEvent::decode(&event.encode()), Ok(event));
    }

    #[test]
    fn the_documented_offsets_are_those_of_the_structure() {
        assert_eq!(core::mem::offset_of!(QpEvent, kind), 4);
        assert_eq!(core::mem::offset_of!(QpEvent, time_ns), 8);
        assert_eq!(core::mem::offset_of!(QpEvent, cgroup_id), 16);
        assert_eq!(core::mem::offset_of!(QpEvent, tgid), 24);
        assert_eq!(core::mem::offset_of!(QpEvent, local_qpn), 32);
        assert_eq!(core::mem::offset_of!(QpEvent, present), 40);
        assert_eq!(core::mem::offset_of!(QpEvent, flow_label), 48);
        assert_eq!(core::mem::offset_of!(QpEvent, return_code), 52);
        assert_eq!(core::mem::offset_of!(QpEvent, sgid_index), 56);
        assert_eq!(core::mem::offset_of!(QpEvent, counted), 60);
        assert_eq!(core::mem::offset_of!(QpEvent, source_gid), 64);
        assert_eq!(core::mem::offset_of!(QpEvent, destination_gid), 80);
        assert_eq!(core::mem::offset_of!(QpEvent, comm), 96);
        assert_eq!(core::mem::offset_of!(QpEvent, device), 112);
    }

    #[test]
    fn longer_records_are_read_and_others_are_refused() {
        let mut longer = [0; SIZE + 8];
        longer[..SIZE].copy_from_slice(&sample().encode());
        longer[2] += 8;
        assert_eq!(
            QpEvent::decode(&longer).map(|event| event.tgid),
            Ok(0x2122_2324)
        );
        assert_eq!(QpEvent::decode(&[]), Err(DecodeError::TooShort { have: 0 }));
        assert_eq!(
            QpEvent::decode(&sample().encode()[..SIZE - 1]),
            Err(DecodeError::TooShort { have: SIZE - 1 })
        );
        let mut newer = sample().encode();
        newer[0] = 9;
        assert_eq!(QpEvent::decode(&newer), Err(DecodeError::Version(9)));
        let mut lying = sample().encode();
        lying[2] = 177;
        assert_eq!(
            QpEvent::decode(&lying),
            Err(DecodeError::Size {
                claimed: 177,
                have: SIZE
            })
        );
    }

    #[test]
    fn offsets_are_encoded_in_the_order_of_the_structure() {
        let offsets = Offsets {
            device_name: 0x0102,
            qp_device: 3,
            qp_kern_name: 5,
            attr_ah_port: 4,
            valid: 1,
            ..Offsets::default()
        };
        let bytes = offsets.encode();
        let at = |offset: usize| u32::from_le_bytes(field(&bytes, offset).unwrap());
        assert_eq!(at(core::mem::offset_of!(Offsets, device_name)), 0x0102);
        assert_eq!(at(core::mem::offset_of!(Offsets, qp_device)), 3);
        assert_eq!(at(core::mem::offset_of!(Offsets, qp_kern_name)), 5);
        assert_eq!(at(core::mem::offset_of!(Offsets, attr_ah_port)), 4);
        assert_eq!(at(core::mem::offset_of!(Offsets, valid)), 1);
        assert_eq!(bytes.len(), 72);
    }

    #[test]
    fn maps_of_calls_grow_with_the_processors() {
        assert_eq!(calls::entries(calls::MODIFYING, 1), 256);
        assert_eq!(calls::entries(calls::MODIFYING, 256), 65_536);
        assert_eq!(calls::entries(calls::DESTROYING, 0), 64);
        assert_eq!(calls::entries(calls::QUERYING, usize::MAX), 16 << 10);
    }

    #[test]
    fn unknown_kinds_are_values() {
        let mut event = sample();
        event.kind = 77;
        assert_eq!(event.kind(), EventKind::Unknown(77));
    }
}
