//! # Finding a VM's node
//!
//! KubeVirt knows the node of its VMs. Of others, and without permission to ask it, every agent is
//! asked for its VMs.

use std::collections::BTreeSet;

use anyhow::{Context as _, Result, anyhow, bail};
use serde_json::Value;

use super::{
    args::{Args, dns_name},
    ask::{self, Answers},
    failure::{self, Failure},
    find::{self, Found},
    process::Kubectl,
};
use crate::{cli::table::truncated, text::quoted};

pub async fn find(kubectl: &Kubectl, args: &Args, wanted: &str) -> Result<Found> {
    let names = wanted.split_once('/');
    let names = names.and_then(|(namespace, name)| Some((dns_name(namespace)?, dns_name(name)?)));
    if let Some((namespace, name)) = &names
        && let Some(node) = of_kubevirt(kubectl, namespace, name).await?
    {
        let pod = find::on_node(kubectl, &node)
            .await
            .with_context(|| format!("KubeVirt says that {wanted} runs on {node}"))?;
        return Ok(Found { pod, label: wanted.to_owned() });
    }
    of_agents(kubectl, args, wanted).await
}

/// The node of a VirtualMachineInstance; `None` if KubeVirt is not there or may not be asked.
async fn of_kubevirt(kubectl: &Kubectl, namespace: &str, name: &str) -> Result<Option<String>> {
    let of = format!("--namespace={namespace}");
    let kind = "virtualmachineinstances.kubevirt.io";
    let json = match kubectl.get(&[kind, name, &of, "--output=json", "--ignore-not-found"]).await {
        Ok(json) => json,
        Err(failure @ (Failure::NoKubectl | Failure::NoCluster(_))) => return Err(failure.into()),
        Err(_) => return Ok(None),
    };
    if json.iter().all(u8::is_ascii_whitespace) {
        bail!(
            "KubeVirt has no VirtualMachineInstance {namespace}/{name}: `kubectl get vmis -A` lists them"
        );
    }
    let vmi: Value = serde_json::from_slice(&json)
        .with_context(|| format!("`kubectl get {kind}` printed no such object"))?;
    let node = vmi["status"]["nodeName"].as_str().unwrap_or_default();
    if let Some(node) = dns_name(node) {
        return Ok(Some(node));
    }
    let phase = truncated(vmi["status"]["phase"].as_str().unwrap_or("not known"), 40);
    bail!("{namespace}/{name} runs on no node yet: KubeVirt's phase is {phase}")
}

/// A VM that an agent knows.
struct Candidate {
    label: String,
    name: String,
    uuid: String,
    pid: u64,
    running: bool,
}

async fn of_agents(kubectl: &Kubectl, args: &Args, wanted: &str) -> Result<Found> {
    let words = ["vms", "--output", "json"].map(str::to_owned);
    let matching = |answer: Value| {
        let all = answer["vms"].as_array().context("its agent answers in another format")?;
        Ok(all.iter().filter_map(|vm| candidate(vm, wanted)).collect())
    };
    let nodes = find::all(kubectl).await?;
    let answers: Answers<Vec<Candidate>> =
        ask::each_node(kubectl, args.parallel(), nodes, &words, matching).await?;
    let mut silent = Vec::new();
    let mut found: Vec<(&String, &Candidate)> = Vec::new();
    for (node, answer) in &answers {
        match answer {
            Ok(all) => found.extend(all.iter().map(|vm| (node, vm))),
            Err(why) => {
                silent.push(node);
                failure::say(&format!("{node}: {why}"));
            }
        }
    }
    if found.iter().any(|(_, vm)| vm.running) {
        found.retain(|(_, vm)| vm.running);
    }
    // A VM's label is unique on its node, and then the others are namesakes.
    if found.iter().filter(|(_, vm)| vm.label == wanted).count() == 1 {
        found.retain(|(_, vm)| vm.label == wanted);
    }
    let but = match &silent[..] {
        [] => String::new(),
        silent => format!("; not known of {}", find::some(silent)),
    };
    match &found[..] {
        [] => Err(anyhow!(
            "no node has a VM {}{but}: `kubectl guestreq vms --all-nodes` lists those that have sent requests",
            quoted(wanted)
        )),
        [(node, vm)] => {
            let pod = find::on_node(kubectl, node).await?;
            Ok(Found { pod, label: vm.label.clone() })
        }
        several @ [(node, vm), ..] => {
            let one = |(node, vm): &(&String, &Candidate)| {
                format!(
                    "{} on {node} (pid {}, UUID {})",
                    quoted(&vm.label),
                    vm.pid,
                    quoted(&vm.uuid)
                )
            };
            let shown: Vec<String> = several.iter().take(10).map(one).collect();
            let uuids: BTreeSet<&str> = several.iter().map(|(_, vm)| vm.uuid.as_str()).collect();
            let or = if uuids.len() == several.len() { ", or --vm UUID" } else { "" };
            Err(anyhow!(
                "{} is the name of {} VMs: {}; choose a node, such as `kubectl guestreq --node {node} -- \
                 COMMAND --vm {}`{or}",
                quoted(wanted),
                several.len(),
                shown.join(", "),
                quoted(&vm.label)
            ))
        }
    }
}

/// The VM, if its label, name or UUID is the wanted one.
fn candidate(vm: &Value, wanted: &str) -> Option<Candidate> {
    let text = |key: &str| vm[key].as_str().unwrap_or_default().to_owned();
    let found = Candidate {
        label: text("vm"),
        name: text("name"),
        uuid: text("uuid"),
        pid: vm["pid"].as_u64().unwrap_or(0),
        running: vm["running"] == true,
    };
    let full = format!("{}/{}", text("namespace"), found.name);
    let is = [&found.label, &found.name, &full].into_iter().any(|of| of == wanted);
    let is = is || found.uuid.eq_ignore_ascii_case(wanted);
    (is && !found.label.is_empty()).then_some(found)
}
