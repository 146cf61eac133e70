//! # Gates of other releases
//!
//! What an upgrade in either order meets. Another gate's parameters are mounted over this one's.

use std::{fs, thread::sleep, time::Duration};

use anyhow::{Context as _, Result, ensure};

use super::{super::doctor::DoctorReport, ensure_all};
use crate::{
    agent::{Agent, cli},
    gate::{Gate, waiters},
    host::{self, Firmware, wait_until},
    load,
    scenario::{Context, Status, scenario},
};

scenario!(agent PROTOCOLS: "gate/protocols" = protocols,
    "a gate of an older protocol is used, and one that is too new is reported with a remedy");

/// A parameter that reads differently; as before when dropped.
struct Instead(String);

impl Instead {
    fn of(parameter: &str, value: &str) -> Result<Instead> {
        let (file, path) = (format!("/tmp/instead-{parameter}"), Gate::path(parameter));
        fs::write(&file, format!("{value}\n")).context("another value")?;
        host::run_command("mount", &["--bind", &file, &path])?;
        Ok(Instead(path))
    }
}

impl Drop for Instead {
    fn drop(&mut self) {
        // If it fails, the gate cannot be removed, which fails the scenario.
        let _ = host::run_command("umount", &[&self.0]);
    }
}

/// The gate itself would know them, and show them.
fn without_weights() -> Result<()> {
    Firmware::set("latency_us", 5_000)?;
    let push = |name| load::start(&format!("--vmm qemu --name {name} --seconds 3600"));
    let loads = ["a", "b", "c"].into_iter().map(push).collect::<Result<Vec<_>>>()?;
    wait_until("two wait", Duration::from_secs(60), || Ok(waiters()?.len() == 2))?;
    for _ in 0..50 {
        let weighted = waiters()?.into_iter().find(|waiter| waiter.weight != 1);
        ensure!(weighted.is_none(), "{weighted:?}");
        sleep(Duration::from_millis(5));
    }
    let explained = cli(&["policy", "explain", "--vm", "a"])?;
    ensure!(explained.contains("speaks protocol 1, which has no weights"), "{explained}");
    for load in loads {
        load.stop()?;
    }
    Firmware::reset()
}

fn protocols(_: &Context) -> Result<Status> {
    let gate = Gate::load(&[])?;
    {
        let _older = Instead::of("protocol_newest", "1")?;
        let agent = Agent::with_config("mode = \"enforce\"\nweight = 5\n")?;
        let before = Firmware::read()?;
        ensure_all(&load::run("--vmm qemu --type export --count 3")?, "fw:0x16", 3)?;
        let sent = Firmware::read()?.since(&before).guest_requests;
        ensure!(sent == 0, "{sent} disallowed messages reached the PSP");
        ensure_all(&load::run("--vmm qemu --type report --count 3")?, "ok", 3)?;
        without_weights()?;
        ensure!(gate.counts()?.unanswered == 0, "{:?}", gate.counts()?);
        let report = DoctorReport::of_enforcing_host()?;
        report.says("gate_protocol", "pass", "1, an older one: without weights")?;
        drop(agent);
    }
    cli(&["detach"])?;
    let newer = [Instead::of("protocol", "3")?, Instead::of("protocol_newest", "4")?];
    let report = DoctorReport::of_enforcing_host()?;
    let found = "the loaded gate speaks protocol 3 to 4, this guestreq 1 to 2";
    report.says("gate_protocol", "fail", found)?;
    report.says("gate_protocol", "fail", "the gate is newer: upgrade guestreq")?;
    drop(newer);
    gate.remove()?;
    Ok(Status::Passed)
}
