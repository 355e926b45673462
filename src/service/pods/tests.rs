use serde_json::{Value, json};

use super::*;

fn pod(uid: &str, owner: &Value, labels: &Value) -> Value {
    json!({ "metadata": { "name": format!("pod-{uid}"), "namespace": "ml", "uid": uid, "labels": labels,
        "ownerReferences": owner }, "spec": { "nodeName": "node1" } })
}

fn owned(kind: &str, name: &str) -> Value {
    json!([{ "apiVersion": "x/v1", "kind": "Other", "name": "not the controller" },
           { "apiVersion": "x/v1", "kind": kind, "name": name, "controller": true }])
}

fn read(pods: &[Value]) -> PodNames {
    let list = json!({ "kind": "PodList", "apiVersion": "v1", "items": pods });
    PodNames::read(list.to_string().as_bytes()).expect("a list")
}

#[test]
fn a_pod_goes_by_what_people_made() {
    let mpi = json!({ "training.kubeflow.org/job-name": "bench", "training.kubeflow.org/operator-name": "mpi-operator" });
    let cases = [
        (owned("Job", "train"), json!({}), "job/train"),
        (owned("Job", "bench-launcher"), mpi.clone(), "mpijob/bench"),
        (owned("MPIJob", "bench"), mpi, "mpijob/bench"),
        (owned("PyTorchJob", "llama"), json!({}), "pytorchjob/llama"),
        (
            owned("StatefulSet", "lws-0"),
            json!({ "leaderworkerset.sigs.k8s.io/name": "lws" }),
            "leaderworkerset/lws",
        ),
        (
            owned("Job", "set-workers-0"),
            json!({ "jobset.sigs.k8s.io/jobset-name": "set" }),
            "jobset/set",
        ),
        (
            owned("StatefulSet", "store"),
            json!({}),
            "statefulset/store",
        ),
        (
            owned("ReplicaSet", "web-5d4f"),
            json!({ "pod-template-hash": "5d4f" }),
            "deployment/web",
        ),
        (owned("ReplicaSet", "bare"), Value::Null, "replicaset/bare"),
        (owned("Node", "node1"), json!({}), "pod/pod-9"),
        (Value::Null, Value::Null, "pod/pod-10"),
    ];
    for (number, (owner, labels, name)) in cases.into_iter().enumerate() {
        let uid = number.to_string();
        let names = read(&[pod(&uid, &owner, &labels)]);
        let found = names.get(&uid).expect("listed");
        assert_eq!(format!("{}/{}", found.kind, found.owner), name);
        assert_eq!(
            (found.namespace.as_str(), found.pod.clone()),
            ("ml", format!("pod-{uid}"))
        );
    }
}

#[test]
fn a_static_pod_is_found_by_its_hash() {
    let mut mirror = pod("u1", &owned("Node", "node1"), &Value::Null);
    mirror["metadata"]["annotations"] = json!({ STATIC_HASH: "0123456789abcdef0123456789abcdef" });
    let names = read(&[mirror]);
    assert_eq!(
        names.get("0123456789abcdef0123456789abcdef"),
        names.get("u1")
    );
    assert!(names.get("u1").is_some());
}

#[test]
fn hostile_names_leave_a_pod_without_a_name() {
    let long = "x".repeat(MOST_NAME + 1);
    for name in ["", "a/b", "a\u{1b}[2J", "\u{202e}", &long] {
        let names = read(&[
            pod("u", &owned("Job", name), &json!({})),
            pod("v", &owned("Job", "good"), &json!({})),
        ]);
        assert_eq!(
            (names.get("u"), names.len(), names.left_out()),
            (None, 1, 1),
            "{name:?}"
        );
    }
}

#[test]
fn only_so_many_are_kept() {
    let pods: Vec<_> = (0..MOST_PODS + 5)
        .map(|uid| pod(&uid.to_string(), &Value::Null, &Value::Null))
        .collect();
    let mut names = read(&pods);
    assert_eq!((names.len(), names.left_out()), (MOST_PODS, 5));
    names.keep(&read(&[pod("other", &Value::Null, &Value::Null)]));
    assert_eq!(names.len(), MOST_PODS);
}

#[test]
fn what_is_no_list_is_an_error_and_an_empty_one_is_not() {
    for json in [
        "",
        "{",
        "[]",
        "null",
        r#"{"items":[{}]}"#,
        r#"{"items":[{"metadata":{"uid":3}}]}"#,
        r#"{"items":{}}"#,
    ] {
        assert!(PodNames::read(json.as_bytes()).is_err(), "{json}");
    }
    for json in [
        r#"{"kind":"PodList","items":null}"#,
        r#"{"items":[]}"#,
        r#"{"items":[{"metadata":{}}]}"#,
    ] {
        assert!(
            PodNames::read(json.as_bytes()).expect("a list").is_empty(),
            "{json}"
        );
    }
}
