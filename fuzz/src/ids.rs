//! Any text as an identifier, a duration, a size, a URL or a fault of a simulation; what parses is printed so that it parses
//! to the same where it can be printed.

use std::fmt::{Debug, Display};
use std::str::FromStr;

use rpingmesh::analysis::simulate::fault::FaultPlan;
use rpingmesh::config::HumanDuration;
use rpingmesh::config::size::ByteSize;
use rpingmesh::id::{FlowLabel, Gid, Qpn, TargetName};
use rpingmesh::net::url::Url;

fn round_trip<T: FromStr + Display + PartialEq + Debug>(text: &str) {
    if let Ok(value) = text.parse::<T>() {
        let printed = value.to_string();
        let again = printed.parse::<T>().ok();
        assert_eq!(again.as_ref(), Some(&value), "{text} became {printed}");
    }
}

/// Takes one input.
pub fn run(text: &str) {
    round_trip::<Gid>(text);
    round_trip::<Qpn>(text);
    round_trip::<FlowLabel>(text);
    round_trip::<TargetName>(text);
    round_trip::<HumanDuration>(text);
    round_trip::<ByteSize>(text);
    for read in [Url::parse, Url::server] {
        if let Ok(url) = read(text) {
            let printed = url.to_string();
            assert_eq!(read(&printed).ok(), Some(url), "{text} became {printed}");
        }
    }
    let _ = text.parse::<FaultPlan>();
}
