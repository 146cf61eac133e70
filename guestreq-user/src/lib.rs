//! # guestreq
//!
//! Per-VM accounting, latency and policy of SEV-SNP guest requests. One binary is the agent and its
//! command line; another, kubectl's plugin, runs that in pods. A library so that fuzzing can call it;
//! everything else is private.

mod background;
mod bpf;
mod cli;
mod client;
mod config;
mod daemon;
#[cfg(test)]
mod docs;
mod doctor;
mod enforce;
mod failpoint;
#[cfg(any(test, feature = "fuzzing"))]
pub mod fuzz;
mod group;
mod host;
mod json;
mod kernel;
mod kubectl;
mod metrics;
mod observe;
mod pages;
mod policy;
mod probes;
mod report;
mod serve;
mod state;
mod text;
mod throttle;
mod top;
mod wire;

use std::process::ExitCode;

use clap::Parser as _;

/// Runs the command line.
pub fn main() -> ExitCode {
    cli::answer_a_shell();
    match cli::Cli::parse().run() {
        Ok(code) => code,
        Err(error) => {
            // One line, outermost context first.
            eprintln!("guestreq: {}", text::printable(&format!("{error:#}")));
            ExitCode::FAILURE
        }
    }
}

/// Runs the plugin of kubectl, whose binary has only the code that it uses, and no eBPF programs.
pub fn kubectl_main() -> ExitCode {
    kubectl::run()
}
