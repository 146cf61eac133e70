//! # QEMUs that push, and what others get beside them
//!
//! Ratios of one run: shares, waits and launches, compared with the firmware's own times.

use std::{
    thread::sleep,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, ensure};
use guestreq_common::command::{SNP_DECOMMISSION, SNP_GUEST_REQUEST};

use super::{INTERVAL, LIMIT, count};
use crate::{
    agent::{Agent, cli},
    enforcing::Enforcing,
    flash::{self, Script},
    host::{Firmware, Launch, wait_until},
    qemu::{Machine, Qemu},
    scenario::{Context, Status, scenario},
    scenarios::order::{at_most, end, load_gate},
};

scenario!(timed SHARE: "qemu/share" = share,
    "a pushing QEMU gets its share of the PSP's time, also after a policy change, and a quiet one all it asks for");
scenario!(night timed ORDER: "qemu/order" = order,
    "beside QEMUs that push a quiet one waits for one request, and without the order for all");
scenario!(night timed LAUNCHES: "qemu/launches" = launches,
    "QEMU launches VMs of 256 and 1,000 pages beside QEMUs that push in little more time than alone");

/// Sends again as soon as the last request is answered, and each time that it reads BUSY.
fn pusher(name: &str) -> Result<Qemu> {
    Qemu::start(name, &Script::reports(Duration::from_millis(5)))
}

fn metric(agent: &Agent, name: &str, vm: &str, label: (&str, &str)) -> Result<f64> {
    Ok(agent.scrape()?.sum(name, &[("vm", vm), label]))
}

/// The PSP's seconds for a VM's requests since then, as the firmware counts them. It knows the VM by
/// the number of its launch.
fn psp_seconds(before: &Firmware, launch: u64) -> Result<f64> {
    let now = Firmware::read()?;
    let address = now.launches.get(&launch).context("the launch is forgotten")?.address;
    let during = now.since(before);
    let requests = during.contexts.get(&address).map_or(0, |it| it.1);
    let (all, busy_ns) = during.commands.get(&SNP_GUEST_REQUEST).copied().context("none yet")?;
    // All requests take the same time.
    Ok(requests as f64 * busy_ns as f64 / all as f64 / 1e9)
}

fn share(_: &Context) -> Result<Status> {
    let Enforcing { agent, gate } = Enforcing::start("limit = { share = \"10%\" }\n")?;
    Firmware::set("latency_us", 20_000)?;
    let launch = Firmware::read()?.launched;
    let mut push = pusher("pusher")?;
    let mut quiet = Qemu::start("quiet", &Script::reports(INTERVAL * 4))?;
    // Its burst is over.
    push.wait_for("been BUSY", |letters| letters.contains("BBBB"))?;
    for share in [0.1, 0.3] {
        if share > 0.1 {
            cli(&["limit", "set", "--vm", "pusher", "--share", "30%"])?;
            sleep(Duration::from_secs(3));
        }
        let by_agent =
            || metric(&agent, "guestreq_vm_psp_seconds_total", "pusher", ("class", "request"));
        let (begin, before, start) = (by_agent()?, Firmware::read()?, Instant::now());
        sleep(Duration::from_secs(5));
        let (firmwares, seconds) = (psp_seconds(&before, launch)?, start.elapsed().as_secs_f64());
        let agents = by_agent()? - begin;
        println!(
            "share {share}: {:.4} of the PSP, {agents:.3} s, the firmware {firmwares:.3} s",
            firmwares / seconds
        );
        let ratio = firmwares / seconds / share;
        // One request more or less is a twenty-fifth of it.
        ensure!((0.85..=1.15).contains(&ratio), "{ratio:.3} of its share");
        ensure!((0.9..=1.15).contains(&(agents / firmwares)), "the agent says {agents:.3} s");
    }
    let answers = push.count('.')?;
    cli(&["limit", "set", "--vm", "pusher", "--off"])?;
    push.wait_for_answers(30)?;
    let letters = push.letters()?;
    let (_, since) = letters.rsplit_once('B').context("it was never BUSY")?;
    ensure!(since.len() >= 29, "{} answers, then {since}", answers);
    let letters = quiet.letters()?;
    ensure!(letters.chars().all(|it| it == '.') && letters.len() > 10, "quiet: {letters}");
    for vm in [&mut push, &mut quiet] {
        vm.execute("stop")?;
        let (counted, read) = (count(&agent, &vm.name, "ok")?, vm.count('.')?);
        ensure!(counted - read <= 1, "{}: {counted} counted, its guest read {read}", vm.name);
    }
    Firmware::reset()?;
    Enforcing { agent, gate }.end()
}

/// How often the quiet VM of the scenario waited for another's request, on average.
fn waits(agent: &Agent, seconds: u64) -> Result<f64> {
    let stage = |stage| metric(agent, "guestreq_vm_stage_seconds_total", "quiet", ("stage", stage));
    let read = || Ok::<_, anyhow::Error>((stage("psp_queue")?, stage("psp_service")?));
    let before = read()?;
    sleep(Duration::from_secs(seconds));
    let after = read()?;
    Ok((after.0 - before.0) / (after.1 - before.1))
}

fn order(_: &Context) -> Result<Status> {
    let gate = load_gate()?;
    Firmware::set("latency_us", 30_000)?;
    let agent = Agent::with_config("mode = \"audit\"\n")?;
    let launched = Firmware::read()?.launched;
    let names = ["a", "b", "c", "d"];
    let pushers = names.map(pusher).into_iter().collect::<Result<Vec<_>>>()?;
    let mut quiet = Qemu::start("quiet", &Script::reports(INTERVAL * 3))?;
    quiet.wait_for_answers(1)?;
    let before = Firmware::read()?;
    let mut without = 0.0;
    at_most("a quiet QEMU's wait beside four, by its service", 1.7, || {
        let with = waits(&agent, 4)?;
        gate.set("depth", "0")?;
        without = waits(&agent, 4)?;
        gate.set("depth", "1")?;
        println!("it waits for {with:.2} requests, without the order for {without:.2}");
        Ok(with)
    })?;
    ensure!(without > 2.3, "without the order it waits for {without:.2} requests");
    // Those that push have as much as each other.
    let had = (launched..).take(pushers.len()).map(|launch| psp_seconds(&before, launch));
    let had: Vec<f64> = had.collect::<Result<_>>()?;
    let mean = had.iter().sum::<f64>() / had.len() as f64;
    println!("{had:.2?} s of the PSP each");
    ensure!(had.iter().all(|it| (0.8..=1.2).contains(&(it / mean))), "{had:.2?}");
    drop((pushers, quiet));
    drop(agent);
    end(gate)
}

/// The launch that began last is over, and its VM is gone.
fn launched(pages: usize) -> Result<Duration> {
    let before = Firmware::read()?;
    let mut vm = launching(pages)?;
    let launch = took(&finished(&before, &mut [(&mut vm, pages)])?[0]);
    vm.kill()?;
    wait_until("its context is gone", LIMIT, || {
        Ok(Firmware::read()?.since(&before).count(SNP_DECOMMISSION) == 1)
    })?;
    Ok(launch)
}

fn launching(pages: usize) -> Result<crate::qemu::Process> {
    let image = flash::image(&Script::reports(INTERVAL * 10), pages)?;
    Ok(Machine::with_image(&format!("of-{pages}"), image).spawn()?.0)
}

fn took(launch: &Launch) -> Duration {
    Duration::from_nanos(launch.end_ns - launch.begin_ns)
}

/// These launches, once all are over.
fn finished(
    before: &Firmware,
    vms: &mut [(&mut crate::qemu::Process, usize)],
) -> Result<Vec<Launch>> {
    // The three that the VMM fills, and the vCPU's state.
    let all_of = |launch: &Launch, pages: usize| launch.pages == pages as u64 + 4;
    let mut found = Vec::new();
    wait_until("the launches are over", LIMIT, || {
        let launches = Firmware::read()?.launches_since(before)?;
        found.clear();
        for (vm, pages) in vms.iter_mut() {
            vm.still_runs()?;
            found.extend(launches.iter().find(|launch| all_of(launch, *pages)).copied());
        }
        // GCTX_CREATE, LAUNCH_START, ACTIVATE and LAUNCH_FINISH.
        let are_over = launches.iter().all(|launch| launch.commands == launch.pages + 4);
        Ok(found.len() == vms.len() && are_over)
    })?;
    Ok(found)
}

/// As many as a QEMU can: its images are multiples of 16 pages.
const SIZES: [usize; 2] = [256, 1008];

fn launches(_: &Context) -> Result<Status> {
    let gate = load_gate()?;
    let alone = [launched(SIZES[0])?, launched(SIZES[1])?];
    let names = ["a", "b", "c", "d", "e", "f"];
    let pushers = names.map(pusher).into_iter().collect::<Result<Vec<_>>>()?;
    wait_until("all push", LIMIT, || Ok(gate.order()?.of("waiting")? >= 4))?;
    for (pages, alone) in SIZES.into_iter().zip(alone) {
        // 1.3 on an idle machine. On a busy one the launch's own work takes longer, too, and it was
        // measured alone at another time.
        at_most(&format!("a launch of {pages} pages beside six"), 2.4, || {
            let beside = launched(pages)?;
            println!("{pages} pages: alone {alone:.1?}, beside six {beside:.1?}");
            Ok(beside.as_secs_f64() / alone.as_secs_f64())
        })?;
    }
    // At the same time: they share the PSP.
    at_most("both at once, by both one after another", 1.8, || {
        let before = Firmware::read()?;
        let (mut small, mut large) = (launching(SIZES[0])?, launching(SIZES[1])?);
        let both = finished(&before, &mut [(&mut small, SIZES[0]), (&mut large, SIZES[1])])?;
        let begin = both.iter().map(|launch| launch.begin_ns).max();
        let end = both.iter().map(|launch| launch.end_ns).min();
        if begin >= end {
            println!("one was over before the other began: {both:?}");
            return Ok(f64::INFINITY);
        }
        let both: Vec<_> = both.iter().map(took).collect();
        println!("both at once {both:.1?}, alone {alone:.1?}");
        let longest = both.into_iter().max().unwrap_or_default();
        small.kill()?;
        large.kill()?;
        Ok(longest.as_secs_f64() / (alone[0] + alone[1]).as_secs_f64())
    })?;
    drop(pushers);
    end(gate)
}
