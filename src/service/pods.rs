//! What Kubernetes calls the pods of a node: read from a `PodList` of the kubelet (`/pods`) or of the API server.

use std::collections::HashMap;

use serde::Deserialize;

use crate::id::is_printable;

/// The most pods that are kept; the kubelet runs 110 by default, and 500 on large nodes.
pub(crate) const MOST_PODS: usize = 4_096;
/// The longest name of an object (Kubernetes, "Object Names and IDs": DNS subdomain names), in bytes.
const MOST_NAME: usize = 253;
/// The hash of a static pod's file, by which its cgroup is named.
const STATIC_HASH: &str = "kubernetes.io/config.hash";

/// A pod, by what it belongs to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PodName {
    /// Its namespace.
    pub namespace: String,
    /// The kind of its owner in lower case (`job`, `pytorchjob`), or `pod` where it has none.
    pub kind: String,
    /// The owner's name, or the pod's own.
    pub owner: String,
    /// The pod's own name.
    pub pod: String,
}

/// The pods of a node by their UID.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct PodNames {
    pods: HashMap<String, PodName>,
    /// Pods whose names cannot be used, or for which there was no place.
    left_out: usize,
}

/// An answer that is no list of pods.
#[derive(Debug, thiserror::Error)]
#[error("the answer is not a Kubernetes list of pods")]
pub struct PodsError(#[from] serde_json::Error);

#[derive(Deserialize)]
struct List {
    /// Kubernetes writes `null` for an empty list.
    items: Option<Vec<Pod>>,
}

#[derive(Deserialize)]
struct Pod {
    metadata: Metadata,
}

#[derive(Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct Metadata {
    name: String,
    namespace: String,
    uid: String,
    labels: Option<HashMap<String, String>>,
    annotations: Option<HashMap<String, String>>,
    owner_references: Option<Vec<Reference>>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Reference {
    kind: String,
    name: String,
    controller: Option<bool>,
}

impl PodNames {
    /// Reads a list.
    ///
    /// # Errors
    /// It is none.
    pub fn read(json: &[u8]) -> Result<Self, PodsError> {
        let list: List = serde_json::from_slice(json)?;
        let mut names = Self::default();
        for pod in list.items.unwrap_or_default() {
            names.add(&pod.metadata);
        }
        Ok(names)
    }

    /// A pod by its UID, with dashes.
    pub fn get(&self, uid: &str) -> Option<&PodName> {
        self.pods.get(uid)
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.pods.len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.pods.is_empty()
    }

    /// How many have no place here.
    pub const fn left_out(&self) -> usize {
        self.left_out
    }

    /// Keeps the pods of `earlier` that are not listed any more, as far as there is place: their connections may end later.
    pub(crate) fn keep(&mut self, earlier: &Self) {
        for (uid, pod) in &earlier.pods {
            if self.pods.len() >= MOST_PODS {
                return;
            }
            self.pods.entry(uid.clone()).or_insert_with(|| pod.clone());
        }
    }

    fn add(&mut self, metadata: &Metadata) {
        let (kind, owner) = metadata.owner();
        let pod = PodName {
            namespace: metadata.namespace.clone(),
            kind,
            owner: owner.to_owned(),
            pod: metadata.name.clone(),
        };
        let parts = [&pod.namespace, &pod.kind, &pod.owner, &pod.pod];
        let is_usable = parts.into_iter().all(|part| is_name(part)) && is_name(&metadata.uid);
        if !is_usable || self.pods.len() >= MOST_PODS {
            self.left_out += 1;
            return;
        }
        // The API server's UID of a static pod is that of its mirror; the kubelet names the cgroup by the hash of its file.
        let hash = metadata
            .annotations
            .as_ref()
            .and_then(|all| all.get(STATIC_HASH));
        if let Some(hash) = hash.filter(|hash| is_name(hash)) {
            self.pods.insert(hash.clone(), pod.clone());
        }
        self.pods.insert(metadata.uid.clone(), pod);
    }
}

/// Whether a text can be a part of a service's name: Kubernetes allows less, but who answers may not be Kubernetes.
fn is_name(text: &str) -> bool {
    (1..=MOST_NAME).contains(&text.len())
        && text
            .chars()
            .all(|letter| is_printable(letter) && letter != '/')
}

impl Metadata {
    /// Kind and name of what the pod belongs to.
    fn owner(&self) -> (String, &str) {
        let label = |name: &str| self.labels.as_ref()?.get(name).map(String::as_str);
        // Groups of pods whose owners are one below the object that people made.
        for (name, kind) in [
            ("leaderworkerset.sigs.k8s.io/name", "leaderworkerset"),
            ("jobset.sigs.k8s.io/jobset-name", "jobset"),
        ] {
            if let Some(owner) = label(name) {
                return (kind.to_owned(), owner);
            }
        }
        let references = self.owner_references.as_deref().unwrap_or_default();
        let controller = references.iter().find(|one| one.controller == Some(true));
        match controller.map(|one| (one.kind.as_str(), one.name.as_str())) {
            // A static pod belongs to its node.
            None | Some(("Node", _)) => ("pod".to_owned(), &self.name),
            // The launcher of an MPIJob is a Job of its own, the workers are not.
            Some(("Job", name)) => match label("training.kubeflow.org/job-name") {
                Some(job)
                    if label("training.kubeflow.org/operator-name")
                        .is_some_and(|by| by.starts_with("mpi")) =>
                {
                    ("mpijob".to_owned(), job)
                }
                _ => ("job".to_owned(), name),
            },
            // `NAME-HASH` of the Deployment NAME.
            Some(("ReplicaSet", name)) => {
                let hash = label("pod-template-hash");
                let deployment = hash.and_then(|hash| name.strip_suffix(hash)?.strip_suffix('-'));
                match deployment {
                    Some(deployment) => ("deployment".to_owned(), deployment),
                    None => ("replicaset".to_owned(), name),
                }
            }
            Some((kind, name)) => (kind.to_lowercase(), name),
        }
    }
}

#[cfg(test)]
mod tests;
