use std::net::Ipv4Addr;

use super::*;
use crate::pinglist::RnicPinglist;

fn list(rnic: u8) -> Pinglist {
    Pinglist {
        rnics: vec![RnicPinglist {
            source: Ipv4Addr::new(10, 0, 0, rnic).into(),
            groups: Vec::new(),
        }],
        shortfalls: Vec::new(),
    }
}

#[test]
fn a_delta_that_leads_to_another_list_changes_nothing() {
    let (old, new) = (list(1), list(2));
    let mut current = CurrentList::default();
    current.replace(old.version(), old.clone());
    let delta = PinglistDelta::between(&old, &new);
    let mut forged = delta.clone();
    forged.rnics[0].source = Ipv4Addr::new(10, 0, 0, 3).into();
    assert_eq!(current.change(new.version(), forged), Err(Misfit));
    assert_eq!((current.version(), current.list()), (old.version(), &old));
    assert_eq!(current.change(new.version(), delta), Ok(()));
    assert_eq!((current.version(), current.list()), (new.version(), &new));
}

#[test]
fn a_list_that_is_known_by_its_hash_is_not_fetched_again_after_a_reconnection() {
    let mut current = CurrentList::default();
    current.replace(list(1).version(), list(1));
    current.reconnect();
    assert_eq!(current.version(), list(1).version());
    // A number that an older controller gave.
    current.replace(17, list(1));
    current.reconnect();
    assert_eq!(current.version(), 0);
}
