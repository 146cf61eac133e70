//! # Deriving a limit
//!
//! All VMs together stay within a share of the PSP's time, and no guest starves.

use anyhow::{Result, bail, ensure};
use guestreq_common::{gcra::MAX_BURST, message::VMPCKS, outcome::Outcome};
use serde::Serialize;

use crate::{
    policy::safety::{self, Service},
    wire::{
        Psp,
        policy::{Effective, Limit, Rate},
    },
};

/// Measured requests that are needed.
const MIN_REQUESTS: u64 = 100;
/// Seconds for which an idle VM's burst may occupy the PSP.
pub const BURST_SECONDS: f64 = 0.5;

/// `guestreq limit suggest -o json`
#[derive(Debug, PartialEq, Serialize)]
pub struct Suggestion {
    /// Measured message types that the default allows.
    pub messages: Vec<String>,
    /// Measured requests.
    pub requests: u64,
    /// Mean time of the PSP for one request.
    pub mean_service_seconds: f64,
    /// 99th percentile.
    pub p99_service_seconds: f64,
    /// Target share of the PSP's time, 0 to 1.
    pub share: f64,
    /// VMs that share it.
    pub vms: u64,
    /// Whether `vms` was counted, not given.
    pub vms_running: bool,
    /// What the PSP can answer in all of its time.
    pub requests_per_second_of_psp: f64,
    /// A VM's part of the target share.
    pub requests_per_second_of_vm: f64,
    /// For `limit set --rate`.
    pub rate: String,
    /// For `limit set --burst`.
    pub burst: u64,
    /// Share of all VMs at that rate: above `share` if `share` would starve guests.
    pub resulting_share: f64,
    /// Sets the limit.
    pub command: String,
}

/// Requests of the types that the default allows: others will not reach the PSP.
struct Measured {
    messages: Vec<String>,
    requests: u64,
    seconds: f64,
    p99: f64,
}

impl Measured {
    fn of(psp: &Psp, default: &Effective) -> Measured {
        let mut all = Measured { messages: Vec::new(), requests: 0, seconds: 0.0, p99: 0.0 };
        let allowed: Vec<_> = default.allow.value.iter().map(|kind| kind.name()).collect();
        for message in &psp.messages {
            let Some(service) = message.stages.get("psp_service") else { continue };
            let unanswered = [Outcome::DENIED, Outcome::BUSY, Outcome::HOST_ERROR];
            let answered: u64 = message
                .results
                .iter()
                .filter(|(result, _)| !unanswered.map(Outcome::name).contains(&result.as_str()))
                .map(|(_, count)| count)
                .sum();
            if answered > 0 && allowed.contains(&message.message.as_str()) {
                all.messages.push(message.message.clone());
                all.requests += answered;
                all.seconds += service.seconds;
                all.p99 = all.p99.max(service.p99_seconds.unwrap_or(0.0));
            }
        }
        all
    }
}

impl Suggestion {
    pub fn of(psp: &Psp, default: &Effective, vms: (u64, bool), share: f64) -> Result<Suggestion> {
        let Measured { messages, requests, seconds, p99 } = Measured::of(psp, default);
        ensure!(
            requests >= MIN_REQUESTS,
            "only {requests} requests of allowed types measured, {MIN_REQUESTS} needed: try again \
             later (guestreq psp shows the count)"
        );
        let (vms, vms_running) = vms;
        ensure!(vms > 0, "no VM is running: give their number with --vms");
        let mean = seconds / requests as f64;
        ensure!(mean > 0.0, "the measured requests took no time");
        let of_psp = 1.0 / mean;
        let of_vm = of_psp * share / vms as f64;
        let rate = rate(of_vm)?;
        let worst = p99.max(mean);
        // As many as the PSP answers in that time, each at p99.
        let burst = (BURST_SECONDS / worst).floor().min(rate.per_second().ceil()) as u64;
        let burst = burst.clamp(VMPCKS as u64, MAX_BURST);
        Ok(Suggestion {
            messages,
            requests,
            mean_service_seconds: mean,
            p99_service_seconds: p99,
            share,
            vms,
            vms_running,
            requests_per_second_of_psp: of_psp,
            requests_per_second_of_vm: of_vm,
            rate: rate.to_string(),
            burst,
            resulting_share: rate.per_second() * vms as f64 * mean,
            command: format!("guestreq limit set --default --rate {rate} --burst {burst}"),
        })
    }
}

/// Rounds down to two digits, but never to a rate that starves guests.
fn rate(per_second: f64) -> Result<Rate> {
    let per_second = per_second.min(1_000_000.0);
    let text = [(1.0, "s"), (60.0, "m")].into_iter().find_map(|(seconds, unit)| {
        let number = per_second * seconds;
        let step = 10f64.powf(number.log10().floor() - 1.0);
        let digits = usize::from(step < 1.0);
        let number = (number / step + 1e-9).floor() * step;
        (number >= 1.0).then(|| format!("{number:.digits$}/{unit}"))
    });
    let found = text.and_then(|text| text.replace(".0/", "/").parse::<Rate>().ok());
    match found
        .filter(|rate| safety::too_slow(Limit::of_rate(*rate, 1), Service::PUBLISHED).is_none())
    {
        Some(rate) => Ok(rate),
        None => match safety::SLOWEST.parse() {
            Ok(rate) => Ok(rate),
            Err(error) => bail!("{error}"),
        },
    }
}
