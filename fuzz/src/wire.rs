//! Any bytes as a probe or ACK; what decodes survives the round trip.

use std::net::Ipv4Addr;

use rpingmesh::id::Gid;
use rpingmesh::wire::{ClusterKey, Ends, Keyring, Packet, View};

/// Takes one input.
pub fn run(data: &[u8]) {
    let ends = Ends {
        source: Gid::from(Ipv4Addr::new(10, 0, 0, 1)),
        destination: Gid::from(Ipv4Addr::new(10, 0, 0, 2)),
    };
    let unkeyed = Keyring::unkeyed();
    let keyring = |secret: [u8; 32]| Keyring::new(ClusterKey::new(&secret).into_iter().collect());
    // The inputs in `fuzz/seeds` are signed with the first one.
    let (known, secret) = (keyring([7; 32]), keyring([9; 32]));
    let forged = Packet::decode(data, ends, &secret);
    assert!(forged.is_err(), "nobody knows the key");
    for keys in [&unkeyed, &known] {
        if let Ok(packet) = Packet::decode(data, ends, keys) {
            for keys in [&unkeyed, &known, &secret] {
                let payload = packet.encode(ends, keys);
                assert_eq!(Packet::decode(payload.as_slice(), ends, keys), Ok(packet));
            }
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
}
