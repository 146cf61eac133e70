//! # Metrics
//!
//! [`definitions`] lists the metrics, [`collect`] fills them from the records, [`render`] writes the
//! text format that Prometheus scrapes.

mod collect;
mod decisions;
pub mod definitions;
mod families;
mod launches;
mod order;

use std::time::SystemTime;

use anyhow::{Context as _, Result};
use prometheus::TextEncoder;

use crate::{
    host::system,
    kernel::snp::Asids,
    probes::PROBES,
    state::{
        config_status::ConfigStatus,
        logger,
        shared::{Shared, State},
    },
};
use definitions::{
    ASIDS, BUILD_INFO, CONFIG_READ_AT, CONFIG_SUCCESSFUL, LOG_DROPPED, PROBE_ATTACHED,
};
use families::Families;

/// Renders the response to a scrape.
pub fn render(shared: &Shared) -> Result<String> {
    let mut families = Families::default();
    families.gauge(&BUILD_INFO, &[env!("CARGO_PKG_VERSION")], 1.0);
    configuration(&mut families, &shared.config());
    families.counter(&LOG_DROPPED, &[], logger::dropped() as f64);
    if let Ok(asids) = Asids::read(system::host()) {
        capacity(&mut families, asids);
    }
    match &mut *shared.state() {
        // The pinned records are not open yet. Exporting 0 would make an earlier agent's counts look
        // like an increase once they are.
        State::Waiting { .. } => {
            for probe in &PROBES {
                families.gauge(&PROBE_ATTACHED, &[probe.name], 0.0);
            }
            collect::enforcement(&mut families, &shared.configured());
        }
        State::Observing(observer) => {
            let snapshot = observer.refresh()?;
            collect::observer(&mut families, observer, &snapshot);
        }
    }
    TextEncoder::new().encode_to_string(&families.finish()).context("writing the metrics")
}

fn configuration(families: &mut Families, status: &ConfigStatus) {
    let successful = f64::from(u8::from(status.failed.is_none()));
    families.gauge(&CONFIG_SUCCESSFUL, &[], successful);
    let at = status.read_at.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    families.gauge(&CONFIG_READ_AT, &[], at.as_secs() as f64);
}

fn capacity(families: &mut Families, asids: Asids) {
    families.gauge(&ASIDS, &["used"], asids.used as f64);
    families.gauge(&ASIDS, &["available"], asids.available() as f64);
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Config;

    /// Row 9 of the second review.
    #[test]
    fn an_agent_that_waits_exports_no_count_that_it_does_not_know() {
        let text = render(&Shared::new(&Config::default(), "no such host")).unwrap();
        let known = [
            "guestreq_asids",
            "guestreq_build_info",
            "guestreq_config_last_reload_success",
            "guestreq_enforcement_info",
            "guestreq_log_lines_dropped_total",
            "guestreq_probe_attached",
        ];
        for line in text.lines().filter(|line| !line.starts_with('#')) {
            assert!(known.iter().any(|name| line.starts_with(name)), "{line}");
        }
        assert!(text.contains("verified=\"false\""), "{text}");
        assert!(!text.contains("} 1\nguestreq_probe"), "{text}");
    }

    /// The alert divides one series by the sum of both.
    #[test]
    fn asids_are_used_or_available() {
        let mut families = Families::default();
        capacity(&mut families, Asids { used: 12, total: 509, es_apart: false });
        let text = TextEncoder::new().encode_to_string(&families.finish()).unwrap();
        for series in ["{state=\"used\"} 12\n", "{state=\"available\"} 497\n"] {
            assert!(text.contains(&format!("guestreq_asids{series}")), "{text}");
        }
    }
}
