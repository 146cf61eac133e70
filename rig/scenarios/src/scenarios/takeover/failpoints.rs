//! # Agents that die at failpoints
//!
//! The agent lists its failpoints; after each the next agent starts as usual.

use std::{fs, process::Command};

use anyhow::{Context as _, Result, ensure};

use super::{Host, PINS, Random, die_at, points, refused, start, versions::PROGRAMS};
use crate::{
    agent::{self, Agent, cli, is_known, vm_named},
    bpf,
    host::wait_until,
    load,
    scenario::{Context, Status, scenario},
};

scenario!(night AT_START: "takeover/dies_at_start" = at_start,
    "an agent that dies at any step of its first start does not hinder the next one");
scenario!(night AT_TAKEOVER: "takeover/dies_at_takeover" = at_takeover,
    "agents that die at any step of a takeover leave enforcement in place");
scenario!(AT_CHANGE: "takeover/dies_at_change" = at_change,
    "an agent that dies during a policy change has saved it completely or not at all");
scenario!(night AT_STOP: "takeover/dies_at_stop" = at_stop,
    "an agent that dies while it stops can be started again");
scenario!(night AT_DETACH: "takeover/dies_at_detach" = at_detach,
    "detach leaves nothing and can be repeated after dying at any step");

/// A short-lived VM: half of its requests pass, half are denied.
const LOAD: &str = "--vmm qemu --name brief --type report,export --count 10";

/// A fallback that is attached only without this probe.
const FALLBACK: (&str, &[&str]) = ("on_vmgexit_enter", &["--without-probe", WANTS_LOCK]);
const WANTS_LOCK: &str = "kprobe/snp_handle_guest_req";

/// Keeps each of a few of the points that exist once per hook, starting with a random one, as hooks
/// are alike.
fn keep_every(nth: u32, points: &mut Vec<String>) -> Result<()> {
    let first = Random::new()?.below(nth.into()) as u32;
    let mut hooks = 0;
    points.retain(|point| {
        hooks += u32::from(point.contains(':'));
        !point.contains(':') || hooks % nth == first
    });
    Ok(())
}

fn at_start(context: &Context) -> Result<Status> {
    let mut points = points(&["start", "attach"])?;
    let all = points.len();
    if !context.long {
        keep_every(12, &mut points)?;
        // Each agent starts from nothing, which takes seconds: half of the rest.
        let first = Random::new()?.below(2) as usize;
        points = points.into_iter().skip(first).step_by(2).collect();
    }
    let mut host = Host::fresh("")?;
    for point in &points {
        host.begin()?;
        let more = if point.ends_with(FALLBACK.0) && !point.starts_with("placed") {
            FALLBACK.1
        } else {
            &[]
        };
        die_at(point, more)?;
        let agent = start(more)?;
        load::run(LOAD)?;
        let answered = host.exact(&agent).with_context(|| format!("after {point}"))?;
        ensure!(answered == 5, "after {point}: {answered} of 5");
        agent.kill()?;
    }
    host.begin()?;
    host.gate.remove()?;
    println!("{} of {all} points", points.len());
    Ok(Status::Passed)
}

fn at_takeover(context: &Context) -> Result<Status> {
    let host = Host::fresh("limit = { rate = \"50/s\", burst = 5 }\n")?;
    let first = start(&[])?;
    let load = load::start(
        "--vmm qemu --name steady --vcpus 2 --vmpck all --type report,export --seconds 36000 \
         --rate 25",
    )?;
    wait_until("the VM is known", std::time::Duration::from_secs(20), || is_known("steady"))?;
    first.kill()?;
    let mut points = points(&["start"])?;
    let all = points.len();
    if !context.long {
        keep_every(4, &mut points)?;
    }
    for (i, point) in points.iter().enumerate() {
        // Its own programs it would not load again, and so not reach each point.
        die_at(point, PROGRAMS)?;
        host.firmware().with_context(|| format!("after {point}"))?;
        // Each starts with what the last one left; now and then a full agent checks it.
        if context.long || i % 8 == 7 {
            let agent = start(&[])?;
            vm_named("steady")?;
            agent.kill()?;
        }
    }
    start(&[])?.kill()?;
    let of_its_own = points.iter().filter(|point| !point.starts_with("placed:"));
    for point in of_its_own {
        die_at(point, &[])?;
        host.firmware().with_context(|| format!("after {point}, with the same programs"))?;
    }
    let agent = start(&[])?;
    load.stop()?;
    let answered = host.exact(&agent)?;
    let gate = host.gate()?;
    println!(
        "{} of {all} points; {answered} passed, {} denied, {} busy",
        points.len(),
        gate.denied,
        gate.busy
    );
    host.end(agent)?;
    Ok(Status::Passed)
}

fn at_change(_: &Context) -> Result<Status> {
    let host = Host::fresh("")?;
    let mut agent = start(&[])?;
    for (i, point) in points(&["change"])?.iter().enumerate() {
        agent.kill()?;
        let dying = start(&["--die-at", point])?;
        let rate = format!("{}/s", 70 + i);
        let change = ["limit", "set", "--default", "--rate", &rate, "--burst", "9"];
        ensure!(cli(&change).is_err(), "{point}: it answered");
        dying.wait_until_killed().with_context(|| point.to_owned())?;
        agent = start(&[])?;
        let kept = cli(&["limit", "show"])?.contains(&rate);
        // Before the file is renamed nothing has changed; from then on it has.
        ensure!(kept == (point != "override_written"), "{point}: kept is {kept}");
        load::run(LOAD)?;
        host.exact(&agent).with_context(|| format!("after {point}"))?;
    }
    host.end(agent)?;
    Ok(Status::Passed)
}

/// Also where it detaches as it stops and dies half-way.
fn at_stop(_: &Context) -> Result<Status> {
    let host = Host::fresh("")?;
    let stop = |agent: Agent| -> Result<()> {
        agent::signal(agent.pid(), libc::SIGTERM)?;
        agent.wait_until_killed()
    };
    for point in points(&["stop"])? {
        stop(start(&["--die-at", &point])?)?;
        let agent = start(&[])?;
        load::run(LOAD)?;
        host.exact(&agent)?;
        agent.kill()?;
    }
    let audit = "/tmp/audit.toml";
    fs::write(audit, format!("mode = \"audit\"\nstate = \"{}\"\n", super::STATE)).context(audit)?;
    for point in ["dropped:on_command_start", "links_dropped", "programs_dropped"] {
        stop(Agent::start(&["--config", audit, "--die-at", point])?)
            .with_context(|| point.to_owned())?;
        let agent = start(&[])?;
        let before = agent.scrape()?.sum("guestreq_messages_total", &[]);
        load::run(LOAD)?;
        let counted = agent.scrape()?.sum("guestreq_messages_total", &[]) - before;
        ensure!(counted == 10.0, "after {point}: {counted} of 10");
        host.firmware()?;
        agent.kill()?;
    }
    host.end(start(&[])?)?;
    Ok(Status::Passed)
}

fn at_detach(_: &Context) -> Result<Status> {
    let probes = || fs::read_to_string("/sys/kernel/debug/kprobes/list").context("kprobes");
    let _ = cli(&["detach"])?;
    let before = (bpf::loaded(), probes()?);
    let gone = || -> Result<()> {
        ensure!(!fs::exists(PINS)?, "{PINS} still exists");
        // The kernel frees programs and probes after a while.
        wait_until("everything is as before", std::time::Duration::from_secs(20), || {
            Ok((bpf::loaded(), probes()?) == before)
        })
    };
    let host = Host::fresh("")?;
    let agent = start(&[])?;
    let line = refused(&["detach"])?;
    let expected = format!("an agent is running (pid {})", agent.pid());
    ensure!(line.contains(&expected), "{line}");
    agent.stop()?;
    ensure!(bpf::loaded() != before.0, "nothing is loaded");
    ensure!(cli(&["detach"])?.contains("Nothing is counted or enforced any more"));
    gone()?;
    ensure!(cli(&["detach"])?.contains("Nothing was attached"));
    host.firmware()?;
    load::run(LOAD)?;
    let unanswered = host.gate()?.unanswered;
    ensure!(unanswered == 10, "{unanswered} of 10 unanswered");
    drop(host);

    // Each continues where the last one died.
    let points = points(&["detach"])?;
    let host = Host::fresh("")?;
    start(&[])?.stop()?;
    for point in &points {
        if point == "maps_dropped" {
            // The last step, which leaves only folders.
            continue;
        }
        die(point)?;
    }
    cli(&["detach"])?;
    gone()?;
    start(&[])?.stop()?;
    die("maps_dropped")?;
    cli(&["detach"])?;
    gone()?;

    // An agent starts after half a detach.
    start(&[])?.stop()?;
    die("dropped:on_file_ioctl")?;
    let agent = start(&[])?;
    load::run(LOAD)?;
    host.firmware()?;
    agent.stop()?;
    cli(&["detach"])?;
    gone()?;
    println!("{} points", points.len());
    host.gate.remove()?;
    Ok(Status::Passed)
}

fn die(point: &str) -> Result<()> {
    use std::os::unix::process::ExitStatusExt as _;
    let status = Command::new("/bin/guestreq").args(["detach", "--die-at", point]).status()?;
    ensure!(status.signal() == Some(libc::SIGKILL), "{point}: {status}");
    Ok(())
}
