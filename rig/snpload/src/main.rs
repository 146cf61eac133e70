//! # snpload
//!
//! A load generator for the rig: real SNP VMs, created through the KVM API, that send valid or
//! hostile guest requests. Prints one line of JSON on standard output, see [`report::Report`];
//! everything else goes to standard error.
//!
//! Exit status: 0 if it could run, whatever the guests' outcomes; 1 if not; 2 for a wrong command
//! line.

mod attack;
mod behavior;
mod cli;
mod compat;
mod cpu_time;
mod ghcb;
mod guest;
mod histogram;
mod keys;
mod launch;
mod measured;
mod memory;
mod message;
mod noise;
mod ordinary;
mod outcome;
mod pace;
mod race;
mod report;
mod request;
mod reruns;
mod scribble;
mod sev_command;
mod signals;
mod sim;
mod tally;
mod values;
mod vcpu;
mod vm;
mod vm_process;
mod vmm_identity;

use std::process::ExitCode;

use anyhow::Result;
use clap::Parser;

use crate::cli::Options;
use crate::guest::Guests;

fn main() -> ExitCode {
    let done = vm_process::run_as_child().unwrap_or_else(|| run(&Options::parse().complete()));
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(e) => {
            eprintln!("snpload: {e:#}");
            ExitCode::FAILURE
        }
    }
}

/// 200 VMs need more open files than the usual limit.
fn allow_many_files() {
    let mut limit = libc::rlimit { rlim_cur: 0, rlim_max: 0 };
    // SAFETY: both calls take one rlimit, which outlives them. If they fail, the
    // limit is what it was, and opening files will say so.
    unsafe {
        if libc::getrlimit(libc::RLIMIT_NOFILE, &mut limit) == 0 {
            limit.rlim_cur = limit.rlim_max;
            libc::setrlimit(libc::RLIMIT_NOFILE, &limit);
        }
    }
}

fn run(options: &Options) -> Result<()> {
    allow_many_files();
    // only children imitate a VMM and handle its signals
    signals::set_up(None)?;
    if options.processes {
        return vm_process::run(options);
    }
    let names = (0..options.vms).map(|i| options.vm_name(i)).collect();
    let guests = Guests::new(options, names)?;
    if let Some(ms) = options.die_after {
        signals::die_after(ms);
    }
    let (report, _kept) = guests.run_lives(options)?;
    vm_process::print_report(&report)?;
    if options.hold {
        signals::hold();
    }
    Ok(())
}
