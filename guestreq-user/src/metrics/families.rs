//! # Metric families
//!
//! Values come from BPF maps, so families are built at each scrape instead of being registered once.

use std::collections::BTreeMap;

use guestreq_common::histogram::{BOUNDS, SLOTS, Slots};
use prometheus::proto::{
    Bucket, Counter, Gauge, Histogram, LabelPair, Metric as Series, MetricFamily, MetricType,
};

use super::definitions::{Metric, Type};

/// One of this many kernel bounds is exported: 16 buckets per histogram.
const EVERY: usize = 2;

#[derive(Default)]
pub struct Families(BTreeMap<&'static str, MetricFamily>);

impl Families {
    pub fn counter(&mut self, metric: &'static Metric, labels: &[&str], value: f64) {
        let mut counter = Counter::default();
        counter.set_value(value);
        self.series(metric, labels).set_counter(counter);
    }

    pub fn gauge(&mut self, metric: &'static Metric, labels: &[&str], value: f64) {
        let mut gauge = Gauge::default();
        gauge.set_value(value);
        self.series(metric, labels).set_gauge(gauge);
    }

    pub fn histogram(&mut self, metric: &'static Metric, labels: &[&str], slots: &Slots, ns: u64) {
        self.scaled_histogram(metric, labels, slots, ns, 1);
    }

    /// With bounds that are `scale` times the usual ones.
    pub fn scaled_histogram(
        &mut self,
        metric: &'static Metric,
        labels: &[&str],
        slots: &Slots,
        ns: u64,
        scale: u64,
    ) {
        let mut histogram = Histogram::default();
        let mut buckets = Vec::new();
        let mut count = 0;
        for (i, slot) in slots.iter().enumerate().take(SLOTS - 1) {
            count += slot;
            if i % EVERY == 0 {
                let mut bucket = Bucket::default();
                bucket.set_upper_bound((BOUNDS[i] * scale) as f64 / 1e9);
                bucket.set_cumulative_count(count);
                buckets.push(bucket);
            }
        }
        histogram.set_bucket(buckets);
        histogram.set_sample_count(slots.iter().sum());
        histogram.set_sample_sum(ns as f64 / 1e9);
        self.series(metric, labels).set_histogram(histogram);
    }

    fn series(&mut self, metric: &'static Metric, values: &[&str]) -> &mut Series {
        debug_assert_eq!(metric.labels.len(), values.len(), "{}", metric.name);
        let family = self.0.entry(metric.name).or_insert_with(|| {
            let mut family = MetricFamily::default();
            family.set_name(metric.name.to_owned());
            family.set_help(metric.help.to_owned());
            family.set_field_type(match metric.kind {
                Type::Counter => MetricType::COUNTER,
                Type::Gauge => MetricType::GAUGE,
                Type::Histogram => MetricType::HISTOGRAM,
            });
            family
        });
        let labels = metric.labels.iter().zip(values).map(|(name, value)| {
            let mut label = LabelPair::default();
            label.set_name((*name).to_owned());
            label.set_value((*value).to_owned());
            label
        });
        let all = family.mut_metric();
        all.push(Series::from_label(labels.collect()));
        let last = all.len() - 1;
        &mut all[last]
    }

    pub fn finish(self) -> Vec<MetricFamily> {
        self.0.into_values().collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::metrics::definitions::{REQUEST_DURATION, REQUESTS};
    use prometheus::TextEncoder;

    #[test]
    fn a_histogram_s_buckets_are_cumulative_and_complete() {
        let mut families = Families::default();
        let mut slots = [0; SLOTS];
        slots[0] = 1;
        slots[3] = 2;
        slots[SLOTS - 1] = 4;
        families.histogram(&REQUEST_DURATION, &["web"], &slots, 5_000_000_000);
        let text = TextEncoder::new().encode_to_string(&families.finish()).unwrap();
        assert_eq!(text.matches("_bucket").count(), 17, "{text}");
        assert!(text.contains("{vm=\"web\",le=\"0.000025\"} 1\n"), "{text}");
        assert!(text.contains("{vm=\"web\",le=\"0.00025\"} 3\n"), "{text}");
        assert!(text.contains("{vm=\"web\",le=\"60\"} 3\n"), "{text}");
        assert!(text.contains("{vm=\"web\",le=\"+Inf\"} 7\n"), "{text}");
        assert!(text.contains("_sum{vm=\"web\"} 5\n"), "{text}");
    }

    #[test]
    fn a_hostile_name_is_escaped() {
        let mut families = Families::default();
        families.counter(&REQUESTS, &["a\"b\\c\nd", "report", "ok"], 1.0);
        let text = TextEncoder::new().encode_to_string(&families.finish()).unwrap();
        assert!(text.contains(r#"{vm="a\"b\\c\nd",message="report",result="ok"} 1"#), "{text}");
    }
}
