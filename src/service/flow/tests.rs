mod order;

use proptest::prelude::*;
use rpingmesh_ebpf_event::present;

use super::*;
use crate::id::{Gid, UdpSourcePort};
use crate::service::trace::Listing;

const RESET: u8 = 0;
const INIT: u8 = 1;
const RTR: u8 = 2;
const RTS: u8 = 3;
const ERR: u8 = 6;

fn padded<const N: usize>(name: &str) -> [u8; N] {
    let mut bytes = [0; N];
    bytes[..name.len()].copy_from_slice(name.as_bytes());
    bytes
}

fn event(kind: EventKind, qpn: u32, time: u64) -> QpEvent {
    QpEvent {
        qp_type: 2,
        port: 1,
        time_ns: time,
        cgroup_id: 77,
        tgid: 4242,
        tid: 4243,
        local_qpn: qpn,
        present: present::DEVICE,
        comm: padded("ib_write_bw"),
        device: padded("rxe0"),
        ..QpEvent::empty(kind)
    }
}

fn state(qpn: u32, time: u64, state: u8) -> QpEvent {
    let mut event = event(EventKind::Modify, qpn, time);
    event.qp_state = state;
    event.present |= present::STATE;
    event
}

fn rtr(qpn: u32, time: u64) -> QpEvent {
    let mut event = state(qpn, time, RTR);
    event.present |= present::ADDRESS_VECTOR | present::REMOTE_QPN | present::SOURCE_GID;
    event.remote_qpn = 0x31;
    event.destination_gid = "10.0.0.2".parse::<Gid>().expect("GID").bytes();
    event.source_gid = "10.0.0.1".parse::<Gid>().expect("GID").bytes();
    event.flow_label = 0x12345;
    event
}

fn key(qpn: u32) -> QpKey {
    QpKey {
        device: "rxe0".into(),
        qpn: Qpn::new(qpn).expect("24 bits"),
    }
}

fn names(table: &mut FlowTable) -> Vec<String> {
    table
        .drain_changes()
        .map(|change| match change {
            FlowChange::Live(flow) => format!(
                "live {} -> {}",
                flow.key.qpn,
                flow.route
                    .map_or_else(String::new, |route| route.destination.to_string())
            ),
            FlowChange::Ended(key) => format!("ended {}", key.qpn),
        })
        .collect()
}

fn apply(table: &mut FlowTable, events: &[QpEvent]) {
    for event in events {
        table.apply(event, None);
    }
}

#[test]
fn a_connection_lives_from_rtr_to_destroy() {
    let mut table = FlowTable::new(16);
    apply(
        &mut table,
        &[
            event(EventKind::Create, 5, 10),
            state(5, 20, INIT),
            rtr(5, 30),
            state(5, 40, RTS),
        ],
    );
    let flow = table.get(&key(5)).expect("known").clone();
    assert!(flow.is_live());
    assert_eq!(flow.origin, Origin::Created);
    assert_eq!(flow.source_port(), Some(UdpSourcePort(0xe341)));
    assert_eq!(
        flow.owner.as_ref().map(|owner| (owner.pid, &*owner.comm)),
        Some((4242, "ib_write_bw"))
    );
    table.apply(&event(EventKind::Destroy, 5, 50), None);
    assert_eq!(
        names(&mut table),
        [
            "live 0x000005 -> 10.0.0.2",
            "live 0x000005 -> 10.0.0.2",
            "ended 0x000005"
        ]
    );
    assert_eq!(table.flows().count(), 0);
}

#[test]
fn a_flow_label_of_zero_follows_the_qpns() {
    let mut table = FlowTable::new(16);
    let mut connected = rtr(0x11, 30);
    connected.flow_label = 0;
    table.apply(&connected, None);
    // 0x11 * 0x31 = 0x341, folded.
    assert_eq!(
        table.get(&key(0x11)).and_then(Flow::source_port),
        Some(UdpSourcePort(0xc341))
    );
}

#[test]
fn order_of_arrival_does_not_matter() {
    let events = [
        event(EventKind::Create, 5, 10),
        state(5, 20, INIT),
        rtr(5, 30),
        state(5, 40, RTS),
    ];
    for order in [[3, 2, 1, 0], [2, 0, 3, 1], [1, 3, 0, 2], [0, 1, 2, 3]] {
        let mut table = FlowTable::new(16);
        for index in order {
            table.apply(&events[index], None);
        }
        let flow = table.get(&key(5)).expect("known");
        assert_eq!(flow.state, Some(QpState::Rts), "{order:?}");
        assert_eq!(flow.origin, Origin::Created, "{order:?}");
        assert!(flow.is_live(), "{order:?}");
    }
}

#[test]
fn a_destroy_that_overtakes_leaves_nothing_behind() {
    let mut table = FlowTable::new(16);
    apply(
        &mut table,
        &[
            event(EventKind::Destroy, 5, 50),
            event(EventKind::Create, 5, 10),
            rtr(5, 30),
        ],
    );
    assert_eq!(table.flows().count(), 0);
    assert_eq!(table.counters().stale, 2);
    assert!(names(&mut table).is_empty());
}

#[test]
fn a_number_used_again_is_another_life() {
    let mut table = FlowTable::new(16);
    apply(
        &mut table,
        &[
            event(EventKind::Create, 5, 10),
            rtr(5, 30),
            event(EventKind::Create, 5, 100),
        ],
    );
    assert_eq!(table.get(&key(5)).map(|flow| flow.state), Some(None));
    // A late destroy of the first life does not end the second.
    table.apply(&event(EventKind::Destroy, 5, 50), None);
    assert!(table.get(&key(5)).is_some());
    table.apply(&rtr(5, 40), None);
    assert!(
        !table.get(&key(5)).is_some_and(Flow::is_live),
        "an event of the first life"
    );
    table.apply(&rtr(5, 110), None);
    assert_eq!(
        names(&mut table),
        [
            "live 0x000005 -> 10.0.0.2",
            "ended 0x000005",
            "live 0x000005 -> 10.0.0.2"
        ]
    );
}

#[test]
fn errors_and_resets_end_a_connection() {
    for end in [RESET, ERR] {
        let mut table = FlowTable::new(16);
        apply(
            &mut table,
            &[
                event(EventKind::Create, 5, 10),
                rtr(5, 30),
                state(5, 40, end),
            ],
        );
        assert_eq!(
            names(&mut table),
            ["live 0x000005 -> 10.0.0.2", "ended 0x000005"]
        );
    }
}

#[test]
fn failed_calls_and_odd_events_change_nothing() {
    let mut table = FlowTable::new(16);
    let mut failed = rtr(5, 30);
    failed.return_code = -22;
    let mut nameless = rtr(5, 30);
    nameless.device = [0; 64];
    let mut unknown = rtr(5, 30);
    unknown.kind = 200;
    let mut wide = rtr(5, 30);
    wide.local_qpn = 1 << 24;
    apply(&mut table, &[failed, nameless, unknown, wide]);
    assert_eq!(table.flows().count(), 0);
    assert_eq!(
        (table.counters().failed_calls, table.counters().odd),
        (1, 3)
    );
}

fn listed(qpn: u32) -> ListedQp {
    ListedQp {
        key: key(qpn),
        qp_type: QpType::Rc,
        port: Some(1),
        state: QpState::Rts,
        remote_qpn: Qpn::new(0x31),
        owner: Some(Owner {
            is_kernel: false,
            pid: 99,
            comm: "old".to_owned(),
            cgroup_id: None,
            cgroup: None,
            variables: Variables::default(),
        }),
    }
}

#[test]
fn a_listing_fills_gaps_and_yields_to_newer_events() {
    let mut table = FlowTable::new(16);
    apply(
        &mut table,
        &[
            rtr(5, 2_000),
            event(EventKind::Destroy, 6, 2_000),
            event(EventKind::Create, 8, 10),
        ],
    );
    table.merge_listing(
        &[listed(5), listed(6), listed(7)],
        HostTime::from_nanos(1_000),
        true,
    );
    assert!(table.get(&key(5)).is_some_and(Flow::is_live));
    assert_eq!(
        table.get(&key(5)).and_then(|flow| flow.state),
        Some(QpState::Rtr),
        "the event is newer"
    );
    assert_eq!(
        table.get(&key(6)),
        None,
        "destroyed while the listing was made"
    );
    let old = table.get(&key(7)).expect("listed");
    assert_eq!(
        (old.origin, old.state),
        (Origin::Listed, Some(QpState::Rts))
    );
    assert!(!old.is_live(), "its destination is not known");
    assert_eq!(
        table.get(&key(8)),
        None,
        "created before the listing and not on it"
    );
}

#[test]
fn an_incomplete_listing_ends_nothing() {
    let mut table = FlowTable::new(16);
    apply(&mut table, &[rtr(8, 10)]);
    table.merge_listing(&[listed(7)], HostTime::from_nanos(1_000), false);
    assert!(table.get(&key(8)).is_some_and(Flow::is_live));
}

#[test]
fn a_listing_says_nothing_of_devices_that_it_does_not_show() {
    let mut table = FlowTable::new(16);
    let mut hidden = rtr(8, 10);
    hidden.device = padded("mlx5_0");
    apply(&mut table, &[hidden, rtr(9, 10)]);
    table.merge_listing(&[listed(7)], HostTime::from_nanos(1_000), true);
    let keys: Vec<_> = names(&mut table);
    assert_eq!(table.flows().count(), 2, "{keys:?}");
    assert_eq!(table.get(&key(9)), None);
    table.merge_listing(&[], HostTime::from_nanos(2_000), true);
    assert_eq!(table.flows().count(), 0, "no device is left");
}

/// What `ib_query_qp` says of a connected QP while the tracer lists.
fn queried(qpn: u32, time: u64) -> QpEvent {
    QpEvent {
        tgid: 1,
        comm: padded("rpingmesh-agent"),
        kind: EventKind::Query.code(),
        ..rtr(qpn, time)
    }
}

#[test]
fn a_query_completes_a_listed_connection_in_either_order_and_owns_nothing() {
    let listing = TraceMessage::Listing(Listing {
        qps: vec![listed(7)],
        taken_from: HostTime::from_nanos(1_000),
        complete: true,
        events: Vec::new(),
    });
    let query = TraceMessage::Event(TracedEvent {
        event: queried(7, 1_500),
        cgroup: Some("/agent".into()),
        variables: Variables::default(),
    });
    for order in [[&listing, &query], [&query, &listing]] {
        let mut table = FlowTable::new(16);
        for message in order {
            table.take(message);
        }
        let flow = table.get(&key(7)).expect("listed");
        assert!(flow.is_live());
        assert_eq!(flow.origin, Origin::Listed);
        assert_eq!(
            flow.source.map(|gid| gid.to_string()),
            Some("10.0.0.1".to_owned())
        );
        let owner = flow.owner.as_ref().expect("listed with its owner");
        assert_eq!((owner.pid, owner.comm.as_str()), (99, "old"));
    }
}

/// No path is probed for an unknown service, not even once.
#[test]
fn a_connection_from_before_goes_live_with_its_owner() {
    let mut table = FlowTable::new(16);
    table.take(&TraceMessage::Listing(Listing {
        qps: vec![listed(7)],
        taken_from: HostTime::from_nanos(1_000),
        complete: true,
        events: vec![TracedEvent {
            event: queried(7, 1_500),
            cgroup: None,
            variables: Variables::default(),
        }],
    }));
    let changes: Vec<_> = table.drain_changes().collect();
    let [FlowChange::Live(flow)] = &changes[..] else {
        panic!("live once: {changes:?}");
    };
    assert_eq!(flow.owner.as_ref().map(|owner| owner.pid), Some(99));
}

#[test]
fn the_cgroup_of_the_creator_names_the_service() {
    let mut table = FlowTable::new(16);
    let creation = event(EventKind::Create, 5, 10);
    table.apply(&creation, Some(&"/system.slice/train.service".into()));
    let mut other = rtr(5, 20);
    other.tgid = 1;
    table.apply(&other, Some(&"/init.scope".into()));
    let owner = table
        .get(&key(5))
        .and_then(|flow| flow.owner.clone())
        .expect("owner");
    assert_eq!(
        (owner.pid, owner.service().to_string()),
        (4242, "train.service".to_owned())
    );
}

#[test]
fn a_cgroup_that_was_gone_is_filled_in_when_it_is_known() {
    let mut table = FlowTable::new(16);
    table.apply(&event(EventKind::Create, 5, 10), None);
    table.apply(&rtr(5, 20), Some(&"/job".into()));
    let owner = table
        .get(&key(5))
        .and_then(|flow| flow.owner.clone())
        .expect("owner");
    assert_eq!(owner.service().to_string(), "cgroup/job");
}

#[test]
fn the_table_is_bounded_and_keeps_connections_first() {
    let mut table = FlowTable::new(3);
    apply(
        &mut table,
        &[
            rtr(1, 10),
            event(EventKind::Create, 2, 20),
            rtr(3, 30),
            event(EventKind::Create, 4, 40),
        ],
    );
    assert_eq!(table.counters().evicted, 1);
    assert_eq!(table.get(&key(2)), None);
    assert!(table.get(&key(1)).is_some() && table.get(&key(4)).is_some());
}

/// When a process dies, the kernel destroys its QPs; when it hands them on to a child they live on. So not the process
/// decides but what the kernel tells: destructions, whoever carries them out, or a listing where these were lost.
#[test]
fn the_qps_of_a_process_that_died_end_when_the_kernel_destroys_them() {
    let mut table = FlowTable::new(16);
    apply(&mut table, &[rtr(1, 10), rtr(2, 20), rtr(3, 30)]);
    names(&mut table);
    let by_kernel = QpEvent {
        tgid: 2,
        comm: padded("kworker/0:1"),
        ..event(EventKind::Destroy, 1, 40)
    };
    apply(&mut table, &[by_kernel]);
    assert_eq!(table.get(&key(1)), None);
    // The event for 2 was lost.
    table.merge_listing(&[listed(3)], HostTime::from_nanos(50), true);
    assert_eq!(table.get(&key(2)), None);
    assert!(table.get(&key(3)).is_some_and(Flow::is_live));
    // The listing names another owner of 3, which is told too.
    let mut told = names(&mut table);
    told.retain(|name| name.starts_with("ended"));
    assert_eq!(told.len(), 2, "{told:?}");
}

proptest! {
    /// Whatever the order, the table stays bounded, its order index is consistent, and every QP told live either
    /// still is or was told ended.
    #[test]
    fn changes_tell_the_truth(
        steps in proptest::collection::vec((0u8..5, 1u32..6, 0u64..200, 0u8..8), 0..200)
    ) {
        let mut table = FlowTable::new(4);
        let mut live = HashSet::new();
        for (what, qpn, time, to) in steps {
            match what {
                0 => table.apply(&event(EventKind::Create, qpn, time), None),
                1 => table.apply(&state(qpn, time, to), None),
                2 => table.apply(&rtr(qpn, time), None),
                3 => table.apply(&event(EventKind::Destroy, qpn, time), None),
                _ => table.merge_listing(&[listed(qpn)], HostTime::from_nanos(i64::try_from(time).expect("small")), true),
            }
            for change in table.drain_changes() {
                match change {
                    FlowChange::Live(flow) => { live.insert(flow.key); }
                    FlowChange::Ended(key) => prop_assert!(live.remove(&key)),
                }
            }
            let truth: HashSet<_> =
                table.flows().filter(|flow| flow.is_live()).map(|flow| flow.key.clone()).collect();
            prop_assert_eq!(&live, &truth);
            prop_assert!(table.entries.len() <= 4 && table.order.len() == table.entries.len());
        }
    }
}

#[test]
fn what_a_complete_listing_does_not_name_is_over() {
    let mut table = FlowTable::new(16);
    table.merge_listing(&[listed(7)], HostTime::from_nanos(1_000), true);
    apply(
        &mut table,
        &[event(EventKind::Create, 5, 900), rtr(5, 950), rtr(7, 950)],
    );
    assert_eq!(table.get(&key(5)), None, "its destruction was lost");
    assert!(
        table.get(&key(7)).is_some_and(Flow::is_live),
        "late events complete what is listed"
    );
    apply(
        &mut table,
        &[event(EventKind::Create, 5, 1_100), rtr(5, 1_200)],
    );
    assert!(table.get(&key(5)).is_some_and(Flow::is_live));
}

#[test]
fn a_listing_and_events_of_the_same_qp_are_one_flow() {
    let mut table = FlowTable::new(16);
    for begin in [1_000, 2_000] {
        table.merge_listing(&[listed(7)], HostTime::from_nanos(begin), true);
    }
    let flow = table.get(&key(7)).expect("listed");
    assert_eq!(
        flow.missing(),
        [Missing::SourceGid, Missing::DestinationGid]
    );
    assert!(!flow.is_live());
    let mut query = rtr(7, 2_100);
    query.kind = EventKind::Query.code();
    query.qp_state = RTS;
    table.apply(&query, None);
    let flow = table.get(&key(7)).expect("listed");
    assert_eq!(table.flows().count(), 1);
    assert!(flow.is_live() && flow.missing().is_empty());
    assert_eq!(flow.owner.as_ref().map(|owner| owner.pid), Some(99));
    assert_eq!(names(&mut table), ["live 0x000007 -> 10.0.0.2"]);
}

#[test]
fn live_connections_that_make_room_are_counted_apart() {
    let mut table = FlowTable::new(2);
    apply(&mut table, &[rtr(1, 10), rtr(2, 20), rtr(3, 30)]);
    let counters = table.counters();
    assert_eq!((counters.evicted, counters.evicted_live), (1, 1));
    assert_eq!(table.get(&key(1)), None, "silent longest");
    assert_eq!(
        names(&mut table).last().map(String::as_str),
        Some("live 0x000003 -> 10.0.0.2")
    );
}

#[test]
fn tombstones_are_bounded_and_expire() {
    let mut table = FlowTable::new(4);
    let second = 1_000_000_000;
    for qpn in 1..=10 {
        table.apply(
            &event(EventKind::Destroy, qpn, second + u64::from(qpn)),
            None,
        );
    }
    assert_eq!((table.tombstones.len(), table.burials.len()), (4, 4));
    assert_eq!(table.counters().tombstones_dropped, 6);
    table.apply(&event(EventKind::Destroy, 20, 10 * second), None);
    assert_eq!((table.tombstones.len(), table.burials.len()), (1, 1));
    assert_eq!(
        table.counters().tombstones_dropped,
        6,
        "these were old enough"
    );
}

#[test]
fn clearing_ends_every_connection() {
    let mut table = FlowTable::new(16);
    apply(&mut table, &[rtr(1, 10), event(EventKind::Create, 2, 20)]);
    table.clear();
    assert_eq!(table.flows().count(), 0);
    assert_eq!(
        names(&mut table),
        ["live 0x000001 -> 10.0.0.2", "ended 0x000001"]
    );
}

/// The connection manager makes a queue pair for a kernel module, whose name comes when it connects. A worker of the kernel's that
/// makes the calls is nobody's service.
#[test]
fn connections_of_kernel_modules_go_by_the_module() {
    let of_module = |mut event: QpEvent, module: &str| {
        (event.tgid, event.tid, event.cgroup_id) = (0, 0, 0);
        event.present |= present::KERNEL;
        event.comm = padded(module);
        event
    };
    let mut table = FlowTable::new(16);
    apply(
        &mut table,
        &[
            of_module(event(EventKind::Create, 5, 10), "rdma_cm"),
            of_module(rtr(5, 30), "nvme_rdma"),
        ],
    );
    let flow = table.get(&key(5)).expect("known");
    assert!(flow.is_live() && flow.missing().is_empty());
    let owner = flow.owner.as_ref().expect("known");
    assert_eq!(*owner, Owner::module("nvme_rdma"));
    assert_eq!(owner.service().to_string(), "kernel/nvme_rdma");
    // A listing from before tells the same.
    let listed = ListedQp {
        key: key(6),
        qp_type: QpType::Rc,
        port: Some(1),
        state: QpState::Rts,
        remote_qpn: Qpn::new(7),
        owner: Some(Owner::module("ib_isert")),
    };
    table.merge_listing(&[listed], HostTime::from_nanos(40), false);
    let owner = table.get(&key(6)).and_then(|flow| flow.owner.clone());
    assert_eq!(owner, Some(Owner::module("ib_isert")));
}

/// Whatever has one peer is a connection; a driver's own types (DC) and datagrams are none.
#[test]
fn connections_of_all_types_with_one_peer_are_live() {
    let live: Vec<u8> = (0..=u8::MAX)
        .filter(|qp_type| {
            let mut table = FlowTable::new(16);
            let connect = QpEvent {
                qp_type: *qp_type,
                ..rtr(5, 30)
            };
            apply(&mut table, &[connect]);
            table.get(&key(5)).is_some_and(Flow::is_live)
        })
        .collect();
    // RC, UC, and both ends of XRC: enum ib_qp_type of Linux include/rdma/ib_verbs.h.
    assert_eq!(live, [2, 3, 9, 10]);
}

/// A listing tells whose a queue pair of the connection manager is; a later event of its state does not.
#[test]
fn the_connection_managers_name_does_not_replace_the_modules() {
    let listed = ListedQp {
        key: key(5),
        qp_type: QpType::Rc,
        port: Some(1),
        state: QpState::Rtr,
        remote_qpn: Qpn::new(7),
        owner: Some(Owner::module("nvme_rdma")),
    };
    let mut table = FlowTable::new(16);
    table.merge_listing(&[listed], HostTime::from_nanos(40), false);
    let mut sends = state(5, 50, RTS);
    (sends.tgid, sends.cgroup_id) = (0, 0);
    sends.present |= present::KERNEL;
    sends.comm = padded("rdma_cm");
    apply(&mut table, &[sends]);
    let owner = table.get(&key(5)).and_then(|flow| flow.owner.clone());
    assert_eq!(owner, Some(Owner::module("nvme_rdma")));
}

/// Kernels before 5.13 do not list XRC: that they are not listed there does not end them.
#[test]
fn a_listing_without_xrc_ends_no_xrc() {
    let connected = |qpn, qp_type| QpEvent {
        qp_type,
        ..rtr(qpn, 30)
    };
    let listed = |qp_type| ListedQp {
        key: key(8),
        qp_type,
        port: Some(1),
        state: QpState::Rts,
        remote_qpn: None,
        owner: None,
    };
    let left = |qp_type| {
        let mut table = FlowTable::new(16);
        apply(&mut table, &[connected(5, 2), connected(6, 9)]);
        table.merge_listing(&[listed(qp_type)], HostTime::from_nanos(40), true);
        [5, 6].map(|qpn| table.get(&key(qpn)).is_some())
    };
    assert_eq!(left(QpType::Rc), [false, true]);
    assert_eq!(left(QpType::XrcTarget), [false, false]);
}
