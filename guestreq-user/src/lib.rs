//! # guestreq
//!
//! Who asks an SNP host's secure processor for what, how long it takes, and who
//! waits for whom. One binary: the agent, and the command line that talks to it.
//! All of it is private to this crate, which is a library so that fuzzing can call it.

mod agent;
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
mod metrics;
mod observe;
mod policy;
mod probes;
mod serve;
mod text;
mod throttle;
mod top;
mod wire;

use std::process::ExitCode;

use clap::Parser as _;

/// What the binary does.
pub fn main() -> ExitCode {
    cli::answer_a_shell();
    match cli::Cli::parse().run() {
        Ok(code) => code,
        Err(error) => {
            // One line: what went wrong, from the outside in.
            eprintln!("guestreq: {}", text::printable(&format!("{error:#}")));
            ExitCode::FAILURE
        }
    }
}
