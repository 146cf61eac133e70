//! # A hung PSP
//!
//! After one timeout ccp declares the PSP dead, and every later command fails.

use std::time::Duration;

use anyhow::{Result, ensure};

use super::order;
use crate::{
    agent::{self, Agent},
    host::{self, Firmware, wait_until},
    load,
    scenario::{Context, Group, Status, scenario},
};

scenario!(HUNG_PSP: "hung_psp/host_errors" = hung,
    "a hung PSP is reported, and its requests are host errors");

pub const GROUP: Group = Group {
    name: "hung_psp",
    prepare: || host::load_with(&["psp_cmd_timeout=1"]),
    once: &[HUNG_PSP, order::hung::HUNG],
    ..Group::DEFAULT
};

fn hung(_: &Context) -> Result<Status> {
    // KVM warns that it cannot decommission a VM once the PSP is dead.
    println!("RIG: expect-warning snp_decommission_context");
    let agent = Agent::start(&[])?;
    let before = Firmware::read()?;
    // Each VM's first request is answered; the second follows seconds later.
    let waiting = load::start("--vms 3 --processes --count 2 --start-together --rate 0.2")?;
    wait_until("all VMs have sent a request", Duration::from_secs(60), || {
        Ok(Firmware::read()?.since(&before).guest_requests == 3)
    })?;
    Firmware::set("hang", 1)?;
    waiting.end()?;
    let firmware = Firmware::read()?.since(&before);
    let metrics = agent.scrape()?;
    let ok = metrics.sum("guestreq_messages_total", &[("result", "ok")]);
    let errors = metrics.sum("guestreq_messages_total", &[("result", "host_error")]);
    ensure!(ok == (firmware.guest_requests - firmware.hung) as f64, "{ok} ok, {firmware:?}");
    ensure!(errors >= 1.0, "{errors} host errors, the firmware {firmware:?}");
    ensure!(ok + errors == 6.0, "{ok} ok and {errors} host errors of 6 requests");
    ensure!(metrics.is_zero("guestreq_psp_queue_length", &[]), "a request still waits");
    let busy = [("command", "snp_guest_request")];
    let seconds = metrics.sum("guestreq_psp_busy_seconds_total", &busy);
    ensure!(seconds >= 1.0, "the hung command held the PSP for {seconds} s");
    ensure!(agent::get("/healthz")?.0 == 200, "the agent's loop has ended");
    ensure!(agent::log().contains("host_error"), "the log does not report host errors");
    Ok(Status::Passed)
}
