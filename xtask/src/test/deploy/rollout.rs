//! # Rolling updates
//!
//! A model of Kubernetes' DaemonSet controller: old pods that are not ready are replaced at once,
//! ready ones as `maxUnavailable` permits; new pods that are not ready count against it.

use serde_json::Value;

use super::super::dashboards::read;
use crate::project;

/// The pods of a cluster.
struct Cluster {
    /// By node: whether its pod is new, and whether pods become ready there.
    nodes: Vec<(bool, bool)>,
    max_unavailable: usize,
}

impl Cluster {
    /// A cluster whose first nodes have no gate.
    fn new(nodes: usize, without_gate: usize, max_unavailable: &Value) -> Cluster {
        let max_unavailable = match max_unavailable {
            Value::String(percent) => {
                let percent: usize = percent.strip_suffix('%').unwrap().parse().unwrap();
                (nodes * percent).div_ceil(100)
            }
            number => usize::try_from(number.as_u64().unwrap()).unwrap(),
        };
        let nodes = (0..nodes).map(|node| (false, node >= without_gate)).collect();
        Cluster { nodes, max_unavailable }
    }

    /// One pass of the controller, after which new pods may become ready; returns whether it
    /// replaced any.
    fn look(&mut self) -> bool {
        let unavailable = self.nodes.iter().filter(|(new, ready)| *new && !ready).count();
        let mut left = self.max_unavailable.saturating_sub(unavailable);
        let mut replaced = false;
        for (new, ready) in self.nodes.iter_mut().filter(|(new, _)| !new) {
            if *ready && left == 0 {
                continue;
            }
            left -= usize::from(*ready);
            (*new, replaced) = (true, true);
        }
        replaced
    }

    /// How many nodes have the new version in the end.
    fn updated(mut self) -> usize {
        while self.look() {}
        self.nodes.iter().filter(|(new, _)| *new).count()
    }
}

fn strategy() -> Value {
    let path = project::root().join("deploy/kubernetes/base/daemonset.yaml");
    let daemon_set: Value = serde_saphyr::from_str(&read(&path).unwrap()).unwrap();
    daemon_set["spec"]["updateStrategy"].clone()
}

/// Row 11 of the second review.
#[test]
fn nodes_that_are_not_ready_keep_no_other_from_being_updated() {
    let max_unavailable = &strategy()["rollingUpdate"]["maxUnavailable"];
    for nodes in 1..=12 {
        for without_gate in 0..=nodes {
            let updated = Cluster::new(nodes, without_gate, max_unavailable).updated();
            assert_eq!(updated, nodes, "{without_gate} of {nodes} nodes have no gate");
        }
    }
    // With `maxUnavailable: 1` the node without a gate blocks the update.
    assert_eq!(Cluster::new(5, 0, &Value::from(1)).updated(), 5);
    assert_eq!(Cluster::new(5, 1, &Value::from(1)).updated(), 2);
    assert_eq!(Cluster::new(4, 1, &Value::from("25%")).updated(), 2);
}

/// `maxSurge` would allow a second pod until the old one is gone.
#[test]
fn a_node_never_has_two_agents() {
    let strategy = strategy();
    assert_eq!(strategy["type"], "RollingUpdate");
    assert_eq!(strategy["rollingUpdate"]["maxSurge"], 0);
}
