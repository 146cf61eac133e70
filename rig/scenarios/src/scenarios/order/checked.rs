//! # Whether a debug kernel has looked
//!
//! lockdep turns itself off when it has found a fault or has no more room, and says nothing from
//! then on. So it runs last.

use std::fs;

use anyhow::{Context as _, Result, ensure};

use super::{end, load_gate};
use crate::{
    load,
    scenario::{Context, Status, scenario},
};

scenario!(LOCKDEP: "order/lockdep" = lockdep,
    "a debug kernel has watched the gate's locks up to the end");

fn lockdep(context: &Context) -> Result<Status> {
    if !context.is_debug_kernel {
        return Ok(Status::Skipped("this kernel has no lockdep"));
    }
    let gate = load_gate()?;
    load::run("--vms 2 --count 2")?;
    let classes = fs::read_to_string("/proc/lockdep").context("/proc/lockdep")?;
    for lock in ["order.lock", "file_lock"] {
        ensure!(classes.contains(lock), "lockdep does not know the gate's {lock}");
    }
    let stats = fs::read_to_string("/proc/lockdep_stats").context("/proc/lockdep_stats")?;
    let state = stats.lines().find(|line| line.contains("debug_locks:")).context("debug_locks")?;
    ensure!(state.split_whitespace().last() == Some("1"), "lockdep has turned itself off");
    println!("{stats}");
    end(gate)
}
