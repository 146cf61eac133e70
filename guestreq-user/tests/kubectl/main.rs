//! # kubectl guestreq, as somebody would use it
//!
//! The real plugin with a fake kubectl, and with the real one where `cargo xtask test` has it.

mod fake;
mod real;

use std::{
    fs,
    io::Write as _,
    os::unix::process::CommandExt as _,
    process::{Command, Output, Stdio},
    thread,
    time::Duration,
};

use anyhow::{Context as _, Result, ensure};
use fake::{Cluster, Ran, pod};
use serde_json::{Value, json};

fn lines(text: &str) -> Vec<&str> {
    text.lines().collect()
}

#[test]
fn all_nodes_are_merged_and_those_without_an_answer_named() -> Result<()> {
    let cluster = Cluster::new(&["n1", "n2", "n3", "n4"])?;
    cluster.write("exec-pod-n2.sh", "exec sleep 60\n");
    cluster.fails("exec-pod-n3", "Error from server (NotFound): pods \"pod-n3\" not found\n");
    // kubectl warns, and succeeds.
    cluster.write("exec-pod-n4.err", "Warning: something is deprecated\n");
    cluster.daemon_set(5);
    cluster.write("get-nodes", "node/n1\nnode/n2\nnode/n3\nnode/n4\nnode/n5\n");
    let Ran { code, stdout, stderr } = cluster.run("vms --all-nodes --timeout 2s");
    let table = lines(&stdout);
    ensure!(table.len() == 3 && table[0].starts_with(" NODE  VM "), "{stdout}");
    ensure!(
        table[1].starts_with(" n1    vm-of-n1 ") && table[2].starts_with(" n4    vm-of-n4 "),
        "{stdout}"
    );
    let wanted = [
        "kubectl-guestreq: n2: pod pod-n2 did not answer within 2.00 s (--timeout)",
        "kubectl-guestreq: n3: pod pod-n3 has disappeared: Error from server (NotFound): pods \"pod-n3\" not found",
        "kubectl-guestreq: n5: it has no pod of the agent",
        "kubectl-guestreq: 3 of 5 nodes did not answer",
    ];
    assert_eq!(lines(&stderr), wanted);
    assert_eq!(code, Some(3));
    Ok(())
}

#[test]
fn json_has_answers_and_reasons() -> Result<()> {
    let cluster = Cluster::new(&["n1", "n2"])?;
    cluster.write(
        "exec-pod-n2",
        "{\"window_seconds\": 1, \"vms\": [\"\u{9b}2J\"], \"new\": {\"a\": 1}}",
    );
    let Ran { code, stdout, stderr } = cluster.run("vms --all-nodes -o json");
    assert_eq!((code, stderr.as_str()), (Some(0), ""));
    ensure!(!stdout.contains('\u{9b}'), "{stdout:?}");
    let read: Value = serde_json::from_str(&stdout)?;
    assert_eq!(read["nodes"][0]["node"], "n1");
    assert_eq!(read["nodes"][1]["answer"]["new"]["a"], 1, "fields of a newer agent stay");
    assert_eq!(read["unanswered"], json!([]));
    Ok(())
}

#[test]
fn a_thousand_nodes_are_asked_a_few_at_a_time() -> Result<()> {
    let names: Vec<String> = (0..1000).map(|n| format!("node-{n:04}")).collect();
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    let cluster = Cluster::new(&names)?;
    cluster.fails("exec-pod-node-0500", "error: error dialing backend: no route to host\n");
    let Ran { code, stdout, stderr } = cluster.run("vms --all-nodes --timeout 60s --parallel 8");
    assert_eq!(code, Some(3), "{stderr}");
    assert_eq!(lines(&stdout).len(), 1000);
    assert_eq!(lines(&stderr).len(), 2, "{stderr}");
    let most = cluster.most_at_once();
    ensure!((2..=8).contains(&most), "{most} ran at the same time");
    // One list of pods, one of daemonsets.
    assert_eq!(cluster.calls().len(), 1002);
    Ok(())
}

#[test]
fn one_node_gets_input_output_and_exit_status() -> Result<()> {
    let cluster = Cluster::new(&["n1", "n2"])?;
    cluster.write("exec-pod-n2", "out\n");
    cluster.write("exec-pod-n2.err", "err\n");
    cluster.write("exec-pod-n2.code", "7");
    let Ran { code, stdout, stderr } = cluster.run("policy show --node n2 --context c -o json");
    assert_eq!((code, stdout.as_str(), stderr.as_str()), (Some(7), "out\n", "err\n"));
    assert_eq!(
        cluster.calls(),
        [
            "get pods --namespace=guestreq --selector=app.kubernetes.io/name=guestreq,\
             app.kubernetes.io/component=agent --output=json --field-selector=spec.nodeName=n2 --context=c",
            "exec pod-n2 --namespace=guestreq --container=agent --context=c -- /guestreq policy show -o json",
        ]
    );
    let Ran { code, stderr, .. } = cluster.run("vms");
    assert_eq!(code, Some(1));
    ensure!(stderr.contains("2 nodes have an agent (n1, n2): choose with --node"), "{stderr}");
    cluster.pods(&["n1"]);
    ensure!(cluster.run("vms").stdout.contains("vm-of-n1"), "the only one");
    Ok(())
}

#[test]
fn a_vm_is_found_by_kubevirt_or_by_asking_all_nodes() -> Result<()> {
    let cluster = Cluster::new(&["n1", "n2"])?;
    cluster.vms("n2", &["prod/web-1", "prod/web-2"]);
    let set = |cluster: &Cluster| cluster.run("limit set --vm prod/web-1 --share 10%");
    let last = |cluster: &Cluster| cluster.calls().pop().unwrap_or_default();
    let wanted = "exec pod-n2 --namespace=guestreq --container=agent -- /guestreq limit set --share 10% \
                  --vm=prod/web-1";
    // Without KubeVirt.
    assert_eq!(set(&cluster).code, Some(0));
    assert_eq!(last(&cluster), wanted);
    let before = cluster.calls().len();
    let kind = "get-virtualmachineinstances.kubevirt.io";
    cluster.write(kind, &json!({"status": {"nodeName": "n2", "phase": "Running"}}).to_string());
    assert_eq!(set(&cluster).code, Some(0));
    assert_eq!(last(&cluster), wanted);
    assert_eq!(cluster.calls().len() - before, 3, "no other node is asked");
    let Ran { stdout, .. } = cluster.run("vms --vm prod/web-1");
    ensure!(stdout.contains("web-1") && !stdout.contains("web-2"), "{stdout}");
    // KubeVirt has it, on no node.
    cluster.write(kind, &json!({"status": {"phase": "Scheduling"}}).to_string());
    let Ran { code, stderr, .. } = set(&cluster);
    ensure!(
        code == Some(1) && stderr.contains("runs on no node yet: KubeVirt's phase is Scheduling"),
        "{stderr}"
    );
    cluster.write(kind, "");
    let Ran { code, stderr, .. } = set(&cluster);
    ensure!(code == Some(1) && stderr.contains("no VirtualMachineInstance prod/web-1"), "{stderr}");
    Ok(())
}

#[test]
fn a_vm_that_is_nowhere_or_in_several_places_is_one_line_with_candidates() -> Result<()> {
    let cluster = Cluster::new(&["n1", "n2", "n3"])?;
    cluster.vms("n1", &["web"]);
    cluster.vms("n2", &["web"]);
    let Ran { code, stderr, .. } = cluster.run("limit set --vm web --share 10%");
    assert_eq!((code, lines(&stderr).len()), (Some(1), 1), "{stderr}");
    ensure!(stderr.contains("\"web\" is the name of 2 VMs: \"web\" on n1"), "{stderr}");
    let advice = "choose a node, such as `kubectl guestreq --node n1 -- COMMAND --vm \"web\"`";
    ensure!(stderr.contains(advice), "{stderr}");
    assert_eq!(cluster.run("--node n1 -- limit set --vm web --share 10%").code, Some(0));
    cluster.write("calls", "");
    cluster.fails("exec-pod-n3", "error: error dialing backend: no route to host\n");
    let Ran { code, stderr, .. } = cluster.run("limit set --vm db --share 10%");
    assert_eq!((code, lines(&stderr).len()), (Some(1), 2), "{stderr}");
    ensure!(stderr.contains("no node has a VM \"db\"; not known of n3"), "{stderr}");
    ensure!(!cluster.calls().iter().any(|call| call.contains("limit set")), "nothing was changed");
    Ok(())
}

#[test]
fn a_node_that_forbids_it_keeps_no_other_s_answer_back() -> Result<()> {
    let cluster = Cluster::new(&["n1", "n2", "n3", "n4"])?;
    cluster
        .fails("exec-pod-n1", "Error from server (Forbidden): pods \"p\" is forbidden: no exec\n");
    cluster.write("exec-pod-n2.sh", "sleep 1\n");
    cluster.fails("exec-pod-n4", "");
    let Ran { code, stdout, stderr } = cluster.run("vms --all-nodes --parallel 2");
    assert_eq!((code, lines(&stdout).len()), (Some(3), 3), "{stdout}");
    ensure!(stderr.contains("n1: not permitted:"), "{stderr}");
    ensure!(stderr.contains("n4: kubectl gave no reason (exit status: 1)"), "{stderr}");
    Ok(())
}

/// As `kubectl exec --stdin` gives it to a command in a pod.
#[test]
fn a_policy_file_is_read_from_a_pipe() -> Result<()> {
    let check = |text: &str| -> Result<Output> {
        let mut command = Command::new(env!("CARGO_BIN_EXE_guestreq"));
        let command = command.args(["policy", "check", "/dev/stdin"]);
        let (out, err) = (Stdio::piped(), Stdio::piped());
        let mut child = command.stdin(Stdio::piped()).stdout(out).stderr(err).spawn()?;
        child.stdin.take().context("its input")?.write_all(text.as_bytes())?;
        Ok(child.wait_with_output()?)
    };
    let good = check("mode = \"audit\"\n")?;
    ensure!(good.status.success(), "{}", String::from_utf8_lossy(&good.stderr));
    let bad = String::from_utf8(check("\nmode = \"x\"\n")?.stdout)?;
    ensure!(bad.contains("/dev/stdin: line 2"), "{bad}");
    Ok(())
}

#[test]
fn nothing_is_changed_on_all_nodes() -> Result<()> {
    let cluster = Cluster::new(&["n1"])?;
    let Ran { code, stderr, .. } = cluster.run("limit set --default --share 10% --all-nodes");
    assert_eq!((code, lines(&stderr).len()), (Some(1), 1), "{stderr}");
    ensure!(stderr.contains("refused on all nodes at once"), "{stderr}");
    let Ran { code, .. } = cluster.run("launches --al --all-nodes");
    assert_eq!(code, Some(2), "a usage error, once");
    assert_eq!(cluster.run("limit set --vm web --share").code, Some(2), "before it is looked for");
    assert_eq!(cluster.run("future --vm web").code, Some(1));
    assert_eq!(cluster.run("").code, Some(2));
    assert_eq!(cluster.calls(), [""; 0]);
    Ok(())
}

#[test]
fn what_keeps_anything_from_being_asked_is_one_line_with_a_way_out() -> Result<()> {
    let check = |change: &dyn Fn(&Cluster), line: &str, wanted: &str| -> Result<()> {
        let cluster = Cluster::new(&["worker-1", "worker-2"])?;
        change(&cluster);
        let Ran { code, stderr, stdout } = cluster.run(line);
        assert_eq!((code, lines(&stderr).len(), stdout.as_str()), (Some(1), 1, ""), "{stderr}");
        ensure!(stderr.contains(wanted), "{stderr}");
        Ok(())
    };
    let refused = "The connection to the server localhost:8080 was refused - did you specify the right host or port?\n";
    check(&|of| of.fails("get-pods", refused), "vms --all-nodes", "see --context, --kubeconfig")?;
    let forbidden = "Error from server (Forbidden): pods is forbidden: User \"u\" cannot list resource \"pods\"\n";
    check(&|of| of.fails("get-pods", forbidden), "vms --all-nodes", "deploy/kubernetes/kubectl")?;
    let exec = "Error from server (Forbidden): pods \"p\" is forbidden: cannot create resource \"pods/exec\"\n";
    let no_exec = |of: &Cluster| {
        ["exec-pod-worker-1", "exec-pod-worker-2"].iter().for_each(|pod| of.fails(pod, exec))
    };
    check(&no_exec, "vms --all-nodes", "cannot create resource \"pods/exec\"")?;
    check(&|of| of.pods(&[]), "vms -n other --node worker-1", "in namespace other")?;
    let empty = |of: &Cluster| {
        of.pods(&[]);
        of.daemon_set(0);
    };
    check(&empty, "vms --all-nodes", "no pod of guestreq's agent in namespace guestreq")?;
    check(
        &|_| {},
        "vms --node worker-3",
        "no pod of guestreq's agent on node worker-3; there are some on worker-1, worker-2",
    )?;
    check(&|of| of.write("get-pods", "no JSON"), "vms --all-nodes", "printed no such list")?;
    let mut leaving = pod("worker-1");
    leaving["metadata"]["deletionTimestamp"] = json!("2026-01-02T03:05:05Z");
    leaving["status"]["containerStatuses"] = json!([]);
    let leaving = json!({"items": [leaving]}).to_string();
    check(&|of| of.write("get-pods", &leaving), "vms --node worker-1", "is being deleted")?;
    Ok(())
}

#[test]
fn without_kubectl_the_error_says_so() -> Result<()> {
    let cluster = Cluster::new(&["n1"])?;
    let folder = tempfile::tempdir()?;
    let output = cluster.plugin("vms --all-nodes").env("PATH", folder.path()).output()?;
    let stderr = String::from_utf8(output.stderr)?;
    assert_eq!(
        stderr,
        "kubectl-guestreq: kubectl is not in PATH: install it, or add its folder to PATH\n"
    );
    Ok(())
}

/// Each of these could say anything.
#[test]
fn hostile_answers_of_a_pod_harm_nobody() -> Result<()> {
    let cluster = Cluster::new(&["n1", "n2", "n3", "n4"])?;
    cluster.fails("exec-pod-n1", "\u{1b}[2J\u{202e}boo\r\n");
    cluster.write("exec-pod-n2.sh", "head -c 40000000 /dev/zero | tr '\\0' x\nexit 0\n");
    cluster.write("exec-pod-n3", &"[".repeat(100_000));
    cluster.vms("n4", &["\u{1b}[31mred"]);
    let path = cluster.path("exec-pod-n4");
    fs::write(&path, fs::read_to_string(&path)?.replace("{\"ok\":3}", "{\"\u{9b}2J\":3}"))?;
    let Ran { code, stdout, stderr } = cluster.run("vms --all-nodes");
    assert_eq!(code, Some(3));
    ensure!(
        !stdout.contains(['\u{1b}', '\u{9b}']) && stdout.contains("\\u{1b}[31mred"),
        "{stdout:?}"
    );
    ensure!(!stderr.contains(['\u{1b}', '\r']) && stderr.contains("n1: \\u{1b}[2J"), "{stderr:?}");
    ensure!(stderr.contains("n2: its answer exceeds 32 MiB"), "{stderr}");
    ensure!(stderr.contains("n3: its answer is no JSON: recursion limit"), "{stderr}");
    Ok(())
}

#[test]
fn an_interrupt_leaves_no_children() -> Result<()> {
    let cluster = Cluster::new(&["n1", "n2", "n3"])?;
    for node in ["n1", "n2", "n3"] {
        // The script's own process.
        cluster.write(&format!("exec-pod-{node}.sh"), "echo $$ >> pids\nexec sleep 600\n");
    }
    let mut command = cluster.plugin("vms --all-nodes --timeout 10m");
    let mut plugin = command.process_group(0).stderr(Stdio::null()).spawn()?;
    let pids = || fs::read_to_string(cluster.path("pids")).unwrap_or_default();
    for _ in 0..2000 {
        if pids().lines().count() == 3 {
            break;
        }
        thread::sleep(Duration::from_millis(10));
    }
    let pids: Vec<i32> = pids().lines().map(|pid| pid.parse().unwrap()).collect();
    assert_eq!(pids.len(), 3);
    // SAFETY: our child, which nobody has waited for.
    unsafe { libc::kill(i32::try_from(plugin.id())?, libc::SIGINT) };
    assert_eq!(plugin.wait()?.code(), Some(130));
    for _ in 0..500 {
        if !pids.iter().any(|pid| runs(*pid)) {
            return Ok(());
        }
        thread::sleep(Duration::from_millis(10));
    }
    anyhow::bail!("some of {pids:?} still run")
}

fn runs(pid: i32) -> bool {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    // One that nobody waits for yet has ended.
    stat.rsplit(')').next().is_some_and(|rest| !rest.trim().is_empty() && !rest.starts_with(" Z"))
}

#[test]
fn a_reader_that_leaves_is_no_failure() -> Result<()> {
    let cluster = Cluster::new(&["n1"])?;
    let mut plugin = cluster.plugin("vms --all-nodes").stdout(Stdio::piped()).spawn()?;
    drop(plugin.stdout.take());
    assert_eq!(plugin.wait()?.code(), Some(0));
    Ok(())
}
