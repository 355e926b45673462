//! Any bytes as what agents and the controller tell each other: announcements, look-ups, answers, pinglists, keys. Each is taken
//! or refused by name, and what is taken goes out again as it came. The first byte says which message it is.

use std::fmt::Debug;

use prost::Message;
use rpingmesh::cluster_key::{Order, Report};
use rpingmesh::pinglist::Pinglist;
use rpingmesh::rpc::convert::FieldError;
use rpingmesh::rpc::registry::{ResolvedRnic, TargetQuery};
use rpingmesh::rpc::v1;
use rpingmesh::topology::Announcement;

fn round_trip<M, T>(bytes: &[u8], name: &str)
where
    M: Message + Default,
    T: TryFrom<M, Error = FieldError> + PartialEq + Debug,
    for<'a> M: From<&'a T>,
{
    let Ok(message) = M::decode(bytes) else {
        return;
    };
    match T::try_from(message) {
        Ok(value) => {
            let again = T::try_from(M::from(&value));
            assert_eq!(again.as_ref(), Ok(&value), "{name}");
        }
        Err(error) => assert!(!error.field.is_empty() && !error.why.is_empty(), "{name}"),
    }
}

/// Takes one input.
pub fn run(bytes: &[u8]) {
    let Some((kind, rest)) = bytes.split_first() else {
        return;
    };
    match kind % 6 {
        0 => round_trip::<v1::Announcement, Announcement>(rest, "announcement"),
        1 => round_trip::<v1::TargetQuery, TargetQuery>(rest, "query"),
        2 => round_trip::<v1::ResolvedRnic, ResolvedRnic>(rest, "resolved"),
        3 => round_trip::<v1::Pinglist, Pinglist>(rest, "pinglist"),
        4 => round_trip::<v1::KeyReport, Report>(rest, "report of keys"),
        _ => round_trip::<v1::ClusterKeys, Order>(rest, "keys"),
    }
}
