//! # Metrics
//!
//! [`definitions`] says what there is, for code and documentation alike;
//! [`collect`] fills it from the records; [`render`] writes the text that
//! Prometheus scrapes.

mod collect;
mod decisions;
pub mod definitions;
mod families;

use anyhow::{Context as _, Result};
use prometheus::TextEncoder;

use crate::agent::{PROBES, Shared, State};
use definitions::{BUILD_INFO, PROBE_ATTACHED};
use families::Families;

/// The answer to a scrape.
pub fn render(shared: &Shared) -> Result<String> {
    let mut families = Families::default();
    families.gauge(&BUILD_INFO, &[env!("CARGO_PKG_VERSION")], 1.0);
    match &mut *shared.state() {
        State::Waiting { .. } => {
            for probe in &PROBES {
                families.gauge(&PROBE_ATTACHED, &[probe.name], 0.0);
            }
            collect::enforcement(&mut families, &shared.asked);
        }
        State::Observing(observer) => {
            let snapshot = observer.refresh()?;
            collect::observer(&mut families, observer, &snapshot);
        }
    }
    TextEncoder::new().encode_to_string(&families.finish()).context("writing the metrics")
}
