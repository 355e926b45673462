//! What must not depend on the order in which events arrive.

use proptest::prelude::*;
use rpingmesh_ebpf_event::{EventKind, QpEvent};

use super::{apply, event, key, rtr, state};
use crate::service::flow::{FlowChange, FlowTable, Origin};

/// Some of the events of several lives of one number, at different times, by different processes.
fn histories() -> impl Strategy<Value = (Vec<QpEvent>, Vec<QpEvent>)> {
    let what = prop_oneof![
        2 => Just(0_u8),
        2 => Just(1),
        3 => Just(2),
        2 => Just(3),
        1 => Just(4),
    ];
    proptest::collection::vec((what, 0_u8..7, 1_u32..4), 1..12).prop_flat_map(|steps| {
        let events: Vec<QpEvent> = (1..)
            .zip(steps)
            .map(|(order, (what, to, process))| {
                let time = order * 10;
                let mut event = match what {
                    0 => event(EventKind::Create, 5, time),
                    1 => state(5, time, to),
                    2 => rtr(5, time),
                    3 => event(EventKind::Destroy, 5, time),
                    _ => QpEvent {
                        kind: EventKind::Query.code(),
                        ..rtr(5, time)
                    },
                };
                event.tgid = process;
                event.flow_label = u32::try_from(time).expect("small");
                event
            })
            .collect();
        (Just(events.clone()), Just(events).prop_shuffle())
    })
}

/// What must not depend on the order of arrival.
fn essence(table: &FlowTable) -> Option<impl PartialEq + std::fmt::Debug + use<>> {
    let flow = table.get(&key(5))?;
    let since = (flow.origin == Origin::Created).then_some(flow.since);
    Some((
        (flow.qp_type, flow.port, flow.state, flow.remote_qpn),
        (flow.source, flow.route, flow.owner.clone(), since),
    ))
}

proptest! {
    /// Reuse, lost events and every order of arrival: what is known in the end is what happened last.
    #[test]
    fn the_order_of_arrival_does_not_decide((in_order, shuffled) in histories()) {
        let mut first = FlowTable::new(16);
        let mut second = FlowTable::new(16);
        apply(&mut first, &in_order);
        apply(&mut second, &shuffled);
        prop_assert_eq!(essence(&first), essence(&second), "{:#?}", shuffled);
        let live = |table: &mut FlowTable| {
            let mut live = false;
            for change in table.drain_changes() {
                live = matches!(change, FlowChange::Live(_));
            }
            live
        };
        prop_assert_eq!(live(&mut first), live(&mut second));
    }
}
