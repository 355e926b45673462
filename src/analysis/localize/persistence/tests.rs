use super::*;

fn standing(history: &[Option<f64>], open: bool) -> Standing {
    Persistence::default().standing(history, open)
}

#[test]
fn one_weak_sighting_is_watched_two_confirm() {
    assert_eq!(standing(&[], false), Standing::Clear);
    assert_eq!(standing(&[Some(1.0)], false), Standing::Watched);
    assert_eq!(standing(&[Some(1.0), None], false), Standing::Watched);
    assert_eq!(
        standing(&[Some(1.0), None, Some(0.5)], false),
        Standing::Confirmed
    );
    assert_eq!(
        standing(&[Some(1.0), None, None, Some(0.5)], false),
        Standing::Watched
    );
}

#[test]
fn strong_evidence_confirms_at_once() {
    assert_eq!(standing(&[None, Some(30.0)], false), Standing::Confirmed);
    // But not evidence of long ago that was not confirmed then, under other settings.
    assert_eq!(
        standing(&[Some(30.0), None, None, None], false),
        Standing::Clear
    );
}

#[test]
fn an_open_one_ends_after_silence_only() {
    assert_eq!(
        standing(&[Some(30.0), None, None], true),
        Standing::Confirmed
    );
    assert_eq!(
        standing(&[Some(30.0), None, None, None], true),
        Standing::Clear
    );
    assert_eq!(standing(&[None, None], true), Standing::Confirmed);
    assert_eq!(
        standing(&[Some(30.0), None, None, None, Some(0.1)], true),
        Standing::Confirmed
    );
}
