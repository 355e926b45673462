//! Any text as an identifier or a duration; what parses is printed so that it parses to the same.
#![no_main]

use std::fmt::{Debug, Display};
use std::str::FromStr;

use libfuzzer_sys::fuzz_target;
use rpingmesh::config::Span;
use rpingmesh::id::{FlowLabel, Gid, Qpn, TargetName};

fn round_trip<T: FromStr + Display + PartialEq + Debug>(text: &str) {
    if let Ok(value) = text.parse::<T>() {
        let printed = value.to_string();
        let again = printed.parse::<T>().ok();
        assert_eq!(again.as_ref(), Some(&value), "{text} became {printed}");
    }
}

fuzz_target!(|text: &str| {
    round_trip::<Gid>(text);
    round_trip::<Qpn>(text);
    round_trip::<FlowLabel>(text);
    round_trip::<TargetName>(text);
    round_trip::<Span>(text);
});
