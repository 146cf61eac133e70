//! # Whether a centre has no more series than it should, and all that the fleet dashboard needs

use anyhow::{Context, Result, ensure};

use super::Leaf;
use crate::prometheus::Server;
use crate::test::dashboards::live::fleet_queries;

/// The largest permitted number of a host's series at the centre, without alerts (docs/fleets.md).
pub const AT_CENTRE: f64 = 70.0;

/// Whether the leaf has the kind of histograms that it was asked for.
pub fn leaf(server: &Server, kind: Leaf) -> Result<()> {
    let count =
        |metric: &str| Ok::<_, anyhow::Error>(server.query(&format!("count({metric})"))?.len());
    let classic = count("guestreq_request_duration_seconds_bucket")? > 0;
    let native = count("guestreq_request_duration_seconds")? > 0;
    let is_native = kind == Leaf::Native;
    ensure!(
        classic != is_native && native == is_native,
        "the leaf's histograms: classic {classic}, native {native}"
    );
    Ok(())
}

pub fn centre(name: &str, server: &Server, hosts: f64) -> Result<()> {
    let count =
        server.number(r#"count({__name__=~"(instance.*:)?guestreq_.+|up", job="guestreq"})"#)?;
    println!("  {name:<9} {count} series of {hosts} hosts, {:.1} of each", count / hosts);
    ensure!(count <= AT_CENTRE * hosts, "{name}: {count} series of {hosts} hosts: too many");
    let names =
        server.number(r#"count(instance_vm:guestreq_vm_psp_seconds:top3_rate5m{vm="vm-0"})"#)?;
    ensure!(names == hosts, "{name}: {names} of {hosts} hosts have a VM called vm-0");
    // All are busy enough for it.
    let buckets =
        server.number(r#"count(instance_le:guestreq_request_duration_seconds_bucket:rate5m)"#)?;
    ensure!(buckets == 17.0 * hosts, "{name}: {buckets} buckets of {hosts} hosts");
    for (of, expression) in fleet_queries()? {
        server.query(&expression).with_context(|| format!("{name}: {of}"))?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;
    use crate::project;

    #[test]
    fn the_page_and_the_command_have_the_same_bound() {
        let page = fs::read_to_string(project::root().join("docs/fleets.md")).unwrap();
        assert!(page.contains(&format!("| **at most {AT_CENTRE}** |")), "at most {AT_CENTRE}");
    }
}
