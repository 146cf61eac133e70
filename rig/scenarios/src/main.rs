//! # The rig's scenarios
//!
//! Run by the init of a disposable SNP host: one scenario for each promise of guestreq.
//! `cargo xtask test` boots each group of them once per kernel.
//!
//! ```text
//! scenarios --list                          ids, descriptions and groups
//! scenarios run GROUP [--only ID,...] [--long] [--change] [--brief] [--beside]
//!                             [--debug]
//! scenarios bench --only PART [--long]      measurements for `cargo xtask bench`
//! scenarios demo [--live]                   tables as the operator sees them; or, live,
//!                                           the agent's socket over TCP for `guestreq top`
//! ```

mod agent;
mod attacker;
mod bench;
mod bpf;
mod bridge;
mod btf;
mod cgroup;
mod children;
mod debian;
mod demo;
mod empty_program;
mod enforcing;
mod exposition;
mod fixed_answer;
mod flash;
mod follower;
mod gate;
mod host;
mod hung;
mod letters;
mod libvirt;
mod load;
mod locked_memory;
mod node;
mod pod;
mod podman;
mod privileges;
mod qemu;
mod scenario;
mod scenarios;
#[expect(dead_code, reason = "shared with the tests of top, which use more of it")]
#[path = "../../../guestreq-user/tests/top/screen.rs"]
mod screen;
mod tracers;

use std::process::ExitCode;

use anyhow::{Result, bail};
use scenario::Context;

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    match run(&arguments) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("scenarios: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run(arguments: &[&str]) -> Result<()> {
    match arguments {
        ["--list"] => {
            scenario::list();
            Ok(())
        }
        ["bench", "--only", part, options @ ..] => bench::run(part, options.contains(&"--long")),
        ["demo"] => demo::run(false),
        ["demo", "--live"] => demo::run(true),
        // Only for scenarios, which start these with fewer privileges.
        ["attack"] => attacker::attack(),
        ["hold-memory", pid] => locked_memory::hold(pid),
        ["try-parameters"] => privileges::try_parameters(),
        ["run", group, options @ ..] => {
            let has = |option| options.contains(&option);
            let only = options.iter().skip_while(|option| **option != "--only").nth(1).copied();
            let context = Context {
                long: has("--long"),
                every_change: has("--change"),
                beside: has("--beside"),
                is_debug_kernel: has("--debug"),
                kernel: host::kernel()?,
            };
            scenario::run(group, only, &context, has("--brief"))
        }
        _ => bail!(
            "usage: scenarios --list | bench --only PART [--long] | demo [--live] | run GROUP \
             [--only ID,...] [--long] [--change] [--brief] [--beside] [--debug]"
        ),
    }
}
