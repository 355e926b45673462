//! Tests on a kernel, for guests with soft-RoCE: they are ignored elsewhere, and fail where they cannot run.
//!
//! In a guest, as root: `<test binary> --ignored --test-threads 1 kernel_tests`.

use std::sync::Arc;

use rpingmesh::service::trace::Unavailable;
use rpingmesh_ebpf_event::Offsets;

use super::attach::{Places, Programs};
use super::prove::{Prover, prove};
use super::tally::Tally;
use crate::rdma_settings::Settings;
use crate::verbs;

/// What comes of programs that read at these places.
fn shown(offsets: Offsets, prover: &Prover) -> Result<Option<String>, Unavailable> {
    let places = Places {
        offsets,
        doubt: None,
    };
    let (programs, mut ring) = Programs::attach_at(&places).expect("attached");
    let shown = prove(&programs, &mut ring, &mut Tally::default(), prover)?;
    Ok(shown.unproved)
}

fn prover() -> Prover {
    Arc::new(|| verbs::specimen(&Settings::default()))
}

#[test]
#[ignore = "needs root and a soft-RoCE device"]
fn right_places_are_proved() {
    let places = Places::find().expect("described");
    assert!(places.doubt.is_none());
    let outcome = shown(places.offsets, &prover());
    assert!(matches!(outcome, Ok(None)), "{outcome:?}");
}

#[test]
#[ignore = "needs root and a soft-RoCE device"]
fn each_wrong_place_is_noticed() {
    type Shift = fn(&mut Offsets);
    let shifts: [(&str, Shift); 8] = [
        ("its device", |offsets| offsets.device_name += 64),
        ("its device", |offsets| offsets.qp_device += 8),
        ("its number", |offsets| offsets.qp_number += 40),
        ("its type", |offsets| offsets.qp_type += 4),
        ("its port", |offsets| offsets.qp_port -= 8),
        ("its flow label", |offsets| offsets.attr_flow_label += 4),
        ("its state", |offsets| offsets.attr_qp_state += 8),
        ("its source GID", |offsets| offsets.gid_attr_gid += 8),
    ];
    let right = Places::find().expect("described").offsets;
    for (what, shift) in shifts {
        let mut wrong = right;
        shift(&mut wrong);
        match shown(wrong, &prover()) {
            Err(Unavailable::Contradicted(contradiction)) => {
                println!("{what}: {contradiction}");
                assert_eq!(contradiction.what, what);
            }
            other => panic!("{what}: {other:?}"),
        }
    }
}

#[test]
#[ignore = "needs root and a soft-RoCE device"]
fn without_a_queue_pair_nothing_is_contradicted() {
    let right = Places::find().expect("described").offsets;
    let none: Prover = Arc::new(|| Err("none on purpose".to_owned()));
    let outcome = shown(right, &none);
    assert!(
        matches!(&outcome, Ok(Some(why)) if why == "none on purpose"),
        "{outcome:?}"
    );
}
