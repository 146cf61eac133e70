//! # guestreq limit suggest
//!
//! Prints a limit derived from measured service times, and its arithmetic.

use std::process::ExitCode;

use anyhow::Result;

use super::derive::{BURST_SECONDS, Suggestion};
use crate::{
    cli::Reading,
    text::{duration, percent},
    wire::{Psp, Vms, policy::Policies},
};

/// Suggest a limit from measured service times, the number of VMs and a share of the PSP
#[derive(clap::Args)]
#[command(after_help = "\
Changes nothing; prints the command that sets the limit.

Example: guestreq limit suggest --share 50% --vms 40")]
pub struct Args {
    /// Share of the PSP's time for the requests of all VMs together
    #[arg(long, value_name = "PERCENT", default_value = "50%", value_parser = share)]
    share: f64,
    /// Number of VMs [default: those running]
    #[arg(long, value_name = "NUMBER", value_parser = clap::value_parser!(u64).range(1..=65_536))]
    vms: Option<u64>,
    #[command(flatten)]
    reading: Reading,
}

fn share(text: &str) -> Result<f64, String> {
    let number = text.strip_suffix('%').unwrap_or(text).trim();
    match number.parse::<f64>() {
        Ok(percent) if (1.0..=100.0).contains(&percent) => Ok(percent / 100.0),
        _ => Err(format!("{text:?} is not a share: 1% to 100%, such as 50%")),
    }
}

impl Args {
    pub fn run(self) -> Result<ExitCode> {
        let psp: Psp = self.reading.get("/v1/psp")?;
        let policies: Policies = self.reading.get("/v1/policy")?;
        let vms = match self.vms {
            Some(vms) => (vms, false),
            None => {
                let vms: Vms = self.reading.get("/v1/vms")?;
                (vms.vms.iter().filter(|vm| vm.running).count() as u64, true)
            }
        };
        let suggestion = Suggestion::of(&psp, &policies.default, vms, self.share)?;
        self.reading.print(&suggestion, text)
    }
}

fn text(it: &Suggestion) -> String {
    let counted =
        if it.vms_running { "running now; override with --vms" } else { "given by --vms" };
    let mut text = format!(
        "Service time             {} on average, {} at p99 ({} requests: {})\n\
         The PSP can answer       1 / {} = {:.1} per second\n\
         All VMs together         {} of that = {:.1} per second\n\
         One of {:<18}{:.1} / {} = {:.3} per second ({counted})\n",
        duration(it.mean_service_seconds),
        duration(it.p99_service_seconds),
        it.requests,
        it.messages.join(", "),
        duration(it.mean_service_seconds),
        it.requests_per_second_of_psp,
        percent(it.share),
        it.requests_per_second_of_psp * it.share,
        format!("{} VMs", it.vms),
        it.requests_per_second_of_psp * it.share,
        it.vms,
        it.requests_per_second_of_vm,
    );
    if it.resulting_share > it.share {
        text.push_str(&format!(
            "Raised to                {}: a guest that gets BUSY for 60 s loses its VMPCK; all VMs may \
             take {}\n",
            it.rate,
            percent(it.resulting_share),
        ));
    } else {
        text.push_str(&format!("Rounded down             {}\n", it.rate));
    }
    text.push_str(&format!(
        "Burst                    {}: at most one second's worth and {} of the PSP, at least one per VMPCK\n\
         \n{}\n",
        it.burst,
        duration(BURST_SECONDS),
        it.command
    ));
    text
}

#[cfg(test)]
mod tests;
