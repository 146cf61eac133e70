//! # Prometheus beside the demo, with our rules, for dashboards

use anyhow::{Context, Result};

use crate::prometheus::{self, Server, Settings};
use crate::setup::Prometheus;

/// Where dashboards/provisioning tells Grafana to look.
const PORT: u16 = 9090;
/// For those who have containers: Grafana alone, provisioned.
const GRAFANA: &str = "docker compose up -d --no-deps grafana";

/// Starts it on 127.0.0.1, and says where to look.
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
