use proptest::prelude::*;

use super::*;

/// Messages as the kernel makes them.
#[derive(Default)]
struct Builder(Vec<u8>);

impl Builder {
    fn attribute(mut self, kind: u16, payload: &[u8]) -> Self {
        let length = u16::try_from(ATTRIBUTE_HEADER + payload.len()).expect("short");
        self.0.extend(length.to_ne_bytes());
        self.0.extend(kind.to_ne_bytes());
        self.0.extend(payload);
        self.0.resize(self.0.len().next_multiple_of(4), 0);
        self
    }

    fn number(self, kind: u16, number: u32) -> Self {
        self.attribute(kind, &number.to_ne_bytes())
    }

    fn message(self, kind: u16, sequence: u32) -> Vec<u8> {
        let mut bytes = Vec::new();
        let length = u32::try_from(HEADER + self.0.len()).expect("short");
        bytes.extend(length.to_ne_bytes());
        bytes.extend(kind.to_ne_bytes());
        bytes.extend(2u16.to_ne_bytes());
        bytes.extend(sequence.to_ne_bytes());
        bytes.extend(4242u32.to_ne_bytes());
        bytes.extend(self.0);
        bytes
    }
}

fn ended(error: i32, kind: u16, sequence: u32) -> Vec<u8> {
    let mut builder = Builder::default();
    builder.0.extend(error.to_ne_bytes());
    builder.message(kind, sequence)
}

/// An RC connection in the order in which `fill_res_qp_entry` puts its attributes.
fn connection() -> Builder {
    Builder::default()
        .number(PORT_INDEX, 1)
        .number(REMOTE_QPN, 0x31)
        .number(23, 0x00ab_cdef)
        .number(24, 0x0012_3456)
        .attribute(25, &[0])
        .attribute(TYPE, &[2])
        .attribute(STATE, &[3])
        .number(PID, 4242)
        .number(LOCAL_QPN, 0x11)
}

fn of_kernel() -> Builder {
    Builder::default()
        .attribute(TYPE, &[1])
        .attribute(STATE, &[3])
        .attribute(KERNEL_NAME, b"ib_core\0")
        .number(LOCAL_QPN, 1)
}

fn table(entries: Vec<Builder>) -> Builder {
    table_of(QUEUE_PAIRS, entries)
}

fn table_of(kind: Table, entries: Vec<Builder>) -> Builder {
    let mut nested = Builder::default();
    for entry in entries {
        nested = nested.attribute(kind.entry | 0x8000, &entry.0);
    }
    Builder::default()
        .number(DEVICE_INDEX, 0)
        .attribute(DEVICE_NAME, b"rxe0\0")
        .attribute(kind.whole | 0x8000, &nested.0)
}

#[test]
fn requests_are_as_the_header_file_says() {
    let bytes = ask_queue_pairs(7, 3);
    assert_eq!(bytes.len(), 24);
    let expected: Vec<u8> = [
        &24u32.to_ne_bytes()[..],
        &5130u16.to_ne_bytes(),
        &0x301u16.to_ne_bytes(),
        &7u32.to_ne_bytes(),
        &0u32.to_ne_bytes(),
        &8u16.to_ne_bytes(),
        &1u16.to_ne_bytes(),
        &3u32.to_ne_bytes(),
    ]
    .concat();
    assert_eq!(bytes, expected);
    assert_eq!(ask_devices(1)[4..6], 5121u16.to_ne_bytes());
}

#[test]
fn queue_pairs_are_read_from_several_messages() {
    let datagram = [
        table(vec![of_kernel()]).message(GET_QUEUE_PAIRS, 7),
        table(vec![connection(), connection()]).message(GET_QUEUE_PAIRS, 7),
        ended(0, NLMSG_DONE, 7),
    ]
    .concat();
    let part = queue_pairs(&datagram, 7).expect("sound");
    assert!(part.last);
    assert_eq!((part.items.len(), part.odd), (3, 0));
    assert_eq!(
        part.items[0],
        QueuePair {
            qpn: Qpn::new(1).expect("small"),
            qp_type: QpType::Unknown(1),
            state: QpState::Rts,
            port: None,
            remote_qpn: None,
            pid: None,
            kernel: Some("ib_core".to_owned()),
        }
    );
    assert_eq!(
        part.items[1],
        QueuePair {
            qpn: Qpn::new(0x11).expect("small"),
            qp_type: QpType::Rc,
            state: QpState::Rts,
            port: Some(1),
            remote_qpn: Qpn::new(0x31),
            pid: Some(4242),
            kernel: None,
        }
    );
}

/// An endpoint of a kernel module, one of a process, and one that listens, as `fill_res_cm_id_entry` makes them.
#[test]
fn cm_ids_tell_whose_a_queue_pair_is() {
    let of_module = Builder::default()
        .number(LOCAL_QPN, 0x11)
        .attribute(TYPE, &[2])
        .number(32, 0x106)
        .attribute(STATE, &[12])
        .attribute(KERNEL_NAME, b"nvme_rdma\0");
    let of_process = Builder::default().number(LOCAL_QPN, 0x12).number(PID, 7);
    let listens = Builder::default().attribute(KERNEL_NAME, b"nvmet_rdma\0");
    let entries = vec![of_module, of_process, listens];
    let datagram = [
        table_of(CM_IDS, entries).message(GET_CM_IDS, 7),
        ended(0, NLMSG_DONE, 7),
    ]
    .concat();
    let part = cm_ids(&datagram, 7).expect("sound");
    let of = |qpn, kernel: Option<&str>| CmId {
        qpn: Qpn::new(qpn).expect("small"),
        kernel: kernel.map(str::to_owned),
    };
    assert_eq!(part.items, [of(0x11, Some("nvme_rdma")), of(0x12, None)]);
    assert_eq!((part.last, part.odd), (true, 0));
    assert_eq!(queue_pairs(&datagram, 7).expect("sound").items, []);
    assert_eq!(ask_cm_ids(1, 0)[4..6], 5131u16.to_ne_bytes());
}

#[test]
fn devices_are_read() {
    let datagram = Builder::default()
        .number(DEVICE_INDEX, 2)
        .attribute(DEVICE_NAME, b"mlx5_0\0")
        .number(PORT_INDEX, 1)
        .message(GET_DEVICES, 1);
    let part = devices(&datagram, 1).expect("sound");
    assert!(!part.last);
    assert_eq!(
        part.items,
        [Device {
            index: 2,
            name: "mlx5_0".into()
        }]
    );
}

#[test]
fn answers_to_other_requests_are_passed_over() {
    let datagram = [
        table(vec![connection()]).message(GET_QUEUE_PAIRS, 6),
        ended(-16, NLMSG_ERROR, 6),
        table(vec![connection()]).message(GET_DEVICES, 7),
    ]
    .concat();
    let part = queue_pairs(&datagram, 7).expect("sound");
    assert_eq!((part.items.len(), part.last), (0, false));
}

#[test]
fn refusals_carry_the_error_number() {
    for kind in [NLMSG_ERROR, NLMSG_DONE] {
        assert_eq!(
            queue_pairs(&ended(-19, kind, 7), 7),
            Err(NetlinkError::Refused(19))
        );
    }
    let acknowledged = queue_pairs(&ended(0, NLMSG_ERROR, 7), 7).expect("an acknowledgement");
    assert!(acknowledged.last);
    let least = queue_pairs(&ended(i32::MIN, NLMSG_ERROR, 7), 7);
    assert_eq!(least, Err(NetlinkError::Refused(i32::MAX)));
}

#[test]
fn entries_without_what_identifies_them_are_counted() {
    let nameless = Builder::default().attribute(TYPE, &[2]);
    let wide = Builder::default()
        .number(LOCAL_QPN, 1 << 24)
        .attribute(TYPE, &[2])
        .attribute(STATE, &[2]);
    let empty_value = connection().attribute(STATE, &[]);
    let datagram =
        table(vec![nameless, wide, empty_value, connection()]).message(GET_QUEUE_PAIRS, 7);
    let part = queue_pairs(&datagram, 7).expect("sound");
    assert_eq!((part.items.len(), part.odd), (1, 3));
}

#[test]
fn damage_is_named_with_its_place() {
    let sound = table(vec![connection()]).message(GET_QUEUE_PAIRS, 7);
    assert_eq!(
        queue_pairs(&sound[..10], 7),
        Err(NetlinkError::Damaged {
            what: "message header is cut off",
            at: 0,
            length: 10
        })
    );
    assert_eq!(
        queue_pairs(&sound[..sound.len() - 1], 7),
        Err(NetlinkError::Damaged {
            what: "message length does not fit",
            at: 0,
            length: sound.len() - 1
        })
    );
    let mut crooked = sound.clone();
    crooked[HEADER] = 3;
    crooked[HEADER + 1] = 0;
    if cfg!(target_endian = "big") {
        crooked[HEADER..HEADER + 2].copy_from_slice(&3u16.to_be_bytes());
    }
    assert_eq!(
        queue_pairs(&crooked, 7),
        Err(NetlinkError::Damaged {
            what: "attribute length does not fit",
            at: HEADER,
            length: sound.len()
        })
    );
}

proptest! {
    #[test]
    fn no_bytes_panic(bytes in proptest::collection::vec(any::<u8>(), 0..600), sequence in 0u32..3) {
        let _ = devices(&bytes, sequence);
        let _ = queue_pairs(&bytes, sequence);
        let _ = cm_ids(&bytes, sequence);
    }

    /// Any one byte of a sound answer may be another.
    #[test]
    fn no_damage_panics(at in 0usize..400, byte in any::<u8>(), length in 0usize..400) {
        let mut datagram = [
            table(vec![of_kernel(), connection()]).message(GET_QUEUE_PAIRS, 7),
            ended(0, NLMSG_DONE, 7),
        ]
        .concat();
        let index = at % datagram.len();
        datagram[index] = byte;
        datagram.truncate(length.max(1));
        let _ = queue_pairs(&datagram, 7);
        let _ = devices(&datagram, 7);
    }
}
