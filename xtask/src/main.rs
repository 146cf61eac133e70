//! # xtask: everything this project does besides its product
//!
//! `cargo xtask build | dist | image | deb | test | bench | fuzz | mutants | audit | demo | fleet |
//! rig`. Each command is a file of that name; what they share is in `setup` (what has to be on the
//! machine) and `rig` (booting a disposable SNP host).

mod audit;
mod bench;
mod build;
mod deb;
mod demo;
mod dist;
mod fleet;
mod fuzz;
mod image;
mod manifests;
mod mutants;
mod port;
mod process;
mod progress;
mod project;
mod prometheus;
mod rig;
mod setup;
mod test;

use std::process::ExitCode;

use clap::{Parser, Subcommand};

#[derive(Parser)]
#[command(bin_name = "cargo xtask", about = "guestreq's build, demo and test commands")]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Build the eBPF object, then the static guestreq binary
    Build,
    /// Build, and leave the static binary in target/dist
    Dist,
    /// Build, and leave a container image in target/dist
    Image,
    /// Build Debian packages of the agent and the gate, and leave them in target/dist
    Deb,
    /// Check everything: format, lints, unit tests, then the scenarios on four kernels
    Test(test::Args),
    /// Try inputs that nobody thought of, for as long as you like
    Fuzz(fuzz::Args),
    /// Change the code, one thing at a time, and see whether a test notices
    Mutants(mutants::Args),
    /// Check others' code: licences, advisories, second versions, sources
    Audit,
    /// Measure what observing costs, beside empty programs and a bpftrace script
    Bench(bench::Args),
    /// Boot a simulated SNP host with guests and watch guestreq at work
    Demo(demo::Args),
    /// Measure what many hosts cost a Prometheus, with agents that are made up
    Fleet(fleet::Args),
    /// Tools for those who work on the rig
    #[command(subcommand)]
    Rig(rig::Command),
}

fn main() -> ExitCode {
    let done = match Cli::parse().command {
        Command::Build => build::execute().map(|()| ExitCode::SUCCESS),
        Command::Dist => dist::execute().map(|()| ExitCode::SUCCESS),
        Command::Image => image::execute().map(|()| ExitCode::SUCCESS),
        Command::Deb => deb::execute().map(|()| ExitCode::SUCCESS),
        Command::Test(args) => test::execute(&args),
        Command::Fuzz(args) => fuzz::execute(&args),
        Command::Mutants(args) => mutants::execute(&args),
        Command::Audit => audit::execute().map(|()| ExitCode::SUCCESS),
        Command::Bench(args) => bench::execute(&args),
        Command::Demo(args) => demo::execute(&args).map(|()| ExitCode::SUCCESS),
        Command::Fleet(args) => fleet::execute(&args).map(|()| ExitCode::SUCCESS),
        Command::Rig(command) => rig::execute(&command).map(|()| ExitCode::SUCCESS),
    };
    done.unwrap_or_else(|error| {
        // One line, however many causes and whatever they quote.
        let line = format!("{error:#}").split_whitespace().collect::<Vec<_>>().join(" ");
        eprintln!("error: {line}");
        ExitCode::FAILURE
    })
}
