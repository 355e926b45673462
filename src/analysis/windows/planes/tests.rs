use proptest::prelude::*;

use super::*;

fn tor(number: usize) -> TorId {
    TorId::new(format!("t{number}"))
}

fn planes(connected: &[(usize, usize)]) -> Planes {
    let mut planes = Planes::default();
    for (a, b) in connected {
        planes.connect(&tor(*a), &tor(*b));
    }
    planes
}

#[test]
fn a_tor_alone_is_no_plane_and_what_is_joined_stays_so() {
    let one = planes(&[(0, 1), (1, 2), (3, 3)]);
    assert_eq!(one.len(), 1);
    assert!(!one.are_apart(&tor(0), &tor(3)), "its uplinks may be dead");
    let mut two = planes(&[(0, 1), (1, 2), (3, 4)]);
    assert_eq!(two.len(), 2);
    assert!(two.are_apart(&tor(0), &tor(3)) && two.are_apart(&tor(4), &tor(2)));
    assert!(!two.are_apart(&tor(0), &tor(2)), "both reach t1");
    assert!(!two.are_apart(&tor(0), &tor(9)), "nobody knows t9");
    let named: Vec<Vec<&str>> = two
        .tors()
        .into_iter()
        .map(|tors| tors.into_iter().map(TorId::as_str).collect())
        .collect();
    assert_eq!(named, [vec!["t0", "t1", "t2"], vec!["t3", "t4"]]);
    two.connect(&tor(4), &tor(0));
    assert_eq!((two.len(), two.are_apart(&tor(0), &tor(3))), (1, false));
}

#[test]
fn several_planes_are_a_difference_that_names_both_explanations() {
    assert_eq!(planes(&[(0, 1), (1, 2)]).difference(), None);
    insta::assert_snapshot!(
        planes(&[(0, 1), (1, 2), (3, 4)]).difference().expect("two planes"),
        @"no probe between these parts of the fabric has come through since the analyzer started: 3 ToRs with `t0`, 2 ToRs with `t3`. They are planes, or the fabric is cut. A topology file tells which"
    );
}

#[test]
fn with_a_topology_file_probes_tell_no_planes() {
    let windows = crate::analysis::windows::Windows::new(crate::analysis::windows::Limits {
        lateness: std::time::Duration::from_mins(1),
        clock_tolerance: std::time::Duration::from_secs(5),
        paths: 1,
        bytes: usize::MAX,
    });
    assert!(windows.planes().is_some_and(Planes::is_empty));
    assert!(windows.without_planes().planes().is_none());
}

#[test]
fn agents_that_name_ever_new_tors_fill_no_memory() {
    let mut planes = Planes::default();
    for number in 0..MOST_TORS + 10 {
        planes.connect(&tor(number), &tor(number + 1));
    }
    assert_eq!(planes.index.len(), MOST_TORS);
}

proptest! {
    /// As a search through the pairs finds them.
    #[test]
    fn planes_are_the_connected_parts(pairs in prop::collection::vec((0_usize..12, 0_usize..12), 0..20)) {
        let made = planes(&pairs);
        let mut part: Vec<usize> = (0..12).collect();
        for _ in 0..12 {
            for (a, b) in &pairs {
                let least = part[*a].min(part[*b]);
                (part[*a], part[*b]) = (least, least);
            }
        }
        let large = |tor: usize| part.iter().filter(|other| **other == part[tor]).count() > 1;
        for a in 0..12 {
            for b in 0..12 {
                let apart = part[a] != part[b] && large(a) && large(b);
                prop_assert_eq!(made.are_apart(&tor(a), &tor(b)), apart);
            }
        }
        let mut roots: Vec<_> = (0..12).filter(|tor| large(*tor)).map(|tor| part[tor]).collect();
        roots.sort_unstable();
        roots.dedup();
        prop_assert_eq!((made.len(), made.tors().len()), (roots.len(), roots.len()));
    }
}
