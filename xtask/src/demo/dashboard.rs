//! # Prometheus for the demo's dashboards

use anyhow::{Context, Result};

use crate::prometheus::{self, Server, Settings};
use crate::setup::Prometheus;

/// The port in dashboards/provisioning.
const PORT: u16 = 9090;
/// Runs Grafana, provisioned, in a container.
const GRAFANA: &str = "docker compose up -d --no-deps grafana";

/// Starts it on 127.0.0.1 and prints its address.
pub fn start(packages: &Prometheus, metrics: u16, port: u16) -> Result<Server> {
    let config = prometheus::config(&[format!("127.0.0.1:{metrics}")], "5s")?;
    let settings = Settings { packages, name: "demo", config: &config, port, options: &[] };
    let server = Server::start(&settings).with_context(|| {
        format!("no Prometheus on port {port}; --dashboard={} chooses another port", port ^ 1)
    })?;
    println!("  look     http://127.0.0.1:{port}/classic/graph, …/classic/alerts");
    match port {
        PORT => {
            println!("           dashboards: (cd dashboards && {GRAFANA}), http://127.0.0.1:3000")
        }
        _ => println!("           dashboards: import dashboards/*.json into a Grafana of yours"),
    }
    Ok(server)
}
