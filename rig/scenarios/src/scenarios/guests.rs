//! # Whatever guests do

use std::time::Duration;

use anyhow::{Context as _, Result, ensure};

use super::{assert_exact, counted, expected, losses};
use crate::{
    agent::{Agent, json},
    host::{self, Firmware},
    load,
    scenario::{Context, Outcome, Scenario},
};

pub const HOSTILE_HEADERS: Scenario =
    Scenario { name: "a_hostile_guest_cannot_invent_series", check: hostile_headers };
pub const SEQUENCE_NUMBERS: Scenario =
    Scenario { name: "replays_and_gaps_are_told_per_vmpck", check: sequence_numbers };
pub const VMPCKS: Scenario = Scenario { name: "vmpcks_are_told_apart", check: vmpcks };
pub const EXTENDED: Scenario =
    Scenario { name: "extended_requests_are_told_from_plain_ones", check: extended };
pub const CERTIFICATES: Scenario =
    Scenario { name: "requests_that_ask_the_vmm_for_certificates_count_once", check: certificates };
pub const HOST_ERRORS: Scenario =
    Scenario { name: "requests_that_fail_on_the_host_are_host_errors", check: host_errors };
pub const DIES_MID_REQUEST: Scenario =
    Scenario { name: "a_vm_that_dies_mid_request_is_counted_and_retired", check: dies };
pub const ORDINARY: Scenario = Scenario { name: "an_ordinary_vm_is_no_snp_vm", check: ordinary };

/// More than any table of ours has room for, were it not folded.
fn hostile_headers(_: &Context) -> Result<Outcome> {
    let agent = Agent::start(&[])?;
    let before = Firmware::read()?;
    for status in [0, 1, 2, 7, 9, 0xb, 0x10, 0x16, 0x17, 0x27] {
        Firmware::set("status", status)?;
        load::run("--name hostile --vmm qemu --count 256 --fault type-random")?;
    }
    Firmware::reset()?;
    load::run("--name ones --vmm qemu --count 5 --fault ff")?;
    let metrics = agent.scrape()?;
    for vm in metrics.values("guestreq_vm_info", "vm") {
        let series = metrics.series_of_vm(&vm);
        ensure!(series <= 160, "{vm} has {series} series");
    }
    let firmware = Firmware::read()?.since(&before);
    let (host, truth) = (counted(&metrics, "guestreq_messages_total"), expected(&firmware));
    ensure!(host == truth, "{host:?}, the firmware {truth:?}");
    ensure!(losses(&metrics).is_empty(), "{:?}", losses(&metrics));

    // One VM that brings every type and many results, in one life.
    let hog = load::start("--name hog --vmm qemu --count 9000 --rate 3000 --fault type-random")?;
    for status in [1, 2, 3, 7, 9, 0xb, 0x10, 0x16, 0x17, 0x27, 0] {
        Firmware::set("status", status)?;
        std::thread::sleep(Duration::from_millis(200));
    }
    hog.finish()?;
    Firmware::reset()?;
    let metrics = agent.scrape()?;
    let series = metrics.series_of_vm("hog");
    ensure!((60..=160).contains(&series), "hog has {series} series");
    let of_hog = metrics.sum("guestreq_requests_total", &[("vm", "hog")]);
    ensure!(of_hog == 9000.0, "{of_hog} of 9000 requests remain after folding");
    println!("hog has {series} series");
    Ok(Outcome::Kept)
}

fn sequence_numbers(_: &Context) -> Result<Outcome> {
    let agent = Agent::start(&[])?;
    let before = Firmware::read()?;
    load::run("--name honest --vmm qemu --count 40 --vmpck all --vcpus 2")?;
    load::run("--name replays --vmm qemu --count 20 --fault replay:4")?;
    load::run("--name gaps --vmm qemu --count 20 --fault gap:4")?;
    assert_exact(&agent, &before)?;
    let metrics = agent.scrape()?;
    let count = |vm: &str, kind: &str| {
        metrics.sum("guestreq_sequence_anomalies_total", &[("vm", vm), ("kind", kind)])
    };
    ensure!(count("honest", "replay") + count("honest", "gap") == 0.0, "an honest VM is accused");
    let refused = metrics.sum("guestreq_messages_total", &[("result", "aead_oflow")]);
    let told = count("replays", "replay") + count("gaps", "gap");
    ensure!(told == refused && refused > 0.0, "{told} told, the firmware refused {refused}");
    ensure!(count("replays", "gap") + count("gaps", "replay") == 0.0, "kinds are mixed up");
    Ok(Outcome::Kept)
}

fn vmpcks(_: &Context) -> Result<Outcome> {
    let agent = Agent::start(&[])?;
    load::run("--vmpck 2 --count 7 --name two --vmm firecracker")?;
    load::run("--vmpck all --count 8 --name all --vmm firecracker")?;
    let vms = json("vms")?;
    let counts = |name: &str| -> Result<Vec<u64>> {
        let vms = vms["vms"].as_array().context("no vms")?;
        let vm = vms.iter().find(|vm| vm["vm"] == name).with_context(|| name.to_owned())?;
        let counts = vm["vmpck"].as_array().context("no vmpck")?;
        Ok(counts.iter().filter_map(serde_json::Value::as_u64).collect())
    };
    ensure!(counts("two")? == [0, 0, 7, 0, 0], "{:?}", counts("two")?);
    ensure!(counts("all")? == [2, 2, 2, 2, 0], "{:?}", counts("all")?);
    drop(agent);
    Ok(Outcome::Kept)
}

fn extended(_: &Context) -> Result<Outcome> {
    let agent = Agent::start(&[])?;
    let before = Firmware::read()?;
    load::run("--count 3")?;
    load::run("--count 4 --extended --name extended --vmm qemu")?;
    assert_exact(&agent, &before)?;
    let psp = json("psp")?;
    let exits = &psp["guest_requests"];
    ensure!(exits["plain"] == 3 && exits["extended"] == 4, "{exits}");
    ensure!(psp["guest_answers"]["ok"] == 7, "{}", psp["guest_answers"]);
    let vms = json("vms")?;
    let vm = vms["vms"].as_array().and_then(|vms| vms.iter().find(|vm| vm["vm"] == "extended"));
    let count = vm.map(|vm| vm["extended_requests"].clone());
    ensure!(count == Some(4.into()), "{count:?}");
    Ok(Outcome::Kept)
}

fn certificates(context: &Context) -> Result<Outcome> {
    if !context.has_request_certificates() {
        return Ok(Outcome::Skipped("KVM_EXIT_SNP_REQ_CERTS came with Linux 7.0"));
    }
    let agent = Agent::start(&[])?;
    let before = Firmware::read()?;
    load::run("--count 5 --certs --processes --vms 3")?;
    let answered = assert_exact(&agent, &before)?;
    ensure!(answered == 15, "{answered} of 15");
    // A VMM that refuses: the request never reaches the PSP, and the guest is told why.
    load::run("--count 2 --certs-error invalid_len")?;
    assert_exact(&agent, &before)?;
    let told = json("psp")?["guest_answers"].clone();
    ensure!(told["ok"] == 15 && told["invalid_length"] == 2, "{told}");
    Ok(Outcome::Kept)
}

fn host_errors(_: &Context) -> Result<Outcome> {
    let agent = Agent::start(&[])?;
    let before = Firmware::read()?;
    let seen = load::run("--count 12 --fault bad-gpa:3 --name lost --vmm qemu")?;
    let failed: u64 = seen
        .outcomes
        .values()
        .flatten()
        .filter(|(outcome, _)| outcome.starts_with("errno"))
        .map(|(_, count)| count)
        .sum();
    ensure!(failed == 4, "the VMM saw {failed} failures: {:?}", seen.outcomes);
    assert_exact(&agent, &before)?;
    let metrics = agent.scrape()?;
    for name in ["guestreq_requests_total", "guestreq_messages_total"] {
        let errors = metrics.sum(name, &[("result", "host_error")]);
        ensure!(errors == 4.0, "{name} has {errors} host errors");
    }
    Ok(Outcome::Kept)
}

fn dies(_: &Context) -> Result<Outcome> {
    let mut agent = Agent::start(&[])?;
    let before = Firmware::read()?;
    Firmware::set("latency_us", 50_000)?;
    for i in 0..5 {
        let arguments = format!("--name dying-{i} --vmm qemu --vcpus 3 --vmpck all --seconds 30");
        load::start(&format!("{arguments} --die-after {}", 100 + 37 * i))?.end()?;
    }
    Firmware::reset()?;
    // KVM tears the VMs down from a kernel thread of its own.
    agent.wait_until("all VMs have gone", |metrics| {
        metrics.sum("guestreq_map_entries", &[("map", "threads")]) == 0.0
            && metrics.sum("guestreq_map_entries", &[("map", "contexts")]) == 0.0
    })?;
    assert_exact(&agent, &before)?;
    let metrics = agent.scrape()?;
    ensure!(metrics.sum("guestreq_psp_queue_length", &[]) == 0.0, "somebody still waits");
    let vms = json("vms")?;
    let running = vms["vms"].as_array().map(|vms| vms.iter().filter(|vm| vm["running"] == true));
    ensure!(running.map(Iterator::count) == Some(0), "{vms}");
    Ok(Outcome::Kept)
}

fn ordinary(_: &Context) -> Result<Outcome> {
    let agent = Agent::start(&[])?;
    load::run("--ordinary --vms 2")?;
    std::thread::sleep(Duration::from_millis(300));
    let vms = agent.scrape()?.values("guestreq_vm_info", "vm");
    ensure!(vms.is_empty(), "{vms:?}");
    host::Firmware::reset()?;
    Ok(Outcome::Kept)
}
