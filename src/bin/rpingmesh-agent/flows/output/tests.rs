use rpingmesh::id::Gid;
use rpingmesh::service::flow::{Owner, QpKey, Route};
use rpingmesh::time::HostTime;

use super::*;

fn connection() -> Flow {
    let gid = |text: &str| text.parse::<Gid>().expect("GID");
    Flow {
        key: QpKey {
            device: "rxe0".into(),
            qpn: Qpn::new(17).expect("small"),
        },
        qp_type: Some(QpType::Rc),
        port: Some(1),
        state: Some(QpState::Rts),
        remote_qpn: Qpn::new(49),
        source: Some(gid("10.77.0.11")),
        route: Some(Route {
            destination: gid("10.77.0.12"),
            flow_label: 0x12345,
            traffic_class: 104,
            sgid_index: 1,
        }),
        owner: Some(Owner {
            is_kernel: false,
            pid: 4242,
            comm: "ib_write_bw".to_owned(),
            cgroup_id: Some(77),
            cgroup: Some("/system.slice/train.service".into()),
            variables: rpingmesh::service::qp::Variables::default(),
        }),
        origin: Origin::Created,
        since: HostTime::from_nanos(1_000),
    }
}

#[test]
fn a_connection_is_printed_with_all_that_is_known() {
    let flow = connection();
    let line = FlowLine::new("flow", &flow, &Output::default());
    insta::assert_snapshot!(serde_json::to_string_pretty(&line).expect("JSON"));
    insta::assert_snapshot!(line.text());
}

#[test]
fn what_is_not_known_is_left_out() {
    let flow = Flow {
        source: None,
        route: None,
        owner: None,
        origin: Origin::Listed,
        ..connection()
    };
    let line = FlowLine::new("flow", &flow, &Output::default());
    insta::assert_snapshot!(serde_json::to_string(&line).expect("JSON"));
    insta::assert_snapshot!(line.text());
}

#[test]
fn only_connections_are_shown_unless_all_are_wanted() {
    let datagrams = Flow {
        qp_type: Some(QpType::Ud),
        ..connection()
    };
    let fresh = Flow {
        state: Some(QpState::Init),
        ..connection()
    };
    let shown = |all, flow: &Flow| {
        Output {
            all,
            ..Output::default()
        }
        .shows(flow)
    };
    assert!(shown(false, &connection()));
    assert!(!shown(false, &datagrams) && !shown(false, &fresh));
    assert!(shown(true, &datagrams) && shown(true, &fresh));
}

#[test]
fn what_named_a_service_is_explained() {
    let rule = "cgroup:/*.slice/*.service=unit {2}"
        .parse()
        .expect("a rule");
    let output = Output {
        explain: true,
        naming: Naming::new(&[rule]),
        ..Output::default()
    };
    let flow = connection();
    let line = FlowLine::new("flow", &flow, &output);
    assert_eq!(line.service.as_deref(), Some("unit train"));
    assert_eq!(
        line.named_by.as_deref(),
        Some("rule 1 (cgroup:/*.slice/*.service=unit {2})")
    );
    assert!(
        line.text()
            .ends_with(" unit train by rule 1 (cgroup:/*.slice/*.service=unit {2})"),
        "{}",
        line.text()
    );
    let plain = FlowLine::new("flow", &flow, &Output::default());
    assert_eq!(
        (plain.service.as_deref(), plain.named_by),
        (Some("train.service"), None)
    );
}
