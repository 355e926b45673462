use super::*;

/// An incident about an RNIC of which reports contradict each other says so; others do not.
#[test]
fn what_reports_contradict_is_said_to_be_uncertain() {
    let contradicted: BTreeSet<RnicName> = ["h3/mlx5_0", "h3/mlx5_1", "h4/mlx5_0"]
        .map(|name| name.parse().expect("HOST/DEVICE"))
        .into();
    let said = |subject: Component| contradiction(&subject, &contradicted);
    let rnic = |name: &str| Component::rnic(name.parse().expect("HOST/DEVICE"));
    let host = |name: &str| Component::Host {
        name: name.to_owned(),
    };
    assert_eq!(
        said(host("h3")).as_deref(),
        Some(
            "uncertain: others report another host or ToR for h3/mlx5_0, h3/mlx5_1 than its own agent does; paths may be \
             attributed wrongly"
        )
    );
    assert!(said(rnic("h4/mlx5_0")).is_some());
    assert_eq!(said(rnic("h4/mlx5_1")), None);
    assert_eq!(said(host("h5")), None);
}
