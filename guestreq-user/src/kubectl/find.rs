//! # Finding agents

use std::collections::{BTreeMap, BTreeSet};

use anyhow::{Context as _, Result, anyhow, bail};
use serde::{Deserialize, de::DeserializeOwned};
use serde_json::Value;

use super::{
    failure::Failure,
    pods::{self, List, Object, Pod},
    process::Kubectl,
};

/// Names that an error lists.
const LISTED: usize = 5;

/// Every node that has an agent's pod, or should have one, and why it has none.
pub struct Nodes {
    pub pods: BTreeMap<String, Pod>,
    pub without: BTreeSet<String>,
    /// What is not known.
    pub remark: Option<String>,
}

impl Nodes {
    /// One node, which has a pod.
    pub fn only(pod: Pod) -> Nodes {
        let pods = BTreeMap::from([(pod.node.clone(), pod)]);
        Nodes { pods, without: BTreeSet::new(), remark: None }
    }
}

/// A VM's agent, and the VM's label there.
#[derive(Debug)]
pub struct Found {
    pub pod: Pod,
    pub label: String,
}

/// The agents' pods by node, on all nodes or on one.
async fn pods(kubectl: &Kubectl, node: Option<&str>) -> Result<BTreeMap<String, Pod>> {
    let namespace = kubectl.in_namespace();
    let selector = format!("--selector={}", kubectl.selector);
    let of_node = node.map(|node| format!("--field-selector=spec.nodeName={node}"));
    let mut words = vec!["pods", &namespace, &selector, "--output=json"];
    words.extend(of_node.as_deref());
    let list: List<Object> = parse(&kubectl.get(&words).await?, "pods")?;
    Ok(pods::by_node(list))
}

fn parse<T: DeserializeOwned>(json: &[u8], what: &str) -> Result<T> {
    serde_json::from_slice(json)
        .with_context(|| format!("`kubectl get {what}` printed no such list"))
}

/// The pod on a node.
pub async fn on_node(kubectl: &Kubectl, node: &str) -> Result<Pod> {
    if let Some(pod) = pods(kubectl, Some(node)).await?.remove(node) {
        return usable(pod);
    }
    // Only now, as there may be thousands.
    let all = pods(kubectl, None).await?;
    match all.get(node) {
        Some(pod) => usable(pod.clone()),
        None if all.is_empty() => Err(no_pods(kubectl)),
        None => {
            let mut names: Vec<&String> = all.keys().collect();
            names.sort_by(|a, b| similarity(b, node).total_cmp(&similarity(a, node)));
            Err(anyhow!(
                "no pod of guestreq's agent on node {node}; there are some on {}",
                some(&names)
            ))
        }
    }
}

fn similarity(name: &str, wanted: &str) -> f64 {
    strsim::jaro(name, wanted)
}

/// The only pod, without a selection.
pub async fn only(kubectl: &Kubectl) -> Result<Pod> {
    let mut all = pods(kubectl, None).await?;
    match all.len() {
        0 => Err(no_pods(kubectl)),
        1 => all.pop_first().map_or_else(|| Err(no_pods(kubectl)), |(_, pod)| usable(pod)),
        count => {
            let names: Vec<&String> = all.keys().collect();
            bail!(
                "{count} nodes have an agent ({}): choose with --node, --vm or --all-nodes",
                some(&names)
            )
        }
    }
}

fn usable(pod: Pod) -> Result<Pod> {
    match &pod.unusable {
        None => Ok(pod),
        Some(why) => bail!("node {}: {why}", pod.node),
    }
}

/// `a, b and 7 others`
pub fn some(names: &[&String]) -> String {
    let shown: Vec<&str> = names.iter().take(LISTED).map(|name| name.as_str()).collect();
    match names.len().saturating_sub(LISTED) {
        0 => shown.join(", "),
        more => format!("{} and {more} others", shown.join(", ")),
    }
}

fn no_pods(kubectl: &Kubectl) -> anyhow::Error {
    let Kubectl { namespace, selector, .. } = kubectl;
    anyhow!(
        "no pod of guestreq's agent in namespace {namespace} with labels {selector}: see `kubectl get \
         daemonsets -A`; another namespace is set by -n, other labels by --selector"
    )
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct DaemonSet {
    #[serde(default)]
    spec: Value,
    #[serde(default)]
    status: Value,
}

impl DaemonSet {
    /// Whether its pods have these labels.
    fn makes(&self, pairs: &[(&str, &str)]) -> bool {
        let labels = &self.spec["template"]["metadata"]["labels"];
        pairs.iter().all(|(key, value)| labels[key] == *value)
    }

    fn desired(&self) -> u64 {
        self.status["desiredNumberScheduled"].as_u64().unwrap_or(0)
    }

    /// For `--selector` of nodes.
    fn nodes(&self) -> String {
        let labels = self.spec["template"]["spec"]["nodeSelector"].as_object();
        let labels = labels.into_iter().flatten();
        let pair = |(key, value): (&String, &Value)| Some(format!("{key}={}", value.as_str()?));
        labels.filter_map(pair).collect::<Vec<_>>().join(",")
    }
}

/// The labels of a selector that only has equations. `KEY==VALUE` is one, too.
fn pairs<'a>(selector: &'a str) -> Option<Vec<(&'a str, &'a str)>> {
    let equation = |pair: &'a str| {
        let (key, value) = pair.split_once('=')?;
        let key = key.trim();
        let is_label = !key.contains(['!', '(', ')', ' ']);
        is_label.then(|| (key, value.trim_start_matches('=').trim()))
    };
    selector.split(',').map(equation).collect()
}

/// All nodes. Nodes are only listed if the DaemonSet has fewer pods than it should have.
pub async fn all(kubectl: &Kubectl) -> Result<Nodes> {
    let pods = pods(kubectl, None).await?;
    let Some(pairs) = pairs(&kubectl.selector) else {
        let remark =
            "nodes without a pod are not known: --selector has more than KEY=VALUE,…".to_owned();
        return match pods.is_empty() {
            true => Err(no_pods(kubectl)),
            false => Ok(Nodes { pods, without: BTreeSet::new(), remark: Some(remark) }),
        };
    };
    let sets: Vec<DaemonSet> = match daemon_sets(kubectl).await {
        Ok(sets) => sets.into_iter().filter(|set| set.makes(&pairs)).collect(),
        Err(_) if pods.is_empty() => return Err(no_pods(kubectl)),
        Err(error) => {
            let remark = Some(format!("nodes without a pod are not known: {error:#}"));
            return Ok(Nodes { pods, without: BTreeSet::new(), remark });
        }
    };
    let missing =
        sets.iter().map(DaemonSet::desired).sum::<u64>().saturating_sub(pods.len() as u64);
    if missing == 0 {
        return if pods.is_empty() {
            Err(no_pods(kubectl))
        } else {
            Ok(Nodes { pods, without: BTreeSet::new(), remark: None })
        };
    }
    let mut without = BTreeSet::new();
    for set in &sets {
        match nodes(kubectl, &set.nodes()).await {
            Ok(names) => without.extend(names.into_iter().filter(|name| !pods.contains_key(name))),
            Err(failure) => {
                let why = failure.of_cluster();
                let remark =
                    Some(format!("nodes without a pod are not known, {missing} of them: {why}"));
                return Ok(Nodes { pods, without: BTreeSet::new(), remark });
            }
        }
    }
    Ok(Nodes { pods, without, remark: None })
}

async fn daemon_sets(kubectl: &Kubectl) -> Result<Vec<DaemonSet>> {
    let namespace = kubectl.in_namespace();
    let json = kubectl.get(&["daemonsets", &namespace, "--output=json"]).await?;
    Ok(parse::<List<DaemonSet>>(&json, "daemonsets")?.items)
}

async fn nodes(kubectl: &Kubectl, selector: &str) -> Result<Vec<String>, Failure> {
    let selector = format!("--selector={selector}");
    let text = kubectl.get(&["nodes", &selector, "--output=name"]).await?;
    let text = String::from_utf8_lossy(&text).into_owned();
    Ok(text.lines().filter_map(|line| line.strip_prefix("node/")).map(str::to_owned).collect())
}

#[cfg(test)]
mod tests {
    use super::pairs;

    #[test]
    fn only_equations_say_which_pods_a_daemonset_makes() {
        assert_eq!(pairs("a=b, x/y==z").unwrap(), [("a", "b"), ("x/y", "z")]);
        for other in ["a", "a in (b)", "a=b,c", "a!=b", "!a", "a in (b,c=d)"] {
            assert_eq!(pairs(other), None, "{other}");
        }
    }
}
