//! # Deriving a limit
//!
//! All VMs together stay within a share of the PSP's time, and no guest starves.

use std::time::Duration;

use anyhow::{Result, bail, ensure};
use clap::ValueEnum;
use guestreq_common::{gcra::MAX_BURST, message::VMPCKS, outcome::Outcome, share::MAX_PPM};
use serde::Serialize;

use crate::{
    policy::safety::{self, Service},
    wire::{
        Psp,
        policy::{Effective, Limit, Rate, Share},
    },
};

/// Measured requests that are needed.
const MIN_REQUESTS: u64 = 100;
/// Seconds for which an idle VM's burst may occupy the PSP.
pub const BURST_SECONDS: f64 = 0.5;

/// How a suggested limit is expressed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, ValueEnum)]
#[serde(rename_all = "lowercase")]
pub enum As {
    /// A share of the PSP's time, which remains right when requests take longer
    Share,
    /// Requests per second, at today's mean service time
    Rate,
}

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
    /// A VM's part of the target share, 0 to 1.
    pub share_of_vm: f64,
    /// The same in requests at the mean service time.
    pub requests_per_second_of_vm: f64,
    /// For `limit set --share`; null with `--as rate`.
    pub limit_share: Option<String>,
    /// For `limit set --rate`; null with `--as share`.
    pub rate: Option<String>,
    /// For `limit set --burst`; null with `--as share`.
    pub burst: Option<u64>,
    /// Requests per second that the suggested limit allows at the mean service time.
    pub requests_per_second: f64,
    /// Share of all VMs at that limit: above `share` if `share` would starve guests.
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

/// The limit itself, in one of its forms.
enum Suggested {
    Share(Share),
    Rate { rate: Rate, burst: u64 },
}

impl Suggested {
    /// A VM's part of the PSP as a limit that no guest starves under.
    fn of(of_vm: f64, service: Service, form: As) -> Result<Suggested> {
        match form {
            As::Share => Ok(Suggested::Share(share(of_vm, service)?)),
            As::Rate => {
                let rate = rate(of_vm / service.mean.as_secs_f64())?;
                // As many as the PSP answers in that time, each at p99.
                let at_p99 = BURST_SECONDS / service.p99.as_secs_f64();
                let burst = at_p99.floor().min(rate.per_second().ceil()) as u64;
                Ok(Suggested::Rate { rate, burst: burst.clamp(VMPCKS as u64, MAX_BURST) })
            }
        }
    }

    fn per_second(&self, mean: f64) -> f64 {
        match self {
            Suggested::Share(share) => share.fraction() / mean,
            Suggested::Rate { rate, .. } => rate.per_second(),
        }
    }

    fn options(&self) -> String {
        match self {
            Suggested::Share(share) => format!("--share {share}"),
            Suggested::Rate { rate, burst } => format!("--rate {rate} --burst {burst}"),
        }
    }
}

impl Suggestion {
    pub fn of(
        psp: &Psp,
        default: &Effective,
        vms: (u64, bool),
        share: f64,
        form: As,
    ) -> Result<Suggestion> {
        let Measured { messages, requests, seconds, p99 } = Measured::of(psp, default);
        ensure!(
            requests >= MIN_REQUESTS,
            "only {requests} requests of allowed types measured, {MIN_REQUESTS} needed: try again \
             later (guestreq psp shows the count)"
        );
        let (vms, vms_running) = vms;
        ensure!(vms > 0, "no VM is running: give their number with --vms");
        let mean = seconds / requests as f64;
        ensure!(mean >= 1e-9, "the measured requests took no time");
        let [of_mean, of_p99] = [mean, p99.max(mean)].map(Duration::try_from_secs_f64);
        let service = Service { mean: of_mean?, p99: of_p99?, measured: true };
        let share_of_vm = share / vms as f64;
        let suggested = Suggested::of(share_of_vm, service, form)?;
        let requests_per_second = suggested.per_second(mean);
        let (limit_share, rate, burst) = match &suggested {
            Suggested::Share(share) => (Some(share.to_string()), None, None),
            Suggested::Rate { rate, burst } => (None, Some(rate.to_string()), Some(*burst)),
        };
        Ok(Suggestion {
            messages,
            requests,
            mean_service_seconds: mean,
            p99_service_seconds: p99,
            share,
            vms,
            vms_running,
            requests_per_second_of_psp: 1.0 / mean,
            share_of_vm,
            requests_per_second_of_vm: share_of_vm / mean,
            limit_share,
            rate,
            burst,
            requests_per_second,
            resulting_share: requests_per_second * mean * vms as f64,
            command: format!("guestreq limit set --default {}", suggested.options()),
        })
    }
}

/// Rounds down to two digits, but never to a share that starves guests.
fn share(of_vm: f64, service: Service) -> Result<Share> {
    let ppm = of_vm * MAX_PPM as f64;
    let step = 10f64.powf(ppm.log10().floor() - 1.0).max(1.0);
    let rounded = Share::of_ppm(((ppm / step + 1e-9).floor() * step) as u64);
    let smallest = safety::smallest_share(service);
    let share = rounded.map_or(smallest, |share| share.max(smallest));
    match safety::too_slow(Limit::of_share(share), service) {
        Some(why) => bail!("no share can be suggested: {why}"),
        None => Ok(share),
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
