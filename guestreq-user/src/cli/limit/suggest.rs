//! # guestreq limit suggest
//!
//! Prints a limit derived from measured service times, and its arithmetic.

use std::process::ExitCode;

use anyhow::Result;

use super::derive::{As, BURST_SECONDS, Suggestion};
use crate::{
    cli::Reading,
    text::{duration, percent},
    wire::{Psp, Vms, policy::Policies},
};

/// Suggest a limit from measured service times, the number of VMs and a share of the PSP
#[derive(clap::Args)]
#[command(after_help = "\
Changes nothing; prints the command that sets the limit.

Example: guestreq limit suggest --share 50% --vms 40

Example: guestreq limit suggest --as rate")]
pub struct Args {
    /// Share of the PSP's time for the requests of all VMs together
    #[arg(long, value_name = "PERCENT", default_value = "50%", value_parser = share)]
    share: f64,
    /// Number of VMs [default: those running]
    #[arg(long, value_name = "NUMBER", value_parser = clap::value_parser!(u64).range(1..=65_536))]
    vms: Option<u64>,
    /// How to express the limit
    #[arg(long = "as", value_name = "FORM", value_enum, default_value_t = As::Share)]
    form: As,
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
        let suggestion = Suggestion::of(&psp, &policies.default, vms, self.share, self.form)?;
        self.reading.print(&suggestion, text)
    }
}

fn text(it: &Suggestion) -> String {
    let mut text = format!(
        "Service time             {} on average, {} at p99 ({} requests: {})\n",
        duration(it.mean_service_seconds),
        duration(it.p99_service_seconds),
        it.requests,
        it.messages.join(", "),
    );
    text.push_str(&match (&it.limit_share, &it.rate, it.burst) {
        (Some(share), ..) => as_share(it, share),
        (None, Some(rate), Some(burst)) => as_rate(it, rate, burst),
        _ => String::new(),
    });
    format!("{text}\n{}\n", it.command)
}

fn counted(it: &Suggestion) -> &'static str {
    if it.vms_running { "running now; override with --vms" } else { "given by --vms" }
}

fn as_share(it: &Suggestion, share: &str) -> String {
    let mean = duration(it.mean_service_seconds);
    format!(
        "All VMs together         {} of the PSP\n\
         One of {:<18}{} / {} = {:.3} % ({})\n\
         {}\n\
         At present that is       {share} / {mean} = {:.2} requests per second\n",
        percent(it.share),
        format!("{} VMs", it.vms),
        percent(it.share),
        it.vms,
        it.share_of_vm * 100.0,
        counted(it),
        rounded(it, share),
        it.requests_per_second,
    )
}

fn as_rate(it: &Suggestion, rate: &str, burst: u64) -> String {
    let all = it.requests_per_second_of_psp * it.share;
    format!(
        "The PSP can answer       1 / {} = {:.1} per second\n\
         All VMs together         {} of that = {all:.1} per second\n\
         One of {:<18}{all:.1} / {} = {:.3} per second ({})\n\
         {}\n\
         Burst                    {burst}: at most one second's worth and {} of the PSP, at least one \
         per VMPCK\n",
        duration(it.mean_service_seconds),
        it.requests_per_second_of_psp,
        percent(it.share),
        format!("{} VMs", it.vms),
        it.vms,
        it.requests_per_second_of_vm,
        counted(it),
        rounded(it, rate),
        duration(BURST_SECONDS),
    )
}

fn rounded(it: &Suggestion, limit: &str) -> String {
    if it.resulting_share > it.share * 1.000_001 {
        return format!(
            "Raised to                {limit}: under less, guests could wait for more than their 60 s, and \
             their messages would be admitted over the limit; all VMs may take {}",
            percent(it.resulting_share),
        );
    }
    format!("Rounded down             {limit}")
}

#[cfg(test)]
mod tests;
