//! Any bytes as events of the eBPF programs: what is read survives the round trip, and the flow table stays bounded.

use rpingmesh::service::flow::FlowTable;
use rpingmesh_ebpf_event::{QpEvent, SIZE};

/// Takes one input.
pub fn run(data: &[u8]) {
    let mut table = FlowTable::new(4);
    for record in data.chunks(SIZE) {
        // Mostly events of this version, so that the fuzzer gets past the header.
        let mut bytes = [0; SIZE];
        bytes[..record.len()].copy_from_slice(record);
        let _ = QpEvent::decode(record);
        bytes[..4].copy_from_slice(
            &QpEvent::empty(rpingmesh_ebpf_event::EventKind::Create).encode()[..4],
        );
        let event = QpEvent::decode(&bytes).expect("version and size are right");
        assert_eq!(event.encode(), bytes);
        table.apply(&event, None);
        assert!(table.flows().count() <= 4);
    }
}
