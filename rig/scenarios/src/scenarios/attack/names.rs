//! # Processes that cannot be looked at

use anyhow::{Result, ensure};

use super::{Attacked, passed};
use crate::{
    host::run_command,
    load,
    scenario::{Context, Outcome, Scenario},
};

pub const VANISH: Scenario = Scenario {
    name: "processes_that_are_gone_when_they_are_looked_at_have_the_default_and_are_counted",
    check: vanish,
};
pub const HIDEPID: Scenario = Scenario {
    name: "where_proc_hides_processes_root_s_agent_knows_vms_all_the_same",
    check: hidepid,
};

/// Launched by a process that is gone, or gone themselves after a request.
fn vanish(_: &Context) -> Result<Outcome> {
    let attacked = Attacked::start("keep_exited_vms = \"1d\"\nallow = [\"report\"]\n")?;
    let mut sent = 0;
    for round in 0..4 {
        let ghosts = format!("--vmm qemu --vms 4 --name ghost{round} --attack launcher --forge x");
        let brief = format!("--vmm qemu --vms 4 --name brief{round}");
        let loads = [ghosts, brief].map(|load| {
            load::start(&format!("{load} --type report,export --count 2 --busy-retry-ms 5"))
        });
        for load in loads {
            let seen = load?.finish()?;
            ensure!(passed(&seen) == 4, "round {round}: {:?}", seen.outcomes);
            sent += passed(&seen);
        }
    }
    ensure!(attacked.reached()? == sent, "{} of {sent}", attacked.reached()?);
    attacked.is_exact()?;
    attacked.end()
}

fn hidepid(_: &Context) -> Result<Outcome> {
    run_command("mount", &["-o", "remount,hidepid=2", "/proc"])?;
    let result = hidden();
    run_command("mount", &["-o", "remount,hidepid=0", "/proc"])?;
    result
}

fn hidden() -> Result<Outcome> {
    let mut attacked =
        Attacked::start("[[vm]]\nmatch = { name = \"strict\" }\nallow = [\"key\"]\n")?;
    let seen = load::run("--vmm qemu --name strict --type report,key --count 10")?;
    ensure!(passed(&seen) == 5, "{:?}", seen.outcomes);
    attacked.knows("strict", 5.0)?;
    attacked.is_exact()?;
    attacked.end()
}
