//! # Launches and the agent's restarts

use anyhow::{Result, ensure};
use guestreq_common::command::SNP_LAUNCH_FINISH;

use super::{records, wait_for_ended};
use crate::{
    agent::{self, Agent},
    enforcing::Enforcing,
    host::{Firmware, wait_until},
    load::{self, Cue},
    scenario::{Context, Status, scenario},
    scenarios::launch_load,
};

scenario!(RESTART: "launches/restart" = restart,
    "the next agent knows launches that ended before and while there was none, and one that runs");

fn restart(_: &Context) -> Result<Status> {
    // Pins, and with them the history, stay while something is enforced.
    let Enforcing { mut agent, gate } = Enforcing::start("")?;
    let first = Firmware::read()?;
    let held = load::start("--vmm qemu --name web --failed-launches 3 --pages 5 --hold")?;
    wait_for_ended(&mut agent, None, 3)?;
    let cues = ["ends", "runs"].map(Cue::new);
    let start = |name, cue: &Cue| {
        let before = Firmware::read()?;
        let load = load::start(&format!(
            "--vmm qemu --name {name} --pages 8 --launch-cue {} --count 0 --hold",
            cue.path()
        ))?;
        launch_load::wait_for_pages(&before, 4)?;
        anyhow::Ok(load)
    };
    let (ends, runs) = (start("ends", &cues[0])?, start("runs", &cues[1])?);
    agent.wait_until("two launches run", |metrics| metrics.sum("guestreq_launches", &[]) == 2.0)?;
    let before = records::all()?;
    agent.stop()?;
    continue_launch(&cues[0], &first, 2)?;

    let mut agent = Agent::start(&["--config", "/tmp/guestreq.toml"])?;
    ensure!(agent::log().contains("took over"), "it took nothing over: {}", agent::log());
    let after = records::all()?;
    let of = |all: &[records::Record], name: &str, state: &str| {
        let is_it = |it: &&records::Record| it.name.as_deref() == Some(name) && it.state == state;
        all.iter().filter(is_it).count()
    };
    ensure!(after.len() == 5, "the next agent knows {} launches: {after:?}", after.len());
    ensure!(of(&before, "ends", "running") == 1 && of(&after, "ends", "finished") == 1);
    ensure!(of(&after, "runs", "running") == 1 && of(&after, "web", "finished") == 1, "{after:?}");
    for old in before.iter().filter(|it| it.state != "running") {
        let kept = |it: &&records::Record| {
            (&it.state, it.commands, it.stage_ns) == (&old.state, old.commands, old.stage_ns)
        };
        ensure!(after.iter().filter(kept).count() == 1, "{old:?} is not in {after:?}");
    }
    ensure!(super::events()?.is_empty(), "it reports them again");
    continue_launch(&cues[1], &first, 3)?;
    wait_for_ended(&mut agent, Some("finished"), 3)?;
    let mut launches = Firmware::read()?.launches_since(&first)?;
    launches.retain(|launch| launch.pages > 0);
    launches.sort_by_key(|launch| launch.end_ns);
    let finished = records::finished()?;
    ensure!(finished.len() == 3 && launches.len() == 3, "{finished:?}, {launches:?}");
    for (record, launch) in finished.iter().zip(&launches) {
        record.is_exactly(launch)?;
    }
    ensure!(super::events()?.len() == 1, "it reports {:?}", super::events()?);
    for load in [held, ends, runs] {
        load.finish()?;
    }
    Enforcing { agent, gate }.end()
}

/// Gives the cue, and waits until the firmware has finished this many launches since then.
fn continue_launch(cue: &Cue, first: &Firmware, finished: u64) -> Result<()> {
    cue.give()?;
    wait_until("the launch has finished", launch_load::LIMIT, || {
        Ok(Firmware::read()?.since(first).count(SNP_LAUNCH_FINISH) >= finished)
    })
}
