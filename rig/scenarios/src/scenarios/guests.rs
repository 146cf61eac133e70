//! # Guest behavior

use std::time::Duration;

use anyhow::{Context as _, Result, ensure};

use super::{assert_exact, counted, expected, losses};
use crate::{
    agent::{Agent, find_vm, json, vm_named},
    host::{self, Firmware},
    load,
    scenario::{Context, Status, scenario},
};

scenario!(HOSTILE_HEADERS: "guests/hostile_headers" = hostile_headers,
    "a hostile guest cannot create new series");
scenario!(SEQUENCE_NUMBERS: "guests/sequence_numbers" = sequence_numbers,
    "replayed and skipped sequence numbers are reported per VMPCK");
scenario!(VMPCKS: "guests/vmpcks" = vmpcks, "requests are counted per VMPCK");
scenario!(EXTENDED: "guests/extended" = extended,
    "extended requests are counted apart from plain ones");
scenario!(CERTIFICATES: "guests/certificates" = certificates,
    "a request that fetches certificates from the VMM counts once");
scenario!(HOST_ERRORS: "guests/host_errors" = host_errors,
    "requests that fail on the host are host errors");
scenario!(EXIT_MID_REQUEST: "guests/exit_mid_request" = dies,
    "a VM that exits during a request is counted, then retired");
scenario!(ORDINARY: "guests/not_snp" = ordinary, "a VM without SNP is not listed");

/// More combinations than any table would hold without folding.
fn hostile_headers(_: &Context) -> Result<Status> {
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

    // One VM with every type and many results.
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
    Ok(Status::Passed)
}

fn sequence_numbers(_: &Context) -> Result<Status> {
    let agent = Agent::start(&[])?;
    let before = Firmware::read()?;
    load::run("--name normal --vmm qemu --count 40 --vmpck all --vcpus 2")?;
    load::run("--name replays --vmm qemu --count 20 --fault replay:4")?;
    load::run("--name gaps --vmm qemu --count 20 --fault gap:4")?;
    assert_exact(&agent, &before)?;
    let metrics = agent.scrape()?;
    let count = |vm: &str, kind: &str| {
        metrics.sum("guestreq_sequence_anomalies_total", &[("vm", vm), ("kind", kind)])
    };
    ensure!(count("normal", "replay") + count("normal", "gap") == 0.0, "anomalies of a normal VM");
    let refused = metrics.sum("guestreq_messages_total", &[("result", "aead_oflow")]);
    let reported = count("replays", "replay") + count("gaps", "gap");
    ensure!(
        reported == refused && refused > 0.0,
        "{reported} reported, the firmware refused {refused}"
    );
    ensure!(count("replays", "gap") + count("gaps", "replay") == 0.0, "kinds are mixed up");
    Ok(Status::Passed)
}

fn vmpcks(_: &Context) -> Result<Status> {
    let agent = Agent::start(&[])?;
    load::run("--vmpck 2 --count 7 --name two --vmm firecracker")?;
    load::run("--vmpck all --count 8 --name all --vmm firecracker")?;
    let counts = |name: &str| -> Result<Vec<u64>> {
        let vm = vm_named(name)?;
        let counts = vm["vmpck"].as_array().context("no vmpck")?;
        Ok(counts.iter().filter_map(serde_json::Value::as_u64).collect())
    };
    ensure!(counts("two")? == [0, 0, 7, 0, 0], "{:?}", counts("two")?);
    ensure!(counts("all")? == [2, 2, 2, 2, 0], "{:?}", counts("all")?);
    drop(agent);
    Ok(Status::Passed)
}

fn extended(_: &Context) -> Result<Status> {
    let agent = Agent::start(&[])?;
    let before = Firmware::read()?;
    load::run("--count 3")?;
    load::run("--count 4 --extended --name extended --vmm qemu")?;
    assert_exact(&agent, &before)?;
    let psp = json("psp")?;
    let exits = &psp["guest_requests"];
    ensure!(exits["plain"] == 3 && exits["extended"] == 4, "{exits}");
    ensure!(psp["guest_answers"]["ok"] == 7, "{}", psp["guest_answers"]);
    let vm = vm_named("extended")?;
    ensure!(vm["extended_requests"] == 4, "{vm}");
    Ok(Status::Passed)
}

fn certificates(context: &Context) -> Result<Status> {
    if !context.has_request_certificates() {
        return Ok(Status::Skipped("KVM_EXIT_SNP_REQ_CERTS came with Linux 7.0"));
    }
    let agent = Agent::start(&[])?;
    let before = Firmware::read()?;
    load::run("--count 5 --certs --processes --vms 3")?;
    let answered = assert_exact(&agent, &before)?;
    ensure!(answered == 15, "{answered} of 15");
    // If the VMM refuses, the request never reaches the PSP, and the guest gets the reason.
    load::run("--count 2 --certs-error invalid_len")?;
    assert_exact(&agent, &before)?;
    let reported = json("psp")?["guest_answers"].clone();
    ensure!(reported["ok"] == 15 && reported["invalid_length"] == 2, "{reported}");
    Ok(Status::Passed)
}

fn host_errors(_: &Context) -> Result<Status> {
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
    Ok(Status::Passed)
}

fn dies(_: &Context) -> Result<Status> {
    let mut agent = Agent::start(&[])?;
    let before = Firmware::read()?;
    Firmware::set("latency_us", 50_000)?;
    for i in 0..5 {
        let arguments = format!("--name dying-{i} --vmm qemu --vcpus 3 --vmpck all --seconds 30");
        load::start(&format!("{arguments} --die-after {}", 100 + 37 * i))?.end()?;
    }
    Firmware::reset()?;
    // KVM destroys the VMs in a kernel thread.
    agent.wait_until("all VMs have exited", |metrics| {
        metrics.is_map_empty("threads") && metrics.is_map_empty("contexts")
    })?;
    assert_exact(&agent, &before)?;
    let metrics = agent.scrape()?;
    ensure!(metrics.is_zero("guestreq_psp_queue_length", &[]), "a request still waits");
    let running = find_vm(|vm| vm["running"] == true)?;
    ensure!(running.is_none(), "{running:?}");
    Ok(Status::Passed)
}

fn ordinary(_: &Context) -> Result<Status> {
    let agent = Agent::start(&[])?;
    load::run("--ordinary --vms 2")?;
    std::thread::sleep(Duration::from_millis(300));
    let vms = agent.scrape()?.values("guestreq_vm_info", "vm");
    ensure!(vms.is_empty(), "{vms:?}");
    host::Firmware::reset()?;
    Ok(Status::Passed)
}
