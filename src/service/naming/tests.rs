use super::*;
use crate::id::check_name;

const UID: &str = "a1b2c3d4-0000-1111-2222-333344445555";

fn in_cgroup(cgroup: &str) -> Owner {
    Owner {
        is_kernel: false,
        pid: 7,
        comm: "python".to_owned(),
        cgroup_id: None,
        cgroup: Some(cgroup.into()),
        variables: [("JOB".into(), "17".into())].into(),
    }
}

fn pods(namespace: &str, owner: &str) -> Arc<PodNames> {
    let list = serde_json::json!({ "items": [{ "metadata": { "uid": UID, "name": "train-0", "namespace": namespace,
        "ownerReferences": [{ "kind": "Job", "name": owner, "controller": true }] } }] });
    Arc::new(PodNames::read(list.to_string().as_bytes()).expect("a list"))
}

#[test]
fn rules_go_before_kubernetes_and_kubernetes_before_cgroups() {
    let in_pod = in_cgroup(&format!("/kubepods/burstable/pod{UID}/x"));
    let mut naming = Naming::new(&[]);
    let decided = naming.decide(Some(&in_pod));
    assert_eq!(
        (decided.name.as_str(), decided.is_unnamed_pod),
        (format!("pod/{UID}").as_str(), true)
    );
    naming.set_pods(pods("ml", "train"));
    let decided = naming.decide(Some(&in_pod));
    assert_eq!(
        (decided.name.as_str(), decided.is_unnamed_pod),
        ("k8s/ml/job/train", false)
    );
    assert_eq!(
        decided.why,
        format!("Kubernetes: pod ml/train-0, UID {UID}")
    );

    let rules = [
        "env:NONE=x/{1}",
        "env:JOB=batch/{1}",
        "cgroup:kubepods=pods",
    ]
    .map(|rule| rule.parse().expect("a rule"));
    let mut naming = Naming::new(&rules);
    naming.set_pods(pods("ml", "train"));
    let decided = naming.decide(Some(&in_pod));
    assert_eq!(
        (decided.name.as_str(), decided.why.as_str()),
        ("batch/17", "rule 2 (env:JOB=batch/{1})")
    );
    assert_eq!(naming.decide(None).name.as_str(), "unknown");
    let slurm = Naming::new(&[]).decide(Some(&in_cgroup("/slurm/uid_1/job_4711/step_0")));
    assert_eq!(
        (slurm.name.as_str(), slurm.why.as_str()),
        ("slurm/4711", "cgroup of a Slurm job")
    );
}

#[test]
fn the_longest_names_are_shortened_to_what_uploads_carry() {
    let long = "ü".repeat(120);
    let mut naming = Naming::new(&[]);
    naming.set_pods(pods(&long, &long));
    let decided = naming.decide(Some(&in_cgroup(&format!("/kubepods/pod{UID}"))));
    assert!(decided.name.as_str().starts_with('…'), "{}", decided.name);
    assert_eq!(check_name(decided.name.as_str()), Ok(()));
}
