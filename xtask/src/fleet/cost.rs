//! # The cost of a Prometheus

use std::sync::atomic::Ordering;

use super::agents::Sent;

/// Evaluations of rules.
#[derive(Clone, Copy, Default)]
pub struct Rules {
    /// Seconds for all groups and for the slowest: groups run beside each other, and each must be
    /// done before its next turn.
    pub all: f64,
    pub slowest: f64,
    /// Evaluations that were left out, because the one before was not done.
    pub missed: f64,
}

/// What it takes, of everything together.
pub struct Cost {
    pub name: &'static str,
    pub series: f64,
    /// In bytes.
    pub base: f64,
    pub memory: f64,
    pub samples_per_s: f64,
    /// Of one CPU.
    pub cpu: f64,
    pub sent_bytes_per_s: f64,
    pub rules: Rules,
    /// On disk: bytes of a sample, and of a series in each block.
    pub of_sample: f64,
    pub of_series: f64,
    /// In the write-ahead log.
    pub of_wal: f64,
}

impl Cost {
    /// Above what the server takes without series.
    pub fn bytes_per_series(&self) -> f64 {
        (self.memory - self.base) / self.series
    }

    /// Upper bound: blocks of two hours, which are merged later.
    pub fn disk_per_day(&self) -> f64 {
        self.samples_per_s * 86_400.0 * self.of_sample + self.series * 12.0 * self.of_series
    }

    /// The write-ahead log covers three hours at most.
    pub fn wal(&self) -> f64 {
        self.samples_per_s * 3.0 * 3600.0 * self.of_wal
    }

    pub fn print(&self) {
        println!(
            "  {:<9} {} series, {:.0} MB of memory ({:.0} MB without series, {:.0} bytes per series), \
             {:.0} samples/s, {:.1} % of a CPU",
            self.name,
            self.series,
            self.memory / 1e6,
            self.base / 1e6,
            self.bytes_per_series(),
            self.samples_per_s,
            self.cpu * 100.0,
        );
        println!(
            "            on disk {:.2} bytes per sample ({:.2} in the log), {:.0} per series \
             and block; rules take {:.1} s, the slowest group {:.1} s, {} evaluations missed; \
             sends {:.1} kB/s",
            self.of_sample,
            self.of_wal,
            self.of_series,
            self.rules.all,
            self.rules.slowest,
            self.rules.missed,
            self.sent_bytes_per_s / 1e3,
        );
    }
}

pub fn bytes_per_scrape(sent: &Sent) -> f64 {
    let scrapes = sent.scrapes.load(Ordering::Relaxed).max(1);
    sent.bytes.load(Ordering::Relaxed) as f64 / scrapes as f64
}
