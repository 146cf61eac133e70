//! # bench: overhead
//!
//! In the rig, from the kernel's statistics: our programs compared with empty ones and a bpftrace
//! script, how cost grows, what launches cost, and what limits achieve. Natively: a scrape.
//! docs/performance.md explains the figures and which of them are meaningful under emulation.

mod figures;
mod rig;
mod scrape;

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::{Result, ensure};

use crate::{build, setup};
use figures::Figures;

#[derive(clap::Args)]
pub struct Args {
    /// Make more requests and longer runs; up to a million requests of one VM
    #[arg(long)]
    long: bool,
    /// The kernel whose version starts with, or else contains, this
    #[arg(long, value_name = "PATTERN", default_value = "7.")]
    kernel: String,
    /// Run only this part
    #[arg(long, value_name = "PART")]
    only: Option<Part>,
    /// A static guestreq of an earlier commit, to compare costs with (parts `change` and `instructions`)
    #[arg(long, value_name = "PATH")]
    before: Option<PathBuf>,
    /// With json the last line is one object of raw figures
    #[arg(long, value_name = "FORMAT", default_value = "table")]
    format: Format,
}

#[derive(Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
enum Part {
    /// A scrape of 500 VMs, natively
    Scrape,
    /// Our programs, empty ones and bpftrace
    Cost,
    /// With VMs and with requests
    Growth,
    /// A launch's command, and how exact a launch's times are
    Launches,
    /// What a limit admits and how it helps other VMs
    Limits,
    /// What a share lets a VM use, and what invented sequence numbers gain
    Shares,
    /// Whether 500 VMs lose VMPCKs at twice the PSP's capacity
    Overload,
    /// Times before and after a change; only with --before
    Change,
    /// Instructions before and after a change; only with --before
    Instructions,
    /// Sizes of our programs, which cost includes; only on request
    Programs,
}

#[derive(Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
enum Format {
    Table,
    Json,
}

/// Parts that are a boot, and its memory.
const BOOTS: [(Part, &str, u32); 9] = [
    (Part::Cost, "cost", 4096),
    (Part::Growth, "growth", 8192),
    (Part::Launches, "launches", 2048),
    (Part::Limits, "limits", 2048),
    (Part::Shares, "shares", 2048),
    (Part::Overload, "overload", 4096),
    (Part::Change, "change", 2048),
    (Part::Instructions, rig::INSTRUCTIONS, 2048),
    (Part::Programs, "programs", 2048),
];

pub fn execute(args: &Args) -> Result<ExitCode> {
    let compares = |part| matches!(part, Part::Change | Part::Instructions);
    ensure!(args.before.is_some() || !args.only.is_some_and(compares), "the part needs --before");
    let by_default = |part| part != Part::Programs && (args.before.is_some() || !compares(part));
    let is_wanted = |part| args.only.map_or(by_default(part), |only| only == part);
    let mut figures = Figures::default();
    let tools = setup::ebpf()?;
    build::ebpf(&tools)?;
    if is_wanted(Part::Scrape) {
        figures.part("scrape", scrape::measure());
    }
    if BOOTS.iter().any(|(part, ..)| is_wanted(*part)) {
        build::other_ebpf(&tools)?;
        build::guestreq_and_rig_programs()?;
        let host = setup::rig_with_bpftrace(&args.kernel)?;
        let host = setup::Rig { before: args.before.clone(), ..host };
        for (_, name, memory_mib) in BOOTS.iter().filter(|(part, ..)| is_wanted(*part)) {
            figures.part(name, rig::measure(&host, name, *memory_mib, args.long));
        }
    }
    figures.print(args.only.is_none());
    if args.format == Format::Json {
        println!("{}", figures.json());
    }
    Ok(if figures.is_complete(args.only.is_none()) { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}
