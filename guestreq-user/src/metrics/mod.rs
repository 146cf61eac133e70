//! # Metrics
//!
//! [`definitions`] says what there is, for code and documentation alike;
//! [`collect`] fills it from the records; [`render`] writes the text that
//! Prometheus scrapes.

mod collect;
mod decisions;
pub mod definitions;
mod families;

use std::time::SystemTime;

use anyhow::{Context as _, Result};
use prometheus::TextEncoder;

use crate::agent::{PROBES, Shared, State, logger, reload};
use definitions::{BUILD_INFO, CONFIG_READ_AT, CONFIG_SUCCESSFUL, LOG_DROPPED, PROBE_ATTACHED};
use families::Families;

/// The answer to a scrape.
pub fn render(shared: &Shared) -> Result<String> {
    let mut families = Families::default();
    families.gauge(&BUILD_INFO, &[env!("CARGO_PKG_VERSION")], 1.0);
    configuration(&mut families, &shared.config());
    families.counter(&LOG_DROPPED, &[], logger::dropped() as f64);
    match &mut *shared.state() {
        State::Waiting { .. } => {
            for probe in &PROBES {
                families.gauge(&PROBE_ATTACHED, &[probe.name], 0.0);
            }
            collect::enforcement(&mut families, &shared.asked());
        }
        State::Observing(observer) => {
            let snapshot = observer.refresh()?;
            collect::observer(&mut families, observer, &snapshot);
        }
    }
    TextEncoder::new().encode_to_string(&families.finish()).context("writing the metrics")
}

fn configuration(families: &mut Families, status: &reload::Status) {
    let successful = f64::from(u8::from(status.failed.is_none()));
    families.gauge(&CONFIG_SUCCESSFUL, &[], successful);
    let at = status.read_at.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    families.gauge(&CONFIG_READ_AT, &[], at.as_secs() as f64);
}
