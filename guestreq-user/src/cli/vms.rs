//! # guestreq vms

use std::{collections::BTreeMap, process::ExitCode};

use anyhow::Result;

use super::{
    Reading,
    table::{self, name},
};
use crate::{
    text::{maybe, percent},
    wire::{Vm, Vms},
};

/// Show VMs with their requests, latencies and share of the PSP
#[derive(clap::Args)]
#[command(after_help = "\
Columns: REQ/S and PSP (share of its time) cover the last seconds, the rest the time since the agent \
started. LOCK, QUEUE and SERVICE are mean times waiting for the VM's lock, waiting for the PSP, and \
in the PSP; P50 and P99 are percentiles of the total. LOST VMPCKS are those that the guest has \
probably wiped, because a message was denied or got BUSY for 60 s: it cannot attest with them until it \
is rebooted.

Example: guestreq vms -o json | jq '.vms[] | select(.recent_psp_share > 0.5) | .vm'")]
pub struct Args {
    #[command(flatten)]
    reading: Reading,
}

impl Args {
    pub fn run(self) -> Result<ExitCode> {
        let vms: Vms = self.reading.get("/v1/vms")?;
        self.reading.print(&vms, table)
    }
}

pub const HEADER: [&str; 13] = [
    "VM",
    "PID",
    "REQ/S",
    "PSP",
    "REQUESTS",
    "FAILED",
    "LOCK",
    "QUEUE",
    "SERVICE",
    "P50",
    "P99",
    "LOST VMPCKS",
    "MESSAGES",
];

/// Right-aligned columns.
pub const RIGHT: [usize; 10] = [1, 2, 3, 4, 5, 6, 7, 8, 9, 10];

pub fn table(answer: &Vms) -> String {
    if answer.vms.is_empty() {
        return "No VM has sent a guest request since the agent started.\n".to_owned();
    }
    let mut table = table::new(&HEADER, &RIGHT);
    table.add_rows(answer.vms.iter().map(row));
    table::text(&table)
}

pub fn row(vm: &Vm) -> Vec<String> {
    let mean = |stage| maybe(vm.mean_stage_seconds(stage));
    vec![
        format!("{}{}", name(&vm.vm), if vm.running { "" } else { " (exited)" }),
        vm.pid.to_string(),
        format!("{:.1}", vm.recent_requests_per_second),
        percent(vm.recent_psp_share),
        vm.requests.to_string(),
        vm.requests.saturating_sub(ok(vm)).to_string(),
        mean("vm_lock"),
        mean("psp_queue"),
        mean("psp_service"),
        maybe(vm.p50_seconds),
        maybe(vm.p99_seconds),
        vm.lost(),
        messages(vm),
    ]
}

fn sum(results: &BTreeMap<String, u64>) -> u64 {
    results.values().sum()
}

fn ok(vm: &Vm) -> u64 {
    vm.results.values().filter_map(|results| results.get("ok")).sum()
}

/// `report 12, key 3 (2 invalid_param)`: most frequent first, SEV-TIO requests last.
fn messages(vm: &Vm) -> String {
    let mut messages: Vec<_> = vm.results.iter().collect();
    messages.sort_by_key(|(_, results)| std::cmp::Reverse(sum(results)));
    let describe = |(message, results): (&String, &BTreeMap<String, u64>)| {
        let failures: Vec<String> = results
            .iter()
            .filter(|(result, _)| *result != "ok")
            .map(|(result, count)| format!("{count} {result}"))
            .collect();
        let total = sum(results);
        if failures.is_empty() {
            format!("{message} {total}")
        } else {
            format!("{message} {total} ({})", failures.join(", "))
        }
    };
    let mut messages: Vec<_> = messages.into_iter().map(describe).collect();
    if vm.tio_requests > 0 {
        messages.push(format!("tio_guest_request {}", vm.tio_requests));
    }
    messages.join(", ")
}
