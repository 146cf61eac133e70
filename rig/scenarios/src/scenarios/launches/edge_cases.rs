//! # Launches of unusual size or end

use std::ops::RangeInclusive;

use anyhow::{Context as _, Result, ensure};

use super::{
    records::{self, Record},
    wait_for_ended,
};
use crate::{
    agent::{self, Agent},
    host::Firmware,
    load,
    scenario::{Context, Status, scenario},
    scenarios::launch_load,
};

scenario!(long PAGES: "launches/pages" = pages,
    "a launch without pages and one with 100,000 are known exactly");
scenario!(long VANISHED: "launches/vanished" = vanished,
    "a launch that fails, is abandoned or loses its VMM is shown as far as the firmware saw it");
scenario!(long CHURN: "launches/churn" = churn,
    "of more launches than the agent keeps all are counted and the latest are known exactly");

fn pages(_: &Context) -> Result<Status> {
    let _agent = Agent::start(&[])?;
    // 400 MiB, the most that snpload measures.
    let many = 100_000;
    for pages in [0, many] {
        let (before, known) = (Firmware::read()?, records::finished()?.len());
        let seen = load::run(&format!("--vmm qemu --name of-{pages} --pages {pages} --hold"))?;
        let launches = Firmware::read()?.launches_since(&before)?;
        let found = records::compare(&records::finished()?[known..], &launches, &seen.launches)?;
        ensure!(found.pages == pages + 1, "{found:?}");
        println!("{pages} pages: {found:?}");
    }
    Ok(Status::Passed)
}

/// Waits until a launch has ended, and returns the agent's record.
fn ended(agent: &mut Agent, result: &str, number: u64) -> Result<Record> {
    wait_for_ended(agent, Some(result), number)?;
    let all = records::all()?;
    let record = all.first().context("the agent knows no launch")?;
    ensure!(record.state == result, "not {result}: {record:?}");
    Ok(record.clone())
}

/// The agent's record of the only launch since then is the firmware's.
fn check(before: &Firmware, record: &Record, pages: RangeInclusive<u64>) -> Result<()> {
    let launch = launch_load::only(before)?.context("the firmware saw no launch")?;
    ensure!(pages.contains(&record.pages), "{record:?}, not {pages:?} pages");
    ensure!(record.failed.is_some() == (launch.failed > 0), "{record:?}: {launch:?}");
    record.is_exactly(&launch)
}

fn vanished(_: &Context) -> Result<Status> {
    let mut agent = Agent::start(&[])?;
    for (i, (step, pages)) in (1..).zip([("start", 0), ("update", 128)]) {
        let before = Firmware::read()?;
        load::run(&format!("--pages 256 --abandon {step} --count 0"))?;
        check(&before, &ended(&mut agent, "abandoned", i)?, pages..=pages)?;
    }
    // Between two KVM_SEV_SNP_LAUNCH_UPDATEs, and in the middle of one.
    let waiting = "--vmm qemu --name killed --pages 256 --launch-cue /tmp/no-cue";
    let before = Firmware::read()?;
    let load = load::start(waiting)?;
    launch_load::wait_for_pages(&before, 128)?;
    launch_load::kill(load)?;
    check(&before, &ended(&mut agent, "process_exited", 1)?, 128..=128)?;

    let before = Firmware::read()?;
    Firmware::set("page_us", 100_000)?;
    let load = load::start(waiting)?;
    launch_load::wait_for_pages(&before, 1)?;
    // The agent can name only a process that it saw.
    agent.wait_until("the agent knows the launch", |_| {
        records::all().is_ok_and(|all| all.iter().any(|it| it.runs() && it.name.is_some()))
    })?;
    launch_load::kill(load)?;
    let killed = ended(&mut agent, "process_exited", 2)?;
    check(&before, &killed, 1..=127)?;
    ensure!(killed.name.as_deref() == Some("killed"), "{killed:?}");
    Firmware::reset()?;

    // All VMs of a process, and not only the one that it launched last.
    let before = Firmware::read()?;
    let load = load::start("--vms 3 --pages 8 --abandon update --leave-open --count 0 --hold")?;
    agent
        .wait_until("three launches run", |metrics| metrics.sum("guestreq_launches", &[]) == 3.0)?;
    launch_load::kill(load)?;
    ended(&mut agent, "process_exited", 5)?;
    let launches = Firmware::read()?.launches_since(&before)?;
    let known = records::all()?;
    ensure!(launches.len() == 3, "{launches:?}");
    for record in &known[..3] {
        ensure!(record.state == "process_exited" && record.pages == 4, "{record:?}");
    }

    for (i, page) in (1..).zip([1, 100]) {
        Firmware::set("fail_page", page)?;
        let before = Firmware::read()?;
        load::run("--pages 256 --may-fail --count 0")?;
        let failed = ended(&mut agent, "failed", i)?;
        check(&before, &failed, page - 1..=page - 1)?;
        let why = failed.failed.context("it names no command")?;
        ensure!(why == ("snp_launch_update".to_owned(), "invalid_param".to_owned()), "{why:?}");
    }
    Firmware::reset()?;
    let table = agent::cli(&["launches"])?;
    let ends: [(&[&str], usize); 3] = [
        (&["abandoned"], 2),
        (&["process_exited"], 5),
        (&["failed", "snp_launch_update: invalid_param"], 2),
    ];
    for (words, count) in ends {
        let lines = table.lines().filter(|line| words.iter().all(|word| line.contains(word)));
        ensure!(lines.count() == count, "not {count} lines with {words:?}: {table}");
    }
    let running = agent.scrape()?.sum("guestreq_launches", &[]);
    ensure!(running == 0.0, "{running} launches still run");
    Ok(Status::Passed)
}

/// More than the 512 that are kept.
const CHURN_LAUNCHES: u64 = 600;

fn churn(_: &Context) -> Result<Status> {
    let mut agent = Agent::start(&[])?;
    let before = Firmware::read()?;
    let relaunch = CHURN_LAUNCHES - 1;
    load::run(&format!("--pages 3 --relaunch {relaunch} --count 0"))?;
    let metrics = wait_for_ended(&mut agent, Some("finished"), CHURN_LAUNCHES)?;
    let durations = metrics.sum("guestreq_launch_duration_seconds_count", &[]);
    ensure!(durations == CHURN_LAUNCHES as f64, "{durations} durations");
    let (known, launches) = (records::finished()?, Firmware::read()?.launches_since(&before)?);
    ensure!(known.len() == 512, "{} launches are known", known.len());
    let unknown = launches.len() - known.len();
    for (record, launch) in known.iter().zip(&launches[unknown..]) {
        record.is_exactly(launch)?;
    }
    println!("churn: {} launches, {} of them known", launches.len(), known.len());
    Ok(Status::Passed)
}
