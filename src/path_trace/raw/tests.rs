use super::*;
use crate::id::UdpSourcePort;

fn tuple(source: &str, target: &str) -> Tuple {
    Tuple {
        source: source.parse().expect("a GID"),
        target: target.parse().expect("a GID"),
        port: UdpSourcePort(50_000),
    }
}

#[test]
fn what_cannot_be_traced_is_said_before_anything_is_sent() {
    let lines: Vec<_> = [
        tuple("10.0.0.1", "fd00::1"),
        tuple("fe80::1", "fe80::2"),
        tuple("10.0.0.1", "10.0.0.2"),
    ]
    .into_iter()
    .map(|tuple| check(tuple).map_or_else(|error| error.to_string(), |()| "fine".to_owned()))
    .collect();
    insta::assert_snapshot!(lines.join("\n"));
}
