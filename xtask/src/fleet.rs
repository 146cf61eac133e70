//! # fleet: the cost of many hosts for Prometheus
//!
//! Simulated agents, a leaf that scrapes them with dashboards/fleet/leaf.yml, a centre that it
//! sends to and one that federates. The results are in docs/fleets.md.

mod agents;

use std::fs;
use std::thread;
use std::time::Duration;

use anyhow::{Context, Result, ensure};

use crate::prometheus::{Server, Settings, replaced};
use crate::test::dashboards::live::fleet_queries;
use crate::{port, progress, project, setup};

/// The largest permitted number of a host's series at the centre, without alerts (docs/fleets.md).
const AT_CENTRE: f64 = 47.0;

#[derive(clap::Args)]
pub struct Args {
    /// Hosts, each with a simulated agent
    #[arg(long, default_value_t = 100, value_parser = clap::value_parser!(u16).range(1..=1000))]
    hosts: u16,
    /// VMs of each host
    #[arg(long, default_value_t = 100, value_parser = clap::value_parser!(u16).range(1..=1024))]
    vms: u16,
    /// How long to scrape before measuring
    #[arg(long, value_name = "N", default_value_t = 10, value_parser = clap::value_parser!(u64).range(1..=1440))]
    minutes: u64,
    /// Keep the leaf running on this port of 127.0.0.1 until Ctrl-C
    #[arg(long, value_name = "PORT")]
    stay: Option<u16>,
}

pub fn execute(args: &Args) -> Result<()> {
    let packages = setup::prometheus()?;
    let agents = agents::Agents::new(args.hosts.into(), args.vms.into())?.serve()?;
    let leaf_port = args.stay.map_or_else(port::free, Ok)?;
    let start = |name, config: &str, port, options: &[&str]| {
        Server::start(&Settings { packages: &packages, name, config, port, options })
    };
    let sent_port = port::free()?;
    let sent = start("sent", "global: {}\n", sent_port, &["--web.enable-remote-write-receiver"])?;
    let leaf = start("leaf", &leaf(agents, sent_port, args.hosts)?, leaf_port, &[])?;
    let fetched = start("fetched", &centre(leaf_port)?, port::free()?, &[])?;
    let (hosts, vms, minutes) = (args.hosts, args.vms, args.minutes);
    progress::step("scrape", &format!("{hosts} hosts of {vms} VMs, {minutes} minutes"), || {
        thread::sleep(Duration::from_secs(minutes * 60));
        Ok(())
    })?;
    measure("leaf", &leaf)?;
    for (name, server) in [("sent", &sent), ("fetched", &fetched)] {
        measure(name, server)?;
        check(name, server, hosts.into())?;
    }
    if args.stay.is_some() {
        println!("  look     http://127.0.0.1:{leaf_port}/classic/graph; Ctrl-C ends it");
        loop {
            thread::park();
        }
    }
    Ok(())
}

/// dashboards/fleet/leaf.yml, with our hosts and our centre.
fn leaf(agents: u16, centre: u16, hosts: u16) -> Result<String> {
    let folder = project::root().join("dashboards");
    let list = project::logs().join("hosts.json");
    let host = |n| {
        let labels =
            [("instance", format!("host-{n:03}")), ("__metrics_path__", format!("/metrics/{n}"))];
        let labels: serde_json::Map<_, _> =
            labels.into_iter().map(|(name, value)| (name.to_owned(), value.into())).collect();
        serde_json::json!({ "targets": [format!("127.0.0.1:{agents}")], "labels": labels })
    };
    let all: Vec<_> = (0..hosts).map(host).collect();
    fs::create_dir_all(project::logs())?;
    fs::write(&list, serde_json::to_string(&all)?)
        .with_context(|| format!("cannot write {}", list.display()))?;
    replaced(
        fs::read_to_string(folder.join("fleet/leaf.yml"))?,
        &[
            ("../rules/*.yml", &folder.join("rules/*.yml").display().to_string()),
            ("/etc/prometheus/hosts/*.json", &list.display().to_string()),
            ("https://centre.example", &format!("http://127.0.0.1:{centre}")),
        ],
    )
}

/// dashboards/fleet/centre.yml, with our leaf.
fn centre(leaf: u16) -> Result<String> {
    let path = project::root().join("dashboards/fleet/centre.yml");
    let config = fs::read_to_string(&path).with_context(|| path.display().to_string())?;
    let targets = r#"["leaf-fra1.example:9090", "leaf-ams1.example:9090"]"#;
    replaced(config, &[(targets, &format!("[\"127.0.0.1:{leaf}\"]"))])
}

/// The cost, from the server's own metrics.
fn measure(name: &str, server: &Server) -> Result<()> {
    let own = server.metrics()?;
    let sum = |metric: &str| {
        let lines = own.lines().filter(|line| line.starts_with(metric));
        lines.filter_map(|line| line.rsplit(' ').next()?.parse::<f64>().ok()).sum::<f64>()
    };
    println!(
        "  {name:<9}{} series, {:.0} MB of memory, rules take {:.2} s, {:.0} s of CPU so far",
        sum("prometheus_tsdb_head_series "),
        sum("process_resident_memory_bytes ") / 1e6,
        sum("prometheus_rule_group_last_duration_seconds{"),
        sum("process_cpu_seconds_total "),
    );
    Ok(())
}

/// Whether a centre has no more series than it should, and all that the fleet dashboard needs.
fn check(name: &str, server: &Server, hosts: f64) -> Result<()> {
    let count =
        server.number(r#"count({__name__=~"(instance.*:)?guestreq_.+|up", job="guestreq"})"#)?;
    println!("  {name:<9}{count} series of {hosts} hosts, {:.1} of each", count / hosts);
    ensure!(count <= AT_CENTRE * hosts, "{name}: {count} series of {hosts} hosts: too many");
    let names =
        server.number(r#"count(instance_vm:guestreq_vm_psp_seconds:top3_rate5m{vm="vm-0"})"#)?;
    ensure!(names == hosts, "{name}: {names} of {hosts} hosts have a VM called vm-0");
    for (of, expression) in fleet_queries()? {
        server.query(&expression).with_context(|| format!("{name}: {of}"))?;
    }
    Ok(())
}
