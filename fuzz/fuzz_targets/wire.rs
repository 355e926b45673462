//! Any bytes as a probe or ACK; what decodes survives the round trip.
#![no_main]

use std::net::Ipv4Addr;

use libfuzzer_sys::fuzz_target;
use rpingmesh::id::Gid;
use rpingmesh::wire::{ClusterKey, Ends, Keyring, Packet, View};

fuzz_target!(|data: &[u8]| {
    let ends = Ends {
        source: Gid::from(Ipv4Addr::new(10, 0, 0, 1)),
        destination: Gid::from(Ipv4Addr::new(10, 0, 0, 2)),
    };
    let unkeyed = Keyring::unkeyed();
    let keyed = Keyring::new(ClusterKey::new(&[7; 32]).into_iter().collect());
    let forged = Packet::decode(data, ends, &keyed);
    assert!(forged.is_err(), "nobody knows the key");
    if let Ok(packet) = Packet::decode(data, ends, &unkeyed) {
        for keys in [&unkeyed, &keyed] {
            let payload = packet.encode(ends, keys);
            assert_eq!(Packet::decode(payload.as_slice(), ends, keys), Ok(packet));
        }
    }
    if let Ok(view) = View::new(data) {
        let _ = (
            view.is_keyed(),
            view.session(),
            view.sequence(),
            view.body(),
        );
    }
});
