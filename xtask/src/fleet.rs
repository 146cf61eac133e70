//! # fleet: the cost of many hosts for Prometheus
//!
//! Simulated agents, a leaf that scrapes them with dashboards/fleet/leaf.yml, a centre that it
//! sends to and one that federates. The results are in docs/fleets.md.

mod agents;
mod check;
mod configuration;
mod cost;
mod plan;
mod victoria;
mod watched;

use std::thread;
use std::time::{Duration, Instant};

use anyhow::Result;

use crate::prometheus::{Server, Settings};
use crate::setup::Release;
use crate::{port, progress, setup};
use configuration::Targets;
use cost::Cost;
use watched::Watched;

/// How often memory is read.
const LOOK: Duration = Duration::from_secs(5);

#[derive(clap::Args)]
pub struct Args {
    /// Hosts, each with a simulated agent
    #[arg(long, default_value_t = 100, value_parser = clap::value_parser!(u16).range(1..=1000))]
    hosts: u16,
    /// VMs of each host
    #[arg(long, default_value_t = 100, value_parser = clap::value_parser!(u16).range(1..=1024))]
    vms: u16,
    /// How long to scrape; the second half is measured
    #[arg(long, value_name = "N", default_value_t = 12, value_parser = clap::value_parser!(u64).range(1..=1440))]
    minutes: u64,
    /// The leaf: Prometheus 2.42, 3, or 3 that converts histograms into native ones
    #[arg(long, value_enum, default_value_t = Leaf::Two)]
    leaf: Leaf,
    /// Also send to VictoriaMetrics
    #[arg(long)]
    victoria_metrics: bool,
    /// Keep the leaf running on this port of 127.0.0.1 until Ctrl-C
    #[arg(long, value_name = "PORT")]
    stay: Option<u16>,
}

#[derive(Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum Leaf {
    #[value(name = "2")]
    Two,
    #[value(name = "3")]
    Three,
    #[value(name = "native")]
    Native,
}

impl Leaf {
    fn release(self) -> Release {
        if self == Self::Two { Release::Two } else { Release::Three }
    }

    fn options(self) -> &'static [&'static str] {
        match self {
            Self::Native => &["--web.enable-admin-api", "--enable-feature=native-histograms"],
            _ => &["--web.enable-admin-api"],
        }
    }
}

pub fn execute(args: &Args) -> Result<()> {
    let two = setup::prometheus(Release::Two)?;
    let of_leaf = setup::prometheus(args.leaf.release())?;
    let agents = agents::Agents::new(args.hosts.into(), args.vms.into())?;
    let (agents, scraped) = agents.serve()?;
    let start = |packages, name, config: &str, port, options: &[&str]| {
        let settings = Settings { packages, name, config, port, options };
        Watched::new(name, Server::start(&settings)?)
    };
    let sent_port = port::free()?;
    let receiver = ["--web.enable-remote-write-receiver", "--web.enable-admin-api"];
    let sent = start(&two, "sent", "global: {}\n", sent_port, &receiver)?;
    let victoria = args.victoria_metrics.then(victoria::start).transpose()?;
    let targets = Targets { agents, centre: sent_port, victoria: victoria.as_ref().map(|it| it.0) };
    let leaf_port = args.stay.map_or_else(port::free, Ok)?;
    let config = configuration::leaf(&targets, args.hosts, args.leaf)?;
    let leaf = start(&of_leaf, "leaf", &config, leaf_port, args.leaf.options())?;
    let config = configuration::centre(leaf_port)?;
    let fetched = start(&two, "fetched", &config, port::free()?, &receiver[1..])?;
    let mut all = vec![leaf, sent, fetched];
    let (hosts, vms, minutes) = (args.hosts, args.vms, args.minutes);
    progress::step("scrape", &format!("{hosts} hosts of {vms} VMs, {minutes} minutes"), || {
        let half = Duration::from_secs(minutes * 30);
        watch(&mut all, half)?;
        all.iter_mut().try_for_each(Watched::begin)?;
        watch(&mut all, half)?;
        all.iter_mut().try_for_each(Watched::end)
    })?;
    let costs = all.iter().map(Watched::cost).collect::<Result<Vec<_>>>()?;
    costs.iter().for_each(Cost::print);
    println!("  agents    {:.0} bytes per scrape", cost::bytes_per_scrape(&scraped));
    check::leaf(all[0].server(), args.leaf)?;
    let centres = [("sent", all[1].server()), ("fetched", all[2].server())].into_iter();
    for (name, server) in centres.chain(victoria.iter().map(|it| ("victoria", &it.1))) {
        check::centre(name, server, hosts.into())?;
    }
    if let [leaf, sent, fetched] = costs.as_slice() {
        plan::print(leaf, [sent, fetched], hosts.into(), cost::bytes_per_scrape(&scraped));
    }
    if args.stay.is_some() {
        println!("  look     http://127.0.0.1:{leaf_port}/classic/graph; Ctrl-C ends it");
        loop {
            thread::park();
        }
    }
    Ok(())
}

fn watch(all: &mut [Watched], time: Duration) -> Result<()> {
    let start = Instant::now();
    while start.elapsed() < time {
        thread::sleep(LOOK.min(time));
        all.iter_mut().try_for_each(Watched::look)?;
    }
    Ok(())
}
