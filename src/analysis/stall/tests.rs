use super::*;

#[test]
fn losses_of_one_direction_speak_for_the_host() {
    assert!(against((17, 4), (17, 0)) < 0.0);
    assert!(against((400, 50), (400, 0)) < -20.0);
    let nothing_else_was_seen = against((20, 20), (0, 0));
    assert!(nothing_else_was_seen.abs() < 1e-9);
}

#[test]
fn losses_of_both_directions_speak_for_the_network() {
    assert!(against((30, 3), (30, 3)) > 9.0);
    assert!(against((12, 12), (12, 12)) > 50.0);
    // Half a per cent of 130 probes/s, each way, in 20 s.
    assert!(against((2_600, 13), (2_600, 13)) > 9.0);
}

/// Chance loses one beside those of a host that stands still.
#[test]
fn a_single_loss_of_the_other_direction_decides_nothing() {
    assert!(against((17, 4), (17, 1)) < 9.0);
}

#[test]
fn no_counts_make_it_infinite() {
    let most = u64::MAX;
    for (waited, others) in [
        ((0, 0), (0, 0)),
        ((0, 0), (5, 5)),
        ((most, most), (most, most)),
        ((most, 1), (1, most)),
    ] {
        assert!(against(waited, others).is_finite());
    }
}
