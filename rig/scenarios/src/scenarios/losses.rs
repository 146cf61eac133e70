//! # Nothing is lost silently

use std::time::Duration;

use anyhow::{Context as _, Result, ensure};

use guestreq_common::tail_calls::tracepoint;

use super::{assert_exact, assert_exact_but, counted, expected, losses, takeover::PINS};
use crate::{
    agent::{Agent, json, signal},
    bpf::MissedTailCall,
    exposition::Metrics,
    host::Firmware,
    load,
    scenario::{Context, Status, scenario},
};

scenario!(VM_TABLE: "losses/vm_table" = vm_table,
    "a full VM table is reported, and the host's counts stay exact");
scenario!(THREAD_TABLE: "losses/thread_table" = thread_table,
    "a full thread table is reported and costs only waiting times");
scenario!(SEVERAL_VMS: "losses/several_vms" = several_vms,
    "each VM of a process has its own record");
scenario!(LOST_RETURN: "losses/command_end" = lost_return,
    "a PSP command whose end was missed is reported as lost, and later ones count");
scenario!(RING_BUFFER: "losses/ring_buffer" = ring_buffer,
    "a full ring buffer is reported, and counts stay exact");
scenario!(MISSED_PROBES: "losses/missed_probes" = missed_probes, "missed probes are reported");
scenario!(MISSED_EXIT: "losses/thread_exit" = missed_exit,
    "a thread whose exit was missed leaves no record");
scenario!(night NO_PROBE: "losses/no_probe" = no_probe,
    "without one probe, only what it measures is missing");

/// As with preempted tracepoints; here for all threads of a VM.
fn missed_exit(_: &Context) -> Result<Status> {
    let mut agent = Agent::start(&[])?;
    let before = Firmware::read()?;
    let threads = |metrics: &Metrics| metrics.sum("guestreq_map_entries", &[("map", "threads")]);
    let missed =
        MissedTailCall::begin(&format!("{PINS}/maps/TRACEPOINTS"), tracepoint::THREAD_EXIT)?;
    load::run("--name unseen --vmm qemu --vcpus 3 --count 30")?;
    let left = threads(&agent.scrape()?);
    missed.end()?;
    // Its vCPUs', and the one that launched it.
    ensure!(left == 4.0, "{left} records of 4 threads whose exit was missed");
    agent.wait_until("their records are free", |metrics| metrics.is_map_empty("threads"))?;
    load::run("--name seen --vmm qemu --vcpus 3 --count 30")?;
    assert_exact(&agent, &before)?;
    Ok(Status::Passed)
}

fn assert_host_exact(agent: &Agent, before: &Firmware) -> Result<()> {
    let firmware = Firmware::read()?.since(before);
    let (host, truth) = (counted(&agent.scrape()?, "guestreq_messages_total"), expected(&firmware));
    ensure!(host == truth, "{host:?}, the firmware {truth:?}");
    Ok(())
}

fn vm_table(_: &Context) -> Result<Status> {
    let agent = Agent::with_config("max_vms = 4\n")?;
    let before = Firmware::read()?;
    let load = load::start("--vms 9 --processes --count 10 --hold")?;
    std::thread::sleep(Duration::from_secs(2));
    load.finish()?;
    assert_host_exact(&agent, &before)?;
    let metrics = agent.scrape()?;
    let lost = losses(&metrics);
    ensure!(lost.contains_key("vm_table_full") && lost.len() == 1, "{lost:?}");
    let vms = metrics.values("guestreq_vm_info", "vm").len();
    ensure!(vms == 4, "{vms} VMs have records");
    Ok(Status::Passed)
}

/// There is room for 32 threads per VM.
fn thread_table(_: &Context) -> Result<Status> {
    let agent = Agent::with_config("max_vms = 1\n")?;
    let before = Firmware::read()?;
    // Slow enough that all wait at the same time.
    Firmware::set("latency_us", 10_000)?;
    load::run("--vcpus 80 --vmpck all --count 2")?;
    Firmware::reset()?;
    assert_host_exact(&agent, &before)?;
    let metrics = agent.scrape()?;
    let lost = losses(&metrics);
    ensure!(lost.contains_key("thread_table_full") && lost.len() == 1, "{lost:?}");
    let of_vm = metrics.sum("guestreq_requests_total", &[]);
    ensure!(of_vm == 160.0, "{of_vm} of 160 are the VM's");
    Ok(Status::Passed)
}

/// A VM is a guest context, and a process may have more than one.
fn several_vms(_: &Context) -> Result<Status> {
    let agent = Agent::with_config("max_vms = 7\n")?;
    let before = Firmware::read()?;
    let load = load::start("--vms 7 --count 3 --hold")?;
    crate::host::wait_until("all were answered", Duration::from_secs(20), || {
        Ok(agent.scrape()?.sum("guestreq_requests_total", &[]) == 21.0)
    })?;
    let metrics = agent.scrape()?;
    let vms = metrics.values("guestreq_vm_info", "vm");
    ensure!(vms.len() == 7, "{vms:?}");
    for vm in vms {
        let requests = metrics.sum("guestreq_requests_total", &[("vm", &vm)]);
        ensure!(requests == 3.0, "{vm} has {requests} requests");
    }
    load.finish()?;
    assert_exact(&agent, &before)?;
    Ok(Status::Passed)
}

/// The kernel skips probes while a request is in the PSP.
fn lost_return(_: &Context) -> Result<Status> {
    let agent = Agent::start(&[])?;
    Firmware::set("latency_us", 5_000_000)?;
    let unseen = load::start("--count 1")?;
    crate::host::wait_until("the PSP works", Duration::from_secs(20), || {
        Ok(json("psp")?["holder"]["command"] == "snp_guest_request")
    })?;
    Firmware::set("blind_bpf", 1)?;
    let unseen = unseen.finish();
    Firmware::reset()?;
    unseen?;
    load::run("--count 10 --name after --vmm qemu")?;
    let metrics = agent.scrape()?;
    let lost = losses(&metrics);
    ensure!(lost.get("command_unmatched") == Some(&1), "{lost:?}");
    let counted = metrics.sum("guestreq_messages_total", &[]);
    ensure!(counted == 10.0, "{counted} of the 10 that could be seen");
    Ok(Status::Passed)
}

/// The agent is stopped while guests provoke events.
fn ring_buffer(_: &Context) -> Result<Status> {
    let agent = Agent::start(&[])?;
    let before = Firmware::read()?;
    signal(agent.pid(), libc::SIGSTOP)?;
    let flood = load::run("--vms 4 --count 1500 --fault gap:1");
    signal(agent.pid(), libc::SIGCONT)?;
    flood?;
    let firmware = Firmware::read()?.since(&before);
    let metrics = agent.scrape()?;
    let (host, truth) = (counted(&metrics, "guestreq_messages_total"), expected(&firmware));
    ensure!(host == truth, "{host:?}, the firmware {truth:?}");
    let lost = losses(&metrics);
    ensure!(lost.contains_key("ring_buffer_full") && lost.len() == 1, "{lost:?}");
    Ok(Status::Passed)
}

/// The kernel skips kprobe programs while bpf(2) works on a map on the same CPU. snpsim raises the
/// counter that it checks.
fn missed_probes(_: &Context) -> Result<Status> {
    let agent = Agent::start(&[])?;
    let before = Firmware::read()?;
    load::run("--count 10")?;
    assert_exact(&agent, &before)?;
    Firmware::set("blind_bpf", 1)?;
    let unseen = load::run("--count 10");
    Firmware::set("blind_bpf", 0)?;
    unseen?;
    load::run("--count 10 --name after --vmm qemu")?;
    let metrics = agent.scrape()?;
    let lost = losses(&metrics);
    let missed = lost.get("probe_missed").copied().unwrap_or(0);
    ensure!(missed >= 10, "{lost:?}");
    let counted = metrics.sum("guestreq_messages_total", &[]);
    ensure!(counted == 20.0, "{counted} of the 20 that could be seen");
    let after = metrics.sum("guestreq_requests_total", &[("vm", "after")]);
    ensure!(after == 10.0, "{after} of 10 after sight returned");
    Ok(Status::Passed)
}

fn no_probe(_: &Context) -> Result<Status> {
    for (probe, stage) in [
        ("kprobe/snp_handle_guest_req", None),
        ("kprobe/sev_issue_cmd_external_user", Some("psp_queue")),
        ("raw_tracepoint/kvm_vmgexit_exit", None),
        ("raw_tracepoint/kvm_userspace_exit", None),
    ] {
        let agent = Agent::start(&["--without-probe", probe])?;
        let before = Firmware::read()?;
        Firmware::set("latency_us", 1000)?;
        load::run("--vms 4 --processes --count 10 --start-together --type report,key")?;
        load::run("--count 2 --fault bad-gpa:2")?;
        Firmware::reset()?;
        // Only this probe shows whether KVM_RUN has failed.
        let failures = probe == "raw_tracepoint/kvm_userspace_exit";
        let excused = if failures { "request_unmatched" } else { "nothing" };
        assert_exact_but(&agent, &before, excused).with_context(|| format!("without {probe}"))?;
        let metrics = agent.scrape()?;
        for sample in metrics.select("guestreq_probe_attached", &[]) {
            let missing = sample.labels["probe"] == probe;
            ensure!((sample.value == 0.0) == missing, "{sample:?} without {probe}");
        }
        if let Some(stage) = stage {
            let time = metrics.sum("guestreq_vm_stage_seconds_total", &[("stage", stage)]);
            ensure!(time == 0.0, "{time} s of {stage} without {probe}");
        } else {
            let whole = metrics.sum("guestreq_request_duration_seconds_sum", &[]);
            let queue = metrics.sum("guestreq_vm_stage_seconds_total", &[("stage", "psp_queue")]);
            ensure!(queue > 0.0 && queue < whole, "queue {queue} s of {whole} s without {probe}");
        }
    }
    Ok(Status::Passed)
}
