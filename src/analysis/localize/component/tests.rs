use super::*;

fn read(json: &str) -> Component {
    serde_json::from_str(json).expect("a component")
}

fn rnic() -> Component {
    Component::rnic(RnicName::new("h1", "mlx5_0"))
}

#[test]
fn an_rnic_has_a_kind_of_its_own_in_json() {
    let json = r#"{"kind":"rnic","host":"h1","device":"mlx5_0"}"#;
    assert_eq!(serde_json::to_string(&rnic()).expect("JSON"), json);
    assert_eq!(read(json), rnic());
    assert_eq!(rnic().to_string(), "RNIC h1/mlx5_0");
    assert_eq!(rnic().node().as_deref(), Some("h1/mlx5_0"));
    assert_eq!(rnic().host(), Some("h1"));
}

#[test]
fn a_host_with_a_device_in_its_name_is_read_as_an_rnic() {
    assert_eq!(read(r#"{"kind":"host","name":"h1/mlx5_0"}"#), rnic());
    for name in ["h1", "h1/", "/mlx5_0"] {
        let json = format!(r#"{{"kind":"host","name":"{name}"}}"#);
        let name = name.to_owned();
        assert_eq!(read(&json), Component::Host { name });
    }
    // Switches may be called so.
    let switch = read(r#"{"kind":"switch","name":"a/b"}"#);
    assert_eq!(switch.to_string(), "switch a/b");
}

#[test]
fn nodes_are_ends_of_their_links() {
    let link = |from: &str, to: &str| Component::Link {
        from: from.to_owned(),
        to: to.to_owned(),
    };
    let host = Component::Host {
        name: "h1".to_owned(),
    };
    assert!(rnic().is_end_of(&link("h1/mlx5_0", "tor0")));
    assert!(rnic().is_end_of(&link("tor0", "h1/mlx5_0")));
    assert!(!rnic().is_end_of(&link("h1", "tor0")));
    assert!(host.is_end_of(&link("h1", "tor0")));
    assert!(!host.is_end_of(&link("h1/mlx5_0", "tor0")));
    assert!(!link("h1", "tor0").is_end_of(&link("h1", "tor0")));
    assert!(!host.is_end_of(&rnic()));
}
