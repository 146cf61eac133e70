//! # The agents' pods
//!
//! From `kubectl get pods`. One per node is chosen: while a DaemonSet is updated, two may be there.

use std::collections::BTreeMap;

use serde::Deserialize;

use super::args::dns_name;
use crate::cli::table::truncated;

/// The pod to ask on a node, or why none can be.
#[derive(Clone, Debug, PartialEq)]
pub struct Pod {
    pub name: String,
    pub node: String,
    pub unusable: Option<String>,
    rank: (bool, bool, String),
}

/// `kubectl get pods --output=json`, or one of another kind.
#[derive(Deserialize)]
pub struct List<T> {
    #[serde(default = "Vec::new")]
    pub items: Vec<T>,
}

#[derive(Deserialize)]
pub struct Object {
    #[serde(default)]
    metadata: Metadata,
    #[serde(default)]
    spec: Spec,
    #[serde(default)]
    status: Status,
}

#[derive(Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct Metadata {
    name: String,
    creation_timestamp: Option<String>,
    deletion_timestamp: Option<String>,
}

#[derive(Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct Spec {
    node_name: String,
    affinity: serde_json::Value,
}

#[derive(Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct Status {
    phase: String,
    container_statuses: Vec<Container>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Container {
    name: String,
    state: State,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct State {
    running: Option<serde_json::Value>,
    waiting: Option<Reason>,
    terminated: Option<Reason>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Reason {
    reason: String,
}

/// Where a DaemonSet wants a pod that has no node yet.
const WANTED_NODE: &str = "/nodeAffinity/requiredDuringSchedulingIgnoredDuringExecution/\
                           nodeSelectorTerms/0/matchFields/0/values/0";

impl Object {
    fn pod(self) -> Pod {
        let wanted = || self.spec.affinity.pointer(WANTED_NODE)?.as_str().map(str::to_owned);
        let node = match self.spec.node_name.as_str() {
            "" => wanted().unwrap_or_else(|| "(no node)".to_owned()),
            node => node.to_owned(),
        };
        let unusable = self.unusable();
        let Metadata { name, creation_timestamp, deletion_timestamp } = self.metadata;
        let created = creation_timestamp.unwrap_or_default();
        let rank = (unusable.is_none(), deletion_timestamp.is_none(), created);
        Pod { name, node, unusable, rank }
    }

    /// Why its agent cannot be asked. One that is not ready can be.
    fn unusable(&self) -> Option<String> {
        let name = truncated(&self.metadata.name, 80);
        if dns_name(&self.metadata.name).is_none() {
            return Some(format!("its pod has the name {name:?}"));
        }
        let agent = self.status.container_statuses.iter().find(|of| of.name == "agent");
        let state = agent.map(|of| &of.state);
        if state.is_some_and(|state| state.running.is_some()) {
            return None;
        }
        if self.metadata.deletion_timestamp.is_some() {
            return Some(format!("pod {name} is being deleted"));
        }
        let phase = truncated(&self.status.phase, 40);
        if self.spec.node_name.is_empty() {
            return Some(format!("pod {name} is {phase}: not scheduled yet"));
        }
        let reason = state.and_then(|state| state.waiting.as_ref().or(state.terminated.as_ref()));
        Some(match reason {
            Some(Reason { reason }) => {
                format!("the agent in pod {name} does not run: {}", truncated(reason, 80))
            }
            None => format!("pod {name} is {phase}: its container agent is not there"),
        })
    }
}

/// By node: the pod that can be asked, rather one that stays, rather a new one.
pub fn by_node(pods: List<Object>) -> BTreeMap<String, Pod> {
    let mut best: BTreeMap<String, Pod> = BTreeMap::new();
    for pod in pods.items.into_iter().map(Object::pod) {
        let other = best.get(&pod.node);
        if other.is_none_or(|other| pod.rank > other.rank) {
            best.insert(pod.node.clone(), pod);
        }
    }
    best
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn pod(name: &str, node: &str, state: Value) -> Value {
        json!({
            "metadata": {"name": name, "creationTimestamp": "2026-01-02T03:04:05Z"},
            "spec": {"nodeName": node},
            "status": {"phase": "Running", "containerStatuses": [{"name": "agent", "state": state}]},
        })
    }

    fn running() -> Value {
        json!({"running": {"startedAt": "2026-01-02T03:04:05Z"}})
    }

    fn chosen(pods: &[Value]) -> BTreeMap<String, Pod> {
        by_node(serde_json::from_value(json!({"items": pods})).unwrap())
    }

    fn only(pods: &[Value]) -> (String, String) {
        let chosen = chosen(pods);
        assert_eq!(chosen.len(), 1);
        let pod = chosen.into_values().next().unwrap();
        (pod.name, pod.unusable.unwrap_or_default())
    }

    #[test]
    fn of_two_pods_the_one_that_runs_and_stays_is_asked() {
        let old = pod("old", "n", running());
        let mut leaving = old.clone();
        leaving["metadata"]["deletionTimestamp"] = json!("2026-01-02T03:05:05Z");
        let mut new = pod("new", "n", running());
        new["metadata"]["creationTimestamp"] = json!("2026-01-02T03:05:06Z");
        let starting = pod("new", "n", json!({"waiting": {"reason": "ContainerCreating"}}));
        for (pods, wanted) in [
            ([&old, &new], "new"),
            ([&new, &old], "new"),
            ([&leaving, &new], "new"),
            ([&leaving, &starting], "old"),
        ] {
            assert_eq!(only(&pods.map(Clone::clone)), (wanted.to_owned(), String::new()));
        }
    }

    #[test]
    fn a_pod_that_cannot_be_asked_says_why() {
        let of = |change: &dyn Fn(&mut Value)| {
            let mut pod = pod("p", "n", json!({"waiting": {"reason": "CrashLoopBackOff"}}));
            change(&mut pod);
            only(&[pod]).1
        };
        assert_eq!(of(&|_| {}), "the agent in pod p does not run: CrashLoopBackOff");
        assert_eq!(
            of(&|pod| pod["metadata"]["deletionTimestamp"] = json!("2026-01-02T03:05:05Z")),
            "pod p is being deleted"
        );
        assert_eq!(
            of(&|pod| pod["status"] = json!({"phase": "Pending"})),
            "pod p is Pending: its container agent is not there"
        );
        let name = of(&|pod| pod["metadata"]["name"] = json!("--\u{1b}[2J"));
        assert!(name.starts_with("its pod has the name") && !name.contains('\u{1b}'), "{name}");
    }

    #[test]
    fn a_pod_without_a_node_is_that_of_the_node_it_is_for() {
        let mut pod = pod("p", "", Value::Null);
        pod["status"] = json!({"phase": "Pending"});
        pod["spec"]["affinity"] = json!({"nodeAffinity": {
            "requiredDuringSchedulingIgnoredDuringExecution": {"nodeSelectorTerms": [
                {"matchFields": [{"key": "metadata.name", "operator": "In", "values": ["n7"]}]}]},
        }});
        let chosen = chosen(&[pod]);
        let why = chosen["n7"].unusable.clone();
        assert_eq!(why.as_deref(), Some("pod p is Pending: not scheduled yet"));
    }
}
