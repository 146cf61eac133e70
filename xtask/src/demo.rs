//! # demo: a simulated SNP host with guests, and guestreq's view of it
//!
//! `guestreq top` on a terminal; otherwise, and with --check, tables every few seconds.

mod dashboard;
mod live;

use std::io::{Read, Write};
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};

use crate::rig::boot::{Boot, Event, Host};
use crate::{port, rig, setup};

/// The port of guestreq's metrics in the guest and, by default, here.
const PORT: u16 = 9940;
/// The address that QEMU's user network forwards to.
const ADDRESS: &str = "10.0.2.15/24";
const COUNTER: &str = "guestreq_requests_total";
/// Two that QEMU runs, and one of the load generator.
const VMS: [&str; 3] = ["web-0", "web-1", "greedy"];

#[derive(clap::Args)]
pub struct Args {
    /// Stop after --seconds and fail unless the agent's metrics show requests of each kind of VM
    #[arg(long)]
    check: bool,
    /// How long to run (default: until Ctrl-C)
    #[arg(long, value_name = "N", default_value_if("check", "true", "60"))]
    seconds: Option<u64>,
    /// Port of 127.0.0.1 for the agent's metrics
    #[arg(long, default_value_t = PORT)]
    port: u16,
    /// The kernel whose version starts with, or else contains, this
    #[arg(long, value_name = "PATTERN", default_value = "7.")]
    kernel: String,
    /// Also run Prometheus with our rules on this port of 127.0.0.1
    #[arg(
        long,
        value_name = "PORT",
        num_args = 0..=1,
        require_equals = true,
        default_missing_value = "9090"
    )]
    dashboard: Option<u16>,
}

pub fn execute(args: &Args) -> Result<()> {
    let port = args.port;
    // QEMU would fail much later and less clearly.
    TcpListener::bind((Ipv4Addr::LOCALHOST, port)).with_context(|| {
        format!(
            "127.0.0.1:{port} is taken: choose another port with --port, e.g. --port {}",
            port ^ 1
        )
    })?;
    let prometheus = args.dashboard.map(|_| setup::prometheus(setup::Release::Two)).transpose()?;
    let rig = rig::prepare_vms(&args.kernel)?;
    let kernel = rig.kernels.last().context("no kernel")?;
    let live = !args.check && live::is_possible();
    println!(
        "  boot     {}; metrics at http://127.0.0.1:{port}/metrics; {} ends it",
        kernel.0.abi,
        if live { "q" } else { "Ctrl-C" },
    );
    let start = |(packages, at)| dashboard::start(packages, port, at);
    let _prometheus = prometheus.as_ref().zip(args.dashboard).map(start).transpose()?;
    let mut forward = vec![(PORT, port)];
    let mut cmdline = format!("rig.run=demo rig.ip={ADDRESS} loglevel=3");
    let api = port::free()?;
    if live {
        forward.push((live::PORT, api));
        cmdline.push_str(" rig.live");
    }
    let mut guest = Boot {
        cmdline,
        memory_mib: 2048,
        forward,
        counts_instructions: false,
        host: Host::Rig(rig.vmm.clone()),
        rig: &rig,
        kernel,
    }
    .start()?;
    let until = args.seconds.map(|seconds| Instant::now() + Duration::from_secs(seconds));
    if live {
        return live::run(&mut guest, api, until);
    }
    let mut is_attached = false;
    loop {
        match guest.next(until)? {
            Event::Line(line) => {
                is_attached |= line.contains(live::READY);
                println!("{line}");
            }
            Event::PoweredOff => bail!("the guest ended by itself"),
            Event::Deadline => break,
        }
    }
    ensure!(is_attached, "the agent was not attached in time");
    if args.check {
        // An emulated guest may be slow to answer.
        let metrics = scrape(port).or_else(|_| scrape(port)).or_else(|_| scrape(port))?;
        for vm in VMS {
            let count = total(&metrics, vm);
            ensure!(count > 0.0, "the agent's metrics have no request of {vm}");
            println!("  checked  {count} requests of {vm} at http://127.0.0.1:{port}/metrics");
        }
    }
    Ok(())
}

/// The agent's answer to GET /metrics.
fn scrape(port: u16) -> Result<String> {
    let mut stream = TcpStream::connect((Ipv4Addr::LOCALHOST, port))?;
    stream.set_read_timeout(Some(Duration::from_secs(5)))?;
    stream.write_all(b"GET /metrics HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer).context("no answer from the agent")?;
    let status = answer.lines().next().unwrap_or_default();
    if !status.contains(" 200 ") {
        bail!("the agent answered {status:?}");
    }
    Ok(answer)
}

/// The sum of the counter's samples of a VM.
fn total(metrics: &str, vm: &str) -> f64 {
    let label = format!("vm=\"{vm}\"");
    let samples = metrics.lines().filter(|line| line.starts_with(COUNTER) && line.contains(&label));
    samples.filter_map(|line| line.rsplit(' ').next()?.trim().parse::<f64>().ok()).sum()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn samples_of_a_vm_are_summed() {
        let text = "# TYPE guestreq_requests_total counter\n\
                    guestreq_requests_total{vm=\"a\",type=\"report\"} 1\n\
                    guestreq_requests_total{vm=\"a\",type=\"key\"} 2\n\
                    guestreq_requests_total{vm=\"b\",type=\"key\"} 4\n";
        assert_eq!((total(text, "a"), total(text, "b"), total(text, "c")), (3.0, 4.0, 0.0));
    }
}
