//! Any bytes as an RDMA netlink answer: what is read lies within them.
#![no_main]

use libfuzzer_sys::fuzz_target;
use rpingmesh::service::netlink;

fuzz_target!(|data: (u32, &[u8])| {
    let (sequence, datagram) = data;
    if let Ok(part) = netlink::devices(datagram, sequence) {
        assert!(part.items.len() <= datagram.len());
    }
    if let Ok(part) = netlink::queue_pairs(datagram, sequence) {
        assert!(part.items.len() + part.odd <= datagram.len());
    }
});
