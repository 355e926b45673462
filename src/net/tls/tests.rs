use super::*;

#[test]
fn plaintext_permits_loopback_in_every_notation() {
    let security = Security::loopback_plaintext();
    for (address, permitted) in [
        ("127.0.0.1", true),
        ("127.3.2.1", true),
        ("::1", true),
        ("::ffff:127.0.0.1", true),
        ("10.0.0.1", false),
        ("0.0.0.0", false),
        ("::", false),
    ] {
        let address = address.parse().expect("address");
        assert_eq!(security.permits(address), permitted, "{address}");
    }
}
