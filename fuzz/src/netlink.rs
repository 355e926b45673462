//! Any bytes as an RDMA netlink answer: what is read lies within them.

use rpingmesh::service::netlink;

/// Takes one input.
pub fn run(data: (u32, &[u8])) {
    let (sequence, datagram) = data;
    if let Ok(part) = netlink::devices(datagram, sequence) {
        assert!(part.items.len() <= datagram.len());
    }
    if let Ok(part) = netlink::queue_pairs(datagram, sequence) {
        assert!(part.items.len() + part.odd <= datagram.len());
    }
    if let Ok(part) = netlink::cm_ids(datagram, sequence) {
        assert!(part.items.len() <= datagram.len());
    }
}
