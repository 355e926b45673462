//! Any bytes as what Kubernetes lists: an error that says something, or pods that name services as they can be shown.

use rpingmesh::id::check_name;
use rpingmesh::service::flow::Owner;
use rpingmesh::service::naming::Naming;
use rpingmesh::service::pods::PodNames;
use rpingmesh::service::qp::Variables;

/// A pod that the inputs which the target begins with list.
const UID: &str = "a1b2c3d4-0000-1111-2222-333344445555";

/// Takes one input.
pub fn run(bytes: &[u8]) {
    let pods = match PodNames::read(bytes) {
        Ok(pods) => pods,
        Err(error) => {
            assert!(!error.to_string().is_empty());
            return;
        }
    };
    let owner = Owner {
        is_kernel: false,
        pid: 1,
        comm: "x".to_owned(),
        cgroup_id: None,
        cgroup: Some(format!("/kubepods/pod{UID}").into()),
        variables: Variables::default(),
    };
    let mut naming = Naming::default();
    let is_known = pods.get(UID).is_some();
    naming.set_pods(pods.into());
    let decided = naming.decide(Some(&owner));
    assert_eq!(decided.is_unnamed_pod, !is_known);
    assert!(check_name(decided.name.as_str()).is_ok());
}
