use super::*;
use crate::analyzer::dashboard::details::{Lossy, Numbers, Rnic, Service};

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
    let rnic = |host: &str| Rnic {
        host: host.to_owned(),
        device: "mlx5_0".to_owned(),
        tor: "tor0".to_owned(),
        gid: "10.0.0.1".to_owned(),
    };
    let numbers = Numbers {
        sent: 9,
        lost: 2,
        invalid: 0,
        rtt_p50: Some(Nanos(5)),
        rtt_p99: None,
        prober_p99: None,
        responder_p99: None,
    };
    let details = Details {
        services: vec![Service {
            name: "train".to_owned(),
            paths: 1,
            rnics: 2,
            numbers,
            pairs: vec![("tor0".to_owned(), "tor1".to_owned(), 1, numbers)],
        }],
        more_services: 1,
        lossy: vec![Lossy {
            source: rnic("host0"),
            target: rnic("host1"),
            port: Some(50_000),
            kind: "inter_tor".to_owned(),
            service: None,
            numbers,
            way: vec!["tor0".to_owned(), String::new()],
        }],
        more_lossy: 0,
    };
    let body = encode(&matrix, Some(details.clone())).expect("JSON");
    let picture = Picture {
        matrix,
        details: Some(details),
    };
    assert_eq!(decode(&body), Some(picture));
    assert_eq!(decode(b"{}"), None);
    assert_eq!(decode(&[0xff; 40]), None);
    // As versions wrote it that kept the matrix only; a cell of a ToR that is not there would be drawn nowhere.
    let body = br#"{"start":0,"end":1,"tors":["a"],"cells":[[0,9,1,0,[null,null,null,null]]]}"#;
    let picture = decode(body).expect("a picture");
    assert_eq!((picture.matrix.cells.len(), picture.details), (0, None));
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
