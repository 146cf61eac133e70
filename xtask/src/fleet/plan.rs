//! # What 1,000 hosts take, computed from what was measured
//!
//! In proportion to hosts, except for what a server takes without series.

use super::cost::Cost;

const HOSTS: f64 = 1000.0;
/// A leaf's (docs/fleets.md).
const HOSTS_OF_LEAF: f64 = 250.0;
/// dashboards/fleet/leaf.yml.
const INTERVAL: f64 = 30.0;

/// What a server for so many hosts takes.
struct Row {
    series: f64,
    memory: f64,
    samples_per_s: f64,
    disk_per_day: f64,
    wal: f64,
    /// Received and sent, in bytes a second; what federation transfers is not measured.
    net: (Option<f64>, f64),
    cpu: f64,
    /// Seconds for the slowest group of rules.
    rules: f64,
}

impl Row {
    fn new(cost: &Cost, times: f64, received: Option<f64>, sent: f64) -> Self {
        Self {
            series: cost.series * times,
            memory: cost.base + cost.bytes_per_series() * cost.series * times,
            samples_per_s: cost.samples_per_s * times,
            disk_per_day: cost.disk_per_day() * times,
            wal: cost.wal() * times,
            net: (received.map(|bytes| bytes * times), sent * times),
            cpu: cost.cpu * times,
            rules: cost.rules.slowest * times,
        }
    }

    fn print(&self, name: &str) {
        let received = self.net.0.map_or("–".to_owned(), |bytes| format!("{:.2}", bytes / 1e6));
        println!(
            "  {name:<20} {:>9.0} {:>6.2} GB {:>9.0} {:>7.2} GB {:>6.2} GB {received:>7} {:>7.3} {:>6.2} {:>6.1} s",
            self.series,
            self.memory / 1e9,
            self.samples_per_s,
            self.disk_per_day / 1e9,
            self.wal / 1e9,
            self.net.1 / 1e6,
            self.cpu,
            self.rules,
        );
    }
}

pub fn print(leaf: &Cost, [sent, fetched]: [&Cost; 2], hosts: f64, scrape: f64) {
    let received = Some(scrape * hosts / INTERVAL);
    println!(
        "  for {HOSTS} hosts          series    memory samples/s disk a day       log MB/s in     out   CPUs slowest rules"
    );
    let all = HOSTS / hosts;
    Row::new(leaf, all, received, 0.0).print("one Prometheus");
    let row = Row::new(leaf, HOSTS_OF_LEAF / hosts, received, leaf.sent_bytes_per_s);
    row.print(&format!("each of {} leaves", HOSTS / HOSTS_OF_LEAF));
    Row::new(sent, all, Some(leaf.sent_bytes_per_s), 0.0).print("centre, remote write");
    Row::new(fetched, all, None, 0.0).print("centre, federation");
}

#[cfg(test)]
mod tests {
    use super::super::cost::Rules;
    use super::*;

    #[test]
    fn only_what_a_server_takes_without_series_is_not_in_proportion() {
        let cost = Cost {
            name: "leaf",
            series: 1000.0,
            base: 50.0,
            memory: 4050.0,
            samples_per_s: 2.0,
            cpu: 0.1,
            sent_bytes_per_s: 3.0,
            rules: Rules { all: 1.0, slowest: 0.5, missed: 0.0 },
            of_sample: 1.5,
            of_series: 10.0,
            of_wal: 4.0,
        };
        let row = Row::new(&cost, 10.0, Some(7.0), 3.0);
        assert_eq!((row.series, row.memory, row.net), (10_000.0, 40_050.0, (Some(70.0), 30.0)));
        assert_eq!((row.samples_per_s, row.cpu, row.rules), (20.0, 1.0, 5.0));
        assert_eq!(row.wal, 20.0 * 10_800.0 * 4.0);
        assert_eq!(row.disk_per_day, 10.0 * (2.0 * 86_400.0 * 1.5 + 1000.0 * 120.0));
    }
}
