//! # VMs of QEMU under the installed agent

use std::{fs, thread::sleep};

use anyhow::{Context as _, Result, ensure};

use super::{INTERVAL, alternating, exports_since, ready};
use crate::{
    agent::{cli, scrape, vm_named},
    debian::{LIMIT, output},
    flash::Script,
    host::{Firmware, wait_until},
    qemu::Qemu,
    scenario::{Context, Status, scenario},
    scenarios::exact,
};

scenario!(COUNTED: "debian/counted" = counted,
    "the installed agent refuses nothing, and its counts are the firmware's");
scenario!(REFUSED: "debian/refused" = refused,
    "after a reload the service denies and limits QEMU's guests as its configuration says");

const CONFIG: &str = "/etc/guestreq/config.toml";
/// Kept over an upgrade and a reboot.
pub const POLICY: &str = "\
mode = \"enforce\"
allow = [\"report\"]

[[vm]]
match = { name = \"limited\" }
limit = { rate = \"1/s\", burst = 3 }
";
/// This VM's override is kept, too.
pub const OVERRIDDEN: &str = "overridden";

fn counted(_: &Context) -> Result<Status> {
    ready()?;
    let before = Firmware::read()?;
    let mut vm = alternating("observed")?;
    vm.wait_for_answers(20)?;
    vm.execute("stop")?;
    let shown = vm_named("observed")?;
    ensure!(shown["uuid"] == vm.uuid.as_str(), "{shown}");
    let letters = vm.letters()?;
    ensure!(letters.chars().all(|letter| letter == '.'), "{letters}");
    let answered = exact(&Firmware::read()?.since(&before), &scrape()?, "nothing")?;
    // Between an answer and its letter it may have been stopped.
    ensure!(answered - letters.len() as u64 <= 1, "{answered} answered, read {letters}");
    Ok(Status::Passed)
}

fn refused(_: &Context) -> Result<Status> {
    fs::write(CONFIG, POLICY).context(CONFIG)?;
    output("systemctl", &["reload", super::SERVICE])?;
    wait_until("the agent enforces at the gate", LIMIT, || {
        let labels = [("verified", "true"), ("mode", "enforce")];
        Ok(scrape()?.select("guestreq_enforcement_info", &labels).next().is_some())
    })?;
    // An override is for a VM that runs, and for those that have its name later.
    let mut vm = Qemu::start(OVERRIDDEN, &Script::reports(INTERVAL))?;
    vm.wait_for_answers(1)?;
    cli(&["policy", "deny", "report", "--vm", OVERRIDDEN, "--yes"])?;
    vm.wait_for("been denied", |letters| letters.ends_with("II"))?;
    drop(vm);
    enforces()?;
    Ok(Status::Passed)
}

/// Whether [`POLICY`] and the override are enforced.
pub fn enforces() -> Result<()> {
    let before = Firmware::read()?;
    let mut denied = alternating("denied")?;
    let mut limited = Qemu::start("limited", &Script::reports(INTERVAL))?;
    let mut overridden = Qemu::start(OVERRIDDEN, &Script::reports(INTERVAL))?;
    denied.wait_for("sent a few", |letters| letters.len() >= 10)?;
    overridden.wait_for("sent a few", |letters| letters.len() >= 3)?;
    limited.wait_for("been BUSY", |letters| letters.ends_with("BB"))?;
    for vm in [&mut denied, &mut limited, &mut overridden] {
        vm.execute("stop")?;
    }
    // What is in the PSP gets its answer.
    sleep(INTERVAL);
    let letters = denied.letters()?;
    ensure!(letters == ".I".repeat(letters.len())[..letters.len()], "denied: {letters}");
    let letters = limited.letters()?;
    ensure!(letters.starts_with("...") && !letters.contains('I'), "limited: {letters}");
    let letters = overridden.letters()?;
    ensure!(letters.chars().all(|letter| letter == 'I'), "overridden: {letters}");
    let (exports, reached) = (exports_since(&before)?, Firmware::read()?.since(&before));
    ensure!(exports == 0, "{exports} exports reached the firmware");
    let read = denied.count('.')? + limited.count('.')?;
    let answered = reached.guest_requests;
    ensure!(answered - read <= 2, "{answered} reached the firmware, the guests read {read}");
    Ok(())
}
