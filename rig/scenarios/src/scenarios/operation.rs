//! # Running the agent

use std::{
    fs,
    io::Write as _,
    net::TcpListener,
    process::{Command, Stdio},
    time::Duration,
};

use anyhow::{Context as _, Result, ensure};

use crate::{
    agent::{self, Agent, cli, json},
    host::{Firmware, wait_until},
    load,
    scenario::{Context, Status, scenario},
};

scenario!(METRICS_ARE_CLEAN: "operation/promtool" = promtool,
    "promtool finds nothing wrong with the metrics");
scenario!(COMMAND_LINE: "operation/command_line" = command_line,
    "vms and psp show which VM sends requests and which one holds the PSP");
scenario!(BAD_INPUT: "operation/bad_input" = bad_input, "bad input gets one clear line");
scenario!(STOPS_CLEANLY: "operation/sigterm" = stops,
    "SIGTERM detaches everything and exits with 0");

fn promtool(_: &Context) -> Result<Status> {
    let agent = Agent::start(&[])?;
    load::run("--vms 3 --vmm qemu --name a\"b\\c --count 20 --fault type-random")?;
    let text = agent.scrape()?.text;
    let mut child = Command::new("/bin/promtool")
        .args(["check", "metrics"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .context("promtool")?;
    child.stdin.take().context("promtool's input")?.write_all(text.as_bytes())?;
    let output = child.wait_with_output().context("promtool")?;
    let stderr = String::from_utf8_lossy(&output.stderr);
    let stdout = String::from_utf8_lossy(&output.stdout);
    ensure!(output.status.success() && stderr.is_empty() && stdout.is_empty(), "{stdout}{stderr}");

    // A VM that behaves like a Linux guest stays within its bound.
    load::run("--vmm qemu --name usual --count 30 --type report,key,tsc_info")?;
    let series = agent.scrape()?.series_of_vm("usual");
    ensure!(series <= 60, "a usual VM has {series} series");
    println!("a usual VM has {series} series");
    Ok(Status::Passed)
}

fn command_line(_: &Context) -> Result<Status> {
    let agent = Agent::start(&[])?;
    ensure!(cli(&["vms"])?.starts_with("No VM"), "{}", cli(&["vms"])?);
    Firmware::set("latency_us", 20_000)?;
    let hog = load::start("--vmm qemu --name hog --vcpus 4 --vmpck all --seconds 12")?;
    let meek = load::start("--vmm qemu --name meek --rate 2 --seconds 12")?;
    std::thread::sleep(Duration::from_secs(4));
    let vms = json("vms")?;
    // Between two requests no VM holds it.
    let mut psp = json("psp")?;
    wait_until("a VM holds the PSP", Duration::from_secs(20), || {
        psp = json("psp")?;
        Ok(psp["holder"]["command"] == "snp_guest_request")
    })?;
    let (psp_table, vms_table) = (cli(&["psp"])?, cli(&["vms"])?);
    hog.finish()?;
    meek.finish()?;
    Firmware::reset()?;
    println!("{vms_table}\n{psp_table}");
    ensure!(vms["vms"][0]["vm"] == "hog", "the VM that takes most comes first: {vms}");
    let share = vms["vms"][0]["recent_psp_share"].as_f64().context("recent_psp_share")?;
    let utilisation = psp["recent_utilisation"].as_f64().context("recent_utilisation")?;
    ensure!(share > 0.4 && utilisation >= share * 0.9, "hog {share}, all {utilisation}");
    ensure!(utilisation < 1.05, "the PSP was {utilisation} busy");
    ensure!(psp["holder"]["seconds"].as_f64().is_some_and(|held| held < 10.0), "{psp}");
    ensure!(vms_table.lines().count() == 3, "{vms_table}");
    ensure!(psp_table.contains("Held by"), "{psp_table}");
    drop(agent);
    Ok(Status::Passed)
}

fn bad_input(_: &Context) -> Result<Status> {
    let config = "/tmp/bad.toml";
    fs::write(config, "listen = \"127.0.0.1:9940\"\nmodee = \"audit\"\n").context(config)?;
    let (code, line) = agent::refusal(&["--config", config])?;
    ensure!(code == 1 && line.contains("/tmp/bad.toml: line 2, column 1"), "{code} {line}");
    ensure!(line.contains("unknown field `modee`"), "{line}");

    let taken = TcpListener::bind("127.0.0.1:9941").context("a port")?;
    let (code, line) = agent::refusal(&["--listen", "127.0.0.1:9941"])?;
    ensure!(code == 1 && line.contains("127.0.0.1:9941 is in use"), "{code} {line}");
    drop(taken);

    let (code, line) = agent::refusal(&["--without-probe", "kprobe/nonsense"])?;
    ensure!(code == 1 && line.contains("unknown probe"), "{code} {line}");

    let (code, line) = agent::refusal_from(Command::new("/bin/guestreq").arg("vms"))?;
    ensure!(code == 1 && line.contains("no agent answers"), "{code} {line}");

    let agent = Agent::start(&[])?;
    let (code, line) = agent::refusal(&["--listen", "127.0.0.1:9942"])?;
    ensure!(code == 1 && line.contains("another agent is running"), "{code} {line}");
    ensure!(cli(&["psp"]).is_ok(), "the first agent no longer answers");
    drop(agent);
    Ok(Status::Passed)
}

fn stops(_: &Context) -> Result<Status> {
    let probes = || fs::read_to_string("/sys/kernel/debug/kprobes/list").context("kprobes");
    // The kernel frees probes, also those of earlier agents, after a grace period.
    let ours = ["__sev_do_cmd_locked", "sev_issue_cmd_external_user", "snp_handle_guest_req"];
    let gone = || {
        let probes = probes()?;
        Ok(!ours.iter().any(|function| probes.contains(function)))
    };
    wait_until("earlier agents' probes are gone", Duration::from_secs(10), gone)?;
    let before = probes()?;
    let agent = Agent::start(&[])?;
    ensure!(probes()?.lines().count() > before.lines().count(), "no probe is attached");
    load::run("--count 3")?;
    let (status, body) = agent::get("/healthz")?;
    ensure!(status == 200, "{body}");
    let status = agent.stop()?;
    ensure!(status.code() == Some(0), "{status}");
    wait_until("the probes are gone", Duration::from_secs(10), || Ok(probes()? == before))?;
    ensure!(!fs::exists("/run/guestreq/agent.sock").context("the socket")?, "the socket is left");
    Ok(Status::Passed)
}
