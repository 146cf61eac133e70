//! # A server whose cost is measured, from its own metrics and a block of its samples

use std::fs;
use std::path::Path;
use std::time::Instant;

use anyhow::{Context, Result, ensure};
use serde_json::Value;

use super::cost::{Cost, Rules};
use crate::prometheus::{self, Server};

const DURATION: &str = "prometheus_rule_group_last_duration_seconds{";

/// A server that is measured.
pub struct Watched {
    name: &'static str,
    server: Server,
    /// Memory before it had any series, and the most so far.
    base: f64,
    peak: f64,
    /// At the beginning and the end of what is measured.
    readings: Vec<Reading>,
}

struct Reading {
    at: Instant,
    series: f64,
    samples: f64,
    cpu: f64,
    sent_bytes: f64,
    rules: Rules,
    wal: f64,
}

impl Watched {
    pub fn new(name: &'static str, server: Server) -> Result<Self> {
        let base = sum(&server.metrics()?, "process_resident_memory_bytes ");
        Ok(Self { name, server, base, peak: base, readings: Vec::new() })
    }

    pub fn server(&self) -> &Server {
        &self.server
    }

    pub fn look(&mut self) -> Result<()> {
        // A server that is too busy to answer is looked at again later.
        let Ok(own) = self.server.metrics() else { return Ok(()) };
        self.peak = self.peak.max(sum(&own, "process_resident_memory_bytes "));
        Ok(())
    }

    pub fn begin(&mut self) -> Result<()> {
        self.readings = vec![self.read()?];
        Ok(())
    }

    pub fn end(&mut self) -> Result<()> {
        let reading = self.read()?;
        self.readings.push(reading);
        Ok(())
    }

    fn read(&self) -> Result<Reading> {
        let own = self.server.metrics().context(self.name)?;
        Ok(Reading {
            at: Instant::now(),
            series: sum(&own, "prometheus_tsdb_head_series "),
            samples: sum(&own, "prometheus_tsdb_head_samples_appended_total"),
            cpu: sum(&own, "process_cpu_seconds_total "),
            // To one receiver, of two that get the same.
            sent_bytes: values(&own, "prometheus_remote_storage_bytes_total").fold(0.0, f64::max),
            rules: Rules {
                all: sum(&own, DURATION),
                slowest: values(&own, DURATION).fold(0.0, f64::max),
                missed: sum(&own, "prometheus_rule_group_iterations_missed_total"),
            },
            wal: size(&prometheus::data(self.name).join("wal"))?,
        })
    }

    pub fn cost(&self) -> Result<Cost> {
        let [before, after] = self.readings.as_slice() else {
            anyhow::bail!("{}: not measured", self.name)
        };
        let seconds = (after.at - before.at).as_secs_f64();
        let (of_sample, of_series) = self.on_disk()?;
        Ok(Cost {
            name: self.name,
            series: after.series,
            base: self.base,
            memory: self.peak,
            samples_per_s: (after.samples - before.samples) / seconds,
            cpu: (after.cpu - before.cpu) / seconds,
            sent_bytes_per_s: (after.sent_bytes - before.sent_bytes) / seconds,
            rules: after.rules,
            of_sample,
            of_series,
            of_wal: after.wal / after.samples,
        })
    }

    fn on_disk(&self) -> Result<(f64, f64)> {
        let snapshot = self.server.snapshot().with_context(|| format!("{}: a block", self.name))?;
        let folder = prometheus::data(self.name).join("snapshots").join(snapshot);
        let (mut chunks, mut index, mut samples, mut series) = (0.0, 0.0, 0.0, 0.0);
        for block in fs::read_dir(&folder).with_context(|| folder.display().to_string())? {
            let block = block?.path();
            let Ok(meta) = fs::read_to_string(block.join("meta.json")) else { continue };
            let meta: Value = serde_json::from_str(&meta)?;
            let stat = |name: &str| meta["stats"][name].as_f64().unwrap_or_default();
            samples += stat("numSamples");
            series += stat("numSeries");
            index += fs::metadata(block.join("index"))?.len() as f64;
            chunks += size(&block.join("chunks"))?;
        }
        ensure!(samples > 0.0, "{}: a snapshot without samples", self.name);
        Ok((chunks / samples, index / series))
    }
}

/// The values of all series whose line starts like this.
fn values<'a>(metrics: &'a str, start: &'a str) -> impl Iterator<Item = f64> + 'a {
    let lines = metrics.lines().filter(move |line| line.starts_with(start));
    lines.filter_map(|line| line.rsplit(' ').next()?.parse().ok())
}

fn sum(metrics: &str, start: &str) -> f64 {
    // Not sum(), which is -0 of nothing.
    values(metrics, start).fold(0.0, |sum, value| sum + value)
}

fn size(folder: &Path) -> Result<f64> {
    let files = fs::read_dir(folder).with_context(|| folder.display().to_string())?;
    let mut bytes = 0.0;
    for file in files {
        bytes += file?.metadata()?.len() as f64;
    }
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_sum_is_of_one_metric_s_series() {
        let own = "a_total{x=\"1\"} 2\na_total{x=\"2\"} 3\na 7\n# TYPE a gauge\n";
        assert_eq!((sum(own, "a_total"), sum(own, "a ")), (5.0, 7.0));
        assert!(sum(own, "b").is_sign_positive());
    }
}
