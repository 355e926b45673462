use super::*;

#[test]
fn pictures_survive_storing_and_nonsense_is_none() {
    let cell = |source, target| Cell {
        source,
        target,
        sent: 7,
        lost: 1,
        rtt_p50: Some(Nanos(5)),
        rtt_p99: None,
        prober_p99: Some(Nanos(6)),
        responder_p99: Some(Nanos(8)),
    };
    let matrix = Matrix {
        start: 1,
        end: 2,
        tors: vec!["tor0".into(), "<tor1>".into()],
        cells: vec![cell(0, 1), cell(1, 0)],
    };
    let body = encode(&matrix).expect("JSON");
    assert_eq!(decode(&body), Some(matrix));
    assert_eq!(decode(b"{}"), None);
    assert_eq!(decode(&[0xff; 40]), None);
    // A cell of a ToR that is not there would be drawn nowhere.
    let body = br#"{"start":0,"end":1,"tors":["a"],"cells":[[0,9,1,0,[null,null,null,null]]]}"#;
    assert_eq!(decode(body).map(|matrix| matrix.cells.len()), Some(0));
}

#[test]
fn minutes_are_whole() {
    let minute = |seconds: i64| {
        whole_minute(WallTime::from_nanos(seconds * 1_000_000_000)).nanos() / 1_000_000_000
    };
    assert_eq!(
        (minute(59), minute(60), minute(119), minute(-1)),
        (0, 60, 60, -60)
    );
}
